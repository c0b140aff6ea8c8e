//! Candidates from overlayfs's upper directory: what is in it is what was touched.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use kiln_oci::name::join;
use rustix::fs::fgetxattr;
use rustix::io::Errno;

use super::ChangeOptions;
use super::collect::Candidates;
use super::error::{ChangeError, read};
use crate::beneath::{Beneath, shown};
use crate::lower::Lower;
use crate::stat::{FileKind, Stat};
use crate::unpack::OverlayXattrs;

/// What a directory of the upper layer says about what is below it.
#[derive(Debug, Clone, Copy, Default)]
struct Hides {
    /// The lower layers' children are gone.
    lower: bool,
    /// Files with the attribute `overlay.whiteout` are marks of removal.
    marked_files: bool,
}

/// The names overlayfs gives its attributes.
struct Marks {
    opaque: &'static [u8],
    redirect: &'static [u8],
    metacopy: &'static [u8],
    whiteout: &'static [u8],
}

const TRUSTED: Marks = Marks {
    opaque: b"trusted.overlay.opaque",
    redirect: b"trusted.overlay.redirect",
    metacopy: b"trusted.overlay.metacopy",
    whiteout: b"trusted.overlay.whiteout",
};

const USER: Marks = Marks {
    opaque: b"user.overlay.opaque",
    redirect: b"user.overlay.redirect",
    metacopy: b"user.overlay.metacopy",
    whiteout: b"user.overlay.whiteout",
};

pub(super) fn candidates(
    tree: &mut Beneath,
    lower: &dyn Lower,
    options: &ChangeOptions<'_>,
) -> Result<Candidates, ChangeError> {
    let marks = match options.form.marks() {
        OverlayXattrs::Trusted => &TRUSTED,
        OverlayXattrs::User => &USER,
    };
    let mut out = Candidates::default();
    let mut dirs = vec![(Vec::new(), Hides::default())];
    while let Some((dir, hides)) = dirs.pop() {
        let names = tree.names(&dir).map_err(read(&dir))?;
        let mut here = BTreeSet::new();
        for name in names {
            let path = join(&dir, &name);
            if options.ignore.covers_tree(&path) {
                continue;
            }
            let stat = tree.dir(&dir).and_then(|fd| Stat::at(fd, &name)).map_err(read(&path))?;
            if is_removed(tree, &path, &stat, hides, marks)? {
                out.gone.insert(path);
                continue;
            }
            if stat.kind == FileKind::Dir {
                dirs.push((path.clone(), hides_below(tree, &path, hides, marks)?));
            }
            here.insert(path.clone());
            out.present.insert(path, stat);
        }
        if hides.lower && lower.dir(&dir).is_some() {
            out.gone.extend(lower.children(&dir).into_iter().filter(|child| !here.contains(child)));
        }
    }
    Ok(out)
}

fn is_removed(tree: &mut Beneath, path: &[u8], stat: &Stat, hides: Hides, marks: &Marks) -> Result<bool, ChangeError> {
    if stat.is_overlay_whiteout() {
        return Ok(true);
    }
    if stat.kind != FileKind::File {
        return Ok(false);
    }
    let file = tree.read_file(path).map_err(read(path))?;
    if mark(&file, marks.metacopy).map_err(read(path))?.is_some() {
        return Err(refused(path, marks.metacopy));
    }
    Ok(hides.marked_files && mark(&file, marks.whiteout).map_err(read(path))?.is_some())
}

fn hides_below(tree: &mut Beneath, path: &[u8], parent: Hides, marks: &Marks) -> Result<Hides, ChangeError> {
    let dir: OwnedFd = tree.read_dir(path).map_err(read(path))?;
    if mark(&dir, marks.redirect).map_err(read(path))?.is_some() {
        return Err(refused(path, marks.redirect));
    }
    let opaque = mark(&dir, marks.opaque).map_err(read(path))?;
    let is = |value: &[u8]| opaque.as_deref() == Some(value);
    // Below a directory that hides everything there is nothing left to merge with.
    Ok(Hides { lower: parent.lower || is(b"y"), marked_files: is(b"x") })
}

fn mark(file: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; 256];
    match fgetxattr(file, name, &mut value[..]) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        // A redirect is a path and may be longer than the room for it.
        Err(Errno::RANGE) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn refused(path: &[u8], mark: &[u8]) -> ChangeError {
    ChangeError::OverlayMark { path: shown(path), mark: mark.escape_ascii().to_string() }
}
