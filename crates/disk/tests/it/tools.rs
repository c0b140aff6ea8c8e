//! Programs that know disks as well, for their opinion. One that is missing is an error that names its package.

use std::path::Path;
use std::process::{Command, Output};

const PACKAGES: [(&str, &str); 11] = [
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("sgdisk", "gdisk"),
    ("sfdisk", "fdisk"),
    ("fsck.fat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mdir", "mtools"),
    ("tar", "tar"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
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

/// A path as the arguments of programs are.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
