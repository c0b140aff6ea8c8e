//! A root directory of this machine: of a tree that is being made, or `/` itself.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, ioctl_getflags, openat2};
use rustix::io::Errno;

use super::{Kind, Live, LookError, MAX_NAMES, Ran, Result, Stat, System, read_bounded};

/// Links are followed inside of the root, and those of `/proc` that lead anywhere are not.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// The longest a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is kept of what a command prints.
const MAX_OUTPUT: u64 = 1 << 20;

/// A directory that is the root of a system.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    title: String,
    host: Option<Host>,
}

/// The machine this program runs on.
#[derive(Debug)]
struct Host;

impl Directory {
    /// The system whose root is `path`.
    ///
    /// # Errors
    /// It is not a directory, or cannot be opened.
    pub fn open(path: &Path) -> Result<Directory> {
        let title = format!("directory {}", path.display());
        Ok(Directory { root: root(path)?, title, host: None })
    }

    /// This machine, running.
    ///
    /// # Errors
    /// Its root cannot be opened.
    pub fn host() -> Result<Directory> {
        Ok(Directory { root: root(&PathBuf::from("/"))?, title: "this host".to_owned(), host: Some(Host) })
    }

    fn at(&self, path: &str, flags: OFlags) -> Result<Option<OwnedFd>> {
        match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) => {
                Err(LookError::Links { path: path.to_owned(), why: "its links go in circles".to_owned() })
            }
            Err(e) => Err(LookError::read(path)(e.into())),
        }
    }

    fn kind_of(&self, path: &str, flags: OFlags) -> Result<Option<(OwnedFd, rustix::fs::Stat)>> {
        let Some(fd) = self.at(path, flags | OFlags::PATH)? else { return Ok(None) };
        let stat = fstat(&fd).map_err(|e| LookError::read(path)(e.into()))?;
        Ok(Some((fd, stat)))
    }
}

fn root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| LookError::read(&path.to_string_lossy())(e.into()))
}

impl System for Directory {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        // Opening a device can do something: what it is comes first.
        let Some((_, stat)) = self.kind_of(path, OFlags::empty())? else { return Ok(None) };
        let regular = |stat: &rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular(&stat) {
            return Err(LookError::NotAFile { path: path.to_owned() });
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = self.at(path, flags)? else { return Ok(None) };
        let stat = fstat(&fd).map_err(|e| LookError::read(path)(e.into()))?;
        if !regular(&stat) {
            return Err(LookError::NotAFile { path: path.to_owned() });
        }
        read_bounded(path, File::from(fd), max).map(Some)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        let Some(fd) = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(None) };
        let mut names = Vec::new();
        for entry in Dir::new(fd).map_err(|e| LookError::read(path)(e.into()))? {
            let entry = entry.map_err(|e| LookError::read(path)(e.into()))?;
            let name: &CStr = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if names.len() == MAX_NAMES {
                return Err(LookError::TooMany { path: path.to_owned() });
            }
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    fn stat(&self, path: &str, follow: bool) -> Result<Option<Stat>> {
        let flags = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let Some((fd, stat)) = self.kind_of(path, flags)? else { return Ok(None) };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new());
                let target = target.map_err(|e| LookError::read(path)(e.into()))?;
                Kind::Link(target.to_string_lossy().into_owned())
            }
            _ => Kind::Other,
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(Stat { kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, size }))
    }

    fn immutable(&self, path: &str) -> Result<Option<bool>> {
        let Some((_, stat)) = self.kind_of(path, OFlags::empty())? else { return Ok(None) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let Some(fd) = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK)? else { return Ok(None) };
        match ioctl_getflags(&fd) {
            Ok(flags) => Ok(Some(flags.contains(rustix::fs::IFlags::IMMUTABLE))),
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(e) => Err(LookError::read(path)(e.into())),
        }
    }

    fn live(&self) -> Option<&dyn Live> {
        self.host.as_ref().map(|host| host as &dyn Live)
    }
}

impl Live for Host {
    fn run(&self, command: &[&str]) -> Result<Ran> {
        run(command, PATIENCE)
    }
}

/// Runs a command of this machine, at most for `patience`.
fn run(command: &[&str], patience: Duration) -> Result<Ran> {
    let failed = |why: String| LookError::Run { command: command.join(" "), why };
    let Some((program, args)) = command.split_first() else { return Err(failed("it is empty".to_owned())) };
    let mut prepared = Command::new(program);
    prepared.args(args).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match prepared.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Ran { code: 127, ..Ran::default() }),
        Err(e) => return Err(failed(e.to_string())),
    };
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let until = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(|e| failed(e.to_string()))? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            None => {
                // It may have ended between the two.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it did not end within {} seconds", patience.as_secs())));
            }
        }
    };
    // A daemon that it left behind may keep the pipes open; what was printed until then is enough.
    let take = |from: std::sync::mpsc::Receiver<Vec<u8>>| from.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok(Ran { code: status.code().unwrap_or(-1), stdout: take(stdout), stderr: take(stderr) })
}

/// Reads a pipe to its end on a thread and keeps its beginning.
fn drain(from: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (to, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            let _ = from.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
            let _ = std::io::copy(&mut from, &mut std::io::sink());
        }
        let _ = to.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_end_in_time_or_are_stopped() {
        let ran = run(&["sh", "-c", "echo a; echo b >&2; exit 3"], PATIENCE).unwrap();
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (3, &b"a\n"[..], &b"b\n"[..]));
        assert_eq!(run(&["no-such-command-here"], PATIENCE).unwrap().code, 127);
        let slow = run(&["sleep", "60"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(slow.to_string(), "cannot run `sleep 60`: it did not end within 0 seconds");
        let loud = run(&["sh", "-c", "head -c 3000000 /dev/zero"], PATIENCE).unwrap();
        assert_eq!(loud.stdout.len() as u64, MAX_OUTPUT);
    }
}
