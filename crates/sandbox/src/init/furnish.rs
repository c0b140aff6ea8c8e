//! A private root directory without a single mount, as the rungs `chroot` and `emulated` have it.
//!
//! What the rung `root` mounts is put in place here by renaming: the image's own file or directory goes to a stash next
//! to the root, ours takes its place, and afterwards they change back ([`Swaps`]). The command sees the same tree, and
//! nothing of it stays.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::getpid;

use super::emulate::kill_all;
use super::mountpoints::Kind;
use super::mounts::open_source;
use super::proxy;
use super::swap::{Owning, Swaps};
use crate::job::{Job, Mount, Network, Root};
use crate::rung::Rung;
use crate::wire::{Fault, Report, Step};

/// How a rung does it.
pub struct Way {
    pub rung: Rung,
    pub owning: Owning,
    /// Makes `/dev` by this name in the stash.
    pub devices: fn(&OwnedFd, &str) -> Result<(), Fault>,
}

/// The directory that is a job's root, or what it wants and cannot have in one.
pub fn root_of(job: &Job) -> Result<&Path, Report> {
    let Root::Dir(dir) = &job.root else {
        return Err(Report::Lacks("a root of several layers; unpack them into one directory".to_owned()));
    };
    if job.network == Network::None {
        let what = "a command without network, which takes a network namespace (isolation `root`)";
        return Err(Report::Lacks(what.to_owned()));
    }
    Ok(dir)
}

/// Runs `inner` while everything is in place in `dir`, and takes it away again when all that it started is dead.
pub fn around(
    way: &Way,
    job: &Job,
    dir: &Path,
    inner: impl FnOnce() -> Result<Report, Fault>,
) -> Result<Report, Fault> {
    rustix::process::set_child_subreaper(Some(getpid())).step(|| "become the parent of orphans".to_owned())?;
    let mut swaps = Swaps::beside(dir, way.owning)?;
    let result = furnish(way, job, &mut swaps).and_then(|()| inner());
    let killed = kill_all();
    let undone = swaps.undo();
    match (result, killed.and(undone)) {
        (Ok(Report::Code(_) | Report::Signal(_)), Err(fault)) => Ok(Report::CleanUpFailed(fault)),
        (result, _) => result,
    }
}

/// Puts everything in place that the job wants in the root.
fn furnish(way: &Way, job: &Job, swaps: &mut Swaps) -> Result<(), Fault> {
    for target in ["/proc", "/sys"] {
        swaps.place_dir(Path::new(target), 0o555)?;
    }
    swaps.place_new(Path::new("/dev"), Kind::Dir, way.devices)?;
    for mount in &job.mounts {
        place(way, swaps, mount)?;
    }
    for (target, content) in job.injection.iter().flat_map(|injection| injection.files()) {
        swaps.place_file(Path::new(target), &content.0, (0o644, 0, 0), false)?;
    }
    Ok(())
}

fn place(way: &Way, swaps: &mut Swaps, mount: &Mount) -> Result<(), Fault> {
    match mount {
        Mount::Bind { source, subpath, target, readonly: true } => {
            swaps.place_copy(target, &open_source(source, subpath)?)
        }
        Mount::Bind { source, subpath, target, readonly: false } => swaps.place_original(target, source, subpath),
        Mount::Overlay { lowers, subpath, target, .. } => match lowers.as_slice() {
            [only] => swaps.place_copy(target, &open_source(only, subpath)?),
            _ => Err(Fault::new(
                format!("put {} layers at {}", lowers.len(), target.display()),
                format!("isolation `{}` can join no layers; unpack them into one directory", way.rung),
            )),
        },
        Mount::Tmpfs { target, mode, .. } => swaps.place_dir(target, *mode),
        Mount::File { target, content, mode, uid, gid } => {
            swaps.place_file(target, &content.0, (*mode, *uid, *gid), true)
        }
        Mount::Socket { source, target, mode, uid, gid } => {
            let listener = swaps.place_socket(target, *mode, (*uid, *gid))?;
            proxy::start(listener, source, || true).map(drop)
        }
    }
}
