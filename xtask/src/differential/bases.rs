//! The images that generated Dockerfiles start from, in one OCI layout that both builders read.

use std::path::Path;

use kiln_oci::ImageConfig;
use kiln_oci::config::{ContainerConfig, Empty, Healthcheck};
use kiln_testkit::layout::busybox_config;
use kiln_testkit::{Layout, Rootfs, busybox_layer};
use tar::EntryType;

/// A base image: its name, and whether commands can run on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// As in `FROM`.
    pub(super) name: &'static str,
    /// It has a shell.
    pub(super) shell: bool,
    /// It has the tree that [`odd_tree`] makes.
    pub(super) odd: bool,
}

/// All of them; the first is the plain one.
pub(super) const BASES: [Base; 6] = [
    Base { name: "busybox", shell: true, odd: false },
    Base { name: "odd", shell: true, odd: true },
    Base { name: "full", shell: true, odd: true },
    Base { name: "trigger", shell: true, odd: true },
    Base { name: "files", shell: false, odd: true },
    Base { name: "scratch", shell: false, odd: false },
];

/// Writes the layout.
pub(super) fn write(dir: &Path) {
    let mut layout = Layout::new(dir);
    let busybox = busybox_layer();
    let config = |config: ContainerConfig| ImageConfig { config, ..busybox_config() };
    let plain = busybox_config().config;
    layout.image("busybox", busybox_config(), std::slice::from_ref(&busybox));
    layout.image("odd", busybox_config(), &[busybox.clone(), odd_tree(), odd_changes()]);
    layout.image("full", config(full(plain.clone())), &[busybox.clone(), odd_tree(), odd_changes()]);
    let triggers = [
        "RUN echo triggered > /triggered; pwd >> /triggered",
        "COPY a* /onbuild/",
        "ENV TRIGGER=$A",
        "ARG ONARG=fromtrigger",
        "WORKDIR onwork",
        "LABEL on=$ONARG",
    ];
    let on_build = triggers.map(str::to_owned).into();
    layout.image("trigger", config(ContainerConfig { on_build, ..plain }), &[busybox, odd_tree(), odd_changes()]);
    layout.image("files", config(ContainerConfig::default()), &[odd_tree(), odd_changes()]);
}

/// Options that give the names of [`BASES`] to images of the layout.
pub(super) fn options(dir: &Path) -> Vec<String> {
    let named = BASES.iter().filter(|b| b.name != "scratch");
    named.map(|b| format!("--build-context={0}=oci-layout://{1}:{0}", b.name, dir.display())).collect()
}

/// Everything a configuration can have.
fn full(plain: ContainerConfig) -> ContainerConfig {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let keys = |list: &[&str]| list.iter().map(|w| ((*w).to_owned(), Empty {})).collect();
    let env = ["A=base a", "EMPTY=", "B=x=y", "HOME=/base home"];
    ContainerConfig {
        user: "app".to_owned(),
        exposed_ports: keys(&["80/tcp", "53/udp"]),
        env: [plain.env, words(&env)].concat(),
        entrypoint: Some(words(&["/bin/sh", "-c"])),
        cmd: Some(words(&["echo base"])),
        healthcheck: Some(Healthcheck {
            test: words(&["CMD", "true"]),
            interval: Some(5_000_000_000),
            retries: Some(2),
            ..Healthcheck::default()
        }),
        volumes: keys(&["/vol"]),
        working_dir: "/work dir/".to_owned(),
        labels: [("base", "1"), ("a", "base")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        stop_signal: Some("SIGQUIT".to_owned()),
        shell: Some(words(&["/bin/busybox", "sh", "-c"])),
        ..plain
    }
}

/// `cap_net_bind_service=ep`, as the kernel keeps it (`vfs_cap_data`, revision 2).
pub(super) const NET_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Kinds of things that commands and COPY meet, below `/r`.
fn odd_tree() -> Vec<u8> {
    let owned = |root: Rootfs, path: &str, kind, mode, owner| root.entry(path, kind, mode, owner, None, b"");
    let root = Rootfs::new().dir("r", 0o755);
    let root = owned(root, "r/dir", EntryType::Directory, 0o750, (1000, 50));
    let root = root.owned_file("r/dir/file", 0o640, (1000, 50), "file\n").dir("r/dir/sub", 0o777);
    let root = root.file("r/dir/sub/deep", 0o4755, "deep\n").symlink("r/dir/sub/up", "../..");
    let root = root.symlink("r/dlink", "dir").symlink("r/abs", "/r/dir/sub").symlink("r/flink", "dir/file");
    let root = root.symlink("r/dangling", "nowhere/at/all").symlink("r/ghost", "nowhere").symlink("r/loop", "loop");
    let root = root.symlink("r/up", "../../../r/dir").file("r/hard1", 0o644, "hard\n").hardlink("r/hard2", "r/hard1");
    let root = root.file("r/suid", 0o6755, "suid\n").dir("r/sticky", 0o1777).dir("r/setgid", 0o2775);
    let root = owned(root, "r/pipe", EntryType::Fifo, 0o600, (0, 0));
    let root = root.dir("r/gone", 0o755).file("r/gone/x", 0o644, "x").file("r/gonefile", 0o644, "g");
    let root = root.dir("r/opaque", 0o755).file("r/opaque/old", 0o644, "old").dir("r/turned", 0o755);
    let root = root.xattr("security.capability", &NET_BIND).file("r/capable", 0o755, "capable\n");
    root.file("r/turned/child", 0o644, "c").file("r/back", 0o644, "file").dir("vol", 0o755).tar()
}

/// A layer above [`odd_tree`] that removes and replaces.
fn odd_changes() -> Vec<u8> {
    let root = Rootfs::new().dir("r", 0o755).whiteout("r/gone").whiteout("r/gonefile");
    let root = root.dir("r/opaque", 0o700).file("r/opaque/.wh..wh..opq", 0o644, "").file("r/opaque/new", 0o600, "new");
    root.file("r/turned", 0o644, "now a file").whiteout("r/back").dir("r/back", 0o711).tar()
}
