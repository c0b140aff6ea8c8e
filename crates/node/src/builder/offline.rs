//! `offline`: Kiln's own builder, and how the configurations of other builders are read as its own.

use std::path::Path;

use kiln_packer::fields::Fields;
use kiln_packer::model::{Build, BuildFacts};
use kiln_vm::source::Checksum;

use super::{Builder, Choice, Job, NoMachine, fetched, keys};
use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::guard::{self, Guard};
use crate::offline::base::Base;
use crate::offline::output::{Format, Wanted};
use crate::offline::{self, Given, disk, report};
use crate::run::short_name;
use crate::target::Target;

/// The builder `offline`.
pub struct Offline {
    source: Source,
    /// What the base's file must be, if that is said.
    checksum: Option<Checksum>,
    wanted: Wanted,
    /// Whether the result is written as the base is, which is not known before that is here.
    as_base: bool,
    /// Packer would make a larger disk of it.
    stays_small: bool,
    /// The builder that the template names, and why it is not the one.
    instead: Option<(String, String)>,
    guard: Guard,
    /// Keys of another builder that mean nothing here.
    unused: Vec<String>,
    root: Option<offline::Offline>,
    none: NoMachine,
    made: bool,
}

/// Where the base comes from.
enum Source {
    /// It is on this machine, or an image.
    Here(Base),
    /// It is fetched from the first of these addresses that works.
    Elsewhere(Vec<String>),
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
        let source = source(build, &f, foreign, choice)?;
        let name = names(build, &f, foreign)?;
        let directory =
            f.string("output_directory")?.unwrap_or_else(|| format!("output-{}", file_name(short_name(build))));
        let own = build.kind == "offline";
        let given = f.string("format")?;
        let given = given.filter(|_| own || build.kind == "qemu");
        let said = given.is_some() || choice.format.is_some();
        let as_base = !said && matches!(source, Source::Elsewhere(_));
        let format = match &source {
            Source::Here(base) if !said => format_over(base, &build.kind)?,
            // Until it is here; no name of a file that it could get is another.
            Source::Elsewhere(_) if !said => Format::Tar,
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
        let checksum = checksum(build, &f, &source, choice)?;
        let is_image = build.kind == "qemu" && f.bool("disk_image")?.unwrap_or(false);
        let stays_small = is_image && choice.base.is_none() && size.is_none() && !keep;
        f.ignore(&guard::KEYS);
        let guard = guard::of(build)?;
        let mut unused = Vec::new();
        if own {
            f.finish()?;
        } else {
            // They say how a machine is made and reached. That nothing of it is read is told when the build begins.
            unused = foreign_keys(&build.kind, &f)?;
        }
        let wanted = Wanted { format, directory: directory.into(), name, size, compression };
        let none = NoMachine { builder: "offline" };
        let instead = (!own).then(|| (build.kind.clone(), why(choice)));
        let (root, made) = (None, false);
        Ok(Offline { source, checksum, wanted, as_base, stays_small, instead, guard, unused, root, none, made })
    }

    /// The base, fetched if it is not here, and the sum that is still to be checked.
    fn base(&self, job: &Job<'_>) -> Result<Given> {
        let none = Checksum::None;
        let checksum = self.checksum.as_ref().unwrap_or(&none);
        match &self.source {
            Source::Elsewhere(addresses) => {
                let (address, path) = fetched::obtain(job, addresses, checksum)?;
                fetched::tell(job, &address, &path);
                Ok(Given { base: Base::of_file(path)?, sum: None })
            }
            Source::Here(base) => {
                let sum = match base.file() {
                    Some(path) => fetched::sum(job, &path.display().to_string(), checksum)?,
                    None => None,
                };
                Ok(Given { base: base.clone(), sum })
            }
        }
    }
}

/// How the result is written when nobody says it.
fn format_over(base: &Base, kind: &str) -> Result<Format> {
    match base {
        // As Packer's qemu builder; else as the base is written.
        Base::Disk(_) if kind == "qemu" => Ok(Format::Disk(kiln_disk::image::Format::Qcow2)),
        Base::Disk(path) => Ok(Format::Disk(disk::format_of(path)?)),
        _ => Ok(Format::Tar),
    }
}

/// What the base's file must be. What is fetched without a word about that is a mistake: whoever sits between could
/// put anything into the image.
fn checksum(build: &Build, f: &Fields<'_>, source: &Source, choice: &Choice) -> Result<Option<Checksum>> {
    const HINT: &str = "a sum, such as sha256:…, file:ADDRESS of a list of sums, or none to take what comes";
    let of_template = match (&choice.base, &*build.kind) {
        (None, "offline" | "qemu") => fetched::checksum(f)?,
        (Some(_), "offline") => {
            f.ignore(&["iso_checksum", "iso_checksum_type", "iso_checksum_url"]);
            None
        }
        _ => None,
    };
    let found = match (&choice.base, &choice.base_checksum) {
        // The template's is of the template's base.
        (Some(_), None) => None,
        (Some(_), Some(text)) => match Checksum::parse(text) {
            Ok(sum) => Some(sum),
            Err(error) => {
                let what = format!("-base-checksum: {error}");
                return Err(NodeError::Unsupported { what, hint: Some(HINT.to_owned()) });
            }
        },
        (None, _) => of_template,
    };
    match (source, &choice.base, &found) {
        (Source::Elsewhere(addresses), Some(_), None) => {
            let what = format!("{} is fetched, and nothing says what it must be: -base-checksum", addresses.join(", "));
            Err(NodeError::Unsupported { what, hint: Some(HINT.to_owned()) })
        }
        (Source::Elsewhere(_), None, None) => Err(f.missing("iso_checksum").hint(HINT).into()),
        (Source::Here(base), _, Some(sum)) if base.file().is_none() && *sum != Checksum::None => {
            let message = "a checksum is of a file, and the base is none";
            Err(build.place.error("BadChecksum", message).hint("leave iso_checksum out, or give a file").into())
        }
        _ => Ok(found),
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
    let Some(path) = urls.iter().filter_map(|url| fetched::local(url)).find(|path| path.is_file()) else {
        return Ok(Some(format!("its disk is not on this machine: {}", urls.join(", "))));
    };
    match Base::of_file(path.to_owned())? {
        Base::Disk(path) => Ok(disk::BaseDisk::open(&path).err().map(|e| e.to_string())),
        _ => Ok(Some(format!("{} is no disk", path.display()))),
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

fn source(build: &Build, f: &Fields<'_>, foreign: Option<&Foreign>, choice: &Choice) -> Result<Source> {
    let own = f.string("base")?;
    let mut addresses = Vec::new();
    for key in foreign.map_or(&[][..], |foreign| foreign.bases) {
        addresses.extend(f.strings(key)?.unwrap_or_default().into_iter().filter(|text| !text.is_empty()));
    }
    let hint = "say what it starts from: -base DIR|FILE.tar|DISK|URL|docker-image://NAME";
    if let Some(text) = choice.base.as_ref().or(own.as_ref()) {
        return match fetched::is_remote(text) {
            true => Ok(Source::Elsewhere(vec![text.clone()])),
            false => Base::find(text).map(Source::Here),
        };
    }
    // Of several addresses, one of this machine.
    let here = |text: &&String| fetched::local(text).is_some_and(Path::exists);
    if let Some(text) = addresses.iter().find(here) {
        return Base::find(text).map(Source::Here);
    }
    let cloud = foreign.is_some_and(|foreign| foreign.cloud);
    let remote: Vec<String> = addresses.iter().filter(|text| fetched::is_remote(text)).cloned().collect();
    if !remote.is_empty() && !cloud {
        return Ok(Source::Elsewhere(remote));
    }
    let Some(text) = addresses.first() else {
        return Err(build.place.error("NoBase", "the offline builder has no base to start from").hint(hint).into());
    };
    let schemed = text.split_once("://").is_some_and(|(scheme, _)| scheme != "file" && scheme != "docker-image");
    if cloud || schemed {
        let message =
            format!("the base `{text}` is not on this machine, and the offline builder fetches by http and https only");
        return Err(build.place.error("NoBase", message).hint(hint).into());
    }
    Base::find(text).map(Source::Here)
}

fn names(build: &Build, f: &Fields<'_>, foreign: Option<&Foreign>) -> Result<String> {
    let mut name = f.string("vm_name")?;
    for key in foreign.map_or(&[][..], |foreign| foreign.names) {
        let found = f.string(key)?;
        name = name.or(found);
    }
    let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| format!("packer-{}", file_name(short_name(build))));
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
        let given = self.base(job)?;
        if self.as_base {
            let kind = self.instead.as_ref().map_or("offline", |(kind, _)| kind.as_str());
            self.wanted.format = format_over(&given.base, kind)?;
        }
        if self.stays_small && matches!(given.base, Base::Disk(_)) {
            job.ui
                .message("the disk stays as large as its base, or becomes as large as its files need: Packer makes it");
            job.ui.message("40 GiB when there is no disk_size; for that: \"disk_size\": \"40G\"");
        }
        let root =
            offline::Offline::open(job.workshop, &given, self.guard.clone(), job.ui.clone(), job.cancel.clone())?;
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
