//! The words that a guest is given: the application's arguments, and around them what its kernel must know of this machine.
//!
//! | kind | words |
//! |---|---|
//! | Unikraft | `netdev.ip=ADDRESS/24:GATEWAY:DNS vfs.fstab=[ "initrd0:/:extract::ramfs=1:" ] -- ARGUMENTS` |
//! | Solo5 | `--ipv4=ADDRESS/24 --ipv4-gateway=GATEWAY ARGUMENTS`, if it wants a card |
//! | Rumprun | JSON: `cmdline`, `net` |
//! | Hermit | `ip=ADDRESS/24 gateway=GATEWAY -- ARGUMENTS` |
//! | Linux | the arguments as they are; when they begin with a path, that is the first process |
//! | others | the arguments as they are |

use serde_json::json;

use crate::Kind;
use crate::error::{Result, UnikernelError};
use crate::parcel::is_line;
use crate::solo5::{DeviceKind, Solo5};

/// What a guest is told of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Its address.
    pub address: &'static str,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// Who knows the way out.
    pub gateway: &'static str,
    /// Who knows names.
    pub names: &'static str,
}

/// qemu's own network.
pub const QEMU: Net = Net { address: "10.0.2.15", prefix: 24, gateway: "10.0.2.2", names: "10.0.2.3" };

/// What the words depend on.
#[derive(Debug, Clone)]
pub struct Guest<'a> {
    /// Which kernel.
    pub kind: &'a Kind,
    /// Of which version.
    pub version: Option<&'a str>,
    /// What it says to Solo5's tenders.
    pub solo5: Option<&'a Solo5>,
    /// Its network, if it has one that is known.
    pub net: Option<&'a Net>,
    /// Whether it is given files.
    pub initrd: bool,
}

/// The whole command line.
///
/// # Errors
/// When the arguments cannot be words of one.
pub fn compose(guest: &Guest<'_>, arguments: &str) -> Result<String> {
    let arguments = arguments.trim();
    is_line(arguments).map_err(UnikernelError::Line)?;
    Ok(match guest.kind {
        Kind::Unikraft => unikraft(guest, arguments),
        Kind::Solo5 => solo5(guest, arguments),
        Kind::Rumprun => rumprun(guest, arguments),
        Kind::Hermit => hermit(guest, arguments),
        Kind::Linux => linux(guest, arguments),
        Kind::Osv | Kind::MiniOs | Kind::Plain | Kind::Other(_) => arguments.to_owned(),
    })
}

fn joined(words: Vec<String>) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// From this version on it has the names of parameters that are used here; before, others.
const UNIKRAFT_RENAMED: [u64; 3] = [0, 16, 1];

fn unikraft(guest: &Guest<'_>, arguments: &str) -> String {
    // Somebody who writes the separator has written all of it.
    if arguments.split_whitespace().any(|word| word == "--") {
        return arguments.to_owned();
    }
    let old = guest.version.and_then(numbers).is_some_and(|version| version < UNIKRAFT_RENAMED);
    let mut words = vec!["unikraft".to_owned()];
    if let Some(net) = guest.net {
        words.push(match old {
            true => format!(
                "netdev.ipv4_addr={} netdev.ipv4_gw_addr={} netdev.ipv4_subnet_mask={}",
                net.address,
                net.gateway,
                mask(net.prefix)
            ),
            false => format!("netdev.ip={}/{}:{}:{}", net.address, net.prefix, net.gateway, net.names),
        });
    }
    if guest.initrd {
        words.push(match old {
            true => "vfs.rootfs=initrd".to_owned(),
            false => "vfs.fstab=[ \"initrd0:/:extract::ramfs=1:\" ]".to_owned(),
        });
    }
    words.extend(["--".to_owned(), arguments.to_owned()]);
    joined(words)
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let version = version.trim_start_matches('v');
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u64>().ok());
    Some([parts.next()??, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)])
}

fn mask(prefix: u8) -> String {
    let bits = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
    std::net::Ipv4Addr::from(bits).to_string()
}

fn solo5(guest: &Guest<'_>, arguments: &str) -> String {
    let cards: Vec<&str> = guest.solo5.iter().flat_map(|s| s.named(DeviceKind::Net)).collect();
    let (Some(net), Some(card)) = (guest.net, cards.first()) else { return arguments.to_owned() };
    // MirageOS's usual card is `service`; options of another begin with its name.
    let prefix = if *card == "service" { String::new() } else { format!("{card}-") };
    let given = format!("--{prefix}ipv4=");
    if arguments.split_whitespace().any(|word| word.starts_with(&given)) {
        return arguments.to_owned();
    }
    joined(vec![
        format!("{given}{}/{}", net.address, net.prefix),
        format!("--{prefix}ipv4-gateway={}", net.gateway),
        arguments.to_owned(),
    ])
}

fn rumprun(guest: &Guest<'_>, arguments: &str) -> String {
    if arguments.starts_with('{') {
        return arguments.to_owned();
    }
    let mut config = json!({ "cmdline": arguments });
    if guest.net.is_some() {
        config["net"] = json!({ "if": "vioif0", "type": "inet", "method": "dhcp" });
    }
    config.to_string()
}

fn hermit(guest: &Guest<'_>, arguments: &str) -> String {
    let net = guest.net.map(|net| format!("ip={}/{} gateway={}", net.address, net.prefix, net.gateway));
    match net {
        Some(net) if arguments.is_empty() => net,
        Some(net) => format!("{net} -- {arguments}"),
        None => arguments.to_owned(),
    }
}

fn linux(guest: &Guest<'_>, arguments: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let given = |key: &str| arguments.split_whitespace().any(|word| word.starts_with(key));
    for (key, word) in [("console=", "console=ttyS0"), ("panic=", "panic=-1")] {
        if !given(key) {
            words.push(word.to_owned());
        }
    }
    let Some(program) = arguments.split_whitespace().next().filter(|word| word.starts_with('/')) else {
        words.push(arguments.to_owned());
        return joined(words);
    };
    if let Some(net) = guest.net {
        words.push(format!("ip={}::{}:{}::eth0:off:{}", net.address, net.gateway, mask(net.prefix), net.names));
    }
    words.push(format!("{}={program}", if guest.initrd { "rdinit" } else { "init" }));
    let rest = arguments.get(program.len()..).unwrap_or_default().trim();
    if !rest.is_empty() {
        words.push(format!("-- {rest}"));
    }
    joined(words)
}
