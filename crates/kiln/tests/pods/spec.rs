//! The specification of a pod's container, as a kubelet with containerd would hand it to runc.
//!
//! Like a pod's: capabilities, user, syscall filter, masked and read-only paths, mounts, devices, the root on overlayfs,
//! a service account's token. Unlike: the network is the machine's, so that a registry on loopback can be reached, and
//! no limits are set.

use std::path::Path;

use serde_json::{Value, json};

use crate::seccomp;

/// containerd's default capabilities.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where a pod's ids begin on the machine, with `hostUsers: false`: a multiple of their number, as the kubelet takes.
pub const FIRST_ID: u32 = 65536 * 11;
const IDS: u32 = 65536;

/// The user of Pod Security `restricted`.
pub const PLAIN: u32 = 1000;

/// The settings of a pod's specification that decide about rungs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `runAsUser`.
    pub uid: u32,
    /// `capabilities.drop: [ALL]`.
    pub drop_all: bool,
    /// `capabilities.add: [SYS_ADMIN]`.
    pub sys_admin: bool,
    /// Turned: `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// `hostUsers: false`.
    pub own_users: bool,
    /// `seccompProfile: {type: Localhost}` with the documentation's profile; else `RuntimeDefault`.
    pub localhost: bool,
    /// `readOnlyRootFilesystem: true`.
    pub read_only: bool,
}

/// Nothing set: root with the default capabilities.
pub const DEFAULT: Settings = Settings {
    uid: 0,
    drop_all: false,
    sys_admin: false,
    no_new_privileges: false,
    own_users: false,
    localhost: false,
    read_only: false,
};

/// As Pod Security `restricted` demands.
pub const RESTRICTED: Settings = Settings { uid: PLAIN, drop_all: true, no_new_privileges: true, ..DEFAULT };

/// `hostUsers: false`.
pub const OWN_USERS: Settings = Settings { own_users: true, ..DEFAULT };

impl Settings {
    fn capabilities(&self) -> Vec<String> {
        let default: &[&str] = if self.drop_all { &[] } else { &DEFAULT_CAPABILITIES };
        let added = self.sys_admin.then_some("SYS_ADMIN");
        default.iter().copied().chain(added).map(|name| format!("CAP_{name}")).collect()
    }

    /// The id on the machine of the pod's user `uid`.
    pub fn outside(&self, uid: u32) -> u32 {
        if self.own_users { FIRST_ID + uid } else { uid }
    }
}

/// A directory or file of the machine in the container.
pub struct Volume<'a> {
    pub source: &'a Path,
    pub target: &'a str,
    pub writable: bool,
}

/// The specification for one container that runs `argv`.
pub fn config(
    settings: &Settings,
    id: &str,
    root: &Path,
    volumes: &[Volume<'_>],
    env: &[String],
    argv: &[&str],
) -> Value {
    let held = settings.capabilities();
    // A user other than root starts without effective ones; what may be gained is bounded all the same.
    let effective = if settings.uid == 0 { held.clone() } else { Vec::new() };
    let filter = if settings.localhost { seccomp::localhost() } else { seccomp::runtime_default(&held) };
    json!({
        "ociVersion": "1.0.2",
        "hostname": "kiln-pod",
        "root": {"path": root, "readonly": settings.read_only},
        "process": {
            "terminal": false,
            "user": {"uid": settings.uid, "gid": settings.uid},
            "args": argv,
            "env": env,
            "cwd": "/",
            "noNewPrivileges": settings.no_new_privileges,
            "capabilities": {"bounding": held, "effective": effective, "permitted": effective},
        },
        "mounts": mounts(settings, volumes),
        "linux": {
            "namespaces": namespaces(settings),
            "uidMappings": ids(settings),
            "gidMappings": ids(settings),
            "cgroupsPath": format!("/{id}"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": filter,
        },
    })
}

fn ids(settings: &Settings) -> Value {
    match settings.own_users {
        true => json!([{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]),
        false => json!([]),
    }
}

fn namespaces(settings: &Settings) -> Vec<Value> {
    let own = settings.own_users.then_some("user");
    ["pid", "ipc", "uts", "mount"].into_iter().chain(own).map(|kind| json!({"type": kind})).collect()
}

fn mounts(settings: &Settings, volumes: &[Volume<'_>]) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if settings.own_users {
        // The machine's network namespace is not the pod's, so that its own /sys would be refused.
        let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
        mounts.push(json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options}));
    } else {
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]));
    }
    mounts.extend(volumes.iter().map(|volume| {
        let access = if volume.writable { "rw" } else { "ro" };
        json!({"destination": volume.target, "type": "bind", "source": volume.source, "options": ["rbind", "rprivate", access]})
    }));
    mounts
}
