//! Images as urunc reads them.
//!
//! ```text
//! com.urunc.unikernel.*   annotations of the manifest, and labels of the configuration, for not everybody passes annotations on
//! /urunc.json             the same keys, values in base64: what is read when no annotation arrives
//! /.boot/kernel           where bunny, urunc's own builder, puts the kernel
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::manifest::Annotations;
use serde_json::Value;

use crate::error::{Result, UnikernelError};
use crate::parcel::{Form, Parcel, Place, is_line};
use crate::{Kind, Monitor};

/// What all keys begin with.
pub const PREFIX: &str = "com.urunc.unikernel.";
/// The file with the same keys, from the root.
pub const FILE: &str = "urunc.json";
/// Where the kernel is put, from the root.
pub const KERNEL: &str = ".boot/kernel";
/// Where its files are put, from the root.
pub const INITRD: &str = ".boot/rootfs";
/// The file is not larger.
pub const MAX_FILE: u64 = 256 << 10;

const TYPE: &str = "unikernelType";
const VERSION: &str = "unikernelVersion";
const MONITOR: &str = "hypervisor";
const BINARY: &str = "binary";
const LINE: &str = "cmdline";
const INITRD_KEY: &str = "initrd";
const BLOCK: &str = "block";
const MOUNT: &str = "mountRootfs";

/// Kernels and monitors that urunc runs together.
const PAIRS: [(&str, Monitor); 10] = [
    ("mirage", Monitor::Hvt),
    ("mirage", Monitor::Spt),
    ("mirage", Monitor::Qemu),
    ("rumprun", Monitor::Hvt),
    ("rumprun", Monitor::Spt),
    ("unikraft", Monitor::Qemu),
    ("unikraft", Monitor::Firecracker),
    ("linux", Monitor::Qemu),
    ("linux", Monitor::Firecracker),
    ("mewz", Monitor::Qemu),
];

/// Whether urunc runs such a kernel with such a monitor.
pub fn is_known_pair(kind: &Kind, monitor: Monitor) -> bool {
    // Hermit's loader is a kernel like others; its application says what it is.
    PAIRS.contains(&(kind.name(), monitor)) || (*kind == Kind::Hermit && monitor == Monitor::Qemu)
}

/// What a manifest is annotated with, and a configuration labelled.
pub fn annotations(parcel: &Parcel) -> Annotations {
    let path = |place: &Place| match place {
        Place::Path(path) | Place::Perhaps(path) => Some(path.clone()),
        Place::Layer(_) => None,
    };
    let all = [
        (TYPE, Some(parcel.kind.name().to_owned())),
        (VERSION, parcel.version.clone()),
        (MONITOR, Some(parcel.monitor.name().to_owned())),
        (BINARY, path(&parcel.kernel)),
        (LINE, Some(parcel.line.clone())),
        (INITRD_KEY, parcel.initrd.as_ref().and_then(path)),
        (BLOCK, parcel.block.clone()),
        (MOUNT, Some(parcel.mounted.to_string())),
    ];
    all.into_iter().filter_map(|(key, value)| Some((format!("{PREFIX}{key}"), value?))).collect()
}

/// The bytes of the file.
pub fn file(parcel: &Parcel) -> Vec<u8> {
    let encoded: BTreeMap<String, String> =
        annotations(parcel).into_iter().map(|(key, value)| (key, STANDARD.encode(value))).collect();
    serde_json::to_vec(&encoded).unwrap_or_default()
}

/// Whether one of the keys is there.
pub fn is_one(said: &Annotations) -> bool {
    said.keys().any(|key| key.starts_with(PREFIX))
}

/// What annotations or labels say.
///
/// # Errors
/// When something that must be said is not, or makes no sense.
pub fn read(said: &Annotations, architecture: &str) -> Result<Parcel> {
    let get = |key: &str| said.get(&format!("{PREFIX}{key}")).cloned().filter(|value| !value.is_empty());
    let must = |key: &str| {
        get(key).ok_or_else(|| UnikernelError::said(format!("{PREFIX}{key}"), "it is not there, and has to be"))
    };
    let monitor = must(MONITOR)?;
    // Older builders wrote base64 into annotations, too.
    if monitor.parse::<Monitor>().is_err() && decode(&monitor).is_ok_and(|m| m.parse::<Monitor>().is_ok()) {
        return read(&decoded(said.iter())?, architecture);
    }
    let monitor = monitor.parse::<Monitor>().map_err(|why| UnikernelError::said(format!("{PREFIX}{MONITOR}"), why))?;
    let path = |key: &str, value: String| match kiln_oci::name::is_normal(value.trim_start_matches('/').as_bytes()) {
        true if value.trim_start_matches('/').is_empty() => {
            Err(UnikernelError::said(format!("{PREFIX}{key}"), "it names the root, and no file"))
        }
        true => Ok(value),
        false => {
            let why = format!("`{}` is no path in an image", value.escape_debug());
            Err(UnikernelError::said(format!("{PREFIX}{key}"), why))
        }
    };
    let optional = |key: &str| get(key).map(|value| path(key, value)).transpose();
    let line = get(LINE).unwrap_or_default();
    is_line(&line).map_err(|why| UnikernelError::said(format!("{PREFIX}{LINE}"), format!("it {why}")))?;
    Ok(Parcel {
        form: Form::Urunc,
        kind: Kind::named(&plain_word(TYPE, must(TYPE)?)?),
        version: get(VERSION).map(|version| plain_word(VERSION, version)).transpose()?,
        monitor,
        line: line.trim().to_owned(),
        architecture: architecture.to_owned(),
        kernel: Place::Path(path(BINARY, must(BINARY)?)?),
        initrd: optional(INITRD_KEY)?.map(Place::Path),
        block: optional(BLOCK)?,
        mounted: get(MOUNT).is_some_and(|value| matches!(&*value, "true" | "1" | "True" | "TRUE" | "t" | "T")),
    })
}

/// What the file says, as annotations.
///
/// # Errors
/// When it is no such file.
pub fn read_file(bytes: &[u8]) -> Result<Annotations> {
    let wrong = |why: String| UnikernelError::said(format!("/{FILE}"), why);
    let value: Value = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    let Value::Object(fields) = value else { return Err(wrong("it is no object".to_owned())) };
    let mut said = Annotations::new();
    for (key, value) in fields {
        match value {
            Value::String(value) => said.insert(key, value),
            _ => return Err(wrong(format!("`{}` is no text", key.escape_debug()))),
        };
    }
    decoded(said.iter().filter(|(key, _)| key.starts_with(PREFIX)))
}

fn decoded<'a>(said: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Annotations> {
    said.filter(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, value)| {
            let value = decode(value).map_err(|why| UnikernelError::said(key.escape_debug().to_string(), why))?;
            Ok((key.clone(), value))
        })
        .collect()
}

fn decode(value: &str) -> Result<String, String> {
    let value = value.strip_prefix("b64:").unwrap_or(value);
    let bytes = STANDARD.decode(value).map_err(|e| format!("its value is not base64: {e}"))?;
    String::from_utf8(bytes).map_err(|_| "its value is not text".to_owned())
}

fn plain_word(key: &str, value: String) -> Result<String> {
    let good = value.len() <= 200 && value.chars().all(|c| c.is_ascii_graphic());
    match good {
        true => Ok(value),
        false => Err(UnikernelError::said(format!("{PREFIX}{key}"), format!("`{}` is no word", value.escape_debug()))),
    }
}
