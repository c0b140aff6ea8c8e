//! Answers that are too long for their way.

use std::fmt::Write;

use dns_server::answer::Via;
use dns_server::zone::Zone;

use crate::decode::Message;
use crate::{ask, request, with_edns};

const HEAD: &str = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// A zone with `count` addresses at one name, and as many servers of a delegation.
fn large(count: u32) -> Zone {
    let mut text = HEAD.to_owned();
    for n in 0..count {
        let (high, low) = (n >> 8, n & 255);
        writeln!(text, "many A 10.0.{high}.{low}\nsub NS ns{n}.sub\nns{n}.sub A 10.1.{high}.{low}").unwrap();
    }
    Zone::parse(text.as_bytes()).unwrap()
}

fn message(zone: &Zone, request: &[u8], via: Via) -> (Message, usize) {
    let bytes = ask(zone, request, via).unwrap();
    (Message::read(&bytes).unwrap(), bytes.len())
}

#[test]
fn an_answer_is_whole_or_says_that_it_is_not() {
    // 12 and 22 bytes, and 16 for each address.
    for count in 1..90 {
        let zone = large(count);
        let asked = request("many.example.org", 1);
        let room = |limit: usize| (limit - 34) / 16;
        for (request, limit, fits) in [
            (asked.clone(), 512, room(512)),
            (with_edns(asked.clone(), 900), 900, room(900 - 11)),
            (with_edns(asked.clone(), 100), 512, room(512 - 11)),
            (with_edns(asked.clone(), 65535), 1232, room(1232 - 11)),
        ] {
            let (message, length) = message(&zone, &request, Via::Udp);
            assert!(length <= limit);
            let whole = count as usize <= fits;
            assert_eq!(message.truncated(), !whole, "{count} in {limit}");
            assert_eq!(message.sections[0].len(), if whole { count as usize } else { 0 });
        }
        let (message, _) = message(&zone, &asked, Via::Tcp);
        assert_eq!((message.truncated(), message.sections[0].len()), (false, count as usize));
    }
}

#[test]
fn a_delegation_without_the_addresses_of_its_servers_is_none() {
    let zone = large(40);
    let asked = request("www.sub.example.org", 1);
    let (short, _) = message(&zone, &asked, Via::Udp);
    assert!(short.truncated() && short.sections.iter().all(Vec::is_empty));
    let (whole, _) = message(&zone, &asked, Via::Tcp);
    assert_eq!(whole.sections.map(|section| section.len()), [0, 40, 40]);
    let (edns, _) = message(&large(10), &with_edns(asked, 1232), Via::Udp);
    assert_eq!(edns.sections.map(|section| section.len()), [0, 10, 10]);
}

#[test]
fn what_only_helps_may_be_left_out() {
    let mut text = HEAD.to_owned();
    for n in 0..14 {
        writeln!(text, "@ MX 1 m{n}\nm{n} A 10.0.0.{n}\nm{n} A 10.0.1.{n}").unwrap();
    }
    let zone = Zone::parse(text.as_bytes()).unwrap();
    let (message, length) = message(&zone, &request("example.org", 15), Via::Udp);
    assert!(!message.truncated() && length <= 512);
    assert_eq!(message.sections[0].len(), 14);
    // Of each name all addresses, or none.
    assert!(!message.sections[2].is_empty() && message.sections[2].len() % 2 == 0);
}

#[test]
fn the_largest_set_fits_into_a_stream() {
    // The most that a zone may have of one name: an address takes 16 bytes of it.
    let mut text = HEAD.to_owned();
    let most = 60_000 / 16;
    for n in 0..most {
        writeln!(text, "many A 10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255).unwrap();
    }
    let zone = Zone::parse(text.as_bytes()).unwrap();
    let (message, length) = message(&zone, &with_edns(request("many.example.org", 1), 512), Via::Tcp);
    assert_eq!((message.truncated(), message.sections[0].len()), (false, most));
    assert!(length > 60_000);
    writeln!(text, "many A 11.0.0.0").unwrap();
    let error = Zone::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.line as usize, 5 + most + 1);
    assert!(error.to_string().contains("more than 60000 bytes"));
}
