//! Answers that read, and those that take or delete a manifest.

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, LINK, LOCATION, RANGE,
};
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kiln_oci::{Digest, media};

use crate::auth::access::Action;
use crate::auth::{Auth, basic};
use crate::body::{Payload, Transfer};
use crate::library::index_of;
use crate::names::Name;
use crate::range::{self, Asked as Range};
use crate::refusal::{Code, Refusal};
use crate::route::{Query, Target};
use crate::service::{Asked, Outcome, PIECE, bare, json};
use crate::tree::MAX_MANIFEST;

/// `Docker-Content-Digest`.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The most names or tags of one answer.
const MAX_PAGE: usize = 10_000;
/// The largest form that asks for a token.
const MAX_FORM: u64 = 64 << 10;

/// Whether one of the tags in `If-None-Match` or `If-Match` is this one.
fn matches_tag(header: &str, etag: &str) -> bool {
    header.split(',').map(|t| t.trim().trim_start_matches("W/")).any(|t| t == "*" || t == etag)
}

/// Whether the client has what the tag stands for; or 412 if it wants another.
fn not_modified(headers: &HeaderMap, etag: &str) -> Result<bool, Refusal> {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    if text(IF_MATCH).is_some_and(|h| !matches_tag(h, etag)) {
        return Err(Refusal::new(Code::Unsupported, "it is another one").status(StatusCode::PRECONDITION_FAILED));
    }
    Ok(text(IF_NONE_MATCH).is_some_and(|h| matches_tag(h, etag)))
}

fn set(response: &mut Response<Payload>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A manifest.
pub(crate) async fn manifest(asked: &Asked<'_>, name: Name, target: Target) -> Outcome {
    if let Some(proxy) = asked.app.proxy.clone().filter(|p| p.covers(&name)) {
        proxy.manifest(&name, &target).await?;
    }
    let found = asked.block(move |app| app.library.manifest(&name, &target)).await?;
    let (digest, etag) = (found.digest.to_string(), format!("\"{}\"", found.digest));
    if not_modified(&asked.headers, &etag)? {
        return Ok(bare(StatusCode::NOT_MODIFIED, &[(ETAG, &etag), (CONTENT_DIGEST, &digest)]));
    }
    let length = found.bytes.len();
    let mut response = Response::new(Payload::of(found.bytes));
    set(&mut response, CONTENT_TYPE, &found.media_type);
    set(&mut response, CONTENT_DIGEST, &digest);
    set(&mut response, ETAG, &etag);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// A blob, or a part of it.
pub(crate) async fn blob(asked: &Asked<'_>, name: Name, digest: Digest) -> Outcome {
    let etag = format!("\"{digest}\"");
    let fetched = match asked.app.proxy.clone().filter(|p| p.covers(&name)) {
        Some(proxy) => proxy.blob(&name, &digest, asked.head()).await?,
        None => None,
    };
    let (file, size, arriving) = match fetched {
        Some(fetched) => (fetched.file, fetched.size, Some(fetched.state)),
        None => {
            let digest = digest.clone();
            let (file, size) = asked.block(move |app| app.library.blob(&name, &digest)).await?;
            (Some(file), size, None)
        }
    };
    if not_modified(&asked.headers, &etag)? {
        return Ok(bare(StatusCode::NOT_MODIFIED, &[(ETAG, &etag), (CONTENT_DIGEST, &digest.to_string())]));
    }
    let same = asked.header(IF_RANGE).is_none_or(|tag| tag.trim() == etag);
    let wanted = range::asked(asked.header(RANGE).filter(|_| same), size);
    let (start, length) = match wanted {
        Range::Whole => (0, size),
        Range::Part { start, length } => (start, length),
        Range::Nothing => {
            return Err(Refusal::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let kernel = !asked.connection.tls && asked.version < Version::HTTP_2;
    let body = match (file, arriving) {
        (None, _) => Payload::empty(),
        (Some(file), Some(state)) => Payload::arriving(file, start, length, state),
        (Some(file), None) if kernel => Payload::Sent {
            transfer: Some(Transfer { file, offset: start, left: length }),
            outbox: asked.connection.outbox.clone(),
            mark: asked.connection.mark.clone(),
        },
        (Some(file), None) => Payload::read(file, start, length),
    };
    let mut response = Response::new(body);
    if let Range::Part { .. } = wanted {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, CONTENT_RANGE, &format!("bytes {start}-{}/{size}", start + length - 1));
    }
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    for (header, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (ACCEPT_RANGES, "bytes"),
        (CACHE_CONTROL, "max-age=31536000, immutable"),
        (ETAG, etag.as_str()),
        (CONTENT_DIGEST, digest.to_string().as_str()),
    ] {
        set(&mut response, header, value);
    }
    Ok(response)
}

/// One page of an ordered list: what follows `last`, `n` of it at the most; and whether there is more.
fn page(mut all: Vec<String>, query: &Query) -> Result<(Vec<String>, bool), Refusal> {
    let most = match query.get("n") {
        None => MAX_PAGE,
        Some(text) => text
            .parse::<usize>()
            .map(|n| n.min(MAX_PAGE))
            .map_err(|_| Refusal::new(Code::PaginationNumberInvalid, format!("n is `{text}`, which is no number")))?,
    };
    if let Some(last) = query.get("last") {
        let from = all.partition_point(|name| name.as_str() <= last);
        all.drain(..from);
    }
    let more = all.len() > most && most > 0;
    all.truncate(most);
    Ok((all, more))
}

/// Says where the next page is.
fn link(response: &mut Response<Payload>, path: &str, query: &Query, page: &[String], more: bool) {
    let Some(last) = page.last().filter(|_| more) else { return };
    let ns = query.get("ns").map(|ns| format!("&ns={ns}")).unwrap_or_default();
    let value = format!("<{path}?n={}&last={last}{ns}>; rel=\"next\"", page.len());
    set(response, LINK, &value);
}

/// All repositories.
pub(crate) async fn catalog(asked: &Asked<'_>) -> Outcome {
    let (access, user) = (asked.app.policy.access.clone(), asked.user.clone());
    let may_see = move |name: &String| {
        access.as_ref().is_none_or(|access| access.allows_path(user.as_deref(), name, Action::Pull))
    };
    let names = asked.block(|app| app.library.names()).await?.into_iter().filter(may_see).collect();
    let (names, more) = page(names, &asked.query)?;
    let mut response = json(StatusCode::OK, serde_json::json!({"repositories": names}).to_string());
    link(&mut response, "/v2/_catalog", &asked.query, &names, more);
    Ok(response)
}

/// All tags of a repository.
pub(crate) async fn tags(asked: &Asked<'_>, name: Name) -> Outcome {
    let path = name.path.clone();
    let upstream = match asked.app.proxy.clone().filter(|p| p.covers(&name)) {
        Some(proxy) => proxy.tags(&name).await,
        None => None,
    };
    let mut tags = match upstream {
        Some(tags) => tags,
        None => asked.block(move |app| app.library.tags(&name)).await?,
    };
    tags.sort();
    let (tags, more) = page(tags, &asked.query)?;
    let mut response = json(StatusCode::OK, serde_json::json!({"name": path, "tags": tags}).to_string());
    link(&mut response, &format!("/v2/{path}/tags/list"), &asked.query, &tags, more);
    Ok(response)
}

/// What is about a manifest.
pub(crate) async fn referrers(asked: &Asked<'_>, name: Name, digest: Digest) -> Outcome {
    let kind = asked.query.get("artifactType").filter(|kind| !kind.is_empty()).map(str::to_owned);
    let filtered = kind.is_some();
    let found = asked.block(move |app| app.library.referrers(&name, &digest, kind.as_deref())).await?;
    let mut response = json(StatusCode::OK, index_of(&found));
    set(&mut response, CONTENT_TYPE, media::OCI_INDEX);
    if filtered {
        set(&mut response, FILTERS, "artifactType");
    }
    Ok(response)
}

/// A small body, all of it.
async fn whole(asked: &Asked<'_>, mut body: Incoming, most: u64, code: Code) -> Result<Vec<u8>, Refusal> {
    let too_large =
        || Refusal::new(code, format!("more than {most} bytes are refused")).status(StatusCode::PAYLOAD_TOO_LARGE);
    let announced = asked.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let broken = || Refusal::new(code, "the body broke off");
        let frame = tokio::time::timeout(PIECE, body.frame()).await.map_err(|_| broken())?;
        let Some(frame) = frame else { return Ok(bytes) };
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        if bytes.len() as u64 + data.len() as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
}

/// Takes a manifest.
pub(crate) async fn put_manifest(asked: &Asked<'_>, name: Name, target: Target, body: Incoming) -> Outcome {
    let bytes = whole(asked, body, MAX_MANIFEST, Code::ManifestInvalid).await?;
    let _working = asked.connection.busy.work();
    let header = asked.header(CONTENT_TYPE).map(str::to_owned);
    let place = name.clone();
    let stored = asked.block(move |app| app.library.put_manifest(&name, &target, header.as_deref(), &bytes)).await?;
    let digest = stored.digest.to_string();
    let location = format!("/v2/{}/manifests/{digest}{}", place.path, place.query());
    let mut response = bare(StatusCode::CREATED, &[(LOCATION, &location), (CONTENT_DIGEST, &digest)]);
    if let Some(subject) = stored.subject {
        set(&mut response, SUBJECT, &subject.to_string());
    }
    Ok(response)
}

/// Takes a manifest, or a tag of it, away.
pub(crate) async fn delete_manifest(asked: &Asked<'_>, name: Name, target: Target) -> Outcome {
    asked.block(move |app| app.library.delete_manifest(&name, &target)).await?;
    Ok(bare(StatusCode::ACCEPTED, &[]))
}

/// Takes a blob away.
pub(crate) async fn delete_blob(asked: &Asked<'_>, name: Name, digest: Digest) -> Outcome {
    asked.block(move |app| app.library.delete_blob(&name, &digest)).await?;
    Ok(bare(StatusCode::ACCEPTED, &[]))
}

/// A token, for who has a password, or for nobody. `GET` as Docker's protocol has it first, `POST` as its later form.
pub(crate) async fn token(asked: &Asked<'_>, body: Incoming) -> Outcome {
    let Auth::Own(issuer) = &asked.app.auth else {
        return Err(Refusal::new(Code::Unsupported, "there are no tokens here").status(StatusCode::NOT_FOUND));
    };
    let mut login = asked.headers.get(http::header::AUTHORIZATION).and_then(basic);
    let mut query = asked.query.clone();
    if asked.method == http::Method::POST {
        let form = whole(asked, body, MAX_FORM, Code::Unauthorized).await?;
        query = Query::parse(std::str::from_utf8(&form).ok());
        if query.get("grant_type") != Some("password") {
            return Err(Refusal::new(Code::Unsupported, "only grant_type=password is supported"));
        }
        let text = |key| query.get(key).map(str::to_owned);
        login = text("username").zip(text("password"));
        if login.is_none() {
            return Err(issuer.users.challenge("the form has no user or no password"));
        }
    }
    let user = match login {
        Some((user, password)) if issuer.users.verify(&user, &password).await? => Some(user),
        Some(_) => return Err(issuer.users.challenge("user and password are not right")),
        // For nobody there is a token only where nobody may do something.
        None if issuer.users.anonymous_pull => None,
        None => return Err(issuer.users.challenge("who asks has to say who they are")),
    };
    let mut response = json(StatusCode::OK, issuer.issue(user.as_deref(), query.all("scope")));
    set(&mut response, CACHE_CONTROL, "no-store");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let get = |query: &str| page(all(), &Query::parse(Some(query))).map(|(page, more)| (page.concat(), more));
        assert_eq!(get("").unwrap(), ("abcd".to_owned(), false));
        assert_eq!(get("n=2").unwrap(), ("ab".to_owned(), true));
        assert_eq!(get("n=2&last=b").unwrap(), ("cd".to_owned(), false));
        assert_eq!(get("last=bb").unwrap(), ("cd".to_owned(), false));
        assert_eq!(get("n=0").unwrap(), (String::new(), false));
        assert_eq!(get("n=99999999&last=zzz").unwrap(), (String::new(), false));
        for bad in ["n=-1", "n=x", "n=1e3", "n=99999999999999999999999"] {
            assert_eq!(get(bad).unwrap_err().code, Code::PaginationNumberInvalid, "{bad}");
        }
    }

    #[test]
    fn entity_tags_are_compared() {
        assert!(matches_tag("\"x\", W/\"y\"", "\"y\"") && matches_tag("*", "\"z\""));
        assert!(!matches_tag("\"x\"", "\"y\"") && !matches_tag("x", "\"x\""));
    }
}
