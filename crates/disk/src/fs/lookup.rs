//! Single paths, with the symbolic links on the way.

use std::collections::VecDeque;

use kiln_oci::name::{MAX_PATH, components, escape, join};

use super::walk::{found, inode_at};
use super::{Found, Inodes, refuse};
use crate::error::Result;
use crate::ext4::raw::mode;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The names in a directory that was found, sorted; none in anything else.
pub(crate) fn list<I: Inodes>(image: &I, dir: &Found) -> Result<Vec<Vec<u8>>> {
    let (inode, about) = inode_at(image, &dir.entry.path, dir.ino)?;
    Ok(if about.kind() == mode::DIR { image.names(&inode)?.into_keys().collect() } else { Vec::new() })
}

/// What is at a path; `follow` a link at its end, too.
pub(crate) fn resolve<I: Inodes>(image: &I, path: &[u8], follow: bool) -> Result<Option<Found>> {
    let no = |why: String| Err(refuse::<I>(&path[..path.len().min(MAX_PATH)], why));
    if path.len() > MAX_PATH {
        return no("it is too long".to_owned());
    }
    let root = image.root();
    let mut left: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    let mut at: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        let (here, here_path) = at.last().map_or((root, &b""[..]), |(ino, path)| (*ino, path));
        let (dir, about) = inode_at(image, here_path, here)?;
        if about.kind() != mode::DIR {
            return no(format!("`/{}` is not a directory", escape(here_path)));
        }
        if part == b".." {
            at.pop();
            continue;
        }
        let Some(ino) = image.names(&dir)?.get(&part).copied() else { return Ok(None) };
        let full = join(here_path, &part);
        let (inode, about) = inode_at(image, &full, ino)?;
        if about.kind() != mode::SYMLINK || (left.is_empty() && !follow) {
            at.push((ino, full));
            continue;
        }
        links += 1;
        let target = image.target(&inode)?;
        let ahead: usize = left.iter().map(|part| part.len() + 1).sum();
        if links > MAX_LINKS || target.len() + ahead > 4 * MAX_PATH {
            return no("too many links are on its way".to_owned());
        }
        if target.starts_with(b"/") {
            at.clear();
        }
        components(&target).rev().for_each(|part| left.push_front(part.to_vec()));
    }
    let (ino, path) = at.pop().unwrap_or((root, Vec::new()));
    let (inode, about) = inode_at(image, &path, ino)?;
    match about.kind() {
        mode::SOCKET => Ok(None),
        _ => found(image, path, ino, &inode, &about).map(Some),
    }
}
