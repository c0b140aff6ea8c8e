//! The requests an upload is made of: start, send, ask how far it came, finish.

use std::fmt;
use std::io::Read;

use bytes::Bytes;
use kiln_oci::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Request, Response};
use url::Url;

use kiln_http::upload::{self, Answered, Exchange, Pieces};

use crate::answer;
use crate::auth::Login;
use crate::auth::challenge::Scope;
use crate::call::{Call, Core, Reply, Target, refusal};
use crate::endpoint::Endpoint;
use crate::error::Failure;
use crate::error::RegistryError;
use crate::transport::{authority, broken, origin_text};

/// Bytes read and handed on at once.
const PIECE: usize = 256 << 10;

/// An upload a registry has opened.
#[derive(Clone)]
pub struct UploadSession {
    location: Url,
    /// The registry takes no smaller chunk, but for the last.
    pub(crate) min_chunk: u64,
}

/// The address of an upload may hold a signature, so only its host is shown.
impl fmt::Debug for UploadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadSession({})", origin_text(&self.location))
    }
}

/// What all requests of one upload have in common.
pub(crate) struct Upload<'a> {
    pub core: &'a Core,
    pub endpoint: &'a Endpoint,
    pub repository: &'a str,
    pub scopes: Vec<Scope>,
    pub what: &'a str,
}

/// A part of a blob to send, and where its bytes come from.
pub(crate) struct Part<'a> {
    pub reader: &'a mut dyn Read,
    pub digest: &'a Digest,
    /// Bytes to send.
    pub length: u64,
    /// Is told how many bytes have been handed to the connection.
    pub sent: &'a mut dyn FnMut(u64),
}

impl Upload<'_> {
    fn call(&self, method: Method, target: Target) -> Call<'_> {
        Call::new(method, target, self.repository, &self.scopes, self.what)
    }

    /// Opens an upload; none if the registry already has the blob, or could mount it.
    pub(crate) async fn start(&self, mount: Option<(&Digest, &str)>) -> Result<Option<UploadSession>, Failure> {
        let mut path = format!("{}/blobs/uploads/", self.repository);
        if let Some((digest, from)) = mount {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from)
                .finish();
            path = format!("{path}?{query}");
        }
        let reply = self.core.attempt(self.endpoint, &self.call(Method::POST, Target::Path(path))).await?;
        if mount.is_some() && reply.status() == 201 {
            return Ok(None);
        }
        let reply = reply.expect(&[202], self.endpoint, self.what).await?;
        self.session(&reply, None).map(Some).map_err(Failure::from)
    }

    /// How many bytes of an upload have arrived, and where it goes on; none if the registry does not know it any more.
    pub(crate) async fn arrived(&self, session: &UploadSession) -> Result<Option<(UploadSession, u64)>, Failure> {
        let call = self.call(Method::GET, Target::Address(session.location.clone()));
        let reply = self.core.attempt(self.endpoint, &call).await?;
        if !matches!(reply.status(), 200 | 202 | 204) {
            return Ok(None);
        }
        let Some(arrived) = reply.header("range").and_then(range_end) else { return Ok(None) };
        Ok(Some((self.session(&reply, Some(session))?, arrived)))
    }

    /// Sends the whole blob and finishes the upload with it.
    pub(crate) async fn put(&self, session: &UploadSession, part: Part<'_>) -> Result<(), Failure> {
        let url = finish_url(session, part.digest);
        let reply = self.send(Method::PUT, url, HeaderMap::new(), part).await?;
        self.finished(reply).await
    }

    /// Sends the bytes from `start` on; returns how many bytes have arrived and where the upload goes on.
    pub(crate) async fn patch(
        &self,
        session: &UploadSession,
        start: u64,
        part: Part<'_>,
    ) -> Result<(UploadSession, u64), Failure> {
        let end = start + part.length;
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", end - 1)) {
            headers.insert(CONTENT_RANGE, range);
        }
        let reply = self.send(Method::PATCH, session.location.clone(), headers, part).await?;
        let reply = reply.expect(&[200, 201, 202, 204], self.endpoint, self.what).await?;
        // A registry may keep less than it was sent. What it cannot keep is more.
        let arrived = reply.header("range").and_then(range_end).filter(|a| (start..=end).contains(a)).unwrap_or(end);
        Ok((self.session(&reply, Some(session))?, arrived))
    }

    /// Finishes an upload whose bytes have all arrived.
    pub(crate) async fn finish(&self, session: &UploadSession, digest: &Digest) -> Result<(), Failure> {
        let call = self.call(Method::PUT, Target::Address(finish_url(session, digest)));
        let reply = self.core.attempt(self.endpoint, &call).await?;
        self.finished(reply).await
    }

    /// Tells the registry to forget an upload; whether it does is its own affair.
    pub(crate) async fn abandon(&self, session: &UploadSession) {
        let call = self.call(Method::DELETE, Target::Address(session.location.clone()));
        let _ = self.core.attempt(self.endpoint, &call).await;
    }

    async fn finished(&self, reply: Reply) -> Result<(), Failure> {
        reply.expect(&[200, 201, 202, 204], self.endpoint, self.what).await?;
        Ok(())
    }

    /// The upload as an answer describes it.
    fn session(&self, reply: &Reply, before: Option<&UploadSession>) -> Result<UploadSession, RegistryError> {
        let host = || self.endpoint.host.clone();
        let protocol =
            |why: &str| RegistryError::Protocol { host: host(), what: self.what.to_owned(), why: why.to_owned() };
        let mut location = match (reply.header("location"), before) {
            (Some(text), _) => {
                reply.response.url().join(text).map_err(|_| protocol("the upload's location is not a URL"))?
            }
            (None, Some(before)) => before.location.clone(),
            (None, None) => return Err(protocol("the upload has no location")),
        };
        let secure = reply.base.scheme() == "https";
        // Registries behind a proxy that ends TLS often do not know that they are, and name themselves with http.
        if secure && location.scheme() == "http" && location.host_str() == reply.base.host_str() {
            let _ = location.set_scheme("https");
        }
        let allowed = location.scheme() == "https" || (!secure && location.scheme() == "http");
        if !allowed || !location.username().is_empty() || location.password().is_some() {
            let (what, target) = (self.what.to_owned(), origin_text(&location));
            return Err(RegistryError::Redirect { host: host(), what, target, why: "an upload must stay within TLS" });
        }
        let min_chunk = reply.header("oci-chunk-min-length").and_then(|v| v.trim().parse().ok());
        Ok(UploadSession { location, min_chunk: min_chunk.or(before.map(|b| b.min_chunk)).unwrap_or(0) })
    }

    /// Sends a request with a streamed body, once: a 401 renews the login, and is then a failure to be tried again.
    async fn send(&self, method: Method, url: Url, mut headers: HeaderMap, part: Part<'_>) -> Result<Reply, Failure> {
        let (base, login) = self.core.login(self.endpoint, self.repository, &self.scopes).await?;
        let ours = url.origin() == base.origin();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(part.length));
        if let Some(value) = login.header.clone().filter(|_| ours) {
            headers.insert(AUTHORIZATION, value);
        }
        let permit = self.endpoint.permits.clone().acquire_owned().await.ok();
        let mut request = Request::new(method, url);
        *request.headers_mut() = headers;
        let response = self.stream(request, part).await?;
        if response.status().as_u16() == 401 && ours {
            drop(permit);
            return Err(self.renew(response, &base, &login).await);
        }
        let reply = Reply { response, logged_in: login.logged_in, base, _permit: permit };
        reply.unless_passing(self.endpoint, self.what).await
    }

    /// After a 401: a new login, and a failure that asks for another try if there is one.
    async fn renew(&self, response: Response, base: &Url, login: &Login) -> Failure {
        let headers = response.headers().clone();
        let answer = answer::read(response).await;
        let wanted = self.core.wanted(self.endpoint, base, self.repository, &self.scopes, None);
        let error = refusal(self.endpoint, self.what, answer, None, login.logged_in);
        match self.endpoint.auth.after_refusal(&wanted, &headers, login).await {
            Ok(Some(_)) => Failure::soon(error),
            Ok(None) => error.into(),
            Err(failure) => failure,
        }
    }

    /// Reads the part on this thread while the connection runs on another.
    async fn stream(&self, mut request: Request, part: Part<'_>) -> Result<Response, Failure> {
        let host = authority(request.url());
        let client = self.core.transport.client(request.url())?;
        let (pieces, body) = upload::body();
        *request.body_mut() = Some(if part.length == 0 { Body::from(Bytes::new()) } else { body });
        let mut exchange = Exchange(tokio::spawn(client.execute(request)));
        let early = self.feed(&mut exchange, pieces, part, &host).await?;
        let config = &self.core.config;
        let answer = match early {
            Some(answer) => answer,
            None => match tokio::time::timeout(config.commit_timeout, &mut exchange.0).await {
                Ok(answer) => answer,
                Err(_) => {
                    let (what, after) = (self.what.to_owned(), config.commit_timeout);
                    return Err(Failure::soon(RegistryError::Stalled { host, what, after }));
                }
            },
        };
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(&host, self.what, &error)),
            Err(stopped) => {
                let (what, why) = (self.what.to_owned(), stopped.to_string());
                Err(RegistryError::Connect { host, what, why }.into())
            }
        }
    }

    /// Hands the part to the connection. Returns the answer if it comes before the end.
    async fn feed(
        &self,
        exchange: &mut Exchange,
        pieces: Pieces,
        part: Part<'_>,
        host: &str,
    ) -> Result<Option<Answered>, Failure> {
        let after = self.core.config.idle_timeout;
        let mut left = part.length;
        while left > 0 {
            let piece = read_piece(part.reader, left)
                .map_err(|source| RegistryError::Source { digest: part.digest.clone(), source })?;
            let length = piece.len() as u64;
            tokio::select! {
                biased;
                answer = &mut exchange.0 => return Ok(Some(answer)),
                sent = tokio::time::timeout(after, pieces.send(Ok(piece))) => match sent {
                    Ok(Ok(())) => (part.sent)(length),
                    // The connection takes no more: its answer, or its failure, is on the way.
                    Ok(Err(_)) => return Ok(None),
                    Err(_) => {
                        let (host, what) = (host.to_owned(), self.what.to_owned());
                        return Err(Failure::soon(RegistryError::Stalled { host, what, after }));
                    }
                },
            }
            left -= length;
        }
        Ok(None)
    }
}

/// The next bytes of a reader that owes `left` more.
fn read_piece(reader: &mut dyn Read, left: u64) -> std::io::Result<Bytes> {
    let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
    let mut piece = Vec::with_capacity(wanted);
    reader.take(wanted as u64).read_to_end(&mut piece)?;
    if piece.len() < wanted {
        let why = format!("it is {} bytes shorter than its descriptor says", left - piece.len() as u64);
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why));
    }
    Ok(piece.into())
}

fn finish_url(session: &UploadSession, digest: &Digest) -> Url {
    let mut url = session.location.clone();
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    url
}

/// The number of bytes in `Range: 0-LAST`. Registries write `0-0` for no bytes, too, so one byte counts as none.
pub(crate) fn range_end(text: &str) -> Option<u64> {
    let text = text.trim();
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    if first.trim() != "0" {
        return None;
    }
    match last.trim().parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads() {
        for (text, want) in
            [("0-0", Some(0)), ("0-9", Some(10)), ("bytes=0-9", Some(10)), ("1-9", None), ("", None), ("0-x", None)]
        {
            assert_eq!(range_end(text), want, "{text}");
        }
        assert_eq!(range_end(&format!("0-{}", u64::MAX)), None);
    }

    #[test]
    fn a_short_reader_is_an_error() {
        let mut data: &[u8] = b"abc";
        assert_eq!(read_piece(&mut data, 3).unwrap(), "abc");
        let mut data: &[u8] = b"abc";
        assert!(read_piece(&mut data, 5).unwrap_err().to_string().contains("2 bytes shorter"));
    }
}
