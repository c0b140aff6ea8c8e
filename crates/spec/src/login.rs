//! Passwords in URLs, `https://user:password@host`: wherever such a text is shown or kept, without them.

use std::ops::Range;

/// What stands for a password; Go's, and so BuildKit's.
const MASK: &str = "xxxxx";

/// The text with `xxxxx` for each password, and for a user name that is alone before a web host: tokens are written so.
pub fn hidden(text: &str) -> String {
    replaced(text, |_| MASK.to_owned())
}

/// [`hidden`] in as many bytes, so that places in the text stay where they are.
pub fn hidden_in_place(text: &str) -> String {
    replaced(text, |secret| "x".repeat(secret.len()))
}

/// The URL without user and password; a user of SSH stays, who is part of the address.
pub fn removed(url: &str) -> String {
    match logins(url).first() {
        Some(login) if login.is_web => format!("{}{}", &url[..login.whole.start], &url[login.whole.end + 1..]),
        _ => url.to_owned(),
    }
}

fn replaced(text: &str, mask: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for login in logins(text) {
        if let Some(secret) = login.secret {
            out.push_str(&text[done..secret.start]);
            out.push_str(&mask(&text[secret.clone()]));
            done = secret.end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// What stands before the `@` of a URL.
struct Login {
    whole: Range<usize>,
    secret: Option<Range<usize>>,
    is_web: bool,
}

/// All logins in a text, in order.
fn logins(text: &str) -> Vec<Login> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let is_web = ["http", "https", "ftp"].iter().any(|s| ends_with_word(&text[..at], s));
        let start = at + "://".len();
        let ends = |c: char| c.is_whitespace() || "/?#\"'`<>|\\".contains(c);
        let authority = &text[start..start + text[start..].find(ends).unwrap_or(text.len() - start)];
        let Some(length) = authority.rfind('@') else { continue };
        let whole = start..start + length;
        let secret = match authority[..length].find(':') {
            Some(colon) => Some(start + colon + 1..whole.end),
            None => is_web.then(|| whole.clone()),
        };
        found.push(Login { whole, secret: secret.filter(|s| !s.is_empty()), is_web });
    }
    found
}

fn ends_with_word(text: &str, word: &str) -> bool {
    let before = text.len().checked_sub(word.len());
    before.is_some_and(|at| text.as_bytes()[at..].eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (text, want) in [
            ("https://user:hunter2@h/x.git#a:b", "https://user:xxxxx@h/x.git#a:b"),
            ("ADD https://u:p@ss:w@h:1/x HTTP://token@h/y /d", "ADD https://u:xxxxx@h:1/x HTTP://xxxxx@h/y /d"),
            ("ssh://git@h/x git@h:x https://h/@x ssh://u:p@h", "ssh://git@h/x git@h:x https://h/@x ssh://u:xxxxx@h"),
            ("https://:@h ä://ö:ü@h", "https://:@h ä://ö:xxxxx@h"),
            ("\"https://u:p@h\" a://b c@d", "\"https://u:xxxxx@h\" a://b c@d"),
        ] {
            assert_eq!(hidden(text), want);
            assert_eq!(hidden_in_place(text).len(), text.len());
        }
    }

    #[test]
    fn a_url_without_its_login_is_still_a_url() {
        assert_eq!(removed("https://user:hunter2@h/x?a=b@c"), "https://h/x?a=b@c");
        assert_eq!(removed("https://token@h/x.git"), "https://h/x.git");
        assert_eq!(removed("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(removed("git@h:x"), "git@h:x");
    }
}
