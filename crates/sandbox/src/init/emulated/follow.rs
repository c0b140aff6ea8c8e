//! Following the command's processes: their calls are answered, their forks noted, their execs done by the stub.
//!
//! One thread does all of it, so whatever a process is told was true when it was said.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::find::HERE;
use super::image::Placed;
use super::program::Program;
use super::stack::{self, Wanted};
use super::stub::{self, Op};
use super::world::{Asking, Reply, World, descriptor, itself, low};
use crate::seccomp::asked::{EXECVE, EXECVEAT, SENDMSG, asked};
use crate::sys::notify::{self, Call};
use crate::sys::trace::{self, Go, Registers, Told};
use crate::wire::{Fault, Report, Step};

/// Where programs go that can be anywhere, and what loads them: far from what the kernel places itself.
const PROGRAMS: u64 = 0x5000_0000_0000;
const LOADERS: u64 = 0x5100_0000_0000;
/// Pages by which both are moved at random.
const SPREAD: u64 = 1 << 24;
/// Below this the stub's operations are out of the way of a signal.
const CLEAR: u64 = 512;

/// An exec on its way.
struct Exec {
    program: Program,
    before: Registers,
}

/// Who follows.
pub struct Follower {
    pub world: World,
    listener: OwnedFd,
    bell: OwnedFd,
    /// Execs of threads.
    execs: HashMap<u32, Exec>,
    /// New processes that came before the word about them.
    early: HashSet<u32>,
    main: u32,
    ended: Option<Report>,
    /// The device and inode of the stub.
    stub: (u64, u64),
}

impl Follower {
    /// Follows what has begun as `main`, which is about to become `first` by way of the stub.
    pub fn new(
        world: World,
        (listener, bell): (OwnedFd, OwnedFd),
        main: u32,
        first: Program,
        stub: (u64, u64),
    ) -> Follower {
        let first = Exec { program: first, before: Registers::default() };
        let execs = HashMap::from([(main, first)]);
        notify::wake_together(&listener);
        Follower { world, listener, bell, execs, early: HashSet::new(), main, ended: None, stub }
    }

    /// Until all of them have ended. What the command leaves behind is killed.
    pub fn follow(&mut self) -> Result<Report, Fault> {
        while !self.world.processes.is_empty() {
            let step = || "follow the command's processes".to_owned();
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).step(step),
            }
            let (asked, rung) = (fds[0].revents(), fds[1].revents());
            if asked.contains(PollFlags::IN) {
                match notify::receive(&self.listener) {
                    Ok(call) => self.answer(&call),
                    Err(Errno::NOENT | Errno::INTR) => {}
                    Err(errno) => return Err(errno).step(step),
                }
            }
            if !rung.is_empty() || !asked.contains(PollFlags::IN) {
                let _ = rustix::io::read(&self.bell, &mut [0; 128]);
                self.hear()?;
            }
        }
        self.ended.take().ok_or_else(|| Fault::new("follow the command", "it is lost"))
    }

    /// Takes all events there are.
    fn hear(&mut self) -> Result<(), Fault> {
        loop {
            match trace::next() {
                Ok(Some((thread, told))) => self.event(thread, told),
                Ok(None) => return Ok(()),
                Err(Errno::CHILD) => {
                    self.world.processes = Default::default();
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).step(|| "wait for the command's processes".to_owned()),
            }
        }
    }

    fn event(&mut self, thread: u32, told: Told) {
        match told {
            Told::Ended(code) => self.gone(thread, Report::Code(code)),
            Told::Killed(signal) => self.gone(thread, Report::Signal(signal)),
            Told::Signal(signal) => {
                begin_again(thread);
                trace::resume(thread, Go::On, signal);
            }
            Told::GroupStop(_) => trace::resume(thread, Go::Listen, 0),
            Told::Trap if self.world.processes.has(thread) => trace::resume(thread, Go::On, 0),
            Told::Trap => drop(self.early.insert(thread)),
            Told::Forked => self.forked(thread),
            Told::Executed => self.executed(thread),
            Told::Call => self.called(thread),
            Told::Returned => self.returned(thread),
        }
    }

    fn gone(&mut self, thread: u32, report: Report) {
        self.execs.remove(&thread);
        self.world.processes.ended(thread);
        if thread == self.main {
            self.ended = Some(report);
        }
        if self.ended.is_some() {
            self.world.processes.numbers().filter_map(|number| Pid::from_raw(number.cast_signed())).for_each(|pid| {
                // It may have ended just now, which is as good.
                let _ = kill_process(pid, Signal::KILL);
            });
        }
    }

    fn forked(&mut self, thread: u32) {
        const CLONE: u64 = 56;
        const OF_THE_SAME_PROCESS: u64 = 0x1_0000;
        let is_thread = Registers::of(thread).is_ok_and(|of| of.orig_rax == CLONE && of.rdi & OF_THE_SAME_PROCESS != 0);
        if let Ok(child) = trace::message(thread) {
            self.world.processes.forked(thread, child, is_thread);
            if self.early.remove(&child) {
                trace::resume(child, Go::On, 0);
            }
            if self.ended.is_some()
                && let Some(pid) = Pid::from_raw(child.cast_signed())
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        trace::resume(thread, Go::On, 0);
    }

    /// A call at which the filter stops.
    fn called(&mut self, thread: u32) {
        let Ok(registers) = Registers::of(thread) else { return trace::resume(thread, Go::On, 0) };
        if self.execs.contains_key(&thread) {
            // The first: it is the stub's already.
            return trace::resume(thread, Go::UntilReturn, 0);
        }
        let result = match registers.orig_rax {
            EXECVE | EXECVEAT => self.exec(thread, &registers),
            call => self.send(thread, call == SENDMSG, &registers).map(|()| Go::On),
        };
        match result {
            Ok(go) => trace::resume(thread, go, 0),
            Err(errno) => {
                let failed = u64::from(errno.raw_os_error().unsigned_abs()).wrapping_neg();
                let _ = Registers { orig_rax: u64::MAX, rax: failed, ..registers }.set(thread);
                trace::resume(thread, Go::On, 0);
            }
        }
    }

    fn asking(&mut self, thread: u32, a: [u64; 6]) -> Result<Asking, Errno> {
        let process = self.world.processes.of_thread(thread).ok_or(Errno::SRCH)?;
        Ok(Asking { thread, process, a, memory: self.world.processes.memory(process)? })
    }

    /// Turns an exec into one of the stub.
    fn exec(&mut self, thread: u32, of: &Registers) -> Result<Go, Errno> {
        const EMPTY_PATH: u32 = 0x1000;
        const NOFOLLOW: u32 = 0x100;
        let by_descriptor = of.orig_rax == EXECVEAT;
        let a = match by_descriptor {
            true => [of.rdi, of.rsi, of.rdx, of.r10, of.r8, 0],
            false => [u64::from(HERE.cast_unsigned()), of.rdi, of.rsi, of.rdx, 0, 0],
        };
        let who = self.asking(thread, a)?;
        let (from, path, flags) = (descriptor(a[0]), who.memory.text(a[1])?, low(a[4]));
        let program = if path.is_empty() && flags & EMPTY_PATH != 0 {
            let found = self.world.held(&who, from)?;
            self.world.program_at(&who, found, format!("/dev/fd/{from}").into_bytes())?
        } else {
            self.world.program(&who, from, &path, flags & NOFOLLOW == 0)?
        };
        let itself = self.world.process(&who)?.itself;
        Registers { orig_rax: EXECVE, rdi: itself, rsi: a[2], rdx: a[3], ..*of }.set(thread)?;
        self.execs.insert(thread, Exec { program, before: *of });
        Ok(Go::UntilReturn)
    }

    /// A message to a socket with a name, which the kernel would look for on the machine.
    fn send(&mut self, thread: u32, single: bool, of: &Registers) -> Result<(), Errno> {
        const MESSAGE: u64 = 64;
        let who = self.asking(thread, [0; 6])?;
        let count = if single { 1 } else { of.rdx.min(1024) };
        for index in 0..count {
            if super::sockets::names_a_file(&who, of.rsi.wrapping_add(index * MESSAGE)) {
                return Err(Errno::PERM);
            }
        }
        Ok(())
    }

    /// The stub is there: it is told what to become.
    fn executed(&mut self, process: u32) {
        let before = trace::message(process).unwrap_or(process);
        let (own, other) = (self.execs.remove(&before), self.execs.remove(&process));
        // Whoever else of the process was about to become something is gone.
        let processes = &self.world.processes;
        self.execs.retain(|thread, _| processes.of_thread(*thread) != Some(process));
        self.world.processes.executed(process);
        let exec = own.or(other).filter(|_| self.is_stub(process));
        let started = exec.ok_or(Errno::NOEXEC).and_then(|exec| self.start(process, exec.program));
        if started.is_err()
            && let Some(pid) = Pid::from_raw(process.cast_signed())
        {
            // There is nothing to go back to.
            let _ = kill_process(pid, Signal::KILL);
        }
        trace::resume(process, Go::On, 0);
    }

    /// Whether a process has become the stub: its path lies in memory, where the command may have put another one.
    fn is_stub(&self, process: u32) -> bool {
        rustix::fs::stat(format!("/proc/{process}/exe")).is_ok_and(|is| (is.st_dev, is.st_ino) == self.stub)
    }

    fn start(&mut self, process: u32, program: Program) -> Result<(), Errno> {
        let registers = Registers::of(process)?;
        let entry = self.world.processes.get(process)?;
        entry.forget_memory();
        entry.person.user.execute(program.becomes.0);
        entry.person.group.execute(program.becomes.1);
        entry.program = Rc::new(program.place.clone());
        entry.itself = stub::name_of_itself(registers.rip);
        let (user, group) = (entry.person.user, entry.person.group);
        let mut ops: Vec<Op> = Vec::new();
        let mut loading = VecDeque::from([program.file]);
        let placed = program.image.place(PROGRAMS + spread(), &mut ops);
        let mut interpreter: Option<Placed> = None;
        if let Some((file, image)) = program.interpreter {
            interpreter = Some(image.place(LOADERS + spread(), &mut ops));
            loading.push_back(file);
        }
        entry.loading = loading;
        let name = program.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let wanted = Wanted {
            program: placed,
            interpreter,
            prefix: &program.prefix,
            path: &program.path,
            name: &name[..name.len().min(15)],
            ids: [user.real, user.effective, group.real, group.effective],
        };
        let memory = self.world.processes.memory(process)?;
        let begin = stack::build(&memory, registers.rsp, &wanted, ops)?;
        Registers { rbx: begin, r12: 0, rsp: begin - CLEAR, ..registers }.set(process)
    }

    /// An exec that failed after all, in the kernel.
    fn returned(&mut self, thread: u32) {
        if let Some(exec) = self.execs.remove(&thread)
            && exec.before.orig_rax != 0
            && let Ok(now) = Registers::of(thread)
        {
            let _ = Registers { rax: now.rax, orig_rax: now.orig_rax, ..exec.before }.set(thread);
        }
        trace::resume(thread, Go::On, 0);
    }

    /// A call that waits for its answer. Whoever asked may be gone, which needs none.
    fn answer(&mut self, call: &Call) {
        let reply = self.asking(call.thread, call.arguments).and_then(|who| match asked(call.number) {
            Some(asked) => self.world.answer(asked, &who),
            None => Err(Errno::NOSYS),
        });
        let listener = &self.listener;
        let _ = match reply {
            Ok(Reply::GoOn) => notify::go_on(listener, call.id),
            Ok(Reply::Value(value)) => notify::answer(listener, call.id, Ok(value)),
            Ok(Reply::Descriptor(fd, close_on_exec)) => give(listener, call.id, &fd, close_on_exec),
            Ok(Reply::Replaced(fd, number, close_on_exec)) => {
                let replaced = notify::replace_descriptor(listener, call.id, fd, number, close_on_exec);
                notify::answer(listener, call.id, replaced.map(|()| 0))
            }
            Ok(Reply::Opens(fd, flags)) => self.open_later(call.id, fd, flags),
            Err(errno) => notify::answer(listener, call.id, Err(errno)),
        };
    }

    /// Opens what may wait for another to open it, on a thread of its own.
    fn open_later(&self, id: u64, fd: OwnedFd, flags: u32) -> Result<(), Errno> {
        let listener = rustix::io::fcntl_dupfd_cloexec(&self.listener, 3)?;
        let wait = move || {
            let flags = OFlags::from_bits_retain(flags);
            let opened = openat(CWD, itself(&fd), flags | OFlags::CLOEXEC, Mode::empty());
            let _ = match opened {
                Ok(opened) => give(&listener, id, &opened, flags.contains(OFlags::CLOEXEC)),
                Err(errno) => notify::answer(&listener, id, Err(errno)),
            };
        };
        match std::thread::Builder::new().spawn(wait) {
            Ok(_) => Ok(()),
            Err(_) => notify::answer(&self.listener, id, Err(Errno::NFILE)),
        }
    }
}

/// A call that waited to be taken up when a signal came begins again after it: the kernel's own never fail for a signal,
/// whatever the program says about restarts.
fn begin_again(thread: u32) {
    const RESTART_IF_ASKED: u64 = 512_u64.wrapping_neg();
    const RESTART: u64 = 513_u64.wrapping_neg();
    let Ok(registers) = Registers::of(thread) else { return };
    let number = i32::try_from(registers.orig_rax).unwrap_or(-1);
    if registers.rax == RESTART_IF_ASKED && asked(number).is_some() {
        let _ = Registers { rax: RESTART, ..registers }.set(thread);
    }
}

/// A descriptor that cannot be given, for its receiver has too many, is an error of the call.
fn give(listener: &OwnedFd, id: u64, fd: impl AsFd, close_on_exec: bool) -> Result<(), Errno> {
    match notify::answer_descriptor(listener, id, fd, close_on_exec) {
        Err(errno) if errno != Errno::NOENT => notify::answer(listener, id, Err(errno)),
        given => given,
    }
}

fn spread() -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes) % SPREAD * 4096
}

/// The path by which the first process becomes the stub that it has open.
pub fn first_path(stub: &OwnedFd) -> std::ffi::CString {
    stub::path(stub.as_raw_fd())
}
