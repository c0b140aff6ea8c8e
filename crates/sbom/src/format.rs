//! Which files of an image say what is installed.

use kiln_oci::name;

use crate::lang::{binary, cargo, composer, dotnet, gem, go, java, npm, pnpm, python, yarn};
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
    /// Metadata of an installed Python distribution.
    Python,
    /// `poetry.lock` and `uv.lock`.
    PythonLock,
    /// `Pipfile.lock`.
    Pipfile,
    /// `requirements.txt`.
    Requirements,
    /// `package.json` of an installed Node package.
    Npm,
    /// `package-lock.json` and `npm-shrinkwrap.json`.
    NpmLock,
    /// `yarn.lock`.
    YarnLock,
    /// `pnpm-lock.yaml`.
    PnpmLock,
    /// `Cargo.lock`.
    CargoLock,
    /// `go.mod`.
    GoMod,
    /// The specification of an installed gem.
    Gem,
    /// `Gemfile.lock`.
    GemLock,
    /// Composer's list of what is installed.
    Composer,
    /// `composer.lock`.
    ComposerLock,
    /// `NAME.deps.json` of a .NET program.
    DotNet,
    /// An archive of Java.
    Jar,
    /// An ELF file that can be executed.
    Executable,
}

impl Format {
    /// The format of the file at a path of a layer. Only the last components count: links may lead to what is above.
    /// [`Format::Executable`] is known by its first bytes instead.
    pub fn of(path: &[u8]) -> Option<Format> {
        Format::of_system(path).or_else(|| Format::of_installed(path)).or_else(|| Format::of_lock(path))
    }

    fn of_system(path: &[u8]) -> Option<Format> {
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

    fn of_installed(path: &[u8]) -> Option<Format> {
        let (dir, base) = name::split(path);
        let (above, parent) = name::split(dir);
        Some(match base {
            b"METADATA" if parent.ends_with(b".dist-info") => Format::Python,
            b"PKG-INFO" if parent.ends_with(b".egg-info") => Format::Python,
            b"package.json" if is_node_package(above) => Format::Npm,
            b"installed.json" if parent == b"composer" => Format::Composer,
            _ if base.ends_with(b".egg-info") => Format::Python,
            _ if base.ends_with(b".gemspec") && is_gem(above, parent) => Format::Gem,
            _ if base.ends_with(b".deps.json") => Format::DotNet,
            _ if java::is_archive(base) => Format::Jar,
            _ => return None,
        })
    }

    /// Lock files of packages that are themselves installed are left out: nobody follows them.
    fn of_lock(path: &[u8]) -> Option<Format> {
        let (dir, base) = name::split(path);
        let format = match base {
            b"poetry.lock" | b"uv.lock" => Format::PythonLock,
            b"Pipfile.lock" => Format::Pipfile,
            b"requirements.txt" => Format::Requirements,
            b"package-lock.json" | b"npm-shrinkwrap.json" => Format::NpmLock,
            b"yarn.lock" => Format::YarnLock,
            b"pnpm-lock.yaml" => Format::PnpmLock,
            b"Cargo.lock" => Format::CargoLock,
            b"go.mod" => Format::GoMod,
            b"Gemfile.lock" => Format::GemLock,
            b"composer.lock" => Format::ComposerLock,
            _ => return None,
        };
        let inside = |component: &[u8]| DEPENDENCIES.contains(&component) || component.contains(&b'@');
        (!name::components(dir).any(inside)).then_some(format)
    }

    /// Whether it counts only at its place in the system, not below any directory.
    pub(crate) fn is_of_system(self) -> bool {
        use Format::{Apk, Copyright, Dpkg, OsRelease, RpmBdb, RpmLog, RpmNdb, RpmSqlite};
        matches!(self, OsRelease | Dpkg | Copyright | Apk | RpmSqlite | RpmLog | RpmNdb | RpmBdb)
    }

    /// Whether it is large and says little.
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Format::Jar | Format::Executable)
    }

    /// Whether it names packages; the others say more about those.
    pub(crate) fn has_packages(self) -> bool {
        !matches!(self, Format::OsRelease | Format::Copyright)
    }

    /// What a file of this format and name says.
    ///
    /// # Errors
    /// The file is not what its name says, or too hostile to be read.
    pub fn read(self, path: &[u8], bytes: &[u8]) -> Result<Finding, Unreadable> {
        match self {
            Format::OsRelease => Ok(release::read(bytes)),
            Format::Dpkg => Ok(dpkg::read(bytes)),
            Format::Copyright => Ok(copyright::read(bytes)),
            Format::Apk => Ok(apk::read(bytes)),
            Format::RpmSqlite => rpm::read_sqlite(bytes),
            Format::RpmLog => rpm::read_log(bytes),
            Format::RpmNdb => rpm::read_ndb(bytes),
            Format::RpmBdb => rpm::read_bdb(bytes),
            Format::Python => python::metadata(bytes),
            Format::PythonLock => python::lock(bytes),
            Format::Pipfile => python::pipfile(bytes),
            Format::Requirements => Ok(python::requirements(bytes)),
            Format::Npm => npm::package(bytes),
            Format::NpmLock => npm::lock(bytes),
            Format::YarnLock => Ok(yarn::lock(bytes)),
            Format::PnpmLock => pnpm::lock(bytes),
            Format::CargoLock => cargo::lock(bytes),
            Format::GoMod => Ok(go::manifest(bytes)),
            Format::Gem => gem::specification(bytes),
            Format::GemLock => Ok(gem::lock(bytes)),
            Format::Composer => composer::installed(bytes),
            Format::ComposerLock => composer::lock(bytes),
            Format::DotNet => dotnet::dependencies(bytes),
            Format::Jar => java::archive(path, bytes),
            Format::Executable => binary::read(bytes),
        }
    }
}

/// Directories of what was installed as a dependency. Go's cache of modules has the version in its names, after an `@`.
const DEPENDENCIES: [&[u8]; 5] = [b"node_modules", b"site-packages", b"dist-packages", b"registry", b"gems"];

/// Whether a package of Node lies in this directory: `node_modules`, or a scope in it.
fn is_node_package(above: &[u8]) -> bool {
    let (dir, base) = name::split(above);
    base == b"node_modules" || (base.starts_with(b"@") && name::split(dir).1 == b"node_modules")
}

/// Whether specifications of installed gems, or of those that come with Ruby, lie in this directory.
fn is_gem(above: &[u8], parent: &[u8]) -> bool {
    parent == b"specifications" || (parent == b"default" && name::split(above).1 == b"specifications")
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
            ("app/node_modules/a/package.json", Some(Format::Npm)),
            ("app/node_modules/@s/a/package.json", Some(Format::Npm)),
            ("app/node_modules/a/lib/package.json", None),
            ("app/package.json", None),
            ("app/package-lock.json", Some(Format::NpmLock)),
            ("app/node_modules/a/yarn.lock", None),
            ("go/pkg/mod/example.org/a@v1.0.0/go.mod", None),
            ("src/go.mod", Some(Format::GoMod)),
            ("usr/lib/python3/dist-packages/a-1.egg-info", Some(Format::Python)),
            ("usr/lib/python3/dist-packages/a-1.dist-info/METADATA", Some(Format::Python)),
            ("usr/lib/ruby/gems/3.1.0/specifications/rake-13.gemspec", Some(Format::Gem)),
            ("usr/lib/ruby/gems/3.1.0/specifications/default/json-2.gemspec", Some(Format::Gem)),
            ("usr/lib/ruby/gems/3.1.0/gems/rake-13/rake.gemspec", None),
            ("app/x.JAR", Some(Format::Jar)),
            (".jar", None),
            ("status", None),
            ("", None),
        ] {
            assert_eq!(Format::of(path.as_bytes()), want, "{path}");
        }
    }
}
