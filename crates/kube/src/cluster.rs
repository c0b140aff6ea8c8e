//! The blocking face of the crate.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_http::Threads;
use serde_json::Value;

use crate::call::{CREATE_JOB, Core, DELETE_JOB, DELETE_SECRET, Subject, broken};
use crate::config::{self, Config};
use crate::error::KubeError;
use crate::fate::Fate;
use crate::job;
use crate::plan::Manifests;

/// How long removing what was made may take.
const GOODBYE: Duration = Duration::from_secs(30);
/// The first version whose pods have users of their own without being asked twice.
const OWN_USERS: (u32, u32) = (1, 33);

/// Who is told what happens to one Job.
pub trait Watcher: Send + Sync {
    /// The program does not run yet.
    fn waiting(&self, why: &str);
    /// The program runs.
    fn started(&self);
    /// So many bytes of the context are handed over.
    fn handed_over(&self, bytes: u64);
    /// The log begins anew: what was told comes again.
    fn again(&self);
    /// A line of the log; it is anybody's text.
    fn line(&self, line: &[u8]);
}

/// A Job that is in the cluster.
#[derive(Debug)]
pub struct Made(Value);

/// A namespace of a cluster. Clones share connections; all methods may be called from many threads at once, and block.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) core: Core,
    threads: Arc<Threads>,
    cancel: Arc<AtomicBool>,
    start_timeout: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("server", &self.core.server).field("namespace", &self.core.namespace).finish()
    }
}

impl Cluster {
    /// Finds the cluster; nothing is asked yet. Without a namespace it is the kubeconfig's, or the pod's own.
    ///
    /// # Errors
    /// There is no kubeconfig, or it is of no use.
    pub fn find(config: &Config, namespace: Option<&str>) -> Result<Cluster, KubeError> {
        let threads = Threads::start("kiln-kube").map_err(KubeError::Start)?;
        let made = threads.run(&config.cancel, async {
            let found = config::load(config).await?;
            let namespace = namespace.map_or_else(|| found.default_namespace.clone(), str::to_owned);
            let server = found.cluster_url.to_string().trim_end_matches('/').to_owned();
            let login = Subject { verb: "get", resource: "pods" };
            let client = kube::Client::try_from(found).map_err(|e| broken(&server, login, &e))?;
            Ok(Core { client, server, namespace })
        });
        let core = made.unwrap_or(Err(KubeError::Cancelled))?;
        let (cancel, start_timeout) = (config.cancel.clone(), config.start_timeout);
        Ok(Cluster { core, threads: Arc::new(threads), cancel, start_timeout })
    }

    /// The namespace that Jobs are made in.
    pub fn namespace(&self) -> &str {
        &self.core.namespace
    }

    /// Whether its pods can have users of their own. This is the first question to the cluster.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer.
    pub fn has_own_users(&self) -> Result<bool, KubeError> {
        let version = self.run(async {
            let version = self.core.client.apiserver_version().await;
            version.map_err(|e| self.core.failure(Subject { verb: "get", resource: "version" }, e))
        })?;
        // Some say `33+`.
        let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
        Ok((number(&version.major), number(&version.minor)) >= OWN_USERS)
    }

    /// Makes a Job, which waits for its Secret then. What fails with [`made_nothing`](KubeError::made_nothing) left
    /// nothing behind.
    ///
    /// # Errors
    /// The cluster refuses it, or stays away.
    pub fn make(&self, manifests: &Manifests) -> Result<Made, KubeError> {
        self.run(self.core.create(CREATE_JOB, &manifests.job)).map(Made)
    }

    /// Makes the Secret of a Job, if it has one.
    ///
    /// # Errors
    /// The cluster refuses it, or stays away.
    pub fn complete(&self, manifests: &Manifests, made: &Made) -> Result<(), KubeError> {
        self.run(job::make_secret(&self.core, manifests, &made.0))
    }

    /// Sees a Job to its end: hands the context over, and tells what happens.
    ///
    /// # Errors
    /// The pod cannot start, or not in time; the context does not arrive; the cluster stays away. The objects are
    /// there all the same, and want removing.
    pub fn follow(
        &self,
        manifests: &Manifests,
        context: Option<&File>,
        watcher: &dyn Watcher,
    ) -> Result<Fate, KubeError> {
        self.run(job::follow(&self.core, manifests, context, self.start_timeout, watcher))
    }

    /// Removes the objects of a Job, and its pod with them, whether or not the caller gave up.
    ///
    /// # Errors
    /// The cluster refuses, or stays away.
    pub fn remove(&self, manifests: &Manifests) -> Result<(), KubeError> {
        let work = async {
            let job = self.core.delete(DELETE_JOB, &manifests.name).await;
            // It goes with its Job, but not at once, and holds secrets.
            let secret = match manifests.secret {
                Some(_) => self.core.delete(DELETE_SECRET, &manifests.name).await,
                None => Ok(()),
            };
            job.and(secret)
        };
        let late = || KubeError::Unreachable {
            server: self.core.server.clone(),
            why: format!("no answer for {} s", GOODBYE.as_secs()),
        };
        let work = async { tokio::time::timeout(GOODBYE, work).await.unwrap_or_else(|_| Err(late())) };
        self.threads.block_on(work).unwrap_or(Err(KubeError::Cancelled))
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T, KubeError>>) -> Result<T, KubeError> {
        self.threads.run(&self.cancel, work).unwrap_or(Err(KubeError::Cancelled))
    }
}
