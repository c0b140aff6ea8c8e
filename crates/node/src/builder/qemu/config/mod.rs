//! Packer's keys of the builder, read strictly: [`storage`], [`hardware`], [`boot`]. Where a default differs, the
//! reason is here:
//!
//! ```text
//! headless             true unless it is said to be false: servers have no screen. VNC is there either way
//! boot_wait            10s, but only if there is something to type afterwards
//! http_bind_address    127.0.0.1: the guest reaches it as 10.0.2.2, and nobody else has to
//! shutdown_command     without one the power button is pressed before the machine is killed
//! accelerator          what runs a guest, see kiln_vm::accel
//! ```

mod boot;
mod hardware;
mod storage;

use std::path::PathBuf;
use std::time::Duration;

use kiln_packer::fault::Place;
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;
use kiln_vm::boot::Pace;
use kiln_vm::machine::Network;
use kiln_vm::ports::{self, Range};
use kiln_vm::source::Checksum;
use kiln_vm::{Accelerator, Machine, Overrides, VmError};

use crate::communicator::Communicator;
use crate::error::{NodeError, Result};
use crate::guard;
use crate::run::short_name;

pub use boot::{Http, Late};
pub use hardware::{Efi, TpmConfig, VncConfig};
pub use storage::{Disc, Disk};

/// A time for machines to end by themselves.
const SHUTDOWN: Duration = Duration::from_secs(300);
/// Between the start of a machine and the first key.
const BOOT_WAIT: Duration = Duration::from_secs(10);

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
        f.ignore(&guard::KEYS);
        let communicator = Communicator::parse(&f)?;
        let user = match &communicator {
            Communicator::Ssh(settings) => settings.user(&f)?,
            Communicator::None => String::new(),
        };
        let name = name(build, &f)?;
        let disk = storage::disk(&f)?;
        let (addresses, checksum) = storage::source(&f)?;
        let boot_command = boot::boot_command(&f, &build.config)?;
        let typed = !boot_command.is_empty();
        let vnc = hardware::vnc(&f)?;
        let config = Config {
            directory: directory(build, &f)?,
            addresses,
            checksum,
            target_path: storage::target_path(&f)?,
            accelerator: hardware::accelerator(&f)?,
            binary: text(&f, "qemu_binary")?.unwrap_or_else(|| "qemu-system-x86_64".to_owned()),
            arguments: boot::lists(&f, &build.config, "qemuargs")?,
            pace: boot::pace(&f)?,
            boot_wait: boot::boot_wait(&f)?.unwrap_or(if typed { BOOT_WAIT } else { Duration::ZERO }),
            floppy: storage::floppy(&f)?,
            cd: storage::cd(&f)?,
            http: boot::http(&f)?,
            efi: hardware::efi(&f)?,
            tpm: hardware::tpm(&f)?,
            host_ports: hardware::range(&f, "host_port", ports::SSH)?,
            skip_nat: f.bool("skip_nat_mapping")?.unwrap_or(false),
            shutdown_command: text(&f, "shutdown_command")?,
            shutdown_timeout: f.duration("shutdown_timeout")?.filter(|t| !t.is_zero()).unwrap_or(SHUTDOWN),
            machine: hardware::machine(&f, &name)?,
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
