//! Kernels: their version, configuration, headers, and what is compiled into them.

use regex::Regex;

use crate::read::kernel::{self, Chosen};
use crate::read::version;
use crate::read::vmlinuz::{self, MAX_IMAGE};
use crate::read::{boot, module};
use crate::system::Result;
use crate::{Finding, Look};

/// What to do without a kernel.
const NONE: &str = "no kernel is installed";

/// The numbers at the beginning of a release: `6.1.0` of `6.1.0-18-amd64`.
fn numbers(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].trim_end_matches('.')
}

fn with<F: FnOnce(&Chosen) -> Result<Finding>>(look: &Look<'_>, judge: F) -> Result<Finding> {
    match look.kernel()? {
        Some(chosen) => judge(chosen),
        None => Ok(Finding::fail(NONE).hint("install a kernel: linux-image-amd64 on Debian, kernel on Red Hat's")),
    }
}

/// The kernel is at least of a version.
pub(super) fn at_least(look: &Look<'_>, wanted: &str) -> Result<Finding> {
    with(look, |chosen| {
        let release = &chosen.kernel.release;
        let enough = version::debian(numbers(release), wanted).is_ge();
        Ok(Finding::when(enough, format!("the kernel is {release}")).at(chosen.place.clone(), release.clone()))
    })
}

/// The release of the kernel matches a pattern.
pub(super) fn matches(look: &Look<'_>, patterns: &[Regex]) -> Result<Finding> {
    with(look, |chosen| {
        let release = &chosen.kernel.release;
        let found = patterns.iter().any(|pattern| pattern.is_match(release));
        let reason = if found { "is one that kubeadm accepts" } else { "is none that kubeadm accepts" };
        Ok(Finding::when(found, format!("the kernel {release} {reason}")).at(chosen.place.clone(), release.clone()))
    })
}

/// The kernel was configured with one of some options.
pub(super) fn option(look: &Look<'_>, options: &[String]) -> Result<Finding> {
    with(look, |chosen| {
        let names = options.iter().map(|option| format!("CONFIG_{option}")).collect::<Vec<_>>().join(" or ");
        let Some((config, place)) = kernel::config(look.system, &chosen.kernel.release)? else {
            let release = &chosen.kernel.release;
            return Ok(Finding::unknown(format!("the configuration of the kernel {release} is nowhere to be found"))
                .hint(format!("keep it as /boot/config-{release}")));
        };
        if config.is_empty() {
            return Ok(Finding::unknown(format!("{place} has no options of a kernel in it")));
        }
        let found =
            options.iter().find_map(|option| config.get(option).map(|value| format!("CONFIG_{option}={value}")));
        Ok(match found {
            Some(line) => Finding::pass(line.clone()).at(place, line),
            None => Finding::fail(format!("{names} is not set"))
                .at(place, format!("not among its {} options", config.len())),
        })
    })
}

/// A module is loaded at boot, and, in a kernel that runs, is there.
pub(super) fn module(look: &Look<'_>, name: &str) -> Result<Finding> {
    let plain = name.replace('-', "_");
    let at_boot = look.modules()?.iter().find(|(module, _)| *module == plain);
    if look.live().is_some() {
        let loaded = module::loaded(look.system)?.unwrap_or_default();
        // What is compiled in is in no list, and has a directory only if it has parameters.
        let builtin = look.system.stat(&format!("/sys/module/{plain}"), true)?.is_some();
        if !builtin && !loaded.contains(&plain) {
            return Ok(Finding::fail(format!("the module {name} is not loaded")).hint(format!("modprobe {name}")));
        }
    }
    Ok(match at_boot {
        Some((_, place)) => Finding::pass(format!("{name} is loaded at boot")).at(place.clone(), name),
        None => match compiled_in(look, &plain)? {
            Some(place) => Finding::pass(format!("{name} is compiled in")).at(place, name),
            None => Finding::fail(format!("nothing loads the module {name} at boot"))
                .hint(format!("echo {name} > /etc/modules-load.d/{name}.conf")),
        },
    })
}

fn compiled_in(look: &Look<'_>, name: &str) -> Result<Option<String>> {
    let Some(chosen) = look.kernel()? else { return Ok(None) };
    let path = format!("/lib/modules/{}/modules.builtin", chosen.kernel.release);
    let text = crate::read::lines::text(look.system, &path)?.unwrap_or_default();
    let file = |line: &str| line.rsplit('/').next().unwrap_or("").trim_end_matches(".ko").replace('-', "_");
    Ok(text.lines().any(|line| file(line) == name).then_some(path))
}

/// Headers to build modules with are there, for exactly this kernel.
pub fn headers(look: &Look<'_>) -> Result<Finding> {
    with(look, |chosen| {
        let release = &chosen.kernel.release;
        let places = [
            format!("/lib/modules/{release}/build"),
            format!("/usr/src/linux-headers-{release}"),
            format!("/usr/src/kernels/{release}"),
        ];
        for path in &places {
            // The link of a kernel package leads nowhere when the headers are not installed.
            if look.system.stat(&format!("{path}/Makefile"), true)?.is_some() {
                return Ok(Finding::pass(format!("headers for {release} are there")).at(path.clone(), "build tree"));
            }
        }
        let mut others = Vec::new();
        for name in look.system.list("/usr/src")?.unwrap_or_default() {
            others.extend(name.strip_prefix("linux-headers-").map(str::to_owned));
        }
        others.extend(look.system.list("/usr/src/kernels")?.unwrap_or_default());
        let finding = Finding::fail(match others.is_empty() {
            true => format!("there are no headers for the kernel {release}"),
            false => format!("there are headers, and none for the kernel {release}"),
        });
        let finding = others.iter().fold(finding, |finding, other| finding.at("/usr/src", other.clone()));
        Ok(finding.hint(format!("install linux-headers-{release} (Debian) or kernel-devel-{release} (Red Hat)")))
    })
}

/// The kernel file, taken out of its image.
fn unpacked(look: &Look<'_>, chosen: &Chosen) -> Result<std::result::Result<(Vec<u8>, String), Finding>> {
    let release = &chosen.kernel.release;
    let Some(path) = &chosen.kernel.image else {
        return Ok(Err(Finding::unknown(format!("the image of the kernel {release} is not there"))));
    };
    let Some(bytes) = look.system.read(path, MAX_IMAGE)? else {
        return Ok(Err(Finding::unknown(format!("{path} is not there"))));
    };
    Ok(match vmlinuz::unpack(&bytes) {
        Ok(kernel) => Ok((kernel, path.clone())),
        Err(e) => Err(Finding::unknown(format!("{path}: {e}"))),
    })
}

/// The kernel carries descriptions of its types, which modern probes need.
pub fn btf(look: &Look<'_>) -> Result<Finding> {
    with(look, |chosen| {
        const RUNNING: &str = "/sys/kernel/btf/vmlinux";
        if look.live().is_some() {
            let there = look.system.stat(RUNNING, true)?.is_some();
            return Ok(Finding::when(there, format!("{RUNNING} is {}there", if there { "" } else { "not " })));
        }
        let config = kernel::config(look.system, &chosen.kernel.release)?;
        if let Some((config, place)) = &config
            && config.get("DEBUG_INFO_BTF").is_none()
            && !config.is_empty()
        {
            return Ok(Finding::fail("CONFIG_DEBUG_INFO_BTF is not set").at(place.clone(), "not set"));
        }
        Ok(match unpacked(look, chosen)? {
            Err(finding) => finding,
            Ok((kernel, path)) => match vmlinuz::has_section(&kernel, ".BTF") {
                Ok(true) => Finding::pass("the kernel has a section .BTF").at(path, ".BTF"),
                Ok(false) => Finding::fail("the kernel has no section .BTF").at(path, "no .BTF"),
                Err(e) => Finding::unknown(format!("{path}: {e}")),
            },
        })
    })
}

/// Tracepoints that probes cannot do without, or that older ones needed.
const TRACEPOINTS: [&str; 9] = [
    "sys_enter",
    "sys_exit",
    "sched_switch",
    "signal_deliver",
    "sched_process_exit",
    "sched_process_exec",
    "sched_process_fork",
    "page_fault_user",
    "page_fault_kernel",
];

/// The kernel has the tracepoints that probes attach to.
pub fn tracepoints(look: &Look<'_>) -> Result<Finding> {
    with(look, |chosen| {
        const EVENTS: &str = "/sys/kernel/tracing/events";
        if look.live().is_some() && look.system.list(EVENTS)?.is_some_and(|names| !names.is_empty()) {
            const GROUPS: [&str; 4] = ["raw_syscalls", "sched", "signal", "exceptions"];
            let mut names = Vec::new();
            for group in GROUPS {
                names.extend(look.system.list(&format!("{EVENTS}/{group}"))?.unwrap_or_default());
            }
            let missing: Vec<&str> = TRACEPOINTS.into_iter().filter(|name| !names.iter().any(|n| n == name)).collect();
            return Ok(told(&missing, EVENTS));
        }
        Ok(match unpacked(look, chosen)? {
            Err(finding) => finding,
            Ok((kernel, path)) => told(&vmlinuz::missing_strings(&kernel, &TRACEPOINTS), &path),
        })
    })
}

fn told(missing: &[&str], place: &str) -> Finding {
    match missing {
        [] => {
            Finding::pass(format!("all {} tracepoints are there", TRACEPOINTS.len())).at(place, TRACEPOINTS.join(" "))
        }
        _ => Finding::fail(format!("the kernel has no tracepoint {}", missing.join(", "))).at(place, "not found"),
    }
}

/// The boot loader starts the newest kernel, and it is there.
pub fn default_boot_entry(look: &Look<'_>) -> Result<Finding> {
    let installed = kernel::installed(look.system)?;
    let with_image: Vec<_> = installed.iter().filter(|kernel| kernel.image.is_some()).collect();
    let Some(newest) = with_image.last() else { return Ok(Finding::fail(NONE)) };
    let Some(entry) = boot::default_entry(look.system)? else {
        return Ok(match with_image.len() {
            1 => {
                Finding::pass(format!("{} is the only kernel, and no menu of a boot loader was found", newest.release))
            }
            n => Finding::unknown(format!("{n} kernels are installed, and no default of a boot loader was found")),
        });
    };
    let Some(release) = &entry.release else {
        return Ok(
            Finding::unknown("the default entry does not say which kernel it starts").at(entry.place, entry.title)
        );
    };
    let finding = match with_image.iter().any(|kernel| kernel.release == *release) {
        false => Finding::fail(format!("the default entry starts the kernel {release}, which is not installed")),
        true if newest.release == *release => Finding::pass(format!("{release} is started, the newest installed")),
        true => Finding::pass(format!("{release} is started; {} is installed too, and newer", newest.release)),
    };
    Ok(finding.at(entry.place, entry.title))
}
