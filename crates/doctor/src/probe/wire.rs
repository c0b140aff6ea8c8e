//! Sending and listening, in the network namespace of the thread.
//!
//! A listener sees packets of IPv4 as they come from a device, before the host's rules (`AF_PACKET` of one protocol):
//! those of a network card, and those that a tunnel unpacked. A sender writes headers itself (`IPPROTO_RAW`), so that its
//! packets take the host's routes and rules as those of a tunnel do, and are never cut into pieces.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
};

use super::packet::{Seen, read, write};
use super::{Answer, Connection, Kind, Mark, Order, Probe};
use crate::facts::within;
use crate::netlink::route::Tables;

/// How often each packet is sent: one may be lost by chance.
const COPIES: usize = 3;
/// The type of Ethernet for IPv4, as `AF_PACKET` wants it: in the order of the network.
const IPV4: u16 = 0x0800u16.to_be();
/// How often a listener looks at the time.
const LOOK: Duration = Duration::from_millis(100);
/// The longest that a host is told to listen or to wait.
const LONGEST: Duration = Duration::from_secs(30);
/// Namespaces that are looked at for a pod.
const NAMESPACES: usize = 5000;

/// Does what it is told. `root` is where namespaces of pods are looked for; `ready` is called once it listens.
///
/// # Errors
/// Why it could not be done: mostly that this needs root.
pub fn obey(order: &Order, root: &Path, ready: &dyn Fn()) -> Result<Answer, String> {
    match order {
        Order::Listen { probe, mark, .. } => listen(probe, mark, takes(order), ready),
        Order::Send { probe, mark } => send(probe, mark),
        Order::Connect { to, from, .. } => Ok(connect(*to, *from, takes(order), root)),
    }
}

/// How long a host listens or waits that is told so.
pub(super) fn takes(order: &Order) -> Duration {
    match order {
        Order::Listen { wait, .. } | Order::Connect { wait, .. } => Duration::from_millis(*wait).min(LONGEST),
        Order::Send { .. } => Duration::ZERO,
    }
}

fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Result<OwnedFd, String> {
    socket_with(family, kind, SocketFlags::CLOEXEC, protocol).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => "probes need root's rights (CAP_NET_RAW)".to_owned(),
        errno => errno.to_string(),
    })
}

fn listen(probe: &Probe, mark: &Mark, wait: Duration, ready: &dyn Fn()) -> Result<Answer, String> {
    let protocol = std::num::NonZeroU32::new(u32::from(IPV4)).map(Protocol::from_raw);
    let fd = socket(AddressFamily::PACKET, SocketType::DGRAM, protocol)?;
    set_socket_timeout(&fd, Timeout::Recv, Some(LOOK)).map_err(|errno| errno.to_string())?;
    // On a busy host there is much beside what is waited for. A kernel that allows less is no failure.
    let _ = set_socket_recv_buffer_size(&fd, 8 << 20);
    ready();
    let (start, sizes) = (Instant::now(), probe.sizes());
    let mut answer = Answer::default();
    let mut buffer = [0u8; 256];
    while start.elapsed() < wait && answer.unpacked.len() < sizes.len() {
        let length = match recv(&fd, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((length, _)) => length,
            Err(Errno::INTR | Errno::AGAIN | Errno::NETDOWN) => continue,
            Err(errno) => return Err(errno.to_string()),
        };
        let Some((size, seen)) = read(buffer.get(..length).unwrap_or_default(), probe, mark) else { continue };
        let list = if seen == Seen::Arrived { &mut answer.arrived } else { &mut answer.unpacked };
        if sizes.contains(&size) && !list.contains(&size) {
            list.push(size);
        }
        if probe.kind == Kind::Plain {
            answer.arrived.clone_from(&answer.unpacked);
        }
    }
    Ok(answer)
}

fn send(probe: &Probe, mark: &Mark) -> Result<Answer, String> {
    let fd = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
    let to = match &probe.kind {
        Kind::Vxlan { hosts, .. } | Kind::Ipip { hosts } => hosts.1,
        Kind::Plain => probe.to,
    };
    let mut answer = Answer::default();
    for copy in 0..COPIES {
        for size in probe.sizes() {
            let sent = sendto(&fd, &write(probe, mark, size), SendFlags::empty(), &SocketAddrV4::new(to, 0));
            if let Err(errno) = sent
                && copy == 0
            {
                answer.refused.push((size, errno.to_string()));
            }
        }
        if copy + 1 < COPIES {
            std::thread::sleep(LOOK / 2);
        }
    }
    Ok(answer)
}

fn connect(to: SocketAddr, from: Option<IpAddr>, wait: Duration, root: &Path) -> Answer {
    let namespace = from.and_then(|ip| namespace(root, ip));
    let pod = namespace.is_some();
    let made = within(namespace.as_deref(), || TcpStream::connect_timeout(&to, wait));
    let connection = match made {
        Ok(Ok(_)) => Connection::Made { pod },
        Ok(Err(error)) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Connection::Refused { pod },
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => Connection::Silent { pod },
            _ => Connection::Failed { why: error.to_string() },
        },
        Err(error) => Connection::Failed { why: error.to_string() },
    };
    Answer { connection: Some(connection), ..Answer::default() }
}

/// The namespace of the pod that has an address: runtimes call them `cni-…`.
pub fn namespace(root: &Path, ip: IpAddr) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root.join("run/netns")).ok()?.flatten();
    let pods = entries.filter(|entry| {
        // A link could lead anywhere; runtimes make files that namespaces are mounted on.
        entry.file_name().to_string_lossy().starts_with("cni-") && entry.file_type().is_ok_and(|kind| kind.is_file())
    });
    let has = |path: &PathBuf| {
        let tables = within(Some(path.as_path()), Tables::read);
        matches!(tables, Ok(Ok(tables)) if tables.owner(ip).is_some())
    };
    pods.take(NAMESPACES).map(|entry| entry.path()).find(has)
}
