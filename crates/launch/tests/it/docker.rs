//! Clusters whose kubelets run pods with Docker.

use kiln_clusterfile::Said;
use kiln_clusterfile::model::Runtime;
use kiln_host::recording::Answer;
use kiln_launch::agent::ledger::{Content, Item};
use kiln_launch::reset::{self, Extent};
use kiln_launch::{LaunchError, Member, run};

use crate::world::World;

const SERVICE: &str = "|containerd active enabled\n";

/// Hosts with a Docker that runs, and a Clusterfile that wants it.
fn world(masters: usize, workers: usize) -> World {
    let world = World::new(masters, workers);
    for n in 1..=masters + workers {
        world.odd(n, SERVICE, &format!("{SERVICE}|docker active disabled\n"));
        world.odd(n, "|crictl\n", "|docker\n");
        world.odd(n, "@@containerd\n", "@@docker\n|cgroupfs 20.10.24+dfsg1\n@@containerd\n");
    }
    world.wish(|cluster, _| cluster.runtime = Some(Said::default_of(Runtime::Docker)));
    world
}

/// What a host was told by its standard input for the first command with a text.
fn told(world: &World, n: usize, text: &str) -> String {
    let all = world.host(n).ran();
    let ran = all.iter().find(|ran| ran.line.contains(text)).unwrap_or_else(|| panic!("no {text} on {n}"));
    String::from_utf8(ran.stdin.clone()).unwrap()
}

/// Files that a host was given.
fn files(world: &World, n: usize) -> Vec<Item> {
    let all = world.host(n).ran();
    let orders = all.iter().filter(|ran| ran.line.contains("agent install"));
    orders.flat_map(|ran| serde_json::from_slice::<Vec<Item>>(&ran.stdin).unwrap()).collect()
}

fn file(world: &World, n: usize, path: &str) -> Option<Item> {
    files(world, n).into_iter().rfind(|item| item.to == path)
}

/// Names of what is found, with `W` before warnings.
fn found(world: &World) -> Vec<String> {
    let found = run::check(&world.launch().unwrap()).unwrap();
    found.iter().map(|f| format!("{}{}", if f.is_error() { "" } else { "W " }, f.name)).collect()
}

#[test]
fn docker_is_told_whom_to_trust_and_given_the_images() {
    let world = world(1, 1);
    world.wish(|_, bundle| {
        bundle.files.extend(["containerd", "runc", "nerdctl"].map(|name| (format!("bin/{name}"), 0o755)));
    });
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("enable Docker and kubelet; give Docker 2 images") && !plan.contains("restart"), "{plan}");
    world.run().unwrap();
    let init = told(&world, 1, "kubeadm.yaml.kiln-new");
    assert!(init.contains("criSocket: /var/run/dockershim.sock") && init.contains("cgroupDriver: cgroupfs"), "{init}");
    assert!(told(&world, 2, "kiln-join.yaml.kiln-new").contains("criSocket: /var/run/dockershim.sock"));
    // The control plane's are for masters.
    let list = "k8s.gcr.io/pause:3.2 k8s.gcr.io/pause:3.2\nquay.io/flannel:1 quay.io/flannel:1\n";
    assert_eq!(told(&world, 2, "docker rmi"), list);
    let all = format!("k8s.gcr.io/kube-apiserver:v1.20.2 k8s.gcr.io/kube-apiserver:v1.20.2\n{list}");
    assert_eq!(told(&world, 1, "docker rmi"), all);
    assert!(world.host(2).lines()[world.place(2, "docker rmi")].contains("for r in sea.hub:5000 10.0.0.1:5000;"));
    assert!(world.place(2, "systemctl enable docker") < world.place(2, "docker rmi"));
    for n in [1, 2] {
        for path in ["/etc/docker/certs.d/sea.hub:5000/ca.crt", "/etc/docker/certs.d/10.0.0.1:5000/ca.crt"] {
            let Some(Item { content: Content::Text(text), mode: 0o644, .. }) = file(&world, n, path) else {
                panic!("{path}")
            };
            assert!(text.starts_with("-----BEGIN CERTIFICATE-----"));
        }
        assert!(file(&world, n, "/usr/bin/nerdctl").is_some());
        // What belongs to containerd, which Docker runs with, stays its owner's; so does what the daemon is set to.
        for path in files(&world, n).into_iter().map(|item| item.to) {
            assert!(
                !path.contains("containerd") && !path.ends_with("/runc") && !path.contains("daemon.json"),
                "{path}"
            );
        }
        let lines = world.host(n).lines();
        assert!(
            !lines.iter().any(|line| line.contains("restart docker") || line.contains("t containerd")),
            "{lines:#?}"
        );
    }
    let before = world.host(2).lines().len();
    assert!(!world.run().unwrap(), "a second run does nothing");
    assert_eq!(world.host(2).lines().len(), before + 1);

    // The Clusterfile is not there any more: hosts know what they run with.
    world.wish(|cluster, _| cluster.runtime = None);
    let launch = world.launch().unwrap();
    assert_eq!(launch.runtime(), Runtime::Docker);
    world.host(2).answer("read -r kind name old", Answer::output("the image a:1: in use\n"));
    let members: Vec<&Member> = launch.members.iter().collect();
    let all = reset::run(&launch, &members, Extent::Cluster).unwrap();
    assert!(all.iter().all(|given| given.errors.is_empty()), "{all:?}");
    let other = all.iter().find(|given| given.host == "10.0.0.2").unwrap();
    assert_eq!(other.remains, ["the image a:1: in use"]);
    let lines = world.host(2).lines().split_off(before + 1);
    let at = |text: &str| {
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text}: {lines:#?}"))
    };
    let order = [
        at("systemctl start docker"),
        at("kubeadm reset --force --cri-socket /var/run/dockershim.sock"),
        at("read -r kind name old"),
        at("agent restore"),
        at("systemctl disable docker"),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    let touched = |line: &&String| {
        line.contains("restart docker") || line.contains("stop docker") || line.contains("t containerd")
    };
    assert_eq!(lines.iter().find(touched), None, "its containers go on");
}

#[test]
fn control_groups_are_one_for_all_hosts() {
    let world = world(1, 1);
    world.odd(2, "|cgroupfs 20", "|systemd 20");
    world.odd(2, "@@containerd\n", "@@docker-config\n|{\"log-level\": \"warn\"}\n@@containerd\n");
    world.host(2).answer("docker info", Answer::output("cgroupfs 20.10.24\n"));
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(
        plan.contains("set control groups of Docker to cgroupfs, and restart it: containers that run end"),
        "{plan}"
    );
    world.run().unwrap();
    let Some(Item { content: Content::Text(text), .. }) = file(&world, 2, "/etc/docker/daemon.json") else { panic!() };
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json, serde_json::json!({"log-level": "warn", "exec-opts": ["native.cgroupdriver=cgroupfs"]}));
    assert!(file(&world, 1, "/etc/docker/daemon.json").is_none());
    assert!(world.place(2, "systemctl restart docker") < world.place(2, "docker rmi"));

    // One whose service says otherwise does not do what its file says, and is as it was.
    let stubborn = self::world(1, 1);
    stubborn.odd(2, "|cgroupfs 20", "|systemd 20");
    stubborn.host(2).answer("docker info", Answer::output("systemd 20.10.24\n"));
    let LaunchError::Phase { errors, .. } = stubborn.run().unwrap_err() else { panic!() };
    let said = errors[0].to_string();
    assert!(
        said.contains("10.0.0.2: control groups of Docker are managed by `systemd` still, not by cgroupfs"),
        "{said}"
    );
    let Some(Item { content: Content::Text(text), .. }) = file(&stubborn, 2, "/etc/docker/daemon.json") else {
        panic!()
    };
    assert_eq!(text, "{}\n");
    assert_eq!(stubborn.host(2).lines().iter().filter(|line| line.contains("restart docker")).count(), 2);
}

#[test]
fn a_registry_without_tls_or_with_a_login_is_one_that_docker_can_ask() {
    let world = world(1, 1);
    world.wish(|cluster, _| {
        let registry = &mut cluster.registry;
        registry.insecure = Said::default_of(true);
        registry.user = Some(Said::default_of("ops".to_owned()));
        registry.password = Some(Said::default_of(kiln_clusterfile::Secret::new("not to be seen")));
    });
    world.run().unwrap();
    let Some(Item { content: Content::Text(text), .. }) = file(&world, 2, "/etc/docker/daemon.json") else { panic!() };
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json, serde_json::json!({"insecure-registries": ["sea.hub:5000", "10.0.0.1:5000"]}));
    assert!(world.place(2, "systemctl reload docker") < world.place(2, "docker rmi"));
    // Of Docker's command, and of the kubelet.
    let auth = "{\"auth\":\"b3BzOm5vdCB0byBiZSBzZWVu\"}";
    let logins = format!("{{\"auths\":{{\"sea.hub:5000\":{auth},\"10.0.0.1:5000\":{auth}}}}}\n");
    assert_eq!(told(&world, 2, "cat > /var/lib/kiln/docker/config.json"), logins);
    let item = file(&world, 2, "/var/lib/kubelet/config.json").unwrap();
    assert_eq!((item.mode, item.content), (0o600, Content::Text(logins)));
    for line in world.host(2).lines() {
        assert!(!line.contains("not to be seen") && !line.contains("b3BzOm5v"), "{line}");
    }
    assert!(!world.run().unwrap());
    world.wish(|cluster, _| {
        cluster.registry.password = Some(Said::default_of(kiln_clusterfile::Secret::new("another")));
    });
    assert!(world.run().unwrap());
    let item = file(&world, 2, "/var/lib/kubelet/config.json").unwrap();
    assert!(matches!(item.content, Content::Text(text) if text.contains("b3BzOmFub3RoZXI=")));
}

#[test]
fn what_cannot_be_is_said_before_anything_is_done() {
    assert_eq!(found(&world(1, 1)), [""; 0]);
    let rows: &[(&str, &str, &str)] = &[
        ("|docker\n", "", "FileExisting-docker"),
        ("|docker active disabled\n", "|docker inactive\n", "Service-Docker"),
        ("@@docker\n|cgroupfs 20.10.24+dfsg1\n", "", "Service-Docker"),
        (
            "@@containerd\n",
            "@@docker-config\n|{\"userns-remap\": \"x\"}\n@@containerd\n",
            "FileContent--etc-docker-daemon.json",
        ),
        ("@@containerd\n", "@@docker-config\n|{\n@@containerd\n", "FileContent--etc-docker-daemon.json"),
    ];
    for (what, with, name) in rows {
        let world = world(1, 1);
        world.odd(2, what, with);
        assert_eq!(found(&world), [*name], "{what}");
        assert!(world.run().is_err());
        assert_eq!(world.host(2).lines().iter().filter(|line| !line.contains("lines uid")).count(), 0, "{name}");
    }
    let late = world(1, 1);
    late.wish(|_, bundle| bundle.kubernetes = "v1.24.0".to_owned());
    assert_eq!(found(&late), ["ContainerRuntime"]);
    let pinned = world(1, 1);
    pinned.wish(|_, bundle| bundle.images.push(format!("quay.io/a@sha256:{}", "0".repeat(64)).parse().unwrap()));
    assert_eq!(found(&pinned), ["W DockerImage"]);
    // What runs a cluster stays.
    let other = world(1, 1);
    other.run().unwrap();
    other.wish(|cluster, _| cluster.runtime = Some(Said::default_of(Runtime::Containerd)));
    assert_eq!(found(&other), ["ContainerRuntime"]);
    // kubeadm is told another runtime than Kiln.
    let socket = World::new(1, 1);
    socket.wish(|cluster, _| {
        let text = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nnodeRegistration: {criSocket: /var/run/dockershim.sock}\n";
        cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text.to_owned()));
    });
    assert_eq!(found(&socket), ["ContainerRuntime"]);
}
