//! Charts of a root file system: found, rendered, and searched for the images of what they become.
//!
//! ```text
//! a chart that renders                  its manifests, hooks and definitions are searched as any manifest; what its
//!                                       annotations and lock files of images list is contained, too
//!                                       images that only other values would bring are possible ones
//! a chart that does not, in this order  annotations `helm.sh/images`, `artifacthub.io/images`; lock files of images;
//!                                       else values that look like images, and lines of its templates
//! ```

use std::collections::BTreeMap;

use kiln_engine::rootfs::Root;
use kiln_helm::{Capabilities, Chart, Files, Kind, Limits, Manifest, Release, RenderError, Rendered, Values, images};
use kiln_manifests::rule;
use kiln_spec::source::Source;

use crate::error::{ClusterError, Result};
use crate::files::{self, Entry};
use crate::report::{self, Certainty, Named};
use crate::scan::{Collector, text_of};

/// As many charts a root file system may have.
const MAX_CHARTS: usize = 1000;
/// The longest file of values.
const MAX_VALUES: u64 = 16 << 20;

/// A chart and where it is.
pub(crate) struct Found {
    /// Its directory or archive.
    pub(crate) path: String,
    chart: std::result::Result<Chart, String>,
}

/// The directories below `dir` that have a `Chart.yaml`, without those inside of other charts.
pub(crate) fn directories(root: &Root, dir: &str) -> Result<Vec<String>> {
    let paths = files::paths(root, dir)?;
    let mut all: Vec<String> =
        paths.iter().filter_map(|path| path.strip_suffix("/Chart.yaml")).map(str::to_owned).collect();
    all.sort();
    let mut tops: Vec<String> = Vec::new();
    for path in all {
        if !tops.iter().any(|top| path.starts_with(&format!("{top}/"))) {
            tops.push(path);
        }
    }
    Ok(tops)
}

/// Whether a path is inside of one of some directories.
pub(crate) fn inside(path: &str, dirs: &[String]) -> bool {
    dirs.iter().any(|dir| path.strip_prefix(&**dir).is_some_and(|rest| rest.starts_with('/')))
}

/// All charts below a directory.
pub(crate) fn find(root: &Root, dir: &str) -> Result<Vec<Found>> {
    let tops = directories(root, dir)?;
    let mut all = Vec::new();
    for path in &tops {
        let prefix = format!("{path}/");
        let chart = load(&files::read(root, path, &|_| true)?, &prefix);
        all.push(Found { path: path.clone(), chart });
    }
    let archive = |path: &str| (path.ends_with(".tgz") || path.ends_with(".tar.gz")) && !inside(path, &tops);
    for Entry { path, bytes } in files::read(root, dir, &archive)? {
        let chart = Chart::archive(&*bytes).map_err(|e| e.to_string());
        all.push(Found { path, chart });
    }
    match all.len() > MAX_CHARTS {
        true => {
            Err(ClusterError::File { path: dir.to_owned(), message: format!("it has more than {MAX_CHARTS} charts") })
        }
        false => Ok(all),
    }
}

fn load(entries: &[Entry], prefix: &str) -> std::result::Result<Chart, String> {
    let mut all = Files::new();
    for entry in entries {
        let name = entry.path.strip_prefix(prefix).unwrap_or(&entry.path);
        all.add(name, &*entry.bytes).map_err(|e| e.to_string())?;
    }
    Chart::load(&all).map_err(|e| e.to_string())
}

impl Found {
    /// Searches it, and says what it is.
    pub(crate) fn search(
        &self,
        root: &Root,
        kubernetes: Option<&str>,
        collector: &mut Collector<'_>,
    ) -> Result<Option<report::Chart>> {
        let chart = match &self.chart {
            Ok(chart) => chart,
            Err(why) => {
                self.failed(why, collector)?;
                return Ok(None);
            }
        };
        let metadata = chart.metadata();
        let said = |text: &String| (!text.is_empty()).then(|| text.clone());
        let described = report::Chart {
            path: self.path.clone(),
            name: metadata.name.clone(),
            version: said(&metadata.version),
            app_version: said(&metadata.app_version),
        };
        if metadata.kind == Kind::Library {
            return Ok(Some(described));
        }
        match self.render(chart, root, kubernetes) {
            Ok((rendered, listed)) => {
                self.manifests(chart, &rendered, collector)?;
                listed.iter().try_for_each(|named| self.take(named, Certainty::Likely, collector))?;
            }
            Err(why) => {
                self.failed(&why, collector)?;
                self.guess(chart, collector)?;
            }
        }
        Ok(Some(described))
    }

    /// What it becomes, and the images that it lists.
    fn render(
        &self,
        chart: &Chart,
        root: &Root,
        kubernetes: Option<&str>,
    ) -> std::result::Result<(Rendered, Vec<images::Named>), String> {
        let mut values = Values::new();
        for path in self.values(chart) {
            let bytes = root.read_file(path.as_bytes(), MAX_VALUES).map_err(|e| format!("{path}: {e}"))?;
            let Some(bytes) = bytes else { continue };
            let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))?;
            values.merge(Values::parse(&text).map_err(|e| format!("{path}: {e}"))?);
            break;
        }
        let release = Release { name: chart.name().to_owned(), seed: Some(0), ..Release::default() };
        let capabilities = kubernetes.map_or_else(Capabilities::default, Capabilities::of);
        let failed = |e: RenderError| e.to_string();
        let rendered =
            kiln_helm::render(chart, &values, &release, &capabilities, &Limits::default()).map_err(failed)?;
        Ok((rendered, images::listed(chart, &values).map_err(failed)?))
    }

    /// The files of values that may be beside it: by the name of its directory, or its own.
    fn values(&self, chart: &Chart) -> Vec<String> {
        let (dir, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let own = chart.name();
        [name, own].map(|name| format!("{dir}/{name}.values.yaml").trim_start_matches('/').to_owned()).to_vec()
    }

    fn manifests(&self, chart: &Chart, rendered: &Rendered, collector: &mut Collector<'_>) -> Result<()> {
        rendered.warnings.iter().for_each(|text| collector.warn(format!("{}: {text}", self.path)));
        let hooks = rendered.hooks.iter();
        // What only tests run is not needed on a site that has no network.
        let hooks =
            hooks.filter(|hook| !hook.events.iter().all(|e| e == "test" || e == "test-success" || e == "test-failure"));
        let mut files = BTreeMap::new();
        for file in &rendered.files {
            files.entry(&*file.path).or_insert_with(|| (&file.file, file.origins()));
        }
        for Manifest { path, text, line, .. } in rendered.manifests.iter().chain(hooks.map(|hook| &hook.manifest)) {
            let Some((file, origins)) = files.get(&**path) else { continue };
            let origin = |below: usize| origins.of(line + below - 1);
            collector.rendered(&format!("{}/{file}", self.path), text, &origin)?;
        }
        for file in &rendered.crds {
            collector.rendered(&format!("{}/{}", self.path, file.file), &file.text, &Some)?;
        }
        for named in images::in_values(chart) {
            self.take(&named, Certainty::Possible, collector)?;
        }
        Ok(())
    }

    fn take(&self, named: &images::Named, certainty: Certainty, collector: &mut Collector<'_>) -> Result<()> {
        let file = format!("{}: {}", self.path, named.place);
        let rule = if named.is_listed { &rule::CHART } else { &rule::VALUES };
        collector.name(&named.image, Named::new(file, rule, certainty))
    }

    fn failed(&self, why: &str, collector: &mut Collector<'_>) -> Result<()> {
        if collector.is_strict() {
            return Err(ClusterError::Unrendered { place: self.path.clone(), message: why.to_owned() });
        }
        collector.warn(format!("{}: the chart cannot be rendered, so its images are guessed: {why}", self.path));
        Ok(())
    }

    /// What it names without being rendered.
    fn guess(&self, chart: &Chart, collector: &mut Collector<'_>) -> Result<()> {
        for list in [images::annotated(chart), images::locked(chart)] {
            if !list.is_empty() {
                return list.iter().try_for_each(|named| self.take(named, Certainty::Likely, collector));
            }
        }
        for named in images::in_values(chart) {
            self.take(&named, Certainty::Likely, collector)?;
        }
        for template in chart.templates() {
            let source = Source { name: format!("{}/{}", self.path, template.name), text: text_of(&template.bytes) };
            collector.template(&source)?;
        }
        Ok(())
    }
}
