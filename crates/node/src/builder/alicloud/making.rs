//! One resource and its line in the ledger: written before it is asked for, with its id once that is known.

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_alicloud::ecs::Mark;
use kiln_alicloud::sweep::Kind;
use kiln_alicloud::{AlicloudError, Client, Stop};
use kiln_ledger::{Book, Entry, Resource};
use kiln_sandbox::Cancel;

use super::{failed, unwritten};
use crate::error::Result;

/// What makes resources, from several threads.
pub struct Making<'a> {
    /// Who asks.
    pub client: &'a Client,
    /// The ledger.
    pub book: &'a Book,
    /// What everything is marked with.
    pub mark: &'a Mark,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
    /// Set when one of the threads has failed: the others need not go on.
    pub broken: &'a AtomicBool,
}

impl Making<'_> {
    /// Whether it is of no use to go on.
    pub fn over(&self) -> bool {
        self.cancel.is_cancelled() || self.broken.load(Ordering::Relaxed)
    }

    /// A name, or token, that nothing else has.
    pub fn name(&self) -> String {
        format!("kiln-{}", self.mark.build())
    }

    /// The tags of what stays and of what goes.
    pub fn tags(&self) -> Vec<(String, String)> {
        vec![self.mark.tag()]
    }

    /// A line of the ledger that is not written yet.
    pub fn line(&self, kind: Kind, name: &str) -> Resource {
        kind.intended(name, self.client.region(), self.mark)
    }

    /// Makes something.
    ///
    /// # Errors
    /// Those of the ledger and of `create`, with the action that is intended.
    pub fn make(
        &self,
        action: &str,
        line: Resource,
        create: impl FnOnce(Stop<'_>) -> Result<String, AlicloudError>,
    ) -> Result<(Entry, String)> {
        let result = self.make_it(action, line, create);
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }

    fn make_it(
        &self,
        action: &str,
        line: Resource,
        create: impl FnOnce(Stop<'_>) -> Result<String, AlicloudError>,
    ) -> Result<(Entry, String)> {
        let entry = self.book.intend(line).map_err(unwritten)?;
        match create(&|| self.over()) {
            Ok(id) => {
                self.book.made(&entry, &id).map_err(unwritten)?;
                Ok((entry, id))
            }
            Err(error) => {
                // Who says no has made nothing; without an answer it has to be looked for.
                if error.is_definite() {
                    self.book.strike(&entry).map_err(unwritten)?;
                }
                Err(failed(action)(error))
            }
        }
    }

    /// Does something that makes nothing.
    ///
    /// # Errors
    /// Those of `call`, with the action that is intended.
    pub fn ask<T>(&self, action: &str, call: impl FnOnce(Stop<'_>) -> Result<T, AlicloudError>) -> Result<T> {
        call(&|| self.over()).map_err(|error| {
            self.broken.store(true, Ordering::Relaxed);
            failed(action)(error)
        })
    }
}
