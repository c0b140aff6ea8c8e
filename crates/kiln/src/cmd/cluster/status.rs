//! `kiln cluster status`: the clusters that are remembered here, and how their nodes are.

use kiln_launch::Machine;
use kiln_launch::journal::{Journal, State};
use kiln_launch::phase::verify::{self, Node};
use kiln_launch::run as launching;
use serde_json::json;

use super::fleet::{self, Lines, Wish};
use super::{join, network};
use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln cluster status                      all clusters that are remembered here
  kiln cluster status --name shop          its nodes, and where its launch stopped
  kiln cluster status --name shop --json
  kiln cluster status --network            whether pods of its hosts reach each other, by packets between each two hosts

Exit codes: 0 all nodes are ready, 3 some are not or do not answer; with --network also when
packets are lost.";

/// Show clusters, and how their nodes are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    fleet: fleet::Args,
    /// List the clusters only; hosts are not asked
    #[arg(long)]
    list: bool,
    /// Look at the pod network as well, and send packets between hosts
    #[arg(long, conflicts_with_all = ["list", "json"])]
    network: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let root = args.fleet.state_root()?;
    let names = State::names(&root);
    let wish = Wish { may_lack_masters: true, ..Wish::default() };
    let fleet::Known { cluster, record, state } = args.fleet.cluster(&wish)?;
    if args.list || (record.is_none() && names.len() != 1) {
        return list(&names, args.json);
    }
    let Some(record) = record else {
        return Err(join::unknown(&cluster.name.value).with_hint(format!("there is: --name {}", names.join(", "))));
    };
    let cancel = surroundings::cancel();
    let options = args.fleet.options(&Wish::default())?;
    let mut machines = args.fleet.machines(&cluster, &cancel)?;
    let all: Vec<Machine> = machines.iter().map(|(_, machine)| machine.clone()).collect();
    machines.retain(|(host, _)| host.is_master());
    let asked = launching::ask_all(machines, &options, &Lines::new(crate::progress::Style::Quiet));
    let lacking = if asked.is_empty() { "no master of it is known any more" } else { "no master answers" };
    let mut nodes: Result<Vec<Node>, String> = Err(lacking.to_owned());
    for (host, machine, facts) in asked {
        let answer = facts.and_then(|facts| verify::ask(&kiln_launch::Member::new(host, machine, facts, true)));
        match answer {
            Ok(list) => {
                nodes = Ok(list);
                break;
            }
            Err(error) => nodes = Err(error.to_string()),
        }
    }
    let journals: Vec<(String, Journal)> = record
        .hosts
        .iter()
        .map(|host| Ok((host.address.clone(), state.journal(&host.address)?)))
        .collect::<Result<_, kiln_launch::LaunchError>>()?;
    let ready = nodes.as_ref().is_ok_and(|nodes| {
        record.hosts.iter().all(|host| nodes.iter().any(|node| node.name == host.node && node.ready))
    });
    let node = |name: &str| nodes.as_ref().ok().and_then(|nodes| nodes.iter().find(|node| node.name == name));
    if args.json {
        let hosts = record.hosts.iter().map(|host| {
            let node = node(&host.node);
            json!({"address": host.address, "node": host.node, "master": host.master, "ready": node.map(|n| n.ready), "version": node.map(|n| &n.version), "why": node.map(|n| &n.why)})
        });
        named::print_json(
            &json!({"name": record.name, "image": record.image, "images": record.images(), "kubernetes": record.kubernetes, "hosts": hosts.collect::<Vec<_>>(), "error": nodes.as_ref().err()}),
        )?;
    } else {
        let mut text = format!("{}: Kubernetes {} of {}\n", record.name, record.kubernetes, record.title());
        if let Err(why) = &nodes {
            text.push_str(&format!("  the API server cannot be asked: {why}\n"));
        }
        for host in &record.hosts {
            let role = if host.master { "master" } else { "worker" };
            let how = match node(&host.node) {
                Some(node) if node.ready => format!("ready, {}", node.version),
                Some(node) => format!("NOT READY: {}", node.why),
                None if nodes.is_ok() => "NOT A NODE".to_owned(),
                None => "not known".to_owned(),
            };
            text.push_str(&format!("  {:<15} {:<20} {role}  {how}\n", host.address, host.node));
            let journal = journals.iter().find(|(address, _)| *address == host.address);
            for entry in journal.iter().flat_map(|(_, journal)| &journal.entries).filter(|entry| entry.state != "done")
            {
                text.push_str(&format!(
                    "    phase {} {}{}\n",
                    entry.phase,
                    entry.state,
                    if entry.why.is_empty() { String::new() } else { format!(": {}", entry.why) }
                ));
            }
        }
        named::print(&crate::error::printable(&text))?;
    }
    let _ = global;
    if args.network {
        let fleet = network::look(&all, options.parallel, &cancel)?;
        named::print(&network::told(&fleet).unwrap_or_else(|| "pods of its hosts reach each other\n".to_owned()))?;
        if network::loses(&fleet) {
            return Err(CliError::Told { code: 3 });
        }
    }
    if ready { Ok(()) } else { Err(CliError::Told { code: 3 }) }
}

fn list(names: &[String], as_json: bool) -> Result<(), CliError> {
    match as_json {
        true => named::print_json(&json!({ "clusters": names })),
        false => named::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>()),
    }
}
