//! Clusterfiles with mistakes.

use kiln_clusterfile::Flags;

use super::{one, rendered, with_flags, with_spec, wrong};

#[test]
fn a_mistake_has_a_place_and_a_caret() {
    let text = with_spec("imge: a");
    assert_eq!(
        rendered(&with_flags(&text, &Flags::default())),
        "error: spec has no field `imge`
 --> Clusterfile:4:3
  |
4 |   imge: a
  |   ^^^^
hint: did you mean `image`?
"
    );
    let text = with_spec("").replace("10.0.0.1", "'10.0.0.1,10.0.0.400'");
    let shown = rendered(&with_flags(&text, &Flags::default()));
    assert!(
        shown.contains("'10.0.0.1,10.0.0.400'") && shown.contains("\n  |                            ^^^^^^^^^^\n"),
        "{shown}"
    );
}

#[test]
fn unknown_fields_and_wrong_types() {
    for (fields, want) in [
        ("ssh: {pasword: a}", "E UnknownField 4: spec.ssh has no field `pasword` | did you mean `password`?"),
        ("ssh: {passwd: 123456}", "E WrongType 4: `spec.ssh.passwd` is a string; this is a number | put it in quotes"),
        ("ssh: {port: 99999}", "E BadPort 4: `spec.ssh.port` is a port, 1 to 65535"),
        ("ssh: root", "E WrongType 4: `spec.ssh` is a map; this is a string"),
        ("env: {A: b}", "E WrongType 4: `spec.env` is a list; this is a map | write `- NAME=VALUE` for each"),
        ("env: [A]", "E BadVariable 4: `A` is not NAME=VALUE"),
        ("env: [7]", "E WrongType 4: `spec.env[]` is a string; this is a number | put it in quotes"),
        (
            "registry: {localRegistry: {ha: 'yes'}}",
            "E WrongType 4: `spec.registry.localRegistry.ha` is true or false; this is a string",
        ),
        (
            "registry: {localRegistry: {username: a}}",
            "E NoPassword 4: `spec.registry.localRegistry` has a user and no password",
        ),
        (
            "containerRuntime: {type: podman}",
            "E UnknownRuntime 4: `podman` is no container runtime that Kiln knows: docker and containerd are",
        ),
        ("image: A", "E BadImage 4: `A`: the repository name must be lower case"),
        ("dataRoot: ../a", "E BadPath 4: `../a` is no absolute path without `..`"),
        (
            "network: {podCIDR: 10.0.0.1/8}",
            "E BadRange 4: `10.0.0.1/8` has bits behind its prefix: did you mean `10.0.0.0/8`?",
        ),
        ("hostAliases: [{ip: 10.0.0.1}]", "E NoAlias 4: `spec.hostAliases[0]` needs `ip` and `hostnames`"),
        ("image: a\nimage: b", "E DuplicateKey 5: `image` is there already, in line 4"),
    ] {
        assert_eq!(one(&with_spec(fields)), want, "{fields}");
    }
}

#[test]
fn what_is_not_supported_is_an_error_that_says_what_to_do() {
    let machines = one(&with_spec("masters: {count: '3'}"));
    assert_eq!(
        machines,
        "E Unsupported 4: Kiln does not support `spec.masters.count` | Kiln makes no machines in clouds: write the addresses of those there are into `ipList`"
    );
    assert!(one(&with_spec("provider: ALI_CLOUD")).starts_with("E Unsupported 4: the provider `ALI_CLOUD`"));
    assert!(one(&with_spec("ssh: {encrypted: true}")).contains("`spec.ssh.encrypted`"));
    assert!(wrong(&with_spec("ssh: {encrypted: false}")).is_empty(), "says nothing");
    assert!(
        one(&format!("{}---\napiVersion: sealer.io/v2\nkind: Application\n", with_spec("")))
            .contains("documents of kind Application")
    );
    assert!(
        one(&with_spec("masters: {ipList: [10.0.0.9]}"))
            .starts_with("E Conflict 4: `spec.masters` beside `spec.hosts`")
    );
}

fn hosts(items: &str) -> Vec<String> {
    wrong(&format!("apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n{items}"))
}

#[test]
fn hosts_with_mistakes() {
    for (items, want) in [
        (
            "  - {ips: [10.0.0.1]}\n",
            "E NoRole 5: `spec.hosts[0]` has neither the role master nor node | write `roles: [master]` or `roles: [node]`",
        ),
        ("  - {roles: [master]}\n", "E NoAddress 5: `spec.hosts[0]` has no addresses in `ips`"),
        (
            "  - {ips: [10.0.0.1], roles: [node]}\n",
            "E NoMaster 5: none of the hosts has the role master | `kubeadm init` runs on the first master: give one host that role",
        ),
        (
            "  - {ips: [10.0.0.1], roles: [master]}\n  - {ips: [10.0.0.1], roles: [node]}\n",
            "E DuplicateHost 6: 10.0.0.1 is a host already, by Clusterfile:5",
        ),
        (
            "  - {ips: [10.0.0.1, 10.0.0.2], roles: [master], name: a}\n",
            "E ManyHosts 5: `spec.hosts[0].name` is of one host, and there are 2 in `ips` | give each host an item of its own",
        ),
        (
            "  - {ips: [10.0.0.1], roles: [master], name: A_b}\n",
            "E BadName 5: `A_b` is no name of a host: small letters, digits, `-` and `.`",
        ),
        (
            "  - {ips: [10.0.0.1], roles: [master], labels: {a: true}}\n",
            "E WrongType 5: `spec.hosts[0].labels.a` is a string; this is a boolean | put it in quotes",
        ),
        (
            "  - {ips: [10.0.0.1], roles: [master], taints: [a=b]}\n",
            "E BadTaint 5: `a=b` has no effect: write KEY=VALUE:NoSchedule",
        ),
        (
            "  - {ips: [host.example], roles: [master]}\n",
            "E BadAddress 5: `host.example`: `host.example` is no IP address",
        ),
    ] {
        assert_eq!(hosts(items), [want], "{items}");
    }
    let twice = hosts("  - {ips: [10.0.0.1], roles: [mastr, node]}\n  - {ips: [10.0.0.2], roles: [master]}\n");
    assert_eq!(twice, ["W UnknownRole 5: `mastr` is no role that does something | did you mean `master`?"]);
    let even = hosts("  - {ips: [10.0.0.1, 10.0.0.2], roles: [master]}\n");
    assert_eq!(even, ["W EvenMasters 5: 2 masters survive no more failures than 1: etcd needs a majority"]);
}

#[test]
fn ranges_that_overlap() {
    let overlap = with_spec("network: {podCIDR: 10.96.0.0/12, svcCIDR: 10.96.0.0/22}");
    assert_eq!(one(&overlap), "E Overlap 4: the ranges of pods, 10.96.0.0/12, and of services, 10.96.0.0/22, overlap");
    let hosts = with_spec("network: {podCIDR: 10.0.0.0/16}");
    assert_eq!(one(&hosts), "E Overlap 4: the host 10.0.0.1 is inside of 10.0.0.0/16, which pods or services have");
    let two = with_spec("network: {podCIDR: '10.1.0.0/16,10.2.0.0/16'}");
    assert_eq!(one(&two), "E TwoRanges 4: 10.1.0.0/16 and 10.2.0.0/16 are both of pods: there is one range a family");
}

#[test]
fn documents_that_are_none() {
    let pod = one("apiVersion: v1\nkind: Pod\n");
    assert_eq!(pod, "E UnknownKind 2: Pod of v1 is nothing that a Clusterfile has");
    assert!(one("spec: {}\n").starts_with("E UnknownKind 1: a document without a kind"));
    assert!(one("apiVersion: sealer.io/v2\nkind: Clusters\n").ends_with("| did you mean `Cluster`?"));
    assert!(one("- a\n").starts_with("E UnknownKind 1"));
    assert!(one("apiVersion: sealer.io/v2\nkind: Cluster\nspec: [\n").starts_with("E BadYaml"));
    let two = "apiVersion: sealer.io/v2\nkind: Cluster\n---\napiVersion: sealer.io/v2\nkind: Cluster\n";
    assert_eq!(one(two), "E TwoClusters 4: a second Cluster: there is one in line 1");
    assert!(
        with_flags("", &Flags::default()).cluster.is_some_and(|cluster| cluster.hosts.is_empty()),
        "nothing is no mistake"
    );
}

#[test]
fn messages_quote_no_passwords() {
    for text in [
        with_spec("ssh: {user: 7, passwd: hunter2}"),
        with_spec("ssh: {passwd: hunter2, oops: 1}"),
        with_spec("ssh: {pasword: hunter2}"),
        with_spec("ssh: {passwd: \"hunter2}"),
        "ssh:\n  passwd: hunter2\n  a: [\n".to_owned(),
        with_spec("registry: {localRegistry: {password: 'hunter2', port: x}}"),
    ] {
        let shown = rendered(&with_flags(&text, &Flags::default()));
        assert!(shown.contains("error: ") && !shown.contains("hunter2"), "{shown}");
    }
}
