//! A build context that is a tar: unpacked, then a [`DirSource`](super::DirSource).

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use kiln_oci::compress::{Bounds, decompress_within, detect};
use kiln_oci::layer::ReadOptions;
use kiln_store::unpack::{Devices, Options, Owners, unpack};

use crate::error::{EngineError, Result};
use crate::rootfs::chain_text;

/// Bytes that tell what an archive is.
const HEAD: u64 = 512;
/// The most bytes an archive may hold uncompressed; what is larger is taken for a bomb.
pub const MAX_SIZE: u64 = 256 << 30;

/// Unpacks a context: a tar, plain or compressed with gzip, bzip2, xz or zstd, into the empty directory `into`. `name`
/// is what it came from, for messages. Owners are those of the caller, devices are left out, and nothing is written
/// outside of `into` whatever the archive says.
///
/// # Errors
/// When it is no such archive, is damaged or too large, names something outside its root, or the directory cannot be
/// written.
pub fn unpack_context(name: &str, mut input: impl Read + Send, into: &Path) -> Result<()> {
    let failed = |message: String| EngineError::Archive { name: name.to_owned(), message };
    let mut head = Vec::new();
    (&mut input).take(HEAD).read_to_end(&mut head).map_err(|e| failed(format!("cannot read it: {e}")))?;
    if head.is_empty() {
        return Err(failed("it is empty; a build context is a tar archive".to_owned()));
    }
    let Some(format) = detect(&head) else {
        let all_zero = head.iter().all(|byte| *byte == 0) && head.len() as u64 == HEAD;
        // A tar without entries is nothing but zeros.
        let text = "it is not a tar archive, nor one compressed with gzip, bzip2, xz or zstd";
        return if all_zero { Ok(()) } else { Err(failed(text.to_owned())) };
    };
    let target = File::open(into).map_err(EngineError::file("open", into))?;
    // A user's archive has no whiteouts: `.wh.x` would delete `x`, so it is an error.
    let read = ReadOptions::archive();
    let options = Options { devices: Devices::Skip, owners: Owners::Ignore, read, ..Options::merged() };
    let tar = decompress_within(format, Cursor::new(head).chain(input), Bounds::archive(MAX_SIZE));
    unpack(tar, &target, &options)
        .map_err(|e| failed(format!("cannot unpack the build context: {}", chain_text(&e))))?;
    Ok(())
}
