//! What is wrong with a cluster as a whole: hosts that are there twice, ranges that overlap, plugins about no host.

use std::collections::HashMap;
use std::net::IpAddr;

use kiln_spec::diag::Diagnostic;

use crate::model::{Action, Cidr, Cluster, Host, Origin, Said, Selector};
use crate::read::span_of;

/// A mistake, and where it is.
type Wrong = (Origin, Diagnostic);

/// Gives hosts the names that plugins of type HOSTNAME say, unless they have one.
pub fn names_of_plugins(cluster: &mut Cluster) {
    let places = places(&cluster.hosts);
    for plugin in &cluster.plugins {
        let Action::Hostname(pairs) = &plugin.action else { continue };
        for pair in pairs {
            let (address, name) = &pair.value;
            if let Some(host) = places.get(address).and_then(|i| cluster.hosts.get_mut(*i))
                && host.name.is_none()
            {
                host.name = Some(Said::new(name.clone(), pair.origin.clone()));
            }
        }
    }
}

/// Which host has an address.
fn places(hosts: &[Host]) -> HashMap<IpAddr, usize> {
    let all = hosts.iter().enumerate();
    all.flat_map(|(i, host)| host.addresses.iter().map(move |address| (address.value, i))).collect()
}

/// Looks for mistakes.
pub fn check(cluster: &Cluster) -> Vec<Wrong> {
    let mut wrong = twice(cluster);
    masters(cluster, &mut wrong);
    ranges(cluster, &mut wrong);
    plugins(cluster, &mut wrong);
    const MOST: usize = 200;
    wrong.truncate(MOST);
    wrong
}

fn error(code: &'static str, origin: &Origin, message: String) -> Wrong {
    (origin.clone(), Diagnostic::error(code, span_of(origin), message))
}

fn warning(code: &'static str, origin: &Origin, message: String) -> Wrong {
    (origin.clone(), Diagnostic::warning(code, span_of(origin), message))
}

/// Addresses and names of more than one host.
fn twice(cluster: &Cluster) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut addresses: HashMap<IpAddr, &Origin> = HashMap::new();
    let mut names: HashMap<&str, &Origin> = HashMap::new();
    for host in &cluster.hosts {
        for address in &host.addresses {
            if let Some(before) = addresses.insert(address.value, &address.origin) {
                let message = format!("{} is a host already, by {before}", address.value);
                wrong.push(error("DuplicateHost", &address.origin, message));
            }
        }
        if let Some(name) = &host.name
            && let Some(before) = names.insert(&name.value, &name.origin)
        {
            let message = format!("`{}` is the name of another host already, by {before}", name.value);
            wrong.push(error("DuplicateName", &name.origin, message));
        }
    }
    wrong
}

fn masters(cluster: &Cluster, wrong: &mut Vec<Wrong>) {
    let Some(first) = cluster.hosts.first() else { return };
    let place = first.addresses.first().map_or(&Origin::Default, |address| &address.origin);
    match cluster.masters().count() {
        0 => {
            let (origin, diagnostic) = error("NoMaster", place, "none of the hosts has the role master".to_owned());
            wrong.push((origin, diagnostic.hint("`kubeadm init` runs on the first master: give one host that role")));
        }
        count if count.is_multiple_of(2) => {
            let place = cluster.masters().last().and_then(|host| host.addresses.first()).map_or(place, |a| &a.origin);
            let message = format!("{count} masters survive no more failures than {}: etcd needs a majority", count - 1);
            wrong.push(warning("EvenMasters", place, message));
        }
        _ => {}
    }
}

/// Ranges of pods and services, and hosts in them.
fn ranges(cluster: &Cluster, wrong: &mut Vec<Wrong>) {
    let network = &cluster.network;
    for (what, ranges) in [("pods", &network.pod_cidrs), ("services", &network.service_cidrs)] {
        let mut families: HashMap<bool, &Said<Cidr>> = HashMap::new();
        for range in ranges {
            if let Some(before) = families.insert(range.address.is_ipv4(), range) {
                let message =
                    format!("{} and {} are both of {what}: there is one range a family", before.value, range.value);
                wrong.push(error("TwoRanges", &range.origin, message));
            }
        }
    }
    for pods in &network.pod_cidrs {
        for services in network.service_cidrs.iter().filter(|services| services.overlaps(pods.value)) {
            let message = format!("the ranges of pods, {}, and of services, {}, overlap", pods.value, services.value);
            wrong.push(error("Overlap", &services.origin, message));
        }
    }
    for range in network.pod_cidrs.iter().chain(&network.service_cidrs) {
        let inside = cluster.hosts.iter().flat_map(|host| &host.addresses).find(|a| range.contains(a.value));
        if let Some(address) = inside {
            let message =
                format!("the host {} is inside of {}, which pods or services have", address.value, range.value);
            wrong.push(error("Overlap", &range.origin, message));
        }
    }
}

/// Plugins about addresses that no host has.
fn plugins(cluster: &Cluster, wrong: &mut Vec<Wrong>) {
    if cluster.hosts.is_empty() {
        return;
    }
    let known = places(&cluster.hosts);
    let mut lost = |address: &IpAddr, origin: &Origin| {
        if !known.contains_key(address) {
            wrong.push(warning("NoSuchHost", origin, format!("no host has the address {address}")));
        }
    };
    for plugin in &cluster.plugins {
        if let Selector::Addresses(addresses) = &plugin.on.value {
            addresses.iter().for_each(|address| lost(address, &plugin.on.origin));
        }
        match &plugin.action {
            Action::Hostname(pairs) => pairs.iter().for_each(|pair| lost(&pair.value.0, &pair.origin)),
            Action::Label(pairs) => pairs.iter().for_each(|pair| lost(&pair.value.0, &pair.origin)),
            Action::Taint(pairs) => pairs.iter().for_each(|pair| lost(&pair.value.0, &pair.origin)),
            Action::Shell(_) | Action::EtcdBackup(_) | Action::ClusterCheck => {}
        }
    }
}
