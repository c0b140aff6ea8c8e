//! `kiln cluster reset`: hosts are given back as they were found.

use std::net::IpAddr;
use std::sync::Arc;

use kiln_clusterfile::{Cluster, Host};
use kiln_launch::event::Events;
use kiln_launch::journal::{Record, State};
use kiln_launch::launch::settle;
use kiln_launch::reset::{self, Extent, Given};
use kiln_launch::{Bundle, Launch, LaunchError, Member, balancer, run as launching};

use super::fleet::{self, Lines, Wish};
use super::{bundle, unsupported};
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln cluster reset                          the whole cluster, as it is remembered here
  kiln cluster reset --plan                   what would be done
  kiln cluster reset --hosts 10.0.0.3         only this host, also one that has left its cluster; others do not ask it
                                              any more, if it was a master
  kiln cluster reset -f Clusterfile           hosts of a Clusterfile

What Kiln wrote is removed, what was in its place is put back, and so are settings; devices, chains of iptables,
mounts and directories of Kubernetes and its network go. It works while the cluster is half built, and while some
hosts are down: those are named, and remembered for another reset. Plugins for the end are run with -f Clusterfile.";

/// Give hosts back as they were before a launch
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only these hosts, as --nodes of `kiln cluster run`
    #[arg(long, value_name = "LIST")]
    hosts: Option<String>,
    #[command(flatten)]
    fleet: fleet::Args,
    /// Print what would be done; change nothing
    #[arg(long)]
    plan: bool,
}

/// A host that does not answer, and why.
pub type Down = Vec<(String, LaunchError)>;

/// A launch of those hosts that answer, and the others.
pub fn reachable(
    fleet: &fleet::Args,
    cluster: Cluster,
    bundle: Bundle,
    id: String,
    state: State,
    global: &Global,
) -> Result<(Launch, Down), CliError> {
    let options = fleet.options(&Wish::default())?;
    let cancel = surroundings::cancel();
    let events: Arc<dyn Events> = Arc::new(Lines::new(global.progress));
    let mut down = Vec::new();
    let mut members: Vec<Member> = Vec::new();
    for (host, machine, facts) in launching::ask_all(fleet.machines(&cluster, &cancel)?, &options, &*events) {
        match facts {
            Ok(facts) => {
                let first = host.is_master() && !members.iter().any(|member| member.first);
                members.push(Member::new(host, machine, facts, first));
            }
            Err(error) => down.push((machine.name().to_owned(), error)),
        }
    }
    settle(&mut members, &[]);
    Ok((fleet::assemble(cluster, bundle, members, options, id, state, events, cancel), down))
}

/// Says so where plugins of a Clusterfile may be meant for the end, and it is not given.
pub fn plugins_are_not_run(fleet: &fleet::Args, record: Option<&Record>) {
    let file = record.and_then(|record| record.file.as_ref());
    if let Some(file) = file.filter(|_| !fleet.has_file()) {
        eprintln!(
            "note: plugins of {0} are not run; with -f {0} they are",
            error::printable(&file.display().to_string())
        );
    }
}

/// Tells what remains of a host.
pub fn tell(given: &Given) {
    for line in &given.remains {
        eprintln!("remains: {}: {}", given.host, error::printable(line));
    }
    for failure in &given.errors {
        eprintln!("error: {}", error::printable(&failure.to_string()));
        failure.details().iter().for_each(|line| eprintln!("{}", error::printable(line)));
    }
}

/// Looks at a host that was given back, and tells what is still there.
pub fn look(launch: &Launch, given: &Given) -> Result<(), CliError> {
    let member = launch.members.iter().find(|member| member.name() == given.host);
    if let Some(member) = member.filter(|_| given.errors.is_empty()) {
        let remains = reset::verify(launch, member)?;
        remains.iter().for_each(|line| eprintln!("remains: {}: {}", given.host, error::printable(line)));
    }
    Ok(())
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let only = args.hosts.as_deref().map(kiln_kubeadm::hosts::parse).transpose();
    let only = only.map_err(|e| CliError::usage(format!("--hosts: {e}")))?;
    let fleet::Known { mut cluster, record, state } =
        args.fleet.cluster(&Wish { may_lack_masters: true, ..Wish::default() })?;
    unsupported::refuse(&cluster)?;
    let mut id = record.as_ref().map(|record| record.id.clone()).unwrap_or_default();
    let mut stay = cluster.clone();
    stay.hosts.clear();
    if let Some(only) = &only {
        for wanted in only {
            if !cluster.hosts.iter().any(|known| known.address() == wanted.address) {
                // What is not remembered here is known by the marker of each host.
                id.clear();
                cluster.hosts.push(args.fleet.stranger(wanted.address, wanted.port, false));
            }
        }
        let is_meant = |host: &Host| only.iter().any(|wanted| wanted.address == host.address());
        (cluster.hosts, stay.hosts) = cluster.hosts.into_iter().partition(is_meant);
    }
    let remembered = record.iter().flat_map(|record| &record.hosts);
    let left = remembered.filter(|known| !cluster.hosts.iter().any(|host| host.address().to_string() == known.address));
    let left: Vec<&str> = left.map(|known| known.address.as_str()).collect();
    if only.is_none() && !left.is_empty() {
        eprintln!("note: {} stay as they are: the Clusterfile does not have them", left.join(", "));
    }
    let extent = if left.is_empty() { Extent::Cluster } else { Extent::Hosts };
    plugins_are_not_run(&args.fleet, record.as_ref());
    let bundle = bundle::only_named(surroundings::open_store(global)?, record.as_ref());
    let staying = Staying { cluster: stay, bundle: bundle.clone(), id: id.clone(), state: state.clone() };
    let (launch, down) = reachable(&args.fleet, cluster, bundle, id, state, global)?;
    if args.plan {
        let text = launch.members.iter().fold(String::new(), |text, member| {
            let lines = reset::plan(&launch, member, extent);
            text + member.name() + "\n" + &lines.iter().map(|line| format!("  {line}\n")).collect::<String>()
        });
        return named::print(&text);
    }
    let members: Vec<&Member> = launch.members.iter().collect();
    let all = reset::run(&launch, &members, extent)?;
    all.iter().for_each(tell);
    let forgotten = record.as_ref().map_or(Ok(()), |record| staying.forget(args, record, &all, global));
    // What was given back is no host any more, whatever becomes of those that stay.
    match (finish(&launch, &all, &down), forgotten) {
        (Ok(()), forgotten) => forgotten,
        (finished, Ok(())) => finished,
        (finished, Err(error)) => {
            eprintln!("{}", error::printable(error.render(false).trim_end()));
            finished
        }
    }
}

/// What is not given back.
struct Staying {
    cluster: Cluster,
    bundle: Bundle,
    id: String,
    state: State,
}

impl Staying {
    /// Has hosts that stay not ask masters any more that were given back.
    fn forget(self, args: &Args, record: &Record, all: &[Given], global: &Global) -> Result<(), CliError> {
        let is_gone = |address: &str| all.iter().any(|given| given.is_done && given.host == address);
        let gone = record.hosts.iter().filter(|host| host.master && is_gone(&host.address));
        let gone = gone.filter_map(|host| host.peer_address().parse::<IpAddr>().ok());
        let gone: Vec<IpAddr> = gone.collect();
        if gone.is_empty() || self.cluster.hosts.is_empty() {
            return Ok(());
        }
        let (launch, down) = reachable(&args.fleet, self.cluster, self.bundle, self.id, self.state, global)?;
        balancer::forget(&launch, &launch.members.iter().collect::<Vec<_>>(), &gone);
        down.iter().for_each(|(name, why)| balancer::missed(&launch, name, &gone, why));
        Ok(())
    }
}

/// Looks at what was given back, and forgets it.
fn finish(launch: &Launch, all: &[Given], down: &Down) -> Result<(), CliError> {
    let mut failed = down.len();
    for (name, why) in down {
        eprintln!("error: {name} was not reset: {}", error::printable(&why.to_string()));
    }
    let mut record = launch.state.record()?;
    for given in all {
        look(launch, given)?;
        // What has nothing of the cluster is no host of it either.
        if given.is_done || given.errors.is_empty() {
            launch.state.forget_host(&given.host)?;
            if let Some(record) = &mut record {
                record.hosts.retain(|host| host.address != given.host);
            }
        }
        failed += usize::from(!given.errors.is_empty());
    }
    match &record {
        Some(record) if !record.hosts.is_empty() => launch.state.keep(record)?,
        Some(_) => launch.state.forget()?,
        None => {}
    }
    if failed > 0 {
        return Err(CliError::Told { code: 3 });
    }
    Ok(())
}
