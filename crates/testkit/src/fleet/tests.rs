//! Hosts come up, are hosts, and are gone.

use super::*;

/// Whether anything of a fleet is left on the machine.
fn traces(directory: &Path) -> Vec<String> {
    let name = directory.file_name().unwrap().to_string_lossy();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let groups = mounts.lines().filter_map(|l| {
        let mut words = l.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| Path::new(place).join(&*name))
    });
    let mounted = mounts.lines().filter(|line| line.contains(&*name)).map(str::to_owned);
    let left = groups.chain([directory.to_owned()]).filter(|path| path.exists()).map(|path| path.display().to_string());
    mounted.chain(left).collect()
}

#[test]
#[ignore = "makes a Debian first: make test-cluster"]
fn two_hosts_are_two_machines_and_nothing_remains_of_them() {
    let fleet = Fleet::start(2);
    let directory = fleet.directory().to_owned();
    let (one, two) = (fleet.host(1), fleet.host(2));
    assert_eq!(
        one.ssh("hostname; id -un; systemctl is-active ssh containerd").ok().text(),
        "node1\nroot\nactive\nactive"
    );
    assert_eq!(two.ssh("cat /etc/machine-id").ok().text(), "00000000000000000000000000b0ed02");
    assert_eq!(one.ssh("cat /proc/1/comm; systemctl is-system-running").ok().text(), "systemd\nrunning");
    for address in [two.address(), two.address6()] {
        let _ = one.ssh(&format!("ping -c 1 -W 5 {address}")).ok();
    }
    // What the machine has only one of is not changed by a host.
    let before = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
    let _ = one.run("echo 1 > /proc/sys/vm/overcommit_memory").ok();
    assert_eq!(fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap(), before);
    // A host that lost its power has its files still, another boot, and nothing of what was only in its kernel.
    one.write("/srv/kept", 0o600, "kept");
    let _ = one.run("iptables -A FORWARD -s 10.244.0.0/16 -j ACCEPT; ip link add cni0 type bridge").ok();
    let boot = |host: &Host| host.run("systemctl show -p UserspaceTimestampMonotonic --value").ok().text().to_owned();
    let first = boot(one);
    one.power_off();
    assert_ne!(two.run(&format!("ping -c 1 -W 1 {}", one.address())).code, 0);
    one.boot();
    assert_eq!(one.read("/srv/kept"), b"kept");
    assert_ne!(boot(one), first);
    assert_eq!(one.run("iptables -S FORWARD").ok().text(), "-P FORWARD ACCEPT");
    assert_ne!(one.run("ip link show cni0").code, 0);
    let _ = one.ssh(&format!("ping -c 1 -W 5 {}", two.address())).ok();
    drop(fleet);
    assert_eq!(traces(&directory), Vec::<String>::new());
}

#[test]
#[ignore = "needs root: make test-cluster"]
fn nothing_remains_of_a_fleet_whose_test_was_killed() {
    let directory = tempfile::Builder::new().prefix("kiln-fleet-").tempdir_in("/var/tmp").unwrap().keep();
    // It stands for the test: only it holds the pipe.
    let mut holder = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
    let (mut keeper, init) = keeper(&directory, "kiln-fleet-test", holder.stdout.take().unwrap().into());
    assert!(Path::new("/proc").join(&init).exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(keeper.wait().unwrap().success());
    // Who was killed is in the table until whoever has inherited it has asked for its status.
    let process = Path::new("/proc").join(&init);
    let gone = (0..100).any(|_| {
        let gone = !process.exists();
        std::thread::sleep(std::time::Duration::from_millis(if gone { 0 } else { 100 }));
        gone
    });
    assert!(gone, "{init} is still there");
    assert_eq!(traces(&directory), Vec::<String>::new());
}

/// A kubelet without an API server, whose pods have addresses of a bridge and run in Docker.
const WITH_DOCKER: &str = r#"
mkdir -p /etc/cni/net.d /opt/cni /tmp/pods
ln -s /opt/kubernetes/cni /opt/cni/bin
cat > /etc/cni/net.d/10-pods.conflist <<'END'
{"cniVersion": "0.3.1", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
  "ipam": {"type": "host-local", "subnet": "10.244.1.0/24"}}]}
END
cat > /tmp/pods/one.yaml <<'END'
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: one, image: 'k8s.gcr.io/pause:3.2'}]}
END
cat > /tmp/kubelet.yaml <<'END'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
staticPodPath: /tmp/pods
authentication: {webhook: {enabled: false}, anonymous: {enabled: true}}
authorization: {mode: AlwaysAllow}
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
END
systemctl start docker
tar -C /opt/kubernetes -c pause | docker import -c 'ENTRYPOINT ["/pause"]' - k8s.gcr.io/pause:3.2
systemd-run --unit kubelet /opt/kubernetes/kubelet --config /tmp/kubelet.yaml --network-plugin=cni --pod-infra-container-image=k8s.gcr.io/pause:3.2
"#;

#[test]
#[ignore = "compiles a kubelet first: make test-cluster"]
fn a_kubelet_before_1_24_runs_pods_with_docker() {
    let fleet = Fleet::with_docker(1);
    let one = fleet.host(1);
    assert_eq!(one.run("systemctl is-active docker docker.socket").text(), "inactive\ninactive");
    let _ = one.run(WITH_DOCKER).ok();
    let running = "docker ps --filter name=k8s_ --format '{{.Names}}' | cut -d_ -f2 | sort";
    let runs = (0..120).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        one.run(running).text() == "POD\none"
    });
    assert!(runs, "{}", one.run("docker ps -a; journalctl -u kubelet -u docker --no-pager -n 40"));
    assert!(one.run("ip -o -4 address show cni0").ok().text().contains("10.244.1.1/24"));
    assert_eq!(one.run("ctr -n k8s.io containers list -q").ok().text(), "", "nothing of it is containerd's own");
}
