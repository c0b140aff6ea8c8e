//! Databases of distributions: what dpkg, apk and rpm keep of what they installed.
//!
//! [`PLACES`] where they are     [`release`] which distribution     [`dpkg`] [`copyright`] Debian     [`apk`] Alpine     [`rpm`] Fedora, SUSE
//! [`fields`] the paragraphs that most of them consist of

pub mod apk;
pub mod copyright;
pub mod dpkg;
pub mod fields;
pub mod release;
pub mod rpm;

/// Files that hold databases, and directories full of them. Some of these are links to others on some systems.
pub(crate) const PLACES: [&[u8]; 14] = [
    b"var/lib/dpkg/status",
    b"var/lib/dpkg/status.d",
    b"lib/apk/db/installed",
    b"usr/lib/apk/db/installed",
    b"var/lib/rpm/rpmdb.sqlite",
    b"var/lib/rpm/rpmdb.sqlite-wal",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    b"usr/share/rpm/rpmdb.sqlite",
    b"usr/share/rpm/rpmdb.sqlite-wal",
    b"var/lib/rpm/Packages.db",
    b"usr/lib/sysimage/rpm/Packages.db",
    b"var/lib/rpm/Packages",
    b"usr/lib/sysimage/rpm/Packages",
];

/// Where systems say who they are, the first that is there.
pub(crate) const RELEASES: [&[u8]; 2] = [b"etc/os-release", b"usr/lib/os-release"];
