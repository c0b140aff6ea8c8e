//! Packets that prove what the tables say: sent by one host, looked for on another.
//!
//! A [`Probe`] is sent in two or more sizes with "do not fragment" set, in a few copies. The host it is for listens before
//! its own rules ([`wire`]): it sees a packet that its rules drop, and so the hop can be named. Three things can happen to
//! a packet of a tunnel: it does not reach the host (what is between drops it), it reaches the host and is not unpacked
//! (the host's rules or its device drop it), or it is unpacked.
//!
//! What is sent is for port 9 of UDP (discard) of an address of the tunnel or the pod; whoever has it answers, if at all,
//! that nobody listens. Connections of TCP are made and closed without a byte.
//!
//! [`packet`] the bytes     [`wire`] sockets     [`agent`] who sends and listens: here, or over SSH
//!
//! Adding a kind of packet: a variant in [`Kind`], its bytes in [`packet`], and who asks for it in `path`.

pub mod agent;
pub mod packet;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use agent::Agent;

use crate::DoctorError;
use crate::netlink::route::Mac;
use crate::path::{Connecting, Crossing, Hop};

/// How long a listener waits.
pub const LISTEN: Duration = Duration::from_secs(4);
/// How long a connection may take.
pub const CONNECT: Duration = Duration::from_secs(3);
/// Pairs of hosts that send at one time.
const AT_ONCE: usize = 8;
/// Sizes that networks of clouds, tunnels and VPNs leave for a packet of a pod, tried when the largest does not arrive.
const LADDER: [u16; 12] = [1480, 1450, 1440, 1430, 1420, 1410, 1400, 1370, 1350, 1300, 1230, 576];
/// The smallest packet, in bytes: headers, mark and number.
pub const SMALLEST: u16 = 64;

/// A packet from one host to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What is around it.
    pub kind: Kind,
    /// The packet itself: from which address of a tunnel or a pod.
    pub from: Ipv4Addr,
    /// To which.
    pub to: Ipv4Addr,
    /// The largest packet that the device it leaves by may send, in bytes, without what is put around it.
    pub mtu: u16,
}

/// What is put around a packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// VXLAN, as flannel sends it.
    Vxlan {
        /// The hosts' addresses: from, to.
        hosts: (Ipv4Addr, Ipv4Addr),
        /// The port of UDP.
        port: u16,
        /// The number of the network.
        vni: u32,
        /// The tunnels' addresses on the link: from, to.
        macs: (Mac, Mac),
    },
    /// IP in IP, protocol 4, as Calico sends it.
    Ipip {
        /// The hosts' addresses: from, to.
        hosts: (Ipv4Addr, Ipv4Addr),
    },
    /// Nothing: routes lead from host to host, and the network between them has to let addresses of pods through.
    Plain,
}

impl Probe {
    /// The same the other way.
    #[must_use]
    pub fn back(&self) -> Probe {
        let kind = match self.kind.clone() {
            Kind::Vxlan { hosts: (a, b), port, vni, macs: (x, y) } => {
                Kind::Vxlan { hosts: (b, a), port, vni, macs: (y, x) }
            }
            Kind::Ipip { hosts: (a, b) } => Kind::Ipip { hosts: (b, a) },
            Kind::Plain => Kind::Plain,
        };
        Probe { kind, from: self.to, to: self.from, mtu: self.mtu }
    }

    /// The sizes that are sent, the smallest first.
    pub fn sizes(&self) -> Vec<u16> {
        let mtu = self.mtu.max(SMALLEST);
        let mut out: Vec<u16> = LADDER.into_iter().filter(|size| *size < mtu).chain([SMALLEST, mtu]).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        match &self.kind {
            Kind::Vxlan { hosts, port, vni, .. } => format!("VXLAN (UDP {port}, VNI {vni}) to {}", hosts.1),
            Kind::Ipip { hosts } => format!("IP in IP (protocol 4) to {}", hosts.1),
            Kind::Plain => format!("packets from {} to {}", self.from, self.to),
        }
    }
}

/// By what a listener knows the packets of one probe.
pub type Mark = [u8; 16];

/// What a program on a host is to do; sent as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Order {
    /// Listen for a probe.
    Listen {
        /// Which.
        probe: Probe,
        /// Its mark.
        mark: Mark,
        /// For how long at most, in milliseconds.
        wait: u64,
    },
    /// Send it.
    Send {
        /// Which.
        probe: Probe,
        /// Its mark.
        mark: Mark,
    },
    /// Make a connection of TCP, and close it.
    Connect {
        /// To whom.
        to: SocketAddr,
        /// From the pod with this address, if its namespace is found; from the host otherwise.
        from: Option<IpAddr>,
        /// How long it may take, in milliseconds.
        wait: u64,
    },
}

/// What became of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Sizes that arrived at the host, before its rules.
    pub arrived: Vec<u16>,
    /// Sizes that were unpacked.
    pub unpacked: Vec<u16>,
    /// Sizes that the sender's kernel refused, and its words.
    pub refused: Vec<(u16, String)>,
    /// What became of a connection.
    pub connection: Option<Connection>,
}

/// What became of a connection of TCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// Somebody listens.
    Made {
        /// Whether it came from the pod's own namespace.
        pod: bool,
    },
    /// Nobody listens; packets went both ways all the same.
    Refused {
        /// Whether it came from the pod's own namespace.
        pod: bool,
    },
    /// No answer.
    Silent {
        /// Whether it came from the pod's own namespace.
        pod: bool,
    },
    /// The kernel, or a router, says no.
    Failed {
        /// Its words.
        why: String,
    },
}

/// A mark that nobody else has.
///
/// # Errors
/// When the kernel has no random numbers.
pub fn mark() -> Result<Mark, DoctorError> {
    use std::io::Read;
    let failed = |source: std::io::Error| DoctorError::Probe { host: "this one".to_owned(), why: source.to_string() };
    let mut out = Mark::default();
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut out)).map_err(failed)?;
    Ok(out)
}

/// Sends a probe from one host to another, and says what became of it.
pub fn prove(probe: &Probe, from: (&str, &dyn Agent), to: (&str, &dyn Agent), wait: Duration) -> Vec<Hop> {
    let cannot = |host: &str, error: &DoctorError| Hop {
        host: host.to_owned(),
        what: format!("probe: {} was not sent: {error}", probe.words()),
        lost: None,
    };
    let mark = match mark() {
        Ok(mark) => mark,
        Err(error) => return vec![cannot(from.0, &error)],
    };
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let (ready, listens) = mpsc::channel();
    std::thread::scope(|scope| {
        let order = Order::Listen { probe: probe.clone(), mark, wait };
        let listening = scope.spawn(move || {
            let ready = || {
                // Who waits for it is there until this ends.
                let _ = ready.send(());
            };
            to.1.obey(&order, &ready)
        });
        // Who never listens has ended, and dropped the other end.
        let sent = listens.recv().ok().map(|()| from.1.obey(&Order::Send { probe: probe.clone(), mark }, &|| ()));
        let heard = listening.join().unwrap_or_else(|_| {
            Err(DoctorError::Probe { host: to.0.to_owned(), why: "its listener broke".to_owned() })
        });
        match (sent, heard) {
            (_, Err(error)) => vec![cannot(to.0, &error)],
            (Some(Err(error)), _) => vec![cannot(from.0, &error)],
            (None, _) => {
                vec![cannot(to.0, &DoctorError::Probe { host: to.0.to_owned(), why: "never listened".to_owned() })]
            }
            (Some(Ok(sent)), Ok(heard)) => judge(probe, from.0, to.0, &sent, &heard),
        }
    })
}

/// What packets from one host to another showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// From which host.
    pub from: String,
    /// To which.
    pub to: String,
    /// What was sent, and why it was lost.
    pub hop: Hop,
}

/// Sends packets over all crossings, forth and back, some at a time. Those with a host that nobody can tell are left out.
pub fn all<'a>(
    crossings: &[Crossing],
    agents: &(dyn Fn(&str) -> Option<&'a dyn Agent> + Sync),
    wait: Duration,
) -> Vec<Proof> {
    at_once(crossings, |crossing| {
        let (from, to) = (crossing.from.as_str(), crossing.to.as_str());
        let (Some(a), Some(b)) = (agents(from), agents(to)) else { return Vec::new() };
        let back = prove(&crossing.probe.back(), (to, b), (from, a), wait);
        let forth = prove(&crossing.probe, (from, a), (to, b), wait);
        let proof = |from: &str, to: &str, hop| Proof { from: from.to_owned(), to: to.to_owned(), hop };
        let back = back.into_iter().map(|hop| proof(to, from, hop));
        forth.into_iter().map(|hop| proof(from, to, hop)).chain(back).collect()
    })
}

/// Makes connections, some at a time. Those of a host that nobody can tell are left out.
pub fn connections<'a>(
    all: &[Connecting],
    agents: &(dyn Fn(&str) -> Option<&'a dyn Agent> + Sync),
    wait: Duration,
) -> Vec<Proof> {
    at_once(all, |one| {
        let agent = agents(&one.from);
        let hop = agent.map(|agent| connect(one.at, None, (&one.from, agent), wait));
        hop.map(|hop| Proof { from: one.from.clone(), to: one.to.clone(), hop }).into_iter().collect()
    })
}

/// Does something for each, some at a time; proofs in their order.
fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Vec<Proof> + Sync) -> Vec<Proof> {
    let next = AtomicUsize::new(0);
    let proofs: Mutex<Vec<(usize, Proof)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let made = work(item);
                    if let Ok(mut proofs) = proofs.lock() {
                        proofs.extend(made.into_iter().map(|proof| (at, proof)));
                    }
                }
            });
        }
    });
    let mut proofs = proofs.into_inner().unwrap_or_default();
    proofs.sort_by_key(|(at, _)| *at);
    proofs.into_iter().map(|(_, proof)| proof).collect()
}

/// What two answers say about the way between two hosts.
pub fn judge(probe: &Probe, from: &str, to: &str, sent: &Answer, heard: &Answer) -> Vec<Hop> {
    let hop = |host: &str, what: String, lost: Option<String>| Hop { host: host.to_owned(), what, lost };
    let sizes = probe.sizes();
    let what = format!("probe: {}", probe.words());
    let largest = |list: &[u16]| list.iter().max().copied();
    if let Some((_, why)) = sent.refused.iter().find(|(size, _)| *size == SMALLEST) {
        return vec![hop(from, what, Some(format!("its own kernel does not send it: {why}")))];
    }
    let (Some(arrived), unpacked) = (largest(&heard.arrived), largest(&heard.unpacked)) else {
        return vec![hop(to, what, Some(format!("nothing arrives: what is between {from} and {to} drops it")))];
    };
    let Some(unpacked) = unpacked else {
        let why = format!("arrives at {to}, and is not unpacked: the rules or the device of {to} drop it");
        return vec![hop(to, what, Some(why))];
    };
    let wanted = largest(&sizes).unwrap_or(SMALLEST);
    if unpacked >= wanted {
        return vec![hop(to, format!("{what} arrives, up to {wanted} bytes"), None)];
    }
    let own = sent.refused.iter().find(|(size, _)| *size > unpacked).map(|(_, why)| why);
    let (host, by) = match own {
        Some(why) => (from, format!("the kernel of {from} refuses larger ones: {why}")),
        None if arrived > unpacked => (to, format!("larger ones arrive at {to}, and are not unpacked")),
        None => (to, format!("what is between {from} and {to} drops larger ones")),
    };
    vec![hop(host, what, Some(format!("arrives up to {unpacked} bytes, and packets may have {wanted}: {by}")))]
}

/// Makes a connection from one host, and says what became of it.
pub fn connect(to: SocketAddr, from: Option<IpAddr>, host: (&str, &dyn Agent), wait: Duration) -> Hop {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let answer = host.1.obey(&Order::Connect { to, from, wait }, &|| ());
    let of = |pod: bool| match from.filter(|_| pod) {
        Some(ip) => format!("probe: TCP from pod {ip} to {to}"),
        None => format!("probe: TCP from this host to {to}"),
    };
    let (what, lost) = match answer.map(|answer| answer.connection) {
        Ok(Some(Connection::Made { pod })) => (format!("{} is answered", of(pod)), None),
        Ok(Some(Connection::Refused { pod })) => (format!("{} arrives: nobody listens there", of(pod)), None),
        Ok(Some(Connection::Silent { pod })) => (of(pod), Some("no answer".to_owned())),
        Ok(Some(Connection::Failed { why })) => (of(false), Some(why)),
        Ok(None) => (format!("{} was not made: the host says nothing", of(false)), None),
        Err(error) => (format!("{} was not made: {error}", of(false)), None),
    };
    Hop { host: host.0.to_owned(), what, lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> Probe {
        let ip = |last| Ipv4Addr::new(192, 168, 77, last);
        let kind = Kind::Vxlan { hosts: (ip(10), ip(11)), port: 8472, vni: 1, macs: (Mac([2; 6]), Mac([4; 6])) };
        Probe { kind, from: Ipv4Addr::new(10, 244, 0, 0), to: Ipv4Addr::new(10, 244, 1, 0), mtu: 1450 }
    }

    fn verdict(arrived: &[u16], unpacked: &[u16], refused: &[(u16, &str)]) -> (String, Option<String>) {
        let refused = refused.iter().map(|(size, why)| (*size, (*why).to_owned())).collect();
        let sent = Answer { refused, ..Answer::default() };
        let heard = Answer { arrived: arrived.to_vec(), unpacked: unpacked.to_vec(), ..Answer::default() };
        let hops = judge(&tunnel(), "a", "b", &sent, &heard);
        (hops[0].host.clone(), hops[0].lost.clone())
    }

    /// Sizes that arrived, that were unpacked, that were refused with why; the host that is named, and the words.
    type Case<'c> = (&'c [u16], &'c [u16], &'c [(u16, &'c str)], &'c str, &'c str);

    #[test]
    fn what_answers_mean() {
        assert_eq!(verdict(&[64, 1450], &[64, 1450], &[]), ("b".to_owned(), None));
        let cases: [Case<'_>; 6] = [
            (&[], &[], &[], "b", "what is between a and b drops it"),
            (&[64, 1450], &[], &[], "b", "is not unpacked: the rules or the device of b"),
            (&[], &[], &[(64, "Operation not permitted")], "a", "its own kernel does not send it"),
            (&[64, 1400], &[64, 1400], &[], "b", "up to 1400 bytes, and packets may have 1450: what is between"),
            (&[64, 1400], &[64, 1400], &[(1450, "Message too long")], "a", "the kernel of a refuses larger ones"),
            (&[64, 1450], &[64, 1400], &[], "b", "are not unpacked"),
        ];
        for (arrived, unpacked, refused, host, why) in cases {
            let (at, lost) = verdict(arrived, unpacked, refused);
            assert_eq!(at, host, "{lost:?}");
            assert!(lost.as_ref().is_some_and(|lost| lost.contains(why)), "{lost:?}");
        }
    }

    #[test]
    fn sizes_end_with_the_mtu() {
        assert_eq!(tunnel().sizes().last(), Some(&1450));
        assert_eq!(Probe { mtu: 0, ..tunnel() }.sizes(), [SMALLEST]);
        assert_eq!(tunnel().back().back(), tunnel());
    }
}
