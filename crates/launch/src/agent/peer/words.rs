//! What a launcher and the agent on a host say to each other: a line of JSON each.

use std::net::{IpAddr, SocketAddr};

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

/// The version of these words. Both sides are the same binary; a stray one is refused.
pub const VERSION: u32 = 1;
/// Bytes of a line: the list of blobs is the longest.
pub const LINE: usize = 24 << 20;

/// A launcher's line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// The first: what it is all about.
    Hello(Box<Hello>),
    /// Bring blobs from another host.
    Fetch(Fetch),
    /// End all orders: the launcher sends the rest.
    Halt,
    /// The launcher is still there.
    Alive,
}

/// What an agent must know. Not `Debug`: a key is in it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`VERSION`]
    pub version: u32,
    /// The address to listen at.
    pub address: IpAddr,
    /// The port to listen at; 0 is any.
    pub port: u16,
    /// What this host has to prove that it is, and its peers, too: PEM.
    pub certificate: String,
    /// The key of the certificate, in PEM. It is in the memory of the agent only.
    pub key: String,
    /// Who signed the certificates of this launch, and of no other: PEM.
    pub authority: String,
    /// The blobs that may be asked for, with their sizes. Orders name them by their place here.
    pub blobs: Vec<(Digest, u64)>,
    /// The SHA-256 of this binary in hexadecimal, which is given to hosts that have none yet.
    pub binary: String,
    /// Hosts that are served at one time.
    pub uploads: usize,
    /// Bytes a second that all of them get together, if there is a limit.
    pub rate: Option<u64>,
    /// Without a line for so many milliseconds, the launcher is gone.
    pub silence: u64,
}

/// Blobs to bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetch {
    /// By which answers name it.
    pub order: u64,
    /// Where.
    pub from: SocketAddr,
    /// Who must answer there, by its certificate.
    pub name: String,
    /// Which.
    pub blobs: Vec<usize>,
    /// Bytes a second below which another source is better.
    pub floor: u64,
    /// For how many milliseconds it may be below that.
    pub patience: u64,
}

/// An agent's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// Ready for orders.
    Ready {
        /// Where other hosts are served; none if it cannot listen.
        port: Option<u16>,
        /// Why it cannot.
        why: String,
        /// Blobs that are here already.
        have: Vec<usize>,
        /// Some others are here in part.
        begun: bool,
    },
    /// A blob of an order is here, and is what its digest says.
    Got {
        /// Which order.
        order: u64,
        /// Which blob.
        blob: usize,
    },
    /// An order has ended.
    Ended {
        /// Which.
        order: u64,
        /// What kept it from its end, if anything.
        fault: Option<Fault>,
    },
    /// Bytes that came from other hosts since the beginning.
    Moved {
        /// How many.
        fetched: u64,
    },
}

/// Why an order was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Of which kind.
    pub kind: Kind,
    /// In words.
    pub why: String,
}

/// Kinds of faults: what to make of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Nobody answers there: it is down, or a firewall is in between.
    Unreachable,
    /// Whoever answers does not prove who it is, or does not accept this host, or has not what it should have.
    Refused,
    /// What came is not what its digest says.
    Lied,
    /// It came too slowly.
    Slow,
    /// It ended early.
    Broken,
    /// This host cannot take it: its disk is full.
    Own,
}

impl Fault {
    /// A fault.
    pub fn new(kind: Kind, why: impl Into<String>) -> Fault {
        Fault { kind, why: why.into() }
    }
}

/// A line of a value.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
