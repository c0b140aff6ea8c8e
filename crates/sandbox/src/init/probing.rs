//! Finding out which rungs work here, by trying.

use std::fs;
use std::path::Path;

use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::process::{DumpableBehavior, Signal, WaitOptions, kill_process, set_dumpable_behavior, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use super::overlay::{Layers, Marks, attach, open_place};
use super::{devices, emulated};
use crate::rung::{Part, Rung, RungReport};
use crate::seccomp;
use crate::sys;
use crate::userns::{self, Ids, Standing};
use crate::wire::{self, Fault, Report, Step};

/// Tries each rung in a copy of this process; those with overlayfs also mount one with its changes in `scratch`.
pub fn rungs(scratch: Option<&Path>) -> Vec<RungReport> {
    let overlay =
        |marks| scratch.map_or(Ok(()), |dir| overlay(dir, marks)).map_err(|fault| fault.of_part(Part::Overlay));
    let in_namespace = |rung| {
        in_copy(|| {
            stand_to_try(rung).map_err(|fault| fault.of_part(Part::UserNamespace))?;
            in_copy(namespaces_inside).map_err(|fault| fault.of_part(Part::Mounts))?;
            if rung == Rung::Userns1 {
                in_copy(calls_can_be_handed_over).map_err(|fault| fault.of_part(Part::Owners))?;
            }
            overlay(Marks::User)
        })
    };
    let chroot = in_copy(try_chroot).map_err(|fault| fault.of_part(Part::PrivateRoot));
    let emulated = emulated::works().map_err(|fault| fault.of_part(Part::Following));
    let root = in_copy(try_namespaces).and_then(|()| overlay(Marks::Trusted));
    vec![
        RungReport::of(Rung::Emulated, emulated, &emulated_gives()),
        RungReport::of(Rung::Chroot, chroot, &chroot_gives(scratch)),
        RungReport::of(Rung::Userns1, in_namespace(Rung::Userns1), USERNS1_GIVES),
        RungReport::of(Rung::Userns, in_namespace(Rung::Userns), USERNS_GIVES),
        RungReport::of(Rung::Root, root, ROOT_GIVES),
    ]
}

const EMULATED_GIVES: &str = "a private root directory, with calls answered by Kiln, slower; owners are kept virtually; \
                              no namespaces, the network as it is";
const USERNS1_GIVES: &str = "a user namespace with one id, in which owners are kept virtually; mount, IPC and host name \
                             namespaces, overlayfs, a syscall filter";
const USERNS_GIVES: &str = "a user namespace with the ids of the image's users; mount, IPC and host name namespaces, \
                            overlayfs, a syscall filter";
const ROOT_GIVES: &str = "mount, process, IPC, host name and network namespaces, overlayfs, a syscall filter";

/// Enters the user namespace that the rung needs, unless this process is root of such a one already.
pub fn stand(rung: Rung) -> Result<(), Fault> {
    let here = userns::standing();
    match rung {
        Rung::Userns => {
            if !matches!(here, Standing::Many(_)) {
                userns::enter(Ids::Many)?;
            }
            userns::become_root()
        }
        Rung::Userns1 if here != Standing::One => userns::enter(Ids::One).map(drop),
        _ => Ok(()),
    }
}

/// The same, finding out first whether namespaces are forbidden, which whoever lacks ids has to know before.
fn stand_to_try(rung: Rung) -> Result<(), Fault> {
    if userns::standing() == Standing::Outside {
        in_copy(userns::unshare)?;
    }
    stand(rung)
}

/// Whether an overlay can be mounted with its changes in `dir`, and whether it notes all of them.
pub fn overlay(dir: &Path, marks: Marks) -> Result<(), Fault> {
    let name = format!(".kiln-probe-{}", std::process::id());
    let top = dir.join(name);
    let failed = || format!("overlayfs in {}", dir.display());
    let step = || format!("make a directory in {}", dir.display());
    fs::create_dir(&top).step(step)?;
    let result = ["lower", "lower/dir", "upper", "work", "merged"]
        .iter()
        .try_for_each(|name| fs::create_dir(top.join(name)))
        .step(step)
        .and_then(|()| in_copy(|| try_overlay(&top, marks)))
        .map_err(|fault| Fault { step: format!("{}: {}", failed(), fault.step), ..fault });
    let removed = fs::remove_dir_all(&top).step(|| format!("remove {}", top.display()));
    result.and(removed)
}

fn try_overlay(top: &Path, marks: Marks) -> Result<(), Fault> {
    own_mounts()?;
    Layers::open(&[top.join("lower")], &top.join("upper"), &top.join("work"), marks)?
        .mount_on(&open_place(&top.join("merged"))?)?;
    fs::write(top.join("merged/file"), "x").step(|| "write through the overlay".to_owned())?;
    // A directory made again in place of one below: what hides that one is an attribute.
    let dir = top.join("merged/dir");
    fs::remove_dir(&dir).and_then(|()| fs::create_dir(&dir)).step(|| "replace a directory".to_owned())?;
    let mut value = [0; 8];
    let noted = rustix::fs::getxattr(top.join("upper/dir"), format!("{}opaque", marks.prefix()), &mut value[..]);
    noted.map(drop).step(|| format!("find the mark `{}opaque`", marks.prefix()))
}

fn own_mounts() -> Result<(), Fault> {
    sys::unshare(UnshareFlags::NEWNS).call("unshare", "unshare(CLONE_NEWNS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).call("mount", "mount(MS_PRIVATE)")
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
    rustix::process::chroot("/").call("chroot", "chroot(2)")?;
    let missing = missing_capabilities(&NEEDED)?;
    if missing.is_empty() { Ok(()) } else { Err(Fault::new("act as root", format!("without {}", missing.join(", ")))) }
}

fn missing_capabilities(wanted: &[(CapabilitySet, &'static str)]) -> Result<Vec<&'static str>, Fault> {
    let held = capabilities(None).step(|| "read capabilities".to_owned())?.effective;
    Ok(wanted.iter().filter(|(capability, _)| !held.contains(*capability)).map(|(_, name)| *name).collect())
}

/// What the rung gives, and which of its two walls is missing.
fn emulated_gives() -> String {
    match sys::landlock() {
        Ok(_) => EMULATED_GIVES.to_owned(),
        Err(errno) => format!("{EMULATED_GIVES}; no second wall by Landlock ({})", std::io::Error::from(errno)),
    }
}

/// What the rung gives, and what is missing for all of it.
fn chroot_gives(scratch: Option<&Path>) -> String {
    let mut words = "a private root directory; no namespaces, the network as it is".to_owned();
    if let Err(fault) = scratch.map_or_else(may_make_devices, try_device) {
        words += &format!("; no devices, only a file for /dev/null ({}: {})", fault.step, fault.cause);
    }
    words
}

fn may_make_devices() -> Result<(), Fault> {
    match missing_capabilities(&[(CapabilitySet::MKNOD, "CAP_MKNOD")])?.is_empty() {
        true => Ok(()),
        false => Err(Fault::new("mknod(2)", "without CAP_MKNOD")),
    }
}

/// Makes a `/dev/null` where roots are unpacked: root of a user namespace has the right to, and may not all the same.
fn try_device(scratch: &Path) -> Result<(), Fault> {
    let dir = open_place(scratch)?;
    let name = format!(".kiln-probe-null-{}", std::process::id());
    let made = devices::make_plain_node(&dir, &name, 1, 3).call("mknod", "mknod(2)").and_then(|()| {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&dir, &*name, flags, rustix::fs::Mode::empty());
        opened.map(drop).call("openat", "open a device")
    });
    let _ = rustix::fs::unlinkat(&dir, &*name, rustix::fs::AtFlags::empty());
    made
}

fn try_namespaces() -> Result<(), Fault> {
    let here = userns::standing();
    if here != Standing::Outside {
        let which = here.rung();
        let fault = Fault::new("be root of the machine", format!("Kiln is in a user namespace: see `{which}`"));
        return Err(fault.of_part(Part::Machine));
    }
    let rest = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    sys::unshare(rest)
        .call("unshare", "unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)")
        .and_then(|()| try_mounts())
        .and_then(|()| {
            // One copy for both: a process namespace ends with its first process.
            in_copy(|| {
                devices::filesystem("proc", &[], &[], MountAttrFlags::empty())?;
                try_entering()
            })
        })
        .map_err(|fault| fault.of_part(Part::Mounts))
}

fn try_mounts() -> Result<(), Fault> {
    own_mounts()?;
    let tmpfs = devices::filesystem("tmpfs", &[], &[], MountAttrFlags::empty())?;
    sys::mount_setattr(&tmpfs, MountAttrFlags::MOUNT_ATTR_RDONLY, false).call("mount_setattr", "mount_setattr(2)")?;
    let root = open_place(Path::new("/"))?;
    let open = super::mounts::open_inside(&root, Path::new("/"), rustix::fs::OFlags::PATH);
    open.map(drop).call("openat2", "openat2(2)")
}

/// Makes an empty file system this process's root; for a process with mounts of its own.
fn try_entering() -> Result<(), Fault> {
    let tmpfs = devices::filesystem("tmpfs", &[], &[], MountAttrFlags::empty())?;
    rustix::fs::mkdirat(&tmpfs, "proc", rustix::fs::Mode::RWXU).call("mkdirat", "make a directory")?;
    attach(&tmpfs, open_place(Path::new("/proc"))?).call("move_mount", "move_mount(2)")?;
    super::mounts::become_root(&tmpfs)
}

/// What a command is given in a user namespace; for a process that is root of one.
pub fn namespaces_inside() -> Result<(), Fault> {
    let rest = UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    sys::unshare(rest)
        .call("unshare", "unshare(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)")
        .and_then(|()| try_mounts())
        .map_err(explained)?;
    in_copy(try_entering)
}

/// Whether calls can be answered by another process, with descriptors too: Linux 5.14.
pub fn handing_over_is_known() -> Result<(), Fault> {
    let step = "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)";
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(5), Some(14)) {
        return Err(Fault::new(step, format!("Linux {release} is older than 5.14")));
    }
    Ok(())
}

fn calls_can_be_handed_over() -> Result<(), Fault> {
    let step = || "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)".to_owned();
    handing_over_is_known()?;
    let program = seccomp::notifying(true).ok_or_else(|| Fault::new(step(), "not on this architecture"))?;
    try_to_read_memory()?;
    sys::notify::install_filter(&program).map(drop).call("seccomp", &step())
}

/// What the arguments of such calls point to is read out of the caller's memory: here, of a copy of this process.
fn try_to_read_memory() -> Result<(), Fault> {
    let step = "process_vm_readv(2)";
    let (ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call("pipe2", step)?;
    let word = Box::new(*b"kiln");
    match sys::fork().call("clone", step)? {
        sys::Fork::Child => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            // A command can be looked into, as programs are once they have been executed.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
            let _ = rustix::io::write(&tell, &[1]);
            loop {
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
        }
        sys::Fork::Parent(pid) => {
            drop(tell);
            let _ = rustix::io::read(&ready, &mut [0; 1]);
            let mut copy = [0; 4];
            let thread = pid.as_raw_nonzero().get().unsigned_abs();
            let read = sys::notify::read_memory(thread, word.as_ptr().expose_provenance() as u64, &mut copy);
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            read.call("process_vm_readv", step)
        }
    }
}

/// A namespace that can be entered and gives nothing is one that a security module has emptied.
fn explained(fault: Fault) -> Fault {
    match userns::setting() {
        Some(setting) => Fault { cause: format!("{}: {setting}", fault.cause), ..fault },
        None => fault,
    }
}

/// Whether a process namespace can have its own `/proc`, which the kernel refuses where parts of the one here are
/// hidden.
pub fn own_proc() -> bool {
    let tried = in_copy(|| {
        sys::unshare(UnshareFlags::NEWPID).step(|| "unshare(CLONE_NEWPID)".to_owned())?;
        in_copy(|| {
            own_mounts()?;
            devices::filesystem("proc", &[], &[], MountAttrFlags::empty()).map(drop)
        })
    });
    tried.is_ok()
}

/// Runs `work` in a copy of this process and brings its result back.
pub fn in_copy(work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
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
