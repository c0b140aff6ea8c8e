//! Build contexts in object stores: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage. Credentials
//! are those that the clouds' own tools find.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_objects::{Client, Config, Location, ObjectError};

use super::http::shown;
use crate::context::archive;
use crate::error::{EngineError, Result};
use crate::event::{Direction, Event};
use crate::session::Session;

/// Bytes between the connection and what unpacks them.
const BUFFER: usize = 256 << 10;

/// The object a text names; `None` when it is no address of an object store.
///
/// # Errors
/// What is wrong with an address.
pub fn location(text: &str) -> Result<Option<Location>> {
    Location::parse(text).map_err(|e| EngineError::Object {
        name: shown(text),
        message: e.to_string(),
        hint: Some(e.hint()),
    })
}

fn client(session: &Session) -> Result<Client> {
    let cancel = session.images.client().config().cancel.clone();
    Client::new(Config { cancel, ..Config::from_env() }).map_err(|e| failed("the object store", &e))
}

fn failed(name: &str, error: &ObjectError) -> EngineError {
    if error.is_cancelled() {
        return EngineError::Cancelled;
    }
    let (message, hint) = (crate::rootfs::chain_text(error), error.hint());
    EngineError::Object { name: shown(name), message, hint }
}

/// Unpacks the archive in an object into the empty directory `into`, as it comes: nothing of it is kept elsewhere.
///
/// # Errors
/// When the object cannot be had, or is no archive that a context can be.
pub fn unpack(session: &Session, text: &str, location: &Location, into: &Path) -> Result<()> {
    let client = client(session)?;
    let pipe = |e| EngineError::file("open a pipe to", into)(e);
    let (reader, writer) = io::pipe().map_err(pipe)?;
    let report = Report { session, name: shown(text), direction: Direction::Download, done: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| archive::unpack_context(&report.name, reader, into));
        let mut sink = io::BufWriter::with_capacity(BUFFER, writer);
        let fetched = client.get(location, &mut sink, &|delta| report.moved(delta));
        let flushed = if fetched.is_ok() { sink.flush() } else { Ok(()) };
        // Its end tells who unpacks that there is no more.
        drop(sink.into_parts());
        let unpacked = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report.end();
        match (fetched, unpacked) {
            // Who stops reading breaks the connection: why is what counts.
            (Err(ObjectError::Sink { .. }), Err(why)) => Err(why),
            (Err(e), _) => Err(failed(text, &e)),
            (Ok(_), Err(why)) => Err(why),
            (Ok(_), Ok(())) => flushed.map_err(pipe),
        }
    })
}

/// Uploads a file of `size` bytes as an object.
///
/// # Errors
/// When the object cannot be written.
pub fn upload(session: &Session, text: &str, location: &Location, file: &File, size: u64) -> Result<()> {
    let report = Report { session, name: shown(text), direction: Direction::Upload, done: AtomicU64::new(0) };
    let put = client(session)?.put(location, file, size, &|delta| report.moved(delta));
    report.end();
    put.map(drop).map_err(|e| failed(text, &e))
}

/// Deletes an object.
///
/// # Errors
/// When it is still there.
pub fn delete(text: &str, location: &Location) -> Result<()> {
    // Who is stopped cleans up all the same.
    let client = Client::new(Config::from_env()).map_err(|e| failed(text, &e))?;
    client.delete(location).map_err(|e| failed(text, &e))
}

/// Tells how far a transfer came.
struct Report<'a> {
    session: &'a Session,
    name: String,
    direction: Direction,
    done: AtomicU64,
}

impl Report<'_> {
    fn moved(&self, delta: u64) {
        self.tell(self.done.fetch_add(delta, Ordering::Relaxed) + delta, false);
    }

    fn end(&self) {
        self.tell(self.done.load(Ordering::Relaxed), true);
    }

    fn tell(&self, current: u64, finished: bool) {
        let (name, direction, total) = (&*self.name, self.direction, None);
        self.session.events.event(&Event::Transfer { name, direction, current, total, finished });
    }
}
