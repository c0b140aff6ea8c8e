//! Texts of manifests in, images with their places out.

mod custom;
mod hostile;
mod inner;
mod kubeadm;
mod lists;
mod peers;
mod pods;

use kiln_manifests::{Certainty, Ignore, Rules, Scan, image_list, scan};
use kiln_spec::source::Source;

/// A source with a name.
pub fn source(text: &str) -> Source {
    Source { name: "a.yaml".into(), text: text.into() }
}

/// Rules that ignore the lines of `text`.
pub fn ignoring(text: &str) -> Rules {
    let (ignore, wrong) = Ignore::parse(&source(text));
    assert_eq!(wrong, []);
    Rules { ignore }
}

/// What is found, a line each: certainty, place, name, path, rule; then what is wrong.
pub fn show(scan: &Scan) -> String {
    let mut out = String::new();
    for found in &scan.images {
        let sign = if found.certainty == Certainty::Named { "+" } else { "?" };
        let object = found.object.as_ref().map(|o| format!("{o} ")).unwrap_or_default();
        let id = found.rule.id.strip_prefix("images.").unwrap();
        let platforms: Vec<_> = found.platforms.iter().map(|p| format!(" for {p}")).collect();
        out += &format!(
            "{sign} {}:{} {} {object}{} [{id}]{}\n",
            found.place.line,
            found.place.column,
            found.text,
            found.path,
            platforms.concat()
        );
    }
    for ignored in &scan.ignored {
        out += &format!("- {}:{} {} by {}\n", ignored.place.line, ignored.place.column, ignored.text, ignored.entry);
    }
    for diagnostic in &scan.diagnostics {
        let word = if diagnostic.is_error() { "E" } else { "W" };
        out += &format!("{word} {} {}\n", diagnostic.code, diagnostic.message);
    }
    out
}

/// What a file says, shown.
pub fn shown(text: &str) -> String {
    show(&scan(&source(text), &Rules::default()))
}

/// What a list says, shown.
pub fn listed(text: &str) -> String {
    show(&image_list(&source(text), &Rules::default()))
}

/// Compares line by line, so that a difference is readable.
#[track_caller]
pub fn same(got: &str, want: &str) {
    let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let got: Vec<&str> = got.lines().map(str::trim_end).collect();
    assert_eq!(got, want, "got:\n{}", got.join("\n"));
}
