//! Blobs coming in: streamed, cut at their size, compared with their digest, continued where a connection broke.

use std::io;

use kiln_oci::{Descriptor, Digest, Hasher, Reference};
use reqwest::Method;
use reqwest::header::{HeaderValue, RANGE};

use crate::auth::challenge::Scope;
use crate::call::{Call, Core, Reply, Target, next_chunk};
use crate::endpoint::Endpoint;
use crate::error::Failure;
use crate::error::RegistryError;
use kiln_http::Pace;

/// Where a blob goes. Nothing in it is to be trusted before the call that fills it has returned without an error.
pub trait BlobSink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Ends the download.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Forgets all bytes so far: the blob starts again.
    ///
    /// # Errors
    /// Ends the download.
    fn reset(&mut self) -> io::Result<()>;

    /// Gives the bytes that an earlier download left here, from the start, in pieces; a download goes on behind them.
    ///
    /// # Errors
    /// The blob then starts again.
    fn replay(&mut self, _piece: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// The file must be empty, and is written from its start.
impl BlobSink for std::fs::File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(self, bytes)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        io::Seek::rewind(self)
    }
}

/// A download in progress; it lives across tries and mirrors.
struct Download<'a> {
    descriptor: &'a Descriptor,
    sink: &'a mut dyn BlobSink,
    progress: &'a dyn Fn(u64),
    hasher: Hasher,
    /// Bytes in the sink.
    at: u64,
    /// Bytes told as progress: bytes fetched a second time are not told again.
    told: u64,
    /// Whether the bytes come from more than one answer.
    pieced: bool,
}

impl Download<'_> {
    /// Takes up what an earlier download left.
    fn resume(&mut self) -> Result<(), RegistryError> {
        let (hasher, at) = (&mut self.hasher, &mut self.at);
        let replayed = self.sink.replay(&mut |bytes| {
            hasher.update(bytes);
            *at += bytes.len() as u64;
        });
        if replayed.is_err() || self.at > self.descriptor.size {
            // What it holds is not known, so it cannot be told from nothing.
            self.at = self.at.max(1);
            return self.reset();
        }
        self.pieced = self.at > 0;
        self.told = self.at;
        if self.at > 0 {
            (self.progress)(self.at);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), RegistryError> {
        if self.at > 0 {
            self.sink.reset().map_err(|e| self.sink_error(e))?;
        }
        self.hasher = self.descriptor.digest.hasher();
        self.at = 0;
        self.pieced = false;
        Ok(())
    }

    /// Takes bytes, but never more than the blob has.
    fn take(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        let left = usize::try_from(self.descriptor.size - self.at).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        self.sink.write(bytes).map_err(|e| self.sink_error(e))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        if self.at > self.told {
            (self.progress)(self.at - self.told);
            self.told = self.at;
        }
        Ok(())
    }

    fn sink_error(&self, source: io::Error) -> RegistryError {
        RegistryError::Sink { digest: self.descriptor.digest.clone(), source }
    }

    fn complete(&self) -> bool {
        self.at == self.descriptor.size
    }
}

/// A blob in words.
pub(crate) fn name(reference: &Reference, digest: &Digest) -> String {
    format!("blob {}@{digest}", reference.repository)
}

impl Core {
    /// Fetches a blob into a sink.
    pub(crate) async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let hasher = descriptor.digest.hasher();
        let mut download = Download { descriptor, sink, progress, hasher, at: 0, told: 0, pieced: false };
        download.resume()?;
        let what = name(reference, &descriptor.digest);
        let mut last = RegistryError::BadHost(reference.registry.clone());
        for endpoint in self.sources(reference)? {
            match self.blob_from(&endpoint, reference, &what, &mut download).await {
                Ok(()) => return Ok(()),
                Err(error @ RegistryError::Sink { .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn blob_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
        download: &mut Download<'_>,
    ) -> Result<(), RegistryError> {
        let mut retry = self.retry(endpoint);
        loop {
            let before = download.at;
            match self.blob_once(endpoint, reference, what, download).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    // Counts as progress only if it is worth a connection: a registry must not feed single bytes.
                    if download.at >= before.saturating_add(1 << 20) {
                        retry.progressed();
                    }
                    retry.pause(failure).await?;
                }
            }
        }
    }

    async fn blob_once(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
        download: &mut Download<'_>,
    ) -> Result<(), Failure> {
        if !download.complete() || download.descriptor.size == 0 {
            let mut reply = self.ask_blob(endpoint, reference, what, download).await?;
            let whole = reply.response.content_length().is_some();
            let mut pace = Pace::new();
            while !download.complete() {
                let chunk = next_chunk(self, &mut reply.response, &mut pace, &endpoint.host, what).await?;
                let Some(chunk) = chunk else {
                    let why = format!("the answer ends after {} of {} bytes", download.at, download.descriptor.size);
                    let (host, what) = (endpoint.host.clone(), what.to_owned());
                    return Err(Failure::soon(RegistryError::Protocol { host, what, why }));
                };
                download.take(&chunk)?;
            }
            // Seeing the end lets the connection be used again. An answer without a length may never end.
            if whole {
                let _ = next_chunk(self, &mut reply.response, &mut pace, &endpoint.host, what).await;
            }
        }
        verify(endpoint, what, download)
    }

    /// Asks for what is missing, and starts again if the registry sends something else.
    async fn ask_blob(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
        download: &mut Download<'_>,
    ) -> Result<Reply, Failure> {
        let repository = endpoint.repository(&reference.repository);
        let scopes = [Scope::repository(&repository, &["pull"])];
        let target = Target::Path(format!("{repository}/blobs/{}", download.descriptor.digest));
        let mut call = Call::new(Method::GET, target, &repository, &scopes, what);
        if let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", download.at))
            && download.at > 0
        {
            call.headers.insert(RANGE, range);
        }
        let mut reply = self.attempt(endpoint, &call).await?;
        if reply.status() == 416 || (reply.status() == 206 && content_start(&reply) != Some(download.at)) {
            drop(reply);
            download.reset()?;
            call.headers.remove(RANGE);
            reply = self.attempt(endpoint, &call).await?;
        }
        let reply = reply.expect(&[200, 206], endpoint, what).await?;
        if reply.status() == 200 {
            download.reset()?;
        } else if download.at == 0 {
            let (host, what) = (endpoint.host.clone(), what.to_owned());
            return Err(RegistryError::Protocol { host, what, why: "only a part of it was sent".to_owned() }.into());
        }
        download.pieced |= download.at > 0;
        let expected = download.descriptor.size;
        match reply.response.content_length().map(|length| length.saturating_add(download.at)) {
            Some(actual) if actual != expected => {
                download.reset()?;
                Err(RegistryError::SizeMismatch {
                    host: endpoint.host.clone(),
                    what: what.to_owned(),
                    expected,
                    actual,
                }
                .into())
            }
            _ => Ok(reply),
        }
    }

    /// Whether the registry itself (not a mirror) has a blob.
    pub(crate) async fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        scopes: &[Scope],
    ) -> Result<bool, RegistryError> {
        let what = name(reference, digest);
        let endpoint = self.endpoint(&reference.registry)?;
        let target = Target::Path(format!("{}/blobs/{digest}", reference.repository));
        let call = Call::new(Method::HEAD, target, &reference.repository, scopes, &what);
        let reply = self.call(&endpoint, &call).await?;
        match reply.status() {
            404 => Ok(false),
            _ => reply.expect(&[200], &endpoint, &what).await.map(|_| true),
        }
    }
}

/// Compares what came with what was asked for. A blob put together from pieces gets another chance in one piece.
fn verify(endpoint: &Endpoint, what: &str, download: &mut Download<'_>) -> Result<(), Failure> {
    let expected = download.descriptor.digest.clone();
    let actual = download.hasher.clone().finish();
    if actual == expected {
        return Ok(());
    }
    let pieced = download.pieced;
    download.reset()?;
    let error = RegistryError::DigestMismatch {
        host: endpoint.host.clone(),
        what: what.to_owned(),
        expected: expected.into(),
        actual: actual.into(),
    };
    Err(if pieced { Failure::soon(error) } else { error.into() })
}

/// The first byte in `Content-Range: bytes FIRST-LAST/SIZE`.
fn content_start(reply: &Reply) -> Option<u64> {
    let range = reply.header("content-range")?.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
