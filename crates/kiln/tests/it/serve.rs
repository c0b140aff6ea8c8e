//! `kiln registry`: the binary as a registry, its signals, its death, its files.

use kiln_testkit::{Layout, Output, Serving, TestContext};
use rustix::process::{Pid, Signal, kill_process};

use crate::images::{context, digest, with_app};

fn signal(serving: &Serving, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(serving.child.id()).unwrap()).unwrap();
    kill_process(pid, signal).expect("signal kiln");
}

/// curl's headers and status.
fn curl(t: &TestContext, args: &[&str]) -> Output {
    t.tool("curl", &[&["-sS", "-D", "-", "-o", "/dev/null"], args].concat())
}

/// A header of what curl printed.
fn header<'a>(output: &'a Output, name: &str) -> &'a str {
    let line = output.text().lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name}: {output}")).trim()
}

#[test]
fn a_death_in_the_midst_of_a_push_costs_nothing() {
    let t = context();
    let (first, rest) = (t.out("first"), t.out("rest"));
    std::fs::write(&first, b"hello ".repeat(200_000)).unwrap();
    std::fs::write(&rest, b"world").unwrap();
    let whole = [b"hello ".repeat(200_000), b"world".to_vec()].concat();
    let want = kiln_oci::Digest::of(&whole);
    let serving = Serving::start(&t, &[]);
    let begun = curl(&t, &["-X", "POST", &format!("http://{}/v2/a/blobs/uploads/", serving.address)]).ok();
    let place = header(&begun, "location").to_owned();
    let send = |serving: &Serving, file: &std::path::Path, method: &str, query: &str| {
        let url = format!("http://{}{place}{query}", serving.address);
        curl(&t, &["-X", method, "--data-binary", &format!("@{}", file.display()), &url]).ok()
    };
    assert_eq!(header(&send(&serving, &first, "PATCH", ""), "range"), "0-1199999");
    signal(&serving, Signal::KILL);
    drop(serving);
    let _ = t.kiln(&["fsck"]).ok();
    let serving = Serving::start(&t, &[]);
    let there = curl(&t, &[&format!("http://{}{place}", serving.address)]).ok();
    assert_eq!(header(&there, "range"), "0-1199999");
    let done = send(&serving, &rest, "PUT", &format!("?digest={want}"));
    assert!(done.text().starts_with("HTTP/1.1 201"), "{done}");
    let _ = t.kiln(&["fsck"]).ok();
    assert_eq!(std::fs::read(t.store().join("blobs/sha256").join(want.hex())).unwrap(), whole);
}

#[test]
fn kiln_pushes_to_kiln_and_a_signal_ends_it() {
    let (t, other) = (with_app(), context());
    let mut serving = Serving::start(&other, &["--allow-delete", "--json"]);
    let name = serving.reference("team/app:1");
    let pushed = t.kiln(&["push", "-q", "app:1", &name]).ok();
    assert_eq!(pushed.text(), digest(&t, "app:1"));
    // What was pushed is in the store of who serves, and can be pruned no more than any other image.
    let _ = other.kiln(&["prune", "--all", "--force"]).ok();
    assert_eq!(other.kiln(&["cat", "localhost/team/app:1", "/etc/motd"]).ok().text(), "hello");
    let fresh = context();
    assert_eq!(fresh.kiln(&["pull", "-q", &name]).ok().text(), pushed.text());
    signal(&serving, Signal::TERM);
    let status = serving.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    let _ = other.kiln(&["fsck"]).ok();
}

#[test]
fn users_are_asked_for_their_password() {
    let t = with_app();
    let users = t.out("users").display().to_string();
    let _ = t.kiln_with_input(&["registry", "passwd", "--password-stdin", &users, "me"], b"secret\n").ok();
    let _ = t.kiln_with_input(&["registry", "passwd", "--password-stdin", &users, "you"], b"other\n").ok();
    let checked = t.tool("htpasswd", &["-vb", &users, "me", "secret"]);
    assert_eq!(checked.code, 0, "{checked}");
    let other = context();
    let serving = Serving::start(&other, &["--htpasswd", &users, "--token", "--anonymous-pull"]);
    let name = serving.reference("team/app:1");
    let refused = t.kiln(&["push", "app:1", &name]).exits(3);
    assert!(!refused.stderr.contains("secret"), "{refused}");
    let login = ["login", "-u", "me", "--password-stdin", &serving.address];
    let _ = t.kiln_with_input(&login, b"secret").ok();
    let _ = t.kiln(&["push", "-q", "app:1", &name]).ok();
    let _ = context().kiln(&["pull", "-q", &name]).ok();
    let _ = t.kiln(&["registry", "passwd", "--delete", &users, "me"]).ok();
    let gone = t.kiln(&["registry", "passwd", "--delete", &users, "me"]).exits(1);
    assert!(gone.stderr.contains("there is no user `me`"), "{gone}");
    let colon = t.kiln_with_input(&["registry", "passwd", "--password-stdin", &users, "a:b"], b"x").exits(2);
    assert!(colon.stderr.contains("user name"), "{colon}");
}

#[test]
fn a_configuration_is_read_and_its_mistakes_are_shown() {
    let t = context();
    let file = t.out("registry_config.yml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    write("version: 0.1\nhttp:\n  adr: :5000\n");
    let wrong = t.kiln(&["registry", "serve", "--config", &path]).exits(1);
    assert!(wrong.stderr.contains("did you mean `addr`?") && wrong.stderr.contains("  adr: :5000"), "{wrong}");
    assert!(wrong.stderr.starts_with("error: `adr` means nothing here\n"), "{wrong}");
    for (args, code, says) in [
        (vec!["--addr", "nowhere"], 2, "expected HOST:PORT"),
        (vec!["--tls-cert", "x"], 2, "--tls-key"),
        (vec!["--token"], 2, "need --htpasswd"),
        (vec!["--proxy", "a b"], 2, "not the address of a registry"),
        (vec!["--image", "none"], 1, "there is no image `none`"),
        (vec!["--htpasswd", "/none"], 3, "cannot read /none"),
        (vec!["--config", "/none"], 1, "cannot read /none"),
        (vec!["--addr", "192.0.2.1:5000"], 3, "cannot listen on 192.0.2.1:5000"),
    ] {
        let refused = t.kiln(&[&["registry", "serve"], &args[..]].concat()).exits(code);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    // sealer's other name for the file, and headers of it.
    write(
        "version: 0.1\nhttp:\n  headers: {X-Team: [ours, theirs], X-Content-Type-Options: [nosniff]}\nstorage: {filesystem: {rootdirectory: /x}}\n",
    );
    std::fs::rename(&file, t.out("registry_config.yaml")).unwrap();
    let serving = Serving::start(&t, &["--config", &path]);
    let got = curl(&t, &[&format!("http://{}/v2/", serving.address)]).ok();
    assert_eq!(header(&got, "x-team"), "ours");
    let counted = |text: &str| got.stdout.to_ascii_lowercase().matches(text).count();
    assert_eq!((counted("x-team: theirs"), counted("x-content-type-options")), (1, 1), "{got}");
    let unit = t.kiln(&["registry", "serve", "--addr", ":5000", "--print-unit"]).ok();
    assert!(unit.text().contains("registry serve --addr :5000\n") && unit.text().contains("Type=notify"), "{unit}");
}

#[test]
fn images_are_where_other_tools_look() {
    let t = context();
    let layout = Layout::busybox(t.out("layout"));
    let serving = Serving::start(&t, &[]);
    let to = format!("docker://{}", serving.reference("docker.io/library/busybox:1"));
    let from = layout.skopeo("busybox:latest");
    let _ = t.tool("skopeo", &["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to]).ok();
    let listed = t.kiln(&["images", "--json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert!(t.kiln(&["ls", "busybox:1", "/bin"]).ok().text().contains("busybox"));
}
