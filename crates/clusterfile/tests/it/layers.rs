//! What kubeadm is told.

use kiln_clusterfile::kubeadm::of_host;
use kiln_clusterfile::{Cluster, Origin};
use kiln_kubeadm::{Layer, render, resolve};

use super::{cluster, with_spec, wrong};

const KUBEADM: &str = "---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\n";

fn lines(layers: &[Layer], part: &str) -> Vec<String> {
    let resolved = resolve(layers, None).unwrap_or_else(|found| panic!("{found:#?}"));
    let text = render::yaml(&resolved, true);
    text.lines().filter(|line| line.contains(part)).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_network_of_the_cluster_is_below_the_documents() {
    let spec = with_spec("network: {podCIDR: 10.244.0.0/16, svcCIDR: 10.97.0.0/22}");
    let one = cluster(&spec);
    assert_eq!(
        lines(&one.kubeadm, "Subnet"),
        ["podSubnet: 10.244.0.0/16  # Clusterfile:4", "serviceSubnet: 10.97.0.0/22  # Clusterfile:4"]
    );
    let text = format!("{spec}{KUBEADM}networking: {{podSubnet: 10.245.0.0/16}}\n");
    assert_eq!(lines(&cluster(&text).kubeadm, "podSubnet"), ["podSubnet: 10.245.0.0/16  # Clusterfile:9"]);
    assert_eq!(
        wrong(&text),
        [
            "W Overridden 9: `networking.podSubnet` wins over `spec.network.podCIDR` of Clusterfile:4 | remove one of the two"
        ]
    );
    let same = format!("{spec}{KUBEADM}networking: {{podSubnet: 10.244.0.0/16}}\n");
    assert!(wrong(&same).is_empty());
}

#[test]
fn names_of_the_certificate_are_those_of_both() {
    let spec = with_spec("certSANS: [a.example, 10.0.0.2]");
    assert_eq!(lines(&cluster(&spec).kubeadm, "example"), ["- a.example  # Clusterfile:4"]);
    let both = cluster(&format!("{spec}{KUBEADM}apiServer: {{certSANs: [b.example, 10.0.0.2]}}\n"));
    assert_eq!(lines(&both.kubeadm, "example"), ["- b.example  # Clusterfile:9", "- a.example  # Clusterfile:4"]);
    assert_eq!(lines(&both.kubeadm, "10.0.0.2").len(), 1);
}

fn of(cluster: &Cluster, i: usize, address: &str) -> Vec<Layer> {
    let host = &cluster.hosts[i];
    let addresses = [(address.parse().unwrap(), Origin::Flag("--node-address"))];
    std::iter::once(of_host(host, &addresses)).chain(cluster.kubeadm.iter().cloned()).collect()
}

#[test]
fn each_host_has_its_address_and_its_part() {
    let cluster = cluster(
        "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {ips: [10.0.0.1], roles: [master], name: m-0}\n  - {ips: [10.0.0.2], roles: [node]}\n",
    );
    let master = of(&cluster, 0, "192.168.0.1");
    assert_eq!(lines(&master, "advertiseAddress"), vec!["advertiseAddress: 192.168.0.1  # --node-address"; 2]);
    assert_eq!(lines(&master, "node-ip"), vec!["node-ip: 192.168.0.1  # --node-address"; 2]);
    assert_eq!(lines(&master, "m-0"), vec!["name: m-0  # Clusterfile:5"; 2]);
    let node = of(&cluster, 1, "192.168.0.2");
    assert_eq!(lines(&node, "controlPlane:").len(), 0, "a host that is no master joins as none");
    assert_eq!(lines(&master, "controlPlane:").len(), 1);
}

#[test]
fn the_documents_of_the_seed_are_taken_as_they_are() {
    let text = format!(
        "{}---
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
localAPIEndpoint:
  bindPort: 8443
nodeRegistration:
  criSocket: /var/run/dockershim.sock
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: JoinConfiguration
caCertPath: /etc/kubernetes/pki/ca.crt
discovery:
  timeout: 5m0s
controlPlane:
  localAPIEndpoint:
    bindPort: 8443
",
        with_spec("image: kubernetes:v1.19.8")
    );
    let cluster = cluster(&text);
    assert_eq!(
        lines(&cluster.kubeadm, "bindPort"),
        ["bindPort: 8443  # Clusterfile:10", "bindPort: 8443  # Clusterfile:21"]
    );
}
