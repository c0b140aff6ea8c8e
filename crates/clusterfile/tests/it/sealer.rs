//! Clusterfiles of sealer.

use kiln_clusterfile::Origin;
use kiln_clusterfile::model::{Cni, Role, Runtime};

use super::{cluster, line, with_spec};

const V2: &str = "\
apiVersion: sealer.io/v2
kind: Cluster
metadata:
  name: shop
spec:
  image: registry.example/shop:v3
  env:
  - Mode=prod
  - SANs=a.example
  - SANs=b.example
  cmd_args: [--wait]
  ssh: {user: ops, passwd: hunter2, port: '2222', jump: gate.example:22, sudoPasswd: hunter3}
  containerRuntime: {type: containerd}
  hostAliases:
  - ip: 10.0.0.9
    hostnames: [db.example, db]
  registry:
    localRegistry:
      domain: hub.example
      port: 5443
      username: admin
      password: hunter4
      ha: false
      cert: {subjectAltName: {dnsNames: [hub2.example], ips: [10.0.0.1]}}
  dataRoot: /data/cluster
  hosts:
  - ips: [10.0.0.1, 10.0.0.2-10.0.0.3]
    roles: [master, registry]
    env: [Mode=test]
  - ips: ['10.0.0.4:22']
    roles: [node, db]
    ssh: {pk: ~/.ssh/id, pkPasswd: hunter5}
    labels: {disk: ssd, example.com/empty: ''}
    taints: ['db=yes:NoSchedule', 'old:NoExecute-']
  - ips: [10.0.0.5]
    roles: [worker]
    name: edge-1
    addresses: [192.168.7.5, 'fd00::5']
    nodeAddress: 192.168.7.5
";

#[test]
fn what_v2_says_is_in_the_model_with_its_lines() {
    let cluster = cluster(V2);
    let image = cluster.image.clone().unwrap();
    assert_eq!(
        (image.value.to_string(), image.origin.to_string()),
        ("registry.example/shop:v3".into(), "Clusterfile:6".into())
    );
    assert_eq!((&*cluster.name.value, cluster.name.origin.to_string()), ("shop", "Clusterfile:4".to_owned()));
    let lines: Vec<String> = cluster.hosts.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "10.0.0.1 master,registry",
            "10.0.0.2 master,registry",
            "10.0.0.3 master,registry",
            "10.0.0.4 node,db",
            "10.0.0.5 node"
        ]
    );
    let env = |name: &str| cluster.env.get(name).unwrap().iter().map(|v| &*v.value).collect::<Vec<_>>();
    assert_eq!((env("SANs"), env("Mode")), (vec!["a.example", "b.example"], vec!["prod"]));
    assert_eq!(cluster.hosts[0].env.last("Mode"), Some("test"));
    assert_eq!(cluster.runtime.as_ref().map(|r| r.value), Some(Runtime::Containerd));
    assert_eq!(cluster.args[0].value, "--wait");
    assert_eq!(cluster.host_aliases[0].names[1].value, "db");
    assert_eq!(cluster.data_root.as_ref().map(|r| &*r.value), Some("/data/cluster"));
    assert_eq!(cluster.registry_hosts().len(), 3, "hosts with the role come before `ha`");
    let registry = &cluster.registry;
    assert_eq!((&*registry.domain.value, registry.port.value, registry.ha.value), ("hub.example", 5443, false));
    assert_eq!(registry.cert_sans.iter().map(|s| &*s.value).collect::<Vec<_>>(), ["hub2.example", "10.0.0.1"]);
}

#[test]
fn a_host_has_its_own_settings_over_those_of_all() {
    let cluster = cluster(V2);
    let [first, .., db, edge] = &*cluster.hosts else { panic!() };
    let port = |host: &kiln_clusterfile::Host| host.ssh.port.as_ref().map(|port| port.value);
    assert_eq!((port(first), port(db)), (Some(2222), Some(22)));
    assert_eq!(first.ssh.user.as_ref().map(|u| u.origin.to_string()), Some("Clusterfile:12".to_owned()));
    assert_eq!(db.ssh.password.as_ref().map(|p| p.value.expose()), Some("hunter2"));
    assert_eq!(db.ssh.passphrase.as_ref().map(|p| p.value.expose()), Some("hunter5"));
    assert_eq!((db.ssh.key.as_ref().map(|k| &*k.value), first.ssh.key.is_none()), (Some("~/.ssh/id"), true));
    assert_eq!(first.ssh.jump[0].host, "gate.example");
    let words: Vec<String> =
        db.labels.iter().map(|l| l.value.to_string()).chain(db.taints.iter().map(|t| t.value.to_string())).collect();
    assert_eq!(words, ["disk=ssd", "example.com/empty=", "db=yes:NoSchedule", "old:NoExecute-"]);
    assert!(db.is(&Role::Custom("db".into())));
    assert_eq!(edge.name.as_ref().map(|name| &*name.value), Some("edge-1"));
    assert_eq!(
        edge.addresses.iter().map(|a| a.value.to_string()).collect::<Vec<_>>(),
        ["10.0.0.5", "192.168.7.5", "fd00::5"]
    );
    assert_eq!(edge.node_address.as_ref().map(|a| a.value.to_string()), Some("192.168.7.5".to_owned()));
}

#[test]
fn nothing_secret_prints() {
    let text = format!("{:?}", cluster(V2));
    assert!(!text.replace("kubeadm", "").contains("hunter"), "{text}");
}

#[test]
fn v1_names_hosts_by_role_and_has_a_network() {
    for version in ["zlink.aliyun.com/v1alpha1", "sealer.aliyun.com/v1alpha1", "sealer.cloud/v1", "sealer.io/v1"] {
        let cluster = cluster(&format!(
            "apiVersion: {version}
kind: Cluster
metadata: {{name: old}}
spec:
  image: kubernetes:v1.19.8
  provider: BAREMETAL
  ssh: {{passwd: a, pk: '', pkPasswd: '', user: root}}
  network: {{interface: eth1, cniName: calico, podCIDR: 100.64.0.0/10, svcCIDR: 10.96.0.0/22, withoutCNI: false, backend: host-gw}}
  certSANS: [aliyun-inc.com, 10.0.0.2]
  masters: {{ipList: [172.20.125.1, 172.20.126.2-172.20.126.3], cpu: '', count: ''}}
  nodes: {{ipList: [172.20.126.8]}}
"
        ));
        assert_eq!(
            cluster.hosts.iter().map(line).collect::<Vec<_>>()[2..],
            ["172.20.126.3 master", "172.20.126.8 node"]
        );
        assert_eq!(cluster.network.cni.as_ref().map(|cni| &cni.value), Some(&Cni::Calico));
        assert_eq!(cluster.network.interface.as_ref().map(|i| &*i.value), Some("eth1"));
        assert_eq!(cluster.network.backend.as_ref().map(|backend| backend.value.name()), Some("host-gw"));
        assert_eq!(cluster.network.pod_cidrs[0].value.to_string(), "100.64.0.0/10");
        let notes: Vec<&str> = cluster.notes.iter().map(|note| &*note.value).collect();
        assert_eq!(
            notes.iter().any(|note| note.contains("is read as sealer.io")),
            version != "sealer.io/v1",
            "{notes:?}"
        );
        assert!(notes.iter().any(|note| note.contains("hosts with the role master")), "{notes:?}");
    }
}

#[test]
fn what_nobody_says_is_a_default() {
    let cluster = cluster(&with_spec("image: kubernetes:v1.19.8"));
    assert_eq!((&*cluster.name.value, &cluster.name.origin), ("my-cluster", &Origin::Default));
    let registry = &cluster.registry;
    assert_eq!(
        (&*registry.domain.value, registry.port.value, registry.ha.value, registry.external),
        ("sea.hub", 5000, true, false)
    );
    assert!(cluster.network.pod_cidrs.is_empty() && cluster.runtime.is_none() && cluster.kubeadm.is_empty());
}

#[test]
fn networks_of_both_families() {
    let cluster = cluster(&with_spec(
        "network: {podCIDR: '10.244.0.0/16,fd00:10::/56', svcCIDR: '10.96.0.0/22', withoutCNI: true}",
    ));
    assert_eq!(cluster.network.pod_cidrs.len(), 2);
    assert_eq!(cluster.network.cni.map(|cni| cni.value), Some(Cni::None));
}
