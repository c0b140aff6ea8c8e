//! Where an image goes: several places at once, each from the same layers.
//!
//! [`image`] a name in the store     [`registry`] a push     [`archive`] one file, OCI or docker, or an OCI layout
//! [`files`] the file system itself, as a directory or a tar     [`disk`] a bootable disk
//! [`rebuilt`] a disk whose root is replaced, with its [`subvolumes`]     [`microvm`] a machine with one application
//!
//! [`ahead`] layers pushed before the image is whole

pub mod ahead;
pub mod archive;
pub mod disk;
pub mod files;
pub mod image;
pub mod microvm;
pub mod rebuilt;
pub mod registry;
mod subvolumes;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_disk::layout::Spec;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Index, Manifest, Reference, media};

use crate::attest::Attached;
use crate::build::{self, Image};
use crate::error::Result;
use crate::event::{Phase, Spending};
use crate::session::Session;

/// A file or directory, or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dest {
    /// Standard output.
    Stdout,
    /// A path.
    Path(PathBuf),
}

/// Looks at a file; the reason when it is to have no name.
pub type Look = dyn Fn(&File) -> std::result::Result<(), String> + Send + Sync;

/// What looks at a file that has no name yet.
#[derive(Clone)]
pub struct Inspect(pub Arc<Look>);

impl std::fmt::Debug for Inspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspect").finish_non_exhaustive()
    }
}

impl PartialEq for Inspect {
    fn eq(&self, other: &Inspect) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Inspect {}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Names in the store.
    Image {
        /// The names; without one, the image is only kept as long as nothing prunes it.
        names: Vec<Reference>,
    },
    /// A push to registries.
    Registry {
        /// The names.
        names: Vec<Reference>,
        /// Whether the image is there under its digest only: its tags are then somebody else's to move.
        by_digest: bool,
    },
    /// An archive of an OCI layout.
    OciArchive {
        /// The names in it.
        names: Vec<Reference>,
        /// Where to.
        dest: Dest,
    },
    /// A directory with an OCI layout.
    OciLayout {
        /// The names in it.
        names: Vec<Reference>,
        /// Where to.
        dest: PathBuf,
    },
    /// An archive that `docker load` reads.
    DockerArchive {
        /// The names in it.
        names: Vec<Reference>,
        /// Where to.
        dest: Dest,
    },
    /// The files of the image in a directory.
    Local {
        /// Where to.
        dest: PathBuf,
    },
    /// The files of the image as a tar.
    Tar {
        /// Where to.
        dest: Dest,
    },
    /// The files of the image as a disk that boots.
    Disk {
        /// Where to.
        dest: PathBuf,
        /// What it is to be like.
        spec: Box<Spec>,
        /// What looks at it before it is there.
        inspect: Option<Inspect>,
    },
    /// The image as a machine with one application: a directory with a kernel and an initramfs.
    MicroVm {
        /// Where to.
        dest: PathBuf,
        /// What it is to be like.
        spec: microvm::MicroVm,
    },
}

/// What images are called together: one manifest, or an index over several.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// One image a platform.
    pub images: Vec<Image>,
    /// Attestations of them.
    pub attached: Vec<Attached>,
    /// The manifest of the only image, or the index.
    pub root: Descriptor,
    /// The bytes of the root.
    pub root_bytes: Vec<u8>,
}

impl Artifact {
    /// Joins images and what is said of them; with `always_index`, an index is made even over a single one.
    ///
    /// # Errors
    /// When the index cannot be kept in the store.
    pub fn new(
        images: Vec<Image>,
        attached: Vec<Attached>,
        annotations: &Annotations,
        always_index: bool,
        session: &Session,
    ) -> Result<Artifact> {
        if let ([only], [], false) = (&images[..], &attached[..], always_index) {
            let (root, root_bytes) = (only.descriptor.clone(), only.manifest_bytes.clone());
            return Ok(Artifact { images, attached, root, root_bytes });
        }
        let entries = images.iter().map(|i| &i.descriptor).chain(attached.iter().map(|a| &a.entry));
        let mut index = Index::new(entries.cloned().collect());
        index.annotations.clone_from(annotations);
        let root_bytes = serde_json::to_vec(&index).unwrap_or_default();
        session.store.put(&root_bytes)?;
        let root = Descriptor::of(media::OCI_INDEX, &root_bytes);
        Ok(Artifact { images, attached, root, root_bytes })
    }

    /// The images alone, for what can hold nothing else.
    ///
    /// # Errors
    /// When a document cannot be kept in the store.
    pub fn without_attestations(&self, session: &Session) -> Result<Artifact> {
        Artifact::new(self.images.clone(), Vec::new(), &Annotations::new(), self.images.len() > 1, session)
    }

    /// All blobs that are not documents, each once.
    pub fn blobs(&self) -> Vec<Descriptor> {
        build::blobs(self.manifests())
    }

    /// The manifests of images, and of what is said of them.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.images.iter().map(|i| &i.manifest).chain(self.attached.iter().map(|a| &a.manifest))
    }
}

impl Artifact {
    /// The same images with Docker's media types, for registries and tools that know no others. Blobs stay what they
    /// are; only documents differ. Attestations are not among them, for they are about other documents.
    ///
    /// # Errors
    /// When a document cannot be kept in the store.
    pub fn docker(&self, session: &Session) -> Result<Artifact> {
        let mut images = self.images.clone();
        for image in &mut images {
            let manifest = &mut image.manifest;
            manifest.media_type = Some(media::DOCKER_MANIFEST.to_owned());
            for descriptor in manifest.layers.iter_mut().chain([&mut manifest.config]) {
                descriptor.media_type = media::to_docker(&descriptor.media_type).to_owned();
            }
            image.manifest_bytes = serde_json::to_vec(manifest).unwrap_or_default();
            session.store.put(&image.manifest_bytes)?;
            let platform = image.descriptor.platform.take();
            image.descriptor = Descriptor { platform, ..Descriptor::of(media::DOCKER_MANIFEST, &image.manifest_bytes) };
        }
        if let ([only], false) = (&images[..], media::is_index(&self.root.media_type)) {
            let (root, root_bytes) = (only.descriptor.clone(), only.manifest_bytes.clone());
            return Ok(Artifact { images, attached: Vec::new(), root, root_bytes });
        }
        let mut index = Index::new(images.iter().map(|i| i.descriptor.clone()).collect());
        index.media_type = Some(media::DOCKER_LIST.to_owned());
        let root_bytes = serde_json::to_vec(&index).unwrap_or_default();
        session.store.put(&root_bytes)?;
        let root = Descriptor::of(media::DOCKER_LIST, &root_bytes);
        Ok(Artifact { images, attached: Vec::new(), root, root_bytes })
    }
}

/// Writes an artifact to one place.
///
/// # Errors
/// When the place cannot be written, or a blob cannot be had.
pub fn publish(output: &Output, artifact: &Artifact, session: &Session) -> Result<()> {
    session.check_cancelled()?;
    let phase = if matches!(output, Output::Registry { .. }) { Phase::Push } else { Phase::Export };
    let _spending = Spending::on(phase, &*session.events);
    match output {
        Output::Image { names } => image::publish(names, artifact, session),
        Output::Registry { names, by_digest } => registry::publish(names, *by_digest, artifact, session),
        Output::OciArchive { names, dest } => archive::publish(names, dest, false, artifact, session),
        Output::DockerArchive { names, dest } => archive::publish(names, dest, true, artifact, session),
        Output::OciLayout { names, dest } => archive::layout(names, dest, artifact, session),
        Output::Local { dest } => files::local(dest, artifact, session),
        Output::Tar { dest } => files::tar(dest, artifact, session),
        Output::Disk { dest, spec, inspect } => disk::publish(dest, spec, inspect.as_ref(), artifact, session),
        Output::MicroVm { dest, spec } => microvm::publish(dest, spec, artifact, session),
    }
}
