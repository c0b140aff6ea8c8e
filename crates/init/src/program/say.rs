//! Words for people: by the kernel's log, whose lines come to every console whole, and in the order of the kernel's own.

use alloc::format;
use alloc::string::String;

use crate::files;
use crate::guest::place;
use crate::sys;

/// How loud something is, as the kernel counts it.
#[derive(Clone, Copy)]
pub enum Level {
    /// Always on the console.
    Always = 0,
    /// Something is wrong; shown also by a quiet kernel.
    Wrong = 2,
    /// What happens.
    Note = 6,
}

/// Says a line.
pub fn say(level: Level, text: &str) {
    // A file of its own for each line: the kernel drops what comes too fast by one.
    let line = format!("<{}>{} {text}\n", level as u8, place::MARK);
    match sys::open(c"/dev/kmsg", sys::WRITE | sys::NOCTTY, 0) {
        Ok(log) => _ = sys::write(log.0, line.as_bytes()),
        Err(_) => _ = sys::write(2, &line.as_bytes()[3..]),
    }
}

/// The end of an initramfs that cannot do what it is for: the reason, and then the kernel's own panic, which heeds
/// `panic=`.
pub fn give_up(why: &str) -> ! {
    say(Level::Always, why);
    files::settle();
    sys::exit(1)
}

/// What an error number means.
pub fn reason(number: i32) -> String {
    let known = match number {
        1 => "operation not permitted",
        2 => "no such file or directory",
        5 => "input/output error",
        6 => "no such device or address",
        7 => "the arguments are too long",
        8 => "it is no program that this kernel runs",
        12 => "out of memory",
        13 => "permission denied",
        14 => "bad address",
        16 => "it is in use",
        17 => "it is there already",
        19 => "the kernel does not have it: no such device or file system",
        20 => "not a directory",
        21 => "is a directory",
        22 => "invalid argument, or no such file system there",
        26 => "the program is being written",
        27 => "too large",
        28 => "no space left",
        30 => "read-only file system",
        40 => "too many links",
        74 => "it is damaged",
        101 => "the network has no way there",
        117 => "the file system is damaged",
        _ => return format!("error {number}"),
    };
    String::from(known)
}
