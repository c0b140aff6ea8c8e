//! A small HTTP server whose answers a test writes by hand, byte for byte if need be.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET` and the like.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Method and path.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Say {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Instead of the body's own length; `None` with `endless` leaves the header out.
    length: Option<usize>,
    endless: bool,
    /// Reads no more than so many bytes of the request's body, and then closes the connection without an answer.
    hang_up_after: Option<usize>,
    silent: bool,
    /// Sends the body byte by byte, with a pause after each.
    drip: Option<Duration>,
    /// Keeps the connection open after the last byte it sends.
    hold: bool,
    /// Sent as it is instead of anything else, over and over if `endless`.
    raw: Option<Vec<u8>>,
}

impl Say {
    /// An answer without a body.
    pub fn status(status: u16) -> Say {
        Say { status, ..Say::default() }
    }

    /// A body, with 200.
    pub fn ok(body: impl Into<Vec<u8>>) -> Say {
        Say::status(200).body(body)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Say {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Say {
        self.body = body.into();
        self
    }

    /// Announces another length than the body has.
    #[must_use]
    pub fn announcing(mut self, length: usize) -> Say {
        self.length = Some(length);
        self
    }

    /// Repeats the body for ever, without announcing a length.
    #[must_use]
    pub fn endless(mut self) -> Say {
        self.endless = true;
        self
    }

    /// Closes the connection after so many bytes of the request's body.
    pub fn hang_up_after(bytes: usize) -> Say {
        Say { hang_up_after: Some(bytes), ..Say::default() }
    }

    /// Sends the body byte by byte, with a pause after each.
    #[must_use]
    pub fn dripping(mut self, pause: Duration) -> Say {
        self.drip = Some(pause);
        self
    }

    /// Sends what it has and then neither more nor the end.
    #[must_use]
    pub fn holding(mut self) -> Say {
        self.hold = true;
        self
    }

    /// These bytes for an answer.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Say {
        Say { raw: Some(bytes.into()), ..Say::default() }
    }

    /// Never answers.
    pub fn silence() -> Say {
        Say { silent: true, ..Say::default() }
    }

    /// A refusal as registries word it.
    pub fn error(status: u16, code: &str, message: &str) -> Say {
        Say::status(status).body(format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
    }
}

type Script = dyn FnMut(&Seen, usize) -> Say + Send;

/// A running server; it ends with the test's process.
pub struct Server {
    /// `127.0.0.1:PORT`.
    pub host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers each request by a function of the request and of how many came before it.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub fn start(script: impl FnMut(&Seen, usize) -> Say + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let record = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), script, record) = (stream, script.clone(), record.clone()) else { return };
                thread::spawn(move || serve(stream, &script, &record));
            }
        });
        Server { host, seen }
    }

    /// The requests so far, in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and path of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

fn serve(stream: TcpStream, script: &Mutex<Box<Script>>, record: &Mutex<Vec<Seen>>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(mut seen) = read_head(&mut reader) {
        let say = {
            let mut record = record.lock().unwrap();
            let say = (script.lock().unwrap())(&seen, record.len());
            record.push(seen.clone());
            say
        };
        if say.silent {
            thread::sleep(Duration::from_secs(600));
        }
        let length: usize = seen.header("content-length").map_or(0, |l| l.parse().unwrap());
        let wanted = say.hang_up_after.unwrap_or(length).min(length);
        seen.body = vec![0; wanted];
        if reader.read_exact(&mut seen.body).is_err() {
            return;
        }
        let at = record.lock().unwrap().iter().rposition(|s| s.line() == seen.line() && s.body.is_empty());
        if let Some(at) = at {
            record.lock().unwrap()[at].body = seen.body;
        }
        if say.hang_up_after.is_some() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        if !answer(&mut stream, &say, seen.method == "HEAD") {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// The first line and the headers of a request.
fn read_head(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => return Some(Seen { method, path, headers, body: Vec::new() }),
        };
    }
}

/// Writes an answer; false if the connection cannot be used after it.
fn answer(stream: &mut TcpStream, say: &Say, head: bool) -> bool {
    if let Some(raw) = &say.raw {
        while stream.write_all(raw).is_ok() && say.endless {}
        return false;
    }
    let mut text = format!("HTTP/1.1 {} X\r\n", say.status);
    for (name, value) in &say.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let length = say.length.unwrap_or(say.body.len());
    if say.endless {
        text.push_str("Connection: close\r\n");
    } else if !say.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length")) {
        let _ = write!(text, "Content-Length: {length}\r\n");
    }
    text.push_str("\r\n");
    if stream.write_all(text.as_bytes()).is_err() || head {
        return head;
    }
    if say.endless {
        while stream.write_all(&say.body).is_ok() {}
        return false;
    }
    let sent = match say.drip {
        None => stream.write_all(&say.body).is_ok(),
        Some(pause) => say.body.iter().all(|byte| {
            thread::sleep(pause);
            stream.write_all(&[*byte]).is_ok()
        }),
    };
    if say.hold {
        thread::sleep(Duration::from_secs(600));
    }
    sent && length == say.body.len()
}
