//! How much a scan accepts.

use crate::{Finding, Format, Package, Unreadable};

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
    /// The most bytes of their names, versions and the like.
    pub said: u64,
}

/// The bytes of all that a file says.
pub(super) fn weight(found: &Finding) -> u64 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of = |package: &Package| {
        let source = package.source.as_ref().map_or(0, |source| source.name.len() + text(&source.version));
        let sums: usize = package.checksums.iter().map(|sum| sum.hex.len()).sum();
        let optional = [&package.architecture, &package.maintainer, &package.vendor, &package.homepage];
        package.name.len() + package.version.len() + source + sums + optional.into_iter().map(text).sum::<usize>()
    };
    found.packages.iter().map(of).sum::<usize>() as u64
}

impl Default for Limits {
    /// Files of up to 16 MiB, databases, executables and archives of up to 512 MiB, 2 GiB of all but executables and
    /// archives, and a million packages
    /// with 512 MiB of names and the like.
    fn default() -> Limits {
        Limits {
            file: 16 << 20,
            database: 512 << 20,
            large: 512 << 20,
            total: 2 << 30,
            packages: 1_000_000,
            said: 512 << 20,
        }
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

    /// What a file says, if what it says is not too long to keep beside `kept` bytes of others.
    pub(super) fn short(&self, found: Finding, kept: u64) -> Finding {
        match kept.saturating_add(weight(&found)) > self.said {
            true => super::doubtful(format!("all that is said has more than {} bytes, the limit", self.said).into()),
            false => found,
        }
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
