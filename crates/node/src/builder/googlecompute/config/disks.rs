//! `disk_attachment`: disks beside the first one, and what disks are encrypted with.

use kiln_gce::Secret;
use kiln_packer::fields::Fields;
use serde_json::{Value, json};

use super::{gigabytes, name, text, word};
use crate::error::Result;

/// What kind of disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One beside the machine, gone with it.
    Scratch,
    /// One that is made for the build, of this type.
    Made(String),
    /// One that is there, by its address.
    There(String),
}

/// What a disk or image is encrypted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A key of the key service, by its name.
    Kms(String),
    /// The customer's own, in base64.
    Raw(Secret),
}

impl Key {
    /// As the service has it.
    pub fn value(&self) -> Value {
        match self {
            Key::Kms(name) => json!({ "kmsKeyName": name }),
            Key::Raw(key) => json!({ "rawKey": key.expose() }),
        }
    }
}

/// One more disk.
#[derive(Debug, Clone)]
pub struct Extra {
    /// What kind.
    pub kind: Kind,
    /// Its name, if it is said.
    pub name: Option<String>,
    /// Its size in GB.
    pub size: u64,
    /// What the guest calls it.
    pub device: Option<String>,
    /// `READ_WRITE` or `READ_ONLY`.
    pub mode: &'static str,
    /// `SCSI` or `NVME`.
    pub interface: &'static str,
    /// Operations a second, of `pd-extreme` and `hyperdisk`.
    pub iops: Option<u64>,
    /// Whether it stays.
    pub keep: bool,
    /// Other zones that it is in.
    pub zones: Vec<String>,
    /// What it is encrypted with.
    pub key: Option<Key>,
    /// Whether the image is made of it, and not of the first one.
    pub is_source: bool,
}

/// Types that Packer knows; there are newer ones, whose names begin as these do.
const KINDS: [&str; 5] = ["scratch", "pd-standard", "pd-balanced", "pd-ssd", "pd-extreme"];

pub fn parse(f: &Fields<'_>) -> Result<Vec<Extra>> {
    let mut all = Vec::new();
    for config in f.objects("disk_attachment")?.unwrap_or_default() {
        let inner = config.fields();
        all.push(one(&inner)?);
        inner.finish()?;
    }
    if all.iter().filter(|disk| disk.is_source).count() > 1 {
        let message = "create_image cannot be enabled on multiple disks";
        return Err(f.fault("disk_attachment", "BadDisk", message).into());
    }
    Ok(all)
}

fn one(f: &Fields<'_>) -> Result<Extra> {
    let kind = kind(f)?;
    let made = matches!(kind, Kind::Made(_));
    let size = gigabytes(f, "volume_size")?;
    if size.is_none() && !matches!(kind, Kind::There(_)) {
        return Err(f.missing("volume_size").into());
    }
    let disk = Extra {
        name: name(f, "disk_name")?,
        size: size.unwrap_or_default(),
        device: text(f, "device_name")?,
        mode: word(f, "attachment_mode", &["READ_WRITE", "READ_ONLY"])?.unwrap_or("READ_WRITE"),
        interface: word(f, "interface_type", &["SCSI", "NVME"])?.unwrap_or("SCSI"),
        iops: f.uint("iops")?.filter(|n| *n > 0),
        keep: f.bool("keep_device")?.unwrap_or(false),
        zones: f.strings("replica_zones")?.unwrap_or_default(),
        key: key(f, "disk_encryption_key")?,
        is_source: f.bool("create_image")?.unwrap_or(false),
        kind,
    };
    let wrong = |key: &str, message: &str| Err(f.fault(key, "BadDisk", message).into());
    match &disk.kind {
        Kind::Scratch if disk.keep => wrong("keep_device", "scratch volumes cannot be kept after the instance is gone"),
        Kind::Scratch if disk.name.is_some() => wrong("disk_name", "scratch volumes have no name"),
        Kind::Scratch if disk.device.is_some() => wrong("device_name", "scratch volumes have no device_name"),
        Kind::Scratch if disk.is_source => wrong("create_image", "no image can be made of a scratch volume"),
        Kind::There(_) if disk.is_source => wrong("create_image", "no image is made of a disk that is somebody else's"),
        Kind::Made(kind) if disk.iops.is_some() && !kind.ends_with("extreme") && !kind.starts_with("hyperdisk") => {
            wrong("iops", "iops may only be specified for disks of the types pd-extreme and hyperdisk-…")
        }
        _ if !made && !disk.zones.is_empty() => {
            wrong("replica_zones", "only disks that are made can be in several zones")
        }
        _ => Ok(disk),
    }
}

fn kind(f: &Fields<'_>) -> Result<Kind> {
    if let Some(address) = text(f, "source_volume")? {
        let own = ["disk_name", "volume_type", "volume_size", "iops", "keep_device"];
        return match own.into_iter().find(|key| f.has(key)) {
            Some(key) => {
                let message = format!("{key} cannot be said of a disk that is there: source_volume");
                Err(f.fault(key, "BadDisk", message).into())
            }
            None => Ok(Kind::There(address)),
        };
    }
    let Some(kind) = text(f, "volume_type")? else { return Err(f.missing("volume_type").into()) };
    // Packer's documentation writes them with an underscore.
    match &*kind.replace('_', "-") {
        "scratch" => Ok(Kind::Scratch),
        kind if KINDS.contains(&kind) || kind.starts_with("hyperdisk-") => Ok(Kind::Made(kind.to_owned())),
        kind => {
            let message = format!("there is no type of disks `{kind}`");
            Err(f.fault("volume_type", "BadDisk", message).suggest(kind, KINDS).into())
        }
    }
}

/// What something is encrypted with.
///
/// # Errors
/// When it says neither or both of what it may.
pub fn key(f: &Fields<'_>, name: &str) -> Result<Option<Key>> {
    let Some(config) = f.object(name)? else { return Ok(None) };
    let inner = config.fields();
    let (kms, raw) = (text(&inner, "kmsKeyName")?, text(&inner, "rawKey")?);
    // As older documentation writes it.
    let raw = raw.or(text(&inner, "RawKey")?);
    inner.finish()?;
    match (kms, raw) {
        (Some(name), None) => Ok(Some(Key::Kms(name))),
        (None, Some(key)) => Ok(Some(Key::Raw(Secret::new(key)))),
        _ => Err(f.fault(name, "BadKey", format!("`{name}` has either kmsKeyName or rawKey")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customers_own_key_is_sent_and_not_shown() {
        let disk = Extra {
            kind: Kind::Scratch,
            name: None,
            size: 1,
            device: None,
            mode: "READ_WRITE",
            interface: "SCSI",
            iops: None,
            keep: false,
            zones: Vec::new(),
            key: Some(Key::Raw(Secret::new("aHVudGVyMg=="))),
            is_source: false,
        };
        assert!(!format!("{disk:?}").contains("aHVudGVyMg"), "{disk:?}");
        assert_eq!(disk.key.unwrap().value(), json!({ "rawKey": "aHVudGVyMg==" }));
        assert_eq!(Key::Kms("k".to_owned()).value(), json!({ "kmsKeyName": "k" }));
    }
}
