//! Images as kraftkit reads them.
//!
//! ```text
//! index       one manifest for each platform: {os: qemu | fc | xen, architecture: x86_64 | arm64}
//! manifest    one layer for each file, annotated with its path; org.unikraft.*; sh.kraftkit.version, without which kraftkit
//!             does not take it for one of its own
//! config      the platform again, and the application's arguments as Cmd
//! ```

use kiln_oci::manifest::Annotations;
use kiln_oci::{ImageConfig, Manifest, Platform};

use crate::error::{Result, UnikernelError};
use crate::parcel::{Form, Parcel, Place, is_line};
use crate::{Kind, Monitor};

/// Where the kernel is, from the root.
pub const KERNEL: &str = "unikraft/bin/kernel";
/// Where its files are, from the root.
pub const INITRD: &str = "unikraft/bin/initrd";
/// The annotation of a layer with the kernel.
pub const KERNEL_PATH: &str = "org.unikraft.kernel.image";
/// The annotation of a layer with its files.
pub const INITRD_PATH: &str = "org.unikraft.kernel.initrd";
const VERSION: &str = "org.unikraft.kernel.version";
const ARCH: &str = "org.unikraft.kernel.arch";
const PLAT: &str = "org.unikraft.kernel.plat";
const NAME: &str = "org.unikraft.image.name";
const KRAFTKIT: &str = "sh.kraftkit.version";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const PREFIX: &str = "org.unikraft.";

/// Layers that are the kernel itself, without a tar around it.
const RAW_KERNEL: [&str; 2] = ["application/vnd.unikraft.image.v1", "application/vnd.unikraft.kernel.v1"];
/// Layers that are its files.
const RAW_INITRD: [&str; 1] = ["application/vnd.unikraft.initrd.v1"];

/// The platform of a manifest.
///
/// # Errors
/// When the monitor is none that kraftkit has a platform for.
pub fn platform(parcel: &Parcel) -> Result<Platform> {
    let os = parcel.monitor.platform().ok_or_else(|| UnikernelError::Monitor {
        monitor: parcel.monitor.name(),
        why: "kraftkit has no platform for it; pack it for urunc".to_owned(),
    })?;
    let architecture = match &*parcel.architecture {
        "amd64" => "x86_64",
        other => other,
    };
    Ok(Platform {
        architecture: architecture.to_owned(),
        os: os.to_owned(),
        os_version: parcel.version.clone(),
        os_features: Vec::new(),
        variant: None,
    })
}

/// What manifest and index are annotated with.
///
/// # Errors
/// As [`platform`].
pub fn annotations(parcel: &Parcel, name: Option<&str>, maker: &str) -> Result<Annotations> {
    let platform = platform(parcel)?;
    let all = [
        (NAME, name.map(str::to_owned)),
        (REF_NAME, name.map(str::to_owned)),
        (VERSION, parcel.version.clone()),
        (ARCH, Some(platform.architecture)),
        (PLAT, Some(platform.os)),
        (KRAFTKIT, Some(maker.to_owned())),
    ];
    Ok(all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// Whether an image says that it holds a kernel in this way.
pub fn is_one(manifest: &Manifest, config: &ImageConfig) -> bool {
    let said = |key: &String| key == KRAFTKIT || key.starts_with(PREFIX);
    manifest.annotations.keys().any(said)
        || Monitor::of_platform(&config.os).is_some()
        || manifest.layers.iter().any(|l| raw(&l.media_type, &RAW_KERNEL))
}

/// What it says.
///
/// # Errors
/// When it is for a platform that is not known, or its command line makes no sense.
pub fn read(manifest: &Manifest, config: &ImageConfig) -> Result<Parcel> {
    let monitor = Monitor::of_platform(&config.os).ok_or_else(|| {
        let why = format!("its system is `{}`, and kraftkit's are qemu, fc and xen", config.os.escape_debug());
        UnikernelError::said("platform", why)
    })?;
    let words = |part: &Option<Vec<String>>| part.clone().unwrap_or_default();
    let all = [words(&config.config.entrypoint), words(&config.config.cmd)].concat();
    let line = all.join(" ");
    is_line(&line).map_err(|why| UnikernelError::said("Cmd", format!("it {why}")))?;
    let place = |key: &str, kinds: &[&str]| {
        let annotated = manifest.layers.iter().find_map(|layer| layer.annotations.get(key).cloned());
        let layer = manifest.layers.iter().position(|layer| raw(&layer.media_type, kinds)).map(Place::Layer);
        layer.or(annotated.map(Place::Path))
    };
    let path = |key: &str, place: Place| match &place {
        Place::Path(path) if !kiln_oci::name::is_normal(path.trim_start_matches('/').as_bytes()) => {
            Err(UnikernelError::said(key, format!("`{}` is no path in an image", path.escape_debug())))
        }
        _ => Ok(place),
    };
    let kernel = place(KERNEL_PATH, &RAW_KERNEL).unwrap_or_else(|| Place::Path(KERNEL.to_owned()));
    let initrd = place(INITRD_PATH, &RAW_INITRD).unwrap_or_else(|| Place::Perhaps(INITRD.to_owned()));
    Ok(Parcel {
        form: Form::Kraftkit,
        kind: Kind::Unikraft,
        version: manifest.annotations.get(VERSION).cloned().or_else(|| config.os_version.clone()),
        monitor,
        line,
        architecture: config.platform().normalise().architecture,
        kernel: path(KERNEL_PATH, kernel)?,
        initrd: Some(path(INITRD_PATH, initrd)?),
        block: None,
        mounted: false,
    })
}

/// Whether a layer's type is one of these, compressed or not.
fn raw(media_type: &str, kinds: &[&str]) -> bool {
    kinds.contains(&media_type.strip_suffix("+gzip").unwrap_or(media_type))
}
