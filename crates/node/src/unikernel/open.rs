//! Which kernel a file is.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use kiln_disk::image::{self, Backing};
use kiln_disk::io::ReadAt;
use kiln_unikernel::{Kernel, recognise};

use crate::error::{NodeError, Result};

const QCOW2: &[u8] = b"QFI\xfb";
/// What of a disk is looked at: OSv's boot sector and command line.
const HEAD: usize = 64 << 10;

/// The kernel in a file.
///
/// # Errors
/// When it is none, is broken, or cannot be read; the error begins with what was to be done.
pub fn recognised(path: &Path, intent: &'static str) -> Result<Kernel> {
    let failed = |source| NodeError::Unikernel { intent, title: path.display().to_string(), source: Box::new(source) };
    let mut file = File::open(path).map_err(NodeError::file("read", path))?;
    if !file.metadata().map_err(NodeError::file("read", path))?.is_file() {
        return Err(failed(kiln_unikernel::UnikernelError::NoKernel("it is no file".to_owned())));
    }
    match head_of_disk(path)? {
        Some((head, size)) => {
            let found = recognise(&mut Cursor::new(head)).map_err(failed)?;
            Ok(Kernel { disk: Some("qcow2"), size, ..found })
        }
        None => recognise(&mut file).map_err(failed),
    }
}

/// Whether a file begins as kernels and disks of unikernels do; that it is one is not said by that.
///
/// # Errors
/// When it cannot be read.
pub fn looks_like_one(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(0x206).read_to_end(&mut head)).map_err(NodeError::file("read", path))?;
    let linux = head.get(0x202..0x206) == Some(b"HdrS");
    let disk = head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]);
    Ok(head.starts_with(b"\x7fELF") || head.starts_with(QCOW2) || linux || disk)
}

/// The beginning of the disk in a file of qemu's format, and the size of the file.
fn head_of_disk(path: &Path) -> Result<Option<(Vec<u8>, u64)>> {
    let file = File::open(path).map_err(NodeError::file("read", path))?;
    let mut magic = [0; 4];
    if ReadAt::read_exact_at(&file, &mut magic, 0).is_err() || magic != QCOW2 {
        return Ok(None);
    }
    let size = file.metadata().map_err(NodeError::file("read", path))?.len();
    let failed = |source| NodeError::Disk { disk: path.display().to_string(), source };
    let disk = image::open(file, None, &Backing::Refuse).map_err(failed)?.disk;
    let unread = |source| failed(kiln_disk::DiskError::Read { what: "disk", offset: 0, source });
    let length = usize::try_from(disk.len().map_err(unread)?).unwrap_or(usize::MAX).min(HEAD);
    let mut head = vec![0; length];
    disk.read_exact_at(&mut head, 0).map_err(unread)?;
    Ok(Some((head, size)))
}
