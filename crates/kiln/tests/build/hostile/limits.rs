//! Too much of everything.

use kiln_testkit::layout::busybox_config;
use kiln_testkit::{Layout, Rootfs, TestContext, busybox_layer};

use super::bench;
use crate::Bench;

/// A tar of many empty files, compressed as it is made.
fn many(count: usize) -> Vec<u8> {
    let template = Rootfs::new().file("d/0000000", 0o644, "").tar()[..512].to_vec();
    let mut tar = Vec::with_capacity(count * 512 + 1024);
    for n in 0..count {
        let mut block = template.clone();
        block[..9].copy_from_slice(format!("d/{n:07}").as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&block);
    }
    tar.resize(tar.len() + 1024, 0);
    kiln_testkit::layout::gzip(&tar)
}

#[test]
fn a_hundred_thousand_entries() {
    let b = bench().args(&["--isolation=none"]);
    b.t.write("many.tar.gz", 0o644, many(100_000));
    let out = b.run("FROM scratch AS a\nADD many.tar.gz /\nFROM scratch\nCOPY --from=a /d/0099999 /last", &[]);
    assert!(out.code == 0, "{out}");
    assert!(crate::open(&b.t.store(), "t").has("last"));
}

#[test]
fn giant_lists_of_users() {
    let line = "someone:x:12345:12345:a user among very many:/home/someone:/bin/sh\n";
    let big = line.repeat((20 << 20) / line.len());
    let b = bench();
    for (path, owner) in [("etc/passwd", "someone:someone"), ("etc/group", "5:someone")] {
        let _ = std::fs::remove_dir_all(b.t.out("evil"));
        let layer = Rootfs::new().file(path, 0o644, &big).tar();
        Layout::new(b.t.out("evil")).image("evil", busybox_config(), &[busybox_layer(), layer]);
        let evil = format!("--build-context=evil=oci-layout://{}:evil", b.t.out("evil").display());
        for text in
            [format!("FROM evil\nUSER {owner}\nRUN true"), format!("FROM evil\nCOPY --chown={owner} Dockerfile /x")]
        {
            let out = b.run(&text, &[&evil]).exits(1);
            assert!(out.stderr.contains(path), "{out}");
        }
    }
}

#[test]
fn large_dockerfiles() {
    let b = bench().args(&["--isolation=none"]);
    let chain: String = (1..10_000).map(|n| format!("FROM s{} AS s{n}\n", n - 1)).collect();
    let _ = b.run(&format!("FROM scratch AS s0\n{chain}LABEL a=b\n"), &[]).ok();
    let fan: String = (0..10_000).map(|n| format!("FROM scratch AS s{n}\nLABEL n={n}\n")).collect();
    let _ = b.run(&fan, &["--target=s77"]).ok();
    let circle = b.run("FROM b AS a\nFROM a AS b\nFROM b AS a\n", &[]);
    assert!(circle.code != 0 && circle.stderr.contains("error: "), "{circle}");
    let longer = format!("FROM scratch\nLABEL a={}\n", "x".repeat(65 << 20));
    let said = b.fails(&longer, 1);
    assert!(said.contains("Dockerfile") && said.contains("more than 67108865 bytes"), "{said}");
}

/// Two builds that differ in where one input ends and the next begins are two builds.
#[test]
fn inputs_of_keys_do_not_run_into_each_other() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let b = Bench::with(t).file("ab", 0o644, "c").file("a", 0o644, "bc").args(&["--isolation=none"]);
    let keys = |text: &str| -> Vec<String> {
        let plan = b.run(text, &["--plan"]).ok().stdout;
        plan.lines()
            .filter(|l| l.starts_with('#'))
            .filter_map(|l| l.split_whitespace().nth(1))
            .map(str::to_owned)
            .collect()
    };
    let mut seen = std::collections::BTreeMap::new();
    for text in [
        "COPY ab /c",
        "COPY a /bc",
        "COPY a /b/c",
        "COPY a b* /c/",
        "COPY --chown=1:23 a /x",
        "COPY --chown=12:3 a /x",
        "COPY --chmod=0644 a /x",
        "COPY --exclude=a --exclude=b . /x/",
        "COPY --exclude=ab . /x/",
        "COPY --link a /x",
        "COPY <<A /x\nb\nA",
        "COPY <<A /x\nbb\nA",
        "COPY <<A /xb\n\nA",
        "RUN a bc",
        "RUN ab c",
        "RUN [\"a\", \"bc\"]",
        "RUN [\"ab\", \"c\"]",
        "RUN <<E\na\nE",
        "ENV A=bc\nRUN x",
        "ENV A=b C=\nRUN x",
        "ENV AB=c\nRUN x",
        "USER ab\nRUN x",
        "WORKDIR /ab\nRUN x",
        "RUN --network=none x",
        "RUN --mount=type=cache,target=/ab x",
        "RUN --mount=type=cache,target=/a,id=b x",
        "RUN --mount=type=tmpfs,target=/ab x",
        "RUN --mount=type=secret,id=ab x",
        "ARG D=bc\nRUN x",
        "ARG DB=c\nRUN x",
        "SHELL [\"ab\"]\nRUN x",
    ] {
        let last = keys(&format!("FROM busybox\n{text}\n")).pop().unwrap();
        if let Some(other) = seen.insert(last, text) {
            panic!("`{text}` has the key of `{other}`");
        }
    }
}

/// What a client sends may stop in the middle.
#[test]
fn a_context_that_is_cut_is_refused() {
    let b = bench();
    let whole =
        Rootfs::new().file("Dockerfile", 0o644, "FROM scratch\nCOPY f /\n").file("f", 0o644, "x".repeat(4000)).tar();
    let gz = kiln_testkit::layout::gzip(&whole);
    for cut in [&whole[..600], &whole[..1500], &gz[..gz.len() - 9], &gz[..40]] {
        let out = b.t.kiln_with_input(&["build", "-t", "t", "-"], cut);
        assert!(out.code == 1 && out.stderr.contains("error: "), "{out}");
    }
}
