//! What can fail, by what was intended.

use std::path::PathBuf;
use std::time::Duration;

use kiln_host::{Exit, HostError};
use kiln_kubeadm::Layer;
use kiln_spec::diag::Diagnostic;

use crate::diagnose::Cause;
use crate::preflight::Finding;

/// The result of anything here.
pub type Result<T> = std::result::Result<T, LaunchError>;

/// Why something failed. Texts of hosts are made printable before they get here.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
    /// A host cannot be reached, or a connection broke.
    #[error("{host}: {source}")]
    Host {
        /// Which.
        host: String,
        /// Why.
        source: Box<HostError>,
    },
    /// A command on a host ended badly.
    #[error("{host}: cannot {what}: {exit}")]
    Command {
        /// Which host.
        host: String,
        /// What the command was for.
        what: String,
        /// How it ended.
        exit: Exit,
        /// Its last lines.
        tail: Vec<String>,
        /// What is behind it, as far as the host tells.
        causes: Vec<Cause>,
    },
    /// A command on a host did not end.
    #[error("{host}: cannot {what}: not done after {} s", .after.as_secs())]
    TimedOut {
        /// Which host.
        host: String,
        /// What was to be done.
        what: String,
        /// How long it had.
        after: Duration,
        /// Its last lines, or what was seen last.
        tail: Vec<String>,
        /// What is behind it, as far as the host tells.
        causes: Vec<Cause>,
    },
    /// A host says what makes no sense.
    #[error("{host}: the answer to \"{what}\" makes no sense: {why}")]
    Answer {
        /// Which host.
        host: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Hosts are not as they must be.
    #[error("{}", preflight_text(.0))]
    Preflight(Vec<Finding>),
    /// Hosts do not reach each other.
    #[error("{}", unreached_text(.0))]
    Unreached(Vec<Finding>),
    /// A template of the image has mistakes, or shows what is not set.
    #[error("{host}: {}: a template of the image cannot be rendered: {}", .found.source.name, .found.diagnostic.message)]
    Template {
        /// The host that it was rendered for.
        host: String,
        /// What is wrong, and the template.
        found: Box<kiln_clusterfile::Found>,
    },
    /// The configuration of kubeadm has mistakes.
    #[error("the configuration of kubeadm has mistakes")]
    Config {
        /// The files.
        layers: Vec<Layer>,
        /// What is wrong in which of them.
        found: Vec<(usize, Diagnostic)>,
    },
    /// What is wanted cannot be.
    #[error("{what}")]
    Wanted {
        /// What.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A file of this side.
    #[error("cannot {what} {}: {why}", path.display())]
    File {
        /// `read`, `write`
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The store of this side, or of the host that the agent runs on.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// A phase failed on hosts.
    #[error("{}", phase_text(.phase, .errors))]
    Phase {
        /// Which phase.
        phase: &'static str,
        /// What happened, host by host.
        errors: Vec<LaunchError>,
    },
}

fn preflight_text(found: &[Finding]) -> String {
    let errors = found.iter().filter(|finding| finding.is_error()).count();
    let hosts: std::collections::BTreeSet<&str> = found.iter().map(|finding| finding.host.as_str()).collect();
    format!("{errors} checks before the launch failed, on {} hosts; nothing was changed", hosts.len())
}

fn unreached_text(found: &[Finding]) -> String {
    let errors = found.iter().filter(|finding| finding.is_error()).count();
    format!("{errors} ports are not reached by hosts that need them; nothing was installed")
}

fn phase_text(phase: &str, errors: &[LaunchError]) -> String {
    match errors {
        [error] => format!("phase {phase} failed: {error}"),
        several => format!("phase {phase} failed {} times", several.len()),
    }
}

impl LaunchError {
    /// Whether the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        match self {
            LaunchError::Cancelled => true,
            LaunchError::Host { source, .. } => matches!(**source, HostError::Cancelled),
            LaunchError::Phase { errors, .. } => errors.iter().any(LaunchError::is_cancelled),
            _ => false,
        }
    }

    /// All that is to be told of it below its first line: last words of commands, and what is behind them.
    pub fn details(&self) -> Vec<String> {
        match self {
            LaunchError::Command { tail, causes, .. } | LaunchError::TimedOut { tail, causes, .. } => {
                let said = tail.iter().map(|line| format!("  | {line}"));
                said.chain(causes.iter().flat_map(Cause::lines)).collect()
            }
            LaunchError::Preflight(found) | LaunchError::Unreached(found) => {
                found.iter().flat_map(Finding::lines).collect()
            }
            // Its first line has the one already.
            LaunchError::Phase { errors, .. } if errors.len() == 1 => errors.iter().flat_map(Self::details).collect(),
            LaunchError::Phase { errors, .. } => {
                errors.iter().flat_map(|error| std::iter::once(format!("{error}")).chain(error.details())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        use kiln_host::ssh::{HostKeyProblem, Unreachable};
        match self {
            LaunchError::Wanted { hint, .. } => Some(hint.clone()),
            LaunchError::Host { source, .. } => match &**source {
                HostError::Connect { why: Unreachable::HostKey(HostKeyProblem::Unknown { .. }), .. } => Some(
                    "--accept-new-host-keys takes the keys of hosts that are new, and keeps them in known_hosts".into(),
                ),
                _ => None,
            },
            LaunchError::Template { found, .. } => found.diagnostic.hint.clone(),
            LaunchError::Preflight(_) | LaunchError::Unreached(_) => Some(
                "put right what is named, or pass over checks by name: --ignore-preflight-errors=NAME,NAME".to_owned(),
            ),
            LaunchError::Phase { phase, errors } => errors.iter().find_map(LaunchError::hint).or_else(|| {
                // An upgrade always goes on.
                let with = if *phase == crate::upgrade::NAME { "" } else { " with --resume" };
                Some(format!("when that is put right, go on where it stopped: the same command{with}"))
            }),
            _ => None,
        }
    }

    /// Adds what is behind it.
    #[must_use]
    pub fn because(mut self, more: Vec<Cause>) -> LaunchError {
        if let LaunchError::Command { causes, .. } | LaunchError::TimedOut { causes, .. } = &mut self {
            causes.extend(more);
        }
        self
    }
}
