//! The context of a build in a pod: what is sent, and what the pod fetches by itself.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use kiln_engine::EngineError;
use kiln_engine::context::{DirSource, archive, pack};
use kiln_engine::fetch::object;
use kiln_oci::compress::Compression;
use kiln_plan::git;
use kiln_spec::login;
use kiln_spec::source::Source;

use super::super::{Args, inputs};
use super::sent::Sent;
use crate::error::CliError;

/// A name in the archive of a Dockerfile that is not of the context.
const OWN: &str = "Dockerfile";

/// The context, once it is known what it is.
pub struct Context {
    /// What the pod is told of it.
    pub argument: String,
    /// What is sent, if anything is.
    pub packed: Option<File>,
    /// The Dockerfile, if it is here.
    pub dockerfile: Option<Source>,
}

impl Context {
    fn remote(argument: &str) -> Context {
        Context { argument: argument.to_owned(), packed: None, dockerfile: None }
    }

    fn streamed(packed: File, dockerfile: Option<Source>) -> Context {
        Context { argument: "-".to_owned(), packed: Some(packed), dockerfile }
    }
}

/// Arguments of Jobs and pods are seen by many.
fn no_credentials(what: &str, url: &str) -> Result<(), CliError> {
    let signed = object::location(url).is_ok_and(|place| place.is_some()) && url.contains('?');
    if login::hidden(url) == url && !signed {
        return Ok(());
    }
    let error = CliError::usage(format!("--on kubernetes: {what} holds a login, which all who see the pod would see"));
    Err(error.with_hint("give it as variables of a Secret, --context-secret, or --secret id=GIT_AUTH_TOKEN for Git"))
}

/// Packs what is here; adds the Dockerfile's place to what the pod is told.
///
/// # Errors
/// When something cannot be read, or there is no Dockerfile.
pub fn gather(args: &Args, sent: &mut Sent) -> Result<Context, CliError> {
    let context = &*args.context;
    let given = args.file.as_deref();
    if context == "-" {
        if given == Some("-") {
            return Err(inputs::all_from_stdin());
        }
        return from_stdin(args, sent);
    }
    for (what, url) in
        [("the context", Some(context)), ("--file", given), ("--context-store", args.cluster.context_store.as_deref())]
    {
        no_credentials(what, url.unwrap_or_default())?;
    }
    let foreign = git::parse(context).is_some()
        || object::location(context)?.is_some()
        || context.starts_with("http://")
        || context.starts_with("https://");
    if foreign {
        return Ok(Context { dockerfile: dockerfile_from_elsewhere(given, sent)?, ..Context::remote(context) });
    }
    let path = Path::new(context);
    if path.is_file() {
        let file = File::open(path).map_err(|e| CliError::input(format!("cannot read {context}: {e}")))?;
        let dockerfile = dockerfile_from_elsewhere(given, sent)?;
        return Ok(Context::streamed(file, dockerfile));
    }
    if !path.is_dir() {
        return Err(inputs::no_context(context));
    }
    from_dir(path, given, sent)
}

/// For a context that is not a directory here: only an absolute path is one from here.
fn dockerfile_from_elsewhere(given: Option<&str>, sent: &mut Sent) -> Result<Option<Source>, CliError> {
    let Some(name) = given else { return Ok(None) };
    if name != "-" && !(Path::new(name).is_absolute() && Path::new(name).exists()) {
        sent.arguments.push(format!("--file={name}"));
        return Ok(None);
    }
    Ok(Some(own_dockerfile(name, sent)?))
}

/// A Dockerfile that is not in the context goes with the secrets.
fn own_dockerfile(name: &str, sent: &mut Sent) -> Result<Source, CliError> {
    let bytes = match name {
        "-" => inputs::read_to_end(std::io::stdin(), "standard input", inputs::MAX_DOCKERFILE)?,
        path => inputs::own_dockerfile(path)?,
    };
    let place = sent.file(OWN, bytes.clone());
    sent.arguments.push(format!("--file={place}"));
    if let Ok(ignore) = std::fs::read(format!("{name}.dockerignore")) {
        let _ = sent.file(format!("{OWN}.dockerignore"), ignore);
    }
    Ok(inputs::text(name, bytes))
}

/// Standard input is an archive, or a Dockerfile: the pod sees which. It is read once for all platforms.
fn from_stdin(args: &Args, sent: &mut Sent) -> Result<Context, CliError> {
    let failed = |e| CliError::input(format!("cannot read standard input: {e}"));
    let mut file = spool()?;
    std::io::copy(&mut std::io::stdin().take(archive::MAX_SIZE), &mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let mut head = Vec::new();
    (&mut file).take(1024).read_to_end(&mut head).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if archive::is_archive(&head) {
        let dockerfile = dockerfile_from_elsewhere(args.file.as_deref(), sent)?;
        return Ok(Context::streamed(file, dockerfile));
    }
    if let Some(name) = &args.file {
        return Err(inputs::two_dockerfiles("-", name));
    }
    let mut again = file.try_clone().map_err(failed)?;
    let dockerfile = inputs::text("-", inputs::read_to_end(&mut again, "standard input", inputs::MAX_DOCKERFILE)?);
    file.rewind().map_err(failed)?;
    Ok(Context::streamed(file, Some(dockerfile)))
}

fn spool() -> Result<File, CliError> {
    let dir = std::env::temp_dir();
    Ok(tempfile::tempfile_in(&dir).map_err(EngineError::file("write a temporary file in", &dir))?)
}

fn from_dir(dir: &Path, given: Option<&str>, sent: &mut Sent) -> Result<Context, CliError> {
    let (dockerfile, ignore, always) = match place(dir, given)? {
        Where::Inside(name) => {
            let bytes = kiln_engine::context::read_inside(dir, name.as_bytes(), inputs::MAX_DOCKERFILE)?;
            let bytes = bytes.ok_or_else(|| missing(dir, &name))?;
            sent.arguments.push(format!("--file={name}"));
            let always = vec![name.clone(), format!("{name}.dockerignore"), ".dockerignore".to_owned()];
            (inputs::text(&name, bytes), inputs::ignore_of(dir, &name)?, always)
        }
        Where::Own(name) => {
            let ignore = match &*name {
                "-" => inputs::ignore_of(dir, "Dockerfile")?,
                path => inputs::ignore_beside(dir, Path::new(path))?,
            };
            (own_dockerfile(&name, sent)?, ignore, vec![".dockerignore".to_owned()])
        }
        Where::Url(url) => {
            sent.arguments.push(format!("--file={url}"));
            (inputs::text(&url, Vec::new()), inputs::ignore_of(dir, "Dockerfile")?, vec![".dockerignore".to_owned()])
        }
    };
    let (source, whole) = (DirSource::open(dir, ignore)?, DirSource::open(dir, None)?);
    let mut file = spool()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // The network is slower than this.
    pack(&source, &whole, &always, Compression::Zstd { level: 3 }, threads, &file)?;
    let failed = EngineError::file("write", dir);
    file.flush().and_then(|()| file.rewind()).map_err(failed)?;
    let dockerfile = Some(dockerfile).filter(|source| !source.text.is_empty());
    Ok(Context::streamed(file, dockerfile))
}

fn missing(dir: &Path, name: &str) -> CliError {
    let path = dir.join(name);
    inputs::no_dockerfile(&path.strip_prefix("./").unwrap_or(&path).display().to_string())
}

enum Where {
    /// A name in the context.
    Inside(String),
    /// A path from here, or `-`.
    Own(String),
    /// An address.
    Url(String),
}

/// Where the Dockerfile is: as a build here would look for it.
fn place(dir: &Path, given: Option<&str>) -> Result<Where, CliError> {
    match given {
        None if !dir.join("Dockerfile").exists() && dir.join("dockerfile").exists() => {
            Ok(Where::Inside("dockerfile".to_owned()))
        }
        None => Ok(Where::Inside("Dockerfile".to_owned())),
        Some("-") => Ok(Where::Own("-".to_owned())),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(Where::Url(url.to_owned())),
        Some(path) if Path::new(path).exists() => {
            let inside = inputs::beneath(dir, Path::new(path)).and_then(|name| inputs::name_in_archive(&name));
            Ok(inside.map_or_else(|| Where::Own(path.to_owned()), Where::Inside))
        }
        Some(name) => match inputs::name_in_archive(Path::new(name.trim_start_matches('/'))) {
            Some(name) => Ok(Where::Inside(name)),
            None => Err(missing(dir, name)),
        },
    }
}
