//! What can be put right without harm, when it is asked for: first a plan, then the changes, with a record that undoes
//! them.
//!
//! [`Action`] is the closed list of what is ever changed. A plan is made of facts; [`apply`] looks again before it
//! changes anything, tells how each change is taken back before it makes it, and stops at the first that fails. So
//! whoever kills it has a record of all that was changed, and taking back what was not changed changes nothing.
//!
//! Adding a fix: its row in [`FIXES`], its plan, and if need be an [`Action`] with its [`Undo`]; a test that heals the
//! fault and takes the fix back.
//!
//! [`rules`] leftover chains, as scripts

pub mod rules;

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::checks::{leases, leftover};
use crate::facts::root::Root;
use crate::netlink::Socket;
use crate::netlink::generic::set_feature;
use crate::{DoctorError, HostFacts};

const SYSCTL_FILE: &str = "/etc/sysctl.d/99-kubernetes-kiln.conf";
/// One of its own: fixes do not write over each other's.
const BRIDGE_FILE: &str = "/etc/sysctl.d/99-kubernetes-kiln-bridge.conf";
/// Where host-local keeps its leases.
const LEASES: &str = "/var/lib/cni/networks";
const MODULES_FILE: &str = "/etc/modules-load.d/kubernetes-kiln.conf";
const MANAGER_FILE: &str = "/etc/NetworkManager/conf.d/kubernetes-kiln.conf";
const UNMANAGED: &str = "[keyfile]\nunmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:cali*;interface-name:tunl*;interface-name:vxlan.calico\n";

/// The findings that there are fixes for.
pub const FIXES: [&str; 7] = [
    "leases.leaked",
    "kernel.br-netfilter",
    "kernel.ip-forward",
    "kernel.checksums",
    "machine.network-manager",
    "leftover.devices",
    "leftover.chains",
];
/// Those whose cause may be on another host than the one that shows it: their plan is made where it is asked for.
pub const ELSEWHERE: [&str; 1] = ["kernel.checksums"];
/// What a tunnel leaves to a device that may not do it well.
const CHECKSUMS: &str = "tx-checksum-ip-generic";

/// A change.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Deletes leases of host-local, under its lock.
    Release {
        /// The network's name.
        network: String,
        /// Address and container of each.
        leases: Vec<(IpAddr, String)>,
    },
    /// Writes a file that was not there, or was Kiln's.
    Write {
        /// Its path.
        path: String,
        /// What is in it.
        text: String,
    },
    /// Loads a module of the kernel.
    Load {
        /// Its name.
        module: String,
    },
    /// Sets a setting below /proc/sys.
    Set {
        /// Its path.
        path: String,
        /// The value.
        value: String,
    },
    /// Deletes a network device.
    Delete {
        /// Its name.
        device: String,
    },
    /// Deletes the chains of Kubernetes, and rules that lead to them, of one kind of iptables.
    Chains {
        /// `iptables-nft`, `ip6tables-nft`, `iptables-legacy`.
        program: String,
        /// How many there are.
        chains: usize,
    },
    /// Deletes a table of nf_tables.
    Table {
        /// 2 IPv4, 10 IPv6, 1 both.
        family: u8,
        /// Its name.
        name: String,
    },
    /// Switches a feature of a device off.
    Feature {
        /// The device.
        device: String,
        /// The feature, by ethtool's name.
        feature: String,
    },
}

impl Action {
    /// In words.
    pub fn line(&self) -> String {
        let clean = crate::checks::logs::printable;
        match self {
            Action::Release { network, leases } => {
                let few: Vec<String> = leases.iter().take(5).map(|(ip, _)| ip.to_string()).collect();
                let more = if leases.len() > 5 { ", …" } else { "" };
                let network = clean(network);
                format!("delete {} leases in /var/lib/cni/networks/{network}: {}{more}", leases.len(), few.join(", "))
            }
            Action::Write { path, .. } => format!("write {}", clean(path)),
            Action::Load { module } => format!("modprobe {module}"),
            Action::Set { path, value } => format!("set /proc/sys/{path} to {value}"),
            Action::Delete { device } => format!("ip link delete {}", clean(device)),
            Action::Chains { program, chains } => {
                format!("delete {chains} chains of Kubernetes, and the rules that lead to them, by {program}-restore")
            }
            Action::Table { name, .. } => format!("nft delete table {}", clean(name)),
            Action::Feature { device, feature } => format!("ethtool -K {} {feature} off", clean(device)),
        }
    }
}

/// How a change is taken back.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", tag = "undo")]
pub enum Undo {
    /// Writes files that were deleted or changed.
    Restore {
        /// Path.
        path: String,
        /// What was in it; nothing when it was not there.
        bytes: Option<Vec<u8>>,
    },
    /// Gives an address of host-local back to the container that had it, unless another has it now.
    Lease {
        /// The network's name.
        network: String,
        /// The address.
        ip: IpAddr,
        /// What was in its file.
        bytes: Vec<u8>,
    },
    /// Sets a setting to what it was.
    Reset {
        /// Its path.
        path: String,
        /// What it was.
        value: String,
    },
    /// Makes rules again.
    Rules {
        /// `iptables-nft` and the like.
        program: String,
        /// What its `-restore` is told.
        script: String,
    },
    /// Switches a feature of a device on.
    Feature {
        /// The device.
        device: String,
        /// The feature.
        feature: String,
    },
    /// Cannot be taken back by Kiln: what makes it again.
    Remake {
        /// In words.
        how: String,
    },
}

/// What would be changed on a host for a finding.
///
/// # Errors
/// When there is no fix for it, or nothing to fix.
pub fn plan(host: &HostFacts, id: &str) -> Result<Vec<Action>, String> {
    let sysctl = |file: &str, settings: &[&str]| {
        let lines: Vec<String> = settings.iter().map(|path| format!("{} = 1\n", path.replace('/', "."))).collect();
        let write = Action::Write { path: file.to_owned(), text: lines.concat() };
        let set = settings.iter().map(|path| Action::Set { path: (*path).to_owned(), value: "1".to_owned() });
        set.chain([write]).collect::<Vec<Action>>()
    };
    let bridge = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
    let actions = match id {
        "leases.leaked" => released(host),
        "kernel.ip-forward" => sysctl(SYSCTL_FILE, &["net/ipv4/ip_forward"]),
        "kernel.br-netfilter" => {
            let module = "br_netfilter".to_owned();
            let mut out = Vec::new();
            if !host.kernel.as_ref().is_some_and(|kernel| kernel.settings.contains_key(bridge[0])) {
                out.push(Action::Load { module: module.clone() });
            }
            out.push(Action::Write { path: MODULES_FILE.to_owned(), text: module + "\n" });
            out.extend(sysctl(BRIDGE_FILE, &bridge));
            out
        }
        "machine.network-manager" => vec![Action::Write { path: MANAGER_FILE.to_owned(), text: UNMANAGED.to_owned() }],
        "leftover.devices" => {
            let names = leftover::left_devices(host).into_iter();
            names.map(|device| Action::Delete { device: device.to_owned() }).collect()
        }
        "leftover.chains" => chains(host),
        "kernel.checksums" => checksums(host),
        _ if crate::checks::row(id).is_some() => {
            return Err(format!("there is no fix for {id}; there are for {}", FIXES.join(", ")));
        }
        _ => return Err(format!("`{id}` is no finding; there are fixes for {}", FIXES.join(", "))),
    };
    if actions.is_empty() { Err(format!("there is nothing to fix for {id} here")) } else { Ok(actions) }
}

fn released(host: &HostFacts) -> Vec<Action> {
    let stores = host.cni.stores.iter().map(|store| (store, leases::orphans(host, store)));
    let some = stores.filter(|(_, orphans)| !orphans.is_empty());
    some.map(|(store, orphans)| Action::Release {
        network: store.network.clone(),
        leases: orphans.into_iter().map(|lease| (lease.ip, lease.container.clone())).collect(),
    })
    .collect()
}

/// Tunnels of flannel that leave checksums to the device.
fn checksums(host: &HostFacts) -> Vec<Action> {
    let kernel = host.kernel.iter();
    let features = kernel.flat_map(|kernel| &kernel.features).filter(|(name, _)| name.starts_with("flannel"));
    let on = features.filter(|(_, features)| features.iter().any(|feature| feature == CHECKSUMS));
    on.map(|(device, _)| Action::Feature { device: device.clone(), feature: CHECKSUMS.to_owned() }).collect()
}

/// Chains that are left, by the program that made them; tables that are Kubernetes' own as a whole.
fn chains(host: &HostFacts) -> Vec<Action> {
    let Some(kernel) = &host.kernel else { return Vec::new() };
    let own = |chain: &&crate::netlink::nft::Chain| leftover::left_table(&chain.table);
    let mut tables: Vec<(u8, &str)> =
        kernel.ruleset.chains.iter().filter(own).map(|chain| (chain.family, chain.table.as_str())).collect();
    tables.sort_unstable();
    tables.dedup();
    let rest = kernel.ruleset.chains.iter().filter(|chain| !own(chain) && leftover::left_chain(&chain.name));
    let of = |family: u8| rest.clone().filter(|chain| chain.family == family).count();
    let legacy = kernel.legacy.iter().filter(|chain| leftover::left_chain(&chain.name)).count();
    let counts = [("iptables-nft", of(2)), ("ip6tables-nft", of(10)), ("iptables-legacy", legacy)];
    let counts = counts.into_iter().filter(|(_, chains)| *chains > 0);
    let counts = counts.map(|(program, chains)| Action::Chains { program: program.to_owned(), chains });
    counts.chain(tables.into_iter().map(|(family, name)| Action::Table { family, name: name.to_owned() })).collect()
}

/// Keeps how a change is taken back, before it is made; the error is why it cannot, and keeps it from being made.
pub type Keep<'a> = dyn FnMut(&[Undo]) -> Result<(), String> + 'a;

/// Makes the changes on this host, in the namespace of this thread.
///
/// # Errors
/// What failed, and why; what was done before stays, and was kept.
pub fn apply(root: &Path, actions: &[Action], keep: &mut Keep<'_>) -> Result<(), DoctorError> {
    let files = Root::open(root)?;
    for action in actions {
        make(&files, action, keep).map_err(|why| DoctorError::Host { host: action.line(), why })?;
    }
    Ok(())
}

fn make(files: &Root, action: &Action, keep: &mut Keep<'_>) -> Result<(), String> {
    let again = |how: String| [Undo::Remake { how }];
    match action {
        Action::Release { network, leases } => release(files, network, leases, keep),
        Action::Write { path, text } => {
            let bytes = files.head(path, crate::facts::root::LIMIT);
            keep(&[Undo::Restore { path: path.clone(), bytes }])?;
            write(files, path, text.as_bytes())
        }
        Action::Load { module } => {
            keep(&again(format!("modprobe -r {module}")))?;
            run("modprobe", module)
        }
        Action::Set { path, value } => {
            let before = std::fs::read_to_string(setting(path)?).map_err(|error| error.to_string())?;
            keep(&[Undo::Reset { path: path.clone(), value: before.trim().to_owned() }])?;
            set(path, value)
        }
        Action::Delete { device } => {
            keep(&again(format!("the pod network makes {device} again when it needs it")))?;
            delete(device)
        }
        Action::Chains { program, .. } => unchain(program, keep),
        Action::Table { family, name } => {
            keep(&again(format!("who made the table {name} makes it again when it needs it")))?;
            crate::netlink::nft::delete_table(*family, name).map_err(|error| error.to_string())
        }
        Action::Feature { device, feature } => {
            keep(&[Undo::Feature { device: device.clone(), feature: feature.clone() }])?;
            set_feature(device, feature, false).map_err(|error| error.to_string())
        }
    }
}

/// Takes changes back, the last first; says what was not, because things are no longer as the fix left them.
///
/// # Errors
/// What failed, and why.
pub fn undo(root: &Path, undos: &[Undo]) -> Result<Vec<String>, DoctorError> {
    let files = Root::open(root)?;
    let mut out = Vec::new();
    for undo in undos.iter().rev() {
        let place = match undo {
            Undo::Restore { path, .. } | Undo::Reset { path, .. } => path.clone(),
            Undo::Lease { ip, .. } => ip.to_string(),
            Undo::Rules { program, .. } => program.clone(),
            Undo::Feature { device, .. } => device.clone(),
            Undo::Remake { .. } => String::new(),
        };
        let done = take_back(&files, undo).map_err(|why| DoctorError::Host { host: place, why })?;
        out.extend(done);
    }
    Ok(out)
}

fn take_back(files: &Root, undo: &Undo) -> Result<Option<String>, String> {
    match undo {
        Undo::Restore { path, bytes: Some(bytes) } => write(files, path, bytes)?,
        Undo::Restore { path, bytes: None } => match files.remove(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.to_string()),
        },
        Undo::Lease { network, ip, bytes } => return lease_again(files, network, *ip, bytes),
        Undo::Reset { path, value } => set(path, value)?,
        Undo::Rules { program, script } => {
            // What was not deleted, because it was killed before, is there still.
            let script = rules::lacking(script, &saved(program)?);
            restore(program, &script)?;
        }
        Undo::Feature { device, feature } => set_feature(device, feature, true).map_err(|error| error.to_string())?,
        Undo::Remake { how } => return Ok(Some(how.clone())),
    }
    Ok(None)
}

/// host-local takes this lock around everything it does.
fn locked(files: &Root, network: &str) -> Result<(String, OwnedFd), String> {
    if network.is_empty() || network.contains('/') || network.starts_with('.') {
        return Err("is no name of a network".to_owned());
    }
    let directory = format!("{LEASES}/{network}");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
    let lock =
        files.create(&format!("{directory}/lock"), flags, Mode::from(0o600)).map_err(|errno| errno.to_string())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| errno.to_string())?;
    Ok((directory, lock))
}

fn release(files: &Root, network: &str, leases: &[(IpAddr, String)], keep: &mut Keep<'_>) -> Result<(), String> {
    let (directory, _lock) = locked(files, network)?;
    let mut out = Vec::new();
    for (ip, container) in leases {
        let Some(bytes) = files.head(&format!("{directory}/{ip}"), 512) else { continue };
        // Meanwhile it may have been given to another.
        let holder = String::from_utf8_lossy(&bytes);
        if holder.lines().next().unwrap_or_default().trim() == container {
            out.push(Undo::Lease { network: network.to_owned(), ip: *ip, bytes });
        }
    }
    keep(&out)?;
    for undo in &out {
        if let Undo::Lease { ip, .. } = undo {
            let path = format!("{directory}/{ip}");
            files.remove(&path).map_err(|errno| format!("{path}: {errno}"))?;
        }
    }
    Ok(())
}

/// Under the lock, and only where nobody has the address: it may have been given to another pod since.
fn lease_again(files: &Root, network: &str, ip: IpAddr, bytes: &[u8]) -> Result<Option<String>, String> {
    let (directory, _lock) = locked(files, network)?;
    let path = format!("{directory}/{ip}");
    match files.head(&path, 512) {
        None => write(files, &path, bytes).map(|()| None),
        Some(there) if there == bytes => Ok(None),
        Some(_) => Ok(Some(format!("{ip} was given to another pod since: it stays with that"))),
    }
}

fn write(files: &Root, path: &str, bytes: &[u8]) -> Result<(), String> {
    files.directories(path).map_err(|errno| errno.to_string())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
    let fd = files.create(path, flags, Mode::from(0o644)).map_err(|errno| errno.to_string())?;
    let mut file = File::from(fd);
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| error.to_string())
}

/// Settings are those of the thread's namespace.
fn setting(path: &str) -> Result<String, String> {
    if path.split('/').any(|part| part.is_empty() || part == "..") || !path.starts_with("net/") {
        return Err("is no setting of the network".to_owned());
    }
    Ok(format!("/proc/sys/{path}"))
}

fn set(path: &str, value: &str) -> Result<(), String> {
    std::fs::write(setting(path)?, value).map_err(|error| error.to_string())
}

/// The programs that rules are deleted by: an undo record may be anybody's.
const PROGRAMS: [&str; 3] = ["iptables-nft", "ip6tables-nft", "iptables-legacy"];

fn program(name: &str, end: &str) -> Result<String, String> {
    if !PROGRAMS.contains(&name) {
        return Err("is no program that rules are changed by".to_owned());
    }
    let paths = ["/usr/sbin", "/sbin"].map(|directory| format!("{directory}/{name}-{end}"));
    let found = paths.into_iter().find(|path| std::fs::exists(path).unwrap_or(false));
    found.ok_or_else(|| format!("{name}-{end} is not installed (package iptables)"))
}

/// What a program prints of the rules that there are now.
fn saved(name: &str) -> Result<String, String> {
    let output = Command::new(program(name, "save")?).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Deletes the chains of Kubernetes that there are now.
fn unchain(name: &str, keep: &mut Keep<'_>) -> Result<(), String> {
    let Some(scripts) = rules::scripts(&saved(name)?) else { return Ok(()) };
    keep(&[Undo::Rules { program: name.to_owned(), script: scripts.restore }])?;
    restore(name, &scripts.delete)
}

/// All of a script, or nothing of each of its tables.
fn restore(name: &str, script: &str) -> Result<(), String> {
    use std::process::Stdio;
    let mut command = Command::new(program(name, "restore")?);
    command.arg("--noflush").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let told = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    told.transpose().map(|_| ()).map_err(|error| error.to_string())
}

fn run(program: &str, argument: &str) -> Result<(), String> {
    let output = Command::new(program).arg(argument).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// `RTM_DELLINK` for a name.
fn delete(device: &str) -> Result<(), String> {
    let body = [&[0; 16][..], &crate::netlink::attribute(3, &[device.as_bytes(), &[0]].concat())].concat();
    let mut socket = Socket::open("devices", None).map_err(|error| error.to_string())?;
    socket.get("deletion of a device", 17, &body).map(|_| ()).map_err(|error| error.to_string())
}
