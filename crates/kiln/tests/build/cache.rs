//! What is done again, and what is not.

use crate::Bench;

/// The titles of steps that ran, as the event stream tells.
fn ran(b: &Bench, dockerfile: &str, more: &[&str]) -> Vec<String> {
    let mut args = vec!["--progress=json"];
    args.extend(more);
    let out = b.run(dockerfile, &args).ok();
    let lines = String::from_utf8(out.raw_stderr).unwrap();
    let events =
        lines.lines().filter(|l| l.starts_with('{')).map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let ran = events.filter(|e| e["event"] == "step-done" && e["done"] == "ran");
    let titles = ran.map(|e| e["title"].as_str().unwrap().to_owned()).filter(|t| !t.starts_with("FROM "));
    titles.map(|t| t.split_once("] ").map_or(t.clone(), |(_, rest)| rest.to_owned())).collect()
}

#[test]
fn unchanged_steps_are_not_done_again() {
    let b = Bench::new().file("f", 0o644, "1").file("g", 0o644, "1");
    let text = "FROM busybox\nCOPY f /f\nRUN cat /f\nCOPY g /g\nRUN cat /g";
    assert_eq!(ran(&b, text, &[]).len(), 4);
    assert_eq!(ran(&b, text, &[]), [""; 0]);
    b.t.write("g", 0o644, "2");
    assert_eq!(ran(&b, text, &[]), ["COPY g /g", "RUN cat /g"]);
    b.t.write("g", 0o644, "1");
    assert_eq!(ran(&b, text, &[]), [""; 0], "the old content is known, too");
    b.t.write("f", 0o755, "1");
    assert_eq!(ran(&b, text, &[]).len(), 4, "a mode is content");
}

#[test]
fn touching_a_file_changes_nothing() {
    let b = Bench::new().file("f", 0o644, "1");
    let text = "FROM busybox\nCOPY f /f";
    assert_eq!(ran(&b, text, &[]).len(), 1);
    let path = b.t.context().join("f");
    let _ = b.t.tool("touch", &["-d", "2001-01-01", path.to_str().unwrap()]).ok();
    assert_eq!(ran(&b, text, &[]), [""; 0]);
}

#[test]
fn a_rebuilt_stage_with_the_same_result_is_the_same_input() {
    let b = Bench::new().env("SOURCE_DATE_EPOCH", "1000");
    let text = |n: u32| {
        format!(
            "FROM busybox AS a\nRUN echo {n} > /dev/null; echo same > /out\nFROM busybox\nCOPY --from=a /out /out\nRUN cat /out"
        )
    };
    assert_eq!(ran(&b, &text(1), &[]).len(), 3);
    assert_eq!(ran(&b, &text(2), &[]), ["RUN echo 2 > /dev/null; echo same > /out"], "COPY finds its content");
}

/// Layers with the same bytes over other layers are other file systems: what one build leaves is not seen by another.
#[test]
fn equal_layers_of_other_images_are_kept_apart() {
    let b = Bench::new().env("SOURCE_DATE_EPOCH", "1000000000");
    // A directory that is new here hides nothing there.
    b.build("FROM busybox\nRUN mkdir -p /q/l");
    let built = b.build("FROM busybox\nRUN mkdir -p /q/1\nWORKDIR /q/l\nRUN ls /q > /seen; chmod 700 /q/1");
    assert_eq!(built.read("seen"), "1\nl\n");
    assert!(built.dump_of("q").contains("/q/1 d 0700"), "{}", built.dump_of("q"));
    // A file that was written as it had been is in no layer; nor is it anywhere else.
    b.build(
        "FROM busybox\nRUN echo mine > /etc/mine; cp -p /etc/mine /tmp/copy\n\
         RUN echo else > /etc/mine; cat /tmp/copy > /etc/mine; touch -r /tmp/copy /etc/mine\nRUN test -e /etc/mine",
    );
    b.build("FROM busybox\nRUN true\nRUN ! ls /etc/mine");
    // What a layer removes, it removes over each.
    b.build("FROM busybox\nRUN mkdir /d; echo > /d/f\nRUN rm -r /d/f");
    let built = b.build("FROM busybox\nRUN mkdir /d; echo > /d/f; echo > /d/g\nRUN rm -r /d/f\nRUN ls /d > /seen");
    assert_eq!(built.read("seen"), "g\n");
    let again = b.build("FROM busybox\nRUN mkdir /d; echo > /d/g\nRUN rm -rf /d; mkdir /d\nRUN ls /d > /seen");
    assert_eq!(again.read("seen"), "");
}

#[test]
fn no_cache_and_its_filter() {
    let b = Bench::new();
    let text = "FROM busybox AS a\nRUN echo a\nFROM a AS b\nRUN echo b";
    assert_eq!(ran(&b, text, &[]).len(), 2);
    assert_eq!(ran(&b, text, &["--no-cache"]).len(), 2);
    assert_eq!(ran(&b, text, &["--no-cache-filter=b"]), ["RUN echo b"]);
}

#[test]
fn what_copies_from_a_stage_without_cache_sees_what_it_makes_now() {
    let b = Bench::new().env("SOURCE_DATE_EPOCH", "1000");
    let text = "FROM busybox AS a\nRUN --mount=type=cache,target=/c echo x >> /c/n; cp /c/n /n\nFROM a AS b\nRUN cat /n > /m\nFROM busybox\n\
                COPY --from=b /m /m\nRUN true";
    assert_eq!(ran(&b, text, &[]).len(), 4);
    assert_eq!(ran(&b, text, &[]), [""; 0]);
    assert_eq!(ran(&b, text, &["--no-cache-filter=a"]).len(), 4);
    assert_eq!(crate::open(&b.t.store(), "t").read("m"), "x\nx\n");
}

#[test]
fn commands_that_lock_the_same_caches_never_wait_for_each_other() {
    let b = Bench::new();
    let stage = |name: &str, first: &str, second: &str| {
        let mount = |id: &str| format!("--mount=type=cache,id={id},target=/{id},sharing=locked");
        (0..8).fold(format!("FROM busybox AS {name}\n"), |text, n| {
            format!(
                "{text}RUN {} {} --mount=type=cache,id={first},target=/again,sharing=locked echo {name}{n}\n",
                mount(first),
                mount(second)
            )
        })
    };
    let text = format!(
        "{}{}FROM scratch\nCOPY --from=l /etc/passwd /l\nCOPY --from=r /etc/passwd /r",
        stage("l", "one", "two"),
        stage("r", "two", "one")
    );
    let _ = b.run(&text, &["--jobs=4"]).ok();
}

#[test]
fn equal_steps_run_once() {
    let b = Bench::new().file("count", 0o666, "");
    let text = "FROM busybox AS a\nRUN --mount=type=cache,target=/c echo x >> /c/n\nFROM busybox AS b\nRUN --mount=type=cache,target=/c echo x >> /c/n\n\
                FROM busybox\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\nRUN --mount=type=cache,target=/c wc -l < /c/n > /n";
    let _ = b.run(text, &["--jobs=4"]).ok();
    assert_eq!(crate::open(&b.t.store(), "t").read("n"), "1\n");
}

#[test]
fn independent_stages_run_at_once() {
    let b = Bench::new();
    // Each waits for the other: one after the other they would never end.
    let wait = |me: &str, other: &str| {
        format!(
            "touch /c/{me}; n=0; while [ ! -e /c/{other} ]; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done"
        )
    };
    let text = format!(
        "FROM busybox AS a\nRUN --mount=type=cache,target=/c {}\nFROM busybox AS b\nRUN --mount=type=cache,target=/c {}\n\
         FROM scratch\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b",
        wait("a", "b"),
        wait("b", "a")
    );
    let _ = b.run(&text, &["--jobs=2"]).ok();
}

#[test]
fn a_damaged_blob_is_made_again() {
    let b = Bench::new();
    let text = "FROM busybox\nRUN echo hi > /f";
    let built = b.build(text);
    let blob = b.t.store().join("blobs/sha256").join(built.manifest.layers[1].digest.hex());
    std::fs::remove_file(&blob).unwrap();
    assert_eq!(ran(&b, text, &[]).len(), 1);
    assert_eq!(b.build(text).read("f"), "hi\n");
}
