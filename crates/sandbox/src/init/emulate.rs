//! The rung `chroot`: a private root directory without a single mount or namespace ([`furnish`]).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, chmodat, mkdirat, openat};
use rustix::process::{Pid, Signal, getpid};
use rustix::thread::{CapabilitySet, capabilities};

use super::command::Surroundings;
use super::devices::{NODES, make_plain_node};
use super::furnish::{self, Way};
use super::overlay::open_place;
use super::supervise::{Task, run_inner};
use super::swap::Owning;
use super::tree;
use crate::job::Security;
use crate::rung::Rung;
use crate::wire::{Fault, Report, Step};

/// The supervisor's part: everything is put in place, and taken away again, out here.
pub fn run(task: &Task) -> Result<Report, Fault> {
    let dir = match furnish::root_of(task.job) {
        Ok(dir) => dir,
        Err(lacks) => return Ok(lacks),
    };
    let way = Way { rung: Rung::Chroot, owning: Owning::Real, devices: make_devices };
    furnish::around(&way, task.job, dir, || in_chroot(task, dir))
}

fn in_chroot(task: &Task, dir: &Path) -> Result<Report, Fault> {
    // Only with this right can a filter be installed that leaves setuid programs working; pods have a filter already.
    let held = capabilities(None).step(|| "read capabilities".to_owned())?;
    let filter = task.job.security == Security::Sandbox && held.effective.contains(CapabilitySet::SYS_ADMIN);
    let surroundings =
        Surroundings { new_root: Some(open_place(dir)?), filter, orphaned_means_dead: true, one_id: false, told: None };
    run_inner(task, || Ok(surroundings))
}

fn make_dir(at: &OwnedFd, name: &str, mode: u32) -> Result<(), Fault> {
    let step = || format!("make the directory {name}");
    mkdirat(at, name, Mode::RWXU).step(step)?;
    chmodat(at, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty()).step(step)
}

/// `/dev` with the nodes this process may make; commands need at least a `/dev/null` that swallows.
fn make_devices(stash: &OwnedFd, name: &str) -> Result<(), Fault> {
    make_dir(stash, name, 0o755)?;
    let dev = openat(stash, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open the new /dev".to_owned())?;
    for (node, major, minor) in NODES {
        let made = make_plain_node(&dev, node, major, minor);
        // A file system mounted without devices lets nodes be made and not be opened.
        let works = made.is_ok()
            && (node == "tty" || openat(&dev, node, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok());
        if !works {
            let _ = rustix::fs::unlinkat(&dev, node, AtFlags::empty());
        }
        if !works && node == "null" {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&dev, node, flags, Mode::from_raw_mode(0o666))
                .step(|| "make a stand-in for /dev/null".to_owned())?;
        }
    }
    make_dir(&dev, "shm", 0o1777)
}

/// How often to look for processes that are left before giving up; each look waits a millisecond longer, 25 s in all.
const LOOKS: u64 = 220;

/// Kills everything the command left behind. Only direct children are killed, whose ids cannot be taken by others
/// before we collect them; their children then become ours.
pub fn kill_all() -> Result<(), Fault> {
    let step = || "kill the processes the command left".to_owned();
    for look in 0..LOOKS {
        if !tree::reap_ended() {
            return Ok(());
        }
        for pid in children().step(step)? {
            // It may have ended just now, which is as good.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(look));
    }
    Err(Fault::new(step(), "new ones keep appearing"))
}

/// The direct children of this process, by looking at every process there is.
pub fn children() -> std::io::Result<Vec<Pid>> {
    let own = getpid().as_raw_nonzero().get();
    let entries = std::fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter(|pid| parent_of(*pid) == Some(own)).filter_map(Pid::from_raw).collect())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent follow the last one.
    let rest = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}
