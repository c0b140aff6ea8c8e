//! kubectl on a master, as the administrator of the cluster.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::error::Result;
use crate::machine::{Machine, SHORT};
use crate::preflight::minor;

/// For what may take long.
pub const ADMIN: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";
/// For what is soon answered.
pub const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 20s";

/// Moves the pods of a node elsewhere; no new ones come.
///
/// # Errors
/// When pods may not be evicted, or do not go in time.
pub fn drain(master: &Machine, node: &str, kubernetes: &str, patience: Duration) -> Result<()> {
    let empty_dirs = if minor(kubernetes) >= 20 { "--delete-emptydir-data" } else { "--delete-local-data" };
    let line = format!(
        "{ADMIN} drain {} --ignore-daemonsets --force {empty_dirs} --timeout={}s",
        quote(node),
        patience.as_secs()
    );
    master.succeed_with(&format!("drain {node}"), &line, Stdin::Empty, patience + SHORT).map(drop)
}
