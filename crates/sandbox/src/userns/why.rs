//! What keeps a user namespace from being made, in words that say what to do.

use std::fs;

use rustix::io::Errno;

/// Settings that forbid user namespaces to users: file, what it is then, how to allow it.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
];

/// The setting that is in the way, if one is.
pub fn setting() -> Option<String> {
    SETTINGS.iter().find_map(|(file, value, fix)| {
        let found = fs::read_to_string(format!("/proc/sys/{file}")).ok()?;
        let name = file.replace('/', ".");
        (found.trim() == *value).then(|| format!("{name} is {value}; as root: {fix}"))
    })
}

/// Why the namespace could not be made.
pub fn unshare(errno: Errno) -> String {
    let said = std::io::Error::from(errno);
    let more = setting().or_else(|| {
        let text = match errno {
            Errno::NOSPC => "as many user namespaces as user.max_user_namespaces allows, or nested too deep",
            Errno::USERS => "user namespaces are nested too deep",
            Errno::INVAL => "the kernel is built without user namespaces",
            Errno::PERM if under_filter() => {
                "the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)"
            }
            Errno::PERM => "a security module forbids it, or Kiln runs in a chroot",
            _ => return None,
        };
        Some(text.to_owned())
    });
    more.map_or_else(|| said.to_string(), |more| format!("{said}: {more}"))
}

fn under_filter() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nSeccomp:\t2"))
}

/// Why newuidmap or newgidmap did not do it.
pub fn helper(kind: &str, stderr: &str) -> String {
    let said = stderr.trim();
    let barred = fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nNoNewPrivs:\t1"));
    let more = if barred {
        "Kiln was started with no_new_privs, so that no program can gain rights".to_owned()
    } else {
        format!("does /etc/sub{kind} allow these ids, and is the program setuid root or has cap_set{kind}?")
    };
    if said.is_empty() { more } else { format!("{said}; {more}") }
}
