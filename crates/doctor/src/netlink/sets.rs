//! Conditions of rules that have several values: sets of nf_tables (`udp dport { 22, 8472 }`, `ip saddr @nodes`), and
//! `multiport` of iptables. Numbers: linux/netfilter/nf_tables.h.
//!
//! A set is read once, whoever looks into it. One that cannot be read or understood leaves its rules marked as having
//! conditions that nobody knows ([`Rule::more`]). A map of verdicts becomes a rule for each of its elements.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::nft::{Loaded, NEW, Rule, Verdict, device, is_of_services, verdict};
use super::{NetlinkError, Socket, array, attribute, attributes, u16_at};

/// `NFT_MSG_GETSETELEM` of the subsystem of nf_tables.
const ELEMENTS: u16 = (10 << 8) | 13;
/// `NFT_SET_ELEM_INTERVAL_END`: the element is the first value after a range.
const END: u32 = 1;
/// Sets that are read of one host, and elements of one of them.
const SETS: usize = 500;
const MOST: usize = 10_000;
/// Elements of a map of verdicts.
const DECISIONS: usize = 200;

/// A condition with several values: one of them has to fit.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OneOf {
    /// Protocols over IP.
    Protocols(Vec<u8>),
    /// First and last ports.
    Ports(Vec<(u16, u16)>),
    /// First and last addresses that it comes from.
    From(Vec<(IpAddr, IpAddr)>),
    /// First and last addresses that it goes to.
    To(Vec<(IpAddr, IpAddr)>),
    /// Devices that it came in by; `+` at the end stands for anything.
    Input(Vec<String>),
    /// Devices that it leaves by.
    Output(Vec<String>),
}

/// A look into a set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lookup {
    /// The set's name.
    pub set: String,
    /// What is looked for.
    pub of: Loaded,
    /// Whether each element has a verdict.
    pub decides: bool,
}

/// An element of a set or a map.
#[derive(Debug, Clone, PartialEq)]
struct Element {
    key: Vec<u8>,
    /// Whether a range ends before it.
    end: bool,
    verdict: Option<Verdict>,
}

/// Reads the sets that rules look into, and puts what they have into the rules.
pub(super) fn fill(socket: &mut Socket, rules: Vec<(Rule, Vec<Lookup>)>) -> Vec<Rule> {
    let mut known: BTreeMap<(u8, String, String), Option<Vec<Element>>> = BTreeMap::new();
    let mut out = Vec::with_capacity(rules.len());
    for (mut rule, lookups) in rules {
        // Those of services are not followed rule by rule.
        if is_of_services(&rule.chain) || rule.table == super::services::TABLE {
            rule.more |= !lookups.is_empty();
            out.push(rule);
            continue;
        }
        let mut decided = None;
        for lookup in &lookups {
            let key = (rule.family, rule.table.clone(), lookup.set.clone());
            let room = known.len() < SETS;
            let found = known
                .entry(key)
                .or_insert_with(|| room.then(|| read(socket, rule.family, &rule.table, &lookup.set).ok()).flatten());
            match lookup.decides {
                true => decided = Some(decide(&rule, lookup.of, found.as_deref())),
                false => put(&mut rule, lookup.of, found.as_deref()),
            }
        }
        match decided {
            Some(rules) => out.extend(rules),
            None => out.push(rule),
        }
    }
    out
}

fn read(socket: &mut Socket, family: u8, table: &str, set: &str) -> Result<Vec<Element>, NetlinkError> {
    let name = |kind, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
    let ask = [&[family, 0, 0, 0][..], &name(1, table), &name(2, set)].concat();
    let lists = socket.dump("sets of nf_tables", ELEMENTS, &ask, |message| Some(listed(message.body)))?;
    Ok(lists.into_iter().flatten().collect())
}

fn listed(body: &[u8]) -> Vec<Element> {
    let lists = attributes(body.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 3);
    lists.flat_map(|(_, list)| attributes(list)).filter_map(|(_, element)| one(element)).collect()
}

fn one(element: &[u8]) -> Option<Element> {
    let part = |wanted: u16| attributes(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    // With two ends in one element it is a range of several things at once: nothing that is understood here.
    let key = match (part(10), part(1)) {
        (None, Some(key)) => attributes(key).find(|(kind, _)| *kind == 1).map(|(_, key)| key.to_vec()),
        _ => None,
    };
    let end = part(3).is_some_and(|flags| u32::from_be_bytes(array(flags)) & END != 0);
    Some(Element { key: key.unwrap_or_default(), end, verdict: part(2).and_then(verdict) })
}

/// A rule for each element of a map of verdicts. What cannot be read may let everything pass.
fn decide(rule: &Rule, of: Loaded, elements: Option<&[Element]>) -> Vec<Rule> {
    let unknown = || vec![Rule { more: true, verdict: Some(Verdict::Accept), ..rule.clone() }];
    let Some(elements) = elements.filter(|all| all.len() <= DECISIONS) else { return unknown() };
    let mut sorted: Vec<&Element> = elements.iter().collect();
    sorted.sort_by(|a, b| (&a.key, !a.end).cmp(&(&b.key, !b.end)));
    let mut out = Vec::new();
    for (at, element) in sorted.iter().enumerate().filter(|(_, element)| !element.end) {
        let end = sorted.get(at + 1).filter(|next| next.end).map(|next| (*next).clone());
        let mut one = rule.clone();
        put(&mut one, of, Some(&[Some((*element).clone()), end].into_iter().flatten().collect::<Vec<_>>()));
        match (&element.verdict, one.more && !rule.more) {
            (Some(verdict), false) => out.push(Rule { verdict: Some(verdict.clone()), ..one }),
            _ => return unknown(),
        }
    }
    out
}

/// What a set means for a rule that looks into it.
fn put(rule: &mut Rule, of: Loaded, elements: Option<&[Element]>) {
    let width = match of {
        Loaded::Protocol => 1,
        Loaded::Port => 2,
        Loaded::From | Loaded::To | Loaded::State => 4,
        Loaded::Input | Loaded::Output => 16,
        _ => 0,
    };
    // Two things looked for at once are in one element that is longer than either.
    let known = elements.filter(|all| all.len() <= MOST && width > 0 && all.iter().all(|one| one.key.len() == width));
    let Some(elements) = known else {
        rule.more = true;
        return;
    };
    let addresses = || -> Vec<(IpAddr, IpAddr)> {
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from(number));
        ranges(elements).into_iter().map(|(first, last)| (address(first), address(last))).collect()
    };
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let names = || elements.iter().filter(|one| !one.end).map(|one| device(&one.key)).collect();
    match of {
        Loaded::State => {
            let states = elements.iter().map(|one| u32::from_ne_bytes(array(&one.key)));
            rule.later |= states.fold(0, |all, state| all | state) & NEW == 0;
        }
        Loaded::Protocol => {
            rule.one_of.push(OneOf::Protocols(elements.iter().filter_map(|one| one.key.first().copied()).collect()));
        }
        Loaded::Port => {
            let ports = ranges(elements).into_iter().map(|(first, last)| (narrow(first), narrow(last)));
            rule.one_of.push(OneOf::Ports(ports.collect()));
        }
        Loaded::From => rule.one_of.push(OneOf::From(addresses())),
        Loaded::To => rule.one_of.push(OneOf::To(addresses())),
        Loaded::Input => rule.one_of.push(OneOf::Input(names())),
        Loaded::Output => rule.one_of.push(OneOf::Output(names())),
        _ => rule.more = true,
    }
}

/// First and last values. Of a set of single values each is a range of its own; in one with ranges an end follows each.
fn ranges(elements: &[Element]) -> Vec<(u32, u32)> {
    let number = |key: &[u8]| key.iter().fold(0u32, |all, byte| (all << 8) | u32::from(*byte));
    let most = elements.first().map_or(u32::MAX, |one| u32::MAX >> (32 - 8 * one.key.len().clamp(1, 4)));
    if elements.iter().all(|one| !one.end) {
        return elements.iter().map(|one| (number(&one.key), number(&one.key))).collect();
    }
    // An end and a beginning at one place: the end is of the range before.
    let mut sorted: Vec<(u32, bool)> = elements.iter().map(|one| (number(&one.key), !one.end)).collect();
    sorted.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::new();
    let mut open = false;
    for (value, begins) in sorted {
        match (begins, out.last_mut()) {
            (true, _) => out.push((value, most)),
            (false, Some(last)) if open => last.1 = value.saturating_sub(1),
            (false, _) => {}
        }
        open = begins;
    }
    out
}

/// The ports of `xt_multiport_v1`: of two, of which the first is marked, all between are meant.
pub(super) fn several(info: &[u8]) -> Vec<(u16, u16)> {
    let count = usize::from(info.get(1).copied().unwrap_or(0)).min(15);
    let port = |at: usize| u16_at(info, 2 + 2 * at);
    let marked = |at: usize| info.get(32 + at).is_some_and(|mark| *mark != 0);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < count {
        let last = if marked(at) { at + 1 } else { at };
        out.push((port(at), port(last)));
        at = last + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &[u8], end: bool) -> Element {
        Element { key: key.to_vec(), end, verdict: None }
    }

    #[test]
    fn maps_of_verdicts_are_rules() {
        let decides = |key: &[u8], verdict| Element { verdict: Some(verdict), ..element(key, false) };
        let states = [
            decides(&2u32.to_ne_bytes(), Verdict::Accept),
            decides(&8u32.to_ne_bytes(), Verdict::Jump("new".to_owned())),
        ];
        let rules = decide(&Rule::default(), Loaded::State, Some(&states));
        let of_new: Vec<_> = rules.iter().filter(|rule| !rule.later).map(|rule| rule.verdict.clone()).collect();
        assert_eq!((rules.len(), of_new), (2, vec![Some(Verdict::Jump("new".to_owned()))]));
        let ports = [decides(&[0, 22], Verdict::Accept), element(&[0, 30], true), decides(&[33, 24], Verdict::Drop)];
        let rules = decide(&Rule::default(), Loaded::Port, Some(&ports));
        assert_eq!(rules[0].one_of, [OneOf::Ports(vec![(22, 29)])]);
        assert_eq!(
            (&rules[1].one_of, &rules[1].verdict),
            (&vec![OneOf::Ports(vec![(8472, 8472)])], &Some(Verdict::Drop))
        );
        // What nobody knows may let everything pass.
        for elements in [None, Some(&[decides(&[1; 8], Verdict::Drop)][..]), Some(&[element(&[0, 22], false)][..])] {
            let rules = decide(&Rule::default(), Loaded::Port, elements);
            assert!(rules[0].more && rules[0].verdict == Some(Verdict::Accept), "{rules:?}");
        }
    }

    #[test]
    fn ranges_and_single_values() {
        let single = [element(&[0, 22], false), element(&[33, 24], false)];
        assert_eq!(ranges(&single), [(22, 22), (8472, 8472)]);
        // 10.0.0.0/8, and all from 192.0.0.0 on; what is before the first range ends at its beginning.
        let mixed = [
            element(&[192, 0, 0, 0], false),
            element(&[11, 0, 0, 0], true),
            element(&[10, 0, 0, 0], false),
            element(&[0, 0, 0, 0], true),
        ];
        assert_eq!(ranges(&mixed), [(0x0a00_0000, 0x0aff_ffff), (0xc000_0000, u32::MAX)]);
        let touching =
            [element(&[0, 1], false), element(&[0, 5], true), element(&[0, 5], false), element(&[0, 9], true)];
        assert_eq!(ranges(&touching), [(1, 4), (5, 8)]);
        assert_eq!(ranges(&[]), []);
    }

    #[test]
    fn what_is_not_understood_is_marked() {
        let both = [element(&[10, 0, 0, 1, 0, 22, 0, 0], false)];
        for elements in [None, Some(&both[..])] {
            let mut rule = Rule::default();
            put(&mut rule, Loaded::Port, elements);
            assert!(rule.more && rule.one_of.is_empty(), "{rule:?}");
        }
        let mut rule = Rule::default();
        put(
            &mut rule,
            Loaded::State,
            Some(&[element(&2u32.to_ne_bytes(), false), element(&4u32.to_ne_bytes(), false)]),
        );
        assert!(rule.later && !rule.more, "of connections that exist: {rule:?}");
        let mut rule = Rule::default();
        put(
            &mut rule,
            Loaded::State,
            Some(&[element(&2u32.to_ne_bytes(), false), element(&8u32.to_ne_bytes(), false)]),
        );
        assert!(!rule.later && !rule.more, "also of new ones: {rule:?}");
    }

    #[test]
    fn ports_of_multiport() {
        let mut info = [0u8; 48];
        info[..2].copy_from_slice(&[1, 3]);
        for (at, port) in [53u16, 8000, 9000].into_iter().enumerate() {
            info[2 + 2 * at..4 + 2 * at].copy_from_slice(&port.to_ne_bytes());
        }
        info[33] = 1;
        assert_eq!(several(&info), [(53, 53), (8000, 9000)]);
    }

    #[test]
    fn garbage_is_no_element() {
        for length in 0..48 {
            for byte in [0, 1, 255] {
                let body = vec![byte; length];
                let _ = (listed(&body), one(&body), several(&body), ranges(&[element(&body, byte == 1)]));
            }
        }
    }
}
