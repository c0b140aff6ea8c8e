//! qemu's control socket: JSON lines, one answer for each command, and events in between.
//!
//! Kiln listens and qemu connects, so there is no moment at which the socket is not there yet.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::VmError;
use crate::guard::lock;

/// The longest line that is read from qemu.
const LONGEST: u64 = 16 << 20;
/// Events nobody asked for are forgotten beyond this number.
const KEPT_EVENTS: usize = 256;
const ANSWER: Duration = Duration::from_secs(60);
/// Snapshots write the guest's memory.
const SNAPSHOT: Duration = Duration::from_secs(600);

/// Something qemu told without being asked, such as `SHUTDOWN`, `RESET`, `GUEST_PANICKED`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What belongs to it.
    pub data: Value,
}

#[derive(Default)]
struct Inbox {
    answers: HashMap<u64, Result<Value, String>>,
    events: VecDeque<Event>,
    greeted: bool,
    closed: Option<String>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    next: AtomicU64,
    resets: AtomicU64,
}

/// A handle on the socket; clones are the same connection.
#[derive(Clone)]
pub struct Qmp {
    shared: Arc<Shared>,
    writer: Arc<Mutex<UnixStream>>,
}

impl std::fmt::Debug for Qmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qmp").finish_non_exhaustive()
    }
}

impl Qmp {
    /// The protocol over a socket that qemu has connected to: waits for its greeting and agrees to it.
    ///
    /// # Errors
    /// What comes is not that protocol.
    pub fn over(stream: UnixStream) -> Result<Qmp, VmError> {
        let unusable = |e: std::io::Error| VmError::Control { why: e.to_string() };
        let reader = stream.try_clone().map_err(unusable)?;
        stream.set_write_timeout(Some(ANSWER)).map_err(unusable)?;
        let shared = Arc::new(Shared::default());
        let inbox = Arc::clone(&shared);
        std::thread::spawn(move || {
            let why = read(reader, &inbox);
            lock(&inbox.inbox).closed = Some(why);
            inbox.changed.notify_all();
        });
        let qmp = Qmp { shared, writer: Arc::new(Mutex::new(stream)) };
        qmp.until(ANSWER, "its greeting", |inbox| inbox.greeted.then_some(()))?;
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returns. `arguments` is an object, or null for none.
    ///
    /// # Errors
    /// qemu refuses it, does not answer within a minute, or is gone.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value, VmError> {
        self.execute_within(command, arguments, ANSWER)
    }

    fn execute_within(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, VmError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string();
        line.push('\n');
        lock(&self.writer)
            .write_all(line.as_bytes())
            .map_err(|e| VmError::Control { why: format!("`{command}` cannot be sent: {e}") })?;
        let answer = self.until(limit, &format!("an answer to `{command}`"), |inbox| inbox.answers.remove(&id))?;
        answer.map_err(|why| VmError::Refused { command: command.to_owned(), why })
    }

    fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut ready: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<T, VmError> {
        let until = Instant::now() + limit;
        let mut inbox = lock(&self.shared.inbox);
        loop {
            if let Some(found) = ready(&mut inbox) {
                return Ok(found);
            }
            if let Some(why) = &inbox.closed {
                return Err(VmError::Control { why: format!("{why}, while Kiln waited for {what}") });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(VmError::Late { what: format!("qemu: {what}"), limit, console: Vec::new() });
            }
            inbox = self.shared.changed.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for one of these events, and takes it. Events that came earlier and were not taken count.
    ///
    /// # Errors
    /// None comes in time, or qemu is gone.
    pub fn event(&self, names: &[&str], limit: Duration) -> Result<Event, VmError> {
        self.until(limit, &names.join(" or "), |inbox| {
            let at = inbox.events.iter().position(|e| names.contains(&e.name.as_str()))?;
            inbox.events.remove(at)
        })
    }

    /// How often the machine has begun anew since it was started: by its own reboot, or because somebody reset it.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::Relaxed)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn powerdown(&self) -> Result<(), VmError> {
        self.execute("system_powerdown", Value::Null).map(drop)
    }

    /// Ends qemu, as if the plug were pulled; what the guest has written is on the disk files.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn quit(&self) -> Result<(), VmError> {
        match self.execute("quit", Value::Null) {
            // It may be gone before the answer is read.
            Ok(_) | Err(VmError::Control { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// What the machine does: "running", "paused", "internal-error", "guest-panicked", "shutdown", …
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn status(&self) -> Result<String, VmError> {
        let status = self.execute("query-status", Value::Null)?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes what the screen shows to a file, as PNG if the file's name says so and qemu can, else as PPM.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn screendump(&self, file: &Path) -> Result<(), VmError> {
        let mut arguments = json!({ "filename": file.to_string_lossy() });
        if file.extension().is_some_and(|e| e == "png") {
            arguments["format"] = json!("png");
        }
        self.execute("screendump", arguments).map(drop)
    }

    /// Keeps the machine's whole state under a name, in its qcow2 disk.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; all writable disks must be qcow2.
    pub fn save(&self, name: &str) -> Result<(), VmError> {
        self.monitor("savevm", name)
    }

    /// Goes back to a state that [`Qmp::save`] kept.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; there is no such state.
    pub fn load(&self, name: &str) -> Result<(), VmError> {
        self.monitor("loadvm", name)
    }

    /// A snapshot command of the human monitor: those of the protocol want node names, which templates may not give.
    fn monitor(&self, verb: &str, name: &str) -> Result<(), VmError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 128 || name.starts_with(['-', '.']) || !name.chars().all(good) {
            return Err(VmError::option("snapshot name", format!("{name:?}: letters, digits, `-`, `_` and `.` only")));
        }
        let command = format!("{verb} {name}");
        let said = self.execute_within("human-monitor-command", json!({ "command-line": command }), SNAPSHOT)?;
        match said.as_str().map(str::trim) {
            None | Some("") => Ok(()),
            Some(why) => Err(VmError::Refused { command, why: why.to_owned() }),
        }
    }

    /// Sets the password that the screen's server asks for.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn screen_password(&self, password: &str) -> Result<(), VmError> {
        self.execute("set_password", json!({ "protocol": "vnc", "password": password, "connected": "keep" })).map(drop)
    }

    /// Presses keys down, in this order, or lifts them.
    pub(crate) fn keys(&self, codes: &[&str], down: bool) -> Result<(), VmError> {
        let events: Vec<Value> = codes
            .iter()
            .map(|code| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": code } } }))
            .collect();
        self.execute("input-send-event", json!({ "events": events })).map(drop)
    }
}

/// Reads until the end, and says why it ended.
fn read(stream: UnixStream, shared: &Shared) -> String {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match stream.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => return "qemu closed the connection".to_owned(),
            Err(e) => return format!("the connection broke: {e}"),
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 >= LONGEST => {
                return "qemu sent a line of more than 16 MiB".to_owned();
            }
            Ok(_) => {}
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            return format!("what came is not JSON: {:?}", String::from_utf8_lossy(&line[..line.len().min(80)]));
        };
        if message["event"] == "RESET" {
            shared.resets.fetch_add(1, Ordering::Relaxed);
        }
        sort(message, &mut lock(&shared.inbox));
        shared.changed.notify_all();
    }
}

fn sort(mut message: Value, inbox: &mut Inbox) {
    if message.get("QMP").is_some() {
        inbox.greeted = true;
    } else if let Some(name) = message["event"].as_str().map(str::to_owned) {
        if inbox.events.len() == KEPT_EVENTS {
            inbox.events.pop_front();
        }
        inbox.events.push_back(Event { name, data: message["data"].take() });
    } else if let Some(id) = message["id"].as_u64() {
        let answer = match message.get("error") {
            Some(error) => Err(error["desc"].as_str().unwrap_or("no reason given").to_owned()),
            None => Ok(message["return"].take()),
        };
        inbox.answers.insert(id, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

    /// A qemu that answers each command by a function of it.
    fn fake(mut answer: impl FnMut(&Value) -> Vec<String> + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, "{GREETING}").unwrap();
            for line in BufReader::new(theirs).lines() {
                let Ok(line) = line else { return };
                for reply in answer(&serde_json::from_str(&line).unwrap()) {
                    if writeln!(writer, "{reply}").is_err() {
                        return;
                    }
                }
            }
        });
        ours
    }

    fn fine(request: &Value, value: Value) -> String {
        json!({ "return": value, "id": request["id"] }).to_string()
    }

    #[test]
    fn answers_and_events_are_sorted() {
        let qmp = Qmp::over(fake(|request| match request["execute"].as_str() {
            Some("query-status") => {
                vec![
                    r#"{"event": "RESET", "data": {"guest": true}}"#.into(),
                    fine(request, json!({"status": "running"})),
                ]
            }
            Some("bad") => vec![json!({ "error": { "desc": "no such thing" }, "id": request["id"] }).to_string()],
            _ => vec![fine(request, json!({}))],
        }))
        .unwrap();
        assert_eq!(qmp.resets(), 0);
        assert_eq!(qmp.status().unwrap(), "running");
        assert_eq!(qmp.resets(), 1);
        assert_eq!(qmp.event(&["SHUTDOWN", "RESET"], ANSWER).unwrap().data, json!({ "guest": true }));
        assert_eq!(qmp.execute("bad", Value::Null).unwrap_err().to_string(), "qemu refused `bad`: no such thing");
        let late = qmp.event(&["RESET"], Duration::ZERO).unwrap_err().to_string();
        assert_eq!(late, "qemu: RESET did not happen within 0 s");
    }

    #[test]
    fn names_of_snapshots_cannot_be_commands() {
        let qmp = Qmp::over(fake(|request| vec![fine(request, json!("Error: no disk\r\n"))])).unwrap();
        assert_eq!(qmp.save("s1").unwrap_err().to_string(), "qemu refused `savevm s1`: Error: no disk");
        for bad in ["", "a b", "x;quit", "-f", &"x".repeat(200)] {
            assert!(matches!(qmp.load(bad), Err(VmError::Option { .. })), "{bad}");
        }
    }

    #[test]
    fn broken_peers_are_errors_not_waits() {
        for (sent, said) in [("\n\nnot json\n", "is not JSON"), ("", "qemu closed the connection")] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(sent.as_bytes()).unwrap();
            drop(theirs);
            let error = Qmp::over(ours).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let qmp = Qmp::over(fake(|request| vec![fine(request, json!({})), "[1, 2".into()])).unwrap();
        let error = qmp.event(&["NEVER"], ANSWER).unwrap_err().to_string();
        assert!(error.contains("is not JSON") && error.contains("NEVER"), "{error}");
        qmp.quit().unwrap();
    }
}
