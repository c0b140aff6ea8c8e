//! What was done: on this side a record of the cluster and a journal for each host, on a host its marker.
//!
//! ```text
//! STATE/NAME/cluster.json          which hosts, how they are reached, which image; no passwords
//! STATE/NAME/hosts/10.0.0.1.json   phase → begun or done, with the key of what it did
//! /var/lib/kiln/host.json          on the host: whose it is, and phase → key
//! ```
//! The marker counts: a phase is done on a host if the host says so and the key is that of what is wanted. The journal
//! says where it stopped and why, also when the host does not answer any more. Files are replaced whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{LaunchError, Result};

/// The version of all these files.
pub const VERSION: u32 = 1;
/// Bytes of a file that is read.
const MAX: u64 = 4 << 20;

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// [`VERSION`]
    pub version: u32,
    /// The name of the cluster.
    pub cluster: String,
    /// What tells it from others of that name.
    pub id: String,
    /// Phases that are done, with the keys of what they did.
    #[serde(default)]
    pub done: BTreeMap<String, String>,
    /// The phase that was begun last, until it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<String>,
    /// Whether there was something of Kubernetes before: then Kiln resets nothing of it on its own.
    #[serde(default)]
    pub occupied: bool,
    /// How services were before: `active enabled`. Services that were not there have none.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
    /// Whether its kubelet runs pods with Docker, and not with containerd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub docker: bool,
    /// Networks of pods: routes into them that appear are the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
}

impl Marker {
    /// A host that nothing was done on.
    pub fn new(cluster: &str, id: &str) -> Marker {
        Marker {
            version: VERSION,
            cluster: cluster.to_owned(),
            id: id.to_owned(),
            done: BTreeMap::new(),
            begun: None,
            occupied: false,
            services: BTreeMap::new(),
            docker: false,
            pods: Vec::new(),
        }
    }

    /// Reads a marker; none of another version.
    pub fn parse(text: &str) -> Option<Marker> {
        serde_json::from_str::<Marker>(text).ok().filter(|marker| marker.version == VERSION && marker.done.len() < 100)
    }

    /// As it is written.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// A host of a cluster, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostRecord {
    /// The address to log in at.
    pub address: String,
    /// The name of its node.
    pub node: String,
    /// Whether the control plane runs on it.
    pub master: bool,
    /// Who to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port of its SSH server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The file of the key to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The address by which its peers reach it: it stays, whichever hosts come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_address: Option<String>,
}

impl HostRecord {
    /// The address by which its peers reach it: the one to log in at, where the record does not say.
    pub fn peer_address(&self) -> &str {
        self.node_address.as_deref().unwrap_or(&self.address)
    }
}

/// A cluster, as it is known on this side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`]
    pub version: u32,
    /// Its name.
    pub name: String,
    /// What tells it from others of that name.
    pub id: String,
    /// The cluster image, by its whole name.
    pub image: String,
    /// The images that it was made of for this cluster, by their names; none where it is an image of the user's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Its digest.
    pub digest: String,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// The Clusterfile that it was launched from: what it says is not kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Its hosts, the first master first.
    pub hosts: Vec<HostRecord>,
}

impl Record {
    /// The images, as people know them.
    pub fn title(&self) -> String {
        match self.parts.as_slice() {
            [first, others @ ..] => crate::bundle::together(first, others),
            [] => self.image.clone(),
        }
    }

    /// The names of the images as who launches names them.
    pub fn images(&self) -> Vec<String> {
        if self.parts.is_empty() { vec![self.image.clone()] } else { self.parts.clone() }
    }
}

/// What happened on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`VERSION`]
    pub version: u32,
    /// In order.
    pub entries: Vec<Entry>,
}

/// A phase on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub phase: String,
    /// What of it: a digest.
    pub key: String,
    /// `begun`, `done` or `failed`
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Where clusters are kept on this side.
#[derive(Debug, Clone)]
pub struct State {
    dir: PathBuf,
}

impl State {
    /// The directory of one cluster below that of all.
    ///
    /// # Errors
    /// When the name cannot be one of a directory.
    pub fn of(root: &Path, cluster: &str) -> Result<State> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if cluster.is_empty() || cluster.len() > 100 || cluster.starts_with(['.', '-']) || !cluster.chars().all(good) {
            return Err(LaunchError::Wanted {
                what: format!("`{}` is no name for a cluster", crate::machine::printable(cluster)),
                hint: "letters, digits, `-`, `_` and `.`, a letter or digit first".to_owned(),
            });
        }
        Ok(State { dir: root.join(cluster) })
    }

    /// The names of all clusters.
    pub fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let known = entries.filter(|entry| entry.path().join("cluster.json").is_file());
        let mut names: Vec<String> = known.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The record of the cluster, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub fn record(&self) -> Result<Option<Record>> {
        let path = self.dir.join("cluster.json");
        let record: Option<Record> = read(&path)?;
        match record {
            Some(record) if record.version != VERSION => Err(other_version(path, record.version)),
            record => Ok(record),
        }
    }

    /// Keeps the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, record: &Record) -> Result<()> {
        write(&self.dir.join("cluster.json"), record)
    }

    /// The journal of a host.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn journal(&self, host: &str) -> Result<Journal> {
        let path = self.host(host);
        let journal = read(&path)?.unwrap_or(Journal { version: VERSION, entries: Vec::new() });
        if journal.version != VERSION {
            return Err(other_version(path, journal.version));
        }
        Ok(journal)
    }

    /// Notes what became of a phase on a host; earlier notes of that phase are replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&self, host: &str, entry: Entry) -> Result<()> {
        let mut journal = self.journal(host)?;
        journal.entries.retain(|old| old.phase != entry.phase);
        journal.entries.push(entry);
        write(&self.host(host), &journal)
    }

    /// Forgets a host.
    ///
    /// # Errors
    /// When its journal cannot be removed.
    pub fn forget_host(&self, host: &str) -> Result<()> {
        remove(&self.host(host))
    }

    /// Forgets the cluster.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn forget(&self) -> Result<()> {
        for entry in fs::read_dir(self.dir.join("hosts")).into_iter().flatten().flatten() {
            remove(&entry.path())?;
        }
        remove(&self.dir.join("cluster.json"))?;
        // What others put there stays.
        let _ = fs::remove_dir(self.dir.join("hosts"));
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    fn host(&self, host: &str) -> PathBuf {
        let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        self.dir.join("hosts").join(format!("{name}.json"))
    }
}

fn other_version(path: PathBuf, version: u32) -> LaunchError {
    LaunchError::File { what: "read", path, why: format!("it is of version {version}, this Kiln knows {VERSION}") }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |why: String| LaunchError::File { what: "read", path: path.to_owned(), why };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
        Ok(meta) if meta.len() > MAX => return Err(failed(format!("more than {} MiB", MAX >> 20))),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.to_string()))
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let failed =
        |error: std::io::Error| LaunchError::File { what: "write", path: path.to_owned(), why: error.to_string() };
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    }
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LaunchError::File { what: "remove", path: path.to_owned(), why: error.to_string() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_its_journals_are_kept_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::of(dir.path(), "shop").unwrap();
        assert_eq!(state.record().unwrap(), None);
        let host = HostRecord {
            address: "10.0.0.1".into(),
            node: "n1".into(),
            master: true,
            user: None,
            port: None,
            key: None,
            node_address: None,
        };
        let record = Record {
            file: None,
            version: VERSION,
            name: "shop".into(),
            id: "ab".into(),
            image: "shop:1".into(),
            parts: vec!["kubernetes:v1".into(), "a:1".into(), "b:1".into()],
            digest: "sha256:0".into(),
            kubernetes: "v1.20.2".into(),
            hosts: vec![host],
        };
        state.keep(&record).unwrap();
        assert_eq!(record.title(), "kubernetes:v1 with a:1, b:1");
        assert_eq!(Record { parts: Vec::new(), ..record.clone() }.images(), ["shop:1"]);
        assert_eq!(state.record().unwrap(), Some(record));
        let entry =
            |state: &str| Entry { phase: "init".into(), key: "k".into(), state: state.into(), why: String::new() };
        state.note("fd00::1", entry("begun")).unwrap();
        state.note("fd00::1", entry("done")).unwrap();
        assert_eq!(state.journal("fd00::1").unwrap().entries, [entry("done")]);
        assert_eq!(State::names(dir.path()), ["shop"]);
        state.forget().unwrap();
        assert!(!dir.path().join("shop").exists());
    }

    #[test]
    fn files_of_other_versions_and_strange_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", ".", "../x", "a/b", "-x", "a\nb"] {
            assert!(State::of(dir.path(), bad).is_err(), "{bad:?}");
        }
        let state = State::of(dir.path(), "a").unwrap();
        fs::create_dir_all(dir.path().join("a/hosts")).unwrap();
        fs::write(dir.path().join("a/hosts/h.json"), "{\"version\":9,\"entries\":[]}").unwrap();
        assert!(state.journal("h").unwrap_err().to_string().contains("version 9"));
        fs::write(dir.path().join("a/cluster.json"), "{").unwrap();
        assert!(state.record().is_err());
        assert_eq!(Marker::parse(r#"{"version":2,"cluster":"a","id":"b"}"#), None);
    }
}
