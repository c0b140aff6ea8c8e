//! The files of a stage or an image: its layers, stacked.

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

use kiln_oci::tree::{FileRef, Node, NodeKind, Tree};
use kiln_oci::{Digest, name};
use kiln_store::reader::Content;

use super::{Kind, Picked, Source, Stat, select};
use crate::error::{EngineError, Result};
use crate::rootfs::Root;

/// Stacked layers as a source. Owner, mode, time and file capabilities are those of the image.
pub struct LayerSource {
    tree: Tree,
    content: Box<dyn Content + Send + Sync>,
    /// Files with several names, by layer and inode, numbered.
    links: OnceLock<HashMap<Digest, HashMap<u64, u64>>>,
}

impl LayerSource {
    /// The files of stacked layers.
    pub fn new(root: Root) -> LayerSource {
        LayerSource::of(root.tree.clone(), Box::new(root))
    }

    /// The files of a tree, whose bytes `content` has.
    pub fn of(tree: Tree, content: Box<dyn Content + Send + Sync>) -> LayerSource {
        LayerSource { tree, content, links: OnceLock::new() }
    }

    /// The number of a file that has several names.
    fn link(&self, file: &FileRef) -> Option<u64> {
        let links = self.links.get_or_init(|| number_links(&self.tree));
        links.get(&*file.layer)?.get(&file.inode).copied()
    }

    fn describe(&self, node: &Node) -> Stat {
        let kind = match &node.kind {
            NodeKind::Dir(_) => Kind::Dir,
            NodeKind::File(file) => Kind::File { size: file.size },
            NodeKind::Symlink { target } => Kind::Symlink { target: target.to_vec() },
            NodeKind::Char { major, minor } => Kind::Char { major: *major, minor: *minor },
            NodeKind::Block { major, minor } => Kind::Block { major: *major, minor: *minor },
            NodeKind::Fifo => Kind::Fifo,
        };
        Stat { meta: node.meta.clone(), kind, link: node.file().and_then(|file| self.link(file)) }
    }
}

fn number_links(tree: &Tree) -> HashMap<Digest, HashMap<u64, u64>> {
    let mut names: HashMap<&Digest, HashMap<u64, u32>> = HashMap::new();
    for (_, node) in tree.walk(b"") {
        if let Some(file) = node.file() {
            *names.entry(&file.layer).or_default().entry(file.inode).or_default() += 1;
        }
    }
    let mut links: HashMap<Digest, HashMap<u64, u64>> = HashMap::new();
    let mut next = 0;
    for (layer, inodes) in names {
        for (inode, _) in inodes.into_iter().filter(|(_, count)| *count > 1) {
            links.entry(layer.clone()).or_default().insert(inode, next);
            next += 1;
        }
    }
    links
}

impl Source for LayerSource {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        Ok(self.tree.at(path).map(|node| self.describe(node)))
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let children = self.tree.at(dir).and_then(|node| node.children());
        Ok(children.map(|names| names.keys().map(|name| name.to_vec()).collect()).unwrap_or_default())
    }

    fn open(&self, path: &[u8], _: &Stat) -> Result<Box<dyn Read + Send>> {
        let failed = |why: &dyn std::fmt::Display| {
            EngineError::Context(format!("cannot read `/{}` of the image: {why}", name::escape(path)))
        };
        let file = self.tree.at(path).and_then(|node| node.file());
        let file = file.ok_or_else(|| failed(&"it is not a regular file"))?;
        self.content.open(file).map_err(|e| failed(&e))
    }

    fn below(&self, dir: &[u8]) -> Result<Vec<Picked>> {
        let mut found = Vec::new();
        let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
        for (path, node) in self.tree.walk(dir).skip(1) {
            select::check_count(found.len())?;
            found.push(Picked { rel: path[skip..].to_vec(), stat: self.describe(node) });
        }
        Ok(found)
    }
}
