//! What only a disk has: its partition table, its loaders, the identifiers that must fit together.

use super::boot::none_of;
use crate::read::boot;
use crate::read::fstab::{self, Mount};
use crate::system::Result;
use crate::system::media::{Boots, Media, Scheme};
use crate::{Finding, Look};

/// Asks the disk, if it is one.
fn of(look: &Look<'_>, ask: impl FnOnce(&Media) -> Result<Finding>) -> Result<Finding> {
    match look.system.media() {
        Some(media) => ask(media),
        None => Ok(Finding::unknown("this is no disk: files alone do not say it")
            .hint("verify the disk that is made of it: kiln node verify node.qcow2")),
    }
}

/// The partition table is whole, in all of its copies.
pub fn table(look: &Look<'_>) -> Result<Finding> {
    of(look, |media| {
        Ok(match (media.scheme, &media.damage[..]) {
            (Scheme::None, _) => Finding::fail("there is no partition table")
                .hint("a file system alone boots nowhere: kiln build -o type=disk makes a disk"),
            (_, damage @ [_, ..]) => Finding::fail(damage.join("; ")),
            (Scheme::Gpt, _) => Finding::pass("GPT, both copies whole"),
            (Scheme::Mbr, _) => Finding::pass("MBR"),
        })
    })
}

/// UEFI finds a boot loader on its partition.
pub fn esp(look: &Look<'_>) -> Result<Finding> {
    of(look, |media| {
        Ok(match &media.uefi {
            Boots::Yes(what) => Finding::pass(what.clone()),
            Boots::No(why) => Finding::fail(why.clone()),
        })
    })
}

/// Some firmware starts it.
pub fn loader(look: &Look<'_>) -> Result<Finding> {
    of(look, |media| {
        Ok(match (&media.bios, &media.uefi) {
            (Boots::Yes(bios), Boots::Yes(uefi)) => Finding::pass(format!("BIOS: {bios}; UEFI: {uefi}")),
            (Boots::Yes(bios), Boots::No(_)) => Finding::pass(format!("BIOS: {bios}")),
            (Boots::No(_), Boots::Yes(uefi)) => Finding::pass(format!("UEFI: {uefi}")),
            (Boots::No(bios), Boots::No(uefi)) => Finding::fail(format!("BIOS: {bios}; UEFI: {uefi}")),
        })
    })
}

/// What `fstab` mounts at boot is on the disk.
pub fn mounts(look: &Look<'_>) -> Result<Finding> {
    of(look, |media| {
        let optional = |mount: &Mount| mount.options.iter().any(|option| option == "noauto" || option == "nofail");
        let absent = |mount: &Mount| !optional(mount) && matches!(media.find(&mount.device), Ok(None));
        let fails = "the machine would wait at boot for what is not on the disk";
        none_of(look, format!("what {} mounts is on the disk", fstab::PATH), fails, absent)
    })
}

/// The kernel is told to mount the root file system that is on the disk.
pub fn root(look: &Look<'_>) -> Result<Finding> {
    of(look, |media| {
        let Some(entry) = boot::default_entry(look.system)? else {
            return Ok(Finding::unknown("no boot loader's menu was found that names a kernel"));
        };
        let Some(root) = entry.command_line.split_whitespace().rev().find_map(|word| word.strip_prefix("root=")) else {
            // systemd finds the root by the type of its partition then.
            return Ok(Finding::pass("the command line leaves it to the type of the partition")
                .at(entry.place, entry.command_line));
        };
        Ok(match media.find(root) {
            Err(why) => Finding::unknown(format!("the kernel mounts `{root}`: {why}")),
            Ok(None) => Finding::fail("the kernel waits for a root file system that is not on the disk"),
            Ok(Some(volume)) if volume.number == media.root => {
                Finding::pass(format!("the kernel mounts `{root}`, which is the root file system"))
            }
            Ok(Some(volume)) => Finding::fail(format!(
                "the kernel mounts partition {}, which is not the root file system",
                volume.number.unwrap_or_default()
            )),
        }
        .at(entry.place, format!("root={root}")))
    })
}
