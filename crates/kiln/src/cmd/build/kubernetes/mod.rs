//! `kiln build --on kubernetes`: the same build as Jobs of a cluster, one for each platform.
//!
//! [`options`] what can be said about the Job     [`sent`] what the build is told there, and files it needs
//! [`context`] what it builds from     [`logins`] whom it logs in to     [`watch`] what it says, told here
//!
//! Nothing is decided twice: the pod's `kiln` builds and pushes as it would here, and says so in events; several
//! platforms are pushed under their digests, and joined here when all are there. What was made in the cluster is
//! removed, however it ends.

mod context;
mod logins;
mod options;
mod sent;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_engine::EngineError;
use kiln_engine::event::{Event, Events};
use kiln_engine::fetch::object;
use kiln_kube::plan::{self, text};
use kiln_kube::{Cluster, Config, Fate, KubeError, Manifests, Order};
use kiln_oci::{Descriptor, Digest, Index, Platform, Reference, media};
use kiln_registry::Client;
use kiln_sandbox::Cancel;
use serde::Deserialize;

pub use options::{Options, Place};

use super::{Args, Leveled, outputs};
use crate::cli::Global;
use crate::error::{CliError, printable};
use crate::progress::replay::Numbers;
use crate::progress::{Progress, Style};
use crate::surroundings;
use context::Context;
use sent::Sent;
use watch::Watch;

/// How an ended process is called that somebody killed.
const KILLED: [i32; 2] = [137, 143];

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let build = Build::prepare(args)?;
    if args.cluster.dry_run {
        return build.dry_run();
    }
    let style = if args.quiet { Style::Quiet } else { global.progress };
    let progress = Progress::start(style, "Building");
    let result = build.run(global, &progress.events());
    progress.finish();
    let made = result.map_err(Failure::tell)?;
    outputs::write_files(args, &build.names, &outputs::Outcome { root: &made.root, config: made.config.as_ref() })?;
    match args.quiet {
        true => println!("{}", made.root.digest),
        false => eprint!("{}", made.text),
    }
    Ok(())
}

/// A build whose every input was found.
struct Build<'a> {
    args: &'a Args,
    names: Vec<Reference>,
    platforms: Vec<Platform>,
    annotations: Leveled,
    sent: Sent,
    context: Context,
    image: String,
    id: String,
    pod: plan::Pod,
    logins: Option<(String, String)>,
}

/// What came of it.
struct Made {
    root: Descriptor,
    config: Option<Digest>,
    /// For people.
    text: String,
}

/// What a pod leaves: the metadata file of its `kiln build`.
#[derive(Debug, Deserialize)]
struct Left {
    #[serde(rename = "containerimage.descriptor")]
    root: Descriptor,
    #[serde(rename = "containerimage.config.digest")]
    config: Option<Digest>,
}

impl<'a> Build<'a> {
    fn prepare(args: &'a Args) -> Result<Build<'a>, CliError> {
        let options = &args.cluster;
        let Some(image) = options.kiln_image.clone().filter(|image| !image.is_empty()) else {
            let error = CliError::usage(
                "--on kubernetes needs the image of Kiln that the pod runs: --kiln-image, or KILN_IMAGE",
            );
            return Err(error.with_hint("make one: make image IMAGE=\"-t registry.example/kiln --push\""));
        };
        let platforms = super::platforms(args)?;
        let names = super::references(&args.tags)?;
        // With --dry-run `-o` says how manifests are printed.
        let wanted = match options.dry_run {
            true if !args.outputs.is_empty() || !args.push => {
                options::format(&args.outputs)?;
                vec![kiln_engine::output::Output::Registry { names: names.clone(), by_digest: false }]
            }
            _ => outputs::parse(args, &names)?,
        };
        let mut sent = sent::sent(args, &wanted, &platforms)?;
        let names = names_of(&wanted);
        if names.is_empty() {
            return Err(CliError::usage("--on kubernetes needs a name to push to")
                .with_hint("--push -t registry.example/app:tag"));
        }
        let logins = options.logins()?;
        let context = context::gather(args, &mut sent)?;
        let mut repositories = sent.repositories.clone();
        if let Some(dockerfile) = &context.dockerfile {
            repositories.extend(logins::bases(dockerfile, args, &platforms)?);
        }
        if let (None, Some(config)) = (&logins, logins::config(&repositories, &args.registry.config()?)?) {
            let _ = sent.file(plan::LOGINS, config);
        }
        sent.check_size()?;
        let annotations = Leveled::parse(&args.annotations)?;
        let (pod, id) = (options.pod()?, id()?);
        Ok(Build { args, names, platforms, annotations, sent, context, image, id, pod, logins })
    }

    fn dry_run(&self) -> Result<(), CliError> {
        // What the cluster would decide is left to it: nobody is asked.
        let namespace = self.args.cluster.namespace()?.unwrap_or("default").to_owned();
        let all: Vec<Manifests> =
            self.platforms.iter().map(|platform| self.manifests(platform, &namespace, &self.pod)).collect();
        crate::named::print(&text::render(&all, options::format(&self.args.outputs)?))
    }

    fn several(&self) -> bool {
        self.platforms.len() > 1
    }

    fn manifests(&self, platform: &Platform, namespace: &str, pod: &plan::Pod) -> Manifests {
        let several = self.several();
        let own = ["--progress=json".to_owned(), "build".to_owned(), format!("--platform={platform}")];
        let arguments = own.into_iter().chain(self.sent.arguments.iter().cloned()).chain([self.context_argument()]);
        let name = match several {
            false => format!("kiln-{}", self.id),
            true => {
                format!("kiln-{}-{}", self.id, platform.to_string().replace(['/', '.', '_'], "-").to_ascii_lowercase())
            }
        };
        // Whoever names a platform wants a node of it; otherwise any node builds for itself.
        let named = several || !self.args.platform.is_empty();
        plan::manifests(&Order {
            name,
            build: self.id.clone(),
            namespace: namespace.to_owned(),
            image: self.image.clone(),
            arguments: arguments.collect(),
            node: named.then(|| (platform.os.clone(), platform.architecture.clone())),
            streamed: self.is_streamed(),
            files: self.sent.files.clone(),
            logins: self.logins.clone(),
            environment: if self.args.cluster.context_store.is_some() { store_variables() } else { Vec::new() },
            environment_from: self.args.cluster.context_secret.clone(),
            pod: pod.clone(),
        })
    }

    fn is_streamed(&self) -> bool {
        self.context.packed.is_some() && self.args.cluster.context_store.is_none()
    }

    fn context_argument(&self) -> String {
        match (&self.args.cluster.context_store, &self.context.packed) {
            (Some(prefix), Some(_)) => stored_at(prefix, &self.id),
            _ => self.context.argument.clone(),
        }
    }

    fn run(&self, global: &Global, events: &Arc<dyn Events>) -> Result<Made, Failure> {
        let (flag, left) = (Arc::new(AtomicBool::new(false)), Remains::default());
        let told = left.clone();
        surroundings::stop_on_signals_saying(Cancel::new(), flag.clone(), move || told.command());
        let options = &self.args.cluster;
        let config = Config {
            kubeconfig: options.kubeconfig.clone(),
            context: options.kube_context.clone(),
            start_timeout: options.start_timeout()?,
            cancel: flag.clone(),
        };
        let cluster = Cluster::find(&config, options.namespace()?)?;
        let mut pod = self.pod.clone();
        if pod.host_users.is_none() && cluster.has_own_users()? {
            pod.host_users = Some(false);
        }
        let stored = self.store_context(global, events)?;
        let jobs: Vec<(&Platform, Manifests)> =
            self.platforms.iter().map(|p| (p, self.manifests(p, cluster.namespace(), &pod))).collect();
        let result = self.run_all(&cluster, &jobs, events, &flag, &left);
        if let Some(Err(e)) = stored.as_deref().map(delete_stored) {
            events.event(&Event::Warning(&format!(
                "the context was not removed: {}",
                kiln_engine::rootfs::chain_text(&e)
            )));
        }
        Ok(self.join(result?)?)
    }

    /// Uploads the context, if it goes that way.
    fn store_context(&self, global: &Global, events: &Arc<dyn Events>) -> Result<Option<String>, CliError> {
        let (Some(prefix), Some(file)) = (&self.args.cluster.context_store, &self.context.packed) else {
            return Ok(None);
        };
        let url = stored_at(prefix, &self.id);
        let Some(location) = object::location(&url)? else {
            return Err(CliError::usage(format!(
                "--context-store {prefix}: this is not an address in an object store"
            ))
            .with_hint(
                "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX",
            ));
        };
        let form =
            kiln_engine::isolation::form(None, &kiln_sandbox::Standing::Outside, &kiln_sandbox::Confinement::here());
        let pull = kiln_engine::images::Pull::Never;
        let around = surroundings::open(global, &self.args.registry, pull, events.clone(), form)?;
        let size = file.metadata().map_err(EngineError::file("look at", &PathBuf::from(&self.args.context)))?.len();
        object::upload(&super::inputs::session_for_fetch(&around), &url, &location, file, size)?;
        Ok(Some(url))
    }

    /// All Jobs at once; the first that fails stops the others.
    fn run_all(
        &self,
        cluster: &Cluster,
        jobs: &[(&Platform, Manifests)],
        events: &Arc<dyn Events>,
        flag: &Arc<AtomicBool>,
        left: &Remains,
    ) -> Result<Vec<Ended>, Failure> {
        let numbers = Arc::new(Numbers::default());
        let results: Vec<Result<Ended, Failure>> = std::thread::scope(|scope| {
            let start = |(platform, manifests)| {
                let numbers = numbers.clone();
                scope.spawn(move || {
                    let result = self.run_one(cluster, platform, manifests, events, numbers, left);
                    if result.is_err() {
                        flag.store(true, Ordering::Relaxed);
                    }
                    result
                })
            };
            let running: Vec<_> = jobs.iter().map(|(p, m)| start((*p, m))).collect();
            let joined = running.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect()
        });
        let (ended, mut errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        // Who was stopped is not who failed.
        errors.sort_by_key(|result| matches!(result, Err(e) if e.is_stop()));
        match errors.into_iter().next() {
            Some(error) => error.map(|_| Vec::new()),
            None => ended.into_iter().collect(),
        }
    }

    fn run_one(
        &self,
        cluster: &Cluster,
        platform: &Platform,
        manifests: &Manifests,
        events: &Arc<dyn Events>,
        numbers: Arc<Numbers>,
        left: &Remains,
    ) -> Result<Ended, Failure> {
        let context = self.context.packed.as_ref().filter(|_| self.is_streamed());
        let size = context.and_then(|file| file.metadata().ok()).map(|m| m.len());
        let several = self.several().then(|| platform.to_string());
        let watch = Watch::new(events.clone(), numbers, several.clone(), &manifests.name, size);
        left.add(manifests);
        let made = match cluster.make(manifests) {
            Err(e) if e.made_nothing() => {
                left.take(manifests);
                watch.finish(false);
                return Err(e.into());
            }
            made => made,
        };
        let fate = made.and_then(|made| cluster.complete(manifests, &made));
        let fate = fate.and_then(|()| cluster.follow(manifests, context, &watch));
        watch.finish(fate.is_ok());
        self.remove(cluster, manifests, events, left);
        let text = printable(&String::from_utf8_lossy(&watch.text()));
        match fate? {
            Fate::Lost(why) => Err(KubeError::Lost(why).into()),
            Fate::Exited { code: 0, message } => {
                let left = message.as_deref().and_then(|m| serde_json::from_str::<Left>(m).ok());
                let left = left.ok_or_else(|| {
                    CliError::environment("the build in the pod ended well, but left no result")
                        .with_hint("--kiln-image must be of this version of Kiln")
                })?;
                Ok(Ended { platform: platform.clone(), left, text })
            }
            Fate::Exited { code, .. } => Err(failed(code, &text, several.as_deref())),
        }
    }

    fn remove(&self, cluster: &Cluster, manifests: &Manifests, events: &Arc<dyn Events>, left: &Remains) {
        let command = Remains::command_for(manifests);
        if self.args.cluster.keep {
            events.event(&Event::Warning(&format!(
                "the Job {} is left as it is; to remove it: {command}",
                manifests.name
            )));
        } else if let Err(e) = cluster.remove(manifests) {
            let text = format!("the Job {} could not be removed: {e}; to remove it: {command}", manifests.name);
            events.event(&Event::Warning(&text));
        }
        left.take(manifests);
    }

    /// One image, or an index over several that is pushed under all names.
    fn join(&self, mut ended: Vec<Ended>) -> Result<Made, CliError> {
        if !self.several()
            && let Some(Ended { left, text, .. }) = ended.pop()
        {
            return Ok(Made { root: left.root, config: left.config, text });
        }
        let (client, _) = surroundings::client(&self.args.registry)?;
        let mut entries = Vec::new();
        for one in ended {
            entries.extend(self.entries(one, &client)?);
        }
        let mut index = Index::new(entries);
        index.annotations.clone_from(&self.annotations.index);
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        let root = Descriptor::of(media::OCI_INDEX, &bytes);
        let mut text = format!("{}\n", root.digest);
        for name in &self.names {
            client.push_manifest(name, &root.media_type, bytes.clone())?;
            text += &format!("pushed {name}\n");
        }
        Ok(Made { root, config: None, text })
    }

    /// What the build for one platform adds to the index: its image, or the image and what is said of it.
    fn entries(&self, one: Ended, client: &Client) -> Result<Vec<Descriptor>, CliError> {
        let root = one.left.root;
        match (media::is_index(&root.media_type), self.names.first()) {
            (true, Some(name)) => {
                let fetched = client.manifest(&name.at(root.digest.clone()))?;
                let index: Index = serde_json::from_slice(&fetched.bytes)
                    .map_err(|e| CliError::environment(format!("the index {} cannot be read: {e}", root.digest)))?;
                Ok(index.manifests)
            }
            _ => Ok(vec![Descriptor { platform: Some(root.platform.clone().unwrap_or(one.platform)), ..root }]),
        }
    }
}

/// How the build for one platform ended well.
struct Ended {
    platform: Platform,
    left: Left,
    text: String,
}

/// Why a build failed.
enum Failure {
    /// Here, or on the way.
    Here(CliError),
    /// In its pod, which has said why; its exit code is ours.
    There { text: String, code: u8 },
}

impl<E: Into<CliError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Here(error.into())
    }
}

impl Failure {
    fn is_stop(&self) -> bool {
        matches!(self, Failure::Here(error) if error.code() == 130)
    }

    /// Tells what was said there, once nothing else is being shown.
    fn tell(self) -> CliError {
        match self {
            Failure::Here(error) => error,
            Failure::There { text, code } => {
                eprint!("{text}");
                CliError::Told { code }
            }
        }
    }
}

/// A build that failed in its pod.
fn failed(code: i32, text: &str, platform: Option<&str>) -> Failure {
    if KILLED.contains(&code) && !text.contains("error:") {
        let error = CliError::environment(format!("the build in the pod was killed (exit code {code})"));
        return error.with_hint("memory is the usual reason: --limit memory=4Gi").into();
    }
    if text.trim().is_empty() {
        let text = format!("the build in the pod ended with exit code {code} and said nothing");
        return CliError::environment(text).into();
    }
    let mut text = platform.map_or_else(String::new, |platform| format!("{platform}:\n")) + text;
    if text.contains("RUN cannot be isolated here") {
        text += "hint: in a pod that is root of its container there is a rung for RUN: --pod-profile baseline\n";
    }
    if text.contains("error: standard input: ") {
        text +=
            "hint: if the connection to the cluster broke, hand the context over in an object store: --context-store\n";
    }
    Failure::There { text, code: u8::try_from(code).unwrap_or(1).max(1) }
}

/// What is in the cluster and not yet removed.
#[derive(Debug, Clone, Default)]
struct Remains(Arc<Mutex<Vec<String>>>);

impl Remains {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, manifests: &Manifests) {
        self.lock().push(Remains::command_for(manifests));
    }

    fn take(&self, manifests: &Manifests) {
        let command = Remains::command_for(manifests);
        self.lock().retain(|known| *known != command);
    }

    fn command_for(manifests: &Manifests) -> String {
        format!("kubectl -n {} delete job {}", manifests.namespace, manifests.name)
    }

    /// What to do about it, for who gives up.
    fn command(&self) -> String {
        let all = self.lock();
        let lines: String = all.iter().map(|command| format!("  {command}\n")).collect();
        if lines.is_empty() { lines } else { format!("left in the cluster; to remove it:\n{lines}") }
    }
}

/// Where images are pushed.
fn names_of(wanted: &[kiln_engine::output::Output]) -> Vec<Reference> {
    let mut names: Vec<Reference> = Vec::new();
    for output in wanted {
        let kiln_engine::output::Output::Registry { names: more, .. } = output else { continue };
        for name in more {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// The object for a context below a prefix.
fn stored_at(prefix: &str, id: &str) -> String {
    let (path, query) = prefix.split_once('?').map_or((prefix, None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/kiln-{id}.tar.zst{query}", path.trim_end_matches('/'))
}

fn delete_stored(url: &str) -> Result<(), EngineError> {
    match object::location(url)? {
        Some(location) => object::delete(url, &location),
        None => Ok(()),
    }
}

/// Variables that say where an object store is; who may read it is said by a Secret or the pod's service account.
fn store_variables() -> Vec<(String, String)> {
    const NAMES: [&str; 7] = [
        "S3_ENDPOINT",
        "S3_FORCE_PATH_STYLE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AZURE_STORAGE_ACCOUNT",
        "STORAGE_EMULATOR_HOST",
    ];
    let value = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    NAMES.iter().filter_map(|name| value(name).map(|value| ((*name).to_owned(), value))).collect()
}

/// A name that no other build has.
fn id() -> Result<String, CliError> {
    let mut bytes = [0; 5];
    let path = PathBuf::from("/dev/urandom");
    let read = std::fs::File::open(&path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(EngineError::file("read", &path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
