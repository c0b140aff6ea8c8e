//! Charts in, manifests out; Helm itself is asked whether the tables are right.
#![expect(clippy::disallowed_methods, reason = "tests ask other programs")]

mod charts;
mod hostile;
mod random;
mod table;
mod values;
mod wholes;

use kiln_helm::{Capabilities, Chart, Files, Limits, Release, RenderError, Rendered, Values, render};

/// The chart of these files.
fn chart(files: &[(&str, &str)]) -> Chart {
    Chart::load(&named(files)).expect("a chart")
}

fn named(files: &[(&str, &str)]) -> Files {
    let mut all = Files::new();
    for (name, text) in files {
        all.add(name, *text).expect("a file");
    }
    all
}

/// What is said of the smallest chart.
const SMALLEST: &str = "apiVersion: v2\nname: c\nversion: 0.1.0\n";

/// A chart with one template, and its values.
fn one(template: &str, values: &str) -> Chart {
    chart(&[("Chart.yaml", SMALLEST), ("values.yaml", values), ("templates/t.yaml", template)])
}

fn rendered(chart: &Chart, values: &Values) -> Result<Rendered, RenderError> {
    render(chart, values, &Release::default(), &Capabilities::default(), &Limits::default())
}

/// The text of the template `c/templates/t.yaml`.
fn text(template: &str, values: &str) -> Result<String, String> {
    match rendered(&one(template, values), &Values::new()) {
        Ok(done) => Ok(done.files.into_iter().next().map(|file| file.text).unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}
