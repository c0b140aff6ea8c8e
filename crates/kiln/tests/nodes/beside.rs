//! One template over one base, three times: by Debian's packer in a machine, by Kiln in a machine, and by Kiln without
//! one. What comes out is compared file by file.
//!
//! | may differ | because |
//! |---|---|
//! | times of files | each build runs when it runs; they are not compared |
//! | `/etc/dropbear/dropbear_*` | a guest makes its host keys when it is first connected to; without a machine nobody does |
//! | `/root/.ssh/authorized_keys` with a temporary key | not here: the template brings its own key |

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testkit::TestContext;
use kiln_testkit::tools::tool;

use crate::guest::{self, Root};

const SCRIPT: &str = "#!/bin/sh -e
echo \"$NAME $PACKER_BUILD_NAME\" >/etc/made
mkdir -p /srv/app /srv/none
chmod 2750 /srv/app
ln -s ../app/data.bin /srv/none/link
ln /etc/made /srv/app/second
chown 12:34 /srv/none
rm /etc/group
";

/// Everything that a template may say to all three, and where each writes.
fn template(base: &str, out: &str, more: &str) -> String {
    // Packer gives up where the machine's screen is not there yet, as on a busy machine.
    let wait = if out == "packer" { "15s" } else { "1s" };
    format!(
        r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "iso_url": "{base}", "iso_checksum": "none",
            "skip_resize_disk": true, "vm_name": "node.qcow2", "memory": 256, "accelerator": "tcg", "headless": true,
            "boot_wait": "{wait}", "output_directory": "{out}", "ssh_username": "root", "ssh_private_key_file": "key",
            "ssh_timeout": "5m", "shutdown_command": "{}"{more}}}],
            "provisioners": [
              {{"type": "shell", "script": "script.sh", "environment_vars": ["NAME=it's"]}},
              {{"type": "file", "source": "data.bin", "destination": "/srv/app/data.bin"}},
              {{"type": "file", "source": "tree", "destination": "/srv"}},
              {{"type": "shell", "inline": ["sync", "reboot -f", "sleep 100"], "expect_disconnect": true}},
              {{"type": "shell", "inline": ["cp /etc/made /etc/after", "test -f /srv/tree/sub/run.sh"]}}]}}"#,
        guest::POWEROFF
    )
}

#[test]
fn packer_and_both_builders_make_the_same_files() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(Duration::from_secs(1200));
    let key = t.context().join("key");
    let _ = t.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "all", "-f", key.to_str().unwrap()]).ok();
    let base = guest::disk_for(&t, &std::fs::read_to_string(key.with_extension("pub")).unwrap());
    let base = base.to_str().unwrap();
    t.write("data.bin", 0o600, (0..200_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
    std::fs::create_dir_all(t.context().join("tree/sub")).unwrap();
    t.write("tree/a.txt", 0o644, "a\n");
    t.write("tree/sub/run.sh", 0o755, "#!/bin/sh\necho run\n");
    t.write("script.sh", 0o644, SCRIPT);
    t.write("offline.json", 0o644, template(base, "offline", ""));
    t.write("kiln.json", 0o644, template(base, "kiln", ""));
    // Both look for free ports, but not at the same time for the same ones. Not so those of VNC: this Packer takes their
    // number from the first of its range, and qemu from 5900.
    let ports = r#", "host_port_min": 4500, "host_port_max": 4600"#;
    t.write("packer.json", 0o644, template(base, "packer", ports));

    let started = Instant::now();
    let build = |builder: &str, name: &str| t.kiln(&["node", "build", "-builder", builder, "-color=false", name]).ok();
    let without = build("offline", "offline.json").stdout;
    let offline_took = started.elapsed();
    // One processor for each machine.
    let (with, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| (packer(&t), started.elapsed()));
        let with = (build("qemu", "kiln.json").stdout, started.elapsed());
        (with, theirs.join().unwrap())
    });
    println!("{without}\n{}\n{}", with.0, theirs.0);
    println!("offline {offline_took:?}; with machines side by side: kiln {:?}, packer {:?}", with.1, theirs.1);

    let (offline, kiln, packer) = (files(&t, "offline"), files(&t, "kiln"), files(&t, "packer"));
    for wanted in ["srv/app/data.bin 600 0:0", "srv/tree/sub/run.sh 755 0:0", "srv/app 2750 0:0", "srv/none 755 12:34"]
    {
        assert!(packer.iter().any(|line| line.contains(wanted)), "{wanted}: {packer:#?}");
    }
    for (name, made) in [("with a machine", &kiln), ("without one", &offline)] {
        let missing: Vec<_> = packer.difference(made).collect();
        let more: Vec<_> = made.difference(&packer).collect();
        assert!(missing.is_empty() && more.is_empty(), "{name}: only by Packer: {missing:#?}\nonly by Kiln: {more:#?}");
    }
}

/// Builds with Debian's packer, and returns what it says.
#[track_caller]
fn packer(t: &TestContext) -> String {
    let out = Command::new(tool("packer"))
        .args(["build", "-color=false", "packer.json"])
        .current_dir(t.context())
        .env("HOME", t.home())
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

/// The files of a result, but those that each machine makes for itself.
fn files(t: &TestContext, name: &str) -> BTreeSet<String> {
    let own = |line: &String| line.trim_start_matches('/').starts_with("etc/dropbear/dropbear_");
    Root::of(&t.context().join(name).join("node.qcow2")).dump().into_iter().filter(|line| !own(line)).collect()
}
