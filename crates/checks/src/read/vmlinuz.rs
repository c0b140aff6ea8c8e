//! What is in an image of a kernel: type information, and the tracepoints it has.
//!
//! A `bzImage` is a small program in front of the compressed kernel, an ELF file. The header says where that is (Linux
//! `Documentation/arch/x86/boot.rst`); everything is taken apart in this process.

use std::io::Read;

use kiln_oci::compress::{Bounds, Format, decompress_within};

/// The largest image that is read.
pub const MAX_IMAGE: u64 = 256 << 20;
/// The largest kernel inside of one.
const MAX_KERNEL: u64 = 1 << 30;

/// Why an image cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is none that is known.
    #[error("it is neither a bzImage nor an ELF file")]
    Unknown,
    /// The header points outside of the file.
    #[error("its header says that the kernel is where the file has already ended")]
    Cut,
    /// It is compressed in a way that is not known.
    #[error("its kernel is compressed in a way that is not known (first bytes {0:02x?})")]
    Compression([u8; 4]),
    /// Decompressing failed.
    #[error("its kernel cannot be decompressed: {0}")]
    Damaged(String),
    /// The kernel is no ELF file of 64 bits.
    #[error("its kernel is not an ELF file of 64 bits")]
    Elf,
    /// The kernel was stripped of the table of its sections.
    #[error("its kernel has no table of sections")]
    Sections,
}

/// The kernel inside of an image, as an ELF file.
///
/// # Errors
/// The image is damaged, or of a kind that is not known.
pub fn unpack(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    if image.starts_with(b"\x7fELF") {
        return Ok(image.to_vec());
    }
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return match payload_format(image) {
            Some(_) => elf(decompress(image)?),
            None => Err(ImageError::Unknown),
        };
    }
    let word = |at: usize| image.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let sectors = usize::from(*image.get(0x1f1).ok_or(ImageError::Cut)?);
    let start = (if sectors == 0 { 4 } else { sectors } + 1) * 512;
    let (offset, length) = (word(0x248).ok_or(ImageError::Cut)?, word(0x24c).ok_or(ImageError::Cut)?);
    let from = start.saturating_add(offset as usize);
    let payload = image.get(from..from.saturating_add(length as usize)).ok_or(ImageError::Cut)?;
    elf(decompress(payload)?)
}

fn elf(kernel: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    if kernel.starts_with(b"\x7fELF\x02\x01") { Ok(kernel) } else { Err(ImageError::Elf) }
}

/// How the kernel is compressed.
enum Payload {
    Stream(Format),
    Lzma,
    Lz4,
    Plain,
}

fn payload_format(bytes: &[u8]) -> Option<Payload> {
    Some(match bytes {
        [0x1f, 0x8b, ..] => Payload::Stream(Format::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Payload::Stream(Format::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Payload::Stream(Format::Xz),
        [b'B', b'Z', b'h', ..] => Payload::Stream(Format::Bzip2),
        [0x5d, 0, 0, ..] => Payload::Lzma,
        [0x02, 0x21, 0x4c, 0x18, ..] => Payload::Lz4,
        [0x7f, b'E', b'L', b'F', ..] => Payload::Plain,
        _ => return None,
    })
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, ImageError> {
    let head = || ImageError::Compression(std::array::from_fn(|at| payload.get(at).copied().unwrap_or(0)));
    match payload_format(payload).ok_or_else(head)? {
        Payload::Plain => Ok(payload.to_vec()),
        Payload::Lz4 => lz4(payload.get(4..).unwrap_or_default()),
        Payload::Lzma => Err(head()),
        Payload::Stream(Format::Gzip) => all(decompress_within(Format::Gzip, payload, Bounds::layer(MAX_KERNEL))),
        // All but gzip have the length of the kernel behind them, four bytes that are no part of the stream.
        Payload::Stream(format) => {
            let stream = payload.get(..payload.len().saturating_sub(4)).unwrap_or_default();
            all(decompress_within(format, stream, Bounds::layer(MAX_KERNEL)))
        }
    }
}

fn all(mut from: impl Read) -> Result<Vec<u8>, ImageError> {
    let mut kernel = Vec::new();
    from.read_to_end(&mut kernel).map_err(|e| ImageError::Damaged(e.to_string()))?;
    Ok(kernel)
}

/// The old frames of LZ4: blocks, each after its length, until the length of the whole is left.
fn lz4(mut from: &[u8]) -> Result<Vec<u8>, ImageError> {
    /// What a block of such a frame unpacks to, at the most.
    const BLOCK: usize = 8 << 20;
    let damaged = |why: &str| ImageError::Damaged(why.to_owned());
    let mut kernel = Vec::new();
    while from.len() > 4 {
        let (head, rest) = from.split_at(4);
        let length = head.try_into().map(u32::from_le_bytes).unwrap_or(0) as usize;
        let block = rest.get(..length).ok_or_else(|| damaged("a block is cut"))?;
        let start = kernel.len();
        lz4_block(block, &mut kernel, start + BLOCK).ok_or_else(|| damaged("a block is not LZ4"))?;
        from = &rest[length..];
        if kernel.len() as u64 > MAX_KERNEL {
            return Err(damaged("it is larger than kernels are"));
        }
    }
    Ok(kernel)
}

fn lz4_block(block: &[u8], out: &mut Vec<u8>, max: usize) -> Option<()> {
    let base = out.len();
    let mut at = 0;
    let long = |at: &mut usize, mut length: usize| {
        if length == 15 {
            loop {
                let byte = *block.get(*at)?;
                *at += 1;
                length += usize::from(byte);
                if byte != 255 {
                    break;
                }
            }
        }
        Some(length)
    };
    while at < block.len() {
        let token = *block.get(at)?;
        at += 1;
        let literals = long(&mut at, usize::from(token >> 4))?;
        out.extend_from_slice(block.get(at..at.checked_add(literals)?)?);
        at += literals;
        if out.len() > max {
            return None;
        }
        if at == block.len() {
            break;
        }
        let offset = usize::from(u16::from_le_bytes([*block.get(at)?, *block.get(at + 1)?]));
        at += 2;
        let length = long(&mut at, usize::from(token & 15))? + 4;
        if offset == 0 || offset > out.len() - base || out.len() + length > max {
            return None;
        }
        for _ in 0..length {
            out.push(out[out.len() - offset]);
        }
    }
    Some(())
}

/// Whether an ELF file has a section of a name.
///
/// # Errors
/// It is not an ELF file of 64 bits, or its table of sections lies outside of it.
pub fn has_section(elf: &[u8], name: &str) -> Result<bool, ImageError> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    let find = || -> Option<Result<bool, ImageError>> {
        let (table, size, count, names) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
        if table == 0 || count == 0 {
            return Some(Err(ImageError::Sections));
        }
        let strings = number(table.checked_add(names.checked_mul(size)?)?.checked_add(24)?, 8)?;
        for at in 0..count {
            let header = table.checked_add(at.checked_mul(size)?)?;
            let start = strings.checked_add(number(header, 4)?)?;
            let found = elf.get(start..)?;
            if found.starts_with(name.as_bytes()) && found.get(name.len()) == Some(&0) {
                return Some(Ok(true));
            }
        }
        Some(Ok(false))
    };
    find().unwrap_or(Err(ImageError::Elf))
}

/// Which of some names a kernel does not hold as strings of their own.
pub fn missing_strings<'a>(kernel: &[u8], names: &[&'a str]) -> Vec<&'a str> {
    let absent = |name: &&&str| {
        let pattern = format!(r"(?-u)\x00{}\x00", regex::escape(name));
        // The pattern is made of a literal, which always is one.
        !regex::bytes::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(kernel))
    };
    names.iter().filter(absent).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image whose payload is `payload`.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    fn kernel() -> Vec<u8> {
        let mut kernel = b"\x7fELF\x02\x01".to_vec();
        kernel.resize(64, 0);
        kernel.extend_from_slice(b"\0sys_enter\0page_fault_user\0.BTF\0");
        kernel
    }

    #[test]
    fn lz4_is_taken_apart() {
        // Five literals, then eleven bytes from five back, then the rest as literals.
        let block = [0x57, b'h', b'e', b'l', b'l', b'o', 5, 0, 0x10, b'!'];
        let mut out = Vec::new();
        assert_eq!(lz4_block(&block, &mut out, 100), Some(()));
        assert_eq!(out, b"hellohellohelloh!");
        for bad in [&block[..7], &[0x57, b'h'][..], &[0x10, b'a', 9, 0][..], &[0x10, b'a', 0, 0][..], &[0xf0][..]] {
            assert_eq!(lz4_block(bad, &mut Vec::new(), 100), None, "{bad:?}");
        }
        assert_eq!(lz4_block(&[0x1f, b'a', 1, 0, 255, 255, 0], &mut Vec::new(), 100), None, "more than a block may be");
        let mut frame = vec![0x02, 0x21, 0x4c, 0x18];
        let kernel = kernel();
        let mut literal = vec![0xf0, u8::try_from(kernel.len() - 15).unwrap()];
        literal.extend_from_slice(&kernel);
        frame.extend_from_slice(&u32::try_from(literal.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(&literal);
        frame.extend_from_slice(&[0; 4]);
        assert_eq!(unpack(&image(&frame)).unwrap(), kernel);
    }

    #[test]
    fn images_that_are_none_are_told() {
        assert_eq!(unpack(b"").unwrap_err().to_string(), "it is neither a bzImage nor an ELF file");
        assert!(matches!(unpack(&image(b"")[..0x210]), Err(ImageError::Cut)));
        assert!(matches!(unpack(&image(b"nonsense")), Err(ImageError::Compression(_))));
        assert!(matches!(unpack(&image(b"\x1f\x8b\x08\0broken")), Err(ImageError::Damaged(_))));
        let mut cut = image(&kernel());
        cut.truncate(1030);
        assert!(matches!(unpack(&cut), Err(ImageError::Cut)));
        assert_eq!(unpack(&image(&kernel())).unwrap(), kernel());
    }

    #[test]
    fn strings_and_sections_are_found() {
        assert_eq!(missing_strings(&kernel(), &["sys_enter", "page_fault_user", "page_fault"]), ["page_fault"]);
        assert!(has_section(b"\x7fELF", ".BTF").is_err());
        let this = std::fs::read("/proc/self/exe").unwrap();
        assert!(has_section(&this, ".text").unwrap());
        assert!(!has_section(&this, ".tex").unwrap());
    }
}
