//! The machine ends, its disks become an image; copies, tags, who may use it. Tried again after a failure
//! (`-on-error=ask`), it goes on where it stopped; images that an earlier try did not get done are deleted first.

use std::sync::atomic::AtomicBool;

use kiln_alicloud::Client;
use kiln_alicloud::ecs::image::{CopyOrder, ImageOrder, Origin};
use kiln_alicloud::sign;
use kiln_alicloud::sweep::Kind;
use kiln_ledger::Entry;

use super::config::Config;
use super::making::Making;
use super::{Alicloud, BUILDER_ID, Images, Running, clean, failed, unwritten};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::error::{NodeError, Result};

/// An image that is to stay.
struct Made {
    client: Client,
    id: String,
    entry: Entry,
}

impl Alicloud {
    pub(super) fn make_images(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        let (config, running) = self.running()?;
        let Images(artifact) = match running.images.clone() {
            Some(done) => done,
            None => {
                let made = images(config, running, job)?;
                running.images = Some(made.clone());
                made
            }
        };
        // The images stay; that something else could not be deleted is an error all the same.
        self.clean_or_say(job, artifact.as_ref())?;
        Ok(artifact)
    }
}

fn images(config: &Config, running: &mut Running, job: &Job<'_>) -> Result<Images> {
    if !running.ended {
        end(config, running, job)?;
        running.ended = true;
    }
    running.machine = None;
    if config.image.skip {
        job.ui.say("Skipping image creation...");
        return Ok(Images(None));
    }
    clean::undone(running, job)?;
    let made = all(config, running, job)?;
    for one in &made {
        running.book.strike(&one.entry).map_err(unwritten)?;
    }
    Ok(Images(artifact(&made)))
}

fn end(config: &Config, running: &Running, job: &Job<'_>) -> Result<()> {
    let (client, id) = (&running.client, &running.instance);
    let stop = || job.cancel.is_cancelled();
    if !config.machine.ends_itself {
        job.ui.say(&format!("Stopping instance: {id}"));
        client
            .stop_instance(id, config.machine.force_stop, &stop)
            .map_err(failed("Error stopping alicloud instance"))?;
    }
    job.ui.say(&format!("Waiting instance stopped: {id}"));
    client.instance_is(id, "Stopped", &stop).map_err(failed("Error waiting for alicloud instance to stop")).map(drop)
}

fn all(config: &Config, running: &Running, job: &Job<'_>) -> Result<Vec<Made>> {
    let broken = AtomicBool::new(false);
    let (client, book, mark) = (&running.client, &running.book, &running.mark);
    let making = Making { client, book, mark, cancel: job.cancel, broken: &broken };
    let image = &config.image;
    let encrypted = image.encrypted == Some(true);
    for (region, name) in
        std::iter::once((client.region(), &*image.name)).chain(image.copies.iter().map(|c| (&*c.region, &*c.name)))
    {
        make_way(&making, config, region, name, job)?;
    }
    let first = first(&making, config, &running.instance, encrypted, job)?;
    let mut made = Vec::new();
    if encrypted {
        job.ui.say(&format!("Copying image to {} encrypted: {}", client.region(), image.name));
        made.push(copy(&making, config, &first.id, client.region(), &image.name, image.kms_key.as_deref())?);
    }
    for to in &image.copies {
        job.ui.say(&format!("Coping image {} to {} as {}...", first.id, to.region, to.name));
        made.push(copy(&making, config, &first.id, &to.region, &to.name, to.kms_key.as_deref())?);
    }
    for one in &made {
        wait(&making, config, &one.client, &one.id, job)?;
    }
    if encrypted {
        // It was only on the way.
        job.ui.say(&format!("Deleting temporary image: {}", first.id));
        let resource = Kind::Image.intended(&first.id, client.region(), mark);
        let resource = kiln_ledger::Resource { id: Some(first.id.clone()), ..resource };
        let sweeper = kiln_alicloud::sweep::Sweeper::new(client.clone());
        let gone = kiln_ledger::sweep::Cloud::delete(&sweeper, &resource, &|| making.over());
        gone.map_err(|error| NodeError::Unsupported { what: error.message, hint: error.hint })?;
        book.strike(&first.entry).map_err(unwritten)?;
    } else {
        made.insert(0, first);
    }
    finish(&making, config, &made, job)?;
    Ok(made)
}

/// Deletes the image that has the name.
fn make_way(making: &Making<'_>, config: &Config, region: &str, name: &str, job: &Job<'_>) -> Result<()> {
    let image = &config.image;
    if !image.force && !job.force {
        return Ok(());
    }
    let there = making.client.in_region(region).map_err(failed("Error querying alicloud image"))?;
    let snapshots = image.force_snapshots || job.force;
    for old in making.ask("Error querying alicloud image", |stop| there.images_named(name, stop))? {
        job.ui.say(&format!("Deleting duplicated image and snapshot in {region}: {name}"));
        making.ask("Failed to delete image", |stop| there.delete_image(&old.image_id, image.force_instances, stop))?;
        for snapshot in old.snapshots().iter().filter(|_| snapshots) {
            making.ask("Failed to delete snapshot", |stop| there.delete_snapshot(snapshot, stop))?;
        }
    }
    Ok(())
}

/// The image of the machine's disks; only on the way if it is to be encrypted.
fn first(making: &Making<'_>, config: &Config, instance: &str, temporary: bool, job: &Job<'_>) -> Result<Made> {
    let image = &config.image;
    let (origin, snapshot) = match image.only_system {
        true => {
            let (entry, id) = snapshot(making, config, instance, job)?;
            (Origin::Snapshot(id), Some(entry))
        }
        false => (Origin::Instance(instance.to_owned()), None),
    };
    let name = match temporary {
        true => making.name(),
        false => image.name.clone(),
    };
    let what = if temporary { "temporary image for encryption" } else { "image" };
    job.ui.say(&format!("Creating {what}: {name}"));
    let own = |tags: &[(String, String)]| if temporary { Vec::new() } else { tags.to_vec() };
    let order = ImageOrder {
        name: name.clone(),
        origin,
        description: image.description.clone(),
        version: image.version.clone(),
        family: image.family.clone().filter(|_| !temporary),
        boot_mode: image.boot_mode.clone(),
        resource_group: image.resource_group.clone(),
        tags: making.tags().into_iter().chain(own(&image.tags)).collect(),
    };
    let client = making.client;
    let made = making.make("Error creating image", making.line(Kind::Image, &name), |stop| {
        client.create_image(&sign::nonce(), &order, stop)
    });
    let (entry, id) = made?;
    wait(making, config, client, &id, job)?;
    if let Some(snapshot) = snapshot {
        // It goes, or stays, with its image from now on.
        making.book.strike(&snapshot).map_err(unwritten)?;
    }
    Ok(Made { client: client.clone(), id, entry })
}

fn snapshot(making: &Making<'_>, config: &Config, instance: &str, job: &Job<'_>) -> Result<(Entry, String)> {
    let (client, name) = (making.client, making.name());
    let disk = making.ask("Error describing disks", |stop| client.system_disk(instance, stop))?;
    job.ui.say(&format!("Creating snapshot from system disk: {disk}"));
    let (entry, id) = making.make("Error creating snapshot", making.line(Kind::Snapshot, &name), |stop| {
        client.create_snapshot(&sign::nonce(), &disk, &name, &making.tags(), stop)
    })?;
    let limit = config.snapshot_limit;
    making.ask("Timeout waiting for snapshot to be created", |stop| client.snapshot_accomplished(&id, limit, stop))?;
    Ok((entry, id))
}

fn wait(making: &Making<'_>, config: &Config, client: &Client, id: &str, job: &Job<'_>) -> Result<()> {
    let told = |line: &str| job.ui.message(line);
    let action = "Timeout waiting for image to be created";
    making.ask(action, |stop| client.image_available(id, config.copy_limit, &told, stop)).map(drop)
}

fn copy(making: &Making<'_>, config: &Config, from: &str, region: &str, name: &str, key: Option<&str>) -> Result<Made> {
    let there = making.client.in_region(region).map_err(failed("Error copying images"))?;
    let order = CopyOrder {
        image: from.to_owned(),
        region: region.to_owned(),
        name: name.to_owned(),
        description: config.image.description.clone(),
        encrypted: config.image.encrypted.unwrap_or(false),
        key: key.map(str::to_owned),
        tags: making.tags().into_iter().chain(config.image.tags.iter().cloned()).collect(),
    };
    let mut line = Kind::Image.intended(name, region, making.mark);
    line.scope.insert("copy".to_owned(), "yes".to_owned());
    let (entry, id) =
        making.make("Error copying images", line, |stop| making.client.copy_image(&sign::nonce(), &order, stop))?;
    Ok(Made { client: there, id, entry })
}

/// Shares, tags and marks as done what stays.
fn finish(making: &Making<'_>, config: &Config, made: &[Made], job: &Job<'_>) -> Result<()> {
    let image = &config.image;
    for Made { client, id, .. } in made {
        if !image.share.is_empty() || !image.unshare.is_empty() {
            job.ui.say(&format!("Sharing image {id} in {}...", client.region()));
            making.ask("Failed modifying image share permissions", |stop| {
                client.share_image(id, &image.share, &image.unshare, stop)
            })?;
        }
        if !image.tags.is_empty() {
            let there = making.ask("Failed to add tags to the snapshot", |stop| client.image(id, stop))?;
            let snapshots = there.map(|image| image.snapshots()).unwrap_or_default();
            if !snapshots.is_empty() {
                making.ask("Failed to add tags to the snapshot", |stop| {
                    client.tag("snapshot", &snapshots, &image.tags, stop)
                })?;
            }
        }
        // Whoever looks for what builds left does not find it any more.
        making.ask("Failed to remove the mark of the build", |stop| {
            client.unmark("image", std::slice::from_ref(id), stop)
        })?;
    }
    Ok(())
}

fn artifact(made: &[Made]) -> Option<Artifact> {
    if made.is_empty() {
        return None;
    }
    let mut pairs: Vec<(String, String)> =
        made.iter().map(|one| (one.client.region().to_owned(), one.id.clone())).collect();
    pairs.sort();
    let id = pairs.iter().map(|(region, id)| format!("{region}:{id}")).collect::<Vec<_>>().join(",");
    let lines = pairs.iter().map(|(region, id)| format!("{region}: {id}")).collect::<Vec<_>>().join("\n");
    Some(Artifact::of_files(BUILDER_ID, &id, Vec::new(), format!("Alicloud images were created:\n\n{lines}")))
}
