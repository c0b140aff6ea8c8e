//! URLs that `ADD` names: fetched into the store, and asked about again only by their ETag.

use kiln_oci::Digest;
use kiln_oci::digest::HashReader;
use kiln_plan::facts::{HttpFact, HttpQuery};
use kiln_spec::login;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::event::{Direction, Event};
use crate::images::Sink;
use crate::session::Session;

/// The kind of a URL's record in the store's cache.
const KIND: &str = "http";
/// A URL may hold this many bytes.
const MAX_SIZE: u64 = 1 << 40;

/// What is remembered of a URL.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    etag: Option<String>,
    last_modified: Option<i64>,
    digest: Digest,
    size: u64,
}

impl Record {
    fn fact(&self) -> HttpFact {
        HttpFact { digest: self.digest.clone(), size: self.size, last_modified: self.last_modified }
    }
}

/// A URL without the secrets in it: user, password, query.
pub fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) => {
            // Only URLs without a host refuse this, and they have no user either.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            if parsed.query().is_some() {
                parsed.set_query(Some("…"));
            }
            parsed.to_string()
        }
        Err(_) => url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned(),
    }
}

/// Brings the content of a URL into the store.
///
/// # Errors
/// When it cannot be fetched, or is not what `--checksum` says.
pub fn answer(session: &Session, query: &HttpQuery) -> Result<HttpFact> {
    let failed = |message: String| EngineError::Fetch { url: shown(&query.url), message };
    let wanted: Option<Digest> = match &query.checksum {
        Some(text) => Some(text.parse().map_err(|e: kiln_oci::digest::DigestError| failed(e.to_string()))?),
        None => None,
    };
    // Not of the password: the server is asked with it each time.
    let key = Digest::of(login::removed(&query.url).as_bytes()).hex();
    let known = session.store.cache_get(KIND, &key).and_then(|b| serde_json::from_slice::<Record>(&b).ok());
    let known = known.filter(|r| session.store.blob_size(&r.digest) == Some(r.size));
    // Content that is pinned and here needs nobody's word.
    if let (Some(record), Some(wanted)) = (&known, &wanted)
        && record.digest == *wanted
    {
        return Ok(record.fact());
    }
    let etag = known.as_ref().and_then(|r| r.etag.as_deref());
    let name = shown(&query.url);
    let mut sink = Sink(session.store.blob_writer()?);
    let done = std::sync::atomic::AtomicU64::new(0);
    let report = |current: u64, finished: bool| {
        let (name, total) = (&*name, None);
        session.events.event(&Event::Transfer { name, direction: Direction::Download, current, total, finished });
    };
    let progress = |delta: u64| report(done.fetch_add(delta, std::sync::atomic::Ordering::Relaxed) + delta, false);
    let fetched = session.images.client().fetch_url(&query.url, etag, MAX_SIZE, &mut sink, &progress);
    report(done.load(std::sync::atomic::Ordering::Relaxed), true);
    let record = match (fetched?, known) {
        (None, Some(record)) => record,
        (None, None) => return Err(failed("the server says nothing changed, but nothing was known".to_owned())),
        (Some(head), _) => {
            let (digest, size) = sink.0.commit(None, None)?;
            Record { etag: head.etag, last_modified: head.last_modified, digest, size }
        }
    };
    if let Some(wanted) = wanted {
        let found = match wanted {
            Digest::Sha256(_) => record.digest.clone(),
            // The store knows content by its sha256; another digest is of the same bytes.
            Digest::Sha512(_) => {
                let mut reader = HashReader::new(session.store.open_blob(&record.digest)?, wanted.hasher());
                std::io::copy(&mut reader, &mut std::io::sink()).map_err(|e| failed(e.to_string()))?;
                reader.finish().0
            }
        };
        if found != wanted {
            return Err(failed(format!("its content is {found}, but --checksum says {wanted}")));
        }
    }
    session.store.cache_put(KIND, &key, &serde_json::to_vec(&record).unwrap_or_default())?;
    Ok(record.fact())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        assert_eq!(shown("https://u:hunter2@h/x?token=1#f"), "https://h/x?…#f".replace('…', "%E2%80%A6"));
        assert_eq!(shown("git@h:x"), "h:x");
    }
}
