//! Uploads: blobs that clients send, in one piece or in chunks, perhaps with a restart of this server in between.
//!
//! The bytes of an upload lie where the store keeps blobs that came in part, under a digest that is made of the
//! repository and the name of the upload; so they survive this process, nothing takes them for a blob, and `kiln prune`
//! removes what nobody goes on with. A blob gets its name only when all bytes were compared with its digest.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{LOCATION, RANGE};
use kiln_oci::{Digest, Hasher};
use kiln_store::{BlobWriter, StoreError};

use crate::library::{Library, locked};
use crate::names::Name;
use crate::refusal::{Code, Refusal};

/// An upload that nobody goes on with is given up after this.
pub const EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// The most uploads that are remembered.
const MOST: usize = 10_000;

/// Between two requests of an upload.
struct Session {
    key: Digest,
    offset: u64,
    /// The hash of what is there; `None` after a restart, when it has to be read again.
    hasher: Option<Hasher>,
    /// Whether a request is sending.
    busy: bool,
    touched: Instant,
}

/// All uploads.
pub struct Uploads {
    limit: u64,
    sessions: Mutex<HashMap<String, Session>>,
}

/// The part of an upload that one request brings. Dropped, it leaves what has come for the next.
pub struct Active {
    uploads: Arc<Uploads>,
    id: String,
    writer: Option<BlobWriter>,
    hasher: Option<Hasher>,
    offset: u64,
    limit: u64,
}

fn unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "there is no such upload")
}

/// What the bytes of an upload are found by.
fn key(name: &Name, id: &str) -> Digest {
    Digest::of(format!("upload of {} {id}", name.full).as_bytes())
}

/// Where an upload goes on: a path of this server, so that it is right behind any proxy.
pub fn location(name: &Name, id: &str) -> String {
    format!("/v2/{}/blobs/uploads/{id}{}", name.path, name.query())
}

/// What has come so far, as the specification writes it.
pub fn progress(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

/// Forgets the upload that was idle longest, if there are too many. If bytes of it have come, it is found again by them.
fn make_room(sessions: &mut HashMap<String, Session>) -> Result<(), Refusal> {
    if sessions.len() < MOST {
        return Ok(());
    }
    let idle = sessions.iter().filter(|(_, s)| !s.busy).min_by_key(|(_, s)| s.touched).map(|(id, _)| id.clone());
    let idle = idle.ok_or_else(|| Refusal::new(Code::TooManyRequests, "too many uploads are in progress"))?;
    sessions.remove(&idle);
    Ok(())
}

impl Uploads {
    /// Uploads of at most `limit` bytes.
    pub fn new(limit: u64) -> Uploads {
        Uploads { limit, sessions: Mutex::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        locked(&self.sessions).len()
    }

    /// Begins an upload and says its name.
    pub fn begin(&self, name: &Name) -> Result<String, Refusal> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Refusal::new(Code::Unknown, "the machine gives no random numbers"))?;
        let id: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let mut sessions = locked(&self.sessions);
        make_room(&mut sessions)?;
        let key = key(name, &id);
        let session = Session { key, offset: 0, hasher: Some(Hasher::new()), busy: false, touched: Instant::now() };
        sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// How many bytes of an upload have come.
    pub fn offset(&self, library: &Library, name: &Name, id: &str) -> Result<u64, Refusal> {
        self.known(library, name, id).map(|(_, offset)| offset)
    }

    /// The upload, which may be from before a restart.
    fn known(&self, library: &Library, name: &Name, id: &str) -> Result<(Digest, u64), Refusal> {
        let key = key(name, id);
        let mut sessions = locked(&self.sessions);
        if let Some(session) = sessions.get(id) {
            // Of another repository: as if it were not there.
            return (session.key == key).then_some((key, session.offset)).ok_or_else(unknown);
        }
        let offset = library.store().downloaded(&key);
        if offset == 0 {
            return Err(unknown());
        }
        make_room(&mut sessions)?;
        let session = Session { key: key.clone(), offset, hasher: None, busy: false, touched: Instant::now() };
        sessions.insert(id.to_owned(), session);
        Ok((key, offset))
    }

    /// Goes on with an upload. `start` is the byte that the client says comes next. Blocks.
    pub fn resume(
        self: &Arc<Self>,
        library: &Library,
        name: &Name,
        id: &str,
        start: Option<u64>,
    ) -> Result<Active, Refusal> {
        let (key, offset) = self.known(library, name, id)?;
        if start.is_some_and(|start| start != offset) {
            return Err(Refusal::new(Code::BlobUploadInvalid, format!("{offset} bytes have come; go on there"))
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(LOCATION, &location(name, id))
                .header(RANGE, &progress(offset)));
        }
        let busy = || {
            Refusal::new(Code::BlobUploadInvalid, "another request is sending to this upload")
                .status(StatusCode::CONFLICT)
        };
        let hasher = {
            let mut sessions = locked(&self.sessions);
            let session = sessions.get_mut(id).ok_or_else(unknown)?;
            if std::mem::replace(&mut session.busy, true) {
                return Err(busy());
            }
            session.hasher.take()
        };
        let mut active =
            Active { uploads: self.clone(), id: id.to_owned(), writer: None, hasher, offset, limit: self.limit };
        let opened = library.writer()?.download(&key, u64::MAX, &|| true);
        let mut writer = match opened {
            Ok(Some(writer)) => writer,
            Ok(None) | Err(StoreError::LockCancelled { .. }) => return Err(busy()),
            Err(error) => return Err(library.failed(error)),
        };
        if writer.written() != offset || active.hasher.is_none() {
            let mut hasher = Hasher::new();
            writer.replay(&mut |piece| hasher.update(piece)).map_err(|e| active.disk(library, &e))?;
            (active.hasher, active.offset) = (Some(hasher), writer.written());
            if start.is_some_and(|start| start != active.offset) {
                return Err(unknown());
            }
        }
        active.writer = Some(writer);
        Ok(active)
    }

    /// Gives an upload up.
    pub fn cancel(self: &Arc<Self>, library: &Library, name: &Name, id: &str) -> Result<(), Refusal> {
        let active = self.resume(library, name, id, None)?;
        active.discard();
        Ok(())
    }

    /// Gives up what nobody went on with for long. Blocks.
    pub fn expire(self: &Arc<Self>, library: &Library, after: Duration) {
        let old: Vec<(String, Digest)> = {
            let mut sessions = locked(&self.sessions);
            let old = sessions.iter().filter(|(_, s)| !s.busy && s.touched.elapsed() >= after);
            let old: Vec<_> = old.map(|(id, session)| (id.clone(), session.key.clone())).collect();
            for (id, _) in &old {
                sessions.remove(id);
            }
            old
        };
        for (_, key) in old {
            if let Ok(Some(mut writer)) = library.store().download(&key, u64::MAX, &|| true) {
                // An empty one vanishes.
                let _ = writer.reset();
            }
        }
    }
}

impl Active {
    /// The name of the upload.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes have come.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many may still come.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.offset)
    }

    /// Takes bytes. Blocks.
    pub fn write(&mut self, library: &Library, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() as u64 > self.room() {
            return Err(Refusal::new(
                Code::SizeInvalid,
                format!("uploads of more than {} bytes are refused", self.limit),
            )
            .status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let Some(writer) = &mut self.writer else { return Err(unknown()) };
        if let Err(error) = writer.write_all(bytes) {
            return Err(self.disk(library, &error));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Makes a blob of what has come, if it has this digest. Otherwise the upload is gone. Blocks.
    pub fn finish(mut self, library: &Library, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        let Some(mut writer) = self.writer.take() else { return Err(unknown()) };
        let mut hasher = self.hasher.take().unwrap_or_default();
        if digest.algorithm() != "sha256" {
            hasher = digest.hasher();
            writer.replay(&mut |piece| hasher.update(piece)).map_err(|e| self.disk(library, &e))?;
        }
        let actual = hasher.finish();
        self.end();
        if actual != *digest {
            let _ = writer.reset();
            let text = format!("the bytes have digest {actual}, not {digest}");
            return Err(Refusal::new(Code::DigestInvalid, text));
        }
        writer.commit_hashed(actual).map_err(|e| library.failed(e))?;
        library.remember(&name.full, digest);
        Ok(())
    }

    /// Leaves nothing of the upload.
    pub fn discard(mut self) {
        if let Some(mut writer) = self.writer.take() {
            let _ = writer.reset();
        }
        self.end();
    }

    fn end(&self) {
        locked(&self.uploads.sessions).remove(&self.id);
    }

    fn disk(&self, library: &Library, error: &std::io::Error) -> Refusal {
        library.log.say(&format!("an upload: {error}"));
        let refusal = Refusal::new(Code::Unknown, "the upload cannot be written; the registry's log says more");
        match kiln_store::error::kind_of(error) {
            kiln_store::ErrorKind::NoSpace => refusal.status(StatusCode::INSUFFICIENT_STORAGE),
            _ => refusal,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        // The file first: whoever finds the session idle must be able to open it.
        self.writer = None;
        if let Some(session) = locked(&self.uploads.sessions).get_mut(&self.id) {
            session.busy = false;
            session.touched = Instant::now();
            session.offset = self.offset;
            session.hasher = self.hasher.take();
        }
    }
}
