//! One layer over another.

use kiln_kubeadm::{Kind, layer::DEFAULT, render, resolve};

use super::{lines, resolved};

#[test]
fn without_layers_the_default_document_comes_out_as_it_is() {
    let resolved = resolve(&[], None).unwrap();
    let text = render::yaml(&resolved, false);
    let values = |text: &str| -> Vec<kiln_yaml::Value> {
        let mut values: Vec<_> = kiln_yaml::parse(text).into_iter().map(|d| plain(d.root.unwrap())).collect();
        values.sort_by_key(|v| format!("{v:?}").len());
        values
    };
    assert_eq!(values(&text), values(DEFAULT), "{text}");
    assert_eq!((&*resolved.version, resolved.changes.len(), resolved.warnings.len()), ("v1.19.8", 0, 0));
    let again = resolve(&[super::layer("again", &text)], None).unwrap();
    assert_eq!(render::yaml(&again, false), text, "what is written reads the same");
}

/// A value without places.
fn plain(node: kiln_yaml::Node) -> kiln_yaml::Value {
    use kiln_yaml::{Entry, Map, Node, Value};
    match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|item| Node::made(plain(item))).collect()),
        Value::Map(map) => {
            let entry = |e: Entry| Entry { key: e.key, span: Default::default(), value: Node::made(plain(e.value)) };
            Value::Map(Map { entries: map.entries.into_iter().map(entry).collect() })
        }
        other => other,
    }
}

#[test]
fn one_field_of_the_clusterfile_changes_one_field() {
    let image = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nlocalAPIEndpoint: {bindPort: 7000, advertiseAddress: 10.0.0.1}\n";
    let resolved = resolved(
        "apiVersion: sealer.io/v1\nkind: Cluster\nspec: {}\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nlocalAPIEndpoint:\n  bindPort: 8443\n",
        image,
        None,
    );
    assert_eq!(lines(&resolved, "bindPort: 8443"), ["bindPort: 8443  # Clusterfile:8"]);
    assert_eq!(resolved.warnings, [], "what else stands in a Clusterfile is read by others");
    let lost =
        resolve(&[kiln_kubeadm::Layer::file("etc/kubeadm.yml", "apiVersion: sealer.io/v1\nkind: Cluster\n")], None);
    assert!(format!("{lost:?}").contains("Cluster of sealer.io belongs into a Clusterfile"), "{lost:?}");
    assert_eq!(lines(&resolved, "advertiseAddress"), ["advertiseAddress: 10.0.0.1  # etc/kubeadm.yml:3"]);
    assert_eq!(lines(&resolved, "criSocket")[0], "criSocket: /var/run/dockershim.sock  # default:7");
}

#[test]
fn false_zero_and_empty_win() {
    let resolved = resolved(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
eventRecordQPS: 0
contentType: ''
enforceNodeAllocatable: []
evictionHard: {}
",
        "",
        None,
    );
    assert_eq!(lines(&resolved, "failSwapOn"), ["failSwapOn: false  # Clusterfile:3"]);
    assert_eq!(lines(&resolved, "eventRecordQPS"), ["eventRecordQPS: 0  # Clusterfile:4"]);
    assert_eq!(lines(&resolved, "contentType"), ["contentType: \"\"  # Clusterfile:5"]);
    assert_eq!(lines(&resolved, "enforceNodeAllocatable"), ["enforceNodeAllocatable: []  # Clusterfile:6"]);
    // An empty map says nothing of the keys below it.
    assert_eq!(lines(&resolved, "nodefs.available").len(), 1);
}

#[test]
fn null_deletes_a_field_a_key_and_a_list() {
    let resolved = resolved(
        "apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
imageRepository: null
etcd: ~
apiServer: {extraArgs: {audit-log-format: null}, extraVolumes: null}
",
        "",
        None,
    );
    for gone in ["imageRepository", "etcd", "audit-log-format", "DirectoryOrCreate"] {
        assert_eq!(lines(&resolved, gone), Vec::<String>::new());
    }
    assert_eq!(lines(&resolved, "audit-log-path").len(), 1);
}

#[test]
fn named_lists_are_merged_by_name_and_others_replaced() {
    let resolved = resolved(
        "apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
apiServer:
  extraVolumes:
  - {name: audit-log, hostPath: /data/audit, mountPath: /var/log/kubernetes}
  - {name: extra, hostPath: /x, mountPath: /x}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
ipvs: {excludeCIDRs: [1.2.3.4/32]}
",
        "",
        None,
    );
    let cluster = &resolved.documents.iter().find(|(kind, _)| *kind == Kind::ClusterConfiguration).unwrap().1;
    let text = format!("{:?}", cluster.at(&["apiServer", "extraVolumes"]));
    let order: Vec<_> =
        ["\"audit\"", "/data/audit", "localtime", "extra\""].iter().map(|word| text.find(word).unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(text.matches("Text(\"audit-log\")").count(), 1, "nothing is there twice");
    assert_eq!(lines(&resolved, "/32").len(), 1);
}

#[test]
fn strings_that_look_like_something_else_stay_strings() {
    let resolved = resolved(
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nclusterName: 'yes'\nscheduler: {extraArgs: {a: '12:30', b: \"x: y # z\", c: \"1\\n2\", d: '', e: '-1', f: '*', g: '0x1'}}\n",
        "",
        None,
    );
    let text = render::yaml(&resolved, false);
    let root = kiln_yaml::parse(&text).remove(1).root.unwrap();
    let all: Vec<_> = root.at(&["scheduler", "extraArgs"]).unwrap().map().unwrap().entries[1..]
        .iter()
        .map(|e| e.value.text().unwrap())
        .collect();
    assert_eq!(all, ["12:30", "x: y # z", "1\n2", "", "-1", "*", "0x1"], "{text}");
    assert_eq!(root.at(&["clusterName"]).unwrap().text(), Some("yes"));
}

#[test]
fn what_a_program_makes_is_a_layer_with_origins_of_its_own() {
    use kiln_kubeadm::{Content, Layer, Origin, Value};
    let origin = Origin { layer: "10.0.0.1".into(), ..Origin::default() };
    let text = |text: &str| Value { content: Content::Text(text.into()), origin: origin.clone() };
    let mut init = Value { content: Content::Map(Vec::new()), origin: origin.clone() };
    init.put(&["nodeRegistration", "kubeletExtraArgs", "node-ip"], text("10.0.0.1"));
    init.put(&["nodeRegistration", "name"], text("a"));
    let made = Layer::made("hosts", vec![(Kind::InitConfiguration, init)]);
    let user = Layer::clusterfile(
        "Clusterfile",
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nnodeRegistration: {name: b}\n",
    );
    for (version, node_ip) in
        [(None, "node-ip: 10.0.0.1  # 10.0.0.1"), (Some("v1.31.0"), "value: 10.0.0.1  # 10.0.0.1")]
    {
        let resolved = resolve(&[user.clone(), made.clone()], version).unwrap();
        assert_eq!(lines(&resolved, "10.0.0.1  #"), [node_ip]);
        assert_eq!(lines(&resolved, "  name: b"), ["name: b  # Clusterfile:3"]);
        assert!(!resolved.changes.iter().any(|change| change.origin.layer == "10.0.0.1"), "{:?}", resolved.changes);
    }
}

#[test]
fn many_entries_are_laid_over_many() {
    use kiln_kubeadm::{Content, Origin, Value, merge};
    let value = |text: String| Value { content: Content::Text(text), origin: Origin::default() };
    let entries = |from: usize| (from..from + 200_000).map(|n| (format!("k{n}"), value(format!("{from}")))).collect();
    let merged = merge::by_key(entries(0), entries(100_000), |_, upper, key| (key != "k150000").then_some(upper));
    assert_eq!(merged.len(), 299_999);
    assert_eq!((merged[100_000].0.as_str(), merged[100_000].1.as_text()), ("k100000", Some("100000")));
    assert_eq!(merged.last().unwrap().0, "k299999");
    // Named lists: what the upper one has of a name stands where the lower one had it first.
    let item = |name: &str, text: &str| {
        let entries = vec![("name".to_owned(), value(name.to_owned())), ("value".to_owned(), value(text.to_owned()))];
        Value { content: Content::Map(entries), origin: Origin::default() }
    };
    let list = |items: &[(&str, &str)]| Value {
        content: Content::List(items.iter().map(|(name, text)| item(name, text)).collect()),
        origin: Origin::default(),
    };
    let over = merge::over(
        Some(list(&[("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")])),
        list(&[("d", "3"), ("a", "3"), ("a", "4")]),
        "extraArgs",
    );
    let Some(Value { content: Content::List(items), .. }) = over else { panic!() };
    let shown: Vec<String> = items
        .iter()
        .map(|item| ["name", "value"].map(|key| item.at(&[key]).and_then(Value::as_text).unwrap()).concat())
        .collect();
    assert_eq!(shown, ["a3", "a4", "b1", "c1", "d3"]);
}
