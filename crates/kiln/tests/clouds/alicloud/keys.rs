//! Keys of the template: what they come to in calls, and what is said of wrong ones.

use kiln_testkit::ecs::{Faults, REGION};

use super::Bench;

fn quick() -> Bench {
    Bench::with(Faults { pending: 0, ..Faults::default() })
}

#[test]
fn images_are_copied_shared_tagged_and_force_deleted() {
    let b = Bench::new();
    let old = b.double.add_image(REGION, "node-1");
    let out = b.build(
        r##", "image_force_delete": true, "image_force_delete_snapshots": true, "image_description": "a node",
           "image_copy_regions": ["cn-beijing", "eu-central-1"], "image_copy_names": ["node-beijing"],
           "image_share_account": ["1234567890123456"], "tags": {"team": "nodes"}, "run_tags": {"for": "building"},
           "target_image_family": "nodes", "boot_mode": "UEFI", "instance_name": "builder", "user_data": "#!/bin/sh\n",
           "system_disk_mapping": {"disk_size": 40, "disk_category": "cloud_essd"},
           "image_disk_mappings": [{"disk_size": 20, "disk_name": "data", "disk_delete_with_instance": true}]"##,
    );
    let out = out.ok().stdout;
    assert!(out.contains("Deleting duplicated image and snapshot in cn-hangzhou: node-1"), "{out}");
    let mut images: Vec<(String, String)> =
        b.double.images().into_iter().map(|(region, _, name)| (region, name)).collect();
    images.sort();
    let want = [("cn-beijing", "node-beijing"), (REGION, "node-1"), ("eu-central-1", "node-1")];
    assert_eq!(images, want.map(|(r, n)| (r.to_owned(), n.to_owned())));
    for (_, id, _) in b.double.images() {
        assert_ne!(id, old);
        assert_eq!(b.double.tags_of(&id), [("team".to_owned(), "nodes".to_owned())]);
        assert_eq!(b.double.shared_with(&id), ["1234567890123456"]);
    }
    let trace = b.double.trace();
    let run = trace.iter().find(|call| call.action == "RunInstances").unwrap();
    for (name, value) in [
        ("InstanceName", "builder"),
        ("SystemDisk.Size", "40"),
        ("SystemDisk.Category", "cloud_essd"),
        ("DataDisk.1.Size", "20"),
        ("DataDisk.1.DeleteWithInstance", "true"),
        ("IoOptimized", "optimized"),
        ("Tag.2.Key", "for"),
    ] {
        assert_eq!(run.parameter(name), Some(value), "{name}");
    }
    let create = trace.iter().find(|call| call.action == "CreateImage").unwrap();
    assert_eq!((create.parameter("BootMode"), create.parameter("ImageFamily")), (Some("UEFI"), Some("nodes")));
    b.is_clean();
}

#[test]
fn encrypted_images_are_copies_of_one_that_goes() {
    let b = quick();
    let out = b.build(
        r#", "image_encrypted": true, "kms_key_id": "key-1", "image_copy_regions": ["cn-beijing"], "kms_key_ids": ["key-2"],
           "image_ignore_data_disks": true"#,
    );
    let out = out.ok().stdout;
    assert!(
        out.contains("Creating snapshot from system disk: d-i-") && out.contains("Deleting temporary image: m-"),
        "{out}"
    );
    let keys: Vec<String> =
        b.double.trace().iter().filter_map(|call| call.parameter("KMSKeyId").map(str::to_owned)).collect();
    assert_eq!(keys, ["key-1", "key-2"]);
    let images = b.double.images();
    assert_eq!(images.len(), 2);
    assert!(images.iter().all(|(_, id, _)| b.double.is_encrypted(id)), "{images:?}");
    b.is_clean();
}

#[test]
fn what_is_there_already_is_used_and_stays() {
    let b = quick();
    let (vpc, vswitch, group) = b.double.add_network("cn-hangzhou-b");
    let more = format!(
        r#", "vpc_id": "{vpc}", "vswitch_id": "{vswitch}", "security_group_id": "{group}", "ssh_private_ip": true,
            "skip_region_validation": true, "skip_image_validation": true"#
    );
    let _ = b.build(&more).ok();
    let actions = b.actions();
    for absent in [
        "CreateVpc",
        "CreateVSwitch",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroup",
        "AllocateEipAddress",
        "DescribeRegions",
    ] {
        assert!(!actions.iter().any(|action| action == absent), "{absent}: {actions:?}");
    }
    assert!(b.double.trace().iter().any(|call| call.code.as_deref() == Some("DryRunOperation")));
    b.is_clean();
    // Only the network is there: a part of it is made where no other is.
    let b = quick();
    let (vpc, ..) = b.double.add_network("cn-hangzhou-b");
    let _ = b
        .build(&format!(
            r#", "vpc_id": "{vpc}", "security_group_source_cidrs": ["203.0.113.0/24"], "skip_create_image": true"#
        ))
        .ok();
    let part = b.double.trace().into_iter().find(|call| call.action == "CreateVSwitch").unwrap();
    assert_eq!(part.parameter("CidrBlock"), Some("10.1.1.0/24"));
    assert_eq!(b.double.rules(), [format!("tcp {0}/{0} 203.0.113.0/24", b.port)]);
    assert!(b.double.images().is_empty());
    b.is_clean();
}

#[test]
fn a_machine_in_the_place_of_the_right_one_is_refused() {
    let b = quick();
    // The machine does not heed what it is given.
    let server = b.server.clone();
    b.double.on_boot(move |boot| {
        server.lock().unwrap().write("keys/root", boot.public_key.as_deref().unwrap_or_default(), 0o644);
    });
    let said = b.fails("");
    assert!(said.contains("it was given a host key by its user data") && !said.contains("here\n"), "{said}");
    b.is_clean();
    let _ = b.build(r#", "ssh_strict_host_key_checking": "no""#).ok();
}

#[test]
fn mistakes_are_found_at_their_places_before_anything_is_made() {
    let b = quick();
    let cases = [
        (r#", "regoin": "x""#, "unknown key `regoin`"),
        (r#", "image_copy_regions": ["cn-beijin"]"#, "did you mean `cn-beijing`"),
        (r#", "zone_id": "cn-hangzhou-x""#, "there is no zone `cn-hangzhou-x`"),
        (r#", "zone_id": "cn-hangzhou-a""#, "they are in cn-hangzhou-b"),
        (r#", "boot_mode": "UEFI2""#, "none of BIOS, UEFI, UEFI-Preferred"),
        (r#", "image_share_account": ["me"]"#, "they are numbers"),
        (r#", "user_data": "x", "user_data_file": "y""#, "only one of user_data and user_data_file"),
        (r#", "image_family": "f""#, "either a source_image or an image_family"),
        (r#", "security_group_source_cidrs": ["here"]"#, "no address of IPv4"),
        (r#", "user_data": "Content-Type: multipart/mixed""#, "ssh_host_key"),
        (r#", "ssh_keypair_name": "mine""#, "ssh_private_key_file"),
        (r#", "vswitch_id": "vsw-none""#, "there is no vSwitch `vsw-none`"),
        (r#", "security_group_id": "sg-none""#, "there is no security group `sg-none`"),
        (r#", "communicator": "winrm""#, "`winrm` is not supported"),
        (r#", "run_tags": {"kiln-build": "x"}"#, "the tag `kiln-build` is Kiln's own"),
        (r#", "tags": {"kiln-build": "x"}"#, "the tag `kiln-build` is Kiln's own"),
        (r#", "tag": [{"key": "acs:x", "value": "y"}]"#, "ECS keeps such keys"),
        (r#", "kms_key_ids": ["a"]"#, "kms_key_ids has 1 entries for 0 regions"),
    ];
    for (more, words) in cases {
        let said = b.fails(more);
        assert!(said.contains(words), "{more}: {said}");
    }
    for (key, value, words) in [
        ("instance_type", "ecs.n1.larg", "did you mean `ecs.n1.large`"),
        ("source_image", "none", "No alicloud image was found"),
        ("region", "cn-hangzhu", "cn-hangzhu"),
        ("image_name", "two words", "no spaces"),
    ] {
        b.template("", "");
        let text = std::fs::read_to_string(b.t.context().join("t.json")).unwrap();
        let begin = text.find(&format!("\"{key}\": \"")).unwrap() + key.len() + 5;
        let end = begin + text[begin..].find('"').unwrap();
        b.t.write("t.json", 0o644, format!("{}{value}{}", &text[..begin], &text[end..]));
        let out = b.t.kiln(&["node", "build", "-color=false", "t.json"]).exits(1);
        let said = out.stdout + &out.stderr;
        assert!(said.contains(words), "{key}: {said}");
    }
    let old = b.double.add_image(REGION, "node-1");
    let said = b.fails("");
    assert!(said.contains("'node-1' already exists in cn-hangzhou") && said.contains(&old), "{said}");
    assert!(!b.double.trace().iter().any(kiln_testkit::ecs::Call::creates), "{:?}", b.actions());
}
