//! RUN: what a command sees, what it leaves, and how it ends.

use kiln_testkit::{TestContext, tools};

use crate::Bench;

/// Whether the tests are on a rung without namespaces and rights.
fn bare() -> bool {
    std::env::var("KILN_TEST_RUNG").is_ok_and(|rung| rung.ends_with("emulated"))
}

#[test]
fn what_a_command_sees() {
    let b = Bench::new().args(&["--add-host=db:10.1.2.3", "--build-arg=HTTP_PROXY=http://p:1"]);
    let built = b.build(
        "FROM busybox\nARG A=arg\nENV E=env\nUSER app:staff\nWORKDIR /w\n\
         RUN id > id; pwd > pwd; env | sort > env; cat /etc/hosts > hosts; cat /proc/self/status > status; hostname > hostname",
    );
    assert_eq!(built.read("w/id"), "uid=1000(app) gid=50(staff) groups=50(staff)\n");
    assert_eq!(built.read("w/pwd"), "/w\n");
    let env = built.read("w/env");
    for line in ["A=arg", "E=env", "HOME=/home", "HTTP_PROXY=http://p:1", "http_proxy=http://p:1", "PWD=/w"] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    assert!(!env.contains("KILN") && !env.contains("TMPDIR"), "nothing of Kiln's own environment: {env}");
    assert!(built.read("w/hosts").contains("10.1.2.3\tdb"));
    assert_eq!(built.read("w/hostname"), "buildkitsandbox\n");
    // With one id the kernel sees root, whoever a command would be.
    let one_id = std::env::var("KILN_TEST_RUNG").is_ok_and(|rung| rung.ends_with("userns1"));
    assert!(one_id || built.read("w/status").contains("CapEff:\t0000000000000000"));
    assert!(!built.history().concat().contains("http://p:1"), "proxies are in no history");
    let root = b.build("FROM busybox\nRUN grep CapEff /proc/self/status > /caps");
    let held = if bare() { "0000000000000000" } else { "00000000a80425fb" };
    assert_eq!(root.read("caps"), format!("CapEff:\t{held}\n"), "the fourteen default capabilities");
}

#[test]
fn only_what_changed_is_in_the_layer() {
    let b = Bench::new();
    let layer = |text: &str| {
        b.build(&format!("FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /d/g\n{text}")).last_layer()
    };
    assert_eq!(layer("RUN true"), [""; 0]);
    assert_eq!(layer("RUN echo 3 > /d/e/n"), ["d", "d/e", "d/e/n"]);
    assert_eq!(layer("RUN rm /d/g"), ["d", "-d/g"]);
    assert_eq!(layer("RUN rm -r /d"), ["-d"]);
    assert_eq!(layer("RUN chmod 644 /d/g && mv /d/g /d/h && mv /d/h /d/g"), [""; 0]);
    assert_eq!(layer("RUN rm -r /d/e && mkdir /d/e && touch /d/e/new"), ["d", "d/e", "-d/e/f", "d/e/new"]);
    assert_eq!(layer("RUN rm -r /d/e && ln -s g /d/e"), ["d", "d/e"]);
    assert_eq!(layer("RUN chown 1 /d/g"), ["d", "d/g"]);
}

#[test]
fn nothing_of_the_surroundings_leaks_into_the_layer() {
    let b = Bench::new().file("ctx/f", 0o644, "F").file("token", 0o600, "s3cret").args(&["--secret=id=tok,src=token"]);
    let built = b.build(
        "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/sh\nCOPY --from=busybox /bin/busybox /busybox\n\
         RUN --mount=target=/ctx,source=ctx --mount=type=tmpfs,target=/t --mount=type=cache,target=/c --mount=type=secret,id=tok \
         /busybox cat /ctx/f /run/secrets/tok && /busybox touch /t/x /c/y && /busybox ls /etc/resolv.conf && echo done > /out",
    );
    assert_eq!(built.last_layer(), ["out"]);
}

#[test]
fn mounts() {
    let b = Bench::new()
        .file("ctx/f", 0o644, "F")
        .file("ctx/ignored", 0o644, "I")
        .file(".dockerignore", 0o644, "ctx/ignored")
        .file("token", 0o600, "s3cret\n")
        .env("TOK", "from-env")
        .args(&["--secret=id=tok,src=token", "--secret=id=env,env=TOK"]);
    let built = b.build(
        "FROM busybox AS other\nRUN echo other > /o\nFROM busybox\nWORKDIR /w\n\
         RUN --mount=target=/ctx,source=ctx ls -a /ctx > ctx; ! touch /ctx/new; true\n\
         RUN --mount=target=/ctx,source=ctx,rw echo discarded > /ctx/new && cat /ctx/new > rw\n\
         RUN --mount=from=other,target=/from cat /from/o > from\n\
         RUN --mount=from=other,source=/o,target=/one cat /one > one\n\
         RUN --mount=type=secret,id=tok,target=/s,mode=0440,uid=3,gid=4 stat -c '%a %u %g' /s > secret; wc -c < /s >> secret\n\
         RUN --mount=type=secret,id=env,env=VAR echo ${#VAR} > secretenv\n\
         RUN --mount=type=secret,id=absent ls /run/secrets > absent 2>&1 || true\n\
         RUN --mount=type=tmpfs,target=/tmp/t,size=1m df -k /tmp/t | tail -1 | awk '{print $2}' > tmpfs\n\
         RUN --mount=type=cache,target=/c,uid=5,mode=0700 stat -c '%a %u' /c > cache; echo kept > /c/k\n\
         RUN --mount=type=cache,target=/c cat /c/k >> cache\n\
         RUN --mount=type=cache,id=seeded,from=other,source=/,target=/c2 cat /c2/o > seeded",
    );
    assert_eq!(built.read("w/ctx"), ".\n..\nf\n");
    assert_eq!(built.read("w/rw"), "discarded\n");
    assert_eq!((built.read("w/from"), built.read("w/one")), ("other\n".into(), "other\n".into()));
    assert_eq!(built.read("w/secret"), "440 3 4\n7\n");
    assert_eq!(built.read("w/secretenv"), "8\n");
    assert!(built.read("w/absent").contains("No such file") || built.read("w/absent").is_empty());
    // Without mounts it is a directory.
    assert!(bare() || built.read("w/tmpfs") == "1024\n");
    assert_eq!(built.read("w/cache"), "700 5\nkept\n");
    assert_eq!(built.read("w/seeded"), "other\n");
    assert!(!built.has("ctx") && !built.has("from") && !built.has("s") && !built.has("c"));
}

#[test]
fn a_cache_that_starts_with_an_image_is_another_for_another_image() {
    let built = Bench::new().build(
        "FROM busybox AS one\nRUN echo 1 > /o\nFROM busybox AS two\nRUN echo 2 > /o\nFROM busybox\n\
         RUN --mount=type=cache,id=c,target=/c touch /c/empty\n\
         RUN --mount=type=cache,id=c,from=one,target=/c cat /c/o >> /seen; echo more >> /c/o\n\
         RUN --mount=type=cache,id=c,from=two,target=/c cat /c/o >> /seen\n\
         RUN --mount=type=cache,id=c,from=one,target=/c cat /c/o >> /seen\n\
         RUN --mount=type=cache,id=c,target=/c ls /c >> /seen",
    );
    assert_eq!(built.read("seen"), "1\n2\n1\nmore\nempty\n");
}

#[test]
fn memory_has_the_mode_of_the_directory_it_lies_on() {
    let built = Bench::new().build(
        "FROM busybox\nRUN mkdir -m 751 /d\n\
         RUN --mount=type=tmpfs,target=/d --mount=type=tmpfs,target=/new stat -c '%a' /d /new > /modes",
    );
    assert_eq!(built.read("modes"), "751\n1777\n");
}

#[test]
fn a_mount_may_hide_the_working_directory() {
    let b = Bench::new().file("ctx/f", 0o644, "F");
    let built = b.build(
        "FROM busybox\nWORKDIR /w/deep\nRUN --mount=type=tmpfs,target=/w pwd > /p; touch here\n\
         RUN --mount=target=/w,source=ctx,rw pwd >> /p; ls .. >> /p",
    );
    assert_eq!(built.read("p"), "/w/deep\n/w/deep\ndeep\nf\n");
    assert!(built.has("w/deep") && !built.has("w/deep/here"));
    if bare() {
        // What is mounted to be read is a copy there, thrown away with all that is written to it.
        let built = b.build("FROM busybox\nWORKDIR /w/deep\nRUN --mount=target=/w,source=ctx touch there");
        return assert!(built.has("w/deep") && !built.has("w/deep/there"));
    }
    let said = b.fails("FROM busybox\nWORKDIR /w/deep\nRUN --mount=target=/w,source=ctx pwd", 3);
    assert!(said.contains("/w/deep") && said.contains("Read-only file system"), "{said}");
}

#[test]
fn a_working_directory_that_only_holds_a_mount_leaves_no_trace() {
    let b = Bench::new();
    let gone = "FROM busybox\nUSER app\nWORKDIR /w/x/y\nUSER 0\nRUN cd / && rm -r /w\n";
    let mount = "RUN --mount=type=tmpfs,target=rel/t";
    let built = b.build(&format!("{gone}{mount} true"));
    assert_eq!(built.last_layer(), [""; 0]);
    assert!(!built.has("w"));
    assert_eq!(b.build(&format!("{gone}{mount} touch f")).last_layer(), ["w", "w/x", "w/x/y", "w/x/y/f"]);
    assert_eq!(b.build(&format!("{gone}RUN true")).last_layer(), ["w", "w/x", "w/x/y"]);
    // What the command puts in its place is the command's, and no way out.
    let outside = b.t.root().join("outside/y");
    std::fs::create_dir_all(&outside).unwrap();
    let link =
        format!("cd / && rmdir /w/x/y/rel /w/x/y /w/x; ln -s {} /w/x; true", outside.parent().unwrap().display());
    b.build(&format!("{gone}{mount} {link}"));
    assert!(outside.is_dir());
}

#[test]
fn secrets_are_nowhere_afterwards() {
    let b = Bench::new().file("token", 0o600, "hunter2-secret").args(&["--secret=id=tok,src=token"]);
    let out = b.run("FROM busybox\nRUN --mount=type=secret,id=tok test -s /run/secrets/tok", &[]).ok();
    let everywhere = b.t.tool("grep", &["-r", "-l", "hunter2-secret", b.t.store().to_str().unwrap()]);
    assert_eq!(everywhere.code, 1, "found in {}", everywhere.stdout);
    assert!(!out.stderr.contains("hunter2"));
}

#[test]
fn forms_of_commands() {
    let b = Bench::new();
    let built = b.build(
        "FROM busybox\nWORKDIR /w\nRUN echo \"a $HOME\" > shell\nRUN [\"sh\", \"-c\", \"echo exec > exec\"]\n\
         RUN <<EOF\necho one > doc\necho two >> doc\nEOF\nRUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"script\" }\nEOF\n\
         RUN cat <<A <<B > both\nfirst\nA\nsecond\nB\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo \\\n  continued > cont\n",
    );
    assert_eq!(built.read("w/shell"), "a /root\n");
    assert_eq!(built.read("w/exec"), "exec\n");
    assert_eq!(built.read("w/doc"), "one\ntwo\n");
    assert_eq!(built.read("w/script"), "awk\n");
    assert_eq!(built.read("w/both"), "second\n");
    assert_eq!(built.read("w/cont"), "continued\n");
}

#[test]
fn a_static_program_on_nothing() {
    let b = Bench::new();
    let built =
        b.build("FROM scratch\nCOPY --from=busybox /bin/busybox /busybox\nRUN [\"/busybox\", \"touch\", \"/made\"]");
    assert!(built.has("made"));
    assert_eq!(built.last_layer(), ["made"]);
}

#[test]
fn exit_codes_are_passed_on() {
    let b = Bench::new();
    let out = b.run("FROM busybox\nRUN echo some output; echo more >&2; exit 42\n", &[]).exits(42);
    assert!(out.stderr.contains("exit code 42") && out.stderr.contains("--> Dockerfile:2"), "{}", out.stderr);
    assert!(out.stderr.contains("some output") && out.stderr.contains("more"));
    assert!(b.fails("FROM busybox\nRUN nonesuch", 127).contains("not found"));
    assert!(b.fails("FROM busybox\nRUN [\"/etc/passwd\"]", 126).contains("/etc/passwd"));
    assert!(b.fails("FROM scratch\nRUN x", 127).contains("/bin/sh"));
    assert!(b.fails("FROM busybox\nRUN kill -9 $$", 137).contains("signal 9"));
    assert!(b.fails("FROM busybox\nUSER ghost\nRUN true", 1).contains("ghost"));
}

#[test]
fn networks() {
    let b = Bench::new();
    if bare() {
        let said = b.fails("FROM busybox\nRUN --network=none true", 3);
        return assert!(said.contains("isolation `emulated` cannot give a command without network"), "{said}");
    }
    let built = b.build("FROM busybox\nRUN --network=none ip -o link | wc -l > /n; ip addr show lo | grep -c 'inet 127' > /lo\nRUN --network=host ls /sys/class/net | wc -l > /h");
    assert_eq!(built.read("lo"), "1\n");
    assert_ne!(built.read("h"), "0\n");
    assert!(b.fails("FROM busybox\nRUN --network=none wget -q http://127.0.0.1:9/", 1).contains("exit code 1"));
}

#[test]
fn privileges_need_consent() {
    let b = Bench::new();
    assert!(b.fails("FROM busybox\nRUN --security=insecure true", 1).contains("--allow security.insecure"));
    if bare() {
        let said = b.run("FROM busybox\nRUN --security=insecure true", &["--allow=security.insecure"]).exits(3).stderr;
        return assert!(said.contains("isolation `emulated` cannot give a command with all rights"), "{said}");
    }
    let out = b.run(
        "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status && mount -t tmpfs x /tmp",
        &["--allow=security.insecure"],
    );
    let _ = out.ok();
    assert!(b.fails("FROM busybox\nRUN mount -t tmpfs x /tmp", 1).contains("exit code 1"));
}

#[test]
fn limits_hold() {
    let b = Bench::new().args(&["--memory=64m"]);
    let said = b.fails("FROM busybox\nRUN awk 'BEGIN { x = \"0123456789abcdef\"; while (1) x = x x }'", 137);
    assert!(said.contains("memory limit"), "{said}");
    let built = Bench::new()
        .args(&["--ulimit=nofile=100:200", "--shm-size=1m"])
        .build("FROM busybox\nRUN ulimit -n > /n; df -k /dev/shm | tail -1 | awk '{print $2}' > /s");
    assert_eq!((built.read("n"), built.read("s")), ("100\n".into(), "1024\n".into()));
}

#[test]
fn daemons_do_not_outlive_their_step() {
    let b = Bench::new();
    let built = b.build("FROM busybox\nRUN (sleep 1000 & echo $! > /pid)\nRUN ! kill -0 $(cat /pid) 2>/dev/null; ps | grep -c '[s]leep 1000' > /n || true");
    assert_eq!(built.read("n"), "0\n");
}

#[test]
fn an_agent_is_reachable_only_where_it_is_asked_for() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let socket = t.out("agent.sock");
    let mut agent = std::process::Command::new(tools::tool("ssh-agent"))
        .args(["-D", "-a", socket.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let up = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        socket.exists()
    });
    assert!(up, "ssh-agent does not start");
    let b = Bench::with(t).args(&[&format!("--ssh=default={}", socket.display())]);
    let built = b.build("FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /s\nRUN test -z \"$SSH_AUTH_SOCK\" && ! ls /run/buildkit");
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(built.read("s"), "/run/buildkit/ssh_agent.0\n");
    assert!(!built.has("run/buildkit"));
}
