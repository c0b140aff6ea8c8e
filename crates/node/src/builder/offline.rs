//! `offline`: Kiln's own builder, and how the configurations of other builders are read as its own.

use std::path::Path;

use kiln_packer::fields::Fields;
use kiln_packer::model::{Build, BuildFacts};

use super::{Builder, Choice, Job, NoMachine, keys};
use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::guard::Guard;
use crate::offline::base::Base;
use crate::offline::output::{Format, Wanted};
use crate::offline::{self, Given, disk, report};
use crate::target::Target;

/// The builder `offline`.
pub struct Offline {
    base: Given,
    wanted: Wanted,
    /// The builder that the template names, and why it is not the one.
    instead: Option<(String, String)>,
    guard: Guard,
    /// Keys of another builder that mean nothing here.
    unused: Vec<String>,
    root: Option<offline::Offline>,
    none: NoMachine,
    made: bool,
}

/// A foreign builder, and where its base and the name of its result are found.
struct Foreign {
    kind: &'static str,
    bases: &'static [&'static str],
    names: &'static [&'static str],
    /// Whether its base is an image of a cloud, which is not here.
    cloud: bool,
}

const FOREIGN: [Foreign; 3] = [
    Foreign { kind: "qemu", bases: &["iso_url", "iso_urls"], names: &["vm_name"], cloud: false },
    Foreign { kind: "alicloud-ecs", bases: &["source_image", "image_family"], names: &["image_name"], cloud: true },
    Foreign {
        kind: "googlecompute",
        bases: &["source_image", "source_image_family"],
        names: &["image_name"],
        cloud: true,
    },
];

/// Whether templates for this builder can be built offline without more than a base.
pub fn known(kind: &str) -> bool {
    FOREIGN.iter().any(|f| f.kind == kind)
}

/// Formats of disks that others write.
const DISKS: [&str; 3] = ["vpc", "vdi", "vhdx"];

impl Offline {
    /// Reads the configuration of the build, whichever builder it was written for.
    ///
    /// # Errors
    /// When it has mistakes, or says nothing that can be a base.
    pub fn parse(build: &Build, choice: &Choice) -> Result<Offline> {
        let f = build.config.fields();
        let foreign = FOREIGN.iter().find(|foreign| foreign.kind == build.kind);
        let base = base(build, &f, foreign, choice)?;
        let name = names(build, &f, foreign)?;
        let directory = f.string("output_directory")?.unwrap_or_else(|| format!("output-{}", file_name(&build.name)));
        let own = build.kind == "offline";
        let given = f.string("format")?;
        let given = given.filter(|_| own || build.kind == "qemu");
        let format = match (&base, given.as_deref().or(choice.format.as_deref())) {
            // As Packer's qemu builder; else as the base is written.
            (Base::Disk(_), None) if build.kind == "qemu" => Format::Disk(kiln_disk::image::Format::Qcow2),
            (Base::Disk(path), None) => Format::Disk(disk::format_of(path)?),
            _ => format(build, &f, choice.format.as_deref(), given)?,
        };
        if format != Format::Image && name.contains('/') {
            let message = format!("`{name}` cannot be the name of a file");
            return Err(build.place.error("BadName", message).into());
        }
        // Packer leaves a disk as large as it is with skip_resize_disk.
        let keep = build.kind == "qemu" && f.bool("skip_resize_disk")?.unwrap_or(false);
        let size = if own || build.kind == "qemu" { size(&f)?.filter(|_| !keep) } else { None };
        let compressed = if own || build.kind == "qemu" { f.bool("disk_compression")?.unwrap_or(false) } else { false };
        let compression = compressed.then_some(kiln_disk::image::Compression::Zlib);
        let from_template = choice.base.is_none() && (own || build.kind == "qemu");
        let checksum = if from_template { f.string("iso_checksum")? } else { None };
        let guard = guard(build, &f, own)?;
        let mut unused = Vec::new();
        if own {
            f.finish()?;
        } else {
            if build.kind == "qemu" {
                f.ignore(&["disk_image"]);
            }
            // They say how a machine is made and reached. That nothing of it is read is told when the build begins.
            unused = foreign_keys(&build.kind, &f)?;
        }
        let wanted = Wanted { format, directory: directory.into(), name, size, compression };
        let none = NoMachine { builder: "offline" };
        let base = Given { base, checksum: checksum.filter(|sum| !sum.is_empty()) };
        let instead = (!own).then(|| (build.kind.clone(), why(choice)));
        Ok(Offline { base, wanted, instead, guard, unused, root: None, none, made: false })
    }
}

/// Why the offline builder is the one.
fn why(choice: &Choice) -> String {
    match (&choice.builder, &choice.base) {
        (Some(_), _) => "-builder offline".to_owned(),
        (None, Some(_)) => "-base is given".to_owned(),
        (None, None) => "the base is a disk here, and nothing needs it to run".to_owned(),
    }
}

/// Why a template for the builder `qemu` needs a machine; `None` when its files can be changed without one.
///
/// # Errors
/// When its configuration has mistakes.
pub fn machine_needed(build: &Build, choice: &Choice) -> Result<Option<String>> {
    if choice.base.is_some() {
        return Ok(None);
    }
    let f = build.config.fields();
    if !f.bool("disk_image")?.unwrap_or(false) {
        return Ok(Some("disk_image is not true: its base is started to install a system".to_owned()));
    }
    // Its texts are of a machine's address, which there is none of.
    if f.verbatims("boot_command")?.is_some_and(|keys| !keys.is_empty()) || f.has("boot_steps") {
        return Ok(Some("boot_command types on the machine's keyboard".to_owned()));
    }
    if let Some(kind) = f.string("communicator")?.filter(|kind| kind != "ssh") {
        return Ok(Some(format!("its communicator is {kind}")));
    }
    let formats = f.string("format")?;
    if let Some(format) = choice.format.clone().or(formats).filter(|name| Format::by_name(name).is_none()) {
        return Ok(Some(format!("its format is {format}")));
    }
    // Ansible connects by itself, so it needs someone who answers.
    let known = |kind: &str| kind != "ansible" && crate::provision::KINDS.iter().any(|(name, _)| *name == kind);
    if let Some(block) = build.provisioners.iter().find(|block| !known(&block.kind)) {
        return Ok(Some(format!("the provisioner {} needs a machine that runs", block.kind)));
    }
    let mut urls = f.strings("iso_urls")?.unwrap_or_default();
    urls.extend(f.string("iso_url")?);
    let urls: Vec<&str> = urls.iter().map(|url| &**url).filter(|url| !url.is_empty()).collect();
    let Some(path) = urls.iter().map(|url| url.strip_prefix("file://").unwrap_or(url)).find(|p| Path::new(p).is_file())
    else {
        return Ok(Some(format!("its disk is not on this machine: {}", urls.join(", "))));
    };
    match Base::find(path)? {
        Base::Disk(path) => Ok(disk::BaseDisk::open(&path).err().map(|e| e.to_string())),
        _ => Ok(Some(format!("{path} is no disk"))),
    }
}

/// The size of the disk, in Packer's words: a number alone is of megabytes.
fn size(f: &Fields<'_>) -> Result<Option<u64>> {
    let Some(text) = f.string("disk_size")? else { return Ok(None) };
    let unit = if text.bytes().all(|b| b.is_ascii_digit()) { "M" } else { "" };
    let size = kiln_disk::layout::parse_size(&format!("{text}{unit}"));
    size.map(Some).map_err(|e| f.fault("disk_size", "BadSize", e.to_string()).into())
}

/// The keys that only a machine needs; one that the builder does not have either is a mistake.
fn foreign_keys(kind: &str, f: &Fields<'_>) -> Result<Vec<String>> {
    let mut unused = Vec::new();
    let mut faults = Vec::new();
    for (key, place) in f.unread() {
        match keys::known(kind, &key) {
            true => unused.push(key),
            false => {
                let message = format!("the builder `{kind}` has no key `{key}`");
                faults.push(place.error("UnknownKey", message).suggest(&key, keys::of(kind)));
            }
        }
    }
    if faults.is_empty() { Ok(unused) } else { Err(faults.into()) }
}

fn base(build: &Build, f: &Fields<'_>, foreign: Option<&Foreign>, choice: &Choice) -> Result<Base> {
    let own = f.string("base")?;
    let mut foreign_base = None;
    for key in foreign.map_or(&[][..], |foreign| foreign.bases) {
        let mut found = f.strings(key)?.unwrap_or_default();
        found.retain(|text| !text.is_empty());
        // Of several addresses, one of this machine.
        let here = |text: &&String| Path::new(text.strip_prefix("file://").unwrap_or(text)).exists();
        foreign_base = foreign_base.or(found.iter().find(here).or(found.first()).cloned());
    }
    if let Some(text) = choice.base.as_deref().or(own.as_deref()) {
        return Base::find(text);
    }
    let hint = "say what it starts from: -base DIR|FILE.tar|DISK|docker-image://NAME";
    let Some(text) = foreign_base else {
        return Err(build.place.error("NoBase", "the offline builder has no base to start from").hint(hint).into());
    };
    let local = std::path::Path::new(text.strip_prefix("file://").unwrap_or(&text)).exists();
    let remote = text.contains("://") && !text.starts_with("file://") && !text.starts_with("docker-image://");
    if !local && (remote || foreign.is_some_and(|foreign| foreign.cloud)) {
        let message =
            format!("the base `{text}` is not on this machine, and the offline builder starts from files here");
        return Err(build.place.error("NoBase", message).hint(hint).into());
    }
    Base::find(&text)
}

fn names(build: &Build, f: &Fields<'_>, foreign: Option<&Foreign>) -> Result<String> {
    let mut name = f.string("vm_name")?;
    for key in foreign.map_or(&[][..], |foreign| foreign.names) {
        let found = f.string(key)?;
        name = name.or(found);
    }
    let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| format!("packer-{}", file_name(&build.name)));
    match name == "." || name == ".." || name.contains('\0') {
        true => Err(build.place.error("BadName", format!("`{name}` cannot be the name of a file")).into()),
        false => Ok(name),
    }
}

/// A name of a build as part of a file's name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

fn format(build: &Build, f: &Fields<'_>, flag: Option<&str>, key: Option<String>) -> Result<Format> {
    let names = Format::NAMES.map(|(name, _)| name);
    let wrong = |text: &str, fault: kiln_packer::fault::Fault| -> NodeError {
        match DISKS.contains(&text) {
            true => fault.hint(format!(
                "the offline builder writes no such disks; it writes qcow2, raw, vhd, vmdk, gce, {}",
                names.join(", ")
            )),
            false => fault.suggest(text, names),
        }
        .into()
    };
    if let Some(text) = flag {
        let fault = build.place.error("BadFormat", format!("-format {text}: there is no such format here"));
        return Format::by_name(text).ok_or_else(|| wrong(text, fault));
    }
    match key {
        Some(text) => {
            let fault = f.fault("format", "BadFormat", format!("the format `{text}` cannot be written here"));
            Format::by_name(&text).ok_or_else(|| wrong(&text, fault))
        }
        None => Ok(Format::Tar),
    }
}

fn guard(build: &Build, f: &Fields<'_>, own: bool) -> Result<Guard> {
    let (name, allowed) = match own {
        true => (f.string("sysctl_guard")?, f.strings("sysctl_allow")?.unwrap_or_default()),
        false => (None, Vec::new()),
    };
    match name.as_deref() {
        Some("ack") => Ok(Guard::ack(&allowed)),
        Some("none") => Ok(Guard::none()),
        None if build.kind == "alicloud-ecs" => Ok(Guard::ack(&allowed)),
        None => Ok(Guard::none()),
        Some(other) => {
            let fault = f.fault("sysctl_guard", "BadGuard", format!("there is no guard `{other}`"));
            Err(fault.suggest(other, ["ack", "none"]).into())
        }
    }
}

impl Builder for Offline {
    fn begin(&mut self, job: &Job<'_>) -> Result<()> {
        self.wanted.make_room(job.force, job.ui)?;
        self.made = true;
        job.ui.say("Building offline: scripts change files, and no machine runs...");
        if let Some((kind, why)) = &self.instead {
            let machine = if kind == "qemu" { "; -builder qemu builds in a virtual machine" } else { "" };
            job.ui.message(&format!("not with the builder {kind}, because {why}{machine}"));
        }
        if !self.unused.is_empty() {
            job.ui.message(&format!("not needed offline: {}", self.unused.join(", ")));
        }
        let root =
            offline::Offline::open(job.workshop, &self.base, self.guard.clone(), job.ui.clone(), job.cancel.clone())?;
        self.root = Some(root);
        Ok(())
    }

    fn facts(&self) -> BuildFacts {
        BuildFacts {
            id: "offline".to_owned(),
            user: "root".to_owned(),
            conn_type: "none".to_owned(),
            ..BuildFacts::default()
        }
    }

    fn target(&mut self) -> &mut dyn Target {
        match &mut self.root {
            Some(root) => root,
            None => &mut self.none,
        }
    }

    fn finish(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        let Some(root) = &self.root else { return Ok(None) };
        let finished = root.finish()?;
        let (ran, cached) = root.counts();
        report::summary(&finished.notes, job.ui);
        job.ui.say(&format!("Writing the result ({ran} steps ran, {cached} were in the cache)..."));
        self.wanted.write(&finished, root.disk(), root.session(), job.ui).map(Some)
    }

    fn clean_up(&mut self, job: &Job<'_>, failed: bool) {
        if failed && self.made {
            self.wanted.clean_up(job.ui);
        }
        self.root = None;
    }
}
