//! A cluster made by hand, as an administrator with kubeadm does it: what the bed is proved with, and what launching by Kiln
//! is compared with.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testkit::Fleet;
use kiln_testkit::fleet::{Host, kubernetes};

const KUBELET: &str = "\
[Unit]
Description=kubelet
After=containerd.service
[Service]
ExecStart=/usr/bin/kubelet
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
";

/// Kubernetes' own drop-in for kubeadm.
const DROP_IN: &str = "\
[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"
Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS
";

/// Two replicas, never both on one host, behind port 30080 of every node.
pub const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}
      containers:
        - {name: web, image: 'kiln.test/web:1', ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
";

/// Before a command of the shell: who it is for the API.
pub const ADMIN: &str = "KUBECONFIG=/etc/kubernetes/admin.conf";

/// Installs what kubeadm wants to find, and loads images into the host's containerd.
pub fn prepare(host: &Host, images: &Path, wanted: &[&str]) {
    host.write("/etc/systemd/system/kubelet.service", 0o644, KUBELET);
    host.write("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", 0o644, DROP_IN);
    let _ = host
        .run(
            "set -e
            for name in kubeadm kubelet kubectl crictl; do ln -s /opt/kubernetes/$name /usr/bin/$name; done
            mkdir -p /opt/cni/bin && ln -s /opt/kubernetes/cni/* /opt/cni/bin/
            echo 1 > /proc/sys/net/ipv4/ip_forward
            pause=$(kubeadm config images list --kubernetes-version $(kubelet --version | sed 's/.* //') 2>/dev/null | grep /pause:)
            printf 'version = 2\\n[plugins.\"io.containerd.grpc.v1.cri\"]\\nsandbox_image = \"%s\"\\n' $pause > /etc/containerd/config.toml
            systemctl daemon-reload
            systemctl enable --now kubelet
            systemctl restart containerd",
        )
        .ok();
    for image in wanted {
        let archive = images.join(format!("images/{image}.tar"));
        let mut command = host.command(&["ctr", "-n", "k8s.io", "images", "import", "-"]);
        let archive = File::open(&archive).unwrap_or_else(|e| panic!("open {}: {e}", archive.display()));
        let loaded = command.stdin(archive).output().unwrap();
        assert!(loaded.status.success(), "{image}: {}", String::from_utf8_lossy(&loaded.stderr));
    }
}

/// kubeadm's documents for the first host.
pub fn documents(host: &Host, version: &str) -> String {
    let api = match kubernetes::minor(version) {
        ..=21 => "v1beta2",
        22..=30 => "v1beta3",
        _ => "v1beta4",
    };
    format!(
        "apiVersion: kubeadm.k8s.io/{api}
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {}}}
nodeRegistration: {{criSocket: 'unix:///run/containerd/containerd.sock'}}
---
apiVersion: kubeadm.k8s.io/{api}
kind: ClusterConfiguration
kubernetesVersion: {version}
networking: {{podSubnet: {}}}
---
{}",
        host.address(),
        kubernetes::PODS,
        kubernetes::documents(version)
    )
}

/// Makes the first host a cluster.
pub fn init(host: &Host, version: &str) {
    host.write("/root/kubeadm.yaml", 0o600, documents(host, version));
    let ignored = kubernetes::IGNORED;
    let said = host.ssh(&format!("kubeadm init --config /root/kubeadm.yaml --ignore-preflight-errors={ignored}"));
    assert_eq!(said.code, 0, "kubeadm init failed: {said}\n{}", state(host));
}

/// Makes another host part of it.
pub fn join(first: &Host, host: &Host) {
    let line = first.ssh(&format!("{ADMIN} kubeadm token create --print-join-command 2>/dev/null")).ok();
    let said = host.ssh(&format!("{} --ignore-preflight-errors={}", line.text(), kubernetes::IGNORED));
    assert_eq!(said.code, 0, "kubeadm join failed: {said}\n{}", state(host));
}

/// `kubectl` on the first host; its output.
pub fn kubectl(first: &Host, arguments: &str) -> String {
    first.run(&format!("{ADMIN} kubectl {arguments}")).ok().text().to_owned()
}

/// Gives pods a network, and waits until all nodes say that they have one.
pub fn connect(first: &Host) {
    first.write("/root/kube-flannel.yml", 0o644, kubernetes::FLANNEL);
    let _ = kubectl(first, "apply -f /root/kube-flannel.yml");
    let _ = kubectl(first, "wait --for=condition=Ready nodes --all --timeout=180s");
}

/// Asks until there is an answer.
pub fn wait<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < patience, "{what}: not after {} s", patience.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What port 30080 of a host answers: the name of a pod, or nothing.
pub fn asked(fleet: &Fleet, host: &Host) -> Option<String> {
    asked_at(fleet, &format!("{}:30080", host.address()))
}

/// What a port of an address answers.
pub fn asked_at(fleet: &Fleet, to: &str) -> Option<String> {
    answer(fleet.command("curl").args(["-s", "-g", "-m", "2", &format!("http://{to}/")]))
}

/// What a client says, if it ends well and says something.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().expect("start nsenter");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// What helps to understand a node that failed.
pub fn state(host: &Host) -> String {
    let script = "journalctl --no-pager -n 40 -u kubelet; crictl ps -a; crictl pods; \
        for id in $(crictl ps -a -q | head -n 4); do crictl logs $id | tail -n 5; done";
    host.run(script).to_string()
}
