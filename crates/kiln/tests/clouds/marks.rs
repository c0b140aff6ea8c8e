//! `kiln node gc` where the book is gone, too: what a killed build left is found by its mark.

use kiln_ledger::Ledger;
use rustix::process::Signal;

use crate::gc::run;
use crate::scenes::google_build;
use crate::tap::Fault;

#[test]
fn what_carries_the_mark_of_a_build_is_found_without_its_book() {
    let good = run(&google_build, usize::MAX, Fault::None);
    let made = good.calls.iter().position(|call| call.starts_with("POST") && call.ends_with("/instances")).unwrap();
    let killed = run(&google_build, made + 2, Fault::Signal(Signal::KILL));
    let (t, left) = (&killed.scene.t, || (killed.scene.left)().0);
    assert_eq!((killed.code, left().len()), (None, 2), "{:?}\n{}", left(), killed.said);

    let books = Ledger::open(&t.home().join(".local/state/kiln/node-builds")).unwrap().books().unwrap();
    let [found] = &books[..] else { panic!("{books:?}") };
    std::fs::remove_file(&found.path).unwrap();
    let _ = t.kiln(&["node", "gc"]).ok();
    assert_eq!(left().len(), 2);

    let mut account = vec!["--cloud".to_owned(), "googlecompute".to_owned()];
    for (key, value) in &found.about.account {
        account.extend(["--account".to_owned(), format!("{key}={value}")]);
    }
    let account: Vec<&str> = account.iter().map(String::as_str).collect();
    let gc = |more: &[&str]| t.kiln(&[&["node", "gc"], more, &account[..]].concat());
    // It may be at work on another machine: not without being named.
    for more in [&["--find", "--dry-run"][..], &["--find"], &["--dry-run", "--build", &found.about.build]] {
        let out = gc(more).ok();
        assert!(out.stdout.contains("has no book here") && out.stdout.contains("found by its mark"), "{out}");
        assert!(out.stdout.contains(&found.about.build) && left().len() == 2, "{out}");
    }
    let json = gc(&["--json", "--build", &found.about.build]).ok().json();
    let resources = json["builds"][0]["resources"].as_array().unwrap();
    let told: Vec<&str> = resources.iter().map(|resource| resource["outcome"].as_str().unwrap()).collect();
    assert_eq!(told, ["deleted", "deleted"], "{json:#}");
    assert!(left().is_empty(), "{:?}", left());
}
