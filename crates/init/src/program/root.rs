//! The life in an initramfs: modules, the root file system, and then its own init.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use crate::files::{self, path};
use crate::guest::probe::{self, Found, Wanted};
use crate::guest::table;
use crate::guest::words::CommandLine;
use crate::say::{Level, give_up, reason, say};
use crate::sys::{self, Start};

/// How long devices may take to appear, in milliseconds, unless the command line says otherwise.
const PATIENCE: u64 = 30_000;
/// Where the root is mounted until it is the root.
const NEW: &str = "/root";
/// What is started, the first that is there.
const INITS: [&str; 5] = ["/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/etc/init", "/bin/init"];
/// File systems that are tried when the program does not know what is on the device.
const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Leads it to the end, which is another program's beginning.
pub fn live(line: &CommandLine, start: &Start) -> ! {
    files::load_modules();
    let wanted = Wanted::parse(&line.root).unwrap_or_else(|why| give_up(&why));
    sys::sleep(u64::from(line.delay.min(3600)) * 1000);
    let device = find(&wanted, line);
    say(Level::Note, &format!("the root file system is on {device}"));
    mount(&device, line);
    let init = init(line);
    hand_over();
    let arguments: Vec<&CStr> = core::iter::once(&*init).chain(start.arguments.iter().copied()).collect();
    let error = sys::execute(&init, &arguments, &start.environment);
    give_up(&format!("cannot start {}: {}", init.to_string_lossy(), reason(error)))
}

/// Waits for the device.
fn find(wanted: &Wanted, line: &CommandLine) -> String {
    let until = sys::now() + PATIENCE;
    let mut told = false;
    loop {
        let seen = devices();
        if let Some(found) = seen.iter().find(|device| is(device, wanted)) {
            return format!("/dev/{found}");
        }
        if let Some(found) = by_table(&seen, wanted) {
            return found;
        }
        if !line.patient && sys::now() >= until {
            let list = if seen.is_empty() { String::from("none") } else { describe(&seen) };
            give_up(&format!(
                "Gave up waiting for root device: root={} did not appear within {} s. Block devices: {list}",
                line.root,
                PATIENCE / 1000
            ));
        }
        if !told && sys::now() + PATIENCE - 3000 >= until {
            told = true;
            say(Level::Note, &format!("waiting for root={}", line.root));
        }
        sys::sleep(20);
    }
}

/// The block devices there are.
fn devices() -> Vec<String> {
    let mut names = files::list("/sys/class/block");
    names.retain(|name| !name.starts_with("ram"));
    names
}

fn describe(devices: &[String]) -> String {
    let one = |name: &String| match look(name) {
        Some(found) => format!("{name} ({} UUID={} LABEL={})", found.kind, found.uuid, found.label),
        None => name.clone(),
    };
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether a device is the wanted one, by its name or by what is on it.
fn is(device: &str, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Device(path) => path.strip_prefix("/dev/") == Some(device),
        Wanted::Uuid(id) => look(device).is_some_and(|found| found.uuid == *id),
        Wanted::Label(label) => look(device).is_some_and(|found| found.label == *label),
        Wanted::Partition(_) | Wanted::PartitionLabel(_) => false,
    }
}

fn look(device: &str) -> Option<Found> {
    let file = sys::open(&path(format!("/dev/{device}")), sys::READ | sys::NONBLOCK, 0).ok()?;
    probe::superblock(&mut |at, into| read_exactly(&file, at, into))
}

fn read_exactly(file: &sys::Fd, at: u64, into: &mut [u8]) -> bool {
    let mut done = 0;
    while done < into.len() {
        match sys::read_at(file, &mut into[done..], at + done as u64) {
            Ok(count @ 1..) => done += count,
            _ => return false,
        }
    }
    true
}

/// The partition that a disk's table has under the wanted identifier or name.
fn by_table(devices: &[String], wanted: &Wanted) -> Option<String> {
    let disks = devices.iter().filter(|d| files::text(&format!("/sys/class/block/{d}/partition")).is_empty());
    for disk in disks {
        let Ok(file) = sys::open(&path(format!("/dev/{disk}")), sys::READ | sys::NONBLOCK, 0) else { continue };
        let number = table::partition(&mut |at, into| read_exactly(&file, at, into), wanted);
        let Some(number) = number else { continue };
        // The kernel made it, or is about to.
        let between = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let name = format!("{disk}{between}{number}");
        if devices.contains(&name) {
            return Some(format!("/dev/{name}"));
        }
    }
    None
}

fn mount(device: &str, line: &CommandLine) {
    let name = device.trim_start_matches("/dev/");
    let known = look(name);
    let kinds: Vec<&str> = match (&known, line.kind.as_str()) {
        (_, said) if !said.is_empty() => said.split(',').collect(),
        (Some(found), _) => [found.kind].into(),
        (None, _) => KINDS.into(),
    };
    let flags = if line.writable { 0 } else { sys::MS_RDONLY };
    let mut why = String::new();
    for kind in &kinds {
        match files::mount(device, NEW, kind, flags, &line.flags) {
            Ok(()) => return,
            Err(e) => why = reason(e),
        }
    }
    let with = if line.flags.is_empty() { String::new() } else { format!(" with `{}`", line.flags) };
    give_up(&format!("cannot mount the root file system {device} as {}{with}: {why}", kinds.join(" or ")))
}

/// The init that is there, as a path in the new root.
fn init(line: &CommandLine) -> CString {
    // Looked for as it will be, from the new root: a link there may be absolute. So only its name is looked at here.
    let there = |init: &str| {
        let (dir, name) = init.rsplit_once('/').unwrap_or_default();
        let dir = format!("{NEW}{dir}");
        files::list(&dir).iter().any(|n| n == name) || sys::open(&path(format!("{NEW}{init}")), sys::READ, 0).is_ok()
    };
    if !line.init.is_empty() {
        return path(&line.init);
    }
    match INITS.into_iter().find(|init| there(init)) {
        Some(init) => path(init),
        None => give_up(&format!("the root file system has no init: none of {}", INITS.join(", "))),
    }
}

fn failed(what: &str, e: i32) -> ! {
    give_up(&format!("cannot {what} the root file system: {}", reason(e)))
}

/// The new root becomes the root, with the mounts there are; what lies in memory is taken away first.
fn hand_over() {
    files::clear_away();
    let _ = sys::unlink(c"/init", false);
    for name in ["dev", "proc", "sys"] {
        let target = path(format!("{NEW}/{name}"));
        if let Err(e) = sys::mount(&path(format!("/{name}")), &target, c"", sys::MS_MOVE, c"") {
            say(Level::Wrong, &format!("/{name} of the root file system cannot be used: {}", reason(e)));
        }
    }
    if let Err(e) = sys::chdir(&path(NEW)) {
        failed("enter", e);
    }
    if let Err(e) = sys::mount(c".", c"/", c"", sys::MS_MOVE, c"") {
        failed("move", e);
    }
    if let Err(e) = sys::chroot(c".").and_then(|_| sys::chdir(c"/")) {
        failed("change to", e);
    }
}
