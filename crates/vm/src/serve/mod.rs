//! The server from which a guest fetches its answers: `http_directory` and `http_content`.
//!
//! It gives files and lists of directories, as Packer's does (Go's file server): `index.html` stands for its
//! directory, a directory without a slash at the end is redirected, ranges and `If-Modified-Since` work. It gives
//! nothing that is not below the directory, whatever links there say, and nothing can be changed by it.
//!
//! A guest fetches few files, so there is one thread for each connection, and at most [`CONNECTIONS`].

mod files;
mod request;
mod response;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::VmError;
use crate::guard::lock;
use crate::ports::{Lease, Ports, Range};

use files::Beneath;
use request::Request;

/// Connections at a time; more are closed.
const CONNECTIONS: usize = 64;
/// For a request to come, and for an answer to go.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of all contents together.
const LARGEST_CONTENT: usize = 256 << 20;

/// What is served.
#[derive(Debug, Clone)]
pub enum Source {
    /// The files below a directory.
    Directory(PathBuf),
    /// Contents by their path, which begins with a slash.
    Content(BTreeMap<String, Vec<u8>>),
}

enum Tree {
    Directory(Beneath),
    Content { files: BTreeMap<String, Vec<u8>>, since: SystemTime },
}

/// One line for each request: who asked, the request, the answer.
pub type Log = Box<dyn Fn(&str) + Send + Sync>;

struct Shared {
    tree: Tree,
    log: Option<Log>,
    stopping: AtomicBool,
    open: AtomicUsize,
    streams: Mutex<BTreeMap<usize, TcpStream>>,
}

/// A running server; it ends with this value.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _lease: Lease,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves on a free port of the range. `log` is told of every request.
    ///
    /// # Errors
    /// There is no such directory, a content's path makes no sense, or no port is free.
    pub fn start(
        source: Source,
        ports: &Ports,
        range: Range,
        address: IpAddr,
        log: Option<Log>,
    ) -> Result<Server, VmError> {
        let what = match &source {
            Source::Directory(dir) => dir.display().to_string(),
            Source::Content(_) => "http_content".to_owned(),
        };
        let tree = Tree::of(source)?;
        let (lease, listener) = ports.listen("HTTP", range, address)?;
        let failed = |source| VmError::Serve { what, address: address.to_string(), source };
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            tree,
            log,
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Server { address, shared, thread: Some(thread), _lease: lease })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The listener's thread waits in `accept`; a connection wakes it.
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), Duration::from_secs(5));
        for stream in lock(&self.shared.streams).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let (Some(thread), Ok(_)) = (self.thread.take(), woken) {
            let _ = thread.join();
        }
    }
}

impl Tree {
    fn of(source: Source) -> Result<Tree, VmError> {
        match source {
            Source::Directory(dir) => {
                let opened = Beneath::open(&dir);
                opened.map(Tree::Directory).map_err(|e| VmError::file("open http_directory", &dir)(e.into()))
            }
            Source::Content(files) => {
                if files.values().map(Vec::len).sum::<usize>() > LARGEST_CONTENT {
                    return Err(VmError::option("http_content", "all together have more than 256 MiB"));
                }
                if let Some(bad) = files.keys().find(|path| !request::is_clean(path)) {
                    let why = format!("{bad:?}: a path begins with `/` and has no empty, `.` or `..` parts");
                    return Err(VmError::option("http_content", why));
                }
                Ok(Tree::Content { files, since: SystemTime::now() })
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // No descriptors left, for example: connections will end.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if shared.open.load(Ordering::SeqCst) >= CONNECTIONS {
            continue;
        }
        let Ok(handle) = stream.try_clone() else { continue };
        number += 1;
        lock(&shared.streams).insert(number, handle);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let (serving, id) = (Arc::clone(shared), number);
        let thread = std::thread::Builder::new().name("kiln-http".to_owned()).spawn(move || {
            connection(&stream, &serving);
            lock(&serving.streams).remove(&id);
            serving.open.fetch_sub(1, Ordering::SeqCst);
        });
        if thread.is_err() {
            lock(&shared.streams).remove(&number);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Answers requests until either side has had enough.
fn connection(stream: &TcpStream, shared: &Shared) {
    let peer = stream.peer_addr().map_or_else(|_| "?".to_owned(), |a| a.ip().to_string());
    if stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE))).is_err() {
        return;
    }
    let mut reader = BufReader::new(stream);
    loop {
        let request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(refusal) => {
                tell(shared, &peer, "(bad request)", refusal.status);
                let _ = refusal.answer().send(stream, false, true);
                return;
            }
        };
        let answer = response::answer(&shared.tree, &request);
        tell(shared, &peer, &format!("{} {}", request.method, request.target), answer.status);
        let last = request.last || shared.stopping.load(Ordering::SeqCst);
        if answer.send(stream, request.method == "HEAD", last).is_err() || last {
            return;
        }
    }
}

fn tell(shared: &Shared, peer: &str, what: &str, status: u16) {
    if let Some(log) = &shared.log {
        let what: String = what.chars().filter(|c| !c.is_control()).take(300).collect();
        log(&format!("{peer} {what} {status}"));
    }
}
