//! Who may do what.
//!
//! [`htpasswd`] users and their passwords     [`token`] the tokens of Docker's protocol: made here, or elsewhere
//! [`access`] the rights of users

pub mod access;
pub mod htpasswd;
pub mod token;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use crate::auth::htpasswd::Htpasswd;
use crate::auth::token::{Issuer, Verifier};
use crate::refusal::{Code, Refusal};

/// The longest `Authorization` header that is looked at.
const LONGEST: usize = 32 << 10;

/// What may be done with something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// `repository` or `registry`.
    pub kind: &'static str,
    /// The repository, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, or `*`.
    pub actions: &'static [&'static str],
}

impl Need {
    /// As a scope of Docker's token protocol.
    pub fn scope(&self) -> String {
        format!("{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }

    fn only_reads(&self) -> bool {
        self.kind == "repository" && self.actions == ["pull"]
    }
}

/// How clients say who they are.
#[expect(clippy::large_enum_variant, reason = "a server has one of them, for all its life")]
pub enum Auth {
    /// They need not.
    Open,
    /// With a name and a password.
    Basic(Htpasswd),
    /// With a token that this server gave them.
    Own(Issuer),
    /// With a token of another server.
    External(Verifier),
}

/// Where a request came in: for the address of the token server.
#[derive(Debug, Clone)]
pub struct Door<'a> {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `Host`, or the authority of HTTP/2.
    pub host: Option<&'a str>,
}

impl Auth {
    /// Whether `needs` are allowed; the user, if there is one.
    pub async fn check(&self, headers: &HeaderMap, needs: &[Need], door: &Door<'_>) -> Result<Option<String>, Refusal> {
        let given = headers.get(AUTHORIZATION).filter(|value| value.len() <= LONGEST);
        match self {
            Auth::Open => Ok(None),
            Auth::Basic(users) => {
                let anonymous = users.anonymous_pull && needs.iter().all(Need::only_reads) && !needs.is_empty();
                match given.and_then(basic) {
                    Some((user, password)) => match users.verify(&user, &password).await? {
                        true => Ok(Some(user)),
                        false => Err(users.challenge("user and password are not right")),
                    },
                    None if anonymous => Ok(None),
                    None => Err(users.challenge("who asks has to say who they are")),
                }
            }
            Auth::Own(issuer) => {
                let realm = issuer.realm(door);
                let verifier = issuer.verifier();
                bearer(given, needs, |token| verifier.verify(token), &realm, issuer.service())
            }
            Auth::External(verifier) => {
                bearer(given, needs, |token| verifier.verify(token), &verifier.realm, &verifier.service)
            }
        }
    }
}

impl Auth {
    /// What a client is told that has said nothing of who it is, and may not do this.
    pub fn unauthorized(&self, needs: &[Need], door: &Door<'_>) -> Refusal {
        let nobody = "who asks has to say who they are";
        let refused = match self {
            Auth::Open => return Refusal::new(Code::Denied, "nobody may do this"),
            Auth::Basic(users) => return users.challenge(nobody),
            Auth::Own(issuer) => {
                bearer(None, needs, |_| Err(token::TokenError::Time), &issuer.realm(door), issuer.service())
            }
            Auth::External(verifier) => {
                bearer(None, needs, |_| Err(token::TokenError::Time), &verifier.realm, &verifier.service)
            }
        };
        refused.err().unwrap_or_else(|| Refusal::new(Code::Unauthorized, nobody))
    }
}

/// Checks a token; without one that is enough, says which is needed and where to get it.
fn bearer(
    given: Option<&HeaderValue>,
    needs: &[Need],
    verify: impl FnOnce(&str) -> Result<token::Claims, token::TokenError>,
    realm: &str,
    service: &str,
) -> Result<Option<String>, Refusal> {
    let scope: Vec<String> = needs.iter().map(Need::scope).collect();
    let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{}\"", scope.join(" ")) };
    let challenge = |code, text: &str, error: &str| {
        let value = format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}{error}");
        Refusal::new(code, text).status(http::StatusCode::UNAUTHORIZED).header(WWW_AUTHENTICATE, &value)
    };
    let token = given.and_then(|value| value.to_str().ok()).and_then(|value| scheme(value, "bearer"));
    let Some(token) = token else { return Err(challenge(Code::Unauthorized, "a token is needed", "")) };
    let claims = match verify(token) {
        Ok(claims) => claims,
        Err(error) => {
            return Err(challenge(Code::Unauthorized, &error.to_string(), ",error=\"invalid_token\""));
        }
    };
    match needs.iter().all(|need| claims.allow(need)) {
        true => Ok(claims.user().map(str::to_owned)),
        false => Err(challenge(Code::Denied, "the token does not allow this", ",error=\"insufficient_scope\"")),
    }
}

/// What follows the scheme in an `Authorization` header.
fn scheme<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(rest.trim())
}

/// Name and password of a `Basic` header. With neither it says nothing of who asks: skopeo and podman send that where they
/// have no login and the registry wants passwords.
pub fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let encoded = scheme(value.to_str().ok()?, "basic")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    (text != ":").then(|| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_may_hold_anything() {
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        let encoded = format!("basic  {}", STANDARD.encode("kiln:p:a ss/+w%rd"));
        assert_eq!(basic(&header(&encoded)), Some(("kiln".to_owned(), "p:a ss/+w%rd".to_owned())));
        for bad in ["Basic", "Basic ", "Basic !!", "Bearer abc", "Basic YQ==", "Basic Og=="] {
            assert_eq!(basic(&header(bad)), None, "{bad}");
        }
    }
}
