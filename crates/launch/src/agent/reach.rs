//! Whether ports of hosts can be reached from others, before anything of a cluster listens there.
//!
//! ```text
//! listen: takes ports that are free for a while, and writes a report: "busy tcp 6443", "listening", "heard 8472 TOKEN"
//! reach:  connects to ports of others, sends its token to those of UDP, and says what was lost: "lost tcp 10.0.0.2 6443 why"
//! ```
//! A listener ends when its report is removed, or after two minutes. It answers nothing, and keeps no byte but tokens.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{LaunchError, Result};

/// How long a listener listens at most.
pub const LISTEN: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How often a listener looks.
const LOOK: Duration = Duration::from_millis(20);
/// What a packet begins with.
const MARK: &[u8] = b"kiln reach ";
/// How often each packet is sent: one may be lost by chance.
const COPIES: usize = 4;
/// Tokens that a listener keeps, and ports that a host is asked to connect to.
const MOST: usize = 20_000;
/// Connections at one time.
const AT_ONCE: usize = 32;

/// Listens at ports of an address.
///
/// # Errors
/// When the report cannot be written. A port that cannot be taken is in the report.
pub fn listen(at: IpAddr, tcp: &[u16], udp: &[u16], report: &Path, limit: Duration) -> Result<()> {
    let failed =
        |error: io::Error| LaunchError::File { what: "write", path: report.to_owned(), why: error.to_string() };
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(report).map_err(failed)?;
    let (mut streams, mut packets, mut said) = (Vec::new(), Vec::new(), String::new());
    let mut refused = |proto: &str, port: u16, error: &io::Error| {
        let word = if error.kind() == io::ErrorKind::AddrInUse { "busy" } else { "cannot" };
        said.push_str(&format!("{word} {proto} {port}\n"));
    };
    for port in tcp {
        match TcpListener::bind((at, *port)).and_then(|l| l.set_nonblocking(true).map(|()| l)) {
            Ok(listener) => streams.push(listener),
            Err(error) => refused("tcp", *port, &error),
        }
    }
    for port in udp {
        match UdpSocket::bind((at, *port)).and_then(|s| s.set_nonblocking(true).map(|()| s)) {
            Ok(socket) => packets.push((*port, socket)),
            Err(error) => refused("udp", *port, &error),
        }
    }
    said.push_str("listening\n");
    out.write_all(said.as_bytes()).map_err(failed)?;
    let (end, mut heard) = (Instant::now() + limit, BTreeSet::new());
    let mut buffer = [0; 128];
    while Instant::now() < end && report.exists() {
        for listener in &streams {
            while listener.accept().is_ok() {}
        }
        for (port, socket) in &packets {
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                let token = buffer.get(..length).and_then(token);
                if let Some(token) = token.filter(|token| heard.len() < MOST && heard.insert((*port, token.clone()))) {
                    out.write_all(format!("heard {port} {token}\n").as_bytes()).map_err(failed)?;
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    // Its report is whole, or nobody wants it any more.
    Ok(())
}

/// The token of a packet.
fn token(packet: &[u8]) -> Option<String> {
    let token = packet.strip_prefix(MARK)?;
    let good = (8..=64).contains(&token.len()) && token.iter().all(u8::is_ascii_hexdigit);
    good.then(|| String::from_utf8_lossy(token).into_owned())
}

/// A port of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its address.
    pub to: SocketAddr,
    /// Whether it is one of UDP.
    pub udp: bool,
}

impl Port {
    /// As it is written in orders.
    pub fn line(&self) -> String {
        format!("{} {} {}\n", if self.udp { "udp" } else { "tcp" }, self.to.ip(), self.to.port())
    }

    fn parse(line: &str) -> Option<Port> {
        let mut words = line.split(' ');
        let udp = match words.next()? {
            "tcp" => false,
            "udp" => true,
            _ => return None,
        };
        let to = SocketAddr::new(words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Port { to, udp })
    }
}

/// Connects to ports, or sends a token there; says which could not be reached, and `done`. The first line of the order is
/// the token.
///
/// # Errors
/// When the order makes no sense.
pub fn reach(order: impl BufRead, mut out: impl Write) -> Result<()> {
    let bad = |why: String| LaunchError::File { what: "read", path: "the standard input".into(), why };
    let mut lines = order.lines();
    let token = lines.next().transpose().map_err(|error| bad(error.to_string()))?.unwrap_or_default();
    let mut ports = Vec::new();
    for line in lines.take(MOST + 1) {
        let line = line.map_err(|error| bad(error.to_string()))?;
        ports.push(Port::parse(&line).ok_or_else(|| bad("it is no list of ports".to_owned()))?);
    }
    if ports.len() > MOST || self::token(&[MARK, token.as_bytes()].concat()).is_none() {
        return Err(bad("it is no list of ports".to_owned()));
    }
    let lost = crate::run::each(&ports, AT_ONCE, |port| match port.udp {
        true => send(port.to, &token),
        false => TcpStream::connect_timeout(&port.to, CONNECT).map(drop),
    });
    let mut text = String::new();
    for (port, lost) in ports.iter().zip(lost) {
        if let Err(error) = lost {
            let why = match error.kind() {
                io::ErrorKind::TimedOut => format!("no answer in {} s", CONNECT.as_secs()),
                _ => error.to_string(),
            };
            text.push_str(&format!("lost {} {why}\n", port.line().trim_end()));
        }
    }
    text.push_str("done\n");
    let failed = |error: io::Error| LaunchError::File {
        what: "write",
        path: "the standard output".into(),
        why: error.to_string(),
    };
    out.write_all(text.as_bytes()).map_err(failed)
}

fn send(to: SocketAddr, token: &str) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    let packet = [MARK, token.as_bytes()].concat();
    for copy in 0..COPIES {
        if copy > 0 {
            std::thread::sleep(LOOK * 2);
        }
        socket.send_to(&packet, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    /// Ports that nobody has, each another.
    fn free() -> [u16; 3] {
        let all = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        all.each_ref().map(|listener| listener.local_addr().unwrap().port())
    }

    #[test]
    fn ports_that_listen_are_reached_and_others_are_lost() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report");
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let [tcp, udp, closed] = free();
        let taken = busy.local_addr().unwrap().port();
        let here: IpAddr = [127, 0, 0, 1].into();
        let text = std::thread::scope(|scope| {
            let listener = scope.spawn(|| listen(here, &[tcp, taken], &[udp], &report, Duration::from_secs(60)));
            let read = || std::fs::read_to_string(&report).unwrap_or_default();
            let wait = |what: &str| {
                while !read().contains(what) {
                    std::thread::sleep(LOOK)
                }
            };
            wait("listening\n");
            let order = format!(
                "{TOKEN}\ntcp 127.0.0.1 {tcp}\ntcp 127.0.0.1 {taken}\nudp 127.0.0.1 {udp}\ntcp 127.0.0.1 {closed}\n"
            );
            let mut said = Vec::new();
            reach(order.as_bytes(), &mut said).unwrap();
            let said = String::from_utf8(said).unwrap();
            assert!(said.starts_with(&format!("lost tcp 127.0.0.1 {closed} ")) && said.ends_with("\ndone\n"), "{said}");
            assert_eq!(said.lines().count(), 2, "{said}");
            wait("heard");
            let text = read();
            std::fs::remove_file(&report).unwrap();
            listener.join().unwrap().unwrap();
            text
        });
        assert_eq!(text, format!("busy tcp {taken}\nlistening\nheard {udp} {TOKEN}\n"));
    }

    #[test]
    fn what_is_no_order_or_no_token_is_nothing() {
        for bad in [
            "",
            "x\n",
            "zz\ntcp 127.0.0.1 1\n",
            &format!("{TOKEN}\nsctp 127.0.0.1 1\n"),
            &format!("{TOKEN}\ntcp host 1\n"),
            &format!("{TOKEN}\ntcp 127.0.0.1 1 x\n"),
        ] {
            assert!(reach(bad.as_bytes(), Vec::new()).is_err(), "{bad}");
        }
        for bad in [&b""[..], b"kiln reach ", b"kiln reach 0011", b"kiln reach 00112233\n", b"hello"] {
            assert_eq!(token(bad), None);
        }
    }
}
