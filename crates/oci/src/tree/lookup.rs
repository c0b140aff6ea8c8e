//! Finding what a path names, as a kernel would inside a `chroot`.

use std::collections::btree_map;
use std::sync::Arc;

use super::{Children, Name, Node, NodeKind, Tree, TreeError};
use crate::name;

/// Symbolic links a lookup follows before it gives up.
const MAX_LINKS: usize = 255;

/// What a symbolic link at the end of a path does. Links before the end are always followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It is followed.
    All,
    /// It is what is found.
    Parents,
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'t> {
    /// Its real path, without symbolic links.
    pub path: Vec<u8>,
    /// What is there.
    pub node: &'t Arc<Node>,
}

/// Where a path leads whose end may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPath {
    /// The real path of the deepest part that exists.
    pub existing: Vec<u8>,
    /// What is at [`ResolvedPath::existing`].
    pub node: Arc<Node>,
    /// The rest below it, which does not exist; empty when all of the path does.
    pub rest: Vec<u8>,
}

impl ResolvedPath {
    /// The whole real path.
    pub fn full(&self) -> Vec<u8> {
        name::join(&self.existing, &self.rest)
    }

    /// Whether all of the path exists.
    pub fn exists(&self) -> bool {
        self.rest.is_empty()
    }
}

/// A walk along a path: where it is, and what of the path does not exist.
struct Trail<'t> {
    root: &'t Arc<Node>,
    steps: Vec<(&'t Name, &'t Arc<Node>)>,
    missing: Vec<Vec<u8>>,
}

impl<'t> Trail<'t> {
    fn node(&self) -> &'t Arc<Node> {
        self.steps.last().map_or(self.root, |(_, node)| *node)
    }

    fn path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.steps.iter().map(|(name, _)| &***name).collect();
        names.join(&b'/')
    }
}

impl Tree {
    /// What `path` names. Links are resolved inside the root, and `..` stops at the root. A missing file is `None`.
    ///
    /// # Errors
    /// [`TreeError::Loop`], and [`TreeError::NotADirectory`] when the path goes on below a file.
    pub fn lookup(&self, path: &[u8], follow: Follow) -> Result<Option<Found<'_>>, TreeError> {
        let trail = self.trail(path, follow, false)?;
        Ok(trail.missing.is_empty().then(|| Found { path: trail.path(), node: trail.node() }))
    }

    /// Where `path` leads when it is to be written: all links are followed, also one at the end that points to nothing,
    /// and what does not exist is kept as [`ResolvedPath::rest`].
    ///
    /// # Errors
    /// As [`Tree::lookup`].
    pub fn resolve(&self, path: &[u8]) -> Result<ResolvedPath, TreeError> {
        let trail = self.trail(path, Follow::All, true)?;
        Ok(ResolvedPath { existing: trail.path(), node: Arc::clone(trail.node()), rest: trail.missing.join(&b'/') })
    }

    /// What the directory at `path` holds, links followed; `None` when there is nothing or no directory.
    ///
    /// # Errors
    /// As [`Tree::lookup`].
    pub fn children(&self, path: &[u8]) -> Result<Option<&Children>, TreeError> {
        Ok(self.lookup(path, Follow::All)?.and_then(|found| found.node.children()))
    }

    /// The node at a real path and everything below it, parents before children, names sorted by their bytes.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        let start = self.at(path).map(|node| (path.to_vec(), node));
        Walk { start, path: path.to_vec(), open: Vec::new() }
    }

    /// `keep_missing` decides whether the walk goes on, by name only, below what does not exist.
    fn trail(&self, path: &[u8], follow: Follow, keep_missing: bool) -> Result<Trail<'_>, TreeError> {
        let mut trail = Trail { root: &self.root, steps: Vec::new(), missing: Vec::new() };
        let mut todo: Vec<&[u8]> = name::components(path).rev().collect();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if !trail.missing.is_empty() {
                match part {
                    b".." => drop(trail.missing.pop()),
                    _ => trail.missing.push(part.to_vec()),
                }
                continue;
            }
            let Some(children) = trail.node().children() else {
                return Err(TreeError::NotADirectory { path: format!("/{}", name::Escaped(&trail.path())) });
            };
            if part == b".." {
                trail.steps.pop();
                continue;
            }
            match children.get_key_value(part) {
                None => {
                    trail.missing.push(part.to_vec());
                    if !keep_missing {
                        return Ok(trail);
                    }
                }
                Some((name, node)) => match &node.kind {
                    NodeKind::Symlink { target } if !todo.is_empty() || follow == Follow::All => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(TreeError::Loop { path: name::escape(path) });
                        }
                        if target.starts_with(b"/") {
                            trail.steps.clear();
                        }
                        todo.extend(name::components(target).rev());
                    }
                    _ => trail.steps.push((name, node)),
                },
            }
        }
        Ok(trail)
    }
}

/// An iterator over a part of a tree; see [`Tree::walk`].
pub struct Walk<'t> {
    start: Option<(Vec<u8>, &'t Arc<Node>)>,
    /// The path of the directory on top of `open`.
    path: Vec<u8>,
    /// Directories under way, each with the length of its path.
    open: Vec<(usize, btree_map::Iter<'t, Name, Arc<Node>>)>,
}

impl<'t> Walk<'t> {
    fn enter(&mut self, node: &'t Arc<Node>) {
        if let Some(children) = node.children() {
            self.open.push((self.path.len(), children.iter()));
        }
    }
}

impl<'t> Iterator for Walk<'t> {
    type Item = (Vec<u8>, &'t Arc<Node>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((path, node)) = self.start.take() {
            self.enter(node);
            return Some((path, node));
        }
        loop {
            let (len, iter) = self.open.last_mut()?;
            self.path.truncate(*len);
            let Some((name, node)) = iter.next() else {
                self.open.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            self.enter(node);
            return Some((self.path.clone(), node));
        }
    }
}
