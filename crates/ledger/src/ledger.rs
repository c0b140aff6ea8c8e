//! The directory of all books: one file for each build, `BUILD.jsonl`.
//!
//! A builder holds a lock on its book while it lives; the lock ends with the process, however that ends, so a book without
//! one is that of a build which ended. The directory has a lock of its own, which is never held for long: with it books
//! are begun, looked at and removed, so nobody sees one half begun, and nobody takes a look for a build at work.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::book::Book;
use crate::error::{LedgerError, Result};
use crate::line::{self, About, LARGEST, Resource};

/// The lock of the directory.
const LOCK: &str = ".lock";
/// How the names of books end.
const ENDING: &str = ".jsonl";
/// As long as any identifier of a build.
const LONGEST_NAME: usize = 64;

/// A directory with one book for each build that may have left something.
#[derive(Debug, Clone)]
pub struct Ledger {
    dir: PathBuf,
}

/// A book that was found.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Whose it is. Of a book whose head cannot be read only `build` is known, from the name of its file.
    pub about: About,
    /// What is still there, newest first.
    pub open: Vec<Resource>,
    /// Its process still holds the lock: the build is at work.
    pub alive: bool,
    /// What of it cannot be understood.
    pub damaged: Option<String>,
}

impl Ledger {
    /// Opens the directory, and makes it, only for its owner, when it is not there.
    ///
    /// # Errors
    /// [`LedgerError::File`]; [`LedgerError::Untrusted`] when somebody else could write into it.
    pub fn open(dir: &Path) -> Result<Ledger> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.map_err(LedgerError::file("make the directory", dir))?;
        let about = fs::metadata(dir).map_err(LedgerError::file("look at", dir))?;
        trusted(dir, &about)?;
        Ok(Ledger { dir: dir.to_path_buf() })
    }

    /// Begins the book of a build.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when it has one; when it cannot be written.
    pub fn begin(&self, about: About) -> Result<Book> {
        let path = self.path(&about.build)?;
        let head = line::head(&about).map_err(|why| LedgerError::Line { what: "whose book it is".to_owned(), why })?;
        let _lock = self.lock()?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        let mut file = options.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => LedgerError::Exists { build: about.build.clone(), path: path.clone() },
            _ => LedgerError::file("make", &path)(error),
        })?;
        // Nobody else can have the lock: who wants it holds that of the directory.
        let written = hold(&file).and_then(|_| file.write_all(&head)).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| self.sync()) {
            // Nothing was written down in it yet.
            let _ = fs::remove_file(&path);
            return Err(LedgerError::file("write", &path)(error));
        }
        Ok(Book::new(Held(file), path, line::read(&head), about))
    }

    /// All books, oldest first. One whose process died before it could write anything down is removed.
    ///
    /// # Errors
    /// When the directory cannot be read. A book that cannot be is told as damaged.
    pub fn books(&self) -> Result<Vec<Found>> {
        let _lock = self.lock()?;
        let failed = || LedgerError::file("read", &self.dir);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            if let Some(build) = name.to_str().and_then(|name| name.strip_suffix(ENDING)).filter(|name| is_name(name)) {
                found.extend(self.look(build));
            }
        }
        found.sort_by(|a, b| (&a.about.began, &a.about.build).cmp(&(&b.about.began, &b.about.build)));
        Ok(found)
    }

    /// Opens the book of a build that ended, to take away what is open in it.
    ///
    /// # Errors
    /// [`LedgerError::Alive`] while its process lives; when it cannot be read.
    pub fn reopen(&self, build: &str) -> Result<Book> {
        let path = self.path(build)?;
        let _lock = self.lock()?;
        let file = match open(&path) {
            Err(LedgerError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(LedgerError::NoSuchBuild { build: build.to_owned(), dir: self.dir.clone() });
            }
            other => other?,
        };
        if !hold(&file).map_err(LedgerError::file("lock", &path))? {
            return Err(LedgerError::Alive { build: build.to_owned() });
        }
        let held = Held(file);
        let read = contents(&held.0, &path)?;
        let Some(about) = read.about.clone() else {
            let why = read.damaged.unwrap_or_else(|| "it has no head".to_owned());
            return Err(LedgerError::Damaged { path, why });
        };
        if about.build != build {
            return Err(LedgerError::Damaged { path, why: "it is the book of another build".to_owned() });
        }
        // A line whose writing was cut short does not count, and the next must not become its end.
        held.0.set_len(read.whole as u64).map_err(LedgerError::file("shorten", &path))?;
        Ok(Book::new(held, path, read, about))
    }

    /// What is to be told of one book; nothing when there never was anything in it.
    fn look(&self, build: &str) -> Option<Found> {
        let path = self.dir.join(format!("{build}{ENDING}"));
        let nameless = About { build: build.to_owned(), ..About::default() };
        let damaged = |path: &Path, why: String| {
            let (path, about) = (path.to_path_buf(), nameless.clone());
            Some(Found { path, about, open: Vec::new(), alive: false, damaged: Some(why) })
        };
        let read = |path: &Path| {
            let file = open(path)?;
            let free = hold(&file).map_err(LedgerError::file("lock", path))?;
            let read = contents(&file, path);
            if free {
                drop(Held(file));
            }
            Ok((free, read?))
        };
        match read(&path) {
            Err(LedgerError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => damaged(&path, error.to_string()),
            // Its process died while it began it, before it made anything.
            Ok((true, read)) if read.whole == 0 => {
                let _ = fs::remove_file(&path);
                None
            }
            Ok((free, read)) => {
                let about = match read.about {
                    Some(about) if about.build == build => about,
                    Some(_) => return damaged(&path, "it is the book of another build".to_owned()),
                    None => nameless,
                };
                let open = read.open.into_values().rev().collect();
                Some(Found { path, about, open, alive: !free, damaged: read.damaged })
            }
        }
    }

    fn path(&self, build: &str) -> Result<PathBuf> {
        match is_name(build) {
            true => Ok(self.dir.join(format!("{build}{ENDING}"))),
            false => Err(LedgerError::Name(build.to_owned())),
        }
    }

    fn lock(&self) -> Result<Held> {
        lock_directory(&self.dir)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// Whether it can be the identifier of a build.
fn is_name(build: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    (1..=LONGEST_NAME).contains(&build.len()) && !build.starts_with('-') && build.bytes().all(fits)
}

/// A file whose lock this process holds.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) File);

impl Drop for Held {
    fn drop(&mut self) {
        // Not only closed: a child that was forked meanwhile may hold the same open file.
        let _ = self.0.unlock();
    }
}

/// Waits for the lock of the directory.
pub(crate) fn lock_directory(dir: &Path) -> Result<Held> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(careful());
    let file = options.open(&path).map_err(LedgerError::file("open", &path))?;
    loop {
        match file.lock() {
            Ok(()) => return Ok(Held(file)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LedgerError::file("lock", &path)(error)),
        }
    }
}

/// Takes the lock of a book, if nobody holds it.
fn hold(file: &File) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Links are not followed, and a pipe does not make anybody wait.
fn careful() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32
}

/// Opens a book that is there.
fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).custom_flags(careful()).open(path);
    let file = file.map_err(LedgerError::file("open", path))?;
    let about = file.metadata().map_err(LedgerError::file("look at", path))?;
    let untrusted = |why: &str| LedgerError::Untrusted { path: path.to_path_buf(), why: why.to_owned() };
    if !about.is_file() {
        return Err(untrusted("it is not a file"));
    }
    if about.len() > LARGEST {
        return Err(untrusted("it is larger than any book"));
    }
    trusted(path, &about)?;
    Ok(file)
}

/// Who could write a line could have anything deleted that the user may delete.
fn trusted(path: &Path, about: &fs::Metadata) -> Result<()> {
    let untrusted = |why: &str| Err(LedgerError::Untrusted { path: path.to_path_buf(), why: why.to_owned() });
    if about.uid() != rustix::process::geteuid().as_raw() {
        return untrusted("it belongs to somebody else");
    }
    if about.mode() & 0o022 != 0 {
        return untrusted("others may write it");
    }
    Ok(())
}

/// Reads an opened book. It may grow meanwhile, but never beyond what a book has.
fn contents(file: &File, path: &Path) -> Result<line::Read> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).map_err(LedgerError::file("read", path))?;
    Ok(line::read(&text))
}
