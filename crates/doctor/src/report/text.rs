//! For a terminal.

use super::{Outcome, Report};
use crate::checks::Severity;
use crate::checks::logs::printable;

/// The report: a verdict, then evidence.
pub fn render(report: &Report<'_>) -> String {
    let mut out = verdict(report);
    // What is found on many hosts is explained once.
    for group in report.findings.chunk_by(|a, b| a.id == b.id) {
        for (at, finding) in group.iter().enumerate() {
            let how_bad = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let hosts = finding.hosts.iter().map(|host| printable(host)).collect::<Vec<_>>();
            let hosts = if finding.edge.is_some() { hosts.join(" -> ") } else { hosts.join(", ") };
            let first = if at == 0 { "\n" } else { "" };
            out += &format!("{first}{how_bad}[{}] {hosts}: {}\n", finding.id, finding.line);
            finding.evidence.iter().for_each(|seen| out += &format!("  seen:   {}\n", printable(seen)));
        }
        out.extend(group.first().map(|finding| {
            format!(
                "  cause:  {}\n  remedy: {}\n  more:   kiln explain {}\n",
                finding.cause, finding.remedy, finding.id
            )
        }));
    }
    for (name, line) in super::unseen(report) {
        out += &format!("\nnot looked at: {name}: {line}\n");
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
    out += &no_nodes(report);
    for missing in &report.fleet.missing {
        out += &format!("not looked at: {}: {}\n", printable(&missing.host), printable(&missing.why));
    }
    out
}

/// That nothing is found on a host that is in no cluster says nothing of a cluster.
fn no_nodes(report: &Report<'_>) -> String {
    let free: Vec<String> =
        report.fleet.hosts.iter().filter(|host| !host.is_node()).map(|host| printable(&host.name)).collect();
    let (few, more) = (free.iter().take(8).cloned().collect::<Vec<_>>().join(", "), free.len().saturating_sub(8));
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    match free.is_empty() {
        true => String::new(),
        false => format!(
            "in no cluster: {few}{rest} (no /etc/kubernetes/kubelet.conf, no static pods, no kubelet runs): of its network of pods only what a reset left was looked for\n"
        ),
    }
}
