//! Files → the hash a step's key holds.
//!
//! ```text
//! input                      in hash     because
//! name of what was matched   yes         it may be the name at the destination
//! path below it              yes
//! type, link target, device  yes
//! permissions                yes         except a matched directory's own: its copy gets them from the destination
//! bytes                      yes
//! owner, file capabilities   yes         a context has none, so only COPY --from depends on them
//! names of one file          which       not their inode number
//! modification time          no          a fresh checkout has other times
//! path of the match          no          `COPY a/f /x` and `COPY b/f /x` with the same f are the same
//! ```

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kiln_oci::entry::Xattrs;
use kiln_oci::name;
use kiln_plan::facts::{FilesFact, Key32, Select};
use kiln_plan::key::Framed;
use kiln_plan::why::{Listed, Listing};

use super::select::threads;
use super::{Kind, Pick, Selection, Source, Stat};
use crate::error::{EngineError, Result};

/// Bytes read at once: on the stack, because most files are small and there are many.
const ROOM: usize = 32 << 10;
/// Fewer files are hashed where they are asked for.
const FEW: usize = 4;

/// What `select` holds of `source`: the answer to a planner's question.
///
/// # Errors
/// As [`select()`](super::select()) and [`hash_selection`].
pub fn answer(source: &dyn Source, select: &Select) -> Result<FilesFact> {
    let selection = super::select(source, select)?;
    let hash = hash_selection(source, &selection)?;
    let count = selection.picks.iter().map(|pick| 1 + pick.entries.len()).sum();
    Ok(FilesFact { hash, missing: selection.missing, count })
}

/// The hash of a selection of `source`. Files are read on several threads.
///
/// # Errors
/// When a file cannot be read.
pub fn hash_selection(source: &dyn Source, selection: &Selection) -> Result<Key32> {
    let mut wanted = Vec::new();
    for pick in &selection.picks {
        each(pick, |path, stat, first| {
            if first.is_none() && matches!(stat.kind, Kind::File { .. }) {
                wanted.push((path, stat));
            }
        });
    }
    let mut contents = contents(source, &wanted)?.into_iter();
    let mut all = Framed::new("files");
    for pick in &selection.picks {
        all.field("name", &pick.name);
        for parent in &pick.parents {
            all.field("parent", &parent.rel).field("is", &describe(&parent.stat));
        }
        if pick.stat.is_dir() {
            all.field("is", b"d");
        }
        each(pick, |path, stat, first| {
            let rel = path.strip_prefix(pick.root.as_slice()).unwrap_or(&path);
            all.field("path", rel).field("is", &describe(stat));
            if let Some(first) = first {
                all.field("same-as", first);
            } else if matches!(stat.kind, Kind::File { .. }) {
                all.field("content", &contents.next().unwrap_or_default());
            }
        });
    }
    Ok(Key32(all.finish()))
}

/// What each file is that `select` holds of `source`. Their bytes have been hashed before.
///
/// # Errors
/// As [`answer`].
pub fn listing(source: &dyn Source, select: &Select) -> Result<Listing> {
    let selection = super::select(source, select)?;
    let mut files = Vec::new();
    for pick in &selection.picks {
        each(pick, |path, stat, _| files.push((path, stat)));
    }
    let mut listing = Listing::default();
    for (path, stat) in files {
        let content = match stat.kind {
            Kind::File { .. } => short(&source.content_hash(&path, stat)?),
            _ => String::new(),
        };
        let meta = short(blake3::hash(&describe(stat)).as_bytes());
        listing.0.insert(name::escape(&path), Listed { meta, content });
    }
    Ok(listing)
}

/// Enough of a hash to see that it is another one.
fn short(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Goes through the entries of a pick, or the file it is: real path, what it is, and for a further name of a file the
/// path of its first.
fn each<'p>(pick: &'p Pick, mut with: impl FnMut(Vec<u8>, &'p Stat, Option<&[u8]>)) {
    if !pick.stat.is_dir() {
        return with(pick.root.clone(), &pick.stat, None);
    }
    let mut names: HashMap<u64, &[u8]> = HashMap::new();
    for entry in &pick.entries {
        let first = entry.stat.link.and_then(|link| {
            let first = *names.entry(link).or_insert(&entry.rel);
            (first != entry.rel.as_slice()).then_some(first)
        });
        with(name::join(&pick.root, &entry.rel), &entry.stat, first);
    }
}

/// All about a file but its bytes and its time, unambiguous.
fn describe(stat: &Stat) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.push(match stat.kind {
        Kind::File { .. } => b'f',
        Kind::Dir => b'd',
        Kind::Symlink { .. } => b'l',
        Kind::Char { .. } => b'c',
        Kind::Block { .. } => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
    });
    // A link's permissions mean nothing, and file systems differ about them.
    let mode = if matches!(stat.kind, Kind::Symlink { .. }) { 0o777 } else { stat.meta.mode };
    for number in [mode, stat.meta.uid, stat.meta.gid] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    push_xattrs(&mut bytes, &stat.meta.xattrs);
    match &stat.kind {
        Kind::Symlink { target } => bytes.extend_from_slice(target),
        Kind::Char { major, minor } | Kind::Block { major, minor } => {
            bytes.extend_from_slice(&major.to_le_bytes());
            bytes.extend_from_slice(&minor.to_le_bytes());
        }
        _ => {}
    }
    bytes
}

fn push_xattrs(bytes: &mut Vec<u8>, xattrs: &Xattrs) {
    let kept: Vec<_> =
        xattrs.iter().filter(|(key, _)| kiln_oci::entry::KEPT_XATTRS.contains(&key.as_slice())).collect();
    bytes.push(u8::try_from(kept.len()).unwrap_or(u8::MAX));
    for part in kept.into_iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
}

/// The hash of each file's bytes.
fn contents(source: &dyn Source, files: &[(Vec<u8>, &Stat)]) -> Result<Vec<[u8; 32]>> {
    if files.len() <= FEW {
        return files.iter().map(|(path, stat)| source.content_hash(path, stat)).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<Vec<(usize, [u8; 32])>> {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, stat)) = files.get(at) else { break };
            let hash = source.content_hash(path, stat).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            done.push((at, hash));
        }
        Ok(done)
    };
    let mut hashes = vec![[0; 32]; files.len()];
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads().min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        for result in results {
            for (at, hash) in result? {
                hashes[at] = hash;
            }
        }
        Ok(hashes)
    })
}

/// BLAKE3 of all that `reader` gives; `path` is for messages.
pub(super) fn of_reader(path: &[u8], mut reader: Box<dyn Read + Send>) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut room = [0; ROOM];
    loop {
        match reader.read(&mut room) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(n) => drop(hasher.update(&room[..n])),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(EngineError::Context(format!("cannot read `{}`: {e}", name::escape(path)))),
        }
    }
}
