//! Whole nodes: one that passes, and for each check what makes it fail.

use kiln_checks::system::Memory;
use kiln_checks::{Profile, Report, Verdict, verify};

const RELEASE: &str = "6.1.0-18-amd64";
const UNIT: &str = "[Unit]\n[Install]\nWantedBy=multi-user.target\n";

fn package(name: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
}

/// A service that starts at boot.
pub fn enabled(system: Memory, name: &str) -> Memory {
    let wants = "/etc/systemd/system/multi-user.target.wants";
    system
        .file(&format!("/usr/lib/systemd/system/{name}"), UNIT)
        .link(&format!("{wants}/{name}"), &format!("/usr/lib/systemd/system/{name}"))
}

fn status(packages: &[(&str, &str)]) -> String {
    packages.iter().map(|(name, version)| package(name, version)).collect()
}

/// A Debian with a kernel and an SSH server.
fn debian() -> Memory {
    let menu = format!("set default=\"0\"\nmenuentry 'Debian' {{\n linux /boot/vmlinuz-{RELEASE} root=UUID=1 ro\n}}\n");
    let system = Memory::new()
        .file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
        .file("/etc/machine-id", "")
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        .file("/etc/group", "root:x:0:\n")
        .file("/etc/fstab", "UUID=1 / ext4 defaults 0 1\n")
        .file("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
        .file(
            "/var/lib/dpkg/status",
            status(&[("systemd", "252.22-1~deb12u1"), ("curl", "7.88.1-10"), ("cloud-init", "22.4.2-1")]),
        )
        .file(&format!("/boot/vmlinuz-{RELEASE}"), "")
        .file("/boot/grub/grub.cfg", menu)
        .link("/etc/localtime", "/usr/share/zoneinfo/Asia/Shanghai")
        .link("/lib", "usr/lib");
    let programs = ["/usr/sbin/sshd", "/usr/bin/cloud-init", "/usr/bin/wget", "/usr/bin/curl", "/usr/sbin/iptables"];
    let system = programs.iter().fold(system, |system, path| system.program(path));
    enabled(enabled(system, "ssh.service"), "chrony.service")
}

/// What `ack` asks for.
fn ack_node() -> Memory {
    debian().file(&format!("/usr/lib/modules/{RELEASE}/build/Makefile"), "")
}

/// Options of the kernel that kubeadm asks for.
fn config() -> String {
    let options = "NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_BPF CGROUP_PIDS CGROUP_SCHED CPUSETS MEMCG INET \
        EXT4_FS PROC_FS NETFILTER_XT_TARGET_REDIRECT NETFILTER_XT_MATCH_COMMENT FAIR_GROUP_SCHED OVERLAY_FS BLK_DEV_DM \
        CFS_BANDWIDTH SECCOMP SECCOMP_FILTER CGROUP_HUGETLB TRACEPOINTS HAVE_SYSCALL_TRACEPOINTS FTRACE_SYSCALLS \
        BPF_SYSCALL MODULES DEBUG_INFO_BTF";
    options.split_whitespace().map(|option| format!("CONFIG_{option}=y\n")).collect()
}

/// What `kubeadm` asks for.
pub fn kubeadm_node() -> Memory {
    let packages =
        [("kubeadm", "1.31.0-1.1"), ("kubelet", "1.31.0-1.1"), ("kubectl", "1.31.0-1.1"), ("systemd", "252-1")];
    let programs = [
        "ip",
        "iptables",
        "mount",
        "nsenter",
        "conntrack",
        "ebtables",
        "ethtool",
        "socat",
        "tc",
        "touch",
        "containerd",
        "kubelet",
    ];
    let system = programs.iter().fold(debian(), |system, name| system.program(&format!("/usr/bin/{name}")));
    let system = system
        .file(&format!("/boot/config-{RELEASE}"), config())
        .file("/var/lib/dpkg/status", status(&packages))
        .file("/etc/sysctl.d/99-k8s.conf", "net.ipv4.ip_forward = 1\n");
    enabled(system, "kubelet.service")
}

/// A plain kernel as it is in an image: an ELF file with these strings in it.
fn kernel(strings: &[&str]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(128, 0);
    for string in strings {
        bytes.extend_from_slice(string.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn judge(profile: &str, system: &Memory) -> Report {
    verify(system, &[Profile::built_in(profile).unwrap()], &[])
}

/// Ids of checks with a verdict.
fn ids(report: &Report, verdict: Verdict) -> Vec<&str> {
    report.outcomes.iter().filter(|o| o.finding.verdict == verdict).map(|o| o.rule.id.as_str()).collect()
}

/// Says what fails, and what cannot be checked, after a change of a node.
fn fails(profile: &str, system: &Memory, wanted: &[&str]) {
    let report = judge(profile, system);
    let found = ids(&report, Verdict::Fail);
    let why = |id: &&str| report.outcomes.iter().find(|o| o.rule.id == **id).map(|o| o.finding.reason.clone());
    assert_eq!(found, wanted, "{:?}", found.iter().map(why).collect::<Vec<_>>());
}

#[test]
fn a_node_for_ack_passes_and_each_fault_is_found() {
    let report = judge("ack", &ack_node());
    assert_eq!((report.verdict(), report.code()), (Verdict::Pass, 0), "{:?}", ids(&report, Verdict::Fail));
    assert_eq!(ids(&report, Verdict::Unknown), [""; 0]);
    fails("ack", &ack_node(), &[]);
    let is = |system: Memory, wanted: &[&str]| fails("ack", &system, wanted);
    is(
        ack_node().file("/boot/grub/grub.cfg", "menuentry 'x' {\n linux /boot/vmlinuz-2.6.32\n}\n"),
        &["os.kernel.default-boot-entry"],
    );
    is(ack_node().file("/var/lib/dpkg/status", package("systemd", "218-1")), &["os.systemd.min"]);
    is(ack_node().file("/etc/ssh/sshd_config.d/a.conf", "Port 2222\n"), &["os.ssh.listen"]);
    is(ack_node().file("/etc/ssh/sshd_config.d/a.conf", "PermitRootLogin no\n"), &["os.ssh.rootlogin"]);
    is(ack_node().file("/usr/bin/wget", "not executable"), &["os.tools.required.wget"]);
    for name in ["kubeadm", "kubelet", "kubectl", "docker"] {
        is(ack_node().program(&format!("/usr/local/bin/{name}")), &[&format!("os.tools.forbidden.{name}")]);
    }
    let cni = status(&[("systemd", "252-1"), ("kubernetes-cni", "1.5.1")]);
    is(ack_node().file("/var/lib/dpkg/status", cni), &["os.packages.forbidden.kubernetes-cni"]);
    let same = ack_node().file("/etc/sysctl.d/1.conf", "net.core.somaxconn = 32768\n");
    // As the guard of a build has it: this overrides nothing.
    is(same, &[]);
    let other = ack_node().file("/etc/sysctl.d/1.conf", "net.core.somaxconn = 128\n");
    is(other, &["os.sysctl.protected", "os.sysctl.protected-values"]);
    is(ack_node().file("/etc/fstab", "/dev/sda2 none swap sw 0 0\n"), &["os.swap"]);
    is(ack_node().file("/etc/localtime", ""), &["os.timezone"]);
    is(enabled(ack_node(), "ntpd.service"), &["os.time-sync"]);
    is(enabled(ack_node(), "apt-daily.timer"), &["os.timers.autoupdate"]);
    let servers = ack_node().file("/etc/resolv.conf", "nameserver 8.8.8.8\n");
    is(servers, &["os.dns.resolvers", "os.dns.options", "os.dns.lock"]);
    let good =
        "options timeout:2 attempts:3 rotate single-request-reopen\nnameserver 10.0.0.1\nnameserver 100.100.2.136\n";
    is(ack_node().file("/etc/resolv.conf", good).locked("/etc/resolv.conf"), &[]);
    is(
        ack_node().file("/etc/yum.repos.d/my.repo", "[base]\nenabled=1\ngpgcheck=0\n[off]\nenabled=0\n"),
        &["os.repo.gpg"],
    );
    is(ack_node().file("/etc/yum.repos.d/my.repo", "[base]\ngpgcheck=1\n"), &[]);
}

#[test]
fn without_a_kernel_nothing_is_taken_for_granted() {
    let report = judge("ack", &Memory::new());
    assert_eq!(report.code(), 1);
    let failed = ids(&report, Verdict::Fail);
    for id in ["os.kernel.min", "os.systemd.min", "os.ssh.listen", "os.tools.required.curl", "os.kernel.headers"] {
        assert!(failed.contains(&id), "{id}: {failed:?}");
    }
    assert_eq!(ids(&report, Verdict::Unknown), ["os.packages.forbidden.kubernetes-cni"]);
}

#[test]
fn a_node_for_kubeadm_passes_offline_and_running() {
    let report = judge("kubeadm", &kubeadm_node());
    assert_eq!(ids(&report, Verdict::Fail), [""; 0]);
    assert_eq!(ids(&report, Verdict::Unknown), [""; 0]);
    let skipped = ids(&report, Verdict::Skip);
    assert_eq!(skipped.len(), 9, "what only a running host has: {skipped:?}");
    let running = running();
    let report = judge("kubeadm", &running);
    assert_eq!(ids(&report, Verdict::Fail), [""; 0]);
    assert_eq!(ids(&report, Verdict::Skip), [""; 0]);
}

/// That node, running.
pub fn running() -> Memory {
    kubeadm_node()
        .answer("id -u", 0, "0\n")
        .answer("systemctl is-active kubelet.service", 3, "inactive\n")
        .answer("systemctl is-active firewalld.service", 4, "inactive\n")
        .file("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        .file("/proc/sys/kernel/hostname", "node-1\n")
        .file("/proc/sys/net/ipv4/ip_forward", "1\n")
        .file("/proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n")
        .file("/proc/meminfo", "MemTotal:        4015000 kB\n")
        .file("/proc/swaps", "Filename Type Size Used Priority\n")
        .file("/proc/net/tcp", "  sl  local_address rem_address st\n   0: 00000000:0016 00000000:0000 0A 0\n   1: 0100007F:280A 00000000:0000 01 0\n")
        .file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
        .file("/run/containerd/containerd.sock", "")
}

#[test]
fn each_fault_of_a_host_that_runs_is_found() {
    let is = |system: Memory, wanted: &[&str]| fails("kubeadm", &system, wanted);
    is(running().answer("id -u", 0, "1000\n"), &["host.root"]);
    is(running().file("/proc/cpuinfo", "processor\t: 0\n"), &["host.cpus"]);
    is(running().file("/proc/meminfo", "MemTotal: 1000000 kB\n"), &["host.memory"]);
    is(running().file("/proc/sys/kernel/hostname", "Node_1\n"), &["os.hostname"]);
    is(running().file("/proc/swaps", "Filename\n/dev/sda2 partition 1 0 -2\n"), &["os.swap"]);
    let tcp6 =
        "  sl  local_address\n   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 0\n";
    is(running().file("/proc/net/tcp6", tcp6), &["ports.10250"]);
    is(running().file("/proc/sys/net/ipv4/ip_forward", "0\n"), &["os.sysctl.required.net.ipv4.ip_forward"]);
    is(running().file("/sys/fs/cgroup/cgroup.controllers", "cpu io\n"), &["os.cgroup.version"]);
    is(running().file("/proc/sys/kernel/osrelease", "5.11.3\n").file("/proc/config.gz", "no"), &["os.kernel.regex"]);
    is(running().file("/etc/kubernetes/manifests/etcd.yaml", ""), &["k8s.clean.etcd.yaml"]);
    is(running().file("/var/lib/etcd/member/x", ""), &["k8s.clean.etcd"]);
    let firewall = running().file("/usr/lib/systemd/system/firewalld.service", UNIT);
    is(firewall.answer("systemctl is-active firewalld.service", 0, "active\n"), &["os.services.firewalld"]);
    let skew = status(&[("kubeadm", "1.31.0-1"), ("kubelet", "1.30.0-1"), ("kubectl", "1.31.0-1")]);
    is(running().file("/var/lib/dpkg/status", skew), &["k8s.bin.versions"]);
    let one = status(&[("kubelet", "1.30.0-1")]);
    is(running().file("/var/lib/dpkg/status", one), &["k8s.bin.versions"]);
}

#[test]
fn a_kernel_is_looked_into() {
    let points = [
        "",
        "sys_enter",
        "sys_exit",
        "sched_switch",
        "signal_deliver",
        "sched_process_exit",
        "sched_process_exec",
        "sched_process_fork",
        "page_fault_kernel",
    ];
    let path = format!("/boot/vmlinuz-{RELEASE}");
    let base = || {
        ["make", "gcc"]
            .iter()
            .fold(ack_node(), |s, name| s.program(&format!("/usr/bin/{name}")))
            .file(&format!("/boot/config-{RELEASE}"), config())
    };
    let with = base().file(&path, kernel(&[&points[..], &["page_fault_user"]].concat()));
    let report = judge("sysdig", &with);
    assert_eq!(ids(&report, Verdict::Fail), [""; 0]);
    assert_eq!(ids(&report, Verdict::Unknown), ["os.kernel.btf"], "this kernel has no table of sections");
    let without = judge("sysdig", &base().file(&path, kernel(&points)));
    let found = without.outcomes.iter().find(|o| o.rule.id == "os.kernel.tracepoints").unwrap();
    assert_eq!(found.finding.reason, "the kernel has no tracepoint page_fault_user");
    let garbage = judge("sysdig", &base().file(&path, "garbage"));
    assert_eq!(ids(&garbage, Verdict::Unknown), ["os.kernel.btf", "os.kernel.tracepoints"]);
    assert_eq!(garbage.code(), 2, "an error that could not be checked is no pass");
    let no_btf = base().file(&format!("/boot/config-{RELEASE}"), config().replace("CONFIG_DEBUG_INFO_BTF=y\n", ""));
    let report = judge("sysdig", &no_btf.file(&path, kernel(&[&points[..], &["page_fault_user"]].concat())));
    assert_eq!(ids(&report, Verdict::Fail), ["os.kernel.btf"]);
    let headers = base().file(&path, kernel(&points)).dir(&format!("/usr/lib/modules/{RELEASE}/build"));
    assert!(ids(&judge("sysdig", &headers), Verdict::Fail).contains(&"os.kernel.tracepoints"));
}

/// Permissions that `cis-basics` asks for are those of [`debian`].
#[test]
fn what_must_not_stay_in_an_image_is_found() {
    let is = |system: Memory, wanted: &[&str]| fails("cis-basics", &system, wanted);
    is(debian(), &[]);
    is(debian().file("/etc/ssh/ssh_host_ed25519_key", "x"), &["os.ssh.hostkeys-absent"]);
    is(
        debian().file("/root/.ssh/authorized_keys", "# none\n\nssh-ed25519 AAAA me@laptop\n"),
        &["os.ssh.authorized-keys-absent"],
    );
    is(debian().file("/root/.ssh/authorized_keys", "# none\n"), &[]);
    is(debian().file("/home/deploy/.ssh/authorized_keys", "ssh-rsa A b\n"), &["os.ssh.authorized-keys-absent"]);
    is(debian().file("/etc/machine-id", "b08dfa6083e7567a1921a715000001fb\n"), &["os.machine-id.empty"]);
    is(debian().file("/etc/machine-id", "uninitialized\n"), &[]);
    is(debian().file("/var/lib/dbus/machine-id", "b08dfa6083e7567a1921a715000001fb\n"), &["os.machine-id.empty"]);
    is(debian().file("/var/lib/cloud/data/instance-id", "i-1\n"), &["os.cloudinit.clean"]);
    is(debian().file("/var/lib/cloud/seed/nocloud/user-data", "x"), &["os.cloudinit.clean"]);
    is(debian().file("/root/.bash_history", "mysql -psecret\n"), &["os.history"]);
    is(debian().file("/root/.docker/config.json", "{\"auths\": {}}"), &["secrets.scan"]);
    is(debian().file("/opt/app/server.key", "-----BEGIN RSA PRIVATE KEY-----\nx\n"), &["secrets.scan"]);
    is(debian().file("/opt/app/server.pem", "-----BEGIN CERTIFICATE-----\nx\n"), &[]);
    is(debian().file("/root/.aws/credentials", "[default]\naws_secret_access_key = x\n"), &["secrets.scan"]);
    is(debian().file("/var/lib/systemd/random-seed", "x"), &["os.random-seed-absent"]);
    is(debian().file("/var/log/syslog", vec![0; 201 << 20]), &["os.logs.size"]);
    is(debian().file("/var/lib/systemd/coredump/core.x.zst", "x").file("/tmp/core.123", ""), &["os.cores"]);
    is(debian().file_of("/etc/passwd", 0o666, (0, 0), ""), &["os.files.passwd"]);
    is(debian().file("/etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n"), &["fs.fstab.uuid"]);
    let report = judge("cis-basics", &debian().running().file("/etc/ssh/ssh_host_rsa_key", "x"));
    assert_eq!(ids(&report, Verdict::Skip), ["os.ssh.hostkeys-absent"], "a running host has keys");
}

#[test]
fn a_node_for_cluster_api_is_judged() {
    let report = judge("cluster-api", &kubeadm_node());
    let failed = ids(&report, Verdict::Fail);
    for id in
        ["os.services.auditd", "os.modules-load.overlay", "cri.cgroup-driver", "cni.plugins", "cri.images.required"]
    {
        assert!(failed.contains(&id), "{id}: {failed:?}");
    }
    let better = kubeadm_node()
        .file("/etc/modules-load.d/k8s.conf", "overlay\nbr_netfilter\n")
        .file("/etc/containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.10\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n");
    let plugins = ["bridge", "host-local", "loopback", "portmap", "host-device", "bandwidth"];
    let better = plugins.iter().fold(better, |system, name| system.program(&format!("/opt/cni/bin/{name}")));
    let report = judge("cluster-api", &enabled(enabled(better, "auditd.service"), "containerd.service"));
    let failed = ids(&report, Verdict::Fail);
    for id in [
        "os.services.auditd",
        "os.services.containerd",
        "os.modules-load.overlay",
        "cri.cgroup-driver",
        "cri.sandbox",
        "cni.plugins",
    ] {
        assert!(!failed.contains(&id), "{id}: {failed:?}");
    }
    let off = enabled(kubeadm_node(), "conntrackd.service");
    assert!(ids(&judge("cluster-api", &off), Verdict::Fail).contains(&"os.services.conntrackd"));
}

/// Each file of a running host is a question over the network, and the answer matters for images alone.
#[test]
fn a_running_host_is_not_asked_for_thousands_of_files() {
    let with = |count: usize| {
        (0..count).fold(running(), |system, at| system.file(&format!("/etc/app/{at}.json"), "{\"a\": 1}\n"))
    };
    let found = |system: &Memory| {
        let report = judge("cis-basics", system);
        let outcome = report.outcomes.iter().find(|outcome| outcome.rule.id == "secrets.scan").unwrap();
        (outcome.finding.verdict, outcome.finding.reason.clone())
    };
    assert_eq!(found(&with(20)).0, Verdict::Pass);
    let (verdict, reason) = found(&with(501));
    assert!(verdict == Verdict::Skip && reason.contains("would have to be asked for"), "{reason}");
    assert_eq!(found(&with(501).file("/root/.netrc", "machine x\n")).0, Verdict::Skip);
    // An image is looked through.
    let image = (0..501).fold(Memory::new(), |system, at| system.file(&format!("/etc/app/{at}.json"), "{}\n"));
    let image = image.file("/etc/app/last.pem", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n");
    assert_eq!(found(&image).0, Verdict::Fail);
}
