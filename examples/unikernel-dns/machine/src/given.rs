//! What the loader hands over by PVH: a structure with the command line and one module, the zone file.
//!
//! It comes from whoever runs the machine; still, nothing is read that cannot be memory, or is this program's own.

use core::{ptr, slice};

use crate::memory;

/// The beginning of the structure.
const MAGIC: u32 = 0x336e_c578;
/// The longest command line.
const MAX_LINE: usize = 4096;
/// The longest map of memory.
const MAX_MAP: u64 = 1 << 16;
/// Memory and registers are mapped up to here.
const MAPPED: u64 = 1 << 32;

/// What was handed over.
pub(crate) struct Given {
    pub(crate) command_line: &'static str,
    pub(crate) module: Option<&'static [u8]>,
}

impl Given {
    /// Reads the structure at an address.
    pub(crate) fn read(start_info: u32) -> Result<Given, &'static str> {
        let info = bytes(u64::from(start_info), 56).ok_or("it was not started by PVH")?;
        if number(info, 0, 4) != u64::from(MAGIC) || number(info, 4, 4) == 0 {
            return Err("it was not started by PVH, version 1: qemu does so with -kernel");
        }
        if !enough(number(info, 40, 8), number(info, 48, 4))? {
            return Err("the machine has too little memory: 24 MiB are enough");
        }
        let module = match number(info, 12, 4) {
            0 => None,
            1 => Some(module(number(info, 16, 8))?),
            _ => return Err("more than one module: the zone file is the only one"),
        };
        Ok(Given { command_line: line(number(info, 24, 8))?, module })
    }
}

/// Whether there is memory where this program writes.
fn enough(map: u64, entries: u64) -> Result<bool, &'static str> {
    const ENTRY: usize = 24;
    const MEMORY: u64 = 1;
    let size = entries.checked_mul(ENTRY as u64).filter(|size| *size <= MAX_MAP);
    let map = size.and_then(|size| bytes(map, size)).ok_or("the map of memory lies where it cannot be read")?;
    let own = memory::own();
    Ok(map.chunks_exact(ENTRY).any(|entry| {
        let (start, length) = (number(entry, 0, 8), number(entry, 8, 8));
        number(entry, 16, 4) == MEMORY && start <= own.start && own.end <= start.saturating_add(length)
    }))
}

fn module(list: u64) -> Result<&'static [u8], &'static str> {
    const WHERE: &str = "the zone file lies where it cannot be read: the machine has too little memory";
    let entry = bytes(list, 32).ok_or(WHERE)?;
    bytes(number(entry, 0, 8), number(entry, 8, 8)).ok_or(WHERE)
}

fn line(address: u64) -> Result<&'static str, &'static str> {
    if address == 0 {
        return Ok("");
    }
    let most = (MAX_LINE as u64).min(MAPPED.saturating_sub(address));
    let line = bytes(address, most).ok_or("the command line lies where it cannot be read")?;
    let end = line.iter().position(|byte| *byte == 0).ok_or("the command line is longer than 4096 bytes")?;
    core::str::from_utf8(&line[..end]).map_err(|_| "the command line is not UTF-8")
}

/// A little-endian number in some bytes, which are there.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Memory that the loader has written and nobody writes any more. None where it would be this program's own.
fn bytes(address: u64, length: u64) -> Option<&'static [u8]> {
    let end = address.checked_add(length).filter(|end| *end <= MAPPED)?;
    let own = memory::own();
    if address == 0 || (address < own.end && own.start < end) {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    // SAFETY: it is mapped, one to one, and readable; it is none of what this program or its devices write. Where there
    // is no memory, reading gives some bytes.
    Some(unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(usize::try_from(address).ok()?), length) })
}
