//! `manifest`: a file that records every artifact, in the form that Packer's has, one after the other.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_engine::{EngineError, whole};
use kiln_packer::config::Config;
use serde::{Deserialize, Serialize};

use super::{Job, Made};
use crate::artifact::Artifact;
use crate::builder::make_parents;
use crate::error::{NodeError, Result};

/// As large a manifest may be.
const MAX_MANIFEST: u64 = 64 << 20;
/// How long another process is waited for that writes the same manifest.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A `manifest` block.
pub struct Manifest {
    output: PathBuf,
    strip_path: bool,
    strip_time: bool,
    data: Vec<(String, String)>,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    #[serde(deserialize_with = "null_is_empty")]
    builds: Vec<Entry>,
    last_run_uuid: String,
}

/// One artifact in it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    builder_type: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    build_time: u64,
    files: Option<Vec<Listed>>,
    artifact_id: String,
    packer_run_uuid: String,
    custom_data: Option<BTreeMap<String, String>>,
}

/// A file of it.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<Entry>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

impl Manifest {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Manifest> {
        let f = config.fields();
        // An older name of it.
        let older = f.string("filename")?;
        let manifest = Manifest {
            output: f.string("output")?.or(older).unwrap_or_else(|| "packer-manifest.json".to_owned()).into(),
            strip_path: f.bool("strip_path")?.unwrap_or(false),
            strip_time: f.bool("strip_time")?.unwrap_or(false),
            data: f.map("custom_data")?.unwrap_or_default(),
        };
        f.finish()?;
        Ok(manifest)
    }

    /// Adds the artifact.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn run(&self, artifact: &Artifact, job: &Job<'_>) -> Result<Made> {
        let entry = self.entry(artifact, job)?;
        make_parents(&self.output)?;
        let lock = Lock::take(&self.output)?;
        add(&self.output, entry, &job.facts.uuid, job.force)?;
        drop(lock);
        Ok(Made { artifact: artifact.clone(), keep: true, forced: true })
    }

    fn entry(&self, artifact: &Artifact, job: &Job<'_>) -> Result<Entry> {
        let mut files = Vec::new();
        for path in &artifact.files {
            let size = path.metadata().map_err(NodeError::file("read", path))?.len();
            let name = match (self.strip_path, path.file_name()) {
                (true, Some(name)) => name.to_string_lossy().into_owned(),
                _ => path.display().to_string(),
            };
            files.push(Listed { name, size });
        }
        let masks = job.ui.whole().masks();
        let data = self.data.iter().map(|(name, value)| (name.clone(), masks.apply(value)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(Entry {
            name: job.build.to_owned(),
            builder_type: job.kind.to_owned(),
            build_time: if self.strip_time { 0 } else { now },
            files: (!files.is_empty()).then_some(files),
            artifact_id: artifact.id.clone(),
            packer_run_uuid: job.facts.uuid.clone(),
            custom_data: (!self.data.is_empty()).then(|| data.collect()),
        })
    }
}

/// Reads, adds, writes. With `force` what earlier runs recorded is forgotten.
fn add(path: &Path, entry: Entry, uuid: &str, force: bool) -> Result<()> {
    let action = "write the manifest";
    let failed = |e: std::io::Error| NodeError::file(action, path)(e);
    // Behind a link, what it points to is what is replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut text = String::new();
    let before = match std::fs::File::open(path) {
        Ok(file) => {
            let mode = file.metadata().map_err(failed)?.permissions();
            file.take(MAX_MANIFEST).read_to_string(&mut text).map_err(failed)?;
            Some(mode)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    let mut written = match text.trim().is_empty() {
        true => Written::default(),
        false => serde_json::from_str(&text)
            .map_err(|e| NodeError::Artifact(format!("{} is no manifest: {e}; move it away", path.display())))?,
    };
    if force && written.last_run_uuid != uuid {
        written = Written::default();
    }
    written.last_run_uuid = uuid.to_owned();
    written.builds.push(entry);
    // As Go writes it: these letters only as escapes.
    let json = serde_json::to_string_pretty(&written).unwrap_or_default();
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(whole::file(path, action, |out| {
        let moded = before.map_or(Ok(()), |mode| out.set_permissions(mode));
        moded.and_then(|()| out.write_all(json.as_bytes())).map_err(EngineError::file(action, path))
    })?)
}

/// The manifest's lock: a lock on a file beside it, which is there as long as somebody writes, as Packer has it.
struct Lock {
    path: PathBuf,
    _held: std::fs::File,
}

impl Lock {
    fn take(manifest: &Path) -> Result<Lock> {
        let mut path = manifest.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |e: std::io::Error| NodeError::file("lock the manifest", &path)(e);
        let start = std::time::Instant::now();
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
            match file.try_lock() {
                // It may have been removed between being opened and being locked.
                Ok(()) if same(&file, &path) => return Ok(Lock { path, _held: file }),
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(failed(std::io::Error::other("another process has held it for 30 seconds")));
                }
                Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
    }
}

fn same(file: &std::fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            builder_type: "file".to_owned(),
            build_time: 0,
            files: Some(vec![Listed { name: "a<b".to_owned(), size: 3 }]),
            artifact_id: "File".to_owned(),
            packer_run_uuid: "u".to_owned(),
            custom_data: None,
        }
    }

    #[test]
    fn runs_are_recorded_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        add(&path, entry("one"), "u", false).unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @r#"
        {
          "builds": [
            {
              "name": "one",
              "builder_type": "file",
              "files": [
                {
                  "name": "a\u003cb",
                  "size": 3
                }
              ],
              "artifact_id": "File",
              "packer_run_uuid": "u",
              "custom_data": null
            }
          ],
          "last_run_uuid": "u"
        }
        "#);
        add(&path, entry("two"), "v", false).unwrap();
        let names = || -> Vec<String> {
            let written: Written = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            written.builds.into_iter().map(|b| b.name).collect()
        };
        assert_eq!(names(), ["one", "two"]);
        add(&path, entry("three"), "w", true).unwrap();
        assert_eq!(names(), ["three"]);
        // What others read while it is written is whole: it is another file that takes its place.
        let mut reader = std::fs::File::open(&path).unwrap();
        add(&path, entry("four"), "w", false).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.contains("three") && !text.contains("four"), "{text}");
        assert_eq!(names(), ["three", "four"]);
        std::fs::write(&path, "not json").unwrap();
        assert!(add(&path, entry("x"), "u", false).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not json");
    }

    #[test]
    fn a_crowd_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        std::thread::scope(|scope| {
            for i in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let _lock = Lock::take(path).unwrap();
                    add(path, entry(&i.to_string()), "u", false).unwrap();
                });
            }
        });
        let written: Written = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written.builds.len(), 8);
        assert!(!dir.path().join("m.json.lock").exists());
    }
}
