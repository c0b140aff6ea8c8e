//! Which rung of the isolation ladder commands run on: tried when the first command is about to run, and said once.

use std::path::Path;
use std::sync::OnceLock;

use kiln_sandbox::{Init, Rung, RungReport, probe_overlay, probe_with, strongest};

use crate::error::{EngineError, Result};
use crate::event::{Event, Events};

/// The number of the task that tells which rung was taken; those of questions count from 0.
const TASK: u64 = u64::MAX;

/// The user's wish, and what came of it.
pub struct Isolation {
    wanted: Option<Rung>,
    init: Init,
    chosen: OnceLock<Result<Rung, (Rung, String)>>,
}

impl Isolation {
    /// This rung, or with `None` the strongest that works. Commands are started by `init`.
    pub fn new(wanted: Option<Rung>, init: Init) -> Isolation {
        Isolation { wanted, init, chosen: OnceLock::new() }
    }

    /// How commands are started.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// The rung to use, tried out the first time. `scratch` is a directory on the file system where changes are written.
    ///
    /// # Errors
    /// When the rung the user asked for does not work here.
    pub fn rung(&self, scratch: &Path, events: &dyn Events) -> Result<Rung> {
        let chosen = self.chosen.get_or_init(|| {
            let started = std::time::Instant::now();
            let reports = self.reports(scratch);
            let rung = self.wanted.unwrap_or_else(|| strongest(&reports));
            let report = reports.iter().find(|r| r.rung == rung);
            let (available, why) = report.map_or((false, "it is not known here"), |r| (r.available, &*r.why));
            let title = format!("[internal] isolation {rung}: {why}");
            events.event(&Event::TaskStarted { id: TASK, title: &title });
            events.event(&Event::TaskDone { id: TASK, took: started.elapsed(), failed: !available });
            if available { Ok(rung) } else { Err((rung, why.to_owned())) }
        });
        chosen.clone().map_err(|(rung, why)| EngineError::Isolation { rung, why })
    }

    /// What each rung gives here, or what keeps it from working, weakest first.
    pub fn reports(&self, scratch: &Path) -> Vec<RungReport> {
        let mut reports = probe_with(&self.init);
        if let Some(root) = reports.iter_mut().find(|r| r.rung == Rung::Root && r.available)
            && let Err(why) = probe_overlay(scratch, &self.init)
        {
            root.available = false;
            root.why = format!("overlayfs does not work in {}: {why}", scratch.display());
        }
        reports
    }
}
