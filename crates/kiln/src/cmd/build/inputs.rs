//! What a build reads: the Dockerfile, contexts, secrets, agents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use kiln_attest::statement::digest_set;
use kiln_engine::EngineError;
use kiln_engine::attest;
use kiln_engine::context::{DirSource, HashTable, Source as Tree, archive, read_inside, subdirectory};
use kiln_engine::fetch::{git as git_fetch, http, object};
use kiln_engine::lock::Lock;
use kiln_engine::session::Secret;
use kiln_plan::facts::ContextId;
use kiln_plan::git;
use kiln_plan::options::NamedContext;
use kiln_plan::policy::{self, Policy};
use kiln_spec::dockerignore::Ignore;
use kiln_spec::login;
use kiln_spec::source::Source;
use kiln_store::Store;

use super::Args;
use crate::error::CliError;
use crate::surroundings::Surroundings;

/// A Dockerfile larger than this is refused.
pub const MAX_DOCKERFILE: u64 = kiln_spec::dockerfile::MAX_LENGTH as u64 + 1;

/// A lock file larger than this is cut, and then is none.
pub const MAX_LOCK: u64 = kiln_engine::lock::MAX_SIZE;

/// An ignore file larger than this is refused.
const MAX_IGNORE: u64 = 16 << 20;

/// All that was gathered.
pub struct Inputs {
    /// The Dockerfile.
    pub dockerfile: Source,
    /// Trees by context.
    pub contexts: BTreeMap<ContextId, Arc<dyn Tree>>,
    /// What named contexts are.
    pub named: BTreeMap<String, NamedContext>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Agents by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What the build is held to.
    pub lock: Option<Lock>,
    /// Which sources it may use.
    pub policy: Policy,
    /// Address and digest of a context that came from elsewhere.
    origin: Option<(String, BTreeMap<String, String>)>,
    /// The Dockerfile's name in the context.
    path: String,
    /// Where what it is made from is written down.
    pub lock_file: Option<PathBuf>,
    /// Which Dockerfile and context this is, for comparing runs.
    what: String,
    tables: Vec<Arc<HashTable>>,
    /// Directories of contexts that came as an archive or checkout; they live as long as the build.
    _scratch: Vec<kiln_store::SnapshotDraft>,
}

/// The variable that names a policy, BuildKit's.
const SOURCE_POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

/// Where the main context is, once it is a directory.
struct Located {
    /// Address and digest of what came from elsewhere.
    origin: Option<(String, BTreeMap<String, String>)>,
    /// `None` for a build without a context.
    dir: Option<PathBuf>,
    /// A Dockerfile that came instead of a context.
    dockerfile: Option<Source>,
    /// Whether it came from elsewhere: then a relative `--file` is a name in it.
    foreign: bool,
}

impl Located {
    /// Files that came as an archive or checkout.
    fn foreign(dir: PathBuf) -> Located {
        Located { origin: None, dir: Some(dir), dockerfile: None, foreign: true }
    }

    /// A Dockerfile without a context, which no `--file` can name another one beside.
    fn alone(dockerfile: Source, args: &Args) -> Result<Located, CliError> {
        match &args.file {
            Some(file) => Err(two_dockerfiles(&args.context, file)
                .with_hint("leave out --file, or give a directory or archive as the context")),
            None => Ok(Located { origin: None, dir: None, dockerfile: Some(dockerfile), foreign: true }),
        }
    }

    /// The same, which was at an address.
    fn at(self, address: &str, digest: BTreeMap<String, String>) -> Located {
        Located { origin: Some((http::shown(&login::removed(address)), digest)), ..self }
    }
}

impl Inputs {
    /// Reads and opens everything.
    pub fn gather(args: &Args, around: &Surroundings) -> Result<Inputs, CliError> {
        let mut scratch = Vec::new();
        let policy = read_policy(args.source_policy.as_deref())?;
        let mut located = locate(args, around, &policy, &mut scratch)?;
        if let (Some(sub), Some(dir)) = (&args.context_sub_path, &mut located.dir) {
            *dir = subdirectory(dir, sub).ok_or_else(|| {
                let context = http::shown(&args.context);
                CliError::input(format!("the context {context} has no directory `{sub}`"))
                    .with_hint("--context-sub-path names a directory below the root of the context")
            })?;
        }
        let (dockerfile, place) = match args.dockerfile.clone().or(located.dockerfile) {
            Some(source) => (source, None),
            None => read_dockerfile(args, around, &policy, (located.dir.as_deref(), located.foreign))?,
        };
        let path = match &place {
            Some(Place::Inside(name)) => name.clone(),
            Some(Place::Own(own)) => name_in(located.dir.as_deref(), own),
            None => dockerfile.name.clone(),
        };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string();
        let context = match &located.dir {
            Some(dir) if !located.foreign => real(dir),
            _ => http::shown(&args.context),
        };
        let beside = match (&place, &located.dir) {
            (Some(Place::Own(path)), _) => Some(path.clone()),
            (Some(Place::Inside(name)), Some(dir)) if !located.foreign => Some(dir.join(name)),
            _ => None,
        };
        let file = match (&place, &located.dir) {
            (Some(Place::Own(path)), _) if !located.foreign => real(path),
            (Some(Place::Inside(name)), Some(dir)) if !located.foreign => real(&dir.join(name)),
            _ => args.file.clone().unwrap_or_default(),
        };
        let mut inputs = Inputs {
            what: format!("{file}\n{context}"),
            dockerfile,
            contexts: BTreeMap::new(),
            named: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            lock: args
                .locked
                .as_ref()
                .map(|file| read_lock(&lock_path("--locked", file, beside.as_deref())?))
                .transpose()?,
            lock_file: args.lock.as_ref().map(|file| lock_path("--lock", file, beside.as_deref())).transpose()?,
            policy: if located.origin.is_some() { policy.with_foreign_main() } else { policy },
            origin: located.origin,
            path,
            tables: Vec::new(),
            _scratch: scratch,
        };
        if let Some(dir) = &located.dir {
            let ignore = ignore(dir, place.as_ref())?;
            inputs.add_dir(ContextId::Main, dir, ignore, &around.store)?;
        }
        for text in &args.build_contexts {
            inputs.add_named(text, &around.store)?;
        }
        for text in &args.secrets {
            let (id, secret) = secret(text)?;
            inputs.secrets.insert(id, secret);
        }
        for text in &args.ssh {
            let (id, socket) = agent(text)?;
            inputs.ssh.insert(id, socket);
        }
        Ok(inputs)
    }

    fn add_dir(
        &mut self,
        id: ContextId,
        dir: &Path,
        ignore: Option<(Ignore, String)>,
        store: &Store,
    ) -> Result<(), CliError> {
        let real = dir
            .canonicalize()
            .map_err(|e| CliError::input(format!("cannot use {} as a build context: {e}", dir.display())))?;
        let table = Arc::new(HashTable::load(store, &real));
        let source = DirSource::open(&real, ignore)?.with_table(table.clone());
        self.tables.push(table);
        self.contexts.insert(id, Arc::new(source));
        Ok(())
    }

    fn add_named(&mut self, text: &str, store: &Store) -> Result<(), CliError> {
        let (name, what) = crate::options::key_value(text)
            .ok_or_else(|| CliError::usage(format!("--build-context {text}: expected NAME=WHAT")))?;
        let name = name.to_owned();
        let context = if let Some(reference) = what.strip_prefix("docker-image://") {
            NamedContext::Image(reference.to_owned())
        } else if let Some(layout) = what.strip_prefix("oci-layout://") {
            NamedContext::OciLayout(layout.to_owned())
        } else if let Some(stage) = what.strip_prefix("target:") {
            NamedContext::Target(stage.to_owned())
        } else if what.contains("://") || git::parse(what).is_some() {
            return Err(CliError::usage(format!("--build-context {name}: `{what}` is not supported yet"))
                .with_hint("use a directory, docker-image://, oci-layout:// or target:"));
        } else {
            let ignore = ignore(Path::new(what), None)?;
            self.add_dir(ContextId::Named(name.clone()), Path::new(what), ignore, store)?;
            NamedContext::Dir
        };
        self.named.insert(name, context);
        Ok(())
    }

    /// Where all of it came from, for attestations of a build that began then.
    pub fn source(&self, started: i64) -> attest::Source {
        attest::Source {
            context: self.origin.clone(),
            path: self.path.clone(),
            dockerfile: self.dockerfile.text.clone().into_bytes(),
            kiln: env!("CARGO_PKG_VERSION").to_owned(),
            started,
        }
    }

    /// What is built, for comparing runs of the same.
    pub fn identity(&self, options: &kiln_plan::Options) -> String {
        format!("{}\n{}\n{}", self.what, options.target.as_deref().unwrap_or(""), options.platform)
    }

    /// Keeps the hashes of contexts for the next build.
    pub fn remember(&self, store: &Store) -> Result<(), CliError> {
        for table in &self.tables {
            table.save(store)?;
        }
        Ok(())
    }
}

/// The lock file that is named, or the one beside the Dockerfile.
pub fn lock_path(flag: &str, file: &str, dockerfile: Option<&Path>) -> Result<PathBuf, CliError> {
    match (file, dockerfile) {
        ("", Some(dockerfile)) => Ok(PathBuf::from(format!("{}.lock", dockerfile.display()))),
        ("", None) => Err(CliError::usage(format!("{flag}: the Dockerfile is not a file on this machine"))
            .with_hint(format!("name the lock file: {flag}=FILE"))),
        (file, _) => Ok(PathBuf::from(file)),
    }
}

fn read_lock(path: &Path) -> Result<Lock, CliError> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| {
        CliError::input(format!("cannot read the lock file {shown}: {e}")).with_hint("kiln build --lock writes it")
    })?;
    let bytes = read_to_end(file, &shown.to_string(), MAX_LOCK)?;
    Lock::parse(&bytes).map_err(|why| CliError::input(format!("{shown} is not a lock file: {why}")))
}

/// The policy that is named, one without rules if none is.
fn read_policy(named: Option<&Path>) -> Result<Policy, CliError> {
    let Some((shown, bytes)) = policy_file(named)? else { return Ok(Policy::default()) };
    Policy::parse(&bytes).map_err(|why| CliError::input(format!("{shown} is not a source policy: {why}")))
}

/// The policy that is named, by the option or the variable: its path and bytes.
pub fn policy_file(named: Option<&Path>) -> Result<Option<(String, Vec<u8>)>, CliError> {
    let from_env = || std::env::var_os(SOURCE_POLICY).filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = named.map(Path::to_path_buf).or_else(from_env) else { return Ok(None) };
    let shown = path.display().to_string();
    let file = File::open(&path).map_err(|e| CliError::input(format!("cannot read the source policy {shown}: {e}")))?;
    let bytes = read_to_end(file, &shown, policy::MAX_SIZE)?;
    Ok(Some((shown, bytes)))
}

/// What a Dockerfile of the user's is called in a context, or outside of it.
fn name_in(dir: Option<&Path>, own: &Path) -> String {
    let inside = dir.and_then(|dir| beneath(dir, own)).map(|path| path.display().to_string());
    let name = || own.file_name().map(|name| name.to_string_lossy().into_owned());
    inside.or_else(name).unwrap_or_default()
}

/// The way from a directory to a path in it, links followed; `None` if it is not in there.
pub fn beneath(dir: &Path, path: &Path) -> Option<PathBuf> {
    let (dir, path) = (dir.canonicalize().ok()?, path.canonicalize().ok()?);
    path.strip_prefix(dir).ok().map(Path::to_path_buf)
}

/// A path as archives name it; `None` if it leads out, or is no text.
pub fn name_in_archive(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    parts.map(|parts| parts.join("/")).filter(|name| !name.is_empty())
}

/// Standard input cannot be both.
pub fn all_from_stdin() -> CliError {
    CliError::usage("invalid argument: can't use stdin for both build context and dockerfile")
}

/// A context that is a Dockerfile, and another one.
pub fn two_dockerfiles(context: &str, file: &str) -> CliError {
    CliError::usage(format!(
        "ambiguous Dockerfile source: the context `{context}` is a Dockerfile, and --file {file} names another"
    ))
}

/// A context that is not there.
pub fn no_context(context: &str) -> CliError {
    CliError::input(format!("unable to prepare context: path `{context}` not found"))
        .with_hint("the last argument is the build context: `.` for the directory you are in")
}

/// A Dockerfile that is not there.
pub fn no_dockerfile(shown: &str) -> CliError {
    CliError::input(format!("failed to read dockerfile: {shown}: no such file"))
        .with_hint("name it with -f, or run kiln where it is")
}

/// The bytes of a Dockerfile of the user's.
pub fn own_dockerfile(path: &str) -> Result<Vec<u8>, CliError> {
    let failed = |e| CliError::input(format!("failed to read dockerfile: {path}: {e}"));
    read_to_end(File::open(path).map_err(failed)?, path, MAX_DOCKERFILE)
}

pub fn read_to_end(mut from: impl Read, name: &str, max: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = from.by_ref().take(max).read_to_end(&mut bytes);
    read.map_err(|e| CliError::input(format!("cannot read {name}: {e}")))?;
    Ok(bytes)
}

pub fn text(name: &str, bytes: Vec<u8>) -> Source {
    let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Source { name: name.to_owned(), text }
}

/// Finds the main context and makes a directory of it.
fn locate(
    args: &Args,
    around: &Surroundings,
    policy: &Policy,
    scratch: &mut Vec<kiln_store::SnapshotDraft>,
) -> Result<Located, CliError> {
    if let Some(url) = &args.git {
        return from_git(url, around, policy, scratch);
    }
    let context = &*args.context;
    if context == "-" {
        if args.file.as_deref() == Some("-") {
            return Err(all_from_stdin());
        }
        return from_stdin(args, around, scratch);
    }
    if let Some(parsed) = git::parse(context) {
        let url = parsed.map_err(|e| CliError::usage(e.to_string()))?;
        return from_git(&url, around, policy, scratch);
    }
    if let Some(place) = object::location(context)? {
        policy.object(context).map_err(EngineError::from)?;
        let draft = around.store.begin_snapshot()?;
        object::unpack(&session_for_fetch(around), context, &place, draft.fs())?;
        let dir = draft.fs().to_path_buf();
        scratch.push(draft);
        return Ok(Located::foreign(dir).at(context, BTreeMap::new()));
    }
    if context.starts_with("http://") || context.starts_with("https://") {
        return from_url(context, args, around, policy, scratch);
    }
    let path = Path::new(context);
    if path.is_file() {
        let file = File::open(path).map_err(|e| CliError::input(format!("cannot read {context}: {e}")))?;
        return Ok(Located::foreign(unpacked(context, file, around, scratch)?));
    }
    if !path.is_dir() {
        return Err(no_context(context));
    }
    Ok(Located { origin: None, dir: Some(path.to_path_buf()), dockerfile: None, foreign: false })
}

fn unpacked(
    name: &str,
    from: impl Read + Send,
    around: &Surroundings,
    scratch: &mut Vec<kiln_store::SnapshotDraft>,
) -> Result<PathBuf, CliError> {
    let draft = around.store.begin_snapshot()?;
    archive::unpack_context(name, from, draft.fs())?;
    let dir = draft.fs().to_path_buf();
    scratch.push(draft);
    Ok(dir)
}

/// Standard input is an archive, or a Dockerfile without a context.
fn from_stdin(
    args: &Args,
    around: &Surroundings,
    scratch: &mut Vec<kiln_store::SnapshotDraft>,
) -> Result<Located, CliError> {
    let mut stdin = std::io::stdin();
    let head = read_to_end(&mut stdin, "standard input", 1024)?;
    if archive::is_archive(&head) {
        let dir = unpacked("standard input", std::io::Cursor::new(head).chain(stdin), around, scratch)?;
        return Ok(Located::foreign(dir));
    }
    let mut bytes = head;
    bytes.extend(read_to_end(stdin, "standard input", MAX_DOCKERFILE)?);
    Located::alone(text("-", bytes), args)
}

/// What fetches with the surroundings of a verb, and builds nothing.
pub fn session_for_fetch(around: &Surroundings) -> kiln_engine::Session {
    let roots = kiln_engine::rootfs::Roots::new(
        around.store.clone(),
        around.images.clone(),
        around.lease.clone(),
        around.events.clone(),
    );
    kiln_engine::Session::for_fetching(
        around.store.clone(),
        around.images.clone(),
        Arc::new(roots),
        around.events.clone(),
        around.cancel.clone(),
    )
}

fn from_git(
    url: &git::GitUrl,
    around: &Surroundings,
    policy: &Policy,
    scratch: &mut Vec<kiln_store::SnapshotDraft>,
) -> Result<Located, CliError> {
    let session = session_for_fetch(around);
    let query = kiln_plan::facts::GitQuery { remote: url.remote.clone(), reference: url.reference.clone() };
    policy.git(&query).map_err(EngineError::from)?;
    let fact = git_fetch::answer(&session, &query)?;
    if let Some(wanted) = url.checksum.as_ref().filter(|c| !fact.commit.starts_with(&c.to_ascii_lowercase())) {
        return Err(CliError::input(format!("the reference is commit {}, but {wanted} was expected", fact.commit)));
    }
    let wanted = git_fetch::Checkout {
        remote: &url.remote,
        reference: url.reference.as_deref(),
        commit: &fact.commit,
        subdir: &url.subdir,
        keep_git_dir: url.keep_git_dir.unwrap_or(false),
        submodules: url.submodules.unwrap_or(true),
    };
    let (draft, dir, _) = git_fetch::checkout(&session, &wanted)?;
    scratch.push(draft);
    let reference = url.reference.as_ref().map(|r| format!("#{r}")).unwrap_or_default();
    Ok(Located::foreign(dir).at(&format!("{}{reference}", url.remote), attest::commit(&fact.commit)))
}

/// The content of a URL, in the store.
fn fetched(url: &str, around: &Surroundings, policy: &Policy) -> Result<kiln_oci::Digest, CliError> {
    let query = kiln_plan::facts::HttpQuery { url: url.to_owned(), checksum: None };
    let query = policy.url(&query).map_err(EngineError::from)?;
    Ok(http::answer(&session_for_fetch(around), &query)?.digest)
}

/// A URL is an archive, or a Dockerfile without a context.
fn from_url(
    url: &str,
    args: &Args,
    around: &Surroundings,
    policy: &Policy,
    scratch: &mut Vec<kiln_store::SnapshotDraft>,
) -> Result<Located, CliError> {
    let digest = fetched(url, around, policy)?;
    let mut file = around.store.open_blob(&digest)?;
    let head = read_to_end(&mut file, &http::shown(url), 1024)?;
    let whole = around.store.open_blob(&digest)?;
    if archive::is_archive(&head) {
        let located = Located::foreign(unpacked(&http::shown(url), whole, around, scratch)?);
        return Ok(located.at(url, digest_set(&digest)));
    }
    let source = text(&http::shown(url), read_to_end(whole, &http::shown(url), MAX_DOCKERFILE)?);
    Ok(Located::alone(source, args)?.at(url, digest_set(&digest)))
}

/// Where a Dockerfile is.
enum Place {
    /// A path of the user's.
    Own(PathBuf),
    /// A name in the context.
    Inside(String),
}

/// The Dockerfile, and where it is if it is a file.
///
/// A path that exists from here is the user's own word and read as it is; a name in the context is read inside it, for
/// the context may be someone else's. Of a context that came from elsewhere, only an absolute path is one from here.
fn read_dockerfile(
    args: &Args,
    around: &Surroundings,
    policy: &Policy,
    (dir, foreign): (Option<&Path>, bool),
) -> Result<(Source, Option<Place>), CliError> {
    let dir = dir.unwrap_or(Path::new("."));
    let name = match args.file.as_deref() {
        Some("-") => {
            let bytes = read_to_end(std::io::stdin(), "standard input", MAX_DOCKERFILE)?;
            return Ok((text("-", bytes), None));
        }
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            let name = http::shown(url);
            let bytes = read_to_end(around.store.open_blob(&fetched(url, around, policy)?)?, &name, MAX_DOCKERFILE)?;
            return Ok((text(&name, bytes), None));
        }
        Some(file) if Path::new(file).exists() && (!foreign || Path::new(file).is_absolute()) => {
            let bytes = own_dockerfile(file)?;
            return Ok((text(file.strip_prefix("./").unwrap_or(file), bytes), Some(Place::Own(PathBuf::from(file)))));
        }
        Some(file) => file,
        None if !dir.join("Dockerfile").exists() && dir.join("dockerfile").exists() => "dockerfile",
        None => "Dockerfile",
    };
    let path = dir.join(name.trim_start_matches('/'));
    // Where an archive was unpacked is nobody's business.
    let shown = if foreign { Path::new(name) } else { path.strip_prefix("./").unwrap_or(&path) };
    let shown = shown.display().to_string();
    match read_inside(dir, name.as_bytes(), MAX_DOCKERFILE)? {
        Some(bytes) => Ok((text(&shown, bytes), Some(Place::Inside(name.to_owned())))),
        None => Err(no_dockerfile(&shown)),
    }
}

/// The ignore rules of a context whose Dockerfile has this name in it.
pub fn ignore_of(dir: &Path, dockerfile: &str) -> Result<Option<(Ignore, String)>, CliError> {
    ignore(dir, Some(&Place::Inside(dockerfile.to_owned())))
}

/// The ignore file of a context: `<Dockerfile>.dockerignore` goes before `.dockerignore`. Both are read inside their
/// directory only: a context is not trusted to link to this machine's files.
fn ignore(dir: &Path, dockerfile: Option<&Place>) -> Result<Option<(Ignore, String)>, CliError> {
    let own = dockerfile.and_then(|place| match place {
        Place::Inside(name) => Some((dir, format!("{name}.dockerignore"))),
        Place::Own(path) => {
            let parent = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some((parent, format!("{}.dockerignore", path.file_name()?.to_string_lossy())))
        }
    });
    for (dir, name) in own.into_iter().chain([(dir, ".dockerignore".to_owned())]) {
        let Some(bytes) = read_inside(dir, name.as_bytes(), MAX_IGNORE)? else { continue };
        let (ignore, errors) = Ignore::parse(bytes);
        if let Some(e) = errors.first() {
            return Err(CliError::input(format!("{name}:{}: `{}`: {}", e.line, e.text, e.problem)));
        }
        return Ok(Some((ignore, name)));
    }
    Ok(None)
}

/// The ignore rules of a context whose Dockerfile is elsewhere.
pub fn ignore_beside(dir: &Path, dockerfile: &Path) -> Result<Option<(Ignore, String)>, CliError> {
    ignore(dir, Some(&Place::Own(dockerfile.to_path_buf())))
}

/// `id=ID[,src=FILE|,env=VAR]`; without either, the variable or file of that name.
pub fn secret(spec: &str) -> Result<(String, Secret), CliError> {
    let bad = |why: &str| {
        CliError::usage(format!("--secret {spec}: {why}")).with_hint("id=npm,src=$HOME/.npmrc or id=token,env=TOKEN")
    };
    let (mut id, mut src, mut env, mut kind) = (None, None, None, None);
    for field in spec.split(',') {
        match field.split_once('=') {
            Some(("id", v)) => id = Some(v.to_owned()),
            Some(("src" | "source", v)) => src = Some(PathBuf::from(v)),
            Some(("env", v)) => env = Some(v.to_owned()),
            Some(("type", v @ ("file" | "env"))) => kind = Some(v.to_owned()),
            _ => return Err(bad(&format!("`{field}` is not understood"))),
        }
    }
    let id = id.filter(|i| !i.is_empty()).or_else(|| env.clone()).ok_or_else(|| bad("it needs an id"))?;
    if let (Some(path), true) = (&src, kind.as_deref() == Some("env")) {
        env = Some(path.display().to_string());
        src = None;
    }
    if let Some(path) = src {
        if !path.exists() {
            return Err(CliError::input(format!("--secret id={id}: {} does not exist", path.display())));
        }
        return Ok((id, Secret::File(path)));
    }
    let variable = env.clone().unwrap_or_else(|| id.clone());
    match std::env::var_os(&variable) {
        Some(value) => Ok((id, Secret::Value(std::os::unix::ffi::OsStringExt::into_vec(value).into()))),
        None if env.is_none() && kind.as_deref() != Some("env") && Path::new(&id).exists() => {
            Ok((id.clone(), Secret::File(PathBuf::from(id))))
        }
        None => Err(CliError::input(format!("--secret id={id}: the variable {variable} is not set"))
            .with_hint("name a file with src=")),
    }
}

/// `default` or `ID=SOCKET`.
fn agent(spec: &str) -> Result<(String, PathBuf), CliError> {
    let (id, path) = spec.split_once('=').map_or((spec, None), |(id, p)| (id, Some(PathBuf::from(p))));
    let path = path.or_else(|| std::env::var_os("SSH_AUTH_SOCK").filter(|v| !v.is_empty()).map(PathBuf::from));
    let Some(path) = path else {
        return Err(CliError::input(format!("--ssh {spec}: no SSH agent is running here (SSH_AUTH_SOCK is not set)"))
            .with_hint("start one with `eval $(ssh-agent)` and `ssh-add`, or give its socket: --ssh default=/path"));
    };
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(&path) {
        Ok(meta) if meta.file_type().is_socket() => Ok((id.to_owned(), path)),
        Ok(_) => Err(CliError::usage(format!(
            "--ssh {spec}: {} is not a socket; private key files are not supported",
            path.display()
        ))
        .with_hint("load the key into an agent with ssh-add, and give the agent's socket")),
        Err(e) => Err(CliError::input(format!("--ssh {spec}: {}: {e}", path.display()))),
    }
}
