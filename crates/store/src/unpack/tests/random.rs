//! Random layers: a tree, a merged root and a stack for overlayfs must show the same.

use proptest::prelude::*;

use super::*;

const PATHS: [&str; 14] =
    ["a", "a/a", "a/b", "a/b/a", "a/b/b", "b", "b/a", "b/b", "b/b/a", "c", "c/a", "c/b/a", "d", "d/a"];

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&PATHS[..])
}

#[derive(Debug, Clone)]
struct Item {
    path: &'static str,
    kind: EntryKind,
}

fn item() -> impl Strategy<Value = Item> {
    let target = prop::sample::select(&["a", "/b", "../c", "b/b", "nowhere", "../../.."][..]);
    let kind = prop_oneof![
        4 => (0..3u64).prop_map(|size| EntryKind::File { size }),
        4 => Just(EntryKind::Dir),
        2 => target.prop_map(|target| EntryKind::Symlink { target: target.into() }),
        2 => path().prop_map(|target| EntryKind::Hardlink { target: target.into() }),
        2 => Just(EntryKind::Whiteout),
        1 => Just(EntryKind::Opaque),
        1 => Just(EntryKind::Fifo),
    ];
    (path(), kind).prop_map(|(path, kind)| Item { path, kind })
}

/// A layer as builders write them: each name once, parents first, whiteouts where their names put them.
fn layer(mut items: Vec<Item>) -> Vec<u8> {
    let name = |item: &Item| match item.kind {
        EntryKind::Whiteout => {
            let (parent, base) = item.path.rsplit_once('/').unwrap_or(("", item.path));
            format!("{parent}/.wh.{base}").trim_start_matches('/').to_owned()
        }
        EntryKind::Opaque => format!("{}/.wh..wh..opq", item.path),
        _ => item.path.to_owned(),
    };
    // A link comes after its target, and neither lies in the other.
    items.retain(|item| match &item.kind {
        EntryKind::Hardlink { target } => {
            target.as_slice() < item.path.as_bytes() && !item.path.as_bytes().starts_with(target)
        }
        _ => true,
    });
    items.sort_by_key(name);
    items.dedup_by_key(|item| name(item));
    let mut out = Layer::new();
    for (n, item) in items.into_iter().enumerate() {
        let body = [b'a' + u8::try_from(n).unwrap_or(0); 2];
        let size = if let EntryKind::File { size } = item.kind { usize::try_from(size).unwrap_or(0) } else { 0 };
        out = out.entry(item.path, item.kind, dated(0o640 + u32::try_from(n % 7).unwrap_or(0)), &body[..size]);
    }
    out.tar()
}

/// Leaves out removals below what this layer puts in place of an older link: they mean nothing, yet trees follow that
/// link.
fn without_lost_links(items: Vec<Item>, lower: &Tree) -> Vec<Item> {
    let is_link =
        |path: &str| matches!(lower.at(path.as_bytes()).map(|n| entry_kind(n)), Some(EntryKind::Symlink { .. }));
    let replaced: Vec<&str> = items
        .iter()
        .filter(|item| !matches!(item.kind, EntryKind::Whiteout | EntryKind::Opaque) && is_link(item.path))
        .map(|item| item.path)
        .collect();
    let lost = |item: &Item| match item.kind {
        // Through a link it may come to a place that entries before it were about.
        EntryKind::Opaque => Path::new(item.path).ancestors().any(|dir| is_link(dir.to_str().unwrap_or_default())),
        EntryKind::Whiteout => replaced.iter().any(|path| *path != item.path && Path::new(item.path).starts_with(path)),
        _ => false,
    };
    // Links that wait for their target to the end of the layer are tested one by one.
    let is_file = |target: &[u8]| {
        lower.at(target).is_some_and(|node| node.file().is_some())
            || items.iter().any(|item| {
                item.path.as_bytes() == target && matches!(item.kind, EntryKind::File { .. } | EntryKind::Fifo)
            })
    };
    let waits = |item: &Item| matches!(&item.kind, EntryKind::Hardlink { target } if !is_file(target));
    let lost: Vec<bool> = items.iter().map(|item| lost(item) || waits(item)).collect();
    items.into_iter().zip(lost).filter(|(_, lost)| !lost).map(|(item, _)| item).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_shows_the_same(
        layers in prop::collection::vec(prop::collection::vec(item(), 0..10), 1..4),
    ) {
        needs_root();
        let mut image = Image::new(&[]);
        for items in layers {
            let tar = layer(without_lost_links(items, &image.stack.tree));
            if !image.try_push(&tar) {
                break;
            }
            image.dump();
        }
    }
}
