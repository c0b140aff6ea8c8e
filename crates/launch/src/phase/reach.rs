//! Whether hosts reach each other at the ports that a cluster needs: tried, and not only asked of the hosts.
//!
//! | from | to | port |
//! |---|---|---|
//! | every node | masters | the API server's |
//! | masters | each other | etcd's: TCP 2379, 2380 |
//! | masters | every node | the kubelet's: TCP 10250 |
//! | every host | hosts with the registry | the registry's |
//! | nodes | each other, at an address of each family | flannel and cilium: UDP 8472; weave: TCP 6783, UDP 6783 and 6784 |
//!
//! Each host listens for a while at the ports that are free, the others connect; packets of UDP carry a token of who sent
//! them. Of many hosts, each one's next few stand for all in the last row. Only ways of hosts that are new are tried. It is
//! done by this binary on the hosts, so it comes behind its distribution, and before anything is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kiln_host::Stdin;

use super::distribute::agent;
use super::network::choice::{Network, choose};
use super::network::flannel;
use super::{Order, Phase, Work};
use crate::agent::reach::Port;
use crate::config::configuration;
use crate::error::{LaunchError, Result};
use crate::facts::HOME;
use crate::launch::{Launch, Member, key};
use crate::machine::printable;
use crate::preflight::{self, Finding};
use crate::run::each;

/// The phase.
pub const PHASE: Phase =
    Phase { name: "reach", title: "ports between hosts", order: Order::Serial, plan, run, undo: None };

/// Up to so many nodes, each tries each other.
const ALL: usize = 16;
/// Of more, each tries so many.
const NEXT: usize = 4;
const LIMIT: Duration = Duration::from_secs(180);

/// An address of a host, by its place among the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: usize,
    /// Whether it is the one of the other family.
    other: bool,
}

impl End {
    fn member(self, launch: &Launch) -> Option<&Member> {
        launch.members.get(self.at)
    }

    fn address(self, launch: &Launch) -> Option<IpAddr> {
        self.member(launch)?.addresses().nth(usize::from(self.other))
    }

    /// Where a listener writes what it hears.
    fn report(self) -> String {
        format!("{HOME}/reach{}", if self.other { "-other" } else { "" })
    }
}

/// A way between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    to: End,
    port: u16,
    udp: bool,
    from: usize,
}

/// Ports of the pod network, as far as its name and flannel's manifest tell: TCP and UDP.
fn overlay(launch: &Launch) -> Result<(Vec<u16>, Vec<u16>)> {
    let name = match choose(launch)? {
        Network::Manifests(paths) => paths.join(" "),
        Network::App(name) => name,
        Network::None => return Ok((Vec::new(), Vec::new())),
    };
    let name = name.to_lowercase();
    Ok(match () {
        () if name.contains("flannel") || name.contains("canal") => {
            let backend = launch.cluster.network.backend.as_ref().map(|backend| backend.value);
            let texts = launch.bundle.networks.values().map(String::as_str);
            let conf = texts.into_iter().find(|text| text.contains("net-conf.json"));
            (Vec::new(), flannel::ports(conf.unwrap_or_default(), backend))
        }
        () if name.contains("cilium") => (Vec::new(), vec![8472]),
        () if name.contains("weave") => (vec![6783], vec![6783, 6784]),
        () => (Vec::new(), Vec::new()),
    })
}

/// Ways that are to be tried: those of hosts that are no nodes of the cluster yet.
fn ways(launch: &Launch) -> Result<Vec<Way>> {
    let members = &launch.members;
    let configuration = configuration(launch)?;
    let places = |is: &dyn Fn(&Member) -> bool| -> Vec<usize> {
        members.iter().enumerate().filter(|(_, member)| is(member)).map(|(at, _)| at).collect()
    };
    let (all, masters) = (places(&|_| true), places(&Member::is_master));
    let nodes = places(&Member::is_node);
    let registry: Vec<usize> = {
        let hosts: BTreeSet<_> = launch.registry_members().iter().map(|member| member.host.address()).collect();
        places(&|member| hosts.contains(&member.host.address()))
    };
    let mut out = BTreeSet::new();
    let mut way = |from: usize, to: End, ports: &[u16], udp: bool| {
        out.extend(ports.iter().map(|port| Way { to, port: *port, udp, from }));
    };
    let mut add = |from: &[usize], to: &[usize], ports: &[u16]| {
        for (from, at) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            way(from, End { at, other: false }, ports, false);
        }
    };
    add(&nodes, &masters, &[configuration.bind_port]);
    if !configuration.external_etcd {
        add(&masters, &masters, &[2379, 2380]);
    }
    add(&masters, &nodes, &[10_250]);
    add(&all, &registry, &[launch.cluster.registry.port.value]);
    let (tcp, udp) = overlay(launch)?;
    for (at, from) in nodes.iter().enumerate() {
        let others = (1..nodes.len()).filter_map(|step| nodes.get((at + step) % nodes.len()).copied());
        let others: Vec<usize> = others.take(if nodes.len() <= ALL { ALL } else { NEXT }).collect();
        for to in &others {
            // There and back: rules of firewalls are of one direction.
            for (a, at) in [(*from, *to), (*to, *from)] {
                let others = |at: &usize| members.get(*at).is_some_and(|member| member.addresses().count() > 1);
                for other in [false, true].into_iter().filter(|other| !*other || others(&a) && others(&at)) {
                    way(a, End { at, other }, &tcp, false);
                    way(a, End { at, other }, &udp, true);
                }
            }
        }
    }
    let is_new = |at: usize| members.get(at).is_some_and(|member| !preflight::joined(launch, member));
    out.retain(|way| way.from != way.to.at && (is_new(way.from) || is_new(way.to.at)));
    Ok(out.into_iter().collect())
}

/// By what a listener knows the packets of a host.
pub fn token(id: &str, node: &str) -> String {
    key(["reach", id, node])
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let ways = if member.first { ways(launch)? } else { Vec::new() };
    if ways.is_empty() {
        return Ok(None);
    }
    let mut ports: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let name = |at: usize| launch.members.get(at).map_or("", Member::name);
    for way in &ways {
        ports.entry(protocol(way)).or_default().insert(name(way.to.at));
    }
    let lines = ports.into_iter().map(|(port, to)| format!("try {port} of {}", list(to.into_iter()))).collect();
    let part = |way: &Way| {
        let to = way.to.address(launch).filter(|_| way.to.other);
        let to = to.map_or_else(|| name(way.to.at).to_owned(), |address| address.to_string());
        format!("{} {to} {}", name(way.from), protocol(way))
    };
    let parts: Vec<String> = ways.iter().map(part).collect();
    Ok(Some(Work { key: key(parts.iter().map(String::as_str)), lines, holds: true }))
}

fn protocol(way: &Way) -> String {
    format!("{} {}", if way.udp { "UDP" } else { "TCP" }, way.port)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<&str> = names.collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let shown = names.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let ways = ways(launch)?;
    let parallel = launch.options.parallel;
    let mut listening: BTreeMap<End, Vec<Way>> = BTreeMap::new();
    let mut sending: BTreeMap<usize, Vec<Way>> = BTreeMap::new();
    for way in &ways {
        listening.entry(way.to).or_default().push(*way);
        sending.entry(way.from).or_default().push(*way);
    }
    let listening: Vec<(End, Vec<Way>)> = listening.into_iter().collect();
    let sending: Vec<(&Member, Vec<Way>)> =
        sending.into_iter().filter_map(|(at, ways)| Some((launch.members.get(at)?, ways))).collect();
    let started = each(&listening, parallel, |(end, ways)| listen(launch, *end, ways));
    let sent = match started.iter().all(Result::is_ok) {
        true => each(&sending, parallel, |(member, ways)| send(launch, member, ways)),
        false => Vec::new(),
    };
    // Listeners end, whatever became of the others.
    let reports = each(&listening, parallel, |(end, _)| collect(launch, *end));
    let mut errors = Vec::new();
    let mut busy: BTreeSet<(End, bool, u16)> = BTreeSet::new();
    let mut heard: BTreeSet<(End, u16, String)> = BTreeSet::new();
    errors.extend(started.into_iter().filter_map(Result::err));
    for ((end, _), report) in listening.iter().zip(reports) {
        match report {
            Ok(report) => read(*end, &report, &mut busy, &mut heard),
            Err(error) => errors.push(error),
        }
    }
    let mut lost: BTreeMap<(End, bool, u16), Vec<(usize, String)>> = BTreeMap::new();
    for ((member, own), sent) in sending.iter().zip(sent) {
        match sent {
            Err(error) => errors.push(error),
            Ok(said) => {
                for way in own {
                    if let Some(why) = lost_way(launch, way, &said, &busy, &heard, member) {
                        lost.entry((way.to, way.udp, way.port)).or_default().push((way.from, why));
                    }
                }
            }
        }
    }
    if !errors.is_empty() {
        return Err(match errors.iter().any(LaunchError::is_cancelled) {
            true => LaunchError::Cancelled,
            false => LaunchError::Phase { phase: PHASE.name, errors },
        });
    }
    untried(launch, member, &ways, &busy);
    judge(launch, lost)
}

fn listen(launch: &Launch, end: End, ways: &[Way]) -> Result<()> {
    let (Some(member), Some(address)) = (end.member(launch), end.address(launch)) else { return Ok(()) };
    let ports = |udp: bool| -> BTreeSet<u16> { ways.iter().filter(|way| way.udp == udp).map(|way| way.port).collect() };
    let words =
        |option: &str, udp: bool| ports(udp).iter().map(|port| format!(" --{option} {port}")).collect::<String>();
    let report = end.report();
    let start = agent(&format!("listen --at {address}{}{} --report {report}", words("tcp", false), words("udp", true)));
    let line = format!(
        "rm -f {report}; $(command -v setsid || echo nohup) {start} >/dev/null 2>&1 </dev/null & n=0; \
         until grep -qs '^listening' {report}; do n=$((n+1)); [ $n -lt 100 ] || {{ echo 'nothing listens' >&2; exit 1; }}; sleep 0.1; done"
    );
    member.machine.succeed_with("listen for other hosts", &line, Stdin::Empty, LIMIT).map(drop)
}

/// Sends from a host; what it says of ports that it does not reach.
fn send(launch: &Launch, member: &Member, ways: &[Way]) -> Result<Vec<String>> {
    let mut order = token(&launch.id, &member.node) + "\n";
    for way in ways {
        if let Some(address) = way.to.address(launch) {
            order.push_str(&Port { to: SocketAddr::new(address, way.port), udp: way.udp }.line());
        }
    }
    let what = "reach other hosts";
    let said = member.machine.succeed_with(what, &agent("reach"), Stdin::Bytes(order.into_bytes()), LIMIT)?.text();
    match said.lines().next_back() {
        Some("done") => Ok(said.lines().filter(|line| line.starts_with("lost ")).map(str::to_owned).collect()),
        _ => Err(member.machine.nonsense(what, "it does not come to an end")),
    }
}

fn collect(launch: &Launch, end: End) -> Result<String> {
    let Some(member) = end.member(launch) else { return Ok(String::new()) };
    let report = end.report();
    // What was sent last is on its way.
    let line = format!("sleep 0.3; cat {report}; rm -f {report}");
    Ok(member.machine.succeed("ask what was heard", &line)?.text())
}

fn read(end: End, report: &str, busy: &mut BTreeSet<(End, bool, u16)>, heard: &mut BTreeSet<(End, u16, String)>) {
    for line in report.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["busy" | "cannot", protocol, port] => {
                busy.extend(port.parse().ok().map(|port| (end, protocol == "udp", port)));
            }
            ["heard", port, token] => heard.extend(port.parse().ok().map(|port| (end, port, token.to_owned()))),
            _ => {}
        }
    }
}

/// Why a host does not reach a port, if that is so.
fn lost_way(
    launch: &Launch,
    way: &Way,
    said: &[String],
    busy: &BTreeSet<(End, bool, u16)>,
    heard: &BTreeSet<(End, u16, String)>,
    member: &Member,
) -> Option<String> {
    let port = Port { to: SocketAddr::new(way.to.address(launch)?, way.port), udp: way.udp };
    let start = format!("lost {} ", port.line().trim_end());
    if let Some(why) = said.iter().find_map(|line| line.strip_prefix(&start)) {
        return Some(printable(why));
    }
    let token = token(&launch.id, &member.node);
    let arrived = !way.udp || busy.contains(&(way.to, true, way.port)) || heard.contains(&(way.to, way.port, token));
    (!arrived).then(|| "packets do not arrive".to_owned())
}

/// Ports of UDP that are taken already say nothing of who reaches them.
fn untried(launch: &Launch, first: &Member, ways: &[Way], busy: &BTreeSet<(End, bool, u16)>) {
    let taken: BTreeSet<(usize, u16)> = ways
        .iter()
        .filter(|way| way.udp && busy.contains(&(way.to, true, way.port)))
        .map(|way| (way.to.at, way.port))
        .collect();
    for (at, port) in taken {
        if let Some(member) = launch.members.get(at) {
            launch.note(first, format!("UDP {port} of {} was not tried: something has it", member.name()));
        }
    }
}

fn judge(launch: &Launch, lost: BTreeMap<(End, bool, u16), Vec<(usize, String)>>) -> Result<()> {
    let mut found = Vec::new();
    for ((to, udp, port), from) in lost {
        let (Some(member), Some(address)) = (to.member(launch), to.address(launch)) else { continue };
        let names = list(from.iter().filter_map(|(at, _)| launch.members.get(*at)).map(Member::name));
        let protocol = if udp { "UDP" } else { "TCP" };
        let why = from.first().map_or("", |(_, why)| why.as_str());
        let name = format!("Reach-{port}");
        found.push(Finding {
            ignored: preflight::is_ignored(launch, &name),
            name,
            fatal: true,
            host: member.name().to_owned(),
            text: format!("{protocol} {port} of {address} is not reached from {names}: {why}"),
            hint: "open it in the firewalls of the hosts, and in what is between them".to_owned(),
        });
    }
    if found.iter().any(Finding::is_error) {
        return Err(LaunchError::Unreached(found));
    }
    for finding in found {
        let text = finding.lines().join(" ").trim().to_owned();
        launch.events.event(crate::event::Event::Note { host: None, text });
    }
    Ok(())
}
