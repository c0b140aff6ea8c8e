//! Clusterfiles of sealos.

use super::{cluster, line, one};

#[test]
fn images_hosts_and_settings() {
    let cluster = cluster(
        "apiVersion: apps.sealos.io/v1beta1
kind: Cluster
metadata:
  creationTimestamp: null
  name: default
spec:
  hosts:
  - ips: ['192.168.0.2:22', '192.168.0.3:2022']
    roles: [master, amd64]
  - ips: ['192.168.0.4:22']
    roles: [node, amd64]
  image: ['labring/kubernetes:v1.25.0', 'labring/helm:v3.8.2', 'labring/calico:v3.24.1']
  ssh: {passwd: xxx, pk: /root/.ssh/id_rsa, port: 22, user: root}
  command: ['kubectl get nodes']
status: {}
---
apiVersion: apps.sealos.io/v1beta1
kind: Config
metadata: {name: calico}
spec:
  path: charts/calico/values.yaml
  strategy: override
  match: docker.io/labring/calico:v3.24.1
  data: 'a: b'
",
    );
    assert_eq!(
        cluster.hosts.iter().map(line).collect::<Vec<_>>(),
        ["192.168.0.2 master", "192.168.0.3 master", "192.168.0.4 node"]
    );
    assert_eq!(cluster.hosts[1].ssh.port.as_ref().map(|port| port.value), Some(2022));
    assert_eq!(cluster.image.map(|image| image.value.familiar()), Some("labring/kubernetes:v1.25.0".to_owned()));
    assert_eq!(cluster.more_images.len(), 2);
    assert_eq!(cluster.command[0].value, "kubectl get nodes");
    assert!(
        cluster.notes.iter().any(|note| note.value.contains("`amd64`") && note.origin.to_string() == "Clusterfile:9")
    );
    assert_eq!(
        cluster.configs[0].image.as_ref().map(|image| image.value.familiar()),
        Some("labring/calico:v3.24.1".to_owned())
    );
}

#[test]
fn there_are_no_plugins() {
    let found = one("apiVersion: apps.sealos.io/v1beta1\nkind: Plugin\nmetadata: {name: a}\n");
    assert_eq!(
        found,
        "E UnknownKind 2: Plugin of apps.sealos.io/v1beta1 is nothing that a Clusterfile has | a document starts with `apiVersion: sealer.io/v2` and `kind: Cluster`"
    );
}
