//! What a command can and cannot do: users, capabilities, syscalls, kernel files, network, limits.

use kiln_sandbox::{Exit, ExtraHost, Limits, Network, Resource, Rung, Security, Ulimit, User, hosts_file};

use crate::bed::{Bed, have_root_rung, rungs};

/// `name: value` of `/proc/self/status`.
fn status(text: &str, name: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim_start_matches(':').trim().to_owned()
}

#[test]
fn the_user_is_exactly_the_given_one() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        assert_eq!(bed.sh("id -u; id -g; id -G").ok(), "0\n0\n0\n", "{rung}");
        let mut job = bed.script("id -u; id -g; id -G; umask; touch /tmp/x 2>/dev/null || echo denied");
        job.user = User { uid: 1234, gid: 567, groups: vec![567, 89] };
        // Between virtual users there are no permissions.
        let denied = if rung == Rung::Userns1 { "" } else { "denied\n" };
        assert_eq!(bed.run(&job).ok(), format!("1234\n567\n567 89\n0022\n{denied}"), "{rung}");
        job.umask = 0o077;
        job.argv = ["sh", "-c", "umask"].map(Into::into).to_vec();
        assert_eq!(bed.run(&job).ok(), "0077\n");
    }
}

#[test]
fn root_has_fourteen_capabilities_and_others_none() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let outcome = bed.run(&bed.command(&["cat", "/proc/self/status"]));
    let text = outcome.ok();
    let want = "00000000a80425fb";
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(text, name), want, "{name}");
    }
    assert_eq!(status(text, "CapInh"), "0000000000000000");
    assert_eq!(status(text, "CapAmb"), "0000000000000000");
    assert_eq!(status(text, "NoNewPrivs"), "0");
    assert_eq!(status(text, "Seccomp"), "2");
    assert_eq!(status(text, "SigBlk"), "0000000000000000");
    assert_eq!(status(text, "SigIgn"), "0000000000000000");

    let mut job = bed.command(&["cat", "/proc/self/status"]);
    job.user = User { uid: 1000, gid: 1000, groups: vec![] };
    let outcome = bed.run(&job);
    let text = outcome.ok();
    assert_eq!((status(text, "CapEff"), status(text, "CapPrm")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!(status(text, "CapBnd"), want);
}

#[test]
fn insecure_keeps_all_rights() {
    if !have_root_rung() {
        return;
    }
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let bed = Bed::new(Rung::Root);
    let mut job = bed.script("cat /proc/self/status; mount -t tmpfs none /tmp && echo mounted");
    job.security = Security::Insecure;
    let outcome = bed.run(&job);
    let text = outcome.ok();
    assert_eq!(status(text, "CapEff"), status(&own, "CapEff"));
    assert_eq!(status(text, "Seccomp"), "0");
    assert!(text.ends_with("mounted\n"));
}

#[test]
fn new_namespaces_and_mounts_are_refused() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    for command in [
        "unshare -m true",
        "unshare -U true",
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "hostname x",
        "chroot /proc/1/root true",
    ] {
        let outcome = bed.sh(command);
        assert_ne!(outcome.code(), 0, "{command}");
        let words = outcome.stderr.to_lowercase();
        assert!(["not permitted", "permission denied"].iter().any(|no| words.contains(no)), "{command}: {outcome:?}");
    }
}

#[test]
fn kernel_files_are_hidden_or_read_only() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let outcome = bed.sh("for f in kcore keys timer_list interrupts latency_stats sched_debug; do
            [ ! -e /proc/$f ] || [ -z \"$(head -c 1 /proc/$f 2>/dev/null)\" ] || echo visible $f; done
         [ -z \"$(ls /sys/firmware 2>/dev/null)\" ] || echo firmware
         [ -z \"$(ls /proc/scsi 2>/dev/null)\" ] || echo scsi
         for f in sys/kernel/hostname sysrq-trigger irq/default_smp_affinity; do
            if [ -e /proc/$f ] && (echo h > /proc/$f) 2>/dev/null; then echo writable $f; fi; done
         touch /sys/x 2>/dev/null && echo sysfs writable
         echo done");
    assert_eq!(outcome.ok(), "done\n");
}

#[test]
fn devices_are_the_usual_ones() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let outcome = bed.sh("for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo missing $d; done
             [ ! -e /dev/console ] && [ ! -e /dev/vda ] && [ ! -e /dev/kmsg ] || echo too many
             head -c 3 /dev/zero | wc -c; echo x > /dev/null; touch /dev/shm/a && ls -ld /dev/shm | cut -c1-10");
        if rung == Rung::Chroot && std::env::var_os("KILN_SANDBOX_TEST_IN_POD").is_some() {
            // This pod is a sandbox of ours, whose file system is closed to devices: a file stands in for /dev/null.
            assert!(outcome.ok().ends_with("missing urandom\n0\ndrwxrwxrwt\n"), "{outcome:?}");
            continue;
        }
        assert_eq!(outcome.ok(), "3\ndrwxrwxrwt\n", "{rung}");
    }
    if have_root_rung() {
        let bed = Bed::new(Rung::Root);
        let mut job = bed.script("readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; ls -d /dev/pts/ptmx /dev/mqueue; df -k /dev/shm | tail -1");
        job.shm_size = Some(1 << 20);
        let outcome = bed.run(&job);
        let text = outcome.ok();
        assert!(text.starts_with("/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n/dev/mqueue\n/dev/pts/ptmx\n"), "{text}");
        assert!(text.contains(" 1024 "), "{text}");
    }
}

#[test]
fn the_command_is_alone_with_its_init() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let mut job = bed.script("echo $$; cd /proc; echo [0-9]*; hostname; tr '\\0' '\\n' < /proc/1/environ; ls -l /proc/1/exe /proc/1/root /proc/1/fd; echo; ls /proc/self/fd");
    job.hostname = "buildkitsandbox".to_owned();
    let outcome = bed.run(&job);
    let text = outcome.ok();
    assert!(text.starts_with("2\n1 2\nbuildkitsandbox\n"), "{text}");
    // The three standard ones, and the directory that `ls` itself reads.
    assert!(text.ends_with("\n0\n1\n2\n3\n"), "{text}");
    assert!(!text.contains(" -> "), "the init can be looked into: {text}");
}

#[test]
fn the_program_cannot_be_executed_again_writable() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    std::fs::write(bed.image().join("evil"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(bed.image().join("evil"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = crate::bed::init().program;
    let before = std::fs::read(&program).unwrap();
    let mut job = bed.script("/evil & p=$!; i=0; while [ $i -lt 200 ]; do echo x > /proc/$p/exe && echo written; i=$((i+1)); done 2>/dev/null; true");
    job.security = Security::Insecure;
    assert_eq!(bed.run(&job).ok().replace("kiln-sandbox-init", ""), "");
    assert!(before == std::fs::read(&program).unwrap());
}

#[test]
fn no_network_is_a_loopback_alone_or_a_clear_error() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job =
            bed.script("ip -o link | wc -l; ip -o -4 addr show lo; ping -c1 -W1 127.0.0.1 >/dev/null && echo up");
        job.network = Network::None;
        let outcome = bed.run(&job);
        if rung.has_overlay() {
            let text = outcome.ok();
            assert!(text.contains("127.0.0.1/8") && text.ends_with("up\n"), "{text}");
            assert!(!text.contains("eth"), "{text}");
        } else {
            assert!(outcome.error().contains("network namespace"), "{outcome:?}");
        }
    }
}

#[test]
fn names_are_injected() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = bed.script("cat /etc/resolv.conf /etc/hosts /etc/hostname");
        let extra = [ExtraHost { name: "db".into(), address: "10.9.8.7".parse().unwrap() }];
        job.injection = Some(kiln_sandbox::Injection {
            resolv_conf: Some("nameserver 192.0.2.1\n".into()),
            hosts: Some(hosts_file("box", &extra)),
            hostname: Some("box\n".into()),
        });
        let outcome = bed.run(&job);
        let text = outcome.ok();
        assert!(
            text.starts_with("nameserver 192.0.2.1\n127.0.0.1\tlocalhost box\n")
                && text.ends_with("10.9.8.7\tdb\nbox\n"),
            "{text}"
        );
    }
}

#[test]
fn ulimits_are_set_and_never_raised() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = bed.script("ulimit -n; ulimit -Hn; ulimit -c");
        job.ulimits = vec![
            Ulimit { resource: Resource::Nofile, soft: Some(100), hard: Some(200) },
            Ulimit { resource: Resource::Core, soft: Some(0), hard: None },
        ];
        assert_eq!(bed.run(&job).ok(), "100\n200\n0\n", "{rung}");
        job.ulimits = vec![Ulimit { resource: Resource::Nofile, soft: None, hard: None }];
        bed.run(&job).ok();
    }
    assert_eq!(Resource::by_name("nofile"), Some(Resource::Nofile));
    assert_eq!(Resource::by_name("files"), None);
}

#[test]
fn limits_hold_and_leave_no_group() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let mut job = bed.script("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}");
    job.limits = Limits { memory: Some(32 << 20), ..Limits::default() };
    let outcome = bed.run(&job);
    match outcome.result {
        Err(kiln_sandbox::SandboxError::Limit { .. }) => {
            eprintln!("no control groups to test: {}", outcome.error());
            return;
        }
        Ok(Exit::OomKilled) => {}
        _ => panic!("{outcome:?}"),
    }
    let mut job = bed.script("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait");
    job.limits = Limits { pids: Some(6), cpu_millis: Some(1500), ..Limits::default() };
    let outcome = bed.run(&job);
    assert!(outcome.stderr.contains("fork"), "{outcome:?}");
    let mut job = bed.script("exit 3");
    job.limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    assert_eq!(bed.run(&job).code(), 3);
    let own = format!("kiln-run-{}-", std::process::id());
    let left =
        std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("{own}*")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn zombies_are_collected() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        // A zombie still has its id: daemons' scripts wait for that to go.
        let waits =
            "sh -c 'sleep 0 & echo $! > /tmp/pid'; sleep 1; kill -0 $(cat /tmp/pid) 2>/dev/null && echo zombie; true";
        assert_eq!(bed.sh(waits).ok(), "", "{rung}");
        let script = if rung.has_overlay() {
            "for i in 1 2 3 4 5; do (sleep 0 &) ; done; sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; echo end"
        } else {
            "for i in 1 2 3 4 5; do (sleep 0 &) ; done; echo end"
        };
        assert_eq!(bed.sh(script).ok(), "end\n", "{rung}");
    }
}

/// A 32-bit program that asks the kernel for `unshare(CLONE_NEWUSER)` and exits with the negated answer: 1 is "not
/// permitted", 38 "no such call", 0 success.
#[cfg(target_arch = "x86_64")]
fn program_of_32_bits() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [
        0xb8, 0x36, 0x01, 0x00, 0x00, // mov eax, 310 (unshare)
        0xbb, 0x00, 0x00, 0x00, 0x10, // mov ebx, CLONE_NEWUSER
        0xcd, 0x80, // int 0x80
        0xf7, 0xd8, // neg eax
        0x89, 0xc3, // mov ebx, eax
        0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1 (exit)
        0xcd, 0x80, // int 0x80
    ];
    let size = 84 + u32::try_from(code.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [BASE + 84, 52, 0, 0, 52 | 32 << 16, 1, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&code);
    file
}

#[test]
#[cfg(target_arch = "x86_64")]
fn programs_of_32_bits_run_behind_the_same_filter() {
    if !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let path = bed.image().join("bin/old");
    std::fs::write(&path, program_of_32_bits()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut job = bed.command(&["old"]);
    job.security = Security::Insecure;
    if bed.run(&job).code() != 0 {
        eprintln!("this kernel runs no 32-bit programs");
        return;
    }
    job.security = Security::Sandbox;
    assert_eq!(bed.run(&job).code(), 1);
}
