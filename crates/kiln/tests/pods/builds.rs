//! The same Dockerfile gives the same layers in every pod that can build it.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_oci::{Manifest, Reference};
use kiln_store::Store;
use kiln_testkit::{Auth, Layout, Output, Registry, TestContext, tools};

use crate::pod::Pod;
use crate::spec::{DEFAULT, OWN_USERS, RESTRICTED, Settings};

const EPOCH: &str = "1600000000";

/// Dockerfiles without commands: what every pod builds.
const WITHOUT_RUN: [&str; 2] = [
    "COPY sub /srv\nENV A=b\nWORKDIR /srv/x\nUSER app\nWORKDIR y\nCOPY --chown=app:staff a /home/\nADD --chmod=700 sub /z\nLABEL l=1",
    "COPY --link --chown=1234:5678 l sub /c/\nFROM scratch\nCOPY --from=0 /etc /etc\nCOPY --from=0 /bin/busybox /bin/\nCMD [\"/bin/busybox\"]",
];

/// Dockerfiles with commands.
const WITH_RUN: [&str; 6] = [
    // Users and what they own.
    "RUN echo dev:x:1234:1234::/home/dev:/bin/sh >> /etc/passwd && echo dev:x:1234: >> /etc/group && mkdir -p /home/dev/.ssh \
     && echo hi > /home/dev/f && chown -R dev:dev /home/dev && chmod 2750 /home/dev && chmod 700 /home/dev/.ssh\n\
     USER dev\nRUN id -u > /home/dev/uid && mkdir /home/dev/d && touch /home/dev/d/e\nWORKDIR /home/dev/w\nRUN echo x > here\n\
     USER 0\nRUN find / -xdev -user 1234 | sort > /owned",
    // All kinds of files, and their removal.
    "RUN mkdir -p /a/b && echo 1 > /a/b/f && ln /a/b/f /a/g && ln -s f /a/b/l && mkfifo /a/p && chmod 4755 /a/b/f && chown 5:6 /a/b/f\n\
     RUN echo 2 >> /a/g && chmod 1777 /tmp\nRUN rm /a/b/l && mv /a/b/f /a/b/h && rm /a/p\nRUN rm -rf /a/b && mkdir /a/b && echo n > /a/b/n\nRUN true\nRUN rm -rf /a",
    // Stages.
    "AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM a AS c\nRUN echo c > /c && rm /a\nFROM ${BASE}\nCOPY --from=b / /fs\nCOPY --from=c /c /c\nRUN cat /c /fs/b > /both",
    // Mounts.
    "AS base\nFROM base\nRUN --mount=target=/ctx,source=sub --mount=type=secret,id=tok --mount=type=cache,target=/var/c --mount=type=tmpfs,target=/t \
     cat /ctx/b /run/secrets/tok > /out && touch /var/c/x /t/y\nRUN --mount=type=cache,target=/var/c test -e /var/c/x && ls /var > /ls\n\
     RUN --mount=from=base,source=/etc,target=/mnt/e cp /mnt/e/passwd /p",
    // Attributes and devices, those of the base too.
    "RUN touch /u /k && /bin/attributes set /u /k\nRUN /bin/attributes get /u /k > /said && /bin/attributes get /base-u /base-k >> /said\n\
     RUN chmod 600 /base-k && chown 5:6 /null /base-u\nRUN rm /loop && cp /bin/busybox /capable && /bin/attributes set /capable /capable",
    // Nothing but what is copied.
    "AS base\nFROM scratch\nCOPY --from=base /bin/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN cat /etc/resolv.conf > /dev/null; echo hi > /f",
];

/// A program that sets and shows extended attributes: `user.kiln` of its second argument, capabilities of its third.
const ATTRIBUTES: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
int main(int argc, char **argv) {
    const unsigned capabilities[5] = {0x02000001, 1u << 10, 0, 0, 0};
    char value[64];
    if (argc != 4) return 2;
    if (!strcmp(argv[1], "set"))
        return setxattr(argv[2], "user.kiln", "fired", 5, 0) || setxattr(argv[3], "security.capability", capabilities, 20, 0);
    int length = getxattr(argv[2], "user.kiln", value, sizeof value);
    printf("%d %d\n", length, (int)getxattr(argv[3], "security.capability", value, sizeof value));
    return 0;
}
"#;

/// What all builds copy from, and are given.
fn fill(t: &TestContext) {
    t.write("a", 0o644, "A");
    t.write("sub/b", 0o4755, "B");
    t.write("token", 0o644, "t");
    if t.context().join("attributes").exists() {
        return;
    }
    std::os::unix::fs::symlink("a", t.context().join("l")).unwrap();
    let source = t.root().join("attributes.c");
    fs::write(&source, ATTRIBUTES).unwrap();
    let program = t.context().join("attributes");
    let built =
        Command::new(tools::tool("gcc")).args(["-static", "-O1", "-o"]).arg(&program).arg(&source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// A registry with the base image: busybox, devices, and files with attributes.
struct Base(Registry);

impl Base {
    fn new() -> Base {
        let registry = Registry::start(Auth::None);
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        fill(&t);
        Layout::busybox(t.out("busybox"));
        let text = "FROM busybox\nCOPY attributes /bin/\nRUN mknod -m 640 /null c 1 3 && mknod /loop b 7 0 \
             && touch /base-u /base-k && /bin/attributes set /base-u /base-k";
        t.write("Dockerfile", 0o644, text);
        let busybox = format!("--build-context=busybox=oci-layout://{}:busybox:latest", t.out("busybox").display());
        let name = registry.reference("base/busybox:latest");
        let _ = t.kiln(&["build", "--isolation=root", &busybox, "--push", "-t", &name, "."]).ok();
        Base(registry)
    }

    /// The options of a build of `text`, whose context is at `context`, as the image `name`.
    fn arguments(&self, t: &TestContext, text: &str, context: &str, name: &str, more: &[&str]) -> Vec<String> {
        let after = if text.starts_with("AS ") { " " } else { "\n" };
        t.write("Dockerfile", 0o644, format!("ARG BASE=scratch\nFROM ${{BASE}}{after}{text}"));
        let options = ["build", "--rewrite-timestamp", "--progress=plain", "-t", name];
        let mut arguments: Vec<String> = options.into_iter().chain(more.iter().copied()).map(str::to_owned).collect();
        arguments.push(format!("--build-arg=BASE={}", self.0.reference("base/busybox:latest")));
        arguments.push(format!("--secret=id=tok,src={context}/token"));
        arguments.push(context.to_owned());
        arguments
    }

    /// The layers on the rung `root` of the machine.
    fn expected(&self, text: &str) -> Vec<String> {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("SOURCE_DATE_EPOCH", EPOCH);
        fill(&t);
        let context = t.context();
        let arguments = self.arguments(&t, text, context.to_str().unwrap(), "t", &["--isolation=root"]);
        let _ = t.kiln(&arguments.iter().map(|a| &**a).collect::<Vec<_>>()).ok();
        layers(&t.store())
    }

    /// Builds in a pod; what it said.
    fn build(&self, pod: &Pod, text: &str, more: &[&str]) -> Output {
        self.build_as(pod, "t", text, more)
    }

    fn build_as(&self, pod: &Pod, name: &str, text: &str, more: &[&str]) -> Output {
        fill(&pod.t);
        let arguments = self.arguments(&pod.t, text, "/context", name, more);
        pod.kiln(&arguments.iter().map(|a| &**a).collect::<Vec<_>>())
    }
}

/// The digests of the layers of the image `t`.
fn layers(store: &Path) -> Vec<String> {
    let store = Store::open(store).unwrap();
    let name: Reference = "t".parse().unwrap();
    let root = store.get_ref(&name.to_string()).unwrap().expect("the image");
    let manifest: Manifest = serde_json::from_slice(&store.read_blob(&root.digest, 1 << 20).unwrap()).unwrap();
    manifest.layers.iter().map(|layer| layer.digest.to_string()).collect()
}

/// Builds all of it in a pod, on the rung it should have, and compares.
#[track_caller]
fn builds(settings: Settings, rung: &str) {
    let base = Base::new();
    let pod = Pod::new(settings).env("SOURCE_DATE_EPOCH", EPOCH);
    for text in WITH_RUN {
        let out = base.build(&pod, text, &[]).ok();
        assert!(out.stderr.contains(&format!("[internal] isolation {rung}: ")), "{out}");
        assert_eq!(layers(&pod.store()), base.expected(text), "{settings:?}\n{text}");
    }
    for text in WITHOUT_RUN {
        let _ = base.build(&pod, text, &[]).ok();
        assert_eq!(layers(&pod.store()), base.expected(text), "{settings:?}\n{text}");
    }
    let pushed = base.0.reference("made/in-pod:1");
    let _ = base.build_as(&pod, &pushed, WITHOUT_RUN[0], &["--push"]).ok();
    assert!(base.0.digest("made/in-pod:1").starts_with("sha256:"));
}

/// A command is an error that says where, and how to find out why.
#[test]
fn what_a_restricted_pod_cannot_have_is_said() {
    let (base, pod) = (Base::new(), Pod::new(RESTRICTED));
    let said = base.build(&pod, "RUN true", &["--isolation=none"]).exits(1).stderr;
    assert!(said.contains("RUN cannot be isolated here") && said.contains("Dockerfile:3"), "{said}");
    assert!(said.contains("hint: see what is missing: kiln doctor build"), "{said}");
    let said = base.build(&pod, "RUN true", &["--isolation=chroot"]).exits(3).stderr;
    assert!(said.contains("chroot(2): Operation not permitted") && said.contains("kiln doctor build"), "{said}");
}

#[test]
fn a_default_pod_builds_on_chroot() {
    builds(DEFAULT, "chroot");
}

#[test]
fn a_default_pod_with_a_read_only_root_builds_on_chroot() {
    builds(Settings { read_only: true, ..DEFAULT }, "chroot");
}

#[test]
fn a_restricted_pod_builds_on_emulated() {
    builds(RESTRICTED, "emulated");
}

#[test]
fn a_restricted_pod_with_a_read_only_root_builds_on_emulated() {
    builds(Settings { read_only: true, ..RESTRICTED }, "emulated");
}

#[test]
fn a_restricted_pod_with_the_profile_builds_on_userns1() {
    builds(Settings { localhost: true, read_only: true, ..RESTRICTED }, "userns1");
}

#[test]
fn a_default_pod_with_the_profile_builds_on_userns() {
    builds(Settings { localhost: true, ..DEFAULT }, "userns");
}

#[test]
fn a_pod_with_its_own_users_builds_on_chroot() {
    builds(OWN_USERS, "chroot");
}

#[test]
fn a_pod_with_its_own_users_and_rights_among_them_builds_on_userns() {
    builds(Settings { sys_admin: true, ..OWN_USERS }, "userns");
}
