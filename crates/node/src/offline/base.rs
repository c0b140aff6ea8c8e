//! What an offline build starts from.
//!
//! | base | is |
//! |---|---|
//! | a directory | a root directory, or an OCI layout when it holds `oci-layout` |
//! | a tar, compressed or not | a root directory in a file |
//! | `oci-layout://DIR[:TAG]` | an image in a layout |
//! | `docker-image://NAME`, or another name | an image of the store, or of its registry |
//! | a disk: raw, qcow2, VHD, VMDK | the root file system in it ([`super::disk`]) |
//!
//! What is at an address (`http`, `https`) is fetched by the builder before, and is one of the files here.
//!
//! Files become a layer of the store first. Whether that was done before is told by the inode, size and times of a
//! tar's or disk's file, and by the content of a directory.
//!
//! Adding a kind of base: a variant of [`Base`], and how it becomes an image in [`Base::prepare`].

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_disk::root::Content;
use kiln_engine::archive::import;
use kiln_engine::transfer::Mover;
use kiln_engine::{EngineError, Session};
use kiln_oci::compress::Compression;
use kiln_oci::{Digest, Platform};
use kiln_plan::options::NamedContext;

use super::disk::BaseDisk;
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
    /// A disk with one.
    Disk(PathBuf),
    /// An image of an OCI layout.
    Layout(String),
    /// An image by its name.
    Image(String),
}

/// First bytes of formats of disks.
const DISKS: [&[u8]; 6] = [b"QFI\xfb", b"KDMV", b"vhdxfile", b"conectix", b"COWD", b"# Disk DescriptorFile"];

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
            return Base::of_file(path);
        }
        let like_a_path = text.starts_with(['/', '.']) || text.starts_with("file://");
        if like_a_path || text.parse::<kiln_oci::Reference>().is_err() {
            return Err(NodeError::Base {
                base: text.to_owned(),
                why: "there is no such file or directory, and it is no name of an image".to_owned(),
                hint: Some(
                    "a base is a root directory, a tar of one, a disk, the address of one of these, oci-layout://DIR, or \
                     docker-image://NAME"
                        .to_owned(),
                ),
            });
        }
        Ok(Base::Image(text.to_owned()))
    }

    /// What is in a file: a disk, or else a tar.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: PathBuf) -> Result<Base> {
        Ok(if is_disk(&path)? { Base::Disk(path) } else { Base::Tar(path) })
    }

    /// The file that it is, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Base::Tar(path) | Base::Disk(path) => Some(path),
            Base::Directory(_) | Base::Layout(_) | Base::Image(_) => None,
        }
    }

    /// Opens the base if it is a disk.
    ///
    /// # Errors
    /// When it is one that cannot be a base.
    pub fn disk(&self) -> Result<Option<BaseDisk>> {
        match self {
            Base::Disk(path) => BaseDisk::open(path).map(Some),
            _ => Ok(None),
        }
    }

    /// The base as an image that a Dockerfile can begin with. `disk` is what [`Base::disk`] gave.
    ///
    /// # Errors
    /// When it cannot be read, or the store cannot keep it.
    pub fn prepare(&self, disk: Option<&BaseDisk>, session: &Session, platform: &Platform) -> Result<NamedContext> {
        match (self, disk) {
            (Base::Image(name), _) => Ok(NamedContext::Image(name.clone())),
            (Base::Layout(text), _) => Ok(NamedContext::OciLayout(text.clone())),
            (Base::Disk(path), Some(disk)) => remembered(session, &format!("{platform} {}", disk.key()), || {
                let digest = piped(session, platform, path, |out| disk.pack(out))?;
                disk.same().map(|()| digest)
            }),
            (Base::Disk(path), None) => {
                let disk = BaseDisk::open(path)?;
                self.prepare(Some(&disk), session, platform)
            }
            (Base::Tar(path), _) => {
                let meta = path.metadata().map_err(NodeError::file("read", path))?;
                let real = path.canonicalize().map_err(NodeError::file("read", path))?;
                let state = (real.display().to_string(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ino());
                remembered(session, &format!("{platform} {state:?}"), || {
                    let input = import::open(&kiln_engine::archive::Input::Path(path.clone()))?;
                    take(session, input, &path.display().to_string(), platform)
                })
            }
            (Base::Directory(dir), _) => {
                piped(session, platform, dir, |out| rootfs::pack(dir, out)).map(|digest| image(&digest))
            }
        }
    }
}

/// The image that a record says was made before, or that `make` makes now.
fn remembered(session: &Session, key: &str, make: impl FnOnce() -> Result<Digest>) -> Result<NamedContext> {
    if let Some(known) = session.store.cache_get(RECORD, key)
        && let Some(digest) = whole(session, &known)
    {
        return Ok(image(&digest));
    }
    let digest = make()?;
    session.store.cache_put(RECORD, key, digest.to_string().as_bytes()).map_err(EngineError::from)?;
    Ok(image(&digest))
}

/// Makes an image of what `pack` writes as a tar.
fn piped(
    session: &Session,
    platform: &Platform,
    from: &Path,
    pack: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
) -> Result<Digest> {
    let (reader, mut writer) = std::io::pipe().map_err(NodeError::file("read", from))?;
    let title = from.display().to_string();
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let packed = pack(&mut writer);
            drop(writer.flush());
            packed
        });
        let taken = take(session, Box::new(reader), &title, platform);
        // A reader that gave up makes the writer fail, too: what the reader says comes first unless what is packed
        // was itself at fault.
        match (packing.join(), taken) {
            (Ok(Ok(())), taken) => taken,
            (Ok(Err(packing)), Err(taken)) => match packing {
                NodeError::File { ref source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => Err(taken),
                packing => Err(packing),
            },
            (Ok(Err(packing)), Ok(_)) => Err(packing),
            (Err(panic), _) => std::panic::resume_unwind(panic),
        }
    })
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

/// Whether a file is a disk, by its first bytes and the end of the first sector; a file system alone is one, too.
fn is_disk(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(NodeError::file("open", path))?;
    (&file).take(2048).read_to_end(&mut start).map_err(NodeError::file("read", path))?;
    let boots = start.get(510..512) == Some(&[0x55, 0xaa]);
    let gpt = start.get(512..520) == Some(b"EFI PART");
    let ext = start.get(1080..1082) == Some(&[0x53, 0xef]);
    let files = ext || matches!(Content::of(&file), Content::Xfs | Content::Btrfs);
    // The header of a tar has its magic at 257, where a boot sector has code.
    let tar = start.get(257..262) == Some(b"ustar");
    Ok(DISKS.iter().any(|magic| start.starts_with(magic)) || ((boots || files) && !tar) || gpt)
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
        std::fs::write(at("a.xfs"), b"XFSB\0\0\x10\0").unwrap();
        std::fs::write(at("a.btrfs"), [&[0; 0x1_0040][..], b"_BHRfS_M"].concat()).unwrap();
        assert_eq!(Base::find(&at("root")).unwrap(), Base::Directory(at("root").into()));
        assert_eq!(Base::find(&at("layout")).unwrap(), Base::Layout(at("layout")));
        assert_eq!(Base::find(&at("a.tar")).unwrap(), Base::Tar(at("a.tar").into()));
        assert_eq!(Base::find("debian:12").unwrap(), Base::Image("debian:12".to_owned()));
        for disk in ["a.qcow2", "a.raw", "a.xfs", "a.btrfs"] {
            assert_eq!(Base::find(&at(disk)).unwrap(), Base::Disk(at(disk).into()));
        }
        let error = Base::find(&at("gone")).unwrap_err();
        assert!(error.to_string().contains("no such file") && error.hint().is_some(), "{error}");
    }
}
