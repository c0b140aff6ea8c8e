//! What a build in a pod is told: the command line there, and the files it names.
//!
//! Every option is either passed on, or done here, or an error: [`Args`] is taken apart whole, so that a new option does
//! not compile before it is one of these. What an option names on this machine becomes a file of the Job's Secret.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use kiln_engine::output::Output;
use kiln_engine::remote::Place;
use kiln_engine::session::Secret;
use kiln_kube::plan::{FILES, RESULT};
use kiln_oci::{Platform, Reference};

use super::super::{Args, cache, inputs};
use crate::error::CliError;
use crate::place::{Around, SECRET};

/// A Secret holds no more than 1 MiB, with its names and in base64.
const MAX_FILES: usize = 700 << 10;
/// The most bytes of names: the result that comes back has them all.
const MAX_NAMES: usize = 2 << 10;

/// A build for a pod, but for its platform and context.
#[derive(Debug, Default)]
pub struct Sent {
    /// The command line after `build`.
    pub arguments: Vec<String>,
    /// Files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Repositories that the build reads and writes, as far as options name them.
    pub repositories: Vec<Reference>,
}

impl Sent {
    /// Keeps a file, and says where the pod has it.
    pub fn file(&mut self, name: impl Into<String>, bytes: Vec<u8>) -> String {
        let name = name.into();
        let place = format!("{FILES}/{name}");
        self.files.insert(name, bytes);
        place
    }

    fn option(&mut self, name: &str, value: impl AsRef<str>) {
        self.arguments.push(format!("--{name}={}", value.as_ref()));
    }

    fn options(&mut self, name: &str, values: &[String]) {
        values.iter().for_each(|value| self.option(name, value));
    }

    fn some(&mut self, name: &str, value: Option<&String>) {
        value.into_iter().for_each(|value| self.option(name, value));
    }

    fn flag(&mut self, name: &str, set: bool) {
        self.arguments.extend(set.then(|| format!("--{name}")));
    }

    /// Fails if a Secret cannot hold the files.
    pub fn check_size(&self) -> Result<(), CliError> {
        let size: usize = self.files.values().map(Vec::len).sum();
        if size <= MAX_FILES {
            return Ok(());
        }
        let what = "secrets, certificates and a Dockerfile outside of the context";
        Err(CliError::input(format!("the Job's Secret cannot hold {size} bytes of {what}: at most {MAX_FILES}"))
            .with_hint("put what is large into the context, or into a Secret that --pod-template mounts"))
    }
}

fn not_there(option: &str, instead: &str) -> CliError {
    CliError::usage(format!("{option} does not work with --on kubernetes")).with_hint(instead)
}

/// What the options say to a pod. `wanted` is where the image goes, `platforms` what it is for.
///
/// # Errors
/// Options that have no meaning there, and files that cannot be read.
pub fn sent(args: &Args, wanted: &[Output], platforms: &[Platform]) -> Result<Sent, CliError> {
    let Args {
        // The caller's, or done here.
        context: _,
        file: _,
        dockerfile: _,
        platform: _,
        outputs: _,
        push: _,
        load: _,
        iidfile: _,
        metadata_file: _,
        quiet: _,
        json: _,
        cluster: _,
        tags: _,
        // Not of this verb.
        git: _,
        context_sub_path: _,
        target,
        build_args,
        build_contexts,
        labels,
        annotations,
        secrets,
        ssh,
        cache_from,
        cache_to,
        no_cache,
        no_cache_filter,
        lock,
        locked,
        pull,
        network,
        add_hosts,
        shm_size,
        ulimits,
        memory,
        cpus,
        allow,
        jobs,
        isolation,
        compression,
        compression_level,
        rewrite_timestamp,
        check,
        call,
        explain,
        plan,
        source_policy,
        provenance,
        sbom,
        attest,
        sign,
        registry,
    } = args;
    for (option, given) in
        [("--check", check.is_some()), ("--call", call.is_some()), ("--explain", explain.is_some()), ("--plan", *plan)]
    {
        if given {
            return Err(not_there(option, "leave out --on: it needs no cluster"));
        }
    }
    if sign.is_some() {
        let instead = "sign what was pushed, so that the key stays here: kiln sign --recursive --key KEY IMAGE@DIGEST";
        return Err(not_there("--sign", instead));
    }
    if lock.is_some() {
        return Err(not_there("--lock", "write the lock file here: kiln build --lock, without --on"));
    }
    if !ssh.is_empty() {
        return Err(not_there("--ssh", "an agent cannot be reached from a pod: use a token, with --secret"));
    }
    let mut sent = Sent::default();
    sent.outputs(wanted, platforms.len() > 1)?;
    sent.some("target", target.as_ref());
    sent.build_args(build_args);
    sent.build_contexts(build_contexts)?;
    sent.options("label", labels);
    // Those of the index are put on it here.
    sent.options(
        "annotation",
        &annotations.iter().filter(|text| !text.starts_with("index:")).cloned().collect::<Vec<_>>(),
    );
    sent.secrets(secrets)?;
    sent.caches(cache_from, cache_to, build_args)?;
    sent.flag("no-cache", *no_cache);
    sent.options("no-cache-filter", no_cache_filter);
    if let Some(file) = locked {
        let path = inputs::lock_path("--locked", file, args.file.as_deref().map(Path::new).filter(|p| p.is_file()))?;
        let opened = File::open(&path)
            .map_err(|e| CliError::input(format!("cannot read the lock file {}: {e}", path.display())))?;
        let place = sent.file("lock", inputs::read_to_end(opened, &path.display().to_string(), inputs::MAX_LOCK)?);
        sent.option("locked", place);
    }
    if let Some((_, bytes)) = inputs::policy_file(source_policy.as_deref())? {
        let place = sent.file("policy", bytes);
        sent.option("source-policy", place);
    }
    sent.some("provenance", provenance.as_ref());
    sent.some("sbom", sbom.as_ref());
    sent.options("attest", attest);
    sent.flag("pull", *pull);
    sent.option("network", network);
    sent.options("add-host", add_hosts);
    sent.some("shm-size", shm_size.as_ref());
    sent.options("ulimit", ulimits);
    sent.some("memory", memory.as_ref());
    sent.some("cpus", cpus.map(|n| n.to_string()).as_ref());
    sent.options("allow", allow);
    sent.some("jobs", jobs.map(|n| n.to_string()).as_ref());
    sent.option("isolation", isolation);
    sent.option("compression", compression);
    sent.some("compression-level", compression_level.map(|n| n.to_string()).as_ref());
    sent.option("rewrite-timestamp", rewrite_timestamp.to_string());
    sent.registries(registry)?;
    sent.option("metadata-file", RESULT);
    Ok(sent)
}

impl Sent {
    /// Where the image goes: registries only. Of several platforms each is pushed under its digest, and joined here.
    fn outputs(&mut self, wanted: &[Output], several: bool) -> Result<(), CliError> {
        let mut names: Vec<&Reference> = Vec::new();
        for output in wanted {
            match output {
                Output::Registry { names: more, by_digest: false } => names.extend(more),
                Output::Registry { .. } => {
                    return Err(not_there(
                        "--output …,push-by-digest=true",
                        "leave it out: several platforms are joined",
                    ));
                }
                _ => {
                    let hint =
                        "--push -t registry.example/app:tag, and then `kiln pull` or `kiln copy` to have it here";
                    return Err(CliError::usage("--on kubernetes: the image can go to a registry only").with_hint(hint));
                }
            }
        }
        let length: usize = names.iter().map(|name| name.to_string().len() + 1).sum();
        if length > MAX_NAMES {
            return Err(CliError::usage(format!(
                "--on kubernetes: the names of the image have more than {MAX_NAMES} bytes"
            )));
        }
        names.sort_by_key(|name| name.to_string());
        names.dedup();
        let texts = names.iter().map(|name| name.to_string());
        let texts: Vec<String> = match several {
            false => texts.collect(),
            true => {
                let repositories = names.iter().map(|name| name.name());
                let mut repositories: Vec<String> = repositories.collect();
                repositories.dedup();
                repositories
            }
        };
        self.options("tag", &texts);
        match several {
            false => self.flag("push", true),
            true => self.option("output", "type=registry,push-by-digest=true"),
        }
        self.repositories.extend(names.into_iter().cloned());
        Ok(())
    }

    /// Arguments without a value get the one that the environment has here.
    fn build_args(&mut self, given: &[String]) {
        for text in given {
            let value = if text.contains('=') {
                Some(text.clone())
            } else {
                std::env::var(text).ok().map(|v| format!("{text}={v}"))
            };
            self.some("build-arg", value.as_ref());
        }
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty());
        if let (Some(epoch), false) = (epoch, given.iter().any(|text| text.starts_with("SOURCE_DATE_EPOCH"))) {
            self.option("build-arg", format!("SOURCE_DATE_EPOCH={epoch}"));
        }
    }

    fn build_contexts(&mut self, given: &[String]) -> Result<(), CliError> {
        for text in given {
            let what = text.split_once('=').map_or("", |(_, what)| what);
            if let Some(image) = what.strip_prefix("docker-image://") {
                self.repositories.extend(image.parse::<Reference>().ok());
            } else if !what.starts_with("target:") {
                let option = format!("--build-context {text}");
                return Err(not_there(&option, "named contexts can be docker-image:// and target: there"));
            }
            self.option("build-context", text);
        }
        Ok(())
    }

    fn secrets(&mut self, given: &[String]) -> Result<(), CliError> {
        for (number, text) in given.iter().enumerate() {
            let (id, secret) = inputs::secret(text)?;
            let bytes = match secret {
                Secret::File(path) => std::fs::read(&path)
                    .map_err(|e| CliError::input(format!("--secret id={id}: cannot read {}: {e}", path.display())))?,
                Secret::Value(value) => value.to_vec(),
            };
            let place = self.file(format!("secret-{number}"), bytes);
            self.option("secret", format!("id={id},src={place}"));
        }
        Ok(())
    }

    fn caches(&mut self, from: &[String], to: &[String], build_args: &[String]) -> Result<(), CliError> {
        let wanted = cache::wanted(from, to, build_args, &Around::here())?;
        for place in wanted.config.iter().flat_map(|config| config.from.iter().chain(&config.to)) {
            match place {
                Place::Repository(name) | Place::Image(name) => self.repositories.push(name.clone()),
                Place::Layout(_) => return Err(not_there("a cache in a directory", "use type=registry,ref=NAME")),
                Place::Bucket(_) => {}
            }
        }
        let secret = |text: &&String| text.split(',').any(|f| SECRET.iter().any(|key| f.trim().starts_with(key)));
        if from.iter().chain(to).any(|text| secret(&text)) {
            let instead = "arguments of pods are seen by many: name a Secret with the variables, by --context-secret";
            return Err(not_there("a cache with a key among its options", instead));
        }
        self.options("cache-from", from);
        self.options("cache-to", to);
        Ok(())
    }

    fn registries(&mut self, options: &crate::options::RegistryOptions) -> Result<(), CliError> {
        let crate::options::RegistryOptions { insecure, plain_http, registry_ca, registry_mirror, retries } = options;
        for host in insecure {
            self.arguments.push(if host.is_empty() { "--insecure".to_owned() } else { format!("--insecure={host}") });
        }
        self.options("plain-http", plain_http);
        for (number, text) in registry_ca.iter().enumerate() {
            let (host, path) = text.split_once('=').map_or((None, &**text), |(host, path)| (Some(host), path));
            let bytes = std::fs::read(path).map_err(|e| CliError::input(format!("--registry-ca {text}: {e}")))?;
            let place = self.file(format!("ca-{number}.pem"), bytes);
            self.option("registry-ca", host.map_or(place.clone(), |host| format!("{host}={place}")));
        }
        self.options("registry-mirror", registry_mirror);
        let mirrors = registry_mirror.iter().filter_map(|text| text.split_once('=')?.1.parse::<Reference>().ok());
        self.repositories.extend(mirrors);
        self.option("retries", retries.to_string());
        Ok(())
    }
}
