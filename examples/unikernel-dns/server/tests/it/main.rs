//! Zone files and packets in, answers in words out.

#![expect(missing_docs, reason = "tests")]

mod answers;
mod decode;
mod hostile;
mod sizes;
mod words;
mod zones;

use dns_server::answer::{Via, answer};
use dns_server::zone::Zone;

use crate::decode::Message;

/// The zone that most tests ask.
pub const ZONE: &str = include_str!("../../../example.zone");

pub fn zone() -> Zone {
    Zone::parse(ZONE.as_bytes()).unwrap()
}

/// A request as it is on the wire, without what it may say of itself.
pub fn request(name: &str, kind: u16) -> Vec<u8> {
    let mut out = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out
}

/// The same, with EDNS of this size.
pub fn with_edns(mut request: Vec<u8>, size: u16) -> Vec<u8> {
    request[11] = 1;
    request.extend_from_slice(&[0, 0, 41]);
    request.extend_from_slice(&size.to_be_bytes());
    request.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    request
}

/// What comes back, if something does. What is left of the buffer must not be touched.
pub fn ask(zone: &Zone, request: &[u8], via: Via) -> Option<Vec<u8>> {
    let mut out = vec![0x5a; 70_000];
    let length = answer(zone, request, via, &mut out)?;
    out.truncate(length);
    Some(out)
}

/// The answer to a question, in words.
pub fn told(name: &str, kind: &str) -> String {
    let bytes = ask(&zone(), &request(name, decode::kind(kind)), Via::Udp).unwrap();
    Message::read(&bytes).unwrap().to_string()
}
