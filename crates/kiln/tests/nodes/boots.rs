//! The seed's template on a real Debian, without a machine, and the machines that then start from its disk: by BIOS and by
//! UEFI, to a login; and the image under it, on the other file systems.
//!
//! Processors are emulated, so that it is the same everywhere: a boot takes half a minute on two idle cores. These tests
//! run alone (`.config/nextest.toml`).

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::TestContext;
use kiln_testkit::tools::{debian_base, tool};

use crate::offline::SEED;

/// What of a machine's first start is waited for: far more than a slow one takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// No cloud is asked here: with an emulated processor that alone takes minutes.
const DEFAULT: &str = "#!/bin/bash
set -e
timedatectl set-timezone Asia/Shanghai
swapoff -a
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends cloud-init chrony
touch /etc/cloud/cloud-init.disabled
systemctl mask apt-daily.timer apt-daily-upgrade.timer
apt-get clean
rm -rf /var/lib/apt/lists/*
";
const DNS: &str = "#!/bin/bash
rm -f /etc/resolv.conf
printf 'nameserver 100.100.2.136\\nnameserver 100.100.2.138\\n' > /etc/resolv.conf
echo 'options timeout:2 attempts:3 rotate single-request-reopen' >> /etc/resolv.conf
chattr +i /etc/resolv.conf
";
const VERIFY: &str = "#!/bin/bash -e\nuname -r\nsystemctl --version\ncommand -v wget curl cloud-init\n";

/// Debian as an image `node`, with a key that logs in; beside the seed's template and its scripts.
fn debian() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(PATIENCE);
    let _ = t.kiln(&["import", debian_base().to_str().unwrap(), "debian:bookworm"]).ok();
    let key = t.out("key");
    let _ = t.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]).ok();
    let public = format!("SSH_KEY={}", std::fs::read_to_string(t.out("key.pub")).unwrap().trim());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/debian-node");
    let mut args = vec!["build", "-q", "-t", "node", "--build-arg", &public];
    let proxy = proxy();
    args.extend(proxy.iter().flat_map(|p| ["--build-arg", p]));
    args.push(example);
    let _ = t.kiln(&args).ok();
    for dir in ["config", "scripts"] {
        std::fs::create_dir(t.context().join(dir)).unwrap();
    }
    let exported = proxy.map_or(String::new(), |p| format!("export {p}\n"));
    t.write("config/default.sh", 0o755, DEFAULT.replacen("set -e\n", &format!("set -e\n{exported}"), 1));
    t.write("scripts/updateDNS.sh", 0o755, DNS);
    t.write("scripts/reboot.sh", 0o755, "#!/bin/bash\nreboot\n");
    t.write("scripts/verify.sh", 0o755, VERIFY);
    t.write("alicloud.json", 0o644, SEED);
    t
}

/// The proxy of this machine's package manager, as a variable.
fn proxy() -> Option<String> {
    let out = Command::new("apt-config").args(["dump", "--format", "%v%n", "Acquire::http::Proxy"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    (!text.is_empty() && text != "DIRECT").then(|| format!("http_proxy={text}"))
}

/// A machine that runs from a disk it does not change.
struct Machine {
    qemu: Child,
    port: u16,
    console: PathBuf,
    key: PathBuf,
}

impl Machine {
    fn start(t: &TestContext, disk: &Path, uefi: bool) -> Machine {
        let console = t.out(if uefi { "uefi.log" } else { "bios.log" });
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(tool("qemu-system-x86_64"));
        command.args("-M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nographic -snapshot".split(' '));
        command.arg("-drive").arg(format!("file={},format=qcow2,if=virtio", disk.display()));
        command.args(["-device", "virtio-rng-pci", "-nic"]);
        command.arg(format!("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22"));
        if uefi {
            let variables = t.out("vars.fd");
            std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
            command.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive"]);
            command.arg(format!("if=pflash,format=raw,file={}", variables.display()));
        }
        let log = File::create(&console).unwrap();
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        Machine { qemu: command.spawn().unwrap(), port, console, key: t.out("key") }
    }

    /// What a command in the machine says, as soon as it lets one in.
    fn run(&mut self, script: &str) -> String {
        let began = Instant::now();
        loop {
            let out = self.ssh().arg(script).output().unwrap();
            // ssh's own failures have this code.
            if out.status.code() != Some(255) {
                return String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            }
            let ended = self.qemu.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{ended:?}: {}", self.last_lines());
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new(tool("ssh"));
        command.args(["-q", "-p", &self.port.to_string(), "-i"]).arg(&self.key);
        for option in ["BatchMode=yes", "ConnectTimeout=10", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        {
            command.args(["-o", option]);
        }
        command.arg("root@127.0.0.1");
        command
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

#[test]
fn the_seeds_template_makes_a_debian_node_that_boots_by_bios_and_by_uefi() {
    let t = debian();
    let base = ["-builder", "offline", "-base", "docker-image://node", "-format", "qcow2"];
    let built = t.kiln(&[&["node", "build", "-color=false"], &base[..], &["alicloud.json"]].concat()).ok();
    assert!(built.stdout.contains("    alicloud-ecs: /usr/bin/cloud-init\n"), "{}", built.stdout);
    let disk = t.context().join("output-alicloud-ecs/node");
    let path = disk.to_str().unwrap();
    let checked = t.kiln(&["node", "verify", "-p", "ack", "-p", "kubeadm", path]).ok();
    assert!(checked.stdout.starts_with("PASS: disk "), "{}", checked.stdout);
    for uefi in [false, true] {
        let mut machine = Machine::start(&t, &disk, uefi);
        let said = machine.run(
            "test -d /sys/firmware/efi && echo by UEFI || echo by BIOS; date +%Z; cat /etc/resolv.conf; \
             lsattr /etc/resolv.conf; containerd --version",
        );
        for wanted in [if uefi { "by UEFI" } else { "by BIOS" }, "CST", "nameserver 100.100.2.136", "----i---", "1.6"] {
            assert!(said.contains(wanted), "no {wanted:?} in {said}");
        }
        let answer = machine.run("systemctl is-system-running --wait; systemctl --failed --no-legend");
        assert_eq!(answer, "running\n", "{}", machine.last_lines());
    }
    // The image as it is, on the other file systems.
    t.write("Dockerfile", 0o644, "FROM node\n");
    for (fs, boot) in [("xfs", "bios"), ("btrfs", "uefi")] {
        let disk = t.out(fs);
        let output = format!("type=disk,format=qcow2,size=4G,fs={fs},boot={boot},dest={}", disk.display());
        let _ = t.kiln(&["build", "-q", "-o", &output, "."]).ok();
        let mut machine = Machine::start(&t, &disk, boot == "uefi");
        let said = machine.run(
            "findmnt -no FSTYPE /; ls /etc/ssh/ssh_host_ed25519_key; echo kept > /root/new && sync && cat /root/new; \
             systemctl is-system-running --wait; systemctl --failed --no-legend",
        );
        let wanted = format!("{fs}\n/etc/ssh/ssh_host_ed25519_key\nkept\nrunning\n");
        assert_eq!(said, wanted, "{}", machine.last_lines());
    }
}
