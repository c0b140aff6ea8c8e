//! This binary on hosts that have none: from a host that has, by what every Linux has.
//!
//! Whoever asks has no TLS yet, so it comes in the clear, and is looked at by its digest before anything runs it. It is no
//! secret: who asks has to know the digest, and learns nothing but the binary.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use kiln_host::Stdin;
use kiln_host::command::quote;

use super::{Barred, LOOK, SEEDS, Swarm};
use crate::error::{LaunchError, Result};
use crate::facts::AGENT;
use crate::launch::{Launch, Member};

/// How long it may take to get the binary from a host, in seconds.
const FETCH: u64 = 600;
/// How often it is looked at what a host sends, in seconds.
const WINDOW: u64 = 15;
/// Bytes a second that are enough, whatever others do.
const ENOUGH: u64 = 1 << 20;
/// Hosts that are tried before the launcher.
const TRIES: usize = 2;

/// Where the binary comes from.
enum From<'a> {
    Host(Borrowed<'a>, SocketAddr),
    Launcher(Slot<'a>),
}

/// A host that serves; dropping it frees it.
struct Borrowed<'a>(&'a Swarm, usize);

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.board.give_back(self.1);
        self.0.pump(state);
    }
}

/// One of few places for streams of the launcher's binary; dropping it frees it.
struct Slot<'a>(&'a Swarm);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.binaries = state.binaries.saturating_sub(1);
        drop(state);
        self.0.free.notify_all();
    }
}

/// A line that gets the binary from a host, looks at it, and puts it in its place. No more than its size is taken: whoever
/// answers must not fill the disk.
/// `least` is how many bytes it has to send in each [`WINDOW`].
pub(crate) fn line(from: SocketAddr, digest: &str, size: u64, least: u64) -> String {
    let (to, draft) = (quote(AGENT), quote(&format!("{AGENT}.kiln-new")));
    let way = quote(&format!("/dev/tcp/{}/{}", from.ip(), from.port()));
    // Who watches has the file not open: nobody may have it so when it is executed.
    let script = quote(&format!(
        "exec 3<>\"$0\" && printf 'binary %s\\n' \"$1\" >&3 || exit 1; head -c \"$2\" <&3 & p=$!; \
         (s=0; while sleep {WINDOW}; do n=$(stat -c %s \"$3\") && [ $((n - s)) -ge {least} ] || kill $p; s=$n; done) >/dev/null 2>&1 3<&- & w=$!; \
         wait $p; r=$?; kill $w 2>/dev/null; [ $r -lt 128 ] || echo 'it is too slow' >&2; exit $r"
    ));
    format!(
        "umask 077; mkdir -p \"$(dirname {to})\" && rm -f {draft} && timeout 5 bash -c ': <>\"$0\"' {way} && \
         timeout {FETCH} bash -c {script} {way} {digest} {size} {draft} > {draft} && echo '{digest}  {AGENT}.kiln-new' | sha256sum -c --status - && \
         chmod 755 {draft} && sync {draft} && mv -f {draft} {to}"
    )
}

/// Bytes that a host has to send in each [`WINDOW`], or it is left: so many that it is done in time, and a tenth of what
/// the quickest does, as far as that is not enough for anybody.
fn least(size: u64, quickest: u64) -> u64 {
    (size / FETCH).max((quickest / 10).min(ENOUGH)) * WINDOW
}

impl Swarm {
    /// Has a host get the binary: from another, or by `send` from here, of which few run at a time.
    ///
    /// # Errors
    /// When the user stops it, or sending from here fails.
    pub fn binary(&self, launch: &Launch, member: &Member, send: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut barred = Barred::new();
        loop {
            match self.source(launch, &barred)? {
                From::Launcher(slot) => {
                    let sent = send();
                    drop(slot);
                    return sent;
                }
                From::Host(borrowed, address) => {
                    barred.insert(borrowed.1);
                    let limit = Duration::from_secs(FETCH + 30);
                    let least = least(self.binary_size, self.lock().quickest);
                    let line = line(address, &self.binary, self.binary_size, least);
                    let began = Instant::now();
                    let said = member.machine.run("get this binary from another host", &line, Stdin::Empty, limit)?;
                    if said.exit.success() {
                        let rate = u128::from(self.binary_size) * 1000 / began.elapsed().as_millis().max(1);
                        let mut state = self.lock();
                        state.quickest = state.quickest.max(u64::try_from(rate).unwrap_or(u64::MAX));
                        return Ok(());
                    }
                    let why = said.tail.last().cloned().unwrap_or_else(|| said.exit.to_string());
                    self.note(member.name(), format!("does not get this binary from {address}: {why}"));
                }
            }
        }
    }

    /// Waits for a source that has time.
    fn source(&self, launch: &Launch, barred: &Barred) -> Result<From<'_>> {
        let mut state = self.lock();
        loop {
            if launch.cancel.is_set() {
                return Err(LaunchError::Cancelled);
            }
            if barred.len() < TRIES
                && let Some((place, address)) = state.board.lend(barred)
            {
                return Ok(From::Host(Borrowed(self, place), address));
            }
            let is_last = barred.len() >= TRIES || !state.board.may_serve(barred);
            if is_last && state.binaries < SEEDS {
                state.binaries += 1;
                return Ok(From::Launcher(Slot(self)));
            }
            state = self.free.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_of_shell_and_looks_before_it_moves() {
        let line = line("[fd00::1]:4000".parse().unwrap(), &"ab".repeat(32), 1234, 1);
        let at = |text: &str| line.find(text).unwrap_or_else(|| panic!("no {text} in {line}"));
        assert!(at("/dev/tcp/fd00::1/4000") < at("sha256sum -c") && at("sha256sum -c") < at("mv -f"), "{line}");
    }

    #[test]
    fn what_a_host_has_to_send_is_what_ends_in_time_and_not_far_behind_others() {
        let size = 40 << 20;
        assert_eq!(least(size, 0) / WINDOW, size / FETCH, "nobody knows how quick others are");
        assert_eq!(least(size, 4 << 20) / WINDOW, (4 << 20) / 10);
        assert_eq!(least(size, 4 << 30) / WINDOW, ENOUGH);
    }

    #[test]
    fn a_host_that_sends_without_end_fills_no_disk() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let from = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Until nobody reads any more.
                while stream.write_all(&[0; 64 << 10]).is_ok() {}
            }
        });
        let home = tempfile::tempdir().unwrap();
        let line = line(from, &"ab".repeat(32), 1000, 1).replace("/var/lib/kiln", home.path().to_str().unwrap());
        let ran = std::process::Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert!(!ran.status.success(), "it is not what it was to be");
        assert_eq!(std::fs::metadata(home.path().join("bin/kiln.kiln-new")).unwrap().len(), 1000);
        assert!(!home.path().join("bin/kiln").exists());
    }

    #[test]
    fn a_host_that_stops_sending_is_left_and_one_that_sends_is_not_kept_waiting() {
        use std::io::Write;
        let content = b"a binary".repeat(20_000);
        let digest = kiln_oci::Digest::of(&content).hex();
        for (stops, waits) in [(true, false), (false, false), (false, true)] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let from = listener.local_addr().unwrap();
            let content = content.clone();
            let serve = std::thread::spawn(move || {
                // The first connection only looks whether anybody listens.
                let mut stream = listener.incoming().flatten().nth(1).unwrap();
                let (some, rest) = content.split_at(100_000);
                stream.write_all(some).unwrap();
                std::thread::sleep(Duration::from_millis(if waits { 1200 } else { 0 }));
                if !stops {
                    stream.write_all(rest).unwrap();
                }
                // Held open until the other end goes.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            let home = tempfile::tempdir().unwrap();
            let line = line(from, &digest, 160_000, 50_000).replace("/var/lib/kiln", home.path().to_str().unwrap());
            let window = if stops { "sleep 1" } else { "sleep 8" };
            let line = line.replace("sleep 15", window);
            let ran = std::process::Command::new("sh").arg("-c").arg(line).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.success(), !stops, "{said}");
            assert_eq!(
                (home.path().join("bin/kiln").exists(), said.contains("it is too slow")),
                (!stops, stops),
                "{said}"
            );
            serve.join().unwrap();
        }
    }
}
