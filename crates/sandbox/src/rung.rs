//! How isolated a command runs, and what of it this machine can do.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::run::Init;
use crate::run::ask;
use crate::wire::{Fault, Order, Report};

/// A step of the isolation ladder, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rung {
    /// No command can run at all.
    None,
    /// For anybody, without namespaces: the command's calls are answered by Kiln, below a private root directory.
    Emulated,
    /// `chroot(2)` by a pod's root: a private root directory, no namespaces.
    Chroot,
    /// A user namespace with one id, for anybody: namespaces, overlayfs, syscall filter; owners are kept virtually.
    Userns1,
    /// A user namespace with the ids of the image's users: subordinate ids, or a pod with a namespace of its own.
    Userns,
    /// Root of a host, VM or privileged container: namespaces, overlayfs, limits, syscall filter. Linux 5.12 or newer.
    Root,
}

impl Rung {
    /// All of them, weakest first.
    pub const ALL: [Rung; 6] = [Rung::None, Rung::Emulated, Rung::Chroot, Rung::Userns1, Rung::Userns, Rung::Root];

    /// Whether a command's root is joined from layers by overlayfs.
    #[must_use]
    pub fn has_overlay(self) -> bool {
        matches!(self, Rung::Userns1 | Rung::Userns | Rung::Root)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::None => "none",
            Rung::Emulated => "emulated",
            Rung::Chroot => "chroot",
            Rung::Userns1 => "userns1",
            Rung::Userns => "userns",
            Rung::Root => "root",
        })
    }
}

impl std::str::FromStr for Rung {
    type Err = String;

    fn from_str(name: &str) -> Result<Rung, String> {
        match name {
            "none" => Ok(Rung::None),
            "emulated" => Ok(Rung::Emulated),
            "chroot" => Ok(Rung::Chroot),
            "userns1" => Ok(Rung::Userns1),
            "userns" => Ok(Rung::Userns),
            "root" => Ok(Rung::Root),
            other => {
                Err(format!("no isolation is called `{other}`: use none, emulated, chroot, userns1, userns or root"))
            }
        }
    }
}

/// Whether one rung works here, and why (not).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungReport {
    /// Which rung.
    pub rung: Rung,
    /// Whether it works.
    pub available: bool,
    /// The call that failed and how, or what the rung gives.
    pub why: String,
    /// Where it fails: what it lacks.
    pub part: Option<Part>,
    /// The system call that failed.
    pub call: Option<String>,
    /// The number of its error.
    pub errno: Option<i32>,
}

/// What a rung consists of, and may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// `chroot(2)`, and the rights of root to files and users.
    PrivateRoot,
    /// Root of the machine, not of a user namespace.
    Machine,
    /// A user namespace, with the ids the rung needs.
    UserNamespace,
    /// The other namespaces, and mounts in them.
    Mounts,
    /// Following the command and answering its calls.
    Following,
    /// Calls about owners, answered by a process of Kiln's.
    Owners,
    /// An overlay whose changes lie in the store.
    Overlay,
}

impl RungReport {
    fn works(rung: Rung, gives: &str) -> RungReport {
        RungReport { rung, available: true, why: gives.to_owned(), part: None, call: None, errno: None }
    }

    fn fails(rung: Rung, why: &str) -> RungReport {
        RungReport { available: false, ..RungReport::works(rung, why) }
    }

    pub(crate) fn of(rung: Rung, result: Result<(), Fault>, gives: &str) -> RungReport {
        match result {
            Ok(()) => RungReport::works(rung, gives),
            Err(fault) => RungReport {
                part: fault.part,
                call: fault.call,
                errno: fault.errno,
                ..RungReport::fails(rung, &format!("{}: {}", fault.step, fault.cause))
            },
        }
    }
}

/// Tries every rung with this program as its own init (see [`init_main_if_called`](crate::init_main_if_called)).
#[must_use]
pub fn probe() -> Vec<RungReport> {
    probe_with(&Init::default())
}

/// Tries every rung in a process of its own and says what happened, weakest rung first.
#[must_use]
pub fn probe_with(init: &Init) -> Vec<RungReport> {
    reports(init, None)
}

/// The same with changes of overlays in `scratch`, a directory that is left as it was.
#[must_use]
pub fn probe_in(scratch: &Path, init: &Init) -> Vec<RungReport> {
    reports(init, Some(scratch))
}

fn reports(init: &Init, scratch: Option<&Path>) -> Vec<RungReport> {
    let mut reports = vec![RungReport::works(Rung::None, "no command can run; images without RUN can be built")];
    match ask(init, &Order::Probe(scratch.map(Path::to_owned))) {
        Ok(Report::Rungs(found)) => reports.extend(found),
        Ok(other) => reports.extend(unavailable(&format!("unexpected answer {other:?}"))),
        Err(error) => reports.extend(unavailable(&error.to_string())),
    }
    reports
}

fn unavailable(why: &str) -> Vec<RungReport> {
    Rung::ALL[1..].iter().map(|rung| RungReport::fails(*rung, why)).collect()
}

/// The strongest rung that works; [`Rung::None`] when nothing else does.
#[must_use]
pub fn strongest(reports: &[RungReport]) -> Rung {
    reports.iter().filter(|report| report.available).map(|report| report.rung).max().unwrap_or(Rung::None)
}

/// Whether overlayfs works with its changes below `dir` (an existing directory, left as it was).
///
/// # Errors
/// The reason why not: the rung `root` then needs [`Root::Dir`](crate::Root::Dir), or another directory.
pub fn probe_overlay(dir: &Path, init: &Init) -> Result<(), String> {
    match ask(init, &Order::ProbeOverlay(dir.to_owned())) {
        Ok(Report::Code(0)) => Ok(()),
        Ok(Report::Failed(fault)) => Err(format!("{}: {}", fault.step, fault.cause)),
        Ok(other) => Err(format!("unexpected answer {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether an image can be a layer of [`Root::Overlay`](crate::Root::Overlay) here, tried with `image` over the directory
/// `dir`: Linux 6.15 with EROFS. Nothing is mounted anywhere.
///
/// # Errors
/// The reason why not: layers then have to be directories.
pub fn probe_image(image: &Path, dir: &Path) -> Result<(), String> {
    crate::init::try_image(image, dir).map_err(|fault| format!("{}: {}", fault.step, fault.cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_available_rung_wins() {
        let report = |rung, available| RungReport { available, ..RungReport::works(rung, "") };
        assert_eq!(
            strongest(&[report(Rung::Root, false), report(Rung::Chroot, true), report(Rung::None, true)]),
            Rung::Chroot
        );
        assert_eq!(strongest(&[]), Rung::None);
    }

    #[test]
    fn names_go_both_ways() {
        for rung in Rung::ALL {
            assert_eq!(rung.to_string().parse(), Ok(rung));
        }
        assert!("userns9".parse::<Rung>().is_err());
    }
}
