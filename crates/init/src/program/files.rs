//! Small files, directories and mounts; kernel modules.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::guest::place;
use crate::say::{Level, reason, say};
use crate::sys;

/// A path for the kernel; one with a zero in it is cut there, and leads nowhere that matters.
pub fn path(text: impl AsRef<[u8]>) -> CString {
    let bytes = text.as_ref();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

/// A whole file of at most `limit` bytes.
pub fn read(name: &str, limit: usize) -> sys::Result<Vec<u8>> {
    let file = sys::open(&path(name), sys::READ, 0)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match sys::read(&file, &mut piece)? {
            0 => return Ok(bytes),
            // EFBIG
            count if bytes.len() + count > limit => return Err(27),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// A small text, without the white space around it; nothing when it is not there.
pub fn text(name: &str) -> String {
    let bytes = read(name, 64 << 10).unwrap_or_default();
    String::from(String::from_utf8_lossy(&bytes).trim())
}

/// Writes a file anew; what had the name, link or file, is replaced.
pub fn write(name: &str, bytes: &[u8], mode: usize) -> sys::Result<()> {
    let name = path(name);
    match sys::unlink(&name, false) {
        Ok(_) | Err(sys::ENOENT) => {}
        Err(e) => return Err(e),
    }
    let file = sys::open(&name, sys::WRITE | sys::CREATE | sys::TRUNCATE, mode)?;
    let mut left = bytes;
    while !left.is_empty() {
        left = &left[sys::write(file.0, left)?..];
    }
    Ok(())
}

/// A directory, with those above it.
pub fn directories(name: &[u8], mode: usize) {
    for (at, byte) in name.iter().enumerate().skip(1) {
        if *byte == b'/' {
            let _ = sys::mkdir(&path(&name[..at]), 0o755);
        }
    }
    let _ = sys::mkdir(&path(name), mode);
}

/// The names in a directory, sorted.
pub fn list(name: &str) -> Vec<String> {
    let Ok(dir) = sys::open(&path(name), sys::READ | sys::DIRECTORY, 0) else { return Vec::new() };
    let mut names = Vec::new();
    let mut room = vec![0_u8; 32 << 10];
    while let Ok(count @ 1..) = sys::entries(&dir, &mut room) {
        let mut rest = &room[..count];
        // An entry: inode, offset, its own length, kind, and the name with a zero.
        while rest.len() > 19 {
            let length = usize::from(u16::from_le_bytes([rest[16], rest[17]])).clamp(19, rest.len());
            let name = rest[19..length].split(|b| *b == 0).next().unwrap_or_default();
            if name != b"." && name != b".." {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            rest = &rest[length..];
        }
    }
    names.sort();
    names
}

/// Mounts, on a directory that is made.
pub fn mount(source: &str, target: &str, kind: &str, flags: usize, data: &str) -> sys::Result<()> {
    directories(target.as_bytes(), 0o755);
    sys::mount(&path(source), &path(target), &path(kind), flags, &path(data)).map(drop)
}

/// What everything else needs: devices, processes, the kernel's tables. Without devices there are at least a console
/// and a log.
pub fn furnish() {
    use sys::{MS_NODEV, MS_NOEXEC, MS_NOSUID};
    let none = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    let told = |what: &str, done: sys::Result<()>| {
        // EBUSY: the kernel did it.
        if let Err(e) = done
            && e != 16
        {
            say(Level::Wrong, &format!("cannot mount {what}: {}", reason(e)));
        }
    };
    let devices = mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    if devices.is_err() {
        for (name, major, minor) in
            [("null", 1, 3), ("zero", 1, 5), ("kmsg", 1, 11), ("console", 5, 1), ("urandom", 1, 9)]
        {
            let _ = sys::device(&path(format!("/dev/{name}")), major, minor);
        }
    }
    told("/dev", devices);
    told("/proc", mount("proc", "/proc", "proc", none, ""));
    told("/sys", mount("sysfs", "/sys", "sysfs", none, ""));
}

/// Loads the modules that lie beside the program, in the order of their list. A driver of hardware that is not there
/// may refuse; that is not wrong.
pub fn load_modules() {
    let listed = read(place::MODULES, 64 << 10).unwrap_or_default();
    for name in String::from_utf8_lossy(&listed).lines().filter(|l| !l.is_empty()) {
        let file = format!("{}/{name}", place::MODULE_FILES);
        let loaded = sys::open(&path(&file), sys::READ, 0).and_then(|fd| sys::load_module(&fd, c""));
        match loaded {
            // It is there already, or its hardware is not.
            Ok(_) | Err(sys::EEXIST | 19) => {}
            Err(e) => say(Level::Wrong, &format!("cannot load the kernel module {name}: {}", reason(e))),
        }
    }
}

/// Takes away what only the start needed: it lies in memory.
pub fn clear_away() {
    for name in list(place::MODULE_FILES) {
        let _ = sys::unlink(&path(format!("{}/{name}", place::MODULE_FILES)), false);
    }
    for file in [place::MODULES, place::APPLICATION, place::PROGRAM] {
        let _ = sys::unlink(&path(file), false);
    }
    for dir in [place::MODULE_FILES, place::DIRECTORY] {
        let _ = sys::unlink(&path(dir), true);
    }
}

/// Everything said has left the console, and everything written is on its disk.
pub fn settle() {
    sys::sync();
    for fd in [1, 2] {
        sys::terminal(fd, sys::TCSBRK, 1);
    }
}
