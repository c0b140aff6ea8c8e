//! Partition tables and FAT against sgdisk, sfdisk, fsck.fat and mtools.

use std::fs::File;

use kiln_disk::fat;
use kiln_disk::part::{self, Guid, Kind, Partition, Scheme, gpt, kind};
use kiln_disk::{Window, WriteAt};
use tempfile::TempDir;

use crate::tools::{run, text};

#[test]
fn other_tools_find_no_fault_in_a_gpt() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let len = 64 << 20;
    file.zero_at(0, len).unwrap();
    let part = |number, kind, start: u64, len: u64, name: &str| Partition {
        number,
        kind: Kind::Gpt(kind),
        id: Some(Guid::derive([7; 16], name)),
        name: name.to_owned(),
        attributes: 0,
        start: start << 20,
        len: len << 20,
    };
    let parts = [
        part(1, kind::BIOS_BOOT, 1, 1, "bios"),
        part(2, kind::ESP, 2, 20, "esp"),
        part(3, kind::ROOT_X86_64, 22, 41, "root"),
    ];
    gpt::write(&mut file, len, Guid::derive([7; 16], "disk"), &parts).unwrap();
    let said = run("sgdisk", &["--verify", text(&path)]);
    assert!(said.contains("No problems found"), "{said}");
    let said = run("sfdisk", &["--verify", text(&path)]);
    assert!(said.contains("No errors detected"), "{said}");
    let said = run("sfdisk", &["-J", text(&path)]);
    assert!(said.contains("\"name\": \"root\"") && said.contains("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{said}");

    run("sgdisk", &["-c", "2:système", "-t", "3:8300", text(&path)]);
    let table = part::read(&File::open(&path).unwrap()).unwrap().unwrap();
    assert_eq!(table.partitions[1].name, "système");
    assert_eq!(table.partitions[2].kind, Kind::Gpt(kind::LINUX));
    assert_eq!(table.partitions[2].start, 22 << 20);
}

#[test]
fn an_mbr_by_sfdisk_is_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let script = dir.path().join("script");
    std::fs::write(
        &script,
        "label: dos\nlabel-id: 0x12345678\nsize=8M, type=83\nsize=50M, type=5\n5 : size=8M, type=83\n6 : size=8M, type=82\n",
    )
    .unwrap();
    run("sh", &["-c", &format!("/sbin/sfdisk -q {} < {}", text(&path), text(&script))]);
    let table = part::read(&File::open(&path).unwrap()).unwrap().unwrap();
    assert_eq!(table.scheme, Scheme::Mbr(0x1234_5678));
    let seen: Vec<_> = table.partitions.iter().map(|p| (p.number, p.kind, p.len >> 20)).collect();
    assert_eq!(seen, [(1, Kind::Mbr(0x83), 8), (5, Kind::Mbr(0x83), 8), (6, Kind::Mbr(0x82), 8)]);
}

#[test]
fn fat_is_clean_and_read_by_mtools() {
    let dir = TempDir::new().unwrap();
    for (i, len) in [1u64 << 20, 16 << 20, 64 << 20, 600 << 20, 1 << 20].into_iter().enumerate() {
        let path = dir.path().join(format!("{i}"));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.zero_at(0, len).unwrap();
        let big = b"kernel".repeat(40_000);
        let names: Vec<String> = (0..100).map(|i| format!("many/a file with number {i}")).collect();
        let mut files = vec![
            fat::File::new("EFI/BOOT/BOOTX64.EFI", &big),
            fat::File::new("loader/entries/Debian – 6.1.conf", b"x"),
            fat::File::new("meta-data", b"instance-id: x\n"),
        ];
        files.extend(names.iter().map(|n| fat::File::new(n.as_str(), n.as_bytes())));
        let options =
            fat::Options { len, label: "CIDATA".into(), serial: 0x1234_abcd, offset: 0, epoch: 1_700_000_000 };
        fat::write(&mut file, files, &options).unwrap();
        run("fsck.fat", &["-n", "-v", text(&path)]);
        let out = dir.path().join("out");
        run("mcopy", &["-n", "-o", "-i", text(&path), "::EFI/BOOT/BOOTX64.EFI", text(&out)]);
        assert!(std::fs::read(&out).unwrap() == big);
        run("mcopy", &["-n", "-o", "-i", text(&path), "::many/a file with number 77", text(&out)]);
        assert_eq!(std::fs::read(&out).unwrap(), b"many/a file with number 77");
        let said = run("mdir", &["-i", text(&path), "::"]);
        assert!(said.contains("CIDATA") && said.contains("1234-ABCD") && said.contains("2023-11-14"), "{said}");

        // And what mtools adds is read.
        run("mcopy", &["-n", "-o", "-i", text(&path), text(&out), "::many/From Outside.txt"]);
        let reader = fat::Reader::open(Window::new(File::open(&path).unwrap(), 0, len)).unwrap();
        let entries = reader.entries().unwrap();
        let one = entries.iter().find(|e| e.path == "many/From Outside.txt").unwrap();
        assert_eq!(reader.read(one, 100).unwrap(), b"many/a file with number 77");
        assert_eq!(entries.len(), 104 + 5);
    }
}
