//! One provisioner with what every provisioner may say: a pause before it, tries, a time limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_packer::model::{Block, BuildFacts};
use kiln_sandbox::Cancel;

use super::{Process, short_name};
use crate::builder::Builder;
use crate::error::{NodeError, Result};
use crate::provision::{self, Stage};
use crate::target::pause;
use crate::ui::words;

/// How often a time limit and the user's wish to stop are looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// Runs a provisioner, which `cancel` stops.
///
/// # Errors
/// When it fails as often as it may be tried.
pub fn provision(
    process: &Process<'_>,
    block: &Block,
    position: usize,
    builder: &mut dyn Builder,
    cancel: &Cancel,
) -> Result<()> {
    let facts = BuildFacts { uuid: process.settings.uuid.clone(), ..builder.facts() };
    let provisioner = provision::parse(block, &facts)?;
    if let Some(time) = block.common.pause_before.filter(|time| !time.is_zero()) {
        wait_before(process, builder, time, cancel)?;
    }
    let mut tries_left = block.common.max_retries;
    loop {
        if cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
        let result = limited(process, block.common.timeout, (builder, cancel), |builder, cancel| {
            let mut stage = Stage {
                ui: process.ui,
                target: builder.target(),
                facts: &facts,
                build: short_name(process.build),
                kind: &process.build.kind,
                cancel,
                asker: process.around.asker,
                images: process.around.images,
                position,
            };
            provisioner.run(&mut stage)
        });
        match result {
            Err(NodeError::Cancelled) => return Err(NodeError::Cancelled),
            Err(error) if tries_left > 0 => {
                process
                    .ui
                    .say(&format!("Provisioner failed with \"{error}\", retrying with {tries_left} trie(s) left"));
                tries_left -= 1;
            }
            result => return result,
        }
    }
}

/// A pause gives a machine time to come up; offline there is none.
fn wait_before(process: &Process<'_>, builder: &mut dyn Builder, time: Duration, cancel: &Cancel) -> Result<()> {
    if builder.target().is_offline() {
        process.ui.message(&format!("offline: no need to pause {} before the next provisioner", words(time)));
        return Ok(());
    }
    process.ui.say(&format!("Pausing {} before the next provisioner...", words(time)));
    pause(time, cancel)
}

/// Runs `work` with a token that is set when the user stops the build or the time is over.
fn limited(
    process: &Process<'_>,
    timeout: Option<Duration>,
    (builder, user): (&mut dyn Builder, &Cancel),
    work: impl FnOnce(&mut dyn Builder, &Cancel) -> Result<()>,
) -> Result<()> {
    let Some(timeout) = timeout.filter(|t| !t.is_zero()) else {
        return work(builder, user);
    };
    process.ui.say(&format!("Setting a {} timeout for the next provisioner...", words(timeout)));
    let (cancel, over, done) = (Cancel::new(), AtomicBool::new(false), AtomicBool::new(false));
    let deadline = Instant::now().checked_add(timeout);
    builder.target().obey(cancel.clone());
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if user.is_cancelled() {
                    return cancel.cancel();
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    over.store(true, Ordering::Relaxed);
                    return cancel.cancel();
                }
                std::thread::sleep(GLANCE);
            }
        });
        let result = work(builder, &cancel);
        done.store(true, Ordering::Relaxed);
        result
    });
    builder.target().obey(user.clone());
    match result {
        Err(NodeError::Cancelled) if over.load(Ordering::Relaxed) => Err(NodeError::TimedOut(timeout)),
        result => result,
    }
}
