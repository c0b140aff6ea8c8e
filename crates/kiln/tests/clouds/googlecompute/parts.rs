//! The parts of a template: disks, OS Login, keys that come late, what an image is to be, where the host key is known from.

use kiln_testkit::compute::{FAMILY, Faults};
use serde_json::Value;

use super::Bench;

const SCRIPT: &str = r#"{"type": "shell", "inline": ["echo provisioned", "echo $PACKER_BUILD_NAME"]}"#;

fn asked(b: &Bench) -> Value {
    b.double.asked_instances()[0].clone()
}

fn item<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    let items = body["metadata"]["items"].as_array().unwrap();
    items.iter().find(|item| item["key"] == key).and_then(|item| item["value"].as_str())
}

#[test]
fn everything_a_template_says_of_machine_and_image_arrives() {
    let b = Bench::new(Faults::default());
    let more = r#", "instance_name": "builder-1", "disk_name": "builder-disk", "disk_size": 30, "disk_type": "pd-ssd",
        "machine_type": "n2-standard-4", "labels": {"team": "infra"}, "tags": ["a", "b"],
        "network": "corp", "subnetwork": "corp-eu", "network_project_id": "net-project", "network_ip": "10.0.0.9",
        "address": "reserved", "metadata": {"color": "blue", "ssh-keys": "me:ssh-ed25519 AAAA me"},
        "preemptible": true, "max_run_duration_in_seconds": 3600, "instance_termination_action": "DELETE",
        "accelerator_type": "projects/p/zones/z/acceleratorTypes/t4", "accelerator_count": 1,
        "enable_nested_virtualization": true, "min_cpu_platform": "Intel Ice Lake",
        "enable_secure_boot": true, "enable_vtpm": true, "enable_integrity_monitoring": true,
        "node_affinity": [{"key": "workload", "operator": "IN", "values": ["packer"]}],
        "reservation_affinity": {"consume_reservation_type": "NO_RESERVATION"},
        "resource_manager_tags": {"tagKeys/1": "tagValues/2"},
        "service_account_email": "sa@kiln-test.iam.gserviceaccount.com", "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "image_family": "nodes", "image_description": "a node", "image_labels": {"tier": "gold"},
        "image_licenses": ["projects/vm-options/global/licenses/enable-vmx"], "image_guest_os_features": ["UEFI_COMPATIBLE", "GVNIC"],
        "image_storage_locations": ["eu"], "image_architecture": "x86_64", "disk_encryption_key": {"kmsKeyName": "k"},
        "image_encryption_key": {"rawKey": "c2VjcmV0"}, "deprecate_at": "2099-01-01T00:00:00Z""#;
    let said = b.ok(more, SCRIPT);
    assert!(
        said.contains("Requesting Shielded VM instance creation...") && said.contains("Image deprecation status set"),
        "{said}"
    );
    let body = asked(&b);
    let is = |path: &str, want: Value| assert_eq!(body.pointer(path), Some(&want), "{path}: {body:#}");
    is("/name", "builder-1".into());
    is("/disks/0/initializeParams/diskName", "builder-disk".into());
    is("/disks/0/initializeParams/diskType", "zones/europe-west1-b/diskTypes/pd-ssd".into());
    is("/disks/0/diskEncryptionKey/kmsKeyName", "k".into());
    is("/networkInterfaces/0/network", "projects/net-project/global/networks/corp".into());
    is("/networkInterfaces/0/subnetwork", "projects/net-project/regions/europe-west1/subnetworks/corp-eu".into());
    is("/scheduling/onHostMaintenance", "TERMINATE".into());
    is("/scheduling/maxRunDuration/seconds", "3600".into());
    is("/scheduling/instanceTerminationAction", "DELETE".into());
    is("/scheduling/nodeAffinities/0/key", "workload".into());
    is("/guestAccelerators/0/acceleratorCount", 1.into());
    is("/shieldedInstanceConfig/enableSecureBoot", true.into());
    is("/advancedMachineFeatures/enableNestedVirtualization", true.into());
    is("/minCpuPlatform", "Intel Ice Lake".into());
    is("/params/resourceManagerTags/tagKeys~11", "tagValues/2".into());
    is("/reservationAffinity/consumeReservationType", "NO_RESERVATION".into());
    is("/serviceAccounts/0/email", "sa@kiln-test.iam.gserviceaccount.com".into());
    is("/labels/team", "infra".into());
    let build = body["labels"]["kiln-build"].as_str().unwrap();
    assert_eq!(body["disks"][0]["initializeParams"]["labels"]["kiln-build"], build);
    let keys = item(&body, "ssh-keys").unwrap();
    assert!(keys.starts_with("root:ssh-ed25519 ") && keys.ends_with("\nme:ssh-ed25519 AAAA me"), "{keys}");
    assert!(!body.to_string().contains("PRIVATE KEY"));
    let image = b.double.image("node-1").unwrap();
    let is = |path: &str, want: Value| assert_eq!(image.pointer(path), Some(&want), "{path}: {image:#}");
    is("/family", "nodes".into());
    is("/labels/tier", "gold".into());
    is("/labels/kiln-image", build.into());
    is("/guestOsFeatures/1/type", "GVNIC".into());
    is("/storageLocations/0", "eu".into());
    is("/architecture", "X86_64".into());
    is("/imageEncryptionKey/rawKey", "c2VjcmV0".into());
    is("/deprecated/deprecated", "2099-01-01T00:00:00Z".into());
    assert_eq!(b.changes()[..3], ["instances.insert builder-1", "instances.delete builder-1", "images.insert node-1"]);
    b.nothing_left();
}

#[test]
fn names_that_are_taken_are_seen_before_anything_is_made() {
    let b = Bench::new(Faults::default());
    b.double.add_instance("builder-1");
    let said = b.fails(r#", "instance_name": "builder-1""#, SCRIPT);
    assert!(said.contains("The instance builder-1 already exists in europe-west1-b"), "{said}");
    assert!(b.changes().is_empty());
}

#[test]
fn further_disks_are_made_attached_and_deleted_or_kept() {
    let b = Bench::new(Faults::default());
    let more = r#", "disk_attachment": [
        {"volume_type": "pd-ssd", "volume_size": 10, "disk_name": "data-1", "device_name": "data"},
        {"volume_type": "pd_standard", "volume_size": 20, "disk_name": "kept-1", "keep_device": true},
        {"volume_type": "pd-balanced", "volume_size": 15, "disk_name": "wide-1", "replica_zones": ["europe-west1-c"], "create_image": true},
        {"volume_type": "scratch", "volume_size": 375, "interface_type": "NVME"}]"#;
    let said = b.ok(more, SCRIPT);
    assert!(
        said.contains("Keeping disk \"kept-1\"") && said.contains("Disk \"data-1\" successfully deleted"),
        "{said}"
    );
    let body = asked(&b);
    assert_eq!(body["disks"][1]["source"], "projects/kiln-test/zones/europe-west1-b/disks/data-1");
    assert_eq!(body["disks"][3]["source"], "projects/kiln-test/regions/europe-west1/disks/wide-1");
    assert_eq!((&body["disks"][4]["type"], &body["disks"][4]["interface"]), (&"SCRATCH".into(), &"NVME".into()));
    assert_eq!(b.double.image("node-1").unwrap()["sourceDisk"], "projects/kiln-test/regions/europe-west1/disks/wide-1");
    // One that stays is not Kiln's any more.
    assert_eq!(b.double.left(), ["projects/kiln-test/zones/europe-west1-b/disks/kept-1"]);
}

#[test]
fn os_login_has_the_key_while_the_build_runs() {
    let b = Bench::new(Faults { busy: 1, ..Faults::default() });
    let said = b.ok(r#", "use_os_login": true"#, SCRIPT);
    assert!(said.contains("Importing SSH public key for OSLogin...") && said.contains("provisioned"), "{said}");
    assert!(said.contains("SSH public key for OSLogin has been deleted!"), "{said}");
    let body = asked(&b);
    assert_eq!((item(&body, "enable-oslogin"), item(&body, "ssh-keys")), (Some("TRUE"), None));
    b.nothing_left();
}

#[test]
fn keys_that_come_late_are_written_over_nobody_elses_change() {
    let b = Bench::new(Faults { stale: 1, ..Faults::default() });
    let said = b.ok(r#", "wait_to_add_ssh_keys": "10ms""#, SCRIPT);
    assert!(said.contains("before adding SSH keys...") && said.contains("provisioned"), "{said}");
    assert_eq!(item(&asked(&b), "ssh-keys"), None);
    let written: Vec<u16> =
        b.double.trace().iter().filter(|c| c.action == "instances.setMetadata").map(|c| c.status).collect();
    assert_eq!(written, [412, 200]);
    b.nothing_left();
}

#[test]
fn the_host_key_is_taken_from_the_console_where_attributes_are_forbidden() {
    let b = Bench::new(Faults { closed: true, ..Faults::default() });
    let line = b.server.host_key.line();
    b.double.console(&format!("x\n-----BEGIN SSH HOST KEY KEYS-----\n{line}\n-----END SSH HOST KEY KEYS-----\n"));
    let said = b.ok(r#", "ssh_strict_host_key_checking": "yes""#, SCRIPT);
    assert!(said.contains("provisioned") && !said.contains("warning"), "{said}");

    b.double.console("");
    let strict = b.fails(r#", "image_name": "node-2", "ssh_strict_host_key_checking": "yes""#, SCRIPT);
    assert!(strict.contains("the machine published no host key"), "{strict}");
    b.nothing_left();
}

#[test]
fn a_startup_script_is_waited_for_and_an_image_may_be_left_out() {
    let b = Bench::new(Faults::default());
    b.t.write("start.sh", 0o644, "#!/bin/sh\necho started\n");
    let said = b.ok(r#", "startup_script_file": "start.sh", "skip_create_image": true"#, SCRIPT);
    assert!(
        said.contains("Startup script, if any, has finished running.") && said.contains("Skipping image creation..."),
        "{said}"
    );
    assert!(said.contains("Builds finished but no artifacts were created."), "{said}");
    let body = asked(&b);
    assert_eq!(item(&body, "kiln-startup-script"), Some("#!/bin/sh\necho started\n"));
    assert!(item(&body, "startup-script").unwrap().contains("guest-attributes"));
    assert!(b.double.images().is_empty());
    b.nothing_left();
}

#[test]
fn an_image_is_looked_for_where_it_is_likely() {
    let b = Bench::new(Faults::default());
    b.ok("", SCRIPT);
    let looked: Vec<String> =
        b.double.trace().into_iter().filter(|c| c.action == "images.getFromFamily").map(|c| c.line).collect();
    let at = |project: &str| format!("GET /compute/v1/projects/{project}/global/images/family/{FAMILY}");
    assert_eq!(looked, [at("kiln-test"), at("debian-cloud")]);
    let said = b.fails(r#", "image_name": "node-2", "source_image_project_id": ["a-project"]"#, SCRIPT);
    assert!(said.contains("image family debian-12: it is in none of a-project"), "{said}");
    assert!(said.contains("hint: name its project: source_image_project_id"), "{said}");
}
