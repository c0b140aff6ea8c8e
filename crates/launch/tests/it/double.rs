//! Hosts that are directories of this machine: their shells are real, and so are their agents, each at a loopback address
//! of its own. Only the network between them can be made bad.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kiln_host::copy::{Put, RemotePath, Source};
use kiln_host::{Cancel, Command, Exit, Fed, Host, HostError, Stdin, Streams};
use kiln_launch::agent::{peer, receive};
use kiln_store::Store;
use serde_json::Value;

/// How a host is other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    No,
    /// Others do not reach it.
    Walled,
    /// Connections to it break after so many bytes, the first time.
    Breaks(u64),
    /// It sends so many bytes a second.
    Slow(u64),
}

/// A host.
pub struct Double {
    name: String,
    address: String,
    dir: PathBuf,
    odd: Odd,
    /// Bytes that came in streams of the launcher.
    pub received: AtomicU64,
    /// Lines that were run.
    pub lines: Mutex<Vec<String>>,
    /// Agents that run.
    pub agents: AtomicUsize,
    /// Agents cannot be started.
    pub no_agent: AtomicBool,
}

impl Double {
    pub fn new(name: &str, address: &str, dir: &Path, odd: Odd) -> Double {
        std::fs::create_dir_all(dir).unwrap();
        Double {
            name: name.to_owned(),
            address: address.to_owned(),
            dir: dir.to_owned(),
            odd,
            received: AtomicU64::new(0),
            lines: Mutex::default(),
            agents: AtomicUsize::new(0),
            no_agent: AtomicBool::new(false),
        }
    }

    pub fn store(&self) -> Store {
        Store::open(self.dir.join("store")).unwrap()
    }

    /// What a shell here says.
    fn shell(&self, line: &str, streams: Streams<'_>) -> Exit {
        let line = line.replace("/var/lib/kiln", self.dir.to_str().unwrap());
        let mut shell = std::process::Command::new("sh");
        let shell = shell.arg("-c").arg(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut bytes = Vec::new();
        reader(streams.stdin).read_to_end(&mut bytes).unwrap();
        let _ = child.stdin.take().unwrap().write_all(&bytes);
        let output = child.wait_with_output().unwrap();
        streams.stdout.write_all(&output.stdout).unwrap();
        streams.stderr.write_all(&output.stderr).unwrap();
        Exit::Code(output.status.code().unwrap_or(1) as u32)
    }

    fn peer(&self, input: Stdin, output: &mut (dyn Write + Send)) -> Result<(), String> {
        if self.no_agent.load(Ordering::Acquire) {
            return Err("exec format error".to_owned());
        }
        self.agents.fetch_add(1, Ordering::AcqRel);
        let (mut input, mut hello) = (BufReader::new(reader(input)), Vec::new());
        if let Odd::Slow(rate) = self.odd {
            input.read_until(b'\n', &mut hello).unwrap();
            let mut order: Value = serde_json::from_slice(&hello).unwrap();
            order["hello"]["rate"] = rate.into();
            hello = format!("{order}\n").into_bytes();
        }
        let input = Box::new(io::Cursor::new(hello).chain(input));
        let mut output = Ready { double: self, to: output, first: true };
        let done = peer::take_part(&self.store(), &self.dir.join("bin/kiln"), input, &mut output);
        self.agents.fetch_sub(1, Ordering::AcqRel);
        done.map_err(|error| error.to_string())
    }
}

impl Host for Double {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, command: &Command, streams: Streams<'_>, _cancel: &Cancel) -> Result<Exit, HostError> {
        let line = command.line().to_owned();
        self.lines.lock().unwrap().push(line.clone());
        let outcome = if line.ends_with("agent peer") {
            self.peer(streams.stdin, streams.stdout)
        } else if line.ends_with("agent have") {
            let have = receive::have(&self.store(), BufReader::new(reader(streams.stdin)), streams.stdout);
            have.map_err(|error| error.to_string())
        } else if line.ends_with("agent receive") {
            let counted = Counted { from: reader(streams.stdin), bytes: &self.received };
            receive::receive(&self.store(), BufReader::new(counted)).map_err(|error| error.to_string())
        } else if line.contains("cluster agent") {
            Ok(())
        } else {
            return Ok(self.shell(&line, streams));
        };
        Ok(match outcome {
            Ok(()) => Exit::Code(0),
            Err(why) => {
                streams.stderr.write_all(why.as_bytes()).unwrap();
                Exit::Code(1)
            }
        })
    }

    fn put(&self, _: Source<'_>, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch writes by commands")
    }

    fn get(&self, _: &RemotePath, _: &mut (dyn Write + Send), _: &Cancel) -> Result<u32, HostError> {
        unreachable!("a launch reads by commands")
    }

    fn put_directory(&self, _: &Path, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch writes by commands")
    }

    fn get_directory(&self, _: &RemotePath, _: &Path, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch reads by commands")
    }
}

fn reader(stdin: Stdin) -> Box<dyn Read + Send> {
    match stdin {
        Stdin::Empty => Box::new(io::empty()),
        Stdin::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
        Stdin::Reader(reader) => reader,
        Stdin::Fed(fed) => Box::new(Pieces { fed, open: Vec::new(), at: 0 }),
    }
}

/// What is fed, as it comes.
struct Pieces {
    fed: Fed,
    open: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.open.len() {
            match self.fed.wait() {
                Some(piece) => (self.open, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.open.len() - self.at);
        into[..count].copy_from_slice(&self.open[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

struct Counted<'a> {
    from: Box<dyn Read + Send>,
    bytes: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.bytes.fetch_add(count as u64, Ordering::AcqRel);
        Ok(count)
    }
}

/// The agent's lines, of which the first names another port where something is in between.
struct Ready<'a> {
    double: &'a Double,
    to: &'a mut (dyn Write + Send),
    first: bool,
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::take(&mut self.first) {
            return self.to.write(bytes);
        }
        let mut said: Value = serde_json::from_slice(bytes)?;
        let port = u16::try_from(said["ready"]["port"].as_u64().unwrap()).unwrap();
        let between = TcpListener::bind((self.double.address.as_str(), 0))?;
        match self.double.odd {
            // Nobody listens there once it is dropped.
            Odd::Walled => said["ready"]["port"] = between.local_addr()?.port().into(),
            Odd::Breaks(after) => {
                said["ready"]["port"] = between.local_addr()?.port().into();
                let address = self.double.address.clone();
                std::thread::spawn(move || breaking(&between, &address, port, after));
            }
            _ => {}
        }
        self.to.write_all(&[said.to_string().as_bytes(), b"\n"].concat())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Passes connections on; each of the first few is cut after so many bytes to who asks.
fn breaking(listener: &TcpListener, address: &str, port: u16, after: u64) {
    for client in listener.incoming().take(100) {
        let (Ok(client), Ok(server)) = (client, TcpStream::connect((address, port))) else { return };
        let (mut asks, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = io::copy(&mut asks, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        std::thread::spawn(move || {
            let mut client = client;
            let _ = io::copy(&mut server.take(after), &mut client);
            let _ = client.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// Waits for something that has to happen.
pub fn wait(what: &str, mut happens: impl FnMut() -> bool) {
    for _ in 0..600 {
        if happens() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} does not happen");
}
