//! The same Dockerfile gives the same layers on every rung that can build it.

use crate::{Bench, open};

const EPOCH: &str = "1600000000";

/// Layer digests on a rung, in a store of its own.
fn layers(rung: &str, dockerfile: &str) -> Vec<String> {
    let b = Bench::on(rung)
        .file("ctx/a", 0o644, "A")
        .file("ctx/sub/b", 0o4755, "B")
        .file("token", 0o600, "t")
        .symlink("ctx/l", "a")
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .args(&["--rewrite-timestamp", "--secret=id=tok,src=token"]);
    let _ = b.run(dockerfile, &[]).ok();
    open(&b.t.store(), "t").manifest.layers.iter().map(|l| l.digest.to_string()).collect()
}

#[track_caller]
fn equal(rungs: &[&str], dockerfile: &str) {
    let all: Vec<Vec<String>> = std::thread::scope(|scope| {
        let running: Vec<_> = rungs.iter().map(|r| scope.spawn(move || layers(r, dockerfile))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
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
        equal(&["root", "userns", "userns1", "chroot", "emulated", "none", "plain-userns", "plain-none"], dockerfile);
    }
}

/// The rungs that can run commands: as root, and as a user without rights.
const ALL: [&str; 7] = ["root", "userns", "userns1", "chroot", "plain-emulated", "plain-userns", "plain-userns1"];

#[test]
fn with_commands_every_rung_is_equal_files_of_all_kinds() {
    equal(
        &ALL,
        "FROM busybox\nRUN mkdir -p /a/b && echo 1 > /a/b/f && ln /a/b/f /a/g && ln -s f /a/b/l && mkfifo /a/p && chmod 2755 /a && chown 5:6 /a/b/f\n\
         RUN echo 2 >> /a/g\nRUN rm /a/b/l && mv /a/b/f /a/b/h && rm /a/p\nRUN rm -rf /a/b && mkdir /a/b && echo n > /a/b/n\nRUN true\nRUN rm -rf /a",
    );
}

#[test]
fn with_commands_every_rung_is_equal_what_was_copied() {
    equal(
        &ALL,
        "FROM busybox\nCOPY ctx /srv\nRUN echo more >> /srv/a && rm /srv/l\nCOPY ctx/a /srv/again\nRUN ln /srv/again /srv/twice && chmod 600 /srv/again\nWORKDIR /srv/w\nRUN touch x",
    );
}

#[test]
fn with_commands_every_rung_is_equal_an_image_from_nothing() {
    equal(
        &ALL,
        "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN cat /etc/resolv.conf > /dev/null; echo hi > /f",
    );
}

#[test]
fn with_commands_every_rung_is_equal_mounts() {
    equal(
        &ALL,
        "FROM busybox\nRUN --mount=target=/ctx,source=ctx --mount=type=secret,id=tok --mount=type=cache,target=/var/c --mount=type=tmpfs,target=/t \
         cat /ctx/a /run/secrets/tok > /out && touch /var/c/x /t/y\nRUN --mount=from=busybox,source=/etc,target=/mnt/e cp /mnt/e/passwd /p",
    );
}

#[test]
fn with_commands_every_rung_is_equal_stages() {
    equal(
        &ALL,
        "FROM busybox AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b\nFROM a AS c\nRUN echo c > /c && rm /a\nFROM busybox\nCOPY --from=b / /fs-b\nCOPY --from=c /c /c\nRUN cat /c /fs-b/b > /both",
    );
}

#[test]
fn with_commands_every_rung_is_equal_users() {
    equal(
        &ALL,
        "FROM busybox\nUSER app\nWORKDIR /home/deep/er\nRUN touch mine && id -u > uid\nUSER 0\nRUN find / -xdev -user 1000 > /owned && dd if=/dev/zero of=/sparse bs=1 count=1 seek=100000 2>/dev/null",
    );
}

/// What only virtual owners have to do: users, groups of directories, devices, links.
#[test]
fn with_commands_every_rung_is_equal_owners() {
    equal(
        &["root", "userns1", "plain-userns1", "emulated", "plain-emulated"],
        "FROM busybox\nRUN mkdir -p /s /tmp && chown 0:50 /s && chmod 2775 /s && chmod 1777 /tmp && touch /s/f && mkdir /s/d && touch /s/d/g && ln -s f /s/l \
         && mkfifo /s/p && chown -h 7:8 /s/l && chown 9 /s/p && mv /s/l /s/l2 && mv /s/p /s/p2 && ln -s x /s/n && mv /s/f /f\n\
         RUN stat -c '%u %g %a %F' /s /s/* /f > /stat && rm /s/n && ln -s y /s/n && chown -h 0:0 /s/l2 && touch -h /s/p2\n\
         RUN su app -s /bin/sh -c 'id; touch /tmp/f; mkdir /tmp/d; ln -s x /tmp/l; echo > /tmp/d/g; chgrp 50 /tmp/f || echo no; chown 5 /tmp/f || echo no' > /id 2>&1\n\
         RUN cp -a /tmp /tmp2 && install -o app -g 50 -m 4755 /id /inst && chown 3 /inst && cat /s/f 2>/dev/null; tar cf /t.tar -C /tmp . && tar tvf /t.tar | awk '{print $1, $2, $6}' > /list && rm /t.tar\n\
         USER app:staff\nWORKDIR /home/w\nRUN id > id && touch f && mkdir d && ls -ln | awk '{print $1, $3, $4, $NF}' > /tmp/ls && chroot / true 2>/dev/null; true\n\
         USER 0\nRUN mknod /dev-null c 1 3 && mknod /dev-block b 8 1 && chmod 660 /dev-block && chown 0:6 /dev-block && stat -c '%F %t %T %a %g' /dev-null /dev-block > /nodes",
    );
}

#[test]
fn without_a_rung_a_command_is_a_clear_error() {
    let b = Bench::new().args(&["--isolation=none"]);
    let said = b.fails("FROM busybox\nRUN true", 1);
    assert!(said.contains("isolation") && said.contains("Dockerfile:2"), "{said}");
}

#[test]
fn the_rung_is_tried_only_for_commands_and_said() {
    let b = Bench::on("auto");
    let out = b.run("FROM scratch\nLABEL a=b", &["--progress=plain"]).ok();
    assert!(!out.stderr.contains("isolation"), "{out}");
    let out = b.run("FROM busybox\nRUN true", &["--progress=plain"]).ok();
    assert_eq!(out.stderr.matches("[internal] isolation root: ").count(), 1, "{out}");
    let table = b.t.kiln(&["doctor", "build"]).ok();
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|l| l.split_whitespace().take(2).collect()).collect();
    assert_eq!(
        rows,
        [
            ["root", "taken"],
            ["userns", "works"],
            ["userns1", "works"],
            ["chroot", "works"],
            ["emulated", "works"],
            ["none", "works"]
        ]
    );
    let json = b.t.kiln(&["doctor", "build", "--json"]).ok().json();
    assert_eq!(json[5]["taken"], true);
}

#[test]
fn a_plain_user_builds_and_removes_all_of_it() {
    let b = Bench::on("plain-userns");
    let built = b.build(
        "FROM busybox\nRUN mkdir -p /d/e && touch /d/e/f && chown -R 5:6 /d && chmod 0 /d/e && chmod 1777 /tmp\n\
         RUN rm -r /d && mkdir /d && id -u > /d/id\nUSER 1234:1234\nRUN cat /proc/self/status > /tmp/status; id -G > /tmp/groups",
    );
    assert!(built.read("tmp/status").contains("NoNewPrivs:\t0\nSeccomp:\t2"), "{}", built.read("tmp/status"));
    assert_eq!((built.read("d/id"), built.read("tmp/groups")), ("0\n".into(), "1234\n".into()));
    let _ = b.t.kiln(&["rmi", "t"]).ok();
    let _ = b.t.kiln(&["prune", "--all", "--force"]).ok();
    for dir in ["snapshots", "tmp"] {
        assert_eq!(std::fs::read_dir(b.t.store().join("kiln").join(dir)).unwrap().count(), 0, "{dir}");
    }
}

#[test]
fn an_id_outside_the_map_is_an_error_that_names_the_remedy() {
    let b = Bench::on("plain-userns");
    let said = b.fails("FROM busybox\nUSER 70000\nRUN true", 1);
    assert!(
        said.contains("70000") && said.contains("usermod --add-subuids") && said.contains("Dockerfile:3"),
        "{said}"
    );
    let said = b.fails("FROM busybox\nCOPY --chown=70000 Dockerfile /d\nRUN true", 3);
    assert!(said.contains("70000") && said.contains("usermod --add-subuids"), "{said}");
}

#[test]
fn what_is_missing_is_said() {
    let b = Bench::on("plain-userns1");
    let said = b.run("FROM busybox\nRUN true", &["--isolation=userns"]).exits(3).stderr;
    assert!(said.contains("/etc/subuid has no line for plain") && said.contains("usermod --add-subuids"), "{said}");
    let table = b.t.kiln(&["doctor", "build"]).ok().stdout;
    let row = |rung: &str| table.lines().find(|l| l.split_whitespace().next() == Some(rung)).unwrap().to_owned();
    assert!(row("root").contains("missing") && row("root").contains("unshare(CLONE_NEWPID"), "{table}");
    assert!(row("userns").contains("missing") && row("userns").contains("/etc/subuid"), "{table}");
    assert!(row("userns1").contains("taken"), "{table}");
    assert!(row("chroot").contains("missing") && row("chroot").contains("chroot(2)"), "{table}");
}
