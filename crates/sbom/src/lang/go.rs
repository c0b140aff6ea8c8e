//! Go: `go.mod`, and what the linker writes into a binary.
//!
//! ```text
//! .go.buildinfo   "\xff Go buildinf:"  size of pointers  flags       16 bytes
//!   flags & 2     at 32: length, version of Go, length, modules      since Go 1.18; lengths are varints
//!   else          pointers to two strings, each a pointer and a length
//! ```

use super::binary::Elf;
use crate::inventory::MAX_PACKAGES;
use crate::number::slice;
use crate::{Evidence, Finding, Kind, Package, Unreadable};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Bytes that stand before the list of modules, and after it, so that it can be found in memory.
const MARK: usize = 16;

/// `go.mod`: what it requires. Since Go 1.17 that is all that is built.
pub fn manifest(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Finding::default();
    let mut block = "";
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        match (line.split_once('(').map(|(word, _)| word.trim()), line) {
            (Some(word), _) => block = word,
            (None, ")") => block = "",
            (None, line) => {
                let requirement = if block == "require" { Some(line) } else { line.strip_prefix("require ") };
                requirement.and_then(required).into_iter().for_each(|package| found.push(package));
            }
        }
    }
    found
}

fn required(line: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let (path, version) = (words.next()?, words.next()?);
    let path = path.trim_matches('"');
    version.starts_with('v').then(|| Package::new(Kind::Go, path, version).known(Evidence::Locked))
}

/// The modules of a binary, with the standard library as one of them; none when it is not Go's.
///
/// # Errors
/// It is Go's, and the section is damaged.
pub(super) fn linked(elf: &Elf<'_>) -> Result<Vec<Package>, Unreadable> {
    let Some(section) = elf.section(b".go.buildinfo").filter(|section| section.starts_with(MAGIC)) else {
        return Ok(Vec::new());
    };
    let texts =
        if section.get(15).is_some_and(|flags| flags & 2 != 0) { inline(section) } else { pointed(elf, section) };
    let (version, modules) = texts.ok_or("its list of Go modules is damaged")?;
    let modules = modules.get(MARK..modules.len().saturating_sub(MARK)).unwrap_or_default();
    Ok(packages(&String::from_utf8_lossy(version), &String::from_utf8_lossy(modules)))
}

fn inline(section: &[u8]) -> Option<(&[u8], &[u8])> {
    let (version, rest) = counted(section.get(32..)?)?;
    let (modules, _) = counted(rest)?;
    Some((version, modules))
}

/// Bytes behind their length, and the rest.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let rest = &bytes[at + 1..];
            return (length <= rest.len()).then(|| rest.split_at(length));
        }
    }
    None
}

fn pointed<'a>(elf: &Elf<'a>, section: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let size = usize::from(*section.get(14)?);
    if size != 4 && size != 8 {
        return None;
    }
    let text = |pointer: usize| {
        let header = elf.at(elf.word(section, pointer, size)?)?;
        let length = usize::try_from(elf.word(header, size, size)?).ok()?;
        if length == 0 {
            return Some(&header[..0]);
        }
        slice(elf.at(elf.word(header, 0, size)?)?, 0, length)
    };
    Some((text(16)?, text(16 + size)?))
}

fn packages(version: &str, modules: &str) -> Vec<Package> {
    let mut out = Vec::new();
    if let Some(number) = version.split_whitespace().next().and_then(|word| word.strip_prefix("go")) {
        out.push(Package::new(Kind::Go, "stdlib", number));
    }
    // Built without modules, as Debian does, a program is known by its path alone.
    let path = modules.lines().find_map(|line| line.strip_prefix("path\t")).filter(|_| !modules.contains("\nmod\t"));
    out.extend(path.map(|path| Package::new(Kind::Go, path, "")));
    for line in modules.lines().take(MAX_PACKAGES) {
        let mut words = line.split('\t');
        let Some(word) = words.next() else { continue };
        let (path, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // The version of what was built from a working copy.
        let version = if version == "(devel)" { "" } else { version };
        match word {
            "mod" | "dep" if !path.is_empty() => out.push(Package::new(Kind::Go, path, version)),
            // What the module before was replaced by.
            "=>" if out.len() > 1 && !path.is_empty() => {
                out.pop();
                out.push(Package::new(Kind::Go, path, version));
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(packages: &[Package]) -> Vec<String> {
        packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect()
    }

    #[test]
    fn requirements_stand_alone_or_in_a_block() {
        let found = manifest(
            b"module example.org/me\ngo 1.22\nrequire example.org/a v1.0.0 // indirect\nrequire (\n\t\"example.org/b/v2\" v2.1.0\n\t\
            // example.org/c v1.0.0\n)\nreplace example.org/a => ../a\nexclude (\n\texample.org/d v1.0.0\n)\nrequire x\n",
        );
        assert_eq!(seen(&found.packages), ["example.org/a v1.0.0", "example.org/b/v2 v2.1.0"]);
    }

    #[test]
    fn replaced_modules_are_named_by_what_replaces_them() {
        let list = "path\texample.org/me\nmod\texample.org/me\t(devel)\t\ndep\texample.org/a\tv1.0.0\th1:x=\n\
            dep\texample.org/b\tv1.0.0\n=>\texample.org/fork\tv1.1.0\th1:y=\nbuild\t-compiler=gc\n";
        let want = ["stdlib 1.22.1", "example.org/me ", "example.org/a v1.0.0", "example.org/fork v1.1.0"];
        assert_eq!(seen(&packages("go1.22.1 X:boringcrypto", list)), want);
        assert_eq!(packages("devel", ""), []);
        assert_eq!(
            seen(&packages("go1.19.8", "path\texample.org/me\nbuild\t-trimpath=true\n")),
            ["stdlib 1.19.8", "example.org/me "]
        );
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(counted(b"\x02abc"), Some((&b"ab"[..], &b"c"[..])));
        for bad in [&b""[..], b"\x02a", b"\x80", b"\xff\xff\xff\xff\xff\x01"] {
            assert_eq!(counted(bad), None);
        }
    }
}
