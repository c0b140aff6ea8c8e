//! Objects out: what all uploads have in common.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use crate::call::Core;
use crate::error::ObjectError;
use crate::location::Location;
use kiln_clouds::source::Source;

/// One object to upload.
#[derive(Clone, Copy)]
pub(crate) struct Upload<'a> {
    pub location: &'a Location,
    pub source: &'a dyn Source,
    pub size: u64,
    pub progress: &'a Progress<'a>,
}

/// Tells a caller about new bytes, and about none of them twice.
pub(crate) struct Progress<'a> {
    tell: &'a dyn Fn(u64),
    at: Cell<u64>,
    told: Cell<u64>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(tell: &'a dyn Fn(u64)) -> Progress<'a> {
        Progress { tell, at: Cell::new(0), told: Cell::new(0) }
    }

    /// What follows is sent from there on, perhaps again.
    pub(crate) fn back_to(&self, offset: u64) {
        self.at.set(offset);
    }

    /// So many bytes were sent.
    pub(crate) fn sent(&self, bytes: u64) {
        self.at.set(self.at.get() + bytes);
        let new = self.at.get().saturating_sub(self.told.get());
        if new > 0 {
            self.told.set(self.at.get());
            (self.tell)(new);
        }
    }
}

/// The name of an upload that was begun and not finished, so that it can be given up.
#[derive(Default)]
pub(crate) struct Open(Mutex<Option<String>>);

impl Open {
    pub(crate) fn set(&self, name: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Core {
    /// Uploads an object. It is visible when this returns without an error, and not before.
    pub(crate) async fn put(&self, upload: &Upload<'_>, open: &Open) -> Result<(), ObjectError> {
        match upload.location {
            Location::S3 { .. } => self.s3_put(upload, open).await,
            Location::Gcs { .. } => self.gcs_put(upload, open).await,
            Location::Azure { .. } => self.azure_put(upload).await,
        }
    }

    /// Gives up an upload that was begun. Azure forgets blocks by itself.
    pub(crate) async fn abandon(&self, location: &Location, name: &str) {
        match location {
            Location::S3 { .. } => self.s3_abandon(location, name).await,
            Location::Gcs { .. } => self.gcs_abandon(location, name).await,
            Location::Azure { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_twice() {
        let told = Cell::new(0);
        let tell = |n| told.set(told.get() + n);
        let progress = Progress::new(&tell);
        progress.sent(10);
        progress.back_to(0);
        progress.sent(4);
        assert_eq!(told.get(), 10);
        progress.sent(8);
        assert_eq!(told.get(), 12);
    }
}
