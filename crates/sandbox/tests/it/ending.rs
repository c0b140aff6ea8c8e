//! Exit codes, signals, output, input, and commands that cannot be found or executed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_sandbox::{Cancel, Exit, OsBytes, Rung, SandboxError};

use crate::bed::{Bed, processes_with, run_on, rungs};

#[test]
fn output_and_exit_codes_come_through() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        bed.run(&bed.command(&["true"])).ok();
        let outcome = bed.sh("echo out; echo err >&2; exit 7");
        assert_eq!((outcome.code(), outcome.stdout.as_str(), outcome.stderr.as_str()), (7, "out\n", "err\n"), "{rung}");
        let outcome = bed.sh("kill -TERM $$");
        assert!(matches!(outcome.result, Ok(Exit::Signal(15))), "{rung}: {outcome:?}");
    }
}

#[test]
fn much_output_is_complete_and_in_order() {
    for rung in rungs() {
        let outcome = {
            let bed = Bed::new(rung);
            bed.sh("seq 1 100000")
        };
        let want: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        assert!(outcome.ok() == want, "{rung}: {} of {} bytes", outcome.stdout.len(), want.len());
    }
}

#[test]
fn standard_input_is_empty_or_what_was_given() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        assert_eq!(bed.sh("cat; echo end").ok(), "end\n");
        let mut job = bed.script("cat");
        job.stdin = Some(OsBytes(vec![b'x'; 300_000]));
        assert_eq!(bed.run(&job).ok().len(), 300_000, "{rung}");
    }
}

#[test]
fn commands_are_looked_up_like_a_shell_does() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let outcome = bed.run(&bed.command(&["no-such-command", "x"]));
        assert_eq!(outcome.code(), 127);
        assert!(outcome.stderr.contains("no-such-command"), "{outcome:?}");
        assert_eq!(bed.run(&bed.command(&["/no/such/file"])).code(), 127);

        let file = |name: &str, bytes: &[u8], mode| {
            let path = bed.image().join("bin").join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("plain", b"x", 0o644);
        assert_eq!(bed.run(&bed.command(&["/bin/plain"])).code(), 126);
        assert_eq!(bed.run(&bed.command(&["/etc"])).code(), 126);
        file("noformat", b"echo hi", 0o755);
        let outcome = bed.run(&bed.command(&["noformat"]));
        assert_eq!(outcome.code(), 126);
        assert!(outcome.stderr.contains("#!/bin/sh"), "{outcome:?}");
        file("script", b"#!/usr/bin/nothing\n", 0o755);
        let outcome = bed.run(&bed.command(&["script"]));
        assert_eq!(outcome.code(), 127);
        assert!(outcome.stderr.contains("/usr/bin/nothing"), "{outcome:?}");
        let mut foreign = fs::read("/bin/busybox").unwrap();
        foreign[18..20].copy_from_slice(&183u16.to_le_bytes());
        file("foreign", &foreign, 0o755);
        let outcome = bed.run(&bed.command(&["foreign"]));
        assert!(outcome.code() == 126 && outcome.stderr.contains("arm64"), "{outcome:?}");
    }
}

#[test]
fn a_static_program_runs_on_an_otherwise_empty_root() {
    for rung in rungs() {
        let bed = Bed::scratch(rung);
        fs::copy("/bin/busybox", bed.image().join("busybox")).unwrap();
        assert_eq!(bed.run(&bed.command(&["/busybox", "echo", "hello"])).ok(), "hello\n", "{rung}");
    }
}

#[test]
fn relative_commands_and_the_working_directory() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = bed.command(&["./busybox", "pwd"]);
        job.cwd = "/bin".into();
        assert_eq!(bed.run(&job).ok(), "/bin\n");
        job.cwd = "/nowhere".into();
        assert!(bed.run(&job).error().contains("/nowhere"));
        for fd in 0..12 {
            job.cwd = format!("/proc/self/fd/{fd}").into();
            assert!(bed.run(&job).error().contains("working directory"));
        }
    }
}

#[test]
fn an_empty_command_and_a_nul_byte_are_refused() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        assert!(bed.run(&bed.command(&[])).error().contains("empty"));
        assert!(bed.run(&bed.command(&["echo", "a\0b"])).error().contains("arguments"));
    }
}

#[test]
fn the_environment_is_exactly_the_given_one() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mut job = bed.command(&["env"]);
        job.env.push(("B".into(), "a b=c".into()));
        assert_eq!(bed.run(&job).ok(), "PATH=/bin\nB=a b=c\n", "{rung}");
    }
}

#[test]
fn cancelling_kills_everything_and_is_an_error() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let cancel = Cancel::new();
        let mark = format!("8{:06}", std::process::id());
        let job = bed.script(&format!("sleep {mark} & trap '' TERM; echo up; sleep {mark}"));
        let stopper = cancel.clone();
        let mut out = |_, _: &[u8]| stopper.cancel();
        let result = kiln_sandbox::run(&job, rung, &crate::bed::init(), &mut out, &cancel);
        assert!(matches!(result, Err(SandboxError::Cancelled)), "{rung}: {result:?}");
        assert_eq!(processes_with(&mark), Vec::<String>::new(), "{rung}");
        assert!(matches!(run_on(&job, rung, &cancel).result, Err(SandboxError::Cancelled)));
    }
}

#[test]
fn a_daemon_left_running_is_killed() {
    for rung in rungs() {
        let bed = Bed::new(rung);
        let mark = format!("7{:06}", std::process::id());
        bed.sh(&format!("(setsid sleep {mark} &) ; setsid nohup sleep {mark} & sleep {mark} & true")).ok();
        assert_eq!(processes_with(&mark), Vec::<String>::new(), "{rung}");
    }
}

#[test]
fn a_shielded_process_can_still_run_commands() {
    kiln_sandbox::shield().unwrap();
    for rung in rungs() {
        Bed::new(rung).sh("true").ok();
    }
}

#[test]
fn the_rung_none_runs_nothing() {
    let bed = Bed::new(Rung::None);
    assert!(matches!(bed.sh("true").result, Err(SandboxError::Unsupported { rung: Rung::None, .. })));
}
#[test]
fn ordinary_users_may_open_their_output_by_name() {
    if !crate::bed::have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let mut job = bed.script("echo a > /dev/stdout; echo b > /dev/stderr; cat /dev/stdin");
    job.user.uid = 1000;
    job.user.gid = 1000;
    job.stdin = Some("c".into());
    let outcome = bed.run(&job);
    assert_eq!((outcome.ok(), outcome.stderr.as_str()), ("a\nc", "b\n"));
    assert_eq!(fs::metadata("/dev/null").unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata("/dev/null").unwrap()), 0);
}
