//! OCI image layouts that are not Kiln's store: read as a source, written as an output.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::{Descriptor, Digest, Index};
use kiln_store::Store;

use crate::error::{EngineError, Result};
use crate::images::MAX_DOCUMENT;

/// What a text such as `dir:tag`, `dir@sha256:…` or `dir` means.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory.
    pub dir: PathBuf,
    /// The manifest or index it names.
    pub descriptor: Descriptor,
}

/// Opens a blob.
pub type Open<'a> = dyn Fn(&Digest) -> Result<Box<dyn Read + Send + 'a>> + 'a;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Layout {
    /// Finds the image a text names.
    ///
    /// # Errors
    /// When there is no layout, or no single image of that name in it.
    pub fn find(text: &str) -> Result<Layout> {
        let (dir, wanted) = split(text);
        let index = index(&dir)?;
        let matches = |d: &&Descriptor| match &wanted {
            Wanted::Only => true,
            Wanted::Tag(tag) => {
                d.annotations.get(REF_NAME).is_some_and(|n| n == tag || n.ends_with(&format!(":{tag}")))
            }
            Wanted::Digest(digest) => d.digest == *digest,
        };
        let found: Vec<&Descriptor> = index.manifests.iter().filter(matches).collect();
        match found[..] {
            [one] => Ok(Layout { dir, descriptor: one.clone() }),
            [] => Err(bad(text, "the layout has no such image")),
            _ => Err(bad(text, "the layout has several images: name one with `:TAG` or `@DIGEST`")),
        }
    }
}

enum Wanted {
    Only,
    Tag(String),
    Digest(Digest),
}

fn split(text: &str) -> (PathBuf, Wanted) {
    if let Some((dir, digest)) = text.split_once('@')
        && let Ok(digest) = digest.parse()
    {
        return (PathBuf::from(dir), Wanted::Digest(digest));
    }
    if Path::new(text).is_dir() {
        return (PathBuf::from(text), Wanted::Only);
    }
    // A name may hold colons (`busybox:latest`) and a directory may, too: the directory is what is there.
    let mut splits = text.match_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let named = |(dir, name): (&str, &str)| (PathBuf::from(dir), Wanted::Tag(name.to_owned()));
    let there = splits.find(|(dir, _)| Path::new(dir).is_dir());
    there.or_else(|| text.rsplit_once(':')).map_or_else(|| (PathBuf::from(text), Wanted::Only), named)
}

fn bad(name: impl Into<String>, message: impl ToString) -> EngineError {
    EngineError::Image { name: name.into(), message: message.to_string() }
}

/// The `index.json` of a layout.
///
/// # Errors
/// When `dir` is not a layout.
pub fn index(dir: &Path) -> Result<Index> {
    let path = dir.join("index.json");
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(EngineError::file("read the OCI layout", &path))?;
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(EngineError::file("read the OCI layout", &path))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(path.display().to_string(), e))
}

/// The name of an image in a layout.
pub fn tag(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(REF_NAME).map(String::as_str)
}

/// Where a layout keeps a blob.
pub(crate) fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// Whether a layout has a blob of this name.
pub(crate) fn has(dir: &Path, digest: &Digest) -> bool {
    blob_path(dir, digest).is_file()
}

/// A document of a layout, verified.
///
/// # Errors
/// When it is missing, too large, or not what its digest says.
pub fn read(dir: &Path, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let path = blob_path(dir, &descriptor.digest);
    let file = File::open(&path).map_err(EngineError::file("read the blob", &path))?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(EngineError::file("read the blob", &path))?;
    let mut hasher = descriptor.digest.hasher();
    hasher.update(&bytes);
    match hasher.finish() == descriptor.digest {
        true => Ok(bytes),
        false => Err(bad(path.display().to_string(), "the blob is not what its digest says")),
    }
}

/// Copies a blob of a layout into the store, verified.
///
/// # Errors
/// When it is missing or not what its digest says.
pub fn copy(dir: &Path, descriptor: &Descriptor, store: &Store) -> Result<()> {
    let path = blob_path(dir, &descriptor.digest);
    let mut file = File::open(&path).map_err(EngineError::file("read the blob", &path))?;
    let mut writer = store.blob_writer()?.limit(descriptor.size);
    std::io::copy(&mut file, &mut writer).map_err(EngineError::file("copy the blob", &path))?;
    writer.commit(Some(&descriptor.digest), Some(descriptor.size))?;
    Ok(())
}

/// Writes `images` (name and descriptor) into a layout at `dir`, which is one, or empty, or not there; `open` gives the
/// blobs' bytes.
///
/// # Errors
/// When something is in the way, or a file cannot be written.
pub fn write(dir: &Path, images: &[(Option<String>, Descriptor)], blobs: &[Digest], open: &Open<'_>) -> Result<()> {
    let failed = |path: &Path| EngineError::file("write the OCI layout", path.to_path_buf());
    {
        let _alone = alone(dir)?;
        let marker = dir.join("oci-layout");
        if dir.read_dir().is_ok_and(|mut d| d.next().is_some()) && !marker.exists() {
            let source = std::io::Error::other("the directory is not empty and no OCI layout");
            return Err(failed(dir)(source));
        }
        let text = br#"{"imageLayoutVersion":"1.0.0"}"#;
        whole(&marker, |out| out.write_all(text).map_err(failed(&marker)))?;
    }
    for digest in blobs {
        let to = blob_path(dir, digest);
        std::fs::create_dir_all(to.parent().unwrap_or(dir)).map_err(failed(&to))?;
        if !to.exists() {
            whole(&to, |out| {
                std::io::copy(&mut open(digest)?, out).map_err(failed(&to))?;
                Ok(())
            })?;
        }
    }
    let _alone = alone(dir)?;
    let mut merged = if dir.join("index.json").exists() { index(dir)? } else { Index::new(Vec::new()) };
    for (name, descriptor) in images {
        let mut entry = descriptor.clone();
        if let Some(name) = name {
            entry.annotations.insert(REF_NAME.to_owned(), name.clone());
            merged.manifests.retain(|d| d.annotations.get(REF_NAME) != Some(name));
        } else {
            merged.manifests.retain(|d| d.digest != entry.digest);
        }
        merged.manifests.push(entry);
    }
    let bytes = serde_json::to_vec(&merged).unwrap_or_default();
    let to = dir.join("index.json");
    whole(&to, |out| out.write_all(&bytes).map_err(failed(&to)))
}

/// Waits until no one else changes what a layout lists: two at once would each forget the other's images.
fn alone(dir: &Path) -> Result<File> {
    let failed = |e| EngineError::file("lock the OCI layout", dir)(e);
    let handle = File::open(dir).map_err(failed)?;
    match handle.lock() {
        // Not every file system can.
        Err(e) if e.kind() != std::io::ErrorKind::Unsupported => Err(failed(e)),
        _ => Ok(handle),
    }
}

fn whole(path: &Path, f: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    crate::whole::write(path, "write the OCI layout", f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let blob = vec![7; 1 << 20];
        let digest = Digest::of(&blob);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (blob, digest) = (&blob, &digest);
                scope.spawn(move || {
                    let own = format!("document {n}").into_bytes();
                    let image = (Some(format!("v{n}")), Descriptor::of("application/json", &own));
                    let all = [digest.clone(), Digest::of(&own)];
                    let open = |d: &Digest| -> Result<Box<dyn Read + Send>> {
                        Ok(Box::new(std::io::Cursor::new(if d == digest { blob.clone() } else { own.clone() })))
                    };
                    write(dir, &[image], &all, &open).unwrap();
                });
            }
        });
        assert_eq!(std::fs::read(blob_path(dir, &digest)).unwrap(), blob);
        assert_eq!(index(dir).unwrap().manifests.len(), 8);
        for n in 0..8 {
            assert!(Layout::find(&format!("{}:v{n}", dir.display())).is_ok());
        }
        let rest: Vec<_> = dir.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(rest.len(), 3, "no temporary file is left: {rest:?}");
    }
}
