//! Requests in streams (RFC 7766): each with its length in front, several after one another, answered in that order.

use alloc::vec;
use alloc::vec::Vec;

use dns_server::answer::{Via, answer};
use dns_server::zone::Zone;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};

use crate::network::PORT;

/// How many there are at once.
const MOST: usize = 16;
/// The longest request; there is no reason for a longer one.
const REQUEST: usize = 4096;
/// The same, with its length in front.
const FRAME: usize = 2 + REQUEST;
/// An answer, with its length in front: one is sent before the next is made.
const ANSWER: usize = 2 + u16::MAX as usize;
/// How long a connection may take for a request, an answer, or its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of them.
pub(crate) struct Connections(Vec<Connection>);

struct Connection {
    handle: SocketHandle,
    /// When it has taken too long; none while nobody is there.
    until: Option<Instant>,
    /// What has come of the next requests.
    pending: Vec<u8>,
}

impl Connections {
    /// Their sockets are added to `sockets`.
    pub(crate) fn new(sockets: &mut SocketSet<'_>) -> Connections {
        let mut socket = || {
            let buffer = |size| SocketBuffer::new(vec![0; size]);
            let mut socket = Socket::new(buffer(FRAME), buffer(ANSWER));
            // Answers are whole: there is nothing to wait for.
            socket.set_nagle_enabled(false);
            Connection { handle: sockets.add(socket), until: None, pending: Vec::with_capacity(FRAME) }
        };
        Connections((0..MOST).map(|_| socket()).collect())
    }

    /// Does what can be done; how many requests were answered.
    pub(crate) fn serve(&mut self, sockets: &mut SocketSet<'_>, zone: &Zone, now: Instant, out: &mut [u8]) -> u64 {
        self.0.iter_mut().map(|one| one.serve(sockets.get_mut(one.handle), zone, now, out)).sum()
    }
}

impl Connection {
    fn serve(&mut self, socket: &mut Socket<'_>, zone: &Zone, now: Instant, out: &mut [u8]) -> u64 {
        match socket.state() {
            State::Listen | State::Closed => {
                self.until = None;
                self.pending.clear();
                // It fails only when it listens already.
                let _ = socket.listen(PORT);
                return 0;
            }
            _ => {}
        }
        let until = *self.until.get_or_insert(now + PATIENCE);
        let mut answered = 0;
        while socket.can_send() && socket.send_queue() == 0 {
            match self.take(socket, zone, out) {
                Step::Answered => {
                    answered += 1;
                    self.until = Some(now + PATIENCE);
                }
                Step::Wait => break,
                Step::Nonsense => {
                    socket.abort();
                    return answered;
                }
            }
        }
        // It has said everything, and has all answers.
        if !socket.may_recv() && socket.send_queue() == 0 && socket.state() == State::CloseWait {
            socket.close();
        }
        if now >= until && answered == 0 {
            socket.abort();
        }
        answered
    }

    /// Takes a request, if there is a whole one, and answers it.
    fn take(&mut self, socket: &mut Socket<'_>, zone: &Zone, out: &mut [u8]) -> Step {
        let mut bytes = [0; FRAME];
        let room = FRAME - self.pending.len();
        let got = socket.recv_slice(&mut bytes[..room]).unwrap_or(0);
        self.pending.extend_from_slice(&bytes[..got]);
        let Some(length) = self.pending.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) else {
            return Step::Wait;
        };
        if length > REQUEST {
            return Step::Nonsense;
        }
        let Some(request) = self.pending.get(2..2 + length) else { return Step::Wait };
        let Some(size) = answer(zone, request, Via::Tcp, out) else { return Step::Nonsense };
        self.pending.drain(..2 + length);
        let front = (size as u16).to_be_bytes();
        let sent = socket.send_slice(&front).and_then(|first| Ok(first + socket.send_slice(&out[..size])?));
        // Nothing was waiting to be sent, and an answer fits.
        if sent == Ok(2 + size) { Step::Answered } else { Step::Nonsense }
    }
}

enum Step {
    Answered,
    Wait,
    Nonsense,
}
