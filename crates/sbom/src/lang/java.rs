//! Java: archives, what Maven writes into them, and archives inside them.
//!
//! `META-INF/maven/GROUP/ARTIFACT/pom.properties` names a package; an archive that was put together of several has
//! several. Without one the manifest names it, or the archive's own name.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::read::ZipFile;

use crate::os::fields::Paragraph;
use crate::{Finding, Kind, Licence, Package, Unreadable};

/// Archives in archives in archives: more than programs that start themselves have.
const MAX_DEPTH: usize = 3;
/// The most entries of one archive.
const MAX_ENTRIES: usize = 200_000;
/// The most bytes of a manifest, or of properties.
const MAX_TEXT: u64 = 1 << 20;
/// The most bytes of all archives inside one, unpacked.
const MAX_NESTED: u64 = 512 << 20;

/// Every package in an archive of this name.
///
/// # Errors
/// Not a zip archive, or a damaged one.
pub fn archive(name: &[u8], bytes: &[u8]) -> Result<Finding, Unreadable> {
    let mut reader = Reader { room: MAX_NESTED, found: Finding::default() };
    reader.archive(&String::from_utf8_lossy(name), bytes, 0)?;
    Ok(reader.found)
}

/// How many entries an archive can have, at the most: whoever opens it reads the list of all of them first.
fn entries(bytes: &[u8]) -> usize {
    const HEAD: &[u8] = b"PK\x01\x02";
    /// The shortest line of that list.
    const LEAST: usize = 46;
    match bytes.len() / LEAST > MAX_ENTRIES {
        true => bytes.windows(HEAD.len()).filter(|window| *window == HEAD).count(),
        false => bytes.len() / LEAST,
    }
}

struct Reader {
    /// Bytes that may still be unpacked.
    room: u64,
    found: Finding,
}

/// What an archive is known by when Maven says nothing.
#[derive(Default)]
struct Manifest {
    title: Option<String>,
    version: Option<String>,
    licence: Option<Licence>,
}

impl Reader {
    fn archive(&mut self, name: &str, bytes: &[u8], depth: usize) -> Result<(), Unreadable> {
        let damaged = |e: zip::result::ZipError| Unreadable::from(format!("it is not a sound zip archive: {e}"));
        if entries(bytes) > MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries, which is the limit").into());
        }
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        let mut own = Vec::new();
        let mut manifest = Manifest::default();
        for number in 0..zip.len() {
            let mut entry = zip.by_index(number).map_err(damaged)?;
            let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if path == "META-INF/MANIFEST.MF" {
                manifest = Manifest::of(&self.text(&mut entry)?);
            } else if path.starts_with("META-INF/maven/") && path.ends_with("/pom.properties") {
                let text = self.text(&mut entry)?;
                own.extend(properties(&text));
            } else if is_archive(path.as_bytes()) {
                self.nested(&path, &mut entry, depth);
            }
        }
        if own.is_empty() {
            own.extend(manifest.package(name));
        }
        own.into_iter().for_each(|package| self.found.push(package));
        Ok(())
    }

    fn nested(&mut self, path: &str, entry: &mut ZipFile<'_, impl Read>, depth: usize) {
        let read = match self.unpacked(entry, MAX_NESTED) {
            Ok(bytes) if depth + 1 < MAX_DEPTH => self.archive(path, &bytes, depth + 1),
            Ok(_) => Err("it is an archive in too many others".into()),
            Err(why) => Err(why),
        };
        if let Err(why) = read {
            self.found.doubt(format!("`{}` inside it: {why}", kiln_oci::name::escape(path.as_bytes())));
        }
    }

    fn text(&mut self, entry: &mut ZipFile<'_, impl Read>) -> Result<String, Unreadable> {
        Ok(String::from_utf8_lossy(&self.unpacked(entry, MAX_TEXT)?).into_owned())
    }

    fn unpacked(&mut self, entry: &mut ZipFile<'_, impl Read>, most: u64) -> Result<Vec<u8>, Unreadable> {
        let most = most.min(self.room);
        let mut out = Vec::new();
        entry
            .take(most + 1)
            .read_to_end(&mut out)
            .map_err(|e| Unreadable::from(format!("it cannot be unpacked: {e}")))?;
        let length = out.len() as u64;
        if length > most {
            return Err("it is too long when unpacked".into());
        }
        self.room -= length;
        Ok(out)
    }
}

impl Manifest {
    fn of(text: &str) -> Manifest {
        // A line that begins with a space goes on the one before.
        let text = text.replace("\r\n", "\n").replace("\n ", "");
        let main = Paragraph::of(text.split("\n\n").next().unwrap_or_default());
        let first = |names: &[&str]| names.iter().find_map(|name| main.line(name)).map(str::to_owned);
        let title = first(&["Bundle-SymbolicName", "Automatic-Module-Name", "Implementation-Title"]);
        Manifest {
            title: title.and_then(|title| title.split(';').next().map(|t| t.trim().to_owned())),
            version: first(&["Bundle-Version", "Implementation-Version", "Specification-Version"]),
            licence: main.line("Bundle-License").filter(|text| !text.contains("://")).map(Licence::spdx),
        }
    }

    /// A package, when there is a version: an archive without one is no release of anything.
    fn package(self, name: &str) -> Option<Package> {
        let (from_name, version) = named(stem(name));
        let version = self.version.or(version.map(str::to_owned))?;
        let title = self.title.filter(|title| !title.contains(' ')).unwrap_or_else(|| from_name.to_owned());
        let mut package = Package::new(Kind::Maven, title, version);
        package.licences.extend(self.licence);
        Some(package)
    }
}

fn properties(text: &str) -> Option<Package> {
    let value = |key: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let name = format!("{}:{}", value("groupId")?, value("artifactId")?);
    Some(Package::new(Kind::Maven, name, value("version").unwrap_or_default()))
}

/// Whether a path names an archive of Java.
pub(crate) fn is_archive(path: &[u8]) -> bool {
    [b".jar", b".war", b".ear"]
        .iter()
        .any(|ending| path.len() > 4 && path[path.len() - 4..].eq_ignore_ascii_case(*ending))
}

/// The name of a file without directory and ending.
fn stem(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.rsplit_once('.').map_or(base, |(stem, _)| stem)
}

/// `name-1.2.3` as name and version.
fn named(stem: &str) -> (&str, Option<&str>) {
    let mut dashes = stem.match_indices('-').map(|(at, _)| at);
    match dashes.find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit())) {
        Some(at) => (&stem[..at], Some(&stem[at + 1..])),
        None => (stem, None),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn jar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn seen(found: &Finding) -> Vec<String> {
        found.packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect()
    }

    const POM: (&str, &[u8]) =
        ("META-INF/maven/org.x/lib/pom.properties", b"#c\nversion=1.2\ngroupId=org.x\nartifactId=lib\n");

    #[test]
    fn maven_the_manifest_or_the_name_tell() {
        let found =
            archive(b"lib-1.2.jar", &jar(&[POM, ("META-INF/MANIFEST.MF", b"Implementation-Version: 9\n")])).unwrap();
        assert_eq!(seen(&found), ["org.x:lib 1.2"]);
        let manifest = b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.lon\r\n g;singleton:=true\r\nBundle-Version: 3.1\r\n\r\nName: x\r\nBundle-Version: 9\r\n";
        assert_eq!(seen(&archive(b"a/x.jar", &jar(&[("META-INF/MANIFEST.MF", manifest)])).unwrap()), ["org.long 3.1"]);
        assert_eq!(seen(&archive(b"a/guava-31.1-jre.jar", &jar(&[("a", b"")])).unwrap()), ["guava 31.1-jre"]);
        assert_eq!(seen(&archive(b"a/x.jar", &jar(&[("a", b"")])).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn archives_inside_are_opened_to_a_depth() {
        let inner = jar(&[POM]);
        let fat = jar(&[
            ("BOOT-INF/lib/lib-1.2.jar", &inner),
            ("META-INF/MANIFEST.MF", b"Implementation-Title: app\nImplementation-Version: 1\n"),
        ]);
        let mut all = seen(&archive(b"app.jar", &fat).unwrap());
        all.sort();
        assert_eq!(all, ["app 1", "org.x:lib 1.2"]);
        let deep = (0..5).fold(inner, |jar_, _| jar(&[("x.jar", &jar_)]));
        let found = archive(b"deep.jar", &deep).unwrap();
        assert!(found.doubts.iter().any(|why| why.to_string().contains("too many others")), "{:?}", found.doubts);
    }

    #[test]
    fn damage_and_bombs_are_refused() {
        assert!(archive(b"x.jar", b"PK").is_err());
        let bomb = jar(&[("META-INF/MANIFEST.MF", &vec![b' '; 2 << 20])]);
        assert_eq!(archive(b"x.jar", &bomb).unwrap_err().to_string(), "it is too long when unpacked");
        let whole = jar(&[POM]);
        for end in 0..whole.len() {
            let _ = archive(b"x.jar", &whole[..end]);
        }
    }
}
