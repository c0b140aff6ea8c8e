//! Which rung of the isolation ladder commands run on: tried when the first command is about to run, and said once.

use std::path::Path;
use std::sync::OnceLock;

use kiln_sandbox::{Confinement, Init, Rung, RungReport, Standing, probe_in, probe_with, strongest};
use kiln_store::Form;

use crate::error::{EngineError, Result};
use crate::event::{Event, Events};

/// The number of the task that tells which rung was taken; those of questions count from 0.
const TASK: u64 = u64::MAX;

/// The user's wish, and what came of it.
pub struct Isolation {
    wanted: Option<Rung>,
    standing: Standing,
    init: Init,
    chosen: OnceLock<Result<Rung, (Rung, String)>>,
}

/// What it takes to keep files as they are, and change the root of commands.
const AS_ROOT: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SYS_CHROOT"];

/// How a process that stands there, and is held so, keeps unpacked files for commands of the rung that is wanted.
pub fn form(wanted: Option<Rung>, standing: &Standing, held: &Confinement) -> Form {
    match standing {
        _ if wanted == Some(Rung::Emulated) => Form::Bare,
        Standing::Outside if !held.lacks(&AS_ROOT).is_empty() => Form::Bare,
        Standing::Outside if held.makes_nodes() => Form::Real,
        Standing::Outside => Form::NoNodes,
        Standing::Many(maps) => Form::mapped(maps),
        Standing::One => Form::Virtual,
    }
}

impl Isolation {
    /// This rung, or with `None` the strongest that works where this process stands. Commands are started by `init`.
    pub fn new(wanted: Option<Rung>, standing: Standing, init: Init) -> Isolation {
        Isolation { wanted, standing, init, chosen: OnceLock::new() }
    }

    /// How commands are started.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// Whose ids there are.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The rung to use, tried out the first time. `scratch` is a directory on the file system where changes are written.
    ///
    /// # Errors
    /// When the rung the user asked for does not work here.
    pub fn rung(&self, scratch: &Path, events: &dyn Events) -> Result<Rung> {
        let chosen = self.chosen.get_or_init(|| {
            let started = std::time::Instant::now();
            let reports = self.reports(scratch);
            let rung = self.wanted.unwrap_or_else(|| {
                let from_here: Vec<RungReport> =
                    reports.iter().filter(|r| self.is_from_here(r.rung)).cloned().collect();
                strongest(&from_here)
            });
            let report = reports.iter().find(|r| r.rung == rung);
            let (available, why) = report.map_or((false, "it is not known here"), |r| (r.available, &*r.why));
            let title = format!("[internal] isolation {rung}: {why}");
            events.event(&Event::TaskStarted { id: TASK, title: &title });
            events.event(&Event::TaskDone { id: TASK, took: started.elapsed(), failed: !available });
            if available { Ok(rung) } else { Err((rung, why.to_owned())) }
        });
        chosen.clone().map_err(|(rung, why)| EngineError::Isolation { rung, why })
    }

    /// Whether commands can have the rung with what this process unpacks: its own, and those without ids of their own.
    fn is_from_here(&self, rung: Rung) -> bool {
        match rung {
            Rung::None => true,
            Rung::Emulated => form(None, &self.standing, &Confinement::here()) == Form::Bare,
            Rung::Chroot => self.standing != Standing::One,
            rung => rung == self.standing.rung(),
        }
    }

    /// What each rung gives here, or what keeps it from working, weakest first.
    pub fn reports(&self, scratch: &Path) -> Vec<RungReport> {
        probe_in(scratch, &self.init)
    }

    /// The same without the overlays, for which there is no place.
    pub fn reports_without_store(&self) -> Vec<RungReport> {
        probe_with(&self.init)
    }
}
