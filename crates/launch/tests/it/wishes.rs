//! What a Clusterfile wants besides: plugins, templates, Configs, addresses.

use kiln_clusterfile::model::{Action, Config, Label, Phase as When, Plugin, Process, Role, Selector, Strategy, Taint};
use kiln_clusterfile::{Origin, Said};
use kiln_host::recording::Answer;
use kiln_launch::reset::{self, Extent};
use kiln_launch::{LaunchError, Member, plugins, run};

use crate::world::World;

fn said<T>(value: T) -> Said<T> {
    Said::default_of(value)
}

fn plugin(name: &str, action: Action, on: Selector, phases: &[When]) -> Plugin {
    let phases = phases.iter().map(|phase| said(*phase)).collect();
    Plugin { name: said(name.to_owned()), phases, on: said(on), action, origin: Origin::Default }
}

/// A script that says its name in its first line.
fn script(name: &str, on: Selector, phases: &[When]) -> Plugin {
    plugin(name, Action::Shell(said(format!("echo '{name}'"))), on, phases)
}

/// A world with these plugins.
fn with(world: &World, plugins: Vec<Plugin>) {
    world.wish(move |cluster, _| cluster.plugins.clone_from(&plugins));
}

/// What a host was told, shortened: scripts by their names.
fn story(world: &World, n: usize, words: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for ran in world.host(n).ran() {
        let text = String::from_utf8_lossy(&ran.stdin).into_owned();
        let script = text.lines().find_map(|line| line.strip_prefix("echo '")?.strip_suffix('\'').map(str::to_owned));
        if let Some(name) = script.filter(|_| ran.line.contains(" -s")) {
            out.push(name);
        }
        out.extend(words.iter().filter(|word| ran.line.contains(**word)).map(|word| (*word).to_owned()));
    }
    out
}

const STEPS: [&str; 4] = ["restart containerd", "kubeadm init --config", "kubeadm join --config", "get nodes -o json"];

#[test]
fn scripts_run_at_their_times() {
    let world = World::new(1, 1);
    with(
        &world,
        vec![
            script("z pre-install", Selector::Phase, &[When::PreInstall]),
            script("pre-init-host", Selector::Phase, &[When::PreInitHost]),
            script("post-init-host", Selector::Phase, &[When::PostInitHost]),
            script("post-install", Selector::Phase, &[When::PostInstall]),
            script("nodes", Selector::Roles(vec![Role::Node]), &[When::PreGuest, When::PreInstall]),
            script("scaleup", Selector::All, &[When::PreScaleUp, When::PostScaleUp]),
            script("clean", Selector::All, &[When::PreUninstall, When::PostCleanHost, When::Upgrade, When::Rollback]),
        ],
    );
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("prepare: plugins") && plan.contains("run the script of plugin z pre-install"), "{plan}");
    world.run().unwrap();
    let [containerd, init, join, nodes] = STEPS;
    let wanted = ["z pre-install", "pre-init-host", containerd, init, "post-init-host", "post-install", nodes];
    assert_eq!(story(&world, 1, &STEPS), wanted);
    assert_eq!(
        story(&world, 2, &STEPS),
        ["nodes", "pre-init-host", containerd, join, "post-init-host", "nodes"],
        "and nothing about growth or the end"
    );
    let before: Vec<usize> = world.hosts.iter().map(|(_, host)| host.lines().len()).collect();
    world.run().unwrap();
    let after: Vec<usize> = world.hosts.iter().map(|(_, host)| host.lines().len() - 1).collect();
    assert_eq!(after, before, "twice is once");
}

#[test]
fn a_cluster_that_grows_has_its_plugins_also_when_it_stops_in_between() {
    let mut world = World::new(1, 1);
    with(
        &world,
        vec![
            script("first before", Selector::Phase, &[When::PreScaleUp]),
            script("new before", Selector::All, &[When::PreScaleUp]),
            script("new behind", Selector::All, &[When::PostScaleUp]),
            plugin(
                "zone",
                Action::Label(vec![said(([10, 0, 0, 3].into(), label("zone=b")))]),
                Selector::All,
                &[When::PostScaleUp],
            ),
        ],
    );
    world.run().unwrap();
    assert_eq!(story(&world, 1, &[]), [""; 0], "a first launch is no growth");
    world.grow();
    world.options.resume = true;
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("before-join") && plan.contains("run the script of plugin new behind"), "{plan}");
    // It has joined, and what comes behind that fails.
    let label = "label node n3 zone=b";
    world.host(1).answer(label, Answer::failure(1, "no"));
    world.run().unwrap_err();
    world.host(1).answer(label, Answer::output(""));
    world.run().unwrap();
    assert_eq!(story(&world, 1, &[label]), ["first before", label, label]);
    let story = story(&world, 3, &["kubeadm join --config"]);
    assert_eq!(story, ["new before", "kubeadm join --config", "new behind", "new behind"]);
    let before = world.host(3).lines().len();
    world.run().unwrap();
    assert_eq!(world.host(3).lines().len(), before + 1);
}

fn label(word: &str) -> Label {
    let (key, value) = word.split_once('=').unwrap();
    Label { key: key.into(), value: Some(value.into()) }
}

#[test]
fn labels_taints_snapshots_and_checks() {
    let world = World::new(1, 1);
    let taint = Taint { key: "db".into(), value: String::new(), effect: None, remove: true };
    let two = [10, 0, 0, 2].into();
    with(
        &world,
        vec![
            plugin("label", Action::Label(vec![said((two, label("early=1")))]), Selector::All, &[When::PreInitHost]),
            plugin("late", Action::Label(vec![said((two, label("late=1")))]), Selector::All, &[When::PostInstall]),
            plugin("taint", Action::Taint(vec![said((two, taint))]), Selector::All, &[When::PreGuest]),
            plugin(
                "etcd",
                Action::EtcdBackup(said("/var/backups/my etcd".into())),
                Selector::All,
                &[When::PostInstall],
            ),
            plugin("check", Action::ClusterCheck, Selector::All, &[When::PreGuest]),
        ],
    );
    let pods = r#"{"items":[{"metadata":{"name":"dns"},"status":{"phase":"Pending"}}]}"#;
    world.host(1).answer("get pods -o json", Answer::output(pods));
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("have 1 pods of Kubernetes ready"), "{error}");
    assert!(error.details().iter().any(|line| line.contains("dns: Pending")), "{:?}", error.details());
    world.host(1).answer("get pods -o json", Answer::output(r#"{"items":[]}"#));
    let mut world = world;
    world.options.resume = true;
    world.run().unwrap();
    let lines = ["early=1", "db-", "get pods", "late=1", "snapshot save"];
    let story = story(&world, 1, &lines);
    assert_eq!(
        story,
        ["early=1", "db-", "get pods", "get pods", "snapshot save", "late=1"],
        "by name where the time is one"
    );
    let line = &world.host(1).lines()[world.place(1, "snapshot save")];
    assert!(line.starts_with("umask 077; mkdir -p '/var/backups/my etcd' &&"), "{line}");
    assert!(line.ends_with("'/var/backups/my etcd'/etcd-$(date -u +%Y%m%dT%H%M%SZ).db"), "{line}");
}

#[test]
fn plugins_come_around_the_end() {
    let world = World::new(1, 1);
    let all = [
        ("pre-uninstall", Selector::Phase, When::PreUninstall),
        ("old clean", Selector::All, When::PreUninstall),
        ("pre-clean-host", Selector::Phase, When::PreCleanHost),
        ("post-clean-host", Selector::Phase, When::PostCleanHost),
        ("post-uninstall", Selector::Phase, When::PostUninstall),
    ];
    with(&world, all.into_iter().map(|(name, on, when)| script(name, on, &[when])).collect());
    world.run().unwrap();
    let step = "rm -rf --one-file-system";
    let launch = world.launch().unwrap();
    let leaving: Vec<&Member> = launch.members.iter().filter(|member| !member.first).collect();
    let plan = reset::plan(&launch, leaving[0], Extent::Hosts);
    assert_eq!(plan.first().unwrap(), "run the script of plugin old clean");
    assert!(reset::run(&launch, &leaving, Extent::Hosts).unwrap()[0].is_done);
    assert_eq!(story(&world, 2, &[step]), ["old clean", "pre-clean-host", step, "post-clean-host"]);
    assert_eq!(story(&world, 1, &[]), [""; 0], "the cluster stays");
    let launch = world.launch().unwrap();
    let first: Vec<&Member> = launch.members.iter().filter(|member| member.first).collect();
    reset::run(&launch, &first, Extent::Cluster).unwrap();
    let wanted = ["old clean", "pre-uninstall", "pre-clean-host", step, "post-clean-host", "post-uninstall"];
    assert_eq!(story(&world, 1, &[step]), wanted);
}

#[test]
fn a_plugin_that_fails_before_the_end_keeps_everything() {
    let world = World::new(1, 1);
    with(&world, vec![script("save", Selector::Phase, &[When::PreUninstall])]);
    world.run().unwrap();
    world.host(1).answer("bash || echo sh) -s", Answer::failure(1, "disk full"));
    let launch = world.launch().unwrap();
    let members: Vec<&Member> = launch.members.iter().collect();
    let error = reset::run(&launch, &members, Extent::Cluster).unwrap_err();
    assert!(error.to_string().contains("plugin save") && error.to_string().contains("disk full"), "{error}");
    assert!(error.hint().unwrap().contains("nothing was given back"));
    assert!(!world.host(2).lines().iter().any(|line| line.contains("agent restore")));
}

#[test]
fn times_without_a_cluster_are_known() {
    let snapshot = Action::EtcdBackup(said("/a".into()));
    for (action, when, none) in [
        (&snapshot, When::PreInstall, true),
        (&snapshot, When::PostInstall, false),
        (&snapshot, When::PostUninstall, true),
        (&Action::ClusterCheck, When::PreInitHost, true),
        (&Action::Label(Vec::new()), When::PreInstall, false),
        (&Action::Label(Vec::new()), When::PostCleanHost, true),
        (&Action::Shell(said(String::new())), When::PostCleanHost, false),
    ] {
        assert_eq!(plugins::has_no_cluster(action, when), none, "{action:?} {when:?}");
    }
}

fn config(path: &str, strategy: Strategy, data: &str) -> Config {
    Config {
        name: said("c".into()),
        path: said(path.into()),
        strategy: said(strategy),
        process: Vec::new(),
        data: said(data.into()),
        app: None,
        image: None,
    }
}

/// What a host gets of its root file system: path and text.
fn adapted(world: &World, n: usize) -> Vec<(String, String)> {
    let ran = world.host(n).ran();
    let order = &ran.iter().rev().find(|ran| ran.line.contains("agent adapt")).unwrap().stdin;
    let items: Vec<serde_json::Value> = serde_json::from_slice(order).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    items.iter().map(|item| (text(&item["to"]), text(&item["content"]["text"]))).collect()
}

#[test]
fn templates_and_configs_make_the_root_file_system_of_each_host() {
    let world = World::new(1, 1);
    let file = |text: &str| text.as_bytes().to_vec();
    world.wish(move |cluster, bundle| {
        bundle.sources.insert("etc/a.conf.tmpl".into(), file("{{ .HostIP }} {{ .Mode | upper }} {{ .PodCIDR }}\n"));
        bundle.sources.insert(
            "etc/kubeadm.yml.tmpl".into(),
            file("apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nclusterName: {{ .Mode }}\n"),
        );
        bundle.sources.insert("manifests/x.yaml".into(), file("a: 1\nb: 2\n"));
        let origin = Origin::Default;
        let variable =
            kiln_clusterfile::model::Variable { name: "Mode".into(), values: vec![Said::new("prod".into(), origin)] };
        cluster.env.variables.push(variable);
        let mut secret = config("manifests/secret.yaml", Strategy::Overwrite, "user: admin\n");
        secret.process.push(said(Process::ToSecret));
        cluster.configs = vec![
            config("manifests/x.yaml", Strategy::Merge, "b: 3\n"),
            config("etc/kubeadm.yml", Strategy::Merge, "networking: {podSubnet: 10.50.0.0/16}\n"),
            config("etc/a.conf.tmpl", Strategy::Append, "{{ .RegistryPort }}\n"),
            secret,
        ];
    });
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    for line in ["write etc/a.conf: append (default), etc/a.conf.tmpl", "write manifests/x.yaml: merge (default)"] {
        assert!(plan.contains(line), "{line} is not in {plan}");
    }
    world.run().unwrap();
    let of_two = adapted(&world, 2);
    let find = |path: &str| of_two.iter().find(|(to, _)| to == path).map(|(_, text)| text.as_str());
    assert_eq!(find("/etc/a.conf"), Some("10.0.0.2 PROD 10.50.0.0/16\n5000\n"));
    assert_eq!(find("/manifests/x.yaml"), Some("a: 1\nb: 3\n"));
    assert!(find("/manifests/secret.yaml").unwrap().contains("YWRtaW4="));
    assert!(adapted(&world, 1)[0].1.starts_with("10.0.0.1 "));
    // kubeadm is told what the changed file says.
    let ran = world.host(1).ran();
    let init = &ran.iter().find(|ran| ran.line.contains("kubeadm.yaml.kiln-new")).unwrap().stdin;
    let init = String::from_utf8_lossy(init);
    assert!(init.contains("clusterName: prod") && init.contains("podSubnet: 10.50.0.0/16"), "{init}");
    let all: Vec<String> = world.hosts.iter().flat_map(|(_, host)| host.lines()).collect();
    assert!(!all.iter().any(|line| line.contains("YWRtaW4=")));
}

#[test]
fn what_is_no_longer_wanted_is_put_back() {
    let world = World::new(1, 0);
    world.wish(|cluster, _| cluster.configs = vec![config("etc/x", Strategy::Overwrite, "x\n")]);
    world.run().unwrap();
    assert_eq!(adapted(&world, 1), [("/etc/x".to_owned(), "x\n".to_owned())]);
    world.wish.lock().unwrap().clear();
    world.run().unwrap();
    assert!(adapted(&world, 1).is_empty());
    let before = world.host(1).lines().len();
    world.run().unwrap();
    assert_eq!(world.host(1).lines().len(), before + 1);
}

#[test]
fn bad_templates_and_configs_stop_before_anything_is_changed() {
    let world = World::new(1, 1);
    world.wish(|_, bundle| {
        bundle.sources.insert("etc/a.tmpl".into(), b"ok\n{{ .Modus }}\n".to_vec());
    });
    match world.run().unwrap_err() {
        LaunchError::Template { host, found } => {
            assert_eq!((host.as_str(), found.source.name.as_str()), ("10.0.0.1", "etc/a.tmpl"));
            assert!(found.diagnostic.message.contains("the variable `Modus` is not set"));
            assert_eq!(found.diagnostic.span.start, 7);
        }
        other => panic!("{other}"),
    }
    assert!(world.hosts.iter().all(|(_, host)| host.lines().len() == 1));
    let refused = |change: fn(&mut Config)| {
        let world = World::new(1, 0);
        world.wish(move |cluster, _| {
            let mut config = config("etc/x", Strategy::Merge, "a: 1\n");
            change(&mut config);
            cluster.configs = vec![config];
        });
        world.run().unwrap_err().to_string()
    };
    assert!(refused(|_| ()).contains("to be merged into etc/x, which is not there"));
    assert!(refused(|config| config.app = Some(said("shop".into()))).contains("the image has no application `shop`"));
    let other = refused(|config| config.image = Some(said("other:1".parse().unwrap())));
    assert!(other.contains("is about the image") && other.contains("which is not launched"), "{other}");
    let world = World::new(1, 0);
    world.wish(|_, bundle| {
        bundle.sources.insert("etc/a.tmpl".into(), vec![0xff]);
    });
    assert!(world.run().unwrap_err().to_string().contains("is not UTF-8"));
}

#[test]
fn a_config_of_an_application_is_below_its_directory() {
    let world = World::new(1, 0);
    world.wish(|cluster, bundle| {
        let app = serde_json::json!({"name": "shop", "role": "app", "path": "application/apps/shop"});
        bundle.spec.apps.push(serde_json::from_value(app).unwrap());
        let mut config = config("values.yaml", Strategy::Overwrite, "a: 1\n");
        config.app = Some(said("shop".into()));
        cluster.configs = vec![config];
    });
    world.run().unwrap();
    assert_eq!(adapted(&world, 1)[0].0, "/application/apps/shop/values.yaml");
}

#[test]
fn of_several_addresses_one_is_chosen_shown_and_can_be_said() {
    let several = |world: &World| {
        for n in [1, 2] {
            let own = format!("|2: eth0 inet 10.0.0.{n}/24 brd x\n");
            world.odd(n, &own, &format!("{own}|3: eth1 inet 192.168.7.{n}/24 brd x\n"));
        }
    };
    let world = World::new(1, 1);
    several(&world);
    let text = run::hosts_text(&world.launch().unwrap());
    let line = "  10.0.0.2 (n2): 10.0.0.2 on eth0: all 2 hosts have an address in its network; not 192.168.7.2 (--node-address chooses)\n";
    assert!(text.contains(line), "{text}");
    // What is said counts, for kubeadm and for flannel.
    let world = World::new(1, 1);
    several(&world);
    let flannel = "kind: DaemonSet\nspec: {template: {spec: {containers: [{name: a, args: [--kube-subnet-mgr]}]}}}\n";
    world.host(1).answer("cat /var/lib/kiln/rootfs/", Answer::output(flannel));
    world.wish(|cluster, _| {
        for (n, host) in (1..).zip(&mut cluster.hosts) {
            host.node_address = Some(Said::new([192, 168, 7, n].into(), Origin::Flag("--node-address")));
        }
    });
    world.run().unwrap();
    let written = |n: usize, path: &str| {
        let ran = world.host(n).ran();
        let ran = ran.iter().find(|ran| ran.line.contains(&format!("{path}.kiln-new"))).unwrap();
        String::from_utf8(ran.stdin.clone()).unwrap()
    };
    let (init, join) = (written(1, "kubeadm.yaml"), written(2, "kiln-join.yaml"));
    assert!(init.contains("advertiseAddress: 192.168.7.1") && init.contains("node-ip: 192.168.7.1"), "{init}");
    assert!(join.contains("node-ip: 192.168.7.2") && join.contains("192.168.7.1:6443"), "{join}");
    assert!(written(1, "network.yaml").contains("[\"--iface=eth1\", --kube-subnet-mgr]"));
    assert_eq!(world.state().record().unwrap().unwrap().hosts[1].node_address.as_deref(), Some("192.168.7.2"));
}

#[test]
fn a_host_without_the_address_that_was_said_is_an_error() {
    let world = World::new(1, 1);
    world.wish(|cluster, _| {
        cluster.hosts[1].node_address = Some(Said::new([9, 9, 9, 9].into(), Origin::Flag("--node-address")));
    });
    let text = world.run().unwrap_err().details().join("\n");
    assert!(text.contains("[ERROR NodeAddress]: 10.0.0.2: 10.0.0.2 does not have the address 9.9.9.9"), "{text}");
}

#[test]
fn an_endpoint_of_the_user_is_what_nodes_use() {
    let world = World::new(2, 1);
    let text =
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\ncontrolPlaneEndpoint: api.example:8443\n";
    world.wish(move |cluster, _| cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text)));
    world.run().unwrap();
    let ran = world.host(3).ran();
    let join = ran.iter().find(|ran| ran.line.contains("kiln-join.yaml.kiln-new")).unwrap();
    let join = String::from_utf8_lossy(&join.stdin).into_owned();
    assert!(
        join.contains("apiServerEndpoint: \"api.example:8443\"")
            || join.contains("apiServerEndpoint: api.example:8443"),
        "{join}"
    );
    let order = ran.iter().find(|ran| ran.line.contains("agent install")).unwrap();
    let order = String::from_utf8_lossy(&order.stdin).into_owned();
    assert!(!order.contains("apiserver.cluster.local") && !order.contains("kiln-balancer"), "{order}");
    assert!(!world.host(3).lines().iter().any(|line| line.contains("kiln-balancer")));
}

#[test]
fn a_document_of_the_clusterfile_does_not_make_masters_of_workers() {
    let world = World::new(1, 1);
    let text = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: JoinConfiguration\ncontrolPlane: {certificateKey: x}\n";
    world.wish(move |cluster, _| cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text)));
    world.run().unwrap();
    let ran = world.host(2).ran();
    let join = ran.iter().find(|ran| ran.line.contains("kiln-join.yaml.kiln-new")).unwrap();
    assert!(!String::from_utf8_lossy(&join.stdin).contains("controlPlane:"));
}
