//! A report for people: the verdict first, then what is wrong, then, if asked for, everything else.

use super::{Outcome, Report, plain};
use crate::{Severity, Verdict};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Colours, for a terminal.
    pub color: bool,
    /// Also what passes, and what has no meaning here.
    pub all: bool,
}

/// Writes a report.
pub fn render(report: &Report, options: Options) -> String {
    let mut out = head(report, options);
    for profile in &report.profiles {
        let outcomes: Vec<&Outcome> = report.outcomes.iter().filter(|outcome| outcome.profile == *profile).collect();
        let shown: Vec<&&Outcome> = outcomes
            .iter()
            .filter(|o| options.all || matches!(o.finding.verdict, Verdict::Fail | Verdict::Unknown))
            .collect();
        let passed = outcomes.iter().filter(|outcome| outcome.finding.verdict == Verdict::Pass).count();
        out += &format!("\n{}: {passed} of {} passed\n", plain(profile), outcomes.len());
        let width = shown.iter().map(|outcome| outcome.rule.id.len()).max().unwrap_or(0).min(44);
        for outcome in shown {
            out += &one(outcome, width, options);
        }
    }
    out
}

fn paint(text: &str, style: &str, options: Options) -> String {
    if options.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

fn head(report: &Report, options: Options) -> String {
    let counts = report.counts();
    let target = plain(&report.target);
    let mut parts = Vec::new();
    let mut say = |n: usize, one: &str, many: &str| {
        if n > 0 {
            parts.push(format!("{n} {}", if n == 1 { one } else { many }));
        }
    };
    say(counts.errors, "error", "errors");
    say(counts.warnings, "warning", "warnings");
    say(counts.unknown, "could not be checked", "could not be checked");
    say(counts.passed, "passed", "passed");
    say(counts.skipped, "has no meaning here", "have no meaning here");
    let (word, style, text) = match report.verdict() {
        Verdict::Fail => ("FAIL", "1;31", "is not as it must be"),
        Verdict::Unknown => ("COULD NOT CHECK", "1;33", "could not be checked as a whole"),
        Verdict::Pass | Verdict::Skip => ("PASS", "1;32", "is as it must be"),
    };
    format!("{}: {target} {text} ({})\n", paint(word, style, options), parts.join(", "))
}

fn one(outcome: &Outcome, width: usize, options: Options) -> String {
    let (word, style) = match (outcome.finding.verdict, outcome.severity()) {
        (Verdict::Pass, _) => ("ok     ", "32"),
        (Verdict::Fail, Severity::Error) => ("error  ", "1;31"),
        (Verdict::Fail, Severity::Warning) => ("warning", "1;33"),
        (Verdict::Unknown, _) => ("unknown", "1;35"),
        (Verdict::Skip, _) => ("-      ", "2"),
    };
    let mut out =
        format!("  {}  {:width$}  {}\n", paint(word, style, options), outcome.rule.id, plain(&outcome.finding.reason));
    if !matches!(outcome.finding.verdict, Verdict::Fail | Verdict::Unknown) {
        return out;
    }
    for evidence in &outcome.finding.evidence {
        out += &format!("             {}: {}\n", plain(&evidence.place), plain(&evidence.text));
    }
    if let Some(hint) = outcome.hint().filter(|_| outcome.finding.verdict == Verdict::Fail) {
        out += &format!("             {}: {}\n", paint("hint", "1;36", options), plain(hint));
    }
    out
}
