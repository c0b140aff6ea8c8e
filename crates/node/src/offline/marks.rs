//! What scripts asked of `chattr`, as marks of files for the writer of a file system.

use std::collections::BTreeMap;

use kiln_disk::ext4::InodeFlags;
use kiln_engine::output::rebuilt::Marks;
use kiln_oci::name::escape;
use kiln_oci::tree::{Follow, NodeKind, Tree};

use super::report::{Kind, Note};

/// One call of `chattr` for one path.
#[derive(Debug, PartialEq, Eq)]
struct Call<'a> {
    recursive: bool,
    changes: Vec<&'a str>,
    path: &'a str,
}

/// The marks that notes ask for, by paths of the tree; and for what was asked that no disk has.
pub fn of(notes: &[Note], tree: &Tree) -> (BTreeMap<Vec<u8>, Marks>, Vec<String>) {
    let (mut marks, mut vain) = (BTreeMap::new(), Vec::new());
    for note in notes.iter().filter(|note| note.kind == Kind::Flags) {
        let Some(call) = parse(&note.text) else {
            vain.push(note.text.clone());
            continue;
        };
        // What is not there any more was removed after it was marked.
        let Ok(Some(found)) = tree.lookup(call.path.as_bytes(), Follow::Parents) else { continue };
        if !matches!(found.node.kind, NodeKind::Dir(_) | NodeKind::File(_)) {
            vain.push(format!("{}: `/{}` is no file and no directory", note.text, escape(&found.path)));
            continue;
        }
        let (asked, unknown) = asked(&call.changes);
        if !unknown.is_empty() {
            vain.push(format!("{}: no mark `{unknown}` is kept", note.text));
        }
        let below: Vec<Vec<u8>> = match call.recursive {
            true => tree.walk(&found.path).filter(|(_, node)| can(&node.kind)).map(|(path, _)| path).collect(),
            false => vec![found.path.clone()],
        };
        for path in below {
            let mark: &mut Marks = marks.entry(path).or_default();
            mark.clear = mark.clear.with(asked.clear).without(asked.set);
            mark.set = mark.set.without(asked.clear).with(asked.set);
        }
    }
    (marks, vain)
}

fn can(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Dir(_) | NodeKind::File(_))
}

fn parse(text: &str) -> Option<Call<'_>> {
    let mut rest = text.strip_prefix("chattr ")?;
    let mut call = Call { recursive: false, changes: Vec::new(), path: "" };
    while !rest.starts_with('/') {
        let (word, more) = rest.split_once(' ')?;
        match word {
            "-R" => call.recursive = true,
            _ if word.starts_with(['+', '-', '=']) => call.changes.push(word),
            _ => return None,
        }
        rest = more;
    }
    call.path = rest;
    Some(call)
}

/// What the words of one call set and take away, and letters that mean nothing here.
fn asked(changes: &[&str]) -> (Marks, String) {
    let (mut marks, mut unknown) = (Marks::default(), String::new());
    for word in changes {
        let (sign, letters) = word.split_at(1);
        let mut flags = InodeFlags::default();
        for letter in letters.chars() {
            match InodeFlags::by_letter(letter) {
                Some(flag) => flags = flags.with(flag),
                // All files have extents; that is said of them, not asked for.
                None if letter == 'e' => {}
                None => unknown.push(letter),
            }
        }
        match sign {
            "+" => (marks.set, marks.clear) = (marks.set.with(flags), marks.clear.without(flags)),
            "-" => (marks.set, marks.clear) = (marks.set.without(flags), marks.clear.with(flags)),
            _ => (marks.set, marks.clear) = (flags, InodeFlags::all().without(flags)),
        }
    }
    (marks, unknown)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_oci::Meta;
    use kiln_oci::tree::Node;

    use super::*;

    fn note(text: &str) -> Note {
        Note { kind: Kind::Flags, text: text.to_owned() }
    }

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for path in ["etc", "etc/d", "etc/d/sub", "usr"] {
            tree.insert(path.as_bytes(), Arc::new(Node::dir())).unwrap();
        }
        let link = NodeKind::Symlink { target: Arc::from(&b"d"[..]) };
        tree.insert(b"etc/link", Arc::new(Node { meta: Meta::mode(0o777), kind: link })).unwrap();
        tree
    }

    #[test]
    fn calls_follow_each_other() {
        let notes = ["chattr +i /etc/d", "chattr -i +a /etc/d", "chattr =iA /usr", "chattr +i /gone", "chattr -i /etc"];
        let (marks, vain) = of(&notes.map(note), &tree());
        assert_eq!(vain, Vec::<String>::new());
        let is = |path: &str, old: InodeFlags| marks[path.as_bytes()].apply(old);
        assert_eq!(is("etc/d", InodeFlags::IMMUTABLE), InodeFlags::APPEND);
        assert_eq!(is("usr", InodeFlags::NODUMP), InodeFlags::IMMUTABLE.with(InodeFlags::NOATIME));
        assert_eq!(is("etc", InodeFlags::IMMUTABLE.with(InodeFlags::SYNC)), InodeFlags::SYNC);
        assert_eq!(marks.len(), 3);
    }

    #[test]
    fn links_are_followed_on_the_way_only_and_what_means_nothing_is_told() {
        let notes = ["chattr -R +i /etc/link/..", "chattr +i /etc/link", "chattr +Ci /usr", "chattr", "chattr x /usr"];
        let (marks, vain) = of(&notes.map(note), &tree());
        let paths: Vec<_> = marks.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(paths, ["etc", "etc/d", "etc/d/sub", "usr"]);
        assert_eq!(vain.len(), 4, "{vain:?}");
        assert!(vain[0].contains("`/etc/link` is no file") && vain[1].contains("no mark `C`"), "{vain:?}");
    }
}
