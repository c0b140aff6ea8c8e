//! What is read from files, as the files are now: read again when one of them is another than it was.
//!
//! What cannot be read leaves what was known before, and is tried again whenever somebody asks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::library::locked;

/// What of a file changes when it is another one: inode, time and length.
type Stamp = (u64, i64, i64, u64);

/// What some files say.
#[derive(Debug)]
pub(crate) struct Fresh<T> {
    files: Vec<PathBuf>,
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    /// Of the files as they were when `value` was read; none of one that was not there.
    stamps: Vec<Option<Stamp>>,
    /// Of files that could not be read.
    failed: Option<Vec<Option<Stamp>>>,
    value: Arc<T>,
}

/// What the files say now.
#[derive(Debug)]
pub(crate) enum Now<T, E> {
    /// What they said before.
    Same(Arc<T>),
    /// Something else: they were read.
    Changed(Arc<T>),
    /// They cannot be read.
    Failed {
        /// What they said before.
        last: Arc<T>,
        /// Why not.
        error: E,
        /// Whether that is the first time with these files.
        first: bool,
    },
}

impl<T, E> Now<T, E> {
    /// What they say, or said when they could be read.
    pub(crate) fn value(self) -> Arc<T> {
        match self {
            Now::Same(value) | Now::Changed(value) | Now::Failed { last: value, .. } => value,
        }
    }
}

impl<T> Fresh<T> {
    /// Reads files for the first time.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn open<E>(files: &[&Path], read: impl FnOnce() -> Result<T, E>) -> Result<Fresh<T>, E> {
        let files: Vec<PathBuf> = files.iter().map(|path| path.to_path_buf()).collect();
        // A file that changes while it is read is read again.
        let stamps = stamps(&files);
        Ok(Fresh { known: Mutex::new(Known { stamps, failed: None, value: Arc::new(read()?) }), files })
    }

    /// Files that are read when somebody asks; until then this is known.
    pub(crate) fn unread(files: &[&Path], value: T) -> Fresh<T> {
        let known = Known { stamps: vec![None; files.len()], failed: None, value: Arc::new(value) };
        Fresh { files: files.iter().map(|path| path.to_path_buf()).collect(), known: Mutex::new(known) }
    }

    /// What was known last.
    pub(crate) fn last(&self) -> Arc<T> {
        locked(&self.known).value.clone()
    }

    /// What the files say now; `read` reads them, and is given what was known last. Others who ask meanwhile wait.
    pub(crate) fn now<E>(&self, read: impl FnOnce(&T) -> Result<T, E>) -> Now<T, E> {
        let mut known = locked(&self.known);
        let stamps = stamps(&self.files);
        // What is not there says nothing, not the same.
        if stamps == known.stamps && stamps.iter().all(Option::is_some) {
            known.failed = None;
            return Now::Same(known.value.clone());
        }
        match read(&known.value) {
            Ok(value) => {
                *known = Known { stamps, failed: None, value: Arc::new(value) };
                Now::Changed(known.value.clone())
            }
            Err(error) => {
                let first = known.failed.as_ref() != Some(&stamps);
                known.failed = Some(stamps);
                Now::Failed { last: known.value.clone(), error, first }
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let of = |path: &PathBuf| fs::metadata(path).map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.len())).ok();
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files are replaced, as whoever changes them does: a time may be too coarse to tell two writes apart.
    fn put(path: &Path, text: &str) {
        let draft = path.with_extension("new");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    #[test]
    fn files_are_read_again_only_when_they_are_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        put(&one, "a");
        put(&two, "b");
        let read = || Ok::<_, String>(fs::read_to_string(&one).unwrap() + &fs::read_to_string(&two).unwrap());
        let fresh = Fresh::open(&[&one, &two], read).unwrap();
        assert!(matches!(fresh.now(|_| Err("not read")), Now::Same(_)));
        put(&two, "c");
        assert!(matches!(
            fresh.now(|last| {
                assert_eq!(last, "ab");
                read()
            }),
            Now::Changed(_)
        ));
        assert_eq!(*fresh.last(), "ac");
        assert!(matches!(fresh.now(|_| Err("not read")), Now::Same(_)));
        assert_eq!(Fresh::open(&[&one], || Err::<(), _>("no")).unwrap_err(), "no");
    }

    #[test]
    fn what_cannot_be_read_leaves_what_was_known_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        put(&path, "good");
        let fresh = Fresh::open(&[&path], || Ok::<_, ()>(1)).unwrap();
        put(&path, "no good");
        let failed = |first| move |now: Now<i32, &str>| matches!(now, Now::Failed { first: f, .. } if f == first);
        assert!(failed(true)(fresh.now(|_| Err("it is no good"))));
        assert!(failed(false)(fresh.now(|_| Err("it is no good"))));
        assert_eq!(*fresh.now(|_| Err("it is no good")).value(), 1);
        put(&path, "as bad as before");
        assert!(failed(true)(fresh.now(|_| Err("it is no good"))));
        // A disk that did not answer does so again, with the same file.
        assert_eq!(*fresh.now(|last| Ok::<_, ()>(last + 1)).value(), 2);
        fs::remove_file(&path).unwrap();
        assert!(failed(true)(fresh.now(|_| Err("it is not there"))));
        assert!(failed(false)(fresh.now(|_| Err("it is not there"))));
    }

    #[test]
    fn files_that_are_not_there_are_asked_for_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Fresh::unread(&[&dir.path().join("none")], 0);
        for wanted in 1..3 {
            assert_eq!(*fresh.now(|last| Ok::<_, ()>(last + 1)).value(), wanted);
        }
    }
}
