//! `alicloud-ecs`: Debian's packer and Kiln with the same template against the same double, and what only Kiln does.
//!
//! The double's machine is Debian's sshd on loopback. It gets the key of the key pair, and the host key of the user data,
//! when the machine starts, as cloud-init would give them to it.

mod beside;
mod faults;
mod keys;
mod retry;

use std::sync::{Arc, Mutex};

use kiln_testkit::ecs::{Ecs, Faults, KIND, REGION, SOURCE};
use kiln_testkit::{Output, TestContext};

use crate::sshd::Sshd;

/// A double with its machine, and a directory to build in.
pub struct Bench {
    pub t: TestContext,
    pub double: Arc<Ecs>,
    pub server: Arc<Mutex<Sshd>>,
    pub port: u16,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Faults::default())
    }

    pub fn with(faults: Faults) -> Bench {
        // Debian's packer proves its RSA key by the old algorithm.
        let server = Sshd::with("PubkeyAcceptedAlgorithms +ssh-rsa");
        let (port, server) = (server.port, Arc::new(Mutex::new(server)));
        let double = Ecs::with(faults);
        let machine = server.clone();
        double.on_boot(move |boot| {
            let mut server = machine.lock().unwrap();
            server.write("keys/root", &format!("{}\n", boot.public_key.as_deref().unwrap_or_default()), 0o644);
            if let Some(key) = &boot.host_key {
                server.down();
                server.write("host_key", key, 0o600);
                server.up();
            }
        });
        let mut t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        for (name, value) in double.environment() {
            t = t.env(&name, &value);
        }
        Bench { t, double: Arc::new(double), server, port }
    }

    /// The template with more keys of the builder.
    pub fn template(&self, more: &str, provisioners: &str) {
        let port = self.port;
        let text = format!(
            r#"{{"builders": [{{"type": "alicloud-ecs", "region": "{REGION}", "image_name": "node-1", "source_image": "{SOURCE}",
                "instance_type": "{KIND}", "io_optimized": "true", "ssh_username": "root", "ssh_port": {port},
                "temporary_key_pair_type": "ecdsa"{more}}}], "provisioners": [{provisioners}]}}"#
        );
        self.t.write("t.json", 0o644, text);
    }

    /// One script that says `here`.
    pub fn here(&self) -> String {
        let folder = self.server.lock().unwrap().path("small").display().to_string();
        format!(r#"{{"type": "shell", "inline": ["echo here"], "remote_folder": "{folder}"}}"#)
    }

    pub fn build(&self, more: &str) -> Output {
        self.template(more, &self.here());
        self.t.kiln(&["node", "build", "-color=false", "t.json"])
    }

    /// What both streams say of a build that fails.
    #[track_caller]
    pub fn fails(&self, more: &str) -> String {
        let out = self.build(more).exits(1);
        out.stdout + &out.stderr
    }

    pub fn actions(&self) -> Vec<String> {
        self.double.trace().into_iter().map(|call| call.action).collect()
    }

    /// No line of the ledger is left, and nothing in the cloud.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(self.double.left(), Vec::<String>::new());
        let books = self.t.home().join(".local/state/kiln/node-builds");
        let names = std::fs::read_dir(books).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".jsonl")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Bench {
    /// The double outlives its test, so it must let go of the server, which ends then.
    fn drop(&mut self) {
        self.double.on_boot(|_| {});
    }
}
