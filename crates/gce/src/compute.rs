//! The calls of Compute v1 that a build needs, and what their answers say.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_ledger::poll::Backoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::{Ask, Cancelled, Client, path};
use crate::error::{GceError, Result};
use crate::operation::{Scope, given_up, text};

/// How often metadata is written again when somebody else changed it meanwhile.
const STALE: u32 = 8;
/// So many pages of a list at the most.
const PAGES: u32 = 1000;

/// An image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its address.
    pub self_link: String,
    /// `PENDING`, `READY`, `FAILED`.
    pub status: String,
    /// Of a disk made from it, in GB.
    pub disk_size_gb: Value,
    /// What it needs of a machine.
    pub guest_os_features: Vec<Feature>,
    /// What is paid for.
    pub licenses: Vec<String>,
    /// The identifier the service gave.
    pub id: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Something an image needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Feature {
    /// Its name, such as `UEFI_COMPATIBLE`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Image {
    /// Its size in GB; 0 when it is not said.
    pub fn size(&self) -> u64 {
        text(&self.disk_size_gb).parse().unwrap_or(0)
    }

    /// Whether it has this feature.
    pub fn has(&self, feature: &str) -> bool {
        self.guest_os_features.iter().any(|f| f.kind == feature)
    }

    /// Whether it is one of Windows.
    pub fn is_windows(&self) -> bool {
        self.has("WINDOWS") || self.licenses.iter().any(|l| l.contains("windows-cloud") || l.contains("windows-server"))
    }
}

/// A zone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zone {
    /// `UP`, `DOWN`.
    pub status: String,
    /// The address of its region.
    pub region: String,
}

/// A type of machines.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineType {
    /// Its address.
    pub self_link: String,
    /// How many processors.
    pub guest_cpus: u32,
}

/// A region.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Region {
    /// What the project may have there, and has.
    pub quotas: Vec<Quota>,
}

/// One limit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// Of what, as `CPUS`.
    pub metric: String,
    /// How much there may be.
    pub limit: f64,
    /// How much there is.
    pub usage: f64,
}

/// An instance.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// `PROVISIONING`, `STAGING`, `RUNNING`, `STOPPING`, `TERMINATED`, …
    pub status: String,
    /// In words, where there is more to say.
    pub status_message: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    metadata: Metadata,
    network_interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    fingerprint: String,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Item {
    key: String,
    value: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Interface {
    #[serde(rename = "networkIP")]
    network_ip: String,
    #[serde(rename = "accessConfigs")]
    access_configs: Vec<Access>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Access {
    #[serde(rename = "natIP")]
    nat_ip: String,
}

impl Instance {
    /// The address by which the world, or only its network, reaches it.
    pub fn address(&self, internal: bool) -> Option<&str> {
        let inner = || self.network_interfaces.iter().map(|i| &*i.network_ip);
        let outer = || self.network_interfaces.iter().flat_map(|i| i.access_configs.iter().map(|a| &*a.nat_ip));
        if internal { inner().find(|ip| !ip.is_empty()) } else { outer().find(|ip| !ip.is_empty()) }
    }

    /// A value of its metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.items.iter().find(|item| item.key == key).and_then(|item| item.value.as_deref())
    }
}

/// A value that an instance has told the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Attribute {
    /// What it is about.
    pub namespace: String,
    /// Its name.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Something in a list of all zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The identifier the service gave.
    pub id: String,
    /// Where it is.
    pub scope: Scope,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The address of something in a project.
pub fn address(project: &str, scope: &Scope, collection: &str, name: &str) -> String {
    format!("{}/{}/{}", path(&["projects", project]), scope.path(), path(&[collection, name]))
}

/// The address of all things of a kind at a place.
pub fn collection(project: &str, scope: &Scope, collection: &str) -> String {
    format!("{}/{}/{}", path(&["projects", project]), scope.path(), path(&[collection]))
}

fn read<T: DeserializeOwned>(value: Value, what: &str) -> Result<T> {
    let why = "it is not what was asked for".to_owned();
    serde_json::from_value(value).map_err(|_| GceError::Protocol { what: what.to_owned(), why })
}

impl Client {
    fn found<T: DeserializeOwned>(&self, ask: &Ask, cancelled: Cancelled<'_>) -> Result<Option<T>> {
        self.look(ask, cancelled)?.map(|value| read(value, &ask.what)).transpose()
    }

    fn there<T: DeserializeOwned>(&self, ask: &Ask, cancelled: Cancelled<'_>) -> Result<T> {
        read(self.call(ask, cancelled)?, &ask.what)
    }

    /// An image by its name.
    ///
    /// # Errors
    /// As [`Client::call`]; that it is not there is none.
    pub fn image(&self, project: &str, name: &str, cancelled: Cancelled<'_>) -> Result<Option<Image>> {
        let what = format!("image {name} in {project}");
        self.found(&Ask::get(address(project, &Scope::Global, "images", name), what), cancelled)
    }

    /// The newest image of a family.
    ///
    /// # Errors
    /// As [`Client::call`]; that there is no such family is none.
    pub fn family(&self, project: &str, name: &str, cancelled: Cancelled<'_>) -> Result<Option<Image>> {
        let place = collection(project, &Scope::Global, "images");
        let what = format!("image family {name} in {project}");
        self.found(&Ask::get(format!("{place}/family/{}", path(&[name])), what), cancelled)
    }

    /// A zone.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn zone(&self, project: &str, name: &str, cancelled: Cancelled<'_>) -> Result<Zone> {
        let place = path(&["projects", project, "zones", name]);
        self.there(&Ask::get(place, format!("zone {name}")), cancelled)
    }

    /// A region, with what is left of the project's quotas there.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn region(&self, project: &str, name: &str, cancelled: Cancelled<'_>) -> Result<Region> {
        let place = path(&["projects", project, "regions", name]);
        self.there(&Ask::get(place, format!("region {name}")), cancelled)
    }

    /// A type of machines.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn machine_type(&self, project: &str, zone: &str, name: &str, cancelled: Cancelled<'_>) -> Result<MachineType> {
        let place = address(project, &Scope::Zone(zone.to_owned()), "machineTypes", name);
        self.there(&Ask::get(place, format!("machine type {name} in {zone}")), cancelled)
    }

    /// The IP address that is reserved under this name.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn reserved(&self, project: &str, region: &str, name: &str, cancelled: Cancelled<'_>) -> Result<String> {
        #[derive(Deserialize)]
        struct Reserved {
            address: String,
        }
        let place = address(project, &Scope::Region(region.to_owned()), "addresses", name);
        let found: Reserved = self.there(&Ask::get(place, format!("address {name} in {region}")), cancelled)?;
        Ok(found.address)
    }

    /// A value of the metadata that all instances of the project have.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn project_metadata(&self, project: &str, key: &str, cancelled: Cancelled<'_>) -> Result<Option<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Project {
            #[serde(default)]
            common_instance_metadata: Metadata,
        }
        let ask = Ask::get(path(&["projects", project]), format!("project {project}"));
        let found: Project = self.there(&ask, cancelled)?;
        let item = found.common_instance_metadata.items.into_iter().find(|item| item.key == key);
        Ok(item.and_then(|item| item.value))
    }

    /// An instance.
    ///
    /// # Errors
    /// As [`Client::call`]; that it is not there is none.
    pub fn instance(
        &self,
        project: &str,
        zone: &str,
        name: &str,
        cancelled: Cancelled<'_>,
    ) -> Result<Option<Instance>> {
        let place = address(project, &Scope::Zone(zone.to_owned()), "instances", name);
        self.found(&Ask::get(place, format!("instance {name}")), cancelled)
    }

    /// The labels of something; `None` when it is not there.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn labels(
        &self,
        address: &str,
        what: &str,
        cancelled: Cancelled<'_>,
    ) -> Result<Option<BTreeMap<String, String>>> {
        #[derive(Deserialize)]
        struct Labelled {
            #[serde(default)]
            labels: BTreeMap<String, String>,
        }
        let found: Option<Labelled> = self.found(&Ask::get(address, what), cancelled)?;
        Ok(found.map(|found| found.labels))
    }

    /// What an instance has told of itself below a path such as `hostkeys/`; nothing while it has not.
    ///
    /// # Errors
    /// As [`Client::call`]: an organisation may forbid it.
    pub fn attributes(
        &self,
        project: &str,
        zone: &str,
        name: &str,
        below: &str,
        cancelled: Cancelled<'_>,
    ) -> Result<Vec<Attribute>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Attributes {
            query_value: Option<Values>,
        }
        #[derive(Deserialize)]
        struct Values {
            #[serde(default)]
            items: Vec<Attribute>,
        }
        let place = address(project, &Scope::Zone(zone.to_owned()), "instances", name);
        let ask = Ask::get(format!("{place}/getGuestAttributes"), format!("guest attributes of {name}"));
        let found: Option<Attributes> = self.found(&ask.query("queryPath", below), cancelled)?;
        Ok(found.and_then(|found| found.query_value).map(|values| values.items).unwrap_or_default())
    }

    /// What an instance wrote to its first serial port.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn console(&self, project: &str, zone: &str, name: &str, cancelled: Cancelled<'_>) -> Result<String> {
        #[derive(Deserialize)]
        struct Console {
            #[serde(default)]
            contents: String,
        }
        let place = address(project, &Scope::Zone(zone.to_owned()), "instances", name);
        let ask = Ask::get(format!("{place}/serialPort"), format!("console of {name}")).query("port", "1");
        let found: Option<Console> = self.found(&ask, cancelled)?;
        Ok(found.map(|found| found.contents).unwrap_or_default())
    }

    /// Adds to the metadata of an instance, whatever others change in it meanwhile.
    ///
    /// # Errors
    /// As [`Client::call`], and of the operation.
    pub fn add_metadata(
        &self,
        at: &At<'_>,
        values: &[(String, String)],
        limit: Duration,
        cancelled: Cancelled<'_>,
    ) -> Result<()> {
        let scope = Scope::Zone(at.zone.to_owned());
        let place = format!("{}/setMetadata", address(at.project, &scope, "instances", at.name));
        let what = format!("metadata of instance {}", at.name);
        let mut tries = STALE;
        loop {
            let instance = self.instance(at.project, at.zone, at.name, cancelled)?;
            let gone = || GceError::Protocol { what: what.clone(), why: "the instance is gone".to_owned() };
            let now = instance.ok_or_else(gone)?.metadata;
            let mut items: Vec<Value> = Vec::new();
            for item in now.items.iter().filter(|item| !values.iter().any(|(key, _)| *key == item.key)) {
                items.push(json!({ "key": item.key, "value": item.value }));
            }
            items.extend(values.iter().map(|(key, value)| json!({ "key": key, "value": value })));
            let body = json!({ "fingerprint": now.fingerprint, "items": items });
            let begun = self.begin(Ask::post(&*place, body, &*what), at.project, &scope, cancelled);
            match begun.and_then(|operation| self.wait(operation, limit, cancelled)) {
                Err(error) if error.is_stale() && tries > 0 => tries -= 1,
                other => return other,
            }
        }
    }

    /// Deletes something and waits until it is gone; what still holds it and is going away is waited for. Whether it was
    /// there.
    ///
    /// # Errors
    /// As [`Client::call`], and of the operation.
    pub fn delete(
        &self,
        project: &str,
        scope: &Scope,
        (kind, name): (&str, &str),
        limit: Duration,
        cancelled: Cancelled<'_>,
    ) -> Result<bool> {
        let place = address(project, scope, &format!("{kind}s"), name);
        let what = format!("{kind} {name}");
        let mut backoff = Backoff::new(limit);
        loop {
            let ask = Ask::delete(&*place, &*what);
            let begun = self.begin(ask, project, scope, cancelled);
            let ended = begun.and_then(|operation| self.wait(operation, limit, cancelled));
            match ended {
                Ok(()) => return Ok(true),
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) if error.is_in_use() => {
                    backoff.wait(cancelled).map_err(|stop| given_up(stop, error))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says from when on an image is deprecated, obsolete, deleted.
    ///
    /// # Errors
    /// As [`Client::call`], and of the operation.
    pub fn deprecate(
        &self,
        project: &str,
        name: &str,
        body: Value,
        limit: Duration,
        cancelled: Cancelled<'_>,
    ) -> Result<()> {
        let place = format!("{}/deprecate", address(project, &Scope::Global, "images", name));
        let ask = Ask::post(place, body, format!("deprecation of image {name}"));
        let operation = self.begin(ask, project, &Scope::Global, cancelled)?;
        self.wait(operation, limit, cancelled)
    }

    /// All things of a kind (`instances`, `disks`) in all zones that a filter lets through.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn list(&self, project: &str, kind: &str, filter: &str, cancelled: Cancelled<'_>) -> Result<Vec<Listed>> {
        let place = path(&["projects", project, "aggregated", kind]);
        let what = format!("list of {kind} in {project}");
        let wrong = || GceError::Protocol { what: what.clone(), why: "it is no list".to_owned() };
        let (mut all, mut token) = (Vec::new(), None::<String>);
        for _ in 0..PAGES {
            let mut ask = Ask::get(&*place, &*what).query("filter", filter).query("maxResults", "500");
            if let Some(token) = &token {
                ask = ask.query("pageToken", token);
            }
            let answer = self.call(&ask, cancelled)?;
            for (place, there) in answer["items"].as_object().into_iter().flatten() {
                let scope = match place.split_once('/') {
                    Some(("zones", zone)) => Scope::Zone(zone.to_owned()),
                    Some(("regions", region)) => Scope::Region(region.to_owned()),
                    _ => continue,
                };
                for item in there[kind].as_array().into_iter().flatten() {
                    let name = item["name"].as_str().ok_or_else(wrong)?.to_owned();
                    let labels = serde_json::from_value(item["labels"].clone()).unwrap_or_default();
                    all.push(Listed { name, id: text(&item["id"]), scope: scope.clone(), labels });
                }
            }
            let next = answer["nextPageToken"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
            match next {
                None => return Ok(all),
                next if next == token => break,
                next => token = next,
            }
        }
        Err(GceError::Protocol { what, why: "it has no end".to_owned() })
    }
}

/// An instance by its place.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The project.
    pub project: &'a str,
    /// The zone.
    pub zone: &'a str,
    /// The name.
    pub name: &'a str,
}
