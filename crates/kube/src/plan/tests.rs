//! Orders in, manifests out.

use super::text::{Format, render};
use super::*;

fn order() -> Order {
    Order {
        name: "kiln-1a2b".to_owned(),
        build: "1a2b".to_owned(),
        namespace: "builds".to_owned(),
        image: "registry.example/kiln:1".to_owned(),
        arguments: ["build", "--push", "-t", "registry.example/app:1", "-"].map(str::to_owned).to_vec(),
        streamed: true,
        ..Order::default()
    }
}

#[test]
fn the_least_order_fits_pod_security_restricted() {
    insta::assert_snapshot!(render(&[manifests(&order())], Format::Yaml));
}

#[test]
fn every_setting_has_its_place() {
    let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let pod = Pod {
        profile: Profile::Userns,
        host_users: Some(false),
        service_account: Some("builder".to_owned()),
        node_selector: map("pool", "builds"),
        tolerations: vec![json!({"key": "builds", "operator": "Exists", "effect": "NoSchedule"})],
        priority_class: Some("low".to_owned()),
        runtime_class: Some("gvisor".to_owned()),
        requests: map("cpu", "2"),
        limits: map("memory", "4Gi"),
        pull_secrets: vec!["pull".to_owned()],
        labels: map("kueue.x-k8s.io/queue-name", "builds"),
        annotations: map("note", "yes: no"),
        deadline: Duration::from_mins(30),
        keep: Duration::ZERO,
        template: Some(Template::parse("spec: {dnsPolicy: Default, containers: [{name: kiln, env: [{name: HTTPS_PROXY, value: 'http://p:1'}]}]}").unwrap()),
    };
    let order = Order {
        node: Some(("linux".to_owned(), "arm64".to_owned())),
        streamed: false,
        files: BTreeMap::from([
            ("secret-0".to_owned(), b"hunter2".to_vec()),
            ("config.json".to_owned(), b"{}".to_vec()),
        ]),
        logins: Some(("team".to_owned(), ".dockerconfigjson".to_owned())),
        environment: vec![("AWS_REGION".to_owned(), "eu-west-1".to_owned())],
        environment_from: Some("cloud".to_owned()),
        pod,
        ..order()
    };
    let text = render(&[manifests(&order)], Format::Yaml);
    assert!(!text.contains("hunter2") && !text.contains(&BASE64.encode("hunter2")), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn json_is_one_list() {
    let text = render(&[manifests(&order()), manifests(&order())], Format::Json);
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("List"), Some(2)));
}

#[test]
fn a_baseline_pod_asks_only_for_capabilities_that_baseline_allows() {
    let allowed = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let container = Profile::Baseline.container();
    let added = container["capabilities"]["add"].as_array().unwrap();
    assert!(added.iter().all(|name| allowed.contains(&name.as_str().unwrap())), "{added:?}");
}

#[test]
fn yaml_means_what_json_says() {
    let mut order = order();
    order.arguments =
        ["yes", "12:30", "0644", "a: b", "- x", "#", "multi\nline\n", "\u{1b}[1m", "null", "~", "1e3", ""]
            .map(str::to_owned)
            .to_vec();
    let made = manifests(&order);
    let back: Value = serde_saphyr::from_str(&render(std::slice::from_ref(&made), Format::Yaml)).unwrap();
    assert_eq!(back, made.job);
}
