//! The blocking face of the crate.

use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_http::Threads;

use crate::call::Core;
use crate::config::Config;
use crate::error::ObjectError;
use crate::location::Location;
use crate::put::{Open, Progress, Upload};
use kiln_clouds::source::Source;

/// How long giving up an upload may take.
const ABANDON: Duration = Duration::from_secs(10);

/// What a store says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its size in bytes.
    pub size: u64,
    /// The entity tag, which changes with the content.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, without encoding. It is what a stranger wrote: [`Location::with_key`] checks it.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// The entity tag, which changes with the content.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// A client for any number of stores. Clones share connections and credentials; all methods may be called from many
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
    /// Starts the network threads. Nothing is connected to, and no credentials are looked for yet.
    ///
    /// # Errors
    /// Proxies that are not addresses.
    pub fn new(config: Config) -> Result<Client, ObjectError> {
        let threads = Threads::start("kiln-objects").map_err(ObjectError::Start)?;
        Ok(Client { core: Arc::new(Core::new(config)?), threads: Arc::new(threads) })
    }

    /// Runs until the work is done or cancelled.
    fn run<T>(&self, work: impl Future<Output = Result<T, ObjectError>>) -> Result<T, ObjectError> {
        self.threads.run(&self.core.config.cancel, work).unwrap_or(Err(ObjectError::Cancelled))
    }

    /// Copies an object to `sink`, holding a few buffers of it in memory whatever its size.
    ///
    /// A connection that breaks is continued where it broke, if the object is still the same. Only when this returns
    /// without an error has the sink all bytes, as many as the store announced and with the sum it keeps, if it told
    /// one; until then they are not to be used. `progress` is told numbers of new bytes, which add up to the size.
    ///
    /// # Errors
    /// The object is not there or may not be read; the store cannot be reached or lies; the sink fails.
    pub fn get(&self, location: &Location, sink: &mut dyn Write, progress: &dyn Fn(u64)) -> Result<Head, ObjectError> {
        self.run(self.core.get(location, sink, progress))
    }

    /// Writes an object of `size` bytes, replacing what was there. Large ones go in parts, of which only
    /// one is sent again when a connection breaks; the object is there when all have arrived, or not at all. Parts are read from `source`
    /// twice for S3, which compares sums. `progress` is told numbers of new bytes sent.
    ///
    /// # Errors
    /// The object may not be written; the store cannot be reached or refuses; the source fails or is shorter.
    pub fn put(
        &self,
        location: &Location,
        source: &dyn Source,
        size: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), ObjectError> {
        let (open, progress) = (Open::default(), Progress::new(progress));
        let upload = Upload { location, source, size, progress: &progress };
        let result = self.run(self.core.put(&upload, &open));
        if let (Err(_), Some(name)) = (&result, open.take()) {
            let work = async { tokio::time::timeout(ABANDON, self.core.abandon(location, &name)).await };
            // That it takes too long is no more than that the store has to clean up by itself.
            let _ = self.threads.block_on(work);
        }
        result
    }

    /// What the store says about an object.
    ///
    /// # Errors
    /// The object is not there ([`is_not_found`](ObjectError::is_not_found)) or may not be read; the store cannot be
    /// reached.
    pub fn head(&self, location: &Location) -> Result<Head, ObjectError> {
        self.run(self.core.head(location))
    }

    /// Shows every object whose key begins with that of `prefix` (see [`Location::parse_prefix`]), in the order of the
    /// store, until `visit` breaks.
    ///
    /// # Errors
    /// The bucket is not there or may not be listed; the store cannot be reached.
    pub fn list(&self, prefix: &Location, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), ObjectError> {
        self.run(self.core.list(prefix, visit))
    }

    /// Deletes an object; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// The bucket is not there or the object may not be deleted; the store cannot be reached.
    pub fn delete(&self, location: &Location) -> Result<(), ObjectError> {
        self.run(self.core.delete(location))
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
        let config = Config::default();
        config.cancel.store(true, Ordering::Relaxed);
        let client = Client::new(config).unwrap();
        let location = Location::parse("s3://bucket/key").unwrap().unwrap();
        assert!(client.head(&location).unwrap_err().is_cancelled());
    }
}
