//! A small reader of netlink: one request, all of the kernel's answers, attributes as slices.
//!
//! The crates for it cost more to build than the three hundred lines that are needed here.
//! Formats: linux/netlink.h, linux/rtnetlink.h; numbers are in the order of the machine unless said otherwise.
//!
//! [`route`] links, addresses, routes, neighbours     [`nft`] chains and rules of nf_tables
//! [`sets`] conditions with several values     [`legacy`] rules of the older iptables, from what their program prints
//! [`services`] what kube-proxy made of services
//! [`generic`] features of network devices (ethtool), services of IPVS

pub mod generic;
pub mod legacy;
pub mod nft;
pub mod route;
pub mod services;
pub mod sets;

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const HEADER: usize = 16;
/// More messages than a kernel with a hundred thousand links has.
const MESSAGES: usize = 4_000_000;
/// A table that changes while it is read is read again.
const TRIES: usize = 5;

/// Why the kernel did not tell.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// It refused.
    #[error("{what}: {errno}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        errno: Errno,
    },
    /// Its answer is none.
    #[error("{what}: the answer is cut off")]
    Malformed {
        /// What was asked for.
        what: &'static str,
    },
    /// The table changed each time it was read.
    #[error("{what}: changes faster than it can be read")]
    Restless {
        /// What was asked for.
        what: &'static str,
    },
}

/// One of the kernel's answers.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `RTM_NEWLINK` and the like.
    pub kind: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

/// A socket to the kernel. It sees the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one; `None` is `NETLINK_ROUTE`.
    ///
    /// # Errors
    /// When the kernel has no such protocol.
    pub fn open(what: &'static str, protocol: Option<Protocol>) -> Result<Socket, NetlinkError> {
        let refused = |errno| NetlinkError::Refused { what, errno };
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).map_err(refused)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(Duration::from_secs(5))).map_err(refused)?;
        Ok(Socket { fd, sequence: 0, buffer: vec![0; 256 << 10] })
    }

    /// Asks for a whole table. `each` is called for every entry; when the table changed meanwhile, `restart` is called
    /// and everything comes again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dump<T>(
        &mut self,
        what: &'static str,
        kind: u16,
        payload: &[u8],
        each: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..TRIES {
            let mut out = Vec::new();
            self.send(what, kind, REQUEST | DUMP, payload)?;
            if self.answers(what, &mut |message| out.extend(each(message)))? {
                return Ok(out);
            }
        }
        Err(NetlinkError::Restless { what })
    }

    /// Asks for one thing, and returns the bodies of all answers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&mut self, what: &'static str, kind: u16, payload: &[u8]) -> Result<Vec<Vec<u8>>, NetlinkError> {
        self.send(what, kind, REQUEST | ACK, payload)?;
        let mut out = Vec::new();
        self.answers(what, &mut |message| out.push(message.body.to_vec()))?;
        Ok(out)
    }

    /// Changes one thing of a subsystem of netfilter, which takes changes only between a beginning and an end
    /// (linux/netfilter/nfnetlink.h).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn batch(&mut self, what: &'static str, subsystem: u16, kind: u16, payload: &[u8]) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let [high, low] = (subsystem >> 8).to_be_bytes();
        let frame = [0, 0, high, low];
        let mut message = self.message(what, BATCH_BEGIN, REQUEST, &frame)?;
        message.extend(self.message(what, kind, REQUEST | ACK, payload)?);
        message.resize(aligned(message.len()), 0);
        message.extend(self.message(what, BATCH_END, REQUEST, &frame)?);
        sendto(&self.fd, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(|errno| NetlinkError::Refused { what, errno })?;
        self.answers(what, &mut |_| ()).map(|_| ())
    }

    fn message(&self, what: &'static str, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<u8>, NetlinkError> {
        let length = u32::try_from(HEADER + payload.len()).map_err(|_| NetlinkError::Malformed { what })?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(payload);
        Ok(message)
    }

    fn send(&mut self, what: &'static str, kind: u16, flags: u16, payload: &[u8]) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let message = self.message(what, kind, flags, payload)?;
        sendto(&self.fd, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(|errno| NetlinkError::Refused { what, errno })?;
        Ok(())
    }

    /// Reads until the end of the answer; false when the table changed meanwhile.
    fn answers(&mut self, what: &'static str, each: &mut dyn FnMut(Message<'_>)) -> Result<bool, NetlinkError> {
        let mut steady = true;
        let mut budget = MESSAGES;
        loop {
            let (length, whole) = match recv(&self.fd, &mut *self.buffer, RecvFlags::TRUNC) {
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(NetlinkError::Refused { what, errno }),
            };
            if whole > length {
                return Err(NetlinkError::Malformed { what });
            }
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while rest.len() >= HEADER {
                let size = u32_at(rest, 0) as usize;
                let (kind, flags, sequence) = (u16_at(rest, 4), u16_at(rest, 6), u32_at(rest, 8));
                let Some(body) = rest.get(HEADER..size) else { return Err(NetlinkError::Malformed { what }) };
                steady &= flags & DUMP_INTERRUPTED == 0;
                budget = budget.checked_sub(1).ok_or(NetlinkError::Restless { what })?;
                match kind {
                    _ if sequence != self.sequence => {}
                    DONE => return Ok(steady),
                    ERROR => return error(what, body, steady),
                    _ => each(Message { kind, body }),
                }
                rest = rest.get(aligned(size)..).unwrap_or_default();
            }
        }
    }
}

/// What an error of 0 means: the end of an answer that was no table.
fn error(what: &'static str, body: &[u8], steady: bool) -> Result<bool, NetlinkError> {
    match i32::from_ne_bytes(array(body)) {
        0 => Ok(steady),
        code => Err(NetlinkError::Refused { what, errno: Errno::from_raw_os_error(code.saturating_neg()) }),
    }
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// The first `N` bytes; zeros where there are fewer.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes.get(at..).unwrap_or_default()))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes.get(at..).unwrap_or_default()))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array(bytes.get(at..).unwrap_or_default()))
}

/// A text that ends with a zero, made safe to show.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// The attributes of a message: number (without the marks for nesting and order of bytes) and value.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0));
        let value = rest.get(4..length)?;
        let kind = u16_at(rest, 2) & 0x3fff;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Writes an attribute.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut out = Vec::new();
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(aligned(out.len()), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_garbage_end() {
        let good = [attribute(1, b"ab"), attribute(2 | 0x8000, b"")].concat();
        assert_eq!(attributes(&good).collect::<Vec<_>>(), [(1, &b"ab"[..]), (2, &b""[..])]);
        for bad in [&[0u8; 40][..], &[255; 9], &[3, 0, 1, 0], &[8, 0, 1], &[]] {
            assert_eq!(attributes(bad).count(), 0, "{bad:?}");
        }
    }

    #[test]
    fn the_kernel_refuses_what_it_does_not_know() {
        let mut socket = Socket::open("links", None).unwrap();
        let error = socket.dump("nonsense", 9999, &[0; 20], |_| Some(())).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused { what: "nonsense", .. }), "{error}");
    }
}
