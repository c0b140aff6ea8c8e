//! Kernel parameters that a platform sets on its nodes and that an image must leave alone.
//!
//! The platform tunes them when a machine joins; what an image says in a file wins over that at the next boot, or is
//! lost, and neither is what was meant. A line that sets one is a [`Breach`] unless the parameter is allowed by name.

use crate::read::sysctl::{Setting, Settings, parse, same};
use crate::system::{Result, System};
use kiln_spec::glob::fnmatch;

/// A parameter that belongs to a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protected {
    /// Its name.
    pub key: &'static str,
    /// What the platform sets it to.
    pub value: &'static str,
    /// Who the platform is.
    pub owner: &'static str,
}

const fn ack(key: &'static str, value: &'static str) -> Protected {
    Protected { key, value, owner: "ACK" }
}

impl Protected {
    /// Whether a line for `key`, a name or a pattern of names, sets it.
    pub fn is_set_by(&self, key: &str) -> bool {
        key == self.key || (key.contains('*') && fnmatch(key, self.key))
    }
}

/// The parameters that Alibaba Cloud's Container Service (ACK) sets on its nodes.
pub const ACK: [Protected; 21] = [
    ack("vm.max_map_count", "262144"),
    ack("kernel.softlockup_panic", "1"),
    ack("kernel.softlockup_all_cpu_backtrace", "1"),
    ack("net.core.somaxconn", "32768"),
    ack("net.core.rmem_max", "16777216"),
    ack("net.core.wmem_max", "16777216"),
    ack("net.ipv4.tcp_wmem", "4096 12582912 16777216"),
    ack("net.ipv4.tcp_rmem", "4096 12582912 16777216"),
    ack("net.ipv4.tcp_max_syn_backlog", "8096"),
    ack("net.ipv4.tcp_slow_start_after_idle", "0"),
    ack("net.core.netdev_max_backlog", "16384"),
    ack("fs.file-max", "2097152"),
    ack("fs.inotify.max_user_instances", "8192"),
    ack("fs.inotify.max_user_watches", "524288"),
    ack("fs.inotify.max_queued_events", "16384"),
    ack("net.ipv4.ip_forward", "1"),
    ack("net.bridge.bridge-nf-call-iptables", "1"),
    ack("fs.may_detach_mounts", "1"),
    ack("net.ipv4.conf.default.rp_filter", "0"),
    ack("net.ipv4.tcp_tw_reuse", "0"),
    ack("net.ipv4.tcp_tw_recycle", "0"),
];

/// A line that sets a protected parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The parameter.
    pub protected: Protected,
    /// The line.
    pub setting: Setting,
}

impl Breach {
    /// What is wrong, in one line.
    pub fn message(&self) -> String {
        let Protected { key, value, owner } = self.protected;
        let by = if self.setting.key == key { String::new() } else { format!(" (by `{}`)", self.setting.key) };
        let to = self.setting.value.as_deref().unwrap_or("");
        format!("{}: sets {key}{by} to {to}, which {owner} owns and sets to {value}", self.setting.place())
    }

    /// Whether the line sets what the platform sets.
    pub fn agrees(&self) -> bool {
        self.setting.value.as_deref().is_some_and(|value| same(value, self.protected.value))
    }
}

/// The lines among some settings that set a protected parameter that is not allowed by name.
pub fn breaches<'a>(
    settings: impl IntoIterator<Item = &'a Setting>,
    table: &[Protected],
    allowed: &[String],
) -> Vec<Breach> {
    let mut found = Vec::new();
    for setting in settings.into_iter().filter(|setting| setting.value.is_some()) {
        for protected in table {
            if protected.is_set_by(&setting.key) && !allowed.iter().any(|name| name == protected.key) {
                found.push(Breach { protected: *protected, setting: setting.clone() });
            }
        }
    }
    found
}

/// The lines of a text, a file of sysctl's form called `path`, that set a protected parameter.
pub fn in_text(path: &str, text: &str, table: &[Protected], allowed: &[String]) -> Vec<Breach> {
    breaches(&parse(path, text).collect::<Vec<_>>(), table, allowed)
}

/// The lines of a system's own files that set a protected parameter. Files in `/usr/lib` and `/lib` are what packages
/// of the distribution bring, not what somebody wrote for the image; they do not count.
///
/// # Errors
/// A file cannot be read.
pub fn in_system(system: &dyn System, table: &[Protected], allowed: &[String]) -> Result<Vec<Breach>> {
    let settings = Settings::of(system)?;
    let own = settings.0.iter().filter(|s| s.path.starts_with("/etc/") || s.path.starts_with("/usr/local/"));
    Ok(breaches(own, table, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn every_line_that_sets_one_is_told_unless_it_is_allowed() {
        let text = "vm.swappiness = 1\nvm.max_map_count = 1\nnet/ipv4/ip_forward=1\nnet.ipv4.conf.*.rp_filter = 2\n";
        let messages: Vec<String> = in_text("x.conf", text, &ACK, &[]).iter().map(Breach::message).collect();
        assert_eq!(
            messages,
            [
                "x.conf:2: sets vm.max_map_count to 1, which ACK owns and sets to 262144",
                "x.conf:3: sets net.ipv4.ip_forward to 1, which ACK owns and sets to 1",
                "x.conf:4: sets net.ipv4.conf.default.rp_filter (by `net.ipv4.conf.*.rp_filter`) to 2, which ACK owns and sets to 0",
            ]
        );
        assert_eq!(in_text("x", "vm.max_map_count=1\n", &ACK, &["vm.max_map_count".to_owned()]), []);
        assert!(in_text("x", "net.ipv4.ip_forward=1", &ACK, &[])[0].agrees());
    }

    #[test]
    fn what_the_distribution_brings_is_not_the_images() {
        let system = Memory::new()
            .file("/usr/lib/sysctl.d/50-default.conf", "net.ipv4.conf.default.rp_filter = 2\n")
            .file("/etc/sysctl.d/10.conf", "fs.file-max = 1\n");
        let found = in_system(&system, &ACK, &[]).unwrap();
        assert_eq!(found.iter().map(|b| b.setting.place()).collect::<Vec<_>>(), ["/etc/sysctl.d/10.conf:1"]);
    }
}
