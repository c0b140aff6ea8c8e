//! Instances: made with their first disk, asked for, told things, deleted.

use serde_json::{Value, json};

use super::Call;
use super::api::{delete, failure, is_name, missing, publishes, taken};
use super::state::{Effect, LINK, State, metadata};
use super::wire::Reply;
use crate::http::Request;

/// Makes one.
pub fn insert(request: &Request, call: &Call, state: &mut State, project: &str, zone: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    let mut body = request.json();
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let address = format!("projects/{project}/zones/{zone}/instances/{name}");
    if let Err(reply) = check(&body, &name, &address, state) {
        return *reply;
    }
    let wanted = body["disks"][0]["initializeParams"].clone();
    let disk = wanted["diskName"].as_str().unwrap_or(&name).to_owned();
    let disk = format!("projects/{project}/zones/{zone}/disks/{disk}");
    if state.things.contains_key(&disk) {
        return taken(&disk);
    }
    // Packer's list begins with as many nothings as there are items.
    if let Some(items) = body.pointer_mut("/metadata/items").and_then(Value::as_array_mut) {
        items.retain(|item| !item.is_null());
    }
    state.asked.push(body.clone());
    let size = match &wanted["diskSizeGb"] {
        Value::Null => json!("10"),
        size => json!(size.as_str().map_or_else(|| size.to_string(), str::to_owned)),
    };
    let made = json!({ "name": disk.rsplit('/').next(), "sizeGb": size, "labels": wanted["labels"] });
    let error = failure(call, state);
    let request = request.parameter("requestId");
    // As it may be: the disk is there before the machine fails.
    state.add(&disk, made, "READY", true);
    if error.is_some() {
        return state.begin_failing("insert", &address, Effect::Nothing, error, request);
    }
    body["disks"][0]["source"] = json!(format!("{LINK}{disk}"));
    let interface = &mut body["networkInterfaces"][0];
    interface["networkIP"] = json!("127.0.0.1");
    // Asked for by name it would be there as null.
    if let Some(access) = interface.get_mut("accessConfigs").and_then(|all| all.get_mut(0)).filter(|a| a.is_object()) {
        access["natIP"] = json!("127.0.0.1");
    }
    state.add(&address, body, "PROVISIONING", true);
    state.begin("insert", &address, Effect::Status(address.clone(), "STAGING"), request)
}

fn check(body: &Value, name: &str, address: &str, state: &State) -> Result<(), Box<Reply>> {
    let invalid = |why: &str| Err(Box::new(Reply::refused(400, "invalid", why)));
    if !is_name(name) {
        return invalid(&format!("Invalid value for field 'resource.name': '{name}'"));
    }
    if state.things.contains_key(address) {
        return Err(Box::new(taken(address)));
    }
    let kind = body["machineType"].as_str().unwrap_or_default();
    if !kind.contains("/machineTypes/") {
        return invalid("Invalid value for field 'resource.machineType'");
    }
    if body["networkInterfaces"].as_array().is_none_or(Vec::is_empty) {
        return invalid("At least one network interface is required.");
    }
    let disks: Vec<&Value> = body["disks"].as_array().into_iter().flatten().collect();
    let boots = disks.iter().filter(|disk| disk["boot"] == true).count();
    if boots != 1 || disks[0]["autoDelete"] == true {
        return invalid("Boot disk must be the first disk attached to the instance, and is to stay.");
    }
    let image = disks[0]["initializeParams"]["sourceImage"].as_str().unwrap_or_default();
    let image = image.split_once("projects/").map(|(_, rest)| format!("projects/{rest}")).unwrap_or_default();
    if !state.things.contains_key(&image) {
        return Err(Box::new(missing(&image)));
    }
    for disk in &disks[1..] {
        let source = disk["source"].as_str().unwrap_or_default();
        if disk["type"] != "SCRATCH" && !state.things.keys().any(|a| source.ends_with(&**a)) {
            return Err(Box::new(missing(source)));
        }
    }
    let keys: Vec<&str> =
        body["metadata"]["items"].as_array().into_iter().flatten().filter_map(|i| i["key"].as_str()).collect();
    if keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key)) {
        return invalid("Metadata has duplicate keys");
    }
    let labels = body["labels"].as_object().into_iter().flatten();
    for (key, value) in labels {
        if !key.chars().all(|c| !c.is_uppercase()) || value.as_str().is_none_or(|v| v.len() > 63) {
            return invalid("Invalid value for field 'resource.labels'");
        }
    }
    Ok(())
}

/// Everything else about one.
pub fn answer(request: &Request, state: &mut State, address: &str, verb: Option<&str>) -> Reply {
    match (&*request.method, verb) {
        ("GET", None) => get(state, address),
        ("DELETE", None) => delete(request, state, address),
        ("GET", Some("serialPort")) => match state.things.contains_key(address) {
            true => Reply::ok(json!({ "contents": state.console, "next": state.console.len().to_string() })),
            false => missing(address),
        },
        ("GET", Some("getGuestAttributes")) => attributes(request, state, address),
        ("POST", Some("setMetadata")) => set_metadata(request, state, address),
        _ => Reply::refused(404, "notFound", "there is no such call"),
    }
}

fn get(state: &mut State, address: &str) -> Reply {
    let (staging, script) = (state.faults.staging, state.faults.script);
    let Some(thing) = state.things.get_mut(address) else { return missing(address) };
    thing.seen += 1;
    if thing.status == "STAGING" && thing.seen > staging {
        thing.status = "RUNNING";
    }
    // A guest runs Packer's wrapper, too.
    if thing.status == "RUNNING"
        && let Some(items) = thing.body.pointer_mut("/metadata/items").and_then(Value::as_array_mut)
        && let Some(item) = items.iter_mut().find(|item| item["key"] == "startup-script-status")
    {
        item["value"] = json!(script);
    }
    thing.body["metadata"]["fingerprint"] = json!(format!("fp-{}", thing.revision));
    state.shown(address).map_or_else(|| missing(address), Reply::ok)
}

fn attributes(request: &Request, state: &State, address: &str) -> Reply {
    let Some(thing) = state.things.get(address) else { return missing(address) };
    if state.faults.closed {
        return Reply::refused(
            403,
            "forbidden",
            "Constraint constraints/compute.disableGuestAttributesAccess violated",
        );
    }
    let below = request.parameter("queryPath").unwrap_or_default();
    let mut items = Vec::new();
    if publishes(&thing.body) && thing.status == "RUNNING" {
        match (below, &state.host_key, metadata(&thing.body, "kiln-startup-script")) {
            ("hostkeys/", Some(line), _) => {
                let mut words = line.split(' ');
                let (kind, key) = (words.next(), words.next());
                items.push(json!({ "namespace": "hostkeys", "key": kind, "value": key }));
            }
            ("kiln/", _, Some(_)) => {
                let key = "startup-script-status";
                items.push(json!({ "namespace": "kiln", "key": key, "value": state.faults.script }));
            }
            _ => {}
        }
    }
    match items.is_empty() {
        true => missing(below),
        false => Reply::ok(json!({ "queryPath": below, "queryValue": { "items": items } })),
    }
}

fn set_metadata(request: &Request, state: &mut State, address: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    let stale = state.faults.stale > 0;
    state.faults.stale = state.faults.stale.saturating_sub(1);
    let Some(thing) = state.things.get_mut(address) else { return missing(address) };
    if stale {
        // Somebody else was faster.
        thing.revision += 1;
    }
    let body = request.json();
    if body["fingerprint"] != format!("fp-{}", thing.revision) {
        return Reply::refused(
            412,
            "conditionNotMet",
            "Supplied fingerprint does not match current metadata fingerprint.",
        );
    }
    thing.revision += 1;
    thing.body["metadata"] = json!({ "items": body["items"] });
    state.begin("setMetadata", address, Effect::Nothing, request.parameter("requestId"))
}
