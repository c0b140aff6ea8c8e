//! Finding out which rungs work here, by trying.

use std::fs;
use std::path::Path;

use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use super::devices;
use super::overlay::{Layers, open_place};
use crate::rung::{Rung, RungReport};
use crate::sys;
use crate::wire::{self, Fault, Report, Step};

/// Tries each rung in a copy of this process.
pub fn rungs() -> Vec<RungReport> {
    let report = |rung, result: Result<(), Fault>, gives: &str| match result {
        Ok(()) => RungReport { rung, available: true, why: gives.to_owned() },
        Err(fault) => RungReport { rung, available: false, why: format!("{}: {}", fault.step, fault.cause) },
    };
    vec![
        report(Rung::Chroot, in_copy(try_chroot), &chroot_gives()),
        report(
            Rung::Root,
            in_copy(try_namespaces),
            "mount, process, IPC, host name and network namespaces, overlayfs, a syscall filter",
        ),
    ]
}

/// Whether an overlay can be mounted with its changes in `dir`.
pub fn overlay(dir: &Path) -> Result<(), Fault> {
    let name = format!(".kiln-probe-{}", std::process::id());
    let top = dir.join(name);
    let step = || format!("make a directory in {}", dir.display());
    fs::create_dir(&top).step(step)?;
    let result = ["lower", "upper", "work", "merged"]
        .iter()
        .try_for_each(|name| fs::create_dir(top.join(name)))
        .step(step)
        .and_then(|()| in_copy(|| try_overlay(&top)));
    let removed = fs::remove_dir_all(&top).step(|| format!("remove {}", top.display()));
    result.and(removed)
}

fn try_overlay(top: &Path) -> Result<(), Fault> {
    own_mounts()?;
    Layers::open(&[top.join("lower")], &top.join("upper"), &top.join("work"))?
        .mount_on(&open_place(&top.join("merged"))?)?;
    fs::write(top.join("merged/file"), "x").step(|| "write through the overlay".to_owned())
}

fn own_mounts() -> Result<(), Fault> {
    sys::unshare(UnshareFlags::NEWNS).step(|| "unshare(CLONE_NEWNS)".to_owned())?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step(|| "mount(MS_PRIVATE)".to_owned())
}

/// What unpacking an image and becoming its users takes, besides `chroot(2)` itself.
const NEEDED: [(CapabilitySet, &str); 5] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
];

fn try_chroot() -> Result<(), Fault> {
    rustix::process::chroot("/").step(|| "chroot(2)".to_owned())?;
    let missing = missing_capabilities(&NEEDED)?;
    if missing.is_empty() { Ok(()) } else { Err(Fault::new("act as root", format!("without {}", missing.join(", ")))) }
}

fn missing_capabilities(wanted: &[(CapabilitySet, &'static str)]) -> Result<Vec<&'static str>, Fault> {
    let held = capabilities(None).step(|| "read capabilities".to_owned())?.effective;
    Ok(wanted.iter().filter(|(capability, _)| !held.contains(*capability)).map(|(_, name)| *name).collect())
}

/// What the rung gives, and what this process lacks for all of it.
fn chroot_gives() -> String {
    let mut words = "a private root directory; no namespaces, the network as it is".to_owned();
    if !missing_capabilities(&[(CapabilitySet::MKNOD, "CAP_MKNOD")]).is_ok_and(|missing| missing.is_empty()) {
        words.push_str("; without CAP_MKNOD no devices, only a file for /dev/null");
    }
    words
}

fn try_namespaces() -> Result<(), Fault> {
    let rest = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    sys::unshare(rest).step(|| "unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)".to_owned())?;
    own_mounts()?;
    let tmpfs = devices::filesystem("tmpfs", &[], &[], MountAttrFlags::empty())?;
    sys::mount_setattr(&tmpfs, MountAttrFlags::MOUNT_ATTR_RDONLY, false).step(|| "mount_setattr(2)".to_owned())?;
    let root = open_place(Path::new("/"))?;
    super::mounts::open_inside(&root, Path::new("/"), rustix::fs::OFlags::PATH).step(|| "openat2(2)".to_owned())?;
    in_copy(|| devices::filesystem("proc", &[], &[], MountAttrFlags::empty()).map(drop))
}

/// Runs `work` in a copy of this process and brings its result back.
fn in_copy(work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    let step = || "start a process to try with".to_owned();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(step)?;
    match sys::fork().step(step)? {
        sys::Fork::Child => {
            let report = work().map_or_else(Report::Failed, |()| Report::Code(0));
            let _ = wire::send(fs::File::from(write), &report);
            sys::exit(0)
        }
        sys::Fork::Parent(pid) => {
            drop(write);
            let report = wire::receive(fs::File::from(read));
            let _ = waitpid(Some(pid), WaitOptions::empty());
            match report {
                Ok(Some(Report::Code(0))) => Ok(()),
                Ok(Some(Report::Failed(fault))) => Err(fault),
                _ => Err(Fault::new(step(), "it ended without an answer")),
            }
        }
    }
}
