//! `kiln build` as a user runs it: Dockerfile text in, tree dump, configuration and messages out.

#![expect(missing_docs, reason = "tests")]

mod add;
mod cache;
mod check;
mod contexts;
mod copy;
mod diagnostics;
mod disk;
mod examples;
mod hostile;
mod outputs;
mod reproducible;
mod run;
mod rungs;
mod secrets;
mod stop;
mod tree;
mod tricky;
mod verified;
mod why;

use kiln_testkit::{Ids, Layout, Output, TestContext};
pub use tree::{Built, open};

/// A context with a busybox image beside it, which Dockerfiles call `busybox`.
pub struct Bench {
    pub t: TestContext,
    args: Vec<String>,
}

impl Default for Bench {
    fn default() -> Self {
        Bench::new()
    }
}

impl Bench {
    /// On the rung that `KILN_TEST_RUNG` names, else on the strongest: so the whole suite can run on each.
    pub fn new() -> Bench {
        match std::env::var("KILN_TEST_RUNG") {
            Ok(rung) => Bench::on(&rung),
            Err(_) => Bench::with(TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"))),
        }
    }

    /// On one rung: a name as `--isolation` has it, with `plain-` before it as a user without rights.
    pub fn on(rung: &str) -> Bench {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        let t = match rung.strip_prefix("plain-") {
            Some("userns") => t.as_plain_user(Ids::Subordinate),
            Some(_) => t.as_plain_user(Ids::Own),
            None => t,
        };
        Bench::with(t.env("KILN_ISOLATION", rung.trim_start_matches("plain-")))
    }

    pub fn with(t: TestContext) -> Bench {
        Layout::busybox(t.out("busybox"));
        let base = format!("--build-context=busybox=oci-layout://{}:busybox:latest", t.out("busybox").display());
        Bench { t, args: vec![base] }
    }

    pub fn file(mut self, path: &str, mode: u32, content: &str) -> Bench {
        self.t = self.t.file(path, mode, content);
        self
    }

    pub fn symlink(mut self, path: &str, target: &str) -> Bench {
        self.t = self.t.symlink(path, target);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Bench {
        self.t = self.t.env(name, value);
        self
    }

    /// Adds options to every build.
    pub fn args(mut self, args: &[&str]) -> Bench {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Runs a build of this text with these options.
    pub fn run(&self, dockerfile: &str, more: &[&str]) -> Output {
        self.t.write("Dockerfile", 0o644, dockerfile);
        let mut args = vec!["build", "-t", "t"];
        args.extend(self.args.iter().map(|a| &**a));
        args.extend(more);
        args.push(".");
        self.t.kiln(&args)
    }

    /// Builds and opens the result.
    #[track_caller]
    pub fn build(&self, dockerfile: &str) -> Built {
        let _ = self.run(dockerfile, &[]).ok();
        open(&self.t.store(), "t")
    }

    /// Builds what must fail; returns what it says.
    #[track_caller]
    pub fn fails(&self, dockerfile: &str, code: i32) -> String {
        self.run(dockerfile, &[]).exits(code).stderr
    }
}

/// The tree of one text and context, from scratch.
#[track_caller]
pub fn dump(bench: &Bench, dockerfile: &str) -> String {
    bench.build(dockerfile).dump()
}
