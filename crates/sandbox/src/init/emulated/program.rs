//! Which program a path means: the interpreters of scripts, and the one that loads it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::find::HERE;
use super::image::Image;
use super::world::{Asking, Want, World, itself, kind};

/// As many interpreters of interpreters as the kernel takes.
const MAX_DEPTH: usize = 5;
/// How much of a script's first line is looked at.
const LINE: usize = 256;

/// User and group that a program runs as, where it says so.
type Becomes = (Option<u32>, Option<u32>);

/// A program that can be started.
pub struct Program {
    pub file: OwnedFd,
    pub image: Image,
    pub interpreter: Option<(OwnedFd, Image)>,
    /// What comes in place of the first argument.
    pub prefix: Vec<Vec<u8>>,
    /// The path it was executed by.
    pub path: Vec<u8>,
    /// Where it is in the root.
    pub place: Vec<u8>,
    /// Who a set-user-id or set-group-id program runs as.
    pub becomes: Becomes,
}

/// The interpreter that a script's first line names, and its argument.
fn script(head: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let (name, rest) = match line.iter().position(|byte| matches!(byte, b' ' | b'\t')) {
        Some(at) => (&line[..at], line[at..].trim_ascii()),
        None => (line, &b""[..]),
    };
    let words = [name, rest].into_iter().filter(|word| !word.is_empty());
    Some(words.map(<[u8]>::to_vec).collect())
}

impl World {
    /// What a path means to a process that wants to become it.
    pub fn program(&mut self, who: &Asking, from: i32, path: &[u8], follow: bool) -> Result<Program, Errno> {
        let found = self.find(who, from, path, follow)?;
        self.program_at(who, found, path.to_vec())
    }

    /// The same of what has been found already.
    pub fn program_at(&mut self, who: &Asking, found: OwnedFd, path: Vec<u8>) -> Result<Program, Errno> {
        let (mut found, mut words, mut name) = (found, Vec::new(), path.clone());
        for _ in 0..=MAX_DEPTH {
            let (file, becomes) = self.executable(who, &found)?;
            let mut head = [0; LINE];
            let got = file.read_at(&mut head, 0).map_err(|_| Errno::IO)?;
            let Some(mut line) = script(&head[..got]) else {
                let image = Image::read(&file)?;
                let interpreter = image.interpreter.as_deref().map(|path| self.loader(who, path)).transpose()?;
                let place = self.root.path_of(&found)?;
                return Ok(Program { file: file.into(), image, interpreter, prefix: words, path, place, becomes });
            };
            let next = line.first().cloned().ok_or(Errno::NOEXEC)?;
            found = self.find(who, HERE, &next, true)?;
            line.push(std::mem::replace(&mut name, next));
            // An interpreter that is a script itself gets what its script would have got.
            words = line.into_iter().chain(words.into_iter().skip(1)).collect();
        }
        Err(Errno::LOOP)
    }

    fn executable(&mut self, who: &Asking, found: &OwnedFd) -> Result<(File, Becomes), Errno> {
        let stat = fstat(found)?;
        if kind(&stat) != FileType::RegularFile {
            return Err(Errno::ACCESS);
        }
        let seen = self.seen(found, &stat)?;
        if seen.mode & 0o111 == 0 || seen.node.is_some() {
            return Err(Errno::ACCESS);
        }
        self.may(who, &seen, Want::EXECUTE)?;
        let user = (seen.mode & 0o4000 != 0).then_some(seen.uid);
        let group = (seen.mode & 0o2010 == 0o2010).then_some(seen.gid);
        let file = openat(CWD, itself(found), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((File::from(file), (user, group)))
    }

    fn loader(&mut self, who: &Asking, path: &[u8]) -> Result<(OwnedFd, Image), Errno> {
        let found = self.find(who, HERE, path, true)?;
        let (file, _) = self.executable(who, &found)?;
        let image = Image::read(&file).map_err(|_| Errno::from_raw_os_error(80))?;
        Ok((file.into(), image))
    }
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let words = |line: &[u8]| script(line).map(|words| words.join(&b'|'));
        assert_eq!(words(b"#!/bin/sh\nx"), Some(b"/bin/sh".to_vec()));
        assert_eq!(words(b"#! /usr/bin/env  python3 -u \nx"), Some(b"/usr/bin/env|python3 -u".to_vec()));
        assert_eq!(words(b"#!\n"), Some(Vec::new()));
        assert_eq!(words(b"\x7fELF"), None);
    }
}
