//! Mounts and working directories that try to lead out, on every rung that runs commands.

use kiln_testkit::layout::busybox_config;
use kiln_testkit::{Layout, Rootfs, busybox_layer};

use super::{Outside, UNTOLD, bench, untold};

#[test]
fn a_working_directory_is_inside() {
    let b = bench();
    for rung in ["root", "chroot"] {
        let isolation = format!("--isolation={rung}");
        for place in
            (3..20).map(|n| format!("/proc/self/fd/{n}")).chain(["/proc/1/cwd".into(), "/proc/self/root/..".into()])
        {
            // Made in the image, refused, or the image's own; the host is not to be seen from there.
            let text = format!(
                "FROM busybox\nWORKDIR {place}\nRUN cat ../../../../../../../../etc/passwd ../etc/passwd; ls ../../../.."
            );
            let out = b.run(&text, &[&isolation, "--no-cache"]);
            assert!(!out.stderr.contains("/usr/sbin/nologin"), "{rung} {place}: {out}");
        }
    }
}

#[test]
fn sources_are_resolved_in_their_tree() {
    let outside = Outside::new();
    let (abs, up) = (outside.dir().to_str().unwrap().to_owned(), outside.up());
    let layer = Rootfs::new()
        .symlink("abs", &abs)
        .symlink("up", &up)
        .symlink("slash", "/")
        .symlink("file", &format!("{abs}/victim"));
    let b = bench();
    Layout::new(b.t.out("evil")).image("evil", busybox_config(), &[busybox_layer(), layer.tar()]);
    let evil = format!("--build-context=evil=oci-layout://{}:evil", b.t.out("evil").display());
    for rung in ["root", "chroot"] {
        for mount in [
            "type=bind,from=evil,source=/abs,target=/m",
            "type=bind,from=evil,source=/up,target=/m,rw",
            "type=bind,from=evil,source=/file,target=/m/victim",
            "type=bind,from=evil,source=../../../../../../,target=/m",
            "type=bind,from=stage,source=/abs,target=/m,rw",
            "type=bind,from=stage,source=/up/.,target=/m",
            "type=bind,from=stage,source=/slash,target=/m",
            "type=cache,from=evil,source=/abs,target=/m",
            "type=cache,from=stage,source=/up,target=/m",
            "type=bind,target=/abs/m",
            "type=cache,target=/up/m",
            "type=tmpfs,target=/abs",
        ] {
            let text = format!(
                "FROM evil AS stage\nFROM evil\nRUN --mount={mount} cat /m/victim; cat /m{abs}/victim; echo x > /m/made; echo x > {abs}/made; true"
            );
            let out = b.run(&text, &[&evil, "--no-cache", &format!("--isolation={rung}")]);
            assert!(!out.stderr.contains(UNTOLD) && !out.stderr.contains("panicked"), "{rung} {mount}: {out}");
            outside.is_untouched();
            untold(&b);
        }
    }
}

#[test]
fn ids_of_caches_are_no_paths() {
    let outside = Outside::new();
    let b = bench();
    for id in [
        outside.up(),
        outside.dir().display().to_string(),
        "..".into(),
        ".".into(),
        "a/../../b".into(),
        "x\\x00y".into(),
    ] {
        let text =
            format!("FROM busybox\nRUN --mount=type=cache,id={id},target=/c echo x > /c/made; cat /c/victim; true");
        let out = b.run(&text, &["--no-cache"]);
        assert!(!out.stderr.contains(UNTOLD), "{id}: {out}");
        outside.is_untouched();
    }
    let beside: Vec<_> =
        std::fs::read_dir(b.t.store().join("kiln/caches")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        beside.iter().all(|n| n.to_string_lossy().bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')),
        "{beside:?}"
    );
}
