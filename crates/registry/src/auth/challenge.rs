//! Parsing `WWW-Authenticate`, and scopes.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's address, as sent.
        realm: String,
        /// The registry's name at the token server.
        service: Option<String>,
        /// The rights the refused request needs.
        scopes: Vec<Scope>,
    },
}

/// Rights on one thing, such as `repository:library/busybox:pull`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    kind: String,
    name: String,
    actions: BTreeSet<String>,
}

/// No challenge has more scopes or actions than this; a longer one is cut.
const MAX_SCOPES: usize = 16;

impl Scope {
    /// Rights on a repository.
    pub(crate) fn repository(name: &str, actions: &[&str]) -> Scope {
        let actions = actions.iter().map(|&a| a.to_owned()).collect();
        Scope { kind: "repository".to_owned(), name: name.to_owned(), actions }
    }

    fn parse(text: &str) -> Option<Scope> {
        let (kind, rest) = text.split_once(':')?;
        // A name may hold a port, so the actions are what follows the last colon.
        let (name, actions) = rest.rsplit_once(':')?;
        let actions: BTreeSet<String> =
            actions.split(',').filter(|a| !a.is_empty()).take(MAX_SCOPES).map(str::to_owned).collect();
        (!kind.is_empty() && !name.is_empty() && !actions.is_empty()).then(|| Scope {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions,
        })
    }

    /// Adds scopes to a list, joining those on the same thing. Returns whether anything was new.
    pub(crate) fn merge(into: &mut Vec<Scope>, more: &[Scope]) -> bool {
        let mut changed = false;
        for scope in more {
            match into.iter_mut().find(|have| have.kind == scope.kind && have.name == scope.name) {
                Some(have) => {
                    for action in &scope.actions {
                        changed |= have.actions.insert(action.clone());
                    }
                }
                None => {
                    into.push(scope.clone());
                    changed = true;
                }
            }
        }
        changed
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.kind, self.name)?;
        for (i, action) in self.actions.iter().enumerate() {
            write!(f, "{}{action}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Challenge {
    /// The strongest challenge among the headers Kiln can answer: Bearer before Basic.
    ///
    /// # Errors
    /// What was asked for instead, in words.
    pub(crate) fn strongest(headers: &HeaderMap) -> Result<Challenge, String> {
        let mut offered = Vec::new();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            offered.extend(parse(&String::from_utf8_lossy(value.as_bytes())));
        }
        let of = |scheme: &str| offered.iter().find(|c| c.scheme.eq_ignore_ascii_case(scheme));
        if let Some(bearer) = of("bearer").filter(|c| c.parameter("realm").is_some()) {
            let scopes = bearer.parameter("scope").unwrap_or_default();
            return Ok(Challenge::Bearer {
                realm: bearer.parameter("realm").unwrap_or_default().to_owned(),
                service: bearer.parameter("service").map(str::to_owned),
                scopes: scopes.split_whitespace().filter_map(Scope::parse).take(MAX_SCOPES).collect(),
            });
        }
        if of("basic").is_some() {
            return Ok(Challenge::Basic);
        }
        Err(match offered.first() {
            None => "it refuses access without saying how to log in".to_owned(),
            Some(c) if c.scheme.eq_ignore_ascii_case("bearer") => "it names no token server".to_owned(),
            Some(c) => format!("`{}` is neither Basic nor Bearer", kiln_http::printable(&c.scheme)),
        })
    }
}

struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The challenges of one header value: `Scheme name=value, name="value", Scheme2 …`. What cannot be understood is
/// skipped.
fn parse(text: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let word = &rest[..rest.find(|c| !is_token(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            // Something that is not a token: skip to the next comma.
            match rest.find(',') {
                Some(comma) => rest = &rest[comma..],
                None => return offers,
            }
            continue;
        }
        rest = &rest[word.len()..];
        let after = rest.trim_start();
        match after.strip_prefix('=') {
            Some(value) => {
                let (value, tail) = parameter_value(value.trim_start());
                rest = tail;
                if let Some(offer) = offers.last_mut() {
                    offer.parameters.push((word.to_owned(), value));
                }
            }
            None => offers.push(Offer { scheme: word.to_owned(), parameters: Vec::new() }),
        }
    }
}

/// A token or quoted string at the start of `text`, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Lenient: unquoted values with slashes and colons exist.
        let end = text.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strongest(values: &[&str]) -> Result<Challenge, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::strongest(&headers)
    }

    #[test]
    fn bearer_wins_over_basic_wherever_it_stands() {
        let want = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("reg, the \"one\"".to_owned()),
            scopes: vec![Scope::repository("a/b", &["pull", "push"])],
        };
        let bearer =
            r#"Bearer realm="https://auth.example/token",service="reg, the \"one\"",scope="repository:a/b:push,pull""#;
        assert_eq!(strongest(&[bearer]).unwrap(), want);
        assert_eq!(strongest(&["Basic realm=\"x\"", bearer]).unwrap(), want);
        assert_eq!(strongest(&[&format!("Basic realm=\"x\", charset=UTF-8 , {bearer}")]).unwrap(), want);
    }

    #[test]
    fn odd_headers_are_survived() {
        assert_eq!(strongest(&["BASIC"]).unwrap(), Challenge::Basic);
        assert_eq!(strongest(&["Negotiate, Basic realm=x"]).unwrap(), Challenge::Basic);
        assert!(strongest(&["Negotiate abc=="]).unwrap_err().contains("Negotiate"));
        assert!(strongest(&["Bearer service=\"x\""]).unwrap_err().contains("no token server"));
        assert!(strongest(&[]).is_err());
        for hostile in ["\"", "=,=,=", "Bearer realm=\"", "Bearer realm=\"a\\", "((((", "Bearer ,,,, =\"x\" realm"] {
            let _ = strongest(&[hostile]);
        }
        let many = format!("Bearer realm=\"https://a\",scope=\"{}\"", "repository:a:pull ".repeat(1000));
        let Challenge::Bearer { scopes, .. } = strongest(&[&many]).unwrap() else { panic!() };
        assert_eq!(scopes.len(), MAX_SCOPES);
    }

    #[test]
    fn scopes_on_one_repository_are_one() {
        let mut scopes = vec![Scope::repository("a", &["pull"])];
        assert!(Scope::merge(&mut scopes, &[Scope::repository("a", &["push"]), Scope::repository("b", &["pull"])]));
        assert!(!Scope::merge(&mut scopes, &[Scope::repository("b", &["pull"])]));
        let text: Vec<String> = scopes.iter().map(Scope::to_string).collect();
        assert_eq!(text, ["repository:a:pull,push", "repository:b:pull"]);
    }
}
