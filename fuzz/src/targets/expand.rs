//! `$variables` in words.

use kiln_spec::expand::{ExpandError, Expanded, Expander, MAX_LENGTH, mentions_variable};

use super::text;

/// Expands the text in every way a Dockerfile can ask for.
pub fn run(bytes: &[u8]) {
    let text = text(bytes);
    let lookup = |name: &str| match name {
        "x" => Some("a/b*a c".to_owned()),
        "e" => Some(String::new()),
        "long" => Some("ab".repeat(500)),
        _ => None,
    };
    for escape in ['\\', '`'] {
        let plain = Expander::new(escape);
        for how in [plain, plain.raw_quotes(), plain.raw_escapes(), plain.raw_escapes().keep_unset()] {
            check(&text, how.both(&text, &lookup), how.word(&text, &lookup));
        }
    }
    check(&text, Expander::heredoc().both(&text, &lookup), Expander::heredoc().word(&text, &lookup));
    if !text.contains(['\'', '"', '\\']) && !mentions_variable(&text) {
        let same = Expander::new('\\').word(&text, &lookup).expect("nothing to expand, nothing to go wrong");
        assert_eq!(same.value, text);
    }
}

fn check(text: &str, both: Result<Expanded, ExpandError>, word: Result<Expanded, ExpandError>) {
    match (both, word) {
        (Ok(both), Ok(word)) => {
            assert_eq!(both.value, word.value);
            assert!(both.words.iter().all(|w| !w.is_empty()));
            assert!(both.value.len() <= MAX_LENGTH);
        }
        (Err(both), Err(word)) => {
            assert!(text.is_char_boundary(both.offset), "{} is not in {text:?}", both.offset);
            assert_eq!(both, word);
        }
        (both, word) => panic!("one way fails, the other does not: {both:?} {word:?}"),
    }
}
