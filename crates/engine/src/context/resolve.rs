//! Where a path leads, its symbolic links followed inside the root as in a `chroot`.

use kiln_oci::name;

use super::{Kind, Source, Stat};
use crate::error::{EngineError, Result};

/// Symbolic links followed on the way of one path.
const MAX_LINKS: usize = 255;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The real path: no component of it is a symbolic link.
    pub path: Vec<u8>,
    /// What is there.
    pub stat: Stat,
}

/// What `path` leads to, all links followed, also one at its end. Absolute links start at the root, and `..` stops
/// there. `None` when nothing is there.
///
/// # Errors
/// When links lead in a circle, or the source cannot be read.
pub fn resolve(source: &dyn Source, path: &[u8]) -> Result<Option<Resolved>> {
    let mut todo: Vec<Vec<u8>> = name::components(path).rev().map(<[u8]>::to_vec).collect();
    let mut at: Vec<u8> = Vec::new();
    let mut stat = source.stat(b"")?;
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if !stat.as_ref().is_some_and(Stat::is_dir) {
            return Ok(None);
        }
        if part == b".." {
            at.truncate(name::split(&at).0.len());
            stat = source.stat(&at)?;
            continue;
        }
        let next = name::join(&at, &part);
        if next.len() > name::MAX_PATH {
            return Err(EngineError::Context(format!("`{}` leads to a path that is too long", name::escape(path))));
        }
        let found = source.stat(&next)?;
        if let Some(Stat { kind: Kind::Symlink { target }, .. }) = &found {
            links += 1;
            if links > MAX_LINKS {
                let path = name::escape(path);
                return Err(EngineError::Context(format!("`{path}`: its symbolic links lead in a circle")));
            }
            todo.extend(name::components(target).rev().map(<[u8]>::to_vec));
            if target.starts_with(b"/") {
                at.clear();
                stat = source.stat(b"")?;
            }
            continue;
        }
        (at, stat) = (next, found);
    }
    Ok(stat.map(|stat| Resolved { path: at, stat }))
}
