//! What changed since the last run, told by name.

use kiln_plan::StepId;
use kiln_plan::why::{Change, Listed, Listing, Record, changes};

use crate::World;

/// What is new about each step of `after`, in words.
fn told(before: (&mut World, &str), after: (&mut World, &str)) -> Vec<Vec<String>> {
    let (old, old_facts) = before.0.try_plan_with(before.1).unwrap();
    let (new, new_facts) = after.0.try_plan_with(after.1).unwrap();
    let old = Record::of(&old, &old_facts, &|_| before.0.listing.clone());
    let old = Record::parse(&old.bytes()).expect("a record survives being kept");
    let now = Record::of(&new, &new_facts, &|_| after.0.listing.clone());
    changes(&new, &old, &now).iter().map(|changes| changes.iter().map(word).collect()).collect()
}

fn word(change: &Change) -> String {
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    match change {
        Change::New => "new".to_owned(),
        Change::Below { step: StepId(n) } => format!("below #{n}"),
        Change::Reads { step: StepId(n) } => format!("reads #{n}"),
        Change::Value { name, before, after } => format!("{name}: {} -> {}", side(before), side(after)),
        Change::Files { name, files, more } => {
            let files: Vec<String> = files.iter().map(|(path, how)| format!("{path} {how}")).collect();
            format!("{name}: {} +{more}", files.join(", "))
        }
    }
}

fn between(before: &str, after: &str) -> Vec<Vec<String>> {
    told((&mut World::new(), before), (&mut World::new(), after))
}

const NONE: [&str; 0] = [];

#[test]
fn nothing_changed() {
    let text = "FROM base\nRUN a\nCOPY b /c\nWORKDIR /d";
    assert!(between(text, &text.replace("RUN", "# a comment\nRUN")).iter().all(Vec::is_empty));
}

#[test]
fn a_command_and_what_is_above_it() {
    let told = between("FROM base\nRUN a\nRUN b", "FROM base\nRUN x\nRUN b");
    assert_eq!(told[0], NONE);
    assert_eq!(told[1], ["command: /bin/sh -c a -> /bin/sh -c x"]);
    assert_eq!(told[2], ["below #1"]);
}

#[test]
fn variables_by_name_and_secrets_without_values() {
    let text = "FROM base\nARG VERSION=1.2\nARG API_KEY=hunter2\nENV LONG=x\nRUN a";
    let changed =
        text.replace("1.2", "1.3").replace("hunter2", "hunter3").replace("=x", &format!("={}", "y".repeat(500)));
    let told = between(text, &changed);
    assert_eq!(told[1], ["$API_KEY: ? -> ?", "$LONG: x -> ?", "$VERSION: 1.2 -> 1.3"]);
    let (plan, facts) = World::new().try_plan_with(text).unwrap();
    let kept = String::from_utf8(Record::of(&plan, &facts, &|_| None).bytes()).unwrap();
    assert!(kept.contains("1.2") && !kept.contains("hunter2"), "{kept}");
}

#[test]
fn steps_that_come_and_go() {
    let told = between("FROM base\nRUN a\nRUN b", "FROM base\nCOPY x /\nRUN a\nRUN b");
    assert_eq!(told, [vec![], vec!["new"], vec!["below #1"], vec!["below #2"]]);
    let told = between("FROM base\nRUN a\nRUN b", "FROM base\nRUN b");
    assert_eq!(told[1], ["below #0"]);
}

#[test]
fn stages_are_told_apart() {
    let text = "FROM base AS x\nRUN a\nFROM base AS y\nRUN a\nCOPY --from=x /a /b";
    let told = between(text, &text.replacen("RUN a", "RUN b", 1));
    let changed: Vec<&Vec<String>> = told.iter().filter(|changes| !changes.is_empty()).collect();
    assert_eq!(changed, [&vec!["command: /bin/sh -c a -> /bin/sh -c b".to_owned()], &vec!["reads #1".to_owned()]]);
}

#[test]
fn flags_mounts_and_texts() {
    for (before, after, said) in [
        ("COPY a /b", "COPY --chmod=600 a /b", "--chmod: ? -> 600"),
        ("COPY --chown=1 a /b", "COPY --chown=2 a /b", "--chown: 1 -> 2"),
        ("COPY a /b", "COPY a /c", "destination: /b -> /c"),
        ("COPY <<E /b\nx\nE", "COPY <<E /b\ny\nE", "heredoc E: ? -> ?"),
        ("USER a\nRUN x", "USER b\nRUN x", "user: a -> b"),
        (
            "RUN --mount=type=tmpfs,target=/t x",
            "RUN --mount=type=tmpfs,target=/t,size=1m x",
            "mount /t: type=\"tmpfs\",target=\"/t\",size=null -> type=\"tmpfs\",target=\"/t\",size=1048576",
        ),
    ] {
        let told = between(&format!("FROM base\n{before}"), &format!("FROM base\n{after}"));
        assert!(told.last().unwrap().iter().any(|change| change == said), "{before}: {told:?}");
    }
}

#[test]
fn another_base() {
    let mut changed = World::new();
    changed.base.rootfs.diff_ids = vec![kiln_oci::Digest::of(b"other")];
    let told = told((&mut World::new(), "FROM base\nRUN a"), (&mut changed, "FROM base\nRUN a"));
    assert_eq!(told[1], ["below #0"]);
}

#[test]
fn files_by_name() {
    let listing = |files: &[(&str, &str, &str)]| {
        let listed = |(path, meta, content): &(&str, &str, &str)| {
            ((*path).to_owned(), Listed { meta: (*meta).to_owned(), content: (*content).to_owned() })
        };
        Some(Listing(files.iter().map(listed).collect()))
    };
    let mut before = World::new();
    before.listing = listing(&[("a", "m", "1"), ("b", "m", "1"), ("c", "m", "1"), ("same", "m", "1")]);
    let mut after = World::new();
    after.listing = listing(&[("a", "m", "2"), ("b", "x", "1"), ("d", "m", "1"), ("same", "m", "1")]);
    // The hash stands for what the listing shows.
    after.salt = "after";
    let said = told((&mut before, "FROM base\nCOPY src /"), (&mut after, "FROM base\nCOPY src /"));
    assert_eq!(said[1], ["/src: a content, b mode or type, c removed, d added +0"]);
    let many: Vec<(String, Listed)> =
        (0..50).map(|n| (format!("f{n:02}"), Listed { meta: String::new(), content: "x".to_owned() })).collect();
    after.listing = Some(Listing(many.into_iter().collect()));
    let said = told((&mut before, "FROM base\nCOPY src /"), (&mut after, "FROM base\nCOPY src /"));
    assert!(said[1][0].ends_with("f06 added +44"), "{said:?}");
    after.listing = None;
    let said = told((&mut before, "FROM base\nCOPY src /"), (&mut after, "FROM base\nCOPY src /"));
    assert_eq!(said[1], ["/src: ? -> ?"]);
}

#[test]
fn what_was_kept_by_another_version_is_not_read() {
    for bad in [&b""[..], b"{}", b"[1]", b"{\"version\":0,\"finished\":true,\"steps\":[]}", &[0xff; 9]] {
        assert!(Record::parse(bad).is_none());
    }
}
