//! The launcher's side of one agent: a thread that starts it, gives it its first line, and hears what it says.

use std::io::Write;
use std::sync::Arc;

use kiln_host::Stdin;

use super::{SILENCE, Swarm};
use crate::agent::peer::identity::Certificate;
use crate::agent::peer::words::{Hello, LINE, Order, Said, VERSION, line};
use crate::error::{LaunchError, Result};
use crate::launch::Member;
use crate::phase::distribute;

/// The stack of a thread that waits for an agent.
const STACK: usize = 1 << 20;

impl Swarm {
    /// Starts the agent of a host.
    ///
    /// # Errors
    /// When no certificate can be made for it, or there are no more threads.
    pub(super) fn start(self: Arc<Swarm>, member: &Member) -> Result<()> {
        let Some(place) = self.place(member) else { return Ok(()) };
        let wanted =
            |what: String| LaunchError::Wanted { what, hint: "--no-peer-distribution does without".to_owned() };
        let peer = self.lock().desks.get(place).map(|desk| desk.peer.clone()).unwrap_or_default();
        let made = self.authority.certificate(&peer);
        let made =
            made.map_err(|error| wanted(format!("no certificate can be made for {}: {error}", member.name())))?;
        let (feed, stdin) = Stdin::fed();
        feed.send(line(&Order::Hello(Box::new(self.hello(member, made)))));
        if let Some(desk) = self.lock().desks.get_mut(place) {
            desk.feed = Some(feed);
        }
        let (swarm, machine) = (self.clone(), member.machine.clone());
        let thread = std::thread::Builder::new().name("agent".to_owned()).stack_size(STACK).spawn(move || {
            let mut lines = Lines { swarm: &swarm, place, open: Vec::new() };
            let what = "have it serve other hosts";
            let ended = machine.talk(what, &distribute::agent("peer"), stdin, &mut lines, &swarm.stop);
            let why = ended.err().map_or_else(|| "its agent has ended".to_owned(), |error| words(&error));
            swarm.gone(place, &why);
        });
        self.keep(thread.map_err(|error| wanted(format!("no thread can be made for {}: {error}", member.name())))?);
        Ok(())
    }

    fn hello(&self, member: &Member, made: Certificate) -> Hello {
        Hello {
            version: VERSION,
            address: member.address,
            port: self.peers.port,
            certificate: made.certificate,
            key: made.key,
            authority: self.authority.pem(),
            blobs: self.blobs.clone(),
            binary: self.binary.clone(),
            uploads: self.peers.uploads.max(1),
            rate: self.peers.rate,
            silence: u64::try_from(SILENCE.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// An error in one line.
fn words(error: &LaunchError) -> String {
    error
        .details()
        .last()
        .map_or_else(|| error.to_string(), |last| format!("{error}: {}", last.trim_start_matches("  | ")))
}

/// What an agent writes, line by line.
struct Lines<'a> {
    swarm: &'a Swarm,
    place: usize,
    open: Vec<u8>,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.open.len() + piece.len() > LINE {
                return Err(std::io::Error::other("an agent speaks without an end"));
            }
            self.open.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.open);
                let said: Said =
                    serde_json::from_slice(&line).map_err(|_| std::io::Error::other("an agent makes no sense"))?;
                self.swarm.heard(self.place, said);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
