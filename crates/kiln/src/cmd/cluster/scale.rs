//! `kiln cluster scale`: hosts that come, and hosts that leave.

use kiln_launch::scale::{self, Leaving};
use kiln_launch::{balancer, reset};

use super::fleet::{self, Hosts, Wish};
use super::run::How;
use super::{bundle, join, reset as giving, unsupported};
use crate::cli::Global;
use crate::error::CliError;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln cluster scale --nodes 10.0.0.5                 one worker more
  kiln cluster scale --remove 10.0.0.4,10.0.0.5       drain them, delete them, give the hosts back
  kiln cluster scale --remove 10.0.0.3                of a master, etcd's member goes first; the host may be down";

/// What has a meaning only for hosts that join.
const JOINING: [&str; 19] = [
    "masters",
    "nodes",
    "env",
    "cmds",
    "cmd_args",
    "json",
    "resume",
    "from",
    "reset_leftovers",
    "ignore_preflight_errors",
    "no_peer_distribution",
    "peer_port",
    "peer_rate",
    "wait",
    "insecure",
    "plain_http",
    "registry_ca",
    "registry_mirror",
    "retries",
];

/// Join hosts to a cluster, or take them out of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    hosts: Hosts,
    /// Hosts to take out, as --nodes
    #[arg(long, value_name = "LIST", conflicts_with_all = JOINING)]
    remove: Option<String>,
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.remove {
        Some(list) => remove(args, list, global),
        None => join::more(&args.hosts, &args.fleet, &args.how, global),
    }
}

fn remove(args: &Args, list: &str, global: &Global) -> Result<(), CliError> {
    let wish = Wish::default();
    let leaving = kiln_kubeadm::hosts::parse(list).map_err(|e| CliError::usage(format!("--remove: {e}")))?;
    let fleet::Known { mut cluster, record, state } = args.fleet.cluster(&wish)?;
    unsupported::refuse(&cluster)?;
    let Some(mut record) = record else { return Err(join::unknown(&cluster.name.value)) };
    for host in &leaving {
        if !record.hosts.iter().any(|known| known.address == host.address.to_string()) {
            return Err(CliError::input(format!("the cluster has no host {}", host.address)));
        }
    }
    let is_leaving = |address: &str| leaving.iter().any(|host| host.address.to_string() == address);
    if !record.hosts.iter().any(|host| host.master && !is_leaving(&host.address)) {
        return Err(CliError::usage("a cluster needs a master")
            .with_hint("the whole of it is taken down by kiln cluster reset"));
    }
    // One that was taken out of the file already is still to be given back.
    args.fleet.add_remembered(&mut cluster, &record);
    giving::plugins_are_not_run(&args.fleet, Some(&record));
    let bundle = bundle::only_named(surroundings::open_store(global)?, Some(&record));
    let (launch, down) = giving::reachable(&args.fleet, cluster, bundle, record.id.clone(), state, global)?;
    let stays =
        launch.members.iter().find(|member| member.is_master() && !is_leaving(&member.host.address().to_string()));
    let stays = stays.ok_or_else(|| CliError::environment("no master that stays can be reached"))?;
    if args.how.plan {
        let nodes: Vec<&str> =
            record.hosts.iter().filter(|host| is_leaving(&host.address)).map(|host| host.node.as_str()).collect();
        let mut text = format!("drain, delete and reset: {}\n", nodes.join(", "));
        for member in launch.members.iter().filter(|member| is_leaving(&member.host.address().to_string())) {
            let lines = reset::plan(&launch, member, reset::Extent::Hosts);
            text.push_str(&format!("{}\n", member.name()));
            lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        return crate::named::print(&text);
    }
    let mut failed = false;
    for host in record.hosts.clone().iter().filter(|host| is_leaving(&host.address)) {
        let member = launch.members.iter().find(|member| member.host.address().to_string() == host.address);
        let known = || host.peer_address().to_owned();
        let address = member.map_or_else(known, |member| member.address.to_string());
        let (node, up) = (host.node.clone(), member.is_some());
        scale::leave(&launch, stays, &Leaving { node, address: address.clone(), master: host.master, up })?;
        if let (true, Ok(gone)) = (host.master, address.parse()) {
            for (name, why) in down.iter().filter(|(name, _)| !is_leaving(name)) {
                balancer::missed(&launch, name, &[gone], why);
            }
        }
        let remains = member.map(|member| reset::run(&launch, &[member], reset::Extent::Hosts)).transpose()?;
        record.hosts.retain(|known| known.address != host.address);
        launch.state.keep(&record)?;
        launch.state.forget_host(&host.address)?;
        for given in remains.into_iter().flatten() {
            giving::tell(&given);
            giving::look(&launch, &given)?;
            failed |= !given.errors.is_empty();
        }
        if down.iter().any(|(name, _)| *name == host.address) {
            eprintln!(
                "warning: {} does not answer: it has left the cluster, and still has its files; kiln cluster reset --hosts {} when it is back",
                host.address, host.address
            );
        }
    }
    // They have left the cluster; what is still there is named.
    if failed { Err(CliError::Told { code: 3 }) } else { Ok(()) }
}
