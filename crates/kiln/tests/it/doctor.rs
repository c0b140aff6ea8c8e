//! `kiln doctor` of the pod network, as a user calls it. What it finds is tested where it is found, in `kiln-doctor`.

use std::os::unix::fs::PermissionsExt;

use kiln_testkit::TestContext;

use crate::sshd::Sshd;

/// A root of a node that has no pod network.
fn bare() -> TestContext {
    TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"))
        .dir("root/etc/kubernetes", 0o755)
        .dir("root/etc/cni/net.d", 0o755)
        .file("root/etc/kubernetes/kubelet.conf", 0o600, "")
        .file("root/etc/hostname", 0o644, "node1\n")
        .file("root/etc/resolv.conf", 0o644, "nameserver 10.0.0.1\n")
}

#[test]
fn findings_as_text_json_and_files() {
    let t = bare();
    let root = t.context().join("root").display().to_string();
    let text = t.kiln(&["doctor", "--root", &root]).exits(1).stdout;
    assert!(
        text.starts_with("1 host, 1 finding. First: the host has no configuration of a pod network (node1)."),
        "{text}"
    );
    assert!(text.contains("error[cni.no-config] node1:"), "{text}");
    let (junit, html) = (t.out("junit.xml").display().to_string(), t.out("page.html").display().to_string());
    let args = ["doctor", "network", "--root", &root, "--json", "--junit", &junit, "--html", &html];
    let json = t.kiln(&args).exits(1).json();
    assert_eq!(json["findings"][0]["id"], "cni.no-config");
    assert_eq!(json["outcome"], "findings");
    assert!(std::fs::read_to_string(junit).unwrap().contains("failures=\"1\""));
    assert!(std::fs::read_to_string(html).unwrap().contains("<svg"));
    let page = t.kiln(&["explain", "cni.no-config"]).ok().stdout;
    assert!(page.contains("cni plugin not initialized"), "{page}");
}

#[test]
fn kept_facts_are_judged_later() {
    let t = bare();
    let root = t.context().join("root").display().to_string();
    let facts = t.kiln(&["doctor", "--facts-json", "--root", &root]).ok().raw_stdout;
    t.write("facts.json", 0o644, &facts);
    let kept = t.context().join("facts.json").display().to_string();
    let text = t.kiln(&["doctor", "--facts", &kept]).exits(1).stdout;
    assert!(text.contains("error[cni.no-config]"), "{text}");
    t.write("facts.json", 0o644, "{}");
    let said = t.kiln(&["doctor", "--facts", &kept]).exits(1).stderr;
    assert!(said.contains("facts.json"), "{said}");
}

/// What the server's host has is this machine's own: only that it is looked at is told here.
#[test]
fn a_host_over_ssh_is_looked_at() {
    let sshd = Sshd::start();
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let (ssh, host) = (t.home().join(".ssh"), format!("root@127.0.0.1:{}", sshd.port));
    std::fs::create_dir(&ssh).unwrap();
    std::fs::write(ssh.join("id_ed25519"), sshd.user_key.openssh().unwrap().expose()).unwrap();
    std::fs::set_permissions(ssh.join("id_ed25519"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let unknown = t.kiln(&["doctor", "--hosts", &host]).exits(3).stdout;
    assert!(unknown.contains("its host key is not known") && unknown.contains("--accept-new-host-keys"), "{unknown}");
    let first = t.kiln(&["doctor", "--json", "--accept-new-host-keys", "--hosts", &host]);
    assert_eq!(first.json()["hosts"].as_array().map(Vec::len), Some(1), "{}", first.stdout);
    assert!(std::fs::read_to_string(ssh.join("known_hosts")).unwrap().contains("ssh-ed25519"));
    let again = t.kiln(&["doctor", "--json", "--hosts", &host]);
    assert_eq!(again.json()["missing"].as_array().map(Vec::len), Some(0), "{}", again.stdout);
    let twice = t.kiln(&["doctor", "--json", "--hosts", &format!("{host},{host}")]);
    assert_eq!(twice.json()["hosts"].as_array().map(Vec::len), Some(1), "{}", twice.stdout);
    assert!(twice.stderr.contains("is named twice"), "{}", twice.stderr);
    // Nothing is changed without --yes; what the host says has its name before it.
    let fix = t.kiln(&["doctor", "--fix", "leases.leaked", "--hosts", &host]).ok().stdout;
    assert!(fix.starts_with("127.0.0.1: "), "{fix}");
    let way = t.kiln(&["doctor", "path", "127.0.0.1", &format!("127.0.0.1:{}", sshd.port), "--hosts", &host]);
    let answered = format!("probe: TCP from this host to 127.0.0.1:{} is answered", sshd.port);
    assert!(way.text().contains(&answered) && way.stderr.contains("connecting from 127.0.0.1"), "{}", way.stdout);
    let silent = t.kiln(&["doctor", "path", "127.0.0.1", "127.0.0.1", "--no-probe", "--hosts", &host]);
    assert!(!silent.stdout.contains("probe:") && !silent.stderr.contains("connecting"), "{}", silent.stdout);
}

#[test]
fn a_cluster_that_does_not_answer_is_said_and_hosts_are_judged() {
    let t = bare();
    let root = t.context().join("root").display().to_string();
    let json = t.kiln(&["doctor", "--json", "--root", &root, "--kubeconfig", "/nowhere"]).exits(1).json();
    assert_eq!(json["findings"][0]["id"], "cni.no-config");
    assert_eq!(json["missing"][0]["host"], "API");
}

/// A lease of a container that is gone.
fn leak(t: &TestContext, ip: &str) -> std::path::PathBuf {
    let path = t.context().join("root/var/lib/cni/networks/cbr0").join(ip);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "gone\r\neth0").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    path
}

#[test]
fn a_fix_its_record_and_back() {
    let t = bare().dir("root/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes", 0o755);
    let (root, record) = (t.context().join("root").display().to_string(), t.out("record.json").display().to_string());
    let lease = leak(&t, "10.244.0.9");
    let fix = ["doctor", "fix", "leases.leaked", "--root", &root, "--record", &record];
    let plan = t.kiln(&fix).ok().stdout;
    assert!(plan.contains("delete 1 leases") && plan.contains("nothing was changed"), "{plan}");
    assert!(lease.exists() && !std::path::Path::new(&record).exists());
    let yes = [&fix[..], &["--yes"]].concat();
    let done = t.kiln(&yes).ok().stdout;
    assert!(!lease.exists() && done.contains("leases.leaked is no longer found"), "{done}");
    let nothing = t.kiln(&yes).ok().stdout;
    assert!(nothing.contains("nothing to do"), "{nothing}");
    // Another leak: the record of the first is not written over.
    let other = leak(&t, "10.244.0.10");
    let refused = t.kiln(&yes).exits(1).stderr;
    assert!(refused.contains("is there already") && refused.contains("kiln doctor undo"), "{refused}");
    assert!(other.exists());
    let undo = ["doctor", "undo", &record, "--root", &root];
    let back = t.kiln(&undo).ok().stdout;
    assert!(lease.exists() && back.contains("taken back"), "{back}");
    let gone = t.kiln(&undo).exits(1).stderr;
    assert!(gone.contains("record.json"), "{gone}");
    std::fs::write(&record, "").unwrap();
    let _ = t.kiln(&undo).ok();
    assert!(!std::path::Path::new(&record).exists(), "of a fix that was killed before it began");
    let torn = t.out("torn.json");
    std::fs::write(&torn, "[{\"undo\":").unwrap();
    let said = t.kiln(&["doctor", "undo", &torn.display().to_string(), "--root", &root]).exits(1).stderr;
    assert!(said.contains("torn.json") && torn.exists(), "{said}");
}

#[test]
fn wrong_words() {
    let t = bare();
    let root = t.context().join("root").display().to_string();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["doctor", "--fix", "nonsense", "--root", &root], 2, "is no finding"),
        (&["doctor", "--yes", "--root", &root], 2, "--fix"),
        (&["doctor", "fix", "leases.leaked", "--host", "a=/"], 2, "hosts over SSH"),
        (&["doctor", "probe", "{}"], 2, "the order"),
        (&["doctor", "--kubeconfig", "/nowhere", "--root", &root, "--kube-context"], 2, "--kube-context"),
        (&["doctor", "--host", "nothing"], 2, "NAME=DIR"),
        (&["doctor", "--root", "/nowhere/at/all"], 3, "/nowhere/at/all"),
        (&["doctor", "--host", "a=/", "--root", "/"], 2, "--root and --netns"),
        (&["doctor", "path", "web-0", "10.0.0.1", "--root", &root], 2, "no address"),
        (&["doctor", "fix", "nonsense", "--root", &root], 2, "is no finding"),
        (&["doctor", "--hosts", "root:pw@h"], 2, "password"),
    ];
    for (args, code, why) in cases {
        let said = t.kiln(args).exits(code).stderr;
        assert!(said.contains(why), "{args:?}: {said}");
    }
}
