//! From a job to a command that is followed.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getpid, getrlimit, set_dumpable_behavior, setrlimit,
};

use super::find::{HERE, Root};
use super::follow::{Follower, first_path};
use super::memory::Memory;
use super::processes::{Process, Processes};
use super::program::Program;
use super::stub;
use super::world::{Asking, World};
use crate::init::command;
use crate::init::devices::{LINKS, NODES};
use crate::init::executable;
use crate::init::furnish::{self, Way};
use crate::init::owners::table::{Table, set_mode};
use crate::init::owners::who::Person;
use crate::init::post;
use crate::init::probing::{handing_over_is_known, in_copy};
use crate::init::supervise::{Task, fork_inner};
use crate::init::swap::Owning;
use crate::init::tree::send;
use crate::job::{Job, KnownOwner, Mount, OsBytes, Security};
use crate::rung::Rung;
use crate::seccomp::asked::emulating;
use crate::sys::{self, notify, trace};
use crate::wire::{Fault, Report, Step};

/// The supervisor's part: everything is put in place, and taken away again, out here.
pub fn run(task: &Task) -> Result<Report, Fault> {
    let job = task.job;
    let dir = match furnish::root_of(job) {
        Ok(dir) => dir,
        Err(lacks) => return Ok(lacks),
    };
    if job.security == Security::Insecure {
        let what = "a command with all rights, for Kiln has none here (isolation `root`, or `chroot` as root)";
        return Ok(Report::Lacks(what.to_owned()));
    }
    let way = Way { rung: Rung::Emulated, owning: Owning::Virtual, devices: make_devices };
    furnish::around(&way, job, dir, || {
        fork_inner(task, |answer| {
            send(answer, &begin(job, dir, answer).unwrap_or_else(Report::Failed));
        })
    })
}

/// `/dev` with files that stand for devices: whoever opens one gets the machine's.
fn make_devices(stash: &OwnedFd, name: &str) -> Result<(), Fault> {
    let step = || "make /dev".to_owned();
    let make = || -> Result<(), Errno> {
        rustix::fs::mkdirat(stash, name, Mode::from_raw_mode(0o755))?;
        let dev = openat(stash, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for (node, major, minor) in NODES {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&dev, node, flags, Mode::from_raw_mode(0o666))?;
            Table::default().make_node(&file, false, (major, minor))?;
        }
        for (link, target) in LINKS.iter().filter(|(link, _)| *link != "ptmx") {
            symlinkat(*target, &dev, *link)?;
        }
        rustix::fs::mkdirat(&dev, "shm", Mode::from_raw_mode(0o777))?;
        set_mode(openat(&dev, "shm", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, 0o1777)
    };
    make().step(step)
}

/// The inner process's part: starts the command and follows it to its end.
fn begin(job: &Job, dir: &Path, answer: &OwnedFd) -> Result<Report, Fault> {
    let step = || "prepare to follow the command".to_owned();
    let told = match &job.owners {
        Some(owners) => Some(crate::init::namespaces::open_told(&owners.told)?),
        None => None,
    };
    rustix::process::set_child_subreaper(Some(getpid())).step(step)?;
    let bell = trace::bell().step(step)?;
    let stub = stub::make().step(|| "make the program that becomes others".to_owned())?;
    let identity = rustix::fs::fstat(&stub).step(step)?;
    // Owners of what has no attributes are held open each. The command's limit stays what it was.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut world = world(job, dir)?;
    let cwd = command::working_directory(job, world.root.dir())?;
    let (theirs, ours) = post::pair().step(step)?;
    let pid = match sys::fork().step(|| "start the command".to_owned())? {
        sys::Fork::Child => {
            sys::close_in_copy(&ours);
            let _ = setrlimit(Resource::Nofile, limit);
            let fault = become_stub(job, &stub, &theirs);
            send(answer, &Report::Failed(fault));
            sys::exit(255)
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop((theirs, stub));
    let main = pid.as_raw_nonzero().get().unsigned_abs();
    let person = Person::new(job.user.uid, job.user.gid, job.user.groups.clone());
    world.processes.begin(main, Process::new(cwd, person, job.umask & 0o777));
    let listener = take_listener(pid, &ours);
    let ready = listener.and_then(|listener| Ok((listener, first_program(job, &mut world, main)?)));
    let (listener, first) = match ready {
        Ok((listener, Ok(program))) => (listener, program),
        not_to_be => {
            // Before it can say that nobody follows it, which is not the reason.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            return not_to_be.map(|(_, first)| Report::Code(first.err().unwrap_or_default()));
        }
    };
    let mut follower = Follower::new(world, (listener, bell), main, first, (identity.st_dev, identity.st_ino));
    let report = follower.follow()?;
    if let Some(told) = told {
        let owners = follower.world.table.told(follower.world.root.path());
        serde_json::to_writer(std::fs::File::from(told), &owners)
            .map_err(|error| Fault::new("say who owns what", error.to_string()))?;
    }
    Ok(report)
}

fn world(job: &Job, dir: &Path) -> Result<World, Fault> {
    let root = Root::open(dir).step(|| format!("open the root {}", dir.display()))?;
    let mut table = Table::default();
    for known in job.owners.iter().flat_map(|owners| &owners.known) {
        table.learn(root.dir(), known);
    }
    for mount in &job.mounts {
        if let Mount::Socket { target, uid, gid, .. } = mount {
            let path = target.strip_prefix("/").unwrap_or(target).as_os_str().to_owned();
            table.learn(root.dir(), &KnownOwner { path: OsBytes::from(path), uid: *uid, gid: *gid });
        }
    }
    let own = rustix::process::geteuid().as_raw();
    Ok(World { root, processes: Processes::default(), table, hostname: job.hostname.clone(), own })
}

/// Begins to follow the new process and takes from it what it is asked by.
fn take_listener(pid: Pid, end: &OwnedFd) -> Result<OwnedFd, Fault> {
    let step = || "follow the command".to_owned();
    post::wait(end).step(step)?;
    trace::seize(pid).call("ptrace", "ptrace(PTRACE_SEIZE)")?;
    post::say(end).step(step)?;
    // It stops where it hands over what it is asked by, for that is a call like others.
    let main = pid.as_raw_nonzero().get().unsigned_abs();
    loop {
        match trace::wait_for(main).step(step)? {
            trace::Told::Call => break trace::resume(main, trace::Go::On, 0),
            trace::Told::Ended(_) | trace::Told::Killed(_) => return Err(Fault::new(step(), "it ended at once")),
            _ => trace::resume(main, trace::Go::On, 0),
        }
    }
    post::take_over(end).call("seccomp", "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)")
}

/// The program the job names, or a shell's code where there is none.
fn first_program(job: &Job, world: &mut World, main: u32) -> Result<Result<Program, i32>, Fault> {
    let memory = world.processes.memory(main).step(|| "read the command's memory".to_owned())?;
    let who = Asking { thread: main, process: main, a: [0; 6], memory };
    let Some(name) = job.argv.first().filter(|name| !name.0.is_empty()) else {
        return Err(Fault::new("start the command", "it is empty"));
    };
    let mut failure = (None, Errno::NOENT);
    for candidate in executable::candidates(job, &name.0) {
        let path = candidate.as_os_str().as_encoded_bytes();
        match world.program(&who, HERE, path, true) {
            Ok(program) => return Ok(Ok(program)),
            Err(Errno::NOENT | Errno::NOTDIR) if world.find(&who, HERE, path, false).is_err() => {}
            Err(Errno::ACCESS) => failure = (Some(candidate), Errno::ACCESS),
            Err(errno) => {
                failure = (Some(candidate), errno);
                break;
            }
        }
    }
    let (path, errno) = failure;
    // As the command would see them, for words about them.
    let found = path.as_deref().and_then(|path| world.find(&who, HERE, path.as_os_str().as_encoded_bytes(), true).ok());
    let at = found.as_ref().map(super::world::itself).unwrap_or_default();
    let (code, words) = executable::explain(&name.lossy(), path.as_deref().map(|path| (path, &*at)), errno);
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("kiln: {words}\n").as_bytes());
    Ok(Err(code))
}

/// In the new process. Returns only with what went wrong.
fn become_stub(job: &Job, stub: &OwnedFd, end: &OwnedFd) -> Fault {
    match prepare(job, end) {
        Ok((argv, env)) => {
            let errno = sys::execve(&first_path(stub), &argv, &env);
            Fault::of("execve", "start the program that becomes others", errno, "")
        }
        Err(fault) => fault,
    }
}

type Texts = (Vec<std::ffi::CString>, Vec<std::ffi::CString>);

fn prepare(job: &Job, end: &OwnedFd) -> Result<Texts, Fault> {
    let texts = executable::texts(job)?;
    command::set_up_streams(job)?;
    command::apply_limits(job)?;
    sys::default_signals();
    sys::close_on_exec_from(3).step(|| "close inherited descriptors".to_owned())?;
    submit(end)?;
    Ok(texts)
}

/// Gives up what can be given up, and hands over all that follows.
fn submit(end: &OwnedFd) -> Result<(), Fault> {
    let step = || "prepare the command".to_owned();
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    rustix::thread::set_no_new_privs(true).step(|| "give up new privileges".to_owned())?;
    confine()?;
    // The kernel lets nobody follow what says it has something to hide.
    set_dumpable_behavior(DumpableBehavior::Dumpable).step(step)?;
    post::say(end).step(step)?;
    post::wait(end).step(step)?;
    let program = emulating().ok_or_else(|| Fault::new(step(), "not on this machine"))?;
    let listener = notify::install_filter(&program).call("seccomp", "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)")?;
    post::hand_over(end, &listener).step(|| "hand the command's calls over".to_owned())
}

/// Forbids all files but those handed over, and others' processes; kernels without Landlock do without.
fn confine() -> Result<(), Fault> {
    match sys::forbid_all_files() {
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).call("landlock_restrict_self", "forbid files with Landlock"),
    }
}

/// Whether all of it works here, tried with a process that becomes the stub and nothing more.
pub fn works() -> Result<(), Fault> {
    in_copy(|| {
        handing_over_is_known()?;
        let step = || "follow a process".to_owned();
        let stub = stub::make().call("memfd_create", "make a program in memory")?;
        let (theirs, ours) = post::pair().step(step)?;
        let pid = match sys::fork().step(step)? {
            sys::Fork::Child => {
                sys::close_in_copy(&ours);
                let fault = submit(&theirs).err();
                if fault.is_none() {
                    sys::execve(&first_path(&stub), &[], &[]);
                }
                sys::exit(1)
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop(theirs);
        let tried = take_listener(pid, &ours).and_then(|_listener| becomes_stub(pid));
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        tried
    })
}

fn becomes_stub(pid: Pid) -> Result<(), Fault> {
    let step = || "execve(2) of a program in memory".to_owned();
    let main = pid.as_raw_nonzero().get().unsigned_abs();
    loop {
        match trace::wait_for(main).step(step)? {
            trace::Told::Call => trace::resume(main, trace::Go::UntilReturn, 0),
            trace::Told::Executed => break,
            trace::Told::Ended(_) | trace::Told::Killed(_) => {
                return Err(Fault::of("execve", step(), Errno::ACCESS, ""));
            }
            _ => trace::resume(main, trace::Go::On, 0),
        }
    }
    let registers = trace::Registers::of(main).call("ptrace", "ptrace(PTRACE_GETREGS)")?;
    let memory = Memory::of(main).and_then(|memory| memory.words::<1>(registers.rsp));
    memory.map(drop).call("openat", "read the memory of a process that is followed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_wall_forbids_every_file() {
        if sys::landlock().is_err() {
            return;
        }
        let tried = in_copy(|| {
            rustix::thread::set_no_new_privs(true).step(|| "give up new privileges".to_owned())?;
            confine()?;
            for path in ["/etc/passwd", "/", "/proc/self/exe", "/dev/null"] {
                match rustix::fs::open(path, OFlags::RDONLY, Mode::empty()) {
                    Err(Errno::ACCESS) => {}
                    other => return Err(Fault::new(path, format!("{other:?}"))),
                }
            }
            Ok(())
        });
        assert_eq!(tried, Ok(()));
    }
}
