//! Kubeconfigs of no use, clusters that cannot be reached, and rights that are missing.

use kiln_testkit::Output;
use kiln_testkit::cluster::NOBODY;

use crate::Bench;

/// Builds with a kubeconfig, and more flags.
fn build(b: &Bench, kubeconfig: &str, flags: &[&str]) -> Output {
    b.dockerfile("COPY a /\n");
    let name = b.registry.reference("app:1");
    let line = ["build", "--progress=plain", "--on=kubernetes", "--kiln-image=i", "--push", "-t", &name];
    b.t.kiln(&[&line, flags, &["--kubeconfig", kubeconfig, "."]].concat())
}

/// Builds with a kubeconfig, which fails; what is said.
#[track_caller]
fn said(b: &Bench, kubeconfig: &str, code: i32) -> String {
    build(b, kubeconfig, &[]).exits(code).stderr
}

#[test]
fn kubeconfigs_of_no_use_are_named() {
    let b = Bench::double();
    let write = |text: &str| {
        let path = b.t.out("kubeconfig");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = said(&b, "/nowhere/kubeconfig", 1);
    assert!(text.contains("cannot use the kubeconfig /nowhere/kubeconfig: No such file"), "{text}");
    let text = said(&b, &write("a: [MARK_token"), 1);
    assert!(text.contains("not a kubeconfig in YAML (line") && !text.contains("MARK_token"), "{text}");
    let text = said(&b, &write("apiVersion: v1\nkind: Config\n"), 1);
    assert!(text.contains("it has no current context; choose one with --kube-context"), "{text}");
    let text = said(&b, &write("current-context: x\ncontexts: []\n"), 1);
    assert!(text.contains("it has no context `x`"), "{text}");
    // None at all.
    b.dockerfile("COPY a /\n");
    let out = b.t.kiln(&["build", "--on=kubernetes", "--kiln-image=i", "--push", "-t", "r.example/a", "."]).exits(1);
    assert!(out.stderr.contains("there is no kubeconfig at") && out.stderr.contains("this is not a pod"), "{out}");
}

#[test]
fn a_login_plugin_that_fails_is_quoted_without_its_token() {
    let b = Bench::double();
    let exec = |script: &str| {
        let user = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, '{script}'], interactiveMode: Never}}}}"
        );
        b.cluster().kubeconfig_of(&user).display().to_string()
    };
    let text = said(&b, &exec("echo MARK_token; echo run login again >&2; exit 3"), 3);
    assert!(
        text.contains(
            "cannot log in to the cluster: the kubeconfig's login plugin failed with exit status: 3: run login again"
        ),
        "{text}"
    );
    assert!(!text.contains("MARK_token"), "{text}");
    let text = said(&b, &exec("echo MARK_token"), 3);
    assert!(text.contains("cannot log in to the cluster") && !text.contains("MARK_token"), "{text}");
}

#[test]
fn who_is_not_known_or_not_allowed_is_told() {
    let b = Bench::double();
    let text = said(&b, &b.cluster().kubeconfig("expired").display().to_string(), 3);
    assert!(
        text.contains("does not accept the login of the kubeconfig: Unauthorized")
            && text.contains("hint: log in again"),
        "{text}"
    );
    let text = said(&b, &b.cluster().kubeconfig(NOBODY).display().to_string(), 3);
    assert!(text.contains("error: the cluster does not allow to create jobs in the namespace builds"), "{text}");
    assert!(
        text.contains("hint: deploy/kubernetes/role.yaml grants it") && !text.contains("could not be removed"),
        "{text}"
    );
    b.is_clean();
}

#[test]
fn each_right_that_is_missing_is_named() {
    for (verb, resource) in [("create", "secrets"), ("list", "pods"), ("get", "pods/log"), ("create", "pods/attach")] {
        let role: String = without(crate::ROLE, verb, resource);
        let double = kiln_testkit::cluster::Cluster::start(env!("CARGO_BIN_EXE_kiln"), &role);
        let b = Bench { double: Some(double), ..Bench::double() };
        let kubeconfig = b.cluster().kubeconfig(kiln_testkit::cluster::BUILDER).display().to_string();
        b.t.write("secret", 0o600, "s");
        let out = build(&b, &kubeconfig, &["--secret=id=s,src=secret"]).exits(3);
        assert!(out.stderr.contains(&format!("{resource} in the namespace builds")), "{verb} {resource}: {out}");
        b.is_clean();
    }
}

/// A Role without one of its rights.
fn without(role: &str, verb: &str, resource: &str) -> String {
    let mut lines: Vec<String> = role.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.trim() == format!("resources: [{resource}]")).unwrap();
    lines[at + 1] = lines[at + 1].replace(&format!("{verb}, "), "").replace(&format!(", {verb}"), "").replace(verb, "");
    lines.join("\n")
}

#[test]
fn clusters_that_cannot_be_reached_or_trusted_are_told_apart() {
    let b = Bench::double();
    let config = std::fs::read_to_string(b.cluster().kubeconfig("t")).unwrap();
    let write = |text: String| {
        let path = b.t.out("kubeconfig");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = said(&b, &write(config.replace(b.cluster().address(), "127.0.0.1:1")), 3);
    assert!(text.contains("cannot reach the cluster at https://127.0.0.1:1: Connection refused"), "{text}");
    let other = kiln_testkit::cluster::Cluster::start("/bin/false", crate::ROLE);
    let ca = b.cluster().ca().display().to_string();
    let text = said(&b, &write(config.replace(&ca, &other.ca().display().to_string())), 3);
    assert!(text.contains("is not trusted: ") && text.contains("hint: certificate-authority-data"), "{text}");
    let text = said(&b, &write(config.replace(b.cluster().address(), b.registry.address())), 3);
    assert!(text.contains("is not trusted") || text.contains("cannot reach the cluster"), "{text}");
}
