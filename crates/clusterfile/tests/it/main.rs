//! Texts in, a model out.

mod addresses;
mod configs;
mod flags;
mod hostile;
mod layers;
mod mistakes;
mod plugins;
mod sealer;
mod sealos;
mod templates;

use kiln_clusterfile::{Cluster, Flags, Host, Read, read};
use kiln_spec::diag;
use kiln_spec::source::Source;

/// What a Clusterfile and options give.
pub fn with_flags(text: &str, flags: &Flags) -> Read {
    read(Some(&Source { name: "Clusterfile".into(), text: text.into() }), flags)
}

/// The cluster of a text without mistakes.
#[track_caller]
pub fn cluster(text: &str) -> Cluster {
    let read = with_flags(text, &Flags::default());
    read.cluster.unwrap_or_else(|| panic!("{}", shown(&read.found).join("\n")))
}

/// What is wrong with a text: `E code line: message | hint`.
pub fn wrong(text: &str) -> Vec<String> {
    shown(&with_flags(text, &Flags::default()).found)
}

/// What is wrong with the only thing that is.
#[track_caller]
pub fn one(text: &str) -> String {
    let found = wrong(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap_or_default()
}

/// Each mistake in a line.
pub fn shown(found: &[kiln_clusterfile::Found]) -> Vec<String> {
    let one = |found: &kiln_clusterfile::Found| {
        let diag::Diagnostic { code, message, hint, span, .. } = &found.diagnostic;
        let word = if found.diagnostic.is_error() { "E" } else { "W" };
        let (line, _) = found.source.position(span.start);
        let hint = hint.as_ref().map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!("{word} {code} {line}: {message}{hint}")
    };
    found.iter().map(one).collect()
}

/// Mistakes as people see them.
pub fn rendered(read: &Read) -> String {
    read.found.iter().map(|found| diag::render(&found.diagnostic, &found.source, false)).collect()
}

/// `10.0.0.1 master,registry`
pub fn line(host: &Host) -> String {
    let roles: Vec<String> = host.roles.iter().map(|role| role.value.to_string()).collect();
    format!("{} {}", host.address(), roles.join(","))
}

/// A Cluster of one master with more fields of `spec`, each on a line of its own.
pub fn with_spec(fields: &str) -> String {
    let fields: String = fields.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n{fields}  hosts: [{{ips: [10.0.0.1], roles: [master]}}]\n")
}
