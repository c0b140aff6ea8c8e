//! Programs that know disks as well, for their opinion. One that is missing is an error that names its package.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PACKAGES: [(&str, &str); 19] = [
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("sgdisk", "gdisk"),
    ("sfdisk", "fdisk"),
    ("fsck.fat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mdir", "mtools"),
    ("tar", "tar"),
    ("btrfs", "btrfs-progs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("e2fsck", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("mke2fs", "e2fsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("xfs_repair", "xfsprogs"),
    ("xfs_db", "xfsprogs"),
    ("xfs_admin", "xfsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("grub-fstest", "grub-common"),
];

/// Runs a program and gives what it said.
pub fn try_run(program: &str, args: &[&str]) -> Output {
    let package = PACKAGES.iter().find(|(p, _)| *p == program).map_or(program, |(_, package)| package);
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("env").arg(format!("PATH={path}")).arg(program).args(args).output().unwrap();
    assert_ne!(output.status.code(), Some(127), "`{program}` is missing; the Debian package `{package}` has it");
    output
}

/// Runs a program that has to succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = try_run(program, args);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

/// A file that a package brings.
pub fn file(pattern: &str, package: &str) -> PathBuf {
    let (dir, name) = pattern.rsplit_once('/').unwrap();
    let (start, end) = name.split_once('*').unwrap_or((name, ""));
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|p| p.file_name().is_some_and(|n| n.to_str().is_some_and(|n| n.starts_with(start) && n.ends_with(end))))
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("`{pattern}` is missing; the Debian package `{package}` has it"))
}

/// A path as the arguments of programs are.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
