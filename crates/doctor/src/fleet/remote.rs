//! Facts of hosts over SSH: the binary is sent, asked, and removed. Nothing else is left or needed on a host. Where there
//! are many, it is sent packed: what leaves this machine is what takes the time then.
//!
//! A host may hang or lie: every step has a limit, and what it says is data of a known form or an error.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::write::GzEncoder;
use kiln_host::command::Sudo;
use kiln_host::copy::{Put, RemotePath, Source};
use kiln_host::ssh::{HostKeyProblem, Unreachable};
use kiln_host::{Cancel, Command, Host, HostError, Output, Stdin, Streams};

use super::{Fleet, Missing};
use crate::facts::{HostFacts, VERSION};
use crate::probe::agent::{PATIENCE, Remote};
use crate::{DoctorError, facts, patience};

/// Hosts that are asked at one time.
const AT_ONCE: usize = 16;
/// How long the removal of what was sent may take.
const REMOVAL: Duration = Duration::from_secs(5);
/// A directory of root's own on a file system from which programs may be run.
const PLACE: &str = "umask 077; for p in /tmp /var/tmp /run \"$HOME\"; do d=$(mktemp -d \"$p/kiln-doctor.XXXXXXXX\" 2>/dev/null) || continue; \
printf '#!/bin/sh\\n' > \"$d/x\" && chmod 700 \"$d/x\" && \"$d/x\" 2>/dev/null && rm \"$d/x\" && printf %s \"$d\" && exit 0; rm -rf \"$d\"; done; \
echo 'there is no directory from which programs may be run' >&2; exit 1";

/// So many hosts are worth the second that packing takes.
const MANY: usize = 4;

/// A program that is sent to hosts.
#[derive(Debug, Clone)]
pub struct Parcel {
    path: PathBuf,
    /// It as gzip has it.
    packed: Option<Arc<[u8]>>,
    /// The part of it that tells facts and sends packets, as gzip has it.
    part: Option<Arc<[u8]>>,
}

impl Parcel {
    /// The program at a path, for so many hosts.
    pub fn new(path: &Path, hosts: usize) -> Parcel {
        // That it cannot be read is said of each host that it is sent to.
        let packed = if hosts < MANY { None } else { pack(path).ok() };
        Parcel { path: path.to_owned(), packed: packed.map(Arc::from), part: None }
    }

    /// With the small program beside the one at a path, for all that it can do: `kiln-doctor-host`, as gzip has it.
    pub fn with_part(path: &Path, part: &[u8]) -> Parcel {
        Parcel { path: path.to_owned(), packed: None, part: Some(part.into()) }
    }

    /// Without the small program.
    fn whole(&self) -> Parcel {
        Parcel { part: None, ..self.clone() }
    }
}

fn pack(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut writer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut file, &mut writer)?;
    writer.finish()
}

/// How hosts are asked.
pub struct Asking<'a> {
    /// The binary that is sent: the one that runs.
    pub binary: &'a Parcel,
    /// How long one host may take.
    pub limit: Duration,
    /// Whether root's rights are had by sudo.
    pub sudo: bool,
    /// Stops everything.
    pub cancel: &'a Cancel,
}

/// Asks all hosts, many at a time. Names are those that the user gave.
pub fn gather(hosts: &[(String, Box<dyn Host>)], asking: &Asking<'_>) -> Fleet {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, Result<HostFacts, DoctorError>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(hosts.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, host)) = hosts.get(at) else { break };
                    let answer = limited(name, asking, |cancel| ask(name, host.as_ref(), asking, cancel));
                    if let Ok(mut answers) = answers.lock() {
                        answers.push((at, answer));
                    }
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_default();
    answers.sort_by_key(|(at, _)| *at);
    let mut fleet = Fleet::default();
    for (at, answer) in answers {
        let host = hosts.get(at).map(|(name, _)| name.clone()).unwrap_or_default();
        match answer {
            Ok(facts) => fleet.hosts.push(HostFacts { name: host, ..facts }),
            Err(DoctorError::Host { why, .. } | DoctorError::Facts { why, .. }) => {
                fleet.missing.push(Missing { host, why })
            }
            Err(error) => fleet.missing.push(Missing { host, why: error.to_string() }),
        }
    }
    fleet
}

/// Does something with one host; when its time is over, the connection is cut.
///
/// # Errors
/// Those of the work, and that the time was over.
pub fn limited<T>(
    name: &str,
    asking: &Asking<'_>,
    work: impl FnOnce(&Cancel) -> Result<T, DoctorError>,
) -> Result<T, DoctorError> {
    let (answer, late) = patience::limited(asking.limit, asking.cancel, work);
    match answer {
        Err(_) if late => {
            let why = format!("did not answer within {} s", asking.limit.as_secs());
            Err(DoctorError::Host { host: name.to_owned(), why })
        }
        answer => answer,
    }
}

/// This program on a host, until it is dropped.
pub struct Placed<'a> {
    /// How the host is called.
    pub name: String,
    /// The host.
    pub host: &'a dyn Host,
    place: String,
    sudo: bool,
}

impl<'a> Placed<'a> {
    /// Sends it.
    ///
    /// # Errors
    /// When the host cannot be reached, or has no place for it.
    pub fn new(
        name: &str,
        host: &'a dyn Host,
        asking: &Asking<'_>,
        cancel: &Cancel,
    ) -> Result<Placed<'a>, DoctorError> {
        let failed = |error: HostError| DoctorError::Host { host: name.to_owned(), why: told(&error) };
        let place = host.succeed("make a directory", &Command::shell(PLACE), cancel).map_err(failed)?;
        let place = String::from_utf8(place).ok().filter(|place| is_ours(place)).ok_or_else(|| DoctorError::Host {
            host: name.to_owned(),
            why: "says a directory that is none".to_owned(),
        })?;
        let placed = Placed { name: name.to_owned(), host, place, sudo: asking.sudo };
        placed.send(asking, cancel)?;
        Ok(placed)
    }

    fn program(&self) -> String {
        format!("{}/kiln", self.place)
    }

    /// Unpacked by the host's gzip; false where it has none.
    fn unpacked(&self, packed: &Arc<[u8]>, cancel: &Cancel) -> bool {
        let program = self.program();
        let command = Command::shell(format!("gzip -dc > {program} && chmod 700 {program}"));
        let stdin = Stdin::Reader(Box::new(std::io::Cursor::new(packed.clone())));
        let (mut out, mut err) = (std::io::sink(), std::io::sink());
        let streams = Streams { stdin, stdout: &mut out, stderr: &mut err };
        self.host.run(&command, streams, cancel).is_ok_and(|exit| exit.success())
    }

    fn send(&self, asking: &Asking<'_>, cancel: &Cancel) -> Result<(), DoctorError> {
        let failed = |why: String| DoctorError::Host { host: self.name.clone(), why };
        let packed = asking.binary.part.as_ref().or(asking.binary.packed.as_ref());
        if packed.is_some_and(|packed| self.unpacked(packed, cancel)) {
            return Ok(());
        }
        let path = &asking.binary.path;
        let local = |error: std::io::Error| failed(format!("cannot read {}: {error}", path.display()));
        let mut file = std::fs::File::open(path).map_err(local)?;
        let length = file.metadata().map_err(local)?.len();
        let source = Source { name: "kiln", reader: &mut file, length };
        let put = Put { mode: Some(0o700), ..Put::default() };
        let path = self.program();
        let sent = self.host.put(source, &RemotePath::from(path.as_str()), &put, cancel);
        sent.map_err(|error| failed(error.to_string()))
    }

    /// Its command line, with root's rights.
    fn command<'b>(&'b self, words: impl IntoIterator<Item = &'b str>) -> Command {
        let program = self.program();
        let mut all: Vec<&str> = vec![&program];
        for word in words {
            all.push(word);
        }
        let command = Command::program(all);
        if self.sudo { command.sudo(Sudo::default()) } else { command }
    }

    /// Who sends and listens there.
    pub fn agent(&self, cancel: &'a Cancel) -> Remote<'a> {
        let sudo = self.sudo.then(Sudo::default);
        Remote { name: self.name.clone(), host: self.host, program: self.program(), sudo, patience: PATIENCE, cancel }
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        remove(self.host, &self.place);
    }
}

/// Runs this program on a host, all of it, and says what it said.
///
/// # Errors
/// When the host cannot be reached. That the program fails is in its output.
pub fn run(name: &str, host: &dyn Host, asking: &Asking<'_>, words: &[&str]) -> Result<Output, DoctorError> {
    let whole = asking.binary.whole();
    let asking = &Asking { binary: &whole, ..*asking };
    limited(name, asking, |cancel| {
        let placed = Placed::new(name, host, asking, cancel)?;
        let output = host.output(&placed.command(words.iter().copied()), cancel);
        output.map_err(|error| DoctorError::Host { host: name.to_owned(), why: told(&error) })
    })
}

fn ask(name: &str, host: &dyn Host, asking: &Asking<'_>, cancel: &Cancel) -> Result<HostFacts, DoctorError> {
    let placed = Placed::new(name, host, asking, cancel)?;
    let command = placed.command(["doctor", "--facts-json"]);
    let before = now();
    let output = host.succeed("read its facts", &command, cancel);
    let after = now();
    let output = output.map_err(|error| DoctorError::Host { host: name.to_owned(), why: error.to_string() })?;
    parse(name, &output, (before, after))
}

/// The failure, and what to do about one that everybody meets.
fn told(error: &HostError) -> String {
    match error {
        HostError::Connect { why: Unreachable::HostKey(HostKeyProblem::Unknown { .. }), .. } => {
            format!("{error}; --accept-new-host-keys takes it, and keeps it in known_hosts")
        }
        _ => error.to_string(),
    }
}

/// Also when the host was given up; it may hang at this as well.
fn remove(host: &dyn Host, place: &str) {
    // That it could not be removed is nothing that findings depend on.
    let remove = Command::program(["rm", "-rf", place]);
    let _ = patience::limited(REMOVAL, &Cancel::new(), |cancel| host.output(&remove, cancel));
}

/// What [`PLACE`] prints: an absolute path that ends with the name that was asked for, without anything that could be
/// something else to `rm`.
fn is_ours(place: &str) -> bool {
    let plain = place.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let last = place.rsplit_once("/kiln-doctor.").map(|(_, last)| last);
    place.starts_with('/')
        && plain
        && !place.contains("..")
        && last.is_some_and(|last| last.len() == 8 && !last.contains('/'))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a host said, between two moments of this machine's clock.
///
/// # Errors
/// When it is nothing that [`facts::gather`] makes.
pub fn parse(name: &str, text: &[u8], (before, after): (i64, i64)) -> Result<HostFacts, DoctorError> {
    let failed = |why: String| DoctorError::Facts { host: name.to_owned(), why };
    let mut facts: HostFacts = serde_json::from_slice(text).map_err(|error| failed(error.to_string()))?;
    if facts.version != VERSION {
        return Err(failed(format!("they are of version {}, this is {VERSION}", facts.version)));
    }
    facts::clamp(&mut facts);
    // Anything it may have been between the two is no difference.
    let clock = facts.system.clock;
    facts.system.ahead = Some(match clock {
        _ if clock < before => clock.saturating_sub(before),
        _ if clock > after => clock.saturating_sub(after),
        _ => 0,
    });
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_removed() {
        assert!(is_ours("/tmp/kiln-doctor.a1B2c3D4"));
        for bad in [
            "",
            "/",
            "/tmp",
            "/tmp/kiln-doctor.",
            "/tmp/kiln-doctor.a1B2c3D4/..",
            "/etc\n/tmp/kiln-doctor.a1B2c3D4",
            "-rf /kiln-doctor.a1B2c3D4",
            "/tmp/kiln-doctor.$(x)1234",
            "/tmp/../kiln-doctor.a1B2c3D4",
        ] {
            assert!(!is_ours(bad), "{bad}");
        }
    }

    #[test]
    fn clocks() {
        let facts = |clock| {
            let mut facts = HostFacts { version: VERSION, ..HostFacts::default() };
            facts.system.clock = clock;
            serde_json::to_vec(&facts).unwrap()
        };
        let ahead = |clock| parse("a", &facts(clock), (1000, 3000)).unwrap().system.ahead.unwrap();
        assert_eq!([ahead(2000), ahead(0), ahead(9000), ahead(i64::MIN)], [0, -1000, 6000, i64::MIN]);
        for bad in [&b""[..], b"{}", b"[]", b"null", b"\xff"] {
            assert!(parse("a", bad, (0, 0)).is_err());
        }
    }
}
