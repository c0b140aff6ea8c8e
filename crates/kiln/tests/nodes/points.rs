//! A failure at every point of a build, with every `-on-error`: in one run there is a build for each point, and each has
//! an error-cleanup-provisioner that leaves a mark.

use std::path::Path;

use kiln_testkit::Output;

use crate::Node;
use crate::sshd::Sshd;

/// Where a build fails.
struct Point {
    /// The name of its build.
    name: &'static str,
    /// More keys of its builder.
    keys: &'static str,
    /// Its provisioners, with `ONLY` in each.
    provisioners: &'static str,
    /// Its post-processors, with `ONLY` in each.
    post: &'static str,
    /// What is said of it.
    says: &'static str,
    stage: Stage,
}

/// What there is when it fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing that could be cleaned up on.
    Begin,
    /// A target.
    Target,
    /// The result, which is no longer taken away.
    Made,
}

/// What is done then: the option, what is answered, whether the mark is left, and whether the result is.
const MODES: [(&str, &str, bool, bool); 5] = [
    ("cleanup", "", true, false),
    ("abort", "", false, true),
    ("run-cleanup-provisioner", "", true, true),
    ("ask", "c\n", true, false),
    ("ask", "a\n", false, true),
];

const fn at(name: &'static str, provisioners: &'static str, says: &'static str) -> Point {
    Point { name, keys: "", provisioners, post: "", says, stage: Stage::Target }
}

const fn after(name: &'static str, post: &'static str, says: &'static str) -> Point {
    Point { name, keys: "", provisioners: "", post, says, stage: Stage::Made }
}

/// Over a root in which the files that Kiln's own provisioners change are something else.
const fn odd(name: &'static str, provisioners: &'static str) -> Point {
    Point { name, keys: r#", "base": "odd.tar""#, provisioners, post: "", says: "", stage: Stage::Target }
}

const OFFLINE: [Point; 22] = [
    Point {
        name: "begin",
        keys: r#", "base": "broken.qcow2""#,
        provisioners: r#"{"type": "shell", "inline": ["true"], ONLY}"#,
        post: "",
        says: "qcow2 image",
        stage: Stage::Begin,
    },
    Point {
        name: "finish",
        keys: r#", "format": "qcow2", "base": "base.tar""#,
        provisioners: r#"{"type": "shell", "inline": ["true"], ONLY}"#,
        post: "",
        says: "would not boot",
        stage: Stage::Target,
    },
    at("shell", r#"{"type": "shell", "inline": ["exit 5"], ONLY}"#, "Script exited with non-zero exit status: 5"),
    at(
        "restarted",
        r#"{"type": "shell", "inline": ["reboot"], "expect_disconnect": true, ONLY},
           {"type": "shell", "inline": ["exit 6"], ONLY}"#,
        "Script exited with non-zero exit status: 6",
    ),
    at("time", r#"{"type": "shell", "inline": ["sleep 600"], "timeout": "1s", ONLY}"#, "timed out after 1 second"),
    at("upload", r#"{"type": "file", "content": "x", "destination": "/etc/hostname/x", ONLY}"#, ""),
    at(
        "download",
        r#"{"type": "file", "direction": "download", "source": "/gone", "destination": "x", ONLY}"#,
        "there is no `/gone` to download",
    ),
    at("local", r#"{"type": "shell-local", "inline": ["exit 7"], ONLY}"#, "exit status: 7"),
    at("ansible", r#"{"type": "ansible-local", "playbook_file": "play.yml", ONLY}"#, ""),
    at("timezone", r#"{"type": "kiln-timezone", "zone": "Mars/Base", ONLY}"#, ""),
    at("kernel", r#"{"type": "kiln-kernel", "version": "9.9.9", ONLY}"#, ""),
    at("headers", r#"{"type": "kiln-headers", ONLY}"#, ""),
    at("verify", r#"{"type": "kiln-verify", "profile": ["own.yaml"], ONLY}"#, "it does not pass as own"),
    odd("swap", r#"{"type": "kiln-swap", ONLY}"#),
    odd("sysctl", r#"{"type": "kiln-sysctl", "settings": {"vm.swappiness": "0"}, ONLY}"#),
    odd("dns", r#"{"type": "kiln-dns", "nameservers": ["9.9.9.9"], ONLY}"#),
    odd(
        "repository",
        r#"{"type": "kiln-repository", "kind": "apt", "id": "mine", "url": "http://m/", "suites": ["x"], ONLY}"#,
    ),
    odd("preload", r#"{"type": "kiln-preload", "archives": ["image.tar"], "mode": "archive", ONLY}"#),
    after("post-local", r#"{"type": "shell-local", "inline": ["exit 8"], ONLY}"#, "exit status: 8"),
    after("compress", r#"{"type": "compress", "output": "directory.d/x.tar.gz", ONLY}"#, "directory.d"),
    after(
        "checksum",
        r#"{"type": "checksum", "checksum_types": ["md5"], "output": "directory.d", ONLY}"#,
        "directory.d",
    ),
    after("manifest", r#"{"type": "manifest", "output": "directory.d", ONLY}"#, "directory.d"),
];

/// A template with a build for each point.
fn template(points: &[Point], builder: &str, cleanup: &str) -> String {
    let filled = |text: &str, point: &Point| text.replace("ONLY", &format!(r#""only": ["{}"]"#, point.name));
    let all = |pick: fn(&Point) -> &'static str| {
        let parts = points.iter().filter(|p| !pick(p).is_empty()).map(|p| filled(pick(p), p));
        parts.collect::<Vec<_>>().join(",\n")
    };
    let builders = points.iter().map(|p| builder.replace("NAME", p.name).replace("KEYS", p.keys)).collect::<Vec<_>>();
    format!(
        r#"{{"builders": [{}], "provisioners": [{}], "post-processors": [{}], "error-cleanup-provisioner": {cleanup}}}"#,
        builders.join(",\n"),
        all(|p| p.provisioners),
        all(|p| p.post)
    )
}

/// What is said of one build, to its end.
fn said(out: &Output, name: &str) -> String {
    let of = |line: &&str| line.contains(&format!(" {name}: ")) || line.contains(&format!("Build '{name}'"));
    out.stdout.lines().filter(of).collect::<Vec<_>>().join("\n")
}

fn fails(node: &Node, mode: &str, answer: &str, points: usize) -> Output {
    let on_error = format!("-on-error={mode}");
    let args = ["node", "build", "-color=false", "-force", "-parallel-builds=4", &on_error, "t.json"];
    // As many answers as there are questions.
    node.t.kiln_with_input(&args, answer.repeat(points).as_bytes()).exits(1)
}

#[test]
fn without_a_machine() {
    let root = crate::base()
        .file("etc/sysctl.d", 0o644, "no directory")
        .file("etc/apt", 0o644, "no directory")
        .file("var/lib", 0o644, "no directory")
        .dir("etc/fstab.kiln", 0o755)
        .dir("etc/cloud", 0o755)
        .file("etc/cloud/cloud.cfg.d", 0o644, "no directory");
    let node = Node::new();
    node.t.write("odd.tar", 0o644, root.tar());
    node.t.write("broken.qcow2", 0o644, b"QFI\xfb\0\0\0\x03");
    node.write("image.tar", "an archive");
    node.write("play.yml", "- hosts: all\n");
    node.write("own.yaml", "name: own\nchecks:\n  - {id: own.x, title: x, file: {path: /absent, exists: true}}\n");
    std::fs::create_dir_all(node.t.context().join("directory.d/x.tar.gz")).unwrap();
    let builder = r#"{"type": "offline", "name": "NAME", "vm_name": "made", "output_directory": "out-NAME"KEYS}"#;
    // Of the build `shell` the cleanup itself fails, which changes nothing.
    let cleanup = r#"{"type": "shell-local", "inline":
        ["echo cleaned >cleaned-$PACKER_BUILD_NAME", "test $PACKER_BUILD_NAME != shell"]}"#;
    let text = template(&OFFLINE, builder, cleanup);
    node.write("t.json", &with_base(&text));
    for (mode, answer, cleaned, left) in MODES {
        let out = fails(&node, mode, answer, OFFLINE.len());
        for point in &OFFLINE {
            let text = said(&out, point.name);
            let wanted = match point.stage {
                Stage::Begin => (false, left),
                Stage::Target => (cleaned, left),
                Stage::Made => (false, true),
            };
            let there = |name: &str| node.t.context().join(format!("{name}-{}", point.name)).exists();
            let found = (there("cleaned"), there("out"));
            assert_eq!(found, wanted, "{mode} {answer:?}, {}:\n{text}", point.name);
            assert!(text.contains("errored after") && text.contains(point.says), "{mode}, {}:\n{text}", point.name);
        }
        let failed = said(&out, "shell").contains("Error running the cleanup provisioner");
        assert_eq!(failed, cleaned, "{mode}: {}", said(&out, "shell"));
        assert!(out.stdout.contains("Builds finished but no artifacts were created."), "{out}");
        remove(node.t.context().as_path(), &OFFLINE);
    }
}

/// The usual base, for builders that name none.
fn with_base(text: &str) -> String {
    let lines = text.lines().map(|line| match line.contains(r#""output_directory""#) && !line.contains(r#""base""#) {
        true => line.replace(r#""type": "offline""#, r#""type": "offline", "base": "base.tar""#),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn remove(dir: &Path, points: &[Point]) {
    for point in points {
        let _ = std::fs::remove_file(dir.join(format!("cleaned-{}", point.name)));
        let _ = std::fs::remove_dir_all(dir.join(format!("out-{}", point.name)));
    }
}

/// The shell's parent is the session's server.
const CUT: &str = r#"{"type": "shell", "inline": ["kill -9 $(ps -o ppid= -p $PPID)", "sleep 100"], ONLY}"#;
const CUT_AND_BACK: &str = r#"
    {"type": "shell", "inline": ["kill -9 $(ps -o ppid= -p $PPID)", "sleep 100"], "expect_disconnect": true, ONLY},
    {"type": "shell", "inline": ["exit 6"], ONLY}"#;

#[test]
fn on_a_machine() {
    let server = Sshd::start();
    let node = Node::new();
    let there = server.scratch("there").display().to_string();
    node.t.write("key", 0o600, server.user_key.openssh().unwrap().expose());
    node.write("own.yaml", "name: own\nchecks:\n  - {id: own.x, title: x, file: {path: /absent, exists: true}}\n");
    let points = [
        at("shell", r#"{"type": "shell", "inline": ["exit 5"], ONLY}"#, "non-zero exit status: 5"),
        at("cut", CUT, "Script disconnected unexpectedly"),
        at("restarted", CUT_AND_BACK, "non-zero exit status: 6"),
        at("time", r#"{"type": "shell", "inline": ["sleep 600"], "timeout": "1s", ONLY}"#, "timed out after 1 second"),
        at("upload", r#"{"type": "file", "content": "x", "destination": "/proc/none/x", ONLY}"#, "/proc/none/x"),
        at(
            "download",
            r#"{"type": "file", "direction": "download", "source": "/gone", "destination": "x", ONLY}"#,
            "/gone",
        ),
        at("local", r#"{"type": "shell-local", "inline": ["exit 7"], ONLY}"#, "exit status: 7"),
        at("verify", r#"{"type": "kiln-verify", "profile": ["own.yaml"], ONLY}"#, "it does not pass as own"),
        at("kernel", r#"{"type": "kiln-kernel", "version": "9.9.9", ONLY}"#, ""),
        after("post-local", r#"{"type": "shell-local", "inline": ["exit 8"], ONLY}"#, "exit status: 8"),
    ];
    let builder = format!(
        r#"{{"type": "null", "name": "NAME", "ssh_host": "127.0.0.1", "ssh_port": {}, "ssh_username": "root",
            "ssh_private_key_file": "key", "ssh_host_key": "{}"}}"#,
        server.port,
        server.host_key.line()
    );
    // On the machine, also when its connection was lost or the time of the provisioner is over.
    let cleanup = format!(r#"{{"type": "shell", "inline": ["echo cleaned >{there}/cleaned-$PACKER_BUILD_NAME"]}}"#);
    node.write("t.json", &template(&points, &builder, &cleanup));
    for (mode, answer, cleaned, _) in MODES {
        let out = fails(&node, mode, answer, points.len());
        for point in &points {
            let text = said(&out, point.name);
            let mark = Path::new(&there).join(format!("cleaned-{}", point.name));
            let wanted = cleaned && point.stage == Stage::Target;
            assert_eq!(mark.exists(), wanted, "{mode} {answer:?}, {}:\n{text}", point.name);
            assert!(text.contains("errored after") && text.contains(point.says), "{mode}, {}:\n{text}", point.name);
        }
        remove(Path::new(&there), &points);
    }
}
