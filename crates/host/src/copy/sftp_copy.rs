//! Copies by SFTP, with many requests under way at once.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::sftp::{Answer, Attributes, FOR_READING, FOR_WRITING, NEW, OpenFile, Refusal, Reply, Sftp, WINDOW};
use super::tree::{ENTRIES, FOREIGN, Sink, Step, Walk};
use super::{CHUNK, Put, RemotePath, Source};
use crate::HostError;
use crate::ssh::session::Connection;

const DEFAULT_MODE: u32 = 0o644;

/// Writes one file.
pub(crate) async fn put(
    connection: &Connection,
    source: Source<'_>,
    to: &RemotePath,
    how: &Put,
) -> Result<(), HostError> {
    let mut sftp = Sftp::start(connection).await?;
    put_one(&mut sftp, source, to, how).await
}

async fn put_one(sftp: &mut Sftp, source: Source<'_>, to: &RemotePath, how: &Put) -> Result<(), HostError> {
    let mode = how.mode.unwrap_or(DEFAULT_MODE);
    if !how.atomic {
        return write_file(sftp, source, to, FOR_WRITING, mode, false).await;
    }
    let beside = to.beside();
    let written = write_file(sftp, source, &beside, NEW, mode, true).await;
    let renamed = match written {
        Ok(()) => {
            let answer = sftp.replace(&beside, to).await;
            granted(sftp, "rename a file to", to, answer).await
        }
        Err(error) => Err(error),
    };
    if renamed.is_err() {
        // What it failed with matters more.
        let _ = sftp.remove(&beside).await;
    }
    renamed
}

async fn write_file(
    sftp: &mut Sftp,
    mut source: Source<'_>,
    to: &RemotePath,
    flags: u32,
    mode: u32,
    sync: bool,
) -> Result<(), HostError> {
    let answer = sftp.open(to, flags, mode).await;
    let file = granted(sftp, "write", to, answer).await?;
    let written = write_bytes(sftp, &file, &mut source, to).await;
    let result = match written {
        Ok(()) => finish_file(sftp, &file, source.length, to, mode, sync).await,
        Err(error) => Err(error),
    };
    if matches!(result, Err(HostError::Disconnected { .. } | HostError::Protocol { .. })) {
        return result;
    }
    let closed = sftp.close(&file).await;
    result?;
    granted(sftp, "write", to, closed).await
}

async fn write_bytes(
    sftp: &mut Sftp,
    file: &OpenFile,
    source: &mut Source<'_>,
    to: &RemotePath,
) -> Result<(), HostError> {
    let mut buffer = vec![0_u8; CHUNK];
    let (mut at, mut under_way) = (0, 0);
    let mut failed: Option<HostError> = None;
    while under_way > 0 || (at < source.length && failed.is_none()) {
        if at < source.length && under_way < WINDOW && failed.is_none() {
            match source.fill(&mut buffer, source.length - at) {
                Ok(n) => {
                    sftp.ask_write(file, at, buffer.get(..n).unwrap_or_default()).await?;
                    at += n as u64;
                    under_way += 1;
                }
                Err(error) => failed = Some(error),
            }
            continue;
        }
        let reply = sftp.reply().await?;
        under_way -= 1;
        if let Err(refusal) = sftp.done(reply)?
            && failed.is_none()
        {
            failed = Some(HostError::Remote {
                what: "write",
                path: to.shown(),
                host: sftp.host().to_owned(),
                why: refusal.text(),
            });
        }
    }
    match failed {
        None => Ok(()),
        Some(HostError::Remote { what, path, host, why }) => {
            let why = explained(sftp, to, why).await;
            Err(HostError::Remote { what, path, host, why })
        }
        Some(error) => Err(error),
    }
}

async fn finish_file(
    sftp: &mut Sftp,
    file: &OpenFile,
    length: u64,
    to: &RemotePath,
    mode: u32,
    sync: bool,
) -> Result<(), HostError> {
    // The mode given when it was made had the server's umask taken off, or the file was there before.
    let answer = sftp.set_mode_of(file, mode).await;
    granted(sftp, "set the mode of", to, answer).await?;
    if sync {
        let answer = sftp.sync(file).await;
        granted(sftp, "write", to, answer).await?;
    }
    let answer = sftp.fstat(file).await;
    let attributes = granted(sftp, "look at", to, answer).await?;
    match attributes.size {
        // What is no file, as /dev/null, has no length.
        Some(found) if found != length && attributes.is_file() => {
            Err(HostError::Length { path: to.shown(), host: sftp.host().to_owned(), expected: length, found })
        }
        _ => Ok(()),
    }
}

/// An answer, or an error that says what was refused.
async fn granted<T>(sftp: &mut Sftp, what: &'static str, path: &RemotePath, answer: Answer<T>) -> Result<T, HostError> {
    match answer? {
        Ok(value) => Ok(value),
        Err(refusal) => {
            let text = refusal.text();
            let why = if what == "write" { explained(sftp, path, text).await } else { text };
            Err(HostError::Remote { what, path: path.shown(), host: sftp.host().to_owned(), why })
        }
    }
}

/// Servers only say "Failure" when a disk is full; so it is asked how full it is.
async fn explained(sftp: &mut Sftp, path: &RemotePath, why: String) -> String {
    let name = path.name().unwrap_or_default();
    let directory = path.0.get(..path.0.len() - name.len()).unwrap_or_default();
    let directory = RemotePath(if directory.is_empty() { b".".to_vec() } else { directory.to_vec() });
    match sftp.free(&directory).await {
        Ok(Ok(Some(free))) if free < CHUNK as u64 => format!("the disk there is full ({free} bytes left)"),
        _ => why,
    }
}

/// Reads one file; returns its permission bits.
pub(crate) async fn get(
    connection: &Connection,
    from: &RemotePath,
    into: &mut (dyn Write + Send),
) -> Result<u32, HostError> {
    let mut sftp = Sftp::start(connection).await?;
    get_one(&mut sftp, from, into).await
}

async fn get_one(sftp: &mut Sftp, from: &RemotePath, into: &mut (dyn Write + Send)) -> Result<u32, HostError> {
    let answer = sftp.open(from, FOR_READING, 0).await;
    let file = granted(sftp, "read", from, answer).await?;
    let answer = sftp.fstat(&file).await;
    let attributes = granted(sftp, "look at", from, answer).await?;
    if attributes.is_directory() {
        let why = "it is a directory".to_owned();
        return Err(HostError::Remote { what: "read", path: from.shown(), host: sftp.host().to_owned(), why });
    }
    let found = read_bytes(sftp, &file, from, into).await?;
    // Files of the kernel say that they are empty.
    if let Some(expected @ 1..) = attributes.size
        && attributes.is_file()
        && found != expected
    {
        return Err(HostError::Length { path: from.shown(), host: sftp.host().to_owned(), expected, found });
    }
    let answer = sftp.close(&file).await;
    granted(sftp, "close", from, answer).await?;
    into.flush().map_err(|source| crate::ssh::exec::stream(sftp.host(), "file", source))?;
    Ok(attributes.permissions().unwrap_or(DEFAULT_MODE))
}

/// Answers come in any order; bytes are passed on in theirs.
async fn read_bytes(
    sftp: &mut Sftp,
    file: &OpenFile,
    from: &RemotePath,
    into: &mut (dyn Write + Send),
) -> Result<u64, HostError> {
    let chunk = CHUNK as u32;
    let mut asked: VecDeque<(u32, u64, u32)> = VecDeque::new();
    let mut early: HashMap<u32, Reply> = HashMap::new();
    let (mut next, mut total, mut ended) = (0_u64, 0_u64, false);
    loop {
        // One at first: most files are small.
        let ahead = if total == 0 { 2 } else { WINDOW };
        while !ended && asked.len() < ahead {
            asked.push_back((sftp.ask_read(file, next, chunk).await?, next, chunk));
            next += u64::from(chunk);
        }
        let Some((id, at, length)) = asked.pop_front() else { return Ok(total) };
        let reply = loop {
            if let Some(reply) = early.remove(&id) {
                break reply;
            }
            let reply = sftp.reply().await?;
            if reply.id == id {
                break reply;
            }
            if !asked.iter().any(|(other, ..)| *other == reply.id) {
                return Err(sftp.broken("an answer to nothing that was asked"));
            }
            early.insert(reply.id, reply);
        };
        match sftp.bytes(reply)? {
            Ok(bytes) if bytes.is_empty() || bytes.len() > length as usize => {
                return Err(sftp.broken("another number of bytes than was asked for"));
            }
            Ok(_) if ended => {}
            Ok(bytes) => {
                into.write_all(&bytes).map_err(|source| crate::ssh::exec::stream(sftp.host(), "file", source))?;
                total += bytes.len() as u64;
                let got = bytes.len() as u32;
                if got < length {
                    let at = at + u64::from(got);
                    asked.push_front((sftp.ask_read(file, at, length - got).await?, at, length - got));
                }
            }
            Err(Refusal::End) => ended = true,
            Err(refusal) => {
                let (path, host) = (from.shown(), sftp.host().to_owned());
                return Err(HostError::Remote { what: "read", path, host, why: refusal.text() });
            }
        }
    }
}

/// Writes a directory.
pub(crate) async fn put_directory(
    connection: &Connection,
    from: &Path,
    to: &RemotePath,
    how: &Put,
) -> Result<(), HostError> {
    let mut sftp = Sftp::start(connection).await?;
    let mut here = Vec::new();
    let mut walk = Walk::new(from, how.links);
    while let Some(step) = walk.next()? {
        match step {
            Step::Enter { name, mode } => {
                let path = match here.last() {
                    None => super::root_of(from, to)?,
                    Some((parent, _)) => RemotePath::join(parent, &name),
                };
                if here.is_empty() {
                    make_directories(&mut sftp, &path).await?;
                } else {
                    make_directory(&mut sftp, &path).await?;
                }
                here.push((path, mode));
            }
            Step::File { name, path, mode, length } => {
                let to = here.last().map(|(parent, _)| parent.join(&name)).unwrap_or_else(|| to.clone());
                let fail = |source| HostError::File { what: "read", path: path.clone(), source };
                let mut file = File::open(&path).map_err(fail)?;
                let how = Put { mode: how.mode.or(Some(mode)), ..how.clone() };
                let name = path.display().to_string();
                put_one(&mut sftp, Source { name: &name, reader: &mut file, length }, &to, &how).await?;
            }
            Step::Link { name, target } => {
                let to = here.last().map(|(parent, _)| parent.join(&name)).unwrap_or_else(|| to.clone());
                link(&mut sftp, &to, &target).await?;
            }
            Step::Leave => {
                // At the end: the mode may forbid writing. That of a destination that was there is its own.
                if let Some((path, mode)) = here.pop()
                    && !(here.is_empty() && super::is_contents(from))
                {
                    let answer = sftp.set_mode(&path, mode).await;
                    granted(&mut sftp, "set the mode of", &path, answer).await?;
                }
            }
        }
    }
    Ok(())
}

async fn link(sftp: &mut Sftp, to: &RemotePath, target: &[u8]) -> Result<(), HostError> {
    if let Ok(old) = sftp.lstat(to).await?
        && !old.is_directory()
    {
        let answer = sftp.remove(to).await;
        granted(sftp, "replace", to, answer).await?;
    }
    let answer = sftp.make_link(to, target).await;
    granted(sftp, "make the link", to, answer).await
}

async fn make_directory(sftp: &mut Sftp, path: &RemotePath) -> Result<(), HostError> {
    // Our own while it is filled, whatever it will be.
    let refusal = match sftp.make_directory(path, 0o755).await? {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    if let Ok(there) = sftp.stat(path).await?
        && there.is_directory()
    {
        return Ok(());
    }
    let why = refusal.text();
    Err(HostError::Remote { what: "make the directory", path: path.shown(), host: sftp.host().to_owned(), why })
}

/// With those above it.
async fn make_directories(sftp: &mut Sftp, path: &RemotePath) -> Result<(), HostError> {
    let slashes = path.0.iter().enumerate().filter(|(index, byte)| **byte == b'/' && *index > 0);
    let ends: Vec<usize> = slashes.map(|(index, _)| index).chain([path.0.len()]).collect();
    for end in ends {
        let above = RemotePath(path.0.get(..end).unwrap_or_default().to_vec());
        if !above.0.ends_with(b"/") && !above.0.is_empty() {
            make_directory(sftp, &above).await?;
        }
    }
    Ok(())
}

/// Reads a directory.
pub(crate) async fn get_directory(connection: &Connection, from: &RemotePath, to: &Path) -> Result<(), HostError> {
    let mut sftp = Sftp::start(connection).await?;
    let mut sink = Sink::new(to, sftp.host(), FOREIGN)?;
    let mut open: Vec<(RemotePath, std::vec::IntoIter<(bytes::Bytes, Attributes)>)> = Vec::new();
    let answer = sftp.stat(from).await;
    let root = granted(&mut sftp, "look at", from, answer).await?;
    if !from.is_contents() {
        let name = from.name().ok_or_else(|| HostError::Unsupported {
            what: format!("reading {from:?} as a directory"),
            why: "it has no name; with a slash at its end its contents are read".to_owned(),
        })?;
        sink.enter(name, root.permissions().unwrap_or(0o755))?;
    }
    open.push((from.clone(), list(&mut sftp, from).await?));
    while let Some((path, entries)) = open.last_mut() {
        let Some((name, attributes)) = entries.next() else {
            open.pop();
            if sink.depth() > 1 {
                sink.leave()?;
            }
            continue;
        };
        let path = path.join(&name);
        if attributes.is_directory() {
            sink.enter(&name, attributes.permissions().unwrap_or(0o755))?;
            let entries = list(&mut sftp, &path).await?;
            open.push((path, entries));
        } else if attributes.is_link() {
            let answer = sftp.read_link(&path).await;
            let target = granted(&mut sftp, "read the link", &path, answer).await?;
            sink.link(&name, &target)?;
        } else if attributes.is_file() {
            let (mut file, _) = sink.file(&name, attributes.permissions().unwrap_or(DEFAULT_MODE))?;
            get_one(&mut sftp, &path, &mut file).await?;
        } else {
            let why = "it is no file, directory or link".to_owned();
            return Err(HostError::Remote { what: "read", path: path.shown(), host: sftp.host().to_owned(), why });
        }
    }
    Ok(())
}

async fn list(sftp: &mut Sftp, path: &RemotePath) -> Result<std::vec::IntoIter<(bytes::Bytes, Attributes)>, HostError> {
    let answer = sftp.open_directory(path).await;
    let directory = granted(sftp, "list", path, answer).await?;
    let mut all = Vec::new();
    loop {
        match sftp.entries(&directory).await? {
            Ok(entries) => all.extend(entries.into_iter().filter(|(name, _)| !matches!(&name[..], b"." | b".."))),
            Err(Refusal::End) => break,
            refused @ Err(_) => {
                granted(sftp, "list", path, Ok(refused)).await?;
            }
        }
        if all.len() as u64 > ENTRIES {
            let host = sftp.host().to_owned();
            return Err(HostError::Limit { host, what: "entries of a directory", limit: ENTRIES });
        }
    }
    let answer = sftp.close(&directory).await;
    granted(sftp, "close", path, answer).await?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all.into_iter())
}
