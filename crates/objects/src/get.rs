//! Objects in: the head of one, and its bytes, going on where a connection broke.

use std::io::Write;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::{Method, Response};

use crate::call::{Ask, Core};
use crate::checksum::Checksum;
use crate::client::Head;
use crate::error::{Failure, ObjectError, lift};
use crate::location::Location;
use kiln_clouds::CloudError;
use kiln_clouds::percent;
use kiln_http::Pace;
use kiln_http::connection::authority;

/// So much must have come before a broken connection is forgiven all the ones before it.
const PROGRESS: u64 = 64 << 10;

/// How far a download is.
#[derive(Default)]
struct Got {
    taken: u64,
    first: Option<First>,
}

/// What the first answer said.
struct First {
    head: Head,
    /// Google's number of the object's content, which its ranges are asked with.
    generation: Option<String>,
    checksum: Option<Checksum>,
}

impl Core {
    /// Copies an object to `sink`.
    pub(crate) async fn get(
        &self,
        location: &Location,
        sink: &mut dyn Write,
        progress: &dyn Fn(u64),
    ) -> Result<Head, ObjectError> {
        let mut retry = self.retry();
        let mut got = Got::default();
        loop {
            let before = got.taken;
            let Err(failure) = self.get_rest(location, &mut got, sink, progress).await else { break };
            if got.taken - before >= PROGRESS {
                retry.progressed();
            }
            // What has no tag may be another object when it is asked for again.
            if got.first.as_ref().is_some_and(|f| f.head.etag.is_none() && f.generation.is_none()) {
                return Err(failure.error);
            }
            retry.pause(failure).await?;
        }
        let Some(First { head, checksum, .. }) = got.first else {
            return Err(self.wrong(location, "there was no answer"));
        };
        if let Some(algorithm) = checksum.and_then(Checksum::mismatch) {
            let host = self.host_of(location);
            return Err(ObjectError::Checksum { host, what: location.to_string(), algorithm });
        }
        Ok(head)
    }

    /// Asks for what is missing, and takes what comes.
    async fn get_rest(
        &self,
        location: &Location,
        got: &mut Got,
        sink: &mut dyn Write,
        progress: &dyn Fn(u64),
    ) -> Result<(), Failure> {
        let mut response = self.once(&get_ask(location, got)).await?;
        let mut skip = match &got.first {
            None => {
                got.first = Some(self.first(&response, location)?);
                0
            }
            Some(first) => self.resumed(&response, location, first, got.taken)?,
        };
        let Some(First { head, checksum, .. }) = &mut got.first else { return Ok(()) };
        let (what, mut pace) = (location.to_string(), Pace::new());
        while let Some(chunk) = self.transport.chunk(&mut response, &mut pace, &what).await.map_err(lift)? {
            let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= passed as u64;
            let chunk = &chunk[passed..];
            if chunk.len() as u64 > head.size - got.taken {
                let why = format!("it sends more than the {} bytes it announced", head.size);
                return Err(self.protocol(&response, location, why).into());
            }
            sink.write_all(chunk).map_err(|source| ObjectError::Sink { what: what.clone(), source })?;
            if let Some(checksum) = checksum {
                checksum.update(chunk);
            }
            got.taken += chunk.len() as u64;
            progress(chunk.len() as u64);
        }
        if got.taken < head.size {
            let why = format!("the connection ended after {} of {} bytes", got.taken, head.size);
            let broken = CloudError::Connect { host: authority(response.url()), what, why };
            return Err(Failure::soon(broken.into()));
        }
        Ok(())
    }

    fn first(&self, response: &Response, location: &Location) -> Result<First, ObjectError> {
        if response.status().as_u16() != 200 {
            let why = format!("status {} for a whole object", response.status().as_u16());
            return Err(self.protocol(response, location, why));
        }
        let head = head_of(response.headers());
        let head = head.ok_or_else(|| self.protocol(response, location, "it does not say how long the object is"))?;
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let generation = text("x-goog-generation").filter(|g| g.bytes().all(|b| b.is_ascii_digit()));
        Ok(First { head, generation, checksum: Checksum::announced(response.headers()) })
    }

    /// Whether an answer goes on where the first one broke; how many of its bytes are known already.
    fn resumed(&self, response: &Response, location: &Location, first: &First, taken: u64) -> Result<u64, ObjectError> {
        let changed = || ObjectError::Changed { what: location.to_string() };
        let etag = response.headers().get(ETAG).and_then(|v| v.to_str().ok());
        let same = etag == first.head.etag.as_deref();
        match response.status().as_u16() {
            206 if etag.is_some() && !same => Err(changed()),
            206 => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
                if range == format!("bytes {taken}-{}/{}", first.head.size - 1, first.head.size) {
                    return Ok(0);
                }
                Err(self.protocol(response, location, "it sends another range than it was asked for"))
            }
            // A server without ranges: what is known already comes again.
            200 if same && etag.is_some() && head_of(response.headers()).is_some_and(|h| h.size == first.head.size) => {
                Ok(taken)
            }
            200 | 412 | 416 => Err(changed()),
            status => Err(self.protocol(response, location, format!("status {status} for a range"))),
        }
    }

    /// What a store says about an object.
    pub(crate) async fn head(&self, location: &Location) -> Result<Head, ObjectError> {
        if let Location::Gcs { .. } = location {
            return self.gcs_head(location).await;
        }
        let response = self.call(&Ask::new(Method::HEAD, location, object_path(location))).await?;
        let head = head_of(response.headers());
        head.ok_or_else(|| self.protocol(&response, location, "it does not say how long the object is"))
    }

    /// Deletes an object; one that is not there is as good as deleted.
    pub(crate) async fn delete(&self, location: &Location) -> Result<(), ObjectError> {
        match self.call(&Ask::new(Method::DELETE, location, object_path(location))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() && !error.is_no_bucket() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The request for what is missing of an object.
fn get_ask<'a>(location: &'a Location, got: &Got) -> Ask<'a> {
    let mut ask = Ask::new(Method::GET, location, object_path(location));
    match location {
        // The store then tells the sum it keeps, if it keeps one.
        Location::S3 { .. } => ask = ask.header("x-amz-checksum-mode", "ENABLED"),
        // What was stored compressed comes as it was stored.
        Location::Gcs { .. } => ask = ask.query("alt", "media").header("accept-encoding", "gzip"),
        Location::Azure { .. } => {}
    }
    let Some(first) = &got.first else { return ask };
    ask = ask.header("range", format!("bytes={}-", got.taken)).also(&[412, 416]);
    match (&first.generation, &first.head.etag) {
        (Some(generation), _) => ask.query("generation", generation.clone()),
        (None, Some(etag)) => ask.header("if-match", etag.clone()),
        (None, None) => ask,
    }
}

/// The path of an object's own requests.
pub(crate) fn object_path(location: &Location) -> String {
    match location {
        Location::S3 { key, .. } => format!("/{}", percent::path(key)),
        Location::Gcs { bucket, object } => {
            format!("/storage/v1/b/{}/o/{}", percent::component(bucket), percent::component(object))
        }
        Location::Azure { container, blob, .. } => format!("/{container}/{}", percent::path(blob)),
    }
}

fn head_of(headers: &HeaderMap) -> Option<Head> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    Some(Head {
        size: text(CONTENT_LENGTH)?.parse().ok()?,
        etag: text(ETAG).map(str::to_owned),
        modified: text(LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok()),
    })
}
