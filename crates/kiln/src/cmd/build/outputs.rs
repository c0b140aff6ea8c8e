//! Where the result of a build goes, as `--output` says it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_disk::layout::Spec;
use kiln_engine::output::microvm::{KernelFrom, MicroVm, Modules};
use kiln_engine::output::{Artifact, Dest, Inspect, Output};
use kiln_engine::{Built, EngineError, whole};
use kiln_oci::{Descriptor, Digest, Reference};

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
        outputs.push(registry(names.to_vec(), false, "--push")?);
    }
    if args.load || outputs.is_empty() {
        outputs.push(Output::Image { names: names.to_vec() });
    }
    // What may be refused comes before anything is seen by others.
    outputs.sort_by_key(|output| !matches!(output, Output::Disk { inspect: Some(_), .. }));
    Ok(outputs)
}

fn registry(names: Vec<Reference>, by_digest: bool, what: &str) -> Result<Output, CliError> {
    if names.is_empty() {
        return Err(CliError::usage(format!("{what} needs a name to push to")).with_hint("-t registry.example/app:tag"));
    }
    Ok(Output::Registry { names, by_digest })
}

/// What only `type=disk` has.
const DISK_KEYS: [&str; 13] = [
    "format",
    "compression",
    "size",
    "boot",
    "arch",
    "fs",
    "esp",
    "label",
    "kernel_cmdline",
    "hostname",
    "initramfs",
    "verify",
    "verify-report",
];

/// What only `type=microvm` has; two of them disks have too.
const MICROVM_KEYS: [&str; 4] = ["kernel", "modules", "kernel_cmdline", "hostname"];

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
    let (mut kind, mut dest, mut name, mut push, mut as_tar, mut by_digest) = (None, None, None, false, true, false);
    let mut disk = Vec::new();
    let flag = |value: &str| match value {
        "" => Ok(true),
        value => crate::options::flag(&format!("--output {spec}"), value),
    };
    for field in spec.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.trim() {
            "type" => kind = Some(value.to_owned()),
            "dest" => dest = Some(value.to_owned()),
            "name" => name = Some(value.to_owned()),
            "push" => push = flag(value)?,
            "push-by-digest" => by_digest = flag(value)?,
            "tar" => as_tar = flag(value)?,
            "oci-mediatypes" if flag(value)? => {}
            key if DISK_KEYS.contains(&key) || MICROVM_KEYS.contains(&key) => {
                disk.push((key.to_owned(), value.to_owned()))
            }
            other => {
                return Err(bad(format!(
                    "`{other}` is not supported: expected type, dest, name, push, push-by-digest or tar, or for disks {}, or for type=microvm {}",
                    DISK_KEYS.join(", "),
                    MICROVM_KEYS.join(", ")
                )));
            }
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
    let mut spec = Spec::default();
    let foreign = |keys: &[&str]| disk.iter().find(|(key, _)| !keys.contains(&&**key));
    match (kind.as_deref(), disk.first()) {
        (Some("microvm"), _) => {
            if let Some((key, _)) = foreign(&MICROVM_KEYS) {
                return Err(bad(format!("{key}= is of type=disk")));
            }
        }
        (Some("disk"), _) => {
            if let Some((key, _)) = foreign(&DISK_KEYS) {
                return Err(bad(format!("{key}= is of type=microvm")));
            }
            for (key, value) in disk.iter().filter(|(key, _)| !key.starts_with("verify")) {
                spec.set(key, value).map_err(|e| bad(e.to_string()))?;
            }
        }
        (_, Some((key, _))) => {
            let kind = if DISK_KEYS.contains(&&**key) { "disk" } else { "microvm" };
            return Err(bad(format!("{key}= is of type={kind}")));
        }
        _ => {}
    }
    match kind.as_deref() {
        Some("image") if push => registry(names, by_digest, "push=true"),
        Some("image") if by_digest => Err(bad("push-by-digest needs push=true".to_owned())),
        Some("image") => Ok(Output::Image { names }),
        Some("registry") => registry(names, by_digest, "type=registry"),
        _ if by_digest => Err(bad("push-by-digest is of type=registry".to_owned())),
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
        Some("disk") => match file(false)? {
            Dest::Path(dest) => Ok(Output::Disk { inspect: inspect(&disk, &dest)?, dest, spec: Box::new(spec) }),
            Dest::Stdout => Err(bad("a disk is written to a file".to_owned())),
        },
        Some("microvm") => match file(false)? {
            Dest::Path(dest) => Ok(Output::MicroVm { dest, spec: microvm(&disk).map_err(bad)? }),
            Dest::Stdout => Err(bad("a machine is written to a directory".to_owned())),
        },
        Some(other) => Err(bad(format!(
            "`{other}` is not a type: expected image, registry, oci, docker, local, tar, disk or microvm"
        ))),
        None => Err(bad("type= is missing".to_owned())),
    }
}

/// What a machine with one application is to be like.
fn microvm(keys: &[(String, String)]) -> Result<MicroVm, String> {
    let mut spec = MicroVm::default();
    for (key, value) in keys {
        if value.is_empty() && key != "kernel_cmdline" {
            return Err(format!("{key}= is empty"));
        }
        match (&**key, value.strip_prefix("image:")) {
            ("kernel", Some(path)) => spec.kernel = KernelFrom::Image(path.to_owned()),
            ("kernel", None) => spec.kernel = KernelFrom::File(PathBuf::from(value)),
            ("modules", _) if value == "none" => spec.modules = Modules::None,
            ("modules", _) => spec.modules = Modules::Directory(PathBuf::from(value)),
            ("kernel_cmdline", _) => spec.cmdline.clone_from(value),
            _ => spec.hostname = Some(value.clone()),
        }
    }
    Ok(spec)
}

/// What looks at a disk before it is there: `verify=kubeadm+ours.yaml,verify-report=report.html`.
fn inspect(keys: &[(String, String)], dest: &Path) -> Result<Option<Inspect>, CliError> {
    let values = |key: &str| -> Vec<&str> {
        keys.iter().filter(|(k, _)| k == key).flat_map(|(_, value)| value.split('+')).collect()
    };
    let profiles: Vec<String> =
        values("verify").into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let reports: Vec<PathBuf> = values("verify-report").into_iter().map(PathBuf::from).collect();
    if profiles.is_empty() && reports.is_empty() {
        return match keys.iter().any(|(key, _)| key == "verify") {
            true => Err(CliError::usage("--output: verify= names no profile")),
            false => Ok(None),
        };
    }
    let wish = crate::cmd::node::wish(&profiles, &[], &reports)?;
    let title = dest.display().to_string();
    Ok(Some(Inspect(Arc::new(move |disk| wish.inspect(disk, &title)))))
}

/// What `--iidfile` and `--metadata-file` say of a result.
pub struct Outcome<'a> {
    /// Its manifest, or index.
    pub root: &'a Descriptor,
    /// The configuration of the only image.
    pub config: Option<&'a Digest>,
}

impl<'a> From<&'a Artifact> for Outcome<'a> {
    fn from(artifact: &'a Artifact) -> Outcome<'a> {
        let config = match &artifact.images[..] {
            [only] => Some(&only.manifest.config.digest),
            _ => None,
        };
        Outcome { root: &artifact.root, config }
    }
}

/// `--iidfile` and `--metadata-file`.
pub fn write_files(args: &Args, names: &[Reference], result: &Outcome<'_>) -> Result<(), CliError> {
    // BuildKit writes the configuration's digest for one image, the index's for several.
    if let Some(path) = &args.iidfile {
        write(path, &result.config.unwrap_or(&result.root.digest).to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut descriptor = serde_json::to_value(result.root).unwrap_or_default();
        if let Some(d) = descriptor.as_object_mut() {
            d.remove("annotations");
        }
        let mut metadata = serde_json::json!({
            "containerimage.descriptor": descriptor,
            "containerimage.digest": result.root.digest,
            "image.name": names.join(","),
        });
        if let Some(config) = result.config {
            metadata["containerimage.config.digest"] = serde_json::json!(config);
        }
        write(path, &(serde_json::to_string_pretty(&metadata).unwrap_or_default() + "\n"))?;
    }
    Ok(())
}

/// Writes a file that is seen only whole; one that is mounted, as a pod's /dev/termination-log, can be written but not
/// replaced.
pub fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = EngineError::file("write", path);
    let written =
        whole::write(path, "write", |out| out.write_all(text.as_bytes()).map_err(EngineError::file("write", path)));
    match written {
        Err(EngineError::File { source, .. }) if cannot_be_replaced(&source) => {
            Ok(std::fs::write(path, text).map_err(failed)?)
        }
        written => Ok(written?),
    }
}

fn cannot_be_replaced(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
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
            Output::Registry { names, by_digest: false } => names.iter().for_each(|n| eprintln!("pushed {n}")),
            Output::Registry { names, by_digest: true } => {
                names.iter().for_each(|n| eprintln!("pushed {}", n.at(artifact.root.digest.clone())));
            }
            Output::OciLayout { dest, .. }
            | Output::Local { dest }
            | Output::Disk { dest, .. }
            | Output::MicroVm { dest, .. } => eprintln!("wrote {}", dest.display()),
            Output::OciArchive { dest, .. } | Output::DockerArchive { dest, .. } | Output::Tar { dest } => {
                if let Dest::Path(path) = dest {
                    eprintln!("wrote {}", path.display());
                }
            }
        }
    }
}
