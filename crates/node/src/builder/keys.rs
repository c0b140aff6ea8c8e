//! Which keys the builders of others have, so that a misspelt one in a template that is built offline is found.
//!
//! What of them says how a machine is made and reached means nothing offline; that it exists does. The tables are those of
//! Packer's plugins (qemu, googlecompute, alicloud); a test holds them against Debian's packer.

/// What all builders with a machine have: how it is reached.
const MACHINE: &[&str] = &[
    "communicator",
    "pause_before_connecting",
    "ssh_agent_auth",
    "ssh_bastion_agent_auth",
    "ssh_bastion_certificate_file",
    "ssh_bastion_host",
    "ssh_bastion_interactive",
    "ssh_bastion_password",
    "ssh_bastion_port",
    "ssh_bastion_private_key_file",
    "ssh_bastion_username",
    "ssh_certificate_file",
    "ssh_ciphers",
    "ssh_clear_authorized_keys",
    "ssh_disable_agent_forwarding",
    "ssh_file_transfer_method",
    "ssh_handshake_attempts",
    "ssh_host",
    "ssh_interface",
    "ssh_ip_version",
    "ssh_keep_alive_interval",
    "ssh_key_exchange_algorithms",
    "ssh_keypair_name",
    "ssh_local_tunnels",
    "ssh_password",
    "ssh_port",
    "ssh_private_key",
    "ssh_private_key_file",
    "ssh_proxy_host",
    "ssh_proxy_password",
    "ssh_proxy_port",
    "ssh_proxy_username",
    "ssh_pty",
    "ssh_public_key",
    "ssh_read_write_timeout",
    "ssh_remote_tunnels",
    "ssh_timeout",
    "ssh_username",
    "ssh_wait_timeout",
    "temporary_key_pair_bits",
    "temporary_key_pair_name",
    "temporary_key_pair_type",
    "winrm_host",
    "winrm_insecure",
    "winrm_no_proxy",
    "winrm_password",
    "winrm_port",
    "winrm_timeout",
    "winrm_use_ntlm",
    "winrm_use_ssl",
    "winrm_username",
];

const QEMU: &[&str] = &[
    "accelerator",
    "boot_command",
    "boot_key_interval",
    "boot_keygroup_interval",
    "boot_steps",
    "boot_wait",
    "cd_content",
    "cd_files",
    "cd_label",
    "cdrom_interface",
    "cores",
    "cpu_model",
    "cpus",
    "disable_vnc",
    "disk_additional_size",
    "disk_cache",
    "disk_compression",
    "disk_detect_zeroes",
    "disk_discard",
    "disk_image",
    "disk_interface",
    "disk_size",
    "display",
    "efi_boot",
    "efi_drop_efivars",
    "efi_firmware_code",
    "efi_firmware_vars",
    "firmware",
    "floppy_content",
    "floppy_dirs",
    "floppy_files",
    "floppy_label",
    "format",
    "headless",
    "host_port_max",
    "host_port_min",
    "http_bind_address",
    "http_content",
    "http_directory",
    "http_interface",
    "http_network_protocol",
    "http_port_max",
    "http_port_min",
    "iso_checksum",
    // Older templates; Packer's `fix` joins them to `iso_checksum`.
    "iso_checksum_type",
    "iso_checksum_url",
    "iso_skip_cache",
    "iso_target_extension",
    "iso_target_path",
    "iso_url",
    "iso_urls",
    "machine_type",
    "memory",
    "net_bridge",
    "net_device",
    "output_directory",
    "qemu_binary",
    "qemu_img_args",
    "qemuargs",
    "qmp_enable",
    "qmp_socket_path",
    "run_once",
    "shutdown_command",
    "shutdown_timeout",
    "skip_compaction",
    "skip_nat_mapping",
    "skip_resize_disk",
    "sockets",
    "ssh_host_port_max",
    "ssh_host_port_min",
    "threads",
    "tpm_device_type",
    "use_backing_file",
    "use_default_display",
    "use_pflash",
    "use_tpm1",
    "vga",
    "vm_name",
    "vnc_bind_address",
    "vnc_password",
    "vnc_port_max",
    "vnc_port_min",
    "vnc_use_password",
    "vtpm",
];

const ALICLOUD: &[&str] = &[
    "access_key",
    "associate_public_ip_address",
    "boot_mode",
    "custom_endpoint_ecs",
    "description",
    "disable_stop_instance",
    "ecs_ram_role_name",
    "eip_id",
    "force_stop_instance",
    "image_copy_names",
    "image_copy_regions",
    "image_description",
    "image_disk_mappings",
    "image_encrypted",
    "image_family",
    "image_force_delete",
    "image_force_delete_instances",
    "image_force_delete_snapshots",
    "image_ignore_data_disks",
    "image_name",
    "image_share_account",
    "image_unshare_account",
    "image_version",
    "instance_name",
    "instance_type",
    "internet_charge_type",
    "internet_max_bandwidth_out",
    "io_optimized",
    "kms_key_id",
    "kms_key_ids",
    "profile",
    "ram_role_arn",
    "ram_role_name",
    "ram_session_name",
    "region",
    "resource_group_id",
    "run_tags",
    "secret_key",
    "security_enhancement_strategy",
    "security_group_id",
    "security_group_name",
    // Kiln's own.
    "security_group_source_cidrs",
    "security_token",
    "shared_credentials_file",
    "skip_create_image",
    "skip_image_validation",
    "skip_region_validation",
    "source_image",
    "ssh_private_ip",
    "system_disk_mapping",
    "tag",
    "tags",
    "target_image_family",
    "user_data",
    "user_data_file",
    "vpc_cidr_block",
    "vpc_id",
    "vpc_name",
    "vswitch_id",
    "vswitch_name",
    "wait_copying_image_ready_timeout",
    "wait_snapshot_ready_timeout",
    "zone_id",
];

const GOOGLE: &[&str] = &[
    "accelerator_count",
    "accelerator_type",
    "access_token",
    "account_file",
    "address",
    "credentials_file",
    "credentials_json",
    "custom_endpoints",
    "delete_at",
    "deprecate_at",
    "disable_default_service_account",
    "disk_attachment",
    "disk_encryption_key",
    "disk_name",
    "disk_size",
    "disk_type",
    "enable_integrity_monitoring",
    "enable_nested_virtualization",
    "enable_secure_boot",
    "enable_vtpm",
    "iap_ext",
    "iap_hashbang",
    "iap_localhost_port",
    "iap_tunnel_launch_wait",
    "image_architecture",
    "image_description",
    "image_encryption_key",
    "image_family",
    "image_forbidden_signatures_db",
    "image_guest_os_features",
    "image_key_exchange_key",
    "image_labels",
    "image_licenses",
    "image_name",
    "image_platform_key",
    "image_project_id",
    "image_signatures_db",
    "image_storage_locations",
    "impersonate_service_account",
    "instance_name",
    "instance_termination_action",
    "labels",
    "machine_type",
    "max_retries",
    "max_run_duration_in_seconds",
    "metadata",
    "metadata_files",
    "min_cpu_platform",
    "network",
    "network_ip",
    "network_project_id",
    "node_affinity",
    "obsolete_at",
    "omit_external_ip",
    "on_host_maintenance",
    "oslogin_ssh_key_expire_after",
    "oslogin_ssh_username",
    "preemptible",
    "project_id",
    "provisioning_model",
    "region",
    "reservation_affinity",
    "resource_manager_tags",
    "scopes",
    "service_account_email",
    "skip_create_image",
    "source_image",
    "source_image_family",
    "source_image_project_id",
    "startup_script_file",
    "state_timeout",
    "subnetwork",
    "tags",
    "universe_domain",
    "use_iap",
    "use_internal_ip",
    "use_os_login",
    "vault_gcp_oauth_engine",
    "wait_to_add_ssh_keys",
    "windows_password_timeout",
    "wrap_startup_script",
    "zone",
];

/// Keys of the builder `kind` beside those of machines.
fn own(kind: &str) -> &'static [&'static str] {
    match kind {
        "qemu" => QEMU,
        "alicloud-ecs" => ALICLOUD,
        "googlecompute" => GOOGLE,
        _ => &[],
    }
}

/// All keys of the builder `kind`.
pub fn of(kind: &str) -> impl Iterator<Item = &'static str> {
    MACHINE.iter().chain(own(kind)).copied()
}

/// Whether the builder `kind` has this key.
pub fn known(kind: &str, key: &str) -> bool {
    of(kind).any(|known| known == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    /// What packer says of a source with these keys.
    fn asked(kind: &str, keys: &BTreeSet<String>) -> BTreeSet<String> {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = keys.iter().map(|key| format!("  {key} = null\n")).collect();
        let text = format!("source \"{kind}\" \"x\" {{\n{lines}}}\nbuild {{\n  sources = [\"source.{kind}.x\"]\n}}\n");
        std::fs::write(dir.path().join("k.pkr.hcl"), text).unwrap();
        let out = Command::new("packer")
            .args(["validate", "k.pkr.hcl"])
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .env("CHECKPOINT_DISABLE", "1")
            .output()
            .expect("`packer` cannot be run: install the package `packer` of Debian 12");
        // It breaks lines where they get long.
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat())
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let mut parts = said.split("An argument named \"").skip(1).filter(|part| part.contains("is not expected here"));
        parts.by_ref().filter_map(|part| part.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn packer_has_the_same_keys_but_for_what_came_later() {
        for (kind, later) in [
            ("qemu", &["boot_steps", "cores", "efi_boot", "http_content", "qemu_img_args", "vtpm"][..]),
            ("alicloud-ecs", &["boot_mode", "image_family", "run_tags", "eip_id"]),
            ("googlecompute", &["access_token", "credentials_file", "custom_endpoints", "network_ip"]),
        ] {
            let all: BTreeSet<String> = of(kind).map(str::to_owned).collect();
            assert_eq!(all.len(), of(kind).count(), "{kind}: a key is there twice");
            let odd: BTreeSet<String> = ["no_such_key".to_owned()].into();
            let missing = asked(kind, &all.union(&odd).cloned().collect());
            assert!(missing.contains("no_such_key"), "{kind}: {missing:?}");
            for key in later {
                assert!(missing.contains(*key) && known(kind, key), "{kind}: {key}");
            }
            // What Debian's version has is most of it.
            assert!(missing.len() < all.len() / 3, "{kind}: {missing:?}");
        }
        assert!(!known("qemu", "project_id") && known("googlecompute", "project_id") && known("qemu", "ssh_username"));
    }
}
