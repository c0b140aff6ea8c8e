//! The builder `qemu`: a small guest under qemu, without a hypervisor.

use kiln_testkit::TestContext;

use crate::guest;

/// A context with the guest's disk, and short ways for its machines.
fn bench() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let _ = guest::disk(&t);
    t
}

/// A template for the guest, with more keys of the builder and with provisioners.
fn template(keys: &str, provisioners: &str, more: &str) -> String {
    format!(
        r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "iso_url": "disk.qcow2",
          "iso_checksum": "none", "skip_resize_disk": true, "vm_name": "node.qcow2", "memory": 256,
          "accelerator": "tcg", "ssh_username": "root", "ssh_timeout": "120s",
          "cd_content": {{"authorized_keys": "{{{{ .SSHPublicKey }}}}\n"}}{keys}}}],
          "provisioners": [{provisioners}]{more}}}"#
    )
}

#[test]
fn a_machine_is_changed_and_its_disk_comes_out() {
    let t = bench();
    t.write("hello.txt", 0o640, "hello from here\n");
    let provisioners = r#"
        {"type": "shell", "inline": ["echo made by $PACKER_BUILD_NAME >/etc/made", "cat /proc/sys/kernel/random/boot_id"]},
        {"type": "file", "source": "hello.txt", "destination": "/etc/hello.txt"}"#;
    let keys = format!(r#", "shutdown_command": "{}""#, guest::POWEROFF);
    t.write("t.json", 0o644, template(&keys, provisioners, ""));
    let out = t.kiln(&["node", "build", "-color=false", "t.json"]).ok().stdout;
    println!("{out}");
}
