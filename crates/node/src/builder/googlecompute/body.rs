//! Instances, disks and images as the service wants them: what the template says and what was found, nothing asked.

use std::collections::BTreeMap;

use kiln_gce::compute::Image;
use kiln_gce::marks::{BUILD, IMAGE};
use serde_json::{Value, json};

use super::config::{Config, Extra, Key, Kind};
use super::preflight::Found;
use super::{Names, startup};
use crate::error::Result;

/// The size of the first disk in GB.
pub fn disk_size(config: &Config, source: &Image) -> u64 {
    config.machine.disk_size.unwrap_or_else(|| source.size().max(20))
}

fn marked(own: &BTreeMap<String, String>, mark: &str, build: &str) -> Value {
    let mut labels = own.clone();
    labels.insert(mark.to_owned(), build.to_owned());
    json!(labels)
}

/// The instance. `keys` is what its metadata says of SSH, if it is to say that from the start.
pub fn instance(config: &Config, found: &Found, names: &Names, keys: Option<&str>) -> Value {
    let machine = &config.machine;
    let mut disks = vec![first_disk(config, found, names)];
    disks.extend(config.disks.iter().zip(&names.extra).map(|(disk, name)| attached(config, disk, name)));
    let accounts: Vec<Value> =
        machine.account.iter().map(|(email, scopes)| json!({ "email": email, "scopes": scopes })).collect();
    let mut body = json!({
        "name": names.instance,
        "description": "New instance created by Kiln",
        "machineType": found.kind.self_link,
        "disks": disks,
        "labels": marked(&machine.labels, BUILD, &names.build),
        "metadata": { "items": metadata(config, found, keys) },
        "networkInterfaces": [interface(config, found)],
        "scheduling": machine.scheduling,
        "serviceAccounts": accounts,
        "tags": { "items": machine.network.tags },
    });
    for (key, value) in &machine.more {
        body[*key] = value.clone();
    }
    body
}

fn first_disk(config: &Config, found: &Found, names: &Names) -> Value {
    let machine = &config.machine;
    let mut disk = json!({
        "type": "PERSISTENT",
        "mode": "READ_WRITE",
        "boot": true,
        "autoDelete": false,
        "initializeParams": {
            "sourceImage": found.source.self_link,
            "diskName": names.disk,
            "diskSizeGb": disk_size(config, &found.source).to_string(),
            "diskType": format!("zones/{}/diskTypes/{}", config.zone, machine.disk_type),
            "labels": marked(&BTreeMap::new(), BUILD, &names.build),
        },
    });
    if let Some(key) = &machine.disk_key {
        disk["diskEncryptionKey"] = key.value();
    }
    disk
}

fn attached(config: &Config, disk: &Extra, name: &str) -> Value {
    let mut value = json!({ "boot": false, "interface": disk.interface, "mode": disk.mode });
    match &disk.kind {
        Kind::Scratch => {
            value["type"] = json!("SCRATCH");
            value["autoDelete"] = json!(true);
            value["diskSizeGb"] = json!(disk.size.to_string());
            value["initializeParams"] = json!({ "diskType": format!("zones/{}/diskTypes/local-ssd", config.zone) });
        }
        Kind::There(address) => {
            value["type"] = json!("PERSISTENT");
            value["source"] = json!(address);
        }
        Kind::Made(_) => {
            value["type"] = json!("PERSISTENT");
            value["source"] = json!(disk_address(config, disk, name));
        }
    }
    if let Some(device) = &disk.device {
        value["deviceName"] = json!(device);
    }
    if let Some(key) = &disk.key {
        value["diskEncryptionKey"] = key.value();
    }
    value
}

/// The address of a disk that is made for the build.
fn disk_address(config: &Config, disk: &Extra, name: &str) -> String {
    let place = match disk.zones.is_empty() {
        true => format!("zones/{}", config.zone),
        false => format!("regions/{}", config.region),
    };
    format!("projects/{}/{place}/disks/{name}", config.account.project)
}

/// A further disk.
pub fn disk(config: &Config, disk: &Extra, name: &str, build: &str) -> Value {
    let Kind::Made(kind) = &disk.kind else { return Value::Null };
    let mut value = json!({
        "name": name,
        "description": "created by Kiln",
        "sizeGb": disk.size.to_string(),
        "labels": marked(&BTreeMap::new(), BUILD, build),
    });
    if let Some(iops) = disk.iops {
        value["provisionedIops"] = json!(iops.to_string());
    }
    if let Some(key) = &disk.key {
        value["diskEncryptionKey"] = key.value();
    }
    match disk.zones.is_empty() {
        true => value["type"] = json!(format!("zones/{}/diskTypes/{kind}", config.zone)),
        false => {
            value["type"] = json!(format!("regions/{}/diskTypes/{kind}", config.region));
            let zones = std::iter::once(&config.zone).chain(&disk.zones);
            value["replicaZones"] = zones.map(|zone| json!(format!("zones/{zone}"))).collect();
        }
    }
    value
}

fn interface(config: &Config, found: &Found) -> Value {
    let network = &config.machine.network;
    let project = network.project.as_ref().unwrap_or(&config.account.project);
    let mut value = json!({});
    let usual = (network.subnetwork.is_none()).then_some("default");
    if let Some(name) = network.network.as_deref().or(usual) {
        value["network"] = match name.contains('/') {
            true => json!(name),
            false => json!(format!("projects/{project}/global/networks/{name}")),
        };
    }
    if let Some(name) = &network.subnetwork {
        value["subnetwork"] = match name.contains('/') {
            true => json!(name),
            false => json!(format!("projects/{project}/regions/{}/subnetworks/{name}", config.region)),
        };
    }
    if let Some(ip) = network.inner {
        value["networkIP"] = json!(ip.to_string());
    }
    if !network.closed {
        let mut access = json!({ "name": "AccessConfig created by Kiln", "type": "ONE_TO_ONE_NAT" });
        if let Some(nat) = &found.nat {
            access["natIP"] = json!(nat);
        }
        value["accessConfigs"] = json!([access]);
    }
    value
}

fn metadata(config: &Config, found: &Found, keys: Option<&str>) -> Value {
    let mut all = config.machine.metadata.clone();
    let own = all.remove("ssh-keys");
    // Its host keys, and the end of its script.
    all.entry("enable-guest-attributes".to_owned()).or_insert_with(|| "TRUE".to_owned());
    match config.os_login.wanted.or(found.os_login.then_some(true)) {
        Some(true) => drop(all.insert("enable-oslogin".to_owned(), "TRUE".to_owned())),
        Some(false) => drop(all.insert("enable-oslogin".to_owned(), "FALSE".to_owned())),
        None => {}
    }
    let script = &config.machine.startup;
    match &script.script {
        Some(text) if script.wrap => {
            all.insert("startup-script".to_owned(), startup::WRAPPER.to_owned());
            all.insert(startup::KEY.to_owned(), text.clone());
        }
        Some(text) => drop(all.insert("startup-script".to_owned(), text.clone())),
        None => {}
    }
    if let Some(keys) = joined_keys(keys, own.as_deref()) {
        all.insert("ssh-keys".to_owned(), keys);
    }
    all.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The build's key before the template's.
pub fn joined_keys(ours: Option<&str>, own: Option<&str>) -> Option<String> {
    let all: Vec<&str> = ours.into_iter().chain(own).collect();
    (!all.is_empty()).then(|| all.join("\n"))
}

/// The image.
///
/// # Errors
/// When a certificate cannot be read.
pub fn image(config: &Config, names: &Names) -> Result<Value> {
    let image = &config.image;
    let source = config.disks.iter().zip(&names.extra).find(|(disk, _)| disk.is_source);
    let disk = match source {
        Some((disk, name)) => disk_address(config, disk, name),
        None => format!("projects/{}/zones/{}/disks/{}", config.account.project, config.zone, names.disk),
    };
    let mut value = json!({
        "name": image.name,
        "description": image.description,
        "labels": marked(&image.labels, IMAGE, &names.build),
        "sourceDisk": disk,
        "sourceType": "RAW",
    });
    let mut add = |key: &str, part: Option<Value>| {
        if let Some(part) = part {
            value[key] = part;
        }
    };
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| json!(list));
    let features: Vec<Value> = image.features.iter().map(|feature| json!({ "type": feature })).collect();
    add("family", image.family.as_ref().map(|family| json!(family)));
    add("licenses", some(&image.licenses));
    add("guestOsFeatures", (!features.is_empty()).then(|| json!(features)));
    add("storageLocations", some(&image.locations));
    add("architecture", image.architecture.map(|architecture| json!(architecture)));
    add("imageEncryptionKey", image.key.as_ref().map(Key::value));
    add("shieldedInstanceInitialState", image.shielded.value()?);
    Ok(value)
}
