//! What facts and checks of one host cost: a network namespace with as many ends of pods' links as is said, each with an
//! address of a pod on its bridge; prints the CPU time of this process. Root, and iproute2.
//!
//! `cargo run --release -p kiln-doctor --example cost -- 500 10`

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_doctor::{Fleet, checks, facts};
use rustix::time::{ClockId, clock_gettime};

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The namespace, until it is dropped.
struct Namespace(String);

impl Namespace {
    fn new(links: usize, directory: &Path) -> Namespace {
        let namespace = Namespace(format!("kiln-cost-{}", std::process::id()));
        let name = &namespace.0;
        run(&["netns", "add", name]);
        let mut batch = "link add cni0 type bridge\nlink set cni0 up\naddress add 10.244.0.1/16 dev cni0\n\
            link add flannel.1 type vxlan id 1 dstport 8472 nolearning dev lo local 127.0.0.1\nlink set flannel.1 up\n"
            .to_owned();
        for i in 0..links {
            batch += &format!("link add veth{i} type veth peer name pod{i}\nlink set veth{i} master cni0 up\n");
            batch += &format!("route add 10.{}.{}.0/24 dev cni0\n", 100 + i / 256, i % 256);
        }
        let path = directory.join("batch");
        std::fs::write(&path, batch).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        run(&["-n", name, "-batch", &path.to_string_lossy()]);
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&["netns", "del", &self.0]);
    }
}

fn run(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {}", arguments.join(" "));
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>().expect("a number"));
    let (links, times) = (numbers.next().unwrap_or(500), numbers.next().unwrap_or(10).max(1));
    let root = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(&path, text).expect("a file");
    };
    write("etc/kubernetes/kubelet.conf", "");
    write("run/flannel/subnet.env", "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.0.1/24\nFLANNEL_MTU=1450\n");
    for i in 0..links {
        write(&format!("var/lib/cni/networks/cbr0/10.244.{}.{}", i / 250, i % 250 + 2), &format!("{i:064}\r\neth0"));
        let args = format!(r#"[["K8S_POD_NAMESPACE","default"],["K8S_POD_NAME","pod-{i}"]]"#);
        let result = format!(r#"{{"ips":[{{"address":"10.244.{}.{}/24"}}]}}"#, i / 250, i % 250 + 2);
        write(&format!("var/lib/cni/results/cbr0-{i}-eth0"), &format!(r#"{{"cniArgs":{args},"result":{result}}}"#));
    }
    let namespace = Namespace::new(links, root.path());
    let netns = Path::new("/run/netns").join(&namespace.0);
    let start = cpu();
    let mut devices = 0;
    for _ in 0..times {
        let host = facts::gather(root.path(), Some(&netns)).expect("facts");
        devices = host.tables().map_or(0, |tables| tables.links.len());
        let fleet = Fleet::new(vec![host]);
        std::hint::black_box(checks::run(&fleet));
    }
    let spent = (cpu() - start) / u32::try_from(times).unwrap_or(1);
    println!("{devices} devices, {links} leases: {:.1} ms of CPU for facts and checks", spent.as_secs_f64() * 1000.0);
}
