//! The directory: where it is, what is in it, and how it is opened.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_oci::Digest;

use crate::error::at;
use crate::form::Form;
use crate::lease::LeaseState;
use crate::lock;
use crate::{Result, StoreError, temp};

/// The version of everything below `kiln/`. A store with a higher one is refused.
pub const VERSION: u32 = 1;

/// The directories of a store. Those below `kiln/` are closed to other users: an unpacked layer may hold setuid files.
const LAYOUT: [(&str, u32); 15] = [
    ("blobs", 0o755),
    ("blobs/sha256", 0o755),
    ("kiln", 0o700),
    ("kiln/cache", 0o700),
    ("kiln/snapshots", 0o700),
    ("kiln/index", 0o700),
    ("kiln/tars", 0o700),
    ("kiln/diffs", 0o700),
    ("kiln/context", 0o700),
    ("kiln/caches", 0o700),
    ("kiln/leases", 0o700),
    ("kiln/locks", 0o700),
    ("kiln/partial", 0o700),
    ("kiln/pending", 0o700),
    ("kiln/tmp", 0o700),
];

const OCI_LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
const EMPTY_INDEX: &[u8] =
    b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";

/// The kinds of things a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A blob, named by its digest.
    Blob,
    /// An unpacked layer, named by its diff id.
    Snapshot,
    /// A layer as an uncompressed tar, named by its diff id.
    Tar,
    /// What a layer holds, with offsets; named by its diff id.
    Index,
    /// Which blobs are the same layer; named by the layer's diff id.
    Layer,
    /// A build cache record, named `kind/hash of its key`.
    Record,
    /// What is remembered of the files of a build context.
    Table,
    /// A directory of `RUN --mount=type=cache`, named by the hash of its id.
    Mount,
    /// A blob that was fetched in part.
    Partial,
    /// Left by a process that died.
    Temp,
}

impl Kind {
    /// All kinds, in the order reports list them.
    pub const ALL: [Kind; 10] = [
        Kind::Blob,
        Kind::Snapshot,
        Kind::Tar,
        Kind::Index,
        Kind::Layer,
        Kind::Record,
        Kind::Table,
        Kind::Mount,
        Kind::Partial,
        Kind::Temp,
    ];

    /// The name filters and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Blob => "blob",
            Kind::Snapshot => "snapshot",
            Kind::Tar => "tar",
            Kind::Index => "index",
            Kind::Layer => "layer",
            Kind::Record => "record",
            Kind::Table => "table",
            Kind::Mount => "mount",
            Kind::Partial => "partial",
            Kind::Temp => "temp",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something the user may want to know that stopped nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub path: PathBuf,
    /// What happened, and what was done about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}

/// The values of the environment that decide where the store is.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirEnv<'a> {
    /// `KILN_STORE`.
    pub kiln_store: Option<&'a OsStr>,
    /// Whether the effective user is root.
    pub root: bool,
    /// `XDG_DATA_HOME`.
    pub xdg_data_home: Option<&'a OsStr>,
    /// `HOME`.
    pub home: Option<&'a OsStr>,
}

/// A handle on a store. Clones share what they know and one lease; any thread may use any clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    root: PathBuf,
    form: Form,
    writable: bool,
    boot: Option<String>,
    serial: AtomicU64,
    pub(crate) lease: Mutex<LeaseState>,
    pub(crate) stamped: Mutex<HashSet<(Kind, String)>>,
    warnings: Mutex<Vec<Warning>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner.root.display())
    }
}

/// Locks a mutex whose data stays meaningful when another thread panicked.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Where the store is when no option says so: `KILN_STORE`, else for root `/var/lib/kiln`, else
    /// `$XDG_DATA_HOME/kiln`, else `~/.local/share/kiln`. Empty values count as unset.
    ///
    /// # Errors
    /// [`StoreError::NoDefaultDir`] when nothing is set.
    pub fn default_dir(env: &DirEnv<'_>) -> Result<PathBuf> {
        let set = |value: Option<&OsStr>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(dir) = set(env.kiln_store) {
            return Ok(dir);
        }
        if env.root {
            return Ok(PathBuf::from("/var/lib/kiln"));
        }
        // The XDG specification says that relative values are to be ignored.
        if let Some(data) = set(env.xdg_data_home).filter(|p| p.is_absolute()) {
            return Ok(data.join("kiln"));
        }
        set(env.home).map(|home| home.join(".local/share/kiln")).ok_or(StoreError::NoDefaultDir)
    }

    /// Opens the store in `dir`, making it if the directory is missing or empty.
    ///
    /// A store that cannot be written opens too; functions that write then fail with [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// When the directory holds something else, was made by a newer Kiln, is damaged, or cannot be made.
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_as(dir, Form::Real)
    }

    /// The same for a process that keeps unpacked files in another form. What is kept in other forms is not seen, but
    /// measured and pruned.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_as(dir: impl AsRef<Path>, form: Form) -> Result<Store> {
        let root = std::path::absolute(dir.as_ref())
            .map_err(at(dir.as_ref(), |path, source| StoreError::Open { path, source }))?;
        if !has_version(&root)? {
            create(&root)?;
        }
        let writable = rustix::fs::access(root.join("kiln"), rustix::fs::Access::WRITE_OK).is_ok();
        if writable {
            complete(&root)?;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned());
        let inner = Inner {
            root,
            form,
            writable,
            boot,
            serial: AtomicU64::new(0),
            lease: Mutex::default(),
            stamped: Mutex::default(),
            warnings: Mutex::default(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.inner.root
    }

    /// How unpacked files are kept.
    pub fn form(&self) -> &Form {
        &self.inner.form
    }

    /// Whether nothing can be written here.
    pub fn is_read_only(&self) -> bool {
        !self.inner.writable
    }

    /// The warnings collected since the last call, oldest first.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut locked(&self.inner.warnings))
    }

    pub(crate) fn warn(&self, path: &Path, text: impl Into<String>) {
        locked(&self.inner.warnings).push(Warning { path: path.to_path_buf(), text: text.into() });
    }

    /// A path below `kiln/`.
    pub(crate) fn own(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.inner.root.join("kiln").join(relative)
    }

    /// Identifies this boot of the machine; `None` when the kernel does not say.
    pub(crate) fn boot(&self) -> Option<&str> {
        self.inner.boot.as_deref()
    }

    /// A number no other caller of this handle gets.
    pub(crate) fn serial(&self) -> u64 {
        self.inner.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn writable(&self, intent: &'static str) -> Result<()> {
        match self.inner.writable {
            true => Ok(()),
            false => Err(StoreError::ReadOnly { path: self.inner.root.clone(), intent }),
        }
    }

    /// The path of a thing, if its name is a plain file name.
    pub(crate) fn place(&self, kind: Kind, digest: &Digest) -> PathBuf {
        match kind {
            Kind::Blob => self.blob_path(digest),
            Kind::Snapshot => self.own("snapshots").join(format!("{}{}", digest.hex(), self.form().suffix())),
            Kind::Tar => self.own("tars").join(digest.hex()),
            Kind::Index => self.own("index").join(digest.hex()),
            Kind::Layer => self.own("diffs").join(digest.hex()),
            Kind::Record => self.own("cache"),
            Kind::Table => self.own("context"),
            Kind::Mount => self.own("caches"),
            Kind::Partial => self.own(Store::partial_name(digest)),
            Kind::Temp => self.own("tmp"),
        }
    }
}

/// Whether `root` holds a store this build can read.
fn has_version(root: &Path) -> Result<bool> {
    let path = root.join("kiln/version");
    let found = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(32)]).trim().to_owned(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => return Ok(false),
        Err(source) => return Err(StoreError::Open { path, source }),
    };
    match found.parse::<u32>() {
        Ok(VERSION) => Ok(true),
        Ok(_) => Err(StoreError::Version { path: root.to_path_buf(), found, supported: VERSION }),
        Err(_) => Err(StoreError::Damaged { path, why: "it does not hold a version number".to_owned() }),
    }
}

fn mkdir(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(StoreError::Create { path: path.to_path_buf(), source }),
    }
}

/// Makes `root` a store, if nothing speaks against it. What is there after a crash in between is accepted again.
fn create(root: &Path) -> Result<()> {
    let failed = |path: &Path, source| StoreError::Create { path: path.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| failed(root, e))?;
    let listing = fs::read_dir(root).map_err(|e| failed(root, e))?;
    for entry in listing {
        let name = entry.map_err(|e| failed(root, e))?.file_name();
        // `lost+found` is what a fresh volume holds; `kiln` alone is a store whose making was interrupted.
        if name != "lost+found" && name != "kiln" {
            // Another process may have finished the store since we looked.
            if has_version(root)? {
                return Ok(());
            }
            let found = name.to_string_lossy().into_owned();
            return Err(StoreError::NotAStore { path: root.to_path_buf(), found });
        }
    }
    let own = root.join("kiln");
    mkdir(&own, 0o700)?;
    let version = own.join("version");
    let strangers = fs::read_dir(&own).map_err(|e| failed(&own, e))?.filter_map(Result::ok).map(|e| e.file_name());
    if let Some(found) = strangers.into_iter().find(|n| !n.to_string_lossy().starts_with("version.")) {
        return match has_version(root)? {
            true => Ok(()),
            false => Err(StoreError::NotAStore {
                path: root.to_path_buf(),
                found: format!("kiln/{}", found.to_string_lossy()),
            }),
        };
    }
    let draft = own.join(format!("version.{}", temp::unique(0)));
    let written = write_synced(&draft, format!("{VERSION}\n").as_bytes()).and_then(|()| fs::rename(&draft, &version));
    match written {
        // Another process made the store meanwhile, and tidied up.
        Err(e) if e.kind() == io::ErrorKind::NotFound && has_version(root)? => return Ok(()),
        other => other.and_then(|()| temp::sync_dir(&own)).map_err(|e| failed(&version, e))?,
    }
    // Drafts of those that died while they made the store, or that find it made now.
    for (path, _) in crate::usage::files(&own)? {
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("version.")) {
            fs::remove_file(&path).or_else(temp::ignore_missing).map_err(|e| failed(&path, e))?;
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes what is missing of a store. Under the lock of the refs, so that nobody's names are replaced by none.
fn complete(root: &Path) -> Result<()> {
    for (dir, mode) in LAYOUT {
        mkdir(&root.join(dir), mode)?;
    }
    // The gate must not need room on a disk that is to be pruned because it is full.
    drop(lock::Gate::shared(root).map_err(at(root, |path, source| StoreError::Create { path, source }))?);
    let (marker, index) = (root.join("oci-layout"), root.join("index.json"));
    if marker.exists() && index.exists() {
        return Ok(());
    }
    let _guard = lock::system(root, "refs")?;
    if marker.exists() && !index.exists() {
        let why =
            "the file with the names of all images is missing: restore it, or remove `oci-layout` to start without";
        return Err(StoreError::Damaged { path: index, why: why.to_owned() });
    }
    for (path, bytes) in [(index, EMPTY_INDEX), (marker, OCI_LAYOUT)] {
        if !path.exists() {
            let create = |source| StoreError::Create { path: path.clone(), source };
            // With the gate shared, nobody takes the draft for one that the dead left.
            let _gate = lock::Gate::shared(root).map_err(create)?;
            let draft = root.join("kiln/tmp").join(format!("kiln-{}", temp::unique(0)));
            write_synced(&draft, bytes)
                .and_then(|()| fs::rename(&draft, &path))
                .and_then(|()| temp::sync_dir(root))
                .map_err(at(&path, |path, source| StoreError::Create { path, source }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_store_follows_the_environment() {
        let os = |text: &'static str| Some(OsStr::new(text));
        let dir = |env: DirEnv<'_>| Store::default_dir(&env).map(|p| p.to_string_lossy().into_owned());
        let user = DirEnv { kiln_store: None, root: false, xdg_data_home: os("/x"), home: os("/home/u") };
        assert_eq!(dir(DirEnv { kiln_store: os("s"), root: true, ..user }).unwrap(), "s");
        assert_eq!(dir(DirEnv { kiln_store: os(""), root: true, ..user }).unwrap(), "/var/lib/kiln");
        assert_eq!(dir(user).unwrap(), "/x/kiln");
        assert_eq!(dir(DirEnv { xdg_data_home: os("relative"), ..user }).unwrap(), "/home/u/.local/share/kiln");
        assert_eq!(dir(DirEnv { xdg_data_home: None, ..user }).unwrap(), "/home/u/.local/share/kiln");
        assert!(matches!(Store::default_dir(&DirEnv::default()), Err(StoreError::NoDefaultDir)));
    }
}
