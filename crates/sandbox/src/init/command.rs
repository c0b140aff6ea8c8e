//! The last process: gives up rights and becomes the command.

use std::fs;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, Uid, openat};
use rustix::io::Errno;
use rustix::process::{Rlimit, Signal, chdir, chroot, fchdir, getcwd, getrlimit, setrlimit};

use super::executable;
use super::mountpoints::{self, Kind, Wanted};
use super::mounts::open_inside;
use super::owners::Keeper;
use super::rights;
use crate::job::{Job, OsBytes, Resource, Ulimit};
use crate::sys;
use crate::wire::{Fault, Step};

/// What differs between the rungs.
pub struct Surroundings {
    /// The directory to `chroot` into, when the root has not been entered yet.
    pub new_root: Option<OwnedFd>,
    /// Whether to install the syscall filter.
    pub filter: bool,
    /// Whether to die with the inner process: where there is no process namespace to do that.
    pub orphaned_means_dead: bool,
    /// Whether there is one user id and one group id, which the command has already.
    pub one_id: bool,
    /// Where to write in the end who owns what no attribute can say.
    pub told: Option<OwnedFd>,
}

/// Returns only with what went wrong before the command could be looked for.
pub fn become_command(job: &Job, surroundings: &Surroundings, keeper: Option<&Keeper>) -> Fault {
    match prepare(job, surroundings, keeper) {
        Ok(()) => executable::execute(job),
        Err(fault) => fault,
    }
}

fn prepare(job: &Job, surroundings: &Surroundings, keeper: Option<&Keeper>) -> Result<(), Fault> {
    let _ = rustix::process::setsid();
    let input = standard_input(job.stdin.as_ref())?;
    if let Some(root) = &surroundings.new_root {
        fchdir(root).and_then(|()| chroot(".")).and_then(|()| chdir("/")).step(|| "change the root".to_owned())?;
    }
    enter_directory(job)?;
    rustix::stdio::dup2_stdin(input).step(|| "set up standard input".to_owned())?;
    hand_over_streams(job);
    apply_limits(job)?;
    sys::default_signals();
    sys::close_on_exec_from(3).step(|| "close inherited descriptors".to_owned())?;
    rights::give_up(job, surroundings, keeper)?;
    rustix::process::umask(Mode::from_raw_mode(job.umask & 0o777));
    if surroundings.orphaned_means_dead {
        // After the change of user, which would reset it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step(|| "tie the command's life".to_owned())?;
    }
    Ok(())
}

/// A session of its own, and what it reads.
pub fn set_up_streams(job: &Job) -> Result<(), Fault> {
    let _ = rustix::process::setsid();
    let input = standard_input(job.stdin.as_ref())?;
    rustix::stdio::dup2_stdin(input).step(|| "set up standard input".to_owned())
}

/// Sets the job's resource limits.
pub fn apply_limits(job: &Job) -> Result<(), Fault> {
    job.ulimits.iter().try_for_each(apply)
}

/// `/dev/null` of the host, or a file in memory with the given bytes.
fn standard_input(bytes: Option<&OsBytes>) -> Result<OwnedFd, Fault> {
    let step = || "prepare standard input".to_owned();
    let Some(bytes) = bytes else {
        // The supervisor has opened it, where there was one to open.
        return rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).step(step);
    };
    let memory = rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC).step(step)?;
    let mut file = fs::File::from(memory);
    file.write_all(&bytes.0).and_then(|()| file.rewind()).step(step)?;
    Ok(file.into())
}

/// Gives the pipes to the command's user, who could not open `/dev/stdout` by name otherwise. Devices are not ours to
/// give, and a file system without owners does without.
fn hand_over_streams(job: &Job) {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let is_device = rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
        if !is_device {
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(job.user.uid)), None);
        }
    }
}

/// The working directory, found through the root, so that no magic link to a descriptor of ours leads elsewhere.
pub fn working_directory(job: &Job, root: &OwnedFd) -> Result<OwnedFd, Fault> {
    let open = || open_inside(root, &job.cwd, OFlags::PATH | OFlags::DIRECTORY);
    let dir = match open() {
        // A mount hides it: it is made in what is mounted, as runc does.
        Err(Errno::NOENT) if job.mounts.iter().any(|mount| job.cwd.starts_with(mount.target())) => {
            mountpoints::create_in_place(root, &Wanted { target: job.cwd.clone(), kind: Kind::Dir })?;
            open()
        }
        found => found,
    };
    dir.step(|| format!("enter the working directory {}", job.cwd.display()))
}

fn enter_directory(job: &Job) -> Result<(), Fault> {
    let step = || format!("enter the working directory {}", job.cwd.display());
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    fchdir(working_directory(job, &root)?).step(step)?;
    let path = getcwd(Vec::new()).step(step)?;
    if !path.to_bytes().starts_with(b"/") {
        return Err(Fault::new(step(), "it lies outside the root"));
    }
    Ok(())
}

/// Sets a resource limit; what exceeds our own hard limit is cut to it, since raising needs a right pods lack.
fn apply(limit: &Ulimit) -> Result<(), Fault> {
    let resource = match limit.resource {
        Resource::Core => rustix::process::Resource::Core,
        Resource::Cpu => rustix::process::Resource::Cpu,
        Resource::Data => rustix::process::Resource::Data,
        Resource::Fsize => rustix::process::Resource::Fsize,
        Resource::Locks => rustix::process::Resource::Locks,
        Resource::Memlock => rustix::process::Resource::Memlock,
        Resource::Msgqueue => rustix::process::Resource::Msgqueue,
        Resource::Nice => rustix::process::Resource::Nice,
        Resource::Nofile => rustix::process::Resource::Nofile,
        Resource::Nproc => rustix::process::Resource::Nproc,
        Resource::Rss => rustix::process::Resource::Rss,
        Resource::Rtprio => rustix::process::Resource::Rtprio,
        Resource::Rttime => rustix::process::Resource::Rttime,
        Resource::Sigpending => rustix::process::Resource::Sigpending,
        Resource::Stack => rustix::process::Resource::Stack,
    };
    let ours = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let hard = limit.hard.unwrap_or(u64::MAX).min(ours);
    let soft = limit.soft.unwrap_or(u64::MAX).min(hard);
    let bounded = |value: u64| (value != u64::MAX).then_some(value);
    setrlimit(resource, Rlimit { current: bounded(soft), maximum: bounded(hard) })
        .step(|| format!("set the limit {:?}", limit.resource))
}
