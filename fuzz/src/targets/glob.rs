//! Wildcards: a first line is the pattern, the rest is the path.

use kiln_spec::glob::{Pattern, has_wildcards};

/// Matches in both dialects.
pub fn run(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (text, path) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    for pattern in [Pattern::new(text), Pattern::with_globstar(text)].into_iter().flatten() {
        if let Some(only) = pattern.literal() {
            assert!(pattern.matches(only), "it matches its literal");
            assert_eq!(pattern.matches(path), path == only, "and nothing else");
        }
        let is_path = path.split(|b| *b == b'/').all(|name| !name.is_empty());
        if is_path && pattern.matches(path) {
            for at in path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at) {
                assert!(pattern.may_match_below(&path[..at]), "a walk would miss {path:?}");
            }
        }
    }
    if !has_wildcards(text) && !text.contains(&b'\\') && Pattern::new(text).is_ok() {
        assert!(Pattern::new(text).is_ok_and(|p| p.matches(text)), "a plain name matches itself");
    }
    let escaped: Vec<u8> = path.iter().flat_map(|b| if b.is_ascii() { vec![b'\\', *b] } else { vec![*b] }).collect();
    if let Ok(pattern) = Pattern::new(&escaped) {
        assert!(pattern.matches(path), "an escaped name matches itself");
    }
}
