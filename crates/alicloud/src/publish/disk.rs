//! What a file is: its format, and how large the disk in it is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{AlicloudError, Result};

/// Disks that ECS imports.
const LARGEST: u64 = 2048 << 30;

/// The formats that ECS imports, of those that Kiln writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's.
    Qcow2,
    /// Hyper-V's older one.
    Vhd,
}

impl Format {
    const ALL: [(Format, &'static str, &'static str); 3] =
        [(Format::Raw, "raw", "RAW"), (Format::Qcow2, "qcow2", "qcow2"), (Format::Vhd, "vhd", "VHD")];

    /// The format of this name.
    pub fn by_name(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format)
    }

    /// As file names end.
    pub fn extension(self) -> &'static str {
        Format::ALL.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, _)| name)
    }

    /// As ECS calls it.
    pub(super) fn word(self) -> &'static str {
        Format::ALL.iter().find(|(format, ..)| *format == self).map_or("", |(.., word)| word)
    }
}

/// A disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) format: Format,
    /// Of the file.
    pub(super) bytes: u64,
    /// Of the disk in it, in GiB.
    pub(super) gib: u64,
}

/// Looks at a file.
pub(super) fn look(file: &File, path: &Path, said: Option<Format>) -> Result<Disk> {
    let failed = |why: &str| AlicloudError::File { path: path.to_owned(), why: why.to_owned() };
    let meta = file.metadata().map_err(|e| failed(&e.to_string()))?;
    if !meta.is_file() || meta.len() < 512 {
        return Err(failed("it is no disk"));
    }
    let (mut head, mut tail) = ([0; 32], [0; 512]);
    file.read_exact_at(&mut head, 0).map_err(|e| failed(&e.to_string()))?;
    file.read_exact_at(&mut tail, meta.len() - 512).map_err(|e| failed(&e.to_string()))?;
    let (found, size) = content(&head, &tail, meta.len());
    let format = said.unwrap_or(found);
    if format != found {
        return Err(failed(&format!("it is {}, and not {}", found.extension(), format.extension())));
    }
    let backed = u64::from_be_bytes(head[8..16].try_into().unwrap_or_default()) != 0;
    if found == Format::Qcow2 && backed {
        return Err(failed("it stands on another file: qemu-img convert makes a whole one of it"));
    }
    if size == 0 || size > LARGEST {
        return Err(failed(&format!("its disk has {size} bytes, and ECS takes 2 TiB at the most")));
    }
    Ok(Disk { format, bytes: meta.len(), gib: size.div_ceil(1 << 30) })
}

fn content(head: &[u8; 32], tail: &[u8; 512], length: u64) -> (Format, u64) {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
    if head.starts_with(b"QFI\xfb") {
        return (Format::Qcow2, number(&head[24..32]));
    }
    if tail.starts_with(b"conectix") {
        return (Format::Vhd, number(&tail[48..56]));
    }
    (Format::Raw, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn disk(bytes: &[u8], said: Option<Format>) -> Result<Disk> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        look(file.as_file(), file.path(), said)
    }

    #[test]
    fn formats_are_told_by_their_content() {
        let mut qcow = vec![0; 1024];
        qcow[..4].copy_from_slice(b"QFI\xfb");
        qcow[24..32].copy_from_slice(&(3_u64 << 30).to_be_bytes());
        assert_eq!(disk(&qcow, None).unwrap(), Disk { format: Format::Qcow2, bytes: 1024, gib: 3 });
        let mut vhd = vec![0; 1024];
        vhd[512..520].copy_from_slice(b"conectix");
        vhd[560..568].copy_from_slice(&((3_u64 << 30) + 1).to_be_bytes());
        assert_eq!(disk(&vhd, Some(Format::Vhd)).unwrap().gib, 4);
        assert_eq!(disk(&[0; 512], None).unwrap(), Disk { format: Format::Raw, bytes: 512, gib: 1 });
        assert!(disk(&vhd, Some(Format::Raw)).unwrap_err().to_string().contains("it is vhd, and not raw"));
        assert!(disk(b"", None).unwrap_err().to_string().contains("no disk"));
        qcow[15] = 1;
        assert!(disk(&qcow, None).unwrap_err().to_string().contains("another file"));
        assert_eq!(Format::by_name("qcow2"), Some(Format::Qcow2));
    }
}
