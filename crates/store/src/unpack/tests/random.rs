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
    items.sort_by_key(name);
    items.dedup_by_key(|item| name(item));
    let mut out = Layer::new();
    for (n, item) in items.into_iter().enumerate() {
        let body = vec![b'a' + u8::try_from(n).unwrap_or(0); 2];
        let size = if let EntryKind::File { size } = item.kind { usize::try_from(size).unwrap_or(0) } else { 0 };
        out = out.entry(item.path, item.kind, dated(0o640 + u32::try_from(n % 7).unwrap_or(0)), &body[..size]);
    }
    out.tar()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_shows_the_same(
        layers in prop::collection::vec(prop::collection::vec(item(), 0..10).prop_map(layer), 1..4),
    ) {
        if is_root() {
            let mut image = Image::new(&[]);
            for tar in &layers {
                if !image.try_push(tar) {
                    break;
                }
                image.dump();
            }
        }
    }
}
