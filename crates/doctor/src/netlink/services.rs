//! What kube-proxy made of services: its chains of iptables (`KUBE-SERVICES`, `KUBE-SVC-…`, `KUBE-SEP-…`), or its table of
//! nftables, whose maps lead from an address to a chain, and whose chains have the endpoints in their names.
//! Names: kubernetes pkg/proxy/iptables and pkg/proxy/nftables; numbers: linux/netfilter/nf_tables.h, nf_nat.h.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::legacy::{appended, protocol, words};
use super::nft::{Chain, Rule, Verdict, verdict};
use super::route::ip;
use super::{NetlinkError, Socket, array, attribute, attributes};

/// kube-proxy's table of nftables.
pub const TABLE: &str = "kube-proxy";
/// `NFT_MSG_GETSETELEM` of the subsystem of nf_tables.
const ELEMENTS: u16 = (10 << 8) | 13;
/// Services that are kept of one host, and endpoints of one service.
const SERVICES: usize = 20_000;
const ENDPOINTS: usize = 1000;

/// A port of a service, and where it leads.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
pub struct Service {
    /// `default/web:http`, as far as it is known.
    pub name: String,
    /// 6 TCP, 17 UDP, 132 SCTP.
    pub protocol: u8,
    /// Its address; nothing for one that every address of the host has, as a NodePort.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Addresses and ports of the pods behind it.
    pub endpoints: Vec<(IpAddr, u16)>,
}

/// The services that rules of iptables make, of either kind of iptables.
pub fn of_rules(rules: &[Rule]) -> Vec<Service> {
    let mut chains: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.chain.starts_with("KUBE-")) {
        chains.entry(&rule.chain).or_default().push(rule);
    }
    let of = |name: &str| chains.get(name).into_iter().flatten();
    let mut out = Vec::new();
    for (chain, everywhere) in [("KUBE-SERVICES", false), ("KUBE-EXTERNAL-SERVICES", false), ("KUBE-NODEPORTS", true)] {
        for rule in of(chain) {
            let (Some((port, _)), Some(protocol)) = (rule.ports, rule.protocol) else { continue };
            let ip = rule.to.map(|to| to.ip);
            let target = match &rule.verdict {
                Some(Verdict::Jump(to)) if leads(to) => Some(to.as_str()),
                // That it has no endpoints is a rule that refuses.
                Some(Verdict::Reject | Verdict::Drop) => None,
                _ => continue,
            };
            if ip.is_none() != everywhere || out.len() == SERVICES {
                continue;
            }
            let name = name(rule.comment.as_deref().unwrap_or_default());
            let endpoints = target.map(|target| behind(&chains, target)).unwrap_or_default();
            out.push(Service { name, protocol, ip, port, endpoints });
        }
    }
    out
}

fn leads(chain: &str) -> bool {
    ["KUBE-SVC-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-", "KUBE-SVL-"].iter().any(|start| chain.starts_with(start))
}

/// `default/web:http cluster IP` → `default/web:http`.
fn name(comment: &str) -> String {
    let word = comment.split_whitespace().next().unwrap_or_default();
    if word.contains('/') { word.to_owned() } else { String::new() }
}

/// Where a chain sends packets in the end.
fn behind(chains: &BTreeMap<&str, Vec<&Rule>>, start: &str) -> Vec<(IpAddr, u16)> {
    let (mut open, mut seen, mut out) = (vec![start], BTreeSet::new(), Vec::new());
    while let Some(chain) = open.pop() {
        if !seen.insert(chain) || out.len() >= ENDPOINTS || seen.len() > 2 * ENDPOINTS {
            continue;
        }
        for rule in chains.get(chain).into_iter().flatten() {
            out.extend(rule.instead);
            if let Some(Verdict::Jump(to)) = &rule.verdict
                && (leads(to) || to.starts_with("KUBE-SEP-"))
            {
                open.push(to);
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// What `DNAT` of iptables is told: `nf_nat_ipv4_multi_range_compat` (revision 0), `nf_nat_range` (1, 2).
pub(super) fn instead(revision: u32, info: &[u8], family: u8) -> Option<(IpAddr, u16)> {
    let address = if family == 10 { 16 } else { 4 };
    let (first, port) = if revision == 0 { (8, 16) } else { (4, 36) };
    let ip = ip(info.get(first..first + address)?)?;
    Some((ip, u16::from_be_bytes(array(info.get(port..port + 2)?))))
}

/// An element of a map: the key's bytes, the chain it leads to.
pub(super) type Element = (Vec<u8>, String);

/// The elements of a map of kube-proxy's table of IPv4; none where there is no such map.
pub(super) fn elements(socket: &mut Socket, set: &str) -> Result<Vec<Element>, NetlinkError> {
    let text = |kind, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
    let ask = [&[2, 0, 0, 0][..], &text(1, TABLE), &text(2, set)].concat();
    match socket.dump("maps of nf_tables", ELEMENTS, &ask, |message| Some(listed(message.body))) {
        Ok(lists) => Ok(lists.into_iter().flatten().collect()),
        Err(NetlinkError::Refused { errno: rustix::io::Errno::NOENT, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn listed(body: &[u8]) -> Vec<Element> {
    let lists = attributes(body.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 3);
    lists.flat_map(|(_, list)| attributes(list)).filter_map(|(_, element)| one(element)).collect()
}

fn one(element: &[u8]) -> Option<Element> {
    let part = |wanted: u16| attributes(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (_, key) = attributes(part(1)?).find(|(kind, _)| *kind == 1)?;
    match verdict(part(2)?)? {
        Verdict::Jump(chain) => Some((key.to_vec(), chain)),
        _ => None,
    }
}

/// The services of kube-proxy's table: keys are address, protocol, port (or protocol, port), each filled up to four
/// bytes; chains are called `service-HASH-NAMESPACE/NAME/PROTOCOL/PORT` and
/// `endpoint-HASH-NAMESPACE/NAME/PROTOCOL/PORT__ADDRESS/PORT`.
pub(super) fn of_maps(chains: &[Chain], ips: &[Element], ports: &[Element]) -> Vec<Service> {
    let mut endpoints: BTreeMap<&str, Vec<(IpAddr, u16)>> = BTreeMap::new();
    for chain in chains.iter().filter(|chain| chain.table == TABLE) {
        let Some(rest) = after_hash(&chain.name, "endpoint-") else { continue };
        let Some((service, place)) = rest.split_once("__") else { continue };
        let Some((ip, port)) = place.rsplit_once('/') else { continue };
        if let (Ok(ip), Ok(port)) = (ip.parse(), port.parse()) {
            endpoints.entry(service).or_default().push((ip, port));
        }
    }
    let service = |ip: Option<IpAddr>, key: &[u8], chain: &str| {
        let rest = ["service-", "external-"].iter().find_map(|start| after_hash(chain, start))?;
        let mut parts = rest.split('/');
        let (namespace, name) = (parts.next()?, parts.next()?);
        let named = parts.nth(1).filter(|port| !port.is_empty()).map(|port| format!(":{port}")).unwrap_or_default();
        let found = endpoints.get(rest).cloned().unwrap_or_default();
        Some(Service {
            name: format!("{namespace}/{name}{named}"),
            protocol: *key.first()?,
            ip,
            port: u16::from_be_bytes([*key.get(4)?, *key.get(5)?]),
            endpoints: found.into_iter().take(ENDPOINTS).collect(),
        })
    };
    let at_ip = |(key, chain): &Element| service(Some(ip(key.get(..4)?)?), key.get(4..)?, chain);
    let at_port = |(key, chain): &Element| service(None, key, chain);
    ips.iter().filter_map(at_ip).chain(ports.iter().filter_map(at_port)).take(SERVICES).collect()
}

/// What follows the start and the hash of a chain's name.
fn after_hash<'a>(chain: &'a str, start: &str) -> Option<&'a str> {
    chain.strip_prefix(start)?.split_once('-').map(|(_, rest)| rest)
}

/// Rules as `iptables-save` prints them, as far as they are those of services.
pub fn saved(text: &str) -> Vec<Rule> {
    let rules = appended(text).filter_map(|(table, rest)| Some(rule(table, rest.strip_prefix("KUBE-")?)));
    rules.take(10 * SERVICES).collect()
}

fn rule(table: &str, rest: &str) -> Rule {
    let (chain, conditions) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut rule = Rule { family: 2, table: table.to_owned(), chain: format!("KUBE-{chain}"), ..Rule::default() };
    let mut words = words(conditions).into_iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word.as_str() {
            "-d" => rule.to = next().parse().ok(),
            "-s" => rule.from = next().parse().ok(),
            "-p" => rule.protocol = protocol(&next()),
            "--dport" => rule.ports = next().parse().ok().map(|port| (port, port)),
            "--comment" => rule.comment = Some(next()),
            "--to-destination" => {
                rule.instead = next().parse::<std::net::SocketAddr>().ok().map(|place| (place.ip(), place.port()));
            }
            "-j" | "-g" => match next().as_str() {
                "REJECT" => rule.verdict = Some(Verdict::Reject),
                "DROP" => rule.verdict = Some(Verdict::Drop),
                "RETURN" => rule.verdict = Some(Verdict::Return),
                "ACCEPT" => rule.verdict = Some(Verdict::Accept),
                to if to.starts_with("KUBE-") => rule.verdict = Some(Verdict::Jump(to.to_owned())),
                other => rule.does.push(other.to_owned()),
            },
            _ => {}
        }
    }
    rule
}

/// The length of a list of services is a stranger's.
pub(crate) fn clamp(services: &mut Vec<Service>) {
    services.truncate(SERVICES);
    services.iter_mut().for_each(|service| service.endpoints.truncate(ENDPOINTS));
}

/// Where IPVS sends a service: `IPVS_DEST_ATTR_ADDR` and `_PORT`.
pub(super) fn destination(body: &[u8], family: u16) -> Option<(IpAddr, u16)> {
    let (_, inner) = attributes(body.get(4..)?).find(|(kind, _)| *kind == 2)?;
    let part = |wanted: u16| attributes(inner).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let address = part(1)?;
    let ip = if family == 10 { ip(address.get(..16)?)? } else { ip(address.get(..4)?)? };
    Some((ip, u16::from_be_bytes(array(part(2)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"*nat
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -d 10.96.5.5/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule" -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web:http" -m tcp --dport 30080 -j KUBE-EXT-A
-A KUBE-EXT-A -j KUBE-SVC-A
-A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.5.5/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-1
-A KUBE-SVC-A -j KUBE-SEP-2
-A KUBE-SEP-1 -p tcp -m tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-SEP-2 -p tcp -m tcp -j DNAT --to-destination 10.244.0.2:8080
-A KUBE-SEP-2 -j KUBE-SVC-A
COMMIT
*filter
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns has no endpoints" -m udp --dport 53 -j REJECT
COMMIT
"#;

    #[test]
    fn services_of_iptables() {
        let found = of_rules(&saved(SAVED));
        let endpoints = vec![("10.244.0.2".parse().unwrap(), 8080), ("10.244.1.2".parse().unwrap(), 8080)];
        let web = Service {
            name: "default/web:http".to_owned(),
            protocol: 6,
            ip: Some("10.96.5.5".parse().unwrap()),
            port: 80,
            endpoints,
        };
        let dns = Service {
            name: "kube-system/kube-dns:dns".to_owned(),
            protocol: 17,
            ip: Some("10.96.0.10".parse().unwrap()),
            port: 53,
            endpoints: Vec::new(),
        };
        assert_eq!(found, [web.clone(), dns, Service { ip: None, port: 30080, ..web }]);
    }

    #[test]
    fn services_of_nftables() {
        let chain = |name: &str| Chain {
            family: 2,
            table: TABLE.to_owned(),
            name: name.to_owned(),
            hook: None,
            drops: false,
            rules: 1,
        };
        let chains = [
            chain("service-ULMVA6XW-default/web/tcp/http"),
            chain("endpoint-5OJB2KTY-default/web/tcp/http__10.244.1.2/8080"),
            chain("endpoint-XXXXXXXX-default/other/tcp/http__10.244.1.9/8080"),
            chain("endpoint-broken"),
        ];
        let key = vec![10, 96, 5, 5, 6, 0, 0, 0, 0, 80, 0, 0];
        let to = "service-ULMVA6XW-default/web/tcp/http".to_owned();
        let found = of_maps(&chains, &[(key.clone(), to.clone()), (vec![1], to.clone())], &[(key[4..].to_vec(), to)]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "default/web:http");
        assert_eq!((found[0].ip, found[0].port), (Some("10.96.5.5".parse().unwrap()), 80));
        assert_eq!(found[0].endpoints, [("10.244.1.2".parse().unwrap(), 8080)]);
        assert_eq!((found[1].ip, found[1].protocol, found[1].port), (None, 6, 80));
    }

    #[test]
    fn garbage_is_no_service() {
        let bad = [
            "-A KUBE-",
            "-A KUBE-SERVICES -d x -p",
            "-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp --dport 99999 -j KUBE-SVC-A",
            "*\n-A KUBE-SERVICES --comment \"",
            "\0",
        ];
        for text in bad {
            assert_eq!(of_rules(&saved(text)), Vec::new(), "{text:?}");
        }
        for length in 0..48 {
            let body = vec![255; length];
            let _ = (listed(&body), one(&body), destination(&body, 2), instead(0, &body, 2), instead(2, &body, 10));
        }
    }
}
