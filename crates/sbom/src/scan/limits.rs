//! How much a scan accepts.

use crate::{Finding, Format, Unreadable};

/// Bounds of a scan. What is beyond them is not read, and becomes a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest file of a package or a lock file, in bytes.
    pub file: u64,
    /// The largest database of a distribution.
    pub database: u64,
    /// The largest executable, or archive of Java. One at a time is in memory.
    pub large: u64,
    /// The most bytes of all files together whose findings are kept.
    pub total: u64,
    /// The most packages.
    pub packages: usize,
}

impl Default for Limits {
    /// Files of up to 16 MiB, databases, executables and archives of up to 512 MiB, 2 GiB of all but executables and
    /// archives, and a million packages.
    fn default() -> Limits {
        Limits { file: 16 << 20, database: 512 << 20, large: 512 << 20, total: 2 << 30, packages: 1_000_000 }
    }
}

impl Limits {
    /// Why a file of this size is not read, when `kept` bytes were read before it.
    pub(super) fn refuse(&self, format: Format, size: u64, kept: u64) -> Option<Unreadable> {
        let most = match format {
            _ if format.is_of_system() => self.database,
            _ if format.is_large() => self.large,
            _ => self.file,
        };
        if size > most {
            return Some(format!("it has {size} bytes, and the limit is {most}").into());
        }
        let over = !format.is_large() && kept.saturating_add(size) > self.total;
        over.then(|| format!("all such files together have more than {} bytes, which is the limit", self.total).into())
    }

    /// What a file says, without the packages that are too many beside those that are kept already.
    pub(super) fn bound(&self, mut found: Finding, kept: usize) -> Finding {
        let room = self.packages.saturating_sub(kept);
        if found.packages.len() > room {
            found.packages.truncate(room);
            found.packages.shrink_to_fit();
            found.doubt(format!("the image has more than {} packages, which is the limit", self.packages));
        }
        found
    }
}
