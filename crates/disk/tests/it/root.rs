//! Which partition has the system: by evidence, and refused with a reason where there is none.

use std::fs::{self, File};
use std::path::PathBuf;

use kiln_disk::image::Format;
use kiln_disk::part::{Guid, Kind, Partition, gpt, kind};
use kiln_disk::root::{Root, open};
use kiln_disk::{DiskError, Window, WriteAt};
use tempfile::TempDir;

use crate::ext4::tree::{Tree, options};

const MIB: u64 = 1 << 20;
const DISK: u64 = 64 * MIB;

fn id(n: u8) -> Guid {
    Guid([n; 16])
}

fn part(number: u32, kind: Guid, start: u64, len: u64) -> Partition {
    let (id, name) = (Some(id(number as u8)), format!("p{number}"));
    Partition { number, kind: Kind::Gpt(kind), id, name, attributes: 0, start: start * MIB, len: len * MIB }
}

fn system() -> Tree {
    let mut tree = Tree::default();
    tree.dir("etc").file("etc/os-release", b"ID=debian\n").link("bin", "usr/bin").dir("usr").dir("usr/bin");
    tree.file("usr/bin/sh", b"");
    tree
}

struct Disk {
    dir: TempDir,
    file: File,
    parts: Vec<Partition>,
}

impl Disk {
    fn new(parts: &[Partition]) -> Disk {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("disk");
        let mut file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(DISK).unwrap();
        if !parts.is_empty() {
            gpt::write(&mut file, DISK, id(0xee), parts).unwrap();
        }
        Disk { dir, file, parts: parts.to_vec() }
    }

    fn window(&mut self, number: u32) -> Window<&mut File> {
        let part = self.parts.iter().find(|p| p.number == number).unwrap().clone();
        part.window(&mut self.file)
    }

    fn fill(&mut self, number: u32, tree: &Tree) -> &mut Disk {
        let len = self.parts.iter().find(|p| p.number == number).unwrap().len;
        tree.write_to(self.window(number), options(len)).unwrap();
        self
    }

    fn mark(&mut self, number: u32, at: u64, mark: &[u8]) -> &mut Disk {
        self.window(number).write_at(mark, at).unwrap();
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn open(&self) -> Result<Root, DiskError> {
        let before = fs::read(self.path()).unwrap();
        let opened = open(&self.path(), None, None);
        assert!(before == fs::read(self.path()).unwrap(), "looking wrote");
        opened
    }

    fn refused(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

fn cloud() -> Vec<Partition> {
    vec![part(1, kind::LINUX, 20, 20), part(2, kind::LINUX, 40, 20), part(15, kind::ESP, 1, 8)]
}

#[test]
fn the_system_is_told_from_other_file_systems() {
    let mut disk = Disk::new(&cloud());
    let mut data = Tree::default();
    data.dir("srv").file("srv/x", b"x");
    disk.fill(1, &data).fill(2, &system());
    let root = disk.open().unwrap();
    assert_eq!((root.format, root.partition.number), (Format::Raw, 2));
    assert!(root.evidence.contains("os-release"), "{}", root.evidence);
    assert_eq!(root.fs.read(b"etc/os-release", 100).unwrap().unwrap(), b"ID=debian\n");
    // The number that is given counts.
    assert_eq!(open(&disk.path(), None, Some(1)).unwrap().partition.number, 1);
    let error = open(&disk.path(), None, Some(15)).unwrap_err().to_string();
    assert!(error.contains("partition 15 holds nothing") && error.contains("partition 2 `p2`, 20 MiB"), "{error}");
    assert!(open(&disk.path(), None, Some(7)).unwrap_err().to_string().contains("no partition 7"));
}

#[test]
fn of_two_systems_the_one_that_mounts_itself_is_the_root() {
    let mut disk = Disk::new(&cloud());
    disk.fill(1, &system()).fill(2, &system());
    let error = disk.refused();
    assert!(error.contains("more than one partition") && error.contains("partition 1 `p1`"), "{error}");
    let mut own = system();
    own.file("etc/fstab", format!("PARTUUID={} / ext4 defaults 0 1\nLABEL=x /data ext4\n", id(1)).as_bytes());
    disk.fill(1, &own);
    let root = disk.open().unwrap();
    assert_eq!(root.partition.number, 1);
    assert_eq!(root.mounts[1].target, "/data");
    // A type says less than a table of mounts, and more than nothing.
    let mut typed = Disk::new(&[part(1, kind::LINUX, 20, 20), part(2, kind::ROOT_X86_64, 40, 20)]);
    typed.fill(1, &system()).fill(2, &system());
    assert_eq!(typed.open().unwrap().partition.number, 2);
}

#[test]
fn a_disk_may_be_one_file_system() {
    let dir = TempDir::new().unwrap();
    let image = system().image(DISK);
    fs::copy(image.path(), dir.path().join("disk")).unwrap();
    let root = open(&dir.path().join("disk"), None, None).unwrap();
    assert!(root.table.is_none() && root.partition.number == 0 && root.partition.len == DISK);
}

#[test]
fn roots_that_cannot_be_read_are_named() {
    for (at, mark, says) in [
        (0, &b"LUKS\xba\xbe"[..], "it is encrypted"),
        (536, b"LVM2 001", "belongs to LVM"),
        (0, b"XFSB", "version 0 of its format"),
        (0x1_0040, b"_BHRfS_M", "the btrfs file system is damaged"),
        (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "software RAID"),
    ] {
        let mut disk = Disk::new(&cloud());
        let mut boot = Tree::default();
        boot.file("vmlinuz", b"");
        disk.fill(2, &boot).mark(1, at, mark);
        let error = disk.refused();
        assert!(error.contains(says) && error.contains("partition 1"), "{error}");
    }
    let mut disk = Disk::new(&cloud());
    disk.fill(1, &Tree::default());
    assert!(disk.refused().contains("no partition has a system"), "{}", disk.refused());
    assert!(Disk::new(&[]).refused().contains("the whole disk, 64 MiB: nothing"));
}

#[test]
fn damage_is_told() {
    let sane = || {
        let mut disk = Disk::new(&cloud());
        disk.fill(1, &system());
        disk
    };
    // The first copy of the table is gone: the backup is read. Both: there is nothing to go by.
    let mut disk = sane();
    disk.file.write_at(&[0; 512], 512).unwrap();
    let root = disk.open().unwrap();
    assert!(root.table.unwrap().repaired.is_some());
    disk.file.write_at(b"x", DISK - 500).unwrap();
    assert!(disk.refused().contains("partition table (GPT)"), "{}", disk.refused());
    // The end is missing.
    let disk = sane();
    disk.file.set_len(30 * MIB).unwrap();
    assert!(disk.refused().contains("beyond the end of the disk"), "{}", disk.refused());
    // The superblock, the descriptors, the root's inode.
    for (at, says) in
        [(1024 + 0x28, "its superblock"), (4096 + 8, "the descriptor of group 0"), (1024 + 0x62, "superblock")]
    {
        let mut disk = sane();
        disk.mark(1, at, b"\xa5");
        let error = disk.refused();
        assert!(error.contains(says) && error.contains("partition 1"), "{error}");
    }
    // A feature that cannot be read, with all sums right.
    let disk = sane();
    let offset = format!("{}?offset={}", disk.path().display(), 20 * MIB);
    crate::tools::run("debugfs", &["-w", "-R", "feature encrypt", &offset]);
    assert!(disk.refused().contains("cannot read: encrypt"), "{}", disk.refused());
}
