//! What is asked of a cluster: the manifests, the rights, and what cannot be asked.

use serde_json::Value;

use crate::Bench;

#[test]
fn the_role_grants_what_is_asked_for_and_no_more() {
    let b = Bench::double();
    b.t.write("secret", 0o600, "s");
    b.dockerfile("COPY a /\n");
    let _ = b.build("app:1", &["--secret=id=s,src=secret"]).ok();
    b.cluster().behave(|behaviour| behaviour.suspended = true);
    let _ = b.build("app:1", &["--timeout=1s"]).exits(3);
    assert_eq!(b.cluster().asked(), b.cluster().granted());
}

#[test]
fn users_of_its_own_are_for_clusters_that_have_them() {
    for (minor, more, wanted) in
        [(32, &[][..], Value::Null), (33, &[], false.into()), (33, &["--host-users=true"], true.into())]
    {
        let b = Bench::double();
        b.cluster().behave(|behaviour| behaviour.minor = minor);
        b.dockerfile("COPY a /\n");
        let _ = b.build("app:1", more).ok();
        assert_eq!(b.cluster().made()[0]["spec"]["template"]["spec"]["hostUsers"], wanted, "1.{minor} {more:?}");
    }
}

#[test]
fn a_dry_run_prints_manifests_and_asks_nobody() {
    let b = Bench::double();
    b.t.write("secret", 0o600, "MARK_secret");
    b.dockerfile("COPY a /\n");
    let line = [
        "build",
        "--on=kubernetes",
        "--kiln-image=i:1",
        "-n",
        "team",
        "--dry-run",
        "--secret=id=s,src=secret",
        "--platform=linux/amd64,linux/arm64",
        "-t",
        "r.example/app:1",
    ];
    let yaml = b.t.kiln(&[&line[..], &["-o", "yaml", "."]].concat()).ok().stdout;
    assert_eq!((yaml.matches("kind: Job\n").count(), yaml.matches("kind: Secret\n").count()), (2, 2), "{yaml}");
    assert!(
        !yaml.contains("MARK_secret") && yaml.contains("(not shown)") && yaml.contains("namespace: team"),
        "{yaml}"
    );
    let json: Value = b.t.kiln(&[&line[..], &["-o", "json", "."]].concat()).ok().json();
    assert_eq!(json["items"].as_array().unwrap().len(), 4);
    let out = b.t.kiln(&[&line[..], &["-o", "type=local,dest=x", "."]].concat()).exits(2);
    assert!(out.stderr.contains("--dry-run prints manifests: -o yaml or -o json"), "{out}");
    assert!(b.cluster().asked().is_empty());
}

#[test]
fn mistakes_are_found_before_anybody_is_asked() {
    let b = Bench::double();
    b.dockerfile("COPPY a /\n");
    let out = b.build("app:1", &[]).exits(1);
    assert!(out.stderr.contains("unknown instruction `COPPY`") && out.stderr.contains("--> Dockerfile:3:1"), "{out}");
    b.dockerfile("COPY a /\n");
    for (more, said) in [
        (&["-o", "type=local,dest=x"][..], "the image can go to a registry only"),
        (&["--lock"], "--lock does not work with --on kubernetes"),
        (&["--plan"], "--plan does not work with --on kubernetes"),
        (&["--check"], "--check does not work with --on kubernetes"),
        (&["--ssh=default=/dev/null"], "--ssh does not work with --on kubernetes"),
        (&["--build-context=lib=."], "--build-context lib=. does not work with --on kubernetes"),
        (&["--cache-from=type=local,src=x"], "a cache in a directory does not work with --on kubernetes"),
        (&["--pod-profile=all"], "expected restricted, baseline or userns"),
        (&["--namespace=../x"], "this is not a namespace's name"),
        (&["--toleration=a:b"], "expected NAME[=VALUE][:EFFECT]"),
        (&["--timeout=soon"], "expected a time"),
        (&["--context-store=ftp://x/y"], "this is not an address in an object store"),
    ] {
        let out = b.build("app:1", more);
        assert!(out.code == 2 && out.stderr.contains(said), "{more:?}: {out}");
    }
    let out = b.t.kiln(&["build", "--on=kubernetes", "--push", "-t", "r.example/a", "."]).exits(2);
    assert!(out.stderr.contains("needs the image of Kiln"), "{out}");
    let out = b.t.kiln(&["build", "--namespace=x", "."]).exits(2);
    assert!(out.stderr.contains("--on"), "{out}");
    let large = vec![b'x'; 800 << 10];
    b.t.write("large", 0o600, &large);
    let out = b.build("app:1", &["--secret=id=s,src=large"]).exits(1);
    assert!(out.stderr.contains("the Job's Secret cannot hold"), "{out}");
    assert!(b.cluster().made().is_empty());
}

#[test]
fn the_manifests_that_are_shipped_are_objects() {
    let read = |name: &str| {
        std::fs::read_to_string(format!("{}/../../deploy/kubernetes/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    for (name, kinds) in [
        ("role.yaml", &["Role"][..]),
        ("account.yaml", &["Namespace", "ServiceAccount", "RoleBinding"]),
        ("network-policy.yaml", &["NetworkPolicy"]),
    ] {
        let text = read(name);
        let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        assert_eq!(found, kinds, "{name}");
    }
    // What a binding names is there.
    let (role, account) = (read("role.yaml"), read("account.yaml"));
    let name = role.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
    assert!(
        account.contains(&format!("roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: {name}\n"))
    );
    // The policy is for pods that Kiln makes.
    let b = Bench::double();
    b.dockerfile("COPY a /\n");
    let _ = b.build("app:1", &[]).ok();
    let labels = &b.cluster().made()[0]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&labels["app.kubernetes.io/name"], &labels["app.kubernetes.io/component"]),
        (&"kiln".into(), &"build".into())
    );
    assert!(read("network-policy.yaml").contains("{app.kubernetes.io/name: kiln, app.kubernetes.io/component: build}"));
}
