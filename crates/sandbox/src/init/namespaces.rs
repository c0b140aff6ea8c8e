//! The rungs with namespaces: a world of its own for the command.
//!
//! On `root` it belongs to the machine's user namespace; on `userns` and `userns1` to the one Kiln has entered. There the
//! kernel may refuse a `/proc` for a process namespace; then the command shares the process namespace of Kiln, and what
//! it leaves is killed as on the rung `chroot`.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{getpid, set_child_subreaper};
use rustix::thread::UnshareFlags;

use super::command::Surroundings;
use super::emulate;
use super::mountpoints::{self, Planted};
use super::mounts;
use super::overlay::{Marks, clear_work, open_place};
use super::probing;
use super::supervise::{Task, run_inner};
use crate::job::{Mount, Network, Root, Security};
use crate::rung::Rung;
use crate::sys;
use crate::wire::{Fault, Report, Step};

/// The supervisor's part. Mountpoints missing in a plain directory are made out here, where nothing of the command's
/// mounts is visible, so that they can be removed again whatever becomes of its world.
pub fn run(task: &Task) -> Result<Report, Fault> {
    let job = task.job;
    let planted = match &job.root {
        Root::Overlay { .. } => Planted::default(),
        Root::Dir(dir) => {
            let root = open_place(dir)?;
            let missing = mountpoints::missing(&root, &mounts::wanted(job)?)?;
            Planted::plant(&root, &missing)?
        }
    };
    let report = in_new_world(task);
    let mut cleared = planted.remove();
    if let Root::Overlay { work, .. } = &job.root {
        cleared = cleared.and(clear_work(work));
    }
    for mount in &job.mounts {
        if let Mount::Overlay { work, .. } = mount {
            cleared = cleared.and(clear_work(work));
        }
    }
    match (report, cleared) {
        (Ok(Report::Code(_) | Report::Signal(_)), Err(fault)) => Ok(Report::CleanUpFailed(fault)),
        (report, _) => report,
    }
}

fn in_new_world(task: &Task) -> Result<Report, Fault> {
    if task.rung != Rung::Root && !probing::own_proc() {
        set_child_subreaper(Some(getpid())).step(|| "become the parent of orphans".to_owned())?;
        let report = run_inner(task, || prepare(task, Marks::User, true));
        return emulate::kill_all().and(report);
    }
    let marks = if task.rung == Rung::Root { Marks::Trusted } else { Marks::User };
    // Applies to children only: the inner process becomes PID 1 of the new namespace and takes everything with it.
    sys::unshare(UnshareFlags::NEWPID).step(|| "make a process namespace".to_owned())?;
    run_inner(task, || prepare(task, marks, false))
}

fn prepare(task: &Task, marks: Marks, orphaned_means_dead: bool) -> Result<Surroundings, Fault> {
    let job = task.job;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if job.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    sys::unshare(flags).step(|| "make mount, IPC, host name and control group namespaces".to_owned())?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step(|| "make the mounts private".to_owned())?;
    rustix::system::sethostname(job.hostname.as_bytes()).step(|| format!("set the host name `{}`", job.hostname))?;
    if job.network == Network::None {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        socket.and_then(sys::loopback_up).step(|| "bring the loopback interface up".to_owned())?;
    }
    let one_id = task.rung == Rung::Userns1;
    // The place is the caller's, which cannot be reached from the new root.
    let told = job.owners.iter().filter(|_| one_id).map(|owners| open_told(&owners.told)).next().transpose()?;
    mounts::enter_root(job, marks)?;
    let filter = job.security == Security::Sandbox;
    Ok(Surroundings { new_root: None, filter, orphaned_means_dead, one_id, told })
}

/// Opens the file in which owners are told.
pub fn open_told(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).step(|| format!("write {}", path.display()))
}
