//! What was found: packages, the distribution they belong to, and what could not be read.

use std::borrow::Cow;
use std::fmt;

use kiln_oci::Digest;

use crate::Licence;

/// What is installed in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The operating system, from `os-release`.
    pub distribution: Option<Distribution>,
    /// What is installed, sorted by kind, name, version and architecture; each once.
    pub packages: Vec<Package>,
    /// What could not be read, sorted by path. With doubts, `packages` may lack some.
    pub doubts: Vec<Doubt>,
}

/// An operating system, as its `os-release` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    /// `ID`: `debian`, `alpine`, `fedora`, …
    pub id: String,
    /// `VERSION_ID`; rolling distributions have none.
    pub version: Option<String>,
    /// `PRETTY_NAME`, or `NAME`.
    pub name: Option<String>,
}

/// Who packed something, and so what its name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Debian and its descendants.
    Deb,
    /// Alpine and its descendants.
    Apk,
    /// Fedora, Red Hat, SUSE and others.
    Rpm,
    /// Python packages.
    PyPi,
    /// Node packages; a scope is part of the name.
    Npm,
    /// Rust crates.
    Cargo,
    /// Go modules.
    Go,
    /// Ruby gems.
    Gem,
    /// PHP packages, named `vendor/package`.
    Composer,
    /// Java archives, named `group:artifact`.
    Maven,
    /// .NET packages.
    NuGet,
}

/// How a package is known to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// It is: a database or the package itself says so.
    Installed,
    /// A lock file names it. It may be installed, or compiled into something, or neither.
    Locked,
    /// It is named as a tool of developers, or of a build, which a finished image seldom has.
    Development,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Who packed it.
    pub kind: Kind,
    /// Its name, as its ecosystem writes it.
    pub name: String,
    /// Its version, with epoch and release where there are any; empty when it has none.
    pub version: String,
    /// The architecture it was built for, in its ecosystem's words.
    pub architecture: Option<String>,
    /// The source package it was built from, where that has another name or version.
    pub source: Option<Source>,
    /// The person or team who maintains it.
    pub maintainer: Option<String>,
    /// The organisation that distributes it.
    pub vendor: Option<String>,
    /// Licences; all of them apply.
    pub licences: Vec<Licence>,
    /// Its page in the web.
    pub homepage: Option<String>,
    /// Checksums of the archive that it was installed from.
    pub checksums: Vec<Checksum>,
    /// How it is known to be there.
    pub evidence: Evidence,
    /// The files that say so.
    pub locations: Vec<Location>,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its name; for RPM its file name, `bash-5.2-1.src.rpm`.
    pub name: String,
    /// Its version, where it is not the package's.
    pub version: Option<String>,
}

/// A checksum of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum {
    /// The function.
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal digits.
    pub hex: String,
}

/// What a checksum was computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A file in the image that speaks of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Its path, absolute and escaped.
    pub path: String,
    /// The diff id of the layer it is in.
    pub layer: Digest,
}

/// A file that may name packages and could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Its path, absolute and escaped.
    pub path: String,
    /// The reason, as a clause.
    pub why: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was not read completely: {}", self.path, self.why)
    }
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// The operating system.
    pub distribution: Option<Distribution>,
    /// Packages, their locations still empty.
    pub packages: Vec<Package>,
    /// The licences of the package whose copyright file this is.
    pub licences: Vec<Licence>,
    /// Parts of the file that could not be understood, and why.
    pub doubts: Vec<Unreadable>,
}

/// The most packages that one file may name: ten times what large systems have.
pub const MAX_PACKAGES: usize = 200_000;
/// The most different things that are said to be wrong with one file.
const MAX_DOUBTS: usize = 100;

impl Finding {
    /// Packages, and nothing else.
    pub fn packages(packages: impl IntoIterator<Item = Package>) -> Finding {
        let mut found = Finding::default();
        // One more is enough to see that there are too many.
        packages.into_iter().take(MAX_PACKAGES + 1).for_each(|package| found.push(package));
        found
    }

    /// One more package, unless there are too many: a line of a few bytes would become hundreds.
    pub(crate) fn push(&mut self, package: Package) {
        match self.packages.len() < MAX_PACKAGES {
            true => self.packages.push(package),
            false => self.doubt(format!("it names more than {MAX_PACKAGES} packages, which is the limit")),
        }
    }

    /// Something that is wrong, once for each run of the same.
    pub(crate) fn doubt(&mut self, why: impl Into<Unreadable>) {
        let why = why.into();
        if self.doubts.last() != Some(&why) && self.doubts.len() < MAX_DOUBTS {
            self.doubts.push(why);
        }
    }
}

/// Why a file, or a part of one, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub Cow<'static, str>);

impl From<&'static str> for Unreadable {
    fn from(why: &'static str) -> Unreadable {
        Unreadable(Cow::Borrowed(why))
    }
}

impl From<String> for Unreadable {
    fn from(why: String) -> Unreadable {
        Unreadable(Cow::Owned(why))
    }
}

impl Kind {
    /// The type of its package URLs; also how the documents call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Deb => "deb",
            Kind::Apk => "apk",
            Kind::Rpm => "rpm",
            Kind::PyPi => "pypi",
            Kind::Npm => "npm",
            Kind::Cargo => "cargo",
            Kind::Go => "golang",
            Kind::Gem => "gem",
            Kind::Composer => "composer",
            Kind::Maven => "maven",
            Kind::NuGet => "nuget",
        }
    }

    /// Whether it is a distribution's own packages.
    pub fn is_of_system(self) -> bool {
        matches!(self, Kind::Deb | Kind::Apk | Kind::Rpm)
    }
}

impl Package {
    /// An installed package of which only this is known.
    pub fn new(kind: Kind, name: impl Into<String>, version: impl Into<String>) -> Package {
        Package {
            kind,
            name: name.into(),
            version: version.into(),
            architecture: None,
            source: None,
            maintainer: None,
            vendor: None,
            licences: Vec::new(),
            homepage: None,
            checksums: Vec::new(),
            evidence: Evidence::Installed,
            locations: Vec::new(),
        }
    }

    /// The same package, known by other means.
    #[must_use]
    pub fn known(self, evidence: Evidence) -> Package {
        Package { evidence, ..self }
    }

    /// The scope, vendor or group that is part of the name, and the rest.
    pub fn group_and_name(&self) -> (Option<&str>, &str) {
        let mark = match self.kind {
            Kind::Npm | Kind::Composer => '/',
            Kind::Maven => ':',
            _ => return (None, &self.name),
        };
        self.name.rsplit_once(mark).map_or((None, &self.name), |(group, name)| (Some(group), name))
    }

    /// What makes it this package and no other. Python's names are the same in any case, and with any mark between words.
    pub(crate) fn identity(&self) -> (Kind, Cow<'_, str>, &str, Option<&str>) {
        let name = match self.kind {
            Kind::PyPi => Cow::Owned(self.name.to_lowercase().replace(['_', '.'], "-")),
            _ => Cow::Borrowed(&*self.name),
        };
        (self.kind, name, &self.version, self.architecture.as_deref())
    }

    /// Takes from the same package, found elsewhere, what is not known yet.
    pub(crate) fn absorb(&mut self, other: Package) {
        if other.evidence < self.evidence {
            self.evidence = other.evidence;
            self.name = other.name;
        }
        self.locations.extend(other.locations);
        self.checksums.extend(other.checksums);
        if self.licences.is_empty() {
            self.licences = other.licences;
        }
        for (mine, its) in [
            (&mut self.maintainer, other.maintainer),
            (&mut self.vendor, other.vendor),
            (&mut self.homepage, other.homepage),
        ] {
            if mine.is_none() {
                *mine = its;
            }
        }
        self.source = self.source.take().or(other.source);
    }
}

impl Inventory {
    /// An inventory of packages in any order, the same ones joined.
    pub(crate) fn of(
        distribution: Option<Distribution>,
        mut packages: Vec<Package>,
        mut doubts: Vec<Doubt>,
    ) -> Inventory {
        packages.sort_by(|a, b| a.identity().cmp(&b.identity()));
        let mut joined: Vec<Package> = Vec::with_capacity(packages.len());
        for package in packages {
            match joined.last_mut() {
                Some(last) if last.identity() == package.identity() => last.absorb(package),
                _ => joined.push(package),
            }
        }
        for package in &mut joined {
            package.locations.sort();
            package.locations.dedup();
            package.checksums.sort();
            package.checksums.dedup();
        }
        doubts.sort();
        doubts.dedup();
        Inventory { distribution, packages: joined, doubts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Licence;

    #[test]
    fn a_file_names_no_more_packages_than_the_limit() {
        let many = std::iter::repeat_n(Package::new(Kind::Apk, "a", "1"), MAX_PACKAGES + 5);
        let mut found = Finding::packages(many);
        assert_eq!((found.packages.len(), found.doubts.len()), (MAX_PACKAGES, 1));
        (0..500).for_each(|n| found.doubt(format!("{n}")));
        assert_eq!(found.doubts.len(), MAX_DOUBTS);
    }

    #[test]
    fn the_same_package_is_there_once_and_knows_all_that_was_found() {
        let location = |path: &str| Location { path: path.to_owned(), layer: Digest::of(b"") };
        let mut locked = Package::new(Kind::PyPi, "typing-extensions", "4").known(Evidence::Locked);
        locked.locations.push(location("/app/uv.lock"));
        let mut installed = Package::new(Kind::PyPi, "Typing_Extensions", "4");
        installed.locations.push(location("/a/METADATA"));
        installed.licences.push(Licence::spdx("PSF-2.0"));
        let other = Package::new(Kind::PyPi, "typing-extensions", "5");
        let found = Inventory::of(None, vec![other, locked, installed.clone(), installed], Vec::new());
        let seen: Vec<_> = found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str(), p.evidence)).collect();
        assert_eq!(
            seen,
            [("Typing_Extensions", "4", Evidence::Installed), ("typing-extensions", "5", Evidence::Installed)]
        );
        assert_eq!((found.packages[0].locations.len(), found.packages[0].licences.len()), (2, 1));
    }
}
