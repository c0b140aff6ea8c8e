//! GRUB's core image for a BIOS, put together from the files of the image's own GRUB; no program of it is run.
//!
//! ```text
//! diskboot.img   one sector that loads the rest
//! lzma_decompress.img   told how long what follows is
//! LZMA( kernel.img, then modules, a first configuration, the prefix )
//! ```

use std::collections::HashSet;
use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter};

use super::Tree;
use crate::error::{DiskError, Result};

/// Where Debian, RHEL, SUSE and Alpine put GRUB for a BIOS.
pub(super) const DIRECTORIES: [&str; 2] = ["/usr/lib/grub/i386-pc", "/usr/share/grub2/i386-pc"];
const NAME: &str = "boot loader (GRUB)";
const SECTOR: usize = 512;
/// Where the kernel of GRUB runs.
const LINK: u64 = 0x9000;
const MODULE: u32 = 0;
const CONFIG: u32 = 2;
const PREFIX: u32 = 3;
const MAX_FILE: u64 = 4 << 20;
/// GRUB's loader reads into memory below this.
const MAX_CORE: usize = 0x7_8000;

/// What of GRUB goes to a disk that a BIOS boots.
pub(crate) struct Bios {
    /// The first 440 bytes of the disk.
    pub boot: Vec<u8>,
    /// What is loaded by them.
    pub core: Vec<u8>,
}

/// Makes both, for a core image at byte `at` of the disk.
pub(crate) fn bios(tree: &dyn Tree, dir: &str, modules: &[&str], config: &str, at: u64) -> Result<Bios> {
    let file = |name: &str| file(tree, dir, name);
    let mut boot = file("boot.img")?;
    let mut core = file("diskboot.img")?;
    let mut unpacker = file("lzma_decompress.img")?;
    if boot.len() != SECTOR || core.len() != SECTOR || unpacker.len() < 0x20 {
        return Err(odd(dir, "boot.img, diskboot.img or lzma_decompress.img has an unusual size"));
    }
    let lba = at / SECTOR as u64;
    boot[0x5c..0x64].copy_from_slice(&lba.to_le_bytes());
    // The drive the BIOS says is taken, also where it looks like a floppy's.
    boot[0x66..0x68].fill(0x90);
    boot.truncate(440);

    let payload = payload(tree, dir, modules, config)?;
    let packed = pack(&payload).map_err(|source| DiskError::Body { path: format!("{dir}/kernel.img"), source })?;
    unpacker[0x08..0x0c].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    unpacker[0x0c..0x10].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let rest = (unpacker.len() + packed.len()).div_ceil(SECTOR);
    if rest * SECTOR > MAX_CORE {
        return Err(odd(dir, "its core image would be larger than a BIOS can load"));
    }
    core[500..508].copy_from_slice(&(lba + 1).to_le_bytes());
    core[508..510].copy_from_slice(&(rest as u16).to_le_bytes());
    core[510..512].copy_from_slice(&0x820u16.to_le_bytes());
    core.extend(unpacker);
    core.extend(packed);
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    Ok(Bios { boot, core })
}

fn odd(dir: &str, why: &str) -> DiskError {
    DiskError::Damaged { format: NAME, what: dir.to_owned(), why: why.to_owned() }
}

fn file(tree: &dyn Tree, dir: &str, name: &str) -> Result<Vec<u8>> {
    let path = format!("{dir}/{name}");
    match tree.read(&path, MAX_FILE) {
        Ok(Some(data)) => Ok(data),
        Ok(None) => Err(odd(dir, &format!("`{name}` is not there"))),
        Err(source) => Err(DiskError::Body { path, source }),
    }
}

/// The kernel of GRUB with all that it finds behind itself.
fn payload(tree: &dyn Tree, dir: &str, modules: &[&str], config: &str) -> Result<Vec<u8>> {
    let mut out = kernel(&file(tree, dir, "kernel.img")?).ok_or_else(|| odd(dir, "kernel.img is no program for it"))?;
    let mut objects = Vec::new();
    for name in order(&file(tree, dir, "moddep.lst")?, modules) {
        object(&mut objects, MODULE, file(tree, dir, &format!("{name}.mod"))?);
    }
    object(&mut objects, CONFIG, [config.as_bytes(), &[0]].concat());
    object(&mut objects, PREFIX, b"/boot/grub\0".to_vec());
    out.extend(b"mimg");
    out.extend(12u32.to_le_bytes());
    out.extend((objects.len() as u32 + 12).to_le_bytes());
    out.extend(objects);
    Ok(out)
}

fn object(out: &mut Vec<u8>, kind: u32, mut data: Vec<u8>) {
    data.resize(data.len().next_multiple_of(4), 0);
    out.extend(kind.to_le_bytes());
    out.extend((data.len() as u32 + 8).to_le_bytes());
    out.extend(data);
}

/// Modules with those they need before them.
fn order(dependencies: &[u8], wanted: &[&str]) -> Vec<String> {
    let text = String::from_utf8_lossy(dependencies);
    let needs = |name: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.split_once(':').filter(|(n, _)| n.trim() == name));
        line.map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    let mut done = Vec::new();
    let mut seen = HashSet::new();
    let mut stack: Vec<(String, bool)> = wanted.iter().rev().map(|name| ((*name).to_owned(), false)).collect();
    while let Some((name, ready)) = stack.pop() {
        if ready {
            done.push(name);
        } else if seen.insert(name.clone()) {
            let below = needs(&name);
            stack.push((name, true));
            // The last of the list first, as grub-mkimage does.
            stack.extend(below.into_iter().map(|n| (n, false)));
        }
    }
    done
}

/// The program in an ELF file, as it lies in memory: every section that has bytes, at its place.
fn kernel(elf: &[u8]) -> Option<Vec<u8>> {
    let half = |at: usize| elf.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let word = |at: usize| elf.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if !elf.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (at, size, count) = (word(32)? as usize, usize::from(half(46)?), usize::from(half(48)?));
    let mut out = Vec::new();
    for header in (0..count).map(|i| at + i * size) {
        let (kind, flags, address) = (word(header + 4)?, word(header + 8)?, u64::from(word(header + 12)?));
        let (from, len) = (word(header + 16)? as usize, word(header + 20)? as usize);
        // Memory that has no bytes in the file is made by GRUB itself.
        if flags & 2 == 0 || kind == 8 || len == 0 {
            continue;
        }
        let place = usize::try_from(address.checked_sub(LINK)?).ok().filter(|place| place + len <= 1 << 20)?;
        let bytes = elf.get(from..from.checked_add(len)?)?;
        out.resize(out.len().max(place + len), 0);
        out[place..place + len].copy_from_slice(bytes);
    }
    (!out.is_empty()).then_some(out)
}

/// As the decompressor has it built in: lc 3, lp 0, pb 2, a dictionary of 64 KiB, no header and no end mark.
fn pack(data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut options = LzmaOptions::with_preset(6);
    options.dict_size = 1 << 16;
    (options.lc, options.lp, options.pb) = (3, 0, 2);
    let mut writer = LzmaWriter::new_no_header(Vec::new(), &options, false)?;
    writer.write_all(data)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let list = b"a: b c\nb: d\nc: d\nd:\nloop: loop2\nloop2: loop\n";
        assert_eq!(order(list, &["a", "c", "x"]), ["d", "c", "b", "a", "x"]);
        assert_eq!(order(list, &["loop"]), ["loop2", "loop"]);
    }

    /// Debian's `grub-pc-bin` and `grub-common`: what Kiln makes is what grub-mkimage makes, before it is compressed.
    #[test]
    fn grub_mkimage_makes_the_same() {
        use std::io::Read;
        use std::process::Command;

        let dir = tempfile::tempdir().unwrap();
        let (config, core) = (dir.path().join("config"), dir.path().join("core"));
        std::fs::write(&config, "search.fs_uuid x root\n").unwrap();
        let modules = ["biosdisk", "part_gpt", "ext2", "normal", "linux", "search_fs_uuid"];
        let mut command = Command::new("grub-mkimage");
        command.args(["-O", "i386-pc", "-p", "/boot/grub", "-c"]).arg(&config).arg("-o").arg(&core).args(modules);
        assert!(command.status().expect("the Debian packages `grub-common` and `grub-pc-bin`").success());
        let unpack = |core: &[u8]| {
            let at = 512 + std::fs::metadata("/usr/lib/grub/i386-pc/lzma_decompress.img").unwrap().len() as usize;
            let size = u32::from_le_bytes(core[512 + 12..][..4].try_into().unwrap());
            let mut plain = Vec::new();
            let reader = lzma_rust2::LzmaReader::new(&core[at..], u64::from(size), 3, 0, 2, 1 << 16, None);
            reader.unwrap().read_to_end(&mut plain).unwrap();
            plain
        };
        let tree = super::super::DirTree::open(std::path::Path::new("/")).unwrap();
        let ours = bios(&tree, DIRECTORIES[0], &modules, "search.fs_uuid x root\n", 1 << 20).unwrap();
        let theirs = std::fs::read(&core).unwrap();
        assert!(unpack(&ours.core) == unpack(&theirs));
        assert_eq!(ours.core.len() % 512, 0);
        assert!(ours.core.len() < theirs.len() + 4096, "{} {}", ours.core.len(), theirs.len());
    }

    #[test]
    fn no_elf_makes_it_fail_badly() {
        assert_eq!(kernel(b"\x7fELF\x01\x01"), None);
        let mut elf = vec![0xff; 200];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        assert_eq!(kernel(&elf), None);
    }
}
