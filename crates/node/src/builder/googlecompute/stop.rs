//! From a machine to an image: the instance goes, its disk becomes an image, and goes.

use kiln_gce::client::{Ask, Cancelled};
use kiln_gce::compute::collection;
use kiln_gce::marks::{self, Thing};
use kiln_gce::{GceError, Scope};
use kiln_ledger::Entry;

use super::config::Kind;
use super::start::{ledger, scope_of};
use super::{BUILDER_ID, GoogleCompute, Running, body, failed};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::communicator::{Communicator, forget};
use crate::error::{NodeError, Result};

/// Once there may be an image, what is left to do is done whatever the user wants: it takes seconds, and a build that is
/// stopped then would have failed and left its image.
const FINISH: fn() -> bool = || false;

impl GoogleCompute {
    /// All of it; the artifact, if an image is to be made.
    pub(super) fn stop(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        self.forget_key(job)?;
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let ended = self.end(&mut running, job);
        self.running = Some(running);
        ended
    }

    fn forget_key(&mut self, job: &Job<'_>) -> Result<()> {
        let (Communicator::Ssh(settings), Some(running)) = (&self.config.communicator, &mut self.running) else {
            return Ok(());
        };
        match (&running.login, &mut running.machine) {
            (Some(login), Some(machine)) => forget::key(settings, login, machine, job),
            _ => Ok(()),
        }
    }

    fn end(&self, running: &mut Running, job: &Job<'_>) -> Result<Option<Artifact>> {
        self.wait_for_script(running, job)?;
        running.machine = None;
        self.delete_instance(running, job)?;
        let config = &self.config;
        if config.image.skip {
            job.ui.say("Skipping image creation...");
        }
        let running = &*running;
        // Disks that no image is made of have nothing to wait for.
        let (image, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| self.delete_others(running, job, false));
            let image = if config.image.skip { Ok(()) } else { self.make_image(running, job) };
            (image, others.join().unwrap_or(Err(NodeError::Cancelled)))
        });
        image?;
        let disk = self.delete_disk(running, job);
        let source = self.delete_others(running, job, true);
        let key = self.delete_key(running, job);
        let left: Vec<NodeError> = [others, disk, source, key].into_iter().filter_map(Result::err).collect();
        self.told_left(left)?;
        if config.image.skip {
            return Ok(None);
        }
        let text = format!("A disk image was created: {}", config.image.name);
        Ok(Some(Artifact::of_files(BUILDER_ID, &config.image.name, Vec::new(), text)))
    }

    /// What could not be deleted is an error, also when there is an image.
    fn told_left(&self, mut left: Vec<NodeError>) -> Result<()> {
        if left.len() <= 1 {
            return left.pop().map_or(Ok(()), Err);
        }
        if left.iter().any(|error| matches!(error, NodeError::Cancelled)) {
            return Err(NodeError::Cancelled);
        }
        let all = left.iter().map(ToString::to_string).collect();
        Err(failed("Error cleaning up")(GceError::Left(all)))
    }

    fn delete_instance(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        job.ui.say("Deleting instance...");
        let scope = Scope::Zone(self.config.zone.clone());
        let what = ("instance", &*running.names.instance);
        let cancelled = || job.cancel.is_cancelled();
        self.gone(running, &scope, what, running.made.instance.as_ref(), &cancelled)?;
        job.ui.message("Instance has been deleted!");
        Ok(())
    }

    fn delete_disk(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        job.ui.say("Deleting disk...");
        let scope = Scope::Zone(self.config.zone.clone());
        self.gone(running, &scope, ("disk", &running.names.disk), running.made.disk.as_ref(), &FINISH)?;
        job.ui.message("Disk has been deleted!");
        Ok(())
    }

    /// The template's further disks: the one that the image is made of, or the others.
    fn delete_others(&self, running: &Running, job: &Job<'_>, source: bool) -> Result<()> {
        let all = self.config.disks.iter().zip(&running.names.extra).enumerate();
        let mut failed = None;
        for (index, (disk, name)) in all {
            if !matches!(disk.kind, Kind::Made(_)) || disk.is_source != source {
                continue;
            }
            let entry = running.made.extra.iter().find(|(i, _)| *i == index).map(|(_, entry)| entry);
            if disk.keep {
                job.ui.say(&format!("Keeping disk \"{name}\""));
                entry.map_or(Ok(()), |entry| running.book.strike(entry).map_err(ledger))?;
                continue;
            }
            job.ui.say(&format!("Deleting disk \"{name}\""));
            match self.gone(running, &scope_of(&self.config, disk), ("disk", name), entry, &FINISH) {
                Ok(()) => job.ui.say(&format!("Disk \"{name}\" successfully deleted")),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn gone(
        &self,
        running: &Running,
        scope: &Scope,
        what: (&str, &str),
        entry: Option<&Entry>,
        cancelled: Cancelled<'_>,
    ) -> Result<()> {
        let (project, limit) = (&self.config.account.project, self.config.timeout);
        let deleted = running.client.delete(project, scope, what, limit, cancelled);
        deleted.map_err(failed(&format!("Error deleting {}", what.0)))?;
        entry.map_or(Ok(()), |entry| running.book.strike(entry).map_err(ledger))
    }

    fn make_image(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let config = &self.config;
        let project = config.image.project.as_ref().unwrap_or(&config.account.project);
        let (name, limit) = (&config.image.name, config.timeout);
        let cancelled = || job.cancel.is_cancelled();
        let body = body::image(config, &running.names)?;
        if running.found.previous {
            job.ui.say("Deleting previous image...");
            let deleted = running.client.delete(project, &Scope::Global, ("image", name), limit, &cancelled);
            deleted.map_err(failed("Error deleting image"))?;
        }
        job.ui.say("Creating image...");
        let thing = Thing { kind: "image", name, project, scope: &Scope::Global };
        let entry = running.book.intend(marks::resource(thing, &running.names.build)).map_err(ledger)?;
        let ask = Ask::post(collection(project, &Scope::Global, "images"), body, format!("image {name}"));
        let entries = [entry.clone()];
        let made = running.client.make(&running.book, &entries, ask, (project, &Scope::Global), limit, &cancelled);
        made.map_err(failed("Error waiting for image"))?;
        let image = running.client.image(project, name, &cancelled).map_err(failed("Error waiting for image"))?;
        let status = image.map_or_else(|| "gone".to_owned(), |image| image.status);
        if !matches!(&*status, "READY" | "") {
            let why = format!("image {name} is {status}, although its operation is done");
            return Err(NodeError::Machine { action: "Error waiting for image".to_owned(), why });
        }
        if let Some(body) = &config.image.deprecation {
            let set = running.client.deprecate(project, name, body.clone(), limit, &cancelled);
            set.map_err(failed("Error setting image deprecation status"))?;
            job.ui.say("Image deprecation status set");
        }
        // It is what the build is for: it stays.
        running.book.strike(&entry).map_err(ledger)
    }

    fn delete_key(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let Some((account, fingerprint, entry)) = &running.made.key else { return Ok(()) };
        job.ui.say("Deleting SSH public key for OSLogin...");
        let removed = running.client.remove_key(account, fingerprint, &FINISH);
        removed.map_err(failed("Error deleting SSH public key for OSLogin"))?;
        running.book.strike(entry).map_err(ledger)?;
        job.ui.message("SSH public key for OSLogin has been deleted!");
        Ok(())
    }
}
