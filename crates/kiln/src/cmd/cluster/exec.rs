//! `kiln cluster exec`: one command on many hosts of a cluster.

use std::time::Duration;

use kiln_host::command::quote;
use kiln_host::{Exit, Stdin};
use kiln_launch::run as launching;

use super::fleet::{self, Hosts, Wish};
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln cluster exec -- uptime                          on every host
  kiln cluster exec --role master -- crictl ps -a
  kiln cluster exec --on 10.0.0.2,10.0.0.3 -- systemctl status kubelet
  kiln cluster exec -- sh -c 'df -h / | tail -1'

Commands run as root. Lines are printed behind the host's address. Exit code 3 if one fails.";

/// Run a command on hosts of a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    hosts: Hosts,
    /// Only hosts with this role: master, node, …
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Only these hosts, as --nodes
    #[arg(long, value_name = "LIST")]
    on: Option<String>,
    /// How long it may take on one host, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let wish = Wish { hosts: args.hosts.clone(), may_lack_masters: true, ..Wish::default() };
    let cluster = args.fleet.cluster(&wish)?.cluster;
    let options = args.fleet.options(&wish)?;
    let mut machines = args.fleet.machines(&cluster, &surroundings::cancel())?;
    if let Some(role) = &args.role {
        let role = kiln_clusterfile::model::Role::of(role);
        machines.retain(|(host, _)| host.is(&role));
    }
    if let Some(list) = &args.on {
        let wanted = kiln_kubeadm::hosts::parse(list).map_err(|e| CliError::usage(format!("--on: {e}")))?;
        machines.retain(|(host, _)| wanted.iter().any(|other| other.address == host.address()));
    }
    if machines.is_empty() {
        return Err(CliError::input("no host of the cluster is meant"));
    }
    let line = args.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let limit = Duration::from_secs(args.timeout.max(1));
    let answers = launching::each(&machines, options.parallel, |(_, machine)| {
        // Both streams are one, in the order they come.
        machine.run("run the command", &format!("{{ {line}\n}} 2>&1"), Stdin::Empty, limit)
    });
    let mut failed = false;
    for ((_, machine), answer) in machines.iter().zip(answers) {
        match answer {
            Ok(said) => {
                let text: String = said
                    .text()
                    .lines()
                    .map(|text| format!("{}: {}\n", machine.name(), error::printable(text)))
                    .collect();
                named::print(&text)?;
                if said.exit != Exit::Code(0) {
                    failed = true;
                    eprintln!("{}: {}", machine.name(), said.exit);
                }
            }
            Err(error) => {
                failed = true;
                eprintln!("error: {}", error::printable(&error.to_string()));
            }
        }
    }
    if failed { Err(CliError::Told { code: 3 }) } else { Ok(()) }
}
