//! `kiln executor` and `kiln warmer` as Jobs written for kaniko call them, with Debian's docker-registry.

#![expect(missing_docs, reason = "tests")]

mod attest;
mod buckets;
mod cache;
mod contexts;
mod image;
mod inline;
mod lock;
mod logins;
mod objects;
mod outputs;
mod policy;
mod single;

use kiln_testkit::{Auth, Layout, Output, Registry, TestContext};

/// A registry with the base `base:1`, which is busybox, and a machine to build on.
pub struct Pod {
    pub t: TestContext,
    pub registry: Registry,
}

impl Pod {
    pub fn start() -> Pod {
        let registry = Registry::start(Auth::None);
        let pod = Pod { t: Pod::machine(), registry };
        let layout = Layout::busybox(pod.t.out("busybox"));
        pod.registry.push(&layout, "busybox:latest", "base:1");
        pod
    }

    /// A machine that has built nothing yet.
    pub fn machine() -> TestContext {
        TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"))
    }

    /// A Dockerfile on the base.
    pub fn dockerfile(&self, text: &str) {
        self.write(&self.t, text);
    }

    pub fn write(&self, t: &TestContext, text: &str) {
        t.write("Dockerfile", 0o644, format!("FROM {}\n{text}", self.registry.reference("base:1")));
    }

    /// Builds the context, with more flags.
    pub fn run(&self, flags: &[&str]) -> Output {
        run(&self.t, flags)
    }

    /// `--destination` for a name in the registry.
    pub fn to(&self, name: &str) -> String {
        format!("--destination={}", self.registry.reference(name))
    }
}

/// Builds the context of a machine.
pub fn run(t: &TestContext, flags: &[&str]) -> Output {
    let context = format!("--context=dir://{}", t.context().display());
    t.kiln(&[&["executor", "--log-format=text", &context], flags].concat())
}
