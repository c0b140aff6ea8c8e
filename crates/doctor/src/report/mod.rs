//! Findings for people and programs: what is broken, where, what to do; then what was seen.
//!
//! [`text`] a terminal     [`json`] scripts     [`junit`] CI systems     [`page`] one page of HTML with the network drawn

pub mod json;
pub mod junit;
pub mod page;
pub mod text;

use serde::Serialize;

use crate::checks::logs::printable;
use crate::{Finding, Fleet};

/// What became of a look at a fleet.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// What was looked at.
    #[serde(skip)]
    pub fleet: &'a Fleet,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything could be looked at, and nothing was found.
    Healthy,
    /// Something was found.
    Findings,
    /// Nothing was found, and not everything could be looked at.
    Unknown,
}

/// Things of one host that are listed as not looked at; of more only the number is said.
const UNREAD: usize = 8;

/// What was not looked at, for people: a host, or something of one, and why.
fn unseen<'r>(report: &'r Report<'_>) -> impl Iterator<Item = (String, String)> + 'r {
    report.fleet.hosts.iter().flat_map(|host| {
        let name = printable(&host.name);
        let some = host.unread.iter().take(UNREAD);
        let lines = some.map(|unread| format!("{}: {}", printable(&unread.what), printable(&unread.why)));
        let more = host.unread.len().saturating_sub(UNREAD);
        let rest = (more > 0).then(|| format!("{more} more; --json has all"));
        lines.chain(rest).map(move |line| (name.clone(), line)).collect::<Vec<_>>()
    })
}

impl<'a> Report<'a> {
    /// Looks.
    pub fn new(fleet: &'a Fleet) -> Report<'a> {
        Report { fleet, findings: crate::checks::run(fleet) }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let blind = !self.fleet.missing.is_empty() || self.fleet.hosts.iter().any(|host| !host.unread.is_empty());
        match (self.findings.is_empty(), blind) {
            (false, _) => Outcome::Findings,
            (true, true) => Outcome::Unknown,
            (true, false) => Outcome::Healthy,
        }
    }
}
