//! What only a disk has: each fault alone, and files without a disk.

use kiln_checks::system::Memory;
use kiln_checks::system::media::{Boots, Media, Scheme, Volume};
use kiln_checks::{Profile, Verdict, verify};

const ID: &str = "0a1b2c3d-0000-4000-8000-00000000cafe";

fn media() -> Media {
    let volume = |number, kind: &str, uuid: &str, label: &str| Volume {
        number: Some(number),
        kind: kind.to_owned(),
        uuid: Some(uuid.to_owned()),
        label: Some(label.to_owned()),
        partuuid: Some(format!("part-{number}")),
        partlabel: None,
    };
    Media {
        scheme: Scheme::Gpt,
        damage: Vec::new(),
        volumes: vec![volume(2, "vfat", "ABCD-1234", "ESP"), volume(3, "ext4", ID, "root")],
        root: Some(3),
        esp: Some(2),
        bios: Boots::No("the first sector has no program".to_owned()),
        uefi: Boots::Yes("EFI/BOOT/BOOTX64.EFI".to_owned()),
    }
}

fn files(root: &str, fstab: &str) -> Memory {
    Memory::new()
        .file("/etc/fstab", fstab)
        .file("/boot/vmlinuz-6.1.0", "kernel")
        .file("/boot/initrd.img-6.1.0", "initramfs")
        .file("/boot/loader/entries/a.conf", format!("title a\nlinux /boot/vmlinuz-6.1.0\noptions {root} quiet\n"))
}

/// The checks that do not pass, with what they say.
fn found(system: &Memory) -> Vec<String> {
    let profile = Profile::built_in("disk").unwrap();
    let report = verify(system, &[profile], &[]);
    let wrong = report.outcomes.iter().filter(|outcome| outcome.finding.verdict != Verdict::Pass);
    wrong.map(|o| format!("{} {}: {}", o.rule.id, o.finding.verdict.name(), o.finding.reason)).collect()
}

fn good() -> Memory {
    files(
        &format!("root=UUID={ID}"),
        &format!("UUID={ID} / ext4 defaults 0 1\nUUID=abcd-1234 /boot/efi vfat umask=0077 0 1\n"),
    )
}

#[test]
fn a_disk_with_one_fault_fails_one_check() {
    assert_eq!(found(&good().on(media())), Vec::<String>::new());
    let damaged = Media { damage: vec!["its copy is damaged".to_owned()], ..media() };
    assert_eq!(found(&good().on(damaged)), ["disk.table fail: its copy is damaged"]);
    let without = Media { scheme: Scheme::None, ..media() };
    assert_eq!(found(&good().on(without)), ["disk.table fail: there is no partition table"]);
    let dead = Media { uefi: Boots::No("there is no EFI system partition".to_owned()), ..media() };
    let said = found(&good().on(dead.clone()));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("disk.loader fail: BIOS: the first sector has no program; UEFI: "), "{said:?}");
    // One firmware is enough; that the other is not there is a warning.
    let bios = Media { bios: Boots::Yes("GRUB".to_owned()), ..dead };
    assert_eq!(found(&good().on(bios)), ["disk.esp fail: there is no EFI system partition"]);
}

#[test]
fn names_have_to_lead_somewhere() {
    let root = |root: &str| found(&files(root, "").on(media()));
    assert!(root("root=LABEL=root").is_empty() && root("root=PARTUUID=part-3").is_empty() && root("ro").is_empty());
    assert!(root(&format!("root=/dev/disk/by-uuid/{}", ID.to_uppercase())).is_empty());
    assert_eq!(
        root("root=LABEL=ROOT"),
        ["disk.root fail: the kernel waits for a root file system that is not on the disk"]
    );
    assert_eq!(
        root("root=LABEL=ESP"),
        ["disk.root fail: the kernel mounts partition 2, which is not the root file system"]
    );
    assert_eq!(
        root("root=/dev/vda3"),
        ["disk.root could-not-check: the kernel mounts `/dev/vda3`: it names no identifier"]
    );
    let fstab = |line: &str| found(&files("ro", line).on(media()));
    assert!(
        fstab("LABEL=data /data ext4 nofail 0 2\n").is_empty()
            && fstab("/dev/vdb /data ext4 defaults 0 2\n").is_empty()
    );
    assert!(fstab("tmpfs /tmp tmpfs defaults 0 0\nserver:/x /srv nfs defaults 0 0\n").is_empty());
    assert_eq!(
        fstab("LABEL=data /data ext4 defaults 0 2\n"),
        ["disk.fstab fail: the machine would wait at boot for what is not on the disk"]
    );
}

#[test]
fn files_alone_do_not_say_whether_a_disk_boots() {
    let said = found(&good());
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said.iter().all(|line| line.contains("could-not-check: this is no disk")), "{said:?}");
}
