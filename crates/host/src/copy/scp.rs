//! Copies by the `scp` program of the other side: the oldest protocol there is, with nobody's specification.
//!
//! One side sends records, the other answers each with a byte: 0 for good, 1 and a line for a refusal, 2 and a line for
//! the end. `C0644 5 name` is a file, its bytes and a 0; `D0755 0 name` a directory, `E` its end; `T…` times.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use super::tree::{FOREIGN, Sink, Step, Walk};
use super::{CHUNK, Links, Put, RemotePath, Source};
use crate::HostError;
use crate::command::quote_bytes;
use crate::error::printable;
use crate::ssh::session::{Connection, Session};

/// The longest record.
const LINE_LIMIT: usize = 8 << 10;
/// How much of what the program complains is kept.
const COMPLAINT_LIMIT: usize = 4 << 10;
const DEFAULT_MODE: u32 = 0o644;

/// The program, running.
struct Scp {
    host: String,
    path: String,
    what: &'static str,
    read: ChannelReadHalf,
    write: Arc<ChannelWriteHalf<Msg>>,
    buffer: BytesMut,
    complaint: Vec<u8>,
    exit: Option<u32>,
    _permit: OwnedSemaphorePermit,
}

/// What the other side sends next.
enum Record {
    File {
        mode: u32,
        length: u64,
        name: Vec<u8>,
    },
    Directory {
        mode: u32,
        name: Vec<u8>,
    },
    End,
    /// Nothing more.
    Over,
}

impl Drop for Scp {
    fn drop(&mut self) {
        super::sftp::close_later(&self.write);
    }
}

impl Scp {
    async fn start(
        connection: &Connection,
        flags: &str,
        path: &RemotePath,
        what: &'static str,
    ) -> Result<Scp, HostError> {
        let Session { mut channel, permit } = connection.session().await?;
        let mut line = format!("scp -{flags} -- ").into_bytes();
        line.extend(quote_bytes(&path.0));
        channel.exec(true, line).await.map_err(|error| connection.failure(&error))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                    let why = "the server does not give commands".to_owned();
                    return Err(HostError::Start { host: connection.name().to_owned(), why });
                }
                None => return Err(connection.failure(&russh::Error::Disconnect)),
                Some(_) => {}
            }
        }
        let (read, write) = channel.split();
        Ok(Scp {
            host: connection.name().to_owned(),
            path: path.shown(),
            what,
            read,
            write: Arc::new(write),
            buffer: BytesMut::new(),
            complaint: Vec::new(),
            exit: None,
            _permit: permit,
        })
    }

    /// Sends, and takes what comes meanwhile: after the end of the channel nothing would make room for more.
    async fn send(&mut self, bytes: impl Into<bytes::Bytes>) -> Result<(), HostError> {
        let write = Arc::clone(&self.write);
        let mut sending = std::pin::pin!(write.data_bytes(bytes.into()));
        loop {
            let open = tokio::select! {
                biased;
                sent = &mut sending => return sent.map_err(|error| HostError::Disconnected {
                    host: self.host.clone(),
                    why: crate::ssh::session::explain(&error),
                }),
                more = self.more() => more?,
            };
            if self.buffer.len() > LINE_LIMIT.max(CHUNK * 2) {
                return Err(self.broken("much that nobody asked for"));
            }
            if !open {
                if !self.buffer.is_empty() {
                    self.accepted().await?;
                }
                return Err(self.refused(Vec::new()));
            }
        }
    }

    /// More bytes; false at the end.
    async fn more(&mut self) -> Result<bool, HostError> {
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    self.buffer.extend_from_slice(&data);
                    return Ok(true);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = COMPLAINT_LIMIT.saturating_sub(self.complaint.len());
                    self.complaint.extend_from_slice(data.get(..room).unwrap_or(&data));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(exit_status),
                Some(ChannelMsg::Close) => return Ok(false),
                Some(_) => {}
                None => {
                    return Err(HostError::Disconnected {
                        host: self.host.clone(),
                        why: "in the middle of a copy".to_owned(),
                    });
                }
            }
        }
    }

    async fn byte(&mut self) -> Result<Option<u8>, HostError> {
        while self.buffer.is_empty() {
            if !self.more().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.get_u8()))
    }

    async fn line(&mut self) -> Result<Vec<u8>, HostError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end).to_vec();
                self.buffer.advance(1);
                return Ok(line);
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(self.broken("a record without an end"));
            }
            if !self.more().await? {
                return Err(self.refused(Vec::new()));
            }
        }
    }

    fn broken(&self, what: &str) -> HostError {
        HostError::Protocol { host: self.host.clone(), protocol: "scp", what: what.to_owned() }
    }

    fn refused(&self, line: Vec<u8>) -> HostError {
        let said = if line.is_empty() { &self.complaint } else { &line };
        let why = match said.is_empty() {
            true => {
                format!("scp there ended with {}", self.exit.map_or("no status".to_owned(), |code| code.to_string()))
            }
            false => printable(said.strip_prefix(b"scp: ").unwrap_or(said)),
        };
        HostError::Remote { what: self.what, path: self.path.clone(), host: self.host.clone(), why }
    }

    /// Waits for the byte that says that it was good.
    async fn accepted(&mut self) -> Result<(), HostError> {
        match self.byte().await? {
            Some(0) => Ok(()),
            Some(1 | 2) => {
                let line = self.line().await?;
                Err(self.refused(line))
            }
            Some(other) => Err(self.broken(&format!("the byte {other} for an answer"))),
            None => Err(self.refused(Vec::new())),
        }
    }

    async fn send_file(&mut self, name: &[u8], mode: u32, source: &mut Source<'_>) -> Result<(), HostError> {
        self.send(record(b'C', mode, source.length, name)?).await?;
        self.accepted().await?;
        let mut buffer = vec![0_u8; CHUNK];
        let mut left = source.length;
        while left > 0 {
            let n = source.fill(&mut buffer, left)?;
            self.send(buffer.get(..n).unwrap_or_default().to_vec()).await?;
            left -= n as u64;
        }
        self.send(vec![0]).await?;
        self.accepted().await
    }

    /// After the last record: the program has to end well.
    async fn finish(mut self) -> Result<(), HostError> {
        // If the channel is gone already, its exit says so.
        let _ = self.write.eof().await;
        self.buffer.clear();
        while self.more().await? {
            self.buffer.clear();
        }
        match self.exit {
            Some(0) => Ok(()),
            _ => Err(self.refused(Vec::new())),
        }
    }

    async fn record(&mut self) -> Result<Record, HostError> {
        loop {
            let Some(kind) = self.byte().await? else { return Ok(Record::Over) };
            let line = self.line().await?;
            match kind {
                b'T' => self.send(vec![0]).await?,
                b'E' if line.is_empty() => return Ok(Record::End),
                b'C' | b'D' => {
                    let Some((mode, length, name)) = parse(&line) else {
                        return Err(self.broken(&format!("the record `{}`", printable(&line))));
                    };
                    return Ok(match kind {
                        b'C' => Record::File { mode, length, name },
                        _ => Record::Directory { mode, name },
                    });
                }
                1 | 2 => return Err(self.refused(line)),
                _ => return Err(self.broken(&format!("the record `{}`", printable(&[&[kind], &line[..]].concat())))),
            }
        }
    }

    async fn receive_file(&mut self, length: u64, into: &mut (dyn Write + Send)) -> Result<(), HostError> {
        self.send(vec![0]).await?;
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && !self.more().await? {
                return Err(self.refused(Vec::new()));
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let bytes = self.buffer.split_to(take);
            into.write_all(&bytes).map_err(|source| crate::ssh::exec::stream(&self.host, "file", source))?;
            left -= take as u64;
        }
        into.flush().map_err(|source| crate::ssh::exec::stream(&self.host, "file", source))?;
        self.accepted().await?;
        self.send(vec![0]).await
    }
}

fn record(kind: u8, mode: u32, length: u64, name: &[u8]) -> Result<Vec<u8>, HostError> {
    if name.contains(&b'\n') || name.is_empty() {
        return Err(HostError::Unsupported {
            what: format!("copying `{}` by scp", printable(name)),
            why: "its name has a line end, which that protocol cannot say; SFTP can".to_owned(),
        });
    }
    let mut record = vec![kind];
    record.extend_from_slice(format!("{:04o} {length} ", mode & 0o7777).as_bytes());
    record.extend_from_slice(name);
    record.push(b'\n');
    Ok(record)
}

fn parse(line: &[u8]) -> Option<(u32, u64, Vec<u8>)> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let mode = std::str::from_utf8(parts.next()?).ok()?;
    let length = std::str::from_utf8(parts.next()?).ok()?;
    let name = parts.next()?.to_vec();
    Some((u32::from_str_radix(mode, 8).ok()?, length.parse().ok()?, name))
}

/// Runs a command that helps a copy.
async fn help(
    connection: &Connection,
    what: &'static str,
    words: &[&[u8]],
    path: &RemotePath,
) -> Result<(), HostError> {
    let Session { mut channel, permit } = connection.session().await?;
    let line = words.iter().map(|word| quote_bytes(word)).collect::<Vec<_>>().join(&b' ');
    channel.exec(true, line).await.map_err(|error| connection.failure(&error))?;
    let (mut exit, mut complaint) = (None, Vec::new());
    loop {
        match channel.wait().await {
            Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(exit_status),
            Some(ChannelMsg::ExtendedData { data, .. }) if complaint.len() < COMPLAINT_LIMIT => {
                complaint.extend_from_slice(&data);
            }
            Some(ChannelMsg::Close) => break,
            None => return Err(connection.failure(&russh::Error::Disconnect)),
            Some(_) => {}
        }
    }
    drop(permit);
    match exit {
        Some(0) => Ok(()),
        _ => {
            let (host, why) = (connection.name().to_owned(), printable(&complaint));
            Err(HostError::Remote { what, path: path.shown(), host, why })
        }
    }
}

/// Writes one file.
pub(crate) async fn put(
    connection: &Connection,
    mut source: Source<'_>,
    to: &RemotePath,
    how: &Put,
) -> Result<(), HostError> {
    let mode = how.mode.unwrap_or(DEFAULT_MODE);
    let target = if how.atomic { to.beside() } else { to.clone() };
    let written = async {
        // -p: the mode as it is said, without the umask there.
        let mut scp = Scp::start(connection, "pt", &target, "write").await?;
        scp.path = to.shown();
        scp.accepted().await?;
        // Where it goes is in the command; the name only matters if that is a directory.
        let name = target.name().filter(|name| !name.contains(&b'\n')).unwrap_or(b"file");
        scp.send(b"T0 0 0 0\n".to_vec()).await?;
        scp.accepted().await?;
        scp.send_file(name, mode, &mut source).await?;
        scp.finish().await
    };
    let written = written.await;
    if !how.atomic {
        return written;
    }
    match written {
        Ok(()) => help(connection, "rename a file to", &[b"mv", b"-f", b"--", &target.0, &to.0], to).await,
        Err(error) => {
            // What it failed with matters more.
            let _ = help(connection, "remove", &[b"rm", b"-f", b"--", &target.0], to).await;
            Err(error)
        }
    }
}

/// Reads one file; returns its permission bits.
pub(crate) async fn get(
    connection: &Connection,
    from: &RemotePath,
    into: &mut (dyn Write + Send),
) -> Result<u32, HostError> {
    let mut scp = Scp::start(connection, "pf", from, "read").await?;
    scp.send(vec![0]).await?;
    let mode = match scp.record().await? {
        Record::File { mode, length, .. } => {
            scp.receive_file(length, into).await?;
            mode
        }
        Record::Over => return Err(scp.refused(Vec::new())),
        Record::Directory { .. } | Record::End => return Err(scp.broken("a directory for a file")),
    };
    scp.finish().await?;
    Ok(mode & 0o7777)
}

/// Writes a directory.
pub(crate) async fn put_directory(
    connection: &Connection,
    from: &Path,
    to: &RemotePath,
    how: &Put,
) -> Result<(), HostError> {
    help(connection, "make the directory", &[b"mkdir", b"-p", b"--", &to.0], to).await?;
    let contents = super::is_contents(from);
    let root = super::root_of(from, to)?;
    let mut scp = Scp::start(connection, "prtd", to, "write").await?;
    scp.accepted().await?;
    let mut walk = Walk::new(from, how.links);
    let mut depth = 0;
    while let Some(step) = walk.next()? {
        match step {
            Step::Enter { name, mode } => {
                depth += 1;
                if depth == 1 && contents {
                    continue;
                }
                let name = if depth == 1 { root.name().unwrap_or_default() } else { &name };
                scp.send(record(b'D', mode, 0, name)?).await?;
                scp.accepted().await?;
            }
            Step::File { name, path, mode, length } => {
                let fail = |source| HostError::File { what: "read", path: path.clone(), source };
                let mut file = File::open(&path).map_err(fail)?;
                let shown = path.display().to_string();
                let mut source = Source { name: &shown, reader: &mut file, length };
                scp.send_file(&name, how.mode.unwrap_or(mode), &mut source).await?;
            }
            Step::Link { name, .. } => {
                debug_assert_eq!(how.links, Links::Keep);
                return Err(HostError::Unsupported {
                    what: format!("copying the link `{}` by scp", printable(&name)),
                    why: "that protocol has no links; SFTP has, or let them be followed".to_owned(),
                });
            }
            Step::Leave => {
                depth -= 1;
                if depth > 0 || !contents {
                    scp.send(b"E\n".to_vec()).await?;
                    scp.accepted().await?;
                }
            }
        }
    }
    scp.finish().await
}

/// Reads a directory. That program follows links there.
pub(crate) async fn get_directory(connection: &Connection, from: &RemotePath, to: &Path) -> Result<(), HostError> {
    let mut scp = Scp::start(connection, "prf", from, "read").await?;
    let mut sink = Sink::new(to, connection.name(), FOREIGN)?;
    scp.send(vec![0]).await?;
    let contents = from.is_contents();
    let mut depth = 0_usize;
    loop {
        match scp.record().await? {
            Record::Over if depth == 0 => break,
            Record::Over => return Err(scp.refused(Vec::new())),
            Record::Directory { mode, name } => {
                depth += 1;
                if depth > 1 || !contents {
                    let name = if depth == 1 { from.name().unwrap_or(&name) } else { &name };
                    sink.enter(name, mode)?;
                }
                scp.send(vec![0]).await?;
            }
            Record::End if depth == 0 => return Err(scp.broken("the end of no directory")),
            Record::End => {
                depth -= 1;
                if depth > 0 || !contents {
                    sink.leave()?;
                }
                scp.send(vec![0]).await?;
            }
            Record::File { .. } if depth == 0 => return Err(scp.broken("a file for a directory")),
            Record::File { mode, length, name } => {
                let (mut file, _) = sink.file(&name, mode)?;
                scp.receive_file(length, &mut file).await?;
            }
        }
    }
    scp.finish_after_end()
}

impl Scp {
    /// After the other side has ended by itself.
    fn finish_after_end(self) -> Result<(), HostError> {
        match self.exit {
            Some(0) => Ok(()),
            _ => Err(self.refused(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_written() {
        assert_eq!(parse(b"0644 5 a b"), Some((0o644, 5, b"a b".to_vec())));
        for bad in [&b"0644 5"[..], b"0999 5 a", b"0644 -5 a", b"0644 99999999999999999999 a", b""] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(record(b'C', 0o100_755, 3, b"x").unwrap(), b"C0755 3 x\n");
        assert!(record(b'C', 0o644, 0, b"a\nb").is_err());
    }
}
