//! What is mounted, or put in place: binds, overlays, memory, secrets, sockets, and paths that try to lead out.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use kiln_sandbox::{Injection, Mount, Root, Rung, User};

use crate::bed::{Bed, dump, have_root_rung, init, rungs};

fn bind(bed: &Bed, source: &str, target: &str, readonly: bool) -> Mount {
    Mount::Bind { source: bed.path(source), subpath: "".into(), target: target.into(), readonly }
}

#[test]
fn a_read_only_bind_shows_the_source_and_never_changes_it() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::create_dir_all(bed.path("ctx/sub")).unwrap();
        fs::write(bed.path("ctx/sub/file"), "content").unwrap();
        fs::set_permissions(bed.path("ctx/sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("sub/file", bed.path("ctx/link")).unwrap();
        let before = dump(&bed.path("ctx"));
        let mut job = bed.script(
            "cat /mnt/ctx/link; stat -c %a /mnt/ctx/sub/file; echo x > /mnt/ctx/sub/file; rm -rf /mnt/ctx/sub; true",
        );
        job.mounts = vec![bind(&bed, "ctx", "/mnt/ctx", true)];
        assert_eq!(bed.run(&job).ok(), "content640\n", "{rung}");
        assert_eq!(dump(&bed.path("ctx")), before, "{rung}");
        if rung.has_overlay() {
            job.argv[2] = "echo x > /mnt/ctx/new".into();
            assert!(bed.run(&job).stderr.contains("Read-only"));
        }
    }
}

#[test]
fn a_single_file_is_bound() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::write(bed.path("file"), "hello").unwrap();
        let mut job = bed.script("cat /a/b/c; ls /a/b");
        job.mounts = vec![bind(&bed, "file", "/a/b/c", true)];
        assert_eq!(bed.run(&job).ok(), "helloc\n", "{rung}");
        job.mounts = vec![bind(&bed, "file", "/etc", true)];
        assert!(bed.run(&job).error().contains("/etc"));
        job.mounts = vec![bind(&bed, "nothing", "/x", true)];
        assert!(bed.run(&job).error().contains("nothing"));
    }
}

#[test]
fn a_cache_keeps_what_was_written_also_after_failure() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::create_dir(bed.path("cache")).unwrap();
        let mut job = bed.script("echo $(cat /root/.cache/n)1 > /root/.cache/n; mkdir -p /root/.cache/d; exit 4");
        job.mounts = vec![bind(&bed, "cache", "/root/.cache", false)];
        for _ in 0..3 {
            assert_eq!(bed.run(&job).code(), 4);
        }
        assert_eq!(fs::read_to_string(bed.path("cache/n")).unwrap(), "111\n", "{rung}");
        assert!(bed.path("cache/d").is_dir());
        job.argv[2] = "rm -rf /root/.cache/* /root/.cache; true".into();
        bed.run(&job).ok();
        assert!(bed.path("cache").is_dir(), "{rung}");
        assert!(!bed.path("cache/n").exists(), "{rung}");
    }
}

#[test]
fn a_cache_on_another_file_system_is_kept_too() {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    for rung in rungs() {
        let bed = Bed::new(rung);
        let cache = other.path().join(rung.to_string());
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join("old"), "old").unwrap();
        let mut job = bed.script(
            "cat /c/old; rm /c/old; mkdir -p /c/deep/er; echo new > /c/deep/er/file; chmod 600 /c/deep/er/file",
        );
        job.mounts =
            vec![Mount::Bind { source: cache.clone(), subpath: "".into(), target: "/c".into(), readonly: false }];
        assert_eq!(bed.run(&job).ok(), "old");
        assert!(!cache.join("old").exists(), "{rung}");
        assert_eq!(fs::read_to_string(cache.join("deep/er/file")).unwrap(), "new\n");
        assert_eq!(fs::metadata(cache.join("deep/er/file")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
        fs::remove_dir_all(cache).unwrap();
    }
}

#[test]
fn memory_is_empty_private_and_gone_afterwards() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::write(bed.image().join("tmp/image-file"), "kept").unwrap();
        let before = dump(&bed.image());
        let mut job = bed.script("ls -A /tmp; stat -c %a /tmp; echo x > /tmp/y; ls /tmp");
        job.mounts = vec![Mount::Tmpfs { target: "/tmp".into(), size: Some(1 << 20), mode: 0o1770 }];
        assert_eq!(bed.run(&job).ok(), "1770\ny\n", "{rung}");
        assert_eq!(dump(&bed.image()), before, "{rung}");
        if rung.has_overlay() {
            job.argv[2] = "head -c 2000000 /dev/zero > /tmp/big".into();
            assert_ne!(bed.run(&job).code(), 0);
        }
    }
}

#[test]
fn secrets_are_there_for_their_user_and_nowhere_afterwards() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let secret = Mount::File {
            target: "/run/secrets/token".into(),
            content: "s3cr3t-s3cr3t".into(),
            mode: 0o400,
            uid: 77,
            gid: 88,
        };
        let mut job = bed.script("stat -c '%a %u %g' /run/secrets/token; cat /run/secrets/token");
        job.mounts = vec![secret];
        job.user = User { uid: 77, gid: 88, groups: vec![] };
        assert_eq!(bed.run(&job).ok(), "400 77 88\ns3cr3t-s3cr3t", "{rung}");
        job.user = User { uid: 78, gid: 88, groups: vec![] };
        // Between virtual users there are no permissions.
        assert_eq!(bed.run(&job).code() == 0, rung == Rung::Userns1, "{rung}");
        job.user = User::default();
        job.argv[2] =
            "mv /run/secrets/token /root/stolen || true; ln /run/secrets/token /root/linked || true; false".into();
        assert_eq!(bed.run(&job).code(), 1);
        assert!(!bed.image().join("run").exists() && !bed.path("upper/run").exists(), "{rung}");
        let found =
            std::process::Command::new("grep").args(["-rlF", "s3cr3t-s3cr3t"]).arg(bed.dir.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{rung}");
    }
}

#[test]
fn a_script_is_put_under_dev_and_executed() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = bed.command(&["/dev/pipes/EOF", "a"]);
        let content = "#!/bin/sh\necho script $1\n".into();
        job.mounts = vec![Mount::File { target: "/dev/pipes/EOF".into(), content, mode: 0o755, uid: 0, gid: 0 }];
        job.user = User { uid: 9, gid: 9, groups: vec![] };
        assert_eq!(bed.run(&job).ok(), "script a\n", "{rung}");
    }
}

const CLIENT: &str = "KILN_SANDBOX_TEST_SOCKET";

/// Not a test by itself: the client inside the root.
#[test]
fn helper_that_talks_to_an_agent() {
    let Ok(path) = std::env::var(CLIENT) else { return };
    let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
    socket.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    println!("{}", String::from_utf8_lossy(&answer));
}

#[test]
fn an_agents_socket_is_forwarded() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let path = bed.path("agent");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut text = [0; 4];
                // A first connection comes to see that somebody listens.
                if connection.read_exact(&mut text).is_ok() {
                    connection.write_all(&text.map(|byte| byte.to_ascii_uppercase())).unwrap();
                }
            }
        });
        // This test program is static: it is its own client in the root.
        fs::copy(std::env::current_exe().unwrap(), bed.image().join("client")).unwrap();
        let mut job = bed.script("stat -c '%a %u' /run/agent; /client --exact mounts::helper_that_talks_to_an_agent --nocapture | grep -o PING");
        job.env.push((CLIENT.into(), "/run/agent".into()));
        job.mounts =
            vec![Mount::Socket { source: path.clone(), target: "/run/agent".into(), mode: 0o600, uid: 5, gid: 6 }];
        job.user = User { uid: 5, gid: 6, groups: vec![] };
        let outcome = bed.run(&job);
        assert_eq!(outcome.stdout, "600 5\nPING\n", "{rung}: {outcome:?}");
        assert!(path.exists());
        job.mounts =
            vec![Mount::Socket { source: bed.path("none"), target: "/run/agent".into(), mode: 0o600, uid: 0, gid: 0 }];
        assert!(bed.run(&job).error().contains("none"));
    }
}

#[test]
fn an_overlay_mounts_layers_whose_changes_are_discarded() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        for dir in ["layer/sub", "m-upper", "m-work"] {
            fs::create_dir_all(bed.path(dir)).unwrap();
        }
        fs::write(bed.path("layer/sub/file"), "one").unwrap();
        let mut job = bed.script("cat /m/file; echo two > /m/file; cat /m/file");
        job.mounts = vec![Mount::Overlay {
            lowers: vec![bed.path("layer")],
            subpath: "sub".into(),
            upper: bed.path("m-upper"),
            work: bed.path("m-work"),
            target: "/m".into(),
            readonly: false,
        }];
        assert_eq!(bed.run(&job).ok(), "onetwo\n", "{rung}");
        assert_eq!(fs::read_to_string(bed.path("layer/sub/file")).unwrap(), "one");
    }
}

#[test]
fn mounts_may_lie_inside_each_other_and_over_the_systems_own() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::create_dir(bed.path("cache")).unwrap();
        fs::write(bed.path("file"), "inner").unwrap();
        let mut job = bed.script("cat /w/in/file; ls /w; ls -d /dev/shm/x");
        job.mounts = vec![
            Mount::Tmpfs { target: "/w".into(), size: None, mode: 0o755 },
            bind(&bed, "file", "/w/in/file", true),
            bind(&bed, "cache", "/dev/shm/x", false),
        ];
        assert_eq!(bed.run(&job).ok(), "innerin\n/dev/shm/x\n", "{rung}");
        assert!(!bed.image().join("w").exists());
        for target in ["/", "/..", "/bin/.."] {
            job.mounts = vec![Mount::Tmpfs { target: target.into(), size: None, mode: 0o755 }];
            assert!(bed.run(&job).error().contains("root"), "{rung} {target}");
        }
    }
    if have_root_rung() {
        let bed = Bed::new(Rung::Root);
        let mut job = bed.script("true");
        job.mounts = vec![Mount::Tmpfs { target: "/proc/sys".into(), size: None, mode: 0o755 }];
        assert!(bed.run(&job).error().contains("/proc"));
    }
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::create_dir(bed.path("host")).unwrap();
        fs::write(bed.path("host/resolv.conf"), "host's").unwrap();
        let image = bed.image();
        symlink("../../../../../../../../host/resolv.conf", image.join("etc/resolv.conf")).unwrap();
        symlink(bed.path("host"), image.join("out")).unwrap();
        symlink("/loop", image.join("loop")).unwrap();
        let before = dump(&bed.path("host"));
        let mut job = bed.script("cat /etc/resolv.conf; cat /host/resolv.conf; cat /out/cached");
        job.injection = Some(Injection { resolv_conf: Some("ours\n".into()), ..Injection::default() });
        job.mounts =
            vec![Mount::File { target: "/out/cached".into(), content: "c\n".into(), mode: 0o444, uid: 0, gid: 0 }];
        assert_eq!(bed.run(&job).ok(), "ours\nours\nc\n", "{rung}");
        assert_eq!(dump(&bed.path("host")), before, "{rung}");
        assert!(!bed.image().join("host").exists(), "{rung}");
        job.mounts = vec![Mount::Tmpfs { target: "/loop/x".into(), size: None, mode: 0o755 }];
        assert!(bed.run(&job).error().contains("loop"));
        job.mounts = vec![Mount::Tmpfs { target: "/new/../../x".into(), size: None, mode: 0o755 }];
        bed.run(&job).error();
    }
}

#[test]
fn an_image_with_a_link_for_proc_is_refused() {
    if !have_root_rung() {
        return;
    }
    for name in ["proc", "sys", "dev"] {
        let bed = Bed::new(Rung::Root);
        symlink("etc", bed.image().join(name)).unwrap();
        assert!(bed.sh("true").error().contains(&format!("mount onto /{name}")));
    }
}

#[test]
fn a_subpath_stays_in_its_source() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        fs::create_dir_all(bed.path("ctx/in")).unwrap();
        fs::write(bed.path("secret"), "host secret").unwrap();
        fs::write(bed.path("ctx/secret"), "of the context").unwrap();
        symlink(bed.path("secret"), bed.path("ctx/absolute")).unwrap();
        symlink("../../../secret", bed.path("ctx/in/relative")).unwrap();
        let mut job = bed.script("cat /s");
        for subpath in ["in/relative", "../secret", "in/../../secret"] {
            job.mounts = vec![Mount::Bind {
                source: bed.path("ctx"),
                subpath: subpath.into(),
                target: "/s".into(),
                readonly: true,
            }];
            assert_eq!(bed.run(&job).ok(), "of the context", "{rung} {subpath}");
        }
        job.mounts = vec![Mount::Bind {
            source: bed.path("ctx"),
            subpath: "absolute".into(),
            target: "/s".into(),
            readonly: true,
        }];
        bed.run(&job).error();
        job.mounts = vec![Mount::Bind {
            source: "/proc/self".into(),
            subpath: "root/etc".into(),
            target: "/s".into(),
            readonly: true,
        }];
        bed.run(&job).error();
    }
}

#[test]
fn a_hundred_and_thirty_layers_are_one_root() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let long = "a-rather-long-name-for-a-directory-of-layers-as-content-addressed-stores-have-them".repeat(2);
    let mut lowers = Vec::new();
    for number in 0..130 {
        let dir = bed.path(&long).join(format!("{number}:with,odd\\characters"));
        fs::create_dir_all(dir.join("files")).unwrap();
        fs::write(dir.join("files").join(number.to_string()), "").unwrap();
        fs::write(dir.join("top"), number.to_string()).unwrap();
        lowers.push(dir);
    }
    lowers.push(bed.image());
    let mut job = bed.script("ls /files | wc -l; cat /top");
    job.root = Root::Overlay { lowers: lowers.clone(), upper: bed.path("upper"), work: bed.path("work") };
    assert_eq!(bed.run(&job).ok(), "130\n0");
    job.root = Root::Overlay {
        lowers: lowers.iter().cycle().take(501).cloned().collect(),
        upper: bed.path("upper"),
        work: bed.path("work"),
    };
    assert!(bed.run(&job).error().contains("500"));
}

#[test]
fn layers_on_layers_are_refused_by_the_chroot_rung() {
    if !rungs().contains(&Rung::Chroot) {
        return;
    }
    let bed = Bed::new(Rung::Chroot);
    let mut job = bed.script("true");
    job.root = Root::Overlay { lowers: vec![bed.image()], upper: bed.path("upper"), work: bed.path("work") };
    assert!(bed.run(&job).error().contains("one directory"));
}

#[test]
fn an_overlay_can_be_probed_without_a_trace() {
    if !have_root_rung() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let works = kiln_sandbox::probe_overlay(dir.path(), &init());
    assert_eq!(works, Ok(()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(kiln_sandbox::probe_overlay(&dir.path().join("none"), &init()).is_err());
}
