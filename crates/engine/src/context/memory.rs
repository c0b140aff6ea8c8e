//! A few files in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use kiln_oci::{Meta, name};

use super::{Kind, Source, Stat};
use crate::error::{EngineError, Result};

/// Files in memory: what a user hands in as text, and what tests copy from.
#[derive(Debug, Clone)]
pub struct MemorySource {
    nodes: BTreeMap<Vec<u8>, (Stat, Arc<[u8]>)>,
}

impl Default for MemorySource {
    fn default() -> Self {
        MemorySource::new()
    }
}

impl MemorySource {
    /// An empty root, `0755`.
    pub fn new() -> MemorySource {
        MemorySource { nodes: BTreeMap::new() }.dir("", 0o755)
    }

    /// With a regular file, owned by root and dated at the epoch. Missing directories above it are made, `0755`.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, mode: u32, content: impl AsRef<[u8]>) -> MemorySource {
        let content = content.as_ref();
        let stat = Stat { meta: Meta::mode(mode), kind: Kind::File { size: content.len() as u64 }, link: None };
        self.with(path.as_ref(), stat, content)
    }

    /// With a directory.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> MemorySource {
        self.with(path.as_ref(), Stat { meta: Meta::mode(mode), kind: Kind::Dir, link: None }, b"")
    }

    /// With a symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> MemorySource {
        let kind = Kind::Symlink { target: target.as_ref().to_vec() };
        self.with(path.as_ref(), Stat { meta: Meta::mode(0o777), kind, link: None }, b"")
    }

    /// With anything at all at a clean path.
    #[must_use]
    pub fn with(mut self, path: &[u8], stat: Stat, content: &[u8]) -> MemorySource {
        let mut parent = path;
        while !parent.is_empty() {
            parent = name::split(parent).0;
            let dir = Stat { meta: Meta::mode(0o755), kind: Kind::Dir, link: None };
            self.nodes.entry(parent.to_vec()).or_insert_with(|| (dir, Arc::default()));
        }
        self.nodes.insert(path.to_vec(), (stat, content.into()));
        self
    }
}

impl Source for MemorySource {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        Ok(self.nodes.get(path).map(|(stat, _)| stat.clone()))
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let below = self.nodes.keys().filter(|path| !path.is_empty());
        Ok(below
            .map(|path| name::split(path))
            .filter(|(parent, _)| *parent == dir)
            .map(|(_, base)| base.to_vec())
            .collect())
    }

    fn open(&self, path: &[u8], _: &Stat) -> Result<Box<dyn Read + Send>> {
        match self.nodes.get(path) {
            Some((Stat { kind: Kind::File { .. }, .. }, content)) => Ok(Box::new(Cursor::new(content.clone()))),
            _ => Err(EngineError::Context(format!("`{}` is not a file in memory", name::escape(path)))),
        }
    }
}
