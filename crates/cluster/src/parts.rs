//! A file cut into pieces, for media that hold less than all of it, and put together again with checks.
//!
//! ```text
//! NAME.parts          what there must be: a JSON document with size and SHA-256 of each piece
//! NAME.part-0001 …    the bytes, in this order
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::Hasher;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{ClusterError, Result};

/// What the document's name ends in.
pub const ENDING: &str = "parts";
/// As many pieces there may be.
const MAX_PIECES: usize = 100_000;
/// Pieces are no smaller, so that a mistyped size does not make a million files.
pub const MIN_PIECE: u64 = 64 << 10;
/// The version of the document.
const VERSION: u32 = 1;

/// The document beside the pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    version: u32,
    /// The name of the whole file.
    name: String,
    size: u64,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    file: String,
    size: u64,
    digest: Digest,
}

fn failed(path: &Path, message: impl ToString) -> ClusterError {
    ClusterError::Parts { path: path.to_path_buf(), message: message.to_string(), environment: false }
}

fn disk(path: &Path, e: &io::Error) -> ClusterError {
    ClusterError::Parts { path: path.to_path_buf(), message: e.to_string(), environment: true }
}

/// Writes a file in pieces. What was written goes if it is dropped before [`Splitter::finish`].
pub struct Splitter {
    path: PathBuf,
    name: String,
    limit: u64,
    pieces: Vec<Piece>,
    current: Option<(File, Hasher, u64)>,
    finished: bool,
}

impl Splitter {
    /// Pieces of `limit` bytes of the file `path`.
    ///
    /// # Errors
    /// When the limit is too small, or the path has no name.
    pub fn new(path: &Path, limit: u64) -> Result<Splitter> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| failed(path, "its name is no text"))?.to_owned();
        if limit < MIN_PIECE {
            return Err(failed(path, format!("pieces have at least {} KiB", MIN_PIECE >> 10)));
        }
        Ok(Splitter { path: path.to_path_buf(), name, limit, pieces: Vec::new(), current: None, finished: false })
    }

    fn piece(&self, number: usize) -> PathBuf {
        self.path.with_file_name(format!("{}.part-{number:04}", self.name))
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some((file, hasher, size)) = self.current.take() {
            file.sync_all()?;
            let file = format!("{}.part-{:04}", self.name, self.pieces.len() + 1);
            self.pieces.push(Piece { file, size, digest: hasher.finish() });
        }
        Ok(())
    }

    /// Ends the last piece and writes the document. Returns its path and the number of pieces.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn finish(mut self) -> Result<(PathBuf, usize)> {
        let path = self.path.with_file_name(format!("{}.{ENDING}", self.name));
        self.close().map_err(|e| disk(&path, &e))?;
        let size = self.pieces.iter().map(|piece| piece.size).sum();
        let document = Document { version: VERSION, name: self.name.clone(), size, pieces: self.pieces.clone() };
        let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        kiln_engine::whole::write(&path, "write", |out| {
            out.write_all(text.as_bytes()).map_err(kiln_engine::EngineError::file("write", &path))
        })?;
        self.finished = true;
        Ok((path, self.pieces.len()))
    }
}

impl Write for Splitter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.as_ref().is_some_and(|(_, _, size)| *size >= self.limit) {
            self.close()?;
        }
        if self.current.is_none() {
            if self.pieces.len() >= MAX_PIECES {
                return Err(io::Error::other(format!("there would be more than {MAX_PIECES} pieces")));
            }
            let file = File::create(self.piece(self.pieces.len() + 1))?;
            self.current = Some((file, Hasher::new(), 0));
        }
        let Some((file, hasher, size)) = &mut self.current else { return Ok(0) };
        let left = usize::try_from(self.limit - *size).unwrap_or(usize::MAX);
        let n = file.write(&bytes[..bytes.len().min(left)])?;
        hasher.update(&bytes[..n]);
        *size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        if !self.finished {
            let begun = usize::from(self.current.is_some());
            for number in 1..=self.pieces.len() + begun {
                let _ = std::fs::remove_file(self.piece(number));
            }
        }
    }
}

/// The pieces that a document names, in order, after each was compared with it.
///
/// # Errors
/// When the document makes no sense, or a piece is missing or has changed: all of them are named.
pub fn verify(document: &Path, check: &dyn Fn() -> kiln_engine::Result<()>) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let file = File::open(document).map_err(|e| failed(document, e))?;
    file.take(64 << 20).read_to_end(&mut bytes).map_err(|e| failed(document, e))?;
    let read: Document =
        serde_json::from_slice(&bytes).map_err(|e| failed(document, format!("it is no list of pieces: {e}")))?;
    if read.version != VERSION || read.pieces.is_empty() || read.pieces.len() > MAX_PIECES {
        return Err(failed(document, "it is no list of pieces of a version that is known"));
    }
    let (mut paths, mut wrong) = (Vec::new(), Vec::new());
    for piece in &read.pieces {
        if piece.file.contains('/') || piece.file.starts_with('.') {
            return Err(failed(document, format!("`{}` is no file beside it", piece.file)));
        }
        let path = document.with_file_name(&piece.file);
        check()?;
        match hash(&path, piece.size) {
            Ok((size, digest)) if size == piece.size && digest == piece.digest => {}
            Ok((size, _)) if size < piece.size => wrong.push(format!("{} is cut off", piece.file)),
            Ok(_) => wrong.push(format!("{} has changed", piece.file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => wrong.push(format!("{} is missing", piece.file)),
            Err(e) => wrong.push(format!("{}: {e}", piece.file)),
        }
        paths.push(path);
    }
    match wrong.is_empty() {
        true => Ok(paths),
        false => Err(failed(document, wrong.join(", "))),
    }
}

fn hash(path: &Path, max: u64) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?.take(max.saturating_add(1));
    let (mut hasher, mut size, mut buf) = (Hasher::new(), 0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut buf)? {
            0 => return Ok((size, hasher.finish())),
            n => {
                hasher.update(&buf[..n]);
                size += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, bytes: &[u8]) -> PathBuf {
        let mut splitter = Splitter::new(&dir.join("x.tar"), MIN_PIECE).unwrap();
        splitter.write_all(bytes).unwrap();
        splitter.finish().unwrap().0
    }

    #[test]
    fn pieces_are_put_together_again() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..MIN_PIECE * 5 / 2).map(|n| (n % 251) as u8).collect();
        let document = write(dir.path(), &bytes);
        let paths = verify(&document, &|| Ok(())).unwrap();
        assert_eq!(paths.len(), 3);
        let whole: Vec<u8> = paths.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
        assert!(whole == bytes);
    }

    #[test]
    fn every_wrong_piece_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let document = write(dir.path(), &vec![7; usize::try_from(MIN_PIECE * 3).unwrap()]);
        let piece = |number: usize| dir.path().join(format!("x.tar.part-000{number}"));
        let mut first = std::fs::read(piece(1)).unwrap();
        first[5] = 8;
        std::fs::write(piece(1), first).unwrap();
        std::fs::write(piece(2), "short").unwrap();
        std::fs::remove_file(piece(3)).unwrap();
        let text = verify(&document, &|| Ok(())).unwrap_err().to_string();
        for part in ["part-0001 has changed", "part-0002 is cut off", "part-0003 is missing"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn documents_that_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let document = dir.path().join("x.parts");
        let of = |file: &str| {
            format!(
                r#"{{"version":1,"name":"x","size":1,"pieces":[{{"file":"{file}","size":1,"digest":"{}"}}]}}"#,
                Digest::of(b"x")
            )
        };
        for text in [of("../x"), of("/etc/passwd"), of(".x"), "{}".to_owned(), "[".to_owned()] {
            std::fs::write(&document, text).unwrap();
            assert!(verify(&document, &|| Ok(())).is_err());
        }
        assert!(Splitter::new(Path::new("x"), 10).is_err());
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut splitter = Splitter::new(&dir.path().join("x"), MIN_PIECE).unwrap();
        splitter.write_all(&vec![1; 200_000]).unwrap();
        drop(splitter);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
