//! A cluster whose pods run with Docker, as those of kubelets before 1.24 may: `containerRuntime: {type: docker}`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_testkit::Fleet;
use kiln_testkit::fleet::{Host, kubernetes};

use crate::by_hand::{kubectl, wait};
use crate::launcher::{KILN, Launcher, assert_as_found, footprint};
use crate::launching::{ready, serve};

/// An image and a container of the host's owner; the image has the name of one that the cluster brings.
const OWN: &str = r#"set -e; systemctl enable --now docker 2>/dev/null
tar -C /opt/own -c busybox | docker import -c 'ENTRYPOINT ["/busybox", "sleep", "1000000"]' - kiln.test/web:1 >/dev/null
docker run -d --name mine --restart always --net none kiln.test/web:1 >/dev/null"#;

/// Starts a Docker and uses it.
fn own(host: &Host, daemon: Option<&str>) {
    if let Some(text) = daemon {
        host.write("/etc/docker/daemon.json", 0o644, text);
    }
    host.write("/opt/own/busybox", 0o755, fs::read("/bin/busybox").unwrap());
    let _ = host.run(OWN).ok();
}

/// What Docker has: images with their names, its owner's containers with when they were started, what it is set to.
fn docker(host: &Host) -> String {
    let script = "docker images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort
        docker ps -a --format '{{.Names}} {{.Image}}' | sort
        docker info -f '{{.CgroupDriver}}'; systemctl is-active docker; systemctl is-enabled docker";
    host.run(script).ok().text().to_owned()
}

fn started(host: &Host) -> String {
    host.run("docker inspect -f '{{.State.StartedAt}}' mine").ok().text().to_owned()
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn pods_run_with_docker_whose_owner_gets_it_back() {
    let images = kubernetes::docker_images(Path::new(KILN));
    let fleet = Fleet::start(3);
    let launcher = Launcher::of(&fleet, &images, kubernetes::version(&kubernetes::docker_programs()));
    let (one, two, three) = (fleet.host(1), fleet.host(2), fleet.host(3));
    let (file, ignore) = (launcher.clusterfile(1, 1), Launcher::ignore());
    Launcher::say(
        &file,
        // Hosts of one network need no tunnel.
        "  containerRuntime: {type: docker}\n  network: {backend: host-gw}\n  registry: {localRegistry: {username: ops, password: a-login}}\n",
    );

    // One that does not run is not started.
    let refused = launcher.said(&Launcher::words("run", &["-f", &file, &ignore]));
    assert!(
        refused.code != 0
            && refused.stderr.contains("[ERROR Service-Docker]: 10.77.0.11: docker service is not active"),
        "{refused}"
    );
    assert_eq!(two.run("systemctl is-active docker").text(), "inactive");

    // Control groups are managed in another way on one of them.
    own(one, None);
    own(two, Some("{\n  \"exec-opts\": [\"native.cgroupdriver=systemd\"]\n}\n"));
    own(three, None);
    let before: Vec<[String; 2]> = fleet.hosts().iter().map(|host| [footprint(host), docker(host)]).collect();
    let since: Vec<String> = fleet.hosts().iter().map(started).collect();
    let as_found = |n: usize| {
        assert_eq!(docker(fleet.host(n)), before[n - 1][1]);
        assert_as_found(fleet.host(n), &before[n - 1][0]);
    };
    assert!(before[1][1].contains("\nsystemd\n") && before[0][1].contains("\ncgroupfs\n"), "{before:?}");

    launcher.run(&file, &[]);
    let runtimes = kubectl(one, "get nodes -o 'jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}'");
    assert_eq!(runtimes.matches("docker://").count(), 2, "{runtimes}");
    serve(&fleet, one, &[one, two]);
    assert_eq!(two.run("ctr -n k8s.io containers list -q").ok().text(), "", "nothing of it is containerd's own");
    let again = launcher.run(&file, &[]);
    assert_eq!(again.stderr.matches("nothing to do").count(), kiln_launch::phase::PHASES, "{again}");

    // An image by the registry's own name, which wants to know who asks: of the kubelet.
    let pod = "run pulled --restart=Never --image=sea.hub:5000/kiln.test/web:1 --image-pull-policy=Always";
    let _ = kubectl(one, pod);
    let _ = kubectl(one, "wait --for=condition=Ready pod/pulled --timeout=60s");
    let _ = kubectl(one, "delete pod pulled --now");

    // Whoever joins runs its pods in the same way, also when nobody says it any more.
    let text = fs::read_to_string(&file).unwrap().replacen("  containerRuntime: {type: docker}\n", "", 1);
    fs::write(&file, text).unwrap();
    launcher.cluster("join", &["--nodes", three.address(), "-f", &file, &ignore]);
    assert_eq!(ready(one), 3);
    assert!(kubectl(one, "get node node3 -o wide").contains("docker://"));
    launcher.cluster("scale", &["--remove", three.address()]);
    as_found(3);

    launcher.cluster("reset", &[]);
    as_found(1);
    as_found(2);
    assert_eq!([started(one), started(three)], [since[0].clone(), since[2].clone()], "they were not restarted");
    wait("the owner's container on the host whose Docker was", Duration::from_secs(30), || {
        (two.run("docker ps --format '{{.Names}}'").ok().text() == "mine").then_some(())
    });
}
