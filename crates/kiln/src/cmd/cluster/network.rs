//! Whether pods of different hosts reach each other, once all nodes are ready: the doctor's facts, checks and packets, with
//! the program that a launch has put on the hosts.
//!
//! Nodes are ready as soon as kubelet has a file of the network. Whether packets arrive is another thing, and only they
//! tell: what they lose makes a launch fail. Other findings are told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_doctor::fleet::remote;
use kiln_doctor::probe::agent::Remote;
use kiln_doctor::probe::{self, Agent};
use kiln_doctor::report::{Report, text};
use kiln_doctor::{DoctorError, Fleet, HostFacts, path};
use kiln_host::Stdin;
use kiln_launch::facts::AGENT;
use kiln_launch::{Launch, LaunchError, Member, run};

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
    loop {
        let mut fleet = match facts(launch) {
            Ok(fleet) => fleet,
            Err(error) if launch.cancel.is_set() => return Err(error.into()),
            // It could be looked at by nobody: that is no fault of the network.
            Err(error) => return Ok(Some(error::printable(&error.to_string()))),
        };
        fleet.proofs = proofs(launch, &fleet);
        let lost = fleet.proofs.iter().any(|proof| proof.hop.lost.is_some());
        if lost && began.elapsed() < SETTLE.min(launch.options.patience) && !launch.cancel.is_set() {
            std::thread::sleep(PAUSE);
            continue;
        }
        let report = Report::new(&fleet);
        let told = (!report.findings.is_empty()).then(|| error::printable(&text::render(&report)));
        return match lost {
            false => Ok(told),
            true => Err(CliError::environment(format!(
                "all nodes are ready, and pods of different hosts do not reach each other\n{}",
                told.unwrap_or_default()
            ))
            .with_hint("kiln doctor path POD POD --hosts … follows a packet; when it is mended: the same command with --from verify")),
        };
    }
}

fn facts(launch: &Launch) -> Result<Fleet, LaunchError> {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let asked = run::each(&launch.members, launch.options.parallel, |member| -> Result<HostFacts, LaunchError> {
        let before = now();
        let line = format!("{AGENT} doctor --facts-json");
        let said = member.machine.succeed_with("look at its network", &line, Stdin::Empty, LIMIT)?;
        let failed = |error: DoctorError| member.machine.nonsense("what is your network", error.to_string());
        let facts = remote::parse(member.name(), &said.stdout, (before, now())).map_err(failed)?;
        Ok(HostFacts { name: member.name().to_owned(), ..facts })
    });
    Ok(Fleet::new(asked.into_iter().collect::<Result<_, _>>()?))
}

fn proofs(launch: &Launch, fleet: &Fleet) -> Vec<probe::Proof> {
    let agent = |member: &'_ Member| Remote {
        name: member.name().to_owned(),
        host: member.machine.host(),
        program: AGENT.to_owned(),
        sudo: member.machine.sudo().cloned(),
        cancel: &launch.cancel,
    };
    let agents: Vec<Remote<'_>> = launch.members.iter().map(agent).collect();
    let find = |name: &str| agents.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent);
    probe::all(&path::pairs(fleet), &find, probe::LISTEN)
}
