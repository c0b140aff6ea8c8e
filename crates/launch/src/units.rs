//! Files of hosts that are the same everywhere: units of systemd, settings of the kernel.

use crate::facts::{AGENT, HOME};

/// Modules of the kernel that nodes need.
pub const MODULES: [&str; 2] = ["overlay", "br_netfilter"];
/// Modules that kube-proxy uses in the mode `ipvs`.
pub const IPVS_MODULES: [&str; 5] = ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "nf_conntrack"];
/// The file with the settings of the kernel.
pub const SYSCTL: &str = "/etc/sysctl.d/99-kiln-kubernetes.conf";

/// Settings of the kernel. `advertised` are devices whose default route of IPv6 the kernel has from routers that advertise it:
/// a host that forwards takes it from them no longer, unless it is told to, and that comes first.
pub fn sysctl(ipv6: bool, advertised: &[String]) -> String {
    let mut text = String::from(
        "# Written by kiln.\nnet.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n",
    );
    if ipv6 {
        for device in advertised {
            text.push_str(&format!("net/ipv6/conf/{device}/accept_ra = 2\n"));
        }
        text.push_str("net.ipv6.conf.all.forwarding = 1\nnet.ipv6.conf.default.forwarding = 1\n");
    }
    text
}

/// Modules that are loaded at boot.
pub fn modules() -> String {
    format!("# Written by kiln.\n{}\n", MODULES.join("\n"))
}

/// The kubelet, as kubeadm expects it.
pub const KUBELET: &str = "\
# Written by kiln.
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target containerd.service docker.service

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
";

/// What kubeadm adds to it.
pub const KUBELET_KUBEADM: &str = "\
# Written by kiln.
[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"
Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
";

/// containerd, where the image brings it.
pub const CONTAINERD: &str = "\
# Written by kiln.
[Unit]
Description=containerd container runtime
After=network.target local-fs.target

[Service]
ExecStart=/usr/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
LimitNOFILE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
";

/// The registry of the cluster, which serves what the host's store has of one image, to those in the file `users`, or to all.
pub fn registry(image: &str, ipv6: bool, port: u16, tls: bool, users: Option<&str>, names: &[String]) -> String {
    // Who has IPv6 answers both families at its address of all.
    let all = if ipv6 { "[::]" } else { "0.0.0.0" };
    let mut words =
        vec![AGENT.to_owned(), "--store".into(), format!("{HOME}/store"), "registry".into(), "serve".into()];
    words.extend(["--image".into(), image.to_owned(), "--addr".into(), format!("{all}:{port}"), "--read-only".into()]);
    words.extend(users.into_iter().flat_map(|path| ["--htpasswd".to_owned(), path.to_owned()]));
    if tls {
        words.extend(["--tls-self".into(), format!("{HOME}/registry")]);
        for name in names {
            words.extend(["--tls-name".into(), name.clone()]);
        }
    }
    format!(
        "# Written by kiln.\n[Unit]\nDescription=Registry of the cluster's images\nWants=network-online.target\nAfter=network-online.target\n\n\
         [Service]\nType=notify\nExecStart={}\nRestart=always\nRestartSec=2\nLimitNOFILE=65536\n\n[Install]\nWantedBy=multi-user.target\n",
        words.join(" ")
    )
}

/// The way of a node to the API servers of several masters.
pub fn balancer(port: u16, masters: &[String]) -> String {
    format!(
        "# Written by kiln.\n[Unit]\nDescription=Way to the API servers of the cluster\nAfter=network.target\nBefore=kubelet.service\n\n\
         [Service]\nExecStart={AGENT} cluster agent balance --listen 127.0.0.1:{port} {}\nRestart=always\nRestartSec=2\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        masters.iter().map(|master| format!("--to {master}")).collect::<Vec<_>>().join(" ")
    )
}

/// The file of a time zone that is UTC (RFC 8536): one type, no transitions.
pub const UTC: &str =
    "TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0";

/// What the API server logs for its auditors, where the image has no policy: who did what, without contents.
pub const AUDIT_POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages:\n- RequestReceived\nrules:\n- level: Metadata\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_name_what_they_start() {
        let unit =
            registry("docker.io/library/shop:1", false, 5000, true, None, &["sea.hub".into(), "10.0.0.1".into()]);
        assert!(unit.contains("serve --image docker.io/library/shop:1 --addr 0.0.0.0:5000 --read-only --tls-self /var/lib/kiln/registry --tls-name sea.hub --tls-name 10.0.0.1\n"), "{unit}");
        let text = sysctl(true, &["eth0.7".to_owned()]);
        assert!(text.contains("\nnet/ipv6/conf/eth0.7/accept_ra = 2\nnet.ipv6.conf.all.forwarding = 1\n"), "{text}");
        assert!(!sysctl(false, &["eth0".to_owned()]).contains("ipv6"));
        let unit = registry("shop:1", true, 5000, false, Some("/u"), &[]);
        assert!(unit.contains("serve --image shop:1 --addr [::]:5000 --read-only --htpasswd /u\n"), "{unit}");
        let unit = balancer(6443, &["10.0.0.1:6443".into(), "10.0.0.2:6443".into()]);
        assert!(unit.contains("balance --listen 127.0.0.1:6443 --to 10.0.0.1:6443 --to 10.0.0.2:6443\n"), "{unit}");
    }
}
