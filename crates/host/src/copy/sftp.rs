//! The protocol of the SFTP subsystem, version 3 (draft-ietf-secsh-filexfer-02), with OpenSSH's extensions.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::RemotePath;
use crate::HostError;
use crate::error::printable;
use crate::ssh::session::{Connection, Session};

/// Requests that are under way at once; each is of [`super::CHUNK`].
pub(crate) const WINDOW: usize = 32;
/// A packet of a server: OpenSSH's are up to 256 KiB.
const PACKET_LIMIT: usize = 512 << 10;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;

const ATTR_SIZE: u32 = 1;
const ATTR_OWNER: u32 = 2;
const ATTR_MODE: u32 = 4;
const ATTR_TIME: u32 = 8;
const ATTR_EXTENDED: u32 = 0x8000_0000;

/// To be read.
pub(crate) const FOR_READING: u32 = 1;
/// To be written: made if it is not there, emptied if it is.
pub(crate) const FOR_WRITING: u32 = 2 | 8 | 16;
/// To be written; must not be there.
pub(crate) const NEW: u32 = 2 | 8 | 32;

/// A session of the subsystem.
pub(crate) struct Sftp {
    host: String,
    write: Arc<ChannelWriteHalf<Msg>>,
    replies: mpsc::Receiver<Result<Reply, String>>,
    /// Its other half is dropped with what receives.
    ended: watch::Receiver<()>,
    next: u32,
    extensions: HashSet<String>,
    _permit: OwnedSemaphorePermit,
}

/// What a server answers to the request of this number.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) id: u32,
    kind: u8,
    body: Bytes,
}

/// An answer that is no failure of the connection.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The end of the file or directory.
    End,
    /// There is no such file.
    NotFound,
    /// Another reason.
    Other(String),
}

/// What is told about a file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<u32>,
}

impl Attributes {
    fn kind(self) -> u32 {
        self.mode.unwrap_or(0) & 0o170_000
    }

    pub(crate) fn is_directory(self) -> bool {
        self.kind() == 0o040_000
    }

    pub(crate) fn is_link(self) -> bool {
        self.kind() == 0o120_000
    }

    pub(crate) fn is_file(self) -> bool {
        self.kind() == 0o100_000
    }

    pub(crate) fn permissions(self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o7777)
    }
}

/// A file or directory that is open there.
#[derive(Debug, Clone)]
pub(crate) struct OpenFile(Bytes);

/// An answer, or the server's refusal; and around it what breaks the session.
pub(crate) type Answer<T> = Result<Result<T, Refusal>, HostError>;

impl Sftp {
    /// Starts the subsystem.
    pub(crate) async fn start(connection: &Connection) -> Result<Sftp, HostError> {
        let Session { mut channel, permit } = connection.session().await?;
        channel.request_subsystem(true, "sftp").await.map_err(|error| connection.failure(&error))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                    let why = "the server has no SFTP; copies by scp may work".to_owned();
                    return Err(HostError::Start { host: connection.name().to_owned(), why });
                }
                None => return Err(connection.failure(&russh::Error::Disconnect)),
                Some(_) => {}
            }
        }
        let (read, write) = channel.split();
        let (send, replies) = mpsc::channel(WINDOW * 2);
        let (running, ended) = watch::channel(());
        tokio::spawn(async move {
            receive(read, send).await;
            drop(running);
        });
        let host = connection.name().to_owned();
        let mut sftp =
            Sftp { host, write: Arc::new(write), replies, ended, next: 0, extensions: HashSet::new(), _permit: permit };
        sftp.send(INIT, Packet::default().number(3)).await?;
        let version = sftp.reply().await?;
        if version.kind != VERSION || version.id < 3 {
            return Err(sftp.broken("another version than 3"));
        }
        let mut body = version.body;
        while body.has_remaining() {
            let (Some(name), Some(_)) = (take_string(&mut body), take_string(&mut body)) else {
                return Err(sftp.broken("a greeting that is cut off"));
            };
            sftp.extensions.insert(String::from_utf8_lossy(&name).into_owned());
        }
        Ok(sftp)
    }

    /// Whether the server knows an extension.
    pub(crate) fn has(&self, extension: &str) -> bool {
        self.extensions.contains(extension)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    async fn send(&mut self, kind: u8, packet: Packet) -> Result<(), HostError> {
        // After the end of the channel nothing would ever make room for more.
        let sent = tokio::select! {
            sent = self.write.data_bytes(packet.framed(kind)) => sent,
            _ = self.ended.changed() => Err(russh::Error::Disconnect),
        };
        sent.map_err(|error| HostError::Disconnected {
            host: self.host.clone(),
            why: crate::ssh::session::explain(&error),
        })
    }

    /// Sends a request; returns its number.
    async fn ask(&mut self, kind: u8, build: impl FnOnce(Packet) -> Packet) -> Result<u32, HostError> {
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        self.send(kind, build(Packet::default().number(id))).await?;
        Ok(id)
    }

    /// The next answer, to whatever was asked.
    pub(crate) async fn reply(&mut self) -> Result<Reply, HostError> {
        match self.replies.recv().await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(why)) => Err(self.broken(&why)),
            None => {
                Err(HostError::Disconnected { host: self.host.clone(), why: "the SFTP server there ended".to_owned() })
            }
        }
    }

    async fn call(&mut self, kind: u8, build: impl FnOnce(Packet) -> Packet) -> Result<Reply, HostError> {
        let id = self.ask(kind, build).await?;
        let reply = self.reply().await?;
        if reply.id == id { Ok(reply) } else { Err(self.broken("an answer to nothing that was asked")) }
    }

    pub(crate) fn broken(&self, what: &str) -> HostError {
        HostError::Protocol { host: self.host.clone(), protocol: "sftp", what: what.to_owned() }
    }

    /// An answer without contents.
    pub(crate) fn done(&self, reply: Reply) -> Answer<()> {
        match reply.status() {
            Some(Ok(())) => Ok(Ok(())),
            Some(Err(refusal)) => Ok(Err(refusal)),
            None => Err(self.broken("an answer of the wrong kind")),
        }
    }

    fn expect<T>(&self, mut reply: Reply, kind: u8, take: impl FnOnce(&mut Bytes) -> Option<T>) -> Answer<T> {
        if reply.kind == kind {
            return take(&mut reply.body).map(Ok).ok_or_else(|| self.broken("an answer that is cut off"));
        }
        match reply.status() {
            Some(Err(refusal)) => Ok(Err(refusal)),
            _ => Err(self.broken("an answer of the wrong kind")),
        }
    }

    pub(crate) async fn open(&mut self, path: &RemotePath, flags: u32, mode: u32) -> Answer<OpenFile> {
        let build = |p: Packet| p.string(&path.0).number(flags).mode(mode);
        let reply = self.call(OPEN, build).await?;
        self.expect(reply, HANDLE, take_string).map(|answer| answer.map(OpenFile))
    }

    pub(crate) async fn open_directory(&mut self, path: &RemotePath) -> Answer<OpenFile> {
        let reply = self.call(OPENDIR, |p| p.string(&path.0)).await?;
        self.expect(reply, HANDLE, take_string).map(|answer| answer.map(OpenFile))
    }

    pub(crate) async fn close(&mut self, file: &OpenFile) -> Answer<()> {
        let reply = self.call(CLOSE, |p| p.string(&file.0)).await?;
        self.done(reply)
    }

    /// Asks to write, without waiting for the answer.
    pub(crate) async fn ask_write(&mut self, file: &OpenFile, at: u64, bytes: &[u8]) -> Result<u32, HostError> {
        self.ask(WRITE, |p| p.string(&file.0).long(at).string(bytes)).await
    }

    /// Asks to read, without waiting for the answer.
    pub(crate) async fn ask_read(&mut self, file: &OpenFile, at: u64, length: u32) -> Result<u32, HostError> {
        self.ask(READ, |p| p.string(&file.0).long(at).number(length)).await
    }

    /// The bytes of an answer to [`Sftp::ask_read`].
    pub(crate) fn bytes(&self, reply: Reply) -> Answer<Bytes> {
        self.expect(reply, DATA, take_string)
    }

    pub(crate) async fn stat(&mut self, path: &RemotePath) -> Answer<Attributes> {
        let reply = self.call(STAT, |p| p.string(&path.0)).await?;
        self.expect(reply, ATTRS, take_attributes)
    }

    pub(crate) async fn lstat(&mut self, path: &RemotePath) -> Answer<Attributes> {
        let reply = self.call(LSTAT, |p| p.string(&path.0)).await?;
        self.expect(reply, ATTRS, take_attributes)
    }

    pub(crate) async fn fstat(&mut self, file: &OpenFile) -> Answer<Attributes> {
        let reply = self.call(FSTAT, |p| p.string(&file.0)).await?;
        self.expect(reply, ATTRS, take_attributes)
    }

    pub(crate) async fn set_mode(&mut self, path: &RemotePath, mode: u32) -> Answer<()> {
        let reply = self.call(SETSTAT, |p| p.string(&path.0).mode(mode)).await?;
        self.done(reply)
    }

    pub(crate) async fn set_mode_of(&mut self, file: &OpenFile, mode: u32) -> Answer<()> {
        let reply = self.call(FSETSTAT, |p| p.string(&file.0).mode(mode)).await?;
        self.done(reply)
    }

    pub(crate) async fn make_directory(&mut self, path: &RemotePath, mode: u32) -> Answer<()> {
        let reply = self.call(MKDIR, |p| p.string(&path.0).mode(mode)).await?;
        self.done(reply)
    }

    pub(crate) async fn remove(&mut self, path: &RemotePath) -> Answer<()> {
        let reply = self.call(REMOVE, |p| p.string(&path.0)).await?;
        self.done(reply)
    }

    /// Renames over what is there, at once where the server can.
    pub(crate) async fn replace(&mut self, from: &RemotePath, to: &RemotePath) -> Answer<()> {
        if self.has("posix-rename@openssh.com") {
            let build = |p: Packet| p.string(b"posix-rename@openssh.com").string(&from.0).string(&to.0);
            let reply = self.call(EXTENDED, build).await?;
            return self.done(reply);
        }
        match self.remove(to).await? {
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        let reply = self.call(RENAME, |p| p.string(&from.0).string(&to.0)).await?;
        self.done(reply)
    }

    /// Makes the server put a file on its disk; nothing where it cannot.
    pub(crate) async fn sync(&mut self, file: &OpenFile) -> Answer<()> {
        if !self.has("fsync@openssh.com") {
            return Ok(Ok(()));
        }
        let reply = self.call(EXTENDED, |p| p.string(b"fsync@openssh.com").string(&file.0)).await?;
        self.done(reply)
    }

    /// Bytes that are free for us where a path is, if the server tells.
    pub(crate) async fn free(&mut self, path: &RemotePath) -> Answer<Option<u64>> {
        if !self.has("statvfs@openssh.com") {
            return Ok(Ok(None));
        }
        let reply = self.call(EXTENDED, |p| p.string(b"statvfs@openssh.com").string(&path.0)).await?;
        self.expect(reply, EXTENDED_REPLY, |body| {
            let mut fields = [0_u64; 5];
            for field in &mut fields {
                *field = body.try_get_u64().ok()?;
            }
            let [_, size, _, _, available] = fields;
            Some(Some(size.saturating_mul(available)))
        })
    }

    pub(crate) async fn read_link(&mut self, path: &RemotePath) -> Answer<Bytes> {
        let reply = self.call(READLINK, |p| p.string(&path.0)).await?;
        self.expect(reply, NAME, |body| {
            let count = take_number(body)?;
            if count == 1 { take_string(body) } else { None }
        })
    }

    /// OpenSSH has the two the other way around than the draft, and so has everybody.
    pub(crate) async fn make_link(&mut self, path: &RemotePath, target: &[u8]) -> Answer<()> {
        let reply = self.call(SYMLINK, |p| p.string(target).string(&path.0)).await?;
        self.done(reply)
    }

    /// Some more entries of a directory.
    pub(crate) async fn entries(&mut self, directory: &OpenFile) -> Answer<Vec<(Bytes, Attributes)>> {
        let reply = self.call(READDIR, |p| p.string(&directory.0)).await?;
        self.expect(reply, NAME, |body| {
            let count = take_number(body)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let name = take_string(body)?;
                take_string(body)?;
                entries.push((name, take_attributes(body)?));
            }
            Some(entries)
        })
    }
}

impl Drop for Sftp {
    /// Also when a copy is given up: the server has only so many sessions.
    fn drop(&mut self) {
        close_later(&self.write);
    }
}

/// Closes a channel from where nothing can wait.
pub(crate) fn close_later(write: &Arc<ChannelWriteHalf<Msg>>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let write = Arc::clone(write);
        runtime.spawn(async move { write.close().await });
    }
}

impl Reply {
    fn status(&self) -> Option<Result<(), Refusal>> {
        if self.kind != STATUS {
            return None;
        }
        let mut body = self.body.clone();
        let code = take_number(&mut body)?;
        let message = take_string(&mut body).unwrap_or_default();
        Some(match code {
            0 => Ok(()),
            EOF => Err(Refusal::End),
            NO_SUCH_FILE => Err(Refusal::NotFound),
            3 => Err(Refusal::Other("permission denied".to_owned())),
            8 => Err(Refusal::Other("the server cannot do that".to_owned())),
            _ if message.is_empty() => Err(Refusal::Other(format!("failure {code}"))),
            _ => Err(Refusal::Other(printable(&message))),
        })
    }
}

impl Refusal {
    pub(crate) fn text(&self) -> String {
        match self {
            Refusal::End => "it ends before its end".to_owned(),
            Refusal::NotFound => "there is no such file or directory".to_owned(),
            Refusal::Other(text) => text.clone(),
        }
    }
}

/// Cuts what the server sends into packets. A server that answers more than was asked is cut off.
async fn receive(mut read: ChannelReadHalf, send: mpsc::Sender<Result<Reply, String>>) {
    let mut buffer = BytesMut::new();
    while let Some(message) = read.wait().await {
        let data = match message {
            ChannelMsg::Data { data } => data,
            ChannelMsg::Close => return,
            _ => continue,
        };
        buffer.extend_from_slice(&data);
        loop {
            let packet = match next_packet(&mut buffer) {
                Ok(Some(reply)) => Ok(reply),
                Ok(None) => break,
                Err(why) => Err(why),
            };
            let bad = packet.is_err();
            if send.try_send(packet).is_err() || bad {
                return;
            }
        }
    }
}

fn next_packet(buffer: &mut BytesMut) -> Result<Option<Reply>, String> {
    let Some(&[a, b, c, d]) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(5..=PACKET_LIMIT).contains(&length) {
        return Err(format!("a packet of {length} bytes"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(4 + length).freeze();
    packet.advance(4);
    let kind = packet.get_u8();
    let id = packet.get_u32();
    Ok(Some(Reply { id, kind, body: packet }))
}

fn take_number(body: &mut Bytes) -> Option<u32> {
    body.try_get_u32().ok()
}

fn take_string(body: &mut Bytes) -> Option<Bytes> {
    let length = take_number(body)? as usize;
    (body.len() >= length).then(|| body.split_to(length))
}

fn take_attributes(body: &mut Bytes) -> Option<Attributes> {
    let flags = take_number(body)?;
    let mut attributes = Attributes::default();
    if flags & ATTR_SIZE != 0 {
        attributes.size = Some(body.try_get_u64().ok()?);
    }
    if flags & ATTR_OWNER != 0 {
        body.try_get_u64().ok()?;
    }
    if flags & ATTR_MODE != 0 {
        attributes.mode = Some(take_number(body)?);
    }
    if flags & ATTR_TIME != 0 {
        body.try_get_u64().ok()?;
    }
    if flags & ATTR_EXTENDED != 0 {
        for _ in 0..take_number(body)? {
            take_string(body)?;
            take_string(body)?;
        }
    }
    Some(attributes)
}

/// A packet being written.
#[derive(Default)]
struct Packet(Vec<u8>);

impl Packet {
    fn number(mut self, value: u32) -> Packet {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn long(mut self, value: u64) -> Packet {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn string(self, bytes: &[u8]) -> Packet {
        // Every string here is a chunk or a path, far below 4 GiB.
        let mut packet = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        packet.0.extend_from_slice(bytes);
        packet
    }

    fn mode(self, mode: u32) -> Packet {
        self.number(ATTR_MODE).number(mode)
    }

    fn framed(self, kind: u8) -> Bytes {
        let mut bytes = Vec::with_capacity(self.0.len() + 5);
        bytes.extend_from_slice(&u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX).to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&self.0);
        Bytes::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_none_are_refused() {
        for bytes in [&[0, 0, 0, 4, 1, 1, 1, 1][..], &[0xff; 8], &[0, 0, 0, 0]] {
            assert!(next_packet(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        assert!(next_packet(&mut BytesMut::from(&[0, 0, 0, 9, 101][..])).unwrap().is_none());
        // A listing that claims more than it has.
        let mut body = Bytes::from_static(&[0, 0, 0, 9, b'a']);
        assert_eq!(take_string(&mut body), None);
        let mut body = Bytes::from_static(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(take_attributes(&mut body).is_none());
    }
}
