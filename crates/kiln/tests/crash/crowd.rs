//! Many processes in one store at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_testkit::{Auth, Output, Registry};

use crate::arena::Arena;
use crate::killed::{image, with_context};

/// How many builds there are at once.
const CROWD: usize = 16;

/// Stages that all builds share, each leaving a mark when it really runs, and a last step of each build's own.
fn dockerfile(n: usize) -> String {
    format!(
        "FROM busybox AS one\nRUN --mount=type=cache,id=marks,target=/c echo one >> /c/runs; echo 1 > /one; sleep 0.3\n\
         FROM busybox AS two\nCOPY files /files\nRUN --mount=type=cache,id=marks,target=/c echo two >> /c/runs; rm /files/1\n\
         FROM one\nCOPY --from=two /files /files\n\
         RUN --mount=type=cache,id=marks,target=/c echo three >> /c/runs; cat /one /files/2 > /both\n\
         LABEL n={n}\nRUN --mount=type=cache,id=marks,target=/c echo own{n} >> /c/runs; echo {n} > /own\n"
    )
}

/// Builds all at once while something else goes on; what each says, and what the steps left.
fn build_all(arena: &Arena, meanwhile: &(dyn Fn() + Sync)) -> Vec<Output> {
    for n in 0..CROWD {
        arena.t.write(&format!("Dockerfile.{n}"), 0o644, dockerfile(n));
    }
    arena.t.write(".dockerignore", 0o644, "Dockerfile*\n");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                meanwhile();
            }
        });
        let one = |n: usize| {
            let (file, name) = (format!("Dockerfile.{n}"), format!("crowd{n}"));
            arena.t.kiln(&["build", "-q", "--rewrite-timestamp", "-f", &file, "-t", &name, &arena.base(), "."])
        };
        let builds: Vec<_> = (0..CROWD).map(|n| scope.spawn(move || one(n))).collect();
        let said = builds.into_iter().map(|b| b.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        other.join().unwrap();
        said
    })
}

fn digests(arena: &Arena) -> Vec<String> {
    (0..CROWD).map(|n| arena.digest(&format!("crowd{n}")).unwrap()).collect()
}

/// What the steps noted when they ran.
fn runs(arena: &Arena) -> Vec<String> {
    let text = "FROM busybox\nRUN --mount=type=cache,id=marks,target=/c cp /c/runs /runs";
    arena.t.write("Dockerfile", 0o644, text);
    let out = arena.t.out("runs");
    let output = format!("--output=type=local,dest={}", out.display());
    let _ = arena.t.kiln(&["build", "-q", &arena.base(), &output, "."]).ok();
    let text = std::fs::read_to_string(out.join("runs")).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn sixteen_builds_do_equal_steps_once() {
    let arena = with_context(Arena::new());
    let pruned = || drop(arena.t.kiln(&["prune", "-f", "--keep-duration", "1h"]).ok());
    for said in build_all(&arena, &pruned) {
        let _ = said.ok();
    }
    let mut expected: Vec<String> = (0..CROWD).map(|n| format!("own{n}")).collect();
    expected.extend(["one", "two", "three"].map(str::to_owned));
    expected.sort();
    assert_eq!(runs(&arena), expected);
    assert_eq!(BTreeSet::from_iter(digests(&arena)).len(), CROWD);
    let _ = arena.t.kiln(&["prune", "-f"]).ok();
    arena.is_sound("the crowd");
    arena.is_tidy("the crowd");
}

#[test]
fn pruning_everything_all_the_time_loses_nothing() {
    let calm = with_context(Arena::new());
    for said in build_all(&calm, &|| std::thread::sleep(std::time::Duration::from_millis(10))) {
        let _ = said.ok();
    }
    let arena = with_context(Arena::new());
    let pruned = || drop(arena.t.kiln(&["prune", "-a", "-f"]).ok());
    for said in build_all(&arena, &pruned) {
        let _ = said.ok();
    }
    assert_eq!(digests(&arena), digests(&calm));
    arena.is_sound("pruned all the time");
    let _ = arena.t.kiln(&["prune", "-f"]).ok();
    arena.is_tidy("pruned all the time");
    for n in 0..CROWD {
        let saved = arena.t.out(&format!("{n}.tar")).display().to_string();
        let _ = arena.t.kiln(&["save", "-o", &saved, &format!("crowd{n}")]).ok();
    }
}

#[test]
fn many_pulls_of_one_image_fetch_it_once() {
    let registry = Registry::start(Auth::None);
    let arena = Arena::new();
    registry.push(&image(&arena, 3), "image:latest", "some/image:1");
    let name = registry.reference("some/image:1");
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| arena.t.kiln(&["pull", "-q", &name]).ok());
        }
        scope.spawn(|| (0..20).for_each(|_| drop(arena.t.kiln(&["prune", "-a", "-f"]).ok())));
    });
    assert_eq!(arena.digest(&name), Some(registry.digest("some/image:1")));
    arena.is_sound("pulls");
    let _ = arena.t.kiln(&["prune", "-f"]).ok();
    arena.is_tidy("pulls");
}
