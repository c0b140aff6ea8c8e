//! Until a machine answers: connects as soon as it does, watches meanwhile whether it ever will, and says why not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_host::ssh::{Tunnel, Unreachable, WaitOptions};
use kiln_host::{HostError, Network, Ssh, SshOptions};
use kiln_sandbox::Cancel;

use super::machine::{Machine, failed, obeying};
use super::settings::Settings;
use crate::error::{NodeError, Result};
use crate::target::pause;
use crate::ui::{BuildUi, words};

/// How often a machine is looked at while it is waited for.
const GLANCE: Duration = Duration::from_millis(25);

/// Looks at a machine from outside of it.
pub trait Watch: Send + Sync {
    /// An error when it will never answer.
    ///
    /// # Errors
    /// Why.
    fn look(&mut self) -> Result<()>;

    /// What is known of one that did not answer in time.
    fn diagnosis(&mut self) -> Vec<String>;

    /// It answers: what was seen before does not count any more.
    fn answered(&mut self) {}

    /// How often it has begun anew, as far as that can be seen: then connections to it are dead, which they
    /// themselves notice late or never.
    fn restarts(&self) -> u64 {
        0
    }
}

/// Nothing can be seen of it.
pub struct Unseen;

impl Watch for Unseen {
    fn look(&mut self) -> Result<()> {
        Ok(())
    }

    fn diagnosis(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Connects to a machine, in Packer's words.
///
/// # Errors
/// When it does not answer in time, denies the login too often, shows a host key that is not accepted, or `watch` says
/// that it never will.
pub fn connect(
    options: SshOptions,
    settings: &Settings,
    mut watch: Box<dyn Watch>,
    ui: &BuildUi,
    cancel: &Cancel,
) -> Result<Machine> {
    ui.say(&format!("Using ssh communicator to connect: {}", options.host));
    if !settings.pause.is_zero() {
        ui.say(&format!("Pausing {} before connecting...", words(settings.pause)));
        pause(settings.pause, cancel)?;
    }
    ui.say("Waiting for SSH to become available...");
    let network = Network::start().map_err(|e| failed("connecting".to_owned(), e))?;
    let ssh = Ssh::new(&network, options);
    wait(&ssh, &waiting(settings.timeout, settings.attempts), &mut *watch, ui, cancel)?;
    ui.say("Connected to SSH!");
    let tunnels = tunnels(&ssh, settings, ui, cancel)?;
    Ok(Machine::new(ssh, settings, tunnels, watch, ui, cancel))
}

/// For so long, and through so many denied logins.
pub(super) fn waiting(time: Duration, denials: u32) -> WaitOptions {
    let mut how = WaitOptions::new(time);
    how.denials = denials;
    how
}

/// Waits until a machine answers, unless `watch` sees that it never will.
pub(super) fn wait(ssh: &Ssh, how: &WaitOptions, watch: &mut dyn Watch, ui: &BuildUi, cancel: &Cancel) -> Result<()> {
    let (token, done) = (kiln_host::Cancel::new(), AtomicBool::new(false));
    let (result, seen) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut note = |why: &Unreachable, _: Duration| tell(why, ui);
            let result = ssh.wait(how, &token, &mut note);
            done.store(true, Ordering::Relaxed);
            result
        });
        let mut seen = Ok(());
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(GLANCE);
            seen = if cancel.is_cancelled() { Err(NodeError::Cancelled) } else { watch.look() };
            if seen.is_err() {
                token.cancel();
                break;
            }
        }
        (waiting.join(), seen)
    });
    seen?;
    match result {
        Ok(Ok(())) => {
            watch.answered();
            Ok(())
        }
        Ok(Err(error)) => Err(given_up(error, watch, ui)),
        Err(_) => Err(NodeError::Machine { action: "connecting".to_owned(), why: "it was given up".to_owned() }),
    }
}

/// Reasons that do not pass by a machine's coming up are told while it is waited for.
fn tell(why: &Unreachable, ui: &BuildUi) {
    match why {
        Unreachable::Denied { .. }
        | Unreachable::Jump { .. }
        | Unreachable::Proxy { .. }
        | Unreachable::Beyond { .. }
        | Unreachable::Name { .. }
        | Unreachable::NotSsh(_)
        | Unreachable::NoRoute(_) => ui.message(&format!("not yet: {why}")),
        _ => {}
    }
}

fn given_up(error: HostError, watch: &mut dyn Watch, ui: &BuildUi) -> NodeError {
    if matches!(error, HostError::Cancelled) {
        return NodeError::Cancelled;
    }
    let (action, mut why) = match &error {
        HostError::WaitReachable { why, .. } if !why.passes() => ("Error connecting by SSH", error.to_string()),
        HostError::WaitReachable { why: Unreachable::Denied { .. }, .. } => {
            ("Error waiting for SSH", error.to_string())
        }
        HostError::WaitReachable { .. } => {
            ui.error("Timeout waiting for SSH.");
            ("Timeout waiting for SSH", error.to_string())
        }
        _ => ("Error waiting for SSH", error.to_string()),
    };
    for line in watch.diagnosis() {
        why += "\n    ";
        why += &line;
    }
    sorted(&error, action.to_owned(), why)
}

/// An error of a connection, by what can be done about it: a wrong host key does not pass.
pub(super) fn sorted(error: &HostError, action: String, why: String) -> NodeError {
    match error {
        HostError::WaitReachable { why: Unreachable::HostKey(_), .. }
        | HostError::Connect { why: Unreachable::HostKey(_), .. } => NodeError::HostKey { action, why },
        _ => NodeError::Machine { action, why },
    }
}

fn tunnels(ssh: &Ssh, settings: &Settings, ui: &BuildUi, cancel: &Cancel) -> Result<Vec<Tunnel>> {
    let mut all = Vec::new();
    for tunnel in &settings.local_tunnels {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), tunnel.port);
        let made = obeying(cancel, |cancel| ssh.forward_local(listen, &tunnel.host, tunnel.to, cancel));
        let made = made.map_err(|e| failed("ssh_local_tunnels".to_owned(), e))?;
        ui.message(&format!("127.0.0.1:{} leads to {}:{} by the machine", made.port(), tunnel.host, tunnel.to));
        all.push(made);
    }
    for tunnel in &settings.remote_tunnels {
        let target = format!("{}:{}", tunnel.host, tunnel.to);
        let made = obeying(cancel, |cancel| ssh.forward_remote("127.0.0.1", tunnel.port, &target, cancel));
        let made = made.map_err(|e| failed("ssh_remote_tunnels".to_owned(), e))?;
        ui.message(&format!("127.0.0.1:{} of the machine leads to {target}", made.port()));
        all.push(made);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use kiln_host::ssh::HostKeyProblem;

    use super::*;

    #[test]
    fn a_wrong_host_key_is_told_apart_by_what_it_is_and_not_by_its_words() {
        let told = |why: Unreachable| {
            let error = HostError::WaitReachable { host: "root@h:22".to_owned(), waited: Duration::ZERO, why };
            sorted(&error, "Error connecting by SSH".to_owned(), error.to_string())
        };
        let problem = HostKeyProblem::Files("known_hosts is a directory".to_owned());
        assert!(matches!(told(Unreachable::HostKey(problem.clone())), NodeError::HostKey { .. }));
        // A server may say what it likes, and a machine on the way is another one.
        let words = told(Unreachable::Closed("no matching host key".to_owned()));
        assert!(matches!(words, NodeError::Machine { .. }), "{words}");
        let jump = Unreachable::Jump { host: "j".to_owned(), why: Box::new(Unreachable::HostKey(problem)) };
        assert!(matches!(told(jump), NodeError::Machine { .. }));
    }
}
