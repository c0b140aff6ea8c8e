//! The builder `googlecompute` against the double of Compute Engine.

mod beside;
mod faults;
mod keys;
mod parts;
mod retry;

use kiln_testkit::compute::{Faults, PROJECT, ZONE};
use kiln_testkit::{Compute, Output, TestContext};

use crate::sshd::Sshd;

/// A double, a machine that its instances lead to, and a directory with a template.
pub struct Bench {
    pub t: TestContext,
    pub double: Compute,
    pub server: Sshd,
}

impl Bench {
    pub fn new(faults: Faults) -> Bench {
        let server = Sshd::start();
        let double = Compute::with(faults);
        double.keys_into(&server.path("keys/root"));
        double.host_key(&server.host_key.line());
        server.scratch("there");
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        let state = t.root().join("state").display().to_string();
        let t = t.env("KILN_CLOUD_POLL", "0.01").env("KILN_STATE", &state);
        Bench { t, double, server }
    }

    /// A template that asks the double; `more` are further keys of the builder.
    pub fn template(&self, more: &str, provisioners: &str) -> String {
        let account = self.double.account().display().to_string();
        let image = if more.contains("image_name") { "" } else { r#""image_name": "node-1", "# };
        // Other tests' machines have the same directory for scripts.
        let there = self.server.path("there").display().to_string();
        let shell = format!(r#""type": "shell", "remote_folder": "{there}""#);
        let provisioners = provisioners.replace(r#""type": "shell""#, &shell);
        format!(
            r#"{{"builders": [{{"type": "googlecompute", "name": "node", "project_id": "{PROJECT}", "zone": "{ZONE}",
                "credentials_file": "{account}", "custom_endpoints": {},
                "source_image_family": "debian-12", {image}"ssh_username": "root", "ssh_port": {}, "ssh_timeout": "30s"{more}}}],
                "provisioners": [{provisioners}]}}"#,
            self.double.endpoints(),
            self.server.port
        )
    }

    pub fn write(&self, more: &str, provisioners: &str) {
        self.t.write("t.json", 0o644, self.template(more, provisioners));
    }

    pub fn build(&self, more: &str, provisioners: &str, options: &[&str]) -> Output {
        self.write(more, provisioners);
        let mut args = vec!["node", "build", "-color=false"];
        args.extend(options);
        args.push("t.json");
        self.t.kiln(&args)
    }

    /// A build whose failures are answered so; `r` tries the step again.
    pub fn asked(&self, more: &str, provisioners: &str, answers: &str) -> Output {
        self.write(more, provisioners);
        self.t.kiln_with_input(&["node", "build", "-color=false", "-on-error=ask", "t.json"], answers.as_bytes())
    }

    #[track_caller]
    pub fn ok(&self, more: &str, provisioners: &str) -> String {
        self.build(more, provisioners, &[]).ok().stdout
    }

    #[track_caller]
    pub fn fails(&self, more: &str, provisioners: &str) -> String {
        let out = self.build(more, provisioners, &[]).exits(1);
        out.stdout + &out.stderr
    }

    /// Nothing of it is there, and no book has anything open.
    #[track_caller]
    pub fn nothing_left(&self) {
        assert!(self.double.left().is_empty(), "{:?}", self.double.left());
        let books: Vec<std::ffi::OsString> = std::fs::read_dir(self.t.root().join("state/node-builds"))
            .map(|dir| dir.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        // Beside them is the lock of the directory.
        assert!(books.iter().all(|name| name.as_encoded_bytes().starts_with(b".")), "{books:?}");
    }

    /// What was made and deleted, in that order, names of Kiln's own shortened.
    pub fn changes(&self) -> Vec<String> {
        changes(&self.double)
    }
}

pub fn changes(double: &Compute) -> Vec<String> {
    let short = |name: &str| if name.starts_with("packer-") { "packer-*".to_owned() } else { name.to_owned() };
    let all = double.trace().into_iter().filter(kiln_testkit::compute::Call::changes);
    all.map(|call| format!("{} {}", call.action, short(&call.name))).collect()
}
