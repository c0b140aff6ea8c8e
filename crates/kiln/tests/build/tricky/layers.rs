//! Layers of RUN: what is in them and what is not.

use crate::Bench;

#[test]
fn kinds_change_across_layers_without_stale_whiteouts() {
    let b = Bench::new();
    let built = b.build(
        "FROM busybox\nRUN mkdir /d /o && touch /d/a /o/x && echo f > /f\nRUN rm -r /d && ln -s o /d\nRUN rm /d && mkdir /d && touch /d/b\n\
         RUN rm /f && mkdir /f && touch /f/in\nRUN rm -r /f && echo again > /f",
    );
    assert!(built.has("d/b") && !built.has("d/a") && built.has("o/x"));
    assert_eq!(built.read("f"), "again\n");
    for index in &built.indexes {
        let leaves: Vec<&[u8]> = index
            .entries
            .iter()
            .filter(|e| matches!(e.entry.kind, kiln_oci::EntryKind::Symlink { .. } | kiln_oci::EntryKind::File { .. }))
            .map(|e| &*e.entry.path)
            .collect();
        for entry in &index.entries {
            assert!(
                !leaves.iter().any(|l| entry.entry.path.strip_prefix(*l).is_some_and(|rest| rest.starts_with(b"/"))),
                "an entry below a file"
            );
        }
    }
}

#[test]
fn hard_links_break_across_layers_and_hold_inside_one() {
    let b = Bench::new();
    let built = b.build("FROM busybox\nRUN echo 1 > /h1 && ln /h1 /h2\nRUN echo 2 >> /h2");
    assert_eq!((built.read("h1"), built.read("h2")), ("1\n".into(), "1\n2\n".into()));
    let made = &built.indexes[1];
    assert!(
        made.entries
            .iter()
            .any(|e| matches!(&e.entry.kind, kiln_oci::EntryKind::Hardlink { target } if target == b"h1")),
        "relative"
    );
}

#[test]
fn what_never_was_below_has_no_whiteout() {
    let b = Bench::new();
    let built = b.build("FROM busybox\nRUN echo x > /etc/new && rm /etc/new /etc/group && touch /t && rm /t");
    assert_eq!(built.last_layer(), ["etc", "-etc/group"]);
}

#[test]
fn a_file_with_the_name_of_a_whiteout_is_an_error() {
    let b = Bench::new();
    let said = b.fails("FROM busybox\nRUN touch /etc/.wh.passwd", 1);
    assert!(said.contains(".wh.passwd"), "{said}");
}

#[test]
fn times_alone_are_a_change_and_moving_away_and_back_is_none() {
    let b = Bench::new();
    let layer = |text: &str| {
        b.build(&format!("FROM busybox\nRUN mkdir /d && echo x > /d/f && chmod 644 /d/f && touch -d '2000-01-01 00:00:00' /d/f\n{text}")).last_layer()
    };
    assert_eq!(layer("RUN touch -d '2001-01-01 00:00:00' /d/f"), ["d", "d/f"]);
    assert_eq!(layer("RUN touch -c /d/f"), ["d", "d/f"]);
    assert_eq!(layer("RUN chmod 644 /d/f"), [""; 0]);
    assert_eq!(layer("RUN mv /d/f /g && mv /g /d/f"), [""; 0]);
    let built = b.build("FROM busybox\nRUN true\nRUN true");
    assert_eq!(built.manifest.layers.len(), 3, "an empty layer is a layer");
}

#[test]
fn attributes_of_users_stay_out_of_layers() {
    let b = Bench::new().file("f", 0o755, "F");
    let _ = b.t.tool("setfattr", &["-n", "user.note", "-v", "x", b.t.context().join("f").to_str().unwrap()]).ok();
    let _ = b.t.tool("setcap", &["cap_net_raw=ep", b.t.context().join("f").to_str().unwrap()]).ok();
    let built = b.build("FROM scratch\nCOPY f /f");
    let entry = &built.indexes[0].entries[0].entry;
    assert!(entry.meta.xattrs.is_empty(), "{:?}", entry.meta.xattrs);
}

#[test]
fn files_of_the_network_keep_what_the_image_has() {
    let b = Bench::new().file("hosts", 0o640, "mine\n");
    let built = b.build("FROM busybox\nCOPY hosts /etc/hosts\nRUN grep -q localhost /etc/hosts && echo out > /out\nRUN test -s /etc/resolv.conf");
    assert_eq!(built.read("etc/hosts"), "mine\n");
    assert!(!built.has("etc/resolv.conf") && !built.has("etc/hostname"), "{}", built.dump_of("etc"));
    assert!(built.dump().contains("/etc/hosts f 0640"));
}

#[test]
fn mount_points_are_seen_and_not_kept() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build(
        "FROM busybox\nRUN --mount=target=/ctx --mount=type=tmpfs,target=/a/b ls / > /ls && touch /a/b/x && cat /ctx/f > /f\nWORKDIR /w\nRUN --mount=target=. cat f > /g",
    );
    assert!(built.read("ls").lines().any(|l| l == "ctx"));
    assert!(!built.has("ctx") && !built.has("a"), "{}", built.dump_of("a"));
    assert_eq!((built.read("f"), built.read("g")), ("F".into(), "F".into()));
    assert!(!built.has("w/f"));
}

#[test]
fn many_layers_and_odd_things() {
    let b = Bench::new();
    let long = "n".repeat(180);
    let target = "t".repeat(300);
    let built = b.build(&format!(
        "FROM busybox\nRUN mkdir -p '/a b/{long}' && echo l > '/a b/{long}/{long}' && ln -s {target} /link && touch -d '1960-01-01 00:00:00' /old && chown 3000000:3000001 /old && touch \"$(printf '/\\377')\""
    ));
    assert_eq!(built.read(&format!("a b/{long}/{long}")), "l\n");
    let text = built.dump();
    assert!(
        text.contains(&format!("/link l 0777 0:0 -> {target}")) && text.contains("/old f 0644 3000000:3000001"),
        "{text}"
    );
    assert!(built.tree.at(b"\xff").is_some());
    let many: String = (0..140).map(|n| format!("COPY <<E /f{n}\n{n}\nE\n")).collect();
    let built = b.build(&format!("FROM busybox\n{many}RUN cat /f0 /f139 > /both"));
    assert_eq!(built.read("both"), "0\n139\n");
}
