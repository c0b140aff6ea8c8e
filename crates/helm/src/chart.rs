//! A chart: what its files are to Helm.

use std::collections::BTreeMap;
use std::io::Read;

use crate::error::ChartError;
use crate::files::{self, Files};
use crate::metadata::{self, Metadata};
use crate::yaml::{self, Map, Yaml};

/// Charts inside of each other.
const MAX_DEPTH: usize = 16;
/// Charts of one chart, all of them.
const MAX_CHARTS: usize = 1000;

/// A file of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the chart: `templates/service.yaml`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    pub(crate) metadata: Metadata,
    pub(crate) values: Map,
    pub(crate) templates: Vec<File>,
    pub(crate) files: Files,
    pub(crate) schema: Option<Vec<u8>>,
    pub(crate) charts: Vec<Chart>,
    /// The directory or archive below `charts` that it is in, whatever its name or alias is.
    pub(crate) place: String,
    /// All files, as they came.
    pub(crate) raw: Files,
}

impl Chart {
    /// Makes a chart of the files of its directory; those that `.helmignore` names do not count.
    ///
    /// # Errors
    /// When `Chart.yaml` is missing or wrong, values are no YAML, or a chart below `charts` is no chart.
    pub fn load(files: &Files) -> Result<Chart, ChartError> {
        let mut left = MAX_CHARTS;
        load(files.without_ignored()?, 0, &mut left)
    }

    /// Makes a chart of its archive, `name-1.2.3.tgz`.
    ///
    /// # Errors
    /// When it is no archive, or as [`Chart::load`] says.
    pub fn archive(read: impl Read) -> Result<Chart, ChartError> {
        let mut left = MAX_CHARTS;
        load(Files::archive(read)?, 0, &mut left)
    }

    /// What it says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its name: that of the chart, or the alias its parent gave it.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Its annotations: `helm.sh/images` and `artifacthub.io/images` are lists of images in YAML.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.metadata.annotations
    }

    /// Its default values.
    pub fn values(&self) -> &Map {
        &self.values
    }

    /// The charts it brings, as far as they are in its directory `charts`.
    pub fn charts(&self) -> &[Chart] {
        &self.charts
    }

    /// Its templates, as they were written.
    pub fn templates(&self) -> &[File] {
        &self.templates
    }

    /// All its files, as they came.
    pub fn all_files(&self) -> &Files {
        &self.raw
    }

    /// Files that lock images or dependencies: `Chart.lock`, `requirements.lock`, `images.lock` and the like.
    pub fn lock_files(&self) -> Vec<(&str, &[u8])> {
        let top = |name: &str| !name.contains('/');
        let lock = |name: &str| {
            let lower = name.to_ascii_lowercase();
            let about_images = lower.trim_start_matches('.').strip_prefix("images");
            lower.ends_with(".lock")
                || about_images.is_some_and(|rest| rest.starts_with(['.', '-']) && !rest.ends_with(".tpl"))
        };
        self.raw.iter().filter(|(name, _)| top(name) && lock(name)).collect()
    }

    /// The files below `crds`, of this chart and of those it brings, with their paths: `app/crds/x.yaml`.
    pub fn crds(&self) -> Vec<(String, &[u8])> {
        self.placed_crds().into_iter().map(|(path, _, bytes)| (path, bytes)).collect()
    }

    /// The same, with where each is in the chart: `charts/db/crds/x.yaml`.
    pub(crate) fn placed_crds(&self) -> Vec<(String, String, &[u8])> {
        let mut found = Vec::new();
        self.gather_crds(&self.metadata.name, "", &mut found);
        found
    }

    fn gather_crds<'c>(&'c self, path: &str, place: &str, found: &mut Vec<(String, String, &'c [u8])>) {
        let manifest = |name: &str| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        let own = self.files.iter().filter(|(name, _)| name.starts_with("crds/") && manifest(name));
        found.extend(own.map(|(name, bytes)| (format!("{path}/{name}"), format!("{place}{name}"), bytes)));
        for chart in &self.charts {
            let place = format!("{place}charts/{}/", chart.place);
            chart.gather_crds(&format!("{path}/charts/{}", chart.metadata.name), &place, found);
        }
    }

    /// The file `README.md`, however it is written.
    pub fn readme(&self) -> Option<&[u8]> {
        let names = ["readme.md", "readme.txt", "readme"];
        self.raw.iter().find(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str())).map(|(_, bytes)| bytes)
    }
}

/// A file that must be a map of YAML.
fn map(files: &Files, name: &str) -> Result<Option<Map>, ChartError> {
    let Some(bytes) = files.get(name) else { return Ok(None) };
    let broken = |message: String| ChartError::Yaml { file: name.to_owned(), message };
    let text = std::str::from_utf8(files::text(bytes)).map_err(|_| broken("it is no UTF-8".to_owned()))?;
    match yaml::parse(text).map_err(|error| broken(error.to_string()))? {
        Yaml::Map(map) => Ok(Some(map)),
        Yaml::Null => Ok(Some(Map::new())),
        _ => Err(broken("a map is expected".to_owned())),
    }
}

fn load(files: Files, depth: usize, left: &mut usize) -> Result<Chart, ChartError> {
    if depth > MAX_DEPTH || *left == 0 {
        return Err(ChartError::TooMany { limit: if *left == 0 { MAX_CHARTS } else { MAX_DEPTH } });
    }
    *left -= 1;
    let described = map(&files, "Chart.yaml")?.ok_or(ChartError::NoChartYaml)?;
    let mut metadata = Metadata::read(&described)?;
    if metadata.api_version.is_empty() && described.contains_key("name") {
        // Charts of Helm 2 may not say it.
        metadata.api_version = "v1".to_owned();
    }
    if let Some(requirements) = map(&files, "requirements.yaml")? {
        metadata.dependencies = metadata::dependencies(&requirements)?;
        metadata.lists_dependencies = metadata::lists_dependencies(&requirements);
    }
    metadata.check()?;
    let values = match files.get("values.yaml") {
        None => Map::new(),
        Some(bytes) => {
            let broken = |message: String| ChartError::Yaml { file: "values.yaml".to_owned(), message };
            let text = std::str::from_utf8(files::text(bytes)).map_err(|_| broken("it is no UTF-8".to_owned()))?;
            crate::values::Values::parse(text).map_err(|error| broken(error.to_string()))?.0
        }
    };
    let schema = files.get("values.schema.json").map(|bytes| files::text(bytes).to_vec());
    let mut chart = Chart { metadata, values, schema, ..Chart::default() };
    let legacy = chart.metadata.api_version == "v1";
    for (name, bytes) in files.iter() {
        match name {
            "Chart.yaml" | "Chart.lock" | "values.yaml" | "values.schema.json" => {}
            "requirements.yaml" | "requirements.lock" if !legacy => {}
            _ if name.starts_with("templates/") => {
                chart.templates.push(File { name: name.to_owned(), bytes: files::text(bytes).to_vec() });
            }
            _ if name.starts_with("charts/") && !name.ends_with(".prov") => {}
            _ => chart.files.add(name, bytes)?,
        }
    }
    chart.charts = bring(&files, depth, left)?;
    chart.raw = files;
    Ok(chart)
}

/// The charts below `charts`: directories and archives.
fn bring(files: &Files, depth: usize, left: &mut usize) -> Result<Vec<Chart>, ChartError> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in files.iter() {
        let Some(rest) = name.strip_prefix("charts/") else { continue };
        let first = rest.split('/').next().unwrap_or(rest);
        if names.last() != Some(&first) && !first.starts_with(['_', '.']) {
            names.push(first);
        }
    }
    let mut charts = Vec::new();
    for name in names {
        let place = format!("charts/{name}");
        let within = |error: ChartError| ChartError::Within { place: place.clone(), error: Box::new(error) };
        let brought = match files.get(&place) {
            Some(bytes) if name.ends_with(".tgz") => {
                Files::archive(bytes).and_then(|files| load(files, depth + 1, left)).map_err(within)?
            }
            // Other files there are nothing to Helm.
            Some(_) => continue,
            None => load(files.below(&place), depth + 1, left).map_err(within)?,
        };
        charts.push(Chart { place: name.to_owned(), ..brought });
    }
    charts.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(charts)
}
