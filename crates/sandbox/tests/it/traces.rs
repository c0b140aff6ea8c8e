//! Nothing stays: no mountpoint in the layer, no process, no mount, no descriptor, also when Kiln itself is killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_sandbox::{Cancel, Injection, Job, Mount, Root, Rung, Stream, User};

use crate::bed::{Bed, dump, init, processes_with, rungs};

/// Everything a RUN step may have in its root at once.
fn loaded(bed: &Bed, script: &str) -> Job {
    fs::create_dir_all(bed.path("ctx")).unwrap();
    fs::create_dir_all(bed.path("cache")).unwrap();
    let mut job = bed.script(script);
    job.injection = Some(Injection {
        resolv_conf: Some("nameserver 192.0.2.1\n".into()),
        hosts: Some("127.0.0.1 localhost\n".into()),
        hostname: Some("box\n".into()),
    });
    job.mounts = vec![
        Mount::Bind { source: bed.path("ctx"), subpath: "".into(), target: "/made/by/bind".into(), readonly: true },
        Mount::Bind {
            source: bed.path("cache"),
            subpath: "".into(),
            target: "/root/.cache/deep".into(),
            readonly: false,
        },
        Mount::Tmpfs { target: "/tmp/inner".into(), size: None, mode: 0o700 },
        Mount::File { target: "/run/secrets/key".into(), content: "k".into(), mode: 0o400, uid: 0, gid: 0 },
    ];
    job
}

#[test]
fn a_command_that_changes_nothing_leaves_an_empty_layer() {
    for rung in rungs() {
        for (script, code) in [("true", 0), ("false", 1)] {
            let bed = Bed::new(rung);
            fs::write(bed.image().join("etc/hosts"), "the image's own\n").unwrap();
            let (image, changes) = (dump(&bed.image()), dump(&bed.path("upper")));
            let outcome = bed.run(&loaded(&bed, script));
            assert_eq!(outcome.code(), code, "{rung}");
            assert_eq!(dump(&bed.image()), image, "{rung}");
            assert_eq!(dump(&bed.path("upper")), changes, "{rung}");
            assert_eq!(fs::read_dir(bed.path("work")).unwrap().count(), 0, "{rung}");
            let mut names: Vec<_> =
                fs::read_dir(bed.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["cache", "ctx", "image", "upper", "work"], "{rung}");
        }
    }
}

#[test]
fn a_job_that_cannot_start_leaves_an_empty_layer_too() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = loaded(&bed, "true");
        job.mounts.push(Mount::Bind {
            source: bed.path("nothing"),
            subpath: "".into(),
            target: "/x".into(),
            readonly: true,
        });
        let before = dump(&bed.image());
        assert!(bed.run(&job).error().contains("nothing"));
        job.mounts.pop();
        job.cwd = "/nowhere".into();
        assert!(bed.run(&job).error().contains("nowhere"));
        job.cwd = "/".into();
        job.argv[0] = "/nowhere".into();
        assert_eq!(bed.run(&job).code(), 127);
        assert_eq!(dump(&bed.image()), before, "{rung}");
        assert_eq!(fs::read_dir(bed.path("upper")).unwrap().count(), 0, "{rung}");
    }
}

#[test]
fn what_the_command_writes_beside_mountpoints_stays_alone() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        bed.run(&loaded(
            &bed,
            "echo a > /etc/new; echo b > /made/kept; mkdir /run/lock; touch /root/.cache/deep/in-cache",
        ))
        .ok();
        let changes = bed.changes();
        assert_eq!(fs::read_to_string(changes.join("etc/new")).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(changes.join("made/kept")).unwrap(), "b\n");
        assert!(changes.join("run/lock").is_dir());
        for gone in [
            "etc/resolv.conf",
            "etc/hosts",
            "etc/hostname",
            "made/by",
            "run/secrets",
            "proc",
            "sys",
            "dev",
            "tmp/inner",
        ] {
            assert!(fs::symlink_metadata(changes.join(gone)).is_err(), "{rung}: {gone}");
        }
        assert!(fs::symlink_metadata(changes.join("root/.cache")).is_err(), "{rung}");
        assert!(bed.path("cache/in-cache").exists(), "{rung}");
    }
}

#[test]
fn directories_keep_their_owner_mode_and_attributes_under_mountpoints() {
    // With one id no directory of an image has another owner on the disk.
    for rung in rungs().into_iter().filter(|rung| *rung != Rung::Userns1) {
        let bed = Bed::new(rung);
        let root = bed.image().join("root");
        std::os::unix::fs::chown(&root, Some(42), Some(43)).unwrap();
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o2751)).unwrap();
        let job = loaded(&bed, "stat -c '%a %u %g %Y' /root; touch /root/new");
        let outcome = bed.run(&job);
        assert!(outcome.ok().starts_with("2751 42 43 "), "{rung}: {outcome:?}");
        let changed = bed.changes().join("root");
        let metadata = fs::metadata(&changed).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o2751, 42, 43), "{rung}");
    }
}

#[test]
fn the_images_own_files_come_back_as_they_were() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let image = bed.image();
        for name in ["resolv.conf", "hosts", "hostname"] {
            fs::write(image.join("etc").join(name), format!("the image's {name}\n")).unwrap();
        }
        symlink("nowhere-yet", image.join("etc/mtab")).unwrap();
        fs::create_dir_all(image.join("proc/left")).unwrap();
        fs::create_dir_all(image.join("dev")).unwrap();
        fs::write(image.join("dev/null"), "a file, oddly").unwrap();
        let before = dump(&image);
        let job = loaded(&bed, "echo x > /etc/hosts; echo y >> /etc/resolv.conf; ls /proc/left 2>/dev/null; true");
        assert_eq!(bed.run(&job).ok(), "", "{rung}");
        assert_eq!(dump(&image), before, "{rung}");
        assert_eq!(fs::read_to_string(image.join("etc/hosts")).unwrap(), "the image's hosts\n");
    }
}

#[test]
fn a_plain_directory_is_left_clean_by_the_root_rung_too() {
    if !rungs().contains(&Rung::Root) {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let before = dump(&bed.image());
    let mut job = loaded(&bed, "cat /etc/hostname; cat /run/secrets/key; ls /proc/self/status");
    job.root = Root::Dir(bed.image());
    assert_eq!(bed.run(&job).ok(), "box\nk/proc/self/status\n");
    assert_eq!(dump(&bed.image()), before);
    job.argv[2] = "echo kept > /etc/kept; echo more > /made/by/hand; true".into();
    bed.run(&job).ok();
    assert!(bed.image().join("etc/kept").exists() && bed.image().join("made/by/hand").exists());
    assert!(!bed.image().join("made/by/bind").exists() && !bed.image().join("proc").exists());
    job.root = Root::Dir("/".into());
    assert!(bed.run(&job).error().contains("machine's own root"));
}

#[test]
fn a_command_that_removes_its_own_mountpoints_is_survived() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let job =
            loaded(&bed, "rm -rf /made /run /root /tmp/inner /etc/resolv.conf 2>/dev/null; mkdir -p /made/by; true");
        bed.run(&job).ok();
        assert!(bed.path("cache").is_dir() && bed.path("ctx").is_dir(), "{rung}");
    }
}

#[test]
fn descriptors_of_the_parent_do_not_reach_the_command() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let file = fs::File::open("/etc/passwd").unwrap();
        // As a careless library would: inheritable.
        rustix_set_inheritable(&file);
        let script =
            "i=3; while [ $i -lt 64 ]; do (eval \": <&$i\") 2>/dev/null && echo open $i; i=$((i+1)); done; echo end";
        let outcome = bed.run(&bed.command(&["/bin/busybox", "sh", "-c", script]));
        assert_eq!(outcome.ok(), "end\n", "{rung}");
    }
}

fn rustix_set_inheritable(file: &fs::File) {
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
}

const HELPER: &str = "KILN_SANDBOX_TEST_DIR";

/// Not a test by itself: the process that is killed below.
#[test]
fn helper_that_runs_a_job_until_it_is_killed() {
    let Ok(place) = std::env::var(HELPER) else { return };
    let (rung, mark, dir) = {
        let mut parts = place.splitn(3, ' ');
        (
            parts.next().unwrap().parse::<Rung>().unwrap(),
            parts.next().unwrap().to_owned(),
            parts.next().unwrap().to_owned(),
        )
    };
    let dir = Path::new(&dir);
    let root = if rung.has_overlay() {
        Root::Overlay { lowers: vec![dir.join("image")], upper: dir.join("upper"), work: dir.join("work") }
    } else {
        Root::Dir(dir.join("image"))
    };
    let script = format!("(setsid sleep {mark} &); echo up; sleep {mark}");
    let mut job = Job::new(root, ["/bin/sh", "-c", &script].map(Into::into).to_vec());
    job.user = User::default();
    job.mounts =
        vec![Mount::File { target: "/run/secrets/key".into(), content: "k3y-k3y".into(), mode: 0o400, uid: 0, gid: 0 }];
    let mut out = |_: Stream, bytes: &[u8]| eprintln!("{}", String::from_utf8_lossy(bytes));
    let _ = kiln_sandbox::run(&job, rung, &init(), &mut out, &Cancel::new());
}

#[test]
fn killing_kiln_kills_the_tree_and_cleans_up() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let before = dump(&bed.image());
        let mark = format!("6{:06}", std::process::id());
        let mut kiln = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "traces::helper_that_runs_a_job_until_it_is_killed", "--nocapture"])
            .env(HELPER, format!("{rung} {mark} {}", bed.dir.path().display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let up =
            BufReader::new(kiln.stderr.take().unwrap()).lines().map_while(Result::ok).any(|line| line.contains("up"));
        assert!(up, "{rung}");
        assert!(!processes_with(&mark).is_empty(), "{rung}");
        kiln.kill().unwrap();
        kiln.wait().unwrap();
        let dir = bed.dir.path().to_str().unwrap();
        let clean = || {
            processes_with(&mark).is_empty()
                && !fs::read_to_string("/proc/mounts").unwrap().contains(dir)
                && dump(&bed.image()) == before
                && fs::read_dir(bed.path("work")).unwrap().count() == 0
                && fs::read_dir(bed.dir.path()).unwrap().count() == 3
        };
        let end = Instant::now() + Duration::from_secs(20);
        while !clean() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(clean(), "{rung}: {:?} {:?}", processes_with(&mark), dump(bed.dir.path()));
    }
}
