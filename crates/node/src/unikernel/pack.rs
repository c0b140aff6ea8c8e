//! A kernel becomes an image, in the way urunc or kraftkit reads it.

use std::path::{Path, PathBuf};

use kiln_engine::packed::{self, Bytes, Packed};
use kiln_engine::transfer::Mover;
use kiln_oci::compress::Compression;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Platform};
use kiln_unikernel::parcel::{Form, Place};
use kiln_unikernel::{Kernel, Kind, Monitor, Parcel, UnikernelError, kraftkit, line, urunc};

use super::open;
use crate::error::{NodeError, Result};

/// What is packed, and how.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The kernel.
    pub kernel: PathBuf,
    /// Files that it gets.
    pub initrd: Option<PathBuf>,
    /// The application's arguments.
    pub line: String,
    /// How the image says what is in it.
    pub form: Form,
    /// What it is to be run with; without it, what the kernel says.
    pub monitor: Option<Monitor>,
    /// What it is called, where the kernel does not say.
    pub kind: Option<String>,
    /// The image's name, for annotations.
    pub name: Option<String>,
    /// Who packed it, for annotations.
    pub maker: String,
    /// When, RFC 3339; without it nothing is said, so that the same kernel gives the same image.
    pub created: Option<String>,
}

/// What was packed.
#[derive(Debug, Clone)]
pub struct Made {
    /// Manifest or index.
    pub root: Descriptor,
    /// The kernel.
    pub kernel: Kernel,
    /// What the image says.
    pub parcel: Parcel,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Packs a kernel into an image in the store, which has no name yet.
///
/// # Errors
/// When the kernel cannot be run by the monitor, or by none, cannot be carried in that way, or the store fails.
pub fn pack(mover: &Mover<'_>, wanted: &Wanted) -> Result<Made> {
    let title = wanted.kernel.display().to_string();
    let failed = |source| NodeError::Unikernel { intent: "pack", title: title.clone(), source: Box::new(source) };
    let kernel = open::recognised(&wanted.kernel, "pack")?;
    let (parcel, warnings) = parcel(&kernel, wanted).map_err(failed)?;
    let root = match wanted.form {
        Form::Urunc => as_urunc(mover, wanted, &parcel)?,
        Form::Kraftkit => {
            let platform = kraftkit::platform(&parcel).map_err(failed)?;
            let said = kraftkit::annotations(&parcel, wanted.name.as_deref(), &wanted.maker).map_err(failed)?;
            as_kraftkit(mover, wanted, &parcel, platform, said)?
        }
    };
    Ok(Made { root, kernel, parcel, warnings })
}

/// What the image will say.
fn parcel(kernel: &Kernel, wanted: &Wanted) -> Result<(Parcel, Vec<String>), UnikernelError> {
    let mut warnings = Vec::new();
    let monitor = match wanted.monitor {
        Some(monitor) => kernel.runs_under(monitor).map(|()| monitor)?,
        None => kernel.monitor()?,
    };
    let kind = match (&kernel.kind, &wanted.kind) {
        (Kind::Plain, Some(name)) => Kind::named(name),
        (Kind::Plain, None) if is_hermit(wanted.initrd.as_deref()) => Kind::Hermit,
        (kind, Some(name)) if kind.name() != name => {
            let why = format!("it is {kind}, because {}", kernel.because);
            return Err(UnikernelError::Said { key: format!("--kind {name}"), why });
        }
        (kind, _) => kind.clone(),
    };
    // What it is given at last is looked at now, so that it is not the first run that finds it wrong.
    let guest = line::Guest { kind: &kind, version: None, solo5: kernel.solo5.as_ref(), net: None, initrd: false };
    line::compose(&guest, &wanted.line)?;
    if wanted.form == Form::Urunc && !urunc::is_known_pair(&kind, monitor) {
        warnings.push(format!("urunc runs no kernel of the kind `{}` with {monitor}; Kiln does", kind.name()));
    }
    if wanted.form == Form::Kraftkit && kind != Kind::Unikraft {
        warnings.push(format!("kraftkit takes it for a Unikraft kernel, and it is {kind}"));
    }
    let (at, files) = match wanted.form {
        Form::Urunc => (urunc::KERNEL, urunc::INITRD),
        Form::Kraftkit => (kraftkit::KERNEL, kraftkit::INITRD),
    };
    let parcel = Parcel {
        form: wanted.form,
        kind,
        version: kernel.version.clone(),
        monitor,
        line: wanted.line.trim().to_owned(),
        architecture: kernel.architecture.to_owned(),
        kernel: Place::Path(format!("/{at}")),
        initrd: wanted.initrd.is_some().then(|| Place::Path(format!("/{files}"))),
        block: None,
        mounted: false,
    };
    Ok((parcel, warnings))
}

/// Whether the files are an application of Hermit, whose kernel is a loader that says nothing of itself.
fn is_hermit(initrd: Option<&Path>) -> bool {
    initrd.is_some_and(|path| open::recognised(path, "read").is_ok_and(|found| found.kind == Kind::Hermit))
}

/// One layer of all, gzipped, for a container's root.
fn as_urunc(mover: &Mover<'_>, wanted: &Wanted, parcel: &Parcel) -> Result<Descriptor> {
    let file = urunc::file(parcel);
    let mut files = vec![Packed { path: urunc::KERNEL, mode: 0o755, bytes: Bytes::Of(&wanted.kernel) }];
    files.extend(wanted.initrd.iter().map(|path| Packed { path: urunc::INITRD, mode: 0o644, bytes: Bytes::Of(path) }));
    files.push(Packed { path: urunc::FILE, mode: 0o644, bytes: Bytes::These(&file) });
    let (layer, diff_id) = packed::layer(mover, &files, Compression::default())?;
    let mut config = config(wanted, &Platform::linux(&parcel.architecture), vec![diff_id]);
    // A runtime needs something to start; what urunc starts is the monitor, with the words of the annotation.
    config.config.cmd = Some(match words(&parcel.line) {
        words if words.is_empty() => vec![format!("/{}", urunc::KERNEL)],
        words => words,
    });
    let said = urunc::annotations(parcel);
    config.config.labels.clone_from(&said);
    Ok(packed::manifest(mover, &config, vec![layer], dated(said, wanted))?)
}

/// A layer for each file, not compressed, and an index around the manifest.
fn as_kraftkit(
    mover: &Mover<'_>,
    wanted: &Wanted,
    parcel: &Parcel,
    platform: Platform,
    said: Annotations,
) -> Result<Descriptor> {
    let (mut layers, mut ids) = (Vec::new(), Vec::new());
    let files = [
        (Some(&wanted.kernel), kraftkit::KERNEL, kraftkit::KERNEL_PATH, 0o755),
        (wanted.initrd.as_ref(), kraftkit::INITRD, kraftkit::INITRD_PATH, 0o644),
    ];
    for (path, at, key, mode) in files {
        let Some(path) = path else { continue };
        let file = Packed { path: at, mode, bytes: Bytes::Of(path) };
        let (mut layer, id) = packed::layer(mover, &[file], Compression::None)?;
        layer.annotations.insert(key.to_owned(), format!("/{at}"));
        layers.push(layer);
        ids.push(id);
    }
    let mut config = config(wanted, &platform, ids);
    config.config.cmd = Some(words(&parcel.line)).filter(|words| !words.is_empty());
    let said = dated(said, wanted);
    let manifest = packed::manifest(mover, &config, layers, said.clone())?;
    let entry = Descriptor { platform: Some(platform), annotations: said.clone(), ..manifest };
    Ok(packed::index(mover, &Index { annotations: said, ..Index::new(vec![entry]) })?)
}

fn config(wanted: &Wanted, platform: &Platform, diff_ids: Vec<Digest>) -> ImageConfig {
    let mut config = ImageConfig::scratch(platform);
    config.created.clone_from(&wanted.created);
    config.rootfs.diff_ids = diff_ids;
    config
}

fn dated(mut said: Annotations, wanted: &Wanted) -> Annotations {
    let created = wanted.created.clone().map(|time| ("org.opencontainers.image.created".to_owned(), time));
    said.extend(created);
    said
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
