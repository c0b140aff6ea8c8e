//! Which kernel modules are put into an initramfs, in which order they are loaded, and their bytes.
//!
//! depmod wrote down who needs whom: `modules.dep` by symbols, `modules.softdep` by hand, `modules.builtin` what is in the
//! kernel itself. Modules are loaded by hand from a list, so one comes behind all that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use crate::error::{InitError, Result};

/// What a driver may be missing for: a kernel that has it built in says so, one for other machines has it not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// One of these must be there: for people, and the modules' names.
    pub needed: &'static [(&'static str, &'static [&'static str])],
    /// These are taken when they are there.
    pub useful: &'static [&'static str],
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its file's name, without a suffix of compression.
    pub name: String,
    /// The file, unpacked.
    pub data: Vec<u8>,
}

/// Reads a file of at most so many bytes; none when it is not there.
pub type ReadFile<'a> = dyn FnMut(&str, u64) -> io::Result<Option<Vec<u8>>> + 'a;

/// Lists of depmod are not larger.
const MAX_LIST: u64 = 16 << 20;
/// Nor are modules.
const MAX_MODULE: u64 = 64 << 20;
/// KiB that unpacking may take: `xz -9` needs a quarter of it.
const XZ_MEMORY: u32 = 256 << 10;
/// Nor have they so many between them.
const MAX_DEPTH: usize = 200;
const MAX_MODULES: usize = 500;

/// The wanted modules of the kernel whose modules are in `dir`, with all they need, in the order of loading.
///
/// # Errors
/// When the lists are missing or damaged, a driver that is needed is nowhere, or a module cannot be read.
pub fn collect(dir: &str, wanted: &Wanted, read: &mut ReadFile<'_>) -> Result<Vec<Module>> {
    let failed = |path: String| move |source| InitError::Read { path, source };
    let mut list = |name: &str| -> Result<Option<String>> {
        let path = format!("{dir}/{name}");
        let bytes = read(&path, MAX_LIST).map_err(failed(path))?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    };
    let known = Known {
        dir: dir.to_owned(),
        dep: list("modules.dep")?.ok_or_else(|| bad(dir, "there is no modules.dep: run depmod".to_owned()))?,
        soft: list("modules.softdep")?.unwrap_or_default(),
        builtin: list("modules.builtin")?.unwrap_or_default(),
    };
    let mut modules = Vec::new();
    let mut names = BTreeSet::new();
    for path in known.order(wanted)? {
        let file = format!("{dir}/{path}");
        let packed = read(&file, MAX_MODULE).map_err(failed(file.clone()))?;
        let packed = packed.ok_or_else(|| bad(dir, format!("modules.dep names {path}, which is not there")))?;
        let name = format!("{}.ko", plain(&path));
        if names.insert(name.clone()) {
            modules.push(Module { data: unpack(&file, packed)?, name });
        }
    }
    Ok(modules)
}

fn bad(dir: &str, why: String) -> InitError {
    InitError::Modules { dir: dir.to_owned(), why }
}

/// What depmod knows.
struct Known {
    dir: String,
    dep: String,
    soft: String,
    builtin: String,
}

/// The name of a module, by its file: `-` and `_` are the same.
fn plain(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let end = file.find(".ko").unwrap_or(file.len());
    file[..end].replace('-', "_")
}

impl Known {
    /// Paths below the directory, each behind what it needs.
    fn order(&self, wanted: &Wanted) -> Result<Vec<String>> {
        let mut needs: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
        for line in self.dep.lines() {
            let Some((path, rest)) = line.split_once(':') else { continue };
            let needed = rest.split_whitespace().map(plain).collect();
            needs.entry(plain(path)).or_insert((path, needed));
        }
        for line in self.soft.lines() {
            // softdep NAME pre: A B post: C
            let mut words = line.split_whitespace().skip_while(|w| *w != "softdep").skip(1);
            let Some((_, needed)) = words.next().and_then(|name| needs.get_mut(&plain(name))) else { continue };
            let before = words.skip_while(|w| *w != "pre:").skip(1).take_while(|w| !w.ends_with(':'));
            needed.extend(before.map(plain));
        }
        let builtin: BTreeSet<String> = self.builtin.lines().map(plain).collect();
        for (what, names) in wanted.needed {
            if !names.iter().any(|n| needs.contains_key(*n) || builtin.contains(*n)) {
                let why = format!("the kernel has no driver for {what}: none of {}", names.join(", "));
                return Err(bad(&self.dir, why));
            }
        }
        let all = wanted.needed.iter().flat_map(|(_, names)| *names).chain(wanted.useful);
        let mut ordered =
            Ordered { needs: &needs, dir: &self.dir, done: BTreeSet::new(), open: Vec::new(), paths: Vec::new() };
        for name in all {
            ordered.visit(&plain(name))?;
        }
        Ok(ordered.paths)
    }
}

struct Ordered<'a> {
    needs: &'a BTreeMap<String, (&'a str, Vec<String>)>,
    dir: &'a str,
    done: BTreeSet<String>,
    open: Vec<String>,
    paths: Vec<String>,
}

impl Ordered<'_> {
    fn visit(&mut self, name: &str) -> Result<()> {
        // What is not listed is in the kernel, or an alias of something that is.
        let Some((path, needed)) = self.needs.get(name) else { return Ok(()) };
        if self.done.contains(name) || self.open.iter().any(|n| n == name) {
            return Ok(());
        }
        if self.open.len() >= MAX_DEPTH || self.paths.len() >= MAX_MODULES {
            return Err(bad(self.dir, format!("modules.dep says that {name} needs far too many others")));
        }
        let leads_out =
            path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == ".." || part == ".");
        if leads_out {
            return Err(bad(self.dir, format!("modules.dep names `{}`, which is elsewhere", path.escape_debug())));
        }
        self.open.push(name.to_owned());
        for other in needed {
            self.visit(other)?;
        }
        self.open.pop();
        self.done.insert(name.to_owned());
        self.paths.push((*path).to_owned());
        Ok(())
    }
}

/// A module as the kernel takes it: kernels need not be able to unpack their modules.
fn unpack(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let failed = |source| InitError::Read { path: path.to_owned(), source };
    let mut out = Vec::new();
    let suffix = path.rsplit('.').next().unwrap_or_default();
    let limit = MAX_MODULE + 1;
    match suffix {
        "ko" => return Ok(bytes),
        "gz" => flate2::read::MultiGzDecoder::new(&*bytes).take(limit).read_to_end(&mut out),
        "xz" => lzma_rust2::XzReader::new_mem_limit(&*bytes, true, XZ_MEMORY).take(limit).read_to_end(&mut out),
        "zst" => zstd::stream::read::Decoder::new(&*bytes).and_then(|d| d.take(limit).read_to_end(&mut out)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither .ko nor .ko.gz, .ko.xz, .ko.zst")),
    }
    .map_err(failed)?;
    if out.len() as u64 > MAX_MODULE {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("unpacked it has more than {MAX_MODULE} bytes"),
        )));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const DEP: &str = "kernel/a/disk.ko.xz: kernel/a/bus-core.ko kernel/a/ring.ko.gz\nkernel/a/bus-core.ko: kernel/a/ring.ko.gz\n\
                       kernel/a/ring.ko.gz:\nkernel/f/fs.ko.zst: kernel/a/crc.ko\nkernel/a/crc.ko:\nkernel/x/other.ko:\nkernel/a/fast_crc.ko:\n";
    const SOFT: &str = "# Soft dependencies\nsoftdep fs pre: fast-crc absent post: other\n";
    const WANTED: Wanted =
        Wanted { needed: &[("disks", &["disk", "ide"]), ("files", &["fs"])], useful: &["absent", "crc"] };

    fn files(dep: &str) -> BTreeMap<String, Vec<u8>> {
        let text = b"the module, the module, the module";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(text).unwrap();
        BTreeMap::from([
            ("/m/modules.dep".to_owned(), dep.as_bytes().to_vec()),
            ("/m/modules.softdep".to_owned(), SOFT.as_bytes().to_vec()),
            ("/m/kernel/a/ring.ko.gz".to_owned(), gz.finish().unwrap()),
            ("/m/kernel/a/bus-core.ko".to_owned(), text.to_vec()),
            ("/m/kernel/a/crc.ko".to_owned(), text.to_vec()),
            ("/m/kernel/a/fast_crc.ko".to_owned(), text.to_vec()),
            ("/m/kernel/f/fs.ko.zst".to_owned(), zstd::encode_all(&text[..], 1).unwrap()),
            ("/m/kernel/a/disk.ko.xz".to_owned(), XZ.to_vec()),
        ])
    }

    /// The beginning of an archive.
    const XZ: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 4, 0xe6, 0xd6, 0xb4, 0x46, 2, 0, 0x21, 1, 0x16, 0, 0, 0, 0x74, 0x2f, 0xe5,
        0xa3,
    ];

    fn take(files: &BTreeMap<String, Vec<u8>>, wanted: &Wanted) -> Result<Vec<Module>> {
        collect("/m", wanted, &mut |path, limit| {
            let file = files.get(path).cloned();
            assert!(file.as_ref().is_none_or(|f| f.len() as u64 <= limit));
            Ok(file)
        })
    }

    fn why(files: &BTreeMap<String, Vec<u8>>) -> String {
        take(files, &WANTED).unwrap_err().to_string()
    }

    #[test]
    fn each_comes_behind_what_it_needs() {
        let mut files = files(DEP);
        files.insert("/m/kernel/a/disk.ko.xz".to_owned(), xz(b"the module, the module, the module"));
        let modules = take(&files, &WANTED).unwrap();
        let names: Vec<&str> = modules.iter().map(|m| &*m.name).collect();
        assert_eq!(names, ["ring.ko", "bus_core.ko", "disk.ko", "crc.ko", "fast_crc.ko", "fs.ko"]);
        assert!(modules.iter().all(|m| m.data == b"the module, the module, the module"));
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, data).unwrap();
        let out = std::process::Command::new(kiln_testkit::tools::tool("xz")).arg("-c").arg(&path).output().unwrap();
        out.stdout
    }

    #[test]
    fn what_is_built_in_is_not_missed() {
        let mut files = files("");
        assert!(why(&files).contains("no driver for disks: none of disk, ide"), "{}", why(&files));
        files.insert("/m/modules.builtin".to_owned(), b"kernel/a/ide.ko\nkernel/f/fs.ko\n".to_vec());
        assert_eq!(take(&files, &WANTED).unwrap(), []);
    }

    #[test]
    fn lists_and_modules_that_lie_are_told() {
        let mut no_list = files(DEP);
        no_list.remove("/m/modules.dep");
        assert!(why(&no_list).contains("run depmod"));
        let mut gone = files(DEP);
        gone.remove("/m/kernel/a/ring.ko.gz");
        assert!(why(&gone).contains("names kernel/a/ring.ko.gz, which is not there"), "{}", why(&gone));
        assert!(why(&files(DEP)).contains("cannot read `/m/kernel/a/disk.ko.xz`"), "{}", why(&files(DEP)));
        for path in ["../../etc/disk.ko", "/lib/disk.ko", "a//disk.ko"] {
            let lies = files(&format!("{path}:\nfs.ko:\n"));
            assert!(why(&lies).contains("which is elsewhere"), "{}", why(&lies));
        }
        // A ring of needs ends; a chain without end does not make Kiln fall over.
        let ring = files("kernel/a/crc.ko: kernel/a/fast_crc.ko\nkernel/a/fast_crc.ko: kernel/a/crc.ko\n");
        let only = Wanted { needed: &[], useful: &["crc"] };
        assert_eq!(take(&ring, &only).unwrap().len(), 2);
        let chain: String = (0..100_000).map(|n| format!("c{n}.ko: c{}.ko\n", n + 1)).collect();
        let error = take(&files(&chain), &Wanted { needed: &[], useful: &["c0"] }).unwrap_err();
        assert!(error.to_string().contains("far too many"), "{error}");
    }

    #[test]
    fn a_module_that_swells_is_refused() {
        let bomb = zstd::encode_all(io::repeat(0).take(MAX_MODULE + 10), 1).unwrap();
        assert!(unpack("a.ko.zst", bomb).unwrap_err().to_string().contains("more than"));
        assert!(unpack("a.ko.lz4", Vec::new()).unwrap_err().to_string().contains("neither"));
    }
}
