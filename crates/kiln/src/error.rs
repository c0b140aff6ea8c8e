//! Errors in words, and exit codes: 1 the user's input, 2 usage, 3 the environment (registry, host, disk), 70 a bug in
//! Kiln, 130 stopped by the user; a failing `RUN` gives its command's own code.

use std::io::IsTerminal;

use kiln_disk::DiskError;
use kiln_engine::EngineError;
use kiln_registry::RegistryError;
use kiln_spec::diag::{self, Diagnostic};
use kiln_spec::source::{Source, Span};
use kiln_store::ErrorKind;

/// Wrong use of the command line.
pub const USAGE: u8 = 2;
const INPUT: u8 = 1;
const ENVIRONMENT: u8 = 3;
const BUG: u8 = 70;
const STOPPED: u8 = 130;

/// Why a verb failed.
#[derive(Debug)]
pub enum CliError {
    /// The options do not fit together or have no meaning.
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A file the user named cannot be used.
    Input {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The machine or network is not as it must be.
    Environment {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A Dockerfile has mistakes, or a step of it failed.
    InFile {
        /// The Dockerfile.
        source: Box<Source>,
        /// The failure.
        error: Box<EngineError>,
    },
    /// What was looked for was found, and shown: findings of a check.
    Found,
    /// A failure that the verb has told the user of in its own way.
    Told {
        /// The exit code.
        code: u8,
    },
    /// Anything below the command line.
    Engine(Box<EngineError>),
}

impl CliError {
    /// Wrong use.
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::Usage { message: message.into(), hint: None }
    }

    /// A bad file.
    pub fn input(message: impl Into<String>) -> CliError {
        CliError::Input { message: message.into(), hint: None }
    }

    /// A bad environment.
    pub fn environment(message: impl Into<String>) -> CliError {
        CliError::Environment { message: message.into(), hint: None }
    }

    /// The same with a hint.
    pub fn with_hint(mut self, text: impl Into<String>) -> CliError {
        match &mut self {
            CliError::Usage { hint, .. } | CliError::Input { hint, .. } | CliError::Environment { hint, .. } => {
                *hint = Some(text.into());
            }
            CliError::InFile { .. } | CliError::Found | CliError::Told { .. } | CliError::Engine(_) => {}
        }
        self
    }

    /// The same with a hint, where there is one.
    pub fn with_any_hint(self, hint: Option<String>) -> CliError {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// What is wrong, without what to do about it.
    pub fn message(&self) -> String {
        match self {
            CliError::Usage { message, .. }
            | CliError::Input { message, .. }
            | CliError::Environment { message, .. } => message.clone(),
            other => other.render(false).trim_end().to_owned(),
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            CliError::Usage { .. } => USAGE,
            CliError::Input { .. } | CliError::Found => INPUT,
            CliError::Environment { .. } => ENVIRONMENT,
            CliError::Told { code } => *code,
            CliError::InFile { error, .. } | CliError::Engine(error) => engine_code(error),
        }
    }

    /// Whether a command of a `RUN` failed; the exit code is then its own.
    pub fn is_failed_command(&self) -> bool {
        matches!(self, CliError::InFile { error, .. } if matches!(**error, EngineError::RunFailed { .. }))
    }

    /// Tells the user, on standard error.
    pub fn print(&self) {
        eprint!("{}", self.render(in_color()));
    }

    /// The text for the user.
    pub fn render(&self, color: bool) -> String {
        match self {
            CliError::Usage { message, hint }
            | CliError::Input { message, hint }
            | CliError::Environment { message, hint } => plain(message, hint.as_deref(), color),
            CliError::Found | CliError::Told { .. } => String::new(),
            CliError::Engine(error) => plain(&kiln_engine::rootfs::chain_text(&**error), hint(error).as_deref(), color),
            CliError::InFile { source, error } => in_file(source, error, color),
        }
    }
}

/// Whether errors are shown in colours.
pub fn in_color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        CliError::Engine(Box::new(error))
    }
}

impl From<kiln_store::StoreError> for CliError {
    fn from(error: kiln_store::StoreError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<kiln_kube::KubeError> for CliError {
    fn from(error: kiln_kube::KubeError) -> Self {
        use kiln_kube::KubeError::{Cancelled, Context, Kubeconfig, NoCluster};
        let hint = error.hint();
        let message = error.to_string();
        match error {
            Cancelled => EngineError::Cancelled.into(),
            Kubeconfig { .. } | NoCluster { .. } | Context(_) => CliError::Input { message, hint },
            _ => CliError::Environment { message, hint },
        }
    }
}

impl From<kiln_cluster::ClusterError> for CliError {
    fn from(error: kiln_cluster::ClusterError) -> Self {
        use kiln_cluster::ClusterError as Cluster;
        let (message, hint) = (kiln_engine::rootfs::chain_text(&error), error.hint());
        match error {
            Cluster::Engine(error) => CliError::Engine(error),
            Cluster::Mistakes { source_file, found } => {
                CliError::InFile { source: source_file, error: Box::new(EngineError::Dockerfile(found)) }
            }
            // The registry's own hint is worth more: the message says who names the image.
            Cluster::Image { source, .. } if engine_code(&source) == ENVIRONMENT => {
                CliError::Environment { message, hint: crate::error::hint(&source).or(hint) }
            }
            Cluster::Parts { environment: true, .. } => CliError::Environment { message, hint },
            Cluster::Image { .. }
            | Cluster::File { .. }
            | Cluster::RegistryDir { .. }
            | Cluster::NotACluster { .. }
            | Cluster::Parts { .. }
            | Cluster::Base { .. }
            | Cluster::Export(_)
            | Cluster::Merge(_)
            | Cluster::Together { .. }
            | Cluster::Unrendered { .. } => CliError::Input { message, hint },
        }
    }
}

impl From<kiln_serve::ServeError> for CliError {
    fn from(error: kiln_serve::ServeError) -> Self {
        use kiln_serve::ServeError::{Registry, Store};
        match error {
            Store(error) => error.into(),
            Registry(error) => error.into(),
            error => {
                let (message, hint, input) = (error.to_string(), error.hint(), error.is_input());
                match input {
                    true => CliError::Input { message, hint },
                    false => CliError::Environment { message, hint },
                }
            }
        }
    }
}

impl From<kiln_launch::LaunchError> for CliError {
    fn from(error: kiln_launch::LaunchError) -> Self {
        use kiln_launch::LaunchError as Launch;
        if error.is_cancelled() {
            return EngineError::Cancelled.into();
        }
        let hint = error.hint();
        let message = std::iter::once(error.to_string()).chain(error.details()).collect::<Vec<_>>().join("\n");
        match error {
            Launch::Store(error) => error.into(),
            Launch::Config { layers, found } => {
                for (layer, diagnostic) in &found {
                    match layers.get(*layer) {
                        Some(layer) => eprint!("{}", diag::render(diagnostic, &layer.shown(), in_color())),
                        None => eprint!("{}", plain(&diagnostic.message, diagnostic.hint.as_deref(), in_color())),
                    }
                }
                CliError::Found
            }
            Launch::Template { host, found } => {
                eprintln!("{}", printable(&format!("rendered for {host}:")));
                eprint!("{}", diag::render(&found.diagnostic, &found.source, in_color()));
                CliError::Found
            }
            Launch::Wanted { .. } => CliError::Input { message, hint },
            _ => CliError::Environment { message, hint },
        }
    }
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        EngineError::from(error).into()
    }
}

/// `error: …` and `hint: …` as every failure is shown.
fn plain(message: &str, hint: Option<&str>, color: bool) -> String {
    let (red, cyan, reset) = if color { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
    let message = printable(message);
    let mut text = format!("{red}error{reset}: {message}\n");
    if let Some(hint) = hint {
        text += &format!("{cyan}hint{reset}: {}\n", printable(hint));
    }
    text
}

/// A text with nothing in it that a terminal would obey: names in archives and answers of registries are anyone's.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A foreign text as part of a line: what would end the line, or change what a reader sees of the rest, is escaped.
pub fn in_a_line(text: &str) -> String {
    let one = |c: char| match c {
        '\\' | '\'' | '"' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(one).collect()
}

fn in_file(source: &Source, error: &EngineError, color: bool) -> String {
    let at = |span: Span, message: String, hint: Option<String>, label: &str| {
        let mut d = Diagnostic::error("step", span, message).label(label);
        if let Some(hint) = hint {
            d = d.hint(hint);
        }
        diag::render(&d, source, color)
    };
    match error {
        EngineError::Dockerfile(found) => {
            found.iter().map(|d| diag::render(d, source, color)).collect::<Vec<_>>().join("\n")
        }
        EngineError::RunFailed { title, span, code, why, tail, .. } => {
            let mut text = String::new();
            if !tail.is_empty() {
                text += &format!("------\n > {}:\n", title.lines().next().unwrap_or(""));
                text += &tail.iter().map(|l| format!("{l}\n")).collect::<String>();
                text += "------\n";
            }
            let why = why.as_ref().map(|w| format!(" ({w})")).unwrap_or_default();
            text + &at(
                *span,
                format!("the command did not complete: exit code {code}{why}"),
                run_hint(*code, tail),
                "this command failed",
            )
        }
        EngineError::Base { name, span, hint: meant, source: inner } => {
            let message = format!("cannot use the image `{name}`: {}", kiln_engine::rootfs::chain_text(&**inner));
            at(*span, printable(&message), meant.clone().or_else(|| hint(inner)), "needed here")
        }
        EngineError::Step { span, message, hint, .. } => at(*span, message.clone(), hint.clone(), "in this step"),
        other => plain(&kiln_engine::rootfs::chain_text(other), hint(other).as_deref(), color),
    }
}

/// What usually is behind an exit code.
fn run_hint(code: i32, tail: &[String]) -> Option<String> {
    let text = match code {
        127 => "the command was not found in the image: is it installed, and in PATH?",
        126 => "the command could not be executed: is it executable, and for this architecture?",
        137 => "the command was killed; memory is the usual reason",
        _ if tail.iter().any(|l| l.contains("No space left on device")) => {
            "the disk with the store may be full: free space with `kiln prune`, or use another disk with --store"
        }
        _ if tail.iter().any(|l| l.contains("Temporary failure resolving") || l.contains("Could not resolve")) => {
            "names could not be resolved: check the host's DNS, or set a proxy with --build-arg HTTP_PROXY=…"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn engine_code(error: &EngineError) -> u8 {
    match error {
        EngineError::RunFailed { code, .. } => u8::try_from(*code).unwrap_or(INPUT).max(1),
        EngineError::Cancelled => STOPPED,
        EngineError::Base { source, .. } => engine_code(source),
        EngineError::Store(e) => match e.kind() {
            ErrorKind::Usage => INPUT,
            ErrorKind::Cancelled => STOPPED,
            _ => ENVIRONMENT,
        },
        EngineError::Registry(_)
        | EngineError::Isolation { .. }
        | EngineError::Sandbox { .. }
        | EngineError::Fetch { .. }
        | EngineError::Git { .. }
        | EngineError::Object { .. }
        | EngineError::Damaged { .. }
        | EngineError::File { .. }
        | EngineError::LayerFiles { .. } => ENVIRONMENT,
        EngineError::Dockerfile(_)
        | EngineError::Step { .. }
        | EngineError::Layer { .. }
        | EngineError::DiffId { .. }
        | EngineError::Image { .. }
        | EngineError::NoSuchImage(_)
        | EngineError::NoPlatform { .. }
        | EngineError::Context(_)
        | EngineError::Archive { .. }
        | EngineError::Locked(_)
        | EngineError::Refused(_)
        | EngineError::Sbom(_)
        | EngineError::Disk { .. }
        | EngineError::MicroVm { .. }
        | EngineError::NotVerified { .. }
        | EngineError::Attest { .. }
        | EngineError::Unsupported(_) => INPUT,
    }
}

/// The text the standard library panics with when nobody reads standard output any more.
const READER_GONE: &str = "failed printing to std";

/// What a panic says: it is a bug, and how to report it. A reader that went away (`kiln ls app | head`) is none.
pub fn bug(info: &std::panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("unknown");
    if !text.starts_with(READER_GONE) {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Standard error may be what is gone.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("error: this is a bug in Kiln: {text} ({place})\nhint: please report it with the command and its input\n").as_bytes(),
        );
    }
}

/// The exit code after a panic.
pub fn code_of_panic(panic: &(dyn std::any::Any + Send)) -> u8 {
    let text = panic.downcast_ref::<String>().map(|s| &**s).or_else(|| panic.downcast_ref::<&str>().copied());
    // What a shell reports of a program that SIGPIPE ended.
    if text.is_some_and(|t| t.starts_with(READER_GONE)) { 141 } else { BUG }
}

/// What helps against a full disk.
const FULL: &str = "free space with `kiln prune`, or use another disk with --store";

/// What helps against a failure.
pub fn hint(error: &EngineError) -> Option<String> {
    let is_full = |source: &std::io::Error| kiln_store::error::kind_of(source) == ErrorKind::NoSpace;
    match error {
        EngineError::Registry(e) => match &**e {
            RegistryError::Sink { source, .. } | RegistryError::Keep { source, .. } if is_full(source) => {
                Some(FULL.to_owned())
            }
            e => e.hint(),
        },
        EngineError::File { source, .. } if is_full(source) => Some(FULL.to_owned()),
        EngineError::File { action: "write", path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            path.parent().map(|dir| format!("make the directory first: mkdir -p {}", dir.display()))
        }
        EngineError::Disk { cause, .. } => match &**cause {
            DiskError::Boot { hint, .. } => Some(hint.clone()),
            DiskError::Full { .. } => Some("give it more: size=".to_owned()),
            _ => None,
        },
        EngineError::LayerFiles { full: true, .. } => Some(FULL.to_owned()),
        EngineError::Object { hint, .. } | EngineError::MicroVm { hint, .. } => hint.clone(),
        EngineError::Locked(_) => Some("if that is meant, write the lock file anew: kiln build --lock".to_owned()),
        EngineError::Refused(_) => {
            Some("rules of the source policy are tried in order, and the last that matches decides".to_owned())
        }
        EngineError::Isolation { .. } => Some("see what works on this machine: kiln doctor build".to_owned()),
        EngineError::NoSuchImage(name) => Some(format!("see `kiln images`; to fetch it: kiln pull {name}")),
        EngineError::Store(e) => match e.kind() {
            ErrorKind::NoSpace => Some(FULL.to_owned()),
            ErrorKind::ReadOnly | ErrorKind::Permission => {
                Some("use a directory you may write to with --store or KILN_STORE".to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}
