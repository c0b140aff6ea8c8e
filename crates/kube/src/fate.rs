//! What becomes of a Job's pod, read off the objects that the cluster shows. Nothing here asks anyone.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, Event, Pod, PodStatus,
};
use serde_json::Value;

use crate::call::shown;
use crate::plan::CONTAINER;

/// How long a pull that fails may go on failing: registries have bad moments.
pub(crate) const PULL_PATIENCE: Duration = Duration::from_secs(30);

/// How a build in a pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The program ended by itself.
    Exited {
        /// With this code.
        code: i32,
        /// And left this for who asks.
        message: Option<String>,
    },
    /// It was ended.
    Lost(String),
}

/// Where a Job is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Its program does not run yet.
    Waiting(Waiting),
    /// It runs.
    Running,
    /// It is over.
    Ended(Fate),
}

/// Why a program does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) why: String,
    /// Whether every pod waits so for a moment.
    pub(crate) usual: bool,
    /// How long that may go on, if it does not get better by waiting.
    pub(crate) patience: Option<Duration>,
}

impl Waiting {
    fn for_now(why: impl Into<String>) -> Waiting {
        Waiting { why: why.into(), usual: false, patience: None }
    }

    fn usual(why: impl Into<String>) -> Waiting {
        Waiting { usual: true, ..Waiting::for_now(why) }
    }

    fn for_ever(why: impl Into<String>) -> Waiting {
        Waiting::until(why, Some(Duration::ZERO))
    }

    fn until(why: impl Into<String>, patience: Option<Duration>) -> Waiting {
        Waiting { patience, ..Waiting::for_now(why) }
    }
}

/// What is known of a Job and its pod.
pub(crate) struct Seen<'a> {
    pub(crate) job: Option<&'a Value>,
    /// What the cluster said of the Job, and of the pod.
    pub(crate) events: &'a [Event],
    pub(crate) pod: Option<&'a Pod>,
}

/// Where the Job is.
pub(crate) fn state(seen: &Seen<'_>) -> State {
    let Some(pod) = seen.pod else {
        return match failed_job(seen.job) {
            Some(why) => State::Ended(Fate::Lost(why)),
            None => State::Waiting(without_pod(seen)),
        };
    };
    let status = pod.status.clone().unwrap_or_default();
    if let Some(fate) = ended(pod, &status) {
        return State::Ended(of_deleted(pod, fate, seen.job));
    }
    match container(&status) {
        Some(ContainerState { running: Some(_), .. }) => State::Running,
        Some(ContainerState { waiting: Some(waiting), .. }) => State::Waiting(waiting_container(waiting, seen.events)),
        _ => State::Waiting(without_container(&status, seen.events)),
    }
}

fn container(status: &PodStatus) -> Option<&ContainerState> {
    let all = status.container_statuses.as_deref().unwrap_or_default();
    all.iter().find(|container| container.name == CONTAINER).and_then(|container| container.state.as_ref())
}

/// How a pod ended, if it did. What evicts a pod says so in the pod; what deletes it leaves the rest of it.
fn ended(pod: &Pod, status: &PodStatus) -> Option<Fate> {
    let terminated = container(status).and_then(|state| state.terminated.as_ref());
    let failed = status.phase.as_deref() == Some("Failed");
    let disruption = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    let reason = status.reason.as_deref().filter(|_| failed);
    if let Some(reason) = reason.or(disruption.filter(|_| failed).and_then(|c| c.reason.as_deref())) {
        let message = status.message.as_deref().or(disruption.and_then(|c| c.message.as_deref())).unwrap_or_default();
        return Some(Fate::Lost(words(reason, message)));
    }
    if let Some(terminated) = terminated {
        return Some(of_container(terminated));
    }
    if pod.metadata.deletion_timestamp.is_some() && container(status).is_none_or(|state| state.running.is_none()) {
        return Some(Fate::Lost("the pod was deleted before it ran".to_owned()));
    }
    failed.then(|| Fate::Lost(words("Failed", status.message.as_deref().unwrap_or_default())))
}

fn of_container(ended: &ContainerStateTerminated) -> Fate {
    let reason = ended.reason.as_deref().unwrap_or_default();
    let message = ended.message.clone().filter(|message| !message.is_empty());
    match reason {
        "OOMKilled" => Fate::Lost("it was killed for using more memory than its limit allows (OOMKilled)".to_owned()),
        // The program never ran.
        "ContainerCannotRun" | "StartError" | "RunContainerError" => {
            Fate::Lost(words(reason, message.as_deref().unwrap_or_default()))
        }
        "ContainerStatusUnknown" => Fate::Lost(words(reason, message.as_deref().unwrap_or("its node does not answer"))),
        _ => Fate::Exited { code: ended.exit_code, message },
    }
}

/// A program that ends when its pod is deleted has not failed by itself.
fn of_deleted(pod: &Pod, fate: Fate, job: Option<&Value>) -> Fate {
    match fate {
        Fate::Exited { code, .. } if code != 0 && pod.metadata.deletion_timestamp.is_some() => {
            Fate::Lost(failed_job(job).unwrap_or_else(|| "its pod was deleted".to_owned()))
        }
        fate => fate,
    }
}

/// A reason in the cluster's word, and what it says about it.
fn words(reason: &str, message: &str) -> String {
    match message.trim() {
        "" => shown(reason),
        message => format!("{}: {}", shown(reason), shown(message)),
    }
}

/// Why a Job failed that has no pod (any more).
fn failed_job(job: Option<&Value>) -> Option<String> {
    let conditions = job?.get("status")?.get("conditions")?.as_array()?;
    let failed = conditions.iter().find(|c| c["type"] == "Failed" && c["status"] == "True")?;
    let text = |member: &str| failed[member].as_str().unwrap_or_default();
    Some(words(text("reason"), text("message")))
}

fn without_pod(seen: &Seen<'_>) -> Waiting {
    if seen.job.is_some_and(|job| job["spec"]["suspend"] == true) {
        return Waiting::for_now("the Job is suspended: it waits in a queue, or for somebody to resume it");
    }
    let refused = latest(seen.events, &["FailedCreate"]);
    let Some(message) = refused else { return Waiting::usual("the cluster has not made a pod yet") };
    // Quotas are freed and webhooks come back; what a namespace does not allow stays so.
    let why = shown(&message);
    if why.contains("PodSecurity") || why.contains("is invalid") {
        Waiting::for_ever(why)
    } else {
        Waiting::for_now(why)
    }
}

fn waiting_container(waiting: &ContainerStateWaiting, events: &[Event]) -> Waiting {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" => {
            // The short word comes with the reason only in the event.
            let said = latest(events, &["Failed"]).filter(|said| said.contains("pull"));
            let why = words(reason, said.as_deref().unwrap_or(message));
            Waiting::until(why, Some(PULL_PATIENCE))
        }
        "InvalidImageName"
        | "ErrImageNeverPull"
        | "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError" => Waiting::until(words(reason, message), Some(PULL_PATIENCE)),
        "ContainerCreating" | "PodInitializing" | "" => {
            match latest(events, &["FailedMount", "FailedCreatePodSandBox"]) {
                Some(said) => {
                    // A node without user namespaces never gets them.
                    let patience = said.contains("user namespace").then_some(PULL_PATIENCE);
                    Waiting::until(shown(&said), patience)
                }
                None => Waiting::usual("the node fetches the image and prepares the pod"),
            }
        }
        _ => Waiting::for_now(words(reason, message)),
    }
}

fn without_container(status: &PodStatus, events: &[Event]) -> Waiting {
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled");
    match scheduled {
        Some(c) if c.status != "True" => {
            let message = c.message.as_deref().unwrap_or_default();
            Waiting::for_now(format!(
                "no node for the pod: {}",
                words(c.reason.as_deref().unwrap_or("Pending"), message)
            ))
        }
        _ => match latest(events, &["FailedScheduling", "FailedMount", "FailedCreatePodSandBox"]) {
            Some(said) => Waiting::for_now(shown(&said)),
            None => Waiting::usual("the pod is being scheduled"),
        },
    }
}

/// The last message of the cluster's with one of these reasons.
fn latest(events: &[Event], reasons: &[&str]) -> Option<String> {
    let named = events.iter().filter(|event| event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)));
    let time = |event: &&Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or(event.event_time.as_ref().map(|time| time.0)).or(event.first_timestamp.as_ref().map(|time| time.0))
    };
    named.max_by_key(time).and_then(|event| event.message.clone()).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(pod: Value, events: &[(&str, &str)]) -> State {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": pod})).unwrap();
        state(&Seen { job: None, events: &told(events), pod: Some(&pod) })
    }

    fn told(events: &[(&str, &str)]) -> Vec<Event> {
        let one = |(n, (reason, message)): (usize, &(&str, &str))| {
            json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
                "lastTimestamp": format!("2026-01-01T00:00:{n:02}Z")})
        };
        events.iter().enumerate().map(|event| serde_json::from_value(one(event)).unwrap()).collect()
    }

    fn kiln(state: Value) -> Value {
        json!({"containerStatuses": [
            {"name": "side", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "kiln", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state},
        ]})
    }

    fn why(state: State) -> (String, Option<Duration>) {
        match state {
            State::Waiting(Waiting { why, patience, .. }) => (why, patience),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_without_a_pod_says_what_keeps_it() {
        let job = |spec: Value, conditions: Value| json!({"spec": spec, "status": {"conditions": conditions}});
        let see =
            |job: &Value, events: &[(&str, &str)]| state(&Seen { job: Some(job), events: &told(events), pod: None });
        let plain = job(json!({}), json!([]));
        assert!(why(see(&plain, &[])).0.contains("not made a pod yet"));
        assert!(why(see(&job(json!({"suspend": true}), json!([])), &[])).0.contains("suspended"));
        let quota = "Error creating: pods \"x\" is forbidden: exceeded quota: q, requested: cpu=2";
        assert_eq!(why(see(&plain, &[("FailedCreate", quota)])), (quota.to_owned(), None));
        let refused = "Error creating: pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": …";
        assert_eq!(why(see(&plain, &[("FailedCreate", quota), ("FailedCreate", refused)])).1, Some(Duration::ZERO));
        let failed = job(
            json!({}),
            json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}]),
        );
        assert_eq!(see(&failed, &[]), State::Ended(Fate::Lost("DeadlineExceeded: too long".to_owned())));
    }

    #[test]
    fn a_pod_that_waits_says_what_for() {
        let unschedulable = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
        let text = why(of(unschedulable, &[])).0;
        assert_eq!(text, "no node for the pod: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.");
        let creating = kiln(json!({"waiting": {"reason": "ContainerCreating"}}));
        assert_eq!(why(of(creating.clone(), &[("FailedMount", "secret \"s\" not found")])).0, "secret \"s\" not found");
        let userns = ("FailedCreatePodSandBox", "runtime handler does not support user namespaces");
        assert_eq!(why(of(creating, &[userns])).1, Some(PULL_PATIENCE));
        let pull = kiln(json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}));
        let (text, patience) =
            why(of(pull, &[("Failed", "Failed to pull image \"x\": not found"), ("Failed", "Error: ErrImagePull")]));
        assert!(text.starts_with("ImagePullBackOff"), "{text}");
        assert_eq!(patience, Some(PULL_PATIENCE));
    }

    #[test]
    fn what_ended_is_told_apart() {
        let exited = |code: i32, reason: &str| {
            kiln(json!({"terminated": {"exitCode": code, "reason": reason, "message": "{}"}}))
        };
        assert_eq!(of(kiln(json!({"running": {}})), &[]), State::Running);
        let message = Some("{}".to_owned());
        assert_eq!(of(exited(7, "Error"), &[]), State::Ended(Fate::Exited { code: 7, message }));
        let lost = |state: State| match state {
            State::Ended(Fate::Lost(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(lost(of(exited(137, "OOMKilled"), &[])).contains("OOMKilled"));
        let mut evicted = exited(137, "Error");
        evicted["phase"] = json!("Failed");
        evicted["reason"] = json!("Evicted");
        evicted["message"] = json!("The node was low on resource: \u{1b}[2Jephemeral-storage.");
        assert_eq!(lost(of(evicted, &[])), "Evicted: The node was low on resource:  [2Jephemeral-storage.");
        let mut preempted = exited(143, "Error");
        preempted["phase"] = json!("Failed");
        preempted["conditions"] =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}]);
        assert_eq!(lost(of(preempted, &[])), "PreemptionByScheduler: m");
        assert!(lost(of(exited(128, "StartError"), &[])).contains("StartError"));
        let deleted = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": exited(130, "Error")});
        let deleted: Pod = serde_json::from_value(deleted).unwrap();
        let job =
            json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}});
        let see = |job: Option<&Value>| lost(state(&Seen { job, events: &[], pod: Some(&deleted) }));
        assert_eq!((see(None), see(Some(&job))), ("its pod was deleted".to_owned(), "DeadlineExceeded".to_owned()));
    }
}
