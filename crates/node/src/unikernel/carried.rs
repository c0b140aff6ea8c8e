//! Kernels that images carry: what the image says of them, and their files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_engine::images::Images;
use kiln_engine::rootfs::Root;
use kiln_oci::compress::{self, Format};
use kiln_oci::tree::Follow;
use kiln_oci::{ImageConfig, Manifest};
use kiln_store::Store;
use kiln_unikernel::parcel::Place;
use kiln_unikernel::{Parcel, UnikernelError, kraftkit, urunc};

use super::Files;
use crate::error::{NodeError, Result};

/// Kernels, and files for them, are not larger.
const MAX_FILE: u64 = 16 << 30;

/// What annotations, labels and the platform of an image say of a kernel in it; none when they say nothing.
///
/// # Errors
/// When they do, and it makes no sense.
pub fn said(title: &str, manifest: &Manifest, config: &ImageConfig) -> Result<Option<Parcel>> {
    let architecture = config.platform().normalise().architecture;
    let found = [&manifest.annotations, &config.config.labels].into_iter().find(|said| urunc::is_one(said));
    let parcel = match found {
        Some(said) => Some(urunc::read(said, &architecture)),
        None if kraftkit::is_one(manifest, config) => Some(kraftkit::read(manifest, config)),
        None => None,
    };
    parcel.transpose().map_err(|source| unusable(title, source))
}

/// The same, and if nothing is said there, what the file in the image says.
///
/// # Errors
/// As [`said`], and when the file cannot be read.
pub fn found(title: &str, manifest: &Manifest, config: &ImageConfig, root: &Root) -> Result<Option<Parcel>> {
    if let Some(parcel) = said(title, manifest, config)? {
        return Ok(Some(parcel));
    }
    let Some(bytes) = root
        .read_file(urunc::FILE.as_bytes(), urunc::MAX_FILE)
        .map_err(NodeError::file("read", format!("/{} of {title}", urunc::FILE)))?
    else {
        return Ok(None);
    };
    let architecture = config.platform().normalise().architecture;
    let parcel = urunc::read_file(&bytes).and_then(|said| urunc::read(&said, &architecture));
    parcel.map(Some).map_err(|source| unusable(title, source))
}

/// Takes the files out of an image into a directory.
///
/// # Errors
/// When one that the image speaks of is not in it, or cannot be read or written.
pub fn take(
    title: &str,
    parcel: &Parcel,
    (manifest, root): (&Manifest, &Root),
    (store, images): (&Store, &Images),
    into: &Path,
) -> Result<Files> {
    let one = |place: &Place, name: &str| -> Result<Option<PathBuf>> {
        let to = into.join(name);
        let (mut from, what): (Box<dyn Read + Send>, String) = match place {
            Place::Layer(number) => {
                let Some(layer) = manifest.layers.get(*number) else { return Ok(None) };
                images.fetch(layer)?;
                let blob = store.open_blob(&layer.digest).map_err(kiln_engine::EngineError::from)?;
                let what = format!("layer {number} of {title}");
                match layer.media_type.ends_with("+gzip") {
                    true => (compress::decompress(Format::Gzip, blob, Some(MAX_FILE)), what),
                    false => (Box::new(blob), what),
                }
            }
            Place::Path(path) | Place::Perhaps(path) => {
                let said = |why: &str| {
                    let source = UnikernelError::Said { key: path.escape_debug().to_string(), why: why.to_owned() };
                    unusable(title, source)
                };
                let found = root.tree.lookup(path.trim_start_matches('/').as_bytes(), Follow::All);
                let found = found.map_err(|e| said(&e.to_string()))?;
                let Some(file) = found.as_ref().and_then(|found| found.node.file()) else {
                    return match (place, found.is_some()) {
                        (Place::Perhaps(_), false) => Ok(None),
                        (_, true) => Err(said("it is no file")),
                        (_, false) => Err(said("the image says that it is there, and it is not")),
                    };
                };
                let what = format!("{} of {title}", path.escape_debug());
                (root.open_file(file).map_err(NodeError::file("read", &what))?, what)
            }
        };
        let mut out = File::create(&to).map_err(NodeError::file("write", &to))?;
        let copied = io::copy(&mut (&mut from).take(MAX_FILE + 1), &mut out).map_err(NodeError::file("copy", &what))?;
        if copied > MAX_FILE {
            let source = UnikernelError::Said { key: what, why: format!("it is larger than {MAX_FILE} bytes") };
            return Err(unusable(title, source));
        }
        Ok(Some(to))
    };
    let missing = || unusable(title, UnikernelError::NoKernel("the image has no kernel".to_owned()));
    Ok(Files {
        kernel: one(&parcel.kernel, "kernel")?.ok_or_else(missing)?,
        initrd: parcel.initrd.as_ref().map(|place| one(place, "initrd")).transpose()?.flatten(),
        disk: parcel.block.as_ref().map(|path| one(&Place::Path(path.clone()), "disk")).transpose()?.flatten(),
    })
}

fn unusable(title: &str, source: UnikernelError) -> NodeError {
    NodeError::Unikernel { intent: "use the kernel in", title: title.to_owned(), source: Box::new(source) }
}
