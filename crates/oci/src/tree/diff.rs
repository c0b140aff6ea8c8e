//! What differs between two trees.

use std::fmt::Write as _;
use std::sync::Arc;

use super::dump::describe;
use super::{Children, DumpOptions, FileRef, Name, Node, NodeKind, Tree};
use crate::Digest;
use crate::name::{self, Escaped};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second tree has it.
    Added,
    /// Only the first tree has it.
    Removed,
    /// Both have it, and it is not the same.
    Modified,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
    /// What the first tree has there.
    pub before: Option<Arc<Node>>,
    /// What the second tree has there.
    pub after: Option<Arc<Node>>,
}

/// Whether two files that are not the same reference hold the same bytes; asked only when their sizes are equal.
type SameContent<'a> = dyn FnMut(&FileRef, &FileRef) -> bool + 'a;

impl Tree {
    /// What differs between `before` and `after`, sorted as [`Tree::walk`] sorts. Everything below an added or removed
    /// directory is listed. Times are not compared.
    ///
    /// `same_content` is asked about files that are in different places, and of equal size.
    pub fn diff(before: &Tree, after: &Tree, same_content: &mut SameContent<'_>) -> Vec<Change> {
        let mut out = Vec::new();
        if !equal(&before.root, &after.root, same_content) {
            push(&mut out, b"", Some(&before.root), Some(&after.root));
        }
        // Directories under way: what each tree still has there, and the path.
        let mut todo = vec![(Vec::new(), Pairs::of(Some(&before.root), Some(&after.root)))];
        while let Some((dir, pairs)) = todo.last_mut() {
            let Some((name, old, new)) = pairs.next() else {
                todo.pop();
                continue;
            };
            if old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)) {
                continue;
            }
            let path = name::join(dir, name);
            if !old.zip(new).is_some_and(|(old, new)| equal(old, new, same_content)) {
                push(&mut out, &path, old, new);
            }
            todo.push((path, Pairs::of(old, new)));
        }
        out
    }
}

fn push(out: &mut Vec<Change>, path: &[u8], before: Option<&Arc<Node>>, after: Option<&Arc<Node>>) {
    let kind = match (before, after) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Modified,
    };
    out.push(Change { path: path.to_vec(), kind, before: before.cloned(), after: after.cloned() });
}

/// Whether two nodes are alike, their children aside.
fn equal(a: &Node, b: &Node, same_content: &mut SameContent<'_>) -> bool {
    let meta = |n: &Node| (n.meta.mode, n.meta.uid, n.meta.gid);
    if meta(a) != meta(b) || a.meta.xattrs != b.meta.xattrs {
        return false;
    }
    match (&a.kind, &b.kind) {
        (NodeKind::Dir(_), NodeKind::Dir(_)) => true,
        (NodeKind::File(a), NodeKind::File(b)) => a.same_file(b) || (a.size == b.size && same_content(a, b)),
        (a, b) => a == b,
    }
}

/// The names two directories have between them, in order.
struct Pairs<'t> {
    old: std::iter::Peekable<std::collections::btree_map::Iter<'t, Name, Arc<Node>>>,
    new: std::iter::Peekable<std::collections::btree_map::Iter<'t, Name, Arc<Node>>>,
}

/// A name, and what each directory has by it.
type Pair<'t> = (&'t [u8], Option<&'t Arc<Node>>, Option<&'t Arc<Node>>);

static NOTHING: Children = Children::new();

impl<'t> Pairs<'t> {
    fn of(old: Option<&'t Arc<Node>>, new: Option<&'t Arc<Node>>) -> Pairs<'t> {
        let iter = |n: Option<&'t Arc<Node>>| n.and_then(|n| n.children()).unwrap_or(&NOTHING).iter().peekable();
        Pairs { old: iter(old), new: iter(new) }
    }

    fn next(&mut self) -> Option<Pair<'t>> {
        let name: &'t Name = match (self.old.peek(), self.new.peek()) {
            (Some((a, _)), Some((b, _))) => Ord::min(*a, *b),
            (Some((a, _)), None) | (None, Some((a, _))) => a,
            (None, None) => return None,
        };
        let old = self.old.next_if(|(n, _)| *n == name).map(|(_, node)| node);
        let new = self.new.next_if(|(n, _)| *n == name).map(|(_, node)| node);
        Some((name, old, new))
    }
}

/// Changes as text, one line each: `+` added, `-` removed, and for what was modified a `-` and a `+` line; the rest of a
/// line is as in a dump.
pub fn changes_text(changes: &[Change], content: &mut dyn FnMut(&FileRef) -> Option<Digest>) -> String {
    let mut out = String::new();
    for change in changes {
        for (sign, node) in [('-', &change.before), ('+', &change.after)] {
            if let Some(node) = node {
                let _ = write!(out, "{sign} /{} ", Escaped(&change.path));
                describe(&mut out, node, DumpOptions::default(), content);
                out.push('\n');
            }
        }
    }
    out
}
