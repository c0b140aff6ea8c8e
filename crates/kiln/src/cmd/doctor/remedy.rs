//! What would bring a missing rung: in words, and as lines of a pod's specification.
//!
//! The rules are those of [docs/pods.md](../../../../../docs/pods.md), which says more about each. Lines are paths
//! into the specification of a pod, `securityContext` that of the container.

use kiln_sandbox::{Confinement, Part, Rung, RungReport};

/// What to do about a missing rung.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// For people.
    pub words: String,
    /// Lines that are missing in the pod's specification; none where no specification helps.
    pub pod_spec: Vec<String>,
}

fn remedy<L: Into<String>>(words: &str, lines: impl IntoIterator<Item = L>) -> Remedy {
    Remedy { words: words.to_owned(), pod_spec: lines.into_iter().map(Into::into).collect() }
}

/// What unpacking an image and becoming its users takes.
const AS_ROOT: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SYS_CHROOT"];

/// A profile with the calls that make user namespaces, from `docs/pods`.
const PROFILE: &str = "securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}";

/// What would bring the rung; `None` if it works, or what is missing is said already.
pub fn of(report: &RungReport, held: &Confinement, in_pod: bool) -> Option<Remedy> {
    if report.available {
        return None;
    }
    match report.part? {
        Part::PrivateRoot => Some(private_root(held)),
        Part::Overlay => Some(store()),
        Part::Following => held.filtered.then(|| {
            remedy(
                "a filter that allows ptrace and seccomp, as the runtime's own does since Linux 4.8",
                ["securityContext.seccompProfile: {type: RuntimeDefault}"],
            )
        }),
        Part::Machine => Some(remedy(
            "root of the machine; `userns` gives the same but limits for memory and processes",
            ["hostUsers: true", "securityContext.privileged: true"],
        )),
        Part::Mounts if report.rung == Rung::Root => Some(remedy(
            "root of the machine with all rights: only where builds are trusted as much as the machine",
            held.in_user_namespace.then_some("hostUsers: true").into_iter().chain(["securityContext.privileged: true"]),
        )),
        Part::UserNamespace if report.rung == Rung::Userns => user_namespace(held, in_pod),
        Part::UserNamespace | Part::Mounts | Part::Owners => confined(held),
        _ => None,
    }
}

/// A volume for the store, which may lie neither on a read-only file system nor on an overlay.
pub fn store() -> Remedy {
    remedy(
        "the store on a volume that can be written",
        [
            "volumes: [{name: kiln, emptyDir: {}}]",
            "volumeMounts: [{name: kiln, mountPath: /kiln}]",
            "env: [{name: KILN_STORE, value: /kiln/store}]",
        ],
    )
}

fn private_root(held: &Confinement) -> Remedy {
    let missing = held.lacks(&AS_ROOT);
    let mut lines = Vec::new();
    if held.uid != 0 {
        lines.push("securityContext.runAsUser: 0".to_owned());
    }
    if !missing.is_empty() {
        lines.push(format!("securityContext.capabilities.add: [{}]", missing.join(", ")));
    }
    let words = match held.uid {
        0 => "rights that root of a container has by default",
        _ => "root, with the rights that it has in containers by default: Pod Security `restricted` forbids it",
    };
    remedy(words, lines)
}

/// With the ids of the image's users: the pod's own namespace, or one that Kiln makes.
fn user_namespace(held: &Confinement, in_pod: bool) -> Option<Remedy> {
    let mut lines = Vec::new();
    if !held.in_user_namespace {
        lines.push("hostUsers: false".to_owned());
    }
    if held.uid != 0 {
        lines.push("securityContext.runAsUser: 0".to_owned());
    }
    lines.push("securityContext.capabilities.add: [SYS_ADMIN]".to_owned());
    let root_of_ids = held.uid == 0 && held.lacks(&["SETUID", "SETGID"]).is_empty();
    match (held.filtered, root_of_ids) {
        (true, true) => Some(remedy(
            "SYS_ADMIN in a user namespace of the pod, where it is no right over the machine; or what `userns1` needs",
            lines,
        )),
        (true, false) => Some(remedy("root of a user namespace of the pod, with SYS_ADMIN in it", lines)),
        // On a machine the reason says which setting or id is missing.
        (false, _) if !in_pod => None,
        (false, _) => Some(remedy("root of a user namespace of the pod, with SYS_ADMIN in it", lines)),
    }
}

/// Somebody forbids user namespaces, or what makes them useful: a filter, or a security module.
fn confined(held: &Confinement) -> Option<Remedy> {
    match (held.filtered, &held.profile) {
        (true, None) => {
            Some(remedy("a filter that allows user namespaces and mounts in them: docs/pods.md", [PROFILE]))
        }
        (true, Some(_)) => Some(remedy(
            "a filter, and a profile of the security module, that allow user namespaces and mounts in them: docs/pods.md",
            [PROFILE, "securityContext.appArmorProfile: {type: Unconfined}"],
        )),
        (false, Some(profile)) => Some(remedy(
            &format!("a profile that allows user namespaces and mounts in them, in place of `{profile}`"),
            ["securityContext.appArmorProfile: {type: Unconfined}"],
        )),
        (false, None) => None,
    }
}
