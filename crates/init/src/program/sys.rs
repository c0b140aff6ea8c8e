//! System calls, where the program begins, its memory: all that is unsafe.
//!
//! Every function that others call takes references and gives values; what the kernel is handed lives as long as the
//! call. Numbers are those of x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl` of Linux).

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// No such file.
pub const ENOENT: i32 = 2;
/// Interrupted.
pub const EINTR: i32 = 4;
/// It is there already.
pub const EEXIST: i32 = 17;
/// Not now.
pub const EAGAIN: i32 = 11;
/// The network has no way there.
pub const ENETUNREACH: i32 = 101;

/// What a call gives: a number, or an error's.
pub type Result<T> = core::result::Result<T, i32>;

// The kernel jumps here with the arguments on the stack, which is then aligned as functions expect it.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin
);

/// What the kernel gave the program.
pub struct Start {
    /// Arguments without the program's name.
    pub arguments: Vec<&'static CStr>,
    /// `NAME=value`.
    pub environment: Vec<&'static CStr>,
}

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel put a count, that many pointers, a null, pointers to variables and a null there, and the texts
    // they point to stay as long as the process.
    let start = unsafe {
        let count = *stack;
        let list = |mut at: *const usize| {
            let mut all = Vec::new();
            while *at != 0 {
                all.push(CStr::from_ptr(*at as *const core::ffi::c_char));
                at = at.add(1);
            }
            all
        };
        Start { arguments: list(stack.add(1 + count.min(1))), environment: list(stack.add(count + 2)) }
    };
    crate::main(&start)
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo) -> ! {
    crate::say::give_up(&alloc::format!("a bug: {info}"))
}

/// What the compiled `core` names and nothing calls: there is no unwinding.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The same.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(125)
}

// The compiler makes calls of these.

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller has `count` bytes at both, which do not overlap.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags))
    };
    to
}

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: copying forwards, nothing is overwritten before it is read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller has `count` bytes at both; from the end, nothing is overwritten before it is read. `count` is
    // not 0 here.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to.add(count - 1) => _,
             inout("rsi") from.add(count - 1) => _, options(nostack));
    }
    to
}

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller has `count` bytes there.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags))
    };
    to
}

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller has `count` bytes at both.
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
/// As C has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut count = 0;
    // SAFETY: the caller has a zero at the end; every byte up to it is there.
    while unsafe { text.add(count).read_volatile() } != 0 {
        count += 1;
    }
    count
}

/// All memory there is: zeros that take no room until they are used. Pieces have sizes of powers of two; one that is
/// given back lies in the list of its size until somebody wants it.
struct Arena {
    bytes: UnsafeCell<[u8; ARENA]>,
    used: AtomicUsize,
    free: [AtomicUsize; SIZES],
}

const ARENA: usize = 16 << 20;
const SIZES: usize = 25;
const PAGE: usize = 4096;

// SAFETY: there is one thread.
unsafe impl Sync for Arena {}

#[global_allocator]
static MEMORY: Arena = Arena {
    bytes: UnsafeCell::new([0; ARENA]),
    used: AtomicUsize::new(0),
    free: [const { AtomicUsize::new(0) }; SIZES],
};

/// The size of a piece for this, and which list it is in.
fn piece_for(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(layout.align()).max(16).checked_next_power_of_two()?;
    let list = size.trailing_zeros() as usize;
    (list < SIZES && layout.align() <= PAGE).then_some((size, list))
}

// SAFETY: every piece lies in the arena, in no other piece, and begins at a multiple of its size or of a page, so it is
// aligned as it must be. The first word of a free piece is the address of the next.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((size, list)) = piece_for(layout) else { return core::ptr::null_mut() };
        let first = self.free[list].load(Ordering::Relaxed);
        if first != 0 {
            // SAFETY: it is a free piece.
            let next = unsafe { *(first as *const usize) };
            self.free[list].store(next, Ordering::Relaxed);
            return first as *mut u8;
        }
        let base = self.bytes.get() as usize;
        let start = (base + self.used.load(Ordering::Relaxed)).next_multiple_of(size.min(PAGE));
        if start + size > base + ARENA {
            return core::ptr::null_mut();
        }
        self.used.store(start + size - base, Ordering::Relaxed);
        start as *mut u8
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some((_, list)) = piece_for(layout) else { return };
        // SAFETY: the piece is nobody's any more, and has room for a word.
        unsafe { *piece.cast::<usize>() = self.free[list].load(Ordering::Relaxed) };
        self.free[list].store(piece as usize, Ordering::Relaxed);
    }
}

/// A call with up to six arguments.
///
/// # Safety
/// What is behind arguments that are addresses must be what the call expects, and must live until it returns.
unsafe fn call(number: usize, a: [usize; 6]) -> Result<usize> {
    let given: isize;
    // SAFETY: the kernel keeps all registers but these; memory is as the caller promises.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => given, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&given) { Err((-given) as i32) } else { Ok(given as usize) }
}

const AT_FDCWD: usize = -100_isize as usize;

fn at(text: &CStr) -> usize {
    text.as_ptr() as usize
}

/// An open file, closed when it goes.
pub struct Fd(pub i32);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: no memory.
        let _ = unsafe { call(3, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// For reading.
pub const READ: usize = 0;
/// For writing.
pub const WRITE: usize = 1;
/// Made if it is not there.
pub const CREATE: usize = 0o100;
/// Emptied.
pub const TRUNCATE: usize = 0o1000;
/// A directory.
pub const DIRECTORY: usize = 0o200_000;
/// Not waiting.
pub const NONBLOCK: usize = 0o4000;
const CLOEXEC: usize = 0o2_000_000;
/// No terminal of the process.
pub const NOCTTY: usize = 0o400;

/// Opens a file.
pub fn open(path: &CStr, flags: usize, mode: usize) -> Result<Fd> {
    // SAFETY: the path ends with a zero.
    unsafe { call(257, [AT_FDCWD, at(path), flags | CLOEXEC, mode, 0, 0]) }.map(|fd| Fd(fd as i32))
}

/// Reads at most as much as there is room.
pub fn read(fd: &Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: there is that much room.
    again(|| unsafe { call(0, [fd.0 as usize, into.as_mut_ptr() as usize, into.len(), 0, 0, 0]) })
}

/// Reads from a place.
pub fn read_at(fd: &Fd, into: &mut [u8], offset: u64) -> Result<usize> {
    // SAFETY: there is that much room.
    again(|| unsafe { call(17, [fd.0 as usize, into.as_mut_ptr() as usize, into.len(), offset as usize, 0, 0]) })
}

/// Writes some of it.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    // SAFETY: there are that many bytes.
    again(|| unsafe { call(1, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) })
}

fn again(mut try_it: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match try_it() {
            Err(EINTR) => {}
            given => return given,
        }
    }
}

/// Entries of a directory as the kernel gives them.
pub fn entries(fd: &Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: there is that much room.
    unsafe { call(217, [fd.0 as usize, into.as_mut_ptr() as usize, into.len(), 0, 0, 0]) }
}

/// Makes a directory.
pub fn mkdir(path: &CStr, mode: usize) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(258, [AT_FDCWD, at(path), mode, 0, 0, 0]) }
}

/// Makes a device of characters.
pub fn device(path: &CStr, major: usize, minor: usize) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(259, [AT_FDCWD, at(path), 0o020_600, major << 8 | minor, 0, 0]) }
}

/// Takes a name away; of a directory too, when it is empty.
pub fn unlink(path: &CStr, directory: bool) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(263, [AT_FDCWD, at(path), if directory { 0x200 } else { 0 }, 0, 0, 0]) }
}

/// Makes a link.
pub fn symlink(target: &CStr, path: &CStr) -> Result<usize> {
    // SAFETY: both end with a zero.
    unsafe { call(266, [at(target), AT_FDCWD, at(path), 0, 0, 0]) }
}

/// Sets permissions.
pub fn chmod(path: &CStr, mode: usize) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(268, [AT_FDCWD, at(path), mode, 0, 0, 0]) }
}

/// Gives an open file to somebody.
pub fn chown(fd: i32, user: u32) -> Result<usize> {
    // SAFETY: no memory.
    unsafe { call(93, [fd as usize, user as usize, u32::MAX as usize, 0, 0, 0]) }
}

/// Only to be read.
pub const MS_RDONLY: usize = 1;
/// No set-user-id.
pub const MS_NOSUID: usize = 2;
/// No devices.
pub const MS_NODEV: usize = 4;
/// No programs.
pub const MS_NOEXEC: usize = 8;
/// The mount goes elsewhere.
pub const MS_MOVE: usize = 8192;

/// Mounts.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize, data: &CStr) -> Result<usize> {
    // SAFETY: all end with a zero.
    unsafe { call(165, [at(source), at(target), at(kind), flags, at(data), 0]) }
}

/// Loads a module.
pub fn load_module(fd: &Fd, parameters: &CStr) -> Result<usize> {
    // SAFETY: the text ends with a zero.
    unsafe { call(313, [fd.0 as usize, at(parameters), 0, 0, 0, 0]) }
}

/// Goes to a directory.
pub fn chdir(path: &CStr) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(80, [at(path), 0, 0, 0, 0, 0]) }
}

/// Makes a directory the root.
pub fn chroot(path: &CStr) -> Result<usize> {
    // SAFETY: the path ends with a zero.
    unsafe { call(161, [at(path), 0, 0, 0, 0, 0]) }
}

/// Names the machine.
pub fn hostname(name: &[u8]) -> Result<usize> {
    // SAFETY: there are that many bytes.
    unsafe { call(170, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]) }
}

/// Becomes another program; gives only an error.
pub fn execute(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> i32 {
    let list = |texts: &[&CStr]| -> Vec<usize> { texts.iter().map(|t| at(t)).chain([0]).collect() };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: texts end with zeros, lists with null.
    let given = unsafe { call(59, [at(path), arguments.as_ptr() as usize, environment.as_ptr() as usize, 0, 0, 0]) };
    given.err().unwrap_or_default()
}

/// A second process like this one; 0 in it.
pub fn fork() -> Result<usize> {
    // SAFETY: memory is copied; the signal at its end is SIGCHLD.
    unsafe { call(56, [17, 0, 0, 0, 0, 0]) }
}

/// Ends this process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no memory.
        let _ = unsafe { call(231, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A pipe: its end to read, its end to write.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0_i32; 2];
    // SAFETY: there is room for two.
    unsafe { call(293, [ends.as_mut_ptr() as usize, CLOEXEC, 0, 0, 0, 0]) }?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// A process that has ended, and how; none if none has.
pub fn reap() -> Option<(usize, u32)> {
    let mut status = 0_u32;
    // SAFETY: there is room for the status. Any child, without waiting.
    let who = unsafe { call(61, [usize::MAX, (&raw mut status) as usize, 1, 0, 0, 0]) };
    who.ok().filter(|who| *who != 0).map(|who| (who, status))
}

/// Sends a signal; to `-1`: to all but this one.
pub fn kill(who: isize, signal: u32) -> Result<usize> {
    // SAFETY: no memory.
    unsafe { call(62, [who as usize, signal as usize, 0, 0, 0, 0]) }
}

/// Holds back these signals, and no others.
pub fn hold(signals: u64) {
    // SAFETY: eight bytes are there.
    let _ = unsafe { call(14, [2, (&raw const signals) as usize, 0, 8, 0, 0]) };
}

/// Waits for one of these signals, at most so many milliseconds.
pub fn next_signal(signals: u64, millis: Option<u64>) -> Result<u32> {
    let time = millis.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let limit = time.as_ref().map_or(0, |t| t.as_ptr() as usize);
    // SAFETY: eight bytes of signals are there, and the time, or none.
    unsafe { call(128, [(&raw const signals) as usize, 0, limit, 8, 0, 0]) }.map(|n| n as u32)
}

/// A session of its own.
pub fn new_session() {
    // SAFETY: no memory.
    let _ = unsafe { call(112, [0; 6]) };
}

/// What a terminal is asked: `TIOCSCTTY` to be this session's, `TCSBRK` to say everything first.
pub fn terminal(fd: i32, request: usize, value: usize) {
    // SAFETY: these two take a number.
    let _ = unsafe { call(16, [fd as usize, request, value, 0, 0, 0]) };
}

/// Makes this terminal the session's.
pub const TIOCSCTTY: usize = 0x540e;
/// Waits, with 1, until everything is out.
pub const TCSBRK: usize = 0x5409;

/// Becomes a user.
pub fn become_user(user: u32, group: u32, groups: &[u32]) -> Result<usize> {
    // SAFETY: there are that many groups.
    unsafe {
        call(116, [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0])?;
        call(119, [group as usize, group as usize, group as usize, 0, 0, 0])?;
        call(117, [user as usize, user as usize, user as usize, 0, 0, 0])
    }
}

/// Sleeps.
pub fn sleep(millis: u64) {
    let time = [millis / 1000, millis % 1000 * 1_000_000];
    // SAFETY: the time is there.
    let _ = unsafe { call(35, [time.as_ptr() as usize, 0, 0, 0, 0, 0]) };
}

/// Milliseconds since the machine started.
pub fn now() -> u64 {
    let mut time = [0_u64; 2];
    // SAFETY: there is room for a time.
    let _ = unsafe { call(228, [1, time.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    time[0] * 1000 + time[1] / 1_000_000
}

/// Everything is written.
pub fn sync() {
    // SAFETY: no memory.
    let _ = unsafe { call(162, [0; 6]) };
}

/// Restarts the machine.
pub const RESTART: usize = 0x0123_4567;
/// Stops it.
pub const HALT: usize = 0xcdef_0123;
/// Turns it off.
pub const POWER_OFF: usize = 0x4321_fedc;
/// Ctrl, alt and delete are a signal for this process.
pub const NO_CAD: usize = 0;

/// Ends the machine, or says what becomes of three keys.
pub fn reboot(command: usize) {
    // SAFETY: no memory.
    let _ = unsafe { call(169, [0xfee1_dead, 672_274_793, command, 0, 0, 0]) };
}

/// Some bytes nobody knows before, or at least not the same ones again.
pub fn random() -> u32 {
    let mut bytes = [0_u8; 4];
    // SAFETY: there is room for four. Without waiting for a good source: it only tells conversations apart.
    match unsafe { call(318, [bytes.as_mut_ptr() as usize, 4, 4, 0, 0, 0]) } {
        Ok(4) => u32::from_ne_bytes(bytes),
        _ => now() as u32,
    }
}

/// A socket for datagrams over IPv4.
pub fn datagrams() -> Result<Fd> {
    // SAFETY: no memory. AF_INET, SOCK_DGRAM with close-on-exec.
    unsafe { call(41, [2, 2 | CLOEXEC, 0, 0, 0, 0]) }.map(|fd| Fd(fd as i32))
}

/// Sets an option of sockets.
pub fn socket_option(fd: &Fd, option: usize, value: &[u8]) -> Result<usize> {
    // SAFETY: there are that many bytes. SOL_SOCKET.
    unsafe { call(54, [fd.0 as usize, 1, option, value.as_ptr() as usize, value.len(), 0]) }
}

/// Gives a socket its address.
pub fn bind(fd: &Fd, address: &[u8; 16]) -> Result<usize> {
    // SAFETY: there are sixteen bytes.
    unsafe { call(49, [fd.0 as usize, address.as_ptr() as usize, 16, 0, 0, 0]) }
}

/// Sends a datagram.
pub fn send_to(fd: &Fd, bytes: &[u8], address: &[u8; 16]) -> Result<usize> {
    // SAFETY: there are that many bytes, and sixteen.
    again(|| unsafe {
        call(44, [fd.0 as usize, bytes.as_ptr() as usize, bytes.len(), 0, address.as_ptr() as usize, 16])
    })
}

/// Waits until there is something to read, at most so many milliseconds.
pub fn readable(fd: &Fd, millis: u64) -> bool {
    let mut wanted = (fd.0 as u32 as u64) | 1 << 32;
    // SAFETY: one `pollfd` is there: the descriptor, POLLIN, and room for the answer.
    matches!(unsafe { call(7, [(&raw mut wanted) as usize, 1, millis as usize, 0, 0, 0]) }, Ok(1..))
}

/// Asks for something about a network card; `request` is of those that take a `struct ifreq`.
pub fn card(fd: &Fd, request: usize, about: &mut [u8; 40]) -> Result<usize> {
    // SAFETY: an `ifreq` has forty bytes.
    unsafe { call(16, [fd.0 as usize, request, about.as_mut_ptr() as usize, 0, 0, 0]) }
}

/// Adds a route: a `struct rtentry`, with a card's name or none.
pub fn add_route(fd: &Fd, route: &mut [u8; 120], card: Option<&CStr>) -> Result<usize> {
    let name = card.map_or(0, at);
    route[88..96].copy_from_slice(&name.to_ne_bytes());
    // SAFETY: an `rtentry` has 120 bytes, and its name ends with a zero. SIOCADDRT.
    unsafe { call(16, [fd.0 as usize, 0x890b, route.as_mut_ptr() as usize, 0, 0, 0]) }
}
