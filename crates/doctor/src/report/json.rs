//! For scripts.

use serde_json::json;

use super::{Outcome, Report};

/// `{"outcome", "hosts", "nodes", "findings", "missing", "unread"}`; nodes are the hosts that are in a cluster.
pub fn render(report: &Report<'_>) -> String {
    let outcome = match report.outcome() {
        Outcome::Healthy => "healthy",
        Outcome::Findings => "findings",
        Outcome::Unknown => "unknown",
    };
    let hosts: Vec<&str> = report.fleet.hosts.iter().map(|host| host.name.as_str()).collect();
    let nodes: Vec<&str> =
        report.fleet.hosts.iter().filter(|host| host.is_node()).map(|host| host.name.as_str()).collect();
    let unread = report.fleet.hosts.iter().flat_map(|host| host.unread.iter().map(move |unread| (host, unread)));
    let unread: Vec<_> = unread.map(|(host, u)| json!({"host": host.name, "what": u.what, "why": u.why})).collect();
    let value = json!({
        "outcome": outcome,
        "hosts": hosts,
        "nodes": nodes,
        "findings": report.findings,
        "missing": report.fleet.missing,
        "unread": unread,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}
