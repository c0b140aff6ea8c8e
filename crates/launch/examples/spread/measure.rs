//! Hosts that are network namespaces behind lines of one speed, and real SSH to them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_host::keys::PrivateKey;
use kiln_host::ssh::{Auth, HostKeys};
use kiln_host::{Cancel, Host, Network, Secret, Ssh, SshOptions};
use kiln_launch::phase::distribute;
use kiln_launch::{Peers, run};

use crate::{Asked, sizes, stage};

const PREFIX: &str = "kspread";

fn sh(line: &str) {
    let done = Command::new("sh").arg("-c").arg(line).status().unwrap();
    assert!(done.success(), "failed: {line}");
}

fn address(host: usize) -> String {
    format!("10.88.{}.{}", host / 250, host % 250 + 1)
}

/// Namespaces and servers; gone when dropped.
struct Bed {
    dir: tempfile::TempDir,
    hosts: usize,
    servers: Vec<Child>,
    home: bool,
}

impl Bed {
    fn new(hosts: usize, mbit: u64) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let home = !Path::new("/var/lib/kiln").exists();
        fs::create_dir_all("/var/lib/kiln").unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let mut bed = Bed { dir, hosts, servers: Vec::new(), home };
        let at = |name: &str| bed.dir.path().join(name);
        sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", at("hostkey").display()));
        sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", at("key").display()));
        fs::copy(at("key.pub"), at("authorized")).unwrap();
        let lines = [
            format!("HostKey {}", at("hostkey").display()),
            format!("AuthorizedKeysFile {}", at("authorized").display()),
            "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nMaxStartups 200\nUseDNS no"
                .to_owned(),
        ];
        fs::write(at("sshd_config"), lines.join("\n") + "\n").unwrap();
        // The switch has a namespace of its own, so that nothing of this machine's network is touched.
        sh(&format!(
            "ip netns add {PREFIX}-sw && ip -n {PREFIX}-sw link add sw type bridge && ip -n {PREFIX}-sw link set sw up"
        ));
        for host in 0..=hosts {
            let (name, ip) = (format!("{PREFIX}-{host}"), address(host));
            sh(&format!(
                "ip netns add {name} && ip -n {name} link set lo up && \
                 ip link add kse{host} netns {name} type veth peer name ksp{host} netns {PREFIX}-sw && \
                 ip -n {name} addr add {ip}/16 dev kse{host} && ip -n {name} link set kse{host} up && \
                 ip -n {PREFIX}-sw link set ksp{host} master sw up && \
                 ip netns exec {name} tc qdisc add dev kse{host} root tbf rate {mbit}mbit burst 32kb latency 200ms && \
                 ip netns exec {PREFIX}-sw tc qdisc add dev ksp{host} root tbf rate {mbit}mbit burst 32kb latency 200ms"
            ));
        }
        for host in 1..=hosts {
            let home = bed.dir.path().join(format!("h{host}"));
            fs::create_dir_all(home.join("bin")).unwrap();
            let line = format!(
                "mount --bind {} /var/lib/kiln && exec /usr/sbin/sshd -D -e -f {}",
                home.display(),
                bed.dir.path().join("sshd_config").display()
            );
            let mut server = Command::new("ip");
            let server = server.args(["netns", "exec", &format!("{PREFIX}-{host}"), "sh", "-c", &line]);
            bed.servers.push(server.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        }
        bed
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for host in 0..=self.hosts {
            let name = format!("{PREFIX}-{host}");
            let _ = Command::new("sh")
                .arg("-c")
                .arg(format!("ip netns pids {name} | xargs -r kill -9; sleep 0.05; ip netns del {name}"))
                .status();
        }
        let _ = Command::new("ip").args(["netns", "del", &format!("{PREFIX}-sw")]).status();
        for server in &mut self.servers {
            let _ = server.wait();
        }
        if self.home {
            let _ = fs::remove_dir("/var/lib/kiln");
        }
    }
}

/// Measures: for each number of hosts a bed, and in it a process for the launcher in a namespace of its own.
pub fn measure(asked: &Asked) {
    let all: u64 = sizes(asked.mib).iter().sum();
    println!(
        "an image of {:.1} MiB, lines of {} Mbit/s: one copy takes {:.1} s at least",
        all as f64 / 1048576.0,
        asked.mbit,
        all as f64 * 8.0 / asked.mbit as f64 / 1e6
    );
    println!("| hosts | how | s | the launcher sent, copies | its memory, MiB |\n|---|---|---|---|---|");
    for &hosts in &asked.hosts {
        for how in ["one by one", "all at once", "peers"] {
            if asked.only.as_ref().is_some_and(|only| only != how) {
                continue;
            }
            let bed = Bed::new(hosts, asked.mbit);
            std::thread::sleep(Duration::from_millis(500));
            let mut launcher = Command::new("ip");
            launcher.args(["netns", "exec", &format!("{PREFIX}-0")]).arg(std::env::current_exe().unwrap());
            launcher.args(["launch", "--hosts", &hosts.to_string(), "--mib", &asked.mib.to_string(), "--only", how]);
            launcher.args(["--uploads", &asked.uploads.to_string()]).arg("--dir").arg(bed.dir.path());
            if asked.binary {
                launcher.arg("--binary");
            }
            assert!(launcher.status().unwrap().success(), "the launcher failed");
        }
    }
}

/// The launcher, in its namespace.
pub fn launch(asked: &Asked, dir: &Path) {
    let network = Network::start().unwrap();
    let hosts = asked.hosts[0];
    let key = PrivateKey::parse("key", &Secret::new(fs::read_to_string(dir.join("key")).unwrap()), None).unwrap();
    let binary = std::env::current_exe().unwrap();
    let machines: Vec<(IpAddr, Arc<dyn Host>)> = (1..=hosts)
        .map(|host| {
            let mut options = SshOptions::new(address(host), "root", HostKeys::Any);
            options.auth.push(Auth::Key { key: key.clone(), certificate: None });
            let ssh: Arc<dyn Host> = Arc::new(Ssh::new(&network, options));
            (address(host).parse().unwrap(), ssh)
        })
        .collect();
    let how = asked.only.as_deref().unwrap_or("peers");
    let peers = (how == "peers").then(|| Peers { uploads: asked.uploads, ..Peers::default() });
    let parallel = if how == "one by one" { 1 } else { 64 };
    if !asked.binary {
        for host in 1..=hosts {
            fs::copy(&binary, agent_of(dir, host)).unwrap();
        }
    }
    let sizes = sizes(asked.mib);
    let given = asked.binary.then_some(binary.as_path());
    let (_world, launch) = stage::launch(dir, &machines, &sizes, peers, parallel, given);
    // Connections are there before: a launch has asked for facts.
    let connected =
        run::each(&machines, 64, |(_, host)| host.output(&kiln_host::Command::shell("true"), &Cancel::new()));
    connected.into_iter().for_each(|output| drop(output.unwrap()));
    let before = sent();
    let began = Instant::now();
    run::one(&launch, &distribute::PHASE).unwrap();
    let took = began.elapsed().as_secs_f64();
    let copies = (sent() - before) as f64 / sizes.iter().sum::<u64>() as f64;
    println!("| {hosts} | {how} | {took:.1} | {copies:.2} | {:.0} |", coordinate_memory());
    for host in 1..=hosts {
        let store = kiln_store::Store::open(dir.join(format!("h{host}/store"))).unwrap();
        for (digest, size) in &launch.bundle.blobs {
            assert_eq!(store.read_blob(digest, *size).unwrap().len() as u64, *size);
        }
    }
}

fn agent_of(dir: &Path, host: usize) -> PathBuf {
    dir.join(format!("h{host}/bin/kiln"))
}

fn coordinate_memory() -> f64 {
    crate::coordinate::status("VmHWM:") / 1024.0
}

/// Bytes that went out of the launcher's line.
fn sent() -> u64 {
    fs::read_to_string("/sys/class/net/kse0/statistics/tx_bytes").unwrap().trim().parse().unwrap()
}
