//! Disks that are full at any stage, that run out of inodes or of quota, and stores that cannot be written.

use std::path::Path;
use std::process::Command;

use kiln_testkit::Rootfs;

use crate::arena::Arena;
use crate::killed::{build, built, image, strs, with_context, words};
use crate::random::{Random, number};

/// Runs the rest of a test in a mount namespace of its own, by starting it again there; `true` there.
fn in_mount_namespace(test: &str) -> bool {
    const MARK: &str = "KILN_TEST_NAMESPACE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = Command::new(kiln_testkit::tools::tool("unshare"));
    command.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, "1");
    let said = command.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn mount(dir: &Path, options: &str) {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "kiln-test"]).arg(dir).output().unwrap();
    assert!(done.status.success(), "mount -o {options}: {}", String::from_utf8_lossy(&done.stderr));
}

fn remount(dir: &Path, options: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(dir).output().unwrap();
    assert!(done.status.success(), "remount {options}: {}", String::from_utf8_lossy(&done.stderr));
}

/// How much of a file system of this kind a store takes: `(bytes, inodes)`.
fn taken(dir: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(dir).unwrap();
    ((stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_files - stat.f_ffree)
}

/// A command on a file system that is too small for it, in many ways; and then on one that is not.
struct Small<'a> {
    prepare: &'a dyn Fn() -> Arena,
    args: &'a dyn Fn(&Arena) -> Vec<String>,
    result: &'a dyn Fn(&Arena) -> String,
}

impl Small<'_> {
    fn squeeze(&self, name: &str) {
        let plenty = "size=1g,nr_inodes=100000,mode=700";
        // A store that is made: what has no room for one needs no pruning.
        let fresh = || {
            let arena = self.mounted(plenty);
            let _ = arena.t.kiln(&["images"]).ok();
            arena
        };
        let clean = fresh();
        let before = taken(&clean.t.store());
        let _ = clean.t.kiln(&strs(&(self.args)(&clean))).ok();
        let (bytes, inodes) = taken(&clean.t.store());
        let expected = (self.result)(&clean);
        let mut random = Random::of(name);
        let rounds = number("KILN_FULL_ROUNDS").unwrap_or(4);
        let mut failed = 0;
        for round in 0..rounds {
            let options = match round % 4 {
                3 => format!("nr_inodes={}", random.within(before.1 + 2..=inodes)),
                _ => format!("size={}", before.0 + random.within((64 << 10)..=bytes - before.0)),
            };
            let arena = fresh();
            remount(&arena.t.store(), &options);
            let why = format!("{name}, {options}");
            let said = arena.t.kiln(&strs(&(self.args)(&arena)));
            if said.code != 0 {
                failed += 1;
                assert!(said.code == 3 || said.stderr.contains("the command did not complete"), "{why}: {said}");
                assert!(said.stderr.contains("o space left on device"), "{why}: {said}");
                assert!(said.stderr.contains("hint: ") && said.stderr.contains("kiln prune"), "{why}: {said}");
            }
            // Pruning needs no room, and neither does looking.
            arena.is_sound(&why);
            let _ = arena.t.kiln(&["prune", "-f"]).ok();
            arena.is_tidy(&why);
            remount(&arena.t.store(), "size=1g,nr_inodes=100000");
            let _ = arena.t.kiln(&strs(&(self.args)(&arena))).ok();
            assert_eq!((self.result)(&arena), expected, "{why}");
            arena.is_sound(&why);
        }
        assert!(failed > rounds / 2, "{name}: {failed} of {rounds} were too small");
    }

    fn mounted(&self, options: &str) -> Arena {
        let arena = (self.prepare)();
        mount(&arena.t.store(), options);
        arena
    }
}

#[test]
fn a_full_disk_stops_a_build_and_loses_nothing() {
    if in_mount_namespace("full::a_full_disk_stops_a_build_and_loses_nothing") {
        let small = Small { prepare: &|| with_context(Arena::new()), args: &build, result: &built };
        small.squeeze("full-build");
    }
}

#[test]
fn a_full_disk_stops_an_import_and_loses_nothing() {
    if in_mount_namespace("full::a_full_disk_stops_an_import_and_loses_nothing") {
        let source = Arena::new();
        let tar = source.t.out("fs.tar");
        std::fs::write(&tar, Rootfs::new().file("f", 0o644, Random::of("full").bytes(2 << 20)).tar()).unwrap();
        let small = Small {
            prepare: &Arena::new,
            args: &|_| words(&format!("import {} made", tar.display())),
            result: &|arena| arena.digest("made").unwrap_or_default(),
        };
        small.squeeze("full-import");
    }
}

#[test]
fn a_full_disk_stops_a_load_and_loses_nothing() {
    if in_mount_namespace("full::a_full_disk_stops_a_load_and_loses_nothing") {
        let source = Arena::new();
        image(&source, 2);
        let small = Small {
            prepare: &Arena::new,
            args: &|_| words(&format!("load -i {} -t image", source.t.out("image").display())),
            result: &|arena| arena.digest("image").unwrap_or_default(),
        };
        small.squeeze("full-load");
    }
}

#[test]
fn outputs_on_a_full_disk_leave_nothing() {
    if in_mount_namespace("full::outputs_on_a_full_disk_leave_nothing") {
        let arena = with_context(Arena::new());
        let _ = arena.t.kiln(&strs(&build(&arena))).ok();
        let out = arena.t.out("small");
        std::fs::create_dir(&out).unwrap();
        mount(&out, "size=300k");
        std::fs::write(out.join("app.tar"), "the old one").unwrap();
        let to = |kind: &str| format!("--output=type={kind},dest={}", out.join("app.tar").display());
        for kind in ["oci", "docker", "tar"] {
            let said = arena.t.kiln(&["build", "-q", &arena.base(), &to(kind), "."]).exits(3);
            assert!(said.stderr.contains("o space left on device") && said.stderr.contains("hint: "), "{kind}: {said}");
            assert_eq!(std::fs::read_to_string(out.join("app.tar")).unwrap(), "the old one");
            assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "{kind}");
        }
        let layout = format!("--output=type=oci,tar=false,dest={}", out.join("layout").display());
        let said = arena.t.kiln(&["build", "-q", &arena.base(), &layout, "."]).exits(3);
        assert!(said.stderr.contains("o space left on device"), "{said}");
        let files = format!("--output=type=local,dest={}", out.join("files").display());
        let said = arena.t.kiln(&["build", "-q", &arena.base(), &files, "."]).exits(3);
        assert!(said.stderr.contains("o space left on device"), "{said}");
        let said = arena.t.kiln(&["save", "-o", &out.join("saved.tar").display().to_string(), "app"]).exits(3);
        assert!(said.stderr.contains("o space left on device") && !out.join("saved.tar").exists(), "{said}");
    }
}

#[test]
fn a_store_that_cannot_be_written_says_so() {
    if in_mount_namespace("full::a_store_that_cannot_be_written_says_so") {
        let arena = with_context(Arena::new());
        mount(&arena.t.store(), "size=100m,mode=700");
        let _ = arena.t.kiln(&strs(&build(&arena))).ok();
        let id = arena.digest("app");
        remount(&arena.t.store(), "ro");
        let tar = arena.t.out("app.tar").display().to_string();
        for args in
            [&strs(&build(&arena))[..], &["import", &tar, "x"], &["tag", "app", "b"], &["rmi", "app"], &["prune", "-f"]]
        {
            let said = arena.t.kiln(args).exits(3);
            assert!(said.stderr.contains("read-only"), "{args:?}: {said}");
            assert!(said.stderr.contains("hint: use a directory you may write to"), "{args:?}: {said}");
        }
        for args in [&["images"][..], &["fsck"], &["du"], &["inspect", "app"], &["history", "app"], &["ls", "app", "/"]]
        {
            let _ = arena.t.kiln(args).ok();
        }
        let saved = arena.t.out("saved.tar").display().to_string();
        let _ = arena.t.kiln(&["save", "-o", &saved, "app"]).ok();
        assert_eq!(arena.digest("app"), id);
    }
}

/// Quotas count what a user has; root is bound by them only without `CAP_SYS_RESOURCE`, so another user runs it.
#[test]
fn a_used_up_quota_is_a_full_disk() {
    if !in_mount_namespace("full::a_used_up_quota_is_a_full_disk") {
        return;
    }
    let arena = Arena::new();
    let options = "usrquota_block_hardlimit=1m,size=100m,mode=777";
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "kiln-test"]).arg(arena.t.store()).output();
    if !mounted.unwrap().status.success() {
        println!("this kernel has no quotas for tmpfs: only the classification of EDQUOT is tested, in kiln-store");
        return;
    }
    let tar = arena.t.root().join("fs.tar");
    std::fs::write(&tar, Rootfs::new().file("f", 0o644, Random::of("quota").bytes(4 << 20)).tar()).unwrap();
    let _ = Command::new("chmod").arg("755").arg(arena.t.root()).status();
    let kiln = arena.t.command(&["import", &tar.display().to_string(), "made"]);
    let mut user = Command::new(kiln_testkit::tools::tool("setpriv"));
    user.args(["--reuid=12345", "--regid=12345", "--clear-groups", "--"]).arg(kiln.get_program()).args(kiln.get_args());
    user.env("KILN_STORE", arena.t.store()).env("HOME", "/nonexistent").env("TMPDIR", arena.t.store());
    let said = user.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(3), "{text}");
    assert!(text.contains("quota exceeded") && text.contains("hint: free space with `kiln prune`"), "{text}");
    assert!(std::fs::read_dir(arena.t.store().join("kiln/tmp")).unwrap().next().is_none());
}
