//! One 512-byte tar header: fields ↔ bytes, without meaning.
//!
//! Written headers are ustar. Read headers are v7, ustar, pax or GNU; numbers are octal or base-256.

/// Tar's unit: headers are one block, bodies are padded to whole blocks.
pub(super) const BLOCK: usize = 512;
/// A header's bytes.
pub(super) type Block = [u8; BLOCK];

/// The largest number the eight-byte fields hold in octal.
pub(super) const OCTAL_7: u64 = 0o7_777_777;
/// The largest number the twelve-byte fields hold in octal.
pub(super) const OCTAL_11: u64 = 0o77_777_777_777;
/// The length of the name and link fields.
pub(super) const NAME: usize = 100;

const NAME_AT: (usize, usize) = (0, 100);
const MODE_AT: (usize, usize) = (100, 108);
const UID_AT: (usize, usize) = (108, 116);
const GID_AT: (usize, usize) = (116, 124);
const SIZE_AT: (usize, usize) = (124, 136);
const MTIME_AT: (usize, usize) = (136, 148);
const SUM_AT: (usize, usize) = (148, 156);
const FLAG_AT: usize = 156;
const LINK_AT: (usize, usize) = (157, 257);
const MAGIC_AT: (usize, usize) = (257, 265);
const MAJOR_AT: (usize, usize) = (329, 337);
const MINOR_AT: (usize, usize) = (337, 345);
const PREFIX_AT: (usize, usize) = (345, 500);

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";

/// What a header to be written says. Values that do not fit are cut or zero: pax records carry them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub flag: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: u64,
    pub major: u32,
    pub minor: u32,
}

/// The bytes of a ustar header.
pub(super) fn encode(fields: &Fields<'_>) -> Block {
    let mut b = [0; BLOCK];
    put_text(&mut b, NAME_AT, fields.name);
    put_octal(&mut b, MODE_AT, u64::from(fields.mode));
    put_octal(&mut b, UID_AT, fields.uid);
    put_octal(&mut b, GID_AT, fields.gid);
    put_octal(&mut b, SIZE_AT, fields.size);
    put_octal(&mut b, MTIME_AT, fields.mtime);
    b[FLAG_AT] = fields.flag;
    put_text(&mut b, LINK_AT, fields.link);
    b[MAGIC_AT.0..MAGIC_AT.1].copy_from_slice(USTAR);
    put_octal(&mut b, MAJOR_AT, u64::from(fields.major));
    put_octal(&mut b, MINOR_AT, u64::from(fields.minor));
    b[SUM_AT.0..SUM_AT.1].fill(b' ');
    let sum: u64 = b.iter().map(|v| u64::from(*v)).sum();
    put_octal(&mut b, (SUM_AT.0, SUM_AT.1 - 1), sum);
    b
}

fn put_text(b: &mut Block, (from, to): (usize, usize), text: &[u8]) {
    // Bytes outside ASCII are only in the pax record; the header keeps what is left.
    let mut ascii = text.iter().copied().filter(u8::is_ascii);
    b[from..to].iter_mut().zip(&mut ascii).for_each(|(slot, c)| *slot = c);
    // A name cut after a slash would look like a directory's to old readers.
    if b[to - 1] == b'/' && ascii.next().is_some() {
        b[to - 1] = 0;
    }
}

fn put_octal(b: &mut Block, (from, to): (usize, usize), value: u64) {
    let digits = to - from - 1;
    let fits = value >> (3 * digits as u32).min(63) == 0;
    let mut rest = if fits { value } else { 0 };
    for slot in b[from..to - 1].iter_mut().rev() {
        *slot = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    b[to - 1] = 0;
}

/// A header that was read, its checksum verified.
pub(super) struct Header<'a>(&'a Block);

impl<'a> Header<'a> {
    /// Checks the checksum, computed over unsigned or (as old tars did) signed bytes.
    pub(super) fn parse(block: &'a Block) -> Result<Header<'a>, &'static str> {
        if checksum_ok(block) { Ok(Header(block)) } else { Err("its checksum is wrong") }
    }

    pub(super) fn flag(&self) -> u8 {
        self.0[FLAG_AT]
    }

    /// The name, with the ustar prefix in front.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(NAME_AT);
        if self.0[MAGIC_AT.0..MAGIC_AT.1] != *USTAR {
            return name.to_vec();
        }
        // The `star` program keeps times in the last 24 bytes of the prefix, and says so with a trailer.
        let end = if self.0[508..512] == *b"tar\0" { 345 + 131 } else { PREFIX_AT.1 };
        crate::name::join(self.text((PREFIX_AT.0, end)), name)
    }

    pub(super) fn link(&self) -> &'a [u8] {
        self.text(LINK_AT)
    }

    pub(super) fn mode(&self) -> Option<i64> {
        self.number(MODE_AT)
    }

    pub(super) fn uid(&self) -> Option<i64> {
        self.number(UID_AT)
    }

    pub(super) fn gid(&self) -> Option<i64> {
        self.number(GID_AT)
    }

    pub(super) fn size(&self) -> Option<i64> {
        self.number(SIZE_AT)
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        self.number(MTIME_AT)
    }

    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let part = |at| u32::try_from(self.number(at)?).ok();
        Some((part(MAJOR_AT)?, part(MINOR_AT)?))
    }

    fn text(&self, (from, to): (usize, usize)) -> &'a [u8] {
        let field = &self.0[from..to];
        &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
    }

    fn number(&self, (from, to): (usize, usize)) -> Option<i64> {
        let field = &self.0[from..to];
        if field[0] & 0x80 != 0 { base256(field) } else { octal(field) }
    }
}

/// Whether a block's stored checksum is that of its bytes.
pub(crate) fn checksum_ok(block: &Block) -> bool {
    let field = SUM_AT.0..SUM_AT.1;
    let Some(stored) = octal(&block[field.clone()]) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (i, b) in block.iter().enumerate() {
        let b = if field.contains(&i) { b' ' } else { *b };
        unsigned += i64::from(b);
        signed += i64::from(b as i8);
    }
    stored == unsigned || stored == signed
}

/// Whether a block carries the ustar or GNU magic.
pub(crate) fn has_magic(block: &[u8]) -> bool {
    block.get(MAGIC_AT.0..MAGIC_AT.1).is_some_and(|m| m == USTAR || m == GNU || m.starts_with(b"ustar\0"))
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    // As Go reads it: trailing blanks are dropped, and a NUL in the middle ends the number.
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) && digits.get(end) != Some(&0) {
        return None;
    }
    digits[..end].iter().try_fold(0_i64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// GNU's two's-complement big-endian numbers; the first byte's top bit is the mark, the next the sign.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut n: i128 = if negative { -1 } else { 0 };
    for (i, b) in field.iter().enumerate() {
        let b = match (i, negative) {
            (0, false) => b & 0x7f,
            _ => *b,
        };
        n = n << 8 | i128::from(b);
    }
    i64::try_from(n).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind() {
        assert_eq!(octal(b"0000644\0"), Some(0o644));
        assert_eq!(octal(b"   644 \0"), Some(0o644));
        assert_eq!(octal(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(octal(b"00006x4\0"), None);
        assert_eq!(octal(b"77777777"), Some(0o77_777_777));
        assert_eq!(base256(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Some(1 << 32));
        assert_eq!(base256(&[0xff; 12]), Some(-1));
        assert_eq!(base256(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn a_written_header_is_read_back() {
        let fields = Fields {
            name: b"a/b",
            link: b"",
            flag: b'0',
            mode: 0o4755,
            uid: 7,
            gid: OCTAL_7,
            size: OCTAL_11,
            mtime: 1,
            major: 3,
            minor: 4,
        };
        let mut block = encode(&fields);
        let h = Header::parse(&block).unwrap();
        assert_eq!((h.name(), h.mode(), h.uid()), (b"a/b".to_vec(), Some(0o4755), Some(7)));
        assert_eq!((h.gid(), h.size()), (Some(OCTAL_7 as i64), Some(OCTAL_11 as i64)));
        assert_eq!(h.device(), Some((3, 4)));
        block[5] ^= 1;
        assert!(Header::parse(&block).is_err());
        assert!(!checksum_ok(&[0; BLOCK]));
    }
}
