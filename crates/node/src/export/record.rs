//! What was built, as manifests of Packer and Kiln record it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ExportError;

/// As large a manifest may be.
const MAX_MANIFEST: u64 = 64 << 20;
/// The file that the post-processor writes when it is not told another.
const NAME: &str = "packer-manifest.json";

/// An artifact of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The name of the build.
    pub name: String,
    /// The type of its builder; `files` for a directory without a manifest.
    pub builder: String,
    /// What the builder calls it.
    pub id: String,
    /// Its files, from the working directory.
    pub files: Vec<PathBuf>,
    /// What the template or the command line says besides.
    pub data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    builds: Option<Vec<Entry>>,
    #[serde(default)]
    last_run_uuid: String,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    builder_type: String,
    files: Option<Vec<Listed>>,
    #[serde(default)]
    artifact_id: String,
    #[serde(default)]
    packer_run_uuid: String,
    custom_data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Listed {
    name: PathBuf,
}

impl Record {
    /// What a key says, in `custom_data` or on the command line.
    ///
    /// # Errors
    /// Nothing does.
    pub fn said(&self, consumer: &'static str, key: &'static str) -> Result<&str, ExportError> {
        let value = self.data.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        value.ok_or(ExportError::Missing { consumer, key })
    }

    /// Its identifiers by region, where the builder's artifact is such a list: `eu-1:m-1,us-2:m-2`.
    ///
    /// # Errors
    /// It is none.
    pub fn regions(&self) -> Result<Vec<(String, String)>, ExportError> {
        let bad = || ExportError::Bad {
            key: "artifact_id",
            value: self.id.clone(),
            why: "it is no list of REGION:IMAGE with commas between",
        };
        let pair = |text: &str| {
            let (region, id) = text.trim().split_once(':')?;
            (!region.is_empty() && !id.is_empty()).then(|| (region.to_owned(), id.to_owned()))
        };
        self.id.split(',').map(|text| pair(text).ok_or_else(bad)).collect()
    }

    /// The disk among its files.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn disk(&self, consumer: &'static str) -> Result<&Path, ExportError> {
        match &self.files[..] {
            [only] => Ok(only),
            [] => Err(ExportError::Missing { consumer, key: "files" }),
            _ => Err(ExportError::Wrong {
                builder: self.builder.clone(),
                consumer,
                why: "it has several files, and one disk is needed",
            }),
        }
    }
}

/// Reads what a manifest, or a directory of artifacts, has of the build `wanted`; without a name, of the only build of the
/// last run.
///
/// # Errors
/// It cannot be read, or it is not clear which build is meant.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Record, ExportError> {
    if path.is_dir() && !path.join(NAME).is_file() {
        return directory(path);
    }
    let file = if path.is_dir() { path.join(NAME) } else { path.to_owned() };
    let shown = file.display().to_string();
    let failed = |why: String| ExportError::Manifest { path: shown.clone(), why };
    let mut text = String::new();
    let opened = std::fs::File::open(&file).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let size = opened.take(MAX_MANIFEST + 1).read_to_string(&mut text);
    if size.map_err(|e| failed(format!("cannot be read: {e}")))? as u64 > MAX_MANIFEST {
        return Err(failed("is larger than 64 MiB".to_owned()));
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| failed(format!("is no manifest: {e}")))?;
    choose(manifest, wanted, &shown)
}

fn choose(manifest: Manifest, wanted: Option<&str>, path: &str) -> Result<Record, ExportError> {
    let all = manifest.builds.unwrap_or_default();
    let names = |entries: &[&Entry]| {
        let mut names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let everything: Vec<&Entry> = all.iter().collect();
    if everything.is_empty() {
        return Err(ExportError::Manifest { path: path.to_owned(), why: "records no build".to_owned() });
    }
    // Later runs are added at the end: the last one of a name counts.
    let found = match wanted {
        Some(name) => everything.iter().rev().find(|entry| entry.name == name),
        None => {
            let last = |entry: &&&Entry| entry.packer_run_uuid == manifest.last_run_uuid;
            let of_run: Vec<&Entry> = everything.iter().filter(last).copied().collect();
            if of_run.iter().any(|entry| entry.name != of_run[0].name) {
                return Err(ExportError::Several { path: path.to_owned(), known: names(&of_run) });
            }
            everything.iter().rev().find(last).or(everything.last())
        }
    };
    let Some(entry) = found else {
        let (name, known) = (wanted.unwrap_or_default().to_owned(), names(&everything));
        return Err(ExportError::NoBuild { path: path.to_owned(), name, known });
    };
    Ok(Record {
        name: entry.name.clone(),
        builder: entry.builder_type.clone(),
        id: entry.artifact_id.clone(),
        files: entry.files.iter().flatten().map(|file| file.name.clone()).collect(),
        data: entry.custom_data.clone().unwrap_or_default(),
    })
}

/// The files of a directory that nothing was recorded of.
fn directory(path: &Path) -> Result<Record, ExportError> {
    let failed = |why: String| ExportError::Manifest { path: path.display().to_string(), why };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| failed(format!("cannot be read: {e}")))? {
        let entry = entry.map_err(|e| failed(format!("cannot be read: {e}")))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    if files.is_empty() {
        return Err(failed(format!("has neither {NAME} nor another file")));
    }
    files.sort();
    let name = path.file_name().map_or_else(|| "node".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Record { id: name.clone(), name, builder: "files".to_owned(), files, data: BTreeMap::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, wanted: Option<&str>) -> Result<Record, ExportError> {
        choose(serde_json::from_str(text).unwrap(), wanted, "m.json")
    }

    const TWO_RUNS: &str = r#"{"builds": [
        {"name": "gce", "builder_type": "googlecompute", "files": null, "artifact_id": "node-1", "packer_run_uuid": "1"},
        {"name": "gce", "builder_type": "googlecompute", "artifact_id": "node-2", "packer_run_uuid": "2",
         "custom_data": {"project_id": "p"}},
        {"name": "ali", "builder_type": "alicloud-ecs", "artifact_id": "eu-1:m-1,us-2:m-2", "packer_run_uuid": "3"}],
        "last_run_uuid": "3"}"#;

    #[test]
    fn the_last_run_counts_and_names_choose() {
        assert_eq!(of(TWO_RUNS, None).unwrap().name, "ali");
        let gce = of(TWO_RUNS, Some("gce")).unwrap();
        assert_eq!((&*gce.id, &*gce.data["project_id"]), ("node-2", "p"));
        let none = of(TWO_RUNS, Some("x")).unwrap_err().to_string();
        assert_eq!(none, "m.json has no build `x`: it has `ali`, `gce`");
        let several = TWO_RUNS.replace("\"packer_run_uuid\": \"2\"", "\"packer_run_uuid\": \"3\"");
        let error = of(&several, None).unwrap_err();
        assert_eq!(error.to_string(), "m.json has several builds: `ali`, `gce`");
        assert_eq!(error.hint().as_deref(), Some("say which: --build NAME"));
        assert!(of(r#"{"builds": null}"#, None).unwrap_err().to_string().contains("records no build"));
    }

    #[test]
    fn regions_are_a_list() {
        let ali = of(TWO_RUNS, None).unwrap();
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(ali.regions().unwrap(), [own("eu-1", "m-1"), own("us-2", "m-2")]);
        for bad in ["", "m-1", "eu:", ":m", "eu:m,"] {
            assert!(Record { id: bad.to_owned(), ..Record::default() }.regions().is_err(), "{bad}");
        }
    }
}
