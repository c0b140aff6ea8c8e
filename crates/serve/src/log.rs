//! What happened, a line each: requests and troubles. A thread writes it, so that a terminal that does not read stops
//! nobody; lines that find no room are counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_oci::Mtime;
use serde_json::json;

/// So many lines wait for the writer.
const WAITING: usize = 4096;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// One request, as it is logged. Nothing of headers is in it but the agent, and no query: both may hold secrets.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who asked, as an address.
    pub peer: String,
    /// As whom, if that is known.
    pub user: Option<String>,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The length of the answer's body in bytes, if it is known.
    pub bytes: Option<u64>,
    /// How long it took until the answer began.
    pub took: Duration,
    /// `User-Agent`.
    pub agent: String,
}

/// Takes lines.
#[derive(Debug)]
pub struct Log {
    form: Form,
    access: bool,
    send: SyncSender<String>,
    lost: AtomicU64,
}

impl Log {
    /// Starts the thread that writes to `out`. Without `access`, requests are not logged.
    ///
    /// # Errors
    /// When the machine has no more threads.
    pub fn start(form: Form, access: bool, mut out: Box<dyn Write + Send>) -> std::io::Result<Log> {
        let (send, receive) = sync_channel::<String>(WAITING);
        let write = move || {
            while let Ok(line) = receive.recv() {
                // Nobody can be told that a log cannot be written.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Log { form, access, send, lost: AtomicU64::new(0) })
    }

    /// Logs a request.
    pub fn access(&self, access: &Access) {
        if !self.access {
            return;
        }
        let ms = access.took.as_secs_f64() * 1000.0;
        let line = match self.form {
            Form::Json => json!({
                "time": now(), "kind": "request", "peer": access.peer, "user": access.user,
                "method": access.method, "path": access.path, "status": access.status, "bytes": access.bytes,
                "ms": (ms * 1000.0).round() / 1000.0, "agent": access.agent,
            })
            .to_string(),
            Form::Plain => format!(
                "{} {} {} {} {} {} {ms:.1}ms {} {}",
                now(),
                access.peer,
                access.user.as_deref().map_or_else(|| "-".to_owned(), shown),
                access.method,
                shown(&access.path),
                access.status,
                access.bytes.map_or_else(|| "-".to_owned(), |b| b.to_string()),
                shown(&access.agent),
            ),
        };
        self.line(line);
    }

    /// Logs something that went wrong, or that is good to know.
    pub fn say(&self, text: &str) {
        self.line(match self.form {
            Form::Json => json!({"time": now(), "kind": "message", "text": text}).to_string(),
            Form::Plain => format!("{} {}", now(), text.replace(|c: char| c.is_control(), "\u{fffd}")),
        });
    }

    fn line(&self, mut line: String) {
        line.push('\n');
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line = format!("({lost} lines of this log were lost)\n{line}");
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.send.try_send(line) {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// A word that a stranger chose, as one word without anything that a terminal obeys.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(512).collect();
    if text.is_empty() { "-".to_owned() } else { kiln_oci::name::escape(text.as_bytes()) }
}

fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    kiln_oci::time::rfc3339(Mtime { secs: i64::try_from(seconds).unwrap_or(0), nanos: 0 })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Sink(mpsc::Sender<String>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn strangers_write_no_lines_of_their_own() {
        let (send, receive) = mpsc::channel();
        let log = Log::start(Form::Plain, true, Box::new(Sink(send))).unwrap();
        log.access(&Access {
            peer: "127.0.0.1:1".to_owned(),
            user: Some("a b".to_owned()),
            method: "GET".to_owned(),
            path: "/v2/\n\u{1b}[2J".to_owned(),
            status: 404,
            bytes: None,
            took: Duration::from_millis(3),
            agent: String::new(),
        });
        let line = receive.recv().unwrap();
        assert!(line.ends_with(" 127.0.0.1:1 a\\x20b GET /v2/\\x0a\\x1b[2J 404 3.0ms - -\n"), "{line}");
        log.say("one\ntwo");
        assert!(receive.recv().unwrap().ends_with(" one\u{fffd}two\n"));
    }
}
