//! A chart becomes manifests: values, templates in Helm's order, its objects, what is left when all is rendered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_gotmpl::{Dict, Missing, Options, Set, Value};

use crate::chart::Chart;
use crate::dependencies::{all_values, process};
use crate::error::RenderError;
use crate::functions;
use crate::manifest::{self, Hook, Manifest};
use crate::metadata::Kind;
use crate::objects::{self, FilesObject};
use crate::release::{Capabilities, Release};
use crate::schema;
use crate::values::{Nulls, Values};
use crate::version::{Range, Version};
use crate::yaml::{Map, Yaml};

/// What rendering may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all texts together.
    pub output: usize,
    /// Actions, loop rounds and commands of one template.
    pub steps: usize,
    /// Templates and blocks inside of each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { output: 128 << 20, steps: 5_000_000, depth: 12_000 }
    }
}

/// Address space for the thread that renders: templates include each other a thousand deep, as Helm lets them. Memory is
/// taken only as far as it is used.
const STACK: usize = 1 << 30;

/// A text of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Its name: `app/charts/cache/templates/service.yaml`.
    pub path: String,
    /// Where it is in the chart: `charts/redis/templates/service.yaml`, if `cache` is an alias.
    pub file: String,
    /// What it gave.
    pub text: String,
    /// What it says itself.
    pub template: String,
}

/// What became of a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Manifests in the order of installation.
    pub manifests: Vec<Manifest>,
    /// Those of `crds` directories, as they are.
    pub crds: Vec<RenderedFile>,
    /// Manifests for certain times only.
    pub hooks: Vec<Hook>,
    /// What `NOTES.txt` says.
    pub notes: Option<String>,
    /// All texts, as templates gave them, by their names.
    pub files: Vec<RenderedFile>,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
}

/// Renders a chart.
///
/// # Errors
/// When the chart does not fit the cluster, or the values do not fit the chart; when a template fails; when what it
/// gives is no YAML; when a limit is reached.
pub fn render(
    chart: &Chart,
    values: &Values,
    release: &Release,
    capabilities: &Capabilities,
    limits: &Limits,
) -> Result<Rendered, RenderError> {
    let work = || rendered(chart, values, release, capabilities, limits);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("helm".to_owned()).stack_size(STACK);
        let handle = builder.spawn_scoped(scope, work).map_err(|error| RenderError::Thread(error.to_string()))?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What chart and values become before templates see them: which charts are there, and the values of all.
pub(crate) fn prepare(chart: &Chart, values: &Values, warnings: &mut Vec<String>) -> Result<(Chart, Map), RenderError> {
    if chart.metadata.kind == Kind::Library {
        return Err(RenderError::Library);
    }
    let there = |name: &str| chart.charts.iter().any(|below| below.metadata.name == name);
    let missing: Vec<String> = chart
        .metadata
        .dependencies
        .iter()
        .filter(|dependency| !there(&dependency.name))
        .map(|dependency| dependency.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(RenderError::MissingCharts(missing));
    }
    let mut chart = chart.clone();
    process(&mut chart, &values.0, warnings)?;
    let all = all_values(&chart, values.0.clone(), Nulls::Remove)?;
    Ok((chart, all))
}

/// The values that templates of a chart get: defaults, and what is given over them.
///
/// # Errors
/// When charts it names are missing, or a chart's values are no map.
pub fn computed_values(chart: &Chart, values: &Values) -> Result<Map, RenderError> {
    prepare(chart, values, &mut Vec::new()).map(|(_, all)| all)
}

fn rendered(
    chart: &Chart,
    values: &Values,
    release: &Release,
    capabilities: &Capabilities,
    limits: &Limits,
) -> Result<Rendered, RenderError> {
    let mut done = Rendered::default();
    if chart.metadata.deprecated {
        done.warnings.push("this chart is deprecated".to_owned());
    }
    let (chart, all) = prepare(chart, values, &mut done.warnings)?;
    fits_cluster(&chart, capabilities)?;
    schema::check(&chart, &all)?;
    let mut tree = Tree { templates: Vec::new(), release: self::release(release), capabilities: capabilities.value() };
    tree.gather(&chart, (&chart.metadata.name, ""), Yaml::Map(all).value(), true);
    done.files = execute(&mut tree, release, limits)?;
    let mut outputs = Vec::new();
    for file in &done.files {
        let last = file.path.rsplit('/').next().unwrap_or_default();
        if last == "NOTES.txt" {
            if file.path == format!("{}/templates/NOTES.txt", chart.metadata.name) {
                done.notes = Some(file.text.clone());
            }
        } else if !last.starts_with('_') && !file.text.trim().is_empty() {
            outputs.push((file.path.clone(), file.text.clone()));
        }
    }
    (done.manifests, done.hooks) = manifest::sort(&outputs)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(crate::files::text(bytes)).into_owned();
    let as_it_is = |(path, file, bytes)| RenderedFile { path, file, text: text(bytes), template: text(bytes) };
    done.crds = chart.placed_crds().into_iter().map(as_it_is).collect();
    Ok(done)
}

fn fits_cluster(chart: &Chart, capabilities: &Capabilities) -> Result<(), RenderError> {
    let wanted = &chart.metadata.kube_version;
    if wanted.is_empty() {
        return Ok(());
    }
    let pair = Range::parse(wanted).zip(Version::parse(&capabilities.kube_version));
    if pair.is_some_and(|(range, version)| range.has(&version)) {
        return Ok(());
    }
    Err(RenderError::KubeVersion { wanted: wanted.clone(), version: capabilities.kube_version.clone() })
}

fn release(release: &Release) -> Value {
    Value::dict([
        ("Name".to_owned(), release.name.as_str().into()),
        ("Namespace".to_owned(), release.namespace.as_str().into()),
        ("IsUpgrade".to_owned(), release.is_upgrade.into()),
        ("IsInstall".to_owned(), (!release.is_upgrade).into()),
        ("Revision".to_owned(), release.revision.into()),
        ("Service".to_owned(), "Helm".into()),
    ])
}

/// A template, with what it gets as its dot.
struct Template {
    name: String,
    file: String,
    bytes: Vec<u8>,
    base: String,
    data: Dict,
    /// Definitions only.
    partial: bool,
}

struct Tree {
    templates: Vec<Template>,
    release: Value,
    capabilities: Value,
}

impl Tree {
    /// The templates of a chart and of those it brings; what the chart's templates see. It is called by a path of names,
    /// and is in a place.
    fn gather(&mut self, chart: &Chart, (path, place): (&str, &str), values: Value, root: bool) -> Value {
        let below = Dict::new();
        let data: Dict = [
            ("Chart".to_owned(), objects::chart(&chart.metadata, root)),
            ("Files".to_owned(), Value::object(FilesObject(chart.files.clone()))),
            ("Release".to_owned(), self.release.clone()),
            ("Capabilities".to_owned(), self.capabilities.clone()),
            ("Values".to_owned(), values.clone()),
            ("Subcharts".to_owned(), Value::Map(below.clone())),
        ]
        .into_iter()
        .collect();
        for child in &chart.charts {
            let name = &child.metadata.name;
            let own = match &values {
                Value::Map(map) => map.get(name).filter(|value| matches!(value, Value::Map(_))),
                _ => None,
            };
            let own = own.unwrap_or_else(|| Value::Map(Dict::new()));
            let (path, place) = (format!("{path}/charts/{name}"), format!("{place}charts/{}/", child.place));
            let seen = self.gather(child, (&path, &place), own, false);
            below.insert(name.clone(), seen);
        }
        for file in &chart.templates {
            let last = file.name.rsplit('/').next().unwrap_or_default();
            let partial = last.starts_with('_');
            if chart.metadata.kind == Kind::Library && !partial {
                continue;
            }
            self.templates.push(Template {
                name: format!("{path}/{}", file.name),
                file: format!("{place}{}", file.name),
                bytes: file.bytes.clone(),
                base: format!("{path}/templates"),
                data: data.clone(),
                partial,
            });
        }
        Value::Map(data)
    }
}

/// All texts, by name. Deeper templates are read first, so that parents may replace what they define.
fn execute(tree: &mut Tree, release: &Release, limits: &Limits) -> Result<Vec<RenderedFile>, RenderError> {
    let depth = |template: &Template| template.name.matches('/').count();
    tree.templates.sort_by(|a, b| depth(b).cmp(&depth(a)).then_with(|| b.name.cmp(&a.name)));
    let current = Arc::new(std::sync::Mutex::new(String::new()));
    let functions = functions::all(release, &current);
    let written = AtomicUsize::new(0);
    let options = Options {
        missing: Missing::Zero,
        limits: kiln_gotmpl::Limits { output: limits.output, depth: limits.depth, steps: limits.steps },
        ..Options::default()
    };
    let mut set = Set::new(functions, options);
    for template in &tree.templates {
        let text = std::str::from_utf8(&template.bytes);
        let text = text.map_err(|_| RenderError::NoText { template: template.name.clone() })?;
        set.parse(&template.name, text).map_err(RenderError::Template)?;
    }
    let mut files = Vec::new();
    for template in tree.templates.iter().filter(|template| !template.partial) {
        let (name, base) = (template.name.as_str().into(), template.base.as_str().into());
        template.data.insert("Template", Value::dict([("Name".to_owned(), name), ("BasePath".to_owned(), base)]));
        template.name.clone_into(&mut current.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let data = Value::Map(template.data.clone());
        let text = set.execute(&template.name, &data).map_err(RenderError::Template)?;
        let text = text.replace("<no value>", "");
        if written.fetch_add(text.len(), Ordering::Relaxed) + text.len() > limits.output {
            return Err(RenderError::Limit { what: "bytes of all texts", limit: limits.output });
        }
        let written = String::from_utf8_lossy(&template.bytes).into_owned();
        let (path, file) = (template.name.clone(), template.file.clone());
        files.push(RenderedFile { path, file, text, template: written });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
