//! Syscall filters of pods, in the form the OCI runtime specification has.

use serde_json::{Value, json};

/// The calls of containerd's default, by purpose and capability.
const RUNTIME_DEFAULT: &str = include_str!("runtime-default.txt");

/// The profile of `docs/pods` for a node: `Localhost` in a pod.
pub const LOCALHOST: &str = include_str!("../../../../docs/pods/kiln-userns.json");

/// `CLONE_NEW*`: mount, control group, host name, IPC, user, process, network.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
const ENOSYS: u32 = 38;
const AF_VSOCK: u64 = 40;

/// The personalities of ordinary programs, and the question for the current one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The calls that `RuntimeDefault` allows whatever their arguments, with these capabilities (`CAP_…`).
pub fn allowed(capabilities: &[String]) -> Vec<&'static str> {
    let lines = RUNTIME_DEFAULT.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(group, _)| !group.starts_with("CAP_") || capabilities.iter().any(|held| held == group))
        .flat_map(|(_, names)| names.split_whitespace())
        .collect()
}

/// `RuntimeDefault` for a container with these capabilities.
pub fn runtime_default(capabilities: &[String]) -> Value {
    let allow = |name: &str, arguments: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments});
    let compare = |value: u64, op: &str| json!([{"index": 0, "value": value, "op": op}]);
    let mut calls = vec![json!({"names": allowed(capabilities), "action": "SCMP_ACT_ALLOW"})];
    calls.extend(PERSONALITIES.map(|number| allow("personality", compare(number, "SCMP_CMP_EQ"))));
    calls.push(allow("socket", compare(AF_VSOCK, "SCMP_CMP_NE")));
    if capabilities.iter().any(|held| held == "CAP_SYS_ADMIN") {
        calls.push(json!({"names": ["clone", "clone3"], "action": "SCMP_ACT_ALLOW"}));
    } else {
        let no_new = json!([{"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
        calls.push(allow("clone", no_new));
        calls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": [architecture()], "syscalls": calls})
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        other => panic!("no pods on {other}"),
    }
}

/// The profile of the documentation.
pub fn localhost() -> Value {
    serde_json::from_str(LOCALHOST).expect("docs/pods/kiln-userns.json is JSON")
}

/// What the profile of the documentation allows and `RuntimeDefault` of an ordinary pod does not.
const ADDED: [&str; 13] = [
    "chroot",
    "fsconfig",
    "fsmount",
    "fsopen",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "sethostname",
    "umount2",
];

#[test]
fn the_profile_of_the_documentation_adds_to_the_default_what_kiln_needs_and_nothing_else() {
    let names = |profile: &Value| {
        let calls = profile["syscalls"].as_array().unwrap().iter().filter(|call| call["action"] == "SCMP_ACT_ALLOW");
        let mut names: Vec<String> = calls
            .flat_map(|call| call["names"].as_array().unwrap().clone())
            .map(|n| n.as_str().unwrap().into())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let default = names(&runtime_default(&[]));
    let ours = names(&localhost());
    assert_eq!(default.iter().filter(|name| !ours.contains(name)).collect::<Vec<_>>(), [""; 0]);
    let mut expected: Vec<&str> = ADDED.iter().copied().chain(["unshare"]).collect();
    expected.sort_unstable();
    assert_eq!(ours.iter().filter(|name| !default.contains(name)).collect::<Vec<_>>(), expected);
    assert_eq!(localhost()["defaultAction"], "SCMP_ACT_ERRNO");
}
