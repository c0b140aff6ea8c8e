//! Notes of an ELF file: what somebody wrote for whoever loads it.

use crate::error::{Result, UnikernelError};
use crate::input::{Input, Words};

/// All notes of one place.
const MAX_BYTES: u64 = 4 << 20;
const MAX_NOTES: usize = 4096;
const HEAD: usize = 12;

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who wrote it, without the NUL at its end.
    pub name: String,
    /// What it is, by its writer's numbers.
    pub kind: u32,
    /// What it says.
    pub value: Vec<u8>,
    /// Where its value is in the file.
    pub at: u64,
}

/// Reads the notes of a segment or section.
///
/// # Errors
/// When one would not end inside of it.
pub fn read(input: &mut Input<'_>, at: u64, size: u64, align: u64, found: &mut Vec<Note>) -> Result<()> {
    if size > MAX_BYTES {
        return Err(UnikernelError::TooMany { what: "bytes of notes", count: size, limit: MAX_BYTES });
    }
    let bytes = input.at("its notes", at, size)?;
    let align = if align == 8 { 8 } else { 4 };
    let mut from = 0_usize;
    while bytes.len().saturating_sub(from) >= HEAD {
        let words = Words(&bytes[from..]);
        let (name_size, value_size, kind) = (words.word(0) as usize, words.word(4) as usize, words.word(8));
        if name_size == 0 && value_size == 0 && kind == 0 {
            // What fills the place up.
            from += 4;
            continue;
        }
        let what = || format!("the note at byte {}", at + from as u64);
        let outside = |part: &str, size: usize| {
            let why = format!("its {part} would have {size} bytes, and {} are left", bytes.len() - from);
            UnikernelError::malformed(what(), why)
        };
        let name_at = from + HEAD;
        let name = bytes.get(name_at..name_at.saturating_add(name_size)).ok_or_else(|| outside("name", name_size))?;
        let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
        // Solo5's own values begin at the next multiple of four, whatever the segment says.
        let value_at = from + up(HEAD + name_size, if name == "Solo5" { 4 } else { align });
        let value = bytes.get(value_at..value_at.saturating_add(value_size));
        let value = value.ok_or_else(|| outside("value", value_size))?.to_vec();
        found.push(Note { name, kind, value, at: at + value_at as u64 });
        if found.len() > MAX_NOTES {
            return Err(UnikernelError::TooMany { what: "notes", count: found.len() as u64, limit: MAX_NOTES as u64 });
        }
        from = value_at + up(value_size, 4);
        if align == 8 {
            from = up(from, 8);
        }
    }
    Ok(())
}

fn up(size: usize, to: usize) -> usize {
    size.saturating_add(to - 1) / to * to
}
