//! What is needed to start: loaders, initial RAM disks, mounts, swap, control groups.

use crate::read::fstab::{self, Mount};
use crate::read::{boot, lines};
use crate::system::{Kind, Result};
use crate::{Finding, Look};

/// Swap is off, now and after the next boot.
pub fn swap(look: &Look<'_>) -> Result<Finding> {
    let mut found = fstab::swap(look.system)?;
    if look.live().is_some() {
        let text = lines::text(look.system, "/proc/swaps")?.unwrap_or_default();
        let active = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        found.extend(active.map(|device| ("/proc/swaps".to_owned(), format!("{device} is in use"))));
    }
    Ok(match found.is_empty() {
        true => Finding::pass("swap is off"),
        false => found
            .into_iter()
            .fold(Finding::fail("swap is on, or will be at the next boot"), |finding, (place, text)| {
                finding.at(place, text)
            }),
    })
}

/// Which version of control groups the next boot brings.
pub fn cgroup(look: &Look<'_>) -> Result<Finding> {
    if look.live().is_some() {
        const V2: &str = "/sys/fs/cgroup/cgroup.controllers";
        return controllers(look, V2);
    }
    let Some(entry) = boot::default_entry(look.system)? else {
        return Ok(Finding::pass("no command line of a kernel turns version 2 off"));
    };
    let old = ["systemd.unified_cgroup_hierarchy=0", "systemd.unified_cgroup_hierarchy=no", "cgroup_disable=memory"];
    let found = entry.command_line.split_whitespace().find(|word| old.contains(word));
    Ok(match found {
        Some(word) => Finding::fail("the command line of the kernel limits control groups").at(entry.place, word),
        None => Finding::pass("no command line of a kernel turns version 2 off").at(entry.place, entry.command_line),
    })
}

fn controllers(look: &Look<'_>, path: &str) -> Result<Finding> {
    let Some(text) = lines::text(look.system, path)? else {
        let Some(text) = lines::text(look.system, "/proc/cgroups")? else {
            return Ok(Finding::unknown("neither version of control groups can be seen"));
        };
        let enabled = |name: &str| {
            text.lines().any(|line| line.split_whitespace().next() == Some(name) && line.trim_end().ends_with('1'))
        };
        let wanted = ["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];
        let missing: Vec<&str> = wanted.into_iter().filter(|name| !enabled(name)).collect();
        return Ok(match missing.is_empty() {
            true => Finding::pass("control groups of version 1 have what is needed; version 1 is on its way out"),
            false => Finding::fail(format!("control groups of version 1 lack {}", missing.join(", "))),
        });
    };
    // Devices and freezing are always there in version 2.
    let missing: Vec<&str> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|name| !text.split_whitespace().any(|w| w == *name))
        .collect();
    Ok(match missing.is_empty() {
        true => Finding::pass("control groups are of version 2").at(path, text.trim()),
        false => Finding::fail(format!("control groups lack {}", missing.join(", "))).at(path, text.trim()),
    })
}

/// `fstab` names file systems by what stays the same on another machine.
pub fn fstab_names(look: &Look<'_>) -> Result<Finding> {
    const UNSTABLE: [&str; 4] = ["/dev/sd", "/dev/vd", "/dev/xvd", "/dev/nvme"];
    let unstable = |mount: &Mount| UNSTABLE.iter().any(|prefix| mount.device.starts_with(prefix));
    let passes = format!("{} names nothing by the order of disks", fstab::PATH);
    none_of(look, passes, "disks are named by the order in which they are found", unstable)
}

/// No line of `fstab` is one that is not wanted; those that are, are the evidence.
pub(super) fn none_of(
    look: &Look<'_>,
    passes: String,
    fails: &str,
    unwanted: impl Fn(&Mount) -> bool,
) -> Result<Finding> {
    let found: Vec<Mount> = fstab::of(look.system)?.into_iter().filter(unwanted).collect();
    let finding = match found.is_empty() {
        true => Finding::pass(passes),
        false => Finding::fail(fails),
    };
    let place = |mount: &Mount| lines::place(fstab::PATH, mount.line);
    Ok(found
        .iter()
        .fold(finding, |finding, mount| finding.at(place(mount), format!("{} on {}", mount.device, mount.target))))
}

/// The root file system can grow into a larger disk.
pub fn grow_root(look: &Look<'_>) -> Result<Finding> {
    for name in ["growpart", "systemd-repart"] {
        if let Some(path) = look.command(name)? {
            return Ok(Finding::pass(format!("{path} grows the partition")));
        }
    }
    Ok(Finding::fail("nothing grows the root partition on a larger disk"))
}

/// The kernel that starts has an initial RAM disk.
pub fn initramfs(look: &Look<'_>) -> Result<Finding> {
    let Some(chosen) = look.kernel()? else { return Ok(Finding::fail("no kernel is installed")) };
    let release = &chosen.kernel.release;
    let places = [
        format!("/boot/initrd.img-{release}"),
        format!("/boot/initramfs-{release}.img"),
        format!("/boot/initrd-{release}"),
        format!("/usr/lib/modules/{release}/initrd"),
        format!("/usr/lib/modules/{release}/initramfs.img"),
    ];
    for path in places {
        if let Some(stat) = look.system.stat(&path, true)? {
            return Ok(match stat.kind == Kind::File && stat.size > 0 {
                true => Finding::pass(format!("{path} has {} KiB", stat.size >> 10)),
                false => Finding::fail(format!("{path} is empty")),
            });
        }
    }
    Ok(Finding::fail(format!("there is no initial RAM disk for the kernel {release}")))
}

/// There is something that starts the kernel.
pub fn loader(look: &Look<'_>) -> Result<Finding> {
    const PLACES: [&str; 10] = [
        "/boot/grub/grub.cfg",
        "/boot/grub2/grub.cfg",
        "/boot/loader/entries",
        "/boot/efi/loader/entries",
        "/boot/efi/EFI/BOOT/BOOTX64.EFI",
        "/boot/efi/EFI/BOOT/BOOTAA64.EFI",
        "/efi/EFI/BOOT/BOOTX64.EFI",
        "/boot/extlinux/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
        "/boot/EFI/BOOT/BOOTX64.EFI",
    ];
    for path in PLACES {
        if look.system.stat(path, true)?.is_some() {
            return Ok(Finding::pass(format!("{path} is there")));
        }
    }
    Ok(Finding::fail("no boot loader has a menu or program in /boot")
        .hint("a disk that Kiln writes gets its own; otherwise install grub-pc or grub-efi-amd64"))
}
