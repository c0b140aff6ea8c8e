//! Secrets: a command that looks for them everywhere finds none on any rung, and they are in nothing that is left.
//!
//! The hunter (`secrets/hunter.c`) knows the paths on the host and tries files, `/proc`, descriptors, keyrings, devices,
//! sockets, other processes' memory, and the way out of a chroot. Everything that is secret here begins with `MARK_`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kiln_testkit::{TestContext, tools};

use crate::{Bench, open};

/// Compiles the hunter and puts it into the context.
fn hunter(t: &TestContext) -> PathBuf {
    let to = t.context().join("hunter");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/build/secrets/hunter.c");
    let built = Command::new(tools::tool("gcc")).args(["-static", "-O1", "-o"]).arg(&to).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    to
}

/// A bench whose `kiln` is started by a careless session: secrets in its environment, home, keyring and descriptors.
fn careless() -> (Bench, String) {
    let scratch = TestContext::new();
    let planter = hunter(&scratch);
    let kiln = env!("CARGO_BIN_EXE_kiln");
    let t = TestContext::with_kiln(kiln);
    let session = t.out("session");
    std::fs::copy(planter, &session).unwrap();
    let script = t.out("kiln");
    std::fs::write(&script, format!("#!/bin/sh\nexec {} plant {kiln} \"$@\"\n", session.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let t = t.started_by(script);
    hunter(&t);
    let auth =
        r#"{"auths":{"reg.example":{"auth":"dXNlcnM6TUFSS19hdXRo"},"other.example":{"identitytoken":"MARK_token"}}}"#;
    std::fs::create_dir(t.home().join(".docker")).unwrap();
    std::fs::write(t.home().join(".docker/config.json"), auth).unwrap();
    std::fs::write(t.home().join(".git-credentials"), "https://u:MARK_git@h\n").unwrap();
    std::fs::create_dir(t.out("MARK_agent")).unwrap();
    std::fs::write(t.out("token"), "MARK_file").unwrap();
    let agent = t.out("MARK_agent/socket");
    let listener = UnixListener::bind(&agent).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let paths = [t.home().join(".docker/config.json"), t.home().join(".git-credentials"), t.out("token")];
    let hints: Vec<String> = paths.iter().map(|p| format!("{:?}", p.display().to_string())).collect();
    let t = t
        .env("MARKED", "MARK_environment")
        .env("TOKEN", "MARK_variable")
        .env("DOCKER_AUTH_CONFIG", r#"{"auths":{"x.example":{"identitytoken":"MARK_config"}}}"#)
        .env("SSH_AUTH_SOCK", agent.to_str().unwrap());
    let token = format!("--secret=id=file,src={}", t.out("token").display());
    let b = Bench::with(t).args(&[&token, "--secret=id=variable,env=TOKEN", "--ssh=default"]);
    (b, format!("\"/hunter\", {}", hints.join(", ")))
}

/// The rungs of this machine that run commands.
fn rungs(t: &TestContext) -> Vec<String> {
    let rows = t.kiln(&["doctor", "build", "--json"]).ok().json();
    let works = |row: &&serde_json::Value| row["available"] == true && row["rung"] != "none";
    rows.as_array().unwrap().iter().filter(works).map(|row| row["rung"].as_str().unwrap().to_owned()).collect()
}

/// What hunters said, without what the progress display puts in front.
fn finds(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_once("hunter: ")).map(|(_, said)| said.to_owned()).collect()
}

#[test]
fn a_hunter_finds_nothing() {
    let (b, hunter) = careless();
    for rung in rungs(&b.t) {
        let isolation = format!("--isolation={rung}");
        let hunt = |mounts: &str| {
            let text = format!("FROM busybox\nENV CONTROL=MARK_control\nCOPY hunter /\nRUN {mounts} [{hunter}]\n");
            finds(&b.run(&text, &["--no-cache", "--progress=plain", &isolation]).ok().stderr)
        };
        // What is in the image's own environment it finds, or it would not be worth much.
        let own = ["found MARK_control in the environment"];
        let is_own = |found: &&String| found.starts_with("found MARK_control in ");
        let found = hunt("");
        assert!(found.iter().any(|f| f == own[0]), "{rung}: {found:#?}");
        assert_eq!(found.iter().filter(|f| !is_own(f)).collect::<Vec<_>>(), ["done"], "{rung}");
        let found = hunt("--mount=type=cache,target=/cache --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t");
        assert_eq!(found.iter().filter(|f| !is_own(f)).collect::<Vec<_>>(), ["done"], "{rung}");
        // What it is given it finds there, and nowhere else.
        let found = hunt("--mount=type=secret,id=file --mount=type=ssh");
        let place = "found MARK_file in /run/secrets/file";
        assert_eq!(found.iter().filter(|f| !is_own(f)).collect::<Vec<_>>(), [place, "done"], "{rung}");
        let found = hunt("--mount=type=secret,id=variable,env=GIVEN");
        let elsewhere = |f: &&String| !is_own(f) && !f.starts_with("found MARK_variable in ");
        assert_eq!(found.iter().filter(elsewhere).collect::<Vec<_>>(), ["done"], "{rung}");
    }
}

#[test]
fn commands_of_one_build_do_not_see_each_others_secrets() {
    let (b, hunter) = careless();
    for rung in rungs(&b.t) {
        let text = format!(
            "FROM busybox AS a\nRUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=HELD sleep 6\n\
             FROM busybox\nCOPY hunter /\nRUN sleep 1\nRUN [{hunter}]\nCOPY --from=a /bin/busybox /again"
        );
        let out = b.run(&text, &["--no-cache", "--progress=plain", &format!("--isolation={rung}"), "--jobs=4"]).ok();
        assert_eq!(finds(&out.stderr), ["done"], "{rung}");
    }
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let (b, _) = careless();
    let name = format!("kiln-hunted-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let reached = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&reached);
    std::thread::spawn(move || listener.incoming().for_each(|_| told.store(true, Ordering::SeqCst)));
    for rung in rungs(&b.t) {
        let text = format!("FROM busybox\nCOPY hunter /\nRUN [\"/hunter\", \"@{name}\"]");
        let out = b.run(&text, &["--no-cache", "--progress=plain", &format!("--isolation={rung}")]).ok();
        assert!(!finds(&out.stderr).iter().any(|f| f.contains("abstract")), "{rung}: {out}");
    }
    assert!(!reached.load(Ordering::SeqCst));
}

/// Arguments of all processes of the machine, collected until told to stop.
fn watch(stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let seen = Mutex::new(std::collections::BTreeSet::new());
        while !stop.load(Ordering::SeqCst) {
            for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                let Ok(bytes) = std::fs::read(entry.path().join("cmdline")) else { continue };
                let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
                if text.contains("MARK_") {
                    seen.lock().unwrap().insert(text);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        seen.into_inner().unwrap().into_iter().collect()
    })
}

#[test]
fn secrets_are_in_nothing_that_is_left() {
    let (b, _) = careless();
    let stop = Arc::new(AtomicBool::new(false));
    let arguments = watch(&stop);
    let text = "FROM busybox\nRUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=V --mount=type=ssh \
         test -s /run/secrets/file && test -n \"$V\" && test -S \"$SSH_AUTH_SOCK\" && echo made > /made && sleep 1\n";
    let rungs = rungs(&b.t);
    for rung in &rungs {
        for style in ["plain", "json", "quiet", "tty"] {
            let args = ["--no-cache", &format!("--isolation={rung}"), &format!("--progress={style}")];
            let meta = format!("--metadata-file={}", b.t.out("meta.json").display());
            let oci = format!("--output=type=oci,dest={}", b.t.out("out.tar").display());
            let out = b.run(text, &[&args[..], &[&meta, "--compression=none", &oci, "--load"]].concat()).ok();
            let said = format!("{}{}", out.stdout, out.stderr);
            assert!(!said.contains("MARK_"), "{rung} {style}: {said}");
        }
        let failing = text.replace("sleep 1", "exit 3");
        let said = b.run(&failing, &["--no-cache", &format!("--isolation={rung}")]).exits(3).stderr;
        assert!(!said.contains("MARK_"), "{said}");
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(arguments.join().unwrap(), [""; 0], "in the arguments of a process");
    // Layers are not compressed here, so that their content can be searched too.
    for place in [b.t.store(), b.t.out("meta.json"), b.t.out("out.tar")] {
        let found = b.t.tool("grep", &["-r", "-l", "-a", "-e", "MARK_", "-e", "TUFSS1", place.to_str().unwrap()]);
        assert_eq!(found.code, 1, "found in {}", found.stdout);
    }
    let built = open(&b.t.store(), "t");
    assert!(!serde_json::to_string(&built.config).unwrap().contains("MARK_"));
    assert_eq!(built.read("made"), "made\n");
}
