//! Texts that mean harm.

use std::time::Instant;

use kiln_clusterfile::{Flags, MAX_BYTES};
use proptest::prelude::*;

use super::{cluster, with_flags, with_spec, wrong};

#[test]
fn bombs_do_not_grow() {
    let mut bomb = String::from(
        "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  env: &a0 [A=b, A=b, A=b, A=b, A=b, A=b, A=b, A=b, A=b]\n",
    );
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        bomb.push_str(&format!("  x{i}: &a{i} [{}]\n", [&*before; 9].join(", ")));
    }
    let start = Instant::now();
    assert!(!wrong(&bomb).is_empty());
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    let deep = format!("apiVersion: sealer.io/v2\nkind: Cluster\nspec: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(wrong(&deep)[0].starts_with("E BadYaml"));
}

#[test]
fn counts_have_limits() {
    let hosts = |ips: &str| {
        wrong(&format!(
            "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {{ips: [{ips}], roles: [master]}}\n"
        ))
    };
    for ips in ["0.0.0.0-255.255.255.255", "'::-ffff::'", "10.0.0.0-10.0.200.0"] {
        let found = hosts(ips);
        assert!(found[0].contains("more than 10000 hosts"), "{found:?}");
    }
    let labels: String = (0..2000).map(|i| format!("l{i}: a, ")).collect();
    let many = wrong(&format!(
        "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {{ips: [10.0.0.0-10.0.20.0], roles: [master], labels: {{{labels}}}}}\n"
    ));
    assert_eq!(many, ["E TooLarge 5: more than 200000 labels, taints and variables on all hosts"]);
    let pairs: String = (0..60).map(|i| format!("    10.0.0.0-10.0.20.0 l{i}=a\n")).collect();
    let many = wrong(&format!(
        "apiVersion: sealer.io/v1\nkind: Plugin\nmetadata: {{name: a}}\nspec:\n  type: LABEL\n  data: |\n{pairs}"
    ));
    assert!(many[0].contains("more than 200000 pairs"), "{many:?}");
    let long = format!("{}#{}", with_spec(""), "x".repeat(MAX_BYTES));
    assert_eq!(wrong(&long), ["E TooLarge 1: a Clusterfile has at most 4 MiB"]);
    let mistakes: String = (0..5000).map(|i| format!("x{i}: 1\n")).collect();
    assert!(wrong(&with_spec(&mistakes)).len() <= 200);
}

#[test]
fn the_largest_cluster_is_read_quickly() {
    let start = Instant::now();
    let cluster = cluster(
        "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {ips: [10.0.0.1], roles: [master]}\n  - {ips: [10.1.0.0-10.1.39.14], roles: [node], labels: {a: b}}\n",
    );
    assert_eq!(cluster.hosts.len(), 10_000);
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

/// Pieces that Clusterfiles are made of, and some that they are not.
const PIECES: [&str; 40] = [
    "apiVersion: sealer.io/v2\n",
    "apiVersion: apps.sealos.io/v1beta1\n",
    "apiVersion: kubeadm.k8s.io/v1beta2\n",
    "kind: Cluster\n",
    "kind: Config\n",
    "kind: Plugin\n",
    "kind: ClusterConfiguration\n",
    "metadata: {name: a}\n",
    "spec:\n",
    "---\n",
    "  hosts:\n",
    "  - ips: [10.0.0.1-10.0.0.3]\n",
    "    roles: [master]\n",
    "    labels: {a: b}\n",
    "    taints: ['a:NoSchedule-']\n",
    "  ssh: {passwd: x}\n",
    "  env: [A=b]\n",
    "  image: a\n",
    "  image: [a, b]\n",
    "  type: LABEL\n",
    "  type: TAINT\n",
    "  action: PreInit|PostInstall\n",
    "  data: |\n",
    "    10.0.0.1 a=b\n",
    "    é ü\n",
    "  on: master\n",
    "  path: etc/a.yml\n",
    "  strategy: merge\n",
    "  process: value|toJson\n",
    "  network: {podCIDR: '10.0.0.0/8,::/0'}\n",
    "  masters: {ipList: ['[::1]:22']}\n",
    "  certSANS: [a]\n",
    "&a ",
    "*a\n",
    "{",
    "]",
    "\"",
    "\t",
    "\u{feff}",
    "é: ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics(picks in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let text: String = picks.into_iter().map(|i| PIECES[i]).collect();
        let read = with_flags(&text, &Flags { nodes: Some("10.0.0.9".into()), ..Flags::default() });
        prop_assert!(read.cluster.is_some() || !read.found.is_empty());
        for found in &read.found {
            let span = found.diagnostic.span;
            prop_assert!(span.start <= span.end && span.end <= found.source.text.len(), "{span:?} in {text:?}");
        }
    }
}
