//! Serving blobs to hosts of the same launch.
//!
//! | who connects | gets |
//! |---|---|
//! | with a certificate of this launch | blobs of the image that are here, by digest |
//! | without | nothing: the handshake fails |
//! | in the clear, for the binary whose digest it knows | this binary: it is no secret, and looked at by who gets it |

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConnection, StreamOwned};

use super::Shared;
use super::ask::{self, Answer, Ask};

/// How often a thread that waits looks whether all is over.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// How long it may take until both know who the other is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a peer may ask nothing.
const QUIET: Duration = Duration::from_secs(30);
/// How long a peer may take nothing.
const STUCK: Duration = Duration::from_secs(30);
/// How often it is looked whether more of a blob has come.
const NAP: Duration = Duration::from_millis(5);
const PIECE: usize = 128 << 10;
/// Connections beside those that are served, for who asks and for what is no peer.
const SPARE: usize = 8;

/// The listening side of an agent.
pub(super) struct Server<'a> {
    shared: &'a Shared<'a>,
    listener: TcpListener,
    /// Where it listens.
    pub(super) port: u16,
}

impl<'a> Server<'a> {
    /// Listens.
    pub(super) fn open(shared: &'a Shared<'a>) -> io::Result<Server<'a>> {
        let listener = TcpListener::bind(SocketAddr::new(shared.hello.address, shared.hello.port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Server { shared, listener, port })
    }

    /// Serves until all is over.
    pub(super) fn serve(self) {
        let (open, pace) = (AtomicUsize::new(0), Pace::new(self.shared.hello.rate));
        let (open, pace, shared) = (&open, &pace, self.shared);
        std::thread::scope(|scope| {
            while !shared.is_over() {
                let stream = match self.listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        wait(&self.listener);
                        continue;
                    }
                    // Out of descriptors, or a connection that is gone already.
                    Err(_) => {
                        std::thread::sleep(LOOK);
                        continue;
                    }
                };
                if open.fetch_add(1, Ordering::AcqRel) >= shared.hello.uploads + SPARE {
                    open.fetch_sub(1, Ordering::AcqRel);
                    continue;
                }
                scope.spawn(move || {
                    // Whoever asked sees that it ended, and tells the launcher.
                    let _ = one(shared, pace, stream);
                    open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
    }
}

fn wait(listener: &TcpListener) {
    let time = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&time));
}

/// One connection to its end.
fn one(shared: &Shared<'_>, pace: &Pace, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(STUCK))?;
    let mut patient = Patient { stream, until: Instant::now() + HANDSHAKE, shared };
    if patient.peek()? == ask::BINARY {
        return binary(shared, pace, patient);
    }
    let failed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut connection = ServerConnection::new(shared.identity.server.clone()).map_err(failed)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut patient)?;
    }
    let mut stream = StreamOwned::new(connection, patient);
    loop {
        stream.sock.until = Instant::now() + QUIET;
        let Some(line) = ask::line(&mut stream, &mut Vec::new())? else { return Ok(()) };
        stream.sock.until = Instant::now() + Duration::from_secs(24 * 3600);
        match find(shared, &line) {
            Ok(part) => {
                stream.write_all(Answer::Here(part.size).line().as_bytes())?;
                stream.flush()?;
                copy(shared, pace, part, &mut stream)?;
            }
            Err(why) => {
                stream.write_all(Answer::No(why).line().as_bytes())?;
                stream.conn.send_close_notify();
                return stream.flush();
            }
        }
    }
}

/// What is sent of a file: from a place to its size, which it may not have yet.
struct Part {
    file: File,
    from: u64,
    size: u64,
}

/// A blob that is asked for, if it is one of the image and here, or coming.
fn find(shared: &Shared<'_>, line: &str) -> Result<Part, String> {
    let Ask { digest, from } = Ask::parse(line).ok_or("that is no question")?;
    let size = *shared.sizes.get(&digest).ok_or("it is not of this image")?;
    if from > size {
        return Err("it has another size".to_owned());
    }
    let asked = Instant::now();
    loop {
        if let Ok(file) = shared.store.open_blob(&digest) {
            let length = file.metadata().map_err(|error| error.to_string())?.len();
            return if length == size { Ok(Part { file, from, size }) } else { Err("it has another size".to_owned()) };
        }
        // What came before it breaks off may be a moment behind the question.
        if let Some(file) = shared.store.open_partial(&digest)
            && file.metadata().is_ok_and(|meta| meta.len() > from)
        {
            return Ok(Part { file, from, size });
        }
        if asked.elapsed() > super::GRACE || shared.is_over() {
            return Err(ask::ABSENT.to_owned());
        }
        std::thread::sleep(NAP);
    }
}

/// This binary, for who knows its digest.
fn binary(shared: &Shared<'_>, pace: &Pace, mut to: Patient<'_>) -> io::Result<()> {
    let line = ask::line(&mut to, &mut Vec::new())?;
    if line.as_deref().and_then(ask::binary) != Some(&shared.hello.binary) {
        return Ok(());
    }
    let file = File::open(&shared.binary)?;
    let size = file.metadata()?.len();
    copy(shared, pace, Part { file, from: 0, size }, &mut to)
}

/// Sends what there is of a file, and what comes, to its size.
fn copy(shared: &Shared<'_>, pace: &Pace, part: Part, to: &mut impl Write) -> io::Result<()> {
    let Part { mut file, from, size } = part;
    file.seek(SeekFrom::Start(from))?;
    let (mut at, mut there, mut grown) = (from, 0, Instant::now());
    let mut buffer = vec![0; PIECE];
    while at < size {
        if shared.is_over() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if at >= there {
            there = file.metadata()?.len();
            // It was begun again, or comes no more.
            if there < at || grown.elapsed() > STUCK {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if there == at {
                std::thread::sleep(NAP);
                continue;
            }
            grown = Instant::now();
        }
        let most = usize::try_from(there.min(size) - at).unwrap_or(usize::MAX).min(pace.piece());
        let count = file.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pace.wait(shared, count as u64)?;
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    to.flush()
}

/// Nothing came while it was waited for.
pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// A connection whose reads end when time is up, and its writes, too, when all is over.
pub(super) struct Patient<'a> {
    pub(super) stream: TcpStream,
    /// Until when to wait for something to read.
    pub(super) until: Instant,
    pub(super) shared: &'a Shared<'a>,
}

impl Patient<'_> {
    fn peek(&self) -> io::Result<u8> {
        let mut byte = [0];
        match self.again(|| self.stream.peek(&mut byte))? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }

    /// Reads when there is something. Time is looked at before each read: a byte now and then is no reason to wait longer.
    fn again(&self, mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        while !self.shared.is_over() && Instant::now() < self.until {
            match read() {
                Err(error) if is_pause(&error) => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut stream = &self.stream;
        self.again(|| stream.read(into))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.shared.is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // TLS would take a pause for a reason to read, and wait for a question of who takes nothing.
        (&self.stream).write(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps everything that is sent below a rate.
struct Pace {
    rate: Option<u64>,
    /// When the next byte may go.
    next: std::sync::Mutex<Instant>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Pace {
        Pace { rate: rate.filter(|rate| *rate > 0), next: std::sync::Mutex::new(Instant::now()) }
    }

    /// Bytes that are sent at one time: few, where it is to be slow.
    fn piece(&self) -> usize {
        self.rate.map_or(PIECE, |rate| usize::try_from(rate / 8).unwrap_or(PIECE).clamp(64, PIECE))
    }

    fn wait(&self, shared: &Shared<'_>, bytes: u64) -> io::Result<()> {
        let Some(rate) = self.rate else { return Ok(()) };
        let now = Instant::now();
        let until = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let begin = (*next).max(now);
            *next = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
            begin
        };
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            if shared.is_over() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(left.min(LOOK));
        }
        Ok(())
    }
}
