//! Registries that fail, lie or never end, as a user meets them: what is said, the exit code, what stays.

use std::sync::{Arc, Mutex};

use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, media};
use kiln_testkit::Rootfs;
use kiln_testkit::server::{Say, Seen, Server};

use crate::arena::Arena;
use crate::random::Random;

/// An image as a registry has it.
struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    fn new(size: usize) -> Image {
        let layer = Rootfs::new().file("f", 0o644, Random::of("network").bytes(size)).tar();
        let mut config = ImageConfig::scratch(&Platform::host());
        config.rootfs.diff_ids = vec![Digest::of(&layer)];
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::of(media::OCI_CONFIG, &config),
            layers: vec![Descriptor::of(media::OCI_LAYER, &layer)],
            subject: None,
            annotations: [].into(),
        };
        Image { manifest: serde_json::to_vec(&manifest).unwrap(), config, layer }
    }

    fn is_layer(&self, seen: &Seen) -> bool {
        seen.path.contains("/blobs/") && seen.path.ends_with(&Digest::of(&self.layer).hex())
    }

    /// What an honest registry answers.
    fn honest(&self, seen: &Seen) -> Say {
        if seen.path.contains("/manifests/") {
            let say = Say::ok(&*self.manifest).header("Content-Type", media::OCI_MANIFEST);
            return say.header("Docker-Content-Digest", Digest::of(&self.manifest).to_string());
        }
        if seen.path == "/v2/" {
            return Say::ok("{}");
        }
        let blob = if self.is_layer(seen) { &self.layer } else { &self.config };
        match start_of(seen) {
            0 => Say::ok(&**blob),
            start => {
                let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
                Say::status(206).header("Content-Range", range).body(&blob[start..])
            }
        }
    }
}

fn start_of(seen: &Seen) -> usize {
    seen.header("range").map_or(0, |r| r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap())
}

/// A registry that is honest but for its layer.
fn with_layer(answer: impl Fn(&Image, &Seen) -> Say + Send + 'static) -> Server {
    let image = Image::new(100_000);
    Server::start(move |seen, _| match image.is_layer(seen) {
        true => answer(&image, seen),
        false => image.honest(seen),
    })
}

#[test]
fn every_lie_is_an_error_with_a_hint_and_nothing_of_it_is_kept() {
    type Answer = Box<dyn Fn(&Image, &Seen) -> Say + Send>;
    let table: Vec<(&str, &str, Answer)> = vec![
        ("HTTP 500", "try again later", Box::new(|_, _| Say::status(500))),
        ("HTTP 429", "wait ", Box::new(|_, _| Say::status(429).header("Retry-After", "7200"))),
        ("HTTP 403", "kiln login", Box::new(|_, _| Say::error(403, "DENIED", "no \u{1b}[31mentry"))),
        ("HTTP 404", "check the repository", Box::new(|_, _| Say::status(404))),
        ("sends wrong bytes", "nothing of it was kept", Box::new(|i, _| Say::ok(vec![0; i.layer.len()]))),
        ("not the expected", "nothing of it was kept", Box::new(|_, _| Say::ok("short"))),
        ("sends wrong bytes", "nothing of it was kept", Box::new(|_, _| Say::ok(vec![0; 4096]).endless())),
        ("file://", "only who runs", Box::new(|_, _| Say::status(307).header("Location", "file:///etc/passwd"))),
        ("too many redirects", "only who runs", Box::new(|_, s| Say::status(302).header("Location", &*s.path))),
        ("cannot reach", "hint: ", Box::new(|_, _| Say::raw("HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\nx"))),
        ("cannot reach", "hint: ", Box::new(|_, _| Say::raw("220 smtp.example ESMTP\r\n"))),
        (
            "no token server",
            "only who runs",
            Box::new(|_, _| Say::status(401).header("WWW-Authenticate", "Bearer x=1")),
        ),
    ];
    for (what, hint, answer) in table {
        let server = with_layer(answer);
        let arena = Arena::new();
        let said = arena.t.kiln(&["pull", "--retries", "1", &format!("{}/some/image:1", server.host)]).exits(3);
        assert!(said.stderr.contains(what), "{what}: {said}");
        assert!(said.stderr.contains("hint: ") && said.stderr.contains(hint), "{what}: {said}");
        assert!(!said.stderr.contains("/etc/passwd") && !said.stderr.contains('\u{1b}'), "{what}: {said}");
        assert_eq!(arena.t.kiln(&["images", "-q"]).ok().stdout, "", "{what}: no image");
        arena.is_sound(what);
        arena.is_tidy(what);
        let base = format!("FROM {}/some/image:1\nCOPY --from={}/some/image:1 /f /g\n", server.host, server.host);
        arena.t.write("Dockerfile", 0o644, base);
        let said = arena.t.kiln(&["build", "--retries", "1", "-t", "x", "."]).exits(3);
        assert!(said.stderr.contains(what) && said.stderr.contains(hint), "{what}: {said}");
        arena.is_sound(what);
    }
}

#[test]
fn credentials_stay_where_they_belong() {
    let image = Arc::new(Image::new(1000));
    let elsewhere = Server::start({
        let image = image.clone();
        move |seen, _| image.honest(seen)
    });
    let server = Server::start({
        let target = elsewhere.host.clone();
        move |seen, _| match seen.header("authorization") {
            Some(_) if image.is_layer(seen) => {
                Say::status(307).header("Location", format!("http://{target}{}", seen.path))
            }
            Some(_) => image.honest(seen),
            None => Say::status(401).header("WWW-Authenticate", "Basic realm=x"),
        }
    });
    let arena = Arena::new();
    let login = ["login", "-u", "me", "--password-stdin", &*server.host];
    let _ = arena.t.kiln_with_input(&login, b"hunter2").ok();
    let _ = arena.t.kiln(&["pull", &format!("{}/some/image:1", server.host)]).ok();
    assert!(server.seen().iter().any(|s| s.header("authorization").is_some()));
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].headers.values().all(|v| !v.contains("Basic") && !v.contains("hunter2")), "{seen:?}");
}

#[test]
fn a_pull_goes_on_where_an_earlier_one_broke() {
    // The first run gets 60,000 bytes and no more; the second the rest.
    let generous = Arc::new(Mutex::new(false));
    let server = with_layer({
        let generous = generous.clone();
        move |image, seen| match (*generous.lock().unwrap(), start_of(seen)) {
            (true, _) => image.honest(seen),
            (false, 0) => Say::ok(&image.layer[..60_000]).announcing(image.layer.len()),
            (false, _) => Say::status(503),
        }
    });
    let arena = Arena::new();
    let name = format!("{}/some/image:1", server.host);
    let said = arena.t.kiln(&["pull", "--retries", "1", &name]).exits(3);
    assert!(said.stderr.contains("HTTP 503"), "{said}");
    let left = || std::fs::read_dir(arena.t.store().join("kiln/partial")).unwrap().count();
    assert_eq!(left(), 1);
    let listed = arena.t.kiln(&["du"]).ok();
    assert!(listed.stdout.contains("partial"), "{listed}");
    arena.is_sound("broken off");

    *generous.lock().unwrap() = true;
    let before = server.seen().len();
    let _ = arena.t.kiln(&["pull", &name]).ok();
    let starts: Vec<_> = server.seen()[before..].iter().filter(|s| s.header("range").is_some()).map(start_of).collect();
    assert_eq!((starts, left()), (vec![60_000], 0));
    arena.is_sound("complete");
    assert_eq!(arena.t.kiln(&["ls", &name, "/"]).ok().stdout.lines().count(), 1);

    // What nobody goes on with is removed.
    *generous.lock().unwrap() = false;
    let other = Arena::new();
    let _ = other.t.kiln(&["pull", "--retries", "0", &name]).exits(3);
    let _ = other.t.kiln(&["prune", "-f", "--keep-duration", "1h"]).ok();
    let there = || std::fs::read_dir(other.t.store().join("kiln/partial")).unwrap().count();
    assert_eq!(there(), 1, "it is young");
    let _ = other.t.kiln(&["prune", "-f"]).ok();
    assert_eq!(there(), 0);
}

#[test]
fn a_stopped_pull_is_stopped_at_once_and_keeps_what_it_has() {
    let server = with_layer(|image, _| Say::ok(&image.layer[..80_000]).announcing(image.layer.len()).holding());
    let arena = Arena::new();
    let name = format!("{}/some/image:1", server.host);
    let mut child = arena.t.command(&["pull", "-q", &name]).spawn().unwrap();
    let partial = arena.t.store().join("kiln/partial");
    let held = || {
        let entries = std::fs::read_dir(&partial).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum::<u64>()
    };
    while held() < 80_000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(held(), 80_000);
    arena.is_sound("stopped");
}
