//! A node's way to the API servers of several masters: connections to one address of this host are passed on to one of
//! them that answers.
//!
//! Which one is asked first goes round; one that does not answer is asked last for a while. Bytes are passed on as they
//! are: TLS is between kubelet and API server. No parts of others are needed, and no kernel modules.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a server that did not answer is asked last.
const REST: u64 = 10;
/// Connections at a time.
const MOST: usize = 4096;
/// A connection on which nothing moves for so long is closed: the API server keeps watches alive itself.
const IDLE: Duration = Duration::from_secs(3600);

struct Way {
    to: SocketAddr,
    /// Seconds since the start, before which it is asked last.
    rests_until: AtomicU64,
}

/// Passes connections on until the listener fails.
///
/// # Errors
/// When no more connections can be taken.
pub fn balance(listener: &TcpListener, to: &[SocketAddr]) -> io::Result<()> {
    let start = Instant::now();
    let ways: Arc<Vec<Way>> = Arc::new(to.iter().map(|to| Way { to: *to, rests_until: AtomicU64::new(0) }).collect());
    let (turn, open) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                continue;
            }
            // Out of file descriptors: others will end.
            Err(error) if error.raw_os_error() == Some(24) => {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            Err(error) => return Err(error),
        };
        if open.load(Ordering::Relaxed) >= MOST {
            continue;
        }
        let (ways, first, open) = (Arc::clone(&ways), turn.fetch_add(1, Ordering::Relaxed), Arc::clone(&open));
        open.fetch_add(1, Ordering::Relaxed);
        let here = Arc::clone(&open);
        let spawned = std::thread::Builder::new().name("balance".to_owned()).stack_size(64 << 10).spawn(move || {
            // Whoever asked sees a closed connection, and asks again.
            let _ = pass(client, &ways, first, start);
            here.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn pass(client: TcpStream, ways: &[Way], first: usize, start: Instant) -> io::Result<()> {
    let now = start.elapsed().as_secs();
    let mut order: Vec<&Way> = (0..ways.len()).filter_map(|n| ways.get((first + n) % ways.len())).collect();
    order.sort_by_key(|way| way.rests_until.load(Ordering::Relaxed) > now);
    for way in order {
        match TcpStream::connect_timeout(&way.to, CONNECT) {
            Ok(server) => {
                way.rests_until.store(0, Ordering::Relaxed);
                return both(client, server);
            }
            Err(_) => way.rests_until.store(now + REST, Ordering::Relaxed),
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn both(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for side in [&client, &server] {
        side.set_nodelay(true)?;
        side.set_read_timeout(Some(IDLE))?;
    }
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut from_server, &mut to_client);
        // The other direction may wait for a client that only listens.
        let _ = to_client.shutdown(Shutdown::Both);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// A server that says its name to who connects.
    fn server(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut byte = [0];
                let _ = stream.read(&mut byte);
                let _ = stream.write_all(name.as_bytes());
            }
        });
        address
    }

    fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"?").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn servers_take_turns_and_a_dead_one_is_passed_by() {
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let to = [server("a"), dead, server("b")];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        std::thread::spawn(move || balance(&listener, &to));
        let mut said: Vec<String> = (0..6).map(|_| ask(here)).collect();
        said.sort();
        said.dedup();
        assert_eq!(said, ["a", "b"]);
    }
}
