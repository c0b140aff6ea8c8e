//! Pods: a Job's command line as a process of this machine.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::protocol::{Message, Role, WebSocket};

use super::http::{Chunks, Stream, refuse};
use super::{Behaviour, Shared, State};
use crate::http::Request;

/// A pod's program.
pub(super) struct Run {
    pub(super) pod: String,
    pub(super) log: Vec<u8>,
    pub(super) pid: Option<u32>,
    pub(super) exit: Option<i32>,
    stdin: Option<ChildStdin>,
    /// How many connections its log had.
    followed: usize,
    events: Vec<(String, &'static str, String)>,
}

impl Run {
    pub(super) fn is_running(&self) -> bool {
        self.pid.is_some() && self.exit.is_none()
    }

    pub(super) fn kill(&self) {
        if let (Some(pid), None) = (self.pid.and_then(|p| i32::try_from(p).ok()), self.exit)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Takes a Job: makes its pod, and runs it, as far as that goes.
pub(super) fn take(job: &Value, shared: &Arc<Shared>) {
    let (job, shared) = (job.clone(), shared.clone());
    thread::spawn(move || carry_out(&job, &shared));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn carry_out(job: &Value, shared: &Arc<Shared>) {
    let name = text(&job["metadata"]["name"]);
    let pod = format!("{name}-abcde");
    let behaviour = shared.lock().behaviour.clone();
    let (log, events) = (behaviour.prelude.clone(), Vec::new());
    shared.lock().runs.push(Run { pod: pod.clone(), log, pid: None, exit: None, stdin: None, followed: 0, events });
    if let Some(why) = behaviour.no_pod {
        tell(shared, &pod, &name, "FailedCreate", &why);
        return;
    }
    if behaviour.suspended {
        return;
    }
    let mut object = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": pod, "namespace": "builds", "labels": job["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}]},
        "spec": job["spec"]["template"]["spec"],
        "status": {"phase": "Pending"},
    });
    object["metadata"]["labels"]["job-name"] = json!(name);
    if let Some(why) = behaviour.unschedulable {
        object["status"]["conditions"] =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]);
        show(shared, object, "ADDED");
        return;
    }
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    set(&mut object, &waiting("ContainerCreating"));
    if !show(shared, object.clone(), "ADDED") {
        return;
    }
    if let Some(why) = behaviour.no_image {
        tell(shared, &pod, &pod, "Failed", &format!("Failed to pull image: {why}"));
        set(&mut object, &waiting("ImagePullBackOff"));
        show(shared, object, "MODIFIED");
        return;
    }
    run(object, &pod, shared);
}

fn tell(shared: &Shared, pod: &str, about: &str, reason: &'static str, message: &str) {
    let mut state = shared.lock();
    if let Some(run) = state.runs.iter_mut().find(|run| run.pod == pod) {
        run.events.push((about.to_owned(), reason, message.to_owned()));
    }
}

/// The events about an object, as a field selector names it.
pub(super) fn events(state: &State, selector: &str) -> Vec<Value> {
    let name = selector.split(',').find_map(|field| field.strip_prefix("involvedObject.name=")).unwrap_or_default();
    let all = state.runs.iter().flat_map(|run| &run.events).filter(|(about, _, _)| about == name);
    all.map(|(about, reason, message)| {
        json!({"metadata": {"name": "e", "namespace": "builds"}, "involvedObject": {"name": about}, "reason": reason,
            "message": message, "lastTimestamp": "2026-01-01T00:00:00Z"})
    })
    .collect()
}

fn set(pod: &mut Value, state: &Value) {
    let container = &pod["spec"]["containers"][0];
    pod["status"]["containerStatuses"] = json!([{"name": container["name"], "image": container["image"], "imageID": "",
        "ready": false, "restartCount": 0, "state": state}]);
}

/// Makes a pod's new state known, unless it or its Job is deleted.
fn show(shared: &Shared, mut pod: Value, kind: &'static str) -> bool {
    let mut state = shared.lock();
    let name = text(&pod["metadata"]["name"]);
    let known = state.objects.iter().position(|(r, n, _)| r == "pods" && *n == name);
    let owner = pod["metadata"]["ownerReferences"][0]["uid"].clone();
    let owned = state.objects.iter().any(|(_, _, object)| object["metadata"]["uid"] == owner);
    if !owned || (known.is_none() && kind != "ADDED") {
        return false;
    }
    state.version += 1;
    let version = state.version;
    pod["metadata"]["resourceVersion"] = json!(version.to_string());
    match known {
        Some(at) => state.objects[at].2 = pod.clone(),
        None => state.objects.push(("pods".to_owned(), name, pod.clone())),
    }
    state.history.push((version, kind, pod));
    drop(state);
    shared.changed.notify_all();
    true
}

/// Where the pod's paths are on this machine.
struct Paths {
    dir: PathBuf,
}

impl Paths {
    fn termination(&self) -> PathBuf {
        self.dir.join("termination-log")
    }

    /// An argument or variable, with the machine's paths for the pod's.
    fn map(&self, text: &str) -> String {
        let places = [
            ("/dev/termination-log", self.termination()),
            ("/run/kiln", self.dir.join("files")),
            ("/kiln", self.dir.join("kiln")),
        ];
        let (before, path) = match text.rfind('=') {
            Some(at) => text.split_at(at + 1),
            None => ("", text),
        };
        let found = places.iter().find_map(|(from, to)| Some((path.strip_prefix(from)?, to)));
        match found {
            Some((rest, to)) if rest.is_empty() || rest.starts_with('/') => format!("{before}{}{rest}", to.display()),
            _ => text.to_owned(),
        }
    }
}

fn run(mut object: Value, pod: &str, shared: &Arc<Shared>) {
    let paths = Paths { dir: shared.dir.join(pod) };
    for dir in ["files", "kiln", "tmp"] {
        fs::create_dir_all(paths.dir.join(dir)).expect("make a pod's directory");
    }
    // A kubelet waits for the Secret too.
    if !place_files(&object, &paths, shared) {
        return;
    }
    let more = variables_from(&object, shared);
    let (log, ours) = std::io::pipe().expect("a pipe");
    let mut command = command(&object, &paths, &shared.kiln);
    command.envs(more);
    let errors: OwnedFd = ours.try_clone().expect("share a pipe").into();
    command.stdout(Stdio::from(OwnedFd::from(ours))).stderr(Stdio::from(errors));
    let wants_input = object["spec"]["containers"][0]["stdin"] == true;
    command.stdin(if wants_input { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", shared.kiln.display()));
    // The pipe ends with the program.
    drop(command);
    let stdin = child.stdin.take();
    with(shared, pod, |run| (run.pid, run.stdin) = (Some(child.id()), stdin));
    object["status"]["phase"] = json!("Running");
    set(&mut object, &json!({"running": {}}));
    show(shared, object.clone(), "MODIFIED");
    let evicted = keep_log(log, pod, shared);
    if evicted {
        let _ = child.kill();
    }
    let status = child.wait().expect("the program's end");
    let code = status.code().unwrap_or(137);
    with(shared, pod, |run| run.exit = Some(code));
    let message = fs::read(paths.termination()).unwrap_or_default();
    let message = String::from_utf8_lossy(&message[..message.len().min(4096)]).into_owned();
    object["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
    set(&mut object, &json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}}));
    if evicted {
        object["status"]["reason"] = json!("Evicted");
        object["status"]["message"] = json!("The node was low on resource: ephemeral-storage.");
    }
    show(shared, object, "MODIFIED");
}

fn with(shared: &Shared, pod: &str, change: impl FnOnce(&mut Run)) {
    let mut state = shared.lock();
    if let Some(run) = state.runs.iter_mut().find(|run| run.pod == pod) {
        change(run);
    }
    drop(state);
    shared.changed.notify_all();
}

/// Reads what the program says until it ends; true if the pod is to be evicted before.
fn keep_log(mut log: impl Read, pod: &str, shared: &Shared) -> bool {
    let until = shared.lock().behaviour.evict_at.clone();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = log.read(&mut buffer) {
        let mut reached = false;
        with(shared, pod, |run| {
            run.log.extend_from_slice(&buffer[..count]);
            reached = until.as_ref().is_some_and(|text| String::from_utf8_lossy(&run.log).contains(text));
        });
        if reached {
            return true;
        }
    }
    false
}

fn command(object: &Value, paths: &Paths, kiln: &Path) -> Command {
    let container = &object["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["kiln"]));
    let mut command = Command::new(kiln);
    command.args(container["args"].as_array().expect("args").iter().map(|arg| paths.map(&text(arg))));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("TMPDIR", paths.dir.join("tmp")).current_dir(&paths.dir);
    for variable in container["env"].as_array().expect("env") {
        command.env(text(&variable["name"]), paths.map(&text(&variable["value"])));
    }
    command
}

/// The keys of the Secrets that are variables.
fn variables_from(object: &Value, shared: &Shared) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for from in object["spec"]["containers"][0]["envFrom"].as_array().into_iter().flatten() {
        let secret = wait_for_secret(&text(&from["secretRef"]["name"]), object, shared).unwrap_or_default();
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let bytes = STANDARD.decode(text(value)).expect("base64 in a Secret");
            variables.push((key.clone(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    variables
}

/// Waits for the Secrets that are mounted, and writes their files; false if the pod is gone meanwhile.
fn place_files(object: &Value, paths: &Paths, shared: &Shared) -> bool {
    let volumes = object["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for source in volumes.iter().filter_map(|v| v["projected"]["sources"].as_array()).flatten() {
        let name = text(&source["secret"]["name"]);
        let Some(secret) = wait_for_secret(&name, object, shared) else { return false };
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let items = source["secret"]["items"].as_array();
            let place = items
                .map_or(Some(key.clone()), |items| items.iter().find(|i| i["key"] == **key).map(|i| text(&i["path"])));
            if let Some(place) = place {
                let bytes = STANDARD.decode(text(value)).expect("base64 in a Secret");
                fs::write(paths.dir.join("files").join(place), bytes).expect("write a Secret's file");
            }
        }
    }
    true
}

fn wait_for_secret(name: &str, object: &Value, shared: &Shared) -> Option<Value> {
    let pod = text(&object["metadata"]["name"]);
    let mut state = shared.lock();
    loop {
        if let Some((_, _, secret)) = state.objects.iter().find(|(r, n, _)| r == "secrets" && n == name) {
            return Some(secret.clone());
        }
        state.objects.iter().find(|(r, n, _)| r == "pods" && *n == pod)?;
        state = shared.changed.wait_timeout(state, Duration::from_millis(100)).unwrap().0;
    }
}

/// A log as it comes, until the program ended; or until it is to break.
pub(super) fn follow_log(pod: &str, stream: Stream, shared: &Shared) -> Option<Stream> {
    let mut state = shared.lock();
    let Some(at) = state.runs.iter().position(|run| run.pod == pod) else {
        drop(state);
        return refuse(stream, 404, "NotFound", &format!("pods \"{pod}\" not found"));
    };
    let cut = state.behaviour.cut_log_after.get(state.runs[at].followed).copied();
    state.runs[at].followed += 1;
    drop(state);
    let mut chunks = Chunks::begin(stream, "text/plain").ok()?;
    let (mut sent, mut lines) = (0, 0);
    loop {
        let mut state = shared.lock();
        let over = state.runs[at].exit.is_some();
        let mut news = state.runs[at].log[sent..].to_vec();
        if news.is_empty() && !over {
            state = shared.changed.wait_timeout(state, Duration::from_millis(200)).unwrap().0;
            drop(state);
            continue;
        }
        drop(state);
        if let Some(limit) = cut {
            let ends = news.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(n, _)| n);
            if let Some(end) = ends.clone().nth(limit.saturating_sub(lines)) {
                // In the middle of a line.
                news.truncate(end.saturating_sub(3));
                let _ = chunks.say(&news);
                return None;
            }
            lines += ends.count();
        }
        sent += news.len();
        chunks.say(&news).ok()?;
        if over && news.is_empty() {
            chunks.end();
            return None;
        }
    }
}

/// Carries standard input to the program.
pub(super) fn attach(pod: &str, request: &Request, mut stream: Stream, shared: &Shared) -> Option<Stream> {
    let Behaviour { old_attach: old, cut_attach_after: cut, .. } = shared.lock().behaviour.clone();
    let offered = request.header("sec-websocket-protocol");
    let protocol =
        if offered.contains("v5.channel.k8s.io") && !old { "v5.channel.k8s.io" } else { "v4.channel.k8s.io" };
    let mut stdin = None;
    with(shared, pod, |run| stdin = run.stdin.take());
    let Some(mut stdin) = stdin else { return refuse(stream, 400, "BadRequest", "the container takes no input") };
    let accept = tungstenite::handshake::derive_accept_key(request.header("sec-websocket-key").as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).ok()?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let mut carried = 0;
    while let Ok(message) = socket.read() {
        let Message::Binary(bytes) = message else { continue };
        match bytes.split_first() {
            Some((0, data)) => {
                carried += data.len();
                if cut.is_some_and(|limit| carried > limit) || stdin.write_all(data).is_err() {
                    return None;
                }
            }
            Some((255, _)) => break,
            _ => {}
        }
    }
    // `stdinOnce`: its end is the program's.
    drop(stdin);
    let status = [&[3][..], br#"{"metadata":{},"status":"Success"}"#].concat();
    let _ = socket.send(Message::binary(status));
    let _ = socket.close(None);
    None
}
