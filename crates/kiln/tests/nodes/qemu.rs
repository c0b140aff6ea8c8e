//! The builder `qemu`: a small guest under qemu, without a hypervisor.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::TestContext;

use crate::guest::{self, Root};

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
fn a_machine_is_changed_rebooted_and_its_disk_comes_out() {
    let t = bench();
    t.write("hello.txt", 0o640, "hello from here\n");
    let provisioners = r#"
        {"type": "shell", "inline": ["echo made by $PACKER_BUILD_NAME >/etc/made", "cat /proc/sys/kernel/random/boot_id"]},
        {"type": "file", "source": "hello.txt", "destination": "/etc/hello.txt"},
        {"type": "shell", "inline": ["sync", "reboot -f", "sleep 100"], "expect_disconnect": true},
        {"type": "shell", "inline": ["cat /etc/made /proc/sys/kernel/random/boot_id", "rm -rf /var/x"]}"#;
    let keys = format!(
        r#", "ssh_clear_authorized_keys": true, "shutdown_command": "{}", "disk_compression": true"#,
        guest::POWEROFF
    );
    let more = r#", "post-processors": [{"type": "manifest"}]"#;
    t.write("t.json", 0o644, template(&keys, provisioners, more));
    let out = t.kiln(&["node", "build", "-builder", "qemu", "-color=false", "t.json"]).ok().stdout;
    for line in [
        "==> node: Retrieving ISO\n",
        "==> node: Starting VM, booting disk image\n",
        "==> node: Waiting for SSH to become available...\n",
        "==> node: Connected to SSH!\n",
        "==> node: Gracefully halting virtual machine...\n",
        "==> node: Converting hard drive...\n",
        "--> node: VM files in directory: output-node\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
    let boots: Vec<&str> = out.lines().filter(|l| l.len() == 46 && l.matches('-').count() == 4).collect();
    assert!(boots.len() == 2 && boots[0] != boots[1], "{out}");
    assert!(out.contains("    node: made by node\n"), "{out}");
    let disk = t.context().join("output-node/node.qcow2");
    let manifest = std::fs::read_to_string(t.context().join("packer-manifest.json")).unwrap();
    for part in [r#""builder_type": "qemu""#, r#""artifact_id": "VM""#, r#""name": "output-node/node.qcow2""#] {
        assert!(manifest.contains(part), "{manifest}");
    }
    let path = disk.to_str().unwrap();
    let info = t.tool("qemu-img", &["info", "--output=json", path]).ok().stdout;
    assert!(info.contains(r#""format": "qcow2""#) && !info.contains("backing-filename"), "{info}");
    let _ = t.tool("qemu-img", &["check", "-q", path]).ok();
    let root = Root::of(&disk);
    assert_eq!(root.read("/etc/made"), "made by node\n");
    assert_eq!(root.read("/etc/hello.txt"), "hello from here\n");
    assert_eq!(root.read("/root/.ssh/authorized_keys").trim(), "", "the temporary key is gone");
}

#[test]
fn a_guest_that_panics_ends_the_wait_with_what_it_said() {
    let t = bench();
    let keys = r#", "ssh_timeout": "10m", "cd_content": {"panic": "yes\n"}"#;
    let text = template("", "", "").replace(r#""ssh_timeout": "120s","#, "");
    let at = text.find(r#""cd_content""#).unwrap();
    let text = format!("{}{}}}], \"provisioners\": []}}", &text[..at], keys.trim_start_matches(", "));
    t.write("t.json", 0o644, text);
    let out = t.kiln(&["node", "build", "-builder", "qemu", "-color=false", "t.json"]).exits(1).stdout;
    assert!(out.contains("The machine will not answer: the guest's kernel panicked"), "{out}");
    assert!(out.contains("    | ") && out.contains("sysrq triggered crash"), "{out}");
    assert!(out.contains("==> node: Deleting output directory...\n"), "{out}");
    assert!(!t.context().join("output-node").exists());
}

/// A machine that boots from nothing, and that nobody logs in to.
fn silent(keys: &str, provisioners: &str, more: &str) -> String {
    format!(
        r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "iso_url": "empty.raw",
          "iso_checksum": "none", "communicator": "none", "accelerator": "tcg", "memory": 64, "disk_size": "2M"{keys}}}],
          "provisioners": [{provisioners}]{more}}}"#
    )
}

fn empty() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    t.write("empty.raw", 0o644, vec![0; 1 << 20]);
    t
}

/// Processes whose command line names a path.
fn running(path: &Path) -> usize {
    let named = |e: std::fs::DirEntry| std::fs::read(e.path().join("cmdline")).unwrap_or_default();
    let path = path.to_str().unwrap().as_bytes();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(named);
    all.filter(|line| line.starts_with(b"qemu") || line.windows(4).any(|w| w == b"qemu"))
        .filter(|line| line.windows(path.len()).any(|w| w == path))
        .count()
}

/// Absolute, so that it is found again among the processes of this machine.
fn with_directory(t: &TestContext, keys: &str) -> (String, std::path::PathBuf) {
    let dir = t.context().join("out");
    (format!(r#", "output_directory": "{}"{keys}"#, dir.display()), dir)
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_way_to_go_on_after_a_failure_with_a_machine() {
    let t = empty();
    let cleanup = r#", "error-cleanup-provisioner": {"type": "shell-local", "inline": ["echo cleaned >>cleaned"]}"#;
    let (keys, dir) = with_directory(&t, "");
    t.write("t.json", 0o644, silent(&keys, r#"{"type": "shell-local", "inline": ["exit 3"]}"#, cleanup));
    let cases = [
        ("cleanup", "", true, false),
        ("abort", "", false, true),
        ("run-cleanup-provisioner", "", true, true),
        ("ask", "r\nc\n", true, false),
        ("ask", "a\n", false, true),
    ];
    for (how, input, cleaned, left) in cases {
        let _ = std::fs::remove_dir_all(&dir);
        let _ = std::fs::remove_file(t.context().join("cleaned"));
        let out = t
            .kiln_with_input(
                &["node", "build", "-builder", "qemu", &format!("-on-error={how}"), "t.json"],
                input.as_bytes(),
            )
            .exits(1);
        let found = (t.context().join("cleaned").exists(), dir.join("packer-node").exists());
        assert_eq!(found, (cleaned, left), "{how} {input:?}:\n{}", out.stdout);
        assert_eq!(running(&dir), 0, "{how}: no machine is left");
        if left {
            // Its file was closed as it should be.
            let _ = t.tool("qemu-img", &["check", "-q", dir.join("packer-node").to_str().unwrap()]).ok();
        }
    }
}

#[test]
fn a_result_that_is_there_is_only_replaced_by_force() {
    let t = empty();
    let (keys, dir) = with_directory(&t, r#", "shutdown_timeout": "1s""#);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("precious"), "").unwrap();
    t.write("t.json", 0o644, silent(&keys, "", ""));
    let out = t.kiln(&["node", "build", "-builder", "qemu", "t.json"]).exits(1).stdout;
    assert!(out.contains("Output directory exists: ") && out.contains("-force"), "{out}");
    assert!(dir.join("precious").exists(), "what was there is left alone");
    t.write("t.json", 0o644, silent(&format!(r#", "output_directory": "{}""#, t.context().display()), "", ""));
    let out = t.kiln(&["node", "build", "-builder", "qemu", "-force", "t.json"]).exits(1).stdout;
    assert!(out.contains("has the template's own directory in it, and is not removed"), "{out}");
    t.write("t.json", 0o644, silent(&keys, "", ""));
    let out = t.kiln(&["node", "build", "-builder", "qemu", "-force", "t.json"]).exits(1).stdout;
    assert!(out.contains("Deleting previous output directory...") && !dir.exists(), "{out}");
    // It never ends by itself, and that is said with what is known of it.
    assert!(out.contains("Timeout while waiting for machine to shut down: it still runs after 1 second"), "{out}");
    assert!(out.contains("No bootable device") || out.contains("stayed silent"), "{out}");
}

#[test]
fn signals_end_the_machine() {
    let t = empty();
    let (keys, dir) = with_directory(&t, r#", "shutdown_timeout": "10m""#);
    t.write("t.json", 0o644, silent(&keys, "", ""));
    for (signal, left) in [("INT", false), ("TERM", false), ("KILL", true)] {
        let _ = std::fs::remove_dir_all(&dir);
        let mut child =
            t.command(&["node", "build", "-builder", "qemu", "t.json"]).stdout(Stdio::piped()).spawn().unwrap();
        eventually("the machine runs", || running(&dir) > 0);
        let id = child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(!status.success());
        eventually("no machine is left", || running(&dir) == 0);
        assert_eq!(dir.exists(), left, "{signal}");
    }
}

#[test]
fn what_cannot_be_had_is_said_before_a_machine_runs() {
    let t = empty();
    t.write("list", 0o644, "0123  other.raw\n");
    let cases = [
        (
            r#", "iso_checksum": "sha256:0000000000000000000000000000000000000000000000000000000000000000""#,
            "was asked for",
        ),
        (r#", "iso_checksum": "file:list""#, "the list has no sum for empty.raw"),
        (r#", "iso_url": "absent.raw""#, "cannot read absent.raw"),
        (r#", "iso_url": "http://127.0.0.1:9/x.qcow2""#, "http://127.0.0.1:9/x.qcow2"),
        (r#", "qemu_binary": "qemu-system-vax""#, "`qemu-system-vax` is not installed"),
        (r#", "disk_size": "1K""#, "it is not made smaller"),
        (r#", "qemuargs": [["-cpu", "no-such-cpu"]]"#, "unable to find CPU model 'no-such-cpu'"),
        (r#", "cd_content": {"../x": "y"}"#, "is no path on a disc"),
    ];
    for (keys, wanted) in cases {
        let key = keys.split('"').nth(1).unwrap();
        let base = silent("", "", "");
        // The template has each key once.
        let base = base.replace(
            r#""iso_checksum": "none", "#,
            if key == "iso_checksum" { "" } else { r#""iso_checksum": "none", "# },
        );
        let base = base
            .replace(r#""iso_url": "empty.raw","#, if key == "iso_url" { "" } else { r#""iso_url": "empty.raw","# });
        let base =
            base.replace(r#", "disk_size": "2M""#, if key == "disk_size" { "" } else { r#", "disk_size": "2M""# });
        t.write("t.json", 0o644, base.replace(r#""memory": 64"#, &format!(r#""memory": 64{keys}"#)));
        let out = t.kiln(&["node", "build", "-builder", "qemu", "-color=false", "t.json"]).exits(1);
        let said = out.stdout + &out.stderr;
        assert!(said.contains(wanted), "{keys}: {said}");
        assert!(!t.context().join("output-node").exists(), "{keys}: nothing is left");
    }
}

#[test]
fn mistakes_of_templates_have_their_place() {
    let t = empty();
    let cases = [
        (r#""disk_sise": "2M""#, "did you mean `disk_size`"),
        (r#""disk_cache": "fast""#, "is none of writethrough"),
        (r#""accelerator": "hax""#, "qemu has no HAXM any more"),
        (r#""format": "vmdk""#, "only 'qcow2' or 'raw' are allowed"),
        (r#""use_backing_file": true, "format": "raw""#, "use_backing_file can only be enabled for QCOW2"),
        (r#""disk_compression": true, "format": "raw""#, "cannot be compressed"),
        (r#""http_directory": "absent""#, "there is no such directory"),
        (r#""http_directory": ".", "http_content": {"/a": "b"}"#, "in conjunction with http_directory"),
        (r#""qemuargs": ["-m"]"#, "must be a list of lists of texts"),
        (r#""qemuargs": [["m", "1"]]"#, "is not an option of qemu"),
        (r#""cd_files": ["absent/*"]"#, "there is no such file"),
        (r#""vnc_port_min": 6000, "vnc_port_max": 5900"#, "vnc_port_min must be less than vnc_port_max"),
        (r#""host_port_min": 99999"#, "99999 is no port"),
        (r#""vm_name": "a/b""#, "cannot be the name of a file"),
        (r#""efi_firmware_vars": "empty.raw""#, "it needs efi_firmware_code"),
        (r#""boot_command": ["{{ .HTTPIP }}<wait>", "b<entr>"]"#, "boot command, character 1"),
        (r#""boot_command": ["a"], "boot_steps": [["b", "c"]]"#, "cannot both be given"),
        (r#""tpm_device_type": "tpm-tsi""#, "did you mean `tpm-tis`"),
        (r#""iso_skip_cache": true"#, "is checked first"),
        (r#""qmp_socket_path": "x""#, "Kiln's own"),
        (r#""cpus": 3, "sockets": 2"#, "cannot be arranged"),
        (r#""memory": 1"#, "from 10 MiB"),
        (r#""shutdown_timeout": "soon""#, "shutdown_timeout"),
        (r#""iso_urls": ["x"]"#, "only one of iso_url or iso_urls"),
        (r#""communicator": "ssh""#, "`ssh_username` is required"),
    ];
    for (keys, wanted) in cases {
        let text = silent("", "", "").replace(r#", "disk_size": "2M""#, &format!(",\n{keys}"));
        let text = if keys.contains("memory") { text.replace(r#", "memory": 64"#, "") } else { text };
        let text = if keys.contains("accelerator") { text.replace(r#" "accelerator": "tcg","#, "") } else { text };
        let text = if keys.contains("communicator") { text.replace(r#" "communicator": "none","#, "") } else { text };
        t.write("t.json", 0o644, text);
        let out = t.kiln(&["node", "validate", "t.json"]).exits(1);
        let said = out.stdout + &out.stderr;
        assert!(said.contains(wanted) && said.contains("t.json:"), "{keys}: {said}");
    }
}
