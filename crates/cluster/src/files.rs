//! The files below a directory of a root file system, as a program that opens them sees them: links are followed, inside
//! of the root, and what they lead to is called by the link's path.

use std::io::Read;

use kiln_engine::rootfs::Root;
use kiln_oci::tree::{FileRef, Follow, NodeKind};

use crate::error::{ClusterError, Result};

/// As many files are looked into.
const MAX_FILES: usize = 100_000;
/// Larger files are not looked into.
const MAX_FILE: u64 = 64 << 20;
/// As many bytes of all files are looked into.
const MAX_TOTAL: u64 = 256 << 20;
/// As many links to directories are followed one below the other.
const MAX_LINKS: usize = 8;
/// As many files and directories are passed, those behind links each time.
const MAX_PASSED: usize = 1_000_000;

/// A file below a directory of the image.
pub(crate) struct Entry {
    /// Its path in the image.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

fn failed(path: &str, message: impl ToString) -> ClusterError {
    ClusterError::File { path: path.to_owned(), message: message.to_string() }
}

/// The contents of all regular files below a directory that are wanted, by path.
pub(crate) fn read(root: &Root, dir: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>> {
    let (mut all, mut total) = (Vec::new(), 0);
    walk(root, dir, &mut |path, file| {
        if !wanted(path) {
            return Ok(());
        }
        if all.len() >= MAX_FILES {
            return Err(failed(dir, format!("there are more than {MAX_FILES} files below it")));
        }
        let mut bytes = Vec::new();
        let opened = root.open_file(file).map_err(|e| failed(path, e))?;
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed(path, e))?;
        total += bytes.len() as u64;
        if bytes.len() as u64 > MAX_FILE || total > MAX_TOTAL {
            return Err(failed(path, format!("it, or all below {dir}, is larger than can be looked into")));
        }
        all.push(Entry { path: path.to_owned(), bytes });
        Ok(())
    })?;
    Ok(all)
}

/// The paths of all regular files below a directory.
pub(crate) fn paths(root: &Root, dir: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    walk(root, dir, &mut |path, _| {
        all.push(path.to_owned());
        Ok(())
    })?;
    Ok(all)
}

type Visit<'v> = dyn FnMut(&str, &FileRef) -> Result<()> + 'v;

fn walk(root: &Root, dir: &str, visit: &mut Visit<'_>) -> Result<()> {
    // A link to nothing, or around in a circle, is no directory.
    let Ok(Some(found)) = root.tree.lookup(dir.as_bytes(), Follow::All) else { return Ok(()) };
    Walk { root, dir, passed: 0, visit }.below(dir, &found.path, 0)
}

struct Walk<'w, 'v> {
    root: &'w Root,
    dir: &'w str,
    passed: usize,
    visit: &'w mut Visit<'v>,
}

impl Walk<'_, '_> {
    /// What is at a real path, called by the path it was reached by.
    fn below(&mut self, shown: &str, real: &[u8], links: usize) -> Result<()> {
        let root = self.root;
        for (path, node) in root.tree.walk(real) {
            self.passed += 1;
            if self.passed > MAX_PASSED {
                return Err(failed(self.dir, format!("it leads to more than {MAX_PASSED} files")));
            }
            let Some(rest) = path.get(real.len()..).and_then(|rest| std::str::from_utf8(rest).ok()) else { continue };
            let shown = format!("{shown}{rest}");
            match &node.kind {
                NodeKind::Symlink { .. } => self.link(&shown, &path, links)?,
                _ => node.file().map_or(Ok(()), |file| (self.visit)(&shown, file))?,
            }
        }
        Ok(())
    }

    fn link(&mut self, shown: &str, real: &[u8], links: usize) -> Result<()> {
        let root = self.root;
        let Ok(Some(found)) = root.tree.lookup(real, Follow::All) else { return Ok(()) };
        if let Some(file) = found.node.file() {
            return (self.visit)(shown, file);
        }
        // A directory that the link is in would be walked forever.
        let is_around = found.path.is_empty() || real.strip_prefix(&*found.path).is_some_and(|r| r.starts_with(b"/"));
        if is_around || !found.node.is_dir() {
            return Ok(());
        }
        match links < MAX_LINKS {
            true => self.below(shown, &found.path, links + 1),
            false => Err(failed(shown, format!("more than {MAX_LINKS} links lead there, each below another"))),
        }
    }
}
