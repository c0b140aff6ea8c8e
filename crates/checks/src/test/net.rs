//! Ports, the SSH server, names.

use crate::read::unit::{self, Enablement};
use crate::read::{cloud, dns, lines};
use crate::system::Result;
use crate::{Finding, Look, Verdict};

/// Ports that something listens on, by the kernel's own tables.
fn listening(look: &Look<'_>) -> Result<Option<Vec<u16>>> {
    const LISTEN: &str = "0A";
    let mut ports = Vec::new();
    let mut seen = false;
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Some(text) = lines::text(look.system, path)? else { continue };
        seen = true;
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, ..] = &words[..] else { continue };
            let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if *state == LISTEN {
                ports.extend(port);
            }
        }
    }
    Ok(seen.then_some(ports))
}

/// Something listens on a port, or nothing does.
pub(super) fn port(look: &Look<'_>, port: u16, wanted: bool) -> Result<Finding> {
    if look.live().is_none() {
        return Ok(Finding::skip("only a running host has ports"));
    }
    let Some(ports) = listening(look)? else {
        return Ok(Finding::unknown("the kernel does not say what listens on which port"));
    };
    Ok(match ports.contains(&port) {
        true => Finding::when(wanted, format!("something listens on port {port}"))
            .hint(format!("see what it is: ss -ltnp 'sport = :{port}'")),
        false => Finding::when(!wanted, format!("nothing listens on port {port}")),
    })
}

/// The SSH server starts at boot and listens on port 22.
pub fn ssh_listens(look: &Look<'_>) -> Result<Finding> {
    if look.live().is_some() {
        return port(look, 22, true);
    }
    let mut starts = None;
    for name in ["sshd.service", "ssh.service", "ssh.socket", "sshd.socket"] {
        if let Enablement::Enabled(link) = unit::enablement(look.system, name)? {
            starts = Some((name, link));
            break;
        }
    }
    if look.command("sshd")?.is_none() {
        return Ok(Finding::fail("there is no SSH server").hint("install openssh-server"));
    }
    let Some((name, link)) = starts else {
        return Ok(Finding::fail("the SSH server does not start at boot").hint("systemctl enable ssh, or sshd"));
    };
    let ports = look.sshd()?.ports();
    Ok(match ports.iter().find(|(port, _)| port == "22") {
        Some(_) => Finding::pass(format!("{name} starts at boot, on port 22")).at(link, "pulls it in"),
        None => {
            let finding = Finding::fail("the SSH server listens on other ports than 22");
            ports.into_iter().fold(finding, |f, (port, place)| f.at(place.unwrap_or_default(), format!("Port {port}")))
        }
    })
}

/// Root may log in with a key.
pub fn root_login(look: &Look<'_>) -> Result<Finding> {
    let config = look.sshd()?;
    if !config.present && look.command("sshd")?.is_none() {
        return Ok(Finding::fail("there is no SSH server").hint("install openssh-server"));
    }
    let root = config.get("permitrootlogin", "prohibit-password");
    let key = config.get("pubkeyauthentication", "yes");
    let say = |place: &Option<String>| place.clone().unwrap_or_else(|| "default".to_owned());
    let allowed = matches!(root.value.as_str(), "yes" | "prohibit-password" | "without-password");
    let finding = match (allowed, key.value.as_str()) {
        (false, _) => Finding::fail(format!("PermitRootLogin is {}", root.value)),
        (true, "yes") => Finding::pass("root may log in with a key"),
        (true, other) => Finding::fail(format!("PubkeyAuthentication is {other}")),
    };
    let finding = finding
        .at(say(&root.place), format!("PermitRootLogin {}", root.value))
        .at(say(&key.place), format!("PubkeyAuthentication {}", key.value));
    match (root.unsure, key.unsure) {
        (Some(place), _) | (_, Some(place)) if finding.verdict == Verdict::Pass => {
            Ok(Finding::unknown("a Match block may say otherwise").at(place, "under a condition"))
        }
        _ => Ok(finding),
    }
}

/// No host keys are in the image: each machine makes its own.
pub fn host_keys(look: &Look<'_>) -> Result<Finding> {
    let names = look.system.list("/etc/ssh")?.unwrap_or_default();
    let keys = names.iter().filter(|n| n.starts_with("ssh_host_") && (n.ends_with("_key") || n.ends_with("_key.pub")));
    let finding = keys.fold(Finding::pass("no host keys are in the image"), |finding, name| {
        let finding = match finding.verdict {
            Verdict::Pass => Finding::fail("host keys are in the image: all machines made from it would share them"),
            _ => finding,
        };
        finding.at(format!("/etc/ssh/{name}"), "is there")
    });
    match (finding.verdict, look.live()) {
        // A host that runs has keys; that it made them itself cannot be seen.
        (Verdict::Fail, Some(_)) => Ok(Finding::skip("a running host has host keys")),
        _ => Ok(finding),
    }
}

/// The cloud's own name servers are asked.
pub fn dns_servers(look: &Look<'_>) -> Result<Finding> {
    let resolv = dns::Resolv::of(look.system)?;
    if !resolv.present {
        return Ok(match resolv.link {
            Some(target) => {
                Finding::pass("name servers come from what runs at boot").at(dns::PATH, format!("→ {target}"))
            }
            None => Finding::pass("there is no resolv.conf: cloud-init or DHCP writes it at boot"),
        });
    }
    if resolv.servers.is_empty() {
        return Ok(Finding::pass("resolv.conf names no servers: cloud-init or DHCP writes them at boot"));
    }
    let kept = resolv.servers.iter().take(dns::MAX_SERVERS).any(|(server, _)| dns::is_of_alibaba(server));
    let finding = match kept {
        true => Finding::pass("the cloud's name servers are kept"),
        false => Finding::fail("none of the first three name servers is the cloud's (100.x.x.136, 100.x.x.138)"),
    };
    Ok(resolv.servers.iter().fold(finding, |f, (server, line)| f.at(lines::place(dns::PATH, *line), server.clone())))
}

/// The resolver's options are those the cloud sets.
pub fn dns_options(look: &Look<'_>) -> Result<Finding> {
    let resolv = dns::Resolv::of(look.system)?;
    if !resolv.present || resolv.servers.is_empty() {
        return Ok(Finding::pass("resolv.conf is written at boot"));
    }
    let wanted = ["timeout:2", "attempts:3", "rotate", "single-request-reopen"];
    let missing: Vec<&str> = wanted.into_iter().filter(|o| !resolv.options.iter().any(|other| other == o)).collect();
    Ok(match missing.is_empty() {
        true => Finding::pass("all options are there"),
        false => Finding::fail(format!("options are missing: {}", missing.join(" "))),
    })
}

/// A `resolv.conf` that somebody wrote stays as it is.
pub fn dns_lock(look: &Look<'_>) -> Result<Finding> {
    let resolv = dns::Resolv::of(look.system)?;
    if !resolv.present || resolv.link.is_some() || resolv.servers.is_empty() {
        return Ok(Finding::pass("resolv.conf is written at boot, and nothing of it must stay"));
    }
    if look.system.immutable(dns::PATH)? == Some(true) {
        return Ok(Finding::pass("resolv.conf is locked (chattr +i)"));
    }
    if let Some((value, place)) = cloud::top(look.system, "manage_resolv_conf")?
        && value == "false"
    {
        return Ok(Finding::pass("cloud-init leaves resolv.conf alone").at(place, "manage_resolv_conf: false"));
    }
    Ok(match look.system.immutable(dns::PATH)? {
        Some(_) => Finding::fail("resolv.conf has servers of its own, and cloud-init may write it anew at boot"),
        None => Finding::unknown("whether resolv.conf is locked cannot be seen here: such a system has no such flag"),
    })
}
