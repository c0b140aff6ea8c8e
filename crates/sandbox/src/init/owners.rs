//! Virtual owners for a command on the rung `userns1`: a process beside it answers the calls that are about owners.
//!
//! With one id the kernel can give nothing away. So [`seccomp`](crate::seccomp) hands over what reads owners (`stat`),
//! changes them (`chown`), decides them (creating a file) and says who one is (`getuid`, `setuid`); all other calls go
//! to the kernel. What is not virtual about a call is left to the kernel too.
//!
//! ```text
//! of                       kept                                        until
//! files and directories    attribute `user.kiln.owner`                 they are in the layer
//! device nodes             attribute `user.kiln.node` of a file        they are in the layer
//! links, pipes, sockets    here, by inode, held open                   the end, then told to the caller by path
//! processes                here, by process                            they end
//! ```
//! This is no fence: a command that takes it down harms its own image only. Between the virtual users there are no
//! permissions, for the kernel sees one.
//!
//! `who` virtual users     `place` paths of another process     `table` who owns what     `create` new files
//! `answer` what each call gets

mod answer;
mod create;
mod place;
pub mod table;
pub mod who;

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::{post, rights};
use crate::job::{Job, KnownOwner, Mount, OsBytes};
use crate::sys::{self, notify};
use crate::wire::{Fault, Step};
use answer::{Desk, Reply};
use table::Table;
pub use table::set_owner as set_virtual;
use who::{People, Person};

/// The process that answers, as its parent and the command see it.
pub struct Keeper {
    pid: Pid,
    to: OwnedFd,
}

impl Keeper {
    /// Starts it. The command [hands](Keeper::hand_over) its listener over before it becomes the command.
    pub fn start(job: &Job, result: Option<OwnedFd>) -> Result<Keeper, Fault> {
        let step = || "start the process that keeps owners".to_owned();
        let (to, from) = post::pair().step(step)?;
        match sys::fork().step(step)? {
            sys::Fork::Parent(pid) => Ok(Keeper { pid, to }),
            sys::Fork::Child => {
                sys::close_in_copy(&to);
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                sys::exit(i32::from(keep(job, &from, result).is_err()))
            }
        }
    }

    /// In the parent, once the command is started: the keeper is not to wait for us. Its id.
    pub fn leave(self) -> Pid {
        self.pid
    }

    /// In the command's process: gives the listener away and waits until it is taken.
    pub fn hand_over(&self, listener: &OwnedFd) -> Result<(), Errno> {
        post::hand_over(&self.to, listener)
    }
}

/// Answers until nobody is left who could ask, then tells who owns what no attribute can say.
fn keep(job: &Job, from: &OwnedFd, result: Option<OwnedFd>) -> Result<(), Errno> {
    let open_files = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: open_files, maximum: open_files });
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut table = Table::default();
    for known in job.owners.iter().flat_map(|owners| &owners.known) {
        table.learn(&root, known);
    }
    for mount in &job.mounts {
        if let Mount::Socket { target, uid, gid, .. } = mount {
            let path = target.strip_prefix("/").unwrap_or(target).as_os_str().to_owned();
            table.learn(&root, &KnownOwner { path: OsBytes::from(path), uid: *uid, gid: *gid });
        }
    }
    let person = Person::new(job.user.uid, job.user.gid, job.user.groups.clone());
    let mut desk = Desk { table, people: People::all_as(person) };
    let listener = post::take_over(from)?;
    // What it does for the command it does with the command's rights, and looks into its memory.
    let rights = rights::SANDBOX | CapabilitySet::SYS_PTRACE;
    set_capabilities(
        None,
        CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() },
    )?;
    while wait(&listener)? {
        match notify::receive(&listener) {
            Ok(call) => {
                // Whoever asked may be gone, which needs no answer.
                let _ = match desk.reply(&call, &listener) {
                    Reply::GoOn => notify::go_on(&listener, call.id),
                    Reply::Value(value) => notify::answer(&listener, call.id, Ok(value)),
                    Reply::Error(errno) => notify::answer(&listener, call.id, Err(errno)),
                    Reply::Descriptor(fd, close_on_exec) => {
                        notify::answer_descriptor(&listener, call.id, fd, close_on_exec)
                    }
                };
            }
            Err(Errno::NOENT | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    if let Some(result) = result {
        serde_json::to_writer(File::from(result), &desk.table.told(b"")).map_err(|_| Errno::IO)?;
    }
    Ok(())
}

/// Waits for a call; `false` when all who could make one are gone.
fn wait(listener: &OwnedFd) -> Result<bool, Errno> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => return Ok(fds[0].revents().contains(PollFlags::IN)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
