//! What can be put right without harm, when it is asked for: first a plan, then the changes, with a record that undoes
//! them.
//!
//! [`Action`] is the closed list of what is ever changed. A plan is made of facts; [`apply`] looks again before it
//! changes anything, and stops at the first that fails.

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
use crate::{DoctorError, HostFacts};

const SYSCTL_FILE: &str = "/etc/sysctl.d/99-kubernetes-kiln.conf";
const MODULES_FILE: &str = "/etc/modules-load.d/kubernetes-kiln.conf";
const MANAGER_FILE: &str = "/etc/NetworkManager/conf.d/kubernetes-kiln.conf";
const UNMANAGED: &str = "[keyfile]\nunmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:cali*;interface-name:tunl*;interface-name:vxlan.calico\n";

/// The findings that there are fixes for.
pub const FIXES: [&str; 5] =
    ["leases.leaked", "kernel.br-netfilter", "kernel.ip-forward", "machine.network-manager", "leftover.devices"];

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
