//! The files by which a command finds names: `/etc/resolv.conf` and `/etc/hosts`.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::job::{ExtraHost, OsBytes};

/// Larger than any resolver configuration; the host's file is bounded like every other input.
const MAX_RESOLV_CONF: u64 = 64 * 1024;

/// Where systemd-resolved keeps the servers that its stub on 127.0.0.53 asks.
const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Used when the host names no server that a command in another network namespace could reach.
const PUBLIC_SERVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// The host's resolver configuration in the form a command can use.
///
/// A stub on a loopback address is reachable with [`Network::Host`](crate::Network::Host) only because the network is
/// shared; the servers behind systemd-resolved are preferred, since some images' resolvers cannot talk to the stub.
/// A host without any configuration gives public servers, as other builders do.
#[must_use]
pub fn host_resolv_conf() -> OsBytes {
    pick(read_bounded(Path::new("/etc/resolv.conf")), read_bounded(Path::new(RESOLVED_UPSTREAM)))
}

fn pick(host: Option<Vec<u8>>, upstream: Option<Vec<u8>>) -> OsBytes {
    let usable = |bytes: &Vec<u8>| servers(bytes).next().is_some();
    let stub_only = |bytes: &Vec<u8>| servers(bytes).all(|server| server == b"127.0.0.53");
    match (host, upstream) {
        (Some(host), Some(upstream)) if stub_only(&host) && usable(&upstream) => OsBytes(upstream),
        (Some(host), _) if usable(&host) => OsBytes(host),
        (Some(mut host), _) => {
            if !host.is_empty() && !host.ends_with(b"\n") {
                host.push(b'\n');
            }
            host.extend_from_slice(PUBLIC_SERVERS.as_bytes());
            OsBytes(host)
        }
        (None, Some(upstream)) if usable(&upstream) => OsBytes(upstream),
        (None, _) => PUBLIC_SERVERS.into(),
    }
}

fn servers(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        (words.next() == Some(b"nameserver")).then(|| words.next()).flatten()
    })
}

fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_RESOLV_CONF).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The `/etc/hosts` of a command: localhost in both families, the extra names, and its own host name.
#[must_use]
pub fn hosts_file(hostname: &str, extra: &[ExtraHost]) -> OsBytes {
    let mut text = String::from("127.0.0.1\tlocalhost");
    if !hostname.is_empty() {
        text.push(' ');
        text.push_str(hostname);
    }
    text.push_str("\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for host in extra {
        text.push_str(&format!("{}\t{}\n", host.address, host.name));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_behind_the_stub_are_preferred() {
        let stub = b"# stub\nnameserver 127.0.0.53\noptions edns0\n".to_vec();
        let real = Some(b"nameserver 10.0.0.2\n".to_vec());
        assert_eq!(pick(Some(stub.clone()), real.clone()), "nameserver 10.0.0.2\n".into());
        assert_eq!(pick(Some(stub.clone()), None).0, stub);
        assert_eq!(pick(Some(b"nameserver\t10.1.1.1".to_vec()), real), "nameserver\t10.1.1.1".into());
    }

    #[test]
    fn no_server_at_all_gives_public_ones_and_keeps_the_search_list() {
        assert_eq!(pick(None, None).0, PUBLIC_SERVERS.as_bytes());
        let kept = pick(Some(b"search example.org".to_vec()), None);
        assert!(kept.lossy().starts_with("search example.org\nnameserver "));
    }

    #[test]
    fn hosts_name_localhost_the_host_and_the_extras() {
        let extra = [ExtraHost { name: "db".to_owned(), address: "192.0.2.7".parse().unwrap() }];
        assert_eq!(
            hosts_file("buildkitsandbox", &extra).lossy(),
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.7\tdb\n"
        );
    }
}
