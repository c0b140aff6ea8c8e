//! Reports in all their forms.

use kiln_checks::report::{document, html, log, text};
use kiln_checks::system::Memory;
use kiln_checks::{Profile, Report, verify};

fn of(profile: &str, system: &Memory) -> Report {
    verify(system, &[Profile::built_in(profile).unwrap()], &[])
}

#[test]
fn the_log_is_that_of_the_script() {
    let system = Memory::new().file("/boot/vmlinuz-3.10.0-1062.el7.x86_64", "").program("/usr/bin/wget");
    let text = log::ack(&of("ack", &system), 1_564_139_050, false);
    let first: Vec<&str> = text.lines().filter(|line| line.contains("Verify")).take(10).collect();
    insta::assert_snapshot!(first.join("\n"), @r"
[20190726 11:04:10]: Check if kernel version >= 3.10.  Verify Passed!
[20190726 11:04:10]: Check if systemd version >= 219.  Verify Failed!
[20190726 11:04:10]: Check if sshd is running and listen on port 22.  Verify Failed!
[20190726 11:04:10]: Check if cloud-init is installed.  Verify Failed!
[20190726 11:04:10]: Check if wget is installed.  Verify Passed!
[20190726 11:04:10]: Check if curl is installed.  Verify Failed!
[20190726 11:04:10]: Check if kubeadm is cleaned up.  Verify Passed!
[20190726 11:04:10]: Check if kubelet is cleaned up.  Verify Passed!
[20190726 11:04:10]: Check if kubectl is cleaned up.  Verify Passed!
[20190726 11:04:10]: Check if kubernetes-cni is cleaned up.  Verify Unknown!
");
    let color = log::ack(&of("ack", &system), 1_564_139_050, true);
    assert!(
        color.starts_with("[20190726 11:04:10]: Check if kernel version >= 3.10. \x1b[32m Verify Passed! \x1b[0m\n")
    );
}

#[test]
fn preflight_is_that_of_kubeadm() {
    let system = crate::node::running()
        .file("/proc/swaps", "Filename\n/dev/sda2 partition\n")
        .file("/proc/cpuinfo", "processor\t: 0\n")
        .file("/etc/kubernetes/kubelet.conf", "");
    insta::assert_snapshot!(log::kubeadm(&of("kubeadm", &system)), @r"
[preflight] Running pre-flight checks
	[WARNING Swap]: swap is on, or will be at the next boot
error execution phase preflight: [preflight] Some fatal errors occurred:
	[ERROR NumCPU]: 1 processor, and a control plane needs 2
	[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf is there
[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`
");
}

#[test]
fn people_see_the_verdict_first() {
    let system = crate::node::kubeadm_node()
        .file("/etc/fstab", "UUID=1 / ext4\n/dev/sda2 none swap sw 0 0\n")
        .file("/etc/sysctl.d/zz.conf", "# x\nnet.ipv4.ip_forward=0\n");
    insta::assert_snapshot!(text::render(&of("kubeadm", &system), text::Options::default()), @r"
FAIL: memory is not as it must be (1 error, 1 warning, 48 passed, 9 have no meaning here)

kubeadm: 48 of 59 passed
  warning  os.swap                                 swap is on, or will be at the next boot
             /etc/fstab:2: /dev/sda2 swap
             hint: swapoff -a, and remove the line, unit or generator that turns it on
  error    os.sysctl.required.net.ipv4.ip_forward  net.ipv4.ip_forward is 0 and not 1
             /etc/sysctl.d/zz.conf:2: net.ipv4.ip_forward = 0
             hint: set it in a file of /etc/sysctl.d whose name comes late
");
    let all = text::render(&of("kubeadm", &system), text::Options { color: false, all: true });
    assert!(all.contains("  ok       os.kernel.regex"), "{all}");
}

#[test]
fn nothing_that_is_found_becomes_markup() {
    let evil = "<img src=x onerror=alert(1)>\"'&]]>\u{1b}[2J";
    let system = Memory::new()
        .file(&format!("/etc/ssh/ssh_host_{evil}_key"), "x")
        .file("/etc/machine-id", evil)
        .file("/etc/fstab", "/dev/sda<script>&\" / ext4\n");
    let report = of("cis-basics", &system);
    for page in [html::render(&report), document::junit(&report)] {
        assert!(!page.contains("<img") && !page.contains("<script") && !page.contains('\u{1b}'));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;]]&gt;"), "{page}");
    }
    let json = document::json(&report);
    assert_eq!(json["verdict"], "fail");
    let host_keys = json["checks"].as_array().unwrap().iter().find(|c| c["id"] == "os.ssh.hostkeys-absent").unwrap();
    assert_eq!(host_keys["evidence"][0]["place"], format!("/etc/ssh/ssh_host_{evil}_key"));
    assert_eq!(host_keys["verdict"], "fail");
    assert_eq!(json["counts"]["errors"].as_u64().unwrap() as usize, report.counts().errors);
}

#[test]
fn junit_counts_what_it_holds() {
    let report = of("kubeadm", &crate::node::kubeadm_node().file("/etc/kubernetes/kubelet.conf", ""));
    let xml = document::junit(&report);
    let counted = |tag: &str| xml.matches(tag).count();
    assert_eq!((counted("<failure "), counted("<error "), counted("<skipped ")), (1, 0, 9), "{xml}");
    assert!(xml.contains(&format!("tests=\"{}\" failures=\"1\" errors=\"0\" skipped=\"9\"", report.outcomes.len())));
    assert_eq!(counted("<testcase "), report.outcomes.len());
}

/// A machine that ran, and the disk that came of it.
#[test]
fn what_has_no_meaning_for_one_may_have_one_for_the_other() {
    let running = crate::node::running().file("/etc/machine-id", "0123\n");
    let mut report = of("cis-basics", &running);
    let id = |report: &Report| {
        let of = |o: &&kiln_checks::report::Outcome| o.rule.id == "os.machine-id.empty";
        report.outcomes.iter().filter(of).map(|o| o.finding.verdict).collect::<Vec<_>>()
    };
    assert_eq!(id(&report), [kiln_checks::Verdict::Skip]);
    report.add(&of("cis-basics", &Memory::new().file("/etc/machine-id", "0123\n")));
    assert_eq!(id(&report), [kiln_checks::Verdict::Fail]);
    assert_eq!((report.code(), report.profiles.len()), (1, 1));
    let live = report.outcomes.len();
    report.add(&of("disk", &Memory::new()));
    assert_eq!((report.profiles.len(), report.outcomes.len()), (2, live + 6));
}
