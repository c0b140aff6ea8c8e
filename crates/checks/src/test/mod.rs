//! The closed list of questions that can be asked of a system.
//!
//! [`file`] paths          [`install`] packages, commands, users      [`sysctl`] kernel parameters
//! [`service`] units       [`kernel`] kernels and what is in them     [`boot`] loaders, mounts, swap
//! [`net`] ports, SSH, DNS [`node`] container runtime and Kubernetes  [`clean`] what must not stay in an image
//! [`host`] what only a running host can answer               [`disk`] what only a disk has

pub mod boot;
pub mod clean;
pub mod disk;
pub mod file;
pub mod host;
pub mod install;
pub mod kernel;
pub mod net;
pub mod node;
pub mod service;
pub mod sysctl;

use crate::system::Result;
use crate::{Finding, Look};

/// A question without parameters.
pub type Special = fn(&Look<'_>) -> Result<Finding>;

/// A question.
#[derive(Debug, Clone)]
pub enum Test {
    /// Whether something is at a path; of what kind does not matter.
    FileExists {
        /// The path.
        path: String,
    },
    /// Whether nothing is at a path. The last name may have `*` in it.
    FileAbsent {
        /// The path.
        path: String,
    },
    /// Whether a file has a line for which a pattern holds, or has none.
    FileContains {
        /// The path.
        path: String,
        /// The pattern.
        pattern: regex::Regex,
        /// Whether there must be such a line.
        wanted: bool,
    },
    /// Whether a path has these permissions and this owner.
    FileMode {
        /// The path.
        path: String,
        /// Permission bits.
        mode: Option<u32>,
        /// User and group, as numbers.
        owner: Option<(u32, u32)>,
    },
    /// Whether a directory has no entries, or is not there.
    DirEmpty {
        /// The path.
        path: String,
    },
    /// Whether a package is installed.
    Package {
        /// Its name.
        name: String,
        /// Whether it must be.
        present: bool,
        /// What its version must be.
        version: Option<VersionReq>,
    },
    /// Whether a command is in PATH.
    Command {
        /// Its name.
        name: String,
        /// Whether it must be.
        present: bool,
    },
    /// What a kernel parameter is.
    Sysctl {
        /// Its name.
        key: String,
        /// The values that will do.
        values: Vec<String>,
        /// What it is where nothing sets it; without one, it must be set.
        default: Option<String>,
    },
    /// Whether a service starts at boot, and runs.
    Service {
        /// Its name; `.service` is added where it has no ending.
        name: String,
        /// Whether it must start at boot.
        enabled: Option<bool>,
        /// Whether it must run.
        running: Option<bool>,
    },
    /// How a command ends, on a system that runs.
    Run {
        /// The command and its arguments.
        command: Vec<String>,
        /// Its exit code.
        exit: i32,
        /// A pattern that what it prints must have.
        stdout: Option<regex::Regex>,
    },
    /// Whether something listens on a TCP port.
    Port {
        /// The port.
        port: u16,
        /// Whether something must.
        listening: bool,
    },
    /// Whether a kernel module is loaded at boot.
    Module {
        /// Its name.
        name: String,
    },
    /// Whether there is a user.
    User {
        /// Its name.
        name: String,
        /// Whether there must be.
        present: bool,
    },
    /// Whether there is a group.
    Group {
        /// Its name.
        name: String,
        /// Whether there must be.
        present: bool,
    },
    /// Whether the kernel is at least of a version.
    KernelMin {
        /// The version.
        version: String,
    },
    /// Whether the release of the kernel matches one of these patterns.
    KernelMatches {
        /// The patterns.
        patterns: Vec<regex::Regex>,
    },
    /// Whether the kernel was configured with one of these options.
    KernelConfig {
        /// The options, without `CONFIG_`.
        options: Vec<String>,
    },
    /// Whether systemd is at least of a version.
    SystemdMin {
        /// The version.
        version: u32,
    },
    /// Whether these images are in containerd.
    Images {
        /// Their names.
        names: Vec<String>,
    },
    /// Everything that takes no parameters: the families in [`family`](crate::family) have these.
    Special(Special),
}

/// What a version must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionReq {
    /// How it compares.
    pub op: Op,
    /// With which version.
    pub version: String,
}

/// How two versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`; without a revision, any revision will do.
    Equal,
    /// `>=`.
    AtLeast,
    /// `>`.
    After,
    /// `<=`.
    AtMost,
    /// `<`.
    Before,
}

impl VersionReq {
    /// Reads `>= 1.2`, `= 1.2`, `1.2`.
    pub fn parse(text: &str) -> Option<VersionReq> {
        const OPS: [(&str, Op); 6] = [
            (">=", Op::AtLeast),
            ("<=", Op::AtMost),
            ("==", Op::Equal),
            (">", Op::After),
            ("<", Op::Before),
            ("=", Op::Equal),
        ];
        let text = text.trim();
        let found = OPS.iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (*op, rest.trim())));
        let (op, version) = found.unwrap_or((Op::Equal, text));
        let plain =
            !version.is_empty() && !version.contains(char::is_whitespace) && !version.starts_with(['<', '>', '=']);
        plain.then(|| VersionReq { op, version: version.to_owned() })
    }

    /// Whether an order of a version to this one will do.
    fn accepts(&self, order: std::cmp::Ordering) -> bool {
        match self.op {
            Op::Equal => order.is_eq(),
            Op::AtLeast => order.is_ge(),
            Op::After => order.is_gt(),
            Op::AtMost => order.is_le(),
            Op::Before => order.is_lt(),
        }
    }
}

impl std::fmt::Display for VersionReq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.op {
            Op::Equal => "=",
            Op::AtLeast => ">=",
            Op::After => ">",
            Op::AtMost => "<=",
            Op::Before => "<",
        };
        write!(f, "{sign} {}", self.version)
    }
}

impl Test {
    /// Asks it. What could not be looked at is a finding too.
    pub fn ask(&self, look: &Look<'_>) -> Finding {
        self.look(look).unwrap_or_else(|e| Finding::unknown(e.to_string()))
    }

    fn look(&self, look: &Look<'_>) -> Result<Finding> {
        match self {
            Test::FileExists { path } => file::exists(look, path),
            Test::FileAbsent { path } => file::absent(look, path),
            Test::FileContains { path, pattern, wanted } => file::contains(look, path, pattern, *wanted),
            Test::FileMode { path, mode, owner } => file::mode(look, path, *mode, *owner),
            Test::DirEmpty { path } => file::empty(look, path),
            Test::Package { name, present, version } => install::package(look, name, *present, version.as_ref()),
            Test::Command { name, present } => install::command(look, name, *present),
            Test::User { name, present } => install::account(look, "/etc/passwd", "user", name, *present),
            Test::Group { name, present } => install::account(look, "/etc/group", "group", name, *present),
            Test::Sysctl { key, values, default } => sysctl::value(look, key, values, default.as_deref()),
            Test::Service { name, enabled, running } => service::service(look, name, *enabled, *running),
            Test::Run { command, exit, stdout } => host::run(look, command, *exit, stdout.as_ref()),
            Test::Port { port, listening } => net::port(look, *port, *listening),
            Test::Module { name } => kernel::module(look, name),
            Test::KernelMin { version } => kernel::at_least(look, version),
            Test::KernelMatches { patterns } => kernel::matches(look, patterns),
            Test::KernelConfig { options } => kernel::option(look, options),
            Test::SystemdMin { version } => service::systemd(look, *version),
            Test::Images { names } => node::images(look, names),
            Test::Special(ask) => ask(look),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_asked_for_with_signs() {
        let say = |text: &str| VersionReq::parse(text).map(|req| req.to_string());
        assert_eq!(say(">=1.2").as_deref(), Some(">= 1.2"));
        assert_eq!(say(" 1:2-3 ").as_deref(), Some("= 1:2-3"));
        assert_eq!(say("< 2").as_deref(), Some("< 2"));
        for bad in ["", ">=", "=> 1", "1 2"] {
            assert_eq!(say(bad), None, "{bad}");
        }
    }
}
