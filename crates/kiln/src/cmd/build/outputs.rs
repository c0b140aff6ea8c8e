//! Where the result of a build goes, as `--output` says it.

use std::path::PathBuf;
use std::time::Duration;

use kiln_engine::output::{Artifact, Dest, Output};
use kiln_engine::{Built, EngineError, whole};
use kiln_oci::Reference;

use super::Args;
use crate::error::CliError;
use crate::progress;

/// All outputs of the command line; the image is kept in the store if none is named.
pub fn parse(args: &Args, names: &[Reference]) -> Result<Vec<Output>, CliError> {
    let mut outputs = Vec::new();
    for spec in &args.outputs {
        outputs.push(one(spec, names)?);
    }
    if args.push {
        outputs.push(registry(names.to_vec(), "--push")?);
    }
    if args.load || outputs.is_empty() {
        outputs.push(Output::Image { names: names.to_vec() });
    }
    Ok(outputs)
}

fn registry(names: Vec<Reference>, what: &str) -> Result<Output, CliError> {
    if names.is_empty() {
        return Err(CliError::usage(format!("{what} needs a name to push to")).with_hint("-t registry.example/app:tag"));
    }
    Ok(Output::Registry { names })
}

/// One `--output`.
fn one(spec: &str, names: &[Reference]) -> Result<Output, CliError> {
    let bad = |why: String| CliError::usage(format!("--output {spec}: {why}"));
    if !spec.contains('=') {
        // The short forms: a directory, or a tar on standard output.
        return Ok(match spec {
            "-" => Output::Tar { dest: Dest::Stdout },
            dir => Output::Local { dest: PathBuf::from(dir) },
        });
    }
    let (mut kind, mut dest, mut name, mut push, mut as_tar) = (None, None, None, false, true);
    let flag = |value: &str| match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(CliError::usage(format!("--output {spec}: `{other}` is neither true nor false"))),
    };
    for field in spec.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.trim() {
            "type" => kind = Some(value.to_owned()),
            "dest" => dest = Some(value.to_owned()),
            "name" => name = Some(value.to_owned()),
            "push" => push = flag(value)?,
            "tar" => as_tar = flag(value)?,
            "oci-mediatypes" if flag(value)? => {}
            other => return Err(bad(format!("`{other}` is not supported: expected type, dest, name, push or tar"))),
        }
    }
    let names = match name {
        None => names.to_vec(),
        Some(list) => {
            let parse = |t: &str| t.parse::<Reference>().map_err(|e| bad(e.to_string()));
            list.trim_matches('"').split(';').map(parse).collect::<Result<Vec<_>, _>>()?
        }
    };
    let file = |default_stdout: bool| match dest.as_deref() {
        Some("-") => Ok(Dest::Stdout),
        Some("") => Err(bad("dest is empty".to_owned())),
        Some(path) => Ok(Dest::Path(PathBuf::from(path))),
        None if default_stdout => Ok(Dest::Stdout),
        None => Err(bad("it needs dest=".to_owned())),
    };
    match kind.as_deref() {
        Some("image") if push => registry(names, "push=true"),
        Some("image") => Ok(Output::Image { names }),
        Some("registry") => registry(names, "type=registry"),
        Some("oci") if !as_tar => match file(false)? {
            Dest::Path(dest) => Ok(Output::OciLayout { names, dest }),
            Dest::Stdout => Err(bad("a directory cannot be written to standard output".to_owned())),
        },
        Some("oci") => Ok(Output::OciArchive { names, dest: file(true)? }),
        Some("docker") => Ok(Output::DockerArchive { names, dest: file(true)? }),
        Some("local") => match file(false)? {
            Dest::Path(dest) => Ok(Output::Local { dest }),
            Dest::Stdout => Err(bad("a directory cannot be written to standard output; use type=tar".to_owned())),
        },
        Some("tar") => Ok(Output::Tar { dest: file(true)? }),
        Some(other) => {
            Err(bad(format!("`{other}` is not a type: expected image, registry, oci, docker, local or tar")))
        }
        None => Err(bad("type= is missing".to_owned())),
    }
}

/// `--iidfile` and `--metadata-file`.
pub fn write_files(args: &Args, names: &[Reference], artifact: &Artifact) -> Result<(), CliError> {
    let write = |path: &PathBuf, text: String| -> Result<(), CliError> {
        Ok(whole::write(path, "write", |out| out.write_all(text.as_bytes()).map_err(EngineError::file("write", path)))?)
    };
    // BuildKit writes the configuration's digest for one image, the index's for several.
    let id = match &artifact.images[..] {
        [only] => only.manifest.config.digest.clone(),
        _ => artifact.root.digest.clone(),
    };
    if let Some(path) = &args.iidfile {
        write(path, id.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut descriptor = serde_json::to_value(&artifact.root).unwrap_or_default();
        if let Some(d) = descriptor.as_object_mut() {
            d.remove("annotations");
        }
        let mut metadata = serde_json::json!({
            "containerimage.descriptor": descriptor,
            "containerimage.digest": artifact.root.digest,
            "image.name": names.join(","),
        });
        if let [only] = &artifact.images[..] {
            metadata["containerimage.config.digest"] = serde_json::json!(only.manifest.config.digest);
        }
        write(path, serde_json::to_string_pretty(&metadata).unwrap_or_default() + "\n")?;
    }
    Ok(())
}

/// What was made and where it went, for people.
pub fn summary(names: &[Reference], outputs: &[Output], artifact: &Artifact, built: &[Built], took: Duration) {
    for built in built {
        eprint!("{}", progress::summary(&built.reports, took));
    }
    eprintln!("{}", artifact.root.digest);
    for output in outputs {
        match output {
            Output::Image { .. } => names.iter().for_each(|n| eprintln!("named {}", n.familiar())),
            Output::Registry { names } => names.iter().for_each(|n| eprintln!("pushed {n}")),
            Output::OciLayout { dest, .. } | Output::Local { dest } => eprintln!("wrote {}", dest.display()),
            Output::OciArchive { dest, .. } | Output::DockerArchive { dest, .. } | Output::Tar { dest } => {
                if let Dest::Path(path) = dest {
                    eprintln!("wrote {}", path.display());
                }
            }
        }
    }
}
