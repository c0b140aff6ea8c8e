//! The phases of a launch in order, on the hosts that need them, with markers and journals around each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kiln_clusterfile::Host;
use kiln_host::Cancel;

use crate::config::configuration;
use crate::error::{LaunchError, Result};
use crate::event::{Event, Events};
use crate::facts::{self, HostFacts, MARKER};
use crate::journal::{Entry, Marker};
use crate::launch::{Launch, Member, Options, settle};
use crate::machine::Machine;
use crate::phase::{self, LAUNCH, Order, Phase, Work, rootfs, runtime};
use crate::preflight::{self, Finding};
use crate::swarm;

/// Does something for many, some at a time; results in their order.
pub fn each<T: Sync, R: Send>(items: &[T], parallel: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..parallel.max(1).min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Connects to hosts and asks what they are. The first host that is a master is the one of `kubeadm init`. Their
/// addresses are chosen anew when it is known of which families the cluster is, by [`Launch::settled`].
///
/// # Errors
/// When hosts do not answer: all of them are named.
pub fn gather(
    hosts: Vec<(Host, Machine)>,
    options: &Options,
    events: &dyn Events,
    cancel: &Cancel,
) -> Result<Vec<Member>> {
    let mut errors = Vec::new();
    let mut members: Vec<Member> = Vec::new();
    for (host, machine, facts) in ask_all(hosts, options, events) {
        match facts {
            Ok(facts) => {
                let first = host.is_master() && !members.iter().any(|member| member.first);
                members.push(Member::new(host, machine, facts, first));
            }
            Err(error) => errors.push(error),
        }
    }
    if cancel.is_set() {
        return Err(LaunchError::Cancelled);
    }
    settle(&mut members, &[]);
    match errors.is_empty() {
        true => Ok(members),
        false => Err(LaunchError::Phase { phase: "connect", errors }),
    }
}

/// Asks all hosts; what each says, or why not.
pub fn ask_all(
    hosts: Vec<(Host, Machine)>,
    options: &Options,
    events: &dyn Events,
) -> Vec<(Host, Machine, Result<HostFacts>)> {
    events.event(Event::Phase { phase: "connect", hosts: hosts.len() });
    let answers = each(&hosts, options.parallel, |(_, machine)| {
        let began = Instant::now();
        let facts = facts::ask(machine, &options.service_manager);
        let (phase, host) = ("connect", machine.name().to_owned());
        match &facts {
            Ok(_) => events.event(Event::Done { phase, host, took: began.elapsed() }),
            Err(error) => events.event(Event::Failed { phase, host, why: error.to_string() }),
        }
        facts
    });
    hosts.into_iter().zip(answers).map(|((host, machine), facts)| (host, machine, facts)).collect()
}

/// What preflight finds.
///
/// # Errors
/// When the configuration, a template or a Config has mistakes.
pub fn check(launch: &Launch) -> Result<Vec<Finding>> {
    for member in &launch.members {
        (rootfs::PHASE.plan)(launch, member)?;
    }
    phase::network::check(launch)?;
    Ok(preflight::check(launch, configuration(launch)?.as_ref()))
}

/// Hosts as people read them: by which address their peers reach them, and why it is that one.
pub fn hosts_text(launch: &Launch) -> String {
    let mut out = String::from("hosts: the address by which others reach each\n");
    for member in &launch.members {
        let why = match (member.chosen.first(), &member.unchosen) {
            (Some(choice), _) => format!("on {}: {}", choice.interface, choice.reason),
            (None, Some(error)) => error.to_string(),
            (None, None) => "the host does not say which addresses it has".to_owned(),
        };
        let others: Vec<String> =
            member.chosen.first().into_iter().flat_map(|choice| &choice.others).map(ToString::to_string).collect();
        let others = match others.is_empty() {
            true => String::new(),
            false => format!("; not {} (--node-address chooses)", others.join(", ")),
        };
        out.push_str(&format!("  {} ({}): {} {why}{others}\n", member.name(), member.node, member.address));
    }
    out
}

/// A phase, with the hosts that it has work on and what that is.
pub type Planned = (&'static Phase, Vec<(String, Work)>);

/// What a launch would do: phases, with the hosts that have work and what it is. Nothing is done.
///
/// # Errors
/// When what is wanted cannot be.
pub fn plan(launch: &Launch) -> Result<Vec<Planned>> {
    static ALL: [Phase; phase::PHASES] = LAUNCH;
    let mut out = Vec::new();
    for phase in &ALL {
        let mut all = Vec::new();
        for member in &launch.members {
            if let Some(work) = phase::work(phase, launch, member)? {
                all.push((member.name().to_owned(), work));
            }
        }
        out.push((phase, all));
    }
    Ok(out)
}

/// A plan as people read it: hosts with the same work are one line.
pub fn plan_text(plan: &[(&'static Phase, Vec<(String, Work)>)]) -> String {
    let mut out = String::new();
    for (phase, all) in plan {
        out.push_str(&format!("{}: {}\n", phase.name, phase.title));
        if all.is_empty() {
            out.push_str("  nothing to do\n");
        }
        let mut groups: Vec<(&[String], Vec<&str>)> = Vec::new();
        for (host, work) in all {
            match groups.iter_mut().find(|(lines, _)| *lines == work.lines) {
                Some((_, hosts)) => hosts.push(host),
                None => groups.push((&work.lines, vec![host])),
            }
        }
        for (lines, hosts) in groups {
            out.push_str(&format!("  {}\n", hosts.join(", ")));
            lines.iter().for_each(|line| out.push_str(&format!("    {line}\n")));
        }
    }
    out
}

/// Launches: looks first, then does every phase. What is done already is passed by; says whether anything was not.
///
/// # Errors
/// When something is not as it must be, or a phase fails on a host; what was done before stays, and `resume` goes on there.
pub fn run(launch: &Launch) -> Result<bool> {
    let found = check(launch)?;
    if found.iter().any(Finding::is_error) {
        return Err(LaunchError::Preflight(found));
    }
    for finding in &found {
        launch.events.event(Event::Note { host: None, text: finding.lines().join(" ").trim().to_owned() });
    }
    keep_record(launch)?;
    let mut did = false;
    for phase in &LAUNCH {
        did |= one(launch, phase)?;
    }
    Ok(did)
}

/// Keeps what the cluster is to be, told of hosts that stay in it and are not wanted.
fn keep_record(launch: &Launch) -> Result<()> {
    if let Some(before) = launch.state.record()? {
        let record = launch.record();
        if before.kubernetes != record.kubernetes && launch.members.iter().any(|member| launch.has_done(member, "init"))
        {
            return Err(LaunchError::Wanted {
                what: format!(
                    "the cluster runs Kubernetes {}, and the image brings {}",
                    before.kubernetes, record.kubernetes
                ),
                hint: "kiln cluster upgrade IMAGE".to_owned(),
            });
        }
    }
    for host in keep(launch)? {
        let text =
            format!("{host} is part of the cluster, and not of what is wanted: kiln cluster scale --remove {host}");
        launch.events.event(Event::Note { host: None, text });
    }
    Ok(())
}

/// Keeps the record. Hosts of the cluster that are not part of this launch stay in it: their addresses are returned.
///
/// # Errors
/// When it cannot be read or written.
pub fn keep(launch: &Launch) -> Result<Vec<String>> {
    let mut record = launch.record();
    let before = launch.state.record()?.map(|record| record.hosts).unwrap_or_default();
    let is_known = |address: &String| record.hosts.iter().any(|host| host.address == *address);
    let others: Vec<_> = before.into_iter().filter(|host| !is_known(&host.address)).collect();
    let names = others.iter().map(|host| host.address.clone()).collect();
    record.hosts.extend(others);
    launch.state.keep(&record)?;
    Ok(names)
}

/// Does one phase on all hosts that need it; says whether any does.
///
/// # Errors
/// When it fails on a host; others go on, unless it goes over hosts one by one.
pub fn one(launch: &Launch, phase: &Phase) -> Result<bool> {
    let mut all = Vec::new();
    for member in &launch.members {
        if let Some(work) = phase::work(phase, launch, member)? {
            all.push((member, work));
        }
    }
    if all.is_empty() {
        launch.events.event(Event::Nothing { phase: phase.name });
        return Ok(false);
    }
    launch.events.event(Event::Phase { phase: phase.name, hosts: all.len() });
    // Ends with this phase, however it ends.
    let swarm = match phase.order {
        Order::Crowd => swarm::gather(launch, &all.iter().map(|(member, _)| *member).collect::<Vec<_>>())?,
        _ => None,
    };
    let parallel = match phase.order {
        Order::Serial => 1,
        _ if swarm.is_some() => launch.options.parallel.max(all.len().min(swarm::MOST)),
        _ => launch.options.parallel,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let results = each(&all, parallel, |(member, work)| {
        // One after the other: what comes behind a failure waits for it to be put right.
        if stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = on_host(launch, phase, member, work);
        if result.is_err() && phase.order == Order::Serial {
            stop.store(true, Ordering::Release);
        }
        result
    });
    drop(swarm);
    let errors: Vec<LaunchError> = results.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() {
        return Ok(true);
    }
    if errors.iter().any(LaunchError::is_cancelled) || launch.cancel.is_set() {
        return Err(LaunchError::Cancelled);
    }
    Err(LaunchError::Phase { phase: phase.name, errors })
}

/// Does a phase on one host, whatever its marker says, and marks that it is done.
///
/// # Errors
/// When it fails.
pub(crate) fn again(launch: &Launch, phase: &Phase, member: &Member) -> Result<()> {
    match (phase.plan)(launch, member)? {
        Some(work) => on_host(launch, phase, member, &work),
        None => Ok(()),
    }
}

/// Does a phase on one host: it is begun, done, and then said to be done.
fn on_host(launch: &Launch, phase: &Phase, member: &Member, work: &Work) -> Result<()> {
    if launch.cancel.is_set() {
        return Err(LaunchError::Cancelled);
    }
    let began = Instant::now();
    let note = |state: &str, why: String| {
        let (phase, key) = (phase.name.to_owned(), work.key.clone());
        launch.state.note(member.name(), Entry { phase, key, state: state.to_owned(), why })
    };
    note("begun", String::new())?;
    let pods = phase::network::pod_networks(launch)?;
    let mut marker = launch.marker(member).unwrap_or_else(|| {
        let mut marker = Marker::new(&launch.cluster.name.value, &launch.id);
        // What the user has reset first is nobody's any more.
        marker.occupied = member.facts.is_occupied() && !launch.options.reset_leftovers;
        let services =
            runtime::SERVICES.iter().filter_map(|name| Some(((*name).to_owned(), member.facts.service(name)?)));
        marker.services = services.collect();
        marker.docker = launch.is_docker();
        marker.pods = pods;
        marker
    });
    marker.begun = Some(phase.name.to_owned());
    write_marker(launch, member, &marker)?;
    match (phase.run)(launch, member) {
        Ok(()) => {
            marker.begun = None;
            marker.done.insert(phase.name.to_owned(), work.key.clone());
            write_marker(launch, member, &marker)?;
            note("done", String::new())?;
            let (phase, host) = (phase.name, member.name().to_owned());
            launch.events.event(Event::Done { phase, host, took: began.elapsed() });
            Ok(())
        }
        Err(error) => {
            let (name, host, why) = (phase.name, member.name().to_owned(), error.to_string());
            note("failed", why.clone())?;
            launch.events.event(Event::Failed { phase: name, host, why });
            Err(error)
        }
    }
}

fn write_marker(launch: &Launch, member: &Member, marker: &Marker) -> Result<()> {
    member.machine.write(MARKER, 0o600, marker.text())?;
    launch.mark(member, Some(marker.clone()));
    Ok(())
}
