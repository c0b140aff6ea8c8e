//! Chains and rules of nf_tables, in which iptables keeps its rules as well. Attributes: linux/netfilter/nf_tables.h.
//!
//! Of a rule is kept what decides about a packet of pods: addresses, devices, protocol, port, verdict. A condition that
//! is not understood is marked ([`Rule::more`]), so that nobody takes such a rule for one that meets every packet.
//! Conditions with several values are sets of their own, which are read afterwards ([`super::sets`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rustix::net::netlink::NETFILTER;
use serde::{Deserialize, Serialize};

use super::route::Tables;
use super::services::{self, Service};
use super::sets::{self, Lookup, OneOf};
use super::{NetlinkError, Socket, array, attribute, attributes, text, u16_at};
use crate::facts::Network;

const SUBSYSTEM: u16 = 10 << 8;
/// The state of a connection's first packet.
pub(super) const NEW: u32 = 8;
/// Rules that are kept of one host.
pub(super) const RULES: usize = 4000;
/// Before the number of a device whose name is not known yet: no name has a slash.
const NUMBER: char = '/';

/// A chain.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Chain {
    /// 1 inet, 2 ip, 10 ip6, 7 bridge.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets enter it: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting; nothing for chains that others
    /// jump to.
    pub hook: Option<u32>,
    /// Whether it drops what no rule decides about.
    pub drops: bool,
    /// How many rules it has.
    pub rules: u32,
}

/// What a rule does.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Lets it through this chain's hook.
    Accept,
    /// Throws it away.
    Drop,
    /// Throws it away, and says so.
    Reject,
    /// Back to the chain before.
    Return,
    /// On in another chain.
    Jump(String),
}

/// A rule.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
pub struct Rule {
    /// As of [`Chain`].
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The protocol over IP: 4 IP in IP, 6 TCP, 17 UDP.
    pub protocol: Option<u8>,
    /// First and last port it is for.
    pub ports: Option<(u16, u16)>,
    /// From where.
    pub from: Option<Network>,
    /// To where.
    pub to: Option<Network>,
    /// The device it came in by; `+` at the end stands for anything.
    pub input: Option<String>,
    /// The device it leaves by.
    pub output: Option<String>,
    /// Conditions with several values, each of which has to be met.
    pub one_of: Vec<OneOf>,
    /// Whether there are conditions beside these.
    pub more: bool,
    /// Whether it is only for packets with a mark, or of connections that exist: never for the first of a connection.
    pub later: bool,
    /// What it does.
    pub verdict: Option<Verdict>,
    /// Other things it does: `MASQUERADE`, `DNAT`, …
    pub does: Vec<String>,
    /// What its comment says.
    pub comment: Option<String>,
    /// The address and port that it sends packets to instead.
    pub instead: Option<(IpAddr, u16)>,
}

/// What nf_tables has.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Ruleset {
    /// All chains.
    pub chains: Vec<Chain>,
    /// Rules of the chains of firewalls and networks of pods; those of single services are told as [`Service`]s.
    pub rules: Vec<Rule>,
}

impl Ruleset {
    /// Reads it in the namespace of this thread, and what kube-proxy made of services in it. `tables` have the names of
    /// devices that rules have by their numbers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(tables: &Tables) -> Result<(Ruleset, Vec<Service>), NetlinkError> {
        let what = "rules of nf_tables";
        let mut socket = match Socket::open(what, Some(NETFILTER)) {
            Err(NetlinkError::Refused { errno: rustix::io::Errno::PROTONOSUPPORT, .. }) => {
                return Ok((Ruleset::default(), Vec::new()));
            }
            socket => socket?,
        };
        let mut chains = socket.dump(what, SUBSYSTEM | 4, &[0; 4], |message| chain(message.body))?;
        let rules = socket.dump(what, SUBSYSTEM | 7, &[0; 4], |message| rule(message.body))?;
        let mut counts: BTreeMap<(u8, &str, &str), u32> = BTreeMap::new();
        for (rule, _) in &rules {
            *counts.entry((rule.family, &rule.table, &rule.chain)).or_default() += 1;
        }
        for chain in &mut chains {
            chain.rules = counts.get(&(chain.family, chain.table.as_str(), chain.name.as_str())).copied().unwrap_or(0);
        }
        let rules = sets::fill(&mut socket, rules);
        let mut found = services::of_rules(&rules);
        if chains.iter().any(|chain| chain.table == services::TABLE) {
            let ips = services::elements(&mut socket, "service-ips")?;
            let ports = services::elements(&mut socket, "service-nodeports")?;
            found.extend(services::of_maps(&chains, &ips, &ports));
        }
        let mut rules: Vec<Rule> = rules.into_iter().filter(|rule| !is_of_services(&rule.chain)).take(RULES).collect();
        rules.iter_mut().for_each(|rule| named(rule, tables));
        Ok((Ruleset { chains, rules }, found))
    }
}

/// Whether a chain has rules of single services or pods, of which there may be very many.
pub(super) fn is_of_services(chain: &str) -> bool {
    let starts = ["KUBE-SVC-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "CNI-"];
    starts.iter().any(|start| chain.starts_with(start)) || chain == "KUBE-SERVICES"
}

/// Puts the name of a device in the place of its number, which some rules have instead. A device that is gone has none:
/// no packet meets such a rule.
fn named(rule: &mut Rule, tables: &Tables) {
    for device in [&mut rule.input, &mut rule.output].into_iter().flatten() {
        let number = device.strip_prefix(NUMBER).and_then(|number| number.parse().ok());
        if let Some(link) = number.and_then(|number| tables.by_index(number)) {
            device.clone_from(&link.name);
        }
    }
}

/// Deletes a table with everything in it.
///
/// # Errors
/// When the kernel refuses.
pub fn delete_table(family: u8, name: &str) -> Result<(), NetlinkError> {
    let what = "a table of nf_tables";
    let body = [&[family, 0, 0, 0][..], &attribute(1, &[name.as_bytes(), &[0]].concat())].concat();
    Socket::open(what, Some(NETFILTER))?.batch(what, SUBSYSTEM, SUBSYSTEM | 2, &body)
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(array(bytes))
}

fn chain(body: &[u8]) -> Option<Chain> {
    let (family, empty) = (*body.first()?, String::new());
    let mut out = Chain { family, table: empty.clone(), name: empty, hook: None, drops: false, rules: 0 };
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            1 => out.table = text(value),
            3 => out.name = text(value),
            4 => out.hook = attributes(value).find(|(kind, _)| *kind == 1).map(|(_, number)| be32(number)),
            5 => out.drops = be32(value) == 0,
            _ => {}
        }
    }
    Some(out)
}

fn rule(body: &[u8]) -> Option<(Rule, Vec<Lookup>)> {
    let mut out = Rule { family: *body.first()?, ..Rule::default() };
    let mut reader = Reader::default();
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            1 => out.table = text(value),
            2 => out.chain = text(value),
            4 => attributes(value).for_each(|(_, element)| reader.expression(element, &mut out)),
            7 => out.comment = out.comment.or_else(|| comment(value)),
            _ => {}
        }
    }
    Some((out, reader.lookups))
}

/// What programs keep beside a rule: kind, length, value; a comment is of kind 0.
fn comment(bytes: &[u8]) -> Option<String> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    (kind == 0).then(|| text(bytes.get(2..2 + length).unwrap_or_default()))
}

/// What an expression put into the register that the next compares.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) enum Loaded {
    #[default]
    Unknown,
    Protocol,
    /// The family of the packet: it is in the chain already.
    Family,
    Input,
    Output,
    /// The same by the device's number.
    InputNumber,
    OutputNumber,
    From,
    To,
    Port,
    Mark,
    /// The state of the connection.
    State,
    /// What was done with the connection: nothing with that of a first packet.
    Status,
}

#[derive(Default)]
struct Reader {
    loaded: Loaded,
    mask: Option<u32>,
    /// Constants, by the register that they were put into.
    constants: BTreeMap<u32, Vec<u8>>,
    lookups: Vec<Lookup>,
}

impl Reader {
    fn expression(&mut self, element: &[u8], rule: &mut Rule) {
        let (mut name, mut data) = (String::new(), &[][..]);
        for (kind, value) in attributes(element) {
            match kind {
                1 => name = text(value),
                2 => data = value,
                _ => {}
            }
        }
        let number =
            |wanted: u16| attributes(data).find(|(kind, _)| *kind == wanted).map_or(0, |(_, value)| be32(value));
        let part = |wanted: u16| attributes(data).find(|(kind, _)| *kind == wanted).map_or(&[][..], |(_, value)| value);
        match name.as_str() {
            "meta" => self.load(match number(2) {
                16 => Loaded::Protocol,
                15 => Loaded::Family,
                4 => Loaded::InputNumber,
                5 => Loaded::OutputNumber,
                6 => Loaded::Input,
                7 => Loaded::Output,
                3 => Loaded::Mark,
                _ => Loaded::Unknown,
            }),
            "payload" => self.load(match (number(2), number(3), number(4), rule.family) {
                (1, 9, 1, _) => Loaded::Protocol,
                (1, 12, 1..=4, _) => Loaded::From,
                (1, 16, 1..=4, _) => Loaded::To,
                (2, 2, 2, _) => Loaded::Port,
                _ => Loaded::Unknown,
            }),
            "ct" if number(2) == 0 => self.load(Loaded::State),
            "ct" if number(2) == 2 => self.load(Loaded::Status),
            // What is found may be a verdict (register 0), or a value for what comes after.
            "lookup" if (part(3).is_empty() || number(3) == 0) && number(5) == 0 => {
                let decides = !part(3).is_empty();
                self.lookups.push(Lookup { set: text(part(1)), of: self.loaded, decides });
            }
            "bitwise" => self.mask = value_of(part(4)).map(be32),
            "cmp" => self.compare(number(2), value_of(part(3)).unwrap_or_default(), rule),
            "range" => self.range(number(2), part(3), part(4), rule),
            "immediate" => {
                if let Some(value) = value_of(part(2)) {
                    self.constants.insert(number(1), value.to_vec());
                }
                rule.verdict = verdict(part(2)).or(rule.verdict.take());
            }
            "counter" | "log" => {}
            "reject" => rule.verdict = Some(Verdict::Reject),
            "masq" => rule.does.push("MASQUERADE".to_owned()),
            "nat" => {
                rule.does.push(if number(1) == 0 { "SNAT" } else { "DNAT" }.to_owned());
                let constant = |wanted: u16| self.constants.get(&number(wanted)).map_or(&[][..], Vec::as_slice);
                rule.instead = super::route::ip(constant(3)).map(|ip| (ip, u16::from_be_bytes(array(constant(5)))));
            }
            "match" => extension(&text(part(1)), part(3), rule),
            "target" if text(part(1)) == "REJECT" => rule.verdict = Some(Verdict::Reject),
            "target" => {
                let name = text(part(1));
                if name == "DNAT" {
                    rule.instead = services::instead(number(2), part(3), rule.family);
                }
                rule.does.push(name);
            }
            // What a program decides is not known: it may let it pass.
            "queue" => (rule.more, rule.verdict) = (true, Some(Verdict::Accept)),
            _ => {
                self.load(Loaded::Unknown);
                rule.more = true;
            }
        }
    }

    fn load(&mut self, loaded: Loaded) {
        (self.loaded, self.mask) = (loaded, None);
    }

    fn compare(&mut self, operation: u32, value: &[u8], rule: &mut Rule) {
        let port = u16::from_be_bytes(array(value));
        let (first, last) = rule.ports.unwrap_or((0, u16::MAX));
        match (self.loaded, operation) {
            // 1: differs; 3: up to; 5: from.
            (Loaded::State, 1) => return rule.later |= self.mask.is_some_and(|mask| mask.swap_bytes() & NEW == 0),
            (Loaded::Status, 1) => return rule.later = true,
            (Loaded::Port, 3) => return rule.ports = Some((first, port)),
            (Loaded::Port, 5) => return rule.ports = Some((port, last)),
            (_, 0) => {}
            _ => return rule.more = true,
        }
        match self.loaded {
            Loaded::Protocol => rule.protocol = value.first().copied(),
            Loaded::Family => {}
            Loaded::Input => rule.input = Some(device(value)),
            Loaded::Output => rule.output = Some(device(value)),
            Loaded::From => rule.from = self.network(value),
            Loaded::To => rule.to = self.network(value),
            Loaded::Port => rule.ports = Some((port, port)),
            Loaded::InputNumber => rule.input = Some(format!("{NUMBER}{}", u32::from_ne_bytes(array(value)))),
            Loaded::OutputNumber => rule.output = Some(format!("{NUMBER}{}", u32::from_ne_bytes(array(value)))),
            Loaded::Mark | Loaded::Status => rule.later = true,
            Loaded::State | Loaded::Unknown => rule.more = true,
        }
    }

    /// Networks of whole bytes are compared by those bytes, others by a mask.
    fn network(&self, value: &[u8]) -> Option<Network> {
        let bits = u8::try_from(value.len().min(4) * 8).ok()?;
        let prefix = self.mask.map_or(bits, |mask| u8::try_from(mask.count_ones()).unwrap_or(32));
        Some(Network { ip: IpAddr::V4(Ipv4Addr::from(array::<4>(value))), prefix })
    }

    fn range(&mut self, operation: u32, from: &[u8], to: &[u8], rule: &mut Rule) {
        let end = |bytes| value_of(bytes).map(|value| u16::from_be_bytes(array(value)));
        match (self.loaded == Loaded::Port && operation == 0, end(from), end(to)) {
            (true, Some(from), Some(to)) => rule.ports = Some((from, to)),
            _ => rule.more = true,
        }
    }
}

/// The name of a device; of one that only begins so, no zero is compared.
pub(super) fn device(value: &[u8]) -> String {
    if value.contains(&0) { text(value) } else { format!("{}+", text(value)) }
}

/// `NFTA_DATA_VALUE`.
fn value_of(bytes: &[u8]) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == 1).map(|(_, value)| value)
}

pub(super) fn verdict(data: &[u8]) -> Option<Verdict> {
    let (_, verdict) = attributes(data).find(|(kind, _)| *kind == 2)?;
    let chain = || attributes(verdict).find(|(kind, _)| *kind == 2).map(|(_, name)| text(name));
    let (_, code) = attributes(verdict).find(|(kind, _)| *kind == 1)?;
    match i32::from_be_bytes(array(code)) {
        0 => Some(Verdict::Drop),
        1 => Some(Verdict::Accept),
        -3 | -4 => Some(Verdict::Jump(chain()?)),
        -5 => Some(Verdict::Return),
        _ => None,
    }
}

/// Conditions of iptables that nf_tables has no words for: `xt_udp` and `xt_tcp` begin with the source's and the
/// destination's first and last ports.
fn extension(name: &str, info: &[u8], rule: &mut Rule) {
    match name {
        "comment" => rule.comment = Some(text(info)),
        "mark" => rule.later = true,
        // `xt_conntrack_mtinfo3`: which conditions, which of them turned around, states.
        "conntrack" if info.len() >= 152 && (u16_at(info, 146), u16_at(info, 148)) == (1, 0) => {
            rule.later |= u32::from(u16_at(info, 150)) & NEW == 0;
        }
        // `xt_multiport_v1`: which ports (1 those it is for), how many, the ports, which of them begin a range, whether it
        // is turned around.
        "multiport" if info.len() >= 48 && info.first() == Some(&1) && info.get(47) == Some(&0) => {
            rule.one_of.push(OneOf::Ports(sets::several(info)));
        }
        "udp" | "tcp" if info.len() >= 10 => {
            let all_sources = (u16_at(info, 0), u16_at(info, 2)) == (0, u16::MAX);
            rule.ports = Some((u16_at(info, 4), u16_at(info, 6))).filter(|ports| *ports != (0, u16::MAX));
            let inverted = info.get(if name == "udp" { 8 } else { 11 }).is_some_and(|flags| *flags != 0);
            rule.more |= !all_sources || inverted;
        }
        _ => rule.more = true,
    }
}
