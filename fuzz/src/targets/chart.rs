//! A template, and the values it gets: the first line that is `---` is between both.

use kiln_helm::{Capabilities, Chart, Files, Limits, Release, Values, render};

/// Rendering never panics, and gives the same twice; what YAML was read is read again as the same.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (template, values) = text.split_once("\n---\n").unwrap_or((&text, ""));
    if let Ok(read) = kiln_helm::yaml::parse(values) {
        let written = kiln_helm::yaml::text(&read, kiln_helm::yaml::Style::Kubernetes);
        let again = kiln_helm::yaml::parse(&written);
        // Floats are written as JSON numbers: whole ones come back as such.
        assert_eq!(again.map(|value| value.floats()), Ok(read.floats()), "{written:?}");
    }
    let Ok(values) = Values::parse(values) else { return };
    let mut files = Files::new();
    let all = [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"), ("templates/t.yaml", template)];
    for (name, text) in all {
        if files.add(name, text).is_err() {
            return;
        }
    }
    let Ok(chart) = Chart::load(&files) else { return };
    let limits = Limits { output: 1 << 20, steps: 20_000, depth: 500 };
    let release = Release { seed: Some(1), ..Release::default() };
    let once = || render(&chart, &values, &release, &Capabilities::default(), &limits);
    let first = once();
    // Keys, certificates and salts are always random.
    let random = ["gen", "bcrypt", "htpasswd", "AES"].iter().any(|name| text.contains(name));
    if !random {
        assert_eq!(first, once());
    }
}
