//! What kubeadm runs.

use super::{same, shown};
use kiln_manifests::control_plane::{Request, images};

fn names(version: &str, repository: Option<&str>) -> Vec<String> {
    images(&Request { version, repository, ..Request::default() }).map(|i| i.names).unwrap_or_default()
}

#[test]
fn a_cluster_configuration_says_what_kubeadm_pulls() {
    same(
        &shown("apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: v1.19.8\nimageRepository: sea.hub:5000/library\n"),
        "+ 3:20 sea.hub:5000/library/kube-apiserver:v1.19.8 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/kube-controller-manager:v1.19.8 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/kube-scheduler:v1.19.8 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/kube-proxy:v1.19.8 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/coredns:1.7.0 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/pause:3.2 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]
        + 3:20 sea.hub:5000/library/etcd:3.4.13-0 ClusterConfiguration (without a name) kubernetesVersion [kubeadm]",
    );
}

#[test]
fn the_default_repository_has_coredns_below_a_path() {
    assert_eq!(
        names("1.30.6", None)[4..],
        ["registry.k8s.io/coredns/coredns:v1.11.3", "registry.k8s.io/pause:3.9", "registry.k8s.io/etcd:3.5.15-0"]
    );
    assert_eq!(names("v1.30.6", Some("r.io/x"))[4], "r.io/x/coredns:v1.11.3");
    assert_eq!(
        names("v1.20.2", None)[4..],
        ["k8s.gcr.io/coredns:1.7.0", "k8s.gcr.io/pause:3.2", "k8s.gcr.io/etcd:3.4.13-0"]
    );
    assert_eq!(names("v1.21.0-rc.0+build", None)[0], "k8s.gcr.io/kube-apiserver:v1.21.0-rc.0_build");
}

#[test]
fn dns_and_etcd_may_be_somewhere_else() {
    let found = shown(
        "apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
kubernetesVersion: v1.28.0
dns: {imageRepository: r.io/dns, imageTag: v9}
etcd: {local: {imageRepository: r.io/db, imageTag: v8}}
",
    );
    assert!(found.contains(" r.io/dns/coredns:v9 ") && found.contains(" r.io/db/etcd:v8 "), "{found}");
    let found = shown(
        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.28.0\netcd: {external: {endpoints: [a]}}\n",
    );
    assert!(!found.contains("/etcd:"), "{found}");
}

#[test]
fn versions_nobody_has_seen_are_warnings() {
    let of =
        |version: &str| shown(&format!("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n{version}\n"));
    for version in [
        "kubernetesVersion: stable",
        "kubernetesVersion: v1.99.0",
        "kubernetesVersion: 1.30",
        "kubernetesVersion: v2.0.0",
        "dns: {}",
    ] {
        assert!(of(version).starts_with("W UnknownVersion"), "{version}: {}", of(version));
    }
    assert!(of("kubernetesVersion: v1.34.5").contains("W UnknownVersion kubeadm v1.34.5 may run a later etcd"));
    assert!(!of("kubernetesVersion: v1.34.0").contains("W "));
    assert!(!of("kubernetesVersion: v1.34.5\netcd: {local: {imageTag: 3.6.5-0}}").contains("W "));
}
