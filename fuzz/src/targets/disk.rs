//! Disks of strangers in every format, as patches of zeros (`sparse`): tables of partitions, FAT.

use std::fs::File;
use std::io::Write;

use kiln_disk::ReadAt;
use kiln_disk::fat::Reader;
use kiln_disk::image::{self, Backing};
use kiln_disk::part;

use super::sparse;

/// Opens the disk, reads where it has data, its partitions, and what of them is FAT.
pub fn run(bytes: &[u8]) {
    let bytes = sparse::file(bytes);
    let Some(disk) = memory(&bytes).and_then(|file| image::open(file, None, &Backing::Refuse).ok()) else { return };
    let disk = disk.disk;
    let Ok(len) = disk.len() else { return };
    let mut at = 0;
    for _ in 0..1000 {
        let Ok(Some(data)) = disk.data(at) else { break };
        assert!(data.start >= at && data.start < data.end && data.end <= len, "{data:?} of {len}, from {at}");
        let mut buffer = [0; 4096];
        let part = usize::try_from(data.end - data.start).unwrap_or(usize::MAX).min(buffer.len());
        let _ = disk.read_exact_at(&mut buffer[..part], data.start);
        at = data.end;
    }
    let Ok(Some(table)) = part::read(&disk) else { return };
    for partition in table.partitions.iter().take(16) {
        let Ok(reader) = Reader::open(partition.window(&disk)) else { continue };
        for entry in reader.entries().unwrap_or_default().iter().take(100) {
            let _ = reader.read(entry, 1 << 20).map(|bytes| assert!(bytes.len() <= 1 << 20));
        }
    }
}

/// A file that is nowhere: image formats are read from files.
fn memory(bytes: &[u8]) -> Option<File> {
    let mut file = File::from(rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).ok()?);
    file.write_all(bytes).ok()?;
    Some(file)
}
