//! Files and directories, there and back.
//!
//! [`sftp`] the protocol of the SFTP subsystem, version 3     [`sftp_copy`] copies by it
//! [`scp`] copies by the `scp` program of the other side      [`tree`] directories of this side, read and written
//!
//! SFTP is asked for more: links, any name, files that appear whole or not at all. The protocol of scp is for servers
//! without the subsystem, and for templates that ask for it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) mod scp;
pub(crate) mod sftp;
pub(crate) mod sftp_copy;
pub(crate) mod tree;

use crate::{Cancel, Host, HostError};

/// Bytes of one step of a copy.
pub(crate) const CHUNK: usize = 32 << 10;

/// A path on a machine: bytes, as Unix has them.
#[derive(Clone, PartialEq, Eq)]
pub struct RemotePath(pub(crate) Vec<u8>);

/// What to write.
pub struct Source<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// The bytes.
    pub reader: &'a mut (dyn Read + Send),
    /// How many.
    pub length: u64,
}

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// Permission bits. Without, new files of one call get 0644, and files of a directory what they have here.
    pub mode: Option<u32>,
    /// The file appears whole or not at all: it is written beside and renamed.
    pub atomic: bool,
    /// Another protocol than the machine's options say.
    pub method: Option<Transfer>,
    /// What becomes of links in a directory.
    pub links: Links,
}

/// A protocol of copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// The subsystem.
    #[default]
    Sftp,
    /// The program.
    Scp,
}

/// What becomes of symbolic links in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// They stay links, wherever they lead. Not possible by scp.
    #[default]
    Keep,
    /// What they lead to is copied, as Packer does.
    Follow,
}

impl RemotePath {
    /// With another component behind it.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> RemotePath {
        let mut path = self.0.clone();
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        RemotePath(path)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it means the contents of a directory.
    pub(crate) fn is_contents(&self) -> bool {
        self.0.ends_with(b"/")
    }

    /// The last component.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        let name = self.0.split(|&byte| byte == b'/').rfind(|part| !part.is_empty())?;
        (name != b".." && name != b".").then_some(name)
    }

    /// A name beside it that nobody has.
    pub(crate) fn beside(&self) -> RemotePath {
        let name = self.name().unwrap_or(b"file");
        let directory = self.0.get(..self.0.len() - name.len()).unwrap_or_default();
        let mut path = directory.to_vec();
        path.push(b'.');
        // Names have up to 255 bytes.
        path.extend_from_slice(name.get(..200).unwrap_or(name));
        path.extend_from_slice(format!(".{}", crate::command::token()).as_bytes());
        RemotePath(path)
    }

    pub(crate) fn shown(&self) -> String {
        crate::error::printable(&self.0)
    }
}

impl From<&str> for RemotePath {
    fn from(path: &str) -> RemotePath {
        RemotePath(path.as_bytes().to_vec())
    }
}

impl From<&Path> for RemotePath {
    fn from(path: &Path) -> RemotePath {
        RemotePath(path.as_os_str().as_bytes().to_vec())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.shown())
    }
}

impl Source<'_> {
    /// Fills the buffer as far as there are bytes left; fails when there are fewer than were said.
    pub(crate) fn fill(&mut self, buffer: &mut [u8], left: u64) -> Result<usize, HostError> {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let fail = |source| HostError::File { what: "read", path: self.name.into(), source };
        let slice = buffer.get_mut(..want).unwrap_or_default();
        match self.reader.read_exact(slice) {
            Ok(()) => Ok(want),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(fail(io::Error::new(error.kind(), "it became shorter while it was copied")))
            }
            Err(error) => Err(fail(error)),
        }
    }
}

/// Writes a file of this machine to another one. If `to` ends with a slash the file keeps its name.
///
/// # Errors
/// As [`Host::put`].
pub fn put_file(host: &dyn Host, from: &Path, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
    let fail = |source| HostError::File { what: "read", path: from.to_owned(), source };
    let mut file = File::open(from).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    let to = match (to.is_contents(), from.file_name()) {
        (true, Some(name)) => to.join(name.as_bytes()),
        _ => to.clone(),
    };
    let how = Put { mode: how.mode.or(Some(metadata.permissions().mode() & 0o7777)), ..how.clone() };
    let name = from.display().to_string();
    host.put(Source { name: &name, reader: &mut file, length: metadata.len() }, &to, &how, cancel)
}

/// Reads a file of another machine into one here, which appears whole or not at all. If `to` is a directory the file
/// keeps its name.
///
/// # Errors
/// As [`Host::get`].
pub fn get_file(host: &dyn Host, from: &RemotePath, to: &Path, cancel: &Cancel) -> Result<(), HostError> {
    let mut to = to.to_owned();
    if to.is_dir() || to.as_os_str().as_bytes().ends_with(b"/") {
        let Some(name) = from.name() else {
            let why = format!("{from:?} has no name");
            return Err(HostError::Unsupported { what: "reading it into a directory".to_owned(), why });
        };
        to.push(std::ffi::OsStr::from_bytes(name));
    }
    let fail = |source| HostError::File { what: "write", path: to.clone(), source };
    let beside = RemotePath::from(to.as_path()).beside();
    let temporary = Path::new(std::ffi::OsStr::from_bytes(beside.as_bytes()));
    let mut file = File::create_new(temporary).map_err(fail)?;
    let written = host.get(from, &mut file, cancel).and_then(|mode| {
        // Not the bits that make a program somebody else's.
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777)).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        std::fs::rename(temporary, &to).map_err(fail)
    });
    if written.is_err() {
        // What it failed with matters more.
        let _ = std::fs::remove_file(temporary);
    }
    written
}

/// Whether a path of this side means the contents of a directory.
pub(crate) fn is_contents(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Where a directory of this side goes on the other.
pub(crate) fn root_of(from: &Path, to: &RemotePath) -> Result<RemotePath, HostError> {
    if is_contents(from) {
        return Ok(to.clone());
    }
    match RemotePath::from(from).name() {
        Some(name) => Ok(to.join(name)),
        None => Err(HostError::Unsupported {
            what: format!("copying {} as a directory", from.display()),
            why: "it has no name; with a slash at its end its contents are copied".to_owned(),
        }),
    }
}
