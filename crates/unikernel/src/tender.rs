//! Command lines of monitors other than qemu: Solo5's tenders, and firecracker with its configuration.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Result, UnikernelError};
use crate::monitor::Monitor;
use crate::solo5::{DeviceKind, Solo5};

/// Something of this machine that a device of the guest is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// What it becomes.
    pub kind: DeviceKind,
    /// What the guest calls it.
    pub name: String,
    /// A tap device, or a file.
    pub to: String,
}

/// Reads `NAME=TAP` or `NAME=FILE`.
///
/// # Errors
/// When it is none: the reason.
pub fn attached(kind: DeviceKind, text: &str) -> Result<Attached, String> {
    let example = match kind {
        DeviceKind::Net => "NAME=TAP, as service=tap0",
        DeviceKind::Block => "NAME=FILE, as storage=disk.img",
    };
    let split = text.split_once('=').filter(|(name, to)| !name.is_empty() && !to.is_empty());
    let (name, to) = split.ok_or_else(|| format!("`{}`: expected {example}", text.escape_debug()))?;
    let good = name.len() < 68 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    match good && !to.chars().any(char::is_control) {
        true => Ok(Attached { kind, name: name.to_owned(), to: to.to_owned() }),
        false => Err(format!("`{}`: a device's name has letters and digits only", text.escape_debug())),
    }
}

/// The arguments of one of Solo5's tenders, without the program.
///
/// # Errors
/// When a device that the unikernel wants is not attached, or one is that it does not want.
pub fn solo5(
    monitor: Monitor,
    kernel: &Path,
    wants: &Solo5,
    attached: &[Attached],
    memory: u32,
    line: &str,
) -> Result<Vec<String>> {
    let no = |why: String| UnikernelError::Monitor { monitor: monitor.name(), why };
    let (mut words, option) = (vec![format!("--mem={memory}")], |kind| match kind {
        DeviceKind::Net => ("net", "network card", "TAP"),
        DeviceKind::Block => ("block", "disk", "FILE"),
    });
    for device in &wants.devices {
        let (word, what, example) = option(device.kind);
        let Some(found) = attached.iter().find(|a| a.name == device.name && a.kind == device.kind) else {
            let name = &device.name;
            return Err(no(format!("it wants a {what} called `{name}`: add --{word} {name}={example}")));
        };
        words.push(format!("--{word}:{}={}", found.name, found.to));
    }
    let foreign = attached.iter().find(|a| !wants.devices.iter().any(|d| d.name == a.name && d.kind == a.kind));
    if let Some(Attached { kind, name, .. }) = foreign {
        let wanted: Vec<String> = wants.devices.iter().map(|d| format!("`{}`", d.name)).collect();
        let wanted = if wanted.is_empty() { "no devices".to_owned() } else { wanted.join(", ") };
        return Err(no(format!("its manifest has no {} called `{name}`; it wants {wanted}", option(*kind).1)));
    }
    words.extend(["--".to_owned(), kernel.display().to_string()]);
    if !line.is_empty() {
        words.push(line.to_owned());
    }
    Ok(words)
}

/// firecracker's configuration.
///
/// # Errors
/// When more is attached than it is given here.
pub fn firecracker(
    kernel: &Path,
    initrd: Option<&Path>,
    attached: &[Attached],
    (memory, cpus): (u32, u32),
    line: &str,
) -> Result<Value> {
    let mut source = json!({ "kernel_image_path": kernel.display().to_string(), "boot_args": line });
    if let Some(initrd) = initrd {
        source["initrd_path"] = initrd.display().to_string().into();
    }
    let of = |kind| attached.iter().filter(move |a: &&Attached| a.kind == kind);
    let cards: Vec<Value> = of(DeviceKind::Net).map(|a| json!({ "iface_id": a.name, "host_dev_name": a.to })).collect();
    let disks: Vec<Value> = of(DeviceKind::Block)
        .map(|a| json!({ "drive_id": a.name, "path_on_host": a.to, "is_root_device": false, "is_read_only": false }))
        .collect();
    if cards.len() > 8 || disks.len() > 8 {
        let why = format!("{} cards and {} disks are more than it is given here", cards.len(), disks.len());
        return Err(UnikernelError::Monitor { monitor: Monitor::Firecracker.name(), why });
    }
    let mut config = json!({
        "boot-source": source,
        "drives": disks,
        "machine-config": { "vcpu_count": cpus, "mem_size_mib": memory, "smt": false },
    });
    if !cards.is_empty() {
        config["network-interfaces"] = cards.into();
    }
    Ok(config)
}

/// The arguments of firecracker with a configuration in a file.
pub fn firecracker_arguments(config: &Path) -> Vec<String> {
    ["--no-api", "--config-file"].map(str::to_owned).into_iter().chain([config.display().to_string()]).collect()
}
