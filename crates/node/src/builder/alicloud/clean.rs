//! The end of everything that does not stay, what depends on others first. The user's wish to stop does not stop it.

use kiln_alicloud::sweep::{Kind, Sweeper};
use kiln_ledger::sweep::{Cloud, SweepError};
use kiln_ledger::{Entry, Resource};

use super::{Alicloud, Running};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::error::{NodeError, Result};

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

fn sweep(running: &mut Running, job: &Job<'_>) -> Vec<(Resource, SweepError)> {
    running.machine = None;
    let mut open: Vec<(Entry, Resource)> = running.book.open();
    // Newest first, and of what was made side by side what depends on others first.
    open.sort_by_key(|(_, resource)| Kind::by_name(&resource.kind));
    let sweeper = Sweeper::new(running.client.clone());
    let mut left = Vec::new();
    if let (Some(key), true) =
        (&running.key_pair, open.iter().any(|(_, r)| r.kind == Kind::Instance.name() && r.id.is_some()))
        && !running.instance.is_empty()
    {
        job.ui.message(&format!("Detach keypair {key} from instance: {}", running.instance));
        // The machine is deleted in any case.
        let _ = running.client.detach_key_pair(key, &running.instance, &|| false);
    }
    for (entry, resource) in open {
        job.ui.say(&words(&resource));
        let struck = sweeper.delete(&resource, &|| false).and_then(|_| {
            let failed = |error| SweepError { message: format!("it is deleted, but {error}"), hint: None };
            running.book.strike(&entry).map_err(failed)
        });
        left.extend(struck.err().map(|error| (resource, error)));
    }
    left
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
