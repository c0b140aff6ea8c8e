//! A host that takes part in a distribution: it brings blobs from hosts that have them, and serves what it has.
//!
//! ```text
//! launcher ─ orders ─▶ stdin  agent  stdout ─ answers ─▶ launcher      (through SSH)
//!                         │ ▲
//!        blobs of peers ◀─┘ └─▶ peers that ask      (TLS 1.3; both sides prove who they are)
//! ```
//! Who is served has a certificate of this launch's authority, whose key never leaves the launcher's memory; keys of
//! hosts come in the first line of the standard input and are kept in memory. Only blobs of the image can be asked for,
//! by their digests: there are no paths. What is brought counts only when its digest is right, whoever sent it.
//!
//! The agent ends with its standard input, and when the launcher has said nothing for a while: nothing is left behind.
//!
//! [`words`] of launcher and agent     [`identity`] certificates, and TLS with them     [`ask`] the words between hosts
//! [`fetch`] one order                 [`serve`] the other side

pub mod ask;
pub mod fetch;
pub mod identity;
pub mod serve;
pub mod words;

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_oci::Digest;
use kiln_store::Store;

use self::identity::Identity;
use self::serve::Server;
use self::words::{Fault, Hello, Kind, LINE, Order, Said, VERSION, line};
use crate::error::{LaunchError, Result};

/// Orders that are done at one time.
const ORDERS: usize = 16;
/// How long a blob that is asked for may still be on its way to its first byte.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How often it is told how much has moved.
const TELL: Duration = Duration::from_millis(500);

/// What the threads of an agent share.
pub(crate) struct Shared<'a> {
    pub(crate) store: &'a Store,
    pub(crate) hello: Hello,
    /// The blobs of the image.
    pub(crate) sizes: BTreeMap<Digest, u64>,
    pub(crate) identity: Identity,
    /// This binary.
    pub(crate) binary: PathBuf,
    /// Everything is to end.
    pub(crate) stop: AtomicBool,
    /// Nothing more is to be brought.
    pub(crate) halt: AtomicBool,
    pub(crate) fetched: AtomicU64,
    /// Orders that are being done.
    orders: AtomicUsize,
}

impl Shared<'_> {
    /// Whether serving is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether bringing is to end.
    pub(crate) fn is_halted(&self) -> bool {
        self.is_over() || self.halt.load(Ordering::Acquire)
    }
}

/// Takes part until the input ends, or nothing comes for too long.
///
/// # Errors
/// When the first line is none of a launcher of this version, or an answer cannot be given.
pub fn take_part(
    store: &Store,
    binary: &Path,
    input: Box<dyn BufRead + Send>,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    let lines = read(input);
    let bad = |why: &str| LaunchError::File { what: "read", path: "the standard input".into(), why: why.to_owned() };
    let first = lines.recv_timeout(Duration::from_secs(60)).map_err(|_| bad("no launcher speaks"))?;
    let Ok(Order::Hello(hello)) = serde_json::from_slice(&first) else { return Err(bad("it is no launcher")) };
    if hello.version != VERSION {
        return Err(bad("the launcher is of another version"));
    }
    let identity = Identity::read(&hello).map_err(|why| bad(&why))?;
    // What came is kept until all is there and has a name.
    let lease = store.lease()?;
    let shared = Shared {
        store,
        sizes: hello.blobs.iter().cloned().collect(),
        hello: *hello,
        identity,
        binary: binary.to_owned(),
        stop: AtomicBool::new(false),
        halt: AtomicBool::new(false),
        fetched: AtomicU64::new(0),
        orders: AtomicUsize::new(0),
    };
    let output = Mutex::new(output);
    let say = |said: &Said| -> bool {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&line(said)).and_then(|()| output.flush()).is_ok()
    };
    std::thread::scope(|scope| {
        let server = Server::open(&shared);
        let have = shared.hello.blobs.iter().enumerate();
        let have = have.filter(|(_, (digest, size))| store.blob_size(digest) == Some(*size)).map(|(place, _)| place);
        let (port, why) = match &server {
            Ok(server) => (Some(server.port), String::new()),
            Err(error) => (None, error.to_string()),
        };
        if let Ok(server) = server {
            scope.spawn(move || server.serve());
        }
        let begun = shared.hello.blobs.iter().any(|(digest, _)| store.downloaded(digest) > 0);
        say(&Said::Ready { port, why, have: have.collect(), begun });
        obey(&shared, &lines, &say, scope);
        shared.stop.store(true, Ordering::Release);
    });
    say(&moved(&shared));
    drop(lease);
    Ok(())
}

/// Does orders as they come, until the last.
fn obey<'scope, 'env>(
    shared: &'env Shared<'env>,
    lines: &Receiver<Vec<u8>>,
    say: &'env (dyn Fn(&Said) -> bool + Sync),
    scope: &'scope std::thread::Scope<'scope, 'env>,
) {
    let mut heard = Instant::now();
    let mut told = Said::Moved { fetched: 0 };
    loop {
        let now = moved(shared);
        if now != told {
            if !say(&now) {
                return;
            }
            told = now;
        }
        let line = match lines.recv_timeout(TELL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if heard.elapsed() < Duration::from_millis(shared.hello.silence) => continue,
            Err(_) => return,
        };
        heard = Instant::now();
        let fetch = match serde_json::from_slice(&line) {
            Ok(Order::Fetch(fetch)) => fetch,
            Ok(Order::Halt) => {
                shared.halt.store(true, Ordering::Release);
                continue;
            }
            _ => continue,
        };
        if shared.orders.fetch_add(1, Ordering::AcqRel) >= ORDERS {
            shared.orders.fetch_sub(1, Ordering::AcqRel);
            let fault = Some(Fault::new(Kind::Own, "too many orders at one time"));
            say(&Said::Ended { order: fetch.order, fault });
            continue;
        }
        scope.spawn(move || {
            let order = fetch.order;
            let got = |blob| {
                say(&Said::Got { order, blob });
            };
            let fault = fetch::fetch(shared, &fetch, &got).err();
            shared.orders.fetch_sub(1, Ordering::AcqRel);
            say(&Said::Ended { order, fault });
        });
    }
}

fn moved(shared: &Shared<'_>) -> Said {
    Said::Moved { fetched: shared.fetched.load(Ordering::Relaxed) }
}

/// Reads lines on a thread of its own, which ends with the input.
fn read(mut input: Box<dyn BufRead + Send>) -> Receiver<Vec<u8>> {
    let (send, receive) = sync_channel(64);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let got = input.by_ref().take(LINE as u64).read_until(b'\n', &mut line);
            if !got.is_ok_and(|count| count > 0) || line.last() != Some(&b'\n') || send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}
