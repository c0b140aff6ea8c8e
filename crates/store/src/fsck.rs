//! Checking everything, and mending what can be mended by forgetting it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kiln_oci::Digest;

use crate::layer::LAYER_LABEL;
use crate::lock::Gate;
use crate::reach::{Links, read_document};
use crate::record;
use crate::store::locked;
use crate::temp::{TempDir, ignore_missing};
use crate::usage::{Thing, inventory};
use crate::{Kind, Result, Store, StoreError};

/// What is wrong with one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is; `None` for an image name.
    pub kind: Option<Kind>,
    /// Its name within the kind, or the image's name.
    pub name: String,
    /// What is wrong.
    pub text: String,
    /// Whether it was mended: removed, so that it is fetched or made again.
    pub repaired: bool,
}

/// What [`Store::fsck`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// How many blobs and tars were read.
    pub checked: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Store {
    /// Reads every blob, tar and record and compares it with its name, and looks whether the images with names are
    /// complete. With `repair`, what is damaged is removed, and so are names whose manifest is; an image of which
    /// other parts are missing keeps its name, since pulling it again completes it.
    ///
    /// # Errors
    /// When the store cannot be listed, `index.json` is damaged, or something cannot be removed.
    pub fn fsck(&self, repair: bool) -> Result<FsckReport> {
        if repair {
            self.writable("repair")?;
        }
        let things = inventory(self)?;
        let mut report = FsckReport::default();
        let mut bad: HashSet<Digest> = HashSet::new();
        for (thing, verdict) in self.read_all(&things) {
            report.checked += 1;
            report.bytes += verdict.bytes;
            let Some(text) = verdict.problem else { continue };
            if let (Kind::Blob, Some(digest)) = (thing.kind, &thing.digest) {
                bad.insert(digest.clone());
            }
            let repaired = repair && self.quarantine(&thing.path)?;
            report.problems.push(Problem { kind: Some(thing.kind), name: thing.name.clone(), text, repaired });
        }
        self.check_records(&things, repair, &mut report)?;
        self.check_names(&bad, repair, &mut report)?;
        report.problems.sort_by(|a, b| (a.kind, &a.name, &a.text).cmp(&(b.kind, &b.name, &b.text)));
        Ok(report)
    }

    /// Hashes all blobs and tars, on all processors.
    fn read_all<'a>(&self, things: &'a [Thing]) -> Vec<(&'a Thing, Verdict)> {
        let files: Vec<&Thing> = things.iter().filter(|t| matches!(t.kind, Kind::Blob | Kind::Tar)).collect();
        let next = AtomicUsize::new(0);
        let verdicts = Mutex::new(Vec::with_capacity(files.len()));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(thing) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(verdict) = verify(thing) {
                            locked(&verdicts).push((*thing, verdict));
                        }
                    }
                });
            }
        });
        verdicts.into_inner().unwrap_or_default()
    }

    fn check_records(&self, things: &[Thing], repair: bool, report: &mut FsckReport) -> Result<()> {
        for thing in things {
            let labelled = match (thing.kind, &thing.digest) {
                (Kind::Index, Some(diff_id)) => vec![(thing.path.clone(), format!("index {diff_id}"))],
                (Kind::Layer, Some(_)) => {
                    crate::usage::files(&thing.path)?.into_iter().map(|(p, _)| (p, LAYER_LABEL.to_owned())).collect()
                }
                (Kind::Record, _) => {
                    let kind = thing.name.split('/').next().unwrap_or_default();
                    vec![(thing.path.clone(), format!("cache {kind}"))]
                }
                _ => Vec::new(),
            };
            for (path, label) in labelled {
                let text = match record::read(&path, &label) {
                    Ok(None | Some(Ok(_))) => continue,
                    Ok(Some(Err(_))) => "the record is damaged".to_owned(),
                    Err(e) => format!("the record cannot be read: {e}"),
                };
                let repaired = repair && self.quarantine(&path)?;
                report.problems.push(Problem { kind: Some(thing.kind), name: thing.name.clone(), text, repaired });
            }
        }
        Ok(())
    }

    fn check_names(&self, bad: &HashSet<Digest>, repair: bool, report: &mut FsckReport) -> Result<()> {
        let mut gone = Vec::new();
        for (name, digest) in self.roots()? {
            let name = name.unwrap_or_else(|| digest.to_string());
            let missing = self.missing(&digest, bad)?;
            let Some(first) = missing.first() else { continue };
            let root_lost = self.lost(&digest, bad);
            let text = match root_lost {
                true => format!("its manifest {digest} is missing or damaged"),
                false => format!("{} of its blobs are missing or damaged, such as {first}", missing.len()),
            };
            if root_lost {
                gone.push(digest);
            }
            report.problems.push(Problem { kind: None, name, text, repaired: repair && root_lost });
        }
        match repair && !gone.is_empty() {
            true => self.drop_roots(&gone),
            false => Ok(()),
        }
    }

    fn lost(&self, digest: &Digest, bad: &HashSet<Digest>) -> bool {
        bad.contains(digest) || !self.blob_path(digest).is_file()
    }

    /// What an image needs and lacks. A platform of an index may be missing as a whole: it was not asked for.
    fn missing(&self, root: &Digest, bad: &HashSet<Digest>) -> Result<Vec<Digest>> {
        let mut missing = Vec::new();
        let mut seen = HashSet::from([root.clone()]);
        let mut ahead = vec![root.clone()];
        while let Some(digest) = ahead.pop() {
            if self.lost(&digest, bad) {
                missing.push(digest);
                continue;
            }
            let links = read_document(self, &digest)?.map(|d| Links::of(&d)).unwrap_or_default();
            let chosen = links.manifests.into_iter().filter(|m| bad.contains(m) || self.blob_path(m).is_file());
            ahead.extend(chosen.filter(|m| seen.insert(m.clone())));
            let parts = links.layers.into_iter().chain(links.config).filter(|p| seen.insert(p.clone()));
            missing.extend(parts.filter(|p| self.lost(p, bad)));
        }
        Ok(missing)
    }

    /// Takes a damaged file out of sight.
    fn quarantine(&self, path: &Path) -> Result<bool> {
        let failed = |source| StoreError::Remove { path: path.to_path_buf(), source };
        let trash = TempDir::create(self).map_err(failed)?;
        let _gate = Gate::exclusive(self.dir()).map_err(failed)?;
        fs::rename(path, trash.path().join("damaged")).or_else(ignore_missing).map_err(failed)?;
        Ok(true)
    }
}

struct Verdict {
    bytes: u64,
    problem: Option<String>,
}

/// Compares a file with its name. `None` if it went away meanwhile.
fn verify(thing: &Thing) -> Option<Verdict> {
    let digest = thing.digest.as_ref()?;
    match hash(&thing.path, digest) {
        Ok((actual, bytes)) => {
            let problem = (actual != *digest).then(|| format!("its bytes have digest {actual}"));
            Some(Verdict { bytes, problem })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => Some(Verdict { bytes: 0, problem: Some(format!("it cannot be read: {e}")) }),
    }
}

fn hash(path: &PathBuf, digest: &Digest) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = digest.hasher();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), bytes)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
