//! The blocking face of the crate.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use kiln_http::Threads;
use kiln_oci::{Descriptor, Digest, Reference};

use crate::auth::challenge::Scope;
use crate::call::Core;
use crate::config::Config;
use crate::credentials::Credential;
use crate::error::RegistryError;
use crate::manifest::FetchedManifest;
use crate::pull::BlobSink;
use crate::push::{MountOutcome, PushOutcome};
use crate::upload::UploadSession;

/// A client for any number of registries. Clones share connections and logins; all methods may be called from many
/// threads at once, and block. They must not be called from asynchronous code.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    threads: Arc<Threads>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.core.config).finish()
    }
}

impl Client {
    /// Starts the network threads. Nothing is connected to yet.
    ///
    /// # Errors
    /// Settings that cannot be used: certificates that cannot be read, proxies and mirrors that are not addresses.
    pub fn new(config: Config) -> Result<Client, RegistryError> {
        let threads = Threads::start("kiln-registry").map_err(RegistryError::Start)?;
        Ok(Client { core: Arc::new(Core::new(config)?), threads: Arc::new(threads) })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Runs until the work is done or cancelled.
    fn run<T>(&self, work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        self.threads.run(&self.core.config.cancel, work).unwrap_or(Err(RegistryError::Cancelled))
    }

    /// Fetches the manifest or index a reference points to, from a mirror if one has it. The bytes match the digest in
    /// the reference and the one the registry announced, and are at the most 4 MiB.
    pub fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, RegistryError> {
        self.run(self.core.manifest(reference))
    }

    /// What a reference points to, fetching the document only where the registry does not tell otherwise.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        self.run(self.core.resolve(reference))
    }

    /// Fetches a blob from a mirror or the registry (only registry and repository of `reference` matter).
    ///
    /// The bytes go to `sink` as they come; only when this returns without an error do they have the size and digest
    /// of the descriptor, and until then they are not to be used. A broken connection is continued where it broke.
    /// `progress` is told numbers of new bytes, which add up to the size.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        self.run(self.core.blob(reference, descriptor, sink, progress))
    }

    /// Fetches a plain URL of at most `limit` bytes into `sink`; `None` if the server says that `etag` is still right.
    /// User and password in the URL become a login; nothing of them is ever shown.
    pub fn fetch_url(
        &self,
        url: &str,
        etag: Option<&str>,
        limit: u64,
        sink: &mut dyn BlobSink,
        progress: &dyn Fn(u64),
    ) -> Result<Option<crate::fetch::UrlHead>, RegistryError> {
        self.run(self.core.fetch_url(url, etag, limit, sink, progress))
    }

    /// Sends a small document to a plain URL with PUT, as addresses signed for one upload take it. User and password in
    /// the URL become a login.
    pub fn put_url(&self, url: &str, media_type: &str, bytes: impl Into<Bytes>) -> Result<(), RegistryError> {
        self.run(self.core.put_url(url, media_type, bytes.into()))
    }

    /// Whether the registry lets this client push to the repository: an upload is opened, and given up again.
    ///
    /// # Errors
    /// What a push would fail with.
    pub fn check_push(&self, reference: &Reference) -> Result<(), RegistryError> {
        self.run(self.core.check_push(reference))
    }

    /// Whether the repository has a blob. Mirrors are not asked.
    pub fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let scopes = [Scope::repository(&reference.repository, &["pull"])];
        self.run(self.core.has_blob(reference, digest, &scopes))
    }

    /// Asks the registry to take a blob over from `from_repository`, another repository of the same registry.
    pub fn mount_blob(
        &self,
        reference: &Reference,
        from_repository: &str,
        digest: &Digest,
    ) -> Result<MountOutcome, RegistryError> {
        self.run(self.core.mount_blob(reference, from_repository, digest))
    }

    /// Uploads a blob unless the repository has it. `open` gives its bytes from the start, and is called again when
    /// some have to be sent again. `progress` is told numbers of new bytes sent; nothing if the blob existed.
    pub fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        progress: &dyn Fn(u64),
    ) -> Result<PushOutcome, RegistryError> {
        self.run(self.core.push_blob(reference, descriptor, None, open, progress))
    }

    /// Uploads a blob in the session a failed mount left.
    pub fn push_blob_in(
        &self,
        session: UploadSession,
        reference: &Reference,
        descriptor: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        progress: &dyn Fn(u64),
    ) -> Result<PushOutcome, RegistryError> {
        self.run(self.core.push_blob(reference, descriptor, Some(session), open, progress))
    }

    /// Pushes a manifest or index under the tag of the reference, or under its digest where it has no tag. A digest in
    /// the reference must be that of the bytes.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        self.run(self.core.push_manifest(reference, media_type, bytes.into()))
    }

    /// All tags of the repository.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        self.run(self.core.tags(reference))
    }

    /// Deletes the manifest a reference points to, and with it every tag on that manifest.
    pub fn delete(&self, reference: &Reference) -> Result<(), RegistryError> {
        self.run(self.core.delete(reference))
    }

    /// The artefacts (signatures, attestations) that refer to a manifest of the repository.
    pub fn referrers(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        self.run(self.core.referrers(reference, subject))
    }

    /// Pushes a manifest that refers to `subject`, by its digest; where the registry does not list referrers itself, it is
    /// added to the list that clients keep. `entry` describes it.
    ///
    /// # Errors
    /// When the registry refuses.
    pub fn push_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        entry: &Descriptor,
        bytes: impl Into<Bytes>,
    ) -> Result<(), RegistryError> {
        self.run(self.core.push_referrer(reference, subject, entry, bytes.into()))
    }

    /// Whether a registry accepts a credential, for `kiln login`. `host` is written as in references.
    pub fn check_login(&self, host: &str, credential: &Credential) -> Result<(), RegistryError> {
        self.run(self.core.check_login(host, credential))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_client_is_shared_between_threads() {
        fn shared<T: Clone + Send + Sync>() {}
        shared::<Client>();
    }

    #[test]
    fn a_cancelled_client_does_nothing() {
        let client = Client::new(Config::default()).unwrap();
        client.config().cancel.store(true, Ordering::Relaxed);
        let error = client.manifest(&"192.0.2.1/x".parse().unwrap()).unwrap_err();
        assert!(error.is_cancelled());
    }
}
