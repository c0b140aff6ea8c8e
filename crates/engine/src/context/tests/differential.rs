//! Random trees, compared with the kernel and with the plain reading of the rules.

use std::collections::BTreeSet;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use super::*;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    /// A path of up to four components.
    fn path(&mut self, parts: &[&str]) -> String {
        (0..=self.roll(4)).map(|_| self.pick(parts)).collect::<Vec<_>>().join("/")
    }

    fn tree(&mut self, links: bool) -> Tree {
        let tree = Tree::new();
        for _ in 0..30 {
            let at = tree.path().join(self.path(&["a", "b", "c"]));
            // What is in the way stays; links on the way are not followed out of the tree.
            let parents = at.ancestors().skip(1).take_while(|dir| *dir != tree.path());
            if std::fs::symlink_metadata(&at).is_ok()
                || parents.into_iter().any(|dir| dir.is_symlink() || dir.is_file())
            {
                continue;
            }
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            match self.roll(if links { 5 } else { 3 }) {
                0 => std::fs::create_dir(&at).unwrap(),
                1 | 2 => std::fs::write(&at, "x").unwrap(),
                _ => {
                    let root = self.pick(&["", "", "/"]);
                    symlink(format!("{root}{}", self.path(&["a", "b", "c", "..", "."])), &at).unwrap();
                }
            }
        }
        tree
    }
}

#[test]
fn links_are_resolved_as_the_kernel_does_in_a_root() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..30 {
        let tree = dice.tree(true);
        let (source, root) = (tree.source(), openat(CWD, tree.path(), OFlags::PATH, Mode::empty()).unwrap());
        for _ in 0..60 {
            let path = dice.path(&["a", "b", "c", "..", "d"]);
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            // Whenever something is renamed anywhere on the machine, the kernel says that it cannot be sure of `..`.
            let kernel = loop {
                match openat2(&root, path.as_str(), OFlags::PATH, Mode::empty(), how) {
                    Err(Errno::AGAIN) => {}
                    found => break found,
                }
            };
            let kernel = kernel.map(|fd| rustix::fs::fstat(fd).unwrap().st_ino);
            let Ok(ours) = resolve(&source, path.as_bytes()) else {
                assert!(kernel.is_err(), "{path}");
                continue;
            };
            let ours = ours.map(|found| {
                let shown = if found.path.is_empty() { &b"."[..] } else { &found.path };
                statat(&root, shown, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap().st_ino
            });
            assert_eq!(ours, kernel.ok(), "{path} in {:?}", all(&source));
        }
    }
}

#[test]
fn a_walk_agrees_with_the_rules_and_with_single_questions() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for _ in 0..40 {
        let tree = dice.tree(false);
        let every: Vec<String> = tree.source().below(b"").unwrap().iter().map(|p| escape(&p.rel)).collect();
        let rule = |dice: &mut Dice| format!("{}{}", dice.pick(&["", "", "!"]), dice.path(&["a", "b", "*", "**", "c"]));
        let rules: Vec<String> = (0..=dice.roll(4)).map(|_| rule(&mut dice)).collect();
        let tree = tree.ignore(&rules.join("\n"));
        let ignore = Ignore::parse(rules.join("\n")).0;
        // What is not excluded, and the directories above.
        let mut expected = BTreeSet::new();
        for path in every.iter().filter(|path| !ignore.matches(path)) {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            expected.extend(ends.map(|end| path[..end].to_owned()));
        }
        let walked: BTreeSet<String> = tree.source().below(b"").unwrap().iter().map(|p| escape(&p.rel)).collect();
        assert_eq!(walked, expected, "{rules:?}");
        let single = tree.source();
        let asked: BTreeSet<String> =
            every.iter().filter(|path| single.stat(path.as_bytes()).unwrap().is_some()).cloned().collect();
        assert_eq!(asked, expected, "{rules:?}");
        // The walk after single questions, which have listed some directories already.
        let again: BTreeSet<String> = single.below(b"").unwrap().iter().map(|p| escape(&p.rel)).collect();
        assert_eq!(again, expected, "{rules:?}");
    }
}
