//! The life with one application: everything it needs around it, itself, and the end of the machine with its status.
//!
//! The status leaves the machine as a line of the kernel's log, `kiln-init: TOKEN exit 7`: there is always a console,
//! and not always a device that could carry a number out.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use crate::files::{self, path};
use crate::guest::application::Application;
use crate::guest::words::{CommandLine, Off};
use crate::net::{self, Lease};
use crate::say::{Level, reason, say};
use crate::sys;

const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGUSR1: u32 = 10;
const SIGUSR2: u32 = 12;
const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;
const SIGCHLD: u32 = 17;
const SIGPWR: u32 = 30;
/// Signals that the application is told of.
const TOLD: [u32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGPWR];
/// What a machine's own failure is: as `docker run` has it.
const OURS: i32 = 125;
/// How long others may take to end once the application has, in milliseconds.
const LAST_WORDS: u64 = 2_000;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Leads it to the end of the machine.
pub fn live(bytes: &[u8], line: &CommandLine) -> ! {
    let app = match Application::read(bytes) {
        Ok(app) => app,
        Err(damaged) => end(line, OURS, Some(&format!("the description of the application is damaged: {}", damaged.0))),
    };
    let watched = TOLD.iter().chain([&SIGCHLD]).fold(0, |set, signal| set | bit(*signal));
    sys::hold(watched);
    sys::reboot(sys::NO_CAD);
    furnish();
    files::load_modules();
    let mut lease = match net::bring_up(line.ip.as_deref(), &app.hostname) {
        Ok(lease) => lease,
        Err(why) => end(line, OURS, Some(&why)),
    };
    name(&app, lease.as_ref());
    files::clear_away();
    say(Level::Always, &marked(line, "begin"));
    let main = match spawn(&app) {
        Ok(main) => main,
        Err((code, why)) => end(line, code, Some(&why)),
    };
    let code = watch(main, &app, watched, &mut lease);
    stop_others();
    end(line, code, None)
}

fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

fn marked(line: &CommandLine, what: &str) -> String {
    if line.token.is_empty() { String::from(what) } else { format!("{} {what}", line.token) }
}

/// What programs expect beside what every machine has.
fn furnish() {
    use sys::{MS_NODEV, MS_NOEXEC, MS_NOSUID};
    let none = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    let _ = files::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
    let _ = files::mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    let _ = files::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", none, "");
    for (name, target) in [
        (c"/dev/fd", c"/proc/self/fd"),
        (c"/dev/stdin", c"/proc/self/fd/0"),
        (c"/dev/stdout", c"/proc/self/fd/1"),
        (c"/dev/stderr", c"/proc/self/fd/2"),
    ] {
        let _ = sys::symlink(target, name);
    }
    files::directories(b"/run", 0o755);
    if sys::mkdir(c"/tmp", 0o1777).is_ok() {
        let _ = sys::chmod(c"/tmp", 0o1777);
    }
    files::directories(b"/etc", 0o755);
}

/// The machine's name, and how names of others are found.
fn name(app: &Application, lease: Option<&Lease>) {
    let given = lease.map_or("", |l| &l.hostname);
    let name = if given.is_empty() { &*app.hostname } else { given.as_bytes() };
    if !name.is_empty() {
        let _ = sys::hostname(name);
    }
    let missing = |file: &str| files::text(file).is_empty();
    if missing("/etc/hosts") {
        let name = String::from_utf8_lossy(name);
        let text = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost\n");
        let _ = files::write("/etc/hosts", text.as_bytes(), 0o644);
    }
    if let Some(text) = lease.map(Lease::resolv_conf).filter(|t| !t.is_empty())
        && let Err(e) = files::write("/etc/resolv.conf", text.as_bytes(), 0o644)
    {
        say(Level::Wrong, &format!("cannot write /etc/resolv.conf: {}", reason(e)));
    }
}

/// Starts the application; the exit code and the reason when it cannot be.
fn spawn(app: &Application) -> Result<usize, (i32, String)> {
    let ours = |what: &str, e: i32| (OURS, format!("cannot {what}: {}", reason(e)));
    files::directories(&app.directory, 0o755);
    let (tell, told) = sys::pipe().map(|(r, w)| (w, r)).map_err(|e| ours("make a pipe", e))?;
    let child = sys::fork().map_err(|e| ours("start a process", e))?;
    if child == 0 {
        drop(told);
        let (step, error) = become_it(app);
        let _ = sys::write(tell.0, &[step, error as u8]);
        sys::exit(OURS);
    }
    drop(tell);
    let mut answer = [0; 2];
    if sys::read(&told, &mut answer) != Ok(2) {
        return Ok(child);
    }
    let error = i32::from(answer[1]);
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let program = show(app.arguments.first().map_or(&b""[..], |a| a));
    Err(match answer[0] {
        b'd' => (OURS, format!("cannot start in the directory `{}`: {}", show(&app.directory), reason(error))),
        b'u' => (OURS, format!("cannot become the user {}: {}", app.user, reason(error))),
        _ if error == sys::ENOENT => {
            let hint = "it, or the program in its first line, or its loader is not in the image";
            (127, format!("cannot run `{program}`: {}: {hint}", reason(error)))
        }
        _ => (126, format!("cannot run `{program}`: {}", reason(error))),
    })
}

/// In the new process: which step failed, and why.
fn become_it(app: &Application) -> (u8, i32) {
    sys::new_session();
    sys::terminal(0, sys::TIOCSCTTY, 1);
    let _ = sys::chown(0, app.user);
    if let Err(e) = sys::become_user(app.user, app.group, &app.groups) {
        return (b'u', e);
    }
    let directory = if app.directory.is_empty() { &b"/"[..] } else { &*app.directory };
    if let Err(e) = sys::chdir(&path(directory)) {
        return (b'd', e);
    }
    let arguments: Vec<CString> = app.arguments.iter().map(path).collect();
    let mut environment: Vec<CString> = app.environment.iter().map(path).collect();
    let search = app.environment.iter().find_map(|v| v.strip_prefix(b"PATH="));
    if search.is_none() {
        environment.push(path(format!("PATH={PATH}")));
    }
    let arguments: Vec<&CStr> = arguments.iter().map(|a| &**a).collect();
    let environment: Vec<&CStr> = environment.iter().map(|e| &**e).collect();
    sys::hold(0);
    let program = app.arguments.first().map_or(&b""[..], |a| a);
    if program.contains(&b'/') {
        return (b'x', sys::execute(&path(program), &arguments, &environment));
    }
    let mut error = sys::ENOENT;
    for dir in search.unwrap_or(PATH.as_bytes()).split(|b| *b == b':') {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        match sys::execute(&path([dir, b"/", program].concat()), &arguments, &environment) {
            sys::ENOENT | 20 => {}
            // What cannot be run may be somewhere else as well.
            e => error = e,
        }
    }
    (b'x', error)
}

/// Everything that happens until the application ends: signals, orphans, a lease that runs out. Gives its exit code.
fn watch(main: usize, app: &Application, watched: u64, lease: &mut Option<Lease>) -> i32 {
    loop {
        let wait = lease.as_ref().and_then(|l| l.renew_at).map(|at| at.saturating_sub(sys::now()));
        match sys::next_signal(watched, wait) {
            Ok(SIGCHLD) => {}
            Ok(signal) => {
                // Ctrl, alt and delete, and a power supply that ends: somebody wants the machine to stop.
                let asked = matches!(signal, SIGINT | SIGTERM | SIGPWR) && app.stop != 0;
                let _ = sys::kill(main as isize, if asked { app.stop } else { signal });
            }
            Err(sys::EAGAIN) => {
                if let Some(lease) = lease {
                    lease.renew();
                }
            }
            Err(_) => {}
        }
        while let Some((who, status)) = sys::reap() {
            if who == main {
                return match status & 0x7f {
                    0 => (status >> 8 & 0xff) as i32,
                    signal => 128 + signal as i32,
                };
            }
        }
    }
}

/// Whoever is left is asked to end, and then made to.
fn stop_others() {
    let until = sys::now() + LAST_WORDS;
    for signal in [SIGTERM, SIGKILL] {
        if sys::kill(-1, signal).is_err() {
            break;
        }
        // ESRCH: nobody is left.
        while sys::kill(-1, 0).is_ok() && sys::now() < until {
            while sys::reap().is_some() {}
            sys::sleep(5);
        }
    }
}

/// The last words, and the end of the machine.
fn end(line: &CommandLine, code: i32, why: Option<&str>) -> ! {
    if let Some(why) = why {
        say(Level::Always, why);
    }
    files::settle();
    say(Level::Always, &marked(line, &format!("exit {code}")));
    files::settle();
    let how = match line.off {
        Off::Power => sys::POWER_OFF,
        Off::Restart => sys::RESTART,
        Off::Halt => sys::HALT,
    };
    loop {
        sys::reboot(how);
        // A machine that cannot be turned off is stopped.
        sys::reboot(sys::HALT);
        sys::sleep(1000);
    }
}
