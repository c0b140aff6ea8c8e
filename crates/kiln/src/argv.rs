//! What is secret on the command line is not for `ps`.
//!
//! Credentials of a cache may be among the options, as other builders take them. Everybody on the machine may read the
//! arguments of every process, so they are overwritten in the process's own memory once they have been read. The shell
//! that started it, and its history, are beyond that.

use std::ffi::OsString;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use crate::place::SECRET;

/// The signature in an address of Azure.
const SIGNATURE: &str = "sig";
/// More bytes of arguments are not looked at; Linux allows 2 MiB without special settings.
const MAX: u64 = 8 << 20;
/// Where the arguments begin and end, among the fields of `/proc/self/stat` after the name of the program.
const START: usize = 45;

/// Overwrites what is secret. `line` is what was read.
pub fn hide(line: &[OsString]) {
    if line.iter().any(|arg| !secrets(arg.as_bytes()).is_empty()) {
        // Where there is no /proc, nobody can look either.
        let _ = overwrite();
    }
}

fn overwrite() -> Option<()> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(START).map(str::parse::<u64>);
    let (start, end) = (fields.next()?.ok()?, fields.next()?.ok()?);
    let length = end.checked_sub(start).filter(|length| *length <= MAX)?;
    let memory = File::options().read(true).write(true).open("/proc/self/mem").ok()?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    memory.read_exact_at(&mut bytes, start).ok()?;
    for secret in secrets(&bytes) {
        memory.write_all_at(&vec![b'*'; secret.len()], start + secret.start as u64).ok()?;
    }
    Some(())
}

/// Where the values of secret options are.
fn secrets(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for key in SECRET.iter().chain([&SIGNATURE]) {
        let needle = format!("{key}=");
        let starts = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle.as_bytes());
        for (at, _) in starts {
            let from = at + needle.len();
            let length = bytes[from..].iter().position(|b| matches!(b, 0 | b',' | b'&'));
            found.push(from..length.map_or(bytes.len(), |length| from + length));
        }
    }
    found.extend(variables(bytes));
    found.retain(|range| !range.is_empty());
    found
}

/// Options that give a variable of a template its value. Which of them are secret only the template says.
const VARIABLE: [&[u8]; 2] = [b"-var", b"--var"];

/// Where the values of a template's variables are: `-var NAME=VALUE`, `-var=NAME=VALUE`.
fn variables(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at, mut expected) = (Vec::new(), 0, false);
    for word in bytes.split(|b| *b == 0) {
        let joined = VARIABLE.iter().find(|o| word.starts_with(o) && word.get(o.len()) == Some(&b'='));
        let start = if expected { Some(0) } else { joined.map(|o| o.len() + 1) };
        if let Some(start) = start
            && let Some(equals) = word[start..].iter().position(|b| *b == b'=')
        {
            found.push(at + start + equals + 1..at + word.len());
        }
        expected = VARIABLE.contains(&word);
        at += word.len() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_options_are_found() {
        let text = b"kiln\0--cache-to\0type=s3,secret_access_key=hunter2,bucket=b,session_token=tok\0https://a/c?sig=x&se=1\0access_key_id=\0";
        let mut found: Vec<&[u8]> = secrets(text).into_iter().map(|range| &text[range]).collect();
        found.sort_unstable();
        assert_eq!(found, [&b"hunter2"[..], b"tok", b"x"]);
        assert!(secrets(b"kiln\0build\0.").is_empty());
    }

    #[test]
    fn values_of_variables_are_found() {
        let text = b"kiln\0node\0build\0-var\0password=hunter2\0--var=key=a=b\0-var-file=x=y\0t.json\0";
        let found: Vec<&[u8]> = secrets(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, [&b"hunter2"[..], b"a=b"]);
    }
}
