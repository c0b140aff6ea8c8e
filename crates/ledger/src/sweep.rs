//! Deleting what a book has open.

use std::fmt;

use crate::book::Book;
use crate::line::Resource;

/// What can delete and find resources of one account of a cloud.
pub trait Cloud: Send + Sync {
    /// Deletes, and waits until it is gone. What still depends on it and is going away is waited for.
    ///
    /// # Errors
    /// When it is still there, or nobody can tell.
    fn delete(&self, resource: &Resource, cancelled: &dyn Fn() -> bool) -> Result<Gone, SweepError>;

    /// Everything that carries the mark of a build (label or tag `kiln-build=UUID`), or of any build when `None`: what
    /// depends on others first.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    fn find(&self, build: Option<&str>) -> Result<Vec<Resource>, SweepError>;

    /// Where a kind comes in a sweep, the lowest first: what depends on others goes before them, also where both were
    /// made side by side. Kinds of the same rank go newest first, as all do where nothing else is said.
    fn rank(&self, _kind: &str) -> usize {
        0
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It was there.
    Deleted,
    /// It was not: it was never made, or somebody else deleted it.
    WasNotThere,
}

/// Why it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepError {
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SweepError {}

/// Deletes all that is open in the book, newest first within its [rank](Cloud::rank), goes on after failures, and strikes
/// out what is gone. What is left comes back, with the reason. Once cancelled, nothing more is deleted: a clean-up after a
/// cancel must be given another wish to stop than the one that brought it about.
pub fn sweep(book: &Book, cloud: &dyn Cloud, cancelled: &dyn Fn() -> bool) -> Vec<(Resource, SweepError)> {
    let mut left = Vec::new();
    sweep_telling(book, cloud, cancelled, &mut |resource, outcome| {
        left.extend(outcome.err().map(|error| (resource.clone(), error)));
    });
    left
}

/// The same, which tells of each what became of it, at once.
pub fn sweep_telling(
    book: &Book,
    cloud: &dyn Cloud,
    cancelled: &dyn Fn() -> bool,
    told: &mut dyn FnMut(&Resource, Result<Gone, SweepError>),
) {
    let mut open = book.open();
    open.sort_by_key(|(_, resource)| cloud.rank(&resource.kind));
    for (entry, resource) in open {
        let outcome = match cancelled() {
            true => Err(SweepError { message: "cancelled before it was deleted".to_owned(), hint: None }),
            false => cloud.delete(&resource, cancelled),
        };
        let struck = outcome.and_then(|gone| {
            let failed = |error| SweepError { message: format!("it is deleted, but {error}"), hint: None };
            book.strike(&entry).map(|()| gone).map_err(failed)
        });
        told(&resource, struck);
    }
}
