//! Pods that do not work, and why: which container, in the runtime's words or in its own.

use kiln_host::Stdin;
use kiln_host::command::quote;
use serde_json::Value;

use crate::diagnose::{Cause, failures};
use crate::launch::Member;
use crate::machine::{SHORT, printable};
use crate::phase::join::KUBECTL;

/// Pods whose containers are asked what they said last.
const ASKED: usize = 4;

/// A pod, as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether it is one of the host's network, as pods of pod networks are, and none of kubelet's own files.
    pub is_hosts: bool,
    /// Why it is not ready; none if it is, or has done its work.
    pub lacks: Option<Lack>,
}

impl Pod {
    /// With its namespace, as people read it.
    pub fn full_name(&self) -> String {
        printable(&format!("{}/{}", self.namespace, self.name))
    }
}

/// Why a pod is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// In one line: `Pending: ImagePullBackOff`.
    pub text: String,
    /// The container that does not work, and how it is: `ended with status 1, started 3 times`.
    pub container: Option<(String, String)>,
    /// What the runtime says of it.
    pub said: Option<String>,
}

/// Reads `kubectl get pods -o json`.
pub fn read(text: &[u8]) -> Option<Vec<Pod>> {
    let list: Value = serde_json::from_slice(text).ok()?;
    let pod = |item: &Value| {
        let word = |path: &str| item.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let mirror = item.pointer("/metadata/annotations/kubernetes.io~1config.mirror");
        Some(Pod {
            namespace: word("/metadata/namespace").unwrap_or_default(),
            name: word("/metadata/name")?,
            node: word("/spec/nodeName"),
            is_hosts: item.pointer("/spec/hostNetwork").is_some_and(|is| is == true) && mirror.is_none(),
            lacks: lacks(item),
        })
    };
    list.get("items")?.as_array()?.iter().map(pod).collect()
}

fn lacks(item: &Value) -> Option<Lack> {
    let phase = item.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Unknown");
    let condition = |kind: &str| {
        let all = item.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        all.into_iter().find(|condition| condition["type"] == kind && condition["status"] != "Unknown")
    };
    let ready = condition("Ready");
    if phase == "Succeeded" || ready.is_some_and(|condition| condition["status"] == "True") {
        return None;
    }
    // Containers run when those before them have ended.
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"].into_iter();
    let statuses = statuses.filter_map(|path| item.pointer(path)?.as_array()).flatten();
    let broken = statuses.filter_map(|status| Some((status["name"].as_str()?, status, how(status)?))).next();
    let word = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(printable);
    let waits = broken.as_ref().and_then(|(_, status, _)| word(status.pointer("/state/waiting/reason")?));
    let unscheduled = condition("PodScheduled").filter(|condition| condition["status"] == "False");
    let unscheduled = unscheduled.and_then(|condition| word(&condition["message"]));
    let why = waits.or_else(|| unscheduled.clone()).or_else(|| word(&ready?["message"]));
    let said = broken.as_ref().and_then(|(_, status, _)| {
        // That it waits to be started again says nothing of why it ended.
        let waits = status.pointer("/state/waiting").filter(|waits| waits["reason"] != "CrashLoopBackOff");
        let ended = ["/state/terminated", "/lastState/terminated"].into_iter().find_map(|path| status.pointer(path));
        [waits, ended].into_iter().flatten().find_map(|state| word(&state["message"]))
    });
    Some(Lack {
        text: printable(&format!("{phase}: {}", why.as_deref().unwrap_or("not ready"))),
        container: broken.map(|(name, _, how)| (printable(name), how)),
        said: said.or(unscheduled),
    })
}

/// How a container is that does not do its work; none of one that does, or whose turn has not come.
fn how(status: &Value) -> Option<String> {
    let times = status["restartCount"].as_u64().unwrap_or(0) + 1;
    let started = if times > 1 { format!(", started {times} times") } else { String::new() };
    let ended = |state: &Value| {
        let code = state["exitCode"].as_i64()?;
        Some(match state["reason"].as_str() {
            Some(reason) if !["Error", "Completed"].contains(&reason) => {
                format!("ended: {}{started}", printable(reason))
            }
            _ => format!("ended with status {code}{started}"),
        })
    };
    if let Some(state) = status.pointer("/state/terminated") {
        return ended(state).filter(|_| state["exitCode"] != 0);
    }
    if let Some(waits) = status.pointer("/state/waiting") {
        let reason = waits["reason"].as_str().unwrap_or("waits");
        return match reason {
            "PodInitializing" | "ContainerCreating" => None,
            "CrashLoopBackOff" => status.pointer("/lastState/terminated").and_then(ended).or(Some(reason.to_owned())),
            _ => Some(format!("waits: {}{started}", printable(reason))),
        };
    }
    let is_ready = status["ready"].as_bool().unwrap_or(false);
    status.pointer("/state/running").filter(|_| !is_ready).map(|_| format!("runs, and is not ready{started}"))
}

/// What is behind nodes without a pod network: pods of the host's network that do not work there, as those of networks are;
/// where all work, or there are none, that. Empty also where the cluster does not say.
pub fn of_hosts(first: &Member, nodes: &[&str]) -> Vec<Cause> {
    let line = format!("{KUBECTL} get pods -A -o json");
    let said = first.machine.run("ask for pods", &line, Stdin::Empty, SHORT);
    let said = said.ok().filter(|said| said.exit.success());
    let Some(pods) = said.and_then(|said| read(&said.stdout)) else { return Vec::new() };
    let own: Vec<&Pod> = pods.iter().filter(|pod| pod.is_hosts).collect();
    let is_there = |pod: &&&Pod| pod.node.as_deref().is_none_or(|node| nodes.contains(&node));
    let broken: Vec<&Pod> = own.iter().filter(|pod| pod.lacks.is_some()).filter(is_there).copied().collect();
    if !broken.is_empty() {
        return causes(first, &broken);
    }
    let mut causes = Vec::new();
    for node in nodes.iter().take(ASKED) {
        let on = |pod: &&&Pod| pod.node.as_deref() == Some(node) && !pod.name.starts_with("kube-proxy-");
        let running: Vec<&Pod> = own.iter().filter(on).copied().collect();
        let cause =
            |unit: String, state: &str, said| Cause { host: (*node).to_owned(), unit, state: state.to_owned(), said };
        if running.is_empty() {
            causes.push(cause("the pod network".to_owned(), "has no pod", Vec::new()));
        }
        causes.extend(running.iter().take(2).map(|pod| {
            let state = "runs, and there is no network for pods";
            cause(format!("pod {}", pod.full_name()), state, words(first, pod, "--all-containers"))
        }));
    }
    causes
}

/// What is behind pods that do not work. Of many like each other the first few are told.
pub fn causes(first: &Member, pods: &[&Pod]) -> Vec<Cause> {
    pods.iter().take(ASKED).filter_map(|pod| cause(first, pod)).collect()
}

fn cause(first: &Member, pod: &Pod) -> Option<Cause> {
    let lack = pod.lacks.as_ref()?;
    let name = pod.full_name();
    let (unit, state) = match &lack.container {
        Some((container, how)) => (format!("container {container} of pod {name}"), how.clone()),
        None => (format!("pod {name}"), format!("is not ready: {}", lack.text)),
    };
    let mut said = Vec::new();
    if let Some((container, _)) = &lack.container {
        said = words(first, pod, &format!("-c {}", quote(container)));
    }
    if said.is_empty() {
        said = lack.said.clone().or_else(|| event(first, pod)).into_iter().collect();
    }
    let host = pod.node.clone().unwrap_or_else(|| "no node".to_owned());
    Some(Cause { host, unit, state, said })
}

/// What a container said last that sounds like a failure; of one that was started again and says nothing, before it ended.
fn words(first: &Member, pod: &Pod, which: &str) -> Vec<String> {
    let (namespace, name) = (quote(&pod.namespace), quote(&pod.name));
    let logs = format!("{KUBECTL} -n {namespace} logs {name} {which} --tail=60 --request-timeout=5s");
    for line in [logs.clone(), format!("{logs} --previous")] {
        let said = first.machine.run("ask what a container said", &line, Stdin::Empty, SHORT);
        if let Some(said) = said.ok().filter(|said| said.exit.success()) {
            let text = said.text();
            // kubelet says so where the log is gone, as if it were one.
            let lines = text.lines().filter(|line| !line.starts_with("unable to retrieve container logs"));
            let lines = failures(&lines.collect::<Vec<_>>());
            if !lines.is_empty() {
                return lines;
            }
        }
    }
    Vec::new()
}

/// The last warning about a pod.
fn event(first: &Member, pod: &Pod) -> Option<String> {
    let line = format!(
        "{KUBECTL} -n {} get events --field-selector {} -o json",
        quote(&pod.namespace),
        quote(&format!("involvedObject.name={},type=Warning", pod.name))
    );
    let said =
        first.machine.run("ask for warnings", &line, Stdin::Empty, SHORT).ok().filter(|said| said.exit.success())?;
    let list: Value = serde_json::from_slice(&said.stdout).ok()?;
    let time =
        |event: &Value| ["lastTimestamp", "eventTime"].iter().find_map(|key| event[*key].as_str().map(str::to_owned));
    let last = list["items"].as_array()?.iter().max_by_key(|event| time(event))?;
    Some(printable(last["message"].as_str()?)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(status: &str) -> Pod {
        let text = format!(
            r#"{{"items":[{{"metadata":{{"name":"a","namespace":"kube-system"}},"spec":{{"hostNetwork":true,"nodeName":"n1"}},"status":{status}}}]}}"#
        );
        read(text.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn pods_say_what_they_lack() {
        let lack = |status: &str| one(status).lacks;
        assert_eq!(lack(r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#), None);
        assert_eq!(lack(r#"{"phase":"Succeeded"}"#), None);
        let pull = lack(r#"{"phase":"Pending","containerStatuses":[{"name":"c","restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"no \u001b such"}}}]}"#).unwrap();
        assert_eq!(pull.text, "Pending: ImagePullBackOff");
        assert_eq!(
            (pull.container, pull.said.as_deref()),
            (Some(("c".into(), "waits: ImagePullBackOff".into())), Some("no \u{fffd} such"))
        );
        let not = lack(
            r#"{"phase":"Running","conditions":[{"type":"Ready","status":"False","message":"containers \u001b"}]}"#,
        )
        .unwrap();
        assert_eq!((not.text.as_str(), not.container), ("Running: containers \u{fffd}", None));
        let nowhere = lack(
            r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes"}]}"#,
        )
        .unwrap();
        assert_eq!((nowhere.text.as_str(), nowhere.said.as_deref()), ("Pending: 0/1 nodes", Some("0/1 nodes")));
        for bad in [&b""[..], b"{}", b"{\"items\":[{}]}"] {
            assert_eq!(read(bad), None);
        }
    }

    #[test]
    fn the_container_that_does_not_work_is_named() {
        let container = |status: &str| one(&format!(r#"{{"phase":"Pending",{status}}}"#)).lacks.unwrap().container;
        let waits = r#""containerStatuses":[{"name":"main","ready":false,"restartCount":0,"state":{"waiting":{"reason":"PodInitializing"}}}]"#;
        let init =
            |state: &str| format!(r#""initContainerStatuses":[{{"name":"cni","restartCount":2,{state}}}],{waits}"#);
        for (state, wanted) in [
            (
                r#""state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":1,"reason":"Error"}}"#,
                "ended with status 1, started 3 times",
            ),
            (r#""state":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}"#, "ended: OOMKilled, started 3 times"),
            (
                r#""state":{"waiting":{"reason":"CreateContainerError"}}"#,
                "waits: CreateContainerError, started 3 times",
            ),
            (r#""ready":false,"state":{"running":{}}"#, "runs, and is not ready, started 3 times"),
        ] {
            assert_eq!(container(&init(state)), Some(("cni".to_owned(), wanted.to_owned())), "{state}");
        }
        assert_eq!(
            container(&init(r#""ready":true,"state":{"terminated":{"exitCode":0,"reason":"Completed"}}"#)),
            None
        );
        let mirror = r#"{"items":[{"metadata":{"name":"a","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"hostNetwork":true},"status":{}}]}"#;
        assert!(!read(mirror.as_bytes()).unwrap()[0].is_hosts && one("{}").is_hosts);
    }
}
