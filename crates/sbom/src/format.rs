//! Which files of an image say what is installed.

use kiln_oci::name;

use crate::os::{apk, copyright, dpkg, release, rpm};
use crate::{Finding, Unreadable};

/// A kind of file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `os-release`.
    OsRelease,
    /// dpkg's `status`, and the files of distroless images' `status.d`.
    Dpkg,
    /// `usr/share/doc/PACKAGE/copyright` of Debian.
    Copyright,
    /// apk's `installed`.
    Apk,
    /// RPM's `rpmdb.sqlite`.
    RpmSqlite,
    /// The log of changes beside it.
    RpmLog,
    /// RPM's `Packages.db`, SUSE's format.
    RpmNdb,
    /// RPM's `Packages`, a hash of Berkeley DB.
    RpmBdb,
}

impl Format {
    /// The format of the file at a path of a layer. Only the last components count: links may lead to what is above.
    pub fn of(path: &[u8]) -> Option<Format> {
        let (dir, base) = name::split(path);
        let (above, parent) = name::split(dir);
        let grandparent = name::split(above).1;
        Some(match (grandparent, parent, base) {
            (_, b"etc" | b"lib", b"os-release") => Format::OsRelease,
            (_, b"dpkg", b"status") => Format::Dpkg,
            (b"dpkg", b"status.d", file) if !file.ends_with(b".md5sums") => Format::Dpkg,
            (b"doc", _, b"copyright") => Format::Copyright,
            (b"apk", b"db", b"installed") => Format::Apk,
            (_, _, b"rpmdb.sqlite") => Format::RpmSqlite,
            (_, _, b"rpmdb.sqlite-wal") => Format::RpmLog,
            (_, b"rpm", b"Packages.db") => Format::RpmNdb,
            (_, b"rpm", b"Packages") => Format::RpmBdb,
            _ => return None,
        })
    }

    /// Whether it counts only at its place in the system, not below any directory.
    pub(crate) fn is_of_system(self) -> bool {
        match self {
            Format::OsRelease
            | Format::Dpkg
            | Format::Copyright
            | Format::Apk
            | Format::RpmSqlite
            | Format::RpmLog
            | Format::RpmNdb
            | Format::RpmBdb => true,
        }
    }

    /// Whether it names packages; the others say more about those.
    pub(crate) fn has_packages(self) -> bool {
        !matches!(self, Format::OsRelease | Format::Copyright)
    }

    /// What a file of this format says.
    ///
    /// # Errors
    /// The file is not what its name says, or too hostile to be read.
    pub fn read(self, bytes: &[u8]) -> Result<Finding, Unreadable> {
        match self {
            Format::OsRelease => Ok(release::read(bytes)),
            Format::Dpkg => Ok(dpkg::read(bytes)),
            Format::Copyright => Ok(copyright::read(bytes)),
            Format::Apk => Ok(apk::read(bytes)),
            Format::RpmSqlite => rpm::read_sqlite(bytes),
            Format::RpmLog => rpm::read_log(bytes),
            Format::RpmNdb => rpm::read_ndb(bytes),
            Format::RpmBdb => rpm::read_bdb(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_last_components() {
        for (path, want) in [
            ("etc/os-release", Some(Format::OsRelease)),
            ("usr/lib/os-release", Some(Format::OsRelease)),
            ("var/lib/dpkg/status", Some(Format::Dpkg)),
            ("var/lib/dpkg/status-old", None),
            ("var/lib/dpkg/status.d/tzdata", Some(Format::Dpkg)),
            ("var/lib/dpkg/status.d/tzdata.md5sums", None),
            ("usr/share/doc/bash/copyright", Some(Format::Copyright)),
            ("usr/lib/apk/db/installed", Some(Format::Apk)),
            ("var/lib/rpm/Packages", Some(Format::RpmBdb)),
            ("status", None),
            ("", None),
        ] {
            assert_eq!(Format::of(path.as_bytes()), want, "{path}");
        }
    }
}
