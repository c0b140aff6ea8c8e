//! The pod network of this host, or of many.

use std::path::PathBuf;

use kiln_doctor::path;
use kiln_doctor::probe::{self, Proof};
use kiln_doctor::report::{Outcome, Report, json, junit, page, text};

use super::hosts::{self, Looked};
use super::{agents, fix};
use crate::error::CliError;
use crate::named;

pub const EXAMPLES: &str = "\
Examples:
  kiln doctor                                      why pods of this host cannot be reached
  kiln doctor --hosts root@10.0.0.1,root@10.0.0.2  the same of many hosts, and what only shows between them
  kiln doctor -f Clusterfile --html network.html   a page with the network drawn, the broken edge in red
  kiln doctor --facts-json > a.json                keep what there is to know; --facts a.json looks at it later
  kiln doctor --root /mnt                          the files of a host that is not running
  kiln doctor --probe -f Clusterfile               packets between each two hosts as well
  kiln doctor --kubeconfig admin.conf --hosts …    what the cluster says of itself, beside what its hosts have
  kiln doctor path web-0 svc/db --hosts …          which hop between two pods loses packets
  kiln doctor --fix leases.leaked                  what would be changed; --yes changes it
  kiln doctor build                                how RUN can be isolated here

Nothing is changed without --yes. Exit codes: 0 nothing found, 1 findings, 3 not everything could be looked at.
`kiln explain ID` has a page about each finding.";

/// The command line.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    hosts: hosts::Args,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the findings as JUnit, one test case for each check
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write one page with the network drawn
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Send packets between each two hosts as well: what is between them is in no table
    #[arg(long)]
    probe: bool,
    /// Show what would be changed for a finding, as `kiln doctor fix ID` does
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "junit", "html", "facts", "kubeconfig", "local"])]
    fix: Option<String>,
    /// With --fix: change it
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Print what is known of this host as JSON, and judge nothing
    #[arg(long, conflicts_with_all = ["json", "junit", "html", "hosts", "file", "local", "facts"])]
    facts_json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    if let Some(id) = &args.fix {
        return fix::Fix { id, yes: args.yes, hosts: &args.hosts, record: None }.run();
    }
    if args.facts_json {
        let (root, netns) = args.hosts.one();
        let facts = kiln_doctor::facts::gather(root, netns).map_err(|e| CliError::environment(e.to_string()))?;
        return named::print(&format!("{}\n", serde_json::to_string(&facts).unwrap_or_default()));
    }
    let mut looked = args.hosts.look()?;
    if args.probe {
        looked.fleet.proofs = proofs(&looked);
        looked.stopped()?;
    }
    let fleet = looked.fleet;
    let report = Report::new(&fleet);
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|e| CliError::environment(format!("{}: {e}", path.display())))
    };
    if let Some(path) = &args.junit {
        write(path, junit::render(&report))?;
    }
    if let Some(path) = &args.html {
        write(path, page::render(&report))?;
    }
    if args.json {
        named::print(&json::render(&report))?;
    } else {
        named::print(&text::render(&report))?;
    }
    match report.outcome() {
        Outcome::Healthy => Ok(()),
        Outcome::Findings => Err(CliError::Found),
        Outcome::Unknown => Err(CliError::Told { code: 3 }),
    }
}

/// Sends packets between each two hosts, and says so.
fn proofs(looked: &Looked) -> Vec<Proof> {
    let (pairs, connections) = (path::pairs(&looked.fleet), path::connections(&looked.fleet));
    if pairs.is_empty() && connections.is_empty() {
        eprintln!("nothing is sent: no two hosts that were looked at have pods");
        return Vec::new();
    }
    let of = |name: &str| {
        pairs.iter().any(|pair| pair.from == name || pair.to == name) || connections.iter().any(|one| one.from == name)
    };
    let sent = agents::with(looked, &of, |agents| {
        let count = pairs.len().max(connections.len() / 2);
        eprintln!("sending packets between {count} pairs of hosts, at most {}", path::PAIRS);
        let mut proofs = probe::all(&pairs, agents, probe::LISTEN);
        proofs.extend(probe::connections(&connections, agents, probe::CONNECT));
        proofs
    });
    sent.unwrap_or_default()
}
