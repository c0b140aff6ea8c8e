//! System calls of another process, answered by this one: the kernel's seccomp notifications.
//!
//! The kernel stops the caller, hands its call to whoever holds the listener, and goes on with the answer. What the
//! arguments point to is read from and written to the caller's memory.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Stat, StatFs, Statx};
use rustix::io::Errno;

use super::{Instruction, Program, checked};

/// A call that waits for an answer. The layout is the kernel's `struct seccomp_notif`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Call {
    /// Which one.
    pub id: u64,
    /// The thread that made it, as this process's process namespace numbers it.
    pub thread: u32,
    flags: u32,
    /// The call's number.
    pub number: i32,
    architecture: u32,
    instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The kernel's `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// The kernel's `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

/// Takes the next call off the listener.
pub fn receive(listener: impl AsFd) -> Result<Call, Errno> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const _: () = assert!(size_of::<Call>() == 80);
    let mut call = Call::default();
    // SAFETY: `call` has the layout and size the request's number says, is all zero as the kernel demands, and any bytes
    // are a valid value of it.
    checked(libc::c_long::from(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE as _, &raw mut call) }))?;
    Ok(call)
}

fn send(listener: impl AsFd, answer: &Answer) -> Result<(), Errno> {
    const SEND: libc::c_ulong = 0xc018_2101;
    const _: () = assert!(size_of::<Answer>() == 24);
    // SAFETY: `answer` has the layout and size the request's number says; the kernel only reads it.
    checked(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), SEND as _, std::ptr::from_ref(answer))
    }))
    .map(drop)
}

/// Lets the kernel do the call itself.
pub fn go_on(listener: impl AsFd, id: u64) -> Result<(), Errno> {
    send(listener, &Answer { id, value: 0, error: 0, flags: 1 })
}

/// Answers the call.
pub fn answer(listener: impl AsFd, id: u64, result: Result<i64, Errno>) -> Result<(), Errno> {
    let (value, error) = match result {
        Ok(value) => (value, 0),
        Err(errno) => (0, -errno.raw_os_error()),
    };
    send(listener, &Answer { id, value, error, flags: 0 })
}

/// Gives the caller a copy of `source` as the call's result.
pub fn answer_descriptor(listener: impl AsFd, id: u64, source: impl AsFd, close_on_exec: bool) -> Result<(), Errno> {
    const AND_SEND: u32 = 2;
    add_descriptor(listener, id, source, (AND_SEND, 0), close_on_exec)
}

/// Gives the caller a copy of `source` as its descriptor `number`, in place of what that was. The call still waits.
pub fn replace_descriptor(
    listener: impl AsFd,
    id: u64,
    source: impl AsFd,
    number: u32,
    close_on_exec: bool,
) -> Result<(), Errno> {
    const AS_NUMBER: u32 = 1;
    add_descriptor(listener, id, source, (AS_NUMBER, number), close_on_exec)
}

fn add_descriptor(
    listener: impl AsFd,
    id: u64,
    source: impl AsFd,
    (flags, target): (u32, u32),
    close_on_exec: bool,
) -> Result<(), Errno> {
    const ADD: libc::c_ulong = 0x4018_2103;
    let add = AddDescriptor {
        id,
        flags,
        source: u32::try_from(source.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
        target,
        target_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    const _: () = assert!(size_of::<AddDescriptor>() == 24);
    // SAFETY: `add` has the layout and size the request's number says; the kernel only reads it, and the descriptor in it
    // is open for the time of the call.
    checked(libc::c_long::from(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), ADD as _, &raw const add) }))
        .map(drop)
}

/// Tells the kernel that who asks and who answers take turns, so that they share a processor. Before Linux 6.6 they do
/// not.
pub fn wake_together(listener: impl AsFd) {
    const SET_FLAGS: libc::c_ulong = 0x4008_2104;
    // SAFETY: the flags are the argument itself; no memory is touched.
    unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS as _, 1_u64) };
}

/// Whether the caller still waits: what is known of it by its number is about it then.
pub fn waits(listener: impl AsFd, id: u64) -> bool {
    const VALID: libc::c_ulong = 0x4008_2102;
    // SAFETY: the kernel reads eight bytes, which `id` has.
    unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), VALID as _, &raw const id) == 0 }
}

/// Installs a filter as [`super::install_filter`] does, and returns the listener its notifications come through.
pub fn install_filter(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    // Without it a signal makes the caller start its call again, for ever if signals come often enough.
    const ONLY_KILLABLE: libc::c_ulong = 1 << 5;
    let program = Program::of(program)?;
    let install = |flags: libc::c_ulong| {
        // SAFETY: as in `super::install_filter`.
        checked(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
    };
    let number = install(NEW_LISTENER | ONLY_KILLABLE).or_else(|errno| match errno {
        // Before Linux 5.19.
        Errno::INVAL => install(NEW_LISTENER),
        errno => Err(errno),
    })?;
    // SAFETY: the kernel has just opened this descriptor for this call, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number).map_err(|_| Errno::BADF)?) })
}

/// How many pieces of memory, and the flags, as wide as the kernel reads them.
const ONE: libc::c_ulong = 1;
const NONE: libc::c_ulong = 0;

fn range(address: u64, length: usize) -> libc::iovec {
    libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address as usize), iov_len: length }
}

/// Reads memory of a thread's process, all of `buffer` or nothing.
pub fn read_memory(thread: u32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let (here, there) =
        (libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }, range(address, buffer.len()));
    // SAFETY: the kernel writes to `buffer`, whose length it is told, and checks the other address in the other process.
    let done = checked(unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            libc::c_long::from(thread),
            &raw const here,
            ONE,
            &raw const there,
            ONE,
            NONE,
        )
    })?;
    if usize::try_from(done) == Ok(buffer.len()) { Ok(()) } else { Err(Errno::FAULT) }
}

/// Writes memory of a thread's process, all of `bytes` or an error.
pub fn write_memory(thread: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let there = range(address, bytes.len());
    // SAFETY: the kernel only reads `bytes`, whose length it is told, and checks the other address in the other process.
    let done = checked(unsafe {
        libc::syscall(
            libc::SYS_process_vm_writev,
            libc::c_long::from(thread),
            &raw const here,
            ONE,
            &raw const there,
            ONE,
            NONE,
        )
    })?;
    if usize::try_from(done) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::FAULT) }
}

/// A `struct stat` as the kernel writes it.
pub fn bytes_of_stat(stat: &Stat) -> Vec<u8> {
    bytes_of(stat)
}

/// A `struct statx` as the kernel writes it.
pub fn bytes_of_statx(stat: &Statx) -> Vec<u8> {
    bytes_of(stat)
}

/// A `struct statfs` as the kernel writes it.
pub fn bytes_of_statfs(stat: &StatFs) -> Vec<u8> {
    bytes_of(stat)
}

/// Of the kernel's structures only, which have no padding but named fields for it.
fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: the pointer and the length are those of `value`, and every byte of these structures belongs to a field.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}
