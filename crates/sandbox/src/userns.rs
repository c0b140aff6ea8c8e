//! Entering a user namespace: how somebody without rights becomes root of files and mounts of their own.
//!
//! The whole program enters, once, before it has threads ([`take`]): what unpacks layers, compares and removes them
//! then has the same ids as the commands, and needs no other way of doing it than root has.
//!
//! ```text
//! ids    who may            the map
//! many   root of its ids    every id as it is
//!        others             the user as itself, all others one after the other from the ranges of /etc/subuid and
//!                           /etc/subgid, set by newuidmap and newgidmap
//! one    everybody          0 is the user, and nothing else
//! ```
//! With many ids the program stays who it was, which those it starts go by (ssh, credential helpers), and root of the
//! commands is nobody's id outside. Its rights in the namespace pass to what it starts, for the child side needs them.
//!
//! `ranges` the files with subordinate ids     `why` what is missing, in words

mod ranges;
mod why;

use std::fs;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::process::{DumpableBehavior, Pid, WaitOptions, dumpable_behavior, set_dumpable_behavior, waitpid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, configure_capability_in_ambient_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::init;
use crate::rung::Rung;
use crate::sys;
use crate::wire::{self, Fault, Report, Step};
use ranges::Range;
pub(crate) use why::setting;

/// The inode of the machine's own user namespace, the same on every Linux.
const INITIAL: u64 = 0xefff_fffd;

/// How many ids a namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Those of the images' users too.
    Many,
    /// That of root, for everything.
    One,
}

/// Whose ids this process sees, and what it may do with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The machine's own, or those of whoever started it: no namespace to be root of.
    #[default]
    Outside,
    /// Root of a user namespace with many ids; the text says which.
    Many(String),
    /// Root of a user namespace with one id.
    One,
}

impl Standing {
    /// The rung that commands can have from here without entering anything.
    #[must_use]
    pub fn rung(&self) -> Rung {
        match self {
            Standing::Outside => Rung::Root,
            Standing::Many(_) => Rung::Userns,
            Standing::One => Rung::Userns1,
        }
    }

    /// Whether there is such a user id here.
    #[must_use]
    pub fn has_uid(&self, uid: u32) -> bool {
        self.has(uid, |maps| maps.split('/').next())
    }

    /// Whether there is such a group id here.
    #[must_use]
    pub fn has_gid(&self, gid: u32) -> bool {
        self.has(gid, |maps| maps.split('/').nth(1))
    }

    fn has(&self, id: u32, map: impl Fn(&str) -> Option<&str>) -> bool {
        match self {
            Standing::Outside => true,
            Standing::Many(maps) => map(maps).is_some_and(|map| ranges::holds(map, id)),
            // It is virtual, as all others.
            Standing::One => id != u32::MAX,
        }
    }
}

/// Brings this process where commands can have the rung `wanted`; `None` is the strongest that works.
///
/// For the start of `main`: a process with threads cannot enter a namespace. Nothing is entered where that is not
/// needed (root of a machine) or of no use.
///
/// # Errors
/// Why the wanted rung cannot be had. Without a wish nothing is an error: the process stays where it is.
pub fn take(wanted: Option<Rung>) -> Result<Standing, String> {
    let text = |fault: Fault| format!("{}: {}", fault.step, fault.cause);
    let here = standing();
    match wanted {
        Some(Rung::Userns) => match here {
            Standing::Many(_) => Ok(here),
            _ => enter(Ids::Many).map_err(text),
        },
        Some(Rung::Userns1) => match here {
            Standing::One => Ok(here),
            _ => enter(Ids::One).map_err(text),
        },
        Some(_) => Ok(here),
        None if here != Standing::Outside || holds(CapabilitySet::SYS_ADMIN) => Ok(here),
        None => {
            let chosen = [Ids::Many, Ids::One].into_iter().find(|ids| works(*ids));
            Ok(chosen.and_then(|ids| enter(ids).ok()).unwrap_or(here))
        }
    }
}

/// Whether a namespace of these ids can be entered and used, tried in a copy of this process.
fn works(ids: Ids) -> bool {
    init::probing::in_copy(|| enter(ids).and_then(|_| init::probing::namespaces_inside())).is_ok()
}

/// Where this process is, without entering anything.
pub(crate) fn standing() -> Standing {
    if is_initial() || !holds(CapabilitySet::SYS_ADMIN) {
        return Standing::Outside;
    }
    let map = ids_here();
    match map.as_deref().map(ranges::total) {
        Some(total) if total > 1 => Standing::Many(map.unwrap_or_default()),
        Some(1) => Standing::One,
        _ => Standing::Outside,
    }
}

/// Whether this process is in the machine's own user namespace.
pub(crate) fn is_initial() -> bool {
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == INITIAL)
}

/// The maps of this process as one text: what unpacked files are owned by on the disk depends on them.
fn ids_here() -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
    let text = format!("{}/{}", read("uid_map")?, read("gid_map")?);
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn holds(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(capability))
}

/// Enters a new user namespace and becomes its root.
pub(crate) fn enter(ids: Ids) -> Result<Standing, Fault> {
    let step = || "enter a user namespace".to_owned();
    let threads = fs::read_dir("/proc/self/task").step(step)?.count();
    if threads != 1 {
        return Err(Fault::new(step(), format!("this process has {threads} threads already")));
    }
    let maps = Maps::plan(ids)?;
    // Its files in /proc belong to root while a process is not dumpable, and newuidmap takes that for somebody else's.
    let before = dumpable_behavior().step(step)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable).step(step)?;
    let entered = maps.enter();
    set_dumpable_behavior(before).step(step)?;
    entered?;
    if !rustix::process::geteuid().is_root() {
        keep_rights().step(|| "keep the rights in the user namespace".to_owned())?;
    }
    match ids {
        Ids::Many => Ok(Standing::Many(ids_here().unwrap_or_default())),
        Ids::One => Ok(Standing::One),
    }
}

/// What the namespace will show, and who writes it down.
struct Maps {
    uids: Vec<Range>,
    gids: Vec<Range>,
    by: Author,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// A process left outside, which has the right to.
    Outside,
    /// newuidmap and newgidmap, which have it.
    Helpers,
    /// The process itself: everybody may map themselves.
    Itself,
}

impl Maps {
    fn plan(ids: Ids) -> Result<Maps, Fault> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let myself = |outside| vec![Range { inside: 0, outside, count: 1 }];
        if ids == Ids::One {
            return Ok(Maps { uids: myself(uid), gids: myself(gid), by: Author::Itself });
        }
        if holds(CapabilitySet::SETUID | CapabilitySet::SETGID) && uid == 0 {
            let all = |name: &str| ranges::identity(&fs::read_to_string(format!("/proc/self/{name}"))?);
            let step = || "read the ids of this process".to_owned();
            return Ok(Maps {
                uids: all("uid_map").step(step)?,
                gids: all("gid_map").step(step)?,
                by: Author::Outside,
            });
        }
        let (uids, gids) = (ranges::subordinate("uid", uid)?, ranges::subordinate("gid", uid)?);
        Ok(Maps { uids: ranges::around(uid, &uids), gids: ranges::around(gid, &gids), by: Author::Helpers })
    }

    fn enter(&self) -> Result<(), Fault> {
        let step = || "start a process that stays outside of the user namespace".to_owned();
        if self.by == Author::Itself {
            unshare()?;
            return self.write_own();
        }
        let ((go, go_there), (answer, to_us)) = (pipe().step(step)?, pipe().step(step)?);
        let us = rustix::process::getpid();
        match sys::fork().step(step)? {
            sys::Fork::Child => {
                drop(go_there);
                let mut byte = [0];
                // Without a word the other side has failed to leave.
                if rustix::io::read(&go, &mut byte) == Ok(1) {
                    let report = self.write(us).map_or_else(Report::Failed, |()| Report::Code(0));
                    let _ = wire::send(fs::File::from(to_us), &report);
                }
                sys::exit(0)
            }
            sys::Fork::Parent(helper) => {
                drop((go, to_us));
                let left = unshare();
                if left.is_ok() {
                    let _ = rustix::io::write(&go_there, &[1]);
                }
                drop(go_there);
                let report = wire::receive(fs::File::from(answer));
                let _ = waitpid(Some(helper), WaitOptions::empty());
                left?;
                match report {
                    Ok(Some(Report::Code(0))) => Ok(()),
                    Ok(Some(Report::Failed(fault))) => Err(fault),
                    _ => Err(Fault::new("map ids", "the process left outside ended without an answer")),
                }
            }
        }
    }

    /// By the process itself, inside.
    fn write_own(&self) -> Result<(), Fault> {
        // Otherwise it could leave a group that something is denied to.
        fs::write("/proc/self/setgroups", "deny").call("write", "write /proc/self/setgroups")?;
        for (name, ranges) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            fs::write(format!("/proc/self/{name}"), ranges::text(ranges))
                .step(|| format!("write /proc/self/{name}"))?;
        }
        Ok(())
    }

    /// By the process left outside, for the one inside.
    fn write(&self, inside: Pid) -> Result<(), Fault> {
        let pid = inside.as_raw_nonzero();
        for (kind, ranges) in [("uid", &self.uids), ("gid", &self.gids)] {
            if self.by == Author::Outside {
                let path = format!("/proc/{pid}/{kind}_map");
                fs::write(&path, ranges::text(ranges)).step(|| format!("write {path}"))?;
            } else {
                run_helper(kind, pid.get(), ranges)?;
            }
        }
        Ok(())
    }
}

/// newuidmap or newgidmap, from the usual places only: a `PATH` of the user's may lack `/usr/sbin`, or have a stranger.
fn run_helper(kind: &str, pid: i32, ranges: &[Range]) -> Result<(), Fault> {
    let name = format!("new{kind}map");
    let step = || format!("run {name}");
    let program = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin", "/run/wrappers/bin"]
        .map(|dir| format!("{dir}/{name}"))
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false));
    let program = program.ok_or_else(|| Fault::new(step(), "it is not installed: apt-get install uidmap"))?;
    let words = ranges.iter().flat_map(|r| [r.inside, r.outside, r.count]).map(|number| number.to_string());
    let output = Command::new(program).arg(pid.to_string()).args(words).env_clear().output().step(step)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Fault::new(step(), why::helper(kind, &String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Rights outlive an exec by somebody else than root only where they are ambient.
fn keep_rights() -> Result<(), rustix::io::Errno> {
    let held = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: held.permitted, ..held })?;
    held.permitted.iter().try_for_each(|right| configure_capability_in_ambient_set(right, true))
}

/// Becomes root of the namespace in which this process has all rights, and leaves all groups.
pub(crate) fn become_root() -> Result<(), Fault> {
    let change = || {
        let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    };
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => change().step(|| "become root of the user namespace".to_owned()),
    }
}

/// Enters a namespace without ids.
pub(crate) fn unshare() -> Result<(), Fault> {
    let named = |errno| {
        let fault = Fault::of("unshare", "unshare(CLONE_NEWUSER)", errno, "");
        Fault { cause: why::unshare(errno), ..fault }
    };
    sys::unshare(UnshareFlags::NEWUSER).map_err(named)
}

fn pipe() -> Result<(OwnedFd, OwnedFd), rustix::io::Errno> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
}
