//! Mistakes in a template, each at its place, before anybody is asked.

use kiln_testkit::TestContext;

fn validated(more: &str) -> String {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let base =
        r#""project_id": "p", "zone": "europe-west1-b", "source_image_family": "debian-12", "ssh_username": "root""#;
    t.write("t.json", 0o644, format!("{{\"builders\": [{{\"type\": \"googlecompute\",\n{base},\n{more}}}]}}"));
    let out = t.kiln(&["node", "validate", "t.json"]);
    if out.code == 0 { "valid".to_owned() } else { out.stdout + &out.stderr }
}

#[test]
fn mistakes_are_told_at_their_places() {
    assert_eq!(validated(r#""image_name": "a-b""#), "valid");
    for (more, wanted) in [
        (r#""image_nam": "x""#, "did you mean `image_name`?"),
        (r#""image_name": "Not_A_Name""#, "invalid image name"),
        (r#""image_family": "-x""#, "cannot be a name"),
        (r#""access_token": "t", "credentials_json": "{}""#, "choose only one"),
        (r#""credentials_file": "/nowhere.json""#, "there is no such file"),
        (r#""impersonate_service_account": "nobody""#, "not the address of a service account"),
        (r#""custom_endpoints": {"computer": "https://x/"}"#, "did you mean `compute`?"),
        (r#""custom_endpoints": {"compute": "http://example.org/"}"#, "not https"),
        (r#""use_iap": true"#, "use_iap is not supported"),
        (r#""communicator": "winrm""#, "Windows"),
        (r#""vault_gcp_oauth_engine": "gcp/token/x""#, "vault_gcp_oauth_engine is not supported"),
        (r#""omit_external_ip": true"#, "'use_internal_ip' must be true"),
        (r#""preemptible": true, "on_host_maintenance": "MIGRATE""#, "must be TERMINATE"),
        (r#""on_host_maintenance": "MOVE""#, "none of MIGRATE, TERMINATE"),
        (r#""accelerator_count": 1"#, "'accelerator_type' must be set"),
        (r#""enable_integrity_monitoring": true"#, "vTPM"),
        (r#""labels": {"A": "b"}"#, "cannot be"),
        (r#""labels": {"kiln-build": "b"}"#, "Kiln's own"),
        (r#""image_storage_locations": ["eu", "us"]"#, "one only"),
        (r#""deprecate_at": "tomorrow""#, "is no time"),
        (r#""deprecate_at": "2001-01-01T00:00:00Z""#, "a time to come"),
        (r#""network_ip": "::1""#, "IPv4"),
        (r#""disk_size": 100000"#, "the largest disk has 65536"),
        (r#""disk_attachment": [{"volume_type": "pd-sd", "volume_size": 1}]"#, "did you mean `pd-ssd`?"),
        (r#""disk_attachment": [{"volume_type": "pd-ssd"}]"#, "`volume_size` is required"),
        (
            r#""disk_attachment": [{"volume_type": "scratch", "volume_size": 375, "keep_device": true}]"#,
            "cannot be kept",
        ),
        (r#""disk_encryption_key": {}"#, "either kmsKeyName or rawKey"),
        (r#""startup_script_file": "none.sh""#, "no such file"),
        (r#""service_account_email": "a@b", "disable_default_service_account": true"#, "may not specify"),
    ] {
        let said = validated(more);
        assert!(said.contains(wanted) && said.contains("t.json:3:"), "{more}: {said}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    for (keys, wanted) in [
        (r#""zone": "z-a""#, "`project_id` is required"),
        (r#""project_id": "p""#, "`zone` is required"),
        (r#""project_id": "p", "zone": "z-a""#, "`source_image_family` is required"),
    ] {
        t.write(
            "t.json",
            0o644,
            format!(r#"{{"builders": [{{"type": "googlecompute", "ssh_username": "u", {keys}}}]}}"#),
        );
        let out = t.kiln(&["node", "validate", "t.json"]).exits(1);
        let said = out.stdout + &out.stderr;
        assert!(said.contains(wanted), "{keys}: {said}");
    }
}
