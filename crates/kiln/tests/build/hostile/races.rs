//! A context that changes while it is read: directories become links and back, as fast as can be.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Outside, UNTOLD, bench, untold};

/// Swaps two names until dropped.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapping {
    fn start(a: PathBuf, b: PathBuf) -> Swapping {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                swap(&a, &b);
            }
        });
        Swapping { stop, thread: Some(thread) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn swap(a: &Path, b: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let _ = rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags);
}

/// How often each build is tried against the swapping.
const TRIES: usize = 12;

#[test]
fn links_that_change_lead_nowhere() {
    let outside = Outside::new();
    let b = bench().file("d/victim", 0o644, "mine").file("d/more", 0o644, "m");
    let link = b.t.out("link");
    std::os::unix::fs::symlink(outside.dir(), &link).unwrap();
    let _swapping = Swapping::start(b.t.context().join("d"), link);
    for text in [
        "FROM scratch\nCOPY d /d",
        "FROM scratch\nCOPY d/victim /f",
        "FROM scratch\nADD d/v* /g/",
        "FROM busybox\nRUN --mount=type=bind,source=d,target=/m cat /m/victim",
        "FROM busybox\nRUN --mount=type=bind,target=/m cat /m/d/victim",
        "FROM busybox\nRUN --mount=type=cache,from=ctx,source=/d,target=/c cat /c/victim",
    ] {
        for _ in 0..TRIES {
            let ctx = format!("--build-context=ctx={}", b.t.context().display());
            let out = b.run(text, &["--no-cache", &ctx]);
            assert!(!out.stderr.contains(UNTOLD) && !out.stderr.contains("panicked"), "{text}: {out}");
        }
    }
    untold(&b);
    outside.is_untouched();
}

#[test]
fn a_context_that_changes_under_our_hands() {
    let b = bench().file("f", 0o644, "a".repeat(300_000).as_str()).file("dir/f", 0o644, "x");
    let other = b.t.out("other");
    std::fs::write(&other, "b".repeat(200_000)).unwrap();
    let _files = Swapping::start(b.t.context().join("f"), other.clone());
    let _kinds = Swapping::start(b.t.context().join("dir"), b.t.out("pipe"));
    rustix::fs::mknodat(rustix::fs::CWD, b.t.out("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for _ in 0..TRIES {
        let out = b.run("FROM scratch\nCOPY f /f\nCOPY dir /d", &["--no-cache"]);
        assert!(out.code == 0 || out.code == 1, "{out}");
        if out.code == 0 {
            // One or the other, never a mixture.
            let built = crate::open(&b.t.store(), "t");
            let text = built.read("f");
            assert!(text == "a".repeat(300_000) || text == "b".repeat(200_000), "{} bytes, mixed", text.len());
        }
    }
}
