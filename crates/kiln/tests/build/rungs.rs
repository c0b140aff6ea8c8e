//! The same Dockerfile gives the same layers on every rung that can build it.

use crate::{Bench, open};

const EPOCH: &str = "1600000000";

/// Layer digests on a rung, in a store of its own.
fn layers(rung: &str, dockerfile: &str) -> Vec<String> {
    let b = Bench::new()
        .file("ctx/a", 0o644, "A")
        .file("ctx/sub/b", 0o4755, "B")
        .file("token", 0o600, "t")
        .symlink("ctx/l", "a")
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .args(&["--rewrite-timestamp", "--secret=id=tok,src=token", &format!("--isolation={rung}")]);
    let _ = b.run(dockerfile, &[]).ok();
    open(&b.t.store(), "t").manifest.layers.iter().map(|l| l.digest.to_string()).collect()
}

#[track_caller]
fn equal(rungs: &[&str], dockerfile: &str) {
    let all: Vec<Vec<String>> = rungs.iter().map(|r| layers(r, dockerfile)).collect();
    for (rung, found) in rungs.iter().zip(&all) {
        assert_eq!(*found, all[0], "{rung} differs from {} for\n{dockerfile}", rungs[0]);
    }
}

#[test]
fn without_commands_every_rung_is_equal() {
    for dockerfile in [
        "FROM busybox\nCOPY ctx /srv\nWORKDIR /srv/x\nUSER app\nWORKDIR y\nCOPY --chown=app:staff ctx/a /home/\nADD --chmod=700 ctx /z",
        "FROM busybox AS b\nFROM scratch\nCOPY --from=b /etc /etc\nCOPY --from=b /bin/busybox /bin/\nCOPY --link ctx /c",
    ] {
        equal(&["root", "chroot", "none"], dockerfile);
    }
}

#[test]
fn with_commands_root_and_chroot_are_equal() {
    for dockerfile in [
        "FROM busybox\nRUN mkdir -p /a/b && echo 1 > /a/b/f && ln /a/b/f /a/g && ln -s f /a/b/l && mkfifo /a/p && chmod 2755 /a && chown 5:6 /a/b/f\n\
         RUN echo 2 >> /a/g\nRUN rm /a/b/l && mv /a/b/f /a/b/h && rm /a/p\nRUN rm -rf /a/b && mkdir /a/b && echo n > /a/b/n\nRUN true\nRUN rm -rf /a",
        "FROM busybox\nCOPY ctx /srv\nRUN echo more >> /srv/a && rm /srv/l\nCOPY ctx/a /srv/again\nRUN ln /srv/again /srv/twice && chmod 600 /srv/again\nWORKDIR /srv/w\nRUN touch x",
        "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN cat /etc/resolv.conf > /dev/null; echo hi > /f",
        "FROM busybox\nRUN --mount=target=/ctx,source=ctx --mount=type=secret,id=tok --mount=type=cache,target=/var/c --mount=type=tmpfs,target=/t \
         cat /ctx/a /run/secrets/tok > /out && touch /var/c/x /t/y\nRUN --mount=from=busybox,source=/etc,target=/mnt/e cp /mnt/e/passwd /p",
        "FROM busybox AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM a AS c\nRUN echo c > /c && rm /a\nFROM busybox\nCOPY --from=b / /fs-b\nCOPY --from=c /c /c\nRUN cat /c /fs-b/b > /both",
        "FROM busybox\nUSER app\nWORKDIR /home/deep/er\nRUN touch mine && id -u > uid\nUSER 0\nRUN find / -xdev -user 1000 > /owned && dd if=/dev/zero of=/sparse bs=1 count=1 seek=100000 2>/dev/null",
    ] {
        equal(&["root", "chroot"], dockerfile);
    }
}

#[test]
fn without_a_rung_a_command_is_a_clear_error() {
    let b = Bench::new().args(&["--isolation=none"]);
    let said = b.fails("FROM busybox\nRUN true", 1);
    assert!(said.contains("isolation") && said.contains("Dockerfile:2"), "{said}");
}

#[test]
fn the_rung_is_tried_only_for_commands_and_said() {
    let b = Bench::new();
    let out = b.run("FROM scratch\nLABEL a=b", &["--progress=plain"]).ok();
    assert!(!out.stderr.contains("isolation"), "{out}");
    let out = b.run("FROM busybox\nRUN true", &["--progress=plain"]).ok();
    assert_eq!(out.stderr.matches("[internal] isolation root: ").count(), 1, "{out}");
    let table = b.t.kiln(&["doctor", "build"]).ok();
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|l| l.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["root", "taken"], ["chroot", "works"], ["none", "works"]]);
    let json = b.t.kiln(&["doctor", "build", "--json"]).ok().json();
    assert_eq!(json[2]["taken"], true);
}
