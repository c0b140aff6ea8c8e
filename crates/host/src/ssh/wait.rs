//! Waiting for a machine that is being made or rebooted, knowing all the time why it does not answer yet.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Ssh;
use crate::keys::PublicKey;
use crate::{Cancel, Facts, HostError};

/// Between two attempts. An attempt costs next to nothing, and every second counts in a build.
const STEP: Duration = Duration::from_millis(250);
/// While waiting, a connection or greeting gets no more than this: a machine that has just got its address drops
/// packets, and the next attempt finds it. Within an attempt several connections are made, half a second apart.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long to wait for a machine.
#[derive(Debug, Clone)]
pub struct WaitOptions {
    /// In all.
    pub timeout: Duration,
    /// How often the login may be denied, with keys or a password that may only be about to be put there; 10.
    pub denials: u32,
    /// The answer has to come from another boot than this one: set by [`Ssh::wait_reboot`].
    pub(crate) another_than: Option<String>,
}

impl WaitOptions {
    /// Waits this long.
    pub fn new(timeout: Duration) -> WaitOptions {
        WaitOptions { timeout, denials: 10, another_than: None }
    }
}

/// Why a machine cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreachable {
    /// Its name has no address.
    Name {
        /// The name.
        name: String,
        /// What the resolver said.
        why: String,
    },
    /// Nothing listens on the port.
    Refused(SocketAddr),
    /// There is no way there.
    NoRoute(SocketAddr),
    /// Nothing came back.
    NoAnswer(SocketAddr, Duration),
    /// Another failure of TCP.
    Tcp(SocketAddr, String),
    /// Something listens, but does not say that it speaks SSH.
    NoBanner(Duration),
    /// Something else than SSH answered; its first bytes.
    NotSsh(String),
    /// The server closed the connection during the handshake; what it had said.
    Closed(String),
    /// There is no algorithm that both have.
    Algorithms {
        /// Of what kind.
        kind: String,
        /// What the server offers.
        theirs: Vec<String>,
    },
    /// The handshake failed otherwise.
    Handshake(String),
    /// The handshake or the login took too long.
    Slow(&'static str, Duration),
    /// The host key is not accepted.
    HostKey(HostKeyProblem),
    /// The login was denied.
    Denied {
        /// What was tried, with how it failed.
        tried: Vec<String>,
        /// What the server would take.
        offered: Vec<String>,
    },
    /// The proxy did not connect.
    Proxy {
        /// `host:port`.
        proxy: String,
        /// What it said.
        why: String,
    },
    /// A jump host cannot be reached.
    Jump {
        /// `user@host:port`.
        host: String,
        /// Why not.
        why: Box<Unreachable>,
    },
    /// A jump host does not connect further.
    Beyond {
        /// `user@host:port`.
        host: String,
        /// What it said.
        why: String,
    },
    /// The options cannot be used.
    Options(String),
    /// It answers, but was not yet rebooted.
    NotRebooted,
}

/// What is wrong with a host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyProblem {
    /// Nothing is known of the machine.
    Unknown {
        /// The name it is filed under.
        name: String,
        /// The key it showed.
        key: Box<PublicKey>,
    },
    /// It is known by another key.
    Changed {
        /// The name it is filed under.
        name: String,
        /// The key it showed.
        key: Box<PublicKey>,
        /// Where the known ones are: `FILE:LINE`.
        places: Vec<String>,
    },
    /// The key, or the authority of its certificate, was revoked.
    Revoked {
        /// The key.
        key: Box<PublicKey>,
        /// Where it says so.
        place: String,
    },
    /// It is none of those that were asked for.
    NotPinned {
        /// The key it showed.
        key: Box<PublicKey>,
    },
    /// The certificate is not good.
    Certificate(String),
    /// The files cannot be used.
    Files(String),
}

impl Unreachable {
    /// Whether it may pass by itself. Host keys and options do not.
    pub fn passes(&self) -> bool {
        match self {
            Unreachable::HostKey(_) | Unreachable::Options(_) | Unreachable::Algorithms { .. } => false,
            Unreachable::Jump { why, .. } => why.passes(),
            _ => true,
        }
    }

    pub(crate) fn denied(&self) -> bool {
        match self {
            Unreachable::Denied { .. } => true,
            Unreachable::Jump { why, .. } => why.denied(),
            _ => false,
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreachable::Name { name, why } => write!(f, "the name {name} has no address: {why}"),
            Unreachable::Refused(at) => write!(f, "{at} refuses connections: nothing listens there"),
            Unreachable::NoRoute(at) => write!(f, "there is no route to {at}"),
            Unreachable::NoAnswer(at, time) => {
                write!(
                    f,
                    "{at} does not answer within {:.1} s: it is down, or a firewall drops packets",
                    time.as_secs_f64()
                )
            }
            Unreachable::Tcp(at, why) => write!(f, "{at}: {why}"),
            Unreachable::NoBanner(time) => {
                let time = time.as_secs_f64();
                write!(f, "the port is open, but no SSH server greeted within {time:.1} s: it is not up yet")
            }
            Unreachable::NotSsh(start) => write!(f, "what listens there is no SSH server; it says `{start}`"),
            Unreachable::Closed(said) if said.is_empty() => {
                f.write_str("the connection was closed before any greeting: the server is not up yet")
            }
            Unreachable::Closed(said) => write!(f, "the server closed the connection during the handshake ({said})"),
            Unreachable::Algorithms { kind, theirs } => {
                write!(f, "the server has no {kind} in common with Kiln; it offers {}", theirs.join(", "))
            }
            Unreachable::Handshake(why) => write!(f, "the handshake failed: {why}"),
            Unreachable::Slow(what, time) => write!(f, "{what} took longer than {:.1} s", time.as_secs_f64()),
            Unreachable::HostKey(problem) => problem.fmt(f),
            Unreachable::Denied { tried, offered } => denied(tried, offered, f),
            Unreachable::Proxy { proxy, why } => write!(f, "the proxy {proxy} does not connect: {why}"),
            Unreachable::Jump { host, why } => write!(f, "the jump host {host} cannot be reached: {why}"),
            Unreachable::Beyond { host, why } => write!(f, "the jump host {host} does not connect further: {why}"),
            Unreachable::Options(why) => f.write_str(why),
            Unreachable::NotRebooted => f.write_str("it answers, but has not been rebooted yet"),
        }
    }
}

fn denied(tried: &[String], offered: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the login was denied: ")?;
    match tried.is_empty() {
        true => f.write_str("there was nothing to try")?,
        false => write!(f, "tried {}", tried.join(", "))?,
    }
    match offered.is_empty() {
        true => Ok(()),
        false => write!(f, "; the server takes {}", offered.join(", ")),
    }
}

impl fmt::Display for HostKeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostKeyProblem::Unknown { name, key } => {
                write!(f, "its host key is not known: {} {} for {name}", key.algorithm(), key.fingerprint())
            }
            HostKeyProblem::Changed { name, key, places } => write!(
                f,
                "its host key has CHANGED to {} {}: {name} is known by another key at {}. Either the machine was made \
                 anew, or somebody else answers in its place",
                key.algorithm(),
                key.fingerprint(),
                places.join(", ")
            ),
            HostKeyProblem::Revoked { key, place } => {
                write!(f, "its host key {} was revoked at {place}", key.fingerprint())
            }
            HostKeyProblem::NotPinned { key } => {
                write!(f, "its host key is {} {}, and not the one asked for", key.algorithm(), key.fingerprint())
            }
            HostKeyProblem::Certificate(why) => write!(f, "its host certificate is not good: {why}"),
            HostKeyProblem::Files(why) => write!(f, "host keys cannot be checked: {why}"),
        }
    }
}

impl Ssh {
    /// Connects, and tries again until that works. `note` hears each new reason why it does not work yet, and how long
    /// has been waited.
    ///
    /// # Errors
    /// With the last reason, when the time is over, at once when the reason does not pass, and when `cancel` is set.
    pub fn wait(
        &self,
        how: &WaitOptions,
        cancel: &Cancel,
        note: &mut dyn FnMut(&Unreachable, Duration),
    ) -> Result<(), HostError> {
        let start = Instant::now();
        let mut denials = 0;
        let mut last: Option<Unreachable> = None;
        loop {
            let left = how.timeout.saturating_sub(start.elapsed());
            let why = match self.attempt(how, left, cancel) {
                Ok(()) => return Ok(()),
                Err(HostError::Connect { why, .. }) => why,
                Err(HostError::Disconnected { why, .. }) => Unreachable::Closed(why),
                Err(other) => return Err(other),
            };
            denials += u32::from(why.denied());
            let over = start.elapsed() + STEP >= how.timeout;
            if last.as_ref() != Some(&why) {
                note(&why, start.elapsed());
            }
            if over || !why.passes() || denials >= how.denials.max(1) {
                // A deadline in the middle of an attempt says less than the attempt before.
                let why = match (&why, last) {
                    (Unreachable::Slow(..), Some(before)) if over => before,
                    _ => why,
                };
                return Err(HostError::WaitReachable {
                    host: self.name_text().to_owned(),
                    waited: start.elapsed(),
                    why,
                });
            }
            last = Some(why);
            self.pause(STEP, cancel)?;
        }
    }

    fn attempt(&self, how: &WaitOptions, left: Duration, cancel: &Cancel) -> Result<(), HostError> {
        self.connect_within(Some((ATTEMPT.min(left), left)), cancel)?;
        let Some(before) = &how.another_than else { return Ok(()) };
        if Facts::of(self, cancel)?.boot != *before {
            return Ok(());
        }
        self.disconnect();
        Err(HostError::Connect { host: self.name_text().to_owned(), why: Unreachable::NotRebooted })
    }

    /// Waits until a machine that was told to reboot has done so. `before` is what it was before.
    ///
    /// # Errors
    /// As [`Ssh::wait`], and when the machine has no name for its boot, so that a new one cannot be told from the old.
    pub fn wait_reboot(
        &self,
        before: &Facts,
        how: &WaitOptions,
        cancel: &Cancel,
        note: &mut dyn FnMut(&Unreachable, Duration),
    ) -> Result<(), HostError> {
        if before.boot.is_empty() {
            let what = format!("waiting for {} to reboot", self.name_text());
            return Err(HostError::Unsupported { what, why: "its kernel has no boot_id".to_owned() });
        }
        self.disconnect();
        self.wait(&WaitOptions { another_than: Some(before.boot.clone()), ..how.clone() }, cancel, note)
    }
}
