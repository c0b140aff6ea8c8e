//! From a machine to an image: the instance goes, its disk becomes an image, and goes. Tried again after a failure
//! (`-on-error=ask`), it goes on where it stopped: what the book does not have open any more is done.

use kiln_gce::client::{Ask, Cancelled};
use kiln_gce::compute::collection;
use kiln_gce::marks::{self, Thing};
use kiln_gce::operation::stopped;
use kiln_gce::sweep::Account;
use kiln_gce::{GceError, Scope};
use kiln_ledger::Entry;
use kiln_ledger::poll::Backoff;
use kiln_ledger::sweep::Cloud as _;

use super::start::{ledger, scope_of};
use super::{BUILDER_ID, GoogleCompute, Running, body, failed};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::communicator::{Communicator, forget};
use crate::error::{NodeError, Result};

/// How a book calls images.
const KIND: &str = "image";
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
        if running.open(running.made.instance.as_ref()).is_some() {
            self.wait_for_script(running, job)?;
            running.machine = None;
            self.delete_instance(running, job)?;
        }
        let config = &self.config;
        if config.image.skip {
            job.ui.say("Skipping image creation...");
        }
        let wanted = !config.image.skip && !running.made.image;
        let (image, others) = {
            let running = &*running;
            // Disks that no image is made of have nothing to wait for.
            std::thread::scope(|scope| {
                let others = scope.spawn(|| self.delete_others(running, job, false));
                let image = if wanted { self.make_image(running, job) } else { Ok(()) };
                (image, others.join().unwrap_or(Err(NodeError::Cancelled)))
            })
        };
        image?;
        running.made.image = !config.image.skip;
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
        let Some(entry) = running.open(running.made.instance.as_ref()) else { return Ok(()) };
        job.ui.say("Deleting instance...");
        let scope = Scope::Zone(self.config.zone.clone());
        let cancelled = || job.cancel.is_cancelled();
        self.gone(running, &scope, ("instance", &running.names.instance), entry, &cancelled)?;
        job.ui.message("Instance has been deleted!");
        Ok(())
    }

    fn delete_disk(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let Some(entry) = running.open(running.made.disk.as_ref()) else { return Ok(()) };
        job.ui.say("Deleting disk...");
        let scope = Scope::Zone(self.config.zone.clone());
        self.gone(running, &scope, ("disk", &running.names.disk), entry, &FINISH)?;
        job.ui.message("Disk has been deleted!");
        Ok(())
    }

    /// The template's further disks: the one that the image is made of, or the others.
    fn delete_others(&self, running: &Running, job: &Job<'_>, source: bool) -> Result<()> {
        let mut failed = None;
        for (index, entry) in &running.made.extra {
            let (disk, name) = (&self.config.disks[*index], &running.names.extra[*index]);
            if disk.is_source != source || !running.book.is_open(entry) {
                continue;
            }
            if disk.keep {
                job.ui.say(&format!("Keeping disk \"{name}\""));
                running.book.strike(entry).map_err(ledger)?;
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
        entry: &Entry,
        cancelled: Cancelled<'_>,
    ) -> Result<()> {
        let (project, limit) = (&self.config.account.project, self.config.timeout);
        let deleted = running.client.delete(project, scope, what, limit, cancelled);
        deleted.map_err(failed(&format!("Error deleting {}", what.0)))?;
        running.book.strike(entry).map_err(ledger)
    }

    fn make_image(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let config = &self.config;
        let (project, name, limit) = (self.image_project(), &config.image.name, config.timeout);
        let entry = match self.image_begun(running, job)? {
            Some(entry) => entry,
            None => self.insert_image(running, job)?,
        };
        if let Some(body) = &config.image.deprecation {
            let cancelled = || job.cancel.is_cancelled();
            let set = running.client.deprecate(project, name, body.clone(), limit, &cancelled);
            set.map_err(failed("Error setting image deprecation status"))?;
            job.ui.say("Image deprecation status set");
        }
        // It is what the build is for: it stays.
        running.book.strike(&entry).map_err(ledger)
    }

    fn image_project(&self) -> &str {
        self.config.image.project.as_ref().unwrap_or(&self.config.account.project)
    }

    fn insert_image(&self, running: &Running, job: &Job<'_>) -> Result<Entry> {
        let config = &self.config;
        let (project, name, limit) = (self.image_project(), &config.image.name, config.timeout);
        let cancelled = || job.cancel.is_cancelled();
        let body = body::image(config, &running.names)?;
        if running.found.previous {
            job.ui.say("Deleting previous image...");
            let deleted = running.client.delete(project, &Scope::Global, ("image", name), limit, &cancelled);
            deleted.map_err(failed("Error deleting image"))?;
        }
        job.ui.say("Creating image...");
        let thing = Thing { kind: KIND, name, project, scope: &Scope::Global };
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
        Ok(entry)
    }

    /// The image that an earlier try began, once it is ready. One that did not become an image is deleted: its line in the
    /// book would be the end of the next one, which has its name and its mark.
    fn image_begun(&self, running: &Running, job: &Job<'_>) -> Result<Option<Entry>> {
        let Some((entry, resource)) = running.book.open().into_iter().find(|(_, resource)| resource.kind == KIND)
        else {
            return Ok(None);
        };
        let (project, name) = (self.image_project(), &self.config.image.name);
        let cancelled = || job.cancel.is_cancelled();
        let words = "Error waiting for image";
        let mut backoff = Backoff::new(self.config.timeout);
        loop {
            let found = running.client.image(project, name, &cancelled).map_err(failed(words))?;
            let ours = found.filter(|image| image.labels.get(marks::IMAGE) == Some(&running.names.build));
            match ours.as_ref().map(|image| &*image.status) {
                Some("READY" | "") => {
                    job.ui.message(&format!("Image {name} is there from the try before"));
                    return Ok(Some(entry));
                }
                Some("PENDING") => {
                    let waited = backoff.wait(&cancelled).map_err(|stop| stopped(stop, &format!("image {name}")));
                    waited.map_err(failed(words))?;
                }
                _ => break,
            }
        }
        let account = Account::new(running.client.clone(), &self.config.account.project);
        match account.delete(&resource, &cancelled) {
            Err(_) if job.cancel.is_cancelled() => return Err(NodeError::Cancelled),
            Err(error) => return Err(NodeError::Unsupported { what: error.message, hint: error.hint }),
            Ok(_) => running.book.strike(&entry).map_err(ledger)?,
        }
        Ok(None)
    }

    fn delete_key(&self, running: &Running, job: &Job<'_>) -> Result<()> {
        let Some((account, fingerprint, entry)) = &running.made.key else { return Ok(()) };
        if !running.book.is_open(entry) {
            return Ok(());
        }
        job.ui.say("Deleting SSH public key for OSLogin...");
        let removed = running.client.remove_key(account, fingerprint, &FINISH);
        removed.map_err(failed("Error deleting SSH public key for OSLogin"))?;
        running.book.strike(entry).map_err(ledger)?;
        job.ui.message("SSH public key for OSLogin has been deleted!");
        Ok(())
    }
}
