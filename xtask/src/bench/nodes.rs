//! Node images: one template of Packer's, by Kiln without a machine and by Packer with one; and a disk of a Dockerfile.
//!
//! | workload | what | modes |
//! |---|---|---|
//! | n1 | a node from a Debian disk: a file, packages, system settings, a reboot, cleaning up | cold; changed: only the last script |
//! | n2 | the disk that n1 starts from, when every step of its Dockerfile is cached | cold |
//!
//! Packer's machine is emulated (`tcg`), since the processor's own virtualisation is not to be had everywhere; its share of
//! the ratio goes with it. Packages come through one caching proxy, which has them before anybody is measured: a build that
//! is not measured asks for them first. Kiln's store is a new one for each cold run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::measure::{self, Meter, Ran};
use super::proxy::Proxy;
use super::report::{Report, Run};
use super::told::Told;
use super::{Mode, content, row_of};
use crate::cargo;
use crate::error::Error;

/// The workloads of this module.
pub(super) const NAMES: [&str; 2] = ["n1", "n2"];

const PACKER: &str = "packer";
const KILN: &str = "kiln";

const DOCKERFILE: &str = "\
FROM debian:bookworm
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends \\
      linux-image-cloud-amd64 initramfs-tools zstd grub-common grub-pc-bin \\
      systemd-sysv dbus udev kmod openssh-server iproute2 ca-certificates
COPY dhcp.network /etc/systemd/network/20-dhcp.network
COPY key.pub /root/.ssh/authorized_keys
RUN systemctl enable systemd-networkd ssh && ssh-keygen -A && echo root:unused | chpasswd
";

const NETWORK: &str = "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n";
const SYSCTL: &str = "net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n";
const SETTINGS: &str = "#!/bin/sh -e\nprintf 'overlay\\nbr_netfilter\\n' > /etc/modules-load.d/kubernetes.conf\n\
    ln -sf /usr/share/zoneinfo/Asia/Shanghai /etc/localtime\n";
const PACKAGES: &str = "#!/bin/sh -e\nexport DEBIAN_FRONTEND=noninteractive http_proxy=$PACKAGES\napt-get update -q\n\
    apt-get install -qy --no-install-recommends containerd runc socat conntrack ebtables ethtool iptables\n";
const VERIFY: &str = "#!/bin/sh -e\ncommand -v containerd runc socat conntrack\ntest -f /etc/sysctl.d/99-node.conf\n";

/// What the measurements share.
pub(super) struct Nodes<'a> {
    /// Kiln's binary.
    pub(super) kiln: &'a Path,
    /// Tar of Debian's root file system.
    pub(super) base: &'a Path,
    /// Everything is below.
    pub(super) dir: &'a Path,
    /// Runs and watches.
    pub(super) meter: &'a Meter,
    /// Repetitions.
    pub(super) runs: u32,
    /// Whether Packer is measured too.
    pub(super) peers: bool,
}

impl Nodes<'_> {
    /// Measures the workloads of `names` that are of this module.
    pub(super) fn run(&self, names: &[&'static str], report: &mut Report) -> Result<(), Error> {
        let dir = self.dir.join("nodes");
        content::make(&dir)?;
        let proxy = Proxy::start(&dir.join("proxy"))?;
        self.write(&dir)?;
        let setup = dir.join("setup");
        eprintln!("nodes: making the disk to start from");
        self.meter.run(self.kiln(&setup).args(["import"]).arg(self.base).arg("debian:bookworm"), None)?;
        let disk = dir.join("base.qcow2");
        self.disk(&setup, &dir, &disk, &proxy)?;
        if names.contains(&"n1") {
            eprintln!("nodes: letting the proxy see what is installed");
            self.write_template(&dir, &disk, 0)?;
            self.meter.run(&mut self.offline(&setup, &dir, &proxy), None)?;
            remove(&dir.join("out"))?;
        }
        for run in 1..=self.runs {
            if names.contains(&"n2") {
                let again = dir.join("again.qcow2");
                let ran = self.disk(&setup, &dir, &again, &proxy);
                self.told(report, "n2", Mode::Cold, KILN, run, ran)?;
                let _ = fs::remove_file(again);
            }
            if names.contains(&"n1") {
                self.template(&dir, &disk, &proxy, run, report)?;
            }
        }
        drop(proxy);
        fs::remove_dir_all(&dir).map_err(|cause| Error::Write { path: dir, cause })
    }

    /// The context of the Dockerfile, the key to log in with, and the scripts of the template.
    fn write(&self, dir: &Path) -> Result<(), Error> {
        let context = dir.join("context");
        content::make(&context)?;
        let key = dir.join("key");
        let mut make = Command::new(kiln_testkit::tools::find("ssh-keygen").map_err(Error::MissingTool)?);
        measure::line(make.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(&key))?;
        let public = dir.join("key.pub");
        fs::copy(&public, context.join("key.pub")).map_err(|cause| Error::Write { path: public, cause })?;
        for (path, text) in [
            (context.join("Dockerfile"), DOCKERFILE),
            (context.join("dhcp.network"), NETWORK),
            (dir.join("sysctl.conf"), SYSCTL),
            (dir.join("settings.sh"), SETTINGS),
            (dir.join("packages.sh"), PACKAGES),
            (dir.join("verify.sh"), VERIFY),
        ] {
            content::write(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// The Dockerfile as a disk.
    fn disk(&self, store: &Path, dir: &Path, to: &Path, proxy: &Proxy) -> Result<Ran, Error> {
        let mut build = self.kiln(store);
        build.args(["build", "--build-arg", &format!("http_proxy={}", proxy.url()), "-o"]);
        build.arg(format!("type=disk,format=qcow2,size=4G,boot=bios,dest={}", to.display()));
        self.meter.run(build.arg(dir.join("context")), None)
    }

    /// One turn of both builders, each with nothing known and with another last script.
    fn template(&self, dir: &Path, disk: &Path, proxy: &Proxy, run: u32, report: &mut Report) -> Result<(), Error> {
        let (store, out) = (dir.join("store"), dir.join("out"));
        for mode in [Mode::Cold, Mode::Changed] {
            let template = self.write_template(dir, disk, if mode == Mode::Changed { run } else { 0 })?;
            let ran = self.meter.run(&mut self.offline(&store, dir, proxy), None);
            self.told(report, "n1", mode, KILN, run, ran)?;
            remove(&out)?;
            if self.peers {
                let mut build = Command::new(PACKER);
                // The machine sees the loopback of its host as 10.0.2.2.
                let packages = proxy.url().replace("127.0.0.1", "10.0.2.2");
                build.args(["build", "-var"]).arg(format!("packages={packages}")).arg(&template);
                build.env("CHECKPOINT_DISABLE", "1").env("HOME", dir).env("PACKER_CACHE_DIR", dir.join("packer"));
                let ran = self.meter.run(&mut build, None);
                self.told(report, "n1", mode, PACKER, run, ran)?;
                remove(&out)?;
            }
        }
        remove(&store)
    }

    /// The template with the last script of this number; where it is.
    fn write_template(&self, dir: &Path, disk: &Path, last: u32) -> Result<PathBuf, Error> {
        content::write(&dir.join("clean.sh"), clean(last).as_bytes())?;
        let path = dir.join("node.json");
        content::write(&path, template_text(dir, disk, &dir.join("out")).to_string().as_bytes())?;
        Ok(path)
    }

    /// Kiln's build of the template, without a machine.
    fn offline(&self, store: &Path, dir: &Path, proxy: &Proxy) -> Command {
        let mut build = self.kiln(store);
        build.args(["node", "build", "-builder", "offline", "-var"]).arg(format!("packages={}", proxy.url()));
        build.arg(dir.join("node.json"));
        build
    }

    fn kiln(&self, store: &Path) -> Command {
        let mut command = Command::new(self.kiln);
        command.env("KILN_STORE", store).env("NO_COLOR", "1").env("KILN_PROGRESS", "json");
        command
    }

    /// A row of the report, whether it went well or not.
    fn told(
        &self,
        report: &mut Report,
        workload: &'static str,
        mode: Mode,
        tool: &'static str,
        run: u32,
        ran: Result<Ran, Error>,
    ) -> Result<(), Error> {
        let runs = self.runs;
        let row = row_of(report, workload, mode, tool);
        match ran {
            Ok(ran) => {
                eprintln!("  {run}/{runs} {workload} {tool:8} {:8} {}", mode.name(), ran.cost);
                row.runs.push(Run { cost: ran.cost, told: Told::read(&ran.said) });
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(why) => {
                eprintln!("  {run}/{runs} {workload} {tool:8} {:8} failed: {why}", mode.name());
                row.failed = Some(format!("failed: {}", why.brief()));
            }
        }
        Ok(())
    }
}

/// The last script: what it says differs from run to run in the mode `changed`.
fn clean(n: u32) -> String {
    format!("#!/bin/sh -e\napt-get clean\nrm -rf /var/lib/apt/lists/*\necho {n} > /etc/node-release\n")
}

/// The template, for both.
fn template_text(dir: &Path, disk: &Path, out: &Path) -> serde_json::Value {
    let file = |name: &str| dir.join(name).display().to_string();
    json!({
        "variables": {"packages": ""},
        "builders": [{
            "type": "qemu", "vm_name": "node.qcow2", "format": "qcow2", "disk_image": true,
            "iso_url": format!("file://{}", disk.display()), "iso_checksum": "none", "skip_resize_disk": true,
            "output_directory": out.display().to_string(),
            "headless": true, "accelerator": "tcg", "machine_type": "q35", "cpus": 2, "memory": 1024,
            "net_device": "virtio-net", "disk_interface": "virtio", "qemuargs": [["-cpu", "max"]],
            "boot_wait": "5s", "ssh_username": "root", "ssh_private_key_file": file("key"), "ssh_timeout": "10m",
            "shutdown_command": "poweroff",
        }],
        "provisioners": [
            {"type": "file", "source": file("sysctl.conf"), "destination": "/etc/sysctl.d/99-node.conf"},
            {"type": "shell", "script": file("settings.sh")},
            {"type": "shell", "script": file("packages.sh"), "environment_vars": ["PACKAGES={{user `packages`}}"]},
            {"type": "shell", "inline": ["reboot"], "expect_disconnect": true},
            {"type": "shell", "script": file("verify.sh"), "pause_before": "5s"},
            {"type": "shell", "script": file("clean.sh")},
        ],
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Write { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

/// What Packer says of itself.
pub(super) fn packer_version() -> Result<String, Error> {
    kiln_testkit::tools::find(PACKER).map_err(Error::MissingTool)?;
    measure::line(Command::new(PACKER).arg("--version").env("CHECKPOINT_DISABLE", "1")).map(|v| format!("Packer {v}"))
}

/// The tar to start from, made if nobody gave one.
pub(super) fn base(given: Option<&Path>) -> Result<PathBuf, Error> {
    match given {
        Some(tar) => Ok(tar.to_owned()),
        None => Ok(measure::line(&mut Command::new(cargo::root().join("scripts/debian-base.sh")))?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_script_changes() {
        assert_ne!(clean(0), clean(1));
        let dir = Path::new("/d");
        let text = template_text(dir, &dir.join("b.qcow2"), &dir.join("out"));
        let scripts: Vec<_> = text["provisioners"].as_array().unwrap().iter().map(|p| p["script"].clone()).collect();
        assert_eq!(scripts.last().unwrap(), "/d/clean.sh");
        assert_eq!(text["builders"][0]["iso_url"], "file:///d/b.qcow2");
    }
}
