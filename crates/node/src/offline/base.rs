//! What an offline build starts from.
//!
//! | base | is |
//! |---|---|
//! | a directory | a root directory, or an OCI layout when it holds `oci-layout` |
//! | a tar, compressed or not | a root directory in a file |
//! | `oci-layout://DIR[:TAG]` | an image in a layout |
//! | `docker-image://NAME`, or another name | an image of the store, or of its registry |
//! | a disk | refused so far, with the reason |
//!
//! Files become a layer of the store first. Whether that was done before is told by the size and time of a tar's file, and
//! by the content of a directory.
//!
//! Adding a kind of base: a variant of [`Base`], and how it becomes an image in [`Base::prepare`].

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_engine::archive::import;
use kiln_engine::transfer::Mover;
use kiln_engine::{EngineError, Session};
use kiln_oci::compress::Compression;
use kiln_oci::{Digest, Platform};
use kiln_plan::options::NamedContext;

use super::rootfs;
use crate::error::{NodeError, Result};

/// The name of the base in the Dockerfile that a build is.
pub const NAME: &str = "kiln-base";
/// The kind of the record that remembers which image a tar became.
const RECORD: &str = "node-base";
/// The repository that images of files have; they are found by their digest only.
const REPOSITORY: &str = "kiln-base.invalid/files";

/// A base, by what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A root directory.
    Directory(PathBuf),
    /// A tar of one.
    Tar(PathBuf),
    /// An image of an OCI layout.
    Layout(String),
    /// An image by its name.
    Image(String),
}

/// First bytes of formats of disks.
const DISKS: [(&[u8], &str); 4] =
    [(b"QFI\xfb", "qcow2"), (b"KDMV", "VMDK"), (b"vhdxfile", "VHDX"), (b"conectix", "VHD")];

impl Base {
    /// What a text means.
    ///
    /// # Errors
    /// When it names a file that can be no base.
    pub fn find(text: &str) -> Result<Base> {
        if let Some(name) = text.strip_prefix("docker-image://") {
            return Ok(Base::Image(name.to_owned()));
        }
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            return Ok(Base::Layout(layout.to_owned()));
        }
        let path = PathBuf::from(text.strip_prefix("file://").unwrap_or(text));
        if path.is_dir() {
            return Ok(match path.join("oci-layout").is_file() {
                true => Base::Layout(path.display().to_string()),
                false => Base::Directory(path),
            });
        }
        if path.is_file() {
            return match disk_format(&path)? {
                None => Ok(Base::Tar(path)),
                Some(format) => Err(NodeError::Base {
                    base: text.to_owned(),
                    why: format!("it is a disk ({format}), and the offline builder cannot read disks yet"),
                    hint: Some("give its root directory or a tar of it as the base: -base DIR|FILE.tar".to_owned()),
                }),
            };
        }
        let like_a_path = text.starts_with(['/', '.']) || text.starts_with("file://");
        if like_a_path || text.parse::<kiln_oci::Reference>().is_err() {
            return Err(NodeError::Base {
                base: text.to_owned(),
                why: "there is no such file or directory, and it is no name of an image".to_owned(),
                hint: Some(
                    "a base is a root directory, a tar of one, oci-layout://DIR, or docker-image://NAME".to_owned(),
                ),
            });
        }
        Ok(Base::Image(text.to_owned()))
    }

    /// The base as an image that a Dockerfile can begin with.
    ///
    /// # Errors
    /// When it cannot be read, or the store cannot keep it.
    pub fn prepare(&self, session: &Session, platform: &Platform) -> Result<NamedContext> {
        match self {
            Base::Image(name) => Ok(NamedContext::Image(name.clone())),
            Base::Layout(text) => Ok(NamedContext::OciLayout(text.clone())),
            Base::Tar(path) => {
                let meta = path.metadata().map_err(NodeError::file("read", path))?;
                let real = path.canonicalize().map_err(NodeError::file("read", path))?;
                let state = (real.display().to_string(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ino());
                let key = format!("{platform} {state:?}");
                if let Some(known) = session.store.cache_get(RECORD, &key)
                    && let Some(digest) = whole(session, &known)
                {
                    return Ok(image(&digest));
                }
                let input = import::open(&kiln_engine::archive::Input::Path(path.clone()))?;
                let digest = take(session, input, &path.display().to_string(), platform)?;
                session.store.cache_put(RECORD, &key, digest.to_string().as_bytes()).map_err(EngineError::from)?;
                Ok(image(&digest))
            }
            Base::Directory(dir) => {
                let (reader, mut writer) = std::io::pipe().map_err(NodeError::file("read", dir))?;
                let title = dir.display().to_string();
                std::thread::scope(|scope| {
                    let packing = scope.spawn(move || {
                        let packed = rootfs::pack(dir, &mut writer);
                        drop(writer.flush());
                        packed
                    });
                    let taken = take(session, Box::new(reader), &title, platform);
                    // A reader that gave up makes the writer fail, too: what the reader says comes first unless the
                    // directory itself was at fault.
                    match (packing.join(), taken) {
                        (Ok(Ok(())), taken) => taken.map(|digest| image(&digest)),
                        (Ok(Err(packing)), Err(taken)) => match packing {
                            NodeError::File { ref source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => {
                                Err(taken)
                            }
                            packing => Err(packing),
                        },
                        (Ok(Err(packing)), Ok(_)) => Err(packing),
                        (Err(panic), _) => std::panic::resume_unwind(panic),
                    }
                })
            }
        }
    }
}

/// The digest that a record holds, if all of that image is in the store.
fn whole(session: &Session, record: &[u8]) -> Option<Digest> {
    let digest: Digest = std::str::from_utf8(record).ok()?.parse().ok()?;
    let bytes = session.store.read_blob(&digest, 1 << 20).ok()?;
    let manifest: kiln_oci::Manifest = serde_json::from_slice(&bytes).ok()?;
    let mut blobs = manifest.layers.iter().chain([&manifest.config]);
    blobs.all(|blob| session.store.has_blob(&blob.digest)).then_some(digest)
}

fn image(digest: &Digest) -> NamedContext {
    NamedContext::Image(format!("{REPOSITORY}@{digest}"))
}

/// Makes an image of a tar, dated at the epoch so that the same files are the same image.
fn take(session: &Session, tar: Box<dyn Read + Send>, title: &str, platform: &Platform) -> Result<Digest> {
    let mover =
        Mover { store: &session.store, images: &session.images, events: &*session.events, cancel: &session.cancel };
    let wanted = import::Wanted {
        changes: &[],
        message: Some("base of a node image"),
        platform,
        created: 0,
        compression: Compression::Zstd { level: 1 },
    };
    Ok(import::import(&mover, tar, title, &wanted, None)?.digest)
}

/// Which format of disks a file has, by its first bytes, and the end of the first sector.
fn disk_format(path: &Path) -> Result<Option<&'static str>> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(NodeError::file("read", path))?;
    file.take(1024).read_to_end(&mut start).map_err(NodeError::file("read", path))?;
    if let Some((_, name)) = DISKS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Ok(Some(name));
    }
    let boots = start.get(510..512) == Some(&[0x55, 0xaa]);
    let gpt = start.get(512..520) == Some(b"EFI PART");
    // The header of a tar has its magic at 257, where a boot sector has code.
    let tar = start.get(257..262) == Some(b"ustar");
    Ok(((boots && !tar) || gpt).then_some("raw"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir(at("root")).unwrap();
        std::fs::create_dir(at("layout")).unwrap();
        std::fs::write(at("layout/oci-layout"), "{}").unwrap();
        std::fs::write(at("a.tar"), "").unwrap();
        std::fs::write(at("a.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
        let mut sector = vec![0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(at("a.raw"), sector).unwrap();
        assert_eq!(Base::find(&at("root")).unwrap(), Base::Directory(at("root").into()));
        assert_eq!(Base::find(&at("layout")).unwrap(), Base::Layout(at("layout")));
        assert_eq!(Base::find(&at("a.tar")).unwrap(), Base::Tar(at("a.tar").into()));
        assert_eq!(Base::find("debian:12").unwrap(), Base::Image("debian:12".to_owned()));
        for (bad, why) in [("a.qcow2", "a disk (qcow2)"), ("a.raw", "a disk (raw)"), ("gone", "no such file")] {
            let error = Base::find(&at(bad)).unwrap_err();
            assert!(error.to_string().contains(why) && error.hint().is_some(), "{error}");
        }
    }
}
