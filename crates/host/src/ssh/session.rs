//! One connection: handshake, login, and the channels on it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, Handle, Msg};
use russh::keys::{Algorithm, HashAlg};
use russh::{Channel, Preferred, SshId, cipher, kex, mac};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::dial::{Start, Stream, Watched, dial, first_to_greet};
use super::options::{Algorithms, SshOptions};
use super::tunnel::RemoteTunnels;
use super::verify::{Found, Policy, Watcher};
use super::wait::Unreachable;
use crate::HostError;
use crate::error::printable;

/// Bytes that a server may send on a channel before it has to wait, and messages of it that are held when a caller's
/// stream is slower: about 1 MB of each channel.
const WINDOW: u32 = 1 << 20;
const MESSAGES: usize = 32;
const PACKET: u32 = 32 << 10;
/// Jump hosts behind each other.
const JUMPS: usize = 8;
/// How long a server that has too many sessions open is asked again.
const CROWDED: Duration = Duration::from_secs(10);
const CROWDED_STEP: Duration = Duration::from_millis(100);

/// A connection that is logged in.
pub(crate) struct Connection {
    pub(crate) handle: Handle<Watcher>,
    pub(crate) found: Arc<Found>,
    name: String,
    permits: Arc<Semaphore>,
    /// Through which it goes: ends when this does.
    _jump: Option<Box<Connection>>,
}

/// A channel, and the right to have it open.
pub(crate) struct Session {
    pub(crate) channel: Channel<Msg>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// How long an attempt may take: for TCP and for the greeting, and in all.
pub(crate) type Within = Option<(Duration, Duration)>;

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(
        options: &SshOptions,
        tunnels: RemoteTunnels,
        within: Within,
    ) -> Result<Connection, Unreachable> {
        let all = within.map(|(_, all)| all);
        let work = connect(options, tunnels, within, 0);
        match all {
            None => work.await,
            Some(all) => timeout(all, work).await.unwrap_or(Err(Unreachable::Slow("connecting", all))),
        }
    }

    /// How it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended.
    pub(crate) fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// What to say when something failed on this connection.
    pub(crate) fn failure(&self, error: &russh::Error) -> HostError {
        let why = self.found.end().unwrap_or_else(|| explain(error));
        HostError::Disconnected { host: self.name.clone(), why }
    }

    /// A session, once fewer than the allowed number are open.
    pub(crate) async fn session(&self) -> Result<Session, HostError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| self.failure(&russh::Error::Disconnect))?;
        let start = Instant::now();
        loop {
            match self.handle.channel_open_session().await {
                Ok(channel) => return Ok(Session { channel, permit }),
                Err(russh::Error::ChannelOpenFailure(reason)) => {
                    // The server allows fewer sessions than thought; some of this connection's will end.
                    if start.elapsed() < CROWDED && !self.closed() {
                        tokio::time::sleep(CROWDED_STEP).await;
                        continue;
                    }
                    let why = format!("the server opens no more sessions ({})", refusal(&reason));
                    return Err(HostError::Start { host: self.name.clone(), why });
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }
}

/// Also for jump hosts, which are connected to first.
fn connect<'a>(
    options: &'a SshOptions,
    tunnels: RemoteTunnels,
    within: Within,
    depth: usize,
) -> futures_util::future::BoxFuture<'a, Result<Connection, Unreachable>> {
    Box::pin(async move {
        let policy = Policy::read(options)?;
        let config = Arc::new(config(options, &policy)?);
        let greeting = within.map_or(options.connect_timeout, |(one, _)| one.min(options.connect_timeout));
        let (stream, jump) = match &options.jump {
            None if within.is_some() && options.proxy.is_none() => (first_to_greet(options, greeting).await?, None),
            None => (dial(options, greeting).await?, None),
            Some(jump) => {
                let (stream, jump) = through(options, jump, within, depth).await?;
                (stream, Some(jump))
            }
        };
        let banner = within.map_or(options.handshake_timeout, |(one, _)| one);
        let watcher = Watcher::new(policy, tunnels);
        let found = Arc::clone(&watcher.found);
        let (stream, start, guard) = Watched::new(stream);
        let limits = (banner, options.handshake_timeout);
        let mut handle = handshake(config, stream, start, watcher, limits).await?;
        match timeout(options.login_timeout, super::auth::login(&mut handle, options)).await {
            Ok(result) => result?,
            Err(_) => return Err(Unreachable::Slow("the login", options.login_timeout)),
        }
        guard.keep();
        Ok(Connection {
            handle,
            found,
            name: options.name(),
            permits: Arc::new(Semaphore::new(options.sessions.clamp(1, 1024))),
            _jump: jump.map(Box::new),
        })
    })
}

async fn through(
    options: &SshOptions,
    jump: &SshOptions,
    within: Within,
    depth: usize,
) -> Result<(Box<dyn Stream>, Connection), Unreachable> {
    if depth >= JUMPS {
        return Err(Unreachable::Options(format!("there are more than {JUMPS} jump hosts behind each other")));
    }
    let host = jump.name();
    let connection = connect(jump, RemoteTunnels::default(), within, depth + 1)
        .await
        .map_err(|why| Unreachable::Jump { host: host.clone(), why: Box::new(why) })?;
    let limit = options.connect_timeout;
    let open =
        connection.handle.channel_open_direct_tcpip(options.host.as_str(), u32::from(options.port), "127.0.0.1", 0);
    let beyond = |why: String| Unreachable::Beyond { host: host.clone(), why };
    match timeout(limit, open).await {
        Ok(Ok(channel)) => Ok((Box::new(channel.into_stream()), connection)),
        Ok(Err(russh::Error::ChannelOpenFailure(reason))) => Err(beyond(refusal(&reason))),
        Ok(Err(error)) => Err(beyond(explain(&error))),
        Err(_) => Err(beyond(format!("no answer within {:.1} s", limit.as_secs_f64()))),
    }
}

async fn handshake(
    config: Arc<client::Config>,
    stream: Watched,
    start: Start,
    watcher: Watcher,
    (greeting, limit): (Duration, Duration),
) -> Result<Handle<Watcher>, Unreachable> {
    let found = Arc::clone(&watcher.found);
    let silent = async {
        tokio::time::sleep(greeting).await;
        if !start.bytes().is_empty() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = client::connect_stream(config, stream, watcher) => {
            result.map_err(|error| match found.problem() {
                Some(problem) => Unreachable::HostKey(problem),
                None => not_shaken(&error, &start),
            })
        }
        () = silent => Err(Unreachable::NoBanner(greeting)),
        () = tokio::time::sleep(limit) => Err(match start.bytes() {
            bytes if bytes.is_empty() => Unreachable::NoBanner(limit),
            bytes if !bytes.starts_with(b"SSH-") => Unreachable::NotSsh(first_line(&bytes)),
            _ => Unreachable::Slow("the handshake", limit),
        }),
    }
}

fn not_shaken(error: &russh::Error, start: &Start) -> Unreachable {
    let bytes = start.bytes();
    // A server may send lines before its greeting.
    let greeted =
        bytes.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"SSH-2") || line.starts_with(b"SSH-1.99"));
    if !greeted && !bytes.is_empty() {
        return Unreachable::NotSsh(first_line(&bytes));
    }
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let kind = match kind {
                russh::AlgorithmKind::Kex => "key exchange",
                russh::AlgorithmKind::Key => "type of host key",
                russh::AlgorithmKind::Cipher => "cipher",
                russh::AlgorithmKind::Compression => "compression",
                russh::AlgorithmKind::Mac => "MAC",
            };
            let theirs = theirs.iter().take(64).map(|name| printable(name.as_bytes())).collect();
            Unreachable::Algorithms { kind: kind.to_owned(), theirs }
        }
        russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError => {
            Unreachable::Closed(first_line(&bytes))
        }
        other => Unreachable::Handshake(explain(other)),
    }
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    printable(line.get(..80).unwrap_or(line))
}

fn config(options: &SshOptions, policy: &Policy) -> Result<client::Config, Unreachable> {
    Ok(client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Kiln")),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: MESSAGES,
        preferred: preferred(&options.algorithms, policy)?,
        inactivity_timeout: options.silence,
        keepalive_interval: options.keep_alive,
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    })
}

fn preferred(wanted: &Algorithms, policy: &Policy) -> Result<Preferred, Unreachable> {
    let mut preferred = Preferred::default();
    if !wanted.ciphers.is_empty() {
        preferred.cipher = named(&wanted.ciphers, "cipher", |name| cipher::Name::try_from(name).ok())?.into();
    }
    if !wanted.macs.is_empty() {
        preferred.mac = named(&wanted.macs, "MAC", |name| mac::Name::try_from(name).ok())?.into();
    }
    if !wanted.key_exchanges.is_empty() {
        let mut names = named(&wanted.key_exchanges, "key exchange", |name| kex::Name::try_from(name).ok())?;
        // Without these two nothing protects the handshake from being cut short.
        names.extend([kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT]);
        preferred.kex = names.into();
    }
    let mut keys: Vec<Algorithm> = preferred.key.iter().filter(|key| !is_sha1(key)).cloned().collect();
    if wanted.host_keys.is_empty() {
        let known = policy.kinds();
        keys.sort_by_key(|key| !known.iter().any(|kind| same_kind(kind, key)));
    } else {
        keys = named(&wanted.host_keys, "type of host key", |name| name.parse().ok().filter(is_usable))?;
    }
    if policy.wants_certificate() {
        preferred.host_key_certificates = keys.clone().into();
    }
    preferred.key = keys.into();
    Ok(preferred)
}

fn named<T>(names: &[String], what: &str, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Unreachable> {
    let one = |name: &String| {
        let why = format!("Kiln has no {what} called `{}`", printable(name.as_bytes()));
        find(name).ok_or(Unreachable::Options(why))
    };
    names.iter().map(one).collect()
}

fn is_sha1(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None })
}

fn is_usable(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. })
}

/// RSA keys are filed as `ssh-rsa`, however they sign.
fn same_kind(kind: &str, algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => kind == "ssh-rsa",
        other => kind == other.as_str(),
    }
}

fn refusal(reason: &russh::ChannelOpenFailure) -> String {
    match reason {
        russh::ChannelOpenFailure::AdministrativelyProhibited => "it does not allow that".to_owned(),
        russh::ChannelOpenFailure::ConnectFailed => "the connection failed there".to_owned(),
        russh::ChannelOpenFailure::UnknownChannelType => "it does not know such channels".to_owned(),
        russh::ChannelOpenFailure::ResourceShortage => "it is short of resources".to_owned(),
        russh::ChannelOpenFailure::Other { code, reason } => format!("{} ({code})", printable(reason.as_bytes())),
    }
}

/// The protocol's errors in words.
pub(crate) fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout => "it no longer answers".to_owned(),
        russh::Error::InactivityTimeout => "it was silent for too long".to_owned(),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError | russh::Error::RecvError => {
            "it was closed".to_owned()
        }
        russh::Error::IO(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "it was closed".to_owned(),
        other => printable(other.to_string().as_bytes()),
    }
}
