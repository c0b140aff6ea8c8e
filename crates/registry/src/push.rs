//! Blobs going out: skipped where the registry has them, mounted from a neighbour, or uploaded; and how an upload that
//! breaks goes on.
//!
//! ```text
//! blob smaller than chunk_above     one PUT
//! larger                            PATCH in chunks, then PUT
//! one PUT broke                     ask how far it came; chunks from there, or once more from the start
//! one PUT is too large (413)        chunks
//! chunks are refused (4xx)          one PUT: some registries take only small chunks, some none
//! ```

use std::io::{self, Read};

use kiln_oci::{Descriptor, Digest, Reference};

use crate::auth::challenge::Scope;
use crate::call::Core;
use crate::error::Failure;
use crate::error::RegistryError;
use crate::pull::name;
use crate::upload::{Part, Upload, UploadSession};
use kiln_http::{Again, Retry};

/// How a blob came to be in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// It was there.
    Existed,
    /// It was sent.
    Uploaded,
}

/// What became of a wish to mount a blob.
#[derive(Debug, Clone)]
pub enum MountOutcome {
    /// The blob is in the repository now.
    Mounted,
    /// It is not; the registry opened an upload for it instead, to be used with
    /// [`Client::push_blob_in`](crate::Client::push_blob_in).
    NotMounted(UploadSession),
}

/// Opens the blob at its start; called again when bytes have to be sent again.
pub(crate) type Open<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>;

/// A blob on its way out; lives across tries.
struct Push<'a> {
    upload: Upload<'a>,
    descriptor: &'a Descriptor,
    source: Source<'a>,
    progress: &'a dyn Fn(u64),
    /// Bytes told as progress; bytes sent a second time are not told again.
    told: u64,
    session: Option<UploadSession>,
    /// Bytes the registry has.
    at: u64,
    style: Style,
    /// Whether what the registry has must be asked, because a try broke.
    uncertain: bool,
    /// Whether the other style has been tried.
    switched: bool,
    resumed: bool,
    chunk_size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Whole,
    Chunks,
}

/// A blob that can be read from any position, by skipping.
struct Source<'a> {
    open: Open<'a>,
    reader: Option<Box<dyn Read + Send>>,
    at: u64,
}

impl Source<'_> {
    /// A reader positioned at `offset`.
    fn at(&mut self, offset: u64) -> io::Result<&mut dyn Read> {
        if self.at > offset || self.reader.is_none() {
            self.reader = Some((self.open)()?);
            self.at = 0;
        }
        let Some(reader) = &mut self.reader else { return Err(io::ErrorKind::NotFound.into()) };
        let skip = offset - self.at;
        if io::copy(&mut reader.take(skip), &mut io::sink())? < skip {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than its descriptor says"));
        }
        self.at = offset;
        Ok(&mut **reader)
    }
}

impl Core {
    /// Uploads a blob unless the registry has it.
    pub(crate) async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        session: Option<UploadSession>,
        open: Open<'_>,
        progress: &dyn Fn(u64),
    ) -> Result<PushOutcome, RegistryError> {
        let scopes = vec![Scope::repository(&reference.repository, &["pull", "push"])];
        // A session comes from a mount that failed, which is proof enough that the blob is not there.
        if session.is_none() {
            match self.has_blob(reference, &descriptor.digest, &scopes).await {
                Ok(true) => return Ok(PushOutcome::Existed),
                // Registries that do not answer the question may still take the blob.
                Ok(false) | Err(RegistryError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let what = name(reference, &descriptor.digest);
        let endpoint = self.endpoint(&reference.registry)?;
        let upload = Upload { core: self, endpoint: &endpoint, repository: &reference.repository, scopes, what: &what };
        let mut push = Push {
            upload,
            descriptor,
            source: Source { open, reader: None, at: 0 },
            progress,
            told: 0,
            session,
            at: 0,
            style: if descriptor.size >= self.config.chunk_above { Style::Chunks } else { Style::Whole },
            uncertain: false,
            switched: false,
            resumed: false,
            chunk_size: self.config.chunk_size.max(1),
        };
        push.run(self.retry(&endpoint)).await.map(|()| PushOutcome::Uploaded)
    }

    /// Opens an upload and gives it up.
    pub(crate) async fn check_push(&self, reference: &Reference) -> Result<(), RegistryError> {
        let what = format!("repository {}", reference.repository);
        let endpoint = self.endpoint(&reference.registry)?;
        let scopes = vec![Scope::repository(&reference.repository, &["pull", "push"])];
        let upload = Upload { core: self, endpoint: &endpoint, repository: &reference.repository, scopes, what: &what };
        if let Some(session) = repeated(self.retry(&endpoint), || upload.start(None)).await? {
            upload.abandon(&session).await;
        }
        Ok(())
    }

    /// Asks the registry to take a blob over from another of its repositories.
    pub(crate) async fn mount_blob(
        &self,
        reference: &Reference,
        from: &str,
        digest: &Digest,
    ) -> Result<MountOutcome, RegistryError> {
        let what = name(reference, digest);
        let endpoint = self.endpoint(&reference.registry)?;
        let push = Scope::repository(&reference.repository, &["pull", "push"]);
        let scopes = vec![push.clone(), Scope::repository(from, &["pull"])];
        let both = Upload { core: self, endpoint: &endpoint, repository: &reference.repository, scopes, what: &what };
        match repeated(self.retry(&endpoint), || both.start(Some((digest, from)))).await {
            Ok(None) => return Ok(MountOutcome::Mounted),
            Ok(Some(session)) => return Ok(MountOutcome::NotMounted(session)),
            // Registries that know no mounting, or deny the other repository.
            Err(error) if error.answer().is_some_and(|a| (400..500).contains(&a.status) && a.status != 429) => {}
            Err(error) => return Err(error),
        }
        let alone = Upload { scopes: vec![push], ..both };
        match repeated(self.retry(&endpoint), || alone.start(None)).await? {
            Some(session) => Ok(MountOutcome::NotMounted(session)),
            None => Ok(MountOutcome::Mounted),
        }
    }
}

async fn repeated<T>(
    mut retry: Retry,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, RegistryError> {
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => retry.pause(failure).await?,
        }
    }
}

impl Push<'_> {
    async fn run(&mut self, mut retry: Retry) -> Result<(), RegistryError> {
        loop {
            let before = self.at;
            let Err(failure) = self.once().await else { return Ok(()) };
            if self.at > before {
                retry.progressed();
            }
            if self.other_way(&failure) {
                continue;
            }
            self.uncertain = true;
            if let Err(error) = retry.pause(failure).await {
                if let Some(session) = self.session.take().filter(|_| !matches!(error, RegistryError::Connect { .. })) {
                    self.upload.abandon(&session).await;
                }
                return Err(error);
            }
        }
    }

    /// Whether there is another way to send the blob than the one that was just refused; it is then set up.
    fn other_way(&mut self, failure: &Failure) -> bool {
        if failure.again != Again::Never {
            return false;
        }
        let Some(answer) = failure.error.answer() else { return false };
        let wrong_bytes = answer.code == "DIGEST_INVALID";
        let chunks = self.style == Style::Chunks || self.resumed;
        let other = match answer.status {
            // Bytes put together over a broken connection may be wrong; bytes sent in one go are what they are.
            _ if wrong_bytes => self.resumed.then_some(self.style),
            413 if !chunks => Some(Style::Chunks),
            400 | 404 | 405 | 411 | 413 | 415 | 416 | 501 if chunks => Some(Style::Whole),
            _ => None,
        };
        let Some(other) = other.filter(|_| !self.switched) else { return false };
        self.switched = true;
        self.style = other;
        self.restart();
        true
    }

    fn restart(&mut self) {
        self.session = None;
        self.at = 0;
        self.uncertain = false;
        self.resumed = false;
    }

    async fn once(&mut self) -> Result<(), Failure> {
        if self.uncertain {
            self.find_out().await?;
        }
        let session = match self.session.clone() {
            Some(session) => session,
            None => match self.upload.start(None).await? {
                Some(session) => session,
                None => return Ok(()),
            },
        };
        self.session = Some(session.clone());
        if self.at == 0 && self.style == Style::Whole {
            return self.whole(&session).await;
        }
        self.chunks(session).await
    }

    /// Asks how far a broken upload came; one the registry forgot starts again, as does one that already was resumed
    /// in vain.
    async fn find_out(&mut self) -> Result<(), Failure> {
        let Some(session) = self.session.clone() else { return Ok(()) };
        match self.upload.arrived(&session).await? {
            Some((session, at)) if at > 0 && at <= self.descriptor.size && !self.switched => {
                self.session = Some(session);
                self.at = at;
                self.resumed = true;
            }
            _ => self.restart(),
        }
        self.uncertain = false;
        Ok(())
    }

    async fn whole(&mut self, session: &UploadSession) -> Result<(), Failure> {
        let size = self.descriptor.size;
        let (told, progress) = (&mut self.told, self.progress);
        let mut sent = 0;
        let mut tell = |bytes| {
            sent += bytes;
            report(told, progress, sent);
        };
        let digest = &self.descriptor.digest;
        let reader = self.source.at(0).map_err(|source| RegistryError::Source { digest: digest.clone(), source })?;
        let part = Part { reader, digest, length: size, sent: &mut tell };
        let result = self.upload.put(session, part).await;
        self.source.reader = None;
        result
    }

    async fn chunks(&mut self, mut session: UploadSession) -> Result<(), Failure> {
        let digest = &self.descriptor.digest;
        while self.at < self.descriptor.size {
            let length = self.chunk_size.max(session.min_chunk).min(self.descriptor.size - self.at);
            let start = self.at;
            let (told, progress) = (&mut self.told, self.progress);
            let mut sent = start;
            let mut tell = |bytes| {
                sent += bytes;
                report(told, progress, sent);
            };
            let reader =
                self.source.at(start).map_err(|source| RegistryError::Source { digest: digest.clone(), source })?;
            let part = Part { reader, digest, length, sent: &mut tell };
            let result = self.upload.patch(&session, start, part).await;
            self.source.at = sent;
            if result.is_err() {
                self.source.reader = None;
            }
            let (next, arrived) = result?;
            if arrived <= start {
                let (host, what) = (self.upload.endpoint.host.clone(), self.upload.what.to_owned());
                let why = "it keeps nothing of a chunk it accepted".to_owned();
                return Err(Failure::soon(RegistryError::Protocol { host, what, why }));
            }
            session = next;
            self.session = Some(session.clone());
            self.at = arrived;
        }
        self.upload.finish(&session, digest).await
    }
}

/// Tells progress up to `sent`, but nothing twice.
fn report(told: &mut u64, progress: &dyn Fn(u64), sent: u64) {
    if sent > *told {
        progress(sent - *told);
        *told = sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_from_anywhere() {
        let opened = std::cell::Cell::new(0);
        let open = || -> io::Result<Box<dyn Read + Send>> {
            opened.set(opened.get() + 1);
            Ok(Box::new(&b"0123456789"[..]))
        };
        let mut source = Source { open: &open, reader: None, at: 0 };
        let mut one = [0; 1];
        for (offset, want, opens) in [(0, b'0', 1), (1, b'1', 1), (5, b'5', 1), (2, b'2', 2)] {
            source.at(offset).unwrap().read_exact(&mut one).unwrap();
            source.at += 1;
            assert_eq!((one[0], opened.get()), (want, opens));
        }
        assert!(source.at(11).is_err());
    }
}
