//! A cluster image on its way to a host: one stream of the blobs that the host lacks.
//!
//! ```text
//! launcher: "digest size" a line ──▶ have ──▶ "digest bytes" a line: how much of it is there
//! launcher: {"blob":…,"size":…,"from":…}⏎ bytes … {"end":{"name":…,"root":…}}⏎ ──▶ receive ──▶ "done"
//! where hosts bring each other the image, a stream of some blobs ends with "stop", and has no name
//! ```
//! A blob gets its name only when all its bytes were compared with its digest. What a broken connection leaves of a blob
//! stays, and the next stream goes on there. The name of the image is set last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_oci::{Descriptor, Digest, Hasher};
use kiln_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::{LaunchError, Result};

/// Blobs of one image.
const BLOBS: usize = 100_000;
/// Bytes of a line.
const LINE: u64 = 64 << 10;
const PIECE: usize = 256 << 10;
/// How a host says that a blob was something else. What was there of it before may be to blame, as it came from somebody
/// who was not compared with anything: it is worth another try.
pub const SPOILED: &str = "its bytes are those of";

/// A line of the stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Head {
    /// So many bytes of a blob follow: from `from` to `size`.
    Blob { digest: Digest, size: u64, from: u64 },
    /// That is all for now: the rest comes from elsewhere.
    Stop,
    /// It is complete.
    End { name: String, root: Box<Descriptor> },
}

/// How much of each blob a host has.
pub type Have = BTreeMap<Digest, u64>;

/// The question about some blobs.
pub fn question(blobs: &BTreeMap<Digest, u64>) -> Vec<u8> {
    blobs.iter().fold(Vec::new(), |mut text, (digest, size)| {
        text.extend_from_slice(format!("{digest} {size}\n").as_bytes());
        text
    })
}

/// Reads the answer; `None` if it is none.
pub fn answer(text: &str, blobs: &BTreeMap<Digest, u64>) -> Option<Have> {
    let mut have = Have::new();
    for line in text.lines() {
        let (digest, bytes) = line.split_once(' ')?;
        let digest: Digest = digest.parse().ok()?;
        let bytes: u64 = bytes.parse().ok()?;
        if bytes > *blobs.get(&digest)? {
            return None;
        }
        have.insert(digest, bytes);
    }
    (have.len() == blobs.len()).then_some(have)
}

/// On a host: says how much of each blob is there.
///
/// # Errors
/// When the question makes no sense or cannot be answered.
pub fn have(store: &Store, question: impl BufRead, mut out: impl Write) -> Result<()> {
    let bad = |why: String| LaunchError::File { what: "read", path: "the standard input".into(), why };
    for (count, line) in question.take(BLOBS as u64 * 200).lines().enumerate() {
        let line = line.map_err(|error| bad(error.to_string()))?;
        let parts = line
            .split_once(' ')
            .and_then(|(digest, size)| Some((digest.parse::<Digest>().ok()?, size.parse::<u64>().ok()?)));
        let Some((digest, size)) = parts.filter(|_| count < BLOBS) else {
            return Err(bad("it is no list of blobs".to_owned()));
        };
        let bytes = match store.blob_size(&digest) {
            Some(whole) if whole == size => size,
            _ => store.downloaded(&digest).min(size.saturating_sub(1)),
        };
        let written = writeln!(out, "{digest} {bytes}");
        written.map_err(|error| LaunchError::File {
            what: "write",
            path: "the standard output".into(),
            why: error.to_string(),
        })?;
    }
    Ok(())
}

/// On a host: takes a stream into the store.
///
/// # Errors
/// When the stream ends early or makes no sense, when a blob is not what its digest says, or the disk is full. What came
/// of a blob stays; not of one that is something else, and those behind it are taken all the same.
pub fn receive(store: &Store, mut from: impl BufRead) -> Result<()> {
    let bad = |why: &str| LaunchError::File { what: "read", path: "the stream".into(), why: why.to_owned() };
    let lease = store.lease()?;
    let mut spoiled = None;
    loop {
        let mut line = String::new();
        from.by_ref().take(LINE).read_line(&mut line).map_err(|error| bad(&error.to_string()))?;
        if line.is_empty() {
            return Err(bad("it ended early"));
        }
        match serde_json::from_str(&line).map_err(|_| bad("it has something else between blobs"))? {
            Head::Blob { digest, size, from: start } => {
                if let Some(found) = blob(store, &digest, size, start, &mut from)? {
                    spoiled.get_or_insert((digest, found));
                }
            }
            end => {
                if let Some((digest, found)) = spoiled {
                    let why = format!("{SPOILED} {found}");
                    return Err(LaunchError::File { what: "read", path: format!("blob {digest}").into(), why });
                }
                let Head::End { name, root } = end else { return Ok(()) };
                if !store.has_blob(&root.digest) {
                    return Err(bad("it ended without the index"));
                }
                store.set_ref(&name, &root)?;
                drop(lease);
                return Ok(());
            }
        }
    }
}

/// Takes a blob; says what came in its place, which is gone again.
fn blob(store: &Store, digest: &Digest, size: u64, start: u64, from: &mut impl Read) -> Result<Option<Digest>> {
    let bad = |why: String| LaunchError::File { what: "read", path: format!("blob {digest}").into(), why };
    let Some(mut writer) = store.download(digest, size, &|| false)? else {
        // Somebody else brought it meanwhile.
        let skipped = io::copy(&mut from.take(size.saturating_sub(start)), &mut io::sink());
        return skipped.map(|_| None).map_err(|error| bad(error.to_string()));
    };
    if writer.written() != start {
        return Err(bad(format!("{} bytes of it are here, and the stream goes on at {start}", writer.written())));
    }
    let mut hasher: Hasher = digest.hasher();
    writer.replay(&mut |piece| hasher.update(piece)).map_err(|error| bad(error.to_string()))?;
    let (mut left, mut buffer) = (size.saturating_sub(start), vec![0; PIECE]);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let piece = buffer.get_mut(..most).unwrap_or_default();
        let count = from.read(piece).map_err(|error| bad(error.to_string()))?;
        if count == 0 {
            return Err(bad("the stream ended early".to_owned()));
        }
        let piece = piece.get(..count).unwrap_or_default();
        hasher.update(piece);
        writer.write_all(piece).map_err(|error| LaunchError::File {
            what: "write",
            path: format!("blob {digest}").into(),
            why: error.to_string(),
        })?;
        left -= count as u64;
    }
    let found = hasher.finish();
    if found != *digest {
        writer.reset()?;
        return Ok(Some(found));
    }
    writer.commit_hashed(digest.clone())?;
    Ok(None)
}

/// On the launcher: what a host lacks, as one stream.
pub struct Stream {
    store: Store,
    left: Vec<(Digest, u64, u64)>,
    end: Vec<u8>,
    head: io::Cursor<Vec<u8>>,
    body: Option<io::Take<File>>,
    moved: Arc<AtomicU64>,
}

impl Stream {
    /// A stream of what is lacking, the index behind all others, and the name at its end, if it is to get one; and how
    /// many bytes of blobs it has.
    pub fn of(
        store: &Store,
        blobs: &BTreeMap<Digest, u64>,
        have: &Have,
        name: Option<(&str, &Descriptor)>,
    ) -> (Stream, u64) {
        let lacking =
            blobs.iter().map(|(digest, size)| (digest.clone(), *size, have.get(digest).copied().unwrap_or(0)));
        let mut left: Vec<(Digest, u64, u64)> = lacking.filter(|(_, size, from)| from < size || *size == 0).collect();
        // Taken from the end: small ones last, so that a slow link shows early how fast it is; the index last of all.
        let is_root = |digest: &Digest| name.is_some_and(|(_, root)| root.digest == *digest);
        left.sort_by_key(|(digest, size, _)| (!is_root(digest), *size));
        let bytes = left.iter().map(|(_, size, from)| size - from).sum();
        let end = |(name, root): (&str, &Descriptor)| Head::End { name: name.to_owned(), root: Box::new(root.clone()) };
        let head = name.map_or(Head::Stop, end);
        let end = serde_json::to_vec(&head).unwrap_or_default();
        let stream = Stream {
            store: store.clone(),
            left,
            end: [end, b"\n".to_vec()].concat(),
            head: io::Cursor::default(),
            body: None,
            moved: Arc::default(),
        };
        (stream, bytes)
    }

    /// Counts bytes of blobs as they are read.
    pub fn moved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.moved)
    }

    fn next(&mut self) -> io::Result<bool> {
        if let Some((digest, size, from)) = self.left.pop() {
            let mut file = self.store.open_blob(&digest).map_err(io::Error::other)?;
            file.seek(SeekFrom::Start(from))?;
            let mut head = serde_json::to_vec(&Head::Blob { digest, size, from })?;
            head.push(b'\n');
            self.head = io::Cursor::new(head);
            self.body = Some(file.take(size - from));
            return Ok(true);
        }
        let end = std::mem::take(&mut self.end);
        let more = !end.is_empty();
        self.head = io::Cursor::new(end);
        self.body = None;
        Ok(more)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.head.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            if let Some(body) = &mut self.body {
                let count = body.read(into)?;
                if count > 0 {
                    self.moved.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                if body.limit() > 0 {
                    return Err(io::Error::other("a blob of the store is shorter than it should be"));
                }
            }
            if !self.next()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two {
        _dirs: (tempfile::TempDir, tempfile::TempDir),
        here: Store,
        there: Store,
        blobs: BTreeMap<Digest, u64>,
        root: Descriptor,
    }

    impl Two {
        fn new() -> Two {
            let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let (here, there) = (Store::open(dirs.0.path()).unwrap(), Store::open(dirs.1.path()).unwrap());
            let mut blobs = BTreeMap::new();
            for size in [0, 5, 300_000] {
                let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
                blobs.insert(here.put(&bytes).unwrap(), bytes.len() as u64);
            }
            let root = Descriptor::of("application/vnd.oci.image.index.v1+json", b"{\"manifests\":[]}");
            blobs.insert(here.put(b"{\"manifests\":[]}").unwrap(), root.size);
            Two { _dirs: dirs, here, there, blobs, root }
        }

        fn have(&self) -> Have {
            let mut out = Vec::new();
            have(&self.there, &*question(&self.blobs), &mut out).unwrap();
            answer(&String::from_utf8(out).unwrap(), &self.blobs).unwrap()
        }

        fn stream(&self) -> (Vec<u8>, u64) {
            let (mut stream, bytes) = Stream::of(&self.here, &self.blobs, &self.have(), Some(("a/b:1", &self.root)));
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(stream.moved().load(Ordering::Relaxed), bytes);
            (all, bytes)
        }
    }

    #[test]
    fn what_is_lacking_arrives_and_nothing_the_second_time() {
        let two = Two::new();
        let (bytes, moved) = two.stream();
        assert!(moved > 300_000);
        receive(&two.there, &*bytes).unwrap();
        assert!(two.blobs.keys().all(|digest| two.there.has_blob(digest)));
        assert_eq!(two.there.get_ref("a/b:1").unwrap().map(|d| d.digest), Some(two.root.digest.clone()));
        let (again, moved) = two.stream();
        assert_eq!(moved, 0, "{}", String::from_utf8_lossy(&again));
        receive(&two.there, &*again).unwrap();
    }

    #[test]
    fn a_stream_that_breaks_goes_on_where_it_broke() {
        let two = Two::new();
        let (bytes, all) = two.stream();
        assert!(receive(&two.there, &bytes[..bytes.len() / 2]).unwrap_err().to_string().contains("ended early"));
        assert_eq!(two.there.get_ref("a/b:1").unwrap(), None, "the name comes last");
        let (rest, moved) = two.stream();
        assert!(moved < all && moved > 0, "{moved} of {all}");
        receive(&two.there, &*rest).unwrap();
        assert!(two.blobs.keys().all(|digest| two.there.has_blob(digest)));
    }

    #[test]
    fn what_somebody_else_had_begun_wrongly_is_gone_and_all_else_is_taken() {
        let two = Two::new();
        let (digest, size) = two.blobs.iter().max_by_key(|(_, size)| **size).unwrap();
        let mut writer = two.there.download(digest, *size, &|| false).unwrap().unwrap();
        writer.write_all(b"another").unwrap();
        drop(writer);
        let (bytes, all) = two.stream();
        let told = receive(&two.there, &*bytes).unwrap_err().to_string();
        assert!(told.contains(&format!("blob {digest}: {SPOILED} ")), "{told}");
        assert_eq!(two.there.get_ref("a/b:1").unwrap(), None);
        assert!(two.blobs.keys().all(|other| other == digest || two.there.has_blob(other)));
        let (bytes, moved) = two.stream();
        assert!(moved == *size && moved < all, "{moved} of {all}");
        receive(&two.there, &*bytes).unwrap();
    }

    #[test]
    fn bytes_that_are_others_are_not_taken() {
        let two = Two::new();
        let (mut bytes, _) = two.stream();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        assert!(receive(&two.there, &*bytes).unwrap_err().to_string().contains("its bytes are those of"));
        let (bytes, _) = two.stream();
        receive(&two.there, &*bytes).unwrap();
        for bad in [&b""[..], b"{}\n", b"x\n", b"{\"end\":{\"name\":\"a\",\"root\":{\"mediaType\":\"x\",\"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\",\"size\":0}}}\n"] {
            assert!(receive(&two.there, bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn answers_of_liars_are_none() {
        let two = Two::new();
        let digest = two.root.digest.to_string();
        for bad in ["", "x", &format!("{digest} 999999"), &format!("{digest} -1")] {
            assert_eq!(answer(bad, &two.blobs), None, "{bad}");
        }
        assert!(have(&two.there, &b"x y\n"[..], Vec::new()).is_err());
    }
}
