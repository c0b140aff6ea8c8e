//! Hosts in, findings out: what a launch calls to see whether the network of pods works, in one call.
//!
//! ```no_run
//! # fn verify(hosts: &[(String, Box<dyn kiln_host::Host>)], cancel: &kiln_host::Cancel) {
//! let program = kiln_doctor::fleet::remote::Parcel::new(std::path::Path::new("/usr/local/bin/kiln"), hosts.len());
//! let asking = kiln_doctor::fleet::remote::Asking {
//!     binary: &program,
//!     limit: std::time::Duration::from_secs(60),
//!     sudo: false,
//!     cancel,
//! };
//! let seen = kiln_doctor::look::at(hosts, &asking, None);
//! for finding in &seen.findings {
//!     println!("{} on {}: {}", finding.id, finding.hosts.join(", "), finding.line);
//! }
//! # }
//! ```

use kiln_host::Host;

use crate::api::Api;
use crate::checks::{self, Finding, Severity};
use crate::fleet::remote::{Asking, gather};
use crate::fleet::{Fleet, Missing};

/// What a look at hosts saw.
#[derive(Debug)]
pub struct Seen {
    /// The hosts' facts, for reports and paths.
    pub fleet: Fleet,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

impl Seen {
    /// Whether pods can be started and reached, as far as could be looked: nothing worse than a warning was found.
    pub fn works(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }

    /// Hosts that could not be looked at, and why.
    pub fn missing(&self) -> &[Missing] {
        &self.fleet.missing
    }
}

/// Looks at hosts, many at a time, and judges them together; with what the cluster says of itself, if it was asked.
/// Nothing is changed on them. A host that cannot be looked at is in [`Seen::missing`].
pub fn at(hosts: &[(String, Box<dyn Host>)], asking: &Asking<'_>, api: Option<Api>) -> Seen {
    let fleet = Fleet { api, ..gather(hosts, asking) };
    let findings = checks::run(&fleet);
    Seen { fleet, findings }
}
