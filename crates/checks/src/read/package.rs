//! What is installed, as the package manager keeps it.

use std::cmp::Ordering;

use kiln_sbom::os::{apk, dpkg, rpm};
use kiln_sbom::{Finding, Kind};

use super::version;
use crate::system::{LookError, Result, System};

/// The largest database that is read.
const MAX: u64 = 256 << 20;
/// The most files of a directory of package files.
const MAX_FILES: usize = 20_000;

/// Which package manager a system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Red Hat's and SUSE's.
    Rpm,
    /// Alpine's.
    Apk,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version in its manager's form.
    pub version: String,
}

/// The packages of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    /// Who keeps them; `None` when no database is there.
    pub manager: Option<Manager>,
    /// Where.
    pub path: String,
    /// All of them.
    pub all: Vec<Package>,
    /// What of the database could not be read.
    pub doubts: Vec<String>,
}

type Reader = fn(&[u8]) -> std::result::Result<Finding, kiln_sbom::Unreadable>;

/// Databases in files, and what reads them.
const FILES: [(&str, Manager, Reader); 10] = [
    ("/var/lib/dpkg/status", Manager::Dpkg, |bytes| Ok(dpkg::read(bytes))),
    ("/usr/lib/sysimage/rpm/rpmdb.sqlite", Manager::Rpm, rpm::read_sqlite),
    ("/usr/share/rpm/rpmdb.sqlite", Manager::Rpm, rpm::read_sqlite),
    ("/var/lib/rpm/rpmdb.sqlite", Manager::Rpm, rpm::read_sqlite),
    ("/usr/lib/sysimage/rpm/Packages.db", Manager::Rpm, rpm::read_ndb),
    ("/var/lib/rpm/Packages.db", Manager::Rpm, rpm::read_ndb),
    ("/usr/lib/sysimage/rpm/Packages", Manager::Rpm, rpm::read_bdb),
    ("/var/lib/rpm/Packages", Manager::Rpm, rpm::read_bdb),
    ("/lib/apk/db/installed", Manager::Apk, |bytes| Ok(apk::read(bytes))),
    ("/usr/lib/apk/db/installed", Manager::Apk, |bytes| Ok(apk::read(bytes))),
];
/// Where images without a package manager keep one file for each package.
const DIRECTORY: &str = "/var/lib/dpkg/status.d";

impl Packages {
    /// The packages of a system.
    ///
    /// # Errors
    /// A database is there and cannot be read.
    pub fn of(system: &dyn System) -> Result<Packages> {
        for (path, manager, read) in FILES {
            // On hosts of Debian the directory of rpm's database may be there, empty.
            let Some(bytes) = system.read(path, MAX)?.filter(|bytes| !bytes.is_empty()) else { continue };
            let found = read(&bytes).map_err(|why| LookError::form(path, why.0))?;
            if let Some(log) = system.read(&format!("{path}-wal"), MAX)? {
                rpm::read_log(&log).map_err(|why| LookError::form(format!("{path}-wal"), why.0))?;
            }
            return Ok(packages(Some(manager), path, found));
        }
        let Some(names) = system.list(DIRECTORY)? else { return Ok(packages(None, "", Finding::default())) };
        let mut all = packages(Some(Manager::Dpkg), DIRECTORY, Finding::default());
        for name in names.iter().filter(|name| !name.ends_with(".md5sums")).take(MAX_FILES) {
            if let Some(bytes) = system.read(&format!("{DIRECTORY}/{name}"), MAX)? {
                all.all.extend(packages(None, "", dpkg::read(&bytes)).all);
            }
        }
        Ok(all)
    }

    /// The packages of a name; there may be several, as of kernels, or of several architectures.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Package> + 'a {
        self.all.iter().filter(move |package| package.name == name)
    }

    /// How two versions order, as the manager says.
    pub fn order(&self, a: &str, b: &str) -> Ordering {
        match self.manager {
            Some(Manager::Rpm) => version::rpm(a, b),
            _ => version::debian(a, b),
        }
    }
}

fn packages(manager: Option<Manager>, path: &str, found: Finding) -> Packages {
    let os = found.packages.into_iter().filter(|p| matches!(p.kind, Kind::Deb | Kind::Rpm | Kind::Apk));
    let all = os.map(|p| Package { name: p.name, version: p.version }).collect();
    let doubts = found.doubts.into_iter().map(|doubt| doubt.0.into_owned()).collect();
    Packages { manager, path: path.to_owned(), all, doubts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn databases_are_read_and_garbage_is_said() {
        let status = "Package: curl\nStatus: install ok installed\nVersion: 7.88-1\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let debian = Packages::of(&Memory::new().file("/var/lib/dpkg/status", status)).unwrap();
        assert_eq!(debian.manager, Some(Manager::Dpkg));
        assert_eq!(debian.named("curl").map(|p| &*p.version).collect::<Vec<_>>(), ["7.88-1"]);
        assert_eq!(debian.named("gone").count(), 0);
        let garbage = Memory::new().file("/var/lib/rpm/rpmdb.sqlite", "not a database");
        assert!(Packages::of(&garbage).unwrap_err().to_string().starts_with("/var/lib/rpm/rpmdb.sqlite: "));
        let noise = Packages::of(&Memory::new().file("/var/lib/dpkg/status", [0xff; 4000])).unwrap();
        assert!(noise.all.is_empty());
        assert_eq!(Packages::of(&Memory::new()).unwrap().manager, None);
        let slim = Memory::new().file("/var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\n");
        assert_eq!(Packages::of(&slim).unwrap().all.len(), 1);
    }
}
