//! Profiles of one's own, asked of nodes.

use kiln_checks::profile::own;
use kiln_checks::system::Memory;
use kiln_checks::{Profile, Severity, Verdict, verify};
use kiln_spec::source::Source;

fn profile(text: &str) -> Profile {
    own::parse(Source { name: "ours.yaml".to_owned(), text: text.to_owned() }).unwrap_or_else(|e| panic!("{e}"))
}

/// Whether a check with this question passes.
fn asks(question: &str, system: &Memory) -> Verdict {
    let report = verify(system, &[profile(&format!("checks:\n  - id: ours\n    {question}\n"))], &[]);
    assert_eq!(report.outcomes.len(), 1, "{question}");
    report.outcomes[0].finding.verdict
}

#[test]
fn every_kind_of_question_passes_and_fails() {
    let status = "Package: curl\nStatus: install ok installed\nVersion: 7.88.1-10+deb12u5\n\n";
    let system = Memory::new()
        .file_of("/etc/motd", 0o600, (0, 42), "Welcome\nhome\n")
        .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        .file("/etc/group", "adm:x:4:\n")
        .file("/var/lib/dpkg/status", status)
        .file("/etc/sysctl.d/a.conf", "vm.swappiness = 10\n")
        .file("/etc/modules", "overlay\n")
        .file("/boot/vmlinuz-6.1.0-1", "")
        .file("/boot/config-6.1.0-1", "CONFIG_BPF=y\n")
        .file("/usr/lib/systemd/system/x.service", "[Install]\n")
        .dir("/var/empty")
        .program("/usr/bin/jq")
        .link("/lib", "usr/lib");
    use Verdict::{Fail, Pass, Skip};
    for (question, wanted) in [
        ("file: {path: /etc/motd, exists: true}", Pass),
        ("file: {path: /etc/motd, exists: false}", Fail),
        ("file: {path: \"/etc/mo*\", exists: false}", Fail),
        ("file: {path: /etc/none, exists: true}", Fail),
        ("file: {path: /etc/motd, contains: ^home$}", Pass),
        ("file: {path: /etc/motd, contains: away}", Fail),
        ("file: {path: /etc/motd, lacks: away}", Pass),
        ("file: {path: /etc/motd, lacks: home}", Fail),
        ("file: {path: /etc/motd, mode: \"0600\", owner: \"0:42\"}", Pass),
        ("file: {path: /etc/motd, mode: 0644}", Fail),
        ("file: {path: /etc/motd, owner: \"0:0\"}", Fail),
        ("directory: {path: /var/empty, empty: true}", Pass),
        ("directory: {path: /etc, empty: true}", Fail),
        ("package: {name: curl}", Pass),
        ("package: {name: curl, version: 7.88.1}", Pass),
        ("package: {name: curl, version: \">= 7.90\"}", Fail),
        ("package: {name: curl, version: \"< 8\"}", Pass),
        ("package: {name: curl, absent: true}", Fail),
        ("package: {name: ntp, absent: true}", Pass),
        ("command: {name: jq}", Pass),
        ("command: {name: jq, absent: true}", Fail),
        ("command: {name: yq}", Fail),
        ("sysctl: {key: vm.swappiness, equals: 10}", Pass),
        ("sysctl: {key: vm/swappiness, equals: 60}", Fail),
        ("sysctl: {key: vm.other, equals: 1}", Fail),
        ("sysctl: {key: vm.other, equals: 1, default: 1}", Pass),
        ("service: {name: x, enabled: false}", Pass),
        ("service: {name: x, enabled: true}", Fail),
        ("run: {command: [\"true\"]}", Skip),
        ("port: {number: 22}", Skip),
        ("module: overlay", Pass),
        ("module: br_netfilter", Fail),
        ("user: {name: root}", Pass),
        ("user: {name: builder, absent: true}", Pass),
        ("user: {name: root, absent: true}", Fail),
        ("group: {name: adm}", Pass),
        ("group: {name: docker}", Fail),
        ("kernel: {min: 6.1}", Pass),
        ("kernel: {min: \"6.2\"}", Fail),
        ("kernel: {config: CONFIG_BPF}", Pass),
        ("kernel: {config: XFS_FS}", Fail),
        ("kernel: {matches: \"^6[.]\"}", Pass),
        ("systemd: {min: 200}", Fail),
        ("images: [pause]", Fail),
    ] {
        assert_eq!(asks(question, &system), wanted, "{question}");
    }
    let running = system
        .answer("crictl ps", 0, "CONTAINER IMAGE\n")
        .answer("crictl images", 1, "")
        .file("/proc/net/tcp", "h\n 0: 00000000:0016 0:0 0A\n");
    for (question, wanted) in [
        ("run: {command: [crictl, ps]}", Pass),
        ("run: {command: [crictl, ps], stdout: IMAGE}", Pass),
        ("run: {command: [crictl, ps], stdout: ^x}", Fail),
        ("run: {command: [crictl, images]}", Fail),
        ("run: {command: [crictl, images], exit: 1}", Pass),
        ("port: {number: 22, listening: true}", Pass),
        ("port: {number: 22}", Fail),
        ("port: {number: 80}", Pass),
    ] {
        assert_eq!(asks(question, &running), wanted, "{question}");
    }
}

#[test]
fn severities_are_changed_and_names_ignored() {
    let ours = profile("include: [kubeadm]\nchecks:\n  - id: os.swap\n    severity: error\n");
    let system =
        crate::node::kubeadm_node().file("/etc/fstab", "/swap none swap\n").file("/etc/kubernetes/kubelet.conf", "");
    let report = verify(&system, std::slice::from_ref(&ours), &[]);
    let swap = report.outcomes.iter().find(|o| o.rule.id == "os.swap").unwrap();
    assert_eq!((swap.severity(), swap.rule.name.as_deref()), (Severity::Error, Some("Swap")));
    assert_eq!(report.counts().errors, 2);
    let report = verify(&system, std::slice::from_ref(&ours), &["swap".to_owned()]);
    assert_eq!((report.counts().errors, report.counts().warnings, report.code()), (1, 1, 1));
    let report = verify(&system, &[ours], &["ALL".to_owned()]);
    assert_eq!((report.counts().errors, report.code()), (0, 0));
}
