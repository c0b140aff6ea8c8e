//! Newer releases of Kubernetes.

use super::{lines, resolved};
use kiln_kubeadm::{Api, render};

#[test]
fn each_release_has_its_api() {
    for (version, api) in [
        ("v1.19.8", Api::V1beta2),
        ("v1.22.0", Api::V1beta3),
        ("v1.30.2", Api::V1beta3),
        ("v1.31.0", Api::V1beta4),
        ("v1.35.1", Api::V1beta4),
    ] {
        let resolved = resolved("", "", Some(version));
        assert_eq!(resolved.api, api, "{version}");
        assert_eq!(
            lines(&resolved, "kubernetesVersion"),
            [format!(
                "kubernetesVersion: {version}  # {}",
                if version == "v1.19.8" { "default:11" } else { "--kubernetes" }
            )]
        );
        assert!(render::yaml(&resolved, false).contains(&format!("kubeadm.k8s.io/{}\n", api.name())));
    }
}

#[test]
fn what_1_30_no_longer_accepts_is_changed_and_said() {
    let resolved = resolved("", "", Some("v1.30.2"));
    let text = render::yaml(&resolved, false);
    for gone in [
        "dockershim",
        "TTLAfterFinished",
        "EphemeralContainers",
        "experimental-cluster-signing-duration",
        "feature-gates",
    ] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(lines(&resolved, "signing"), ["cluster-signing-duration: 876000h  # default:47, changed"]);
    let said: Vec<String> = resolved.changes.iter().map(|c| format!("{} ({})", c.path, c.origin)).collect();
    for path in [
        "ClusterConfiguration.kubernetesVersion (default:11)",
        "ClusterConfiguration.controllerManager.extraArgs.experimental-cluster-signing-duration (default:47)",
        "ClusterConfiguration.scheduler.extraArgs.feature-gates (default:56)",
        "InitConfiguration.nodeRegistration.criSocket (default:7)",
        "JoinConfiguration.nodeRegistration.criSocket (default:151)",
    ] {
        assert!(said.iter().any(|s| s == path), "{path} in {said:#?}");
    }
}

#[test]
fn v1beta4_has_arguments_in_lists_and_timeouts_in_one_place() {
    let resolved = resolved(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  extraArgs:
  - {name: audit-log-maxage, value: '30'}
  - {name: service-account-issuer, value: a}
  - {name: service-account-issuer, value: b}
",
        "apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
apiServer: {timeoutForControlPlane: 9m0s, extraArgs: {audit-log-maxage: '10', audit-log-path: null}}
",
        Some("v1.31.0"),
    );
    let text = render::yaml(&resolved, false);
    assert!(text.contains("  - name: audit-log-maxage\n    value: \"30\"\n"), "{text}");
    assert_eq!(lines(&resolved, "audit-log-max").len(), 3);
    assert_eq!(lines(&resolved, "service-account-issuer").len(), 2, "a flag may be there more than once");
    assert_eq!(lines(&resolved, "audit-log-path").len(), 0, "{text}");
    assert_eq!(
        lines(&resolved, "controlPlaneComponentHealthCheck"),
        vec!["controlPlaneComponentHealthCheck: 9m0s  # etc/kubeadm.yml:3"; 2]
    );
    assert_eq!(lines(&resolved, "discovery: 5m0s").len(), 1);
    assert!(!text.contains("timeoutForControlPlane") && !text.contains("discovery:\n"), "{text}");
}

#[test]
fn sockets_taints_and_flags_of_kubelets_follow_the_release() {
    let text = "apiVersion: kubeadm.k8s.io/v1beta3
kind: JoinConfiguration
nodeRegistration:
  criSocket: /run/x.sock
  taints: [{key: node-role.kubernetes.io/master, effect: NoSchedule}]
  kubeletExtraArgs: {container-runtime: remote, v: '2', feature-gates: 'A=true,CSIInlineVolume=true'}
";
    let newer = resolved(text, "", Some("v1.28.0"));
    assert_eq!(lines(&newer, "x.sock"), ["criSocket: unix:///run/x.sock  # Clusterfile:4, changed"]);
    assert_eq!(lines(&newer, "node-role"), ["- key: node-role.kubernetes.io/control-plane  # Clusterfile:5, changed"]);
    assert_eq!(lines(&newer, "container-runtime").len(), 0);
    assert_eq!(lines(&newer, "feature-gates"), ["feature-gates: A=true  # Clusterfile:6, changed"]);
    let older = resolved(text, "", Some("v1.22.1"));
    assert_eq!(lines(&older, "x.sock"), ["criSocket: /run/x.sock  # Clusterfile:4"]);
    assert_eq!(lines(&older, "container-runtime").len(), 1);
}

#[test]
fn dropped_fields_of_v1beta2_are_said() {
    let resolved = resolved(
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nuseHyperKubeImage: false\ndns: {type: CoreDNS, imageTag: v1}\n",
        "",
        Some("v1.25.0"),
    );
    let said: Vec<_> = resolved.changes.iter().map(|c| &*c.path).collect();
    assert!(
        said.contains(&"ClusterConfiguration.useHyperKubeImage") && said.contains(&"ClusterConfiguration.dns.type"),
        "{said:?}"
    );
    assert!(lines(&resolved, "type: CoreDNS").is_empty());
}

#[test]
fn gates_and_flags_go_with_the_release_that_dropped_them() {
    let user = "apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
featureGates: {EtcdLearnerMode: true, PublicKeysECDSA: true}
apiServer: {extraArgs: {logtostderr: 'true', service-account-api-audiences: a, v: '2'}}
scheduler: {extraArgs: {feature-gates: 'PodSecurity=true,NodeSwap=true,SeccompDefault=true', log-dir: /x}}
controllerManager: {extraArgs: {pod-eviction-timeout: 5m, port: '0'}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
featureGates: {NodeSwap: true, SeccompDefault: true}
";
    for (version, gone, kept) in [
        (
            "v1.23.0",
            vec!["policy-config-file"],
            vec!["logtostderr", "pod-eviction-timeout", "port: \"0\"", "SeccompDefault: true"],
        ),
        (
            "v1.26.0",
            vec!["logtostderr", "log-dir", "port: \"0\"", "service-account-api-audiences"],
            vec!["api-audiences: a", "pod-eviction-timeout", "PodSecurity=true"],
        ),
        (
            "v1.28.0",
            vec!["PodSecurity", "pod-eviction-timeout"],
            vec!["NodeSwap=true,SeccompDefault=true", "SeccompDefault: true"],
        ),
        ("v1.30.0", vec!["SeccompDefault"], vec!["feature-gates: NodeSwap=true", "NodeSwap: true", "EtcdLearnerMode"]),
        (
            "v1.33.0",
            vec!["EtcdLearnerMode", "logtostderr"],
            vec!["PublicKeysECDSA: true", "value: NodeSwap=true", "name: v"],
        ),
    ] {
        let resolved = resolved(user, "", Some(version));
        let text = render::yaml(&resolved, false);
        gone.iter().for_each(|part| assert!(!text.contains(part), "{part} in {version}:\n{text}"));
        kept.iter().for_each(|part| assert!(text.contains(part), "no {part} in {version}:\n{text}"));
    }
    let told = resolved(user, "", Some("v1.33.0")).changes;
    let of = |path: &str| told.iter().filter(|change| change.path.ends_with(path)).count();
    assert_eq!(
        (of("featureGates.EtcdLearnerMode"), of("featureGates.SeccompDefault"), of("extraArgs.logtostderr")),
        (1, 1, 1)
    );
}
