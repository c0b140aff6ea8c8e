//! Plugins: what, when and where.

use kiln_clusterfile::model::{Action, Phase, Plugin, Role, Selector};

use super::{cluster, with_spec, wrong};

fn document(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let hosts = "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {ips: [192.168.0.2], roles: [master]}\n  - {ips: [192.168.0.3-192.168.0.7], roles: [node], labels: {ssd: 'true'}}\n";
    format!(
        "{hosts}---\napiVersion: sealer.aliyun.com/v1alpha1\nkind: Plugin\nmetadata:\n  name: {name}\nspec:\n{spec}"
    )
}

fn plugin(name: &str, spec: &str) -> Plugin {
    cluster(&document(name, spec)).plugins.remove(0)
}

#[test]
fn names_of_hosts() {
    let cluster = cluster(&document(
        "names",
        "type: HOSTNAME\ndata: |\n  192.168.0.2 master-0\n  # one more\n\n  192.168.0.3   node-0\n",
    ));
    let names: Vec<Option<&str>> =
        cluster.hosts.iter().map(|host| host.name.as_ref().map(|name| &*name.value)).collect();
    assert_eq!(names[..3], [Some("master-0"), Some("node-0"), None]);
    assert_eq!(cluster.hosts[1].name.as_ref().map(|name| name.origin.to_string()), Some("Clusterfile:18".to_owned()));
    assert_eq!(cluster.plugins[0].phases[0].value, Phase::PreInitHost);
}

#[test]
fn labels_and_taints_of_lists_and_ranges() {
    let Action::Label(labels) =
        plugin("LABEL", "data: |\n  192.168.0.3 ssd=false,hdd=true\n  192.168.0.4 old-\n").action
    else {
        panic!()
    };
    let shown: Vec<String> = labels.iter().map(|l| format!("{} {} {}", l.value.0, l.value.1, l.origin)).collect();
    assert_eq!(
        shown,
        [
            "192.168.0.3 ssd=false Clusterfile:14",
            "192.168.0.3 hdd=true Clusterfile:14",
            "192.168.0.4 old- Clusterfile:15"
        ]
    );
    let data = "type: TAINT\naction: PreGuest\ndata: |\n  192.168.0.3 a=b:NoSchedule\n  192.168.0.4 c=d:NoSchedule-\n  192.168.0.3-192.168.0.5 e:NoExecute\n  192.168.0.3,192.168.0.7 f=:PreferNoSchedule\n  192.168.0.3 g-\n";
    let Action::Taint(taints) = plugin("t", data).action else { panic!() };
    let shown: Vec<String> = taints.iter().map(|t| format!("{} {}", t.value.0, t.value.1)).collect();
    assert_eq!(
        shown,
        [
            "192.168.0.3 a=b:NoSchedule",
            "192.168.0.4 c=d:NoSchedule-",
            "192.168.0.3 e:NoExecute",
            "192.168.0.4 e:NoExecute",
            "192.168.0.5 e:NoExecute",
            "192.168.0.3 f:PreferNoSchedule",
            "192.168.0.7 f:PreferNoSchedule",
            "192.168.0.3 g-"
        ]
    );
}

#[test]
fn when_and_where() {
    let shell = |fields: &str| plugin("s", &format!("type: SHELL\n{fields}\ndata: uname -a\n"));
    let phases = |plugin: &Plugin| plugin.phases.iter().map(|phase| phase.value).collect::<Vec<_>>();
    let old = shell("action: PreInit | PreJoin|PreInit");
    assert_eq!((phases(&old), &old.on.value), (vec![Phase::PreInitHost, Phase::PreScaleUp], &Selector::All));
    let new = shell("action: pre-init-host\nscope: master|node");
    assert_eq!(
        (phases(&new), &new.on.value),
        (vec![Phase::PreInitHost], &Selector::Roles(vec![Role::Master, Role::Node]))
    );
    assert_eq!(shell("action: post-install").on.value, Selector::Phase);
    for (on, want) in [
        ("master", vec![0]),
        ("node", vec![1, 2, 3, 4, 5]),
        ("192.168.0.2,192.168.0.7", vec![0, 5]),
        ("192.168.0.4-192.168.0.5", vec![2, 3]),
        ("ssd=true", vec![1, 2, 3, 4, 5]),
        ("ssd=false", vec![]),
        ("all", vec![0, 1, 2, 3, 4, 5]),
    ] {
        let cluster = cluster(&document("s", &format!("type: SHELL\naction: PostInstall\non: {on}\ndata: a\n")));
        let plugin = &cluster.plugins[0];
        let selected: Vec<usize> = (0..cluster.hosts.len())
            .filter(|i| plugin.on.selects(&cluster.hosts[*i], *i == 0, Phase::PostInstall))
            .collect();
        assert_eq!(selected, want, "{on}");
    }
}

#[test]
fn the_others() {
    assert_eq!(plugin("c", "type: CLUSTERCHECK\naction: PreGuest\n").action, Action::ClusterCheck);
    let Action::EtcdBackup(path) = plugin("MyBackup", "type: ETCD\naction: PostInstall\n").action else { panic!() };
    assert_eq!(path.value, "/var/backups/etcd");
    let cluster = cluster(&document("taint", "type: Taint\naction: PreGuest\ndata: 192.168.0.2 a:NoSchedule\n"));
    assert!(cluster.notes.iter().any(|note| note.value == "the type `Taint` is read as TAINT"), "{:?}", cluster.notes);
}

#[test]
fn mistakes() {
    let one = |name: &str, spec: &str| wrong(&document(name, spec)).join("\n");
    for (spec, want) in [
        (
            "type: SHEL\naction: PreInit\ndata: a",
            "E UnknownType 13: `SHEL` is no type of plugin that Kiln has | did you mean `SHELL`?",
        ),
        (
            "type: LABEL_TEST_SO\naction: PreInit\ndata: a",
            "E UnknownType 13: `LABEL_TEST_SO` is no type of plugin that Kiln has | plugins of Go (.so files) cannot be loaded: write it as one of type SHELL",
        ),
        ("type: SHELL\naction: PreInt\ndata: a", "E UnknownPhase 14: `PreInt` is no phase | did you mean `PreInit`?"),
        ("type: SHELL\ndata: a", "E NoField 13: the Plugin `p` has no `action`, which says when"),
        ("type: SHELL\naction: PreInit", "E NoField 13: `spec` has no `data`"),
        ("action: PreInit\ndata: a", "E NoField 13: the Plugin `p` has no `type`"),
        ("type: LABEL\ndata: |\n  192.168.0.2 a b", "E BadData 15: this line is not `ADDRESSES KEY=VALUE,…`"),
        (
            "type: TAINT\ndata: |\n  192.168.0.2 a=b:Never",
            "E BadData 15: `Never` is no effect: NoSchedule, PreferNoSchedule and NoExecute are",
        ),
        ("type: LABEL\ndata: |\n  192.168.9.9 a=b", "W NoSuchHost 15: no host has the address 192.168.9.9"),
        (
            "type: HOSTNAME\ndata: |\n  192.168.0.2 A",
            "E BadData 15: `A` is no name of a host: small letters, digits, `-` and `.`",
        ),
        (
            "type: SHELL\naction: PreInit\non: 192.168.0.9-192.168.0.1\ndata: a",
            "E BadSelector 15: `192.168.0.9-192.168.0.1`: this range runs backwards",
        ),
    ] {
        assert_eq!(one("p", spec), want, "{spec}");
    }
    let both = one("p", "type: SHELL\naction: PreInit\non: master\nscope: node\ndata: a");
    assert!(both.starts_with("E Conflict 16: `spec.scope` beside `spec.on`"), "{both}");
    assert!(wrong(&with_spec("image: a")).is_empty());
}

#[test]
fn ports_that_mean_nothing_are_told() {
    let found = wrong(&document("a", "type: SHELL\naction: PreInit\ndata: x\non: 192.168.0.2:22,192.168.0.3\n"));
    assert!(found[0].contains("`192.168.0.2:22`: a port has no meaning here"), "{found:?}");
    let host = "{ips: ['10.0.0.1:2222'], roles: [master], addresses: ['192.168.7.1:22']}";
    let found = wrong(&format!("apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {host}\n"));
    assert!(found[0].starts_with("E BadAddress") && found[0].contains("192.168.7.1, port 22"), "{found:?}");
}
