//! The members of an archive, in the store as they come.

use std::collections::BTreeMap;
use std::io::Read;

use kiln_oci::archive::{Part, part};
use kiln_oci::compress;
use kiln_oci::layer::{LayerReader, ReadOptions};
use kiln_oci::{Digest, EntryKind};

use super::archive_error;
use crate::error::{EngineError, Result};
use crate::images::MAX_DOCUMENT;
use crate::rootfs::chain_text;
use crate::transfer::Mover;

/// As many members an archive may have.
const MAX_MEMBERS: u64 = 1_000_000;
/// How many links lead from one member to the next.
const MAX_LINKS: usize = 8;

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The digest of its bytes, which are in the store.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What an archive holds, by the paths in it.
pub struct Spool {
    title: String,
    documents: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
}

impl Spool {
    /// Reads an archive to its end. Members named by a digest must have it.
    ///
    /// # Errors
    /// When it is damaged, a member is not what its name says, or the store cannot be written.
    pub fn read(mover: &Mover<'_>, title: &str, tar: Box<dyn Read + Send>) -> Result<Spool> {
        let mut spool = Spool {
            title: title.to_owned(),
            documents: BTreeMap::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let bad = |e: kiln_oci::LayerError| archive_error(title, chain_text(&e));
        let options = ReadOptions { max_entries: MAX_MEMBERS, ..ReadOptions::archive() };
        let mut reader = LayerReader::with_options(tar, options);
        while let Some(mut entry) = reader.next_entry().map_err(bad)? {
            mover.check()?;
            let Ok(path) = String::from_utf8(entry.entry.path.clone()) else {
                return Err(archive_error(title, "it has a member whose name is not UTF-8"));
            };
            match &entry.entry.kind {
                EntryKind::File { size } => {
                    let size = *size;
                    spool.file(mover, path, size, &mut entry)?;
                }
                EntryKind::Symlink { target } => {
                    if let Some(target) = beside(&path, &String::from_utf8_lossy(target)) {
                        spool.links.insert(path, target);
                    }
                }
                EntryKind::Hardlink { target } => {
                    spool.links.insert(path, String::from_utf8_lossy(target).into_owned());
                }
                _ => {}
            }
        }
        Ok(spool)
    }

    fn file(&mut self, mover: &Mover<'_>, path: String, size: u64, body: &mut dyn Read) -> Result<()> {
        let failed = |e: std::io::Error| archive_error(&self.title, format!("`{path}`: {e}"));
        let expected = match part(path.as_bytes()) {
            Part::Layout | Part::Index | Part::Saved | Part::Repositories => {
                if size > MAX_DOCUMENT {
                    return Err(archive_error(&self.title, format!("`{path}` is larger than {MAX_DOCUMENT} bytes")));
                }
                let mut bytes = Vec::new();
                body.read_to_end(&mut bytes).map_err(failed)?;
                self.documents.insert(path, bytes);
                return Ok(());
            }
            Part::Blob(digest) => Some(digest),
            _ => None,
        };
        let mut writer = mover.store.blob_writer()?.limit(size);
        std::io::copy(body, &mut writer).map_err(failed)?;
        let (digest, size) = writer.commit(expected.as_ref(), Some(size)).map_err(|e| match &expected {
            Some(_) if matches!(e.kind(), kiln_store::ErrorKind::Damaged) => {
                archive_error(&self.title, format!("`{path}` is not what its name says: {e}"))
            }
            _ => EngineError::from(e),
        })?;
        self.files.insert(path, File { digest, size });
        Ok(())
    }

    /// What people call the archive.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether the archive has a document.
    pub fn has(&self, name: &str) -> bool {
        self.documents.contains_key(name)
    }

    /// A document of the archive.
    ///
    /// # Errors
    /// When it is not there.
    pub fn document(&self, name: &str) -> Result<&[u8]> {
        self.documents.get(name).map(|b| &**b).ok_or_else(|| self.missing(name))
    }

    /// A member, links followed.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, path: &str) -> Result<&File> {
        let mut at = path.trim_start_matches("./");
        for _ in 0..MAX_LINKS {
            if let Some(file) = self.files.get(at) {
                return Ok(file);
            }
            match self.links.get(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        Err(self.missing(path))
    }

    /// The content of a small member.
    ///
    /// # Errors
    /// When it is not there or too large.
    pub fn read_member(&self, mover: &Mover<'_>, path: &str) -> Result<Vec<u8>> {
        let file = self.get(path)?;
        if file.size > MAX_DOCUMENT {
            return Err(archive_error(&self.title, format!("`{path}` is larger than {MAX_DOCUMENT} bytes")));
        }
        Ok(mover.store.read_blob(&file.digest, MAX_DOCUMENT)?)
    }

    fn missing(&self, path: &str) -> EngineError {
        archive_error(&self.title, format!("`{path}` is missing from the archive"))
    }

    /// How a member is compressed, by its first bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn format(&self, mover: &Mover<'_>, file: &File) -> Result<Option<compress::Format>> {
        let mut head = Vec::new();
        let opened = mover.store.open_blob(&file.digest)?;
        opened.take(512).read_to_end(&mut head).map_err(|e| archive_error(&self.title, e))?;
        Ok(compress::detect(&head))
    }
}

/// Where a relative link in an archive leads; `None` if it leads out of it.
fn beside(path: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn links_stay_inside() {
        assert_eq!(beside("b/layer.tar", "../a/layer.tar").as_deref(), Some("a/layer.tar"));
        assert_eq!(beside("x.tar", "./y.tar").as_deref(), Some("y.tar"));
        assert_eq!(beside("x.tar", "../y.tar"), None);
        assert_eq!(beside("x.tar", "/etc/passwd"), None);
    }
}
