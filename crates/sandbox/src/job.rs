//! What to run: the root, what is mounted into it, the command, and who runs it with which rights.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes as the kernel takes them (an argument, a variable, file content): no encoding is assumed.
///
/// In JSON a string where the bytes are UTF-8, a list of numbers where they are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OsBytes(pub Vec<u8>);

impl OsBytes {
    /// As a C string.
    ///
    /// # Errors
    /// When the bytes hold a NUL, which no argument, variable or path can.
    pub fn to_c_string(&self) -> Result<CString, std::ffi::NulError> {
        CString::new(self.0.clone())
    }

    /// For messages: what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&str> for OsBytes {
    fn from(text: &str) -> OsBytes {
        OsBytes(text.as_bytes().to_vec())
    }
}

impl From<String> for OsBytes {
    fn from(text: String) -> OsBytes {
        OsBytes(text.into_bytes())
    }
}

impl From<Vec<u8>> for OsBytes {
    fn from(bytes: Vec<u8>) -> OsBytes {
        OsBytes(bytes)
    }
}

impl From<OsString> for OsBytes {
    fn from(text: OsString) -> OsBytes {
        OsBytes(text.into_vec())
    }
}

impl Serialize for OsBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for OsBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OsBytes, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(OsBytes(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into_bytes(),
            Form::Bytes(bytes) => bytes,
        }))
    }
}

/// Paths in the same form as [`OsBytes`]: serde's own refuses what is not UTF-8.
mod path_form {
    use super::{
        Deserialize, Deserializer, OsBytes, OsStrExt, OsString, OsStringExt, Path, PathBuf, Serialize, Serializer,
    };

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        OsBytes(path.as_os_str().as_bytes().to_vec()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(PathBuf::from(OsString::from_vec(OsBytes::deserialize(deserializer)?.0)))
    }
}

mod path_list_form {
    use super::{Deserialize, Deserializer, OsBytes, OsStrExt, OsString, OsStringExt, PathBuf, Serializer};

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| OsBytes(path.as_os_str().as_bytes().to_vec())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<OsBytes>::deserialize(deserializer)?;
        Ok(paths.into_iter().map(|bytes| PathBuf::from(OsString::from_vec(bytes.0))).collect())
    }
}

/// One command on one root, with everything it may see and use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The file system the command sees as `/`.
    pub root: Root,
    /// What is mounted into the root for the time of the command, in this order.
    pub mounts: Vec<Mount>,
    /// The command and its arguments; without a `/` the first is looked up in the job's own `PATH`.
    pub argv: Vec<OsBytes>,
    /// The whole environment: nothing is added or inherited.
    pub env: Vec<(OsBytes, OsBytes)>,
    /// Directory inside the root the command starts in; it has to exist.
    #[serde(with = "path_form")]
    pub cwd: PathBuf,
    /// Who the command runs as.
    pub user: User,
    /// Which network it sees.
    pub network: Network,
    /// Which rights it has.
    pub security: Security,
    /// The host name it sees (namespaces only).
    pub hostname: String,
    /// The files about names put into `/etc` for the time of the command; `None` leaves the image's as they are.
    pub injection: Option<Injection>,
    /// Upper bounds for the whole process tree.
    pub limits: Limits,
    /// What the command reads from standard input; `None` is `/dev/null`.
    pub stdin: Option<OsBytes>,
    /// Size of `/dev/shm` in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// File mode creation mask, usually `0o022`.
    pub umask: u32,
    /// What is known of virtual owners (the rung `userns1`; others need nothing of it).
    pub owners: Option<VirtualOwners>,
    /// Resource limits of the process; a hard limit is never raised above what Kiln itself has.
    pub ulimits: Vec<Ulimit>,
}

impl Job {
    /// A job with the usual surroundings: root user, host network, sandboxed, no limits, umask 022.
    #[must_use]
    pub fn new(root: Root, argv: Vec<OsBytes>) -> Job {
        Job {
            root,
            mounts: Vec::new(),
            argv,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User::default(),
            network: Network::Host,
            security: Security::Sandbox,
            hostname: "buildkitsandbox".to_owned(),
            injection: None,
            limits: Limits::default(),
            stdin: None,
            shm_size: None,
            umask: 0o022,
            owners: None,
            ulimits: Vec::new(),
        }
    }

    /// The value of a variable in the job's environment; the last one wins, as in a shell.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().rev().find(|(key, _)| key.0 == name.as_bytes()).map(|(_, value)| value.0.as_slice())
    }
}

/// The file system the command sees as `/`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Root {
    /// Layers joined by overlayfs; what the command writes lands in `upper`.
    Overlay {
        /// Read-only layers, topmost first, at most 500. A layer that is a file is an image: EROFS, with the bytes of
        /// its files in the file that has `.tar` after the same name.
        #[serde(with = "path_list_form")]
        lowers: Vec<PathBuf>,
        /// Where changes are written.
        #[serde(with = "path_form")]
        upper: PathBuf,
        /// Scratch directory of overlayfs: empty, on the same file system as `upper`.
        #[serde(with = "path_form")]
        work: PathBuf,
    },
    /// A directory used as it is; changes happen in place.
    Dir(#[serde(with = "path_form")] PathBuf),
}

/// Something that is in the root only while the command runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// The host path.
        #[serde(with = "path_form")]
        source: PathBuf,
        /// A path below `source`, resolved so that no link in it leads out of `source`; empty for `source` itself.
        #[serde(with = "path_form")]
        subpath: PathBuf,
        /// Where in the root.
        #[serde(with = "path_form")]
        target: PathBuf,
        /// Whether writes fail. On the rung `chroot` writes to a read-only bind are discarded instead.
        readonly: bool,
    },
    /// Layers joined by overlayfs; the caller throws `upper` away.
    Overlay {
        /// Read-only layers, topmost first, as those of [`Root::Overlay`].
        #[serde(with = "path_list_form")]
        lowers: Vec<PathBuf>,
        /// A path below the joined layers, resolved inside them; empty for their top.
        #[serde(with = "path_form")]
        subpath: PathBuf,
        /// Where changes are written.
        #[serde(with = "path_form")]
        upper: PathBuf,
        /// Scratch directory of overlayfs.
        #[serde(with = "path_form")]
        work: PathBuf,
        /// Where in the root.
        #[serde(with = "path_form")]
        target: PathBuf,
        /// Whether writes fail.
        readonly: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Where in the root.
        #[serde(with = "path_form")]
        target: PathBuf,
        /// Upper bound in bytes.
        size: Option<u64>,
        /// Mode of the directory, such as `0o1777`.
        mode: u32,
    },
    /// A file with given content (a secret): kept in memory, never on the root's own file system where the rung can.
    File {
        /// Where in the root.
        #[serde(with = "path_form")]
        target: PathBuf,
        /// What it holds.
        content: OsBytes,
        /// Mode, usually `0o400`.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A unix socket in the root whose connections are handed on to one of the host (an SSH agent).
    Socket {
        /// The host's socket.
        #[serde(with = "path_form")]
        source: PathBuf,
        /// Where in the root.
        #[serde(with = "path_form")]
        target: PathBuf,
        /// Mode, usually `0o600`.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl Mount {
    /// Where in the root it appears.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Mount::Bind { target, .. }
            | Mount::Overlay { target, .. }
            | Mount::Tmpfs { target, .. }
            | Mount::File { target, .. }
            | Mount::Socket { target, .. } => target,
        }
    }
}

/// Owners where the kernel knows one only. Files and directories have theirs in an attribute; of all else they are told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VirtualOwners {
    /// Who owns links, pipes and sockets of the root, if not root.
    pub known: Vec<KnownOwner>,
    /// A file to be written in the end, with a list of the same kind as JSON.
    #[serde(with = "path_form")]
    pub told: PathBuf,
}

/// Who owns what is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOwner {
    /// The path, without a slash at its start.
    pub path: OsBytes,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Who a command runs as, in numbers; names are looked up by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: exactly these, none of Kiln's own.
    pub groups: Vec<u32>,
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The one Kiln itself is in.
    Host,
    /// A loopback interface of its own and nothing else.
    None,
}

/// Which rights a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Fourteen capabilities, a syscall filter, masked kernel files.
    Sandbox,
    /// All of Kiln's own capabilities, no filter, nothing masked.
    Insecure,
}

/// The files about names that a command finds in `/etc`, bound there for its time only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    /// Content of `/etc/resolv.conf`; see [`host_resolv_conf`](crate::host_resolv_conf).
    pub resolv_conf: Option<OsBytes>,
    /// Content of `/etc/hosts`; see [`hosts_file`](crate::hosts_file).
    pub hosts: Option<OsBytes>,
    /// Content of `/etc/hostname`, usually the host name and a newline; `None` leaves the image's.
    pub hostname: Option<OsBytes>,
}

impl Injection {
    /// The files to put into the root, as target and content.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &OsBytes)> {
        let all =
            [("/etc/resolv.conf", &self.resolv_conf), ("/etc/hosts", &self.hosts), ("/etc/hostname", &self.hostname)];
        all.into_iter().filter_map(|(target, content)| content.as_ref().map(|content| (target, content))).collect()
    }
}

/// A name the command's `/etc/hosts` knows besides `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: std::net::IpAddr,
}

/// Upper bounds for the whole process tree; all `None` needs no control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes (swap not on top).
    pub memory: Option<u64>,
    /// Processor time in thousandths of a core: 1500 is one and a half.
    pub cpu_millis: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

/// A resource limit of the process (`--ulimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which resource.
    pub resource: Resource,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// The resources of [`Ulimit`], named as `docker build --ulimit` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are setrlimit's own")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// By its name in `--ulimit`, such as `nofile`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Resource> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}
