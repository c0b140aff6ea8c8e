//! Whether pods of different hosts reach each other, once all nodes are ready: the doctor's facts, checks and packets, with
//! the program that a launch has put on the hosts.
//!
//! Nodes are ready as soon as kubelet has a file of the network. Whether packets arrive is another thing, and only they
//! tell: what they lose makes a launch fail. Other findings are told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_doctor::fleet::remote;
use kiln_doctor::probe::agent::{PATIENCE, Remote};
use kiln_doctor::probe::{self, Agent};
use kiln_doctor::report::{Report, text};
use kiln_doctor::{DoctorError, Fleet, HostFacts, Severity, path};
use kiln_host::{Cancel, Stdin};
use kiln_launch::facts::AGENT;
use kiln_launch::{Launch, LaunchError, Machine, run};

use crate::error::{self, CliError};

/// How long a host may take to say what its network is.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a network may take to know a node that has just become ready.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks until all is well, or some time is over; what is not well then, as people read it. The error is that of hosts whose
/// packets are lost.
pub fn check(launch: &Launch) -> Result<Option<String>, CliError> {
    let began = Instant::now();
    let machines: Vec<Machine> = launch.members.iter().map(|member| member.machine.clone()).collect();
    loop {
        let fleet = match look(&machines, launch.options.parallel, &launch.cancel) {
            Ok(fleet) => fleet,
            Err(error) if launch.cancel.is_set() => return Err(error.into()),
            // It could be looked at by nobody: that is no fault of the network.
            Err(error) => return Ok(Some(error::printable(&error.to_string()))),
        };
        let patience = SETTLE.min(launch.options.patience);
        if (loses(&fleet) || is_broken(&fleet)) && began.elapsed() < patience && !launch.cancel.is_set() {
            std::thread::sleep(PAUSE);
            continue;
        }
        return match (loses(&fleet), told(&fleet)) {
            (false, told) => Ok(told),
            (true, told) => Err(CliError::environment(format!(
                "all nodes are ready, and pods of different hosts do not reach each other\n{}",
                told.unwrap_or_default()
            ))
            .with_hint(
                "kiln doctor path POD POD --hosts … follows a packet; when it is mended: the same command with --from verify",
            )),
        };
    }
}

/// Whether something is found that is worse than a warning, as it is until flannel has a lease on a node that is ready.
fn is_broken(fleet: &Fleet) -> bool {
    Report::new(fleet).findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Whether packets were lost.
pub fn loses(fleet: &Fleet) -> bool {
    fleet.proofs.iter().any(|proof| proof.hop.lost.is_some())
}

/// What is found, as people read it; nothing when there is nothing.
pub fn told(fleet: &Fleet) -> Option<String> {
    let report = Report::new(fleet);
    (!report.findings.is_empty()).then(|| error::printable(&text::render(&report)))
}

/// Looks at hosts of a cluster, and has them send packets to each other.
pub fn look(machines: &[Machine], parallel: usize, cancel: &Cancel) -> Result<Fleet, LaunchError> {
    let asked = run::each(machines, parallel, facts).into_iter().collect::<Result<_, _>>()?;
    let fleet = Fleet::new(asked);
    let agents: Vec<Remote<'_>> = machines.iter().map(|machine| agent(machine, cancel)).collect();
    let find = |name: &str| agents.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent);
    let mut proofs = probe::all(&path::pairs(&fleet), &find, probe::LISTEN);
    proofs.extend(probe::connections(&path::connections(&fleet), &find, probe::CONNECT));
    Ok(Fleet { proofs, ..fleet })
}

fn agent<'m>(machine: &'m Machine, cancel: &'m Cancel) -> Remote<'m> {
    let (name, sudo) = (machine.name().to_owned(), machine.sudo().cloned());
    Remote { name, host: machine.host(), program: AGENT.to_owned(), sudo, patience: PATIENCE, cancel }
}

fn facts(machine: &Machine) -> Result<HostFacts, LaunchError> {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let before = now();
    let said =
        machine.succeed_with("look at its network", &format!("{AGENT} doctor --facts-json"), Stdin::Empty, LIMIT)?;
    let nonsense = |error: DoctorError| machine.nonsense("what is your network", error.to_string());
    let facts = remote::parse(machine.name(), &said.stdout, (before, now())).map_err(nonsense)?;
    Ok(HostFacts { name: machine.name().to_owned(), ..facts })
}
