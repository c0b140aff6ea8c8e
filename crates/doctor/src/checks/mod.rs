//! What can be wrong: a table. One row has an identifier, what people search for, cause, remedy, and one function over
//! the facts of a fleet. Nothing here opens a file.
//!
//! [`cni`] plugins and their configuration   [`flannel`] overlay and peers     [`kernel`] settings and counters
//! [`firewall`] rules in the way             [`addresses`] which address is used, what overlaps
//! [`leases`] addresses of pods              [`machine`] names, time, DNS, security modules, other managers
//! [`leftover`] what a reset left
//! [`control`] static pods                   [`logs`] lines that say what is wrong
//! [`services`] kube-proxy and IPVS          [`calico`] Calico's tunnels and routes
//! [`proofs`] packets that were lost          [`api`] what the cluster says           [`catalogue`] the table as a page
//!
//! A row may name others that explain it ([`Row::after`]): what follows from another finding on the same host is not
//! reported beside it.

pub mod addresses;
pub mod api;
pub mod calico;
pub mod catalogue;
pub mod cni;
pub mod control;
pub mod firewall;
pub mod flannel;
pub mod kernel;
pub mod leases;
pub mod leftover;
pub mod logs;
pub mod machine;
pub mod proofs;
pub mod services;

use serde::Serialize;

use crate::Fleet;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Pods cannot be started or reached.
    Error,
    /// Something will not work, or not well, under conditions.
    Warning,
}

/// A check.
pub struct Row {
    /// What findings and pages call it.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub line: &'static str,
    /// What kubelets, plugins and programs say then: what people search for.
    pub symptoms: &'static [&'static str],
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// Findings that explain this one.
    pub after: &'static [&'static str],
    /// Looks.
    pub check: fn(&Fleet) -> Vec<Found>,
}

/// What a check saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Where: one host, or those between which it is.
    pub hosts: Vec<String>,
    /// What was seen.
    pub evidence: Vec<String>,
    /// The connection that is broken: from which host to which.
    pub edge: Option<(String, String)>,
}

impl Found {
    /// On one host.
    pub fn on(host: &str, evidence: impl Into<String>) -> Found {
        Found { hosts: vec![host.to_owned()], evidence: vec![evidence.into()], edge: None }
    }

    /// From one host to another.
    pub fn between(from: &str, to: &str, evidence: impl Into<String>) -> Found {
        let edge = Some((from.to_owned(), to.to_owned()));
        Found { hosts: vec![from.to_owned(), to.to_owned()], evidence: vec![evidence.into()], edge }
    }

    /// With more evidence.
    #[must_use]
    pub fn and(mut self, evidence: impl Into<String>) -> Found {
        self.evidence.push(evidence.into());
        self
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The row's identifier.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub line: &'static str,
    /// Where.
    pub hosts: Vec<String>,
    /// The connection that is broken.
    pub edge: Option<(String, String)>,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What people search for.
    pub symptoms: &'static [&'static str],
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All rows, those of the widest impact first.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let tables: [&'static [Row]; 14] = [
        control::ROWS,
        cni::ROWS,
        flannel::ROWS,
        leases::ROWS,
        firewall::ROWS,
        kernel::ROWS,
        addresses::ROWS,
        services::ROWS,
        calico::ROWS,
        machine::ROWS,
        leftover::ROWS,
        logs::ROWS,
        api::ROWS,
        proofs::ROWS,
    ];
    tables.into_iter().flatten()
}

/// The row with this identifier, in whatever case.
pub fn row(id: &str) -> Option<&'static Row> {
    rows().find(|row| row.id.eq_ignore_ascii_case(id))
}

/// What is wrong with a fleet, the worst first.
pub fn run(fleet: &Fleet) -> Vec<Finding> {
    let mut found: Vec<(&Row, Found)> = Vec::new();
    for row in rows() {
        found.extend((row.check)(fleet).into_iter().map(|found| (row, found)));
    }
    let explained = |row: &Row, this: &Found| {
        let causes = found.iter().filter(|(other, _)| row.after.contains(&other.id) && other.id != row.id);
        causes.into_iter().any(|(_, cause)| this.hosts.iter().any(|host| cause.hosts.contains(host)))
    };
    let kept: Vec<bool> = found.iter().map(|(row, this)| !explained(row, this)).collect();
    let mut out: Vec<Finding> = found.iter().zip(kept).filter(|(_, kept)| *kept).map(|(f, _)| finding(f)).collect();
    out.sort_by_key(|finding| finding.severity);
    out
}

fn finding((row, found): &(&Row, Found)) -> Finding {
    let Found { hosts, evidence, edge } = found.clone();
    Finding {
        id: row.id,
        severity: row.severity,
        line: row.line,
        hosts,
        edge,
        evidence,
        symptoms: row.symptoms,
        cause: row.cause,
        remedy: row.remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_explain_by_rows_that_exist() {
        let ids: std::collections::BTreeSet<&str> = rows().map(|row| row.id).collect();
        assert_eq!(ids.len(), rows().count());
        for row in rows() {
            assert!(row.after.iter().all(|id| ids.contains(id)), "{}", row.id);
            assert!(!row.cause.is_empty() && !row.remedy.is_empty() && !row.line.ends_with('.'), "{}", row.id);
        }
    }

    #[test]
    fn nothing_is_wrong_with_no_hosts_and_with_hosts_that_are_no_nodes() {
        assert!(run(&Fleet::default()).is_empty());
        assert!(run(&Fleet::new(vec![crate::HostFacts::default(); 2])).is_empty());
    }
}
