//! The template that Alibaba Cloud's own instructions have, unchanged but for the port of SSH, by Debian's packer and by
//! Kiln: the same things made and deleted, the same lines, fewer calls, and none of Packer's holes.

use std::process::Command;

use kiln_testkit::ecs::{ACCESS_KEY, Call, Faults, SECRET_KEY};
use kiln_testkit::tools::tool;

use super::Bench;

const SCRIPTS: [&str; 4] = ["config/default.sh", "scripts/updateDNS.sh", "scripts/reboot.sh", "scripts/verify.sh"];

/// What both say, in this order.
const LINES: [&str; 32] = [
    "==> alicloud-ecs: Prevalidating source region and copied regions...",
    "==> alicloud-ecs: Prevalidating image name...",
    "    alicloud-ecs: Found image ID: centos_7_06_64_20G_alibase_20190711.vhd",
    "==> alicloud-ecs: Creating temporary keypair: ",
    "==> alicloud-ecs: Creating vpc...",
    "    alicloud-ecs: Created vpc: vpc-",
    "==> alicloud-ecs: Creating vswitch...",
    "    alicloud-ecs: Created vswitch: vsw-",
    "==> alicloud-ecs: Creating security group...",
    "    alicloud-ecs: Created security group: sg-",
    "==> alicloud-ecs: Creating instance...",
    "    alicloud-ecs: Created instance: i-",
    "==> alicloud-ecs: Allocating eip...",
    "    alicloud-ecs: Allocated eip: 127.0.0.1",
    "    alicloud-ecs: Attach keypair ",
    "==> alicloud-ecs: Starting instance: i-",
    "==> alicloud-ecs: Using ssh communicator to connect: 127.0.0.1",
    "==> alicloud-ecs: Waiting for SSH to become available...",
    "==> alicloud-ecs: Connected to SSH!",
    "==> alicloud-ecs: Provisioning with shell script: scripts/verify.sh",
    "    alicloud-ecs: this is scripts/verify.sh",
    "==> alicloud-ecs: Stopping instance: i-",
    "==> alicloud-ecs: Waiting instance stopped: i-",
    "==> alicloud-ecs: Creating image: test_image",
    "    alicloud-ecs: Detach keypair ",
    "==> alicloud-ecs: Cleaning up 'EIP'",
    "==> alicloud-ecs: Cleaning up 'instance'",
    "==> alicloud-ecs: Cleaning up 'security group'",
    "==> alicloud-ecs: Cleaning up 'vSwitch'",
    "==> alicloud-ecs: Cleaning up 'VPC'",
    "==> alicloud-ecs: Deleting temporary keypair...",
    "--> alicloud-ecs: Alicloud images were created:\n\ncn-hangzhou: m-",
];

fn template(bench: &Bench) {
    for script in SCRIPTS {
        let path = bench.t.context().join(script);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        bench.t.write(script, 0o755, format!("#!/bin/sh\necho this is {script}\n"));
    }
    let text = r#"{
      "variables": {
        "region": "cn-hangzhou",
        "image_name": "test_image{{timestamp}}",
        "source_image": "centos_7_06_64_20G_alibase_20190711.vhd",
        "instance_type": "ecs.n1.large",
        "access_key": "{{env `ALICLOUD_ACCESS_KEY`}}",
        "secret_key": "{{env `ALICLOUD_SECRET_KEY`}}"
      },
      "builders": [
        {
          "type": "alicloud-ecs",
          "access_key": "{{user `access_key`}}",
          "secret_key": "{{user `secret_key`}}",
          "region": "{{user `region`}}",
          "image_name": "{{user `image_name`}}",
          "source_image": "{{user `source_image`}}",
          "ssh_username": "root",
          "instance_type": "{{user `instance_type`}}",
          "io_optimized": "true",
          "ssh_port": "PORT"
        }
      ],
      "provisioners": [
        {
          "type": "shell",
          "scripts": ["config/default.sh", "scripts/updateDNS.sh", "scripts/reboot.sh", "scripts/verify.sh"],
          "expect_disconnect": true
        }
      ]
    }"#;
    bench.t.write("alicloud.json", 0o644, text.replace("PORT", &bench.port.to_string()));
}

fn by_packer() -> (Bench, String) {
    let bench = Bench::with(Faults { pending: 0, ..Faults::default() });
    template(&bench);
    let out = Command::new(tool("packer"))
        .args(["build", "-color=false", "alicloud.json"])
        .current_dir(bench.t.context())
        .env("HOME", bench.t.home())
        .env("CHECKPOINT_DISABLE", "1")
        .env("ALICLOUD_ACCESS_KEY", ACCESS_KEY)
        .env("ALICLOUD_SECRET_KEY", SECRET_KEY)
        .env("HTTP_PROXY", bench.double.http())
        .env("NO_PROXY", "")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{text}\n{:#?}", bench.double.trace());
    (bench, text)
}

fn by_kiln() -> (Bench, String) {
    let bench = Bench::with(Faults { pending: 0, ..Faults::default() });
    template(&bench);
    let out = bench.t.kiln(&["node", "build", "-color=false", "alicloud.json"]);
    let text = String::from_utf8_lossy(&out.raw_stdout).into_owned();
    let _ = out.ok();
    (bench, text)
}

#[track_caller]
fn says_all(who: &str, text: &str) {
    let mut rest = text;
    for line in LINES {
        let Some(at) = rest.find(line) else { panic!("{who} does not say `{line}` where it should:\n{text}") };
        rest = &rest[at + line.len()..];
    }
}

fn kinds(trace: &[Call], which: impl Fn(&Call) -> bool) -> Vec<String> {
    let mut all: Vec<String> = trace.iter().filter(|call| which(call)).map(|call| call.resource.clone()).collect();
    all.sort();
    all
}

#[test]
fn both_complete_the_template_and_make_and_delete_the_same() {
    let ((packer, said), (kiln, told)) = (by_packer(), by_kiln());
    says_all("packer", &said);
    says_all("kiln", &told);
    let (theirs, ours) = (packer.double.trace(), kiln.double.trace());
    let list = |trace: &[Call]| trace.iter().map(|call| call.action.clone()).collect::<Vec<_>>().join(" ");
    println!("packer, {} calls: {}\nkiln, {} calls: {}", theirs.len(), list(&theirs), ours.len(), list(&ours));
    assert_eq!(kinds(&theirs, Call::creates), kinds(&ours, Call::creates));
    assert_eq!(kinds(&theirs, Call::deletes), kinds(&ours, Call::deletes));
    assert!(ours.len() <= theirs.len(), "{} calls, and Packer makes {}", ours.len(), theirs.len());
    assert!(ours.iter().chain(&theirs).all(|call| call.code.is_none()), "{ours:#?}");
    for bench in [&packer, &kiln] {
        bench.is_clean();
        assert_eq!(bench.double.images().len(), 1);
    }
    // Packer opens everything to everybody and is sent its private key.
    assert_eq!(packer.double.rules(), ["all -1/-1 0.0.0.0/0", "all -1/-1 0.0.0.0/0"]);
    assert_eq!(kiln.double.rules(), [format!("tcp {0}/{0} 127.0.0.1/32", kiln.port)]);
    let made = |trace: &[Call], action: &str| trace.iter().any(|call| call.action == action);
    assert!(made(&theirs, "CreateKeyPair") && made(&ours, "ImportKeyPair") && !made(&ours, "CreateKeyPair"));
}
