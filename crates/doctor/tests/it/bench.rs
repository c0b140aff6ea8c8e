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
            all += &format!("N{i}={name}; R{i}={}; in{i}() {{ nsenter --net=/run/netns/{name} \"$@\"; }}\n", root.display());
        }
        all += &format!("U={}\n{script}\n", self.netns("u"));
        let output = Command::new("sh").args(["-c", &all]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{}{stderr}", String::from_utf8_lossy(&output.stdout));
    }

    fn host(&mut self, i: usize) {
        self.files(i);
        let (name, underlay, root) = (self.netns(i), self.netns("u"), self.root(i));
        let mut script = format!(
            "ip netns add {name}
             ip -n {underlay} link add v{i} type veth peer name eth0 netns {name}
             ip -n {underlay} link set v{i} master br0 up
             ip -n {name} -batch - <<E
             link set lo up
             link set eth0 up
             address add 192.168.77.{}/24 dev eth0
             route add default via 192.168.77.1
             link add flannel.1 address {} type vxlan id 1 dev eth0 local 192.168.77.{} dstport 8472 nolearning
             link set flannel.1 up
             address add 10.244.{i}.0/32 dev flannel.1
