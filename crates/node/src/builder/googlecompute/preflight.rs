//! What is asked before anything is made, all at once: whether names are free, where the build starts from, whether there
//! is such a machine, and whether the project may have it.

use kiln_gce::compute::{Image, MachineType, Region, address};
use kiln_gce::{Client, GceError, Scope};
use kiln_sandbox::Cancel;

use super::config::{Config, Kind};
use super::{Names, failed};
use crate::builder::Job;
use crate::communicator::Communicator;
use crate::error::{NodeError, Result};

/// What was found.
pub struct Found {
    /// The image that the first disk is made from.
    pub source: Image,
    /// The type of the machine.
    pub kind: MachineType,
    /// The reserved address.
    pub nat: Option<String>,
    /// Whether OS Login has the keys.
    pub os_login: bool,
    /// Whether an image of the wanted name is there, and to be replaced.
    pub previous: bool,
}

/// Questions that need one another not at all.
struct Questions<'a> {
    config: &'a Config,
    client: &'a Client,
    names: &'a Names,
    cancel: &'a Cancel,
}

/// Asks.
///
/// # Errors
/// The first that has a bad answer, in Packer's order.
pub fn look(config: &Config, client: &Client, names: &Names, job: &Job<'_>) -> Result<Found> {
    let ask = Questions { config, client, names, cancel: job.cancel };
    job.ui.say("Checking image does not exist...");
    std::thread::scope(|scope| {
        let image = scope.spawn(|| ask.image());
        let names = scope.spawn(|| ask.taken());
        let source = scope.spawn(|| ask.source());
        let kind = scope.spawn(|| ask.kind());
        let region = scope.spawn(|| ask.region());
        let nat = scope.spawn(|| ask.nat());
        let os_login = scope.spawn(|| ask.os_login());
        let zone = ask.zone();
        let previous = joined(image)?;
        if previous && !job.force && !config.image.skip {
            let project = config.image.project.as_ref().unwrap_or(&config.account.project);
            let what = format!("Image {} already exists in project {project}", config.image.name);
            let hint = Some("use the force flag to delete it prior to building: -force".to_owned());
            return Err(NodeError::Unsupported { what, hint });
        }
        joined(names)?;
        zone?;
        let (source, kind, region) = (joined(source)?, joined(kind)?, joined(region)?);
        fits(config, &source)?;
        quotas(config, &source, &kind, &region)?;
        Ok(Found { source, kind, nat: joined(nat)?, os_login: joined(os_login)?, previous })
    })
}

fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let given_up =
        || NodeError::Machine { action: "asking Compute Engine".to_owned(), why: "it was given up".to_owned() };
    handle.join().unwrap_or_else(|_| Err(given_up()))
}

impl Questions<'_> {
    fn project(&self) -> &str {
        &self.config.account.project
    }

    fn image(&self) -> Result<bool> {
        if self.config.image.skip {
            return Ok(false);
        }
        let project = self.config.image.project.as_deref().unwrap_or(self.project());
        let found = self.client.image(project, &self.config.image.name, &|| self.cancel.is_cancelled());
        Ok(found.map_err(failed("Error checking the image"))?.is_some())
    }

    /// Names that the template chose may be somebody else's; those that Kiln made up are nobody's.
    fn taken(&self) -> Result<()> {
        let (config, names) = (self.config, self.names);
        let zone = Scope::Zone(config.zone.clone());
        let mut chosen = Vec::new();
        if config.machine.name.is_some() {
            chosen.push(("instance", &names.instance));
            chosen.push(("disk", &names.disk));
        } else if config.machine.disk_name.is_some() {
            chosen.push(("disk", &names.disk));
        }
        for (extra, name) in config.disks.iter().zip(&names.extra) {
            if extra.name.is_some() && matches!(extra.kind, Kind::Made(_)) && extra.zones.is_empty() {
                chosen.push(("disk", name));
            }
        }
        for (kind, name) in chosen {
            let place = address(self.project(), &zone, &format!("{kind}s"), name);
            let what = format!("{kind} {name}");
            let found = self.client.labels(&place, &what, &|| self.cancel.is_cancelled());
            if found.map_err(failed("Error checking names"))?.is_some() {
                let what = format!("The {kind} {name} already exists in {}", config.zone);
                let hint = Some("Kiln deletes only what it made: take another name".to_owned());
                return Err(NodeError::Unsupported { what, hint });
            }
        }
        Ok(())
    }

    fn source(&self) -> Result<Image> {
        let wanted = &self.config.source;
        let places = wanted.places(self.project());
        let cancelled = || self.cancel.is_cancelled();
        let mut refused = None;
        for project in &places {
            let found = match wanted.family {
                true => self.client.family(project, &wanted.name, &cancelled),
                false => self.client.image(project, &wanted.name, &cancelled),
            };
            match found {
                Ok(Some(image)) => return Ok(image),
                Ok(None) => {}
                // It may be in one that may be looked into.
                Err(error) if error.status() == Some(403) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(failed("Error getting source image for instance creation")(error)),
            }
        }
        let kind = if wanted.family { "image family" } else { "image" };
        let why = match &refused {
            Some(error) => format!("it is in none of {}; {error}", places.join(", ")),
            None => format!("it is in none of {}", places.join(", ")),
        };
        let hint = refused.as_ref().and_then(GceError::hint);
        let hint = hint.or_else(|| Some("name its project: source_image_project_id".to_owned()));
        let error = GceError::Input { what: format!("{kind} {}", wanted.name), why, hint };
        Err(failed("Error getting source image for instance creation")(error))
    }

    fn zone(&self) -> Result<()> {
        let zone = self.client.zone(self.project(), &self.config.zone, &|| self.cancel.is_cancelled());
        let zone = zone.map_err(failed("Error getting the zone"))?;
        match zone.status.is_empty() || zone.status == "UP" {
            true => Ok(()),
            false => {
                let what = format!("the zone {} is {}", self.config.zone, zone.status);
                Err(NodeError::Unsupported { what, hint: Some("take another zone".to_owned()) })
            }
        }
    }

    fn kind(&self) -> Result<MachineType> {
        let config = self.config;
        let found = self
            .client
            .machine_type(self.project(), &config.zone, &config.machine.kind, &|| self.cancel.is_cancelled());
        found.map_err(failed("Error getting the machine type"))
    }

    fn region(&self) -> Result<Region> {
        let found = self.client.region(self.project(), &self.config.region, &|| self.cancel.is_cancelled());
        match found {
            // Who may make instances need not be allowed to see quotas; the service looks at them, too.
            Err(error) if error.status() == Some(403) => Ok(Region::default()),
            found => found.map_err(failed("Error getting the region")),
        }
    }

    fn nat(&self) -> Result<Option<String>> {
        let config = self.config;
        let Some(name) = &config.machine.network.address else { return Ok(None) };
        let found = self.client.reserved(self.project(), &config.region, name, &|| self.cancel.is_cancelled());
        found.map(Some).map_err(failed("Error getting the address"))
    }

    fn os_login(&self) -> Result<bool> {
        let Communicator::Ssh(settings) = &self.config.communicator else { return Ok(false) };
        if let Some(wanted) = self.config.os_login.wanted {
            return Ok(wanted);
        }
        if settings.key.is_some() || settings.agent {
            return Ok(false);
        }
        let value = self.client.project_metadata(self.project(), "enable-oslogin", &|| self.cancel.is_cancelled());
        match value {
            Ok(value) => Ok(value.is_some_and(|value| value.eq_ignore_ascii_case("true"))),
            // Who may not look has keys in the metadata of instances, as it was always.
            Err(error) if error.status() == Some(403) => Ok(false),
            Err(error) => Err(failed("Error getting the project")(error)),
        }
    }
}

/// Whether the image can be started as it is wanted.
fn fits(config: &Config, source: &Image) -> Result<()> {
    let wrong = |what: String, hint: &str| Err(NodeError::Unsupported { what, hint: Some(hint.to_owned()) });
    if source.is_windows() {
        let what = format!("Image {} is one of Windows, which Kiln does not build", source.name);
        return wrong(what, "take an image of a Linux");
    }
    if config.machine.secure_boot && !source.has("UEFI_COMPATIBLE") {
        let what = format!("Image: {} is not secure boot compatible", source.name);
        return wrong(what, "set 'enable_secure_boot' to false or choose another source image");
    }
    match config.machine.disk_size {
        Some(size) if size < source.size() => {
            let message = format!("disk_size is {size} GB, and the image {} has {}", source.name, source.size());
            Err(config.place.error("BadSize", message).into())
        }
        _ => Ok(()),
    }
}

/// Whether the project may have all of it. What has no limit there is for the service to judge.
fn quotas(config: &Config, source: &Image, kind: &MachineType, region: &Region) -> Result<()> {
    for (metric, wanted) in needs(config, source, kind) {
        let Some(quota) = region.quotas.iter().find(|quota| quota.metric == metric) else { continue };
        if wanted > quota.limit - quota.usage {
            let (region, usage, limit) = (&config.region, quota.usage, quota.limit);
            let what =
                format!("Quota {metric} of {region}: the build needs {wanted}, and {usage} of {limit} are in use");
            let hint = "ask for more at IAM & Admin > Quotas, delete what is not needed, or take another region";
            return Err(NodeError::Unsupported { what, hint: Some(hint.to_owned()) });
        }
    }
    Ok(())
}

/// What a build needs, by the names of quotas.
fn needs(config: &Config, source: &Image, kind: &MachineType) -> Vec<(String, f64)> {
    let machine = &config.machine;
    let family = machine.kind.split('-').next().unwrap_or_default();
    let cpus = match family {
        "e2" | "n1" | "f1" | "g1" => "CPUS".to_owned(),
        family => format!("{}_CPUS", family.to_ascii_uppercase()),
    };
    let mut all = vec![("INSTANCES".to_owned(), 1.0), (cpus, f64::from(kind.guest_cpus))];
    if !machine.network.closed && machine.network.address.is_none() {
        all.push(("IN_USE_ADDRESSES".to_owned(), 1.0));
    }
    let mut spinning = 0;
    let mut solid = 0;
    let mut add = |kind: &str, size: u64| match kind {
        "pd-standard" => spinning += size,
        kind if kind.starts_with("pd-") => solid += size,
        _ => {}
    };
    add(&machine.disk_type, super::body::disk_size(config, source));
    for disk in &config.disks {
        if let Kind::Made(kind) = &disk.kind {
            add(kind, disk.size);
        }
    }
    for (metric, size) in [("DISKS_TOTAL_GB", spinning), ("SSD_TOTAL_GB", solid)] {
        if size > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a few disks of 64 TB at the most")]
            all.push((metric.to_owned(), size as f64));
        }
    }
    all
}
