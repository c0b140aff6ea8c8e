//! Machines with one application: made of a container image, run by qemu, ended by the application.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kiln_oci::Digest;
use kiln_testkit::rootfs::busybox_rootfs;
use kiln_testkit::tools::tool;
use kiln_testkit::{Initramfs, Output, TestContext, kernels};
use rustix::process::{Pid, Signal, kill_process};

/// Far more than an emulated processor takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Says what it got, answers one request, and ends with 7.
const APPLICATION: &str = "#!/bin/sh
echo \"user $(id -u):$(id -g) in $(pwd), argument $1, variable $WHO, host $(hostname)\"
cat /etc/resolv.conf
test -e /.kiln && echo 'the first process left something behind'
(sleep 1000 &)
echo hello from inside | nc -l -p 8080
printf 'without an end'
exit 7
";

fn context() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(PATIENCE);
    t.write("root.tar", 0o644, busybox_rootfs().tar());
    t.write("app", 0o755, APPLICATION);
    t
}

/// Builds the machine `vm` of a Dockerfile's last lines.
fn build(t: &TestContext, lines: &str, more: &str) -> Output {
    t.write("Dockerfile", 0o644, format!("FROM scratch\nADD root.tar /\nCOPY --chmod=755 app /srv/app\n{lines}\n"));
    t.kiln(&["build", &format!("--output=type=microvm,dest={}{more}", directory(t).display()), "."])
}

fn directory(t: &TestContext) -> PathBuf {
    t.out("vm")
}

/// The kernel of this machine's package.
fn kernel() -> String {
    format!(",kernel={}", tool("vmlinuz").display())
}

#[test]
fn an_application_answers_and_its_status_comes_out() {
    let t = context();
    let lines = "ENV WHO=someone\nUSER 1000:2000\nWORKDIR /srv\nENTRYPOINT [\"./app\"]\nCMD [\"first\"]";
    let _ = build(&t, lines, &format!("{},hostname=web", kernel())).ok();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (forward, vm) = (format!("{port}:8080"), directory(&t).display().to_string());
    let args = ["node", "run", "--publish", &forward, "--accelerator", "tcg", "--timeout", "280", &vm];
    let mut kiln = t.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It says something before it listens; until then qemu takes the connection and lets it go again.
    let mut said = BufReader::new(kiln.stdout.take().unwrap());
    let mut out = String::new();
    while !out.contains("nameserver") && said.read_line(&mut out).unwrap() > 0 {}
    let mut text = String::new();
    while text.is_empty() && kiln.try_wait().unwrap().is_none() {
        let stream = TcpStream::connect(("127.0.0.1", port));
        let _ = stream.and_then(|mut s| s.read_to_string(&mut text));
        std::thread::sleep(Duration::from_millis(50));
    }
    said.read_to_string(&mut out).unwrap();
    let done = kiln.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(7), "{out}\n{err}");
    assert_eq!(text, "hello from inside\n", "{out}\n{err}");
    let wanted = "user 1000:2000 in /srv, argument first, variable someone, host web\nnameserver 10.0.2.3\n";
    assert!(out.starts_with(wanted) && out.ends_with("without an end"), "{out}\n{err}");
    assert!(!out.contains("left something behind"), "{out}");
}

#[test]
fn ctrl_c_asks_the_application_by_its_own_signal() {
    let t = context();
    // It ends by itself when nobody asks it, with another status.
    let script = "trap 'echo asked; exit 9' USR1; echo ready; sleep 250 & wait $!; exit 1";
    let lines = format!("STOPSIGNAL SIGUSR1\nCMD [\"/bin/sh\", \"-c\", \"{script}\"]");
    let _ = build(&t, &lines, &kernel()).ok();
    let vm = directory(&t).display().to_string();
    let args = ["node", "run", "--accelerator", "tcg", "--no-network", "--timeout", "280", &vm];
    let mut kiln = t.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(kiln.stdout.take().unwrap());
    let mut out = String::new();
    while !out.contains("ready") && said.read_line(&mut out).unwrap() > 0 {}
    kill_process(Pid::from_child(&kiln), Signal::INT).unwrap();
    said.read_to_string(&mut out).unwrap();
    let done = kiln.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!((done.status.code(), &*out), (Some(9), "ready\nasked\n"), "{err}");
}

#[test]
fn what_cannot_be_a_machine_is_told() {
    let t = context();
    let run = "ENTRYPOINT [\"/srv/app\"]";
    let refused = |lines: &str, more: &str, wanted: &str| {
        let out = build(&t, lines, more);
        assert!(out.stderr.contains(wanted) && out.code != 0, "{wanted:?} in\n{}", out.stderr);
        assert!(!directory(&t).join("manifest.json").exists());
    };
    refused("", &kernel(), "neither ENTRYPOINT nor CMD");
    refused(run, "", "the image has no kernel in /boot");
    refused(run, ",kernel=image:/boot/vmlinuz-9", "the image has no file `/boot/vmlinuz-9`");
    refused(run, ",kernel=/absent", "cannot read the kernel /absent");
    refused(&format!("{run}\nUSER nobody-here"), &kernel(), "no user `nobody-here`");
    refused(&format!("{run}\nCOPY app /.kiln/x"), &kernel(), "where Kiln's first process lies");
    t.write("broken", 0o644, "MZ and nothing else");
    let broken = format!(",kernel={}", t.context().join("broken").display());
    refused(run, &broken, "it is no Linux kernel: it is neither a bzImage nor an ELF file");
    refused(run, &format!("{},modules={}", kernel(), t.context().display()), "there is no modules.dep");
    refused(run, &format!("{},size=1G", kernel()), "size= is of type=disk");
    refused(run, &format!("{},hostname=a b", kernel()), "no name of a host");
}

#[test]
fn what_would_be_run_is_shown_and_what_was_changed_is_not_run() {
    let t = context();
    let vm = directory(&t).display().to_string();
    let absent = t.kiln(&["node", "run", &vm]);
    assert!(absent.stderr.contains("there is no manifest.json") && absent.stderr.contains("type=microvm"), "{absent}");
    let _ = build(&t, "CMD [\"/srv/app\"]", &kernel()).ok();
    let first = std::fs::read(directory(&t).join("initramfs")).unwrap();
    let _ = build(&t, "CMD [\"/srv/app\"]", &kernel()).ok();
    assert!(first == std::fs::read(directory(&t).join("initramfs")).unwrap(), "the same image, another initramfs");
    let dry = ["node", "run", "--dry-run", "--accelerator", "tcg", "-p", "127.0.0.1:8080:80", "--memory", "300", &vm];
    let shown = t.kiln(&dry).ok();
    let shown = shown.text();
    for wanted in ["type=q35,accel=tcg", "-m 300M", "hostfwd=tcp:127.0.0.1:8080-:80", "rdinit=/.kiln/init kiln.token="]
    {
        assert!(shown.contains(wanted), "{wanted:?} in {shown}");
    }
    let bad = t.kiln(&["node", "run", "-p", "80", &vm]);
    assert!(bad.stderr.contains("[ADDRESS:]PORT:PORT"), "{bad}");
    std::fs::write(directory(&t).join("initramfs"), &first[..first.len() / 2]).unwrap();
    let changed = t.kiln(&["node", "run", &vm]);
    assert!(changed.stderr.contains("`initramfs` is not what the manifest says"), "{changed}");
}

/// Puts other bytes in the place of a part, with a manifest that says so.
fn replace(t: &TestContext, part: &str, bytes: &[u8]) {
    std::fs::write(directory(t).join(part), bytes).unwrap();
    let path = directory(t).join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest[part]["size"] = bytes.len().into();
    manifest[part]["digest"] = Digest::of(bytes).to_string().into();
    std::fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn a_crash_at_once_a_missing_first_process_and_a_broken_kernel_are_told() {
    let t = context();
    let _ = build(&t, "CMD [\"/bin/sh\", \"-c\", \"kill -SEGV $$\"]", &kernel()).ok();
    let vm = directory(&t).display().to_string();
    let run = || t.kiln(&["node", "run", "--accelerator", "tcg", "--no-network", "--timeout", "280", &vm]);
    let _ = run().exits(139);
    let _ = build(&t, "CMD [\"/bin/sh\", \"-c\", \"exit 3\"]", &kernel()).ok();
    assert_eq!(run().exits(3).stdout, "");
    replace(&t, "initramfs", &Initramfs::new().dirs(&["dev"]).finish());
    let without = run().exits(1);
    let told = "the kernel found neither a first process in an initramfs nor a root file system";
    assert!(without.stderr.contains("while Kiln waited for its application to end"), "{without}");
    assert!(without.stderr.contains(told) && without.stderr.contains("panicked"), "{without}");
    replace(&t, "kernel", &kernels::pvh(&kernels::CRASH).build());
    let broken = run().exits(1);
    assert!(broken.stderr.contains("while Kiln waited for its application to end"), "{broken}");
    assert!(broken.stderr.contains("the serial console stayed silent"), "{broken}");
}
