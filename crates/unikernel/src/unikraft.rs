//! What a Unikraft kernel says of itself: sections whose names begin with `.uk_`, and in one of them records.
//!
//! ```text
//! .uk_libinfo   for each library, and once without one: length, version of the layout, records
//! a record      type (2 bytes), length with these six bytes (4), data
//! ```

use crate::elf::Elf;
use crate::error::{Result, UnikernelError};
use crate::input::{Input, Words, text};

const PREFIX: &str = ".uk_";
const INFO: &str = ".uk_libinfo";
/// With the configuration in it, packed, this may be some hundred kilobytes.
const MAX_INFO: u64 = 16 << 20;
const HEAD: usize = 6;
const LAYOUT: u16 = 1;
const RECORD_LIBRARY: u16 = 1;
const RECORD_VERSION: u16 = 6;
const RECORD_FULL_VERSION: u16 = 7;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unikraft {
    /// The section that tells.
    pub section: String,
    /// The version, if it says one.
    pub version: Option<String>,
}

/// Whether it is Unikraft.
///
/// # Errors
/// When its records are not as they must be.
pub fn of(input: &mut Input<'_>, elf: &Elf) -> Result<Option<Unikraft>> {
    let mine = |name: &str| name.starts_with(PREFIX) && name.bytes().all(|b| b.is_ascii_graphic());
    let Some(first) = elf.sections.iter().find(|s| mine(&s.name)) else { return Ok(None) };
    let mut version = None;
    if let Some(info) = elf.section(INFO) {
        if info.size > MAX_INFO {
            return Err(UnikernelError::TooMany { what: "bytes in .uk_libinfo", count: info.size, limit: MAX_INFO });
        }
        version = read(&input.at(INFO, info.offset, info.size)?, info.offset)?;
    }
    Ok(Some(Unikraft { section: first.name.clone(), version }))
}

/// The version in the header that is about no library.
fn read(bytes: &[u8], at: u64) -> Result<Option<String>> {
    let mut version = None;
    let mut rest = bytes;
    while rest.len() >= HEAD {
        let place = at + (bytes.len() - rest.len()) as u64;
        let wrong = |why: String| UnikernelError::malformed(format!("the record of Unikraft at byte {place}"), why);
        let (length, layout) = (Words(rest).word(0) as usize, Words(rest).half(4));
        if rest.iter().all(|b| *b == 0) {
            // What fills the section up.
            break;
        }
        let header = rest.get(HEAD..length).ok_or_else(|| wrong(format!("it would have {length} bytes")))?;
        // A layout that is not known yet is nobody's fault.
        if layout == LAYOUT
            && let Some(found) = header_version(header).map_err(wrong)?
        {
            version.get_or_insert(found);
        }
        rest = &rest[length..];
    }
    Ok(version)
}

fn header_version(header: &[u8]) -> Result<Option<String>, String> {
    let (mut found, mut library) = (None, false);
    let mut rest = header;
    while !rest.is_empty() {
        let (kind, length) = (Words(rest).half(0), Words(rest).word(2) as usize);
        let data = rest.get(HEAD..length).ok_or_else(|| format!("a record in it would have {length} bytes"))?;
        match kind {
            RECORD_LIBRARY => library = true,
            RECORD_VERSION | RECORD_FULL_VERSION => found = text(data),
            _ => {}
        }
        rest = &rest[length..];
    }
    Ok(found.filter(|_| !library))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + data.len()).unwrap();
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), data].concat()
    }

    fn header(records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let length = u32::try_from(HEAD + records.len()).unwrap();
        [&length.to_le_bytes()[..], &LAYOUT.to_le_bytes(), &records].concat()
    }

    #[test]
    fn the_version_of_the_whole_is_found_among_those_of_libraries() {
        let library = header(&[record(1, b"ukboot\0"), record(6, b"0.1\0")]);
        let whole = header(&[record(0xb, b"gcc 12\0"), record(7, b"0.17.0~abc\0")]);
        assert_eq!(read(&[library.clone(), whole.clone()].concat(), 0).unwrap().as_deref(), Some("0.17.0~abc"));
        assert_eq!(read(&[library.clone(), whole, vec![0; 9]].concat(), 0).unwrap().as_deref(), Some("0.17.0~abc"));
        assert_eq!(read(&library, 0).unwrap(), None);
        assert_eq!(read(&[], 0).unwrap(), None);
    }

    #[test]
    fn records_that_do_not_end_are_told_with_their_place() {
        let whole = header(&[record(7, b"0.17.0\0")]);
        let why = |bytes: &[u8]| read(bytes, 100).unwrap_err().to_string();
        assert!(why(&whole[..whole.len() - 1]).contains("at byte 100: it would have"));
        let mut inner = whole.clone();
        inner[8] = 99;
        assert!(why(&inner).contains("a record in it would have 99 bytes"));
        inner[8] = 2;
        assert!(why(&inner).contains("a record in it would have 2 bytes"));
        assert!(why(&[3, 0, 0, 0, 1, 0]).contains("it would have 3 bytes"));
    }
}
