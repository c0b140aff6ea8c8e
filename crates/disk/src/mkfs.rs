//! File systems that Kiln does not write itself, by this machine's own programs.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{DiskError, Result};
use crate::image::scan;
use crate::io::WriteAt;
use crate::write::Root;

const BTRFS: &str = "mkfs.btrfs";
const BLOCK: usize = 64 << 10;

/// Writes the directory `tree`, which already has the changes that `root` asks for, as btrfs to `out`. The file
/// `scratch`, which must not be there, is made on the way and is the caller's to remove. Owners are those of `tree`.
///
/// # Errors
/// When `mkfs.btrfs` is not there or fails, or `out` cannot be written.
pub fn btrfs(tree: &Path, scratch: &Path, out: &mut dyn WriteAt, root: &Root<'_>) -> Result<()> {
    let fail = |why: String| DiskError::Program { format: "btrfs", program: BTRFS, why };
    let write = |offset, source| DiskError::Write { what: "btrfs", offset, source };
    let image = File::options().read(true).write(true).create_new(true).open(scratch).map_err(|e| write(0, e))?;
    image.set_len(root.len).map_err(|e| write(0, e))?;
    let mut command = Command::new(BTRFS);
    command.args(["-q", "-f", "-L", root.label, "-U"]).arg(root.id.to_string());
    command.arg("--rootdir").arg(tree).arg("--").arg(scratch);
    // The time of what it makes by itself.
    command.env("SOURCE_DATE_EPOCH", root.epoch.to_string());
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => fail("it is not there; install `btrfs-progs`, or say `fs=ext4`".into()),
        _ => fail(error.to_string()),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: String = said.lines().rev().take(3).collect::<Vec<_>>().join("; ");
        return Err(fail(format!("{}: {}", output.status, tail.escape_debug())));
    }
    scan(&image, BLOCK, |blocks| {
        for block in blocks {
            let offset = block.index * BLOCK as u64;
            let real = usize::try_from(root.len - offset).unwrap_or(usize::MAX).min(BLOCK);
            out.write_at(&block.data[..real], offset).map_err(|e| write(offset, e))?;
        }
        Ok(())
    })
}
