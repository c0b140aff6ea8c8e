//! A report as one page: no scripts, nothing fetched, all text escaped.

use kiln_spec::diag::markup;

use super::{Outcome, Report};
use crate::{Severity, Verdict};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2024;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}.v{display:inline-block;padding:.1rem .6rem;border-radius:.3rem;color:#fff}\
.pass{background:#2a7e3b}.fail{background:#c62a2f}.warning{background:#ad5700}.unknown{background:#6e56cf}.skip{background:#697177}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #e0e3e6}\
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.e{color:#60646c;margin:.2rem 0 0}.h{margin:.2rem 0 0}\
@media(prefers-color-scheme:dark){body{color:#edeef0;background:#111113}td,th{border-color:#363a3f}.e{color:#b0b4ba}}";

/// Writes a report.
pub fn render(report: &Report) -> String {
    let counts = report.counts();
    let (class, word) = match report.verdict() {
        Verdict::Fail => ("fail", "fail"),
        Verdict::Unknown => ("unknown", "could not check"),
        Verdict::Pass | Verdict::Skip => ("pass", "pass"),
    };
    let target = markup(&report.target);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{word}: {target}</title><style>{STYLE}</style></head>\n<body><h1><span class=\"v {class}\">{word}</span> {target}</h1>\n\
         <p>{} errors, {} warnings, {} could not be checked, {} passed, {} have no meaning here.</p>\n",
        counts.errors, counts.warnings, counts.unknown, counts.passed, counts.skipped
    );
    for profile in &report.profiles {
        out += &format!(
            "<h2>{}</h2>\n<table><tr><th>Result</th><th>Check</th><th>What was found</th></tr>\n",
            markup(profile)
        );
        let mut of: Vec<&Outcome> = report.outcomes.iter().filter(|outcome| outcome.profile == *profile).collect();
        of.sort_by_key(|outcome| rank(outcome));
        for outcome in of {
            out += &row(outcome);
        }
        out += "</table>\n";
    }
    out + "</body></html>\n"
}

/// The worst first.
fn rank(outcome: &Outcome) -> u8 {
    match (outcome.finding.verdict, outcome.severity()) {
        (Verdict::Fail, Severity::Error) => 0,
        (Verdict::Unknown, Severity::Error) => 1,
        (Verdict::Fail, Severity::Warning) => 2,
        (Verdict::Unknown, Severity::Warning) => 3,
        (Verdict::Pass, _) => 4,
        (Verdict::Skip, _) => 5,
    }
}

fn row(outcome: &Outcome) -> String {
    let finding = &outcome.finding;
    let (class, word) = match (finding.verdict, outcome.severity()) {
        (Verdict::Pass, _) => ("pass", "pass"),
        (Verdict::Fail, Severity::Error) => ("fail", "error"),
        (Verdict::Fail, Severity::Warning) => ("warning", "warning"),
        (Verdict::Unknown, _) => ("unknown", "could not check"),
        (Verdict::Skip, _) => ("skip", "skipped"),
    };
    let mut what = markup(&finding.reason);
    for evidence in &finding.evidence {
        what += &format!(
            "<p class=\"e\"><code>{}</code>: <code>{}</code></p>",
            markup(&evidence.place),
            markup(&evidence.text)
        );
    }
    if let Some(hint) = outcome.hint().filter(|_| finding.verdict == Verdict::Fail) {
        what += &format!("<p class=\"h\"><b>hint:</b> {}</p>", markup(hint));
    }
    let check = format!("<code>{}</code><br>{}", markup(&outcome.rule.id), markup(&outcome.rule.title));
    format!("<tr><td><span class=\"v {class}\">{word}</span></td><td>{check}</td><td>{what}</td></tr>\n")
}
