//! `kiln node gc` and the books of builds: what it shows, what it leaves alone, what it refuses. No cloud is asked here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use kiln_ledger::{About, Book, Ledger, Resource};
use kiln_testkit::TestContext;

const BUILD: &str = "3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11";

struct Desk {
    t: TestContext,
}

impl Desk {
    fn new() -> Desk {
        Desk { t: TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")) }
    }

    fn dir(&self) -> PathBuf {
        self.t.home().join(".local/state/kiln/node-builds")
    }

    fn file(&self) -> PathBuf {
        self.dir().join(format!("{BUILD}.jsonl"))
    }

    /// The book of a build in `cloud` that has these open.
    fn book(&self, cloud: &str, open: &[(&str, &str, Option<&str>)]) -> Book {
        let about = About {
            build: BUILD.to_owned(),
            cloud: cloud.to_owned(),
            name: "node".to_owned(),
            account: BTreeMap::from([("project".to_owned(), "web".to_owned())]),
            began: "2026-01-02T03:04:05Z".to_owned(),
        };
        let book = Ledger::open(&self.dir()).unwrap().begin(about).unwrap();
        for (kind, name, id) in open {
            let resource = Resource {
                cloud: cloud.to_owned(),
                kind: (*kind).to_owned(),
                name: (*name).to_owned(),
                id: None,
                scope: BTreeMap::from([("zone".to_owned(), "z-a".to_owned())]),
                delete: format!("DELETE projects/web/zones/z-a/{kind}s/{name}"),
            };
            let entry = book.intend(resource).unwrap();
            if let Some(id) = id {
                book.made(&entry, id).unwrap();
            }
        }
        book
    }

    fn ended(&self) {
        drop(self.book("googlecompute", &[("disk", "packer-1", None), ("instance", "packer-1", Some("4711"))]));
    }
}

#[test]
fn without_books_there_is_nothing_to_do() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc"]), @r"
    exit: 0
    ----- stdout -----
    no build left anything
    ");
    assert_eq!(desk.t.kiln(&["node", "gc", "--json"]).ok().json(), serde_json::json!({"builds": [], "errors": []}));
    assert_eq!(fs::metadata(desk.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_dry_run_shows_what_is_there_and_how_it_is_deleted_and_needs_no_credentials() {
    let desk = Desk::new();
    desk.ended();
    let before = fs::read(desk.file()).unwrap();
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc", "--dry-run"]), @r"
    exit: 0
    ----- stdout -----
    build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11 (node, googlecompute, project=web, [DATE]) has ended
      instance packer-1 (id 4711): would be deleted: DELETE projects/web/zones/z-a/instances/packer-1
      disk packer-1: would be deleted: DELETE projects/web/zones/z-a/disks/packer-1
    ");
    let json = desk.t.kiln(&["node", "gc", "--dry-run", "--json"]).ok().json();
    let build = &json["builds"][0];
    assert_eq!(
        (&build["build"], &build["state"], &build["account"]["project"]),
        (&BUILD.into(), &"ended".into(), &"web".into())
    );
    let resource = &build["resources"][0];
    assert_eq!(
        (&resource["kind"], &resource["id"], &resource["by"]),
        (&"instance".into(), &"4711".into(), &"book".into())
    );
    assert_eq!((&resource["outcome"], &build["resources"][1]["kind"]), (&"open".into(), &"disk".into()));
    assert_eq!(fs::read(desk.file()).unwrap(), before);
}

#[test]
fn a_build_at_work_is_left_alone() {
    let desk = Desk::new();
    let book = desk.book("googlecompute", &[("disk", "packer-1", None)]);
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc"]), @r"
    exit: 0
    ----- stdout -----
    build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11 (node, googlecompute, project=web, [DATE]) is at work: left alone
      disk packer-1: left alone: DELETE projects/web/zones/z-a/disks/packer-1
    ");
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc", "--build", BUILD]), @r"
    exit: 1
    ----- stderr -----
    error: the build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11 is still running
    hint: stop it, or wait for its end
    ");
    assert_eq!(book.open().len(), 1);
    let json = desk.t.kiln(&["node", "gc", "--dry-run", "--json"]).ok().json();
    assert_eq!(json["builds"][0]["state"], "at-work");
}

#[test]
fn a_book_with_nothing_open_goes_without_asking_a_cloud() {
    let desk = Desk::new();
    drop(desk.book("googlecompute", &[]));
    let _ = desk.t.kiln(&["node", "gc"]).ok();
    assert!(!desk.file().exists());
}

#[test]
fn what_cannot_be_looked_after_is_an_error_and_stays() {
    let desk = Desk::new();
    drop(desk.book("skycloud", &[("vpc", "v", Some("vpc-1"))]));
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc"]), @r"
    exit: 3
    ----- stdout -----
    build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11 (node, skycloud, project=web, [DATE]) has ended
      vpc v (id vpc-1): left alone: DELETE projects/web/zones/z-a/vpcs/v
    ----- stderr -----
    error: there is no cloud `skycloud` here (there are googlecompute and alicloud-ecs)
    error: not all could be looked after
    hint: `kiln node gc` tries again; or delete it by the call shown
    ");
    assert!(desk.file().exists());
}

#[test]
fn a_damaged_book_is_told_and_kept() {
    let desk = Desk::new();
    drop(desk.book("googlecompute", &[]));
    let mut text = fs::read_to_string(desk.file()).unwrap();
    text += "hello\n";
    fs::write(desk.file(), &text).unwrap();
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc"]), @r"
    exit: 3
    ----- stdout -----
    build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11 (node, googlecompute, project=web, [DATE]) has ended, and its book is damaged
    ----- stderr -----
    error: [TMP]/home/.local/state/kiln/node-builds/3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11.jsonl is damaged: line 2: it is not a line of a book
    error: not all could be looked after
    hint: `kiln node gc` tries again; or delete it by the call shown
    ");
    assert_eq!(fs::read_to_string(desk.file()).unwrap(), text);
}

#[test]
fn books_that_others_may_write_are_not_believed() {
    let desk = Desk::new();
    desk.ended();
    fs::set_permissions(desk.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let out = desk.t.kiln(&["node", "gc", "--dry-run"]).exits(3);
    assert!(out.stderr.contains("cannot be trusted: others may write it") && !out.stdout.contains("instance"), "{out}");
    fs::set_permissions(desk.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    insta::assert_snapshot!(desk.t.kiln(&["node", "gc"]), @r"
    exit: 3
    ----- stderr -----
    error: [TMP]/home/.local/state/kiln/node-builds cannot be trusted: others may write it
    hint: what is in it would be deleted: it must be yours, and nobody else may write it (chmod go-w)
    ");
}

#[test]
fn what_books_say_does_not_drive_a_terminal() {
    let desk = Desk::new();
    drop(desk.book("sky\u{1b}[31mcloud", &[("vpc", "v\u{1b}]0;x\u{7}\nerror: \u{202e}", None)]));
    let out = desk.t.kiln(&["node", "gc"]).exits(3);
    let all = String::from_utf8([out.raw_stdout, out.raw_stderr].concat()).unwrap();
    assert!(!all.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !all.contains("\nerror:  "), "{all:?}");
}

#[test]
fn options_that_cannot_be_meant_are_errors() {
    let desk = Desk::new();
    let said = |args: &[&str], code: i32| desk.t.kiln(&[&["node", "gc"], args].concat()).exits(code).stderr;
    assert!(said(&["--build", "../x"], 1).contains("is not the identifier of a build"));
    let unknown = said(&["--build", BUILD], 1);
    assert!(unknown.contains("no book of the build") && unknown.contains("--cloud"), "{unknown}");
    assert!(said(&["--cloud", "googlecompute"], 2).contains("without --build or --find"));
    assert!(said(&["--account", "project=p"], 2).contains("--cloud"));
    let twice = ["--find", "--cloud", "googlecompute", "--account", "project=p", "--account", "project=q"];
    assert!(said(&twice, 2).contains("`project` was said before"));
    assert!(said(&["--find", "--cloud", "googlecompute", "--account", "project"], 2).contains("KEY=VALUE"));
    let near = said(&["--build", BUILD, "--cloud", "googlecomput"], 1);
    assert!(near.contains("did you mean `googlecompute`?"), "{near}");
}

#[test]
fn kiln_state_says_where_books_are() {
    let desk = Desk::new();
    desk.ended();
    let state = desk.t.root().join("state");
    let moved = state.join("node-builds");
    fs::create_dir(&state).unwrap();
    fs::rename(desk.dir(), &moved).unwrap();
    let Desk { t } = desk;
    let t = t.env("KILN_STATE", state.to_str().unwrap());
    assert!(t.kiln(&["node", "gc", "--dry-run"]).ok().stdout.contains("instance packer-1"));
}

#[test]
fn help_has_examples() {
    let desk = Desk::new();
    let help = desk.t.kiln(&["node", "gc", "--help"]).ok().stdout;
    let own = help.split("Options of every verb:").next().unwrap();
    insta::assert_snapshot!(own, @r"
    Delete what killed builds left in clouds

    Usage: kiln node gc [OPTIONS]

    Options:
          --build <ID>
              Only what this build left; the cloud is asked by its mark too

          --dry-run
              Show what is there, and delete nothing

          --find
              Ask the clouds also for what carries the mark of a build and is in no book

          --cloud <CLOUD>
              The cloud to ask where no book says it: googlecompute, alicloud-ecs

          --account <KEY=VALUE>
              Where in that cloud: project=…, zone=… or region=… (repeat)

          --json
              Print JSON

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    ");
    let examples = help.split("Examples:").nth(1).unwrap();
    insta::assert_snapshot!(examples.trim_end(), @r"

      kiln node gc --dry-run                  what killed builds left, and how each is deleted
      kiln node gc                            delete it
      kiln node gc --build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11
      kiln node gc --find --dry-run           and what carries a build's mark, but is in no book
      kiln node gc --build 3f0c4a52-… --cloud alicloud-ecs --account region=cn-hangzhou

    Builds whose process is alive are left alone. Credentials are looked for in the environment, as the
    clouds' own tools do. The exit code is 3 when something is still there that should not be.
    ");
    assert!(desk.t.kiln(&["node", "publish", "--help"]).ok().stdout.contains("Examples:"));
    let script = desk.t.kiln(&["completion", "bash"]).ok().stdout;
    assert!(script.contains("--dry-run") && script.contains("node__subcmd__gc"), "no completion of node gc");
}
