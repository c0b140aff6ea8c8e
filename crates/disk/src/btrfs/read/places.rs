//! Which subvolume is the root, and what is shown in it where.
//!
//! A subvolume is shown where it is in the one above it, but in one place only: what is mounted somewhere is shown there.
//! Copies that nobody may write to (`snapper`) are not shown: what is in them is there already. Where one is not shown
//! there is an empty directory, as Linux has it for those that a copy does not bring along.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::name::{components, escape};

use super::dir::Target;
use super::{HIDDEN, Image, Node, damaged};
use crate::btrfs::raw::{FORMAT, tree};
use crate::error::{DiskError, Result};
use crate::ext4::raw::mode;
use crate::fs::{self, Files, Names};
use crate::io::ReadAt;

/// Of so many subvolumes it is looked which one is the root.
const MAX_LOOKED: usize = 256;

impl<R: ReadAt> Image<R> {
    /// What a directory shows.
    pub(super) fn shown(&self, dir: Node) -> Result<Names> {
        // What is mounted where it is anyway is shown there.
        let elsewhere = |tree: usize| self.is_placed(tree) && !self.mounts.contains_key(&self.root_of(tree).number());
        self.names_of(dir, &elsewhere, &self.mounts)
    }

    /// What a directory holds: `elsewhere` says of subvolumes that they are not shown where they are, and `mounts` what
    /// is shown in the place of what.
    pub(super) fn names_of(
        &self,
        dir: Node,
        elsewhere: &dyn Fn(usize) -> bool,
        mounts: &BTreeMap<u64, usize>,
    ) -> Result<Names> {
        let mut names = Names::new();
        for (name, target) in self.entries(dir)? {
            let node = match target {
                Target::Inode(ino) if ino < HIDDEN => Node { tree: dir.tree, ino },
                Target::Inode(ino) => {
                    let why = format!("`{}` is the inode {ino}, which cannot be", escape(&name));
                    return Err(damaged(&self.title("directory", dir), why));
                }
                Target::Subvolume(id) => {
                    let here = self.roots.find(id).filter(|tree| self.is_in(*tree, dir, &name) && !elsewhere(*tree));
                    here.map_or(dir.hidden(&name), |tree| self.root_of(tree))
                }
            };
            let node = mounts.get(&node.number()).map_or(node, |tree| self.root_of(*tree));
            names.insert(name, node.number());
        }
        Ok(names)
    }

    /// Whether a directory has a subvolume that can be shown: a copy of the directory has its name, too, but not it.
    fn is_in(&self, tree: usize, dir: Node, name: &[u8]) -> bool {
        let subvolume = &self.roots.subvolumes[tree];
        let above = self.roots.subvolumes.get(dir.tree).map(|above| above.id);
        let here =
            matches!(&subvolume.place, Some((up, at, own)) if Some(*up) == above && *at == dir.ino && own == name);
        here && !subvolume.is_kept()
    }

    /// Whether a subvolume is the root, or mounted.
    pub(super) fn is_placed(&self, tree: usize) -> bool {
        tree == self.top || self.mounts.values().any(|mounted| *mounted == tree)
    }

    /// The subvolume at a path from the top of all.
    fn at_path(&self, path: &[u8]) -> Result<Option<usize>> {
        let Some(mut tree) = self.roots.find(tree::FS) else { return Ok(None) };
        let mut node = self.root_of(tree);
        for part in components(path) {
            match self.entries(node)?.get(part) {
                Some(Target::Inode(ino)) if *ino < HIDDEN => node.ino = *ino,
                Some(Target::Subvolume(id)) => {
                    let Some(found) = self.roots.find(*id) else { return Ok(None) };
                    tree = found;
                    node = self.root_of(tree);
                }
                _ => return Ok(None),
            }
        }
        Ok((node == self.root_of(tree)).then_some(tree))
    }

    /// The subvolume that mount options (`subvol=`, `subvolid=`) name; the default one where they name none.
    fn named(&self, options: &str) -> Result<Option<usize>> {
        let mut named = Some(self.roots.default);
        for option in options.split(',') {
            if let Some(path) = option.strip_prefix("subvol=") {
                named = self.at_path(path.as_bytes())?;
            } else if let Some(id) = option.strip_prefix("subvolid=") {
                // 0 is the top, too.
                let id = id.parse().ok().map(|id: u64| if id == 0 { tree::FS } else { id });
                named = id.and_then(|id| self.roots.find(id));
            }
        }
        Ok(named)
    }

    /// Makes the subvolume the root that mount options name; `false` when there is none.
    ///
    /// # Errors
    /// What reading may say.
    pub fn enter(&mut self, options: &str) -> Result<bool> {
        let Some(tree) = self.named(options)? else { return Ok(false) };
        self.enter_at(tree)?;
        Ok(true)
    }

    fn enter_at(&mut self, tree: usize) -> Result<()> {
        self.mounts.clear();
        self.top = tree;
        self.top_is_a_directory()
    }

    /// Shows the subvolume that mount options name at a path; `false` when there is none, it is shown already, or there
    /// is no directory. What is mounted below another comes after it.
    ///
    /// # Errors
    /// What reading may say.
    pub fn mount(&mut self, path: &[u8], options: &str) -> Result<bool> {
        let Some(tree) = self.named(options)?.filter(|tree| !self.is_placed(*tree)) else { return Ok(false) };
        let at = match self.lookup(path) {
            Err(DiskError::Path { .. }) => None,
            other => other?,
        };
        let Some(at) = at.filter(|at| at.ino != self.root_of(self.top).number()) else { return Ok(false) };
        let (_, about) = fs::inode_at(self, path, at.ino)?;
        if about.kind() != mode::DIR {
            return Ok(false);
        }
        self.mounts.insert(at.ino, tree);
        Ok(true)
    }

    /// The subvolumes that may be the root, the default one first. Copies that nobody may write to are none.
    pub(crate) fn roots(&self) -> Vec<usize> {
        let default = self.roots.default;
        let all = self.roots.subvolumes.iter().enumerate();
        let others = all.filter(|(tree, one)| *tree != default && !one.is_kept()).map(|(tree, _)| tree);
        [default].into_iter().chain(others).take(MAX_LOOKED).collect()
    }

    /// Makes one of [`Image::roots`] the root.
    pub(crate) fn show(&mut self, tree: usize) -> Result<()> {
        self.enter_at(tree)
    }

    /// Whether mount options name the subvolume that is the root; `None` when they name none.
    pub(crate) fn is_named(&self, options: &str) -> Result<Option<bool>> {
        let names = options.split(',').any(|option| option.starts_with("subvol=") || option.starts_with("subvolid="));
        if !names {
            return Ok(None);
        }
        Ok(Some(self.named(options)? == Some(self.top)))
    }

    /// What people call the subvolume that is the root: nothing when it is the top, and the only one.
    pub fn title_of_root(&self) -> Option<String> {
        let top = self.roots.subvolumes.get(self.top)?;
        if top.id == tree::FS {
            return None;
        }
        let path = self.path_from_top(self.top).unwrap_or_default();
        Some(if path.is_empty() { format!("subvolume {}", top.id) } else { format!("subvolume `{}`", escape(&path)) })
    }

    /// The path of a subvolume from the top of all.
    pub(super) fn path_from_top(&self, tree: usize) -> Result<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let (mut at, mut seen) = (tree, BTreeSet::new());
        while let Some((above, dir, name)) = self.roots.subvolumes.get(at).and_then(|s| s.place.clone()) {
            let up = self.roots.find(above).filter(|_| seen.insert(at));
            let Some(up) = up else {
                let what = format!("the tree {}", self.roots.subvolumes[at].id);
                return Err(DiskError::Damaged { format: FORMAT, what, why: "it is in no other one".to_owned() });
            };
            parts.push(name);
            parts.push(self.path_of(Node { tree: up, ino: dir })?);
            at = up;
        }
        parts.retain(|part| !part.is_empty());
        parts.reverse();
        Ok(parts.join(&b'/'))
    }
}
