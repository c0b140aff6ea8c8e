//! For a terminal.

use super::{Outcome, Report};
use crate::checks::Severity;
use crate::checks::logs::printable;

/// The report: a verdict, then evidence.
pub fn render(report: &Report<'_>) -> String {
    let mut out = verdict(report);
    for finding in &report.findings {
        let how_bad = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let at = finding.hosts.iter().map(|host| printable(host)).collect::<Vec<_>>();
        let at = if finding.edge.is_some() { at.join(" -> ") } else { at.join(", ") };
        out += &format!("\n{how_bad}[{}] {at}: {}\n", finding.id, finding.line);
        finding.evidence.iter().for_each(|seen| out += &format!("  seen:   {}\n", printable(seen)));
        out += &format!(
            "  cause:  {}\n  remedy: {}\n  more:   kiln explain {}\n",
            finding.cause, finding.remedy, finding.id
        );
    }
    for host in &report.fleet.hosts {
        for unread in &host.unread {
            let (name, what) = (printable(&host.name), printable(&unread.what));
            out += &format!("\nnot looked at: {name}: {what}: {}\n", printable(&unread.why));
        }
    }
    out
}

fn verdict(report: &Report<'_>) -> String {
    let hosts = report.fleet.hosts.len();
    let hosts = if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") };
    let mut out = match (report.outcome(), report.findings.first()) {
        (_, Some(first)) => {
            let count = report.findings.len();
            let findings = if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") };
            let at: Vec<String> = first.hosts.iter().map(|host| printable(host)).collect();
            format!("{hosts}, {findings}. First: {} ({}).\n", first.line, at.join(", "))
        }
        (Outcome::Unknown, None) => format!("{hosts}, nothing found, but not everything could be looked at.\n"),
        (_, None) => format!("{hosts}, nothing found.\n"),
    };
    for missing in &report.fleet.missing {
        out += &format!("not looked at: {}: {}\n", printable(&missing.host), printable(&missing.why));
    }
    out
}
