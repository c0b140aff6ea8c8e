//! What is the application's among what a console shows.
//!
//! The console is shared by the kernel, the first process and the application. Two lines of the kernel's log frame what is
//! the application's: `kiln-init: TOKEN begin` and `kiln-init: TOKEN exit 7`. They may come in the middle of a line of
//! the application, for that need not end its last one.

use kiln_init::guest::place;

/// A console that is listened to.
#[derive(Debug)]
pub struct Output {
    token: String,
    /// What has not been decided about.
    pending: Vec<u8>,
    application: Vec<u8>,
    other: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    /// The line that says so has not ended.
    Begins,
    During,
    /// The line with the status has not ended.
    Ends,
    After(u8),
}

/// What of the console may be told only later: a line of the log is not longer.
const LONGEST_MARK: usize = 200;

impl Output {
    /// For the run with this token.
    pub fn new(token: &str) -> Output {
        Output {
            token: token.to_owned(),
            pending: Vec::new(),
            application: Vec::new(),
            other: Vec::new(),
            state: State::Before,
        }
    }

    /// The console has shown this.
    pub fn heard(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
        while self.step() {}
    }

    /// Nothing more will come: what was held back is told.
    pub fn finish(&mut self) {
        if self.state == State::Ends {
            self.pending.push(b'\n');
            self.step();
        }
        let rest = std::mem::take(&mut self.pending);
        self.tell(&rest);
    }

    /// The application's exit code, once it was told.
    pub fn exit(&self) -> Option<u8> {
        match self.state {
            State::After(code) => Some(code),
            _ => None,
        }
    }

    /// What the application has said since this was asked last.
    pub fn take_application(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.application)
    }

    /// What else was shown.
    pub fn take_other(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.other)
    }

    /// Decides about a part of what is pending; false when that needs more.
    fn step(&mut self) -> bool {
        match self.state {
            State::Before => self.frame("begin", State::Begins),
            State::During => self.frame("exit ", State::Ends),
            State::Begins | State::Ends => {
                let Some(end) = self.pending.iter().position(|b| *b == b'\n') else { return false };
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                self.state = match self.state {
                    State::Begins => State::During,
                    // A status that is none is one all the same: the application has ended.
                    _ => State::After(String::from_utf8_lossy(&line).trim().parse().unwrap_or(u8::MAX)),
                };
                true
            }
            State::After(_) => {
                let rest = std::mem::take(&mut self.pending);
                self.tell(&rest);
                false
            }
        }
    }

    /// Looks for the mark; what is in front of it is told, and what may yet become one is kept.
    fn frame(&mut self, word: &str, then: State) -> bool {
        let mark = format!("{} {} {word}", place::MARK, self.token);
        if let Some(at) = find(&self.pending, mark.as_bytes()) {
            let mut front: Vec<u8> = self.pending.drain(..at + mark.len()).take(at).collect();
            front.truncate(without_time(&front));
            self.tell(&front);
            self.state = then;
            return true;
        }
        let kept = self.undecided(mark.as_bytes());
        let ready: Vec<u8> = self.pending.drain(..self.pending.len() - kept).collect();
        self.tell(&ready);
        false
    }

    /// How many bytes at the end may be the beginning of a mark, with the time that the kernel puts in front of it.
    fn undecided(&self, mark: &[u8]) -> usize {
        let from = self.pending.len().saturating_sub(LONGEST_MARK);
        let tail = &self.pending[from..];
        let starts = (0..tail.len()).find(|at| may_become(&tail[*at..], mark));
        starts.map_or(0, |at| tail.len() - at)
    }

    fn tell(&mut self, bytes: &[u8]) {
        let to =
            if matches!(self.state, State::During | State::Ends) { &mut self.application } else { &mut self.other };
        // A terminal ends its lines with two characters.
        let mut rest = bytes.iter().peekable();
        while let Some(byte) = rest.next() {
            if *byte != b'\r' || rest.peek().is_some_and(|next| **next != b'\n') {
                to.push(*byte);
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Where a time such as `[    1.234567] ` begins at the end of some bytes; their length if there is none.
fn without_time(bytes: &[u8]) -> usize {
    let start = bytes.iter().rposition(|b| *b == b'[').filter(|at| bytes.len() - at < 40);
    let is_time = |at: &usize| matches!(time(&bytes[*at..]), Some([]));
    start.filter(is_time).unwrap_or(bytes.len())
}

/// What is behind a time; none when it is not one, or not a whole one.
fn time(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"[")?;
    let end = rest.iter().position(|b| !(b.is_ascii_digit() || matches!(b, b' ' | b'.' | b'T')))?;
    rest[end..].strip_prefix(b"] ")
}

/// Whether more bytes can make a mark of these, which end the pending ones.
fn may_become(tail: &[u8], mark: &[u8]) -> bool {
    if mark.starts_with(tail) {
        return true;
    }
    let Some(rest) = tail.strip_prefix(b"[") else { return tail == b"\r" };
    match time(tail) {
        Some(behind) => mark.starts_with(behind),
        // An unfinished time.
        None => {
            tail.len() < 40 && {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b' ' | b'.' | b'T')).count();
                matches!(&rest[digits..], [] | [b']'])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &[u8] =
        b"[    0.1] booting\r\n[    1.234567] kiln-init: abc begin\r\nhello\r\n[1] not a time\r\nno end\
                             [   12.345678] kiln-init: abc exit 7\r\n[   12.4] reboot\r\n";

    /// What comes of a console in pieces of `size` bytes.
    fn of(console: &[u8], size: usize) -> (String, String, Option<u8>) {
        let mut output = Output::new("abc");
        let (mut application, mut other) = (Vec::new(), Vec::new());
        for piece in console.chunks(size) {
            output.heard(piece);
            application.extend(output.take_application());
            other.extend(output.take_other());
        }
        output.finish();
        application.extend(output.take_application());
        other.extend(output.take_other());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(application), text(other), output.exit())
    }

    #[test]
    fn the_frame_is_found_however_it_comes() {
        for size in 1..CONSOLE.len() {
            let (application, other, exit) = of(CONSOLE, size);
            assert_eq!(application, "hello\n[1] not a time\nno end", "{size}");
            assert_eq!(other, "[    0.1] booting\n[   12.4] reboot\n", "{size}");
            assert_eq!(exit, Some(7));
        }
    }

    #[test]
    fn what_is_said_comes_at_once() {
        let mut output = Output::new("abc");
        output.heard(b"kiln-init: abc begin\nready? ");
        assert_eq!(output.take_application(), b"ready? ");
        output.heard(b"[ 1");
        assert_eq!(output.take_application(), b"", "it may be a time");
        output.heard(b" of 2]\n");
        assert_eq!(output.take_application(), b"[ 1 of 2]\n");
    }

    #[test]
    fn other_tokens_and_no_end_are_no_status() {
        let lies = b"kiln-init: abc begin\nkiln-init: abd exit 0\nkiln-init: exit 0\n";
        let (application, _, exit) = of(lies, 7);
        assert_eq!((application.lines().count(), exit), (2, None));
        assert_eq!(of(b"kiln-init: abc exit 3\n", 100).2, None, "it has not begun");
        assert_eq!(of(b"kiln-init: abc begin\nkiln-init: abc exit 999\n", 100).2, Some(255));
        assert_eq!(of(b"kiln-init: abc begin\nkiln-init: abc exit 4", 100).2, Some(4));
    }
}
