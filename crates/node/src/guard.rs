//! Kernel parameters that a node image must leave to whoever owns them.
//!
//! Alibaba Cloud's Container Service sets a table of parameters itself on every node and asks that images do not override
//! them. Setting one of them to what the owner sets it to changes nothing, and is allowed.

use kiln_checks::guard::{ACK, Protected};
use kiln_checks::read::sysctl::{canonical, same};

use crate::error::{NodeError, Result};

/// Which parameters are protected.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    owned: Vec<Protected>,
}

impl Guard {
    /// Nothing is protected.
    pub fn none() -> Guard {
        Guard::default()
    }

    /// What ACK owns, without what is allowed by name.
    pub fn ack(allowed: &[String]) -> Guard {
        let owned = ACK.iter().filter(|o| !allowed.iter().any(|name| normal(name) == o.key));
        Guard { owned: owned.copied().collect() }
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
        let name = normal(name);
        match self.owned.iter().find(|o| o.key == name && !same(o.value, value)) {
            None => Ok(()),
            Some(owned) => {
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(NodeError::Guarded { name, value, owner: owner(owned), owned: owned.value.to_owned() })
            }
        }
    }

    /// Name, value and owner, a line each, for the `sysctl` of the offline builder.
    pub fn table(&self) -> String {
        self.owned.iter().map(|o| format!("{}\t{}\t{}\n", o.key, o.value, owner(o))).collect()
    }
}

/// Who a parameter belongs to, and why an image has no say in it.
fn owner(owned: &Protected) -> String {
    format!("{} (it sets it on every node)", owned.owner)
}

/// A parameter's name with dots: `net/core/somaxconn` is the same, and so is one with a `-` before it in a file.
pub fn normal(name: &str) -> String {
    canonical(name.trim().trim_start_matches('-'))
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
