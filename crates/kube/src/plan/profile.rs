//! Which rights a build's pod has: the settings of `docs/pods.md` by name.

use std::str::FromStr;

use serde_json::{Value, json};

/// What a `RUN` needs of its pod's root; all that Pod Security `baseline` allows of it.
const CAPABILITIES: [&str; 10] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT"];

/// The user of a pod that is nobody special.
const PLAIN: u32 = 1000;

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What Pod Security `restricted` demands: a plain user without a right.
    Restricted,
    /// What `baseline` allows: root of the container, with the capabilities that building needs and no others.
    Baseline,
    /// The same in a user namespace of the pod's own, where it may mount.
    Userns,
}

impl Profile {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Profile); 3] =
        [("restricted", Profile::Restricted), ("baseline", Profile::Baseline), ("userns", Profile::Userns)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Profile::ALL.iter().find(|(_, profile)| *profile == self).map_or("", |(name, _)| name)
    }

    /// The pod's `securityContext`.
    pub(super) fn pod(self) -> Value {
        match self {
            Profile::Restricted => json!({
                "runAsNonRoot": true,
                "runAsUser": PLAIN,
                "runAsGroup": PLAIN,
                "fsGroup": PLAIN,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
            Profile::Baseline | Profile::Userns => json!({
                "runAsUser": 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
        }
    }

    /// The container's `securityContext`.
    pub(super) fn container(self) -> Value {
        let capabilities = |more: &[&str]| {
            let all: Vec<&str> = CAPABILITIES.iter().chain(more).copied().collect();
            json!({"drop": ["ALL"], "add": all})
        };
        match self {
            Profile::Restricted => json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            }),
            Profile::Baseline => json!({"readOnlyRootFilesystem": true, "capabilities": capabilities(&[])}),
            Profile::Userns => json!({"readOnlyRootFilesystem": true, "capabilities": capabilities(&["SYS_ADMIN"])}),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        let found = Profile::ALL.iter().find(|(name, _)| *name == text).map(|(_, profile)| *profile);
        found.ok_or_else(|| "expected restricted, baseline or userns".to_owned())
    }
}
