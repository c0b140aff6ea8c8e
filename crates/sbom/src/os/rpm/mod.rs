//! RPM: a header for each package, in a database of one of three formats.
//!
//! ```text
//! sqlite    rpmdb.sqlite    Fedora since 33, RHEL 9            [`sqlite`]
//! ndb       Packages.db     SUSE                               [`ndb`]
//! bdb       Packages        everything older, RHEL up to 8     [`bdb`]
//! ```
//! Each format is a way to a [`header`]. A header that cannot be read is a doubt, and the others count.

pub mod bdb;
pub mod header;
pub mod ndb;
pub mod sqlite;

use crate::{Finding, Unreadable};

/// Headers one after the other; what stops them is the error.
type Headers = fn(&[u8], &mut dyn FnMut(&[u8])) -> Result<(), Unreadable>;

/// Every package of `rpmdb.sqlite`.
///
/// # Errors
/// It is not an SQLite database, or has no table of packages.
pub fn read_sqlite(bytes: &[u8]) -> Result<Finding, Unreadable> {
    read(sqlite::headers, bytes)
}

/// Every package of `Packages.db`.
///
/// # Errors
/// It is not a database of the format ndb.
pub fn read_ndb(bytes: &[u8]) -> Result<Finding, Unreadable> {
    read(ndb::headers, bytes)
}

/// Every package of `Packages`.
///
/// # Errors
/// It is not a hash of Berkeley DB.
pub fn read_bdb(bytes: &[u8]) -> Result<Finding, Unreadable> {
    read(bdb::headers, bytes)
}

/// The log beside `rpmdb.sqlite`. A database that was closed has none, or an empty one.
///
/// # Errors
/// The log has changes.
pub fn read_log(bytes: &[u8]) -> Result<Finding, Unreadable> {
    match bytes.is_empty() {
        true => Ok(Finding::default()),
        false => Err("it holds changes that are not in the database yet: RPM was stopped while it wrote".into()),
    }
}

fn read(headers: Headers, bytes: &[u8]) -> Result<Finding, Unreadable> {
    let mut found = Finding::default();
    let ended = headers(bytes, &mut |bytes| match header::package(bytes) {
        Some(package) => found.push(package),
        None => found.doubt("it has an entry that is no header of a package"),
    });
    // What was found before the damage is there.
    match ended {
        Err(why) if found.packages.is_empty() => return Err(why),
        Err(why) => found.doubt(why),
        Ok(()) => {}
    }
    Ok(found)
}
