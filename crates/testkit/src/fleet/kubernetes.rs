//! The programs of a real Kubernetes, its images, and what kubeadm must be told on hosts of a fleet.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where hosts see the programs: kubeadm, kubelet, kubectl, crictl and more.
pub const PROGRAMS: &str = "/opt/kubernetes";

/// The network of pods that [`FLANNEL`] is written for.
pub const PODS: &str = "10.244.0.0/16";

/// The objects of flannel's manifest, with an image that [`images`] makes: a stand-in for flannel, with VXLAN.
pub const FLANNEL: &str = include_str!("../../../../scripts/kubernetes/kube-flannel.yml");

/// Documents that kubeadm of a version needs beside the user's: kubelet and kube-proxy as they can work in a container, on a
/// machine whose disk others fill, too, and whose table of connections has one size for all.
///
/// # Panics
/// If the version is not as `v1.20.2`.
#[must_use]
pub fn documents(version: &str) -> String {
    // Newer kubelets want to be told that cgroup v1 is meant.
    let old_cgroups = if minor(version) >= 31 { "failCgroupV1: false\n" } else { "" };
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
{old_cgroups}evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {{maxPerCore: 0, min: 0}}
"
    )
}

/// N of a version `v1.N.P`.
///
/// # Panics
/// If it is another.
#[must_use]
pub fn minor(version: &str) -> u32 {
    let number = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{version} is not a version as v1.20.2"))
}

/// What of a newer kubeadm's preflight cannot pass on cgroup v1; 1.20 passes all of it.
pub const IGNORED: &str = "SystemVerification";

/// The directory with the programs, made by `scripts/kubernetes.sh` or named by `KILN_K8S_BIN`.
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn programs() -> PathBuf {
    script("kubernetes.sh", &[], None)
}

/// The programs of a minor release that can be upgraded to [`programs`], or those that `KILN_K8S_BIN_EARLIER` names.
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn earlier_programs() -> PathBuf {
    script("kubernetes.sh", &["earlier"], None)
}

/// The programs of [`programs`], but with a kubelet that also runs pods with Docker, as those before 1.24 do.
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn docker_programs() -> PathBuf {
    script("kubernetes.sh", &["docker"], None)
}

/// The version of the programs, with `v`.
///
/// # Panics
/// If kubelet does not say it.
#[must_use]
pub fn version(programs: &Path) -> String {
    let said = Command::new(programs.join("kubelet")).arg("--version").output().expect("start kubelet");
    let said = String::from_utf8(said.stdout).expect("kubelet says its version in UTF-8");
    said.trim().rsplit(' ').next().filter(|v| v.starts_with('v')).expect("kubelet says its version").to_owned()
}

/// Images of everything, built by this `kiln`: `images/NAME.tar`, archives of docker, and `cluster.tar`, for
/// `kiln cluster load`, with the cluster image `kubernetes:VERSION`. One of them, `kiln.test/web:1`, is a web server on
/// port 8080 that says its host's name.
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn images(kiln: &Path) -> PathBuf {
    script("cluster-image.sh", &[], Some(kiln))
}

/// The same of [`earlier_programs`].
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn earlier_images(kiln: &Path) -> PathBuf {
    script("cluster-image.sh", &["earlier"], Some(kiln))
}

/// The same of [`docker_programs`].
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn docker_images(kiln: &Path) -> PathBuf {
    script("cluster-image.sh", &["docker"], Some(kiln))
}

/// Runs a script of the tree that prints a path.
fn script(name: &str, words: &[&str], kiln: Option<&Path>) -> PathBuf {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name));
    command.args(words);
    if let Some(kiln) = kiln {
        command.env("KILN", kiln);
    }
    let made = command.output().unwrap_or_else(|e| panic!("start scripts/{name}: {e}"));
    assert!(made.status.success(), "scripts/{name}: {}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8(made.stdout).expect("a path in UTF-8").trim())
}
