//! Sockets with names in the file system.
//!
//! Only their owner can bind or connect a socket, and nobody can take it from there without rights. So Kiln makes one
//! like it, binds or connects that, and puts it in the other's place.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

use super::find::HERE;
use super::world::{Answer, Asking, Reply, Want, World, descriptor, itself, kind};

/// `AF_UNIX`.
const UNIX: u16 = 1;
/// The longest address of one.
const MAX_ADDRESS: u64 = 110;

/// The name in an address; `None` where it has none in the file system.
fn name_in(who: &Asking, address: u64, length: u64) -> Result<Option<Vec<u8>>, Errno> {
    let length = length & 0xffff_ffff;
    if length < 2 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length.min(MAX_ADDRESS)).unwrap_or(2)];
    who.memory.read(address, &mut bytes)?;
    if u16::from_ne_bytes([bytes[0], bytes[1]]) != UNIX {
        return Ok(None);
    }
    let name = bytes[2..].split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((!name.is_empty()).then(|| name.to_vec()))
}

/// Whether a message header names a socket in the file system. What cannot be read names nothing.
pub fn names_a_file(who: &Asking, header: u64) -> bool {
    let [name, length] = who.memory.words::<2>(header).unwrap_or_default();
    name != 0 && name_in(who, name, length).is_ok_and(|name| name.is_some())
}

/// A new socket of the type, and with the flags, of one that a thread has.
fn like(who: &Asking, held: &OwnedFd) -> Result<(OwnedFd, u32), Errno> {
    let table = fs::read_to_string(format!("/proc/{}/net/unix", who.process)).map_err(|_| Errno::OPNOTSUPP)?;
    let inode = fstat(held)?.st_ino.to_string();
    let row = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let found = row.into_iter().find(|row| row.get(6) == Some(&inode.as_str())).ok_or(Errno::NOTSOCK)?;
    let kind = match found.get(4).copied() {
        Some("0001") => SocketType::STREAM,
        Some("0002") => SocketType::DGRAM,
        Some("0005") => SocketType::SEQPACKET,
        _ => return Err(Errno::PROTOTYPE),
    };
    let said = fs::read_to_string(format!("/proc/{}/fdinfo/{}", who.thread, descriptor(who.a[0])));
    let flags = said.unwrap_or_default();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
    let flags = flags.and_then(|octal| u32::from_str_radix(octal, 8).ok()).unwrap_or(0);
    let made = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    Ok((made, flags))
}

/// In place of the one the thread has.
fn in_place(who: &Asking, made: OwnedFd, flags: u32) -> Answer {
    let flags = OFlags::from_bits_retain(flags);
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(&made, fcntl_getfl(&made)? - OFlags::NONBLOCK)?;
    }
    Ok(Reply::Replaced(made, super::world::low(who.a[0]), flags.contains(OFlags::CLOEXEC)))
}

impl World {
    /// `connect`.
    pub fn connect(&mut self, who: &Asking) -> Answer {
        let Some(name) = name_in(who, who.a[1], who.a[2])? else { return Ok(Reply::GoOn) };
        let held = self.held(who, descriptor(who.a[0]))?;
        let there = self.find(who, HERE, &name, true)?;
        if kind(&fstat(&there)?) != FileType::Socket {
            return Err(Errno::CONNREFUSED);
        }
        self.may_at(who, &there, Want::WRITE)?;
        let (made, flags) = like(who, &held)?;
        connect(&made, &SocketAddrUnix::new(itself(&there))?)?;
        in_place(who, made, flags)
    }

    /// `bind`.
    pub fn bind(&mut self, who: &Asking) -> Answer {
        let Some(name) = name_in(who, who.a[1], who.a[2])? else { return Ok(Reply::GoOn) };
        let held = self.held(who, descriptor(who.a[0]))?;
        let spot = self.spot(who, HERE, &name)?;
        if !spot.is_plain() || spot.slash || spot.there().is_ok() {
            return Err(Errno::ADDRINUSE);
        }
        self.may_make(who, &spot.dir)?;
        let (mode, group) = self.new_mode(who, &spot.dir, 0o777, FileType::Socket)?;
        let (made, flags) = like(who, &held)?;
        // By its last name only: the whole path may be longer than an address.
        let here = openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(&spot.dir)?;
        let bound = SocketAddrUnix::new(OsStr::from_bytes(&spot.name)).and_then(|address| bind(&made, &address));
        rustix::process::fchdir(&here)?;
        bound?;
        self.dress(who, spot.there()?, mode, group)?;
        in_place(who, made, flags)
    }

    /// `sendto` with an address.
    pub fn send_to(&mut self, who: &Asking) -> Answer {
        match name_in(who, who.a[4], who.a[5])? {
            None => Ok(Reply::GoOn),
            Some(name) => {
                self.find(who, HERE, &name, true)?;
                Err(Errno::PERM)
            }
        }
    }
}
