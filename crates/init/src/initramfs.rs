//! The initramfs that Kiln makes for a disk, and what the one of an application has beside the image's own files.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::cpio::{Archive, Meta, Special};
use crate::error::{InitError, Result};
use crate::guest::place;
use crate::modules::{self, Module, ReadFile, Wanted};

/// Drivers of what disks hang on: virtual machines of all kinds, SATA, NVMe, and the controllers of servers.
const STORAGE: &[&str] = &[
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "ahci",
    "ata_piix",
    "ata_generic",
    "xen_blkfront",
    "hv_storvsc",
    "vmw_pvscsi",
    "mptspi",
    "mptsas",
    "megaraid_sas",
    "mpt3sas",
    "hpsa",
    "smartpqi",
    "aacraid",
];
/// Buses that those are found by, and sums that file systems ask the kernel for by name.
const BESIDE: &[&str] =
    &["virtio_pci", "virtio_mmio", "hv_vmbus", "crc32c_generic", "crc32c_intel", "crc32c_cryptoapi", "crc32_generic"];

/// The drivers for a root file system on a disk.
///
/// # Errors
/// When Kiln does not know the file system.
pub fn for_root(filesystem: &str) -> Result<Wanted> {
    let needed: &'static [(&str, &[&str])] = match filesystem {
        "ext4" => &[("disks", STORAGE), ("ext4", &["ext4"])],
        "xfs" => &[("disks", STORAGE), ("xfs", &["xfs"])],
        "btrfs" => &[("disks", STORAGE), ("btrfs", &["btrfs"])],
        other => {
            let why = format!("no initramfs for roots in {other} is made");
            return Err(InitError::Entry { path: filesystem.to_owned(), why });
        }
    };
    Ok(Wanted { needed, useful: BESIDE })
}

/// The drivers for a machine with one application.
pub const APPLICATION: Wanted = Wanted {
    needed: &[],
    useful: &["virtio_pci", "virtio_mmio", "virtio_net", "virtio_rng", "af_packet", "ipv6", "unix"],
};

/// Makes the initramfs of a disk: `dir` has the modules of its kernel, `architecture` is its machine's as Rust names it.
///
/// # Errors
/// When there is no program for such machines, or the modules cannot be used.
pub fn of_disk(architecture: &str, dir: &str, filesystem: &str, read: &mut ReadFile<'_>) -> Result<Vec<u8>> {
    let modules = modules::collect(dir, &for_root(filesystem)?, read)?;
    let program = crate::program(architecture).ok_or_else(|| InitError::Architecture(architecture.to_owned()))?;
    let mut archive = Archive::new(compressed(Vec::new()));
    for dir in [&b"dev"[..], b"proc", b"sys", b"root"] {
        archive.directory(dir, Meta::mode(0o755))?;
    }
    devices(&mut archive)?;
    archive.file(b"init", Meta::mode(0o755), program.len() as u64, &mut &*program, 1)?;
    private(&mut archive, &modules)?;
    archive.finish()?.finish().map_err(InitError::Write)
}

/// What the kernel opens for its first process, and what that speaks by before it has mounted anything. `dev` is there.
///
/// # Errors
/// When writing fails.
pub fn devices<W: Write>(archive: &mut Archive<W>) -> Result<()> {
    archive.special(b"dev/console", Meta::mode(0o600), Special::Char(5, 1))?;
    archive.special(b"dev/kmsg", Meta::mode(0o600), Special::Char(1, 11))
}

/// The program's own directory, with modules and their list.
fn private<W: Write>(archive: &mut Archive<W>, modules: &[Module]) -> Result<()> {
    let file = |archive: &mut Archive<W>, path: &str, mode: u32, bytes: &[u8]| {
        let path = path.trim_start_matches('/').as_bytes();
        archive.file(path, Meta::mode(mode), bytes.len() as u64, &mut &*bytes, 1).map(drop)
    };
    for dir in [place::DIRECTORY, place::MODULE_FILES] {
        archive.directory(dir.trim_start_matches('/').as_bytes(), Meta::mode(0o700))?;
    }
    let list: String = modules.iter().flat_map(|m| [&*m.name, "\n"]).collect();
    file(archive, place::MODULES, 0o600, list.as_bytes())?;
    for module in modules {
        file(archive, &format!("{}/{}", place::MODULE_FILES, module.name), 0o600, &module.data)?;
    }
    Ok(())
}

/// What an application's machine has beside its image: the program, modules, and what is to be run.
///
/// # Errors
/// When there is no program for such machines, the application is too large, or writing fails.
pub fn beside_image<W: Write>(
    archive: &mut Archive<W>,
    architecture: &str,
    modules: &[Module],
    application: &crate::guest::application::Application,
) -> Result<()> {
    let program = crate::program(architecture).ok_or_else(|| InitError::Architecture(architecture.to_owned()))?;
    private(archive, modules)?;
    let described = application.write();
    if described.len() > place::MAX_APPLICATION {
        let why = format!("arguments and variables have more than {} bytes", place::MAX_APPLICATION);
        return Err(InitError::Entry { path: place::APPLICATION.to_owned(), why });
    }
    for (path, mode, bytes) in [(place::PROGRAM, 0o700, program), (place::APPLICATION, 0o600, &*described)] {
        let path = path.trim_start_matches('/').as_bytes();
        archive.file(path, Meta::mode(mode), bytes.len() as u64, &mut &*bytes, 1)?;
    }
    Ok(())
}

/// Compresses as every kernel can unpack it. No name and no time are in the header.
fn compressed<W: Write>(out: W) -> flate2::write::GzEncoder<W> {
    GzBuilder::new().mtime(0).write(out, Compression::new(6))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn files() -> BTreeMap<&'static str, &'static [u8]> {
        BTreeMap::from([
            ("/lib/modules/6/modules.dep", &b"kernel/virtio_blk.ko: kernel/virtio.ko\nkernel/virtio.ko:\n"[..]),
            ("/lib/modules/6/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
            ("/lib/modules/6/kernel/virtio_blk.ko", b"blk"),
            ("/lib/modules/6/kernel/virtio.ko", b"bus"),
        ])
    }

    fn make(architecture: &str, filesystem: &str) -> Result<Vec<u8>> {
        let files = files();
        let mut read = |path: &str, _: u64| Ok(files.get(path).map(|b| b.to_vec()));
        of_disk(architecture, "/lib/modules/6", filesystem, &mut read)
    }

    #[test]
    fn the_same_disk_gets_the_same_bytes() {
        let packed = make("x86_64", "ext4").unwrap();
        assert_eq!(packed, make("x86_64", "ext4").unwrap());
        let mut all = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut all).unwrap();
        let has = |text: &[u8]| all.windows(text.len()).any(|w| w == text);
        assert!(has(b"virtio.ko\nvirtio_blk.ko\n") && has(b".kiln/module/virtio_blk.ko\0") && has(b"TRAILER!!!"));
    }

    #[test]
    fn what_cannot_boot_is_not_made() {
        let why = |architecture, filesystem| make(architecture, filesystem).unwrap_err().to_string();
        assert!(why("aarch64", "ext4").contains("aarch64 machines"));
        assert!(why("x86_64", "xfs").contains("no driver for xfs"));
        assert!(why("x86_64", "zfs").contains("zfs"));
    }
}
