//! Logging in: the ways the caller gave, as far as the server takes them.

use std::path::Path;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};

use super::options::{Auth, SshOptions};
use super::verify::Watcher;
use super::wait::Unreachable;
use crate::Secret;
use crate::keys::{Certificate, PrivateKey, PublicKey};

/// Rounds of questions that a server may ask.
const ROUNDS: usize = 10;
/// Keys of an agent that are offered; servers count, and most stop at six.
const AGENT_KEYS: usize = 32;

/// What was tried, for the message when nothing worked.
struct Login<'a> {
    handle: &'a mut Handle<Watcher>,
    user: &'a str,
    tried: Vec<String>,
    /// The server's latest list.
    offered: Vec<String>,
}

enum Outcome {
    In,
    /// Not by this; go on.
    Denied,
    /// This was right, and the server wants another as well.
    Partial,
}

/// Logs in.
pub(crate) async fn login(handle: &mut Handle<Watcher>, options: &SshOptions) -> Result<(), Unreachable> {
    let mut login = Login { handle, user: &options.user, tried: Vec::new(), offered: Vec::new() };
    let first = login.handle.authenticate_none(login.user).await;
    // Also how one learns which ways there are.
    match login.outcome(first, None)? {
        Outcome::In => return Ok(()),
        Outcome::Denied | Outcome::Partial => {}
    }
    let mut left: Vec<&Auth> = options.auth.iter().collect();
    // A server that wants two ways, one after the other, says after the first which comes next.
    while let Some(index) = left.iter().position(|auth| login.takes(auth)) {
        let auth = left.remove(index);
        if let Outcome::In = login.attempt(auth).await? {
            return Ok(());
        }
    }
    for auth in left {
        login.tried.push(format!("no {} (not offered)", auth.method()));
    }
    Err(Unreachable::Denied { tried: login.tried, offered: login.offered })
}

impl Login<'_> {
    fn takes(&self, auth: &Auth) -> bool {
        self.offered.is_empty() || self.offered.iter().any(|method| method == auth.method())
    }

    async fn attempt(&mut self, auth: &Auth) -> Result<Outcome, Unreachable> {
        match auth {
            Auth::Password(password) => {
                let result = self.handle.authenticate_password(self.user, password.expose()).await;
                self.outcome(result, Some("a password".to_owned()))
            }
            Auth::Interactive(answer) => self.interactive(answer).await,
            Auth::Key { key, certificate } => self.key(key, certificate.as_ref()).await,
            Auth::Agent { socket, only } => self.agent(socket, only.as_ref()).await,
        }
    }

    async fn key(&mut self, key: &PrivateKey, certificate: Option<&Certificate>) -> Result<Outcome, Unreachable> {
        if let Some(certificate) = certificate {
            if !certificate.key().same(&key.public()) {
                return Err(Unreachable::Options("the certificate is for another key than the one given".to_owned()));
            }
            let what = format!("the certificate `{}`", crate::error::printable(certificate.0.key_id().as_bytes()));
            let hash = self.hash(&key.public()).await?;
            let (mut signer, certificate) = (KeySigner(key), (*certificate.0).clone());
            let result = self.handle.authenticate_certificate_with(self.user, certificate, hash, &mut signer).await;
            return match result {
                Ok(result) => self.outcome(Ok(result), Some(what)),
                Err(error) => Err(Unreachable::Handshake(error.to_string())),
            };
        }
        let what = describe(&key.public());
        let hash = self.hash(&key.public()).await?;
        let result =
            self.handle.authenticate_publickey(self.user, PrivateKeyWithHashAlg::new(key.0.clone(), hash)).await;
        self.outcome(result, Some(what))
    }

    /// RSA is signed with what the server knows; the oldest kind only if it knows nothing else.
    async fn hash(&self, key: &PublicKey) -> Result<Option<HashAlg>, Unreachable> {
        if !key.0.algorithm().is_rsa() {
            return Ok(None);
        }
        let best = self.handle.best_supported_rsa_hash().await.map_err(|error| self.broken(&error))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha256)))
    }

    async fn agent(&mut self, socket: &Path, only: Option<&PublicKey>) -> Result<Outcome, Unreachable> {
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried.push(format!("no agent ({}: {error})", socket.display()));
                return Ok(Outcome::Denied);
            }
        };
        let identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.tried.push(format!("no keys of the agent ({error})"));
                return Ok(Outcome::Denied);
            }
        };
        let mut any = false;
        for identity in identities.into_iter().take(AGENT_KEYS) {
            let public = PublicKey(match &identity {
                AgentIdentity::PublicKey { key, .. } => key.clone(),
                AgentIdentity::Certificate { certificate, .. } => {
                    russh::keys::PublicKey::new(certificate.public_key().clone(), "")
                }
            });
            if only.is_some_and(|only| !only.same(&public)) {
                continue;
            }
            any = true;
            let hash = self.hash(&public).await?;
            let result = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle.authenticate_publickey_with(self.user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle.authenticate_certificate_with(self.user, certificate, hash, &mut agent).await
                }
            };
            let what = format!("{} of the agent", describe(&public));
            let outcome = match result {
                Ok(result) => self.outcome(Ok(result), Some(what))?,
                Err(error) => {
                    self.tried.push(format!("{what} (it did not sign: {error})"));
                    Outcome::Denied
                }
            };
            if !matches!(outcome, Outcome::Denied) {
                return Ok(outcome);
            }
        }
        if !any {
            self.tried.push("no key of the agent (it has none to offer)".to_owned());
        }
        Ok(Outcome::Denied)
    }

    async fn interactive(&mut self, answer: &Secret) -> Result<Outcome, Unreachable> {
        let what = Some("answering its questions".to_owned());
        let mut reply = self.handle.authenticate_keyboard_interactive_start(self.user, None).await;
        for _ in 0..ROUNDS {
            match reply {
                Ok(KeyboardInteractiveAuthResponse::Success) => return self.outcome(Ok(AuthResult::Success), what),
                Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success }) => {
                    return self.outcome(Ok(AuthResult::Failure { remaining_methods, partial_success }), what);
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => {
                    let answers = prompts
                        .iter()
                        .map(|prompt| if prompt.echo { String::new() } else { answer.expose().to_owned() })
                        .collect();
                    reply = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
        self.tried.push("answering its questions (they do not end)".to_owned());
        Ok(Outcome::Denied)
    }

    fn outcome(
        &mut self,
        result: Result<AuthResult, russh::Error>,
        what: Option<String>,
    ) -> Result<Outcome, Unreachable> {
        match result.map_err(|error| self.broken(&error))? {
            AuthResult::Success => Ok(Outcome::In),
            AuthResult::Failure { remaining_methods, partial_success } => {
                // An agent's call answers so when the connection has ended.
                if self.handle.is_closed() {
                    self.tried.extend(what);
                    return Err(self.broken(&russh::Error::Disconnect));
                }
                self.offered = remaining_methods.iter().map(method_name).collect();
                let suffix = if partial_success { " (right, but the server wants more)" } else { "" };
                self.tried.extend(what.map(|what| format!("{what}{suffix}")));
                Ok(if partial_success { Outcome::Partial } else { Outcome::Denied })
            }
        }
    }

    /// The connection ended: after too many attempts that is how a server says no.
    fn broken(&self, error: &russh::Error) -> Unreachable {
        let closed = matches!(
            error,
            russh::Error::SendError | russh::Error::RecvError | russh::Error::Disconnect | russh::Error::HUP
        );
        match closed && !self.tried.is_empty() {
            true => Unreachable::Denied { tried: self.tried.clone(), offered: self.offered.clone() },
            false if closed => Unreachable::Closed("at the login".to_owned()),
            false => Unreachable::Handshake(super::session::explain(error)),
        }
    }
}

/// Signs for a certificate with a key that is at hand. The library's own way would sign RSA as nobody accepts any more.
struct KeySigner<'a>(&'a PrivateKey);

impl russh::Signer for KeySigner<'_> {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, russh::AgentAuthError> {
        let fail = |_| russh::AgentAuthError::Key(russh::keys::Error::InvalidSignature);
        let signature: Signature = match self.0.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&to_sign).map_err(fail)?,
            pair => pair.try_sign(&to_sign).map_err(fail)?,
        };
        let blob = Vec::<u8>::try_from(signature)
            .map_err(|error| russh::AgentAuthError::Key(russh::keys::Error::SshKey(error)))?;
        // Behind what was signed, as the protocol wants it.
        to_sign.extend_from_slice(&(blob.len() as u32).to_be_bytes());
        to_sign.extend_from_slice(&blob);
        Ok(to_sign)
    }
}

fn method_name(method: &MethodKind) -> String {
    String::from(method)
}

fn describe(key: &PublicKey) -> String {
    format!("the key {} {}", key.algorithm(), key.fingerprint())
}
