//! One Job from its making to its end.
//!
//! ```text
//! make the Job, then its Secret ──▶ wait, and say what for ──▶ context in, log out ──▶ how the pod ended
//! ```
//! The Secret is made after the Job whose it is; a node that is faster than that tries the mount again.

use std::collections::BTreeSet;
use std::fs::File;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, WatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::attach;
use crate::call::{CREATE_SECRET, Core, GET_LOG, WATCH_PODS};
use crate::cluster::Watcher;
use crate::error::KubeError;
use crate::fate::{self, Fate, Seen, State, Waiting};
use crate::log::next_line;
use crate::plan::{CONTAINER, Manifests};

/// One request is no news for so long at first, and at most.
const WATCH: std::ops::RangeInclusive<u32> = 2..=15;
/// How long the log of a pod that ended may go on.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// How long a Job may take to say why its pod is gone.
const EPITAPH: Duration = Duration::from_secs(3);
/// How long a connection that breaks is tried again, without an answer in between.
const OUTAGE: Duration = Duration::from_mins(5);
/// So many different reasons for waiting are told.
const MAX_TOLD: usize = 100;
/// What every pod waits for is worth telling after so long.
const USUAL: Duration = Duration::from_secs(10);
/// How long an API server may take to know again who may do what.
const WARMING_UP: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Makes the Secret of a Job, which goes with it.
pub(crate) async fn make_secret(core: &Core, manifests: &Manifests, job: &Value) -> Result<(), KubeError> {
    let Some(secret) = &manifests.secret else { return Ok(()) };
    let mut secret = secret.clone();
    secret["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": manifests.name,
        "uid": job["metadata"]["uid"],
    }]);
    core.create(CREATE_SECRET, &secret).await.map(drop)
}

/// Sees a Job to its end.
pub(crate) async fn follow(
    core: &Core,
    manifests: &Manifests,
    context: Option<&File>,
    start_timeout: Duration,
    watcher: &dyn Watcher,
) -> Result<Fate, KubeError> {
    let pod = match started(core, &manifests.name, start_timeout, watcher).await? {
        Started::Runs(pod) => pod,
        Started::Over(pod, fate) => {
            // A program that ended at once has said why.
            if let Some(pod) = pod {
                let _ = timeout(LAST_WORDS, read_log(core, &pod, watcher)).await;
            }
            return Ok(fate);
        }
    };
    watcher.started();
    let mut over = pin!(ended(core, &manifests.name));
    let mut handing = pin!(hand_over(core, &pod, context, watcher));
    let mut reading = pin!(read_log_until_over(core, &pod, watcher));
    let (mut handed, mut failed) = (false, None);
    let fate = loop {
        tokio::select! {
            fate = &mut over => break fate?,
            result = &mut handing, if !handed => {
                handed = true;
                if let Err(error) = result {
                    // It may be that the program ended, and has said why: that tells more.
                    match timeout(LAST_WORDS, &mut over).await {
                        Ok(fate) => { failed = Some(error); break fate?; }
                        Err(_) => return Err(error),
                    }
                }
            }
            result = &mut reading => return Err(result),
        }
    };
    // What was said last comes last.
    let rest = timeout(LAST_WORDS, async {
        watcher.again();
        read_log(core, &pod, watcher).await
    });
    let _ = rest.await;
    match (&fate, failed) {
        (Fate::Lost(_), Some(error)) => Err(error),
        _ => Ok(fate),
    }
}

async fn hand_over(core: &Core, pod: &str, context: Option<&File>, watcher: &dyn Watcher) -> Result<(), KubeError> {
    match context {
        Some(file) => attach::send(core, pod, file, &|bytes| watcher.handed_over(bytes)).await,
        None => Ok(()),
    }
}

enum Started {
    /// The pod of this name.
    Runs(String),
    /// It ended already; the pod, if there is (still) one.
    Over(Option<String>, Fate),
}

/// Waits until the program runs, and says what for.
async fn started(core: &Core, job: &str, limit: Duration, watcher: &dyn Watcher) -> Result<Started, KubeError> {
    let (began, mut eyes, mut patience) = (Instant::now(), Eyes::new(core, job), Patience::default());
    loop {
        let (state, pod) = eyes.look().await?;
        let waiting = match (state, pod) {
            (State::Running, Some(pod)) => return Ok(Started::Runs(pod)),
            (State::Ended(fate), pod) => return Ok(Started::Over(pod, fate)),
            (State::Waiting(waiting), _) => waiting,
            // An API server names what it shows.
            (State::Running, None) => return Err(KubeError::CannotStart("the pod has no name".to_owned())),
        };
        if patience.is_to_be_told(&waiting) {
            watcher.waiting(&waiting.why);
        }
        if patience.is_over() {
            return Err(KubeError::CannotStart(waiting.why));
        }
        if !limit.is_zero() && began.elapsed() >= limit {
            return Err(KubeError::TooLong { after: limit, why: waiting.why });
        }
        eyes.wait().await;
    }
}

/// What was waited for, and since when.
#[derive(Default)]
struct Patience {
    what: Option<(Waiting, Instant)>,
    /// What was told: a pull that fails in two ways by turns is told once in each.
    told: BTreeSet<String>,
    /// Since when it does not get better.
    hopeless: Option<(Duration, Instant)>,
}

impl Patience {
    /// Whether this is news: at once, or after a while where it is what every pod waits for.
    fn is_to_be_told(&mut self, waiting: &Waiting) -> bool {
        let now = Instant::now();
        // A pull that fails in two ways by turns fails all the same.
        self.hopeless = waiting.patience.map(|patience| (patience, self.hopeless.map_or(now, |(_, since)| since)));
        if self.what.as_ref().is_none_or(|(known, _)| known != waiting) {
            self.what = Some((waiting.clone(), now));
        }
        let since = self.what.as_ref().map_or(now, |(_, since)| *since);
        // Texts are the cluster's, and there may be any number of them.
        let worth = (!waiting.usual || since.elapsed() >= USUAL) && self.told.len() < MAX_TOLD;
        worth && self.told.insert(waiting.why.clone())
    }

    fn is_over(&self) -> bool {
        self.hopeless.is_some_and(|(patience, since)| since.elapsed() >= patience)
    }
}

/// Waits until the pod is over.
async fn ended(core: &Core, job: &str) -> Result<Fate, KubeError> {
    let (mut eyes, mut gone) = (Eyes::new(core, job), false);
    loop {
        match eyes.look().await? {
            (State::Ended(fate), _) => return Ok(fate),
            // What ran, runs: only a pod that is gone is seen to wait.
            (State::Waiting(_), None) if gone => {
                return Ok(Fate::Lost("its pod is gone: deleted, or with its node".to_owned()));
            }
            // A Job says why it took its pod away, but not before.
            (State::Waiting(_), None) => {
                gone = true;
                sleep(EPITAPH).await;
            }
            _ => eyes.wait().await,
        }
    }
}

/// What is looked at, and when to look again.
struct Eyes<'a> {
    core: &'a Core,
    job: &'a str,
    version: String,
    /// The first pod that was seen: another one has not the context of this.
    pod: Option<String>,
    seconds: u32,
    /// Since when nothing is answered.
    silent: Option<Instant>,
    /// Whether anything ever was.
    worked: bool,
}

impl<'a> Eyes<'a> {
    fn new(core: &'a Core, job: &'a str) -> Eyes<'a> {
        Eyes { core, job, version: String::new(), pod: None, seconds: *WATCH.start(), silent: None, worked: false }
    }

    /// Where the Job is, and the name of its pod. An outage that passes is not seen.
    async fn look(&mut self) -> Result<(State, Option<String>), KubeError> {
        let mut pause = PAUSE;
        loop {
            match self.try_look().await {
                Err(error) if self.may_pass(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => {
                    (self.worked, self.silent) = (self.worked || result.is_ok(), None);
                    return result;
                }
            }
        }
    }

    /// Whether it makes sense to ask again. An API server that has just started knows neither tokens nor roles for a
    /// moment, so that these count only if nothing was ever allowed.
    fn may_pass(&mut self, error: &KubeError) -> bool {
        let limit = match error {
            KubeError::Unreachable { .. } | KubeError::Protocol { .. } => OUTAGE,
            KubeError::Refused { code: 429 | 500.., .. } => OUTAGE,
            KubeError::Forbidden { .. } | KubeError::Unauthorized { .. } if self.worked => WARMING_UP,
            _ => return false,
        };
        self.silent.get_or_insert_with(Instant::now).elapsed() < limit
    }

    async fn try_look(&mut self) -> Result<(State, Option<String>), KubeError> {
        let (pods, version) = self.core.pods_of(self.job).await?;
        self.version = version;
        let name = |pod: &Pod| pod.metadata.name.clone();
        let pod = match &self.pod {
            None => pods.into_iter().next(),
            known => pods.into_iter().find(|pod| name(pod) == *known),
        };
        if self.pod.is_none() {
            self.pod = pod.as_ref().and_then(name);
        }
        let known = pod.as_ref().and_then(name);
        let state = fate::state(&Seen { job: None, events: &[], pod: pod.as_ref() });
        match state {
            State::Running | State::Ended(Fate::Exited { .. }) => return Ok((state, known)),
            State::Ended(Fate::Lost(_)) => {
                // The Job may know why, if there still is one.
                let job = self.core.job(self.job).await.ok();
                let seen = Seen { job: job.as_ref(), events: &[], pod: pod.as_ref() };
                return Ok((fate::state(&seen), known));
            }
            State::Waiting(_) => {}
        }
        // Only who waits wants to know all about it.
        let (job, events) = match &known {
            None => (Some(self.core.job(self.job).await?), self.core.events_of("Job", self.job).await?),
            Some(pod) => (None, self.core.events_of("Pod", pod).await?),
        };
        let seen = Seen { job: job.as_ref(), events: &events, pod: pod.as_ref() };
        Ok((fate::state(&seen), known))
    }

    /// Waits until a pod of the Job changes, or for a while.
    async fn wait(&mut self) {
        let params = WatchParams::default().labels(&format!("job-name={}", self.job)).timeout(self.seconds);
        let patience = Duration::from_secs(u64::from(self.seconds) + 5);
        let began = Instant::now();
        let news = timeout(patience, async {
            let stream =
                self.core.pods().watch(&params, &self.version).await.map_err(|e| self.core.failure(WATCH_PODS, e))?;
            let mut stream = stream.boxed();
            stream.try_next().await.map_err(|e| self.core.failure(WATCH_PODS, e))
        });
        match news.await {
            Ok(Ok(Some(_))) => self.seconds = *WATCH.start(),
            _ => {
                self.seconds = (self.seconds + self.seconds / 2).min(*WATCH.end());
                // A watch that ends at once would have us ask without a pause.
                if began.elapsed() < PAUSE {
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Reads the log again and again, until the caller stops listening; returns only what cannot get better.
async fn read_log_until_over(core: &Core, pod: &str, watcher: &dyn Watcher) -> KubeError {
    let (mut pause, mut worked) = (PAUSE, false);
    loop {
        match read_log(core, pod, watcher).await {
            Err(error @ (KubeError::Forbidden { .. } | KubeError::Unauthorized { .. })) if !worked => return error,
            Ok(true) => (pause, worked) = (PAUSE, true),
            _ => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        watcher.again();
    }
}

/// Reads the log from its beginning to where it ends or breaks; whether anything was there.
async fn read_log(core: &Core, pod: &str, watcher: &dyn Watcher) -> Result<bool, KubeError> {
    let params = LogParams { container: Some(CONTAINER.to_owned()), follow: true, ..LogParams::default() };
    let log = core.pods().log_stream(pod, &params).await.map_err(|e| core.failure(GET_LOG, e))?;
    let (mut log, mut line, mut any) = (pin!(log), Vec::new(), false);
    while let Ok(Some(())) = next_line(&mut log, &mut line).await {
        watcher.line(&line);
        any = true;
    }
    Ok(any)
}
