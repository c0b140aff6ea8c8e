//! A pod network of another maker: what the API server takes of its manifests, and what is said when it never works. No
//! images of Calico's are to be had here: its operator is one that does nothing.

use std::fs;

use kiln_testkit::Fleet;
use kiln_testkit::fleet::kubernetes;

use crate::by_hand::kubectl;
use crate::launcher::{Launcher, assert_as_found, footprint};

/// A kind that the manifest defines.
fn definition(kind: &str, plural: &str, about: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.operator.tigera.io}}
spec:
  group: operator.tigera.io
  names: {{kind: {kind}, plural: {plural}, singular: {singular}, listKind: {kind}List}}
  scope: Cluster
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true, description: '{about}'}}
---
"
    )
}

/// Builds the image `calico:TAG`: Kubernetes with these manifests.
fn image(launcher: &Launcher<'_>, tag: &str, files: &[(&str, &str)]) {
    let directory = launcher.fleet.directory().join(tag);
    for (name, text) in files {
        let path = directory.join("manifests").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let kubefile = format!("FROM kubernetes:{}\nCOPY manifests manifests\n", launcher.version);
    fs::write(directory.join("Kubefile"), kubefile).unwrap();
    launcher.kiln(&["cluster", "build", "-q", "-t", &format!("calico:{tag}"), directory.to_str().unwrap()]);
}

const OPERATOR: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: tigera-operator, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: tigera-operator}}
  template:
    metadata: {labels: {k8s-app: tigera-operator}}
    spec:
      hostNetwork: true
      tolerations: [{operator: Exists}]
      containers: [{name: tigera-operator, image: 'k8s.gcr.io/pause:3.2'}]
---
apiVersion: operator.tigera.io/v1
kind: APIServer
metadata: {name: default}
spec: {}
";

const INSTALLATION: &str = "apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default}
spec:
  calicoNetwork:
    ipPools:
      - blockSize: 26
        cidr: 192.168.0.0/16
        encapsulation: VXLAN
";

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn calicos_operator_gets_the_network_of_pods_and_nodes_without_one_are_told() {
    let fleet = Fleet::start(1);
    let launcher = Launcher::new(&fleet);
    let one = fleet.host(1);
    let before = footprint(one);
    // Too large for what `kubectl apply` notes of it in an annotation, as the operator's own are.
    let long = "a pod network ".repeat(20_000);
    let kinds = definition("Installation", "installations", &long) + &definition("APIServer", "apiservers", "another");
    let operator = kinds + OPERATOR;
    image(&launcher, "1", &[("tigera-operator.yaml", &operator), ("custom-resources.yaml", INSTALLATION)]);
    let file = launcher.clusterfile(1, 0);
    Launcher::say(&file, "  network: {cniName: calico}\n");

    let words = ["calico:1", "-f", &file, &Launcher::ignore(), "--wait", "20"];
    let run = launcher.said(&Launcher::words("run", &words)).exits(3);
    // What the API server has of it.
    let pools = kubectl(one, "get installation default -o 'jsonpath={.spec.calicoNetwork.ipPools[*].cidr}'");
    assert_eq!(pools, "10.244.0.0/16", "{run}");
    assert_eq!(kubectl(one, "get apiserver.operator.tigera.io -o name"), "apiserver.operator.tigera.io/default");
    assert!(kubectl(one, "-n kube-system get pods").contains("tigera-operator-"));
    // And why nobody can work with it.
    let (host, why) = ("10.77.0.11", "cni plugin not initialized");
    assert!(run.stderr.contains("verify") && run.stderr.contains(host) && run.stderr.contains(why), "{run}");
    let runs =
        |line: &str| line.contains("pod kube-system/tigera-operator-") && line.contains("there is no network for pods");
    assert!(run.stderr.lines().any(runs), "{run}");
    launcher.cluster("reset", &[]);
    assert_as_found(one, &before);
}

const NODE: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: calico-node, namespace: kube-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: calico-config, namespace: kube-system}
data:
  calico_backend: bird
  cni_network_config: |-
    {\"cniVersion\": \"0.3.1\", \"plugins\": [{\"type\": \"calico\", \"mtu\": __CNI_MTU__, \"ipam\": {\"type\": \"calico-ipam\"}}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: calico-node}}
  template:
    metadata: {labels: {k8s-app: calico-node}}
    spec:
      hostNetwork: true
      serviceAccountName: calico-node
      tolerations: [{operator: Exists}]
      initContainers:
        - name: install-cni
          image: kiln.test/flannel:1
          command: [cp]
          args: [-f, /of-calico, /host]
      containers:
        - name: calico-node
          image: 'k8s.gcr.io/pause:3.2'
          env:
            # How it finds its address.
            - name: IP
              value: autodetect
            # - name: CALICO_IPV4POOL_CIDR
            #   value: 192.168.0.0/16
            - name: FELIX_IPV6SUPPORT
              value: \"false\"
---
apiVersion: operator.tigera.io/v1
kind: APIServer
metadata: {name: default}
spec: {}
";

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn calicos_own_files_are_applied_together_and_its_pods_say_why_they_fail() {
    let fleet = Fleet::start(1);
    let launcher = Launcher::new(&fleet);
    let one = fleet.host(1);
    let before = footprint(one);
    let kind = definition("APIServer", "apiservers", "one");
    let later = format!("{NODE}---\napiVersion: policy/v9\nkind: PodDisruptionBudget\nmetadata: {{name: calico}}\n");
    image(&launcher, "later", &[("calico-crds.yaml", &kind), ("calico.yaml", &later)]);
    image(&launcher, "1", &[("calico-crds.yaml", &kind), ("calico.yaml", NODE)]);
    let file = launcher.clusterfile(1, 0);
    Launcher::say(&file, "  network: {cniName: calico, interface: eth0}\n");

    // Of a later Kubernetes: told at once, as it is in the image.
    let words = ["calico:later", "-f", &file, &Launcher::ignore()];
    let run = launcher.said(&Launcher::words("run", &words)).exits(3);
    let line = NODE.lines().count() + 2;
    let place = format!("manifests/calico.yaml:{line}: PodDisruptionBudget of policy/v9");
    assert!(run.stderr.contains(&place), "{run}");

    let words = ["calico:1", "-f", &file, &Launcher::ignore(), "--resume", "--wait", "30"];
    let run = launcher.said(&Launcher::words("run", &words)).exits(3);
    let variables = "-n kube-system get daemonset calico-node -o \
                     'jsonpath={range .spec.template.spec.containers[0].env[*]}{.name}={.value} {end}'";
    let told = kubectl(one, variables);
    for variable in ["CALICO_IPV4POOL_CIDR=10.244.0.0/16", "IP=autodetect", "IP_AUTODETECTION_METHOD=interface=^eth0$"]
    {
        assert!(told.split(' ').any(|own| own == variable), "{variable}: {told}");
    }
    assert_eq!(kubectl(one, "get apiserver.operator.tigera.io -o name"), "apiserver.operator.tigera.io/default");
    for part in
        ["container install-cni of pod kube-system/calico-node-", " ended with status 1", "| cp: ", "/of-calico"]
    {
        assert!(run.stderr.contains(part), "{part}: {run}");
    }

    // Put right, and gone on with: as Canal has it, flannel brings packets to other hosts, and Calico keeps policies.
    let policies = NODE
        .replace("/of-calico", "/flannel")
        .replace("          env:\n", "          env:\n            - {name: CALICO_NETWORKING_BACKEND, value: none}\n");
    let flannel = kubernetes::FLANNEL.replace(kubernetes::PODS, "10.99.0.0/16");
    image(
        &launcher,
        "canal",
        &[("canal/calico.yaml", &policies), ("canal/crds.yaml", &kind), ("canal/flannel.yaml", &flannel)],
    );
    let text = fs::read_to_string(&file).unwrap().replace("cniName: calico", "cniName: canal");
    fs::write(&file, text).unwrap();
    let words = ["calico:canal", "-f", &file, &Launcher::ignore(), "--resume"];
    launcher.kiln(&Launcher::words("run", &words));
    assert!(!kubectl(one, variables).contains("CALICO_IPV4POOL_CIDR"));
    let told = "-n kube-system get daemonset kube-flannel-ds -o 'jsonpath={.spec.template.spec.containers[0].args}'";
    assert!(kubectl(one, told).contains("--iface=eth0"), "{}", kubectl(one, told));
    let conf = kubectl(one, "-n kube-system get configmap kube-flannel-cfg -o 'jsonpath={.data}'");
    assert!(conf.contains(kubernetes::PODS) && !conf.contains("10.99."), "{conf}");
    launcher.cluster("reset", &[]);
    assert_as_found(one, &before);
}
