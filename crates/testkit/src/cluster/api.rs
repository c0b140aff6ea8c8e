//! Objects by path and verb.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Chunks, Stream, refuse, say};
use super::{BUILDER, NOBODY, Shared, State, node};
use crate::http::Request;

/// What a path means.
struct Target {
    resource: String,
    name: Option<String>,
}

/// `/api/v1/namespaces/NS/RESOURCE[/NAME[/SUB]]`, and the same below `/apis/batch/v1`.
fn target(path: &str) -> Option<Target> {
    let rest = path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/apis/batch/v1/"))?;
    let mut parts = rest.split('/');
    (parts.next() == Some("namespaces") && parts.next() == Some("builds")).then_some(())?;
    let resource = parts.next()?.to_owned();
    let name = parts.next().map(str::to_owned);
    let resource = parts.next().map_or(resource.clone(), |sub| format!("{resource}/{sub}"));
    Some(Target { resource, name })
}

/// Answers a request; gives the connection back if it can take another.
pub(super) fn answer(request: &Request, stream: Stream, shared: &Arc<Shared>) -> Option<Stream> {
    let user = match request.header("authorization").strip_prefix("Bearer ") {
        Some(BUILDER) => "builder",
        Some(NOBODY) => "nobody",
        _ => return refuse(stream, 401, "Unauthorized", "Unauthorized"),
    };
    if request.path == "/version" {
        let minor = shared.lock().behaviour.minor;
        return say(
            stream,
            200,
            &json!({"major": "1", "minor": format!("{minor}+"), "gitVersion": "v1", "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        );
    }
    let Some(target) = target(&request.path) else { return refuse(stream, 404, "NotFound", "there is no such path") };
    let verb = verb(request, &target);
    let needed: &[&str] = if target.resource == "pods/attach" { &["get", "create"] } else { &[verb] };
    for verb in needed {
        shared.lock().asked.push(((*verb).to_owned(), target.resource.clone()));
        if user != "builder" || !shared.role.allows(verb, &target.resource) {
            let message = format!(
                "{} is forbidden: User \"{user}\" cannot {verb} resource \"{}\" in API group \"\" in the namespace \"builds\"",
                target.resource, target.resource
            );
            return refuse(stream, 403, "Forbidden", &message);
        }
    }
    if forgets(shared) {
        return refuse(stream, 403, "Forbidden", "User \"builder\" cannot do that");
    }
    match (verb, &*target.resource, &target.name) {
        ("create", "jobs" | "secrets", None) => create(request, &target.resource, stream, shared),
        ("get", "jobs", Some(name)) => get(&target.resource, name, stream, shared),
        ("delete", "jobs" | "secrets", Some(name)) => delete(&target.resource, name, stream, shared),
        ("list", "pods", None) => {
            let state = shared.lock();
            let items: Vec<Value> = pods(&state, request.parameter("labelSelector").unwrap_or_default()).collect();
            let list = list("Pod", items, state.version);
            drop(state);
            say(stream, 200, &list)
        }
        ("watch", "pods", None) => watch(request, stream, shared),
        ("list", "events", None) => {
            let state = shared.lock();
            let items = node::events(&state, request.parameter("fieldSelector").unwrap_or_default());
            let list = list("Event", items, state.version);
            drop(state);
            say(stream, 200, &list)
        }
        ("get", "pods/log", Some(name)) => node::follow_log(name, stream, shared),
        ("get", "pods/attach", Some(name)) => node::attach(name, request, stream, shared),
        _ => refuse(stream, 405, "MethodNotAllowed", "the double does not speak this"),
    }
}

fn forgets(shared: &Shared) -> bool {
    let mut state = shared.lock();
    let running = state.runs.iter().any(|run| run.exit.is_none() && !run.log.is_empty());
    let forgets = running && state.behaviour.forgetful > 0;
    state.behaviour.forgetful -= usize::from(forgets);
    forgets
}

fn verb(request: &Request, target: &Target) -> &'static str {
    match (&*request.method, &target.name) {
        ("POST", _) => "create",
        ("DELETE", _) => "delete",
        ("GET", Some(_)) => "get",
        ("GET", None) if matches!(request.parameter("watch").unwrap_or_default(), "true" | "1") => "watch",
        ("GET", None) => "list",
        _ => "other",
    }
}

fn list(kind: &str, items: Vec<Value>, version: u64) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

/// The pods with a label.
fn pods<'a>(state: &'a State, selector: &'a str) -> impl Iterator<Item = Value> + 'a {
    let all = state.objects.iter().filter(|(resource, _, _)| resource == "pods").map(|(_, _, pod)| pod.clone());
    all.filter(move |pod| selected(pod, selector))
}

fn selected(pod: &Value, selector: &str) -> bool {
    selector.split_once('=').is_none_or(|(name, value)| pod["metadata"]["labels"][name] == value)
}

fn create(request: &Request, resource: &str, stream: Stream, shared: &Arc<Shared>) -> Option<Stream> {
    let Ok(mut object) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse(stream, 400, "BadRequest", "the body is not JSON");
    };
    let kind = if resource == "jobs" { "Job" } else { "Secret" };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if object["kind"] != kind || name.is_empty() || object["metadata"]["namespace"] != "builds" {
        return refuse(stream, 422, "Invalid", "kind, name or namespace are not what the path says");
    }
    let mut state = shared.lock();
    if state.objects.iter().any(|(r, n, _)| r == resource && *n == name) {
        drop(state);
        return refuse(stream, 409, "AlreadyExists", &format!("{resource} \"{name}\" already exists"));
    }
    state.made.push(object.clone());
    state.version += 1;
    object["metadata"]["uid"] = json!(format!("uid-{}", state.version));
    if state.behaviour.suspended {
        object["spec"]["suspend"] = json!(true);
    }
    state.objects.push((resource.to_owned(), name, object.clone()));
    drop(state);
    if resource == "jobs" {
        node::take(&object, shared);
    }
    say(stream, 201, &object)
}

fn get(resource: &str, name: &str, stream: Stream, shared: &Arc<Shared>) -> Option<Stream> {
    let state = shared.lock();
    let found = state.objects.iter().find(|(r, n, _)| r == resource && n == name).map(|(_, _, object)| object.clone());
    drop(state);
    match found {
        Some(object) => say(stream, 200, &object),
        None => refuse(stream, 404, "NotFound", &format!("{resource} \"{name}\" not found")),
    }
}

fn delete(resource: &str, name: &str, stream: Stream, shared: &Arc<Shared>) -> Option<Stream> {
    let slow = shared.lock().behaviour.slow_delete;
    std::thread::sleep(slow.unwrap_or_default());
    let mut state = shared.lock();
    let Some(at) = state.objects.iter().position(|(r, n, _)| r == resource && n == name) else {
        drop(state);
        return refuse(stream, 404, "NotFound", &format!("{resource} \"{name}\" not found"));
    };
    let (_, _, object) = state.objects.remove(at);
    let uid = object["metadata"]["uid"].clone();
    // What belongs to it goes with it.
    let owned =
        |o: &Value| o["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.iter().any(|r| r["uid"] == uid));
    let gone: Vec<String> = state.objects.iter().filter(|(_, _, o)| owned(o)).map(|(_, n, _)| n.clone()).collect();
    state.objects.retain(|(_, _, o)| !owned(o));
    state.runs.iter().filter(|run| gone.contains(&run.pod)).for_each(node::Run::kill);
    drop(state);
    shared.changed.notify_all();
    say(stream, 200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
}

fn watch(request: &Request, stream: Stream, shared: &Arc<Shared>) -> Option<Stream> {
    let mut since: u64 = request.parameter("resourceVersion").unwrap_or_default().parse().unwrap_or(0);
    let seconds: u64 = request.parameter("timeoutSeconds").unwrap_or_default().parse().unwrap_or(60);
    let (selector, end) =
        (request.parameter("labelSelector").unwrap_or_default(), Instant::now() + Duration::from_secs(seconds));
    let mut chunks = Chunks::begin(stream, "application/json").ok()?;
    let mut state = shared.lock();
    while Instant::now() < end {
        let news = state.history.iter().filter(|(version, _, pod)| *version > since && selected(pod, selector));
        let lines: Vec<String> =
            news.map(|(_, kind, pod)| json!({"type": kind, "object": pod}).to_string() + "\n").collect();
        since = state.version;
        if lines.is_empty() {
            state = shared.changed.wait_timeout(state, Duration::from_millis(200)).unwrap().0;
            continue;
        }
        drop(state);
        chunks.say(lines.concat().as_bytes()).ok()?;
        state = shared.lock();
    }
    drop(state);
    chunks.end();
    None
}
