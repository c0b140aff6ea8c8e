//! What a build leaves on the way, when it fails or is stopped, is deleted, the newest first. The user's wish to stop does
//! not stop that: it is what it is for.

use kiln_gce::sweep::Account;
use kiln_ledger::Resource;
use kiln_ledger::sweep::{Cloud, Gone, SweepError, sweep};

use super::GoogleCompute;
use crate::builder::Job;
use crate::ui::BuildUi;

/// Says what it deletes, in Packer's words.
struct Told<'a> {
    inner: &'a Account,
    ui: &'a BuildUi,
}

impl Cloud for Told<'_> {
    fn delete(&self, resource: &Resource, cancelled: &dyn Fn() -> bool) -> Result<Gone, SweepError> {
        let kind = words(&resource.kind);
        self.ui.say(&format!("Deleting {kind}..."));
        let gone = self.inner.delete(resource, cancelled)?;
        let mut first = kind.chars();
        let name: String = first.next().into_iter().flat_map(char::to_uppercase).chain(first).collect();
        match gone {
            Gone::Deleted => self.ui.message(&format!("{name} has been deleted!")),
            Gone::WasNotThere => self.ui.message(&format!("{name} {} was not there", resource.name)),
        }
        Ok(gone)
    }

    fn find(&self, build: Option<&str>) -> Result<Vec<Resource>, SweepError> {
        self.inner.find(build)
    }

    fn rank(&self, kind: &str) -> usize {
        self.inner.rank(kind)
    }
}

fn words(kind: &str) -> &str {
    if kind == "ssh-key" { "SSH public key for OSLogin" } else { kind }
}

impl GoogleCompute {
    pub(super) fn clean(&mut self, job: &Job<'_>) {
        let Some(running) = &mut self.running else { return };
        running.machine = None;
        running.scratch = None;
        let account = Account::new(running.client.clone(), &self.config.account.project);
        let told = Told { inner: &account, ui: job.ui };
        let left = sweep(&running.book, &told, &|| false);
        for (resource, error) in &left {
            let id = resource.id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
            let kind = words(&resource.kind);
            job.ui.error(&format!(
                "Error deleting {kind}. Please delete it manually.\n\nName: {}{id}\nCall: {}\nError: {error}",
                resource.name, resource.delete
            ));
        }
        if !left.is_empty() {
            job.ui.error(&format!("hint: `kiln node gc --build {}` tries again", running.names.build));
        }
    }

    /// What the build began is over.
    pub(super) fn forget(&mut self) {
        if let Some(running) = self.running.take() {
            // A book in which nothing is open is removed; one that cannot be is found by `kiln node gc`.
            let _ = running.book.close();
        }
    }
}

impl Drop for GoogleCompute {
    fn drop(&mut self) {
        self.forget();
    }
}
