//! What comes out of an offline build.
//!
//! | format | is |
//! |---|---|
//! | `directory` | the root as files, with their owners where the builder may set them |
//! | `tar` | the root in one file |
//! | `oci` | an image in an archive of an OCI layout |
//! | `image` | an image in the store |
//! | `qcow2`, `raw`, … | the base, if that is a disk, with the root in its place; else a disk that boots, if the root has
//! a kernel and a boot loader |

use std::path::{Path, PathBuf};

use kiln_disk::image::{Compression, Format as Disk};
use kiln_disk::layout::Spec;
use kiln_engine::output::{self as engine, Artifact as Made, Dest, Output};
use kiln_engine::session::Session;
use kiln_oci::Reference;

use super::disk::BaseDisk;
use super::{Finished, marks};
use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::ui::BuildUi;

/// Which builder artifacts are of.
pub const BUILDER_ID: &str = "kiln.offline";

/// How the root is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Files in a directory.
    Directory,
    /// A tar of the files.
    Tar,
    /// An archive of an OCI layout.
    Oci,
    /// A name in the store.
    Image,
    /// A disk.
    Disk(Disk),
}

impl Format {
    /// All formats by their names.
    pub const NAMES: [(&'static str, Format); 4] =
        [("directory", Format::Directory), ("tar", Format::Tar), ("oci", Format::Oci), ("image", Format::Image)];

    /// The format of this name.
    pub fn by_name(name: &str) -> Option<Format> {
        let own = Format::NAMES.iter().find(|(n, _)| *n == name).map(|(_, format)| *format);
        own.or_else(|| Disk::parse(name).map(Format::Disk))
    }
}

/// Where the root goes.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How it is written.
    pub format: Format,
    /// The directory for files.
    pub directory: PathBuf,
    /// The name of the file in it, or of the image.
    pub name: String,
    /// The size of a disk in bytes; `None` for what its files need, or the base has.
    pub size: Option<u64>,
    /// How a qcow2 disk is compressed.
    pub compression: Option<Compression>,
}

impl Wanted {
    /// What is written, for formats that write.
    fn path(&self) -> Option<PathBuf> {
        Some(match self.format {
            Format::Directory => self.directory.join(&self.name),
            Format::Tar => self.directory.join(format!("{}.tar", self.name)),
            Format::Oci => self.directory.join(format!("{}.oci.tar", self.name)),
            // As Packer's qemu builder names it.
            Format::Disk(_) => self.directory.join(&self.name),
            Format::Image => return None,
        })
    }

    /// Makes room: what is there already is removed with `force`, and an error without. To be done before the work.
    ///
    /// # Errors
    /// When something is there, or the directory cannot be made.
    pub fn make_room(&self, force: bool, ui: &BuildUi) -> Result<()> {
        if self.path().is_none() {
            return self.reference().map(drop);
        }
        let dir = &self.directory;
        if dir.symlink_metadata().is_ok() {
            if !force {
                return Err(NodeError::Unsupported {
                    what: format!("Output directory already exists: {}", dir.display()),
                    hint: Some("remove it, or let -force remove it".to_owned()),
                });
            }
            if holds_work(dir) {
                return Err(NodeError::Unsupported {
                    what: format!("{} is where this command runs, and is not removed", dir.display()),
                    hint: Some("give output_directory a directory of its own".to_owned()),
                });
            }
            ui.say("Deleting previous output directory...");
            remove(dir)?;
        }
        std::fs::create_dir_all(dir).map_err(NodeError::file("make", dir))
    }

    /// Removes what [`Wanted::make_room`] made, after a failure.
    pub fn clean_up(&self, ui: &BuildUi) {
        if self.path().is_some() && self.directory.is_dir() {
            ui.say("Deleting output directory...");
            if let Err(e) = remove(&self.directory) {
                ui.error(&format!("Error deleting output directory: {e}"));
            }
        }
    }

    fn reference(&self) -> Result<Reference> {
        self.name.parse().map_err(|e: kiln_oci::reference::ReferenceError| NodeError::Unsupported {
            what: format!("`{}` cannot be the name of an image: {e}", self.name),
            hint: Some("vm_name is the image's name with format `image`".to_owned()),
        })
    }

    /// Writes the root.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &self,
        finished: &Finished,
        base: Option<&BaseDisk>,
        session: &Session,
        ui: &BuildUi,
    ) -> Result<Artifact> {
        let images = vec![finished.built.image.clone()];
        let made = Made::new(images, Vec::new(), &Default::default(), false, session)?;
        let digest = made.root.digest.to_string();
        let Some(path) = self.path() else {
            let name = self.reference()?;
            let text = format!("Image in the store: {} ({digest})", name.familiar());
            engine::publish(&Output::Image { names: vec![name] }, &made, session)?;
            return Ok(Artifact::of_files(BUILDER_ID, &digest, Vec::new(), text));
        };
        let output = match self.format {
            Format::Directory => Some(Output::Local { dest: path.clone() }),
            Format::Tar => Some(Output::Tar { dest: Dest::Path(path.clone()) }),
            Format::Disk(format) => self.disk(format, &path, (finished, base), &made, session, ui)?,
            Format::Oci | Format::Image => {
                let names = self.reference().into_iter().collect();
                Some(Output::OciArchive { names, dest: Dest::Path(path.clone()) })
            }
        };
        output.iter().try_for_each(|output| engine::publish(output, &made, session))?;
        let text = match self.format {
            Format::Disk(_) => format!("VM files in directory: {}", self.directory.display()),
            _ => format!("Root of the node: {}", path.display()),
        };
        let files = if self.format == Format::Directory { files_below(&path)? } else { vec![path] };
        let artifact = Artifact::of_files(BUILDER_ID, &self.name, files, text);
        Ok(Artifact { directory: Some(self.directory.clone()), ..artifact })
    }
}

impl Wanted {
    /// Writes a disk over its base, or says how a new one is to be.
    fn disk(
        &self,
        format: Disk,
        path: &Path,
        (finished, base): (&Finished, Option<&BaseDisk>),
        made: &Made,
        session: &Session,
        ui: &BuildUi,
    ) -> Result<Option<Output>> {
        let mut spec = Spec { format, size: self.size, compression: self.compression, ..Spec::default() };
        let layers = made.images.first().map_or(&[][..], |image| &image.layers);
        let (marks, vain) = marks::of(&finished.notes, &session.roots.tree(layers)?.tree);
        vain.iter().for_each(|text| ui.message(&format!("warning: not kept: {text}")));
        if let Some(base) = base {
            base.rebuild(path, &spec, &marks, made, session)?;
            return Ok(None);
        }
        let marks = marks.into_iter().map(|(path, marks)| (path, marks.apply(Default::default())));
        spec.flags = marks.filter(|(_, flags)| !flags.is_empty()).collect();
        Ok(Some(Output::Disk { dest: path.to_owned(), spec: Box::new(spec) }))
    }
}

/// Whether a directory is the working directory or above it.
fn holds_work(dir: &Path) -> bool {
    match (dir.canonicalize(), std::env::current_dir()) {
        (Ok(dir), Ok(here)) => here.starts_with(dir),
        _ => false,
    }
}

fn remove(dir: &Path) -> Result<()> {
    let removed = match dir.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(dir),
        _ => std::fs::remove_file(dir),
    };
    removed.map_err(NodeError::file("remove", dir))
}

/// The regular files below a directory, sorted.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(NodeError::file("list", &dir))? {
            let entry = entry.map_err(NodeError::file("list", &dir))?;
            let kind = entry.file_type().map_err(NodeError::file("read", entry.path()))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
