//! Packer's keys of the builder, read strictly. Where a default differs, the reason is here:
//!
//! ```text
//! headless             true unless it is said to be false: servers have no screen. VNC is there either way
//! boot_wait            10s, but only if there is something to type afterwards
//! http_bind_address    127.0.0.1: the guest reaches it as 10.0.2.2, and nobody else has to
//! shutdown_command     without one the power button is pressed before the machine is killed
//! accelerator          what runs a guest, see kiln_vm::accel
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kiln_packer::config::{Config as Written, Value};
use kiln_packer::fault::Place;
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;
use kiln_packer::render::Text;
use kiln_vm::boot::Pace;
use kiln_vm::image::{ImageArgs, disk_size};
use kiln_vm::machine::{Network, Processors};
use kiln_vm::ports::{self, Range};
use kiln_vm::source::Checksum;
use kiln_vm::{Accelerator, Machine, Overrides, VmError};

use crate::communicator::Communicator;
use crate::error::{NodeError, Result};
use crate::run::short_name;

/// A time for machines to end by themselves.
const SHUTDOWN: Duration = Duration::from_secs(300);
/// Between the start of a machine and the first key.
const BOOT_WAIT: Duration = Duration::from_secs(10);
/// More are not typed, served or put onto a disc.
const MOST: usize = 10_000;

/// A text that is rendered when the machine is known, and where it stands.
pub type Late = Text;

/// What files a disc has.
#[derive(Debug, Clone, Default)]
pub struct Disc {
    /// Files and directories.
    pub files: Vec<PathBuf>,
    /// Contents by their path.
    pub content: Vec<(String, Late)>,
    /// Its label.
    pub label: String,
}

impl Disc {
    /// Whether there is to be none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.content.is_empty()
    }
}

/// What the guest fetches.
#[derive(Debug, Clone)]
pub struct Http {
    /// A directory.
    pub directory: Option<PathBuf>,
    /// Contents by their path.
    pub content: Vec<(String, Late)>,
    /// Where it listens.
    pub address: Option<IpAddr>,
    /// Which ports.
    pub range: Range,
}

/// Where the screen is.
#[derive(Debug, Clone)]
pub struct VncConfig {
    /// Whether there is none.
    pub disabled: bool,
    /// Where it listens.
    pub address: IpAddr,
    /// Which ports.
    pub range: Range,
    /// Whether it has a password.
    pub password: bool,
}

/// UEFI.
#[derive(Debug, Clone)]
pub struct Efi {
    /// The program; the distribution's without one.
    pub code: Option<PathBuf>,
    /// Its variables.
    pub vars: Option<PathBuf>,
    /// Whether the variables are no part of the result.
    pub drop_vars: bool,
}

/// A TPM.
#[derive(Debug, Clone)]
pub struct TpmConfig {
    /// The old kind.
    pub old: bool,
    /// The device.
    pub device: String,
}

/// The first disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Whether the fetched file is a disk, and no installer.
    pub is_image: bool,
    /// Whether the result is on top of it.
    pub backing: bool,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Whether the template says so.
    pub sized: bool,
    /// Sizes of further ones, in bytes.
    pub more: Vec<u64>,
    /// Whether it stays as large as it came.
    pub keep_size: bool,
    /// Whether it is not rewritten at the end.
    pub keep_holes: bool,
    /// Whether it is compressed at the end.
    pub compress: bool,
    /// Arguments of qemu-img.
    pub image_args: ImageArgs,
}

/// The configuration.
pub struct Config {
    /// The name of the machine and of its disk.
    pub name: String,
    /// Where the result goes.
    pub directory: PathBuf,
    /// Addresses of the installer or disk.
    pub addresses: Vec<String>,
    /// What it must be.
    pub checksum: Checksum,
    /// Where the fetched file is to be.
    pub target_path: Option<PathBuf>,
    /// The first disk.
    pub disk: Disk,
    /// A machine without what is only known when it starts.
    pub machine: Machine,
    /// The accelerator that is wanted.
    pub accelerator: Option<Accelerator>,
    /// The program.
    pub binary: String,
    /// Arguments that take the place of others.
    pub arguments: Vec<Vec<Late>>,
    /// What is typed after the start.
    pub boot_command: Vec<Late>,
    /// How fast.
    pub pace: Pace,
    /// How long before.
    pub boot_wait: Duration,
    /// A floppy.
    pub floppy: Disc,
    /// A disc.
    pub cd: Disc,
    /// What the guest fetches.
    pub http: Http,
    /// The screen.
    pub vnc: VncConfig,
    /// UEFI.
    pub efi: Option<Efi>,
    /// A TPM.
    pub tpm: Option<TpmConfig>,
    /// Ports by which SSH is reached here.
    pub host_ports: Range,
    /// Whether the machine's own port is used.
    pub skip_nat: bool,
    /// What ends the machine.
    pub shutdown_command: Option<String>,
    /// How long that may take.
    pub shutdown_timeout: Duration,
    /// How it is reached.
    pub communicator: Communicator,
    /// Who logs in.
    pub user: String,
    /// The builder's configuration, for errors that come later.
    pub place: Place,
}

impl Config {
    /// Reads all keys.
    ///
    /// # Errors
    /// The first that has a mistake.
    pub fn parse(build: &Build) -> Result<Config> {
        let f = build.config.fields();
        let communicator = Communicator::parse(&f)?;
        let user = match &communicator {
            Communicator::Ssh(settings) => settings.user(&f)?,
            Communicator::None => String::new(),
        };
        let name = name(build, &f)?;
        let disk = disk(&f)?;
        let (addresses, checksum) = source(&f)?;
        let boot_command = boot_command(&f, &build.config)?;
        let typed = !boot_command.is_empty();
        let vnc = vnc(&f)?;
        let config = Config {
            directory: directory(build, &f)?,
            addresses,
            checksum,
            target_path: target_path(&f)?,
            accelerator: accelerator(&f)?,
            binary: text(&f, "qemu_binary")?.unwrap_or_else(|| "qemu-system-x86_64".to_owned()),
            arguments: lists(&f, &build.config, "qemuargs")?,
            pace: pace(&f)?,
            boot_wait: boot_wait(&f)?.unwrap_or(if typed { BOOT_WAIT } else { Duration::ZERO }),
            floppy: floppy(&f)?,
            cd: cd(&f)?,
            http: http(&f)?,
            efi: efi(&f)?,
            tpm: tpm(&f)?,
            host_ports: range(&f, "host_port", ports::SSH)?,
            skip_nat: f.bool("skip_nat_mapping")?.unwrap_or(false),
            shutdown_command: text(&f, "shutdown_command")?,
            shutdown_timeout: f.duration("shutdown_timeout")?.filter(|t| !t.is_zero()).unwrap_or(SHUTDOWN),
            machine: machine(&f, &name)?,
            place: build.config.place(),
            name,
            disk,
            boot_command,
            vnc,
            communicator,
            user,
        };
        config.check(&f)?;
        f.finish()?;
        Ok(config)
    }

    /// What is wrong with several keys together, and what qemu's command line would say.
    fn check(&self, f: &Fields<'_>) -> Result<()> {
        if self.skip_nat && matches!(self.machine.network, Network::User(_)) {
            let Communicator::Ssh(settings) = &self.communicator else { return Ok(()) };
            if settings.host.is_none() {
                let message = "without a mapped port the machine's address must be said: ssh_host";
                return Err(f.fault("skip_nat_mapping", "NoAddress", message).into());
            }
        }
        // Of a template that is only checked, its late parts are taken as they stand.
        let unchanged = |text: &str| -> Result<String> { Ok(text.to_owned()) };
        let raw = |list: &Vec<Late>| list.iter().map(|text| text.template().to_owned()).collect();
        let overrides = Overrides(self.arguments.iter().map(raw).collect());
        match self.machine.arguments(&overrides, unchanged) {
            Err(NodeError::Vm(error)) => Err(at_key(f, *error)),
            other => other.map(drop),
        }
    }
}

/// An error of an option, at its place.
fn at_key(f: &Fields<'_>, error: VmError) -> NodeError {
    match error {
        VmError::Option { option, why } => f.fault(&option, "BadOption", format!("`{option}`: {why}")).into(),
        error => error.into(),
    }
}

fn at<T>(f: &Fields<'_>, result: Result<T, VmError>) -> Result<T> {
    result.map_err(|error| at_key(f, error))
}

fn text(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    Ok(f.string(key)?.filter(|text| !text.is_empty()))
}

fn file(f: &Fields<'_>, key: &str) -> Result<Option<PathBuf>> {
    let Some(path) = text(f, key)?.map(PathBuf::from) else { return Ok(None) };
    match path.is_file() {
        true => Ok(Some(path)),
        false => Err(f.fault(key, "NoFile", format!("{}: there is no such file", path.display())).into()),
    }
}

fn small(f: &Fields<'_>, key: &str) -> Result<Option<u32>> {
    let Some(number) = f.uint(key)?.filter(|n| *n > 0) else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(f.fault(key, "BadNumber", format!("{number} is too large")).into()),
    }
}

fn name(build: &Build, f: &Fields<'_>) -> Result<String> {
    let name = text(f, "vm_name")?.unwrap_or_else(|| format!("packer-{}", file_name(short_name(build))));
    match name.contains(['/', '\0']) || name == "." || name == ".." {
        true => Err(f.fault("vm_name", "BadName", format!("`{name}` cannot be the name of a file")).into()),
        false => Ok(name),
    }
}

fn directory(build: &Build, f: &Fields<'_>) -> Result<PathBuf> {
    let given = text(f, "output_directory")?;
    Ok(given.unwrap_or_else(|| format!("output-{}", file_name(short_name(build)))).into())
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

fn source(f: &Fields<'_>) -> Result<(Vec<String>, Checksum)> {
    let one = text(f, "iso_url")?;
    let several = f.strings("iso_urls")?.unwrap_or_default();
    if one.is_some() && !several.is_empty() {
        return Err(f.fault("iso_urls", "BadSource", "only one of iso_url or iso_urls may be specified").into());
    }
    let addresses: Vec<String> = one.into_iter().chain(several).collect();
    if addresses.is_empty() {
        return Err(f.missing("iso_url").hint("the installer, or with disk_image the disk, to start from").into());
    }
    if let Some(bad) = addresses.iter().find(|a| a.split_once("://").is_some_and(|(s, _)| !SCHEMES.contains(&s))) {
        let key = if f.has("iso_url") { "iso_url" } else { "iso_urls" };
        let message = format!("`{bad}`: it is fetched by {} only", SCHEMES.join(", "));
        return Err(f.fault(key, "BadSource", message).into());
    }
    let kind = text(f, "iso_checksum_type")?;
    let list = text(f, "iso_checksum_url")?;
    let sum = match (text(f, "iso_checksum")?, kind.as_deref(), list) {
        (_, _, Some(list)) => format!("file:{list}"),
        (_, Some("none"), None) => "none".to_owned(),
        // As templates had it before Packer 1.6.
        (Some(sum), Some(kind), None) if !sum.contains(':') => format!("{kind}:{sum}"),
        (Some(sum), _, None) => sum,
        (None, _, None) => {
            return Err(f.missing("iso_checksum").hint("a sum, as `sha256:…`, or \"none\" to take what comes").into());
        }
    };
    Ok((addresses, at(f, Checksum::parse(&sum))?))
}

/// How files come.
const SCHEMES: [&str; 3] = ["file", "http", "https"];

fn target_path(f: &Fields<'_>) -> Result<Option<PathBuf>> {
    // The cache keeps the end of the name, which is what this is for.
    f.ignore(&["iso_target_extension"]);
    if f.bool("iso_skip_cache")?.unwrap_or(false) {
        let message = "qemu itself is not made to read from the network: what is fetched is checked first";
        return Err(f.fault("iso_skip_cache", "UnsupportedKey", message).into());
    }
    Ok(text(f, "iso_target_path")?.map(PathBuf::from))
}

fn accelerator(f: &Fields<'_>) -> Result<Option<Accelerator>> {
    match text(f, "accelerator")? {
        Some(name) => at(f, name.parse()).map(Some),
        None => Ok(None),
    }
}

fn disk(f: &Fields<'_>) -> Result<Disk> {
    let size = text(f, "disk_size")?;
    let mut more = Vec::new();
    for text in f.strings("disk_additional_size")?.unwrap_or_default() {
        more.push(at(f, disk_size("disk_additional_size", &text))?);
    }
    let is_image = f.bool("disk_image")?.unwrap_or(false);
    let backing = f.bool("use_backing_file")?.unwrap_or(false);
    let disk = Disk {
        is_image,
        backing,
        format: text(f, "format")?.unwrap_or_else(|| "qcow2".to_owned()),
        sized: size.is_some(),
        size: at(f, disk_size("disk_size", size.as_deref().unwrap_or("40960M")))?,
        more,
        keep_size: f.bool("skip_resize_disk")?.unwrap_or(false),
        // Rewriting would take the file below away.
        keep_holes: f.bool("skip_compaction")?.unwrap_or(false) || backing,
        compress: f.bool("disk_compression")?.unwrap_or(false),
        image_args: image_args(f)?,
    };
    if !["qcow2", "raw"].contains(&&*disk.format) {
        let fault = f.fault("format", "BadFormat", "invalid format, only 'qcow2' or 'raw' are allowed");
        return Err(fault.hint("other formats: `kiln node build -builder offline -format vmdk`, or qemu-img").into());
    }
    if backing && !(is_image && disk.format == "qcow2") {
        let message = "use_backing_file can only be enabled for QCOW2 images and when disk_image is true";
        return Err(f.fault("use_backing_file", "BadDisk", message).into());
    }
    if disk.keep_size && !is_image {
        let message = "skip_resize_disk can only be used when disk_image is true";
        return Err(f.fault("skip_resize_disk", "BadDisk", message).into());
    }
    if disk.compress && disk.format == "raw" {
        let message = "disks of the format raw cannot be compressed";
        return Err(f.fault("disk_compression", "BadDisk", message).into());
    }
    Ok(disk)
}

fn image_args(f: &Fields<'_>) -> Result<ImageArgs> {
    let Some(config) = f.object("qemu_img_args")? else { return Ok(ImageArgs::default()) };
    let inner = config.fields();
    let args = ImageArgs {
        create: inner.strings("create")?.unwrap_or_default(),
        convert: inner.strings("convert")?.unwrap_or_default(),
        resize: inner.strings("resize")?.unwrap_or_default(),
    };
    inner.finish()?;
    Ok(args)
}

fn machine(f: &Fields<'_>, name: &str) -> Result<Machine> {
    let mut m = Machine::new(name, Accelerator::Tcg);
    let set = |key: &str, field: &mut String| -> Result<()> {
        if let Some(text) = text(f, key)? {
            *field = text;
        }
        Ok(())
    };
    set("machine_type", &mut m.machine_type)?;
    set("disk_interface", &mut m.disk_interface)?;
    set("disk_cache", &mut m.disk_cache)?;
    set("disk_discard", &mut m.disk_discard)?;
    set("disk_detect_zeroes", &mut m.disk_detect_zeroes)?;
    set("net_device", &mut m.net_device)?;
    m.cpu_model = text(f, "cpu_model")?;
    m.memory = small(f, "memory")?.unwrap_or(m.memory);
    m.processors = Processors {
        cpus: small(f, "cpus")?,
        sockets: small(f, "sockets")?,
        cores: small(f, "cores")?,
        threads: small(f, "threads")?,
    };
    m.cdrom_interface = text(f, "cdrom_interface")?;
    if let Some(bridge) = text(f, "net_bridge")? {
        m.network = Network::Bridge(bridge);
        m.mac = Some(kiln_vm::neighbours::mac_for(&format!("{name} {}", std::process::id())));
    }
    let headless = f.bool("headless")?.unwrap_or(true);
    let screen = f.bool("use_default_display")?.unwrap_or(false);
    let display = text(f, "display")?;
    m.display = match (headless, screen) {
        (true, _) => Some("none".to_owned()),
        (false, true) => None,
        (false, false) => Some(display.unwrap_or_else(|| "gtk".to_owned())),
    };
    m.vga = text(f, "vga")?;
    m.run_once = f.bool("run_once")?.unwrap_or(false);
    // The control socket is always there.
    f.bool("qmp_enable")?;
    if f.has("qmp_socket_path") {
        let message = "the control socket is Kiln's own; for one of yours: \"qemuargs\": [[\"-qmp\", …]]";
        return Err(f.fault("qmp_socket_path", "UnsupportedKey", message).into());
    }
    Ok(m)
}

fn efi(f: &Fields<'_>) -> Result<Option<Efi>> {
    let old = file(f, "firmware")?;
    let pflash = f.bool("use_pflash")?.unwrap_or(false);
    if let (Some(path), false) = (&old, pflash) {
        let message = format!("`{}`: `firmware` without `use_pflash` is Packer's old way", path.display());
        return Err(f
            .fault("firmware", "UnsupportedKey", message)
            .hint("efi_firmware_code and efi_firmware_vars, or \"qemuargs\": [[\"-bios\", …]]")
            .into());
    }
    let (code, vars) = (file(f, "efi_firmware_code")?.or(old), file(f, "efi_firmware_vars")?);
    let drop_vars = f.bool("efi_drop_efivars")?.unwrap_or(false);
    if vars.is_some() && code.is_none() {
        return Err(f.fault("efi_firmware_vars", "BadFirmware", "it needs efi_firmware_code").into());
    }
    let wanted = f.bool("efi_boot")?.unwrap_or(false) || code.is_some();
    Ok(wanted.then_some(Efi { code, vars, drop_vars }))
}

fn tpm(f: &Fields<'_>) -> Result<Option<TpmConfig>> {
    let wanted = f.bool("vtpm")?.unwrap_or(false);
    let old = f.bool("use_tpm1")?.unwrap_or(false);
    let device = text(f, "tpm_device_type")?.unwrap_or_else(|| "tpm-tis".to_owned());
    const DEVICES: [&str; 4] = ["tpm-tis", "tpm-crb", "tpm-tis-device", "tpm-spapr"];
    if !DEVICES.contains(&&*device) {
        let fault = f.fault("tpm_device_type", "BadTpm", format!("there is no device `{device}`"));
        return Err(fault.suggest(&device, DEVICES).into());
    }
    Ok(wanted.then_some(TpmConfig { old, device }))
}

fn vnc(f: &Fields<'_>) -> Result<VncConfig> {
    let address = text(f, "vnc_bind_address")?.unwrap_or_else(|| "127.0.0.1".to_owned());
    let Ok(address) = address.parse() else {
        return Err(f.fault("vnc_bind_address", "BadAddress", format!("`{address}` is no IP address")).into());
    };
    Ok(VncConfig {
        disabled: f.bool("disable_vnc")?.unwrap_or(false),
        address,
        range: range(f, "vnc_port", ports::VNC)?,
        password: f.bool("vnc_use_password")?.unwrap_or(false),
    })
}

fn range(f: &Fields<'_>, prefix: &str, default: Range) -> Result<Range> {
    let (min, max) = (format!("{prefix}_min"), format!("{prefix}_max"));
    let port = |key: &str, default: u16| -> Result<u16> {
        match f.uint(key)? {
            None => Ok(default),
            Some(n) => match u16::try_from(n) {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(f.fault(key, "BadPort", format!("{n} is no port: they are 1 to 65535")).into()),
            },
        }
    };
    let range = Range { first: port(&min, default.first)?, last: port(&max, default.last)? };
    match range.first <= range.last {
        true => Ok(range),
        false => Err(f.fault(&min, "BadPort", format!("{min} must be less than {max}")).into()),
    }
}

fn http(f: &Fields<'_>) -> Result<Http> {
    let directory = text(f, "http_directory")?.map(PathBuf::from);
    let content = late_map(f, "http_content")?;
    if let Some(dir) = &directory
        && !dir.is_dir()
    {
        let message = format!("{}: there is no such directory", dir.display());
        return Err(f.fault("http_directory", "NoDirectory", message).into());
    }
    if directory.is_some() && !content.is_empty() {
        let message = "http_content cannot be used in conjunction with http_directory";
        return Err(f.fault("http_content", "BadHttp", message).into());
    }
    let address = match text(f, "http_bind_address")? {
        None => None,
        Some(text) => match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                return Err(f.fault("http_bind_address", "BadAddress", format!("`{text}` is no IP address")).into());
            }
        },
    };
    Ok(Http { directory, content, address, range: range(f, "http_port", ports::HTTP)? })
}

fn floppy(f: &Fields<'_>) -> Result<Disc> {
    let mut files = existing(f, "floppy_files")?;
    files.extend(existing(f, "floppy_dirs")?);
    let label = text(f, "floppy_label")?.unwrap_or_else(|| "packer".to_owned());
    Ok(Disc { files, content: late_map(f, "floppy_content")?, label })
}

fn cd(f: &Fields<'_>) -> Result<Disc> {
    let label = text(f, "cd_label")?.unwrap_or_else(|| "packer".to_owned());
    Ok(Disc { files: existing(f, "cd_files")?, content: late_map(f, "cd_content")?, label })
}

/// Files that must be there; a pattern stands for all that match it.
fn existing(f: &Fields<'_>, key: &str) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for text in f.strings(key)?.unwrap_or_default() {
        let path = PathBuf::from(&text);
        if path.exists() {
            all.push(path);
            continue;
        }
        let found = super::media::matching(&text);
        if found.is_empty() {
            return Err(f.fault(key, "NoFile", format!("Bad {key} entry '{text}': there is no such file")).into());
        }
        all.extend(found);
    }
    Ok(all)
}

fn pace(f: &Fields<'_>) -> Result<Pace> {
    let default = Pace::default();
    Ok(Pace {
        key: f.duration("boot_key_interval")?.filter(|t| !t.is_zero()).unwrap_or(default.key),
        group: f.duration("boot_keygroup_interval")?.unwrap_or(default.group),
    })
}

/// A negative time is none.
fn boot_wait(f: &Fields<'_>) -> Result<Option<Duration>> {
    match text(f, "boot_wait")? {
        Some(text) if text.starts_with('-') => Ok(Some(Duration::ZERO)),
        _ => Ok(f.duration("boot_wait")?),
    }
}

/// What is typed: texts, or pairs of a text and what it is for.
fn boot_command(f: &Fields<'_>, config: &Written) -> Result<Vec<Late>> {
    let steps = lists(f, config, "boot_steps")?;
    match f.verbatims("boot_command")? {
        Some(_) if !steps.is_empty() => {
            let message = "boot_command and boot_steps cannot both be given";
            Err(f.fault("boot_steps", "BadBoot", message).into())
        }
        Some(texts) => Ok(texts),
        None => Ok(steps.into_iter().filter_map(|list| list.into_iter().next()).collect()),
    }
}

/// Lists of texts, rendered later.
fn lists(f: &Fields<'_>, config: &Written, key: &str) -> Result<Vec<Vec<Late>>> {
    let wrong = |place: Place| -> NodeError {
        place.error("WrongType", format!("`{key}` must be a list of lists of texts")).into()
    };
    let Some(node) = config.get(key).filter(|_| f.has(key)) else { return Ok(Vec::new()) };
    let Value::List(items) = &node.value else { return Err(wrong(f.place(key))) };
    let mut all = Vec::new();
    for item in items.iter().take(MOST) {
        let place = Place::new(config.source(), item.span);
        let Value::List(words) = &item.value else { return Err(wrong(place)) };
        let mut list = Vec::new();
        for word in words {
            let place = Place::new(config.source(), word.span);
            let text = match &word.value {
                Value::String(text) | Value::Number(text) => text.clone(),
                Value::Null => String::new(),
                _ => return Err(wrong(place)),
            };
            list.push(Text::new(text, place, config.scope()));
        }
        all.push(list);
    }
    Ok(all)
}

/// Texts by name, rendered later.
fn late_map(f: &Fields<'_>, key: &str) -> Result<Vec<(String, Late)>> {
    let Some(inner) = f.object(key)? else { return Ok(Vec::new()) };
    let mut all = BTreeMap::new();
    for entry in inner.entries() {
        let place = Place::new(inner.source(), entry.node.span);
        let Value::String(text) = &entry.node.value else {
            return Err(place.error("WrongType", format!("`{key}.{}` must be a text", entry.key)).into());
        };
        all.insert(entry.key.clone(), Text::new(text.clone(), place, inner.scope()));
    }
    Ok(all.into_iter().collect())
}
