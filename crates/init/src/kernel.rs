//! Whether a file is a Linux kernel for x86-64, and of which version.
//!
//! A bzImage says so in its setup header (`Documentation/arch/x86/boot.rst` of Linux): the mark `HdrS` at 0x202, and at
//! 0x20e where its version's text is. An uncompressed one is an ELF file, which has its banner somewhere.

use crate::error::{InitError, Result};

/// The version, as `/lib/modules` has it; none when the file does not say it.
///
/// # Errors
/// When it is no kernel: the reason.
pub fn version(bytes: &[u8]) -> Result<Option<String>> {
    if bytes.starts_with(b"\x7fELF") {
        return match bytes.get(16..20) {
            Some([2 | 3, 0, 62, 0]) => Ok(banner(bytes)),
            _ => Err(InitError::Kernel("it is an ELF file, but no executable for x86-64".to_owned())),
        };
    }
    let half = |at: usize| bytes.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let is_image = half(0x1fe) == Some(0xaa55) && bytes.get(0x202..0x206) == Some(b"HdrS");
    if !is_image {
        let why = match bytes {
            [] => "it is empty",
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', ..] => {
                "it is compressed; a bzImage unpacks itself, this would have to be unpacked before"
            }
            _ => "it is neither a bzImage nor an ELF file",
        };
        return Err(InitError::Kernel(why.to_owned()));
    }
    // The protected-mode code begins behind the setup's sectors; without it there is nothing to start.
    let sectors = match bytes[0x1f1] {
        0 => 4,
        count => usize::from(count),
    };
    if bytes.len() <= (sectors + 1) * 512 {
        return Err(InitError::Kernel("it is cut off".to_owned()));
    }
    let text = half(0x20e).filter(|at| *at != 0).and_then(|at| bytes.get(0x200 + at..));
    Ok(text.and_then(word))
}

/// A version as modules' directories are named.
fn word(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(128).position(|b| !(b.is_ascii_alphanumeric() || b"._+~-".contains(b)))?;
    let good = end > 0 && bytes[0].is_ascii_digit();
    good.then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn banner(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let places = bytes.windows(BANNER.len()).enumerate().filter(|(_, w)| *w == BANNER);
    places.filter_map(|(at, _)| word(&bytes[at + BANNER.len()..])).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[0x1f1] = 2;
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        bytes[0x500..0x500 + text.len()].copy_from_slice(text);
        bytes
    }

    #[test]
    fn kernels_say_which_they_are() {
        let of = |bytes: &[u8]| version(bytes).unwrap();
        assert_eq!(of(&image(b"6.1.0-9-cloud-amd64 (d@x) #1")).as_deref(), Some("6.1.0-9-cloud-amd64"));
        assert_eq!(of(&image(b"../../etc ")), None);
        assert_eq!(of(&image(b"")), None);
        let elf = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0 Linux version %s Linux version 6.6.1 (x)"[..]]
            .concat();
        assert_eq!(of(&elf).as_deref(), Some("6.6.1"));
    }

    #[test]
    fn what_is_none_is_told() {
        let why = |bytes: &[u8]| version(bytes).unwrap_err().to_string();
        assert!(why(b"").contains("it is empty"));
        assert!(why(b"MZ").contains("neither"));
        assert!(why(&[0x1f, 0x8b, 8]).contains("compressed"));
        assert!(why(&image(b"6.1 ")[..1200]).contains("cut off"));
        assert!(why(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0").contains("no executable for x86-64"));
        assert!(why(b"\x7fELF").contains("no executable"));
    }
}
