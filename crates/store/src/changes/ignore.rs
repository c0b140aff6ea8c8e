//! Paths that are the runner's, not the image's.

use std::collections::BTreeSet;

use crate::beneath::ancestors;

/// Paths whose changes are never reported: mount points and files the runner puts into the root.
///
/// A path in here is still emitted as a parent directory when something below it changed.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    paths: BTreeSet<Vec<u8>>,
    trees: BTreeSet<Vec<u8>>,
}

impl Ignore {
    /// Nothing ignored.
    pub const fn none() -> Ignore {
        Ignore { paths: BTreeSet::new(), trees: BTreeSet::new() }
    }

    /// Ignores what happens to `path` itself (no leading slash): `run/secrets` that the runner made for a mount.
    pub fn path(&mut self, path: impl Into<Vec<u8>>) -> &mut Ignore {
        self.paths.insert(path.into());
        self
    }

    /// Ignores `path` and everything below it: `proc`.
    pub fn tree(&mut self, path: impl Into<Vec<u8>>) -> &mut Ignore {
        self.trees.insert(path.into());
        self
    }

    /// Whether a change of `path` is not reported.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.paths.contains(path) || self.covers_tree(path)
    }

    /// Whether nothing at or below `path` is reported.
    pub(super) fn covers_tree(&self, path: &[u8]) -> bool {
        !self.trees.is_empty() && (self.trees.contains(path) || ancestors(path).any(|above| self.trees.contains(above)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_tree() {
        let mut ignore = Ignore::none();
        ignore.path("run/secrets").tree("proc");
        assert!(ignore.covers(b"run/secrets") && ignore.covers(b"proc") && ignore.covers(b"proc/1/fd"));
        assert!(!ignore.covers(b"run/secrets/id") && !ignore.covers(b"run") && !ignore.covers(b"process"));
        assert!(ignore.covers_tree(b"proc/1") && !ignore.covers_tree(b"run/secrets"));
    }
}
