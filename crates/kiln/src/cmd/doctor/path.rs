//! A packet's way between two addresses.

use std::net::IpAddr;

use kiln_doctor::path;

use super::hosts;
use crate::error::CliError;
use crate::named;

pub const EXAMPLES: &str = "\
Examples:
  kiln doctor path 10.244.0.5 10.244.1.7 --hosts root@10.0.0.1,root@10.0.0.2
  kiln doctor path 10.244.0.5 10.244.1.7 --facts a.json --facts b.json

Nothing is sent: the way is what the hosts' kernels would do, and ends where they would lose the packet.
Exit codes: 0 it arrives, 1 it is lost on a host, 3 not everything could be looked at.";

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address that sends: a pod's or a host's
    from: String,
    /// The address that is to receive
    to: String,
    #[command(flatten)]
    hosts: hosts::Args,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (from, to) = (address(&args.from)?, address(&args.to)?);
    let fleet = args.hosts.fleet()?;
    let hops = path::trace(&fleet, from, to).map_err(CliError::input)?;
    if args.json {
        named::print_json(&serde_json::to_value(&hops).unwrap_or_default())?;
    } else {
        named::print(&path::render(&hops))?;
    }
    for missing in &fleet.missing {
        eprintln!("not looked at: {}: {}", missing.host, missing.why);
    }
    match hops.iter().any(|hop| hop.lost.is_some()) {
        true => Err(CliError::Found),
        false if !fleet.missing.is_empty() => Err(CliError::Told { code: 3 }),
        false => Ok(()),
    }
}

fn address(text: &str) -> Result<IpAddr, CliError> {
    text.parse().map_err(|_| {
        CliError::usage(format!("`{text}` is no address"))
            .with_hint("names of pods are not looked up: `kubectl get pods -o wide` shows their addresses")
    })
}
