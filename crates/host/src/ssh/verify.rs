//! Whose host key is accepted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::client;
use russh::keys::{Certificate, PublicKeyOrCertificate};

use super::options::{HostKeys, SshOptions};
use super::tunnel::RemoteTunnels;
use super::wait::{HostKeyProblem, Unreachable};
use crate::error::printable;
use crate::keys::PublicKey;
use crate::known_hosts::{KnownHosts, Verdict, matches_list};

/// What the connection's callbacks know and find out.
#[derive(Debug)]
pub(crate) struct Watcher {
    policy: Policy,
    pub(crate) found: Arc<Found>,
    pub(crate) tunnels: RemoteTunnels,
}

/// What was found out, for who waits for the connection.
#[derive(Debug, Default)]
pub(crate) struct Found {
    problem: Mutex<Option<HostKeyProblem>>,
    end: Mutex<Option<String>>,
    key: Mutex<Option<PublicKey>>,
}

impl Found {
    pub(crate) fn problem(&self) -> Option<HostKeyProblem> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the connection ended.
    pub(crate) fn end(&self) -> Option<String> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key the server proved to have.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set<T>(slot: &Mutex<Option<T>>, value: T) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

/// A policy with what the files say, read before the connection is made.
#[derive(Debug)]
pub(crate) struct Policy {
    keys: HostKeys,
    known: KnownHosts,
    name: String,
    port: u16,
}

impl Policy {
    pub(crate) fn read(options: &SshOptions) -> Result<Policy, Unreachable> {
        let known = match &options.host_keys {
            HostKeys::Known(files) | HostKeys::AcceptNew(files) => KnownHosts::read(files)
                .map_err(|error| Unreachable::HostKey(HostKeyProblem::Files(error.to_string())))?,
            HostKeys::Pinned(_) | HostKeys::Any => KnownHosts::default(),
        };
        let keys = options.host_keys.clone();
        Ok(Policy { keys, known, name: options.filed_as().to_owned(), port: options.port })
    }

    /// Types of keys that the server should show, if it has them.
    pub(crate) fn kinds(&self) -> Vec<String> {
        match &self.keys {
            HostKeys::Pinned(keys) => keys.iter().map(PublicKey::algorithm).collect(),
            _ => self.known.kinds(&self.name, self.port),
        }
    }

    /// Whether a certificate is of use.
    pub(crate) fn wants_certificate(&self) -> bool {
        self.known.has_authority(&self.name, self.port)
    }

    fn check(&self, shown: &PublicKeyOrCertificate) -> Result<(), HostKeyProblem> {
        let key = PublicKey(shown.public_key());
        match &self.keys {
            HostKeys::Any => Ok(()),
            HostKeys::Pinned(keys) if keys.iter().any(|pinned| pinned.same(&key)) => Ok(()),
            HostKeys::Pinned(_) => Err(HostKeyProblem::NotPinned { key: Box::new(key) }),
            HostKeys::Known(_) | HostKeys::AcceptNew(_) => match shown.certificate() {
                Some(certificate) => self.check_certificate(certificate, key),
                None => self.check_key(key),
            },
        }
    }

    fn check_key(&self, key: PublicKey) -> Result<(), HostKeyProblem> {
        let name = crate::known_hosts::name_of(&self.name, self.port);
        match self.known.check(&self.name, self.port, &key) {
            Verdict::Trusted => Ok(()),
            Verdict::Changed(places) => Err(HostKeyProblem::Changed { name, key: Box::new(key), places }),
            Verdict::Revoked(place) => Err(HostKeyProblem::Revoked { key: Box::new(key), place }),
            Verdict::Unknown => match &self.keys {
                HostKeys::AcceptNew(files) => self.accept(files.first(), &key),
                _ => Err(HostKeyProblem::Unknown { name, key: Box::new(key) }),
            },
        }
    }

    fn accept(&self, file: Option<&std::path::PathBuf>, key: &PublicKey) -> Result<(), HostKeyProblem> {
        let Some(file) = file else {
            return Err(HostKeyProblem::Files("there is no file to add new keys to".to_owned()));
        };
        KnownHosts::append(file, &self.name, self.port, key).map_err(|error| HostKeyProblem::Files(error.to_string()))
    }

    fn check_certificate(&self, certificate: &Certificate, key: PublicKey) -> Result<(), HostKeyProblem> {
        let authority = PublicKey(russh::keys::PublicKey::new(certificate.signature_key().clone(), ""));
        match self.known.check_authority(&self.name, self.port, &authority) {
            Verdict::Trusted => {}
            Verdict::Revoked(place) => return Err(HostKeyProblem::Revoked { key: Box::new(authority), place }),
            // As without a certificate.
            _ => return self.check_key(key),
        }
        if let Verdict::Revoked(place) = self.known.check(&self.name, self.port, &key) {
            return Err(HostKeyProblem::Revoked { key: Box::new(key), place });
        }
        let bad = |why: String| Err(HostKeyProblem::Certificate(why));
        if !certificate.cert_type().is_host() {
            return bad("it is one for users".to_owned());
        }
        let principals: Vec<String> =
            certificate.valid_principals().iter().map(|name| name.to_ascii_lowercase()).collect();
        if !matches_list(&principals, &self.name.to_ascii_lowercase()) {
            let names = printable(principals.join(", ").as_bytes());
            return bad(format!("it is for {names}, and not for {}", self.name));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if now < certificate.valid_after() || now >= certificate.valid_before() {
            return bad("it is not valid now".to_owned());
        }
        if !certificate.critical_options().is_empty() {
            return bad("it has critical options".to_owned());
        }
        match certificate.verify_signature() {
            Ok(()) => Ok(()),
            Err(error) => bad(format!("its signature is wrong: {error}")),
        }
    }
}

impl Watcher {
    pub(crate) fn new(policy: Policy, tunnels: RemoteTunnels) -> Watcher {
        Watcher { policy, found: Arc::default(), tunnels }
    }
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // A new exchange of session keys shows the key again.
        if let Some(first) = self.found.key() {
            return Ok(first.same(&PublicKey(shown.public_key())));
        }
        // Files are small and local; a new key is written once in the life of a machine.
        match self.policy.check(shown) {
            Ok(()) => {
                Found::set(&self.found.key, PublicKey(shown.public_key()));
                Ok(true)
            }
            Err(problem) => {
                Found::set(&self.found.problem, problem);
                Ok(false)
            }
        }
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        match reason {
            client::DisconnectReason::ReceivedDisconnect(info) => {
                Found::set(&self.found.end, printable(info.message.as_bytes()));
                Ok(())
            }
            client::DisconnectReason::Error(error) => {
                Found::set(&self.found.end, super::session::explain(&error));
                Err(error)
            }
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: russh::Channel<client::Msg>,
        _connected_address: &str,
        connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.tunnels.accept(channel, connected_port, reply);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _socket_path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _address: &str,
        _port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }
}
