//! The system calls rustix has no safe form of: `fork`, `execve`, `unshare`, signals, the syscall filter.
//!
//! Kiln's only `unsafe` code. Every function here is safe to call from a process with one thread, which the child side
//! of the sandbox is; but for [`end_with_parent`], nothing here is called in the parent, which has many.
#![expect(unsafe_code, reason = "system calls without a safe form in rustix; each block says why it is sound")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

pub mod notify;
#[cfg(target_arch = "x86_64")]
pub mod trace;

/// Makes the kernel end a helper program, with SIGTERM, when the thread that starts it is no more: however this process
/// dies, the helper does not go on alone. The one function here that is for the parent.
pub fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        match rustix::process::getppid() {
            Some(now) if now == parent => Ok(()),
            _ => Err(Errno::SRCH.into()),
        }
    };
    // SAFETY: between fork and exec only two system calls are made; no memory is allocated and no lock is taken, also
    // not for the error, which is a number.
    unsafe { command.pre_exec(before_exec) };
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// Which side of [`fork`] one is on.
pub enum Fork {
    /// In the new process.
    Child,
    /// In the old one, with the id of the new.
    Parent(Pid),
}

/// Copies this process.
pub fn fork() -> Result<Fork, Errno> {
    // SAFETY: the child side has one thread whenever it forks, so no lock can be held by a thread that the copy lacks.
    match checked(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(Fork::Child),
        pid => Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).map_or(Fork::Child, Fork::Parent)),
    }
}

/// Ends this process at once: no destructor, no flush, nothing of what the parent side had buffered before a fork.
pub fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any status and touches no memory of this process.
    unsafe { libc::_exit(code) }
}

fn pointers(list: &[CString]) -> Vec<*const c_char> {
    list.iter().map(|item| item.as_ptr()).chain([ptr::null()]).collect()
}

/// Becomes the program at `path`; returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and hold pointers to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Becomes the program open as `file`; returns only on failure.
pub fn execve_file(file: impl AsFd, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as in `execve`; the descriptor is open for the time of the call and the path is the empty C string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

/// Moves this process into new namespaces.
pub fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the danger of `unshare` is one thread losing descriptors another opened; there is one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Sets attributes of a mount, with `recursive` of everything below it too.
pub fn mount_setattr(mount: impl AsFd, set: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let attributes = Attributes { set: u64::from(set.bits()), clear: 0, propagation: 0, userns: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attributes` has the layout of `struct mount_attr` and its size is passed along; the path is "".
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// Marks every descriptor from `first` on to be closed by the next `execve`.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed now, so no owner in this process is left dangling.
    match checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }) {
        Ok(_) => Ok(()),
        // Before Linux 5.11, or behind a filter that does not know the call.
        Err(_) => close_on_exec_one_by_one(first),
    }
}

fn close_on_exec_one_by_one(first: u32) -> Result<(), Errno> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(|_| Errno::NOSYS)?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for number in numbers.filter(|number| *number >= first) {
        // SAFETY: sets a flag of a descriptor; one that is closed by now makes the call fail without effect.
        unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Closes a descriptor in a forked copy that never returns to its owner.
pub fn close_in_copy(fd: impl AsFd) {
    // SAFETY: the copy ends in `exit` or `execve` without the owner's destructor running, so nothing uses or closes
    // the number again.
    unsafe { libc::close(fd.as_fd().as_raw_fd()) };
}

/// Lets every signal do what it does by default and blocks none: a command inherits both through `execve`.
pub fn default_signals() {
    // Handler, flags, restorer and mask, all zero: the default. The C library's own function leaves out the two signals it
    // keeps for itself, which a parent may have ignored all the same.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the array is as large as the kernel's `struct sigaction` and the mask in it eight bytes; signals that
        // cannot be changed make the call fail without effect.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8) };
    }
    // SAFETY: an all-zero `sigset_t` is the empty set, and the pointer to the old set may be null.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Ignores the signals a terminal or a service manager sends to a whole group: the supervisor has to clean up first.
pub fn ignore_stop_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: SIG_IGN installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// One instruction of the kernel's packet-filter machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip when a condition holds.
    pub if_true: u8,
    /// How many to skip when it does not.
    pub if_false: u8,
    /// Operand.
    pub operand: u32,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

impl Program {
    fn of(instructions: &[Instruction]) -> Result<Program, Errno> {
        let length = u16::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?;
        Ok(Program { length, instructions: instructions.as_ptr() })
    }
}

/// Installs a syscall filter for this process and all it becomes. Needs `CAP_SYS_ADMIN` or no-new-privileges.
pub fn install_filter(program: &[Instruction]) -> Result<(), Errno> {
    let program = Program::of(program)?;
    // SAFETY: `Program` and `Instruction` have the layouts of `struct sock_fprog` and `struct sock_filter`; the kernel
    // copies `length` instructions during the call and checks the program itself.
    checked(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Keeps this process, and all it becomes, from abstract sockets, signals and memory of processes that are not among
/// its own. Needs Linux 6.12 with Landlock, and `CAP_SYS_ADMIN` or no-new-privileges.
pub fn keep_to_own_processes() -> Result<(), Errno> {
    #[repr(C)]
    struct Rules {
        files: u64,
        ports: u64,
        scoped: u64,
    }
    // Abstract sockets and signals; tracing needs no word, it is always confined.
    let rules = Rules { files: 0, ports: 0, scoped: 3 };
    // SAFETY: `Rules` has the layout of `struct landlock_ruleset_attr` and its size is passed along; the kernel reads it.
    let made =
        checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size_of::<Rules>(), 0) })?;
    // SAFETY: takes a descriptor and no pointer.
    let entered = checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made, 0) });
    // SAFETY: the descriptor was made above and is nobody else's.
    unsafe { libc::syscall(libc::SYS_close, made) };
    entered.map(drop)
}

/// Which version of Landlock there is: Linux 5.13 has the first.
pub fn landlock() -> Result<libc::c_long, Errno> {
    const ASK_FOR_VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the pointer has to be null and the size 0.
    checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u64>(), 0_usize, ASK_FOR_VERSION) })
}

/// Keeps this process, and all it becomes, from all files but those it is given, and from processes that are not among
/// its own. Needs Landlock, and no-new-privileges.
pub fn forbid_all_files() -> Result<(), Errno> {
    #[repr(C)]
    struct Rules {
        files: u64,
        ports: u64,
        scoped: u64,
    }
    let version = landlock()?;
    let files = match version {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    };
    let rules = Rules { files, ports: 0, scoped: if version >= 6 { 3 } else { 0 } };
    // SAFETY: `Rules` has the layout of `struct landlock_ruleset_attr` and its size is passed along; the kernel reads it.
    let made =
        checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size_of::<Rules>(), 0) })?;
    // SAFETY: takes a descriptor and no pointer.
    let entered = checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made, 0) });
    // SAFETY: the descriptor was made above and is nobody else's.
    unsafe { libc::syscall(libc::SYS_close, made) };
    entered.map(drop)
}

/// Brings the loopback interface up; `socket` is any socket of the network namespace meant.
pub fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let mut request = Request { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    #[expect(clippy::cast_possible_truncation, reason = "both flags are below 2^15")]
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.flags = up;
    // SAFETY: `Request` has the size and layout of `struct ifreq` with its flags member; the kernel reads it only.
    checked(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    }))
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

    #[test]
    fn both_ways_mark_descriptors_to_be_closed() {
        for way in [close_on_exec_from, close_on_exec_one_by_one] {
            let fd = fcntl_dupfd_cloexec(std::io::stderr(), 50).unwrap();
            fcntl_setfd(&fd, FdFlags::empty()).unwrap();
            way(u32::try_from(fd.as_raw_fd()).unwrap()).unwrap();
            assert_eq!(fcntl_getfd(&fd).unwrap(), FdFlags::CLOEXEC);
        }
    }
}
