//! What a request is about: path and query → [`Route`]. Pure; nothing that comes out of it leads out of the store.

use kiln_oci::Digest;
use kiln_oci::reference::valid_tag;

use crate::names::Name;
use crate::refusal::{Code, Refusal};

/// The longest path and query that are looked at.
const LONGEST: usize = 8 << 10;
/// The most parameters of a query.
const MAX_PARAMETERS: usize = 64;

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag.
    Tag(String),
    /// A digest.
    Digest(Digest),
}

/// The resources of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: is this a registry, and may I?
    Base,
    /// `/healthz`.
    Health,
    /// `/token`.
    Token,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/NAME/tags/list`.
    Tags(Name),
    /// `/v2/NAME/manifests/REFERENCE`.
    Manifest(Name, Target),
    /// `/v2/NAME/blobs/DIGEST`.
    Blob(Name, Digest),
    /// `/v2/NAME/blobs/uploads/`.
    Uploads(Name),
    /// `/v2/NAME/blobs/uploads/ID`.
    Upload(Name, String),
    /// `/v2/NAME/referrers/DIGEST`.
    Referrers(Name, Digest),
}

impl Route {
    /// For counting and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Route::Base => "base",
            Route::Health => "health",
            Route::Token => "token",
            Route::Catalog => "catalog",
            Route::Tags(_) => "tags",
            Route::Manifest(..) => "manifest",
            Route::Blob(..) => "blob",
            Route::Uploads(_) | Route::Upload(..) => "upload",
            Route::Referrers(..) => "referrers",
        }
    }

    /// The same with another meaning of its name.
    #[must_use]
    pub fn rename(self, other: impl FnOnce(Name) -> Name) -> Route {
        match self {
            Route::Tags(name) => Route::Tags(other(name)),
            Route::Manifest(name, target) => Route::Manifest(other(name), target),
            Route::Blob(name, digest) => Route::Blob(other(name), digest),
            Route::Uploads(name) => Route::Uploads(other(name)),
            Route::Upload(name, id) => Route::Upload(other(name), id),
            Route::Referrers(name, digest) => Route::Referrers(other(name), digest),
            route @ (Route::Base | Route::Health | Route::Token | Route::Catalog) => route,
        }
    }

    /// The repository it is about.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Route::Tags(name)
            | Route::Manifest(name, _)
            | Route::Blob(name, _)
            | Route::Uploads(name)
            | Route::Upload(name, _)
            | Route::Referrers(name, _) => Some(name),
            Route::Base | Route::Health | Route::Token | Route::Catalog => None,
        }
    }
}

/// The parameters of a query, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`. What cannot be decoded is left out.
    pub fn parse(text: Option<&str>) -> Query {
        let pairs = text.unwrap_or("").split('&').filter(|p| !p.is_empty()).take(MAX_PARAMETERS);
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            Some((decode(key, true)?, decode(value, true)?))
        };
        Query(pairs.filter_map(pair).collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// Decodes `%41`, and `+` where it means a blank; `None` if that is not text without control characters.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let hex = |b: Option<u8>| char::from(b?).to_digit(16).and_then(|d| u8::try_from(d).ok());
                hex(bytes.next())? << 4 | hex(bytes.next())?
            }
            b'+' if plus => b' ',
            b => b,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Reads path and query.
///
/// # Errors
/// 404 for what is no resource of a registry; `NAME_INVALID`, `DIGEST_INVALID` and the like for what is no name of one.
pub fn parse(path: &str, query: &Query) -> Result<Route, Refusal> {
    let nowhere = || Refusal::new(Code::Unsupported, "there is nothing here").status(http::StatusCode::NOT_FOUND);
    if path.len() > LONGEST {
        return Err(nowhere().status(http::StatusCode::URI_TOO_LONG));
    }
    let path = decode(path, false).ok_or_else(nowhere)?;
    match path.as_str() {
        "/healthz" => return Ok(Route::Health),
        "/token" => return Ok(Route::Token),
        "/v2" | "/v2/" => return Ok(Route::Base),
        "/v2/_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let rest = path.strip_prefix("/v2/").ok_or_else(nowhere)?;
    let name =
        |text: &str| Name::parse(text, query.get("ns")).map_err(|e| Refusal::new(Code::NameInvalid, e.to_string()));
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name(repository)?));
    }
    if let Some(repository) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Ok(Route::Uploads(name(repository)?));
    }
    let (head, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
    if let Some(repository) = head.strip_suffix("/blobs/uploads") {
        return Ok(Route::Upload(name(repository)?, upload_id(last)?));
    }
    let digest = |text: &str| text.parse::<Digest>().map_err(|e| Refusal::new(Code::DigestInvalid, e.to_string()));
    if let Some(repository) = head.strip_suffix("/blobs") {
        return Ok(Route::Blob(name(repository)?, digest(last)?));
    }
    if let Some(repository) = head.strip_suffix("/referrers") {
        return Ok(Route::Referrers(name(repository)?, digest(last)?));
    }
    if let Some(repository) = head.strip_suffix("/manifests") {
        let name = name(repository)?;
        return Ok(Route::Manifest(name, target(last)?));
    }
    Err(nowhere())
}

/// A tag or digest.
fn target(text: &str) -> Result<Target, Refusal> {
    if text.contains(':') {
        let digest = text
            .parse()
            .map_err(|e: kiln_oci::digest::DigestError| Refusal::new(Code::DigestInvalid, e.to_string()))?;
        return Ok(Target::Digest(digest));
    }
    match valid_tag(text) {
        true => Ok(Target::Tag(text.to_owned())),
        false => Err(Refusal::new(Code::ManifestInvalid, format!("`{text}` is not a tag"))),
    }
}

/// The name of an upload: 32 hexadecimal digits, as they are given out here.
fn upload_id(text: &str) -> Result<String, Refusal> {
    match text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(Code::BlobUploadUnknown, "there is no such upload")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, query: &str) -> Result<Route, &'static str> {
        parse(path, &Query::parse(Some(query))).map_err(|r| r.code.name())
    }

    #[test]
    fn every_resource_has_its_path() {
        let digest = Digest::of(b"x");
        let name = Name::parse("a/b", None).unwrap();
        assert_eq!(at("/v2/", ""), Ok(Route::Base));
        assert_eq!(at("/v2/_catalog", ""), Ok(Route::Catalog));
        assert_eq!(at("/v2/a/b/tags/list", ""), Ok(Route::Tags(name.clone())));
        let latest = Target::Tag("latest".to_owned());
        assert_eq!(at("/v2/a/b/manifests/latest", ""), Ok(Route::Manifest(name.clone(), latest)));
        let encoded = format!("/v2/a/b/manifests/{}", digest.to_string().replace(':', "%3A"));
        assert_eq!(at(&encoded, ""), Ok(Route::Manifest(name.clone(), Target::Digest(digest.clone()))));
        assert_eq!(at(&format!("/v2/a/b/blobs/{digest}"), ""), Ok(Route::Blob(name.clone(), digest.clone())));
        assert_eq!(at("/v2/a/b/blobs/uploads/", ""), Ok(Route::Uploads(name.clone())));
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(at(&format!("/v2/a/b/blobs/uploads/{id}"), ""), Ok(Route::Upload(name.clone(), id.to_owned())));
        assert_eq!(at(&format!("/v2/a/b/referrers/{digest}"), ""), Ok(Route::Referrers(name, digest)));
        let Ok(Route::Tags(nginx)) = at("/v2/library/nginx/tags/list", "ns=docker.io") else { panic!("ns") };
        assert_eq!(nginx.full.to_string(), "docker.io/library/nginx");
        // Repositories may be called like resources.
        assert!(matches!(at("/v2/blobs/uploads/tags/list", ""), Ok(Route::Tags(_))));
        assert!(matches!(at("/v2/manifests/manifests/manifests", ""), Ok(Route::Manifest(..))));
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        for (path, code) in [
            ("/", "UNSUPPORTED"),
            ("/v1/x", "UNSUPPORTED"),
            ("/v2/x", "UNSUPPORTED"),
            ("/v2/../../etc/passwd", "UNSUPPORTED"),
            ("/v2/a/../b/tags/list", "NAME_INVALID"),
            ("/v2/%2e%2e/tags/list", "NAME_INVALID"),
            ("/v2/a%2f..%2fb/tags/list", "NAME_INVALID"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2/a/manifests/.x", "MANIFEST_INVALID"),
            ("/v2/a/manifests/", "MANIFEST_INVALID"),
            ("/v2/a/manifests/sha256:12", "DIGEST_INVALID"),
            ("/v2/a/manifests/md5:12", "DIGEST_INVALID"),
            ("/v2/a/blobs/latest", "DIGEST_INVALID"),
            ("/v2/a/blobs/uploads/../../x", "UNSUPPORTED"),
            ("/v2/a/blobs/uploads/..", "BLOB_UPLOAD_UNKNOWN"),
            ("/v2/a/blobs/uploads/0123", "BLOB_UPLOAD_UNKNOWN"),
            ("/v2/a%00/tags/list", "UNSUPPORTED"),
            ("/v2/a%zz/tags/list", "UNSUPPORTED"),
            ("/v2/a%ff/tags/list", "UNSUPPORTED"),
        ] {
            assert_eq!(at(path, ""), Err(code), "{path}");
        }
        assert_eq!(at("/v2/a/tags/list", "ns=e%76il.com/x"), Err("NAME_INVALID"));
        assert_eq!(at(&format!("/v2/{}", "a/".repeat(8000)), ""), Err("UNSUPPORTED"));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse(Some("n=5&scope=a%3Ab&scope=c+d&x&bad=%0a&=y"));
        assert_eq!(query.get("n"), Some("5"));
        assert_eq!(query.all("scope").collect::<Vec<_>>(), ["a:b", "c d"]);
        assert_eq!((query.get("x"), query.get("bad")), (Some(""), None));
    }
}
