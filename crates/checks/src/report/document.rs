//! Reports for programs: JSON, and JUnit's XML.

use kiln_spec::diag::markup;
use serde_json::{Value, json};

use super::{Outcome, Report};
use crate::Verdict;

/// The version of the form of the JSON.
const FORM: u32 = 1;

/// A report as JSON.
pub fn json(report: &Report) -> Value {
    let one = |outcome: &Outcome| {
        let evidence = outcome.finding.evidence.iter().map(|e| json!({"place": e.place, "text": e.text}));
        let mut value = json!({
            "profile": outcome.profile,
            "id": outcome.rule.id,
            "title": outcome.rule.title,
            "severity": outcome.severity().name(),
            "verdict": outcome.finding.verdict.name(),
            "reason": outcome.finding.reason,
            "evidence": evidence.collect::<Vec<_>>(),
        });
        if let Some(name) = &outcome.rule.name {
            value["name"] = json!(name);
        }
        if outcome.ignored {
            value["ignored"] = json!(true);
        }
        if outcome.finding.verdict == Verdict::Fail
            && let Some(hint) = outcome.hint()
        {
            value["hint"] = json!(hint);
        }
        value
    };
    json!({
        "version": FORM,
        "target": report.target,
        "profiles": report.profiles,
        "verdict": report.verdict().name(),
        "counts": report.counts(),
        "checks": report.outcomes.iter().map(one).collect::<Vec<_>>(),
    })
}

/// A report as JUnit's XML: a suite for each profile. Failed warnings pass, with what they say as output: readers of
/// such files know no warnings.
pub fn junit(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let count = |outcomes: &[&Outcome], verdict: Verdict, errors: bool| {
        let is = |o: &&&Outcome| o.finding.verdict == verdict && (o.severity() == crate::Severity::Error || !errors);
        outcomes.iter().filter(is).count()
    };
    let head = |outcomes: &[&Outcome]| {
        let [failures, errors] = [Verdict::Fail, Verdict::Unknown].map(|verdict| count(outcomes, verdict, true));
        let skipped = count(outcomes, Verdict::Skip, false);
        format!("tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"", outcomes.len())
    };
    let all: Vec<&Outcome> = report.outcomes.iter().collect();
    out += &format!("<testsuites name=\"{}\" {}>\n", markup(&report.target), head(&all));
    for profile in &report.profiles {
        let of: Vec<&Outcome> = report.outcomes.iter().filter(|outcome| outcome.profile == *profile).collect();
        out += &format!("  <testsuite name=\"{}\" {}>\n", markup(profile), head(&of));
        for outcome in of {
            out += &case(profile, outcome);
        }
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

fn case(profile: &str, outcome: &Outcome) -> String {
    let finding = &outcome.finding;
    let open = format!(
        "    <testcase classname=\"{}\" name=\"{}: {}\"",
        markup(profile),
        markup(&outcome.rule.id),
        markup(&outcome.rule.title)
    );
    let mut details: Vec<String> = finding.evidence.iter().map(|e| format!("{}: {}", e.place, e.text)).collect();
    details.extend(outcome.hint().map(|hint| format!("hint: {hint}")));
    let (reason, details) = (markup(&finding.reason), markup(&details.join("\n")));
    let fatal = outcome.severity() == crate::Severity::Error;
    let inner = match finding.verdict {
        Verdict::Pass => return format!("{open}/>\n"),
        Verdict::Fail if fatal => format!("<failure type=\"error\" message=\"{reason}\">{details}</failure>"),
        Verdict::Unknown if fatal => format!("<error type=\"could-not-check\" message=\"{reason}\">{details}</error>"),
        Verdict::Skip => format!("<skipped message=\"{reason}\"/>"),
        Verdict::Fail | Verdict::Unknown => format!("<system-out>warning: {reason}\n{details}</system-out>"),
    };
    format!("{open}>{inner}</testcase>\n")
}
