//! Which key the machine may have. Its guest agent publishes the keys that it made itself (guest attributes, which only the
//! machine can write, and only who may see the instance can read); a guest with cloud-init writes them to its console.
//!
//! ```text
//! ssh_host_key                            that one, and nobody is asked
//! ssh_strict_host_key_checking = no       any
//! published, or on the console            one of these
//! nothing of it    … = yes                an error
//!                  otherwise              told; the first that answers has it for the whole build
//! ```

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use kiln_host::keys::PublicKey;
use kiln_host::ssh::HostKeys;
use kiln_ledger::poll::{Backoff, Stop};

use super::GoogleCompute;
use crate::builder::Job;
use crate::communicator::Settings;
use crate::communicator::settings::Checking;
use crate::error::{NodeError, Result};

/// How long a machine may take to publish its keys.
const PATIENCE: Duration = Duration::from_secs(120);
/// And how long, once its SSH answers: then it has made them.
const GRACE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_millis(500);
/// Keys of a console at the most.
const MOST: usize = 16;

/// What cloud-init writes around them.
const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";

impl GoogleCompute {
    /// Whose keys are accepted, if it is not the settings that say so.
    pub(super) fn host_keys(&mut self, settings: &Settings, job: &Job<'_>) -> Result<Option<HostKeys>> {
        if settings.host_key.is_some() || settings.checking == Some(Checking::No) {
            return Ok(None);
        }
        let keys = self.published(settings, job)?;
        if !keys.is_empty() {
            return Ok(Some(HostKeys::Pinned(keys)));
        }
        let what = "the machine published no host key, neither by guest attributes nor on its console".to_owned();
        if settings.checking == Some(Checking::Yes) {
            let hint = "install the guest agent in the source image, or say ssh_host_key";
            return Err(NodeError::Unsupported { what, hint: Some(hint.to_owned()) });
        }
        job.ui.message(&format!("warning: {what}: the first that answers is taken for it"));
        let scratch = tempfile::Builder::new().prefix("kiln-gce-").tempdir_in(&job.site.temporary);
        let scratch = scratch.map_err(NodeError::file("make a directory below", &job.site.temporary))?;
        let file = scratch.path().join("known_hosts");
        if let Some(running) = &mut self.running {
            running.scratch = Some(scratch);
        }
        Ok(Some(HostKeys::AcceptNew(vec![file])))
    }

    fn published(&self, settings: &Settings, job: &Job<'_>) -> Result<Vec<PublicKey>> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let (project, zone) = (&self.config.account.project, &self.config.zone);
        let name = &running.names.instance;
        let cancelled = || job.cancel.is_cancelled();
        let direct = settings.bastion.is_none() && settings.proxy.is_none();
        let mut backoff = Backoff::new(PATIENCE.min(settings.timeout));
        let (mut allowed, mut answers): (bool, Option<Instant>) = (true, None);
        loop {
            if allowed {
                match running.client.attributes(project, zone, name, "hostkeys/", &cancelled) {
                    Ok(all) => {
                        let lines = all.iter().map(|a| format!("{} {}", a.key, a.value));
                        let keys: Vec<PublicKey> = lines.filter_map(|line| PublicKey::parse(&line).ok()).collect();
                        if !keys.is_empty() {
                            return Ok(keys);
                        }
                    }
                    // An organisation may forbid them.
                    Err(error) if matches!(error.status(), Some(400..=499)) => allowed = false,
                    Err(error) => return Err(super::failed("Error asking for the host key")(error)),
                }
            }
            let console = running.client.console(project, zone, name, &cancelled);
            match console {
                Ok(text) => {
                    let keys = on_console(&text);
                    if !keys.is_empty() {
                        return Ok(keys);
                    }
                }
                Err(error) if matches!(error.status(), Some(400..=499)) && !allowed => return Ok(Vec::new()),
                Err(error) if matches!(error.status(), Some(400..=499)) => {}
                Err(error) => return Err(super::failed("Error asking for the host key")(error)),
            }
            if direct && answers.is_none() && listens(&running.host, running.port) {
                answers = Some(Instant::now());
            }
            if answers.is_some_and(|since| since.elapsed() >= GRACE) {
                return Ok(Vec::new());
            }
            match backoff.wait(&cancelled) {
                Ok(()) => {}
                Err(Stop::Cancelled) => return Err(NodeError::Cancelled),
                Err(Stop::TimedOut(_)) => return Ok(Vec::new()),
            }
        }
    }
}

/// Whether something takes connections there.
fn listens(host: &str, port: u16) -> bool {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    addresses.first().is_some_and(|address| TcpStream::connect_timeout(address, PROBE).is_ok())
}

/// The keys that cloud-init wrote, the last time it did.
fn on_console(text: &str) -> Vec<PublicKey> {
    let Some(at) = text.rfind(BEGIN) else { return Vec::new() };
    let rest = &text[at + BEGIN.len()..];
    // Without the end the last line may be cut.
    let Some(end) = rest.find(END) else { return Vec::new() };
    let lines = rest[..end].lines().map(|line| {
        // What writes the console may put a time before each line.
        let start = ["ssh-", "ecdsa-", "sk-"].iter().filter_map(|kind| line.find(kind)).min();
        start.map_or("", |start| &line[start..]).trim()
    });
    lines.filter_map(|line| PublicKey::parse(line).ok()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use kiln_host::keys::{Kind, PrivateKey};

    use super::*;

    #[test]
    fn keys_on_a_console_are_read_whole_or_not() {
        let line = PrivateKey::generate(Kind::Ed25519, "root@i").unwrap().public().line();
        let text = format!("boot\r\n{BEGIN}\r\n[   12.3] cloud-init[5]: {line}\r\nnoise\r\n{END}\r\nlogin:");
        let keys = on_console(&text);
        assert_eq!(keys.len(), 1);
        assert!(keys[0].same(&PublicKey::parse(&line).unwrap()));
        assert!(on_console(&text[..text.len() - 20]).is_empty() || text[..text.len() - 20].contains(END));
        assert!(on_console(&text[..text.find(END).unwrap()]).is_empty());
        assert!(on_console("").is_empty());
        assert!(on_console(&format!("{BEGIN}\nssh-ed25519 AAAA\n{END}")).is_empty());
    }
}
