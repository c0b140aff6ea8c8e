//! Ports of this machine, taken so that builds that start together do not choose the same.
//!
//! That a port can be bound tells that nobody has it now; but qemu binds it only later, and another build may choose
//! it in between. So a lock on a file is held until the machine has ended. The files are in a directory that all
//! builds of this user share; they are empty and stay.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, statat};
use rustix::io::Errno;

use crate::VmError;

/// A range of ports, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

/// Where guests' SSH servers are reached: `host_port_min`, `host_port_max`.
pub const SSH: Range = Range { first: 2222, last: 4444 };
/// Where screens are seen: `vnc_port_min`, `vnc_port_max`.
pub const VNC: Range = Range { first: 5900, last: 6000 };
/// Where guests fetch files: `http_port_min`, `http_port_max`.
pub const HTTP: Range = Range { first: 8000, last: 9000 };

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    _lock: File,
}

impl Lease {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// The directory of locks.
#[derive(Debug, Clone)]
pub struct Ports {
    dir: PathBuf,
}

impl Ports {
    /// Locks in `dir`, which is made if it is not there, for this user alone.
    ///
    /// # Errors
    /// It cannot be made, or belongs to somebody else.
    pub fn at(dir: impl Into<PathBuf>) -> Result<Ports, VmError> {
        let dir = dir.into();
        let failed = |intent| VmError::file(intent, &dir);
        match mkdirat(CWD, &dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("create")(e.into())),
        }
        let stat = statat(CWD, &dir, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("look at")(e.into()))?;
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if !directory || stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(failed("use")(std::io::Error::other("it is not a directory of this user")));
        }
        Ok(Ports { dir })
    }

    /// The directory that all builds of this user share, below the directory for temporary files.
    ///
    /// # Errors
    /// As [`Ports::at`].
    pub fn shared(temporary: &Path) -> Result<Ports, VmError> {
        Ports::at(temporary.join(format!("kiln-ports-{}", rustix::process::geteuid().as_raw())))
    }

    /// A free port of the range for `what`, to be bound on `address` by somebody else.
    ///
    /// # Errors
    /// None is free.
    pub fn lease(&self, what: &'static str, range: Range, address: IpAddr) -> Result<Lease, VmError> {
        self.take(what, range, address).map(|(lease, _)| lease)
    }

    /// A port of the range, bound.
    ///
    /// # Errors
    /// None is free.
    pub fn listen(&self, what: &'static str, range: Range, address: IpAddr) -> Result<(Lease, TcpListener), VmError> {
        self.take(what, range, address)
    }

    fn take(&self, what: &'static str, range: Range, address: IpAddr) -> Result<(Lease, TcpListener), VmError> {
        if range.first > range.last || range.first == 0 {
            let why = format!("{}–{} is no range of ports", range.first, range.last);
            return Err(VmError::option(what, why));
        }
        // Not always the first: the last one that was let go may still have connections on their way.
        let size = u32::from(range.last - range.first) + 1;
        let start = std::process::id() % size;
        for step in 0..size {
            let port = range.first + u16::try_from((start + step) % size).unwrap_or(0);
            let Some(lock) = self.lock(port)? else { continue };
            match TcpListener::bind(SocketAddr::new(address, port)) {
                Ok(listener) => return Ok((Lease { port, _lock: lock }, listener)),
                Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => {
                    return Err(VmError::option(what, format!("{address} is no address of this machine")));
                }
                Err(_) => {}
            }
        }
        Err(VmError::NoPort { what, first: range.first, last: range.last, address: address.to_string() })
    }

    fn lock(&self, port: u16) -> Result<Option<File>, VmError> {
        let path = self.dir.join(port.to_string());
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| VmError::file("create", &path)(e.into()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(File::from(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(VmError::file("lock", &path)(e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports::at(dir.path().join("ports")).unwrap();
        let other = Ports::at(dir.path().join("ports")).unwrap();
        // Some port that is free now, and the next.
        let free = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port().min(65000);
        let range = Range { first: free, last: free + 20 };
        let mut leases: Vec<Lease> = Vec::new();
        while let Ok(lease) = if leases.len().is_multiple_of(2) { &ports } else { &other }.lease("tests", range, HERE) {
            leases.push(lease);
        }
        let mut taken: Vec<u16> = leases.iter().map(Lease::port).collect();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), leases.len());
        assert!(!taken.is_empty());
        let error = other.lease("tests", range, HERE).unwrap_err().to_string();
        assert!(error.starts_with("no free port for tests between"), "{error}");
        let released = leases.pop().unwrap().port();
        let (lease, listener) = other.listen("tests", range, HERE).unwrap();
        assert_eq!((lease.port(), listener.local_addr().unwrap().port()), (released, released));
    }

    #[test]
    fn a_port_that_somebody_has_bound_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports::at(dir.path()).unwrap();
        let theirs = TcpListener::bind((HERE, 0)).unwrap();
        let port = theirs.local_addr().unwrap().port();
        let error = ports.lease("VNC", Range { first: port, last: port }, HERE).unwrap_err();
        assert!(matches!(error, VmError::NoPort { what: "VNC", .. }), "{error}");
    }

    #[test]
    fn bad_ranges_and_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports::at(dir.path()).unwrap();
        assert!(ports.lease("x", Range { first: 5, last: 4 }, HERE).is_err());
        assert!(ports.lease("x", Range { first: 0, last: 4 }, HERE).is_err());
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = ports.lease("http_bind_address", HTTP, elsewhere).unwrap_err().to_string();
        assert!(error.contains("no address of this machine"), "{error}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Ports::at(dir.path().join("file")).is_err());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(Ports::at(dir.path().join("link")).is_err());
    }
}
