//! Base images that anyone may have published.

use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, media};
use kiln_testkit::layout::{busybox_config, gzip};
use kiln_testkit::{EntryType, Layout, Rootfs, busybox_layer};

use super::{Outside, UNTOLD, bench, untold};
use crate::Bench;

/// The name of the layout's image for builds.
fn context(b: &Bench) -> String {
    format!("--build-context=evil=oci-layout://{}:evil", b.t.out("evil").display())
}

/// A base image of busybox and these layers.
fn image(b: &Bench, layers: Vec<Vec<u8>>) -> String {
    let _ = std::fs::remove_dir_all(b.t.out("evil"));
    let layers: Vec<Vec<u8>> = std::iter::once(busybox_layer()).chain(layers).collect();
    Layout::new(b.t.out("evil")).image("evil", busybox_config(), &layers);
    context(b)
}

#[test]
fn a_base_writes_nothing_outside() {
    let outside = Outside::new();
    let (abs, up) = (outside.dir().to_str().unwrap().to_owned(), outside.up());
    for rung in ["root", "chroot"] {
        for hostile in [
            vec![Rootfs::new().file(&format!("{up}/made"), 0o644, "x").tar()],
            vec![Rootfs::new().symlink("l", &abs).file("l/made", 0o644, "x").file("l/victim", 0o644, "x").tar()],
            vec![Rootfs::new().symlink("l", &up).tar(), Rootfs::new().file("l/victim", 0o644, "x").tar()],
            vec![Rootfs::new().symlink("l", &abs).tar(), Rootfs::new().whiteout("l/victim").tar()],
            vec![Rootfs::new().symlink("l", &abs).tar(), Rootfs::new().file("l/.wh..wh..opq", 0o644, "").tar()],
            vec![Rootfs::new().hardlink("h", &format!("{up}/victim")).tar()],
            vec![Rootfs::new().symlink("l", &format!("{abs}/victim")).hardlink("h", "l").file("h", 0o644, "x").tar()],
            vec![Rootfs::new().dir("d", 0o755).symlink("d", &abs).dir("d", 0o000).tar()],
        ] {
            let b = bench();
            let base = image(&b, hostile);
            let args = [&*base, &format!("--isolation={rung}")];
            for text in [
                "FROM evil\nRUN true",
                "FROM evil\nCOPY Dockerfile /l/made\nWORKDIR /l/dir",
                "FROM busybox\nCOPY --from=evil / /all/",
            ] {
                let out = b.run(text, &args);
                assert!(!out.stderr.contains("panicked"), "{out}");
                outside.is_untouched();
            }
            untold(&b);
        }
    }
}

#[test]
fn copies_through_links_stay_in_the_image() {
    let outside = Outside::new();
    let (abs, up) = (outside.dir().to_str().unwrap().to_owned(), outside.up());
    let b = bench().file("victim", 0o644, "copied");
    let layer = Rootfs::new().symlink("abs", &abs).symlink("up", &up).symlink("file", &format!("{abs}/victim"));
    let base = image(&b, vec![layer.tar()]);
    for text in [
        "FROM evil\nCOPY victim /abs/\nCOPY victim /up/victim\nCOPY victim /file\nRUN echo written > /file; echo x > /abs/y",
        "FROM evil\nCOPY victim ../../../../../../../../etc/escaped\nADD victim /up/../../../x\nWORKDIR /abs/w\nRUN touch f",
        "FROM evil AS a\nFROM busybox\nCOPY --from=a /abs /x\nCOPY --from=a /file /y",
        "FROM evil AS a\nFROM busybox\nCOPY --from=a /abs/victim /x",
        "FROM evil\nRUN --mount=type=tmpfs,target=/abs/t --mount=type=cache,target=/up/c touch /abs/t/x /up/c/x",
    ] {
        let out = b.run(text, &[&base]);
        assert!(!out.stderr.contains("panicked") && !out.stderr.contains(UNTOLD), "{out}");
        outside.is_untouched();
        untold(&b);
    }
    // A trigger of the base is a line of the child, and as confined.
    let mut config = busybox_config();
    config.config.on_build = vec!["COPY victim /up/victim".into(), "COPY --from=evil /file /told".into()];
    let mut layout = Layout::new(b.t.out("trigger"));
    layout.image("evil", config, &[busybox_layer(), layer.tar()]);
    let trigger = format!("--build-context=t=oci-layout://{}:evil", b.t.out("trigger").display());
    let _ = b.run("FROM t", &[&base, &trigger]);
    outside.is_untouched();
    untold(&b);
}

/// A layout whose image is this manifest's.
fn published(b: &Bench, tweak: &dyn Fn(&Layout, &mut ImageConfig, &mut Manifest)) -> String {
    let _ = std::fs::remove_dir_all(b.t.out("evil"));
    let mut layout = Layout::new(b.t.out("evil"));
    let tar = busybox_layer();
    let mut config = busybox_config();
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = vec![Digest::of(&tar)];
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: layout.blob(media::OCI_CONFIG, b"{}"),
        layers: vec![layout.blob(media::OCI_LAYER_GZIP, &gzip(&tar))],
        subject: None,
        annotations: [].into(),
    };
    tweak(&layout, &mut config, &mut manifest);
    manifest.config = layout.blob(media::OCI_CONFIG, &serde_json::to_vec(&config).unwrap());
    let platform = config.platform();
    let descriptor = layout.blob(media::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    layout.add("evil", Descriptor { platform: Some(platform), ..descriptor });
    context(b)
}

#[test]
fn layers_are_what_their_digests_say() {
    let tar = busybox_layer();
    let trailing = [tar.clone(), b"garbage behind the end".to_vec()].concat();
    let (half, rest) = tar.split_at(tar.len() / 2);
    let b = bench();
    let text = "FROM evil\nRUN test -x /bin/sh\nCOPY Dockerfile /";
    // Unusual, and right: the digest covers all of it.
    for bytes in [&trailing, &tar] {
        let base = published(&b, &|layout, config, manifest| {
            config.rootfs.diff_ids = vec![Digest::of(bytes)];
            manifest.layers = vec![layout.blob(media::OCI_LAYER_GZIP, &gzip(bytes))];
        });
        let _ = b.run(text, &[&base]).ok();
    }
    let base = published(&b, &|layout, _, manifest| {
        manifest.layers = vec![layout.blob(media::OCI_LAYER_GZIP, &[gzip(half), gzip(rest), vec![0; 300]].concat())];
    });
    let _ = b.run(text, &[&base, "--no-cache"]).ok();
    type Tweak<'a> = &'a dyn Fn(&Layout, &mut ImageConfig, &mut Manifest);
    let wrong: [(&str, Tweak<'_>); 7] = [
        ("diff id", &|_, config, _| config.rootfs.diff_ids = vec![Digest::of(b"another")]),
        ("garbage after gzip", &|layout, _, manifest| {
            let bytes = [gzip(&busybox_layer()), b"garbage".to_vec()].concat();
            manifest.layers = vec![layout.blob(media::OCI_LAYER_GZIP, &bytes)];
        }),
        ("cut", &|layout, _, manifest| {
            let bytes = gzip(&busybox_layer());
            manifest.layers = vec![layout.blob(media::OCI_LAYER_GZIP, &bytes[..bytes.len() / 2])];
        }),
        ("size", &|_, _, manifest| manifest.layers[0].size += 1),
        ("smaller size", &|_, _, manifest| manifest.layers[0].size -= 1),
        ("missing", &|_, _, manifest| manifest.layers[0].digest = Digest::of(b"nowhere")),
        ("too many diff ids", &|_, config, _| config.rootfs.diff_ids.push(Digest::of(b"x"))),
    ];
    for (what, tweak) in wrong {
        // In a store of its own, which does not know the right layer.
        let b = bench();
        let base = published(&b, tweak);
        let out = b.run(text, &[&base]);
        assert!(out.code == 1 || out.code == 3, "{what}: {out}");
        assert!(out.stderr.contains("error: ") && !out.stderr.contains("panicked"), "{what}: {out}");
        let _ = b.t.kiln(&["fsck"]).ok();
    }
}

#[test]
fn whiteouts() {
    for (hostile, fine) in [
        (Rootfs::new().file(".wh...", 0o644, ""), false),
        (Rootfs::new().file(".wh..", 0o644, ""), false),
        (Rootfs::new().file(".wh.", 0o644, ""), false),
        (Rootfs::new().file("etc/.wh...", 0o644, ""), false),
        (Rootfs::new().file(".wh.etc/passwd", 0o644, ""), false),
        (Rootfs::new().file("../.wh.etc", 0o644, ""), false),
        (Rootfs::new().entry("w", EntryType::Char, 0o644, (0, 0), None, &[]), false),
        (Rootfs::new().file("nothing/.wh.there", 0o644, ""), true),
        (Rootfs::new().file(".wh..wh..opq", 0o644, "").file("bin/sh", 0o755, "gone"), true),
        (Rootfs::new().file(".wh..wh.aufs", 0o644, ""), true),
    ] {
        let b = bench();
        let base = image(&b, vec![hostile.tar()]);
        let out = b.run("FROM evil\nRUN [\"/bin/true\"]\nCOPY Dockerfile /x", &[&base]);
        assert!(!out.stderr.contains("panicked"), "{out}");
        if !fine {
            assert!(out.code == 1 || out.code == 3, "{out}");
        }
    }
}

#[test]
fn loops_of_links_end() {
    let b = bench();
    let hostile = Rootfs::new().symlink("a", "b").symlink("b", "a").symlink("self", "self/x").symlink("up", "up/../up");
    let base = image(&b, vec![hostile.tar()]);
    for text in [
        "FROM evil\nCOPY Dockerfile /a/x",
        "FROM evil\nCOPY Dockerfile /self",
        "FROM evil\nWORKDIR /up/x",
        "FROM evil\nUSER app\nRUN --mount=type=tmpfs,target=/a true",
        "FROM evil AS e\nFROM scratch\nCOPY --from=e /a /x",
        "FROM evil AS e\nFROM scratch\nCOPY --from=e /self/y /x",
    ] {
        let out = b.run(text, &[&base]);
        // What cannot be mounted is told by the sandbox, which does not know whose fault it is.
        let code = if text.contains("--mount") { 3 } else { 1 };
        assert!(out.code == code && out.stderr.contains("error: "), "{text}: {out}");
    }
    let usual = Rootfs::new().symlink("bin/dash", "busybox").symlink("bin/sh", "dash");
    let base = image(&b, vec![usual.tar()]);
    let _ = b.run("FROM evil\nRUN true", &[&base]).ok();
}
