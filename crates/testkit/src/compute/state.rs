//! What there is: images, instances, disks, objects, keys; and operations, through which all of it changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::faults::Faults;
use super::wire::Reply;
use super::{FAMILY, PROJECT, ZONE};

/// How addresses of the service begin.
pub const LINK: &str = "https://www.googleapis.com/compute/v1/";

/// Anything that has an address.
#[derive(Debug, Clone)]
pub struct Thing {
    pub id: u64,
    /// What it was asked to be.
    pub body: Value,
    pub status: &'static str,
    /// Whether a build made it.
    pub made: bool,
    /// How often it was asked for.
    pub seen: u32,
    /// How often its metadata changed.
    pub revision: u32,
}

/// What happens when an operation is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Remove(String),
    Status(String, &'static str),
}

#[derive(Debug, Clone)]
struct Operation {
    place: String,
    left: u32,
    effect: Effect,
    error: Option<(String, String)>,
    target: String,
    target_id: u64,
    kind: String,
}

/// All of it, by addresses as `projects/P/zones/Z/instances/N`.
pub struct State {
    pub things: BTreeMap<String, Thing>,
    operations: BTreeMap<String, Operation>,
    /// Which operation a request began.
    requests: BTreeMap<String, String>,
    pub oslogin: BTreeMap<String, String>,
    pub objects: BTreeMap<(String, String), Vec<u8>>,
    pub uploads: BTreeMap<String, (String, String, Vec<u8>)>,
    pub asked: Vec<Value>,
    pub host_key: Option<String>,
    pub console: String,
    pub faults: Faults,
    next: u64,
}

impl State {
    pub fn new(faults: &Faults) -> State {
        let mut state = State {
            things: BTreeMap::new(),
            operations: BTreeMap::new(),
            requests: BTreeMap::new(),
            oslogin: BTreeMap::new(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            asked: Vec::new(),
            host_key: None,
            console: String::new(),
            faults: faults.clone(),
            next: 1000,
        };
        state.add_image("debian-cloud", "debian-12-bookworm-v1", Some(FAMILY), &["UEFI_COMPATIBLE"]);
        state.add_image("debian-cloud", "debian-11-bullseye-v1", Some("debian-11"), &[]);
        state.add_image("windows-cloud", "windows-2022-v1", Some("windows-2022"), &["WINDOWS"]);
        state
    }

    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn add_image(&mut self, project: &str, name: &str, family: Option<&str>, features: &[&str]) {
        let features: Vec<Value> = features.iter().map(|f| json!({ "type": f })).collect();
        let mut body = json!({ "name": name, "guestOsFeatures": features, "diskSizeGb": "10" });
        if let Some(family) = family {
            body["family"] = json!(family);
        }
        self.add(&format!("projects/{project}/global/images/{name}"), body, "READY", false);
    }

    pub fn add_instance(&mut self, name: &str) {
        let address = format!("projects/{PROJECT}/zones/{ZONE}/instances/{name}");
        self.add(&address, json!({ "name": name }), "RUNNING", false);
    }

    pub fn add(&mut self, address: &str, body: Value, status: &'static str, made: bool) -> u64 {
        let id = self.id();
        let thing = Thing { id, body, status, made, seen: 0, revision: 0 };
        self.things.insert(address.to_owned(), thing);
        id
    }

    /// A thing as the service shows it.
    pub fn shown(&self, address: &str) -> Option<Value> {
        let thing = self.things.get(address)?;
        let mut body = thing.body.clone();
        body["id"] = json!(thing.id.to_string());
        body["selfLink"] = json!(format!("{LINK}{address}"));
        body["status"] = json!(thing.status);
        Some(body)
    }

    /// The operation that a request has begun before.
    pub fn repeated(&self, request: Option<&str>) -> Option<Reply> {
        let name = self.requests.get(request?)?;
        Some(Reply::ok(self.operation_json(name)?))
    }

    /// Begins an operation on `target`.
    pub fn begin(&mut self, kind: &str, target: &str, effect: Effect, request: Option<&str>) -> Reply {
        self.begin_failing(kind, target, effect, None, request)
    }

    /// One that fails, if there is an error.
    pub fn begin_failing(
        &mut self,
        kind: &str,
        target: &str,
        effect: Effect,
        error: Option<(String, String)>,
        request: Option<&str>,
    ) -> Reply {
        let name = format!("operation-{}", self.id());
        let parts: Vec<&str> = target.split('/').collect();
        let place = match parts[..] {
            [_, project, "global", ..] => format!("projects/{project}/global"),
            [_, project, kind, place, ..] => format!("projects/{project}/{kind}/{place}"),
            _ => target.to_owned(),
        };
        let target_id = self.things.get(target).map_or(0, |thing| thing.id);
        let left = if self.faults.stuck == Some(kind) { u32::MAX } else { self.faults.pending };
        let operation =
            Operation { place, left, effect, error, target: target.to_owned(), target_id, kind: kind.to_owned() };
        self.operations.insert(name.clone(), operation);
        if let Some(request) = request {
            self.requests.insert(request.to_owned(), name.clone());
        }
        if left == 0 {
            self.end(&name);
        }
        self.operation_json(&name).map_or_else(|| Reply::empty(500), Reply::ok)
    }

    /// An operation, asked for once more.
    pub fn poll(&mut self, place: &str, name: &str) -> Option<Value> {
        let operation = self.operations.get_mut(name).filter(|operation| operation.place == place)?;
        operation.left = operation.left.saturating_sub(1);
        if operation.left == 0 {
            self.end(name);
        }
        self.operation_json(name)
    }

    fn end(&mut self, name: &str) {
        let Some(operation) = self.operations.get_mut(name) else { return };
        operation.left = 0;
        match std::mem::replace(&mut operation.effect, Effect::Nothing) {
            Effect::Nothing => {}
            Effect::Remove(address) => drop(self.things.remove(&address)),
            Effect::Status(address, status) => {
                if let Some(thing) = self.things.get_mut(&address) {
                    thing.status = status;
                }
            }
        }
    }

    fn operation_json(&self, name: &str) -> Option<Value> {
        let operation = self.operations.get(name)?;
        let done = operation.left == 0;
        let mut body = json!({
            "kind": "compute#operation",
            "name": name,
            "operationType": operation.kind,
            "status": if done { "DONE" } else { "RUNNING" },
            "progress": if done { 100 } else { 50 },
            "targetLink": format!("{LINK}{}", operation.target),
            "targetId": operation.target_id.to_string(),
            "selfLink": format!("{LINK}{}/operations/{name}", operation.place),
        });
        if let Some((code, message)) = operation.error.as_ref().filter(|_| done) {
            body["error"] = json!({ "errors": [{ "code": code, "message": message }] });
            body["httpErrorStatusCode"] = json!(400);
            body["httpErrorMessage"] = json!("BAD REQUEST");
        }
        Some(body)
    }

    /// Lets every operation come to its end, as it does whether somebody asks or not.
    pub fn settle(&mut self) {
        let names: Vec<String> = self.operations.keys().cloned().collect();
        names.iter().for_each(|name| self.end(name));
    }

    /// What a build made and did not delete.
    pub fn left(&self) -> Vec<String> {
        let kept = |address: &str| !address.contains("/images/");
        let things = self.things.iter().filter(|(address, thing)| thing.made && kept(address));
        let mut all: Vec<String> = things.map(|(address, _)| address.clone()).collect();
        all.extend(self.objects.keys().map(|(bucket, name)| format!("gs://{bucket}/{name}")));
        all.extend(self.oslogin.keys().map(|key| format!("ssh-key {key}")));
        all
    }

    pub fn made_images(&self) -> Vec<(String, Value)> {
        let images = self.things.iter().filter(|(address, thing)| thing.made && address.contains("/images/"));
        images.map(|(address, t)| (address.rsplit('/').next().unwrap_or_default().to_owned(), t.body.clone())).collect()
    }

    /// The keys that the metadata of running instances names, without the names of users.
    pub fn ssh_keys(&self) -> String {
        let mut all = String::new();
        for (address, thing) in self.things.iter().filter(|(_, thing)| thing.made) {
            if !address.contains("/instances/") {
                continue;
            }
            let keys = metadata(&thing.body, "ssh-keys").unwrap_or_default();
            for line in keys.lines() {
                all.push_str(line.split_once(':').map_or(line, |(_, key)| key));
                all.push('\n');
            }
        }
        for key in self.oslogin.values() {
            all.push_str(key.trim());
            all.push('\n');
        }
        all
    }
}

/// A value of an instance's metadata.
pub fn metadata<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    let items = body["metadata"]["items"].as_array()?;
    items.iter().find(|item| item["key"] == key).and_then(|item| item["value"].as_str())
}
