//! One command over a connection: input, output, its end, and its end before its time.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty, Sig};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::session::{Connection, Session};
use crate::command::{Terminal, Wire, token};
use crate::{Cancel, Command, Exit, HostError, Stdin, Streams};

/// After the end of a command whose output is still held open, by a daemon it started, how long to wait for more.
const LINGER: Duration = Duration::from_secs(2);
/// What a cancelled command gets to end by itself.
const GRACE: Duration = Duration::from_millis(300);
/// For the command that kills what is left.
const KILL: Duration = Duration::from_millis(600);
const CHUNK: usize = 32 << 10;
/// Chunks of input that are read ahead.
const AHEAD: usize = 4;

/// Runs a command to its end.
pub(crate) async fn exec(
    connection: &Connection,
    command: &Command,
    streams: Streams<'_>,
    cancel: &Cancel,
) -> Result<Exit, HostError> {
    if command.takes_no_input() && !matches!(streams.stdin, Stdin::Empty) {
        return Err(HostError::Unsupported {
            what: "input for a command on a terminal with a password for sudo".to_owned(),
            why: "sudo throws away what comes before it asks; without the terminal it works".to_owned(),
        });
    }
    let mark = token();
    let wire = command.wire(connection.name(), &mark)?;
    let opened = tokio::select! {
        biased;
        () = cancel.wait() => return Err(HostError::Cancelled),
        session = connection.session() => session?,
    };
    let Session { channel, permit } = opened;
    let (read, write) = channel.split();
    let mut run = Run { connection, read, write, exit: None, ended: false };
    let result = run.whole(command, wire, streams, cancel).await;
    if result.is_err() && !run.ended && !connection.closed() {
        run.kill(command, &mark).await;
    }
    let _ = run.write.close().await;
    drop(permit);
    result
}

struct Run<'a> {
    connection: &'a Connection,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    exit: Option<Exit>,
    /// The channel is closed.
    ended: bool,
}

impl Run<'_> {
    async fn whole(
        &mut self,
        command: &Command,
        wire: Wire,
        streams: Streams<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, HostError> {
        tokio::select! {
            biased;
            () = cancel.wait() => return Err(HostError::Cancelled),
            started = self.start(command, &wire) => started?,
        }
        self.pump(wire.preface, streams, cancel).await?;
        match self.exit.take() {
            Some(exit) => Ok(exit),
            None if self.ended => Ok(Exit::Unknown),
            None => Err(self.connection.failure(&russh::Error::Disconnect)),
        }
    }

    async fn start(&mut self, command: &Command, wire: &Wire) -> Result<(), HostError> {
        if let Some(Terminal { kind, columns, rows }) = command.wants_terminal() {
            // A secret on the input must not come back as output.
            let echo = [(Pty::ECHO, u32::from(wire.preface.is_empty()))];
            let asked = self.write.request_pty(true, kind, *columns, *rows, 0, 0, &echo).await;
            asked.map_err(|error| self.connection.failure(&error))?;
            self.granted("a terminal").await?;
        }
        let asked = self.write.exec(true, wire.line.as_bytes()).await;
        asked.map_err(|error| self.connection.failure(&error))?;
        self.granted("commands").await
    }

    async fn granted(&mut self, what: &str) -> Result<(), HostError> {
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                    let why = format!("the server does not give {what}");
                    return Err(HostError::Start { host: self.connection.name().to_owned(), why });
                }
                None => return Err(self.connection.failure(&russh::Error::Disconnect)),
                Some(_) => {}
            }
        }
    }

    /// Moves bytes both ways until the channel ends.
    async fn pump(&mut self, preface: Vec<u8>, streams: Streams<'_>, cancel: &Cancel) -> Result<(), HostError> {
        let Streams { stdin, stdout, stderr } = streams;
        let host = self.connection.name();
        let mut feed = std::pin::pin!(feed(&self.write, preface, stdin));
        let mut fed = false;
        let mut linger: Option<Instant> = None;
        loop {
            let until = linger.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let message = tokio::select! {
                biased;
                () = cancel.wait() => return Err(HostError::Cancelled),
                message = self.read.wait() => message,
                result = &mut feed, if !fed => {
                    fed = true;
                    result.map_err(|source| stream(host, "stdin", source))?;
                    continue;
                }
                () = tokio::time::sleep_until(until), if linger.is_some() => return Ok(()),
            };
            if linger.is_some() {
                linger = Some(Instant::now() + LINGER);
            }
            match message {
                Some(ChannelMsg::Data { data }) => {
                    stdout.write_all(&data).map_err(|source| stream(host, "stdout", source))?;
                }
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => {
                    stderr.write_all(&data).map_err(|source| stream(host, "stderr", source))?;
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exit = Some(Exit::Code(exit_status));
                    linger = Some(Instant::now() + LINGER);
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exit = Some(Exit::Signal(signal_text(&signal_name)));
                    linger = Some(Instant::now() + LINGER);
                }
                Some(ChannelMsg::Close) => {
                    self.ended = true;
                    return flush(host, stdout, stderr);
                }
                None => return flush(host, stdout, stderr),
                Some(_) => {}
            }
        }
    }

    /// Ends the command: first politely, then every process that has the mark of this run.
    async fn kill(&mut self, command: &Command, mark: &str) {
        let gentle = async {
            let _ = self.write.signal(Sig::TERM).await;
            // What it still says goes nowhere, but has to be taken.
            while let Some(message) = self.read.wait().await {
                if matches!(message, ChannelMsg::Close | ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. })
                {
                    break;
                }
            }
        };
        let _ = timeout(GRACE, gentle).await;
        let _ = timeout(GRACE / 3, self.write.signal(Sig::KILL)).await;
        let Some(wire) = command.killer(mark) else { return };
        // dropbear closes a session that is opened while another ends, and runs nothing.
        let connection = self.connection;
        let killer = async {
            while !run_beside(connection, &wire).await? {}
            Ok::<(), russh::Error>(())
        };
        let mut killer = std::pin::pin!(timeout(KILL, killer));
        // A full channel of the command would hold up the whole connection.
        let mut open = true;
        loop {
            tokio::select! {
                _ = &mut killer => return,
                message = self.read.wait(), if open => open = message.is_some(),
            }
        }
    }
}

/// Runs a line beside the command; whether it was run.
async fn run_beside(connection: &Connection, wire: &Wire) -> Result<bool, russh::Error> {
    // Beside the limit: the sessions in use may all be waiting for this.
    let mut channel = connection.handle.channel_open_session().await?;
    channel.exec(true, wire.line.as_bytes()).await?;
    channel.data_bytes(wire.preface.clone()).await?;
    channel.eof().await?;
    let mut ran = false;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Close => break,
            ChannelMsg::Success | ChannelMsg::Failure | ChannelMsg::ExitStatus { .. } => ran = true,
            _ => {}
        }
    }
    Ok(ran)
}

/// Sends the input. Every failure of the channel here shows better in what is read from it.
async fn feed(write: &ChannelWriteHalf<Msg>, preface: Vec<u8>, stdin: Stdin) -> std::io::Result<()> {
    if write.data_bytes(preface).await.is_err() {
        return Ok(());
    }
    match stdin {
        Stdin::Empty => {}
        Stdin::Bytes(bytes) => {
            if write.data_bytes(bytes).await.is_err() {
                return Ok(());
            }
        }
        Stdin::Fed(mut fed) => {
            while let Some(piece) = fed.0.recv().await {
                if write.data_bytes(piece).await.is_err() {
                    return Ok(());
                }
            }
        }
        Stdin::Reader(reader) => {
            let mut chunks = read_ahead(reader);
            while let Some(chunk) = chunks.recv().await {
                if write.data_bytes(chunk?).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    let _ = write.eof().await;
    Ok(())
}

/// Reads a caller's stream on a thread of its own.
pub(crate) fn read_ahead(mut reader: Box<dyn Read + Send>) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0_u8; CHUNK];
        loop {
            let chunk = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default())),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            if send.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    receive
}

pub(crate) fn stream(host: &str, stream: &'static str, source: std::io::Error) -> HostError {
    HostError::Stream { host: host.to_owned(), stream, source }
}

pub(crate) fn flush(host: &str, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Result<(), HostError> {
    stdout.flush().map_err(|source| stream(host, "stdout", source))?;
    stderr.flush().map_err(|source| stream(host, "stderr", source))
}

fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => crate::error::printable(name.as_bytes()),
        known => format!("{known:?}"),
    }
}
