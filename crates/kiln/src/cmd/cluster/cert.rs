//! `kiln cluster cert`: certificates of the control plane: when they end, and new ones.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_launch::preflight::minor;

use super::fleet::{self, Wish};
use super::join;
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln cluster cert                        when certificates of each master end
  kiln cluster cert --renew                new ones for all, and control planes that use them, one after the other";

/// How long a master may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Show or renew certificates of the control plane
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    fleet: fleet::Args,
    /// Renew all of them
    #[arg(long)]
    renew: bool,
}

/// Static pods start anew when their file has gone and comes back: kubelet looks every 20 seconds.
const RESTART: &str = "set -e; d=/etc/kubernetes/kiln-manifests; mkdir -p $d; for p in kube-apiserver kube-controller-manager kube-scheduler etcd; do \
[ ! -e /etc/kubernetes/manifests/$p.yaml ] || mv /etc/kubernetes/manifests/$p.yaml $d/; done; sleep 25; mv $d/*.yaml /etc/kubernetes/manifests/; rmdir $d; \
n=0; until kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /healthz >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 90 ] || { echo 'the API server does not answer' >&2; exit 1; }; sleep 2; done";

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let (cluster, record, _) = args.fleet.cluster(&Wish::default())?;
    let Some(record) = record else { return Err(join::unknown(&cluster.name.value)) };
    let words = if minor(&record.kubernetes) >= 20 { "kubeadm certs" } else { "kubeadm alpha certs" };
    for (host, machine) in args.fleet.machines(&cluster, &fleet::cancel())? {
        if !host.is_master() {
            continue;
        }
        if args.renew {
            // Root's own configuration stays as it is, if it is another's.
            let same = "cmp -s /etc/kubernetes/admin.conf /root/.kube/config";
            let ours = machine.run("ask whose configuration of kubectl root has", same, Stdin::Empty, LIMIT)?;
            machine.succeed_with("renew certificates", &format!("{words} renew all"), Stdin::Empty, LIMIT)?;
            machine.succeed_with("start the control plane anew", RESTART, Stdin::Empty, LIMIT)?;
            if ours.exit.success() {
                machine
                    .succeed("let root use kubectl", "umask 077; cp /etc/kubernetes/admin.conf /root/.kube/config")?;
            }
        }
        let said = machine.succeed_with(
            "ask for certificates",
            &format!("{words} check-expiration 2>/dev/null"),
            Stdin::Empty,
            LIMIT,
        )?;
        named::print(&format!("{}\n{}", machine.name(), error::printable(&said.text())))?;
    }
    Ok(())
}
