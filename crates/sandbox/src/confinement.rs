//! What holds this process, read off `/proc`: for words about what would let it do more.

use std::fs;

use crate::userns;

/// Who this process is, and what is kept from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The user's id, as this process sees it.
    pub uid: u32,
    /// Whether its system calls go through a filter.
    pub filtered: bool,
    /// Whether it is in a user namespace that is not the machine's.
    pub in_user_namespace: bool,
    /// The profile of the security module it runs under.
    pub profile: Option<String>,
    /// Bits of the effective capabilities.
    capabilities: u64,
}

/// Capabilities that decide about rungs, with their numbers in the kernel.
const CAPABILITIES: [(&str, u32); 9] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SYS_CHROOT", 18),
    ("SYS_ADMIN", 21),
    ("MKNOD", 27),
    ("SETFCAP", 31),
];

impl Confinement {
    /// This process's. What cannot be read counts as not held and not in the way.
    #[must_use]
    pub fn here() -> Confinement {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Confinement {
            in_user_namespace: !userns::is_initial(),
            profile: profile(&read("attr/current")),
            ..Confinement::of_status(&read("status"))
        }
    }

    fn of_status(text: &str) -> Confinement {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()
        };
        Confinement {
            // Real, effective, saved, file system: the second decides.
            uid: text
                .lines()
                .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())
                .unwrap_or(u32::MAX),
            filtered: value("Seccomp") == Some("2"),
            capabilities: value("CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0),
            ..Confinement::default()
        }
    }

    /// Whether it may make device nodes: root of a user namespace may not, whatever it holds.
    #[must_use]
    pub fn makes_nodes(&self) -> bool {
        !self.in_user_namespace && self.lacks(&["MKNOD"]).is_empty()
    }

    /// Which of these capabilities (named without `CAP_`) it does not hold.
    #[must_use]
    pub fn lacks<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        let held =
            |name: &str| CAPABILITIES.iter().any(|(known, bit)| *known == name && self.capabilities & (1 << bit) != 0);
        wanted.iter().copied().filter(|name| !held(name)).collect()
    }
}

/// The label of AppArmor or SELinux, where it confines.
fn profile(text: &str) -> Option<String> {
    let label = text.trim_matches(['\0', '\n', ' ']);
    let free = label.is_empty() || label.starts_with("unconfined") || label.contains(":unconfined_t:");
    (!free).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_who_it_is_and_what_it_may() {
        let text = "Name:\tkiln\nUid:\t1\t0\t0\t0\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n";
        let found = Confinement::of_status(text);
        assert_eq!((found.uid, found.filtered), (0, true));
        assert_eq!(found.lacks(&["SYS_ADMIN", "SYS_CHROOT", "MKNOD"]), ["SYS_ADMIN"]);
        let nothing = Confinement::of_status("");
        assert_eq!((nothing.uid, nothing.filtered), (u32::MAX, false));
        assert_eq!(nothing.lacks(&["CHOWN"]), ["CHOWN"]);
    }

    #[test]
    fn profiles_that_confine_are_named() {
        assert_eq!(
            profile("cri-containerd.apparmor.d (enforce)\n").as_deref(),
            Some("cri-containerd.apparmor.d (enforce)")
        );
        for free in ["unconfined\n", "", "\0", "system_u:system_r:unconfined_t:s0"] {
            assert_eq!(profile(free), None, "{free:?}");
        }
    }
}
