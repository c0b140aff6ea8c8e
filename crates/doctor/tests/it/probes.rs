//! Packets that hosts send each other say what is in no table: who in between drops them, and how large they may be.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_doctor::path::{Hop, Trace, prove, trace};
use kiln_doctor::probe::agent::{Here, PATIENCE, Remote};
use kiln_doctor::probe::{Agent, Kind, Order, Probe, mark};
use kiln_host::copy::{Put, RemotePath, Source};
use kiln_host::recording::Answer as Said;
use kiln_host::{Cancel, Exit, Host, HostError, Recording, Streams};

use crate::bench::Bench;

/// A listener that hears nothing waits so long.
const WAIT: Duration = Duration::from_millis(700);

fn agents(bench: &Bench) -> Vec<Here> {
    let agent = |i: usize| Here {
        name: format!("node{i}"),
        root: bench.root(i),
        netns: Some(PathBuf::from(format!("/run/netns/{}", bench.netns(i)))),
    };
    (0..bench.size).map(agent).collect()
}

fn sent(bench: &Bench, trace: &Trace) -> Vec<Hop> {
    let agents = agents(bench);
    let find = |name: &str| agents.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent);
    prove(trace, "10.244.1.2:9".parse().unwrap(), "10.244.0.2".parse().unwrap(), &find, WAIT)
}

fn way(bench: &Bench) -> Trace {
    trace(&bench.fleet(), "10.244.0.2".parse().unwrap(), "10.244.1.2".parse().unwrap(), None).unwrap()
}

#[test]
fn who_drops_it() {
    let bench = Bench::new(2);
    let whole = way(&bench);
    let hops = sent(&bench, &whole);
    assert_eq!(hops.len(), 3, "forth, back, a connection: {hops:#?}");
    assert!(hops.iter().all(|hop| hop.lost.is_none()), "{hops:#?}");
    assert!(hops[0].what.contains("UDP 8472") && hops[0].what.contains("up to 1450 bytes"), "{hops:#?}");
    assert!(hops[2].what.contains("nobody listens"), "{hops:#?}");
    // What is in the middle is in no host's table: the way looks whole.
    let faults = [
        (
            "bridge -n $U link set dev v0 isolated on; bridge -n $U link set dev v1 isolated on",
            "node1",
            "nothing arrives",
            "bridge -n $U link set dev v0 isolated off; bridge -n $U link set dev v1 isolated off",
        ),
        (
            "ip -n $U link set v1 mtu 1400",
            "node1",
            "up to 1350 bytes, and packets may have 1450: what is between",
            "ip -n $U link set v1 mtu 1500",
        ),
        (
            "in1 iptables-nft -I INPUT -p udp --dport 8472 -j DROP",
            "node1",
            "arrives at node1, and is not unpacked",
            "in1 iptables-nft -D INPUT -p udp --dport 8472 -j DROP",
        ),
        (
            "in0 iptables-nft -I OUTPUT -p udp --dport 8472 -j DROP",
            "node0",
            "its own kernel does not send it",
            "in0 iptables-nft -D OUTPUT -p udp --dport 8472 -j DROP",
        ),
        (
            "ip -n $N0 link set eth0 mtu 1400",
            "node0",
            "the kernel of node0 refuses larger ones",
            "ip -n $N0 link set eth0 mtu 1500",
        ),
    ];
    for (fault, host, why, undo) in faults {
        bench.sh(fault);
        let hops = sent(&bench, &whole);
        assert_eq!(hops[0].host, host, "{fault} {hops:#?}");
        assert!(hops[0].lost.as_ref().is_some_and(|lost| lost.contains(why)), "{fault} {hops:#?}");
        bench.sh(undo);
    }
    assert!(sent(&bench, &whole).iter().all(|hop| hop.lost.is_none()));
}

/// A host's own address is reached without a tunnel, its answers come through it: packets have the size of pods'.
#[test]
fn from_a_pod_to_a_host() {
    let bench = Bench::new(2);
    let whole = trace(&bench.fleet(), "10.244.0.2".parse().unwrap(), "192.168.77.11".parse().unwrap(), None).unwrap();
    assert_eq!(whole.crossings.iter().map(|crossing| crossing.probe.mtu).collect::<Vec<_>>(), [1450]);
    let hops = sent(&bench, &whole);
    assert!(hops.iter().all(|hop| hop.lost.is_none()), "{hops:#?}");
}

#[test]
fn between_all_hosts() {
    let bench = Bench::new(3);
    bench.sh("bridge -n $U link set dev v0 isolated on; bridge -n $U link set dev v2 isolated on");
    let agents = agents(&bench);
    let find = |name: &str| agents.iter().find(|agent| agent.name == name).map(|agent| agent as &dyn Agent);
    let mut fleet = bench.fleet();
    assert!(kiln_doctor::checks::run(&fleet).is_empty(), "no table has it");
    fleet.proofs = kiln_doctor::probe::all(&kiln_doctor::path::pairs(&fleet), &find, WAIT);
    assert_eq!(fleet.proofs.len(), 6);
    let found = kiln_doctor::checks::run(&fleet);
    let edges: Vec<_> = found.iter().map(|finding| (finding.id, finding.edge.clone().unwrap())).collect();
    let edge = |a: &str, b: &str| ("probe.lost", (a.to_owned(), b.to_owned()));
    assert_eq!(edges, [edge("node0", "node2"), edge("node2", "node0")], "{found:#?}");
}

/// The namespace of a pod as a runtime mounts it, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(bench: &Bench, pod: &str) -> Mounted {
        let path = bench.root(0).join("run/netns/cni-1");
        bench.write(0, "run/netns/cni-1", "");
        let from = format!("/run/netns/{}", bench.netns(pod));
        assert!(Command::new("mount").args(["--bind", &from]).arg(&path).status().unwrap().success());
        Mounted(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_connection_comes_from_the_pod_itself() {
    let bench = Bench::new(2);
    let _mounted = Mounted::new(&bench, "0p1");
    let whole = way(&bench);
    let hops = sent(&bench, &whole);
    assert_eq!(hops[2].what, "probe: TCP from pod 10.244.0.2 to 10.244.1.2:9 arrives: nobody listens there");
    // Only packets of pods are dropped: those of the hosts go on.
    bench.sh("in0 iptables-nft -I FORWARD -s 10.244.0.2 -j DROP");
    let hops = sent(&bench, &whole);
    assert_eq!(hops[2].lost.as_deref(), Some("no answer"), "{hops:#?}");
    assert!(hops[..2].iter().all(|hop| hop.lost.is_none()), "{hops:#?}");
}

#[test]
fn other_kinds_of_packets() {
    let bench = Bench::new(2);
    let agents = agents(&bench);
    let ip = |text: &str| text.parse().unwrap();
    let hosts = (ip("192.168.77.10"), ip("192.168.77.11"));
    let probe = |kind, mtu| Probe { kind, from: ip("10.244.0.2"), to: ip("10.244.1.2"), mtu };
    let judged =
        |probe: &Probe| kiln_doctor::probe::prove(probe, ("node0", &agents[0]), ("node1", &agents[1]), WAIT).remove(0);
    // Addresses of pods without anything around them, over the hosts' network.
    bench.sh("ip -n $N0 route replace 10.244.1.0/24 via 192.168.77.11 dev eth0");
    let plain = judged(&probe(Kind::Plain, 1500));
    assert!(plain.lost.is_none() && plain.what.contains("up to 1500 bytes"), "{plain:#?}");
    // Nobody unpacks it there, and it arrives.
    let ipip = judged(&probe(Kind::Ipip { hosts }, 1480));
    assert!(ipip.what.contains("protocol 4"), "{ipip:#?}");
    assert!(ipip.lost.as_ref().is_some_and(|why| why.contains("arrives at node1, and is not unpacked")), "{ipip:#?}");
}

#[test]
fn who_cannot_listen_says_so() {
    let agent = Here { name: "a".into(), root: "/".into(), netns: Some("/etc/hostname".into()) };
    let order = Order::Connect { to: "127.0.0.1:9".parse().unwrap(), from: None, wait: 10 };
    let error = agent.obey(&order, &|| ()).unwrap_err().to_string();
    assert!(error.contains("network namespace"), "{error}");
    assert_ne!(mark().unwrap(), mark().unwrap());
}

fn remote<'a>(host: &'a dyn Host, patience: Duration, cancel: &'a Cancel) -> Remote<'a> {
    Remote { name: "h".into(), host, program: "/tmp/x/kiln".into(), sudo: None, patience, cancel }
}

/// A host whose connection stands, and which says the first line, or nothing at all.
struct Hangs(&'static str);

impl Host for Hangs {
    fn name(&self) -> &str {
        "h"
    }

    fn run(&self, _: &kiln_host::Command, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
        streams.stdout.write_all(self.0.as_bytes()).unwrap();
        while !cancel.is_set() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(HostError::Cancelled)
    }

    fn put(&self, _: Source<'_>, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        Err(HostError::Cancelled)
    }

    fn get(&self, _: &RemotePath, _: &mut (dyn Write + Send), _: &Cancel) -> Result<u32, HostError> {
        Err(HostError::Cancelled)
    }

    fn put_directory(&self, _: &Path, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        Err(HostError::Cancelled)
    }

    fn get_directory(&self, _: &RemotePath, _: &Path, _: &Cancel) -> Result<(), HostError> {
        Err(HostError::Cancelled)
    }
}

#[test]
fn a_host_over_ssh_that_hangs_is_left_when_its_time_is_over() {
    let cancel = Cancel::new();
    let order = Order::Connect { to: "127.0.0.1:9".parse().unwrap(), from: None, wait: 10 };
    for said in ["", "listening\n"] {
        let host = Hangs(said);
        let error = remote(&host, Duration::from_millis(100), &cancel).obey(&order, &|| ()).unwrap_err().to_string();
        assert!(error.contains("h: did not answer within 0 s"), "{error}");
    }
    // Who stops everything is not told that a host was slow.
    cancel.cancel();
    let error = remote(&Hangs(""), PATIENCE, &cancel).obey(&order, &|| ()).unwrap_err().to_string();
    assert!(!error.contains("did not answer"), "{error}");
}

#[test]
fn hosts_over_ssh_that_answer_and_that_lie() {
    let cancel = Cancel::new();
    let order = Order::Connect { to: "127.0.0.1:9".parse().unwrap(), from: None, wait: 10 };
    let obey = |said: &str| {
        let host = Recording::new("root@h");
        host.answer("doctor probe", Said::output(said.as_bytes().to_vec()));
        let agent = remote(&host, PATIENCE, &cancel);
        let heard = std::cell::Cell::new(0);
        let answer = agent.obey(&order, &|| heard.set(heard.get() + 1));
        (answer.map_err(|error| error.to_string()), heard.get())
    };
    let (answer, heard) = obey("listening\n{\"arrived\":[64],\"unpacked\":[],\"refused\":[],\"connection\":null}\n");
    assert_eq!((answer.unwrap().arrived, heard), (vec![64], 1));
    for lie in ["", "listening\n", "{}", "\u{1b}[2J", "[[[[[[["] {
        let (answer, _) = obey(lie);
        assert!(answer.unwrap_err().contains("h: what it says is no answer"), "{lie:?}");
    }
    let (answer, _) = obey(&"x".repeat(1 << 20));
    assert!(answer.is_err());
}
