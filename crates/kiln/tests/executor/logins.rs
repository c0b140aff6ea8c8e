//! `--credential-helpers`: logins that no file has, at Debian's docker-registry with a password.

use kiln_testkit::registry::{PASSWORD, USER};
use kiln_testkit::{Auth, Registry, TestContext};

use crate::{Pod, run};

fn machine() -> TestContext {
    Pod::machine().file("Dockerfile", 0o644, "FROM scratch\nENV a=b\n")
}

#[test]
fn pipelines_are_logged_in_to_their_own_registry() {
    let registry = Registry::start(Auth::Basic);
    let to = |name: &str| format!("--destination={}", registry.reference(name));
    let gitlab = || {
        let t = machine().env("CI_REGISTRY", registry.address());
        t.env("CI_REGISTRY_USER", USER).env("CI_REGISTRY_PASSWORD", PASSWORD)
    };
    let done = run(&gitlab(), &[&to("gitlab:1")]).ok();
    assert!(!done.stderr.contains(PASSWORD), "{done}");
    let _ = run(&gitlab(), &[&to("gitlab:2"), "--credential-helpers=ecr", "--credential-helpers=gitlab"]).ok();
    let named = machine().env("DOCKER_127_0_0_1_USR", USER).env("DOCKER_127_0_0_1_PSW", PASSWORD);
    let _ = run(&named, &[&to("env:1"), "--credential-helpers=env"]).ok();
    for helpers in ["--credential-helpers=", "--credential-helpers=ecr,acr", "--credential-helpers=nobody"] {
        let refused = run(&gitlab(), &[&to("none:1"), helpers]).exits(1);
        assert!(refused.stderr.contains("no credentials were found"), "{helpers}: {refused}");
        assert_eq!(refused.stderr.contains("=nobody is passed over"), helpers.ends_with("nobody"), "{refused}");
    }
    // Another registry's login is not for this one.
    let other = machine().env("CI_REGISTRY", "registry.example").env("CI_REGISTRY_USER", USER);
    let _ = run(&other.env("CI_REGISTRY_PASSWORD", PASSWORD), &[&to("none:1")]).exits(1);
    // `kiln build` and kaniko's `push` know them as well.
    let t = gitlab();
    let name = registry.reference("build:1");
    let _ = t.kiln(&["build", "--push", "-t", &name, t.context().to_str().unwrap()]).ok();
}
