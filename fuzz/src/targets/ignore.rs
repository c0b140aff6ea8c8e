//! `.dockerignore`: up to a line of `--` are rules, after it paths.

use kiln_spec::dockerignore::{Ignore, MAX_RULES, clean};

/// A walk and single questions agree, and a walk misses nothing.
pub fn run(bytes: &[u8]) {
    let at = bytes.windows(4).position(|w| w == b"\n--\n");
    let (rules, paths) = at.map_or((bytes, &b"a/b/c"[..]), |at| (&bytes[..at], &bytes[at + 4..]));
    let (ignore, errors) = Ignore::parse(rules);
    assert!(errors.len() <= MAX_RULES + 1);
    for path in paths.split(|b| *b == b'\n').take(16) {
        let path = clean(path);
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        if path.starts_with(b"..") || path.is_empty() {
            continue;
        }
        let excluded = ignore.matches(path);
        assert_eq!(excluded, ignore.matched_by(path).is_some());
        if let Some(line) = ignore.matched_by(path) {
            assert!(ignore.rule_at(line).is_some(), "the rule that decides can be shown");
        }
        let mut below = ignore.root();
        for at in path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at) {
            let (out, next) = ignore.enter(&path[..at], &below);
            assert!(excluded || !out || ignore.may_reinclude_below(&path[..at]), "a walk would miss {path:?}");
            below = next;
        }
        assert_eq!(ignore.matches_in(path, &below), excluded);
    }
    let _ = clean(bytes);
}
