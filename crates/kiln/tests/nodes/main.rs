//! `kiln node` as a user runs it: a template and a root of busybox in, images and messages out.

#![expect(missing_docs, reason = "tests")]

mod beside;
mod boots;
mod btrfs;
mod cache;
mod disks;
mod failures;
mod fetched;
mod files;
mod guest;
mod hcl;
mod hosts;
mod microvm;
mod offline;
mod own;
mod points;
mod post;
mod preload;
mod qemu;
mod secrets;
mod ssh;
#[path = "../../../host/tests/it/sshd.rs"]
#[allow(dead_code, reason = "the server of kiln-host's own tests, of which these need less")]
mod sshd;
mod templates;
mod unikernel;
mod unikernel_dns;
mod verbs;
mod verify;
mod xfs;

use std::path::PathBuf;
use std::process::Command;

use kiln_testkit::rootfs::busybox_rootfs;
use kiln_testkit::{Output, Rootfs, TestContext};

/// A directory with `base.tar` beside the template: busybox, a kernel's modules, and a `systemctl` that says what it was
/// asked.
pub struct Node {
    pub t: TestContext,
}

impl Default for Node {
    fn default() -> Self {
        Node::new()
    }
}

impl Node {
    pub fn new() -> Node {
        Node::over(base())
    }

    pub fn over(root: Rootfs) -> Node {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        t.write("base.tar", 0o644, root.tar());
        Node { t }
    }

    pub fn file(self, path: &str, content: &str) -> Node {
        self.write(path, content);
        self
    }

    pub fn write(&self, path: &str, content: &str) {
        let parent = self.t.context().join(path);
        std::fs::create_dir_all(parent.parent().unwrap()).unwrap();
        self.t.write(path, 0o644, content);
    }

    /// Builds `t.json` offline over the base.
    pub fn build(&self, template: &str, more: &[&str]) -> Output {
        self.write("t.json", template);
        let mut args = vec!["node", "build", "-builder", "offline", "-base", "base.tar", "-color=false"];
        args.extend(more);
        args.push("t.json");
        self.t.kiln(&args)
    }

    /// The same with these provisioners, as the build `node`.
    pub fn provision(&self, provisioners: &str, more: &[&str]) -> Output {
        self.build(&template(provisioners, ""), more)
    }

    pub fn image(&self) -> PathBuf {
        self.t.context().join("output-node/packer-node.tar")
    }

    /// A file of the result.
    #[track_caller]
    pub fn content(&self, path: &str) -> String {
        let out = Command::new("tar").arg("-xOf").arg(self.image()).arg(path).output().unwrap();
        assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// What `tar -tv` says of the result.
    #[track_caller]
    pub fn listing(&self) -> String {
        let out = Command::new("tar").arg("-tvf").arg(self.image()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

/// A template with one build `node` of a builder that needs nothing.
pub fn template(provisioners: &str, more: &str) -> String {
    format!(r#"{{"builders": [{{"type": "offline", "name": "node"}}], "provisioners": [{provisioners}]{more}}}"#)
}

/// The busybox root with what nodes have, and a shell that looks for programs in `PATH`: that of busybox does not.
pub fn base() -> Rootfs {
    // What must never be called: a shim stands before it.
    let real = "#!/bin/sh\necho \"real $0 $*\" >&2\nexit 99\n";
    let host = |path: &str| std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    busybox_rootfs()
        .file("bin/dash", 0o755, host("/bin/dash"))
        .dir("lib/x86_64-linux-gnu", 0o755)
        .file("lib/x86_64-linux-gnu/libc.so.6", 0o755, host("/lib/x86_64-linux-gnu/libc.so.6"))
        .dir("lib64", 0o755)
        .file("lib64/ld-linux-x86-64.so.2", 0o755, host("/lib64/ld-linux-x86-64.so.2"))
        .symlink("bin/sh", "dash")
        .dir("etc/systemd", 0o755)
        .dir("usr/sbin", 0o755)
        .dir("usr/share", 0o755)
        .dir("usr/share/zoneinfo", 0o755)
        .dir("usr/share/zoneinfo/Asia", 0o755)
        .file("usr/share/zoneinfo/Asia/Shanghai", 0o644, "TZif-shanghai")
        .dir("lib", 0o755)
        .dir("lib/modules", 0o755)
        .dir("lib/modules/6.1.0-9-node", 0o755)
        .file("lib/modules/6.1.0-9-node/modules.dep", 0o644, "")
        .dir("lib/modules/6.1.0-21-node", 0o755)
        .file("lib/modules/6.1.0-21-node/modules.dep", 0o644, "")
        .file("usr/bin/systemctl", 0o755, "#!/bin/sh\necho \"systemctl $*\" >>/etc/systemd/asked\n")
        .file("usr/bin/timedatectl", 0o755, real)
        .file("usr/sbin/sysctl", 0o755, real)
        .file("usr/sbin/swapoff", 0o755, real)
        .file("usr/sbin/modprobe", 0o755, real)
        .file("usr/bin/chattr", 0o755, real)
        .file("usr/bin/sudo", 0o755, real)
        .file("etc/resolv.conf", 0o644, "nameserver 9.9.9.9\n")
        .file("etc/hosts", 0o644, "127.0.0.1 localhost\n")
        .file("etc/hostname", 0o644, "localhost\n")
        .file("etc/fstab", 0o644, "LABEL=root / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n")
}
