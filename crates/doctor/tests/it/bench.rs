//! Hosts: a network namespace and a root directory each, joined by a bridge; flannel's state as flanneld programs it, a
//! pod each by the real `bridge` and `host-local`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kiln_doctor::facts::gather;
use kiln_doctor::{Finding, Fleet, HostFacts};
use tempfile::TempDir;

/// Tells the fleets of one process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Bench {
    pub directory: TempDir,
    prefix: String,
    pub size: usize,
    children: Vec<Child>,
}

/// The MAC of host `i`'s tunnel.
pub fn mac(i: usize) -> String {
    format!("0a:58:0a:f4:00:{i:02x}")
}

impl Bench {
    pub fn new(size: usize) -> Bench {
        for (path, package) in [
            ("/usr/sbin/ip", "iproute2"),
            ("/usr/sbin/iptables-nft-restore", "iptables"),
            ("/usr/lib/cni/bridge", "containernetworking-plugins"),
            ("/usr/bin/nsenter", "util-linux"),
        ] {
            assert!(Path::new(path).exists(), "{path} is missing: apt-get install {package}");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("kd{}x{number}", std::process::id());
        let mut bench = Bench { directory: tempfile::tempdir().unwrap(), prefix, size, children: Vec::new() };
        let underlay = bench.netns("u");
        bench.sh(&format!(
            "ip netns add {underlay}; ip -n {underlay} link add br0 type bridge; ip -n {underlay} link set br0 up"
        ));
        for i in 0..size {
            bench.host(i);
        }
        bench
    }

    pub fn netns(&self, name: impl std::fmt::Display) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn root(&self, i: usize) -> PathBuf {
        self.directory.path().join(format!("h{i}"))
    }

    /// Writes a file of a host.
    pub fn write(&self, i: usize, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root(i).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a script that knows the hosts as `$N0`, `$R0` (namespace and root), …, and `in0 CMD` to run in a namespace.
    pub fn sh(&self, script: &str) {
        let mut all = "set -eu\n".to_owned();
        for i in 0..self.size {
            let (name, root) = (self.netns(i), self.root(i));
            all += &format!(
                "N{i}={name}; R{i}={}; in{i}() {{ nsenter --net=/run/netns/{name} \"$@\"; }}\n",
                root.display()
            );
        }
        all += &format!("U={}\n{script}\n", self.netns("u"));
        let output =
            Command::new("sh").args(["-c", &all]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{}{stderr}", String::from_utf8_lossy(&output.stdout));
    }

    fn host(&mut self, i: usize) {
        self.files(i);
        let (name, underlay) = (self.netns(i), self.netns("u"));
        let mut script = format!(
            "ip netns add {name}
             ip -n {underlay} link add v{i} type veth peer name eth0 netns {name}
             ip -n {underlay} link set v{i} master br0 up
             ip -n {name} -batch - <<END
             link set lo up
             link set eth0 up
             address add 192.168.77.{}/24 dev eth0
             route add default via 192.168.77.1
             link add flannel.1 address {} type vxlan id 1 dev eth0 local 192.168.77.{} dstport 8472 nolearning
             link set flannel.1 up
             address add 10.244.{i}.0/32 dev flannel.1
END
",
            10 + i,
            mac(i),
            10 + i
        );
        for j in (0..self.size).filter(|j| *j != i) {
            let (mac, host) = (mac(j), 10 + j);
            script += &format!(
                "ip -n {name} route add 10.244.{j}.0/24 via 10.244.{j}.0 dev flannel.1 onlink
                 ip -n {name} neigh replace 10.244.{j}.0 lladdr {mac} dev flannel.1 nud permanent
                 bridge -n {name} fdb append {mac} dev flannel.1 dst 192.168.77.{host} self permanent
"
            );
        }
        script += &format!(
            "in{i} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables'
             in{i} iptables-nft-restore <<END
{RULES}END
"
        );
        self.sh(&script);
        self.pod(i, 1);
        // Programs are told by their names, and by being in the host's namespace.
        for program in ["kubelet", "flanneld", "kube-proxy"] {
            self.run(i, program);
        }
    }

    /// A program of this name that does nothing.
    pub fn run(&mut self, i: usize, name: &str) {
        let path = self.directory.path().join(format!("bin/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            fs::copy("/usr/bin/sleep", &path).unwrap();
        }
        let net = format!("--net=/run/netns/{}", self.netns(i));
        let child = Command::new("nsenter").arg(net).arg(path).arg("600").stdin(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        let wanted: String = name.chars().take(15).collect();
        while fs::read_to_string(&comm).unwrap().trim() != wanted {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.children.push(child);
    }

    /// Ends the program that was started last.
    pub fn end(&mut self) {
        let mut child = self.children.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A pod, added to the network by the real plugins.
    pub fn pod(&self, i: usize, number: usize) {
        let pod = self.netns(format!("{i}p{number}"));
        let container = format!("{:0>64}", format!("c{i}{number}"));
        self.write(i, &format!("var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{container}/.keep"), "");
        let said = self.add(i, &pod, &container);
        assert!(said.contains(&format!("10.244.{i}.")), "{said}");
    }

    /// What the plugin says.
    pub fn add(&self, i: usize, pod: &str, container: &str) -> String {
        let config = format!(
            r#"{{"cniVersion":"0.3.1","name":"cbr0","type":"bridge","bridge":"cni0","isDefaultGateway":true,"mtu":1450,
            "ipam":{{"type":"host-local","dataDir":"{}/var/lib/cni/networks","ranges":[[{{"subnet":"10.244.{i}.0/24"}}]],"routes":[{{"dst":"10.244.0.0/16"}}]}}}}"#,
            self.root(i).display()
        );
        let script = format!(
            "ip netns list | grep -q '^{pod}' || ip netns add {pod}
             CNI_COMMAND=ADD CNI_CONTAINERID={container} CNI_NETNS=/run/netns/{pod} CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni \
             nsenter --net=/run/netns/{} /usr/lib/cni/bridge <<'END'\n{config}\nEND",
            self.netns(i)
        );
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let output = Command::new("sh").args(["-c", &script]).env("PATH", path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn files(&self, i: usize) {
        let conflist = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;
        let lease = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let runtime = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n";
        let kubelet = "kind: KubeletConfiguration\ncgroupDriver: systemd\nresolvConf: /etc/resolv.conf\n";
        self.write(i, "etc/cni/net.d/10-flannel.conflist", conflist);
        self.write(
            i,
            "run/flannel/subnet.env",
            format!("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{i}.1/24\n{lease}"),
        );
        self.write(i, "etc/hostname", format!("node{i}\n"));
        self.write(i, "etc/machine-id", format!("{:032x}\n", 0xabc0 + i));
        self.write(i, "etc/resolv.conf", "nameserver 192.168.77.1\n");
        self.write(i, "etc/kubernetes/kubelet.conf", "apiVersion: v1\nkind: Config\n");
        self.write(i, "var/lib/kubelet/config.yaml", kubelet);
        self.write(i, "etc/containerd/config.toml", runtime);
        let binaries = self.root(i).join("opt/cni/bin");
        fs::create_dir_all(&binaries).unwrap();
        for name in ["bridge", "host-local", "portmap", "loopback"] {
            let (from, to) = (Path::new("/usr/lib/cni").join(name), binaries.join(name));
            // Not linked: tests change what is there.
            fs::copy(&from, &to).unwrap();
        }
        // Debian does not have it.
        self.write(i, "opt/cni/bin/flannel", "#!/bin/sh\n");
        self.sh(&format!("chmod 755 {}", binaries.join("flannel").display()));
    }

    pub fn facts(&self, i: usize) -> HostFacts {
        let netns = PathBuf::from(format!("/run/netns/{}", self.netns(i)));
        let mut facts = gather(&self.root(i), Some(&netns)).unwrap();
        // The disk is this machine's, which may be full.
        facts.system.disks.clear();
        facts
    }

    pub fn fleet(&self) -> Fleet {
        Fleet::new((0..self.size).map(|i| self.facts(i)).collect())
    }

    pub fn findings(&self) -> Vec<Finding> {
        kiln_doctor::checks::run(&self.fleet())
    }
}

/// What flannel and kube-proxy write, as far as checks look for it.
const RULES: &str = "*filter
:FORWARD ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
:KUBE-SERVICES - [0:0]
-A POSTROUTING -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j RETURN
COMMIT
";

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{}-", self.prefix)) {
                let _ = Command::new("/usr/sbin/ip").args(["netns", "del", &name]).status();
            }
        }
    }
}
