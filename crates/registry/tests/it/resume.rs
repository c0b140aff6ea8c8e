//! Downloads that go on where an earlier run left them.

use std::io;

use kiln_oci::{Descriptor, Digest};
use kiln_registry::{BlobSink, RegistryError};

use crate::server::{Say, Seen, Server};
use crate::{blob, client, layer, reference};

/// A sink that has something already.
struct Left {
    bytes: Vec<u8>,
    broken: bool,
}

impl BlobSink for Left {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.write(bytes)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.bytes.reset()
    }

    fn replay(&mut self, piece: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.chunks(1000).for_each(piece);
        Ok(())
    }
}

fn start_of(seen: &Seen) -> usize {
    seen.header("range").map_or(0, |r| r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap())
}

/// A registry with one blob, which knows ranges.
fn ranged(bytes: &[u8]) -> Server {
    let bytes = bytes.to_vec();
    Server::start(move |seen, _| match start_of(seen) {
        0 => Say::ok(&*bytes),
        start if start >= bytes.len() => Say::status(416),
        start => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Say::status(206).header("Content-Range", range).body(&bytes[start..])
        }
    })
}

fn fetch(server: &Server, d: &Descriptor, bytes: Vec<u8>, broken: bool) -> Result<Vec<u8>, RegistryError> {
    let mut sink = Left { bytes, broken };
    let told = std::cell::Cell::new(0);
    client(&server.host).blob(&reference(&server.host, "a/b"), d, &mut sink, &|n| told.set(told.get() + n))?;
    assert_eq!(told.get(), d.size, "progress adds up to the size");
    assert_eq!(Digest::of(&sink.bytes), d.digest);
    Ok(sink.bytes)
}

#[test]
fn a_part_of_an_earlier_run_is_not_fetched_again() {
    let bytes = blob(100_000);
    let server = ranged(&bytes);
    assert_eq!(fetch(&server, &layer(&bytes), bytes[..60_000].to_vec(), false).unwrap(), bytes);
    assert_eq!(server.seen().iter().map(start_of).collect::<Vec<_>>(), [60_000]);
}

#[test]
fn a_whole_that_was_never_finished_needs_no_request() {
    let bytes = blob(10_000);
    let server = ranged(&bytes);
    assert_eq!(fetch(&server, &layer(&bytes), bytes.clone(), false).unwrap(), bytes);
    assert!(server.seen().is_empty());
}

#[test]
fn a_part_that_does_not_fit_costs_no_more_than_a_fresh_start() {
    let bytes = blob(100_000);
    let mut torn = bytes[..60_000].to_vec();
    torn[59_000..].fill(0);
    for left in [torn, vec![7; 100_000], blob(120_000)] {
        let server = ranged(&bytes);
        assert_eq!(fetch(&server, &layer(&bytes), left, false).unwrap(), bytes);
        let starts: Vec<_> = server.seen().iter().map(start_of).collect();
        assert_eq!(starts.last(), Some(&0), "in one piece: {starts:?}");
        assert!(starts.len() <= 2, "{starts:?}");
    }
    let server = ranged(&bytes);
    assert_eq!(fetch(&server, &layer(&bytes), bytes[..500].to_vec(), true).unwrap(), bytes, "what cannot be read");
}

#[test]
fn a_registry_without_ranges_sends_all() {
    let bytes = blob(50_000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Say::ok(&*served));
    assert_eq!(fetch(&server, &layer(&bytes), bytes[..20_000].to_vec(), false).unwrap(), bytes);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_lie_behind_a_good_part_is_an_error() {
    let bytes = blob(50_000);
    let server = Server::start(|seen, _| match start_of(seen) {
        0 => Say::ok(vec![0; 50_000]),
        start => {
            Say::status(206).header("Content-Range", format!("bytes {start}-49999/50000")).body(vec![0; 50_000 - start])
        }
    });
    let error = fetch(&server, &layer(&bytes), bytes[..20_000].to_vec(), false).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    assert_eq!(server.seen().len(), 2);
}
