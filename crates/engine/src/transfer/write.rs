//! Images into files: archives and layouts. Blobs of other places are streamed into them.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use kiln_oci::archive::ArchiveImage;
use kiln_oci::{Descriptor, Digest, Reference};

use super::{Mover, Origin, Selection, image_error};
use crate::error::{EngineError, Result};
use crate::event::{Direction, Event};
use crate::layout;
use crate::output::{Dest, archive};

impl Mover<'_> {
    /// Opens a blob whose progress is told while it is read.
    fn told(&self, origin: &Origin, blob: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let inner = self.open(origin, blob)?;
        Ok(Box::new(Told { inner, mover: *self, name: blob.digest.short(), done: 0, total: blob.size }))
    }

    /// Writes images with their names as one archive; with `docker`, as `docker load` reads it.
    ///
    /// # Errors
    /// When a blob cannot be had or the file cannot be written.
    pub fn archive(&self, images: &[(Selection, Vec<Reference>)], docker: bool, dest: &Dest) -> Result<()> {
        archive::write_to(dest, |out| self.archive_into(images, docker, out))
    }

    /// The same into anything that can be written to.
    ///
    /// # Errors
    /// As [`Mover::archive`].
    pub fn archive_into(
        &self,
        images: &[(Selection, Vec<Reference>)],
        docker: bool,
        out: &mut dyn io::Write,
    ) -> Result<()> {
        let mut places: HashMap<Digest, (Origin, Descriptor)> = HashMap::new();
        let mut written = Vec::new();
        for (selection, names) in images {
            for blob in selection.blobs() {
                places.entry(blob.digest.clone()).or_insert_with(|| (selection.origin.clone(), blob));
            }
            written.push(ArchiveImage {
                names: names.clone(),
                root: selection.root.clone(),
                documents: selection.documents.iter().map(|(d, bytes)| (d.digest.clone(), bytes.clone())).collect(),
                manifests: selection.manifests.iter().map(|(_, manifest)| manifest.clone()).collect(),
            });
        }
        let open = |digest: &Digest| match places.get(digest) {
            Some((origin, blob)) => self.told(origin, blob),
            None => {
                Err(image_error(&digest.to_string(), "this layer may not be distributed, so no archive can hold it"))
            }
        };
        archive::write(&written, docker, &open, out, &|| self.check())
    }

    /// Adds an image to the OCI layout in a directory, under a tag if one is given.
    ///
    /// # Errors
    /// When a blob cannot be had or a file cannot be written.
    pub fn layout(&self, selection: &Selection, tag: Option<&str>, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(EngineError::file("make the OCI layout", dir))?;
        let documents: HashMap<&Digest, &[u8]> =
            selection.documents.iter().map(|(d, bytes)| (&d.digest, &**bytes)).collect();
        let blobs: HashMap<Digest, Descriptor> = selection.blobs().into_iter().map(|d| (d.digest.clone(), d)).collect();
        let open = |digest: &Digest| -> Result<Box<dyn Read + Send + '_>> {
            match (documents.get(digest), blobs.get(digest)) {
                (Some(bytes), _) => Ok(Box::new(std::io::Cursor::new(bytes.to_vec()))),
                (None, Some(blob)) => self.told(&selection.origin, blob),
                (None, None) => Err(image_error(&digest.to_string(), "the blob is not part of the image")),
            }
        };
        // Documents come last, so that none of them names a blob that is not there.
        let all: Vec<Digest> =
            blobs.keys().cloned().chain(selection.documents.iter().map(|(d, _)| d.digest.clone())).collect();
        layout::write(dir, &[(tag.map(str::to_owned), selection.root.clone())], &all, &open)
    }
}

/// A blob on its way into a file.
struct Told<'a> {
    inner: Box<dyn Read + Send>,
    mover: Mover<'a>,
    name: String,
    done: u64,
    total: u64,
}

impl Read for Told<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.mover.check().map_err(io::Error::other)?;
        let n = self.inner.read(buf)?;
        self.done += n as u64;
        if n > 0 {
            self.mover.events.event(&Event::Transfer {
                name: &self.name,
                direction: Direction::Export,
                current: self.done,
                total: Some(self.total),
                finished: self.done == self.total,
            });
        }
        Ok(n)
    }
}
