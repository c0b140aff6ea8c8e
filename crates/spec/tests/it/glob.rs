//! Wildcards of `COPY`.

use kiln_spec::glob::{Pattern, PatternError, has_wildcards};

#[test]
fn as_filepath_match() {
    for (pattern, path, want) in [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*", "a/b", false),
        ("*c", "abc", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "ab", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("a?b", "a/b", false),
        ("a*b", "a/b", false),
        ("[\\]a]", "]", true),
        ("[\\-x]", "-", true),
        ("*x", "xxx", true),
        ("a**b", "a/x/b", false),
        ("a**b", "axyb", true),
        ("", "", true),
        ("", "a", false),
        ("a[0]", "a0", true),
        ("a\\[0]", "a[0]", true),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap().matches(path), want, "{pattern} {path}");
    }
}

#[test]
fn malformed() {
    for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "[a-b-c]", "[\\", "[a\\"] {
        assert!(matches!(Pattern::new(pattern), Err(PatternError::BadClass)), "{pattern}");
    }
    assert_eq!(Pattern::new("a\\").unwrap_err(), PatternError::TrailingEscape);
    assert_eq!(Pattern::new("[z-a]").unwrap_err(), PatternError::BackwardsRange);
    assert_eq!(Pattern::new("a".repeat(9000)).unwrap_err(), PatternError::TooLong);
}

#[test]
fn directories_that_can_hold_a_match() {
    let below = |pattern: &str, dir: &str| Pattern::with_globstar(pattern).unwrap().may_match_below(dir);
    assert!(below("a/*/c", "a") && below("a/*/c", "a/b") && !below("a/*/c", "b") && !below("a/*/c", "a/b/c"));
    assert!(below("a/**/c", "a/x/y") && below("**/c", "x/y") && below("*", "") && !below("*", "a"));
    assert!(below("a**", "ab/c"));
}

#[test]
fn no_pattern_takes_forever() {
    let pattern = Pattern::with_globstar("**/a*".repeat(1000) + "b").unwrap();
    assert!(!pattern.matches("a/".repeat(2000)));
    let pattern = Pattern::new("*a".repeat(2000) + "b").unwrap();
    assert!(!pattern.matches("a".repeat(4000)));
}

#[test]
fn literals() {
    assert_eq!(Pattern::new("a\\*b").unwrap().literal(), Some(b"a*b".as_slice()));
    assert_eq!(Pattern::new("a*").unwrap().literal(), None);
    assert!(has_wildcards("a*") && has_wildcards("[a") && has_wildcards("?") && !has_wildcards("a\\*b\\["));
}
