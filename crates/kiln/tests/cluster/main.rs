//! `kiln build --on kubernetes`, with a double of a cluster that runs what Jobs say, and Debian's docker-registry.
//!
//! With `KILN_TEST_KUBECONFIG` the tests that need no double run in the cluster that it names instead: its nodes must
//! have the image `KILN_TEST_KILN_IMAGE` of this very Kiln and reach this machine's loopback (a cluster of one node,
//! here), for which `KILN_TEST_POD_TEMPLATE` may say `spec: {hostNetwork: true}`; `KILN_TEST_ADMIN_KUBECONFIG` is of who may
//! look whether anything is left, with kubectl. One test at a time: they would see what another one has not yet removed.
//!
//! `builds` what comes of it     `stopped` what stays behind     `refused` clusters that do not want it
//! `waiting` why nothing happens     `broken` connections and nodes     `asked` what is asked of the cluster

#![expect(missing_docs, reason = "tests")]

mod asked;
mod broken;
mod builds;
mod refused;
mod stopped;
mod waiting;

use std::path::PathBuf;

use kiln_testkit::cluster::{BUILDER, Cluster};
use kiln_testkit::{Auth, Output, Registry, TestContext, tools};

pub const ROLE: &str = include_str!("../../../../deploy/kubernetes/role.yaml");

/// A cluster, a registry, and a machine with a context.
pub struct Bench {
    pub t: TestContext,
    pub registry: Registry,
    /// `None` in a real cluster.
    pub double: Option<Cluster>,
    kubeconfig: PathBuf,
    image: String,
    template: Option<String>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Bench {
    /// In a real cluster, if there is one.
    pub fn anywhere() -> Bench {
        match variable("KILN_TEST_KUBECONFIG") {
            None => Bench::with(Auth::None),
            Some(kubeconfig) => Bench {
                t: context(),
                registry: Registry::start(Auth::None),
                double: None,
                kubeconfig: kubeconfig.into(),
                image: variable("KILN_TEST_KILN_IMAGE").expect("KILN_TEST_KILN_IMAGE is set"),
                template: variable("KILN_TEST_POD_TEMPLATE"),
            },
        }
    }

    /// With the double.
    pub fn double() -> Bench {
        Bench::with(Auth::None)
    }

    pub fn with(auth: Auth) -> Bench {
        let double = Cluster::start(env!("CARGO_BIN_EXE_kiln"), ROLE);
        let kubeconfig = double.kubeconfig(BUILDER);
        let (t, registry) = (context(), Registry::start(auth));
        Bench {
            t,
            registry,
            double: Some(double),
            kubeconfig,
            image: "registry.example/kiln:test".to_owned(),
            template: None,
        }
    }

    pub fn cluster(&self) -> &Cluster {
        self.double.as_ref().expect("the double")
    }

    pub fn dockerfile(&self, text: &str) {
        self.t.write("Dockerfile", 0o644, format!("FROM scratch\nCOPY busybox /bin/sh\n{text}"));
    }

    /// The command line for the cluster, without a context.
    pub fn line(&self, more: &[&str]) -> Vec<String> {
        let kubeconfig = self.kubeconfig.display().to_string();
        let own =
            ["build", "--progress=plain", "--on=kubernetes", "--kubeconfig", &kubeconfig, "--kiln-image", &self.image];
        let template = self.template.iter().map(|file| format!("--pod-template={file}"));
        own.iter().chain(more).map(|&arg| arg.to_owned()).chain(template).collect()
    }

    /// Runs `kiln build` with the cluster and these arguments.
    pub fn kiln(&self, more: &[&str]) -> Output {
        let line = self.line(more);
        self.t.kiln(&line.iter().map(|arg| &**arg).collect::<Vec<_>>())
    }

    /// Builds the context as the image of a name in the registry.
    pub fn build(&self, name: &str, more: &[&str]) -> Output {
        let name = self.registry.reference(name);
        self.kiln(&[&["--push", "-t", &name], more, &["."]].concat())
    }

    /// Fails if anything is left of a build.
    #[track_caller]
    pub fn is_clean(&self) {
        if let Some(double) = &self.double {
            for resource in ["jobs", "pods", "secrets"] {
                let left = double.objects(resource);
                assert!(left.is_empty(), "{resource}: {left:#?}");
            }
            return;
        }
        // Who builds cannot list Jobs and Secrets; pods go a moment later.
        let admin = variable("KILN_TEST_ADMIN_KUBECONFIG").expect("KILN_TEST_ADMIN_KUBECONFIG is set");
        for resource in ["jobs", "secrets"] {
            let line =
                ["--kubeconfig", &admin, "get", resource, "-A", "-o", "name", "-l", "app.kubernetes.io/name=kiln"];
            let out = self.t.tool("kubectl", &[&line[..], &["-l", "app.kubernetes.io/component=build"]].concat()).ok();
            assert_eq!(out.stdout.trim(), "", "{resource}");
        }
    }
}

fn context() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("SOURCE_DATE_EPOCH", "1600000000");
    t.write("busybox", 0o755, std::fs::read(tools::tool("busybox")).unwrap());
    t.write("a", 0o644, "A");
    t.write("left-out", 0o644, "MARK_left_out");
    t.write(".dockerignore", 0o644, "left-out\n");
    t
}
