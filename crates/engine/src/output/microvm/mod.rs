//! An image as a machine with one application: a directory with a kernel, an initramfs, the kernel's command line, and a
//! manifest that says what they are.
//!
//! The image's files go straight from its layers into the initramfs; Kiln's first process comes beside them, with the
//! modules it loads and the application that the image's configuration names. The same image and kernel give the same
//! bytes.
//!
//! [`manifest`] the file that `kiln node run` reads     [`application`] from the image's configuration
//! [`kernel`] where the kernel and its modules come from

mod application;
mod kernel;
pub mod manifest;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_init::cpio::{Archive, Inode, Meta, Special};
use kiln_init::guest::application::Application;
use kiln_init::guest::place;
use kiln_init::initramfs;
use kiln_init::modules::Module;
use kiln_oci::compress::{Compression, Compressor};
use kiln_oci::digest::HashWriter;
use kiln_oci::{Entry, EntryKind};

use self::manifest::{Described, Kernel, Manifest, Part};
use super::{Artifact, files};
use crate::error::{EngineError, Result};
use crate::event::Event;
use crate::rootfs::{Root, chain_text};
use crate::session::Session;
use crate::whole;

/// What a user says about such a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MicroVm {
    /// Where the kernel is.
    pub kernel: KernelFrom,
    /// Where its modules are.
    pub modules: Modules,
    /// What is added to the kernel's command line.
    pub cmdline: String,
    /// The machine's name.
    pub hostname: Option<String>,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KernelFrom {
    /// It is the newest of the image.
    #[default]
    Found,
    /// A path in the image.
    Image(String),
    /// A file of this machine.
    File(PathBuf),
}

/// Where a kernel's modules come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Modules {
    /// Where they belong: `/lib/modules/VERSION` of the image; for a kernel of this machine, then beside its `/boot`.
    #[default]
    Found,
    /// A directory of this machine.
    Directory(PathBuf),
    /// There are none: the drivers are built in.
    None,
}

const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const CMDLINE: &str = "cmdline";
/// The machine's name unless something says it.
const HOSTNAME: &str = "microvm";

/// Writes the directory.
///
/// # Errors
/// When the image is none for such a machine, there is no kernel, or a file cannot be read or written.
pub fn publish(dest: &Path, spec: &MicroVm, artifact: &Artifact, session: &Session) -> Result<()> {
    let [only] = &artifact.images[..] else {
        let what = "type=microvm: a machine is of one platform, and the image has several".to_owned();
        return Err(EngineError::Unsupported(what));
    };
    if (&*only.platform.os, &*only.platform.architecture) != ("linux", "amd64") {
        let what = format!("type=microvm: machines for {} are not there yet", only.platform);
        return Err(EngineError::Unsupported(what));
    }
    let failed = |message: String, hint: Option<&str>| refused(dest, message, hint);
    check_cmdline(&spec.cmdline).map_err(|why| failed(why, None))?;
    let root = session.roots.tree(&only.layers)?;
    let application = application::of(&only.config.config, spec.hostname.as_deref().unwrap_or(HOSTNAME), &root)
        .map_err(|(why, hint)| failed(why, hint))?;
    let found = kernel::find(spec, &root).map_err(|(why, hint)| failed(why, hint.as_deref()))?;
    std::fs::create_dir_all(dest).map_err(EngineError::file("make", dest))?;
    // Without its manifest a directory is no machine: it goes first and comes last.
    let manifest = dest.join(manifest::FILE);
    if !manifest::may_be_replaced(&manifest).map_err(EngineError::file("read", &manifest))? {
        let message = format!("there is a {} that is no machine's", manifest::FILE);
        return Err(failed(message, Some("give another directory: dest=DIR")));
    }
    match std::fs::remove_file(&manifest) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(EngineError::file("replace", &manifest)(e)),
        _ => {}
    }
    let cmdline = command_line(&spec.cmdline);
    let kernel =
        part(dest, KERNEL, |out| out.write_all(&found.bytes).map(|()| 0).map_err(EngineError::file("write", dest)))?;
    let initramfs = part(dest, INITRAMFS, |out| fill(out, dest, &root, &found, &application, session))?;
    part(dest, CMDLINE, |out| writeln!(out, "{cmdline}").map(|()| 0).map_err(EngineError::file("write", dest)))?;
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let made = Manifest {
        version: manifest::VERSION,
        architecture: only.platform.architecture.clone(),
        image: only.descriptor.digest.to_string(),
        kernel: Kernel { part: kernel, version: found.version.clone(), modules: found.modules.len() as u64 },
        initramfs,
        cmdline,
        application: Described {
            arguments: application.arguments.iter().map(text).collect(),
            user: application.user,
            directory: text(&application.directory),
            ports: only.config.config.exposed_ports.keys().cloned().collect(),
        },
    };
    whole::write(&manifest, "write", |out| {
        out.write_all(made.text().as_bytes()).map_err(EngineError::file("write", &manifest))
    })
}

/// An error about the machine `dest`.
pub(super) fn refused(dest: &Path, message: String, hint: Option<&str>) -> EngineError {
    EngineError::MicroVm { path: dest.to_owned(), message, hint: hint.map(str::to_owned) }
}

/// The words of the kernel, then the user's. Only what is urgent is said on the console, which is the application's.
fn command_line(more: &str) -> String {
    let own = format!("console=ttyS0 loglevel=3 panic=-1 rdinit={}", place::PROGRAM);
    format!("{own} {more}").trim_end().to_owned()
}

fn check_cmdline(text: &str) -> Result<(), String> {
    if text.len() > 1024 {
        return Err("kernel_cmdline has more than 1024 bytes".to_owned());
    }
    match text.chars().find(|c| c.is_control() || !c.is_ascii()) {
        Some(c) => Err(format!("kernel_cmdline has {c:?}, which the kernel does not read")),
        None => Ok(()),
    }
}

/// Writes one file of the directory, and says what it is. `write` gives the size it has when it is unpacked, or 0.
fn part(dest: &Path, name: &str, write: impl FnOnce(&mut dyn Write) -> Result<u64>) -> Result<Part> {
    let path = dest.join(name);
    let mut said = None;
    whole::write(&path, "write", |out| {
        let mut hashed = HashWriter::new(&mut *out);
        let unpacked = write(&mut hashed)?;
        let (_, digest, size) = hashed.finish();
        let unpacked = if unpacked == 0 { size } else { unpacked };
        said = Some(Part { file: name.to_owned(), size, digest: digest.to_string(), unpacked });
        Ok(())
    })?;
    said.ok_or_else(|| refused(dest, format!("{name} was not written"), None))
}

/// Writes the initramfs; gives its size before it is compressed.
fn fill(
    out: &mut dyn Write,
    dest: &Path,
    root: &Root,
    kernel: &kernel::Found,
    application: &Application,
    session: &Session,
) -> Result<u64> {
    let failed = |e: kiln_init::InitError| refused(dest, chain_text(&e), None);
    let threads = session.compress_threads();
    let mut archive = Archive::new(Compressor::new(out, Compression::default(), threads));
    image(&mut archive, dest, root, &kernel.left_out, session)?;
    let modules: &[Module] = &kernel.modules;
    initramfs::beside_image(&mut archive, "x86_64", modules, application).map_err(failed)?;
    let length = archive.len();
    let packed = archive.finish().map_err(failed)?;
    packed.finish().map_err(EngineError::file("write", dest))?;
    Ok(length)
}

/// The image's files, without the kernel that lies beside them, and with what the kernel mounts its own over.
fn image<W: Write>(
    archive: &mut Archive<W>,
    dest: &Path,
    root: &Root,
    left_out: &[Vec<u8>],
    session: &Session,
) -> Result<()> {
    let failed = |e: kiln_init::InitError| refused(dest, chain_text(&e), None);
    let below = |path: &[u8], dir: &[u8]| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    let own = place::DIRECTORY.trim_start_matches('/').as_bytes();
    // Devices are the kernel's, whatever the image has of them.
    let without = |path: &[u8]| left_out.iter().any(|dir| below(path, dir)) || below(path, b"dev");
    let (entries, bodies) = files::entries_but(&root.tree, without);
    if let Some(entry) = entries.iter().find(|e| below(&e.path, own)) {
        let what = format!("the image has `/{}`, where Kiln's first process lies", entry.path.escape_ascii());
        return Err(refused(dest, what, None));
    }
    for dir in [&b"dev"[..], b"proc", b"sys"] {
        if dir == b"dev" || !entries.iter().any(|e| e.path == dir) {
            archive.directory(dir, Meta::mode(0o755)).map_err(failed)?;
        }
    }
    initramfs::devices(archive).map_err(failed)?;
    let mut names: HashMap<&[u8], u32> = HashMap::new();
    for entry in &entries {
        if let EntryKind::Hardlink { target } = &entry.kind {
            *names.entry(target).or_insert(1) += 1;
        }
    }
    let mut inodes: BTreeMap<&[u8], Inode> = BTreeMap::new();
    for entry in &entries {
        session.check_cancelled()?;
        if !entry.meta.xattrs.is_empty() {
            let text = format!("`/{}` loses its capabilities: an initramfs holds none", entry.path.escape_ascii());
            session.events.event(&Event::Warning(&text));
        }
        let many = names.get(&*entry.path).copied().unwrap_or(1);
        let mut body: Box<dyn Read> = match bodies.get(&entry.path) {
            Some(file) if matches!(entry.kind, EntryKind::File { .. }) => root
                .open_file(file)
                .map_err(|e| refused(dest, format!("cannot read `/{}`: {e}", entry.path.escape_ascii()), None))?,
            _ => Box::new(io::empty()),
        };
        let inode = put(archive, entry, &mut *body, many, &inodes, &names).map_err(failed)?;
        if let Some(inode) = inode {
            inodes.insert(&entry.path, inode);
        }
    }
    Ok(())
}

fn put<W: Write>(
    archive: &mut Archive<W>,
    entry: &Entry,
    body: &mut dyn Read,
    many: u32,
    inodes: &BTreeMap<&[u8], Inode>,
    names: &HashMap<&[u8], u32>,
) -> kiln_init::Result<Option<Inode>> {
    let Entry { path, kind, meta } = entry;
    let mtime = u32::try_from(meta.mtime.secs.max(0)).unwrap_or(u32::MAX);
    let meta = Meta { mode: meta.mode, uid: meta.uid, gid: meta.gid, mtime };
    match kind {
        EntryKind::File { size } => return archive.file(path, meta, *size, body, many).map(Some),
        EntryKind::Dir => archive.directory(path, meta)?,
        EntryKind::Symlink { target } => archive.symlink(path, meta, target)?,
        EntryKind::Hardlink { target } => {
            // The tree names only what it has, and before its other names.
            if let Some(inode) = inodes.get(&**target) {
                archive.link(path, meta, *inode, names.get(&**target).copied().unwrap_or(2))?;
            }
        }
        EntryKind::Char { major, minor } => archive.special(path, meta, Special::Char(*major, *minor))?,
        EntryKind::Block { major, minor } => archive.special(path, meta, Special::Block(*major, *minor))?,
        EntryKind::Fifo => archive.special(path, meta, Special::Fifo)?,
        EntryKind::Whiteout | EntryKind::Opaque => {}
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_starts_the_program() {
        assert_eq!(command_line(""), "console=ttyS0 loglevel=3 panic=-1 rdinit=/.kiln/init");
        assert!(command_line("ip=off").ends_with("rdinit=/.kiln/init ip=off"));
        assert!(check_cmdline("ip=dhcp a=\"b c\"").is_ok());
        assert!(check_cmdline("a\nb").unwrap_err().contains("'\\n'"));
        assert!(check_cmdline(&"x".repeat(2000)).is_err());
    }
}
