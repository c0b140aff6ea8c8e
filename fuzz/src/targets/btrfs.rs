//! Strangers' btrfs, as patches of zeros (`sparse`). Each patch gets its right checksum: without that nothing behind a
//! checksum would ever be reached.

use std::io;

use kiln_disk::ReadAt;
use kiln_disk::btrfs::Image;
use kiln_disk::fs::Files;

use super::{files, sparse};

/// Shorter patches are data, not nodes.
const NODE: usize = 4096;

/// A device that is as long as it says, and has little in it.
struct Device {
    len: u64,
    patches: Vec<(u64, Vec<u8>)>,
}

impl ReadAt for Device {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..there];
        buf.fill(0);
        for (at, patch) in &self.patches {
            // What both have, from the later of the two starts on.
            let from = offset.max(*at);
            let end = (offset + there as u64).min(at + patch.len() as u64);
            if from < end {
                let len = (end - from) as usize;
                let (to, of) = ((from - offset) as usize, (from - at) as usize);
                buf[to..to + len].copy_from_slice(&patch[of..of + len]);
            }
        }
        Ok(there)
    }
}

/// Opens it, goes through all of it, reads its files, also by their paths, and looks at it as a whole.
pub fn run(bytes: &[u8]) {
    let (len, mut patches) = sparse::patches(bytes);
    for (_, patch) in patches.iter_mut().filter(|(_, patch)| patch.len() >= NODE) {
        let sum = crc32c(&patch[32..]).to_le_bytes();
        patch[..4].copy_from_slice(&sum);
    }
    // In MiB: such file systems are not small.
    let Ok(mut image) = Image::open(Device { len: len << 20, patches }) else { return };
    files::read_all(&image);
    let _ = image.layout().map(|layout| assert!(layout.parts.iter().all(|part| !part.path.is_empty())));
    for options in ["subvolid=5", "subvolid=256", "subvol=a/b"] {
        if image.enter(options).is_ok_and(|there| there) {
            let _ = image.mount(b"a", "subvolid=257");
            let _ = image.walk().take(1000).count();
        }
    }
}

/// CRC-32C.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 });
    !bytes.iter().fold(!0, |crc, b| (crc >> 8) ^ byte((crc ^ u32::from(*b)) & 0xFF))
}
