//! What a machine is made of.

use std::net::IpAddr;
use std::path::PathBuf;

use kiln_packer::fields::Fields;
use kiln_vm::machine::{Network, Processors};
use kiln_vm::ports::{self, Range};
use kiln_vm::{Accelerator, Machine};

use super::{at, file, small, text};
use crate::error::Result;

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

pub(super) fn accelerator(f: &Fields<'_>) -> Result<Option<Accelerator>> {
    match text(f, "accelerator")? {
        Some(name) => at(f, name.parse()).map(Some),
        None => Ok(None),
    }
}

pub(super) fn machine(f: &Fields<'_>, name: &str) -> Result<Machine> {
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

pub(super) fn efi(f: &Fields<'_>) -> Result<Option<Efi>> {
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

pub(super) fn tpm(f: &Fields<'_>) -> Result<Option<TpmConfig>> {
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

pub(super) fn vnc(f: &Fields<'_>) -> Result<VncConfig> {
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

pub(super) fn range(f: &Fields<'_>, prefix: &str, default: Range) -> Result<Range> {
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
