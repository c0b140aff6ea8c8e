//! What a command may do: capabilities, user, syscall filter, given up in the order the kernel demands.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::command::Surroundings;
use super::owners::Keeper;
use crate::job::{Job, Security};
use crate::seccomp;
use crate::sys;
use crate::wire::{Fault, Step};

/// What root has inside a container everywhere else.
pub const SANDBOX: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// What is left of [`SANDBOX`] where a root directory is all that keeps a command in: nobody may leave it by a second
/// `chroot`. Without that right a command is also less than the processes around it, which it then cannot trace.
/// `powerful`: Kiln can do more than a container, so no device control group keeps the disk's node from being opened.
fn in_chroot(powerful: bool) -> CapabilitySet {
    let kept = SANDBOX.difference(CapabilitySet::SYS_CHROOT);
    if powerful { kept.difference(CapabilitySet::MKNOD) } else { kept }
}

/// Becomes the job's user with the job's rights.
///
/// The bounding set shrinks first (that needs `CAP_SETPCAP`), the filter comes next (without no-new-privileges it needs
/// `CAP_SYS_ADMIN`, and setuid programs such as sudo have to work), then the user changes, and the rest falls away.
///
/// With one id the user is virtual, and the filter hands calls over to the `keeper`.
pub fn give_up(job: &Job, surroundings: &Surroundings, keeper: Option<&Keeper>) -> Result<(), Fault> {
    let filter = surroundings.filter;
    let sandboxed = job.security == Security::Sandbox;
    let rights = if surroundings.new_root.is_some() { in_chroot(filter) } else { SANDBOX };
    if sandboxed {
        // Older kernels, and pods, do without.
        let _ = sys::keep_to_own_processes();
        shrink_bounding_set(rights).step(|| "give up capabilities for good".to_owned())?;
    }
    let step = || "install the syscall filter".to_owned();
    let unknown = || Fault::new(step(), format!("Kiln has no table of system calls for {}", std::env::consts::ARCH));
    match keeper {
        Some(keeper) => {
            let program = seccomp::notifying(filter).ok_or_else(unknown)?;
            let listener = sys::notify::install_filter(&program).step(step)?;
            keeper.hand_over(&listener).step(|| "hand calls about owners over".to_owned())?;
        }
        None if filter => sys::install_filter(&seccomp::program().ok_or_else(unknown)?).step(step)?,
        None => {}
    }
    if keeper.is_none() {
        change_user(job).step(|| format!("become user {}:{}", job.user.uid, job.user.gid))?;
    }
    let held = capabilities(None).step(|| "read capabilities".to_owned())?;
    let kept = if sandboxed { held.permitted & rights } else { held.permitted };
    // Nothing is inheritable: programs with inheritable file capabilities would otherwise gain them for every user.
    let sets =
        CapabilitySets { effective: kept & held.effective, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).step(|| "give up capabilities".to_owned())
}

fn shrink_bounding_set(to: CapabilitySet) -> Result<(), Errno> {
    // Ambient ones outlive an exec even for ordinary users; kernels without them have none to clear.
    let _ = clear_ambient_capability_set();
    for bit in 0..63 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if to.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            // Not ours to give: a pod's process without CAP_SETPCAP keeps the set the pod has.
            Err(Errno::PERM) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn change_user(job: &Job) -> Result<(), Errno> {
    let groups: Vec<Gid> = job.user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(job.user.uid), Gid::from_raw(job.user.gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}
