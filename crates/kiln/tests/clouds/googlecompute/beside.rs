//! One template by Debian's packer and by Kiln. Neither is told where the double is: both come through a proxy, and trust
//! its authority.

use std::process::Command;

use kiln_testkit::compute::{Faults, PROJECT, ZONE};
use kiln_testkit::tools::tool;
use kiln_testkit::{Compute, TestContext};

use super::changes;
use crate::sshd::Sshd;

/// What Go's SSH of that time signs with, and Debian's server has given up.
const OLD: &str = "PubkeyAcceptedAlgorithms +ssh-rsa";

fn template(double: &Compute, port: u16, there: &str) -> String {
    format!(
        r#"{{"builders": [{{"type": "googlecompute", "name": "node", "account_file": "{}",
            "project_id": "{PROJECT}", "zone": "{ZONE}", "machine_type": "n1-standard-1",
            "source_image_family": "debian-12", "image_name": "node-1", "image_family": "nodes",
            "image_description": "a node", "image_labels": {{"team": "infra"}}, "image_storage_locations": ["eu"],
            "disk_size": 12, "tags": ["builder"], "labels": {{"team": "infra"}}, "metadata": {{"color": "blue"}},
            "ssh_username": "root", "ssh_port": {port}, "ssh_timeout": "60s"}}],
            "provisioners": [{{"type": "shell", "remote_folder": "{there}", "inline": ["echo provisioned"]}}]}}"#,
        double.account().display()
    )
}

struct Side {
    double: Compute,
    server: Sshd,
    t: TestContext,
}

impl Side {
    fn new() -> Side {
        let (double, server) = (Compute::with(Faults::default()), Sshd::with(OLD));
        double.keys_into(&server.path("keys/root"));
        double.host_key(&server.host_key.line());
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        let there = server.scratch("there").display().to_string();
        t.write("t.json", 0o644, template(&double, server.port, &there));
        Side { double, server, t }
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let authority = self.double.authority().display().to_string();
        [("HTTPS_PROXY", self.double.proxy()), ("SSL_CERT_FILE", authority), ("NO_PROXY", String::new())]
    }
}

fn packer(side: &Side) -> String {
    let out = Command::new(tool("packer"))
        .args(["build", "-color=false", "t.json"])
        .current_dir(side.t.context())
        .env("HOME", side.t.home())
        .env("PACKER_CACHE_DIR", side.t.root().join("cache"))
        .env("CHECKPOINT_DISABLE", "1")
        .envs(side.variables())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let log = side.server.log();
    assert!(out.status.success(), "{said}{}\n{:#?}\n{log}", String::from_utf8_lossy(&out.stderr), side.double.trace());
    said
}

/// The lines of a log that say what is done, without what is made up each time.
fn steps(said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.starts_with("==> node: ") || line.starts_with("    node: "));
    let plain = |line: &str| line.replace("temporary rsa", "temporary").replace("temporary ssh-ed25519", "temporary");
    lines.map(plain).collect()
}

#[test]
fn kiln_makes_what_packer_makes_with_no_more_calls() {
    let (theirs, ours) = (Side::new(), Side::new());
    let (they_said, we_said) = std::thread::scope(|scope| {
        let packer = scope.spawn(|| packer(&theirs));
        let state = ours.t.root().join("state").display().to_string();
        let mut kiln = ours.t.command(&["node", "build", "-color=false", "t.json"]);
        kiln.envs(ours.variables()).env("KILN_CLOUD_POLL", "0.01").env("KILN_STATE", state);
        let out = kiln.output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        (packer.join().unwrap(), said)
    });
    let made =
        ["instances.insert packer-*", "instances.delete packer-*", "images.insert node-1", "disks.delete packer-*"];
    assert_eq!(changes(&theirs.double), made);
    assert_eq!(changes(&ours.double), made);
    let (their_calls, our_calls) = (theirs.double.trace().len(), ours.double.trace().len());
    println!("packer: {their_calls} calls, kiln: {our_calls}");
    assert!(our_calls <= their_calls, "{:#?}\n{:#?}", ours.double.trace(), theirs.double.trace());
    for side in [&theirs, &ours] {
        assert!(side.double.left().is_empty(), "{:?}", side.double.left());
        assert_eq!(side.double.images(), ["node-1"]);
    }
    same_requests(&theirs.double, &ours.double);
    let ours_lines = steps(&we_said);
    // What Packer says of waiting for a script that there is not.
    let idle = ["startup script", "Startup script"];
    for line in steps(&they_said).iter().filter(|line| !idle.iter().any(|word| line.contains(word))) {
        let file = line.contains("Provisioning with shell script");
        assert!(file || ours_lines.contains(line), "Kiln does not say: {line}\n{we_said}");
    }
    assert!(we_said.contains("--> node: A disk image was created: node-1"), "{we_said}");
}

/// What both asked for, where they mean the same.
fn same_requests(theirs: &Compute, ours: &Compute) {
    let (a, b) = (&theirs.asked_instances()[0], &ours.asked_instances()[0]);
    for path in ["/machineType", "/tags/items", "/scheduling/onHostMaintenance", "/serviceAccounts", "/disks/0/boot"] {
        assert_eq!(a.pointer(path), b.pointer(path), "{path}");
    }
    let size =
        |v: &serde_json::Value| v.pointer("/disks/0/initializeParams/diskSizeGb").unwrap().as_str().unwrap().to_owned();
    assert_eq!((size(a), size(b)), ("12".to_owned(), "12".to_owned()));
    assert_eq!((&a["labels"]["team"], &b["labels"]["team"]), (&"infra".into(), &"infra".into()));
    let (a, b) = (theirs.image("node-1").unwrap(), ours.image("node-1").unwrap());
    for key in ["name", "family", "description", "sourceType", "storageLocations"] {
        assert_eq!(a[key], b[key], "{key}");
    }
    assert_eq!(b["labels"]["team"], "infra");
}
