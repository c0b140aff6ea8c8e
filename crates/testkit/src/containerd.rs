//! Debian's containerd, with all its state in a directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::{Output, run};
use crate::filter::Filters;
use crate::tools::tool;

/// A containerd that ends with the test.
pub struct Containerd {
    child: Child,
    dir: PathBuf,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Containerd {
    /// Starts it, and waits until it answers.
    pub fn start(dir: &Path) -> Containerd {
        let path = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            path("root"),
            path("state"),
            path("socket")
        );
        std::fs::write(dir.join("config.toml"), config).expect("containerd's configuration");
        let mut command = Command::new(tool("setpriv"));
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tool("containerd"))
            .arg("--config")
            .arg(dir.join("config.toml"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let containerd = Containerd { child: child.expect("start containerd"), dir: dir.to_path_buf() };
        for _ in 0..600 {
            if containerd.ctr(&["version"]).code == 0 {
                return containerd;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("containerd does not come up");
    }

    /// Runs ctr.
    pub fn ctr(&self, args: &[&str]) -> Output {
        let mut command = Command::new(tool("ctr"));
        command.arg("-a").arg(self.dir.join("socket")).args(args);
        run(command, b"", Duration::from_secs(120), &Filters::standard())
    }

    /// Makes a server the mirror of registries; the option of ctr that says so.
    pub fn mirror(&self, url: &str, registries: &[&str]) -> String {
        let hosts = self.dir.join("hosts");
        for registry in registries {
            std::fs::create_dir_all(hosts.join(registry)).expect("hosts of containerd");
            let text =
                format!("server = \"https://{registry}\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
            std::fs::write(hosts.join(registry).join("hosts.toml"), text).expect("hosts of containerd");
        }
        format!("--hosts-dir={}", hosts.display())
    }

    /// Whether it has an image with this digest under a name.
    pub fn has(&self, name: &str, digest: &str) -> bool {
        let listed = self.ctr(&["images", "ls"]).ok();
        listed.text().lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains(digest))
    }
}
