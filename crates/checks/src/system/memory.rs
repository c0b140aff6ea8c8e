//! Files made up in memory, and commands with answers: what tests look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::tree::{FileRef, Node, NodeKind};
use kiln_oci::{Digest, Meta, Tree};

use super::{Live, LookError, Media, Ran, Result, Stat, System, tree};

/// A system that exists only in memory.
#[derive(Debug)]
pub struct Memory {
    tree: Tree,
    bodies: Vec<Vec<u8>>,
    locked: Vec<String>,
    media: Option<Media>,
    answers: Option<Answers>,
}

/// Commands, and how they end.
#[derive(Debug, Default)]
struct Answers(BTreeMap<String, Ran>);

impl Default for Memory {
    fn default() -> Memory {
        Memory { tree: Tree::new(), bodies: Vec::new(), locked: Vec::new(), media: None, answers: None }
    }
}

impl Memory {
    /// An empty root.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// The same with a file of mode `0644`; directories above it are made.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Memory {
        self.file_of(path, 0o644, (0, 0), content)
    }

    /// The same with an empty command of mode `0755`.
    #[must_use]
    pub fn program(self, path: &str) -> Memory {
        self.file_of(path, 0o755, (0, 0), "")
    }

    /// The same with a file of a mode and owner.
    #[must_use]
    pub fn file_of(mut self, path: &str, mode: u32, owner: (u32, u32), content: impl AsRef<[u8]>) -> Memory {
        let body = content.as_ref().to_vec();
        let inode = self.bodies.len() as u64;
        let file = FileRef {
            size: body.len() as u64,
            layer: Arc::new(Digest::of(b"memory")),
            path: Arc::from(path.trim_start_matches('/').as_bytes()),
            offset: 0,
            inode,
        };
        self.bodies.push(body);
        let meta = Meta { uid: owner.0, gid: owner.1, ..Meta::mode(mode) };
        self.put(path, Node { meta, kind: NodeKind::File(file) });
        self
    }

    /// The same with a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Memory {
        let kind = NodeKind::Symlink { target: Arc::from(target.as_bytes()) };
        self.put(path, Node { meta: Meta::mode(0o777), kind });
        self
    }

    /// The same with an empty directory.
    #[must_use]
    pub fn dir(mut self, path: &str) -> Memory {
        self.put(path, Node::dir());
        self
    }

    /// The same with a file that `chattr +i` was applied to.
    #[must_use]
    pub fn locked(mut self, path: &str) -> Memory {
        self.locked.push(path.to_owned());
        self
    }

    /// The same, on a disk.
    #[must_use]
    pub fn on(mut self, media: Media) -> Memory {
        self.media = Some(media);
        self
    }

    /// The same, running; other commands than those given answers are not there.
    #[must_use]
    pub fn running(mut self) -> Memory {
        self.answers.get_or_insert_default();
        self
    }

    /// The same, running, with a command that prints `stdout`.
    #[must_use]
    pub fn answer(mut self, command: &str, code: i32, stdout: &str) -> Memory {
        let ran = Ran { code, stdout: stdout.as_bytes().to_vec(), stderr: Vec::new() };
        self.answers.get_or_insert_default().0.insert(command.to_owned(), ran);
        self
    }

    fn put(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/').as_bytes();
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends {
            if self.tree.at(&path[..end]).is_none() {
                // Only tests make such systems: a path below a file is theirs to notice.
                let _ = self.tree.insert(&path[..end], Arc::new(Node::dir()));
            }
        }
        let _ = self.tree.insert(path, Arc::new(node));
    }
}

impl System for Memory {
    fn title(&self) -> String {
        "memory".to_owned()
    }

    fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let Some(node) = tree::find(&self.tree, path, true)? else { return Ok(None) };
        let Some(file) = node.file() else { return Err(LookError::NotAFile { path: path.to_owned() }) };
        if file.size > max {
            return Err(LookError::TooLarge { path: path.to_owned(), max });
        }
        Ok(usize::try_from(file.inode).ok().and_then(|at| self.bodies.get(at)).cloned())
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        tree::find(&self.tree, path, true)?.map_or(Ok(None), |node| tree::names(path, node))
    }

    fn stat(&self, path: &str, follow: bool) -> Result<Option<Stat>> {
        Ok(tree::find(&self.tree, path, follow)?.map(tree::stat))
    }

    fn immutable(&self, path: &str) -> Result<Option<bool>> {
        Ok(Some(self.locked.iter().any(|locked| locked == path)))
    }

    fn media(&self) -> Option<&Media> {
        self.media.as_ref()
    }

    fn live(&self) -> Option<&dyn Live> {
        self.answers.as_ref().map(|answers| answers as &dyn Live)
    }
}

impl Live for Answers {
    fn run(&self, command: &[&str]) -> Result<Ran> {
        Ok(self.0.get(&command.join(" ")).cloned().unwrap_or(Ran { code: 127, ..Ran::default() }))
    }
}
