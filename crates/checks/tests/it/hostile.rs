//! Trees that were made to break whoever looks at them: no panic, no hang, and nothing of it passes.

use kiln_checks::profile::BUILT_IN;
use kiln_checks::system::{Directory, Memory};
use kiln_checks::{Profile, Report, System, Verdict, verify};

/// Every path that a reader reads.
const PATHS: [&str; 30] = [
    "/etc/sysctl.conf",
    "/etc/sysctl.d/a.conf",
    "/etc/fstab",
    "/etc/ssh/sshd_config",
    "/etc/cloud/cloud.cfg",
    "/etc/containerd/config.toml",
    "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/etc/machine-id",
    "/etc/resolv.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/modules",
    "/etc/modules-load.d/a.conf",
    "/etc/hostname",
    "/etc/localtime",
    "/boot/grub/grub.cfg",
    "/boot/grub/grubenv",
    "/boot/vmlinuz-6.1.0",
    "/boot/config-6.1.0",
    "/boot/loader/loader.conf",
    "/boot/loader/entries/a.conf",
    "/usr/lib/systemd/system/ssh.service",
    "/usr/lib/systemd/system-preset/a.preset",
    "/etc/yum.repos.d/a.repo",
    "/etc/apt/sources.list",
    "/root/.ssh/authorized_keys",
    "/etc/systemd/zram-generator.conf",
    "/opt/a.key",
];

fn all(system: &dyn System) -> Report {
    let profiles: Vec<Profile> = BUILT_IN.iter().filter_map(|profile| Profile::built_in(profile.name)).collect();
    verify(system, &profiles, &[])
}

fn with(body: &[u8]) -> Memory {
    PATHS.iter().fold(Memory::new(), |system, path| system.file(path, body))
}

#[test]
fn garbage_in_every_file_is_no_pass() {
    let noise: Vec<u8> = (0..20_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let text: Vec<u8> = b"{[(<'\"`$\\;#=:>)]}\n".repeat(2000);
    for body in [
        &b""[..],
        b"\n",
        &[0; 5000],
        &[0xff; 5000],
        &noise,
        &text,
        b"\x1b[2J<script>&amp;",
        "ä\u{202e}\u{0}".as_bytes(),
    ] {
        let report = all(&with(body));
        assert_eq!(report.verdict(), Verdict::Fail, "{:?}", &body[..body.len().min(20)]);
        let text = kiln_checks::report::text::render(&report, Default::default());
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}

#[test]
fn files_of_many_megabytes_are_told_and_not_read() {
    let report = all(&with(&vec![b'a'; 10 << 20]));
    let unknown: Vec<&str> = report
        .outcomes
        .iter()
        .filter(|o| o.finding.verdict == Verdict::Unknown)
        .map(|o| o.finding.reason.as_str())
        .collect();
    assert!(
        unknown.iter().any(|reason| reason.starts_with("/etc/sysctl.d/a.conf has more than 4194304 bytes")),
        "{unknown:?}"
    );
    assert!(unknown.iter().any(|reason| reason.starts_with("/etc/ssh/sshd_config has more than")), "{unknown:?}");
}

#[test]
fn links_and_directories_in_the_place_of_files() {
    let circles = PATHS.iter().fold(Memory::new(), |system, path| system.link(path, path));
    assert_ne!(all(&circles).verdict(), Verdict::Pass);
    let directories = PATHS.iter().fold(Memory::new(), |system, path| system.dir(path));
    assert_ne!(all(&directories).verdict(), Verdict::Pass);
    let nowhere = PATHS.iter().fold(Memory::new(), |system, path| system.link(path, "/../../../etc/shadow"));
    assert_ne!(all(&nowhere).verdict(), Verdict::Pass);
    let parents =
        ["/etc", "/var", "/boot", "/usr", "/opt", "/root"].iter().fold(Memory::new(), |s, path| s.link(path, "/etc"));
    assert_ne!(all(&parents).verdict(), Verdict::Pass);
    let files =
        ["/etc", "/var", "/boot", "/usr", "/opt", "/root"].iter().fold(Memory::new(), |s, path| s.file(path, "x"));
    assert_ne!(all(&files).verdict(), Verdict::Pass);
}

#[test]
fn a_deep_tree_ends_the_search_for_secrets() {
    let deep = format!("/opt{}/server.key", "/d".repeat(100));
    let report = all(&Memory::new().file(&deep, "-----BEGIN PRIVATE KEY-----"));
    let found = report.outcomes.iter().find(|o| o.rule.id == "secrets.scan").unwrap();
    assert_eq!(found.finding.verdict, Verdict::Unknown, "{:?}", found.finding);
}

#[test]
fn a_directory_with_escapes_shows_nothing_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path.trim_start_matches('/'));
    for path in PATHS {
        std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("../../../../../../../../..{path}"), at(path)).unwrap();
    }
    let report = all(&Directory::open(dir.path()).unwrap());
    assert_eq!(report.verdict(), Verdict::Fail);
    let user = report.outcomes.iter().find(|o| o.rule.id == "os.systemd.min").unwrap();
    assert_eq!(user.finding.reason, "there is no systemd", "the host's packages are not the root's");
}
