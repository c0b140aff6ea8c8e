//! A build context as one archive, for builds that run elsewhere.
//!
//! What the ignore rules exclude is left out, but for the files that the build reads itself. Owners are root's, as they
//! are in the image; times and modes are kept. The same files give the same bytes.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use kiln_oci::compress::{Compression, Compressor};
use kiln_oci::layer::LayerWriter;
use kiln_oci::{Entry, EntryKind, Meta};

use super::{Kind, Picked, Source};
use crate::error::{EngineError, Result};
use crate::rootfs::chain_text;

/// Writes a context as a tar, compressed. `whole` is the same directory without ignore rules, from which `always` are
/// taken though they may be excluded. Returns how many files it holds.
///
/// # Errors
/// When a file cannot be read, or changes meanwhile, or `out` fails.
pub fn pack(
    source: &dyn Source,
    whole: &dyn Source,
    always: &[String],
    compression: Compression,
    threads: usize,
    out: impl Write,
) -> Result<usize> {
    let mut picked = source.below(b"")?;
    for name in always {
        let there = picked.iter().any(|p| p.rel == name.as_bytes());
        if let (false, Some(stat)) = (there, whole.stat(name.as_bytes())?) {
            picked.push(Picked { rel: name.clone().into_bytes(), stat });
        }
    }
    let mut tar = LayerWriter::new(Compressor::new(out, compression, threads));
    let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut count = 0;
    for Picked { rel, stat } in &picked {
        let Some(kind) = kind(rel, &stat.kind, stat.link, &mut links) else { continue };
        let mut body: Box<dyn Read + Send> = match kind {
            EntryKind::File { .. } => whole.open(rel, stat)?,
            _ => Box::new(io::empty()),
        };
        let meta = Meta { uid: 0, gid: 0, ..stat.meta.clone() };
        tar.append(&Entry { path: rel.clone(), kind, meta }, &mut body).map_err(|e| failed(&e))?;
        count += 1;
    }
    tar.finish().map_err(|e| failed(&e))?.finish().map_err(|e| failed(&e))?;
    Ok(count)
}

fn failed(error: &dyn std::error::Error) -> EngineError {
    EngineError::Context(format!("cannot pack the build context: {}", chain_text(error)))
}

/// What an entry is; nothing for what no build could copy.
fn kind(rel: &[u8], kind: &Kind, link: Option<u64>, links: &mut HashMap<u64, Vec<u8>>) -> Option<EntryKind> {
    match kind {
        Kind::File { size } => match link.and_then(|link| links.insert(link, rel.to_vec())) {
            Some(first) => {
                links.extend(link.map(|link| (link, first.clone())));
                Some(EntryKind::Hardlink { target: first })
            }
            None => Some(EntryKind::File { size: *size }),
        },
        Kind::Dir => Some(EntryKind::Dir),
        Kind::Symlink { target } => Some(EntryKind::Symlink { target: target.clone() }),
        Kind::Char { .. } | Kind::Block { .. } | Kind::Fifo | Kind::Socket => None,
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::compress::{Format, decompress};

    use super::super::MemorySource;
    use super::*;

    #[test]
    fn what_the_build_reads_is_always_there() {
        let whole = MemorySource::new().file("Dockerfile", 0o644, "FROM x").file("a", 0o600, "A").symlink("l", "a");
        let some = MemorySource::new().file("a", 0o600, "A").symlink("l", "a");
        let packed = |compression, threads| {
            let mut out = Vec::new();
            let always = ["Dockerfile".to_owned(), "missing".to_owned()];
            let count = pack(&some, &whole, &always, compression, threads, &mut out).unwrap();
            (count, out)
        };
        let (count, gzip) = packed(Compression::default(), 1);
        assert_eq!((count, &gzip), (3, &packed(Compression::default(), 3).1));
        let mut tar = Vec::new();
        decompress(Format::Gzip, &gzip[..], None).read_to_end(&mut tar).unwrap();
        assert_eq!(tar, packed(Compression::None, 1).1);
        assert!(tar.windows(6).any(|w| w == b"FROM x"));
    }

    #[test]
    fn names_of_one_file_stay_so() {
        let (mut links, file) = (HashMap::new(), Kind::File { size: 3 });
        assert_eq!(kind(b"a", &file, Some(7), &mut links), Some(EntryKind::File { size: 3 }));
        for name in [b"b", b"c"] {
            let target = b"a".to_vec();
            assert_eq!(kind(name, &file, Some(7), &mut links), Some(EntryKind::Hardlink { target }));
        }
        assert_eq!(kind(b"s", &Kind::Socket, None, &mut links), None);
    }
}
