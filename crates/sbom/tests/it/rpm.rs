//! Databases that RPM made, and what Kiln finds in them beside what RPM says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_oci::Digest;
use kiln_sbom::{Inventory, Scanner};
use kiln_testkit::rootfs::Rootfs;
use kiln_testkit::tools::tool;
use tempfile::TempDir;

/// So many that the table of packages has inner pages.
const PACKAGES: usize = 40;
/// So many files that a package's header takes several pages.
const FILES: usize = 400;

/// One source package that gives many: of several licences and epochs, one of them large.
fn spec() -> String {
    let head = "Name: whole\nVersion: 1.0\nRelease: 1\nSummary: s\nLicense: GPLv2+ and MIT\nBuildArch: noarch\n\
        Vendor: The Vendor\nURL: https://example.org/whole\n%description\nd\n\
        %install\nmkdir -p %{buildroot}/opt/many\n";
    let touch = format!("for n in $(seq {FILES}); do echo $n > %{{buildroot}}/opt/many/a-file-with-a-name-$n; done\n");
    let parts = (0..PACKAGES).map(|n| {
        let epoch = if n % 3 == 0 { format!("Epoch: {n}\n") } else { String::new() };
        let files = if n == 7 { "/opt/many\n" } else { "" };
        format!(
            "%package -n part_{n}\nSummary: s\nVersion: 2.{n}~rc\nRelease: {n}.fc41\nLicense: MIT OR Apache-2.0\n{epoch}\
            %description -n part_{n}\nd\n%files -n part_{n}\n{files}"
        )
    });
    [head, &touch, "%files\n"].concat() + &parts.collect::<String>()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("start {}: {e}", command.get_program().to_string_lossy()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// RPM with its database in `db`, of any format it can read.
fn rpm(db: &Path, home: &Path) -> Command {
    let mut command = Command::new(tool("rpm"));
    command.env("HOME", home).arg("--dbpath").arg(db);
    command
}

/// A directory with packages installed in `db/rpmdb.sqlite`.
fn installed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("whole.spec"), spec()).unwrap();
    let top = format!("_topdir {}", path.join("build").display());
    let mut build = Command::new(tool("rpmbuild"));
    run(build.env("HOME", path).args(["-bb", "--quiet", "--define", &top]).arg(path.join("whole.spec")));
    let built = fs::read_dir(path.join("build/RPMS/noarch")).unwrap().map(|entry| entry.unwrap().path());
    let db = path.join("db");
    fs::create_dir(&db).unwrap();
    run(rpm(&db, path).arg("--initdb"));
    run(rpm(&db, path).args(["-i", "--justdb", "--nodeps", "--nosignature", "--ignoreos"]).args(built));
    dir
}

fn scan(name: &str, database: Vec<u8>) -> Inventory {
    let layer = Rootfs::new()
        .symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm")
        .file("etc/os-release", 0o644, "ID=fedora\nVERSION_ID=41\n")
        .file(&format!("usr/lib/sysimage/rpm/{name}"), 0o644, database);
    let mut scanner = Scanner::default();
    scanner.layer(&Digest::of(b"layer"), &layer.tar()[..]).unwrap();
    scanner.finish()
}

fn ours(found: &Inventory) -> BTreeSet<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "(none)".to_owned());
    let of_one = |p: &kiln_sbom::Package| {
        let licence = p.licences.first().map(|l| l.written.clone());
        let source = p.source.as_ref().map(|s| s.name.clone());
        let parts = [&p.architecture, &source, &p.vendor, &p.homepage, &licence].map(text);
        format!("{} {} {}", p.name, p.version, parts.join(" "))
    };
    found.packages.iter().map(of_one).collect()
}

fn of_rpm(db: &Path, home: &Path) -> BTreeSet<String> {
    let format =
        "%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH} %{SOURCERPM} %{VENDOR} %{URL} %{LICENSE}\n";
    run(rpm(db, home).args(["-qa", "--qf", format])).lines().map(|line| line.replace(" 0:", " ")).collect()
}

#[test]
fn a_database_of_sqlite_has_the_packages_that_rpm_lists() {
    let dir = installed();
    let db = dir.path().join("db");
    let found = scan("rpmdb.sqlite", fs::read(db.join("rpmdb.sqlite")).unwrap());
    assert_eq!(found.packages.len(), PACKAGES + 1);
    assert_eq!(ours(&found), of_rpm(&db, dir.path()));
    assert_eq!(found.doubts, []);
    assert_eq!(found.packages[0].locations[0].path, "/usr/lib/sysimage/rpm/rpmdb.sqlite");
    let expressions = found.packages.iter().filter_map(|p| p.licences[0].expression.as_deref());
    assert_eq!(expressions.collect::<BTreeSet<_>>(), BTreeSet::from(["GPL-2.0-or-later AND MIT", "MIT OR Apache-2.0"]));
}

#[test]
fn a_database_of_berkeley_db_has_the_packages_that_rpm_lists() {
    let dir = installed();
    let old = dir.path().join("old");
    fs::create_dir(&old).unwrap();
    let script = "import sqlite3, sys\n\
        print('VERSION=3\\nformat=bytevalue\\ntype=hash\\ndb_pagesize=4096\\nHEADER=END\\n 00000000\\n 29000000')\n\
        for number, blob in sqlite3.connect(sys.argv[1]).execute('select hnum, blob from Packages'):\n    \
        print(' ' + number.to_bytes(4, 'little').hex() + '\\n ' + blob.hex())\nprint('DATA=END')";
    let python = kiln_testkit::emulator::cached("validators/bin/python");
    let dump = run(Command::new(python).args(["-c", script]).arg(dir.path().join("db/rpmdb.sqlite")));
    fs::write(dir.path().join("dump"), dump).unwrap();
    run(Command::new(tool("db5.3_load")).arg("-f").arg(dir.path().join("dump")).arg(old.join("Packages")));
    let found = scan("Packages", fs::read(old.join("Packages")).unwrap());
    assert_eq!(found.packages.len(), PACKAGES + 1);
    assert_eq!(ours(&found), of_rpm(&old, dir.path()));
    assert_eq!(found.doubts, []);
}

/// Each cut and each change gives fewer packages and a doubt, or the same; never more, and never a crash.
#[test]
fn a_damaged_database_is_a_doubt() {
    let dir = installed();
    let whole = fs::read(dir.path().join("db/rpmdb.sqlite")).unwrap();
    let cut = scan("rpmdb.sqlite", whole[..whole.len() / 2].to_vec());
    assert!(cut.packages.len() < PACKAGES + 1 && !cut.doubts.is_empty(), "{:?}", cut.doubts);
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bad = whole.clone();
        bad[at..(at + 64).min(whole.len())].fill(0xa5);
        let found = scan("rpmdb.sqlite", bad);
        assert!(found.packages.len() <= PACKAGES + 1, "at {at}");
        let whole_list = found.packages.len() == PACKAGES + 1;
        assert!(whole_list || !found.doubts.is_empty(), "at {at}: {} packages", found.packages.len());
    }
    let log = scan("rpmdb.sqlite-wal", b"changes".to_vec());
    assert_eq!((log.packages.len(), log.doubts.len()), (0, 1));
}
