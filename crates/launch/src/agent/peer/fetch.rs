//! One order: blobs from one host, over one connection. What came of a blob before the connection broke stays, and the
//! next source goes on there.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_oci::{Digest, Hasher};
use kiln_store::BlobWriter;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::Shared;
use super::ask::{self, Answer, Ask};
use super::serve::{HANDSHAKE, LOOK, is_pause};
use super::words::{Fault, Fetch, Kind};
use crate::machine::printable;

/// How long a host may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
const PIECE: usize = 128 << 10;

type Peer = StreamOwned<ClientConnection, Socket>;

/// A connection whose reads pause now and then, whatever comes, so that who reads looks at its watch: TLS does not return
/// while a record comes byte by byte.
struct Socket {
    stream: TcpStream,
    paused: Instant,
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.paused.elapsed() > LOOK {
            self.paused = Instant::now();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream.read(into)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Does an order; tells of each blob that is here.
pub(super) fn fetch(shared: &Shared<'_>, fetch: &Fetch, got: &dyn Fn(usize)) -> Result<(), Fault> {
    if shared.is_halted() {
        return Err(Fault::new(Kind::Own, "the launcher stopped it"));
    }
    let mut peer = connect(shared, fetch)?;
    let mut watch = Watch::new(fetch);
    for &place in &fetch.blobs {
        let known = shared.hello.blobs.get(place);
        let (digest, size) = known.ok_or_else(|| Fault::new(Kind::Own, "the order is of blobs that nobody knows"))?;
        blob(shared, &mut peer, &mut watch, digest, *size)?;
        got(place);
    }
    peer.conn.send_close_notify();
    let _ = peer.flush();
    Ok(())
}

fn connect(shared: &Shared<'_>, fetch: &Fetch) -> Result<Peer, Fault> {
    let away = |error: io::Error| Fault::new(Kind::Unreachable, format!("{}: {error}", fetch.from));
    let stream = TcpStream::connect_timeout(&fetch.from, CONNECT).map_err(away)?;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(LOOK)))
        .and_then(|()| stream.set_write_timeout(Some(HANDSHAKE)));
    set.map_err(away)?;
    let refused = |why: String| Fault::new(Kind::Refused, format!("{}: {}", fetch.from, printable(&why)));
    let name = ServerName::try_from(fetch.name.clone()).map_err(|error| refused(error.to_string()))?;
    let client = ClientConnection::new(shared.identity.client.clone(), name);
    let mut client = client.map_err(|error| refused(error.to_string()))?;
    let mut socket = Socket { stream, paused: Instant::now() };
    let until = Instant::now() + HANDSHAKE;
    let broken = |error: io::Error| Fault::new(Kind::Broken, format!("{}: {error}", fetch.from));
    while client.is_handshaking() {
        if Instant::now() >= until || shared.is_halted() {
            return Err(broken(io::ErrorKind::TimedOut.into()));
        }
        match client.complete_io(&mut socket) {
            Ok(_) => {}
            Err(error) if is_pause(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(refused(error.to_string())),
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(StreamOwned::new(client, socket))
}

/// Brings one blob into the store.
fn blob(shared: &Shared<'_>, peer: &mut Peer, watch: &mut Watch<'_>, digest: &Digest, size: u64) -> Result<(), Fault> {
    let own = |why: String| Fault::new(Kind::Own, format!("blob {digest}: {why}"));
    let waiting = Instant::now();
    let given_up = || shared.is_halted() || waiting.elapsed() > HANDSHAKE;
    let writer = shared.store.download(digest, size, &given_up).map_err(|error| own(error.to_string()))?;
    let Some(mut writer) = writer else { return Ok(()) };
    loop {
        let before = writer.written();
        let found = rest(shared, peer, watch, digest, size, &mut writer)?;
        if found == *digest {
            return writer.commit_hashed(digest.clone()).map(drop).map_err(|error| own(error.to_string()));
        }
        writer.reset().map_err(|error| own(error.to_string()))?;
        // What was there before may have been of another source, or torn by a crash: this one has a whole blob to show.
        if before == 0 {
            return Err(Fault::new(Kind::Lied, format!("what came as {digest} is {found}")));
        }
    }
}

/// Goes on with a blob to its end; the digest of all of it.
fn rest(
    shared: &Shared<'_>,
    peer: &mut Peer,
    watch: &mut Watch<'_>,
    digest: &Digest,
    size: u64,
    writer: &mut BlobWriter,
) -> Result<Digest, Fault> {
    let own = |why: io::Error| Fault::new(Kind::Own, format!("blob {digest}: {why}"));
    let broken = |why: &str| Fault::new(Kind::Broken, format!("blob {digest}: {why}"));
    let mut hasher: Hasher = digest.hasher();
    writer.replay(&mut |piece| hasher.update(piece)).map_err(own)?;
    let ask = Ask { digest: digest.clone(), from: writer.written() };
    let asked = peer.write_all(ask.line().as_bytes()).and_then(|()| peer.flush());
    asked.map_err(|error| ended(&error, digest))?;
    watch.begin();
    let mut open = Vec::new();
    let line = loop {
        match ask::line(peer, &mut open) {
            Ok(Some(line)) => break line,
            Ok(None) => return Err(broken("the connection ended before an answer")),
            Err(error) if is_pause(&error) => watch.look(shared)?,
            Err(error) => return Err(ended(&error, digest)),
        }
    };
    match Answer::parse(&line) {
        Some(Answer::Here(there)) if there == size => {}
        Some(Answer::No(why)) if why == ask::ABSENT => return Err(broken(&why)),
        Some(Answer::No(why)) => return Err(Fault::new(Kind::Refused, format!("blob {digest}: {why}"))),
        _ => return Err(Fault::new(Kind::Refused, format!("blob {digest}: the answer makes no sense"))),
    }
    let mut buffer = vec![0; PIECE];
    while writer.written() < size {
        let most = usize::try_from(size - writer.written()).unwrap_or(usize::MAX).min(PIECE);
        let count = match peer.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Err(broken("the connection ended early")),
            Ok(count) => count,
            Err(error) if is_pause(&error) => {
                watch.look(shared)?;
                continue;
            }
            Err(error) => return Err(ended(&error, digest)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        hasher.update(piece);
        writer.write_all(piece).map_err(own)?;
        shared.fetched.fetch_add(count as u64, Ordering::Relaxed);
        watch.came(count as u64);
        watch.look(shared)?;
    }
    Ok(hasher.finish())
}

/// What the end of a connection means: that TLS refuses comes as data that makes no sense.
fn ended(error: &io::Error, digest: &Digest) -> Fault {
    let kind = if error.kind() == io::ErrorKind::InvalidData { Kind::Refused } else { Kind::Broken };
    Fault::new(kind, format!("blob {digest}: {}", printable(&error.to_string())))
}

/// Looks whether a source is fast enough: in each stretch of the patience it has to bring so much.
struct Watch<'a> {
    fetch: &'a Fetch,
    since: Instant,
    bytes: u64,
}

impl<'a> Watch<'a> {
    fn new(fetch: &'a Fetch) -> Watch<'a> {
        Watch { fetch, since: Instant::now(), bytes: 0 }
    }

    /// What was done between blobs was not the source's fault.
    fn begin(&mut self) {
        (self.since, self.bytes) = (Instant::now(), 0);
    }

    fn came(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn look(&mut self, shared: &Shared<'_>) -> Result<(), Fault> {
        if shared.is_halted() {
            return Err(Fault::new(Kind::Own, "the launcher stopped it"));
        }
        let took = self.since.elapsed();
        if took < Duration::from_millis(self.fetch.patience) {
            return Ok(());
        }
        let wanted = u128::from(self.fetch.floor.max(1)) * took.as_millis() / 1000;
        if u128::from(self.bytes) < wanted {
            let rate = u128::from(self.bytes) * 1000 / took.as_millis().max(1);
            let why = format!("{}: {rate} bytes a second are too slow", self.fetch.from);
            return Err(Fault::new(Kind::Slow, why));
        }
        self.begin();
        Ok(())
    }
}
