//! Linux kernels that are ELF files (vmlinux): told by notes that all of them have for years, else by the banner.

use crate::elf::Elf;
use crate::error::Result;
use crate::input::{Input, text};

const BANNER: &[u8] = b"Linux version ";
/// A note of Xen's: the name of the system.
pub(crate) const XEN_GUEST_OS: u32 = 6;
/// How much of a kernel is searched for its banner.
const MAX_SEARCHED: u64 = 256 << 20;
const PIECE: u64 = 1 << 20;
/// Of what follows the banner.
const VERSION: usize = 128;

/// Why it is Linux, if its notes say so.
pub(crate) fn by_notes(elf: &Elf) -> Option<&'static str> {
    if elf.notes.iter().any(|n| n.name == "Linux") {
        return Some("it has notes of Linux");
    }
    guest_os(elf).filter(|name| name == "linux").map(|_| "its notes for Xen say linux")
}

/// What the notes for Xen say the system is.
pub(crate) fn guest_os(elf: &Elf) -> Option<String> {
    let note = elf.notes.iter().find(|n| n.name == "Xen" && n.kind == XEN_GUEST_OS)?;
    text(&note.value)
}

/// The version after the banner in what is put into memory.
pub(crate) fn banner(input: &mut Input<'_>, elf: &Elf) -> Result<Option<String>> {
    let mut budget = MAX_SEARCHED;
    let ranges: Vec<(u64, u64)> = elf.loaded().map(|s| (s.offset, s.file_size)).collect();
    for (start, size) in ranges {
        let end = start + size.min(budget);
        budget = budget.saturating_sub(size);
        let mut at = start;
        while at < end {
            let piece = input.up_to(at, (end - at).min(PIECE + (BANNER.len() + VERSION) as u64))?;
            if let Some(version) = version_in(&piece) {
                return Ok(Some(version));
            }
            at += PIECE;
        }
    }
    Ok(None)
}

fn version_in(piece: &[u8]) -> Option<String> {
    let mut from = 0;
    while let Some(found) = find(&piece[from..], BANNER) {
        let rest = &piece[from + found + BANNER.len()..];
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"._+~-".contains(b);
        let length = rest.iter().take(VERSION).take_while(|b| good(b)).count();
        if rest.first().is_some_and(u8::is_ascii_digit) {
            return Some(String::from_utf8_lossy(&rest[..length]).into_owned());
        }
        from += found + BANNER.len();
    }
    None
}

fn find(in_: &[u8], what: &[u8]) -> Option<usize> {
    let (first, rest) = what.split_first()?;
    let mut from = 0;
    loop {
        let at = from + in_.get(from..)?.iter().position(|b| b == first)?;
        if in_.get(at + 1..)?.starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_no_version() {
        assert_eq!(version_in(b"xLinux version %s (Linux version 6.1.0-9-amd64 (a@b)"), Some("6.1.0-9-amd64".into()));
        assert_eq!(version_in(b"Linux version "), None);
        assert_eq!(version_in(b""), None);
    }
}
