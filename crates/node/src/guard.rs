//! Kernel parameters that a node image must leave to whoever owns them.
//!
//! Alibaba Cloud's Container Service sets a table of parameters itself on every node and asks that images do not override
//! them. Setting one of them to what the owner sets it to changes nothing, and is allowed.

use crate::error::{NodeError, Result};

/// One protected parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Its name, with dots.
    pub name: &'static str,
    /// What the owner sets it to.
    pub value: &'static str,
}

/// Who owns the parameters of [`ACK`].
const ACK_OWNER: &str = "ACK (it sets it on every node)";

/// The parameters that ACK sets on its nodes.
pub const ACK: [Owned; 21] = [
    Owned { name: "vm.max_map_count", value: "262144" },
    Owned { name: "kernel.softlockup_panic", value: "1" },
    Owned { name: "kernel.softlockup_all_cpu_backtrace", value: "1" },
    Owned { name: "net.core.somaxconn", value: "32768" },
    Owned { name: "net.core.rmem_max", value: "16777216" },
    Owned { name: "net.core.wmem_max", value: "16777216" },
    Owned { name: "net.ipv4.tcp_wmem", value: "4096 12582912 16777216" },
    Owned { name: "net.ipv4.tcp_rmem", value: "4096 12582912 16777216" },
    Owned { name: "net.ipv4.tcp_max_syn_backlog", value: "8096" },
    Owned { name: "net.ipv4.tcp_slow_start_after_idle", value: "0" },
    Owned { name: "net.core.netdev_max_backlog", value: "16384" },
    Owned { name: "fs.file-max", value: "2097152" },
    Owned { name: "fs.inotify.max_user_instances", value: "8192" },
    Owned { name: "fs.inotify.max_user_watches", value: "524288" },
    Owned { name: "fs.inotify.max_queued_events", value: "16384" },
    Owned { name: "net.ipv4.ip_forward", value: "1" },
    Owned { name: "net.bridge.bridge-nf-call-iptables", value: "1" },
    Owned { name: "fs.may_detach_mounts", value: "1" },
    Owned { name: "net.ipv4.conf.default.rp_filter", value: "0" },
    Owned { name: "net.ipv4.tcp_tw_reuse", value: "0" },
    Owned { name: "net.ipv4.tcp_tw_recycle", value: "0" },
];

/// Which parameters are protected.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    owned: Vec<Owned>,
}

impl Guard {
    /// Nothing is protected.
    pub fn none() -> Guard {
        Guard::default()
    }

    /// What ACK owns, without what is allowed by name.
    pub fn ack(allowed: &[String]) -> Guard {
        let owned = ACK.iter().filter(|o| !allowed.iter().any(|name| normal(name) == o.name));
        Guard { owned: owned.cloned().collect() }
    }

    /// Whether nothing is protected.
    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Whether a parameter may be set to this value.
    ///
    /// # Errors
    /// When somebody else sets it to something else.
    pub fn check(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (normal(name), blanks(value));
        match self.owned.iter().find(|o| o.name == name && o.value != value) {
            None => Ok(()),
            Some(owned) => {
                Err(NodeError::Guarded { name, value, owner: ACK_OWNER.to_owned(), owned: owned.value.to_owned() })
            }
        }
    }

    /// Name, value and owner, a line each, for the `sysctl` of the offline builder.
    pub fn table(&self) -> String {
        self.owned.iter().map(|o| format!("{}\t{}\t{ACK_OWNER}\n", o.name, o.value)).collect()
    }
}

/// A parameter's name with dots: `net/core/somaxconn` is the same, and so is one with a `-` before it in a file.
pub fn normal(name: &str) -> String {
    let name = name.trim().trim_start_matches('-');
    // `net/ipv4/conf/eth0.1/x` has a dot that is part of a name; with the first separator a slash, all are.
    match name.find(['/', '.']).map(|at| &name[at..=at]) {
        Some("/") => name.replace('.', "\0").replace('/', ".").replace('\0', "/"),
        _ => name.to_owned(),
    }
}

/// A value with single blanks.
fn blanks(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owned_may_be_said_again_but_not_changed() {
        let guard = Guard::ack(&[]);
        assert!(guard.check("vm.swappiness", "0").is_ok());
        assert!(guard.check("net.ipv4.tcp_rmem", "4096\t12582912   16777216").is_ok());
        let error = guard.check("net/ipv4/ip_forward", "0").unwrap_err();
        assert!(error.to_string().contains("ACK"), "{error}");
        assert!(error.hint().unwrap().contains("\"allow\": [\"net.ipv4.ip_forward\"]"));
    }

    #[test]
    fn an_exception_is_made_by_name() {
        let guard = Guard::ack(&["vm/max_map_count".to_owned()]);
        assert!(guard.check("vm.max_map_count", "65530").is_ok());
        assert!(guard.check("fs.file-max", "1").is_err());
        assert!(Guard::none().check("fs.file-max", "1").is_ok());
    }
}
