//! Finding the command and becoming it, with a shell's words and codes when that fails.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::job::Job;
use crate::sys;
use crate::wire::{Fault, Step};

/// Where commands are looked for when the job has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell's code for a command that does not exist.
const NOT_FOUND: i32 = 127;

/// A shell's code for a command that exists and cannot be executed.
const NOT_EXECUTABLE: i32 = 126;

/// Becomes the command. When that fails, says why on standard error and ends with a shell's code; comes back only
/// when the job itself is malformed.
pub fn execute(job: &Job) -> Fault {
    let (argv, env) = match texts(job) {
        Ok(texts) => texts,
        Err(fault) => return fault,
    };
    let Some(name) = job.argv.first().filter(|name| !name.0.is_empty()) else {
        return Fault::new("start the command", "it is empty");
    };
    let (path, errno) = attempt(job, &name.0, &argv, &env);
    let (code, words) = explain(&name.lossy(), path.as_deref().map(|path| (path, path)), errno);
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("kiln: {words}\n").as_bytes());
    sys::exit(code)
}

/// Arguments and environment as the kernel takes them.
pub fn texts(job: &Job) -> Result<(Vec<CString>, Vec<CString>), Fault> {
    let argv = job.argv.iter().map(|argument| argument.to_c_string()).collect::<Result<Vec<_>, _>>();
    let env = job.env.iter().map(|(key, value)| CString::new([&key.0[..], b"=", &value.0].concat()));
    let env = env.collect::<Result<Vec<_>, _>>();
    Ok((
        argv.step(|| "pass the command's arguments".to_owned())?,
        env.step(|| "pass the command's environment".to_owned())?,
    ))
}

/// Where the command may be: in the directories of the job's `PATH` when it is a bare name.
pub fn candidates(job: &Job, name: &[u8]) -> Vec<PathBuf> {
    if name.contains(&b'/') {
        return vec![PathBuf::from(OsStr::from_bytes(name))];
    }
    let path = job.variable("PATH").unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        // An empty entry is the working directory, as in a shell.
        .map(|dir| {
            Path::new(if dir.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(dir) })
                .join(OsStr::from_bytes(name))
        })
        .collect()
}

/// Tries the command, directory by directory; the failure that says most comes back.
fn attempt(job: &Job, name: &[u8], argv: &[CString], env: &[CString]) -> (Option<PathBuf>, Errno) {
    let mut failure = (None, Errno::NOENT);
    for candidate in candidates(job, name) {
        let Ok(path) = CString::new(candidate.as_os_str().as_bytes()) else { continue };
        let errno = sys::execve(&path, argv, env);
        // A file that exists and still gives "not found" lacks its interpreter; that is worth telling.
        let exists = fs::symlink_metadata(&candidate).is_ok();
        match errno {
            Errno::NOENT | Errno::NOTDIR if !exists => {}
            // Another directory may have one that can be executed.
            Errno::ACCESS => failure = (Some(candidate), errno),
            _ => return (Some(candidate), errno),
        }
    }
    failure
}

/// A shell's code and words for what keeps a command from being executed. Of its path are given what it is called, and
/// where it can be looked at.
pub fn explain(name: &str, path: Option<(&Path, &Path)>, errno: Errno) -> (i32, String) {
    let Some((shown, path)) = path else {
        return (NOT_FOUND, format!("{name}: command not found"));
    };
    let shown = shown.display();
    match errno {
        Errno::NOENT | Errno::NOTDIR => match interpreter(path) {
            Some(interpreter) => (NOT_FOUND, format!("{shown}: needs `{interpreter}`, which the image does not have")),
            None => (NOT_FOUND, format!("{shown}: no such file or directory")),
        },
        Errno::ACCESS if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) => {
            (NOT_EXECUTABLE, format!("{shown}: is a directory"))
        }
        Errno::ACCESS => (NOT_EXECUTABLE, format!("{shown}: permission denied (is it executable?)")),
        Errno::NOEXEC => (NOT_EXECUTABLE, format!("{shown}: exec format error ({})", format_hint(&head(path)))),
        errno => (NOT_EXECUTABLE, format!("{shown}: {}", std::io::Error::from(errno))),
    }
}

fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(4096).read_to_end(&mut bytes);
    }
    bytes
}

fn interpreter(path: &Path) -> Option<String> {
    let head = head(path);
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        return Some(String::from_utf8_lossy(word).into_owned());
    }
    elf_interpreter(&head)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The program that loads a dynamically linked one, from the ELF header's first page (little-endian, 64 bit).
fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(number(head, 32)?)).ok()?;
    let (size, count) = (u16::from_le_bytes(number(head, 54)?), u16::from_le_bytes(number(head, 56)?));
    (0..usize::from(count)).find_map(|index| {
        let entry = head.get(table.checked_add(index * usize::from(size))?..)?;
        if u32::from_le_bytes(number(entry, 0)?) != PT_INTERP {
            return None;
        }
        let start = usize::try_from(u64::from_le_bytes(number(entry, 8)?)).ok()?;
        let length = usize::try_from(u64::from_le_bytes(number(entry, 32)?)).ok()?;
        let text = head.get(start..start.checked_add(length)?)?;
        Some(String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text)).into_owned())
    })
}

/// Why the kernel may not know the format.
fn format_hint(head: &[u8]) -> String {
    if head.is_empty() {
        return "the file is empty".to_owned();
    }
    let Some(machine) = head.starts_with(b"\x7fELF").then(|| number(head, 18)).flatten() else {
        return "a script needs a first line such as `#!/bin/sh`".to_owned();
    };
    let big_endian = head.get(5) == Some(&2);
    let machine = if big_endian { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let built_for = match machine {
        3 => "386",
        8 => "mips",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        _ => "another machine",
    };
    let here = rustix::system::uname();
    let here = here.machine().to_string_lossy();
    format!(
        "built for {built_for}, this machine is {here}; building for it here needs QEMU registered with binfmt_misc"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_architecture_the_missing_first_line_and_emptiness() {
        let mut arm = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        arm.extend_from_slice(&183u16.to_le_bytes());
        assert!(format_hint(&arm).starts_with("built for arm64, this machine is "));
        assert_eq!(format_hint(b""), "the file is empty");
        assert!(format_hint(b"echo hi").contains("#!/bin/sh"));
    }

    #[test]
    fn hostile_headers_have_no_interpreter() {
        assert_eq!(elf_interpreter(b"\x7fELF\x02\x01"), None);
        let mut head = vec![0xff; 4096];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(elf_interpreter(&head), None);
    }

    #[test]
    fn a_missing_command_is_127_and_named() {
        assert_eq!(explain("foo", None, Errno::NOENT), (127, "foo: command not found".to_owned()));
        assert_eq!(
            explain("/", Some((Path::new("/"), Path::new("/"))), Errno::ACCESS),
            (126, "/: is a directory".to_owned())
        );
    }
}
