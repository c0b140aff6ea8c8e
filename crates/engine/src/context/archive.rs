//! A build context that is a tar or a zip: unpacked, then a [`DirSource`](super::DirSource).

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use kiln_oci::compress::{Bounds, decompress_within, detect};
use kiln_oci::layer::ReadOptions;
use kiln_store::unpack::{Devices, Options, Owners, unpack};

use super::zip;
use crate::error::{EngineError, Result};
use crate::rootfs::chain_text;

/// Bytes that tell what an archive is.
const HEAD: u64 = 512;
/// The most bytes an archive may hold uncompressed; what is larger is taken for a bomb.
pub const MAX_SIZE: u64 = 256 << 30;

/// Whether a stream that begins so is an archive that a context can be.
pub fn is_archive(head: &[u8]) -> bool {
    detect(head).is_some() || zip::is_zip(head)
}

/// Unpacks a context: a zip, or a tar, plain or compressed with gzip, bzip2, xz or zstd, into the empty directory `into`. `name`
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
    if zip::is_zip(&head) {
        return unpack_zip(Cursor::new(head).chain(input), into).map_err(failed);
    }
    let Some(format) = detect(&head) else {
        let all_zero = head.iter().all(|byte| *byte == 0) && head.len() as u64 == HEAD;
        // A tar without entries is nothing but zeros.
        let text = "it is not a tar archive, nor one compressed with gzip, bzip2, xz or zstd, nor a zip";
        return if all_zero { Ok(()) } else { Err(failed(text.to_owned())) };
    };
    unpack_tar(decompress_within(format, Cursor::new(head).chain(input), Bounds::archive(MAX_SIZE)), into)
        .map_err(failed)
}

fn unpack_tar(tar: impl Read, into: &Path) -> std::result::Result<(), String> {
    let failed = |e: &dyn std::error::Error| format!("cannot unpack the build context: {}", chain_text(e));
    let target = File::open(into).map_err(|e| failed(&e))?;
    // A user's archive has no whiteouts: `.wh.x` would delete `x`, so it is an error.
    let read = ReadOptions::archive();
    let options = Options { devices: Devices::Skip, owners: Owners::Ignore, read, ..Options::merged() };
    unpack(tar, &target, &options).map_err(|e| failed(&e))?;
    Ok(())
}

/// A zip has its list of entries at its end, so it must be a file first.
fn unpack_zip(mut input: impl Read, into: &Path) -> std::result::Result<(), String> {
    let failed = |e: &dyn std::error::Error| format!("cannot unpack the zip: {}", chain_text(e));
    let mut file = tempfile::tempfile_in(into.parent().unwrap_or(into)).map_err(|e| failed(&e))?;
    let size = io::copy(&mut (&mut input).take(MAX_SIZE + 1), &mut file).map_err(|e| failed(&e))?;
    if size > MAX_SIZE {
        return Err(format!("it has more than {MAX_SIZE} bytes"));
    }
    let (reader, writer) = io::pipe().map_err(|e| failed(&e))?;
    std::thread::scope(|scope| {
        let turned = scope.spawn(|| zip::to_tar(file, io::BufWriter::new(writer)));
        let unpacked = unpack_tar(reader.take(MAX_SIZE), into);
        match turned.join().unwrap_or_else(|_| Err(io::Error::other("it stopped early"))) {
            // Who stops reading breaks the pipe: then the reader knows why.
            Err(e) if unpacked.is_ok() || !is_pipe(&e) => Err(failed(&e)),
            _ => unpacked,
        }
    })
}

fn is_pipe(error: &io::Error) -> bool {
    error.to_string().contains("Broken pipe")
}
