//! OSv: its loader is told by sections that only it has, its disks by their boot sector.

use crate::elf::Elf;
use crate::error::Result;
use crate::input::{Input, text};

const SECTIONS: [&str; 2] = [".tracepoint_patch_sites", ".percpu_workers"];
/// The disk's signature: `OSV`, backwards, as the boot sector of OSv has it.
const SIGNATURE: [u8; 4] = *b"VSO\0";
const SIGNATURE_AT: usize = 0x1b8;
/// The command line, between the boot sector and the kernel.
const LINE_AT: u64 = 512;
const LINE: u64 = 63 * 512;

/// The section that says that it is OSv's loader.
pub fn loader(elf: &Elf) -> Option<&'static str> {
    SECTIONS.into_iter().find(|name| elf.section(name).is_some())
}

/// The command line of a disk of OSv's; none when it is no disk of OSv's.
///
/// # Errors
/// When it cannot be read.
pub fn disk(input: &mut Input<'_>) -> Result<Option<Option<String>>> {
    let sector = input.up_to(0, 512)?;
    let is_one = sector.get(0x1fe..0x200) == Some(&[0x55, 0xaa])
        && sector.get(SIGNATURE_AT..SIGNATURE_AT + 4) == Some(&SIGNATURE);
    if !is_one {
        return Ok(None);
    }
    Ok(Some(text(&input.up_to(LINE_AT, LINE)?)))
}
