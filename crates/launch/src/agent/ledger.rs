//! Files of a host that Kiln writes, and what was in their place: `/var/lib/kiln/ledger.json`.
//!
//! A line is in the ledger before its file is touched, and the file that was there is kept first; so a crash between two
//! steps loses nothing. Restoring goes backwards. A file that somebody changed after Kiln wrote it is left as it is, and
//! told: Kiln deletes only what it made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_oci::Hasher;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::error::{LaunchError, Result};

/// The version of the file.
const VERSION: u32 = 1;
/// Bytes of an order or a ledger.
const MAX: u64 = 64 << 20;
/// Lines that mark what Kiln wrote into a file of others.
const BEGIN: &str = "# kiln: begin";
const END: &str = "# kiln: end";

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Where: an absolute path.
    pub to: String,
    /// Its permission bits.
    pub mode: u32,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// This.
    Text(String),
    /// This, if there is nothing.
    Missing(String),
    /// What a file of the root file system has.
    Rootfs(String),
    /// What is there already, and these lines, which replace those of an earlier time.
    Lines(Vec<String>),
}

/// What an order changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Paths that are different now.
    pub changed: Vec<String>,
    /// Paths that could not be put back, and why.
    #[serde(default)]
    pub left: Vec<String>,
    /// What went wrong with others: they are still in the ledger, with what was in their place.
    #[serde(default)]
    pub failed: Vec<String>,
}

/// What Kiln wrote on this host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    version: u32,
    /// In the order they were written first.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    path: String,
    /// SHA-256 of what Kiln wrote last; of files with lines of others, empty.
    written: String,
    /// What was there: a file below `backup/`, and its permission bits, owner and group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup: Option<(String, u32, u32, u32)>,
    /// Directories that were made for it, the uppermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    made: Vec<String>,
}

impl Ledger {
    /// A number that no kept file has: one that could not be put back stays when those around it are gone.
    fn next_backup(&self) -> usize {
        let numbers = self.entries.iter().filter_map(|entry| entry.backup.as_ref()?.0.parse::<usize>().ok());
        numbers.max().map_or(0, |last| last + 1)
    }
}

/// The files of a host.
pub struct Files {
    root: PathBuf,
    home: PathBuf,
}

impl Files {
    /// Below `root`, which is `/` on a host; `home` is Kiln's own directory.
    pub fn new(root: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Files {
        Files { root: root.into(), home: home.into() }
    }

    fn at(&self, path: &str) -> Result<PathBuf> {
        let good = path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0');
        match good {
            true => Ok(self.root.join(path.trim_start_matches('/'))),
            false => Err(failed("write", Path::new(path))("it is no absolute path".to_owned())),
        }
    }

    fn ledger_path(&self) -> PathBuf {
        self.home.join("ledger.json")
    }

    fn load(&self) -> Result<Ledger> {
        let path = self.ledger_path();
        let Some(bytes) = read_if_there(&path)? else { return Ok(Ledger { version: VERSION, entries: Vec::new() }) };
        let ledger: Ledger =
            serde_json::from_slice(&bytes).map_err(|error| failed("read", &path)(error.to_string()))?;
        match ledger.version {
            VERSION => Ok(ledger),
            other => Err(failed("read", &path)(format!("it is of version {other}"))),
        }
    }

    fn save(&self, ledger: &Ledger) -> Result<()> {
        let text = serde_json::to_vec(ledger).unwrap_or_default();
        write(&self.ledger_path(), &mut &*text, 0o600).map(drop)
    }

    /// Brings files to what they are to be. Those that are so are not touched.
    ///
    /// # Errors
    /// At the first file that cannot be written; those before it are.
    pub fn install(&self, items: &[Item], rootfs: Option<&Path>) -> Result<Changed> {
        let mut ledger = self.load()?;
        let mut out = Changed::default();
        for item in items {
            if self.one(item, rootfs, &mut ledger)? {
                out.changed.push(item.to.clone());
            }
        }
        Ok(out)
    }

    /// Brings one file to what it is to be; returns whether it was something else.
    fn one(&self, item: &Item, rootfs: Option<&Path>, ledger: &mut Ledger) -> Result<bool> {
        let path = self.at(&item.to)?;
        if matches!(item.content, Content::Missing(_)) && path.symlink_metadata().is_ok() {
            return Ok(false);
        }
        let known = ledger.entries.iter().position(|entry| entry.path == item.to);
        let (mut source, digest): (Box<dyn Read>, String) = match &item.content {
            Content::Text(text) | Content::Missing(text) => {
                (Box::new(std::io::Cursor::new(text.clone())), sha256(&mut text.as_bytes(), &path)?)
            }
            Content::Rootfs(from) => {
                let mut file = in_rootfs(rootfs, from)?;
                let digest = sha256(&mut file, Path::new(from))?;
                (Box::new(in_rootfs(rootfs, from)?), digest)
            }
            Content::Lines(lines) => {
                let before = read_if_there(&path)?.unwrap_or_default();
                let text = with_lines(&String::from_utf8_lossy(&before), lines);
                let digest = sha256(&mut text.as_bytes(), &path)?;
                (Box::new(std::io::Cursor::new(text)), digest)
            }
        };
        if is_file_of(&path, &digest, item.mode)? {
            return Ok(false);
        }
        let written = if matches!(item.content, Content::Lines(_)) { String::new() } else { digest };
        let entry = match known.and_then(|at| ledger.entries.get_mut(at)) {
            Some(entry) => entry,
            None => {
                let made = self.missing_directories(&item.to)?;
                let backup = match written.is_empty() && path.exists() {
                    // Lines are taken out again; the rest of the file is not Kiln's to put back.
                    true => None,
                    false => self.keep(&path, ledger.next_backup())?,
                };
                ledger.entries.push(Entry { path: item.to.clone(), written: String::new(), backup, made });
                let last = ledger.entries.len() - 1;
                &mut ledger.entries[last]
            }
        };
        entry.written = written;
        self.save(ledger)?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| failed("make", dir)(error.to_string()))?;
        }
        write(&path, &mut source, item.mode)
    }

    /// Directories that are not there, on the way to a file.
    fn missing_directories(&self, to: &str) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for (at, _) in to.match_indices('/').skip(1) {
            let dir = to.get(..at).unwrap_or_default();
            if !self.at(dir)?.exists() {
                out.push(dir.to_owned());
            }
        }
        Ok(out)
    }

    /// Keeps the file that is there.
    fn keep(&self, path: &Path, number: usize) -> Result<Option<(String, u32, u32, u32)>> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path)(error.to_string())),
        };
        if meta.is_dir() {
            return Err(failed("write", path)("it is a directory".to_owned()));
        }
        let name = format!("{number:04}");
        let to = self.home.join("backup").join(&name);
        fs::create_dir_all(self.home.join("backup")).map_err(|error| failed("make", &to)(error.to_string()))?;
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|error| failed("read", path)(error.to_string()))?;
            let _ = fs::remove_file(&to);
            std::os::unix::fs::symlink(target, &to).map_err(|error| failed("write", &to)(error.to_string()))?;
        } else {
            let mut from = File::open(path).map_err(|error| failed("read", path)(error.to_string()))?;
            write(&to, &mut from, 0o600)?;
        }
        Ok(Some((name, meta.mode() & 0o7777, meta.uid(), meta.gid())))
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. What cannot be put back is told in the answer.
    pub fn restore(&self) -> Result<Changed> {
        let mut ledger = self.load()?;
        let mut out = Changed::default();
        for at in (0..ledger.entries.len()).rev() {
            let path = ledger.entries[at].path.clone();
            match self.put_back(&ledger.entries[at]) {
                Ok(None) => out.changed.push(path),
                Ok(Some(why)) => out.left.push(format!("{path}: {why}")),
                Err(error) => {
                    out.failed.push(error.to_string());
                    continue;
                }
            }
            ledger.entries.remove(at);
            self.save(&ledger)?;
        }
        Ok(out)
    }

    /// Puts one file back; says why it was left.
    fn put_back(&self, entry: &Entry) -> Result<Option<String>> {
        let path = self.at(&entry.path)?;
        let io = |what: &'static str| failed_io(what, &path);
        if entry.written.is_empty() && entry.backup.is_none() {
            let before = read_if_there(&path)?;
            let Some(before) = before else { return Ok(None) };
            let text = with_lines(&String::from_utf8_lossy(&before), &[]);
            if text.is_empty() {
                fs::remove_file(&path).map_err(io("remove"))?;
            } else if text.as_bytes() != before {
                let mode = fs::metadata(&path).map_err(io("read"))?.mode() & 0o7777;
                write(&path, &mut text.as_bytes(), mode)?;
            }
            self.remove_directories(entry);
            return Ok(None);
        }
        if path.exists()
            && !is_file_of(&path, &entry.written, fs::metadata(&path).map_err(io("read"))?.mode() & 0o7777)?
        {
            return Ok(Some("it was changed after Kiln wrote it".to_owned()));
        }
        match &entry.backup {
            Some((name, mode, uid, gid)) => {
                let from = self.home.join("backup").join(name);
                if let Ok(target) = fs::read_link(&from) {
                    let _ = fs::remove_file(&path);
                    std::os::unix::fs::symlink(target, &path).map_err(io("write"))?;
                } else {
                    let mut file = File::open(&from).map_err(io("read"))?;
                    write(&path, &mut file, *mode)?;
                    std::os::unix::fs::chown(&path, Some(*uid), Some(*gid)).map_err(io("write"))?;
                }
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove")(error)),
                _ => {}
            },
        }
        self.remove_directories(entry);
        Ok(None)
    }

    /// Removes directories that were made, if nothing else is in them.
    fn remove_directories(&self, entry: &Entry) {
        for dir in entry.made.iter().rev() {
            let Ok(dir) = self.at(dir) else { continue };
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}

/// A text with Kiln's lines at its end in place of those that it has; without any, its own lines alone.
pub fn with_lines(text: &str, lines: &[String]) -> String {
    let mut out: String = split(text, false).map(|line| format!("{line}\n")).collect();
    if !lines.is_empty() {
        out.push_str(BEGIN);
        out.push('\n');
        lines.iter().for_each(|line| {
            out.push_str(line);
            out.push('\n');
        });
        out.push_str(END);
        out.push('\n');
    }
    out
}

/// The lines of a text that are Kiln's.
pub fn own_lines(text: &str) -> impl Iterator<Item = &str> {
    split(text, true)
}

/// Kiln's lines of a text, or all others.
fn split(text: &str, own: bool) -> impl Iterator<Item = &str> {
    let mut ours = false;
    text.lines().filter(move |line| {
        if *line == BEGIN || *line == END {
            ours = *line == BEGIN;
            return false;
        }
        ours == own
    })
}

fn failed(what: &'static str, path: &Path) -> impl Fn(String) -> LaunchError {
    let path = path.to_owned();
    move |why| LaunchError::File { what, path: path.clone(), why }
}

fn failed_io(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> LaunchError {
    let path = path.to_owned();
    move |error| LaunchError::File { what, path: path.clone(), why: error.to_string() }
}

/// A file of the root file system, which an image's links cannot lead out of.
fn in_rootfs(rootfs: Option<&Path>, path: &str) -> Result<File> {
    let fail = failed("read", Path::new(path));
    let Some(rootfs) = rootfs else { return Err(fail("there is no root file system".to_owned())) };
    let dir = File::open(rootfs).map_err(failed_io("read", rootfs))?;
    let (flags, resolve) = (OFlags::RDONLY | OFlags::CLOEXEC, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
    let opened = rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve);
    let file = File::from(opened.map_err(|error| fail(error.to_string()))?);
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(file),
        _ => Err(fail("it is no file".to_owned())),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error.to_string())),
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MAX + 1).read_to_end(&mut bytes).map_err(failed_io("read", path))?;
            match bytes.len() as u64 > MAX {
                true => Err(failed("read", path)(format!("more than {} MiB", MAX >> 20))),
                false => Ok(Some(bytes)),
            }
        }
    }
}

fn sha256(from: &mut dyn Read, path: &Path) -> Result<String> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer).map_err(failed_io("read", path))? {
            0 => return Ok(hasher.finish().hex()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Whether there is a plain file with these bytes and permission bits.
fn is_file_of(path: &Path, digest: &str, mode: u32) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o7777 == mode => {
            let mut file = File::open(path).map_err(failed_io("read", path))?;
            Ok(sha256(&mut file, path)? == digest)
        }
        _ => Ok(false),
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, from: &mut dyn Read, mode: u32) -> Result<bool> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let draft = path.with_file_name(format!(".{name}.kiln-new"));
    let _ = fs::remove_file(&draft);
    let io = failed_io("write", path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft).map_err(&io)?;
    let written = std::io::copy(from, &mut file)
        .and_then(|_| file.flush())
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map(|()| true).map_err(io)
}

/// How an order of files is written down: by path, later ones replace earlier ones.
pub fn order(items: Vec<Item>) -> Vec<Item> {
    let mut by_path: BTreeMap<String, Item> = BTreeMap::new();
    for item in items {
        by_path.insert(item.to.clone(), item);
    }
    by_path.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("root/etc")).unwrap();
            fs::create_dir_all(dir.path().join("home")).unwrap();
            fs::create_dir_all(dir.path().join("fs/bin")).unwrap();
            Place(dir)
        }

        fn files(&self) -> Files {
            Files::new(self.0.path().join("root"), self.0.path().join("home"))
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn text(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.path(path)).ok()
        }
    }

    fn item(to: &str, content: Content) -> Item {
        Item { to: to.into(), mode: 0o644, content }
    }

    #[test]
    fn what_cannot_be_put_back_stays_in_the_ledger() {
        let place = Place::new();
        fs::write(place.path("root/etc/a"), "old").unwrap();
        let items = [item("/etc/a", Content::Text("new".into())), item("/etc/b", Content::Text("new".into()))];
        place.files().install(&items, None).unwrap();
        let (backup, away) = (place.path("home/backup"), place.path("away"));
        fs::rename(&backup, &away).unwrap();
        let restored = place.files().restore().unwrap();
        assert_eq!(
            (restored.changed.as_slice(), restored.failed.len()),
            (&["/etc/b".to_owned()][..], 1),
            "{restored:?}"
        );
        fs::rename(&away, &backup).unwrap();
        let restored = place.files().restore().unwrap();
        assert_eq!(
            (restored.changed.as_slice(), restored.failed.len()),
            (&["/etc/a".to_owned()][..], 0),
            "{restored:?}"
        );
        assert_eq!(place.text("root/etc/a").as_deref(), Some("old"));
    }

    #[test]
    fn what_is_kept_is_not_written_over_by_what_is_kept_later() {
        let place = Place::new();
        let new = |to: &str| item(to, Content::Text("new".into()));
        for name in ["a", "b", "c"] {
            fs::write(place.path(&format!("root/etc/{name}")), name).unwrap();
        }
        place.files().install(&[new("/etc/a"), new("/etc/b")], None).unwrap();
        let (kept, away) = (place.path("home/backup/0001"), place.path("away"));
        fs::rename(&kept, &away).unwrap();
        assert_eq!(place.files().restore().unwrap().failed.len(), 1);
        fs::rename(&away, &kept).unwrap();
        place.files().install(&[new("/etc/c")], None).unwrap();
        assert_eq!(place.files().restore().unwrap().failed, [""; 0]);
        let now = ["a", "b", "c"].map(|name| place.text(&format!("root/etc/{name}")).unwrap());
        assert_eq!(now, ["a", "b", "c"]);
    }

    #[test]
    fn what_was_there_comes_back() {
        let place = Place::new();
        fs::write(place.path("root/etc/a"), "old").unwrap();
        fs::set_permissions(place.path("root/etc/a"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(place.path("root/etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        std::os::unix::fs::symlink("elsewhere", place.path("root/etc/link")).unwrap();
        fs::write(place.path("fs/bin/tool"), "tool").unwrap();
        let items = [
            item("/etc/a", Content::Text("new".into())),
            item("/etc/link", Content::Text("file".into())),
            item("/etc/hosts", Content::Missing("never".into())),
            item("/usr/bin/tool", Content::Rootfs("bin/tool".into())),
            item("/etc/hosts", Content::Lines(vec!["10.0.0.1 api".into()])),
        ];
        let rootfs = place.path("fs");
        let changed = place.files().install(&items, Some(&rootfs)).unwrap();
        assert_eq!(changed.changed.len(), 4);
        assert_eq!(place.files().install(&items, Some(&rootfs)).unwrap(), Changed::default(), "twice changes nothing");
        assert_eq!(place.text("root/etc/a").as_deref(), Some("new"));
        assert_eq!(place.text("root/usr/bin/tool").as_deref(), Some("tool"));
        assert!(place.text("root/etc/hosts").unwrap().contains("10.0.0.1 api"));
        // Another lot of lines replaces the first, and somebody adds one of their own.
        place.files().install(&[item("/etc/hosts", Content::Lines(vec!["10.0.0.2 api".into()]))], None).unwrap();
        let hosts = place.text("root/etc/hosts").unwrap();
        assert!(!hosts.contains("10.0.0.1"), "{hosts}");
        fs::write(place.path("root/etc/hosts"), hosts + "9.9.9.9 mine\n").unwrap();
        let restored = place.files().restore().unwrap();
        assert!(restored.left.is_empty(), "{restored:?}");
        assert_eq!(place.text("root/etc/a").as_deref(), Some("old"));
        assert_eq!(fs::metadata(place.path("root/etc/a")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_link(place.path("root/etc/link")).unwrap(), Path::new("elsewhere"));
        assert!(!place.path("root/usr").exists(), "directories that were made are gone");
        assert_eq!(place.text("root/etc/hosts").as_deref(), Some("127.0.0.1 localhost\n9.9.9.9 mine\n"));
    }

    #[test]
    fn what_somebody_changed_since_is_left() {
        let place = Place::new();
        place.files().install(&[item("/etc/a", Content::Text("ours".into()))], None).unwrap();
        fs::write(place.path("root/etc/a"), "theirs").unwrap();
        let restored = place.files().restore().unwrap();
        assert_eq!(restored.left, ["/etc/a: it was changed after Kiln wrote it"]);
        assert_eq!(place.text("root/etc/a").as_deref(), Some("theirs"));
    }

    #[test]
    fn a_link_of_an_image_leads_nowhere_else() {
        let place = Place::new();
        fs::write(place.path("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(place.path("secret"), place.path("fs/bin/tool")).unwrap();
        let rootfs = place.path("fs");
        for from in ["bin/tool", "../secret", "bin"] {
            let content = Content::Rootfs(from.into());
            assert!(place.files().install(&[item("/usr/bin/tool", content)], Some(&rootfs)).is_err(), "{from}");
        }
        for to in ["usr/x", "/etc/../x", ""] {
            assert!(place.files().install(&[item(to, Content::Text(String::new()))], None).is_err(), "{to}");
        }
    }

    #[test]
    fn a_crash_behind_the_ledger_is_put_back_too() {
        let place = Place::new();
        fs::write(place.path("root/etc/a"), "old").unwrap();
        place.files().install(&[item("/etc/a", Content::Text("new".into()))], None).unwrap();
        // As if the file had not been replaced: the ledger and the kept file are there before it is.
        fs::write(place.path("root/etc/a"), "old").unwrap();
        let restored = place.files().restore().unwrap();
        assert_eq!(place.text("root/etc/a").as_deref(), Some("old"), "{restored:?}");
    }
}
