//! The instance: its type, network, account, metadata.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use kiln_gce::names;
use kiln_packer::fields::Fields;
use serde_json::{Value, json};

use super::account::project;
use super::{disks, file, gigabytes, labels, name, text, there, word};
use crate::error::{NodeError, Result};

/// What an instance may do with the project, when nothing else is said.
const SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/compute",
    "https://www.googleapis.com/auth/devstorage.full_control",
];
/// The most that a value of metadata may have, in bytes.
const MAX_VALUE: u64 = 256 << 10;

/// How the instance is connected.
#[derive(Debug, Clone)]
pub struct Network {
    /// The network, as an address of the service's.
    pub network: Option<String>,
    /// The subnetwork, as one; what stands for the region is filled in.
    pub subnetwork: Option<String>,
    /// The project of both.
    pub project: Option<String>,
    /// A reserved address, by its name.
    pub address: Option<String>,
    /// The address in the network.
    pub inner: Option<Ipv4Addr>,
    /// Whether it has none that the world reaches.
    pub closed: bool,
    /// Whether it is reached by the inner one.
    pub by_inner: bool,
    /// Tags that firewalls know.
    pub tags: Vec<String>,
}

/// What runs when it starts.
#[derive(Debug, Clone, Default)]
pub struct Startup {
    /// The script.
    pub script: Option<String>,
    /// Whether its end is waited for.
    pub wrap: bool,
}

/// The instance.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Its name, if it is said.
    pub name: Option<String>,
    /// That of its disk, if it is said.
    pub disk_name: Option<String>,
    /// The disk's size in GB, if it is said.
    pub disk_size: Option<u64>,
    /// The disk's type.
    pub disk_type: String,
    /// What the disk is encrypted with.
    pub disk_key: Option<disks::Key>,
    /// Its type.
    pub kind: String,
    /// How it is connected.
    pub network: Network,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its metadata, without the keys of SSH and the script.
    pub metadata: BTreeMap<String, String>,
    /// What runs when it starts.
    pub startup: Startup,
    /// What it may do with the project; `None` for an instance without an account.
    pub account: Option<(String, Vec<String>)>,
    /// Where and for how long it runs, as the service has it.
    pub scheduling: Value,
    /// Other parts of the instance, as the service has them.
    pub more: Vec<(&'static str, Value)>,
    /// Whether only signed code starts.
    pub secure_boot: bool,
    /// Whether any of the shielding is asked for.
    pub shielded: bool,
}

pub fn parse(f: &Fields<'_>, warnings: &mut Vec<String>) -> Result<MachineConfig> {
    let (metadata, startup) = metadata(f)?;
    let scheduling = scheduling(f, warnings)?;
    let (more, secure_boot, shielded) = more(f, &scheduling)?;
    Ok(MachineConfig {
        name: name(f, "instance_name")?,
        disk_name: name(f, "disk_name")?,
        disk_size: gigabytes(f, "disk_size")?,
        disk_type: name(f, "disk_type")?.unwrap_or_else(|| "pd-standard".to_owned()),
        disk_key: disks::key(f, "disk_encryption_key")?,
        kind: name(f, "machine_type")?.unwrap_or_else(|| "e2-standard-2".to_owned()),
        network: network(f)?,
        labels: labels(f, "labels")?,
        metadata,
        startup,
        account: account(f)?,
        scheduling,
        more,
        secure_boot,
        shielded,
    })
}

fn network(f: &Fields<'_>) -> Result<Network> {
    let inner = text(f, "network_ip")?;
    let bad = |_| f.fault("network_ip", "BadAddress", "network_ip must be an address of IPv4");
    let network = Network {
        network: text(f, "network")?,
        subnetwork: text(f, "subnetwork")?,
        project: project(f, "network_project_id")?,
        address: name(f, "address")?,
        inner: inner.map(|ip| ip.parse().map_err(bad)).transpose()?,
        closed: f.bool("omit_external_ip")?.unwrap_or(false),
        by_inner: f.bool("use_internal_ip")?.unwrap_or(false),
        tags: f.strings("tags")?.unwrap_or_default(),
    };
    if network.closed && network.address.is_some() {
        let message = "you can not specify an external address when 'omit_external_ip' is true";
        return Err(f.fault("address", "BadNetwork", message).into());
    }
    if network.closed && !network.by_inner {
        let message = "'use_internal_ip' must be true if 'omit_external_ip' is true";
        return Err(f.fault("omit_external_ip", "BadNetwork", message).into());
    }
    if let Some(tag) = network.tags.iter().find(|tag| !names::is_name(tag)) {
        return Err(f.fault("tags", "BadName", format!("`{tag}` cannot be a tag: {}", super::NAME)).into());
    }
    Ok(network)
}

fn metadata(f: &Fields<'_>) -> Result<(BTreeMap<String, String>, Startup)> {
    let mut all: BTreeMap<String, String> = f.map("metadata")?.unwrap_or_default().into_iter().collect();
    for (key, path) in f.map("metadata_files")?.unwrap_or_default() {
        all.insert(key, value(&there(f, "metadata_files", PathBuf::from(path))?)?);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if let Some(key) = all.keys().find(|key| key.is_empty() || key.len() > 128 || !key.chars().all(fits)) {
        let message = format!("`{key}` cannot be a key of metadata: letters, digits, `-` and `_`");
        return Err(f.fault("metadata", "BadKey", message).into());
    }
    let own = all.remove("startup-script");
    let script = match file(f, "startup_script_file")? {
        Some(path) => Some(value(&path)?),
        None => own,
    };
    let script = script.filter(|script| !script.is_empty());
    Ok((all, Startup { script, wrap: f.bool("wrap_startup_script")?.unwrap_or(true) }))
}

/// A file as a value of metadata.
fn value(path: &std::path::Path) -> Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(NodeError::file("read", path))?;
    file.take(MAX_VALUE + 1).read_to_string(&mut text).map_err(NodeError::file("read", path))?;
    if text.len() as u64 > MAX_VALUE {
        let what = format!("{} is too large for metadata: {MAX_VALUE} bytes are the most", path.display());
        return Err(NodeError::Unsupported { what, hint: Some("upload it by a provisioner `file`".to_owned()) });
    }
    Ok(text)
}

fn account(f: &Fields<'_>) -> Result<Option<(String, Vec<String>)>> {
    let email = text(f, "service_account_email")?;
    let none = f.bool("disable_default_service_account")?.unwrap_or(false);
    let scopes = f.strings("scopes")?.filter(|all| !all.is_empty());
    let scopes = scopes.unwrap_or_else(|| SCOPES.map(str::to_owned).to_vec());
    match (email, none) {
        (Some(_), true) => {
            let message =
                "you may not specify a 'service_account_email' when 'disable_default_service_account' is true";
            Err(f.fault("service_account_email", "BadAccount", message).into())
        }
        (Some(email), false) => Ok(Some((email, scopes))),
        (None, true) => Ok(None),
        (None, false) => Ok(Some(("default".to_owned(), scopes))),
    }
}

fn scheduling(f: &Fields<'_>, warnings: &mut Vec<String>) -> Result<Value> {
    let preemptible = f.bool("preemptible")?.unwrap_or(false);
    let spot = word(f, "provisioning_model", &["STANDARD", "SPOT"])?;
    let mortal = preemptible || spot == Some("SPOT");
    let maintenance = word(f, "on_host_maintenance", &["MIGRATE", "TERMINATE"])?;
    if mortal && maintenance == Some("MIGRATE") {
        let message = "on_host_maintenance must be TERMINATE when using preemptible instances";
        return Err(f.fault("on_host_maintenance", "BadScheduling", message).into());
    }
    let usual = if mortal { "TERMINATE" } else { "MIGRATE" };
    let mut all = json!({ "onHostMaintenance": maintenance.unwrap_or(usual), "preemptible": preemptible });
    if mortal {
        all["automaticRestart"] = json!(false);
    }
    if let Some(model) = spot {
        all["provisioningModel"] = json!(model);
    }
    let mut action = word(f, "instance_termination_action", &["STOP", "DELETE"])?;
    if let Some(seconds) = f.uint("max_run_duration_in_seconds")?.filter(|n| *n > 0) {
        if action.is_none() {
            let what = "max_run_duration_in_seconds is set, and instance_termination_action is not: it is STOP";
            warnings.push(what.to_owned());
            action = Some("STOP");
        }
        all["maxRunDuration"] = json!({ "seconds": seconds.to_string() });
    }
    if let Some(action) = action {
        all["instanceTerminationAction"] = json!(action);
    }
    let affinities = f.objects("node_affinity")?.unwrap_or_default();
    let affinity = |config: &kiln_packer::config::Config| -> Result<Value> {
        let inner = config.fields();
        let key = inner.required("key")?;
        let operator = word(&inner, "operator", &["IN", "NOT_IN"])?.unwrap_or("IN");
        let values = inner.strings("values")?.unwrap_or_default();
        inner.finish()?;
        Ok(json!({ "key": key, "operator": operator, "values": values }))
    };
    if !affinities.is_empty() {
        all["nodeAffinities"] = affinities.iter().map(affinity).collect::<Result<_>>()?;
    }
    Ok(all)
}

/// Parts of an instance, by the names that the API has for them.
type Parts = Vec<(&'static str, Value)>;

/// Parts of the instance that are as they are in the template; whether it is to be secure, and shielded at all.
fn more(f: &Fields<'_>, scheduling: &Value) -> Result<(Parts, bool, bool)> {
    let mut more = Parts::new();
    if let Some(count) = f.uint("accelerator_count")?.filter(|n| *n > 0) {
        let Some(kind) = text(f, "accelerator_type")? else {
            let message = "'accelerator_type' must be set when 'accelerator_count' is more than 0";
            return Err(f.fault("accelerator_count", "BadAccelerator", message).into());
        };
        if scheduling["onHostMaintenance"] != "TERMINATE" {
            let message = "'on_host_maintenance' must be set to 'TERMINATE' when 'accelerator_count' is more than 0";
            return Err(f.fault("accelerator_count", "BadAccelerator", message).into());
        }
        more.push(("guestAccelerators", json!([{ "acceleratorCount": count, "acceleratorType": kind }])));
    } else {
        f.ignore(&["accelerator_type"]);
    }
    if f.bool("enable_nested_virtualization")?.unwrap_or(false) {
        more.push(("advancedMachineFeatures", json!({ "enableNestedVirtualization": true })));
    }
    if let Some(platform) = text(f, "min_cpu_platform")? {
        more.push(("minCpuPlatform", json!(platform)));
    }
    let flag = |key: &str| -> Result<bool> { Ok(f.bool(key)?.unwrap_or(false)) };
    let (secure, tpm) = (flag("enable_secure_boot")?, flag("enable_vtpm")?);
    let integrity = flag("enable_integrity_monitoring")?;
    if integrity && !tpm {
        let message = "you cannot enable integrity monitoring when vTPM is disabled: enable_vtpm";
        return Err(f.fault("enable_integrity_monitoring", "BadShielding", message).into());
    }
    let shielded = secure || tpm || integrity;
    if shielded {
        let value = json!({
            "enableSecureBoot": secure, "enableVtpm": tpm, "enableIntegrityMonitoring": integrity,
        });
        more.push(("shieldedInstanceConfig", value));
    }
    if let Some(tags) = f.map("resource_manager_tags")?.filter(|tags| !tags.is_empty()) {
        let tags: BTreeMap<String, String> = tags.into_iter().collect();
        more.push(("params", json!({ "resourceManagerTags": tags })));
    }
    if let Some(reservation) = f.object("reservation_affinity")? {
        let inner = reservation.fields();
        const KINDS: [&str; 3] = ["ANY_RESERVATION", "NO_RESERVATION", "SPECIFIC_RESERVATION"];
        let kind = word(&inner, "consume_reservation_type", &KINDS)?;
        let mut value = json!({ "consumeReservationType": kind.unwrap_or("ANY_RESERVATION") });
        let (key, values) = (text(&inner, "key")?, inner.strings("values")?.unwrap_or_default());
        if kind == Some("SPECIFIC_RESERVATION") && (key.is_none() || values.is_empty()) {
            let message = "a specific reservation needs `key` and `values`";
            return Err(inner.fault("consume_reservation_type", "BadReservation", message).into());
        }
        if let Some(key) = key {
            value["key"] = json!(key);
            value["values"] = json!(values);
        }
        inner.finish()?;
        more.push(("reservationAffinity", value));
    }
    Ok((more, secure, shielded))
}
