//! Manifests, lists of images, values of charts: YAML with places.

use kiln_manifests::{Ignore, Rules, Scan, image_list, scan, values};
use kiln_spec::diag::render;
use kiln_spec::source::Source;

use super::text;

/// Searches the text as each kind of file.
pub fn run(bytes: &[u8]) {
    let source = Source { name: "fuzz.yaml".into(), text: text(bytes) };
    let (ignore, wrong) = Ignore::parse(&source);
    wrong.iter().for_each(|diagnostic| drop(render(diagnostic, &source, false)));
    let rules = Rules { ignore };
    for scan in [scan(&source, &Rules::default()), image_list(&source, &rules), values(&source, Some("1"), &rules)] {
        check(&scan, &source);
    }
}

fn check(scan: &Scan, source: &Source) {
    for found in &scan.images {
        let place = &found.place;
        assert!(source.text.get(place.span.start..place.span.end).is_some(), "{place} lies in the text");
        assert_eq!(source.position(place.span.start), (place.line, place.column), "{place}");
        assert_eq!(found.text.parse().as_ref(), Ok(&found.reference));
    }
    scan.diagnostics.iter().for_each(|diagnostic| drop(render(diagnostic, source, false)));
}
