//! A cluster as a user launches it: `kiln cluster run` on hosts of a fleet, with a real Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_testkit::fleet::{Host, kubernetes};
use kiln_testkit::{Fleet, Output};

use crate::by_hand::{ADMIN, WEB, asked, kubectl, wait};

const KILN: &str = env!("CARGO_BIN_EXE_kiln");

/// Who launches: a home with the key of the fleet, a store with the image, a place for what is remembered.
struct Launcher<'f> {
    fleet: &'f Fleet,
    file: PathBuf,
}

impl Launcher<'_> {
    fn new(fleet: &Fleet) -> Launcher<'_> {
        let images = kubernetes::images(Path::new(KILN));
        let version = kubernetes::version(&kubernetes::programs());
        let home = fleet.directory().join("home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::copy(fleet.known_hosts(), home.join(".ssh/known_hosts")).unwrap();
        let file = fleet.directory().join("Clusterfile");
        let text = format!(
            "apiVersion: sealer.io/v2\nkind: Cluster\nmetadata: {{name: shop}}\nspec:\n  image: kubernetes:{version}\n  hosts:\n  - ips: [{}]\n    roles: [master]\n---\n\
             apiVersion: kubeadm.k8s.io/{}\nkind: ClusterConfiguration\nnetworking: {{podSubnet: {}}}\n---\n{}",
            fleet.host(1).address(),
            if kubernetes::minor(&version) < 22 { "v1beta2" } else { "v1beta3" },
            kubernetes::PODS,
            kubernetes::documents(&version),
        );
        fs::write(&file, text).unwrap();
        let launcher = Launcher { fleet, file };
        launcher.kiln(&["cluster", "load", "-q", "-i", images.join("cluster.tar").to_str().unwrap()]);
        launcher
    }

    fn command(&self, words: &[&str]) -> Command {
        let home = self.fleet.directory().join("home");
        let mut command = self.fleet.command(KILN);
        command.args(words).env("HOME", &home).env("USER", "root").env("KILN_STORE", home.join("store"));
        command.env("KILN_STATE", home.join("clusters")).env_remove("SSH_AUTH_SOCK");
        command
    }

    fn said(&self, words: &[&str]) -> Output {
        kiln_testkit::command::run(
            self.command(words),
            b"",
            Duration::from_secs(900),
            &kiln_testkit::Filters::standard(),
        )
    }

    fn kiln(&self, words: &[&str]) -> String {
        let said = self.said(words);
        assert_eq!(said.code, 0, "kiln {}: {said}\n{}", words.join(" "), self.state());
        said.text().to_owned()
    }

    /// A verb of a cluster, with what all of them take.
    fn words<'w>(&'w self, verb: &'w str, more: &[&'w str]) -> Vec<&'w str> {
        let mut words = vec!["cluster", verb, "-i"];
        words.push(Box::leak(self.fleet.key().display().to_string().into_boxed_str()));
        words.extend(["--name", "shop"]);
        words.extend(more);
        words
    }

    fn cluster(&self, verb: &str, more: &[&str]) -> String {
        self.kiln(&self.words(verb, more))
    }

    /// What hosts say when something failed.
    fn state(&self) -> String {
        self.fleet.hosts().iter().map(|host| format!("{}\n{}", host.name(), crate::by_hand::state(host))).collect()
    }
}

/// What a host has that a launch may change: files that count, devices, chains, services.
fn footprint(host: &Host) -> String {
    let script = "ls /etc/kubernetes /etc/cni /opt/cni /var/lib/etcd /var/lib/kubelet /var/lib/cni /usr/bin/kube* /etc/systemd/system /etc/sysctl.d /etc/modules-load.d /var/lib/kiln /root/.kube /etc/localtime 2>/dev/null; \
        cat /etc/hosts /etc/containerd/config.toml; ls /sys/class/net; (iptables-save; ip6tables-save) | grep -v '^#' | grep '^[:*-]' | sed 's/\\[[0-9:]*\\]//'; \
        systemctl list-units --plain --no-legend --type=service 'kube*' 'kiln*' containerd.service; ip route; cat /proc/sys/net/ipv4/ip_forward";
    host.run(script).text().replace("kiln-host", "host").to_owned()
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_cluster_is_launched_grows_shrinks_and_is_given_back() {
    let fleet = Fleet::start(2);
    let launcher = Launcher::new(&fleet);
    let (one, two) = (fleet.host(1), fleet.host(2));
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let file = launcher.file.display().to_string();
    let ignore = format!("--ignore-preflight-errors={}", kubernetes::IGNORED);

    let plan = launcher.cluster("run", &["-f", &file, &ignore, "--plan"]);
    assert!(plan.contains("kubeadm init: Kubernetes"), "{plan}");
    assert_eq!(footprint(one), before[0], "a plan changes nothing");
    launcher.cluster("run", &["-f", &file, &ignore]);
    // What is done, is not done again.
    let again = launcher.said(&launcher.words("run", &["-f", &file, &ignore]));
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(again.stderr.matches("nothing to do").count(), 10, "{again}");

    launcher.cluster("join", &["--nodes", two.address(), "-f", &file, &ignore]);
    let _ = one.run(&format!(
        "{ADMIN} kubectl taint nodes --all node-role.kubernetes.io/master- node-role.kubernetes.io/control-plane-"
    ));
    one.write("/root/web.yaml", 0o644, WEB);
    let _ = kubectl(one, "apply -f /root/web.yaml");
    let _ = kubectl(one, "rollout status deployment/web --timeout=180s");
    for host in fleet.hosts() {
        wait("both pods behind a port", Duration::from_secs(90), || {
            let said: BTreeSet<String> = (0..10).filter_map(|_| asked(&fleet, host)).collect();
            (said.len() == 2).then_some(())
        });
    }
    let status = launcher.cluster("status", &[]);
    assert_eq!(status.matches("ready, v1.").count(), 2, "{status}");

    launcher.cluster("scale", &["--remove", two.address()]);
    assert!(!kubectl(one, "get nodes").contains("node2"));
    assert_eq!(footprint(two), before[1]);
    launcher.cluster("reset", &[]);
    assert_eq!(footprint(one), before[0]);
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_launch_that_is_killed_goes_on() {
    let fleet = Fleet::start(1);
    let launcher = Launcher::new(&fleet);
    let one = fleet.host(1);
    let file = launcher.file.display().to_string();
    let ignore = format!("--ignore-preflight-errors={}", kubernetes::IGNORED);
    let words = launcher.words("run", &["-f", &file, &ignore]);
    let mut killed = launcher.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // In the middle of kubeadm: certificates are there, the control plane is not.
    wait("kubeadm at work", Duration::from_secs(300), || {
        one.run("test -e /etc/kubernetes/pki/ca.crt").code.eq(&0).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let refused = launcher.said(&words);
    assert_eq!(refused.code, 3, "{refused}");
    assert!(refused.stderr.contains("an earlier launch stopped in phase init"), "{refused}");
    launcher.cluster("run", &["-f", &file, &ignore, "--resume"]);
    assert!(kubectl(one, "get nodes").contains(" Ready "));
}
