//! Going through all of a file system that is read, whatever it is.

use std::io::Read;

use kiln_disk::fs::Files;

/// Of the many files one can point at the same blocks, this many bytes are read.
const MAX_READ: usize = 8 << 20;

/// Goes through all of it, and reads its files, also by their paths.
pub fn read_all(image: &impl Files) {
    let mut left = MAX_READ;
    for found in image.walk() {
        let Ok(found) = found else { return };
        let by_path = image.lookup_link(&found.entry.path);
        if let Ok(Some(again)) = by_path {
            assert_eq!(again.ino, found.ino, "a walk and a look find the same");
        }
        let _ = image.list(&found).map(|names| assert!(names.iter().all(|n| !n.contains(&b'/'))));
        if let Ok(body) = image.open_file(&found) {
            let mut taken = Vec::new();
            if body.take(left as u64).read_to_end(&mut taken).is_ok() && taken.len() < left {
                let about = image.inode(found.ino).and_then(|inode| image.about(&inode));
                let size = about.expect("it was opened").size;
                assert_eq!(taken.len() as u64, size, "a file has as many bytes as it says");
            }
            left -= taken.len();
        }
    }
}
