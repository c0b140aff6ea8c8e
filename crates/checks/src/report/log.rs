//! Reports in the forms of other programs, for who reads their logs already.

use super::{Report, plain};
use crate::{Severity, Verdict};

/// As ack-image-builder's `verify.sh` prints: `[20190726 11:04:10]: Check if wget is installed.  Verify Passed!`. The
/// time, in seconds since the epoch, is that of the report. What fails has its reason on the next line.
pub fn ack(report: &Report, time: i64, color: bool) -> String {
    let stamp = stamp(time);
    let mut out = String::new();
    for outcome in &report.outcomes {
        let (word, style) = match (outcome.finding.verdict, outcome.severity()) {
            (Verdict::Pass, _) => ("Verify Passed!", "32"),
            (Verdict::Fail, Severity::Error) => ("Verify Failed!", "31"),
            (Verdict::Fail, Severity::Warning) => ("Verify Warned!", "33"),
            (Verdict::Unknown, _) => ("Verify Unknown!", "35"),
            (Verdict::Skip, _) => ("Verify Skipped!", "2"),
        };
        let word = if color { format!("\x1b[{style}m {word} \x1b[0m") } else { format!(" {word}") };
        out += &format!("[{stamp}]: {} {word}\n", plain(&outcome.rule.title));
        if matches!(outcome.finding.verdict, Verdict::Fail | Verdict::Unknown) {
            out += &format!("[{stamp}]:   {}\n", plain(&outcome.finding.reason));
        }
    }
    out
}

/// As kubeadm's preflight prints: only what fails, by its names, errors last.
pub fn kubeadm(report: &Report) -> String {
    let mut out = String::from("[preflight] Running pre-flight checks\n");
    let mut errors = String::new();
    for outcome in &report.outcomes {
        let name = outcome.rule.name.as_ref().unwrap_or(&outcome.rule.id);
        let reason = plain(&outcome.finding.reason);
        match (outcome.finding.verdict, outcome.severity()) {
            (Verdict::Fail, Severity::Error) => errors += &format!("\t[ERROR {name}]: {reason}\n"),
            (Verdict::Fail, Severity::Warning) => out += &format!("\t[WARNING {name}]: {reason}\n"),
            (Verdict::Unknown, _) => out += &format!("\t[WARNING {name}]: could not be checked: {reason}\n"),
            (Verdict::Pass | Verdict::Skip, _) => {}
        }
    }
    if !errors.is_empty() {
        out += "error execution phase preflight: [preflight] Some fatal errors occurred:\n";
        out += &errors;
        out += "[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`\n";
    }
    out
}

/// `20190726 11:04:10`, in UTC.
fn stamp(time: i64) -> String {
    let text = kiln_oci::time::rfc3339(kiln_oci::Mtime::secs(time));
    let digits: String = text.chars().take(10).filter(|c| *c != '-').collect();
    format!("{digits} {}", text.get(11..19).unwrap_or("00:00:00"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_the_script_writes_them() {
        assert_eq!(super::stamp(1_564_139_050), "20190726 11:04:10");
    }
}
