//! Garbage in every file that is read, files that cannot be read, and very many things.

use std::fs;
use std::os::unix::fs::symlink;

use kiln_doctor::facts::gather;
use kiln_doctor::report::{Outcome, Report, text};
use kiln_doctor::{Fleet, checks};

use crate::bench::Bench;

/// All files that [`gather`] reads.
const FILES: &[&str] = &[
    "etc/cni/net.d/10-flannel.conflist",
    "run/flannel/subnet.env",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "run/systemd/resolve/resolv.conf",
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/manifests/kube-apiserver.yaml",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    "etc/containerd/config.toml",
    "etc/NetworkManager/NetworkManager.conf",
    "etc/systemd/network/10-all.network",
    "etc/ufw/ufw.conf",
    "etc/sysctl.d/99.conf",
    "etc/sysctl.conf",
    "opt/cni/bin/bridge",
    "opt/cni/bin/flannel",
    "var/lib/calico/nodename",
    "var/lib/cni/results/cbr0-c1-eth0",
    "var/lib/kubelet/pods/uid/volumes/kubernetes.io~configmap/flannel-cfg/net-conf.json",
    "var/log/audit/audit.log",
    "var/log/kern.log",
    "etc/default/kubelet",
    // No socket: it is left alone.
    "run/containerd/containerd.sock",
    "var/lib/cni/networks/cbr0/10.244.0.9",
    "var/lib/cni/networks/cbr0/not an address",
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/log/pods/kube-system_etcd-a_1/etcd/3.log",
];

fn write(root: &std::path::Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn garbage_everywhere() {
    let deep = "[".repeat(100_000);
    let alias = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n";
    let bodies: [&[u8]; 8] = [
        b"",
        b"\0\xff\xfe\x1b]0;title\x07\x1b[2J",
        deep.as_bytes(),
        alias.as_bytes(),
        b"{\"plugins\":{},\"type\":[],\"name\":1e999}",
        b"FLANNEL_SUBNET=10.244.0.1/999\nFLANNEL_MTU=-1\nnameserver\nnet.ipv4.ip_forward=\n[Match]\nName=\n",
        b"\x7fELF",
        &[b'x'; 1 << 21],
    ];
    for body in bodies {
        let directory = tempfile::tempdir().unwrap();
        FILES.iter().for_each(|path| write(directory.path(), path, body));
        let facts = gather(directory.path(), None).unwrap();
        let fleet = Fleet::new(vec![facts.clone(), facts]);
        let shown = text::render(&Report::new(&fleet));
        assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{shown:?}");
    }
}

#[test]
fn what_cannot_be_read_is_said_and_is_not_absent() {
    let bench = Bench::new(1);
    for path in ["etc/cni/net.d/10-flannel.conflist", "run/flannel/subnet.env", "etc/resolv.conf"] {
        let (full, kept) = (bench.root(0).join(path), bench.root(0).join("kept"));
        fs::rename(&full, &kept).unwrap();
        // A pipe would be waited for, a device has no end, a link leads out of the root or in a circle.
        for make in [pipe, device, circle] {
            make(&full);
            let fleet = bench.fleet();
            let report = Report::new(&fleet);
            let unread: Vec<&str> = fleet.hosts[0].unread.iter().map(|unread| unread.what.as_str()).collect();
            assert_eq!(unread, [format!("/{path}")], "{path}");
            assert!(report.findings.is_empty(), "{path} {:#?}", report.findings);
            assert_eq!(report.outcome(), Outcome::Unknown);
            fs::remove_file(&full).unwrap();
        }
        fs::rename(&kept, &full).unwrap();
    }
    assert_eq!(Report::new(&bench.fleet()).outcome(), Outcome::Healthy);
}

fn pipe(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn device(path: &std::path::Path) {
    assert!(std::process::Command::new("mknod").arg(path).args(["c", "1", "5"]).status().unwrap().success());
}

fn circle(path: &std::path::Path) {
    symlink(path.file_name().unwrap(), path).unwrap();
}

#[test]
fn links_do_not_lead_out_of_a_root() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "nameserver 10.9.9.9\n").unwrap();
    fs::create_dir(directory.path().join("etc")).unwrap();
    symlink(outside.path().join("secret"), directory.path().join("etc/resolv.conf")).unwrap();
    symlink("../../../../../../../../proc/self/environ", directory.path().join("etc/hostname")).unwrap();
    let facts = gather(directory.path(), None).unwrap();
    assert!(facts.system.resolv.is_empty() && facts.name == "host", "{facts:#?}");
}

#[test]
fn ten_thousand_leases_and_a_thousand_links() {
    let bench = Bench::new(1);
    let leases = bench.root(0).join("var/lib/cni/networks/cbr0");
    for i in 0..10_000 {
        fs::write(leases.join(format!("10.244.{}.{}", i / 250 + 1, i % 250 + 1)), "gone\r\neth0").unwrap();
    }
    let mut batch = String::new();
    for i in 0..500 {
        batch += &format!("link add name p{i} type veth peer name q{i}\nlink set p{i} master cni0 up mtu 1450\n");
    }
    bench.write(0, "batch", batch);
    bench.sh("ip -n $N0 -batch $R0/batch");
    let fleet = bench.fleet();
    assert_eq!(fleet.hosts[0].cni.stores[0].leases.len(), 10_001);
    assert!(fleet.hosts[0].tables().unwrap().links.len() > 1000);
    // They are young: nobody knows yet that they are leaked; but they are of other subnets.
    let ids: Vec<&str> = checks::run(&fleet).iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["leases.foreign"]);
}

#[test]
fn a_namespace_that_is_none_and_a_root_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nothing");
    let error = gather(&missing, None).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("root directory"), "{error}");
    for file in [missing, directory.path().to_owned(), "/etc/hostname".into(), "/proc/self/ns/uts".into()] {
        let error = gather(directory.path(), Some(&file)).unwrap_err().to_string();
        assert!(error.contains("network namespace"), "{error}");
    }
}
