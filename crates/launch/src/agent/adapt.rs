//! The root file system of an image as it is for this host: rendered templates, changed files.
//!
//! What was in their place is kept beside it, and put back before it is changed anew: what is no longer wanted is as the
//! image has it.

use std::fs;
use std::path::{Path, PathBuf};

use super::ledger::{Changed, Files, Item};
use crate::error::{LaunchError, Result};

/// Where what was in the place of changed files is kept.
fn home(rootfs: &Path) -> PathBuf {
    let mut name = rootfs.file_name().unwrap_or_default().to_owned();
    name.push(".changes");
    rootfs.with_file_name(name)
}

/// Changes files of a root file system; paths are those inside of it, from `/`.
///
/// # Errors
/// When it is not there, a path leads through a link, or a file cannot be written or put back.
pub fn adapt(rootfs: &Path, items: &[Item]) -> Result<Changed> {
    let failed = |path: &Path, why: String| LaunchError::File { what: "change", path: path.to_owned(), why };
    if !rootfs.is_dir() {
        return Err(failed(rootfs, "there is no such directory".to_owned()));
    }
    items.iter().try_for_each(|item| inside(rootfs, &item.to))?;
    let home = home(rootfs);
    fs::create_dir_all(&home).map_err(|error| failed(&home, error.to_string()))?;
    let files = Files::new(rootfs, &home);
    let restored = files.restore()?;
    if let Some(why) = restored.failed.first() {
        return Err(failed(rootfs, format!("what it had cannot be put back: {why}")));
    }
    Ok(Changed { left: restored.left, ..files.install(items, None)? })
}

/// What is on the way to a file is a directory: a link of an image leads elsewhere.
fn inside(rootfs: &Path, to: &str) -> Result<()> {
    let failed = |path: &Path, why: &str| LaunchError::File { what: "change", path: path.to_owned(), why: why.into() };
    let mut path = rootfs.to_owned();
    let mut parts: Vec<&str> = to.split('/').filter(|part| !part.is_empty()).collect();
    let last = parts.pop();
    if last.is_none() || parts.iter().chain(&last).any(|part| matches!(*part, "." | "..")) {
        return Err(failed(Path::new(to), "it is no path inside of the root file system"));
    }
    for part in parts {
        path.push(part);
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&path, &error.to_string())),
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(failed(&path, "on the way to a file that is changed, it is no directory")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Content;
    use super::*;

    fn item(to: &str, text: &str) -> Item {
        Item { to: to.to_owned(), mode: 0o644, content: Content::Text(text.to_owned()) }
    }

    #[test]
    fn what_is_no_longer_wanted_is_as_the_image_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("ab");
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::write(rootfs.join("etc/a"), "image").unwrap();
        adapt(&rootfs, &[item("/etc/a", "one"), item("/new/b", "one")]).unwrap();
        assert_eq!(fs::read_to_string(rootfs.join("etc/a")).unwrap(), "one");
        adapt(&rootfs, &[item("/etc/c", "two")]).unwrap();
        assert_eq!(fs::read_to_string(rootfs.join("etc/a")).unwrap(), "image");
        assert!(!rootfs.join("new").exists() && rootfs.join("etc/c").exists());
        adapt(&rootfs, &[]).unwrap();
        assert!(!rootfs.join("etc/c").exists());
    }

    #[test]
    fn nothing_is_written_through_links_of_the_image_or_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, host) = (dir.path().join("ab"), dir.path().join("host"));
        fs::create_dir_all(&rootfs).unwrap();
        fs::create_dir_all(&host).unwrap();
        std::os::unix::fs::symlink(&host, rootfs.join("etc")).unwrap();
        fs::write(rootfs.join("file"), "").unwrap();
        for to in ["/etc/passwd", "/../host/passwd", "/file/x", "/", "/a/../../host/x", ""] {
            assert!(adapt(&rootfs, &[item(to, "x")]).is_err(), "{to}");
        }
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
        assert!(adapt(&dir.path().join("none"), &[]).is_err());
    }
}
