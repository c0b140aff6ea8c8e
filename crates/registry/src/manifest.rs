//! Manifests: fetching, resolving, pushing, deleting. They are small documents, held in memory and verified.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Reference, media};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::auth::challenge::Scope;
use crate::call::{Call, Core, Reply, Target};
use crate::endpoint::Endpoint;
use crate::error::Failure;
use crate::error::RegistryError;
use kiln_http::Retry;

/// No manifest is read beyond this many bytes: the limit registries agree on.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// How often a manifest is pushed again that was refused as [`overtaken`].
const OVERTAKEN_RETRIES: u32 = 3;
const DIGEST_HEADER: &str = "docker-content-digest";
/// How a registry says that it has seen the subject of a manifest.
const SUBJECT_HEADER: &str = "oci-subject";

/// What a registry said to a manifest.
pub(crate) struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// Whether the registry itself lists it among the referrers of its subject.
    pub lists_referrers: bool,
}

/// A manifest or index as the registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, whose digest is the descriptor's.
    pub bytes: Bytes,
}

impl Core {
    /// Fetches a manifest from the first mirror that has it, or the registry.
    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, RegistryError> {
        self.try_sources(reference, async |endpoint| self.manifest_from(endpoint, reference).await).await
    }

    /// What a reference points to, without the document where the registry allows it.
    pub(crate) async fn resolve(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        self.try_sources(reference, async |endpoint| self.resolve_from(endpoint, reference).await).await
    }

    /// Tries mirrors in order, then the registry, whose error is the one that is told.
    pub(crate) async fn try_sources<T>(
        &self,
        reference: &Reference,
        fetch: impl AsyncFn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let sources = self.sources(reference)?;
        let mut last = RegistryError::BadHost(reference.registry.clone());
        for endpoint in sources {
            match fetch(&endpoint).await {
                Ok(value) => return Ok(value),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<FetchedManifest, RegistryError> {
        let mut retry = self.retry(endpoint);
        loop {
            match self.manifest_once(endpoint, reference).await {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    async fn manifest_once(&self, endpoint: &Endpoint, reference: &Reference) -> Result<FetchedManifest, Failure> {
        let what = name(reference);
        let reply = self.ask(endpoint, reference, Method::GET, &what).await?.expect(&[200], endpoint, &what).await?;
        let header_type = reply.header("content-type").map(str::to_owned);
        let announced = announced_digest(&reply);
        let bytes = reply.body(self, endpoint, &what, MAX_MANIFEST).await?;
        let digest = verify(endpoint, reference, &what, &bytes, announced)?;
        let media_type = type_of(header_type.as_deref(), &bytes).map_err(|bad| bad.error(endpoint, &what))?;
        Ok(FetchedManifest { descriptor: Descriptor::new(&media_type, digest, bytes.len() as u64), bytes })
    }

    async fn resolve_from(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let what = name(reference);
        let mut retry = self.retry(endpoint);
        let reply = loop {
            match self.ask(endpoint, reference, Method::HEAD, &what).await {
                Ok(reply) => break reply,
                Err(failure) => retry.pause(failure).await?,
            }
        };
        // Not every registry answers HEAD, or says everything in its answer.
        if reply.status() == 200 {
            if let Some(descriptor) = described(&reply, reference) {
                return Ok(descriptor);
            }
        } else if matches!(reply.status(), 401 | 403 | 429) {
            return Err(reply.error(endpoint, &what).await);
        }
        drop(reply);
        Ok(self.manifest_from(endpoint, reference).await?.descriptor)
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        method: Method,
        what: &str,
    ) -> Result<Reply, Failure> {
        let repository = endpoint.repository(&reference.repository);
        let scopes = [Scope::repository(&repository, &["pull"])];
        let target = Target::Path(format!("{repository}/manifests/{}", reference.target()));
        let mut call = Call::new(method, target, &repository, &scopes, what);
        call.headers.insert(ACCEPT, accept());
        self.attempt(endpoint, &call).await
    }

    /// Pushes a manifest under the reference's tag, else under its digest.
    pub(crate) async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        self.push_manifest_told(reference, media_type, bytes).await.map(|pushed| pushed.digest)
    }

    /// The same, with what the registry said.
    pub(crate) async fn push_manifest_told(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Pushed, RegistryError> {
        let digest = match &reference.digest {
            Some(expected) => digest_like(expected, &bytes),
            None => Digest::of(&bytes),
        };
        if let Some(expected) = reference.digest.clone().filter(|d| *d != digest) {
            return Err(RegistryError::PushDigest { expected: expected.into(), actual: digest.into() });
        }
        let what = name(reference);
        let endpoint = self.endpoint(&reference.registry)?;
        let place = reference.tag_or_latest().map_or_else(|| digest.to_string(), str::to_owned);
        let target = Target::Path(format!("{}/manifests/{place}", reference.repository));
        let scopes = [Scope::repository(&reference.repository, &["pull", "push"])];
        let mut call = Call::new(Method::PUT, target, &reference.repository, &scopes, &what);
        let bad_type = |_| RegistryError::Protocol {
            host: endpoint.host.clone(),
            what: what.clone(),
            why: "its media type cannot be sent in a header".to_owned(),
        };
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(bad_type)?);
        call.body = bytes;
        let mut retry = Retry::new(self.config.retries.min(OVERTAKEN_RETRIES), self.config.backoff);
        let reply = loop {
            match self.call(&endpoint, &call).await?.expect(&[200, 201, 202], &endpoint, &what).await {
                Err(error) if overtaken(&error) => retry.pause(Failure::soon(error)).await?,
                answer => break answer?,
            }
        };
        match announced_digest(&reply).filter(|stored| stored.algorithm() == digest.algorithm() && *stored != digest) {
            Some(actual) => Err(RegistryError::DigestMismatch {
                host: endpoint.host.clone(),
                what,
                expected: digest.into(),
                actual: actual.into(),
            }),
            None => Ok(Pushed { digest, lists_referrers: reply.header(SUBJECT_HEADER).is_some() }),
        }
    }

    /// Deletes the manifest a reference points to, and with it every tag on it.
    pub(crate) async fn delete(&self, reference: &Reference) -> Result<(), RegistryError> {
        let what = name(reference);
        let endpoint = self.endpoint(&reference.registry)?;
        let digest = match &reference.digest {
            Some(digest) => digest.clone(),
            None => self.resolve_from(&endpoint, reference).await?.digest,
        };
        let target = Target::Path(format!("{}/manifests/{digest}", reference.repository));
        let scopes = [Scope::repository(&reference.repository, &["pull", "delete"])];
        let call = Call::new(Method::DELETE, target, &reference.repository, &scopes, &what);
        self.call(&endpoint, &call).await?.expect(&[200, 202, 204], &endpoint, &what).await.map(drop)
    }
}

/// Whether a registry refused a manifest because of what it had in its hands at that moment.
///
/// The distribution registry rewrites the links to the blobs of a repository in place: who pushes while another
/// pushes the same blobs can meet a link that is empty, which it answers with `DIGEST_INVALID` though no digest was
/// asked for. Registries over an object store may not see yet what they have just taken.
fn overtaken(error: &RegistryError) -> bool {
    error
        .answer()
        .is_some_and(|answer| matches!(&*answer.code, "DIGEST_INVALID" | "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN"))
}

/// A manifest in words.
pub(crate) fn name(reference: &Reference) -> String {
    let separator = if reference.digest.is_some() { '@' } else { ':' };
    format!("manifest {}{separator}{}", reference.repository, reference.target())
}

fn accept() -> HeaderValue {
    let types = media::ACCEPT_MANIFESTS.join(", ");
    HeaderValue::from_str(&types).unwrap_or(HeaderValue::from_static("*/*"))
}

fn announced_digest(reply: &Reply) -> Option<Digest> {
    reply.header(DIGEST_HEADER)?.parse().ok()
}

fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = like.hasher();
    hasher.update(bytes);
    hasher.finish()
}

/// The digest of `bytes`, equal to the one asked for and the one announced.
fn verify(
    endpoint: &Endpoint,
    reference: &Reference,
    what: &str,
    bytes: &[u8],
    announced: Option<Digest>,
) -> Result<Digest, RegistryError> {
    for expected in reference.digest.iter().chain(&announced) {
        let actual = digest_like(expected, bytes);
        if actual != *expected {
            let (host, what) = (endpoint.host.clone(), what.to_owned());
            return Err(RegistryError::DigestMismatch {
                host,
                what,
                expected: expected.clone().into(),
                actual: actual.into(),
            });
        }
    }
    Ok(reference.digest.clone().unwrap_or_else(|| Digest::of(bytes)))
}

/// A descriptor from the headers of an answer to HEAD, if they say enough.
fn described(reply: &Reply, reference: &Reference) -> Option<Descriptor> {
    let digest = announced_digest(reply)?;
    if reference.digest.as_ref().is_some_and(|asked| *asked != digest) {
        return None;
    }
    let size: u64 = reply.header("content-length")?.parse().ok()?;
    let media_type = bare_type(reply.header("content-type")?);
    let known = media::is_index(media_type) || media::is_manifest(media_type);
    (known && size > 0 && size <= MAX_MANIFEST).then(|| Descriptor::new(media_type, digest, size))
}

/// A media type without its parameters.
fn bare_type(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadManifest {
    Schema1,
    Why(String),
}

impl BadManifest {
    fn error(self, endpoint: &Endpoint, what: &str) -> RegistryError {
        let (host, what) = (endpoint.host.clone(), what.to_owned());
        match self {
            BadManifest::Schema1 => RegistryError::Schema1 { host, what },
            BadManifest::Why(why) => RegistryError::Protocol { host, what, why },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

/// The type of a manifest, on which the header, the document's own word and its shape must agree: one document read
/// as two different things is an old way to smuggle content past a check.
pub(crate) fn type_of(header: Option<&str>, bytes: &[u8]) -> Result<String, BadManifest> {
    let why = |text: &str| BadManifest::Why(text.to_owned());
    let shape: Shape = serde_json::from_slice(bytes).map_err(|_| why("the manifest is not a JSON object"))?;
    let header = header.map(bare_type).filter(|t| !t.is_empty());
    if shape.schema_version == Some(1)
        || shape.fs_layers.is_some()
        || header.is_some_and(|h| media::DOCKER_SCHEMA1.contains(&h))
    {
        return Err(BadManifest::Schema1);
    }
    let is_index = shape.manifests.is_some();
    if is_index && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(why("the document is both an index and a manifest"));
    }
    if !is_index && shape.config.is_none() {
        return Err(why("the document is neither an index nor a manifest"));
    }
    let known = |t: &str| media::is_index(t) || media::is_manifest(t);
    let header = header.filter(|t| known(t));
    let said =
        shape.media_type.as_deref().or(header).unwrap_or(if is_index { media::OCI_INDEX } else { media::OCI_MANIFEST });
    if !known(said) {
        return Err(BadManifest::Why(format!("`{}` is not a type of manifest", kiln_http::printable(said))));
    }
    if header.is_some_and(|h| h != said) {
        return Err(why("the media type in the header is not the one in the document"));
    }
    if media::is_index(said) != is_index {
        return Err(why("the document is not what its media type says"));
    }
    Ok(said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_agreed_on() {
        let t = |header: Option<&str>, text: &str| type_of(header, text.as_bytes());
        let manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(
            t(Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), manifest).unwrap(),
            media::OCI_MANIFEST
        );
        assert_eq!(t(Some("application/json"), manifest).unwrap(), media::OCI_MANIFEST);
        assert_eq!(t(Some(media::DOCKER_MANIFEST), manifest).unwrap(), media::DOCKER_MANIFEST);
        assert_eq!(t(None, r#"{"manifests":[]}"#).unwrap(), media::OCI_INDEX);
        let said = format!(r#"{{"mediaType":"{}","config":{{}},"layers":[]}}"#, media::DOCKER_MANIFEST);
        assert_eq!(t(Some("text/plain"), &said).unwrap(), media::DOCKER_MANIFEST);
        assert!(t(Some(media::OCI_MANIFEST), &said).is_err());
        for (header, text) in [
            (Some(media::OCI_INDEX), manifest),
            (None, r#"{"manifests":[],"layers":[]}"#),
            (None, r#"{"mediaType":"text/html","config":{}}"#),
            (None, "{}"),
            (None, "[]"),
            (None, "<html>"),
        ] {
            assert!(matches!(t(header, text), Err(BadManifest::Why(_))), "{text}");
        }
    }

    #[test]
    fn schema_1_is_named() {
        for text in [r#"{"schemaVersion":1,"fsLayers":[]}"#, r#"{"fsLayers":[]}"#] {
            assert_eq!(type_of(None, text.as_bytes()), Err(BadManifest::Schema1));
        }
        assert_eq!(type_of(Some(media::DOCKER_SCHEMA1[1]), b"{}"), Err(BadManifest::Schema1));
    }
}
