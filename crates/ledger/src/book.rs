//! The book of one build.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{LedgerError, Result};
use crate::ledger::{self, Held};
use crate::line::{self, About, LARGEST, Line, Resource};

/// What one build made, open while its process lives: dropped without [`Book::close`] it stays for `kiln node gc`.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    about: About,
    state: Mutex<State>,
}

/// Something that a book has open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry(u64);

#[derive(Debug)]
struct State {
    file: Held,
    /// How many bytes of it are whole lines.
    length: u64,
    open: BTreeMap<u64, Resource>,
    next: u64,
    damaged: Option<String>,
}

impl Book {
    /// A book that was just written or read; `file` is locked, at its end, and has whole lines only.
    pub(crate) fn new(file: Held, path: PathBuf, read: line::Read, about: About) -> Book {
        let line::Read { open, next, whole, damaged, .. } = read;
        Book { path, about, state: Mutex::new(State { file, length: whole as u64, open, next, damaged }) }
    }

    /// The identifier of the build.
    pub fn build(&self) -> &str {
        &self.about.build
    }

    /// Whose book it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Writes down what is about to be made: on disk when this returns. Whoever gets an error must not make it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn intend(&self, resource: Resource) -> Result<Entry> {
        let mut state = self.state();
        let entry = state.next;
        let what = || format!("the {} {} before making it", resource.kind, resource.name);
        state.append(&self.path, &Line::Intend { entry, resource: resource.clone() }, what)?;
        state.next += 1;
        state.open.insert(entry, resource);
        Ok(Entry(entry))
    }

    /// Writes down which id the cloud gave it.
    ///
    /// # Errors
    /// When it cannot be written: then it is known by its name only.
    pub fn made(&self, entry: &Entry, id: &str) -> Result<()> {
        let mut state = self.state();
        self.find(&state, entry)?;
        let line = Line::Made { entry: entry.0, id: id.to_owned() };
        state.append(&self.path, &line, || format!("the id {id}"))?;
        if let Some(resource) = state.open.get_mut(&entry.0) {
            resource.id = Some(id.to_owned());
        }
        Ok(())
    }

    /// Strikes out what was deleted, or is kept on purpose: an image that is the result.
    ///
    /// # Errors
    /// When it cannot be written: then `kiln node gc` would delete it once more.
    pub fn strike(&self, entry: &Entry) -> Result<()> {
        let mut state = self.state();
        let name = self.find(&state, entry)?.name.clone();
        state.append(&self.path, &Line::Strike { entry: entry.0 }, || format!("that {name} is done with"))?;
        state.open.remove(&entry.0);
        Ok(())
    }

    /// Whether something is still to be deleted: not yet struck out.
    pub fn is_open(&self, entry: &Entry) -> bool {
        self.state().open.contains_key(&entry.0)
    }

    /// What is open, newest first.
    pub fn open(&self) -> Vec<(Entry, Resource)> {
        self.state().open.iter().rev().map(|(entry, resource)| (Entry(*entry), resource.clone())).collect()
    }

    /// Ends with the book, and removes it if nothing is open in it.
    ///
    /// # Errors
    /// When it cannot be removed; [`LedgerError::Damaged`] when nothing is open, but not all of it can be read.
    pub fn close(self) -> Result<()> {
        let state = self.state();
        if !state.open.is_empty() {
            return Ok(());
        }
        if let Some(why) = &state.damaged {
            return Err(LedgerError::Damaged { path: self.path.clone(), why: why.clone() });
        }
        // Nobody may reopen it between the removal and the end of its lock.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let _lock = ledger::lock_directory(dir)?;
        fs::remove_file(&self.path).map_err(LedgerError::file("remove", &self.path))
    }

    fn find<'a>(&self, state: &'a State, entry: &Entry) -> Result<&'a Resource> {
        let missing = || LedgerError::NoSuchEntry { path: self.path.clone(), entry: entry.0 };
        state.open.get(&entry.0).ok_or_else(missing)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lines are whole or not there: a thread that panicked left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a line and waits until it is on disk. When that fails nothing of it stays.
    fn append(&mut self, path: &Path, line: &Line, what: impl FnOnce() -> String) -> Result<()> {
        let bytes = match line::bytes(line) {
            Ok(bytes) if self.length + bytes.len() as u64 <= LARGEST => bytes,
            Ok(_) => return Err(LedgerError::Line { what: what(), why: "the book is full".to_owned() }),
            Err(why) => return Err(LedgerError::Line { what: what(), why }),
        };
        // What an earlier failure may have left: a line must not begin behind half of another.
        let clean = self.file.0.metadata().and_then(|about| match about.len() == self.length {
            true => Ok(()),
            false => self.file.0.set_len(self.length),
        });
        let written = clean.and_then(|()| self.file.0.write_all(&bytes)).and_then(|()| self.file.0.sync_data());
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.0.set_len(self.length);
                let error = io::Error::new(error.kind(), format!("{} was not written down: {error}", what()));
                Err(LedgerError::file("write", path)(error))
            }
        }
    }
}
