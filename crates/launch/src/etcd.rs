//! The etcd of masters: `etcdctl` in its pod.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::error::{LaunchError, Result};
use crate::kubectl::{ADMIN, KUBECTL};
use crate::launch::Member;
use crate::machine::Machine;

/// How long a snapshot may take.
const SNAPSHOT: Duration = Duration::from_secs(1800);
/// What a snapshot is called that carries its time.
pub const DATED: &str = "etcd-$(date -u +%Y%m%dT%H%M%SZ).db";

/// `v6` is whether the host's main address is of IPv6: its etcd then listens at that loopback.
fn etcdctl(kubectl: &str, node: &str, v6: bool) -> String {
    let local = if v6 { "[::1]" } else { "127.0.0.1" };
    let pki = "/etc/kubernetes/pki/etcd";
    format!(
        "{kubectl} -n kube-system exec {} -- etcdctl --endpoints=https://{local}:2379 --cacert={pki}/ca.crt \
         --cert={pki}/server.crt --key={pki}/server.key",
        quote(&format!("etcd-{node}"))
    )
}

/// Saves a snapshot of the etcd of a master into a directory of its host. `name` is a word of shell.
///
/// # Errors
/// When it cannot be saved.
pub fn snapshot(member: &Member, dir: &str, name: &str) -> Result<()> {
    // The pod and the host have the directory of etcd in common.
    let made = "/var/lib/etcd/kiln-snapshot.db";
    let dir = quote(dir);
    let line = format!(
        "umask 077; mkdir -p {dir} && {} snapshot save {made} && mv -f {made} {dir}/{name}",
        etcdctl(ADMIN, &member.node, member.address.is_ipv6())
    );
    member.machine.succeed_with("save etcd", &line, Stdin::Empty, SNAPSHOT).map(drop)
}

/// Removes the member of etcd that has an address, asked of the etcd of a master that stays.
///
/// # Errors
/// When it is the only one, or etcd does not answer.
pub fn remove(machine: &Machine, node: &str, address: &str) -> Result<()> {
    // All masters have one of the same family.
    let etcdctl = etcdctl(KUBECTL, node, address.contains(':'));
    let said = machine.succeed("ask etcd for its members", &format!("{etcdctl} member list"))?;
    let Some(id) = member_of(&said.text(), address).map(str::to_owned) else { return Ok(()) };
    if said.text().lines().filter(|line| member_id(line).is_some()).count() < 2 {
        return Err(LaunchError::Wanted {
            what: format!("{address} has the only member of etcd"),
            hint: "take the whole cluster down with `kiln cluster reset`".to_owned(),
        });
    }
    machine.succeed("remove the member of etcd", &format!("{etcdctl} member remove {id}")).map(drop)
}

/// `8e9e05c52164694d, started, n1, https://10.0.0.1:2380, https://10.0.0.1:2379, false`
fn member_id(line: &str) -> Option<&str> {
    let id = line.split(',').next()?.trim();
    (!id.is_empty() && id.len() <= 16 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// The member with an address.
fn member_of<'t>(list: &'t str, address: &str) -> Option<&'t str> {
    let urls = [format!("https://{address}:2380"), format!("https://[{address}]:2380")];
    list.lines()
        .filter(|line| line.split(',').any(|part| urls.iter().any(|url| part.trim() == url)))
        .find_map(member_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_whole_address() {
        let list = "8e9e05c52164694d, started, n1, https://10.0.0.1:2380, https://10.0.0.1:2379, false\n91bc3c398fb3c146, started, n2, https://10.0.0.11:2380, https://10.0.0.11:2379, false\n";
        assert_eq!(member_of(list, "10.0.0.1"), Some("8e9e05c52164694d"));
        assert_eq!(member_of(list, "10.0.0.11"), Some("91bc3c398fb3c146"));
        assert_eq!(member_of(list, "10.0.0.2"), None);
        assert_eq!(member_of("$(rm), started, n, https://10.0.0.1:2380", "10.0.0.1"), None);
    }
}
