//! Which accelerator really runs a guest.
//!
//! `/dev/kvm` being there, and opening, does not say that a kernel runs under it: in some virtual machines KVM emulates
//! guests instruction by instruction, so that they crawl or die in the middle of their boot. So the question is asked
//! by running one: a guest of a few hundred bytes ([`guest`]) that does what kernels do and tells how far it came. A
//! good accelerator takes it from start to end in some hundredths of a second.

mod guest;

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::guard::{Ended, Guarded, lock};
use crate::process::{accept, private_dir};
use crate::{Qemu, VmError};

/// CPU time a guest may use, with qemu's own start.
const CPU_LIMIT: Duration = Duration::from_millis(1000);
/// Machines for the guest, the one with the least firmware first, for firmware is most of the time. Some distributions
/// build qemu without it.
const MACHINES: [&str; 3] = ["microvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on", "q35", "pc"];
/// On a machine that is very busy.
const WALL_LIMIT: Duration = Duration::from_secs(20);

/// How instructions of a guest are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Accelerator {
    /// By the processor, through Linux.
    Kvm,
    /// By translation, in qemu itself.
    Tcg,
    /// By Xen.
    Xen,
    /// By Apple's hypervisor.
    Hvf,
    /// By Microsoft's hypervisor.
    Whpx,
    /// By NetBSD's hypervisor.
    Nvmm,
    /// Not said on qemu's command line: qemu's own default, which is translation.
    None,
}

impl Accelerator {
    /// As qemu and templates spell it.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
            Accelerator::Xen => "xen",
            Accelerator::Hvf => "hvf",
            Accelerator::Whpx => "whpx",
            Accelerator::Nvmm => "nvmm",
            Accelerator::None => "none",
        }
    }
}

impl FromStr for Accelerator {
    type Err = VmError;

    fn from_str(name: &str) -> Result<Accelerator, VmError> {
        use Accelerator::{Hvf, Kvm, None, Nvmm, Tcg, Whpx, Xen};
        let known = [Kvm, Tcg, Xen, Hvf, Whpx, Nvmm, None];
        known.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            let why = match name {
                "hax" => "qemu has no HAXM any more since 8.0; use `kvm` or `tcg`".to_owned(),
                _ => format!("{name:?} is none of kvm, tcg, xen, hvf, whpx, nvmm, none"),
            };
            VmError::option("accelerator", why)
        })
    }
}

/// The accelerator to use, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// One sentence for the user.
    pub why: String,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The guest ran to its end in that time.
    Runs(Duration),
    /// It did not, for this reason.
    Refused(String),
}

/// The accelerator for a machine: the one that is `wanted`, if any, else the first that runs a guest of KVM and
/// translation. A wanted one that does not run a guest is an error, unless `force` says to use it all the same.
///
/// # Errors
/// None runs a guest.
pub fn choose(qemu: &Qemu, wanted: Option<Accelerator>, force: bool) -> Result<Choice, VmError> {
    let foreign = foreign(qemu);
    if let Some(accelerator) = wanted {
        let probed = matches!(accelerator, Accelerator::Kvm | Accelerator::Tcg) && foreign.is_none();
        if !probed || force {
            return Ok(Choice { accelerator, why: "asked for by `accelerator`, and not probed".to_owned() });
        }
        return match probe(qemu, accelerator) {
            Verdict::Runs(time) => {
                Ok(Choice { accelerator, why: format!("asked for by `accelerator`; runs a guest ({})", millis(time)) })
            }
            Verdict::Refused(why) => Err(VmError::Accelerator { wanted: accelerator.name().to_owned(), why }),
        };
    }
    if let Some(architecture) = foreign {
        return Ok(unprobed(&architecture));
    }
    let kvm = match probe(qemu, Accelerator::Kvm) {
        Verdict::Runs(time) => {
            let why = format!("KVM runs a guest ({})", millis(time));
            return Ok(Choice { accelerator: Accelerator::Kvm, why });
        }
        Verdict::Refused(why) => why,
    };
    match probe(qemu, Accelerator::Tcg) {
        Verdict::Runs(_) => Ok(Choice { accelerator: Accelerator::Tcg, why: format!("KVM cannot be used: {kvm}") }),
        Verdict::Refused(tcg) => Err(VmError::NoAccelerator {
            program: qemu.program.clone(),
            tried: vec![format!("kvm: {kvm}"), format!("tcg: {tcg}")],
        }),
    }
}

/// The architecture of a qemu whose guests the probe's is none of.
fn foreign(qemu: &Qemu) -> Option<String> {
    let name = qemu.program.file_name()?.to_str()?;
    let architecture = name.strip_prefix("qemu-system-")?;
    (!matches!(architecture, "x86_64" | "i386")).then(|| architecture.to_owned())
}

fn unprobed(architecture: &str) -> Choice {
    let opens = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if architecture == std::env::consts::ARCH && opens {
        let why = format!("/dev/kvm opens; Kiln has no guest for {architecture} to try it with");
        return Choice { accelerator: Accelerator::Kvm, why };
    }
    let why = format!("this machine cannot run {architecture} by KVM");
    Choice { accelerator: Accelerator::Tcg, why }
}

/// Runs the guest under this accelerator. The answer is kept as long as the process lives: the machine does not change
/// under it.
pub fn probe(qemu: &Qemu, accelerator: Accelerator) -> Verdict {
    static KNOWN: OnceLock<Mutex<HashMap<(PathBuf, Accelerator), Verdict>>> = OnceLock::new();
    // Held while probing, so that builds that start together ask once.
    let mut known = lock(KNOWN.get_or_init(Mutex::default));
    let key = (qemu.program.clone(), accelerator);
    if let Some(verdict) = known.get(&key) {
        return verdict.clone();
    }
    let mut verdict = Verdict::Refused("no machine was tried".to_owned());
    for machine in MACHINES {
        verdict = run(qemu, accelerator, machine).unwrap_or_else(|e| Verdict::Refused(e.to_string()));
        if !matches!(&verdict, Verdict::Refused(why) if why.contains("unsupported machine type")) {
            break;
        }
    }
    known.insert(key, verdict.clone());
    verdict
}

fn run(qemu: &Qemu, accelerator: Accelerator, machine: &str) -> Result<Verdict, VmError> {
    if accelerator == Accelerator::Kvm
        && let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/kvm")
    {
        return Ok(Verdict::Refused(format!("/dev/kvm cannot be opened: {e}")));
    }
    let dir = private_dir(&qemu.temporary)?;
    let kernel = dir.path().join("guest");
    std::fs::write(&kernel, guest::elf()).map_err(VmError::file("write", &kernel))?;
    let socket = dir.path().join("serial");
    let listener = UnixListener::bind(&socket).map_err(VmError::file("listen on", &socket))?;
    let started = Instant::now();
    let child = Guarded::spawn(&qemu.program, &arguments(accelerator, machine, &kernel, &socket))?;
    let Some(stream) = accept(&listener, &child, WALL_LIMIT)? else {
        return Ok(Verdict::Refused(last_words(&child).unwrap_or_else(|| "qemu did not start in time".to_owned())));
    };
    let console = Console::over(stream).map_err(VmError::file("read", &socket))?;
    let ended = watch(&child, started);
    let time = started.elapsed();
    child.kill();
    // All that was said is there once the other end is closed.
    console.wait_for(&[], 0, Duration::from_secs(5));
    Ok(judge(ended, &console.text(), last_words(&child), time))
}

/// Waits for the end, or until the guest has used too much time or qemu has stopped it.
fn watch(child: &Guarded, started: Instant) -> Option<Ended> {
    loop {
        if let Some(ended) = child.wait(Duration::from_millis(20)) {
            return Some(ended);
        }
        let broken = child.said().iter().any(|l| l.contains("internal error"));
        let spent = child.cpu_time().is_some_and(|t| t > CPU_LIMIT);
        if broken || spent || started.elapsed() > WALL_LIMIT {
            return None;
        }
    }
}

fn judge(ended: Option<Ended>, said: &str, words: Option<String>, time: Duration) -> Verdict {
    let reached = guest::MEANING.iter().find(|(mark, _)| !said.contains(*mark));
    if ended == Some(Ended::Exited(guest::EXIT_STATUS)) && said.contains(guest::MARKS) {
        return Verdict::Runs(time);
    }
    let mut why = match reached {
        Some((_, what)) if said.contains('!') => format!("it computes wrongly when asked to {what}"),
        Some((_, what)) if ended.is_none() && words.is_none() => {
            format!("it opens, but does not {what} within {} of processor time", millis(CPU_LIMIT))
        }
        Some((_, what)) => format!("it does not {what}"),
        None => "its guest does not end".to_owned(),
    };
    if let Some(words) = words {
        why = format!("{why} (qemu: {words})");
    }
    Verdict::Refused(why)
}

/// The first lines of what qemu said, in one.
fn last_words(child: &Guarded) -> Option<String> {
    let said: Vec<String> =
        child.said().into_iter().filter(|l| !l.is_empty() && !l.contains("warning:")).take(2).collect();
    (!said.is_empty()).then(|| said.join(" ").chars().take(300).collect())
}

fn arguments(accelerator: Accelerator, machine: &str, kernel: &Path, serial: &Path) -> Vec<String> {
    let mut args: Vec<String> =
        ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "32M"].map(str::to_owned).into();
    args.extend(["-machine".to_owned(), format!("{machine},accel={}", accelerator.name())]);
    // A register that some qemus insist on setting, and some hosts refuse, says nothing about running guests.
    args.extend(["-cpu".to_owned(), "max,-arch-capabilities".to_owned()]);
    args.extend(["-device".to_owned(), "isa-debug-exit,iobase=0xf4,iosize=0x01".to_owned()]);
    args.extend(["-chardev".to_owned(), format!("socket,id=serial,path={}", escape(serial))]);
    args.extend(["-serial".to_owned(), "chardev:serial".to_owned()]);
    args.extend(["-kernel".to_owned(), kernel.display().to_string()]);
    args
}

/// A path as part of an option's value, where commas separate.
pub(crate) fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_say_how_far_the_guest_came() {
        let time = Duration::from_millis(30);
        let done = Some(Ended::Exited(guest::EXIT_STATUS));
        assert_eq!(judge(done, "ALCXM", None, time), Verdict::Runs(time));
        let refused = |ended, said, words: Option<&str>| match judge(ended, said, words.map(str::to_owned), time) {
            Verdict::Refused(why) => why,
            Verdict::Runs(_) => "runs".to_owned(),
        };
        insta::assert_snapshot!([
            refused(None, "ALC", None),
            refused(Some(Ended::Exited(1)), "", Some("Could not access KVM kernel module")),
            refused(None, "AL", Some("KVM internal error. Suberror: 1 emulation failure")),
            refused(Some(Ended::Exited(0x57)), "AL!", None),
            refused(Some(Ended::Exited(1)), "ALCXM", None),
        ].join("\n"), @"
        it opens, but does not run `xsave` and `xrstor`, which kernels use for every change of process within 1000 ms of processor time
        it does not start a guest (qemu: Could not access KVM kernel module)
        it does not run `lock cmpxchg16b`, which kernels use for their memory allocator (qemu: KVM internal error. Suberror: 1 emulation failure)
        it computes wrongly when asked to run `lock cmpxchg16b`, which kernels use for their memory allocator
        its guest does not end
        ");
    }

    #[test]
    fn other_architectures_are_not_probed() {
        let qemu = |name: &str| Qemu {
            program: PathBuf::from("/absent").join(name),
            version: (9, 0),
            temporary: PathBuf::new(),
        };
        assert_eq!(foreign(&qemu("qemu-system-x86_64")).or(foreign(&qemu("qemu-kvm"))), None);
        let choice = choose(&qemu("qemu-system-s390x"), None, false).unwrap();
        assert_eq!(choice.accelerator, Accelerator::Tcg);
        assert_eq!(choice.why, "this machine cannot run s390x by KVM");
        let asked = choose(&qemu("qemu-system-s390x"), Some(Accelerator::Kvm), false).unwrap();
        assert_eq!(asked.accelerator, Accelerator::Kvm);
    }

    #[test]
    fn names_are_those_of_templates() {
        assert_eq!("kvm".parse::<Accelerator>().unwrap(), Accelerator::Kvm);
        assert_eq!("none".parse::<Accelerator>().unwrap(), Accelerator::None);
        assert!("hax".parse::<Accelerator>().unwrap_err().to_string().contains("HAXM"));
        assert!("KVM".parse::<Accelerator>().is_err());
    }
}
