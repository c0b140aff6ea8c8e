//! The guest's serial console: the last part of what it said, who listens to it, and what it means.
//!
//! Waiting for a text on the console is how Kiln learns what a guest does, instead of sleeping for a guessed time; and
//! when something does not happen in time, [`Console::diagnosis`] says what the console showed.
//!
//! Adding something to recognise: a row in [`KNOWN`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::lock;

/// How much of the output is kept.
const KEPT: usize = 512 << 10;
const LAST_LINES: usize = 12;

/// What the console of a guest can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The kernel gave up.
    Panic,
    /// The firmware or boot loader found nothing to boot.
    NoBoot,
    /// The root file system is not where the kernel was told.
    NoRoot,
    /// The kernel has no first process to start.
    NoInit,
    /// A unikernel gave up.
    Crash,
    /// cloud-init found no seed: no user, no key, often no network.
    NoSeed,
    /// The system came up as far as a rescue shell.
    Emergency,
    /// A service that logins need did not start.
    NoSshd,
    /// The kernel killed processes for want of memory.
    NoMemory,
    /// The system is up and asks for a login.
    Login,
    /// The system powered itself off.
    Off,
}

/// Texts that are recognised, and what each means to somebody who waits for the guest.
pub const KNOWN: &[(Sight, &str, &str)] = &[
    (Sight::Panic, "Kernel panic", "the guest's kernel panicked"),
    (Sight::NoBoot, "No bootable device", "the firmware found no boot loader on any disk"),
    (Sight::NoBoot, "not a bootable disk", "the disk has no boot loader for BIOS"),
    (Sight::NoBoot, "BdsDxe: No bootable option", "the UEFI firmware found no boot loader"),
    (Sight::NoBoot, "grub rescue>", "GRUB does not find its files"),
    (
        Sight::NoRoot,
        "Unable to mount root fs",
        "the kernel found neither a first process in an initramfs nor a root file system",
    ),
    (Sight::NoInit, "No working init found", "the kernel found no program to start in its initramfs or root"),
    (Sight::NoInit, "Requested init", "the kernel cannot start the program that its command line names (init=)"),
    (Sight::NoInit, "Failed to execute /", "the kernel cannot start the program that its command line names (rdinit=)"),
    (Sight::Crash, "Solo5: ABORT", "the unikernel aborted"),
    (Sight::Crash, "Solo5: trap", "the unikernel did something that its processor refused"),
    (Sight::Crash, "Unikraft crash", "the unikernel's kernel crashed"),
    (Sight::Crash, "page fault outside application", "OSv crashed outside of its application"),
    (Sight::NoRoot, "Gave up waiting for root", "the initramfs does not find the root file system"),
    (
        Sight::NoSeed,
        "DataSourceNone",
        "cloud-init found no seed, so it made no user and installed no key: attach the seed as a virtio disk (Debian's \
         cloud kernel has no driver for IDE CD-ROMs) labelled `cidata`, or point -smbios at a NoCloud URL",
    ),
    (Sight::Emergency, "emergency mode", "systemd stopped in its emergency mode"),
    (Sight::NoSshd, "Failed to start ssh", "the guest's SSH server did not start"),
    (Sight::NoSshd, "Failed to start OpenBSD Secure Shell", "the guest's SSH server did not start"),
    (Sight::NoMemory, "Out of memory: Killed process", "the guest ran out of memory: raise `memory`"),
    (Sight::Login, "login:", "the guest is up and asks for a login: look at its network and its SSH server"),
    (Sight::Off, "reboot: Power down", "the guest powered itself off"),
    (Sight::Off, "reboot: System halted", "the guest halted"),
];

/// How a wait for a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The text with this index came; the output after it begins at `after`.
    Text {
        /// Index into what was waited for.
        index: usize,
        /// Position behind it.
        after: u64,
    },
    /// The console closed before any came.
    Closed,
    /// None came in time.
    Late,
}

type Listener = Box<dyn FnMut(&[u8]) + Send>;

#[derive(Default)]
struct Output {
    kept: VecDeque<u8>,
    /// How many bytes came before the first kept one.
    dropped: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
    listeners: Mutex<Vec<Listener>>,
    input: Mutex<Option<UnixStream>>,
}

/// A handle on the console; clones are the same console.
#[derive(Clone, Default)]
pub struct Console {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("position", &self.position()).finish()
    }
}

impl Console {
    /// A console at the other end of that socket, read until it closes.
    pub(crate) fn over(stream: UnixStream) -> std::io::Result<Console> {
        let console = Console::default();
        *lock(&console.shared.input) = Some(stream.try_clone()?);
        let reader = console.clone();
        std::thread::spawn(move || reader.read(stream));
        Ok(console)
    }

    fn read(&self, mut stream: UnixStream) {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(n) => self.heard(&buffer[..n]),
            }
        }
        lock(&self.shared.output).closed = true;
        self.shared.changed.notify_all();
    }

    fn heard(&self, bytes: &[u8]) {
        // Held over both, so that who begins to listen in between hears a piece once: as kept, or as it comes.
        let mut listeners = lock(&self.shared.listeners);
        {
            let mut output = lock(&self.shared.output);
            output.kept.extend(bytes);
            let over = output.kept.len().saturating_sub(KEPT);
            output.kept.drain(..over);
            output.dropped += over as u64;
        }
        self.shared.changed.notify_all();
        for listener in listeners.iter_mut() {
            listener(bytes);
        }
    }

    /// Everything that is said goes to `listener` too: first, in this thread, what was said before and is kept, then the
    /// rest in the pieces it comes in, from the console's thread. A guest speaks as soon as it is started.
    pub fn listen(&self, mut listener: impl FnMut(&[u8]) + Send + 'static) {
        let mut listeners = lock(&self.shared.listeners);
        let before = lock(&self.shared.output).kept.make_contiguous().to_vec();
        if !before.is_empty() {
            listener(&before);
        }
        listeners.push(Box::new(listener));
    }

    /// Types into the console.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        match lock(&self.shared.input).as_mut() {
            Some(stream) => stream.write_all(bytes),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// How many bytes have been said so far.
    pub fn position(&self) -> u64 {
        let output = lock(&self.shared.output);
        output.dropped + output.kept.len() as u64
    }

    /// Waits until one of the texts was said at or after `from`. Of several it is the one that comes first.
    pub fn wait_for(&self, texts: &[&str], from: u64, limit: Duration) -> Heard {
        let until = Instant::now() + limit;
        let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0) as u64;
        let mut from = from;
        let mut output = lock(&self.shared.output);
        loop {
            if let Some(heard) = find(&mut output, texts, from) {
                return heard;
            }
            // What was searched need not be searched again, but for a text whose end is still to come.
            let end = output.dropped + output.kept.len() as u64;
            from = from.max(end.saturating_sub(longest));
            if output.closed {
                return Heard::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Late;
            }
            output = self.shared.changed.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that is kept, without what controls terminals.
    pub fn text(&self) -> String {
        self.text_since(0)
    }

    /// What is kept of what came from this position on.
    fn text_since(&self, from: u64) -> String {
        let mut output = lock(&self.shared.output);
        let skip = usize::try_from(from.saturating_sub(output.dropped)).unwrap_or(usize::MAX);
        let kept = output.kept.make_contiguous();
        plain(&kept[skip.min(kept.len())..])
    }

    /// The last lines that are not empty.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|l| cut(l)).collect()
    }

    /// What has been recognised, in the order of [`KNOWN`], each kind once.
    pub fn sights(&self) -> Vec<(Sight, &'static str)> {
        self.sights_since(0)
    }

    /// The same, of what came from this position on: a machine that boots again is not what it was before.
    pub fn sights_since(&self, from: u64) -> Vec<(Sight, &'static str)> {
        let text = self.text_since(from);
        let mut seen: Vec<(Sight, &'static str)> = Vec::new();
        for (sight, needle, meaning) in KNOWN {
            if text.contains(needle) && !seen.iter().any(|(s, _)| s == sight) {
                seen.push((*sight, meaning));
            }
        }
        seen
    }

    /// Lines for an error about something that did not happen: what is known, then the last lines.
    pub fn diagnosis(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.sights().iter().map(|(_, meaning)| (*meaning).to_owned()).collect();
        let last = self.last_lines(LAST_LINES);
        if last.is_empty() {
            lines.push("the serial console stayed silent (a guest speaks there with `console=ttyS0`)".to_owned());
        } else {
            lines.push("the serial console's last lines:".to_owned());
            lines.extend(last.into_iter().map(|l| format!("| {l}")));
        }
        lines
    }
}

fn find(output: &mut Output, texts: &[&str], from: u64) -> Option<Heard> {
    let skip = usize::try_from(from.saturating_sub(output.dropped)).unwrap_or(usize::MAX);
    let dropped = output.dropped;
    let kept = output.kept.make_contiguous();
    let kept = &kept[skip.min(kept.len())..];
    let start = dropped + skip as u64;
    let first = texts.iter().enumerate().filter(|(_, t)| !t.is_empty()).filter_map(|(index, text)| {
        let at = kept.windows(text.len()).position(|w| w == text.as_bytes())?;
        Some((at, index, at + text.len()))
    });
    first.min().map(|(_, index, end)| Heard::Text { index, after: start + end as u64 })
}

fn cut(line: &str) -> String {
    const WIDTH: usize = 200;
    if line.chars().count() <= WIDTH { line.to_owned() } else { line.chars().take(WIDTH).chain(['…']).collect() }
}

/// The text without escape sequences and other control characters; what is not UTF-8 becomes replacement characters.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // Up to the final letter of a control sequence.
                Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                // Up to the bell or the escape that ends a title.
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(parts: &[&[u8]]) -> Console {
        let console = Console::default();
        for part in parts {
            console.heard(part);
        }
        console
    }

    #[test]
    fn texts_are_found_across_pieces_and_by_order_of_coming() {
        let console = said(&[b"boot\r\nKernel pa", b"nic - x\r\nlogin: "]);
        assert_eq!(
            console.wait_for(&["login:", "Kernel panic"], 0, Duration::ZERO),
            Heard::Text { index: 1, after: 18 }
        );
        assert_eq!(console.wait_for(&["Kernel panic"], 18, Duration::ZERO), Heard::Late);
        assert_eq!(console.wait_for(&["login:"], 18, Duration::ZERO), Heard::Text { index: 0, after: 30 });
        lock(&console.shared.output).closed = true;
        assert_eq!(console.wait_for(&["more"], 0, Duration::from_secs(60)), Heard::Closed);
        assert_eq!(console.wait_for(&["more", ""], u64::MAX, Duration::from_secs(60)), Heard::Closed);
    }

    #[test]
    fn waiting_wakes_when_it_comes() {
        let console = Console::default();
        let other = console.clone();
        let waiter = std::thread::spawn(move || other.wait_for(&["READY"], 0, Duration::from_secs(60)));
        for piece in ["a", "RE", "ADY"] {
            console.heard(piece.as_bytes());
        }
        assert_eq!(waiter.join().unwrap(), Heard::Text { index: 0, after: 6 });
    }

    #[test]
    fn only_the_end_is_kept() {
        let console = said(&[b"first", &vec![b'x'; 2 * KEPT], b"last"]);
        assert_eq!(console.position(), 9 + 2 * KEPT as u64);
        assert_eq!(console.wait_for(&["first"], 0, Duration::ZERO), Heard::Late);
        let after = console.position();
        assert_eq!(console.wait_for(&["last"], 0, Duration::ZERO), Heard::Text { index: 0, after });
    }

    #[test]
    fn what_it_means_is_said() {
        let console = said(&[b"\x1b[2J\x1b[0;1mCloud-init: \xff DataSourceNone\r\n\r\n\x1b]0;title\x07host login: "]);
        let diagnosis = console.diagnosis();
        assert!(diagnosis[0].starts_with("cloud-init found no seed"), "{diagnosis:?}");
        assert!(diagnosis[1].contains("asks for a login"));
        assert_eq!(
            diagnosis[2..],
            ["the serial console's last lines:", "| Cloud-init: \u{fffd} DataSourceNone", "| host login:"]
        );
        assert_eq!(Console::default().diagnosis().len(), 1);
    }

    #[test]
    fn what_was_before_need_not_count() {
        let console = said(&[b"x Kernel panic - y\n", &vec![b'-'; KEPT]]);
        assert!(console.sights().is_empty(), "it is no longer kept");
        console.heard(b"Kernel panic\n");
        let again = console.position();
        assert_eq!(console.sights_since(again - 13)[..], [(Sight::Panic, "the guest's kernel panicked")]);
        assert!(console.sights_since(again).is_empty());
        console.heard(b"login:");
        assert_eq!(console.sights_since(again)[0].0, Sight::Login);
        assert!(console.sights_since(u64::MAX).is_empty());
    }

    #[test]
    fn listeners_hear_everything() {
        let console = Console::default();
        let (send, heard) = std::sync::mpsc::channel();
        console.heard(b"before ");
        console.heard(b"that");
        console.listen(move |piece| send.send(piece.to_vec()).unwrap());
        console.heard(b"a");
        console.heard(b"b");
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [&b"before that"[..], b"a", b"b"]);
        assert!(console.send(b"x").is_err());
    }

    #[test]
    fn who_begins_to_listen_while_the_guest_speaks_misses_nothing_and_hears_nothing_twice() {
        let said: Vec<u8> = (0..20_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
        for _ in 0..20 {
            let console = Console::default();
            let (speaker, words) = (console.clone(), said.clone());
            let speaking = std::thread::spawn(move || words.chunks(7).for_each(|piece| speaker.heard(piece)));
            let (send, heard) = std::sync::mpsc::channel();
            while console.position() == 0 {
                std::thread::yield_now();
            }
            console.listen(move |piece| send.send(piece.to_vec()).unwrap());
            speaking.join().unwrap();
            assert!(heard.try_iter().flatten().eq(said.iter().copied()));
        }
    }
}
