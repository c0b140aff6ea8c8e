//! What a client of a served registry may say: paths and queries, ranges, manifests, tokens; and its configuration.

use kiln_serve::range::{self, Asked};
use kiln_serve::route::{self, Query, Route};
use kiln_serve::tree::Document;
use kiln_serve::{config, names};
use kiln_spec::source::Source;

use super::text;

/// The first byte chooses what the rest is.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = text(rest);
    match kind % 5 {
        0 => path(&text),
        1 => ranges(&text),
        2 => drop(Document::read(rest, None).map(|d| Document::read(rest, Some(&d.media_type)).unwrap())),
        3 => drop(config::parse(&Source { name: "config".to_owned(), text })),
        _ => drop(config::Remote::parse(&text).map(|remote| {
            // What is asked for images must be one host, and nothing else of an address.
            assert!(!remote.registry.contains(['/', '@', '?', '#', ' ', '%']), "{remote:?}");
        })),
    }
}

fn path(text: &str) {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let query = Query::parse(query);
    let Ok(route) = route::parse(path, &query) else { return };
    if let Route::Upload(_, id) = &route {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    let Some(name) = route.name() else { return };
    let full = name.full.to_string();
    // Nothing of a name leads anywhere, or breaks a header or a line of a log.
    assert!(!full.contains("..") && !full.contains("//") && !full.starts_with('/'), "{full}");
    assert!(full.bytes().all(|b| b.is_ascii_graphic()) && !full.contains(['?', '#', '%', '"', '\\']), "{full}");
    assert!(full.parse::<kiln_oci::Reference>().is_ok_and(|r| r.name() == full), "{full}");
    let again = names::Name::parse(&name.full.path(), None);
    assert!(again.is_ok_and(|again| again.full == name.full), "{full}");
}

fn ranges(text: &str) {
    for size in [0, 1, 10, u64::MAX] {
        if let Asked::Part { start, length } = range::asked(Some(text), size) {
            assert!(length > 0 && start < size && length <= size - start);
        }
    }
    if let Some((first, last)) = range::chunk(text) {
        assert!(first <= last);
    }
}
