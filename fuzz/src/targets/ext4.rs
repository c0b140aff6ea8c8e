//! File systems of strangers' disks, as patches of zeros (`sparse`).

use kiln_disk::ext4::Image;

use super::{files, sparse};

/// Opens it, goes through all of it, and reads its files, also by their paths.
pub fn run(bytes: &[u8]) {
    let disk = sparse::file(bytes);
    if let Ok(image) = Image::open(&disk[..]) {
        files::read_all(&image);
    }
}
