//! The phases of a launch: a literal list, one file each.
//!
//! A phase looks at one host and at what is known, and says what it would do there ([`Work`]), or nothing where the host
//! has no part in it. It is done where the host's marker has its key and what it made still holds. Otherwise its effect
//! runs, and may run again after any of its steps: each of them is one that does no harm twice.
//!
//! Connecting and asking for facts come before all of these, as plans are made from facts.

pub mod distribute;
pub mod docker;
pub mod growth;
pub mod guest;
pub mod init;
pub mod join;
pub mod labels;
pub mod leftovers;
pub mod network;
pub mod prepare;
pub mod reach;
pub mod registry;
pub mod rootfs;
pub mod runtime;
pub mod verify;

use crate::error::Result;
use crate::launch::{Launch, Member};

/// How a phase goes over hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// On all at once.
    Together,
    /// On all at once, however many: hosts do the work for each other, where [`crate::launch::Options::peers`] says so.
    Crowd,
    /// On one after the other: etcd takes members so.
    Serial,
}

/// What a phase would do on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What tells this work from another: a digest of all that goes into it.
    pub key: String,
    /// In words, a line each.
    pub lines: Vec<String>,
    /// Whether what an earlier run of it made is still there, as far as facts tell.
    pub holds: bool,
}

/// One part of a launch.
pub struct Phase {
    /// By which `--from` knows it.
    pub name: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// How it goes over hosts.
    pub order: Order,
    /// What it would do on a host.
    pub plan: fn(&Launch, &Member) -> Result<Option<Work>>,
    /// Does it.
    pub run: fn(&Launch, &Member) -> Result<()>,
    /// Takes it back; says what remains. None if the undoing of another phase does it.
    pub undo: Option<Undo>,
}

/// Takes back what a phase did on a host; says what remains.
pub type Undo = fn(&Launch, &Member) -> Result<Vec<String>>;

/// How many there are.
pub const PHASES: usize = 16;

/// All phases behind connecting, facts and preflight, in order.
pub const LAUNCH: [Phase; PHASES] = [
    distribute::PHASE,
    rootfs::PHASE,
    reach::PHASE,
    leftovers::PHASE,
    prepare::PHASE,
    registry::PHASE,
    runtime::PHASE,
    init::PHASE,
    network::PHASE,
    growth::BEFORE,
    join::MASTERS,
    join::WORKERS,
    labels::PHASE,
    guest::PHASE,
    growth::AFTER,
    verify::PHASE,
];

/// Whether a phase has work on a host: what it is, if it is not done.
///
/// # Errors
/// When what is wanted cannot be.
pub fn work(phase: &Phase, launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let Some(work) = (phase.plan)(launch, member)? else { return Ok(None) };
    let done = launch.marker(member).is_some_and(|marker| marker.done.get(phase.name) == Some(&work.key));
    Ok((!(done && work.holds) || is_forced(phase, launch)).then_some(work))
}

/// Whether the user wants the phase again: `--from`.
pub(crate) fn is_forced(phase: &Phase, launch: &Launch) -> bool {
    let place = |name: &str| LAUNCH.iter().position(|phase| phase.name == name);
    launch.options.from.as_deref().and_then(place).is_some_and(|from| place(phase.name).is_some_and(|own| own >= from))
}
