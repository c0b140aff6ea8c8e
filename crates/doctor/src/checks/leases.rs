//! Addresses that host-local gave away.

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::HostFacts;
use crate::facts::cni::{Lease, Range, Store};

/// A pod that is just being made has a lease before the runtime has a sandbox.
const YOUNG: u64 = 60;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "leases.leaked",
        severity: Error,
        line: "addresses of pods are leased to containers that are gone",
        symptoms: &[
            "no IP addresses available in network: cbr0",
            "failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.254",
        ],
        cause: "The runtime was killed or the machine rebooted before the plugin was told to release them; or adding pods fails in a loop.",
        remedy: "kiln doctor fix leases.leaked deletes the leases whose container the runtime does not have, under host-local's lock. Then look for what made adding fail.",
        after: &[],
        check: leaked,
    },
    Row {
        id: "leases.exhausted",
        severity: Error,
        line: "the host has no address left for a pod",
        symptoms: &[
            "no IP addresses available in range set",
            "failed to allocate for range 0",
            "FailedCreatePodSandBox",
        ],
        cause: "All addresses of the host's subnet are leased to pods that exist.",
        remedy: "Run fewer pods here (maxPods of the kubelet), or give nodes larger subnets (--node-cidr-mask-size).",
        after: &["leases.leaked"],
        check: exhausted,
    },
    Row {
        id: "leases.foreign",
        severity: Warning,
        line: "leases are of another subnet than the host's",
        symptoms: &["already has an IP address different from", "pods with addresses of an old range"],
        cause: "The host got another subnet, and pods or leases of the old one stayed.",
        remedy: "Drain the host; delete the pods with such addresses, or `kiln doctor fix leases.leaked` if they are gone.",
        after: &["leases.leaked", "flannel.same-subnet", "flannel.bad-subnet", "flannel.bridge-address"],
        check: foreign,
    },
];

/// The leases of a store that no container holds.
pub fn orphans<'a>(host: &'a HostFacts, store: &'a Store) -> Vec<&'a Lease> {
    let Some(sandboxes) = &host.cni.sandboxes else { return Vec::new() };
    let known: std::collections::BTreeSet<&str> = sandboxes.iter().map(String::as_str).collect();
    store.leases.iter().filter(|lease| lease.age >= YOUNG && !known.contains(lease.container.as_str())).collect()
}

fn stores(fleet: &Fleet) -> impl Iterator<Item = (&HostFacts, &Store)> {
    let hosts = fleet.hosts.iter().filter(|host| host.is_node());
    hosts.flat_map(|host| host.cni.stores.iter().map(move |store| (host, store)))
}

fn leaked(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, store) in stores(fleet) {
        let orphans = orphans(host, store);
        if let Some(first) = orphans.first() {
            let all = store.leases.len();
            let seen = format!(
                "{} of {all} leases in /var/lib/cni/networks/{} have no container",
                orphans.len(),
                store.network
            );
            let one = format!("{} is leased to {:.12}", first.ip, super::logs::printable(&first.container));
            out.push(Found::on(&host.name, seen).and(one));
        }
    }
    out
}

fn exhausted(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, store) in stores(fleet) {
        let active = host.cni.active().filter(|file| file.network == store.network);
        let flannels = host.cni.subnet.as_ref().and_then(|subnet| subnet.subnet).map(|own| Range {
            // Neither the network's name, nor its broadcast, nor the bridge's own.
            size: own.size().saturating_sub(3),
            network: own,
        });
        let ranges = match flannels {
            Some(own) => vec![own],
            None => active.map(|file| file.ranges.clone()).unwrap_or_default(),
        };
        let full = ranges.iter().find_map(|range| {
            let mine = store.leases.iter().filter(|lease| range.network.contains(lease.ip)).count() as u64;
            let (ip, prefix, all) = (range.network.first(), range.network.prefix, range.size);
            (mine >= all).then(|| format!("{mine} of {all} addresses of {ip}/{prefix} are leased"))
        });
        out.extend(full.map(|seen| Found::on(&host.name, seen)));
    }
    out
}

fn foreign(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, store) in stores(fleet) {
        let flannels = host.cni.active().is_some_and(|file| file.network == store.network) && host.cni.uses("flannel");
        let Some(own) = host.cni.subnet.as_ref().and_then(|subnet| subnet.subnet).filter(|_| flannels) else {
            continue;
        };
        let others: Vec<_> =
            store.leases.iter().filter(|lease| lease.ip.is_ipv4() && !own.contains(lease.ip)).collect();
        if let Some(first) = others.first() {
            let seen = format!("{} leases of {} are not of {own}: {}", others.len(), store.network, first.ip);
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}
