//! `kiln cluster hosts` and `kiln cluster config`, as a user calls them. What they read is tested in `kiln-clusterfile`.

use kiln_testkit::TestContext;

const CLUSTERFILE: &str = "\
apiVersion: sealer.io/v2
kind: Cluster
metadata: {name: shop}
spec:
  image: registry.example/shop:v3
  ssh: {user: ops, passwd: hunter2, jump: gate.example}
  network: {podCIDR: 10.244.0.0/16}
  hosts:
  - {ips: [10.0.0.1], roles: [master], name: m-0}
  - {ips: ['10.0.0.2-10.0.0.3:2222'], roles: [node], labels: {disk: ssd}}
---
apiVersion: sealer.aliyun.com/v1alpha1
kind: Plugin
metadata: {name: LABEL}
spec:
  data: 10.0.0.2 a=b
---
apiVersion: sealer.io/v1
kind: Config
metadata: {name: port}
spec:
  path: etc/kubeadm.yml
  strategy: merge
  data: 'localAPIEndpoint: {bindPort: 7443}'
";

fn context(clusterfile: &str) -> (TestContext, String) {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).file("Clusterfile", 0o644, clusterfile).file(
        "kubeadm.yml",
        0o644,
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nlocalAPIEndpoint: {bindPort: 6443}\n",
    );
    let path = t.context().join("Clusterfile").display().to_string();
    (t, path)
}

#[test]
fn hosts_are_shown_with_their_lines_and_without_passwords() {
    let (t, path) = context(CLUSTERFILE);
    let shown = t.kiln(&["cluster", "hosts", "-f", &path, "--nodes", "10.0.0.9"]).ok();
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", shown.stdout);
    for (line, parts) in lines[1..].iter().zip([
        ["10.0.0.1 ", " m-0 ", " master ", "ops@, password, via gate.example", "Clusterfile:9"],
        ["10.0.0.2 ", " - ", " node ", "ops@:2222, password", "Clusterfile:10"],
        ["10.0.0.3 ", " - ", " node ", "disk=ssd", "Clusterfile:10"],
        ["10.0.0.9 ", " - ", " node ", "ops@", "--nodes"],
    ]) {
        parts.iter().for_each(|part| assert!(line.contains(part), "{part} in {line}"));
    }
    assert!(shown.stderr.contains("Clusterfile:14: the name `LABEL` is read as the type LABEL"), "{}", shown.stderr);
    let json = t.kiln(&["cluster", "hosts", "-f", &path, "--json"]).ok();
    assert!(!json.stdout.contains("hunter2"), "{}", json.stdout);
    let json = json.json();
    assert_eq!(
        (json["hosts"][1]["ssh"]["port"]["value"].as_u64(), json["hosts"][1]["ssh"]["hasPassword"].as_bool()),
        (Some(2222), Some(true))
    );
    let lists = t.kiln(&["cluster", "hosts", "-m", "10.0.0.1", "-u", "root", "--pk", "~/id"]).ok().stdout;
    assert!(lists.contains("root@, key ~/id"), "{lists}");
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let (t, path) = context(&CLUSTERFILE.replace("podCIDR", "podCIDRs"));
    for verb in ["hosts", "config"] {
        let said = t.kiln(&["cluster", verb, "-f", &path]).exits(1).stderr;
        assert!(said.contains("Clusterfile:7:13") && said.contains("did you mean `podCIDR`?"), "{said}");
    }
    let said = t.kiln(&["doctor", "-f", &path]).exits(1).stderr;
    assert!(said.contains("did you mean `podCIDR`?"), "{said}");
    let said = t.kiln(&["cluster", "hosts", "--masters", "10.0.0.300"]).exits(1).stderr;
    assert!(said.contains("--masters:1:1"), "{said}");
    assert!(t.kiln(&["cluster", "hosts"]).exits(1).stderr.contains("no hosts are named"));
}

#[test]
fn the_configuration_has_what_the_clusterfile_says() {
    let (t, path) = context(CLUSTERFILE);
    let image = t.context().join("kubeadm.yml").display().to_string();
    let shown = t.kiln(&["cluster", "config", "-f", &path, "--image-config", &image, "--explain"]).ok();
    let line = |part: &str| shown.stdout.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
    assert!(
        line("podSubnet").contains("10.244.0.0/16") && line("podSubnet").ends_with("Clusterfile:7"),
        "{}",
        shown.stdout
    );
    assert!(line("bindPort: 7443").contains("kubeadm.yml with "), "{}", shown.stdout);
    for part in [
        "the cluster `shop` with 3 hosts",
        "the Config `port`: merge etc/kubeadm.yml",
        "the Plugin `LABEL`: labels at PreGuest",
    ] {
        assert!(shown.stderr.contains(part), "{part} in {}", shown.stderr);
    }
    let without = t.kiln(&["cluster", "config", "-f", &path]).ok();
    assert!(
        without.stderr.contains("the Config `port` is about etc/kubeadm.yml: see it with --image-config"),
        "{}",
        without.stderr
    );
}

/// A cluster of which only workers are remembered.
const WORKERS: &str = r#"{"version":1,"name":"shop","id":"ab","image":"shop:1","digest":"sha256:0","kubernetes":"v1.20.2",
    "hosts":[{"address":"127.0.0.77","node":"n2","master":false}]}"#;

#[test]
fn options_of_a_launch_are_refused_where_they_mean_nothing() {
    let (t, _) = context(CLUSTERFILE);
    for verb in [&["status"][..], &["reset"], &["cert"], &["exec"]] {
        for option in
            [&["--peer-port", "7000"][..], &["--peer-rate", "5"], &["--no-peer-distribution"], &["--wait", "9"]]
        {
            let command: &[&str] = if verb == ["exec"] { &["--", "true"] } else { &[] };
            let words = [&["cluster"], verb, option, command].concat();
            let said = t.kiln(&words).exits(2);
            assert!(said.stderr.contains(option[0]), "{words:?}: {said}");
        }
    }
    for option in [&["--peer-port", "7000"][..], &["--resume"], &["--from", "init"], &["--wait", "9"], &["-e", "A=b"]] {
        let said = t.kiln(&[&["cluster", "scale", "--remove", "10.0.0.2"], option].concat()).exits(2);
        assert!(said.stderr.contains("cannot be used with"), "{option:?}: {said}");
    }
}

#[test]
fn a_cluster_without_masters_has_a_status() {
    let (t, _) = context(CLUSTERFILE);
    let t = t.file("clusters/shop/cluster.json", 0o600, WORKERS);
    let state = t.context().join("clusters").display().to_string();
    let said = t.kiln(&["cluster", "status", "--name", "shop", "--state", &state]).exits(3);
    assert!(said.stdout.contains("no master of it is known any more"), "{said}");
    assert!(said.stdout.contains("127.0.0.77") && said.stdout.contains("worker  not known"), "{said}");
    let json = t.kiln(&["cluster", "status", "--name", "shop", "--state", &state, "--json"]).exits(3).json();
    assert_eq!(json["hosts"][0]["node"], "n2");
    assert!(json["hosts"][0]["ready"].is_null() && json["error"].is_string(), "{json}");
}
