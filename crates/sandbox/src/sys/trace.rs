//! Following other processes with `ptrace(2)`: every fork, every exec, and the calls a filter says to stop at.
//!
//! One thread follows, always the same. The registers are those of x86-64, the one architecture the rung `emulated`
//! knows.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::checked;

/// What a stopped or ended process told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It ended with this code.
    Ended(i32),
    /// It was killed by this signal.
    Killed(i32),
    /// It is about to get this signal.
    Signal(i32),
    /// It stopped together with its process, by this signal.
    GroupStop(i32),
    /// It has just been made, or goes on after a stop.
    Trap,
    /// It has made another process, or a thread.
    Forked,
    /// It has become another program.
    Executed,
    /// It is at a call that the filter says to stop at.
    Call,
    /// A call has returned.
    Returned,
}

const EVENT_FORK: i32 = 1;
const EVENT_VFORK: i32 = 2;
const EVENT_CLONE: i32 = 3;
const EVENT_EXEC: i32 = 4;
const EVENT_SECCOMP: i32 = 7;
const EVENT_STOP: i32 = 128;

/// Kill with the one who follows; say where calls return; tell of forks, execs and marked calls.
const OPTIONS: libc::c_long = 0x10_0000 | 0x1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7;

fn request(request: libc::c_uint, pid: u32, address: usize, data: usize) -> Result<libc::c_long, Errno> {
    // SAFETY: the requests made here take numbers, or a pointer to a live structure of the size the kernel writes or
    // reads; each caller says which.
    checked(unsafe {
        libc::syscall(libc::SYS_ptrace, libc::c_long::from(request), libc::c_long::from(pid), address, data)
    })
}

/// Begins to follow a process and all that it will start.
pub fn seize(pid: Pid) -> Result<(), Errno> {
    let number = pid.as_raw_nonzero().get().unsigned_abs();
    request(0x4206, number, 0, OPTIONS as usize).map(drop)
}

/// How a process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Until the next event.
    On,
    /// Until its call has returned.
    UntilReturn,
    /// It stays stopped and hears what wakes it.
    Listen,
}

/// Lets a stopped thread go on, with a signal if not 0. One that is gone needs none.
pub fn resume(thread: u32, go: Go, signal: i32) {
    let number = match go {
        Go::On => 7,
        Go::UntilReturn => 24,
        Go::Listen => 0x4208,
    };
    let _ = request(number, thread, 0, usize::try_from(signal).unwrap_or(0));
}

/// What the last event was about: the new process of a fork, the old thread of an exec.
pub fn message(thread: u32) -> Result<u32, Errno> {
    let mut value: libc::c_ulong = 0;
    // The kernel writes one word to `value`.
    request(0x4201, thread, 0, (&raw mut value).expose_provenance())?;
    u32::try_from(value).map_err(|_| Errno::SRCH)
}

/// The registers of a stopped thread. The layout is the kernel's `struct user_regs_struct`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The number of the call.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub bases: [u64; 2],
    pub segments: [u64; 4],
}

const _: () = assert!(size_of::<Registers>() == 27 * 8);

impl Registers {
    /// Reads those of a stopped thread.
    pub fn of(thread: u32) -> Result<Registers, Errno> {
        let mut registers = Registers::default();
        // The kernel writes as much as `Registers` has.
        request(12, thread, 0, (&raw mut registers).expose_provenance())?;
        Ok(registers)
    }

    /// Sets those of a stopped thread.
    pub fn set(&self, thread: u32) -> Result<(), Errno> {
        // The kernel reads as much as `Registers` has.
        request(13, thread, 0, std::ptr::from_ref(self).expose_provenance()).map(drop)
    }
}

/// What the next of the followed has to tell, if one has.
pub fn next() -> Result<Option<(u32, Told)>, Errno> {
    let mut status: libc::c_int = 0;
    // SAFETY: the kernel writes one `int` to `status`.
    let pid = checked(libc::c_long::from(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) }))?;
    match u32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(Some((pid, read(status)))),
        _ => Ok(None),
    }
}

/// What this one has to tell, when it has.
pub fn wait_for(pid: u32) -> Result<Told, Errno> {
    let mut status: libc::c_int = 0;
    loop {
        // SAFETY: as in `next`.
        match checked(libc::c_long::from(unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, libc::__WALL) })) {
            Ok(_) => return Ok(read(status)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn read(status: libc::c_int) -> Told {
    if libc::WIFEXITED(status) {
        return Told::Ended(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Told::Killed(libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        EVENT_FORK | EVENT_VFORK | EVENT_CLONE => Told::Forked,
        EVENT_EXEC => Told::Executed,
        EVENT_SECCOMP => Told::Call,
        EVENT_STOP if signal == libc::SIGTRAP => Told::Trap,
        EVENT_STOP => Told::GroupStop(signal),
        _ if signal == libc::SIGTRAP | 0x80 => Told::Returned,
        _ => Told::Signal(signal),
    }
}

/// A descriptor that can be read when one of the followed has something to tell. The signal behind it is blocked.
pub fn bell() -> Result<OwnedFd, Errno> {
    // SAFETY: an all-zero `sigset_t` is the empty set; the pointers are to it or null; the descriptor is new.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        checked(libc::c_long::from(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        checked(libc::c_long::from(fd))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
