//! Calls of Compute, OS Login and of who a token is.

use serde_json::{Value, json};

use super::state::{Effect, LINK, State, metadata};
use super::wire::Reply;
use super::{Call, PROJECT, instances, policy, tokens};
use crate::http::{Request, decoded};

/// The segments of a path below the service's, decoded.
fn segments(path: &str) -> Vec<String> {
    let below = path.strip_prefix("/compute/v1/").unwrap_or(path.trim_start_matches('/'));
    below.split('/').map(decoded).collect()
}

fn words(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}

/// Action and name of a call.
pub fn about(request: &Request) -> (String, String) {
    let all = segments(&request.path);
    let verb = match &*request.method {
        "POST" => "insert",
        "DELETE" => "delete",
        _ => "get",
    };
    let (action, name) = match words(&all)[..] {
        ["projects", project] => ("projects.get".to_owned(), project),
        ["projects", _, "aggregated", kind] => (format!("{kind}.list"), ""),
        ["projects", _, "global", "images", "family", family] => ("images.getFromFamily".to_owned(), family),
        ["projects", _, "global", kind] => (format!("{kind}.{verb}"), ""),
        ["projects", _, "global", kind, name] => (format!("{kind}.{verb}"), name),
        ["projects", _, "global", kind, name, verb] => (format!("{kind}.{verb}"), name),
        ["projects", _, places @ ("zones" | "regions"), name] => (format!("{places}.get"), name),
        ["projects", _, "zones" | "regions", _, kind] => (format!("{kind}.{verb}"), ""),
        ["projects", _, "zones" | "regions", _, kind, name] => (format!("{kind}.{verb}"), name),
        ["projects", _, "zones" | "regions", _, kind, name, verb] => (format!("{kind}.{verb}"), name),
        ["oauth2", "v2", "tokeninfo"] => ("tokeninfo.get".to_owned(), ""),
        [.., "users", _, "sshPublicKeys", key] => (format!("keys.{verb}"), key),
        [.., "users", user] if user.ends_with(":importSshPublicKey") => ("keys.import".to_owned(), user),
        _ => ("unknown".to_owned(), ""),
    };
    let body = request.json();
    let name = if name.is_empty() { body["name"].as_str().unwrap_or_default() } else { name };
    (action, name.to_owned())
}

/// Answers it.
pub fn answer(request: &Request, call: &Call, state: &mut State) -> Reply {
    let all = segments(&request.path);
    let all = words(&all);
    match (&*request.method, &all[..]) {
        ("POST", ["oauth2", "v2", "tokeninfo"]) => Reply::ok(json!({ "email": tokens::EMAIL })),
        ("POST", [.., "users", user]) if user.ends_with(":importSshPublicKey") => import(request, state),
        ("DELETE", [.., "users", _, "sshPublicKeys", key]) => match state.oslogin.remove(*key) {
            Some(_) => Reply::ok(json!({})),
            None => Reply::refused(404, "notFound", "No such key"),
        },
        (_, ["projects", project, rest @ ..]) => in_project(request, call, state, project, rest),
        _ => Reply::refused(404, "notFound", "there is no such call"),
    }
}

fn in_project(request: &Request, call: &Call, state: &mut State, project: &str, rest: &[&str]) -> Reply {
    let place = |count: usize| rest.get(..count).map(|parts| format!("projects/{project}/{}", parts.join("/")));
    match (&*request.method, rest) {
        ("GET", []) => Reply::ok(json!({ "name": project, "commonInstanceMetadata": { "items": [] } })),
        ("GET", ["aggregated", kind]) => aggregated(state, project, kind, request),
        ("GET", ["global", "images", "family", family]) => in_family(state, project, family),
        ("GET", ["zones", zone]) => known(
            *zone == super::ZONE,
            json!({
                "name": zone, "status": "UP", "region": format!("{LINK}projects/{project}/regions/europe-west1"),
                "selfLink": format!("{LINK}projects/{project}/zones/{zone}"),
            }),
            zone,
        ),
        ("GET", ["regions", region]) => known(*region == "europe-west1", quotas(state, region), region),
        ("GET", ["zones", zone, "machineTypes", name]) => machine_type(project, zone, name),
        ("GET", ["regions", _, "addresses", name]) => {
            known(*name == "reserved", json!({ "name": name, "address": "127.0.0.1" }), name)
        }
        ("GET", ["global", "operations", name]) => found(state.poll(&place(1).unwrap_or_default(), name), name),
        ("GET", ["zones" | "regions", _, "operations", name]) => {
            found(state.poll(&place(2).unwrap_or_default(), name), name)
        }
        ("GET", ["global", "images", _, "getIamPolicy"]) => policy::get(state, &place(3).unwrap_or_default()),
        ("POST", ["global", "images", _, "setIamPolicy"]) => policy::set(request, state, &place(3).unwrap_or_default()),
        ("POST", ["global", "images", name, "deprecate"]) => deprecate(request, state, project, name),
        ("POST", ["global", "images"]) => insert_image(request, call, state, project),
        ("POST", ["zones", zone, "instances"]) => instances::insert(request, call, state, project, zone),
        ("POST", ["zones" | "regions", _, "disks"]) => insert_disk(request, call, state, &place(3).unwrap_or_default()),
        (_, ["zones", _, "instances", _, ..]) => {
            instances::answer(request, state, &place(4).unwrap_or_default(), rest.get(4).copied())
        }
        ("GET", ["global", "images", name]) => found(state.shown(&place(3).unwrap_or_default()), name),
        ("GET", ["zones" | "regions", _, "disks", name]) => found(state.shown(&place(4).unwrap_or_default()), name),
        ("DELETE", ["global", "images", _]) => delete(request, state, &place(3).unwrap_or_default()),
        ("DELETE", ["zones" | "regions", _, "disks", _]) => delete_disk(request, state, &place(4).unwrap_or_default()),
        _ => Reply::refused(404, "notFound", "there is no such call"),
    }
}

/// What is there, or that it is not.
fn found(value: Option<Value>, name: &str) -> Reply {
    value.map_or_else(|| missing(name), Reply::ok)
}

fn known(there: bool, value: Value, name: &str) -> Reply {
    if there { Reply::ok(value) } else { missing(name) }
}

pub fn missing(name: &str) -> Reply {
    Reply::refused(404, "notFound", &format!("The resource '{name}' was not found"))
}

pub fn taken(address: &str) -> Reply {
    Reply::refused(409, "alreadyExists", &format!("The resource '{address}' already exists"))
}

/// Whether something may have this name.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 63
        && name.chars().all(fits)
        && !name.ends_with('-')
}

fn quotas(state: &State, region: &str) -> Value {
    let quota = |metric: &str, limit: u32, usage: u32| json!({ "metric": metric, "limit": limit, "usage": usage });
    json!({ "name": region, "quotas": [
        quota("CPUS", 24, 24 - state.faults.cpus.min(24)), quota("INSTANCES", 720, 1),
        quota("DISKS_TOTAL_GB", 4096, 0), quota("SSD_TOTAL_GB", 500, 0), quota("IN_USE_ADDRESSES", 8, 0),
    ]})
}

fn machine_type(project: &str, zone: &str, name: &str) -> Reply {
    let family = name.split('-').next().unwrap_or_default();
    let cpus: Option<u32> = name.rsplit('-').next().and_then(|last| last.parse().ok());
    match (["e2", "n1", "n2"].contains(&family), cpus) {
        (true, Some(cpus)) => Reply::ok(json!({
            "name": name, "guestCpus": cpus, "memoryMb": 4096,
            "selfLink": format!("{LINK}projects/{project}/zones/{zone}/machineTypes/{name}"),
        })),
        _ => missing(name),
    }
}

fn in_family(state: &State, project: &str, family: &str) -> Reply {
    let prefix = format!("projects/{project}/global/images/");
    let newest = state.things.iter().rfind(|(address, thing)| {
        address.starts_with(&prefix) && thing.body["family"] == family && thing.status == "READY"
    });
    found(newest.and_then(|(address, _)| state.shown(address)), family)
}

fn aggregated(state: &State, project: &str, kind: &str, request: &Request) -> Reply {
    let filter = request.parameter("filter").unwrap_or_default().to_owned();
    let wanted = |labels: &Value| match filter.split_once('=') {
        Some((key, value)) => labels[key.trim_start_matches("labels.")] == value,
        None => !labels[filter.trim_start_matches("labels.").trim_end_matches(":*")].is_null(),
    };
    let mut places = serde_json::Map::new();
    for (address, thing) in &state.things {
        let parts: Vec<&str> = address.split('/').collect();
        let ["projects", p, at @ ("zones" | "regions"), place, k, _] = parts[..] else { continue };
        if p != project || k != kind || !wanted(&thing.body["labels"]) {
            continue;
        }
        let entry = places.entry(format!("{at}/{place}")).or_insert_with(|| json!({ kind: [] }));
        if let (Some(list), Some(shown)) = (entry[kind].as_array_mut(), state.shown(address)) {
            list.push(shown);
        }
    }
    Reply::ok(json!({ "items": places }))
}

/// An operation's failure that is asked for.
pub fn failure(call: &Call, state: &mut State) -> Option<(String, String)> {
    let fault = state.faults.operation.as_mut().filter(|fault| fault.action == call.action && fault.times > 0)?;
    fault.times -= 1;
    Some((fault.code.clone(), fault.message.clone()))
}

fn insert_image(request: &Request, call: &Call, state: &mut State, project: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    let mut body = request.json();
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let address = format!("projects/{project}/global/images/{name}");
    if !is_name(&name) {
        return Reply::refused(400, "invalid", &format!("Invalid value for field 'resource.name': '{name}'"));
    }
    if state.things.contains_key(&address) {
        return taken(&address);
    }
    if let Some(source) = body["sourceDisk"].as_str() {
        let Some(disk) = disk_of(source) else {
            return Reply::refused(400, "invalid", "Invalid value for field 'resource.sourceDisk'");
        };
        let Some(thing) = state.things.get(&disk) else { return missing(&disk) };
        body["diskSizeGb"] = thing.body["sizeGb"].clone();
        if let Some(user) = user_of(state, &disk) {
            return in_use(&disk, &user);
        }
    } else if let Some(source) = body["rawDisk"]["source"].as_str() {
        match super::storage::size_of_disk(state, source) {
            Ok(size) => body["diskSizeGb"] = json!(size.to_string()),
            Err(why) => return Reply::refused(400, "invalid", &why),
        }
    } else {
        return Reply::refused(400, "required", "Required field 'resource.sourceDisk' not specified");
    }
    let error = failure(call, state);
    let request = request.parameter("requestId");
    if error.is_some() {
        return state.begin_failing("insert", &address, Effect::Nothing, error, request);
    }
    state.add(&address, body, "PENDING", true);
    state.begin("insert", &address, Effect::Status(address.clone(), "READY"), request)
}

/// The disk that a source names. Debian's packer leaves `projects` out of the address.
fn disk_of(source: &str) -> Option<String> {
    let parts: Vec<&str> = source.split('/').collect();
    let at = parts.iter().position(|part| *part == "zones" || *part == "regions").filter(|at| *at > 0)?;
    Some(format!("projects/{}/{}", parts[at - 1], parts[at..].join("/")))
}

fn deprecate(request: &Request, state: &mut State, project: &str, name: &str) -> Reply {
    let address = format!("projects/{project}/global/images/{name}");
    let Some(thing) = state.things.get_mut(&address) else { return missing(name) };
    thing.body["deprecated"] = request.json();
    state.begin("deprecate", &address, Effect::Nothing, request.parameter("requestId"))
}

fn insert_disk(request: &Request, call: &Call, state: &mut State, collection: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    let body = request.json();
    let name = body["name"].as_str().unwrap_or_default();
    let address = format!("{collection}/{name}");
    if !is_name(name) {
        return Reply::refused(400, "invalid", &format!("Invalid value for field 'resource.name': '{name}'"));
    }
    if state.things.contains_key(&address) {
        return taken(&address);
    }
    let error = failure(call, state);
    if error.is_none() {
        state.add(&address, body, "READY", true);
    }
    state.begin_failing("insert", &address, Effect::Nothing, error, request.parameter("requestId"))
}

/// The instance that a disk is attached to.
fn user_of(state: &State, disk: &str) -> Option<String> {
    let uses = |body: &Value| {
        let disks = body["disks"].as_array().into_iter().flatten();
        disks.filter_map(|d| d["source"].as_str()).any(|source| source.ends_with(disk))
    };
    state.things.iter().find(|(a, t)| a.contains("/instances/") && uses(&t.body)).map(|(address, _)| address.clone())
}

fn in_use(disk: &str, user: &str) -> Reply {
    let message = format!("The disk resource '{disk}' is already being used by '{user}'");
    Reply::refused(400, "resourceInUseByAnotherResource", &message)
}

fn delete_disk(request: &Request, state: &mut State, address: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    if let Some(user) = user_of(state, address) {
        return in_use(address, &user);
    }
    if state.things.contains_key(address) && state.faults.in_use > 0 {
        state.faults.in_use -= 1;
        return in_use(address, "something that is going away");
    }
    delete(request, state, address)
}

/// The end of something.
pub fn delete(request: &Request, state: &mut State, address: &str) -> Reply {
    if let Some(reply) = state.repeated(request.parameter("requestId")) {
        return reply;
    }
    match state.things.get_mut(address) {
        None => missing(address),
        Some(thing) => {
            thing.status = if address.contains("/instances/") { "STOPPING" } else { "DELETING" };
            state.begin("delete", address, Effect::Remove(address.to_owned()), request.parameter("requestId"))
        }
    }
}

fn import(request: &Request, state: &mut State) -> Reply {
    if state.faults.busy > 0 {
        state.faults.busy -= 1;
        return Reply::refused(409, "aborted", "Multiple concurrent mutations were attempted");
    }
    let key = request.json()["key"].as_str().unwrap_or_default().to_owned();
    if !key.starts_with("ssh-") && !key.starts_with("ecdsa-") {
        return Reply::refused(400, "invalidArgument", "it is no SSH key");
    }
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let fingerprint: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    state.oslogin.insert(fingerprint, key);
    let account = json!({ "primary": true, "username": "root", "accountId": PROJECT });
    Reply::ok(json!({ "loginProfile": { "name": tokens::EMAIL, "posixAccounts": [account] } }))
}

/// Whether an instance said that it publishes.
pub fn publishes(body: &Value) -> bool {
    metadata(body, "enable-guest-attributes").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
