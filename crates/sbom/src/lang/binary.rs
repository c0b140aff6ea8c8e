//! Executables: an ELF file's sections, and the compilers that leave lists of packages in them.
//!
//! Adding a compiler: a function from [`Elf`] to packages, called in [`read`].

use super::{cargo, go};
use crate::number::{array, slice};
use crate::{Finding, Unreadable};

/// What every ELF file begins with.
pub const MAGIC: [u8; 4] = *b"\x7fELF";

/// An executable of any kind; most say nothing.
///
/// # Errors
/// It has a list of packages that cannot be read.
pub fn read(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let Some(elf) = Elf::parse(bytes) else { return Ok(Finding::default()) };
    let mut packages = go::linked(&elf)?;
    if let Some(list) = elf.section(b".dep-v0") {
        packages.extend(cargo::linked(list)?);
    }
    Ok(Finding::packages(packages))
}

/// An ELF file of 32 or 64 bits in either order of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elf<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
    /// The table of sections: where it is, the length of its entries, how many, and which one holds their names.
    table: (usize, usize, usize, usize),
}

struct Section<'a> {
    name: usize,
    address: u64,
    content: &'a [u8],
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Elf<'a>> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let wide = match bytes.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let mut elf = Elf { bytes, wide, big: *bytes.get(5)? == 2, table: (0, 0, 0, 0) };
        let (offset, sizes) = if wide { (40, 58) } else { (32, 46) };
        let small = |at| elf.word(bytes, at, 2).and_then(|n| usize::try_from(n).ok());
        let table = usize::try_from(elf.word(bytes, offset, elf.pointer())?).ok()?;
        elf.table = (table, small(sizes)?, small(sizes + 2)?, small(sizes + 4)?);
        Some(elf)
    }

    fn pointer(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// A number of 2, 4 or 8 bytes.
    pub(super) fn word(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let big = self.big;
        match size {
            2 => array(bytes, at).map(|b| if big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }.into()),
            4 => array(bytes, at).map(|b| if big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }.into()),
            8 => array(bytes, at).map(|b| if big { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) }),
            _ => None,
        }
    }

    /// The content of the first section of a name.
    pub(super) fn section(&self, name: &[u8]) -> Option<&'a [u8]> {
        let names = self.entry(self.table.3)?.content;
        let mut sections = (0..self.table.2).filter_map(|number| self.entry(number));
        sections.find(|section| is_named(names, section.name, name)).map(|section| section.content)
    }

    /// What is at an address once the program runs, to the end of its section.
    pub(super) fn at(&self, address: u64) -> Option<&'a [u8]> {
        let mut sections = (0..self.table.2).filter_map(|number| self.entry(number));
        sections.find_map(|section| {
            let inside = usize::try_from(address.checked_sub(section.address)?).ok()?;
            section.content.get(inside..).filter(|rest| section.address > 0 && !rest.is_empty())
        })
    }

    fn entry(&self, number: usize) -> Option<Section<'a>> {
        /// A section without bytes in the file.
        const EMPTY: u64 = 8;
        let (table, length, count, _) = self.table;
        let least = if self.wide { 64 } else { 40 };
        if number >= count || length < least {
            return None;
        }
        let entry = slice(self.bytes, table.checked_add(number.checked_mul(length)?)?, length)?;
        let size = self.pointer();
        let field = |number: usize| self.word(entry, 8 + size * number, size);
        if self.word(entry, 4, 4)? == EMPTY {
            return None;
        }
        let (address, offset, length) = (field(1)?, field(2)?, field(3)?);
        let content = slice(self.bytes, usize::try_from(offset).ok()?, usize::try_from(length).ok()?)?;
        Some(Section { name: usize::try_from(self.word(entry, 0, 4)?).ok()?, address, content })
    }
}

/// Whether this name stands there. No more is read than that: whoever wrote the table may have left out all ends.
fn is_named(names: &[u8], at: usize, name: &[u8]) -> bool {
    let end = at.saturating_add(name.len());
    names.get(at..end) == Some(name) && names.get(end).is_none_or(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::cargo::tests::compressed;

    /// An ELF file of 64 bits with one section beside that of the names.
    fn elf(name: &str, content: &[u8]) -> Vec<u8> {
        let names = [b"\0".as_slice(), name.as_bytes(), b"\0"].concat();
        let table = 64 + content.len() + names.len();
        let mut out = vec![0; 64];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        for (at, n) in [(58, 64u16), (60, 2), (62, 1)] {
            out[at..at + 2].copy_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(content);
        out.extend_from_slice(&names);
        for (name, offset, length) in [(1u32, 64, content.len()), (0, 64 + content.len(), names.len())] {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&name.to_le_bytes());
            entry[4] = 1;
            entry[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            entry[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            out.extend_from_slice(&entry);
        }
        out
    }

    fn go(version: &str, modules: &str) -> Vec<u8> {
        let text = |text: &[u8]| [&[(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8][..], text].concat();
        let mut out = [b"\xff Go buildinf:".as_slice(), &[8, 2], &[0; 16]].concat();
        out.extend(text(version.as_bytes()));
        out.extend(text(&[&[0xaa; 16], modules.as_bytes(), &[0xbb; 16]].concat()));
        out
    }

    #[test]
    fn compilers_leave_lists() {
        let rust = elf(".dep-v0", &compressed(br#"{"packages": [{"name": "a", "version": "1"}]}"#));
        assert_eq!(read(&rust).unwrap().packages[0].name, "a");
        let go = elf(".go.buildinfo", &go("go1.22", "mod\texample.org/me\tv1.0.0\t\n"));
        let names: Vec<_> = read(&go).unwrap().packages.into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["stdlib", "example.org/me"]);
        assert_eq!(read(&elf(".text", b"code")).unwrap(), Finding::default());
        assert_eq!(read(b"#!/bin/sh").unwrap(), Finding::default());
    }

    #[test]
    fn damage_is_an_error_or_no_list_and_never_a_crash() {
        let whole = elf(".go.buildinfo", &go("go1.22", "mod\tx\tv1\t\n"));
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0xff;
            let _ = read(&bad);
        }
        assert!(read(&elf(".go.buildinfo", b"\xff Go buildinf:\x08\x02")).is_err());
        assert!(read(&elf(".dep-v0", b"x")).is_err());
    }
}
