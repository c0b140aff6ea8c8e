//! What can be put right without harm, when it is asked for: first a plan, then the changes, with a record that undoes
//! them.
//!
//! [`Action`] is the closed list of what is ever changed. A plan is made of facts; [`apply`] looks again before it
//! changes anything, and stops at the first that fails.
//!
//! Adding a fix: its row in [`FIXES`], its plan, and if need be an [`Action`] with its [`Undo`]; a test that heals the
//! fault and takes the fix back.
//!
//! [`rules`] leftover chains, as scripts

pub mod rules;

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::checks::{leases, machine};
use crate::facts::root::Root;
use crate::netlink::Socket;
use crate::netlink::generic::set_feature;
use crate::{DoctorError, HostFacts};

const SYSCTL_FILE: &str = "/etc/sysctl.d/99-kubernetes-kiln.conf";
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
    let sysctl = |settings: &[&str]| {
        let lines: Vec<String> = settings.iter().map(|path| format!("{} = 1\n", path.replace('/', "."))).collect();
        let write = Action::Write { path: SYSCTL_FILE.to_owned(), text: lines.concat() };
        let set = settings.iter().map(|path| Action::Set { path: (*path).to_owned(), value: "1".to_owned() });
        set.chain([write]).collect::<Vec<Action>>()
    };
    let bridge = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
    let forward = "net/ipv4/ip_forward";
    let actions = match id {
        "leases.leaked" => released(host),
        "kernel.ip-forward" => sysctl(&[forward]),
        "kernel.br-netfilter" => {
            let module = "br_netfilter".to_owned();
            let mut out = Vec::new();
            if !host.kernel.as_ref().is_some_and(|kernel| kernel.settings.contains_key(bridge[0])) {
                out.push(Action::Load { module: module.clone() });
            }
            out.push(Action::Write { path: MODULES_FILE.to_owned(), text: module + "\n" });
            out.extend(sysctl(&[bridge[0], bridge[1], forward]));
            out
        }
        "machine.network-manager" => vec![Action::Write { path: MANAGER_FILE.to_owned(), text: UNMANAGED.to_owned() }],
        "leftover.devices" => {
            let names = machine::left_devices(host).into_iter();
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
    let own = |chain: &&crate::netlink::nft::Chain| machine::left_table(&chain.table);
    let mut tables: Vec<(u8, &str)> =
        kernel.ruleset.chains.iter().filter(own).map(|chain| (chain.family, chain.table.as_str())).collect();
    tables.sort_unstable();
    tables.dedup();
    let rest = kernel.ruleset.chains.iter().filter(|chain| !own(chain) && machine::left_chain(&chain.name));
    let of = |family: u8| rest.clone().filter(|chain| chain.family == family).count();
    let legacy = kernel.legacy.iter().filter(|chain| machine::left_chain(&chain.name)).count();
    let counts = [("iptables-nft", of(2)), ("ip6tables-nft", of(10)), ("iptables-legacy", legacy)];
    let counts = counts.into_iter().filter(|(_, chains)| *chains > 0);
    let counts = counts.map(|(program, chains)| Action::Chains { program: program.to_owned(), chains });
    counts.chain(tables.into_iter().map(|(family, name)| Action::Table { family, name: name.to_owned() })).collect()
}

/// Makes the changes on this host, in the namespace of this thread; each that was made is told, with how to undo it,
/// before the next.
///
/// # Errors
/// What failed, and why; what was done before stays, and was told.
pub fn apply(root: &Path, actions: &[Action], told: &mut dyn FnMut(&Action, &[Undo])) -> Result<(), DoctorError> {
    let files = Root::open(root)?;
    for action in actions {
        let failed = |why: String| DoctorError::Host { host: action.line(), why };
        let undo = match action {
            Action::Release { network, leases } => release(&files, network, leases).map_err(failed)?,
            Action::Write { path, text } => vec![write(&files, path, text.as_bytes()).map_err(failed)?],
            Action::Load { module } => {
                run("modprobe", module).map_err(failed)?;
                vec![Undo::Remake { how: format!("modprobe -r {module}") }]
            }
            Action::Set { path, value } => vec![set(path, value).map_err(failed)?],
            Action::Delete { device } => {
                delete(device).map_err(failed)?;
                vec![Undo::Remake { how: format!("the pod network makes {device} again when it needs it") }]
            }
            Action::Chains { program, .. } => unchain(program).map_err(failed)?,
            Action::Table { family, name } => {
                crate::netlink::nft::delete_table(*family, name).map_err(|error| failed(error.to_string()))?;
                vec![Undo::Remake { how: format!("who made the table {name} makes it again when it needs it") }]
            }
            Action::Feature { device, feature } => {
                set_feature(device, feature, false).map_err(|error| failed(error.to_string()))?;
                vec![Undo::Feature { device: device.clone(), feature: feature.clone() }]
            }
        };
        told(action, &undo);
    }
    Ok(())
}

/// Takes changes back, the last first.
///
/// # Errors
/// What failed, and why.
pub fn undo(root: &Path, undos: &[Undo]) -> Result<(), DoctorError> {
    let files = Root::open(root)?;
    for undo in undos.iter().rev() {
        match undo {
            Undo::Restore { path, bytes } => {
                let failed = |why: String| DoctorError::Host { host: path.clone(), why };
                match bytes {
                    Some(bytes) => write(&files, path, bytes).map(|_| ()).map_err(failed)?,
                    None => files.remove(path).map_err(|errno| failed(errno.to_string()))?,
                }
            }
            Undo::Reset { path, value } => {
                set(path, value).map_err(|why| DoctorError::Host { host: path.clone(), why })?;
            }
            Undo::Rules { program, script } => {
                restore(program, script).map_err(|why| DoctorError::Host { host: program.clone(), why })?;
            }
            Undo::Feature { device, feature } => {
                let failed = |why: String| DoctorError::Host { host: device.clone(), why };
                set_feature(device, feature, true).map_err(|error| failed(error.to_string()))?;
            }
            Undo::Remake { .. } => {}
        }
    }
    Ok(())
}

/// host-local takes this lock around everything it does.
fn release(files: &Root, network: &str, leases: &[(IpAddr, String)]) -> Result<Vec<Undo>, String> {
    if network.is_empty() || network.contains('/') || network.starts_with('.') {
        return Err("is no name of a network".to_owned());
    }
    let directory = format!("/var/lib/cni/networks/{network}");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
    let lock =
        files.create(&format!("{directory}/lock"), flags, Mode::from(0o600)).map_err(|errno| errno.to_string())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| errno.to_string())?;
    let mut out = Vec::new();
    for (ip, container) in leases {
        let path = format!("{directory}/{ip}");
        let Some(bytes) = files.head(&path, 512) else { continue };
        // Meanwhile it may have been given to another.
        let holder = String::from_utf8_lossy(&bytes);
        if holder.lines().next().unwrap_or_default().trim() == container {
            files.remove(&path).map_err(|errno| format!("{path}: {errno}"))?;
            out.push(Undo::Restore { path, bytes: Some(bytes) });
        }
    }
    Ok(out)
}

fn write(files: &Root, path: &str, bytes: &[u8]) -> Result<Undo, String> {
    let before = files.head(path, crate::facts::root::LIMIT);
    files.directories(path).map_err(|errno| errno.to_string())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
    let fd = files.create(path, flags, Mode::from(0o644)).map_err(|errno| errno.to_string())?;
    let mut file = File::from(fd);
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| error.to_string())?;
    Ok(Undo::Restore { path: path.to_owned(), bytes: before })
}

/// Settings are those of the thread's namespace.
fn set(path: &str, value: &str) -> Result<Undo, String> {
    if path.split('/').any(|part| part.is_empty() || part == "..") || !path.starts_with("net/") {
        return Err("is no setting of the network".to_owned());
    }
    let full = format!("/proc/sys/{path}");
    let before = std::fs::read_to_string(&full).map_err(|error| error.to_string())?;
    std::fs::write(&full, value).map_err(|error| error.to_string())?;
    Ok(Undo::Reset { path: path.to_owned(), value: before.trim().to_owned() })
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

/// Deletes the chains of Kubernetes that there are now.
fn unchain(name: &str) -> Result<Vec<Undo>, String> {
    let output = Command::new(program(name, "save")?).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let Some(scripts) = rules::scripts(&String::from_utf8_lossy(&output.stdout)) else { return Ok(Vec::new()) };
    restore(name, &scripts.delete)?;
    Ok(vec![Undo::Rules { program: name.to_owned(), script: scripts.restore }])
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
