//! A packet in, a packet out.

use crate::lookup::{Found, find};
use crate::name::Name;
use crate::reply::{Full, Reply, Section, UDP_SIZE, header};
use crate::request::{Bad, Code, HEADER, Request};
use crate::zone::{Node, Set, Zone, types};

/// The most CNAMEs that are followed.
pub const MAX_CHAIN: usize = 16;
/// The least that everybody takes by UDP.
const LEAST_UDP: u16 = 512;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// In a datagram: the answer must fit into one.
    Udp,
    /// In a stream.
    Tcp,
}

/// Answers a request; the length of the answer, or none when there must be none.
pub fn answer(zone: &Zone, request: &[u8], via: Via, out: &mut [u8]) -> Option<usize> {
    let asked = match Request::read(request) {
        Ok(asked) => asked,
        Err(Bad::Silent) => return None,
        Err(Bad::Code(code)) => {
            header(request, code, out.get_mut(..HEADER)?);
            return Some(HEADER);
        }
    };
    let limit = match via {
        Via::Tcp => u16::MAX,
        Via::Udp => asked.edns.map_or(LEAST_UDP, |edns| edns.size.clamp(LEAST_UDP, UDP_SIZE)),
    };
    let mut reply = Reply::new(&asked, usize::from(limit), out).ok()?;
    match refusal(&asked) {
        Some(code) => {
            reply.authoritative = false;
            reply.code = code;
        }
        None => {
            let empty = reply.mark();
            if fill(zone, &asked, via, &mut reply).is_err() {
                // Half an answer would be a wrong one: the asker comes back by TCP.
                reply.back(empty);
                reply.truncated = true;
            }
        }
    }
    Some(reply.finish(request))
}

/// Whether a question is none for any zone.
fn refusal(asked: &Request) -> Option<Code> {
    if asked.edns.is_some_and(|edns| edns.version != 0) {
        return Some(Code::BadVers);
    }
    match (asked.kind, asked.class) {
        (types::AXFR | types::IXFR, _) => Some(Code::Refused),
        (types::MAILA | types::MAILB | types::TSIG, _) => Some(Code::NotImp),
        (_, types::IN | types::ANY_CLASS) => None,
        _ => Some(Code::Refused),
    }
}

fn fill(zone: &Zone, asked: &Request, via: Via, reply: &mut Reply<'_>) -> Result<(), Full> {
    let mut name = asked.name;
    for step in 0..=MAX_CHAIN {
        match find(zone, &name, asked.kind) {
            Found::Outside if step == 0 => {
                reply.authoritative = false;
                reply.code = Code::Refused;
            }
            // The asker goes on from there.
            Found::Outside => {}
            Found::Absent => {
                reply.code = Code::NxDomain;
                return negative(zone, reply);
            }
            Found::Empty => return negative(zone, reply),
            Found::Cut { node, skip } => {
                // What was found on the way is the zone's own.
                reply.authoritative = step > 0;
                let cut = name.wire().get(skip..).and_then(Name::read).unwrap_or(Name::ROOT);
                return referral(zone, node, &cut, reply);
            }
            Found::Node(node) => match alias(node, asked.kind) {
                Some((set, target)) => {
                    reply.set(Section::Answer, &name, set, set.ttl)?;
                    name = target;
                    continue;
                }
                None => return records(zone, node, &name, (asked.kind, via), reply),
            },
        }
        break;
    }
    Ok(())
}

/// The name that stands for this one, for questions that are not about just that.
fn alias(node: &Node, kind: u16) -> Option<(&Set, Name)> {
    let set = node.set(types::CNAME).filter(|_| kind != types::CNAME && kind != types::ANY)?;
    Some((set, Name::read(set.data().next()?)?))
}

fn records(zone: &Zone, node: &Node, name: &Name, (kind, via): (u16, Via), reply: &mut Reply<'_>) -> Result<(), Full> {
    if kind == types::ANY {
        // All of them are seldom wanted, and a gift to who forges the asker's address: one is enough (RFC 8482).
        let some = if via == Via::Udp { 1 } else { usize::MAX };
        for set in node.sets().iter().take(some) {
            reply.set(Section::Answer, name, set, set.ttl)?;
        }
        return Ok(());
    }
    let Some(set) = node.set(kind) else { return negative(zone, reply) };
    reply.set(Section::Answer, name, set, set.ttl)?;
    // It only helps: what has no room is left out.
    let _ = addresses(zone, set, reply);
    Ok(())
}

/// That there is nothing, and for how long that may be believed (RFC 2308).
fn negative(zone: &Zone, reply: &mut Reply<'_>) -> Result<(), Full> {
    let Some(soa) = zone.soa() else { return Ok(()) };
    let least = soa.data().next().and_then(|data| data.last_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    reply.set(Section::Authority, zone.origin(), soa, soa.ttl.min(least))
}

fn referral(zone: &Zone, node: &Node, name: &Name, reply: &mut Reply<'_>) -> Result<(), Full> {
    let Some(servers) = node.set(types::NS) else { return Ok(()) };
    reply.set(Section::Authority, name, servers, servers.ttl)?;
    if let Some(keys) = node.set(types::DS) {
        reply.set(Section::Authority, name, keys, keys.ttl)?;
    }
    // Without them the servers cannot be found.
    addresses(zone, servers, reply)
}

/// The addresses of the names in a set, as far as this file has them. One name has all of its addresses, or none.
fn addresses(zone: &Zone, set: &Set, reply: &mut Reply<'_>) -> Result<(), Full> {
    let Some(at) = types::name_at(set.kind).filter(|_| set.kind != types::PTR && set.kind != types::CNAME) else {
        return Ok(());
    };
    for data in set.data() {
        let Some(name) = data.get(at..).and_then(Name::read) else { continue };
        let Some(node) = glue(zone, &name) else { continue };
        let before = reply.mark();
        for set in [types::A, types::AAAA].into_iter().filter_map(|kind| node.set(kind)) {
            if reply.set(Section::Additional, &name, set, set.ttl).is_err() {
                reply.back(before);
                return Err(Full);
            }
        }
    }
    Ok(())
}

/// What there is at a name: also below a cut, where the addresses of servers are.
fn glue<'z>(zone: &'z Zone, name: &Name) -> Option<&'z Node> {
    match find(zone, name, types::A) {
        Found::Node(node) => Some(node),
        Found::Cut { .. } => zone.node(name.key().bytes()),
        _ => None,
    }
}
