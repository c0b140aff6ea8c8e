//! From nothing to a cluster, twice, and with a failure at every point.

use kiln_host::recording::Answer;
use kiln_launch::run;

use crate::world::{TOKEN, World};

#[test]
fn commands_come_in_order() {
    let world = World::new(1, 1);
    world.run().unwrap();
    let master = [
        "lines end",
        "host.json.kiln-new",
        "bin/kiln.kiln-new",
        "agent remember",
        "agent have",
        "agent receive",
        "agent unpack",
        "restart kiln-registry",
        "restart containerd",
        "enable kubelet",
        "kubeadm init --config /etc/kubernetes/kubeadm.yaml",
        "apply -f /var/lib/kiln/network.yaml",
        "kubeadm token create",
        "get nodes -o json",
    ];
    let places: Vec<usize> = master.iter().map(|text| world.place(1, text)).collect();
    assert!(places.is_sorted(), "{:#?}", world.host(1).lines());
    let worker = ["agent receive", "restart containerd", "kiln-join.yaml.kiln-new", "kubeadm join --config"];
    let places: Vec<usize> = worker.iter().map(|text| world.place(2, text)).collect();
    assert!(places.is_sorted(), "{:#?}", world.host(2).lines());
    let lines = world.host(2).lines();
    let joined = lines.iter().position(|line| line.starts_with("kubeadm join --config")).unwrap();
    assert_eq!(lines[joined + 1], "rm -f /etc/kubernetes/kiln-join.yaml");
    assert!(
        !world
            .host(2)
            .lines()
            .iter()
            .any(|line| line.contains("kubeadm init") || line.contains("restart kiln-registry"))
    );
}

#[test]
fn secrets_are_on_no_command_line() {
    let world = World::new(2, 1);
    world.run().unwrap();
    let ran: Vec<_> = world.hosts.iter().flat_map(|(_, host)| host.ran()).collect();
    let files: Vec<_> = ran.iter().filter(|ran| String::from_utf8_lossy(&ran.stdin).contains(TOKEN)).collect();
    assert_eq!(files.len(), 2, "the token goes to who joins");
    assert!(files.iter().all(|ran| ran.line.contains("umask 077") && ran.line.contains("chmod 600")));
    assert!(!ran.iter().any(|ran| ran.line.contains(TOKEN)));
    let key = files.iter().find_map(|ran| {
        let text = String::from_utf8_lossy(&ran.stdin).into_owned();
        Some(text.split_once("certificateKey: ")?.1.lines().next()?.trim_matches('"').to_owned())
    });
    let key = key.expect("the second master gets the key of the certificates");
    assert_eq!(key.len(), 64);
    assert!(!ran.iter().any(|ran| ran.line.contains(&key)));
}

#[test]
fn kubeadm_reads_what_hosts_and_image_give() {
    let world = World::new(1, 1);
    world.run().unwrap();
    let written = |n: usize, path: &str| {
        let ran = world.host(n).ran();
        let found = ran.iter().find(|ran| ran.line.contains(&format!("{path}.kiln-new"))).unwrap();
        String::from_utf8(found.stdin.clone()).unwrap()
    };
    let init = written(1, "kubeadm.yaml");
    for line in [
        "advertiseAddress: 10.0.0.1",
        "controlPlaneEndpoint: apiserver.cluster.local:6443",
        "imageRepository: k8s.gcr.io",
        "name: n1",
        "criSocket: /run/containerd/containerd.sock",
        "cgroupDriver: cgroupfs",
        "kubernetesVersion: v1.20.2",
        "- 10.0.0.1",
    ] {
        assert!(init.contains(line), "{line} is not in {init}");
    }
    let join = written(2, "kiln-join.yaml");
    for line in [
        "apiServerEndpoint: \"10.0.0.1:6443\"",
        "name: n2",
        &format!("token: {TOKEN}"),
        include_str!("ca.sha256").trim(),
    ] {
        assert!(join.contains(line), "{line} is not in {join}");
    }
    assert!(!join.contains("controlPlane:"), "{join}");
}

#[test]
fn a_second_run_changes_nothing() {
    let world = World::new(2, 2);
    world.run().unwrap();
    let before: Vec<usize> = world.hosts.iter().map(|(_, host)| host.lines().len()).collect();
    assert!(!world.run().unwrap());
    for ((name, host), before) in world.hosts.iter().zip(before) {
        let more = host.lines().split_off(before);
        assert_eq!(more.len(), 1, "{name} is asked what it is, and nothing else: {more:#?}");
    }
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert_eq!(plan.matches("nothing to do").count(), kiln_launch::phase::PHASES, "{plan}");
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_be_done() {
    let world = World::new(1, 2);
    let launch = world.launch().unwrap();
    let text = run::plan_text(&run::plan(&launch).unwrap());
    for line in [
        "init: the first control plane",
        "kubeadm init: Kubernetes v1.20.2, at apiserver.cluster.local:6443",
        "kubectl apply -f app.yaml",
        "apply manifests/kube-flannel.yml",
        "start the registry at port 5000",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(text, run::plan_text(&run::plan(&launch).unwrap()));
    assert!(world.hosts.iter().all(|(_, host)| host.lines().len() == 1), "only facts were asked for");
}

#[test]
fn every_command_may_fail_and_the_launch_goes_on_there() {
    let well = World::new(1, 1);
    well.run().unwrap();
    for n in [1, 2] {
        let mut lines = well.host(n).lines();
        lines.sort();
        lines.dedup();
        for line in lines.iter().filter(|line| !line.contains("lines end")) {
            let mut world = World::new(1, 1);
            let host = world.hosts[n - 1].1.clone();
            host.answer(line.clone(), Answer::failure(1, "it broke"));
            // What the outcome of does not matter is told by lines that end so.
            let harmless = line.ends_with("; :");
            let outcome = world.run();
            if harmless {
                outcome.unwrap();
                continue;
            }
            let error = outcome.expect_err(line);
            assert!(error.to_string().contains(&format!("10.0.0.{n}")), "{error} names the host of {line}");
            assert!(error.to_string().starts_with("phase "), "{error}");
            host.answer(line.clone(), Answer::output(""));
            world.options.resume = true;
            world.hosts.iter().for_each(|(name, host)| world.well(name, host));
            world.run().unwrap_or_else(|error| panic!("after {line}: {error} {:#?}", error.details()));
        }
    }
}

#[test]
fn a_connection_that_ends_is_a_failure_of_its_phase_and_others_go_on() {
    let world = World::new(1, 2);
    world.host(2).answer("agent receive", Answer::disconnect());
    let error = world.run().unwrap_err();
    assert!(
        error.to_string().contains("phase distribute failed: 10.0.0.2: the connection to 10.0.0.2 ended"),
        "{error}"
    );
    world.place(3, "agent unpack");
    assert!(!world.host(1).lines().iter().any(|line| line.contains("kubeadm init")));
    let journal = world.state().journal("10.0.0.2").unwrap();
    assert_eq!((journal.entries[0].phase.as_str(), journal.entries[0].state.as_str()), ("distribute", "failed"));
}

#[test]
fn half_of_a_control_plane_is_undone_before_another_attempt() {
    let mut world = World::new(1, 0);
    world.host(1).answer("kubeadm init --config", Answer::failure(1, "couldn't initialize"));
    world.host(1).answer("@@unit", Answer::output("@@unit containerd active\n@@unit kubelet active\n@@pod etcd 1 2\n|x\nflag provided but not defined: -x\n@@end\n"));
    let error = world.run().unwrap_err();
    assert!(
        error.details().iter().any(|line| line.contains("flag provided but not defined")),
        "{:#?}",
        error.details()
    );
    world.odd(1, "@@paths\n", "@@paths\n|/etc/kubernetes/manifests/etcd.yaml\n");
    world.host(1).answer("kubeadm init --config", Answer::output(""));
    let refused = world.run().unwrap_err();
    assert!(refused.details().join("\n").contains("an earlier launch stopped in phase init"), "{refused}");
    world.options.resume = true;
    let before = world.host(1).lines().len();
    world.run().unwrap();
    let lines = world.host(1).lines().split_off(before);
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("KILN_RUN=") < at("kubeadm reset --force"), "what still runs of it is ended first: {lines:#?}");
    assert!(at("kubeadm reset --force") < at("kubeadm init --config"), "{lines:#?}");
}

#[test]
fn a_kubeadm_that_had_made_nothing_yet_is_undone_as_well() {
    let mut world = World::new(1, 1);
    world.host(2).answer("kubeadm join --config", Answer::disconnect());
    world.run().unwrap_err();
    world.options.resume = true;
    let before = world.host(2).lines().len();
    world.host(2).answer("kubeadm join --config", Answer::output(""));
    world.run().unwrap();
    let lines = world.host(2).lines().split_off(before);
    let at =
        |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"));
    assert!(at("KILN_RUN=") < at("kubeadm reset --force") && at("kubeadm reset --force") < at("kubeadm join --config"));
    assert!(!world.host(1).lines().iter().any(|line| line.contains("kubeadm reset")), "the master has joined");
}

#[test]
fn what_others_left_is_never_reset() {
    let mut world = World::new(1, 0);
    world.odd(1, "@@paths\n", "@@paths\n|/etc/kubernetes/manifests/etcd.yaml\n");
    world.options.ignore = vec!["all".into()];
    world.host(1).answer("kubeadm init --config", Answer::failure(1, "no"));
    world.run().unwrap_err();
    world.options.resume = true;
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("something was there before Kiln came"), "{error}");
    assert!(!world.host(1).lines().iter().any(|line| line.contains("kubeadm reset")));
}

#[test]
fn masters_join_one_after_the_other_and_workers_have_a_balancer() {
    let world = World::new(3, 1);
    world.run().unwrap();
    world.place(1, "init phase upload-certs --upload-certs");
    let uploads = world.host(1).lines().iter().filter(|line| line.contains("upload-certs --upload-certs")).count();
    assert_eq!(uploads, 1, "once is enough for all");
    for n in [2, 3] {
        assert!(world.place(n, "kubeadm join --config") < world.place(n, "get --raw /healthz"));
    }
    world.place(4, "restart kiln-balancer");
    let order = world.host(4).ran().into_iter().find(|ran| ran.line.contains("agent install")).unwrap();
    let text = String::from_utf8(order.stdin).unwrap();
    assert!(
        text.contains("--to 10.0.0.1:6443 --to 10.0.0.2:6443 --to 10.0.0.3:6443")
            && text.contains("127.0.0.1 apiserver.cluster.local"),
        "{text}"
    );
}

#[test]
fn labels_and_taints_go_to_the_first_master() {
    let world = World::new(1, 1);
    let mut launch = world.launch().unwrap();
    let host = &mut launch.members[1].host;
    let origin = kiln_clusterfile::Origin::Default;
    host.labels.push(kiln_clusterfile::Said::new(
        kiln_clusterfile::model::Label { key: "zone".into(), value: Some("a b".into()) },
        origin.clone(),
    ));
    host.labels
        .push(kiln_clusterfile::Said::new(kiln_clusterfile::model::Label { key: "old".into(), value: None }, origin));
    run::run(&launch).unwrap();
    world.place(1, "label node n2 'zone=a b' --overwrite");
    let line = world.place(1, "label node n2 old-");
    assert!(!world.host(1).lines()[line].contains("--overwrite"));
}

/// How many commands the first master and the first worker are given by a run that finds everything done.
fn asked_again(workers: usize) -> (usize, usize) {
    let world = World::new(3, workers);
    world.run().unwrap();
    let asked = || (world.host(1).lines().len(), world.host(4).lines().len());
    let before = asked();
    assert!(!run::run(&world.launch().unwrap()).unwrap());
    let after = asked();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn what_is_asked_of_a_host_does_not_grow_with_the_hosts() {
    assert_eq!(asked_again(5), asked_again(200));
}
