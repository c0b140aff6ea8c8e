//! The pod network: which files of an image are its, and what is said when an API server does not take them.

use kiln_clusterfile::model::{Backend, Cni, Origin, Said};
use kiln_host::recording::Answer;
use kiln_launch::error::LaunchError;
use kiln_launch::phase::network::choice::{Network, choose};

use crate::world::World;

/// What of these files is the network, where the user names one or does not.
fn chosen(files: &[&str], cni: Option<Cni>) -> Result<Vec<String>, String> {
    let world = World::new(1, 0);
    let files: Vec<String> = files.iter().map(|file| format!("manifests/{file}")).collect();
    world.wish(move |cluster, bundle| {
        bundle.files.retain(|path, _| !path.starts_with("manifests/"));
        bundle.files.extend(files.iter().map(|file| (file.clone(), 0o644)));
        cluster.network.cni = cni.clone().map(|cni| Said::new(cni, Origin::Flag("--cni")));
    });
    match choose(&world.launch().unwrap()) {
        Ok(Network::Manifests(paths)) => {
            Ok(paths.iter().map(|path| path.strip_prefix("manifests/").unwrap().to_owned()).collect())
        }
        Ok(other) => Err(format!("{other:?}")),
        Err(LaunchError::Wanted { what, .. }) => Err(what),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn files_of_a_network_are_those_that_are_called_so() {
    let calico = Some(Cni::Calico);
    for (files, cni, wanted) in [
        // Definitions are none by themselves, and come first.
        (&["calico-crds.yaml", "calico.yaml", "dashboard.yaml"][..], &None, &["calico-crds.yaml", "calico.yaml"][..]),
        (&["calico.yaml", "calico-typha.yaml", "calicoctl.yaml"], &None, &["calico.yaml"]),
        (
            &["kube-flannel.yml", "kube-flannel-rbac.yml", "flannel-namespace.json"],
            &None,
            &["flannel-namespace.json", "kube-flannel-rbac.yml", "kube-flannel.yml"],
        ),
        (&["calico.yaml", "kube-flannel.yml"], &None, &["kube-flannel.yml"]),
        (&["calico.yaml", "kube-flannel.yml"], &calico, &["calico.yaml"]),
        (&["calico-vxlan.yaml.tmpl"], &calico, &["calico-vxlan.yaml"]),
        (&["calico-vxlan.yaml", "calico-typha.yaml"], &Some(Cni::Other("calico-typha".into())), &["calico-typha.yaml"]),
        // The operator, with all that it needs.
        (
            &["custom-resources.yaml", "custom-resources-bpf.yaml", "operator-crds.yaml", "tigera-operator.yaml"],
            &calico,
            &["operator-crds.yaml", "tigera-operator.yaml", "custom-resources.yaml"],
        ),
        (
            &["custom-resources.yaml", "tigera-operator.yaml", "v1_crd_projectcalico_org.yaml"],
            &None,
            &["v1_crd_projectcalico_org.yaml", "tigera-operator.yaml", "custom-resources.yaml"],
        ),
        // A directory, whole.
        (
            &[
                "calico/10-node.yaml",
                "calico/custom-resources.yaml",
                "calico/crds.yaml",
                "calico/readme.md",
                "calico/kustomization.yaml",
            ],
            &None,
            &["calico/crds.yaml", "calico/10-node.yaml", "calico/custom-resources.yaml"],
        ),
        (
            &["cni/calico.yaml", "cni/calico-crd.yaml", "cni/pool.yaml"],
            &None,
            &["cni/calico-crd.yaml", "cni/calico.yaml"],
        ),
    ] {
        assert_eq!(chosen(files, cni.clone()).unwrap(), wanted, "{files:?}");
    }
}

#[test]
fn what_nobody_can_tell_is_an_error_or_none() {
    let several = chosen(&["calico-vxlan.yaml", "calico-typha.yaml"], None).unwrap_err();
    assert!(several.ends_with("manifests/calico-typha.yaml, manifests/calico-vxlan.yaml"), "{several}");
    assert!(chosen(&["kube-flannel.yml"], Some(Cni::Weave)).unwrap_err().contains("called weave"));
    for files in [&["calico-crds.yaml"][..], &["custom-resources.yaml"], &["calico.txt"], &["dashboard.yaml"], &[]] {
        assert_eq!(chosen(files, None).unwrap_err(), "None", "{files:?}");
    }
    assert_eq!(chosen(&["kube-flannel.yml"], Some(Cni::None)).unwrap_err(), "None");
}

/// A launch whose API server says this of the manifest, which is this text.
fn refused(text: &str, said: &str) -> String {
    let mut world = World::new(1, 0);
    world.options.patience = std::time::Duration::from_millis(10);
    world.host(1).answer("cat /var/lib/kiln/rootfs/", Answer::output(text));
    world.host(1).answer("apply -f /var/lib/kiln/network.yaml", Answer::failure(1, said));
    let error = world.run().unwrap_err();
    format!("{error}\n{}", error.details().join("\n"))
}

#[test]
fn an_api_server_that_does_not_take_a_manifest_is_told_with_the_place() {
    let own = "# x\nkind: ConfigMap\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\n";
    let no = "unable to recognize \"/var/lib/kiln/network.yaml\": no matches for kind \"PodDisruptionBudget\" in version \"policy/v1\"\n";
    let text = refused(own, no);
    let place = "manifests/kube-flannel.yml:4: PodDisruptionBudget of policy/v1";
    assert!(text.contains(place) && !text.contains("network.yaml"), "{text}");
    // What somebody else may define is waited for.
    let other = no.replace("policy/v1", "operator.tigera.io/v1").replace("PodDisruptionBudget", "Installation");
    let text = refused(own, &other);
    assert!(text.contains("manifests/kube-flannel.yml: Installation of operator.tigera.io/v1"), "{text}");
    let text = refused(own, "error validating \"/var/lib/kiln/network.yaml\": unknown field \"a\"\n");
    assert!(text.contains("error validating \"manifests/kube-flannel.yml\""), "{text}");
    let text = refused("kind: ConfigMap\n\nx: [\n", "");
    assert!(text.contains("manifests/kube-flannel.yml:3: unclosed bracket"), "{text}");
}

/// A launch whose node has no network, and whose cluster has these pods.
fn without_a_network(pods: &str, answers: &[(&str, Answer)]) -> Vec<String> {
    let mut world = World::new(1, 0);
    world.options.patience = std::time::Duration::from_millis(10);
    let node = r#"{"items":[{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"False","message":"NetworkPluginNotReady"}]}}]}"#;
    world.host(1).answer("get nodes -o json", Answer::output(node));
    world
        .host(1)
        .answer("@@unit", Answer::output("@@unit containerd active\n@@unit kubelet active\nE1126 cni\n@@end\n"));
    world.host(1).answer("get pods -A -o json", Answer::output(pods));
    for (line, answer) in answers {
        world.host(1).answer(*line, answer.clone());
    }
    world.run().unwrap_err().details().into_iter().filter(|line| !line.contains("Network")).collect()
}

#[test]
fn nodes_without_a_network_are_told_with_the_pods_that_should_make_it() {
    let pod = |name: &str, more: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"net"}},"spec":{{"hostNetwork":true,"nodeName":"n1"}},"status":{{"phase":"Running",{more}}}}}"#
        )
    };
    let list = |pods: &[String]| format!("{{\"items\":[{}]}}", pods.join(","));
    let ready = r#""conditions":[{"type":"Ready","status":"True"}]"#;
    let broken = r#""containerStatuses":[{"name":"c","restartCount":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":2}}}]"#;
    let proxy = pod("kube-proxy-x", ready);
    let both = list(&[proxy.clone(), pod("cni-a", broken)]);
    let said = without_a_network(&both, &[("logs cni-a -c c", Answer::output("well\npanic: no device\n"))]);
    assert_eq!(
        said,
        ["behind it: container c of pod net/cni-a on n1 ended with status 2, started 2 times", "  | panic: no device"]
    );
    // Whose log is gone, but which the cluster warned of.
    let event = r#"{"items":[{"lastTimestamp":"1","message":"old"},{"lastTimestamp":"2","message":"no \u001b room"}]}"#;
    let said = without_a_network(
        &both,
        &[
            ("logs cni-a -c c", Answer::output("unable to retrieve container logs for containerd://1")),
            ("involvedObject.name=cni-a,type=Warning", Answer::output(event)),
        ],
    );
    assert_eq!(said[1], "  | no \u{fffd} room");
    let said = without_a_network(&list(std::slice::from_ref(&proxy)), &[]);
    assert_eq!(said, ["behind it: the pod network on n1 has no pod"]);
    let said = without_a_network(
        &list(&[proxy, pod("cni-a", ready)]),
        &[("logs cni-a --all-containers", Answer::output("error: x\n"))],
    );
    assert_eq!(said, ["behind it: pod net/cni-a on n1 runs, and there is no network for pods", "  | error: x"]);
    // A cluster that does not say: what kubelet does.
    let said = without_a_network("nonsense", &[]);
    assert_eq!(said, ["behind it: kubelet on 10.0.0.1 runs, and says", "  | E1126 cni"]);
}

#[test]
fn what_a_manifest_cannot_do_is_told_before_anything_is_changed() {
    let refused = |text: &'static str, wish: fn(&mut kiln_clusterfile::Cluster)| {
        let world = World::new(1, 0);
        world.wish(move |cluster, bundle| {
            bundle.networks.insert("manifests/kube-flannel.yml".to_owned(), text.to_owned());
            wish(cluster);
        });
        let error = world.run().unwrap_err().to_string();
        assert!(
            !world.host(1).lines().iter().any(|line| line.contains("agent receive") || line.contains("agent install")),
            "{error}"
        );
        error
    };
    let backend = |cluster: &mut kiln_clusterfile::Cluster| {
        cluster.network.backend = Some(Said::new(Backend::Udp, Origin::Flag("--backend")));
    };
    let device = |cluster: &mut kiln_clusterfile::Cluster| {
        cluster.network.interface = Some(Said::new("eth1".to_owned(), Origin::Flag("--interface")));
    };
    assert!(refused("kind: A\n", backend).contains("has no `net-conf.json`"));
    assert!(refused("kind: A\n", device).contains("has no place for one"));
    assert!(refused("kind: A\nb: [\n", |_| {}).contains("manifests/kube-flannel.yml:2: unclosed bracket"));
    let none = |cluster: &mut kiln_clusterfile::Cluster| {
        cluster.network.cni = Some(Said::new(Cni::None, Origin::Flag("--cni")));
        cluster.network.backend = Some(Said::new(Backend::Udp, Origin::Flag("--backend")));
    };
    assert!(refused("", none).contains("the image has no `net-conf.json`"));
    let weave = |cluster: &mut kiln_clusterfile::Cluster| {
        cluster.network.cni = Some(Said::new(Cni::Weave, Origin::Flag("--cni")));
    };
    assert!(refused("", weave).contains("brings no pod network called weave"));
}
