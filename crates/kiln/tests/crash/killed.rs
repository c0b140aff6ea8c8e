//! kill -9 at random moments: what is in the store stays whole, the next run completes, nothing is left.

use kiln_testkit::{Auth, Layout, Registry};

use crate::arena::Arena;
use crate::killer::{self, Moment};
use crate::random::{Random, number};

/// A verb under fire.
struct Verb<'a> {
    name: &'static str,
    /// A store as it is before the command.
    prepare: &'a dyn Fn() -> Arena,
    /// The command; the number is different for every store.
    args: &'a dyn Fn(&Arena, u64) -> Vec<String>,
    /// What must be the same however often the command was killed before it completed.
    result: &'a dyn Fn(&Arena, u64) -> String,
    /// What must be true after each death.
    after: &'a dyn Fn(&Arena, &str),
}

/// Nothing that is not true of every store.
fn nothing(_: &Arena, _: &str) {}

/// How often each verb is killed.
fn share() -> u64 {
    number("KILN_CRASH_POINTS").unwrap_or(20).div_ceil(5)
}

impl Verb<'_> {
    fn kill(&self) {
        let mut random = Random::of(self.name);
        let clean = (self.prepare)();
        let whole = self.run(&clean, 0, Moment::Never, false);
        assert!(whole.status.unwrap().success(), "{} completes when nobody kills it", self.name);
        let expected = (self.result)(&clean, 0);
        let (mut points, mut round) = (0, 0);
        // A command may end before its moment comes; so that a test ends, that is not tried for ever.
        while points < share() && round < 5 * share() {
            round += 1;
            let arena = (self.prepare)();
            for _ in 0..random.within(1..=3).min(share() - points) {
                let moment = match random.coin() {
                    true => Moment::AtChange(random.within(1..=whole.changes.max(1))),
                    false => {
                        let micros = u64::try_from(whole.took.as_micros()).unwrap();
                        Moment::After(std::time::Duration::from_micros(random.within(0..=micros)))
                    }
                };
                let group = random.coin();
                let why = format!("{}, round {round}, {moment:?}, the whole group: {group}", self.name);
                let end = self.run(&arena, round, moment, group);
                arena.is_sound(&why);
                (self.after)(&arena, &why);
                match end.status {
                    None => points += 1,
                    Some(status) => assert!(status.success(), "{why}: {status}"),
                }
            }
            let why = format!("{}, round {round}, completed", self.name);
            let last = arena.t.kiln(&strs(&(self.args)(&arena, round)));
            assert_eq!(last.code, 0, "{why}: {last}");
            assert_eq!((self.result)(&arena, round), expected, "{why}");
            let _ = arena.t.kiln(&["prune", "-f"]).ok();
            arena.is_sound(&why);
            arena.is_tidy(&why);
            assert_eq!((self.result)(&arena, round), expected, "{why}, pruned");
        }
        assert!(points > share() / 2, "{}: only {points} were killed in {round} rounds", self.name);
        println!(
            "{}: killed {points} times in {round} rounds; {} changes in {:?}",
            self.name, whole.changes, whole.took
        );
    }

    fn run(&self, arena: &Arena, round: u64, moment: Moment, group: bool) -> killer::End {
        if matches!(moment, Moment::AtChange(_) | Moment::Never) {
            // Changes are seen only in directories that are there.
            let _ = arena.t.kiln(&["images"]).ok();
        }
        killer::run(arena.t.command(&strs(&(self.args)(arena, round))), &arena.t.store(), moment, group)
    }
}

pub fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(|a| &**a).collect()
}

pub fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

const DOCKERFILE: &str = "\
FROM busybox AS base
COPY files /srv/files
RUN mkdir /data && for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do echo $i > /data/$i; done
FROM base AS left
RUN --mount=type=cache,target=/c echo run >> /c/log; cp -r /data /left; sleep 0.05
FROM base AS right
COPY files/1 /right/
RUN rm /data/1 && ln -s x /right/link && sleep 0.05
FROM base
COPY --from=left /left /left
COPY --from=right /right /right
RUN --mount=type=bind,from=left,target=/m cat /m/data/2 > /out && chmod 700 /srv
";

pub fn with_context(arena: Arena) -> Arena {
    let arena = arena.with_busybox();
    let mut random = Random::of("context");
    for n in 0..20 {
        arena.t.write(&format!("files/{n}"), 0o644, random.bytes(40_000));
    }
    arena.t.write("Dockerfile", 0o644, DOCKERFILE);
    arena
}

pub fn build(arena: &Arena) -> Vec<String> {
    let out = arena.t.out("app.tar");
    let mut args = words("build -q -t app --load --rewrite-timestamp .");
    args.extend([arena.base(), format!("--output=type=oci,dest={}", out.display())]);
    args
}

/// The image's digest, which is also that of the archive, if there is one.
pub fn built(arena: &Arena) -> String {
    let archive = std::fs::read(arena.t.out("app.tar")).unwrap();
    format!("{:?} {}", arena.digest("app"), kiln_oci::Digest::of(&archive))
}

#[test]
fn killed_build() {
    let verb = Verb {
        name: "build",
        prepare: &|| with_context(Arena::new()),
        args: &|arena, _| build(arena),
        result: &|arena, _| built(arena),
        after: &nothing,
    };
    verb.kill();
}

/// An image of busybox and some layers that cannot be compressed.
pub fn image(arena: &Arena, layers: usize) -> Layout {
    let mut random = Random::of("layers");
    let mut layout = Layout::new(arena.t.out("image"));
    let tar = |bytes: Vec<u8>| kiln_testkit::Rootfs::new().file("blob", 0o644, bytes).tar();
    let layers: Vec<_> = (0..layers).map(|_| tar(random.bytes(3 << 20))).collect();
    layout.image("image:latest", kiln_testkit::layout::busybox_config(), &layers);
    layout
}

#[test]
fn killed_pull() {
    let registry = Registry::start(Auth::None);
    let source = Arena::new();
    registry.push(&image(&source, 5), "image:latest", "some/image:1");
    let name = registry.reference("some/image:1");
    let verb = Verb {
        name: "pull",
        prepare: &Arena::new,
        args: &|_, _| words(&format!("pull -q {name}")),
        result: &|arena, _| arena.digest(&name).unwrap_or_default(),
        after: &nothing,
    };
    verb.kill();
}

#[test]
fn killed_push() {
    let registry = Registry::start(Auth::None);
    let source = Arena::new();
    image(&source, 5);
    let _ = source.t.kiln(&["load", "-i", &source.t.out("image").display().to_string(), "-t", "image"]).ok();
    let id = source.digest("image").unwrap();
    let verb = Verb {
        name: "push",
        prepare: &|| Arena::new().with_store_of(&source),
        args: &|_, round| words(&format!("push -q {id} {}", registry.reference(&format!("pushed/{round}:1")))),
        result: &|_, round| registry.digest(&format!("pushed/{round}:1")),
        after: &nothing,
    };
    verb.kill();
}

#[test]
fn killed_import() {
    let source = Arena::new();
    let mut random = Random::of("import");
    let mut files = kiln_testkit::Rootfs::new();
    for n in 0..200 {
        files = files.file(&format!("some/dir{}/{n}", n % 7), 0o644, random.bytes(20_000));
    }
    let tar = source.t.out("fs.tar");
    std::fs::write(&tar, files.tar()).unwrap();
    let verb = Verb {
        name: "import",
        prepare: &Arena::new,
        args: &|_, _| words(&format!("import {} made", tar.display())),
        result: &|arena, _| arena.digest("made").unwrap_or_default(),
        after: &nothing,
    };
    verb.kill();
}

#[test]
fn killed_prune() {
    let full = with_context(Arena::new());
    let _ = full.t.kiln(&strs(&build(&full))).ok();
    let expected = built(&full);
    for n in 0..4 {
        full.t.write("Dockerfile", 0o644, format!("FROM busybox\nCOPY files /{n}\nRUN cp -r /{n} /copy{n}\n"));
        let _ = full.t.kiln(&["build", "-q", "-t", "junk", &full.base(), "."]).ok();
    }
    let _ = full.t.kiln(&["rmi", "junk"]).ok();
    let verb = Verb {
        name: "prune",
        prepare: &|| with_context(Arena::new()).with_store_of(&full),
        args: &|_, _| words("prune -a -f"),
        result: &|arena, _| {
            // What has a name is still there, and what was forgotten is made again.
            let archive = arena.t.out("saved.tar").display().to_string();
            let _ = arena.t.kiln(&["save", "--format", "oci", "-o", &archive, "app"]).ok();
            let _ = arena.t.kiln(&strs(&build(arena))).ok();
            assert_eq!(built(arena), expected);
            arena.digest("app").unwrap()
        },
        after: &nothing,
    };
    verb.kill();
}

const NODE: &str = r#"{"builders": [{"type": "offline", "name": "node", "output_directory": "OUT"}], "provisioners": [
    {"type": "file", "source": "files", "destination": "/srv"},
    {"type": "shell", "inline": ["mkdir /data; for i in 0 1 2 3 4 5 6 7; do echo $i >/data/$i; done"]},
    {"type": "shell", "inline": ["sleep 0.05", "cp -r /data /copy", "rm /data/1", "chmod 700 /srv"]}]}"#;

fn with_template(arena: Arena) -> Arena {
    let mut random = Random::of("template");
    for n in 0..10 {
        arena.t.write(&format!("files/{n}"), 0o644, random.bytes(40_000));
    }
    arena.t.write("base.tar", 0o644, kiln_testkit::rootfs::busybox_rootfs().tar());
    arena.t.write("node.json", 0o644, NODE.replace("OUT", &arena.t.out("node").display().to_string()));
    arena
}

/// Names, modes, owners and contents of a node's root; times are those of the build.
fn root_of(arena: &Arena) -> Option<String> {
    let tar = arena.t.out("node").join("packer-node.tar");
    let sum = "tar -tvf $0 | awk '{print $1,$2,$3,$6,$7,$8}' | sha256sum; tar -xOf $0 | sha256sum; test -s $0";
    let sums = || std::process::Command::new("bash").args(["-ec", sum]).arg(&tar).output().unwrap();
    tar.exists().then(sums).map(|out| format!("{out:?}"))
}

#[test]
fn killed_node_build() {
    let whole = std::cell::RefCell::new(None);
    let verb = Verb {
        name: "node build",
        prepare: &|| with_template(Arena::new()),
        args: &|_, _| words("node build -force -builder offline -base base.tar node.json"),
        result: &|arena, _| {
            let root = root_of(arena).expect("a complete build has a result");
            let _ = whole.borrow_mut().get_or_insert_with(|| root.clone());
            root
        },
        after: &|arena, why| {
            // It is whole, or it is not there; nothing else is where it would be.
            let found = root_of(arena);
            assert!(found.is_none() || found == *whole.borrow(), "{why}: {found:?}");
            let entries = std::fs::read_dir(arena.t.out("node")).into_iter().flatten();
            let names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            assert!(names.iter().all(|name| *name == *"packer-node.tar"), "{why}: {names:?}");
        },
    };
    verb.kill();
}
