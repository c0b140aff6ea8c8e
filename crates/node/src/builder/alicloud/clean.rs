//! The end of everything that does not stay, what depends on others first. The user's wish to stop does not stop it.

use kiln_alicloud::sweep::{Kind, Sweeper};
use kiln_ledger::Resource;
use kiln_ledger::sweep::{self as ledger, Cloud, Gone, SweepError};

use super::{Alicloud, Running, unwritten};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::error::{NodeError, Result};
use crate::ui::BuildUi;

impl Alicloud {
    /// Deletes all that is open in the ledger; what could not be is told.
    pub(super) fn clean(&mut self, job: &Job<'_>) {
        let Some(running) = &mut self.running else { return };
        let left = sweep(running, job);
        for (resource, error) in &left {
            let id = resource.id.as_deref().unwrap_or(&resource.name);
            let text = format!("Error deleting {} {id}, it may still be around: {error}", resource.kind);
            job.ui.error(&format!("{text}\n{}", resource.delete));
        }
        if !left.is_empty() {
            job.ui.error(&format!("hint: kiln node gc --build {} tries again", running.book.build()));
        }
    }

    /// The same at the end of a build that went well.
    pub(super) fn clean_or_say(&mut self, job: &Job<'_>, artifact: Option<&Artifact>) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let left = sweep(running, job);
        if left.is_empty() {
            return Ok(());
        }
        let lines = left.iter().map(|(_, error)| format!("\n    {error}"));
        let made = artifact.map(|artifact| format!("{}; but", artifact.text)).unwrap_or_default();
        let what = format!("{made} these could not be deleted:{}", lines.collect::<String>());
        let hint = Some(format!("kiln node gc --build {}", running.book.build()));
        Err(NodeError::Unsupported { what: what.trim_start().to_owned(), hint })
    }
}

/// Says what it deletes.
struct Told<'a> {
    inner: Sweeper,
    ui: &'a BuildUi,
}

impl Cloud for Told<'_> {
    fn delete(&self, resource: &Resource, cancelled: &dyn Fn() -> bool) -> Result<Gone, SweepError> {
        self.ui.say(&words(resource));
        self.inner.delete(resource, cancelled)
    }

    fn find(&self, build: Option<&str>) -> Result<Vec<Resource>, SweepError> {
        self.inner.find(build)
    }

    fn rank(&self, kind: &str) -> usize {
        self.inner.rank(kind)
    }
}

/// Deletes images and snapshots that an earlier try did not get done: what comes next has their names.
pub(super) fn undone(running: &Running, job: &Job<'_>) -> Result<()> {
    let told = Told { inner: Sweeper::new(running.client.clone()), ui: job.ui };
    let is_result = |kind: &str| matches!(Kind::by_name(kind), Some(Kind::Image | Kind::Snapshot));
    for (entry, resource) in running.book.open().into_iter().filter(|(_, resource)| is_result(&resource.kind)) {
        match told.delete(&resource, &|| job.cancel.is_cancelled()) {
            Err(_) if job.cancel.is_cancelled() => return Err(NodeError::Cancelled),
            Err(error) => return Err(NodeError::Unsupported { what: error.message, hint: error.hint }),
            Ok(_) => running.book.strike(&entry).map_err(unwritten)?,
        }
    }
    Ok(())
}

fn sweep(running: &mut Running, job: &Job<'_>) -> Vec<(Resource, SweepError)> {
    running.machine = None;
    let is_machine = |resource: &Resource| resource.kind == Kind::Instance.name() && resource.id.is_some();
    if let Some(key) = &running.key_pair
        && !running.instance.is_empty()
        && running.book.open().iter().any(|(_, resource)| is_machine(resource))
    {
        job.ui.message(&format!("Detach keypair {key} from instance: {}", running.instance));
        // The machine is deleted in any case.
        let _ = running.client.detach_key_pair(key, &running.instance, &|| false);
    }
    let told = Told { inner: Sweeper::new(running.client.clone()), ui: job.ui };
    ledger::sweep(&running.book, &told, &|| false)
}

/// In Packer's words.
fn words(resource: &Resource) -> String {
    let what = match Kind::by_name(&resource.kind) {
        Some(Kind::Eip) => "EIP",
        Some(Kind::SecurityGroup) => "security group",
        Some(Kind::VSwitch) => "vSwitch",
        Some(Kind::Vpc) => "VPC",
        Some(Kind::KeyPair) => return "Deleting temporary keypair...".to_owned(),
        _ => &resource.kind,
    };
    format!("Cleaning up '{what}'")
}

impl Alicloud {
    /// What the build began is over.
    pub(super) fn forget(&mut self) {
        if let Some(running) = self.running.take() {
            // A ledger in which nothing is open is removed; one that cannot be is found by `kiln node gc`.
            let _ = running.book.close();
        }
    }
}

impl Drop for Alicloud {
    fn drop(&mut self) {
        self.forget();
    }
}
