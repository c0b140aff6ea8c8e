//! A packet's way between two addresses, from what the hosts say, and proved by packets.

use std::net::SocketAddr;
use std::time::Duration;

use kiln_doctor::names;
use kiln_doctor::path::{self, Hop, Trace};

use super::agents;
use super::hosts::{self, Looked};
use crate::error::CliError;
use crate::named;

pub const EXAMPLES: &str = "\
Examples:
  kiln doctor path 10.244.0.5 10.244.1.7 --hosts root@10.0.0.1,root@10.0.0.2
  kiln doctor path web-0 svc/default/db:5432 --hosts root@10.0.0.1,root@10.0.0.2
  kiln doctor path default/web-0 kube-dns --kubeconfig admin.conf -f Clusterfile
  kiln doctor path 10.244.0.5 10.244.1.7 --no-probe --facts a.json --facts b.json

The way is what the hosts' kernels would do, and ends where they would lose the packet. Then packets
are sent over it: of the tunnel's own kind in several sizes, for port 9 (discard), from host to host and
back, and one connection of TCP from the pod, closed without a byte. --no-probe sends nothing.
Exit codes: 0 it arrives, 1 it is lost, 3 not everything could be looked at.";

/// The port that a connection is made to when none is named. That nobody listens there is an answer as well.
const PORT: u16 = 80;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who sends: an address, or the name of a pod or a host ([NAMESPACE/]NAME)
    from: String,
    /// Who is to receive: an address or a name, also of a service, with :PORT if it matters
    to: String,
    #[command(flatten)]
    hosts: hosts::Args,
    /// Send nothing
    #[arg(long)]
    no_probe: bool,
    /// How long a packet is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=30))]
    wait: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let looked = args.hosts.look()?;
    let fleet = &looked.fleet;
    let from = names::find(fleet, &args.from).map_err(CliError::usage)?;
    let to = names::find(fleet, &args.to).map_err(CliError::usage)?;
    let mut trace = path::trace(fleet, from.ip, to.ip, to.port).map_err(CliError::input)?;
    if !args.no_probe {
        let target = SocketAddr::new(to.ip, to.port.unwrap_or(PORT));
        let hops = proved(&looked, &trace, target, &from, Duration::from_secs(args.wait));
        looked.stopped()?;
        trace.hops.extend(hops);
    }
    if args.json {
        named::print_json(&serde_json::to_value(&trace.hops).unwrap_or_default())?;
    } else {
        named::print(&path::render(&trace.hops))?;
    }
    for missing in &fleet.missing {
        eprintln!("not looked at: {}: {}", missing.host, missing.why);
    }
    match trace.hops.iter().any(|hop| hop.lost.is_some()) {
        true => Err(CliError::Found),
        false if !fleet.missing.is_empty() => Err(CliError::Told { code: 3 }),
        false => Ok(()),
    }
}

/// Sends packets over a way, as far as its hosts can be told to.
fn proved(looked: &Looked, trace: &Trace, target: SocketAddr, from: &names::Place, wait: Duration) -> Vec<Hop> {
    let crosses = |name: &str| trace.crossings.iter().any(|crossing| crossing.from == name || crossing.to == name);
    let proved = agents::with(looked, &|name| name == trace.start || crosses(name), |agents| {
        for crossing in &trace.crossings {
            let (words, sizes) = (crossing.probe.words(), crossing.probe.sizes().len());
            eprintln!("sending from {} and back: {words}, {sizes} sizes", crossing.from);
        }
        eprintln!("connecting from {} to {target}", trace.start);
        path::prove(trace, target, from.ip, agents, wait)
    });
    proved.unwrap_or_default()
}
