//! A wire between kiln and the double of a cloud that counts calls, and does something at one of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends; the cloud never hears of the call.
    Unheard,
    /// The cloud acts, and its answer is lost.
    Unanswered,
    /// Kiln gets this signal while the call is on its way; the cloud acts.
    Signal(Signal),
    /// Kiln gets it when the cloud has acted, before the answer.
    SignalAfter(Signal),
}

/// Shared by all wires of one run.
#[derive(Debug)]
pub struct Plan {
    at: usize,
    fault: Fault,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<Pid>,
    calls: Vec<String>,
    /// Its process has ended: its number may soon be somebody else's.
    ended: bool,
    met: bool,
}

impl Plan {
    /// The fault happens at the call `at`, counted from 0.
    pub fn new(at: usize, fault: Fault) -> Arc<Plan> {
        Arc::new(Plan { at, fault, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Who gets signals.
    pub fn started(&self, child: &std::process::Child) {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.state.lock().unwrap().pid = pid;
        self.changed.notify_all();
    }

    /// Method and path of all calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Does something, such as asking whether the process has ended, while no signal is sent to it. Once it gives a
    /// value, none is ever sent.
    pub fn while_nothing_is_sent<T>(&self, work: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap();
        let value = work();
        state.ended |= value.is_some();
        value
    }

    /// From now on nothing happens; whether the fault did.
    pub fn disarm(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.ended = true;
        state.met
    }

    fn fault_of(&self, line: &str) -> Fault {
        let mut state = self.state.lock().unwrap();
        if state.ended {
            return Fault::None;
        }
        state.calls.push(line.to_owned());
        if state.calls.len() != self.at.wrapping_add(1) {
            return Fault::None;
        }
        state.met = true;
        self.fault
    }

    fn send(&self, signal: Signal) {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| state.pid.is_none()).unwrap();
        if !state.ended {
            let _ = kill_process(state.pid.unwrap(), signal);
        }
    }
}

/// Listens, and passes on to `upstream`, `HOST:PORT`. It ends with the test's process.
pub fn tap(upstream: &str, plan: &Arc<Plan>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (upstream, plan) = (upstream.to_owned(), plan.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), upstream, plan) = (stream, upstream.clone(), plan.clone()) else { return };
            thread::spawn(move || pass(stream, &upstream, &plan));
        }
    });
    address
}

/// One connection, with one of its own to the double; `None` when one of them ended.
fn pass(client: TcpStream, upstream: &str, plan: &Plan) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let server = TcpStream::connect(upstream).ok()?;
    server.set_nodelay(true).ok()?;
    let (mut asks, mut answers) = (BufReader::new(client.try_clone().ok()?), BufReader::new(server.try_clone().ok()?));
    let (mut client, mut server) = (client, server);
    let end = |client: &TcpStream, server: &TcpStream| {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    loop {
        let request = message(&mut asks, true, false)?;
        let line = request.line();
        let fault = plan.fault_of(&line);
        match fault {
            Fault::Unheard => {
                end(&client, &server);
                return None;
            }
            Fault::Signal(signal) => plan.send(signal),
            _ => {}
        }
        server.write_all(&request.bytes).ok()?;
        let answer = message(&mut answers, false, line.starts_with("HEAD "));
        match fault {
            Fault::Unanswered => {
                end(&client, &server);
                return None;
            }
            Fault::SignalAfter(signal) => plan.send(signal),
            _ => {}
        }
        let Some(answer) = answer else {
            end(&client, &server);
            return None;
        };
        client.write_all(&answer.bytes).ok()?;
    }
}

struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Method and path, without what follows a `?`; and the action, which Alibaba's services have in a header.
    fn line(&self) -> String {
        let head = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(16 << 10)]);
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let action = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-acs-action").then(|| value.trim())
        });
        action.map_or_else(|| format!("{method} {path}"), |action| format!("{method} {path} {action}"))
    }
}

/// A request or an answer, whole.
fn message(reader: &mut impl BufRead, is_request: bool, bodiless: bool) -> Option<Message> {
    let mut bytes = Vec::new();
    let mut length = None;
    let mut chunked = false;
    loop {
        let from = bytes.len();
        if reader.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes[from..]).trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
        chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
    }
    if is_request && String::from_utf8_lossy(&bytes).to_ascii_lowercase().contains("expect: 100-continue") {
        panic!("kiln waits for a server that says 100, which this wire does not pass on");
    }
    match (chunked, length) {
        _ if bodiless => {}
        (true, _) => loop {
            let from = bytes.len();
            reader.read_until(b'\n', &mut bytes).ok()?;
            let size = String::from_utf8_lossy(&bytes[from..]).trim().to_owned();
            let size = u64::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            exactly(reader, size + 2, &mut bytes)?;
            if size == 0 {
                break;
            }
        },
        (false, Some(length)) => exactly(reader, length, &mut bytes)?,
        (false, None) if is_request => {}
        // Without a length an answer ends with its connection, or has no body.
        (false, None) => {
            let status = String::from_utf8_lossy(&bytes).split(' ').nth(1).map(str::to_owned);
            if !matches!(status.as_deref(), Some("204" | "304")) {
                reader.read_to_end(&mut bytes).ok()?;
            }
        }
    }
    Some(Message { bytes })
}

fn exactly(reader: &mut impl BufRead, length: u64, bytes: &mut Vec<u8>) -> Option<()> {
    let read = reader.take(length).read_to_end(bytes).ok()?;
    (read as u64 == length).then_some(())
}
