//! docs/pod-network.md has the table as it is. `KILN_BLESS=1` writes it.

use std::path::Path;

const START: &str = "What follows from another finding of the same host is not reported beside it.\n\n";

#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pod-network.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once(START).expect("the heading of the catalogue");
    let wanted = format!("{head}{START}{}", kiln_doctor::checks::catalogue::all());
    let wanted = format!("{}\n", wanted.trim_end());
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == wanted,
        "KILN_BLESS=1 cargo test -p kiln-doctor writes it again"
    );
}

#[test]
fn every_row_has_something_to_search_for() {
    for row in kiln_doctor::checks::rows() {
        assert!(!row.symptoms.is_empty(), "{}", row.id);
        let page = kiln_doctor::checks::catalogue::page(row);
        assert!(page.lines().all(|line| line.chars().count() <= 260), "{}", row.id);
    }
}
