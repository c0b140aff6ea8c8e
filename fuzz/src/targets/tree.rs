//! Layers stacked: a line an entry, `TYPE PATH [TARGET]`; a line of `--` begins the next layer.

use kiln_oci::entry::{Entry, EntryKind, Meta};
use kiln_oci::name::{DotDot, is_normal, join, normalise};
use kiln_oci::tree::{Follow, NodeKind, Tree};
use kiln_oci::{Digest, IndexedEntry, LayerIndex};

/// Stacks the layers; a layer that cannot be stacked changes nothing.
pub fn run(bytes: &[u8]) {
    let mut tree = Tree::new();
    for layer in bytes.split(|b| *b == b'\n').collect::<Vec<_>>().split(|line| *line == b"--").take(6) {
        let index = index(layer);
        let before = tree.clone();
        let done = tree.apply(&index, &Digest::of(&index.encode()));
        match &done {
            Ok(()) => check(&tree),
            Err(error) => {
                assert_eq!(tree, before, "a failed layer changes nothing");
                assert!(!error.to_string().contains('\n'));
            }
        }
        let mut again = before;
        assert_eq!(again.apply(&index, &Digest::of(&index.encode())), done, "stacking is a function");
        assert_eq!(again, tree, "stacking is a function");
    }
    let text = tree.dump(&mut |file| Digest::of(&file.path));
    assert!(text.lines().all(|line| line.split_whitespace().count() >= 4), "a line is a line:\n{text}");
    assert!(Tree::diff(&tree, &tree.clone(), &mut |_, _| true).is_empty());
}

fn index(lines: &[&[u8]]) -> LayerIndex {
    let entries = lines.iter().take(64).filter_map(|line| entry(line));
    let entries = entries.enumerate().map(|(at, entry)| IndexedEntry { entry, offset: at as u64 * 1024 + 512 });
    LayerIndex { entries: entries.collect(), tar_size: 1 << 20 }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut words = line.split(|b| *b == b' ');
    let (kind, path, target) = (words.next()?, words.next()?, words.next().unwrap_or(b""));
    let path = normalise(path, DotDot::Reject).ok()?;
    let kind = match kind {
        b"d" => EntryKind::Dir,
        b"f" => EntryKind::File { size: target.len() as u64 },
        b"l" if !target.is_empty() && !target.contains(&0) => EntryKind::Symlink { target: target.to_vec() },
        b"h" => EntryKind::Hardlink { target: normalise(target, DotDot::Reject).ok().filter(|t| !t.is_empty())? },
        b"c" => EntryKind::Char { major: 1, minor: 3 },
        b"p" => EntryKind::Fifo,
        b"w" => EntryKind::Whiteout,
        b"o" => EntryKind::Opaque,
        _ => return None,
    };
    // The reader lets none of these through.
    let root = path.is_empty() && !matches!(kind, EntryKind::Dir | EntryKind::Opaque);
    (!root).then(|| Entry { path, kind, meta: Meta::mode(0o644) })
}

fn check(tree: &Tree) {
    let mut work = vec![(Vec::new(), tree.root())];
    while let Some((path, node)) = work.pop() {
        assert!(is_normal(&path));
        assert_eq!(tree.at(&path), Some(node));
        let found = tree.lookup(&path, Follow::Parents).expect("no way through real directories loops");
        assert_eq!(found.map(|f| f.path), Some(path.clone()));
        if let NodeKind::Dir(children) = &node.kind {
            work.extend(children.iter().map(|(name, child)| (join(&path, name), child)));
        }
        if let Ok(Some(found)) = tree.lookup(&path, Follow::All) {
            assert!(tree.at(&found.path).is_some(), "a link leads to what is there");
        }
    }
}
