//! Which images a root file system names: in lists, manifests and charts, and in what the command line adds.

use std::collections::{BTreeMap, BTreeSet};

use kiln_engine::rootfs::Root;
use kiln_manifests::{Ignore, Rules, rule};
use kiln_oci::Reference;
use kiln_oci::tree::Follow;
use kiln_spec::diag::Diagnostic;
use kiln_spec::kubefile::APPS;
use kiln_spec::source::Source;

use crate::charts;
use crate::contain::Wanted;
use crate::error::{ClusterError, Result};
use crate::files;
use crate::list::{self, MAX_IMAGES};
use crate::report::{self, Certainty, Named, Report};
use crate::spec::Files;

/// The list of further images in a root file system.
pub const IMAGE_LIST: &str = "manifests/imageList";
/// Where sealos keeps lists of further images.
pub const SHIM: &str = "images/shim";
/// Where sealos keeps the list of archives of images.
const SKOPEO: &str = "images/skopeo/tar.txt";
/// Where manifests are.
pub const MANIFESTS: &str = "manifests";
/// Where charts are.
pub const CHARTS: &str = "charts";

/// What is to be found out, and how.
#[derive(Default)]
pub struct Options {
    /// Images that the command line lists: the list's name, and its lines.
    pub lists: Vec<(String, Vec<list::Line>)>,
    /// What is not to be contained.
    pub rules: Rules,
    /// The version of Kubernetes that charts are rendered for, if it is known.
    pub kubernetes: Option<String>,
    /// Whether a chart that cannot be rendered is an error.
    pub strict: bool,
}

/// What was found.
#[derive(Default)]
pub struct Scan {
    /// Images, by name, with who names each.
    pub images: Vec<Wanted>,
    /// Charts.
    pub charts: Vec<report::Chart>,
    /// What looks like an image, and is not contained.
    pub possible: Vec<report::Image>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Scan {
    /// What the image keeps of it.
    pub fn report(&self) -> Report {
        let image = |w: &Wanted| report::Image { name: w.name.to_string(), named: w.named.clone() };
        Report {
            images: self.images.iter().map(image).collect(),
            charts: self.charts.clone(),
            possible: self.possible.clone(),
        }
    }
}

/// The files of a root file system.
pub struct Rootfs<'a>(pub &'a Root);

impl Files for Rootfs<'_> {
    fn exists(&self, path: &str) -> bool {
        self.0.tree.lookup(path.as_bytes(), Follow::All).is_ok_and(|found| found.is_some())
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.read_file(path.as_bytes(), list::MAX_LENGTH).ok().flatten()
    }
}

/// The line of a file that a line of what was searched stands for, if there is one.
pub(crate) type Lines<'l> = &'l dyn Fn(usize) -> Option<usize>;

/// Collects who names what.
pub(crate) struct Collector<'a> {
    options: &'a Options,
    found: BTreeMap<String, Wanted>,
    possible: BTreeMap<String, report::Image>,
    warnings: Vec<String>,
}

impl Collector<'_> {
    pub(crate) fn is_strict(&self) -> bool {
        self.options.strict
    }

    fn ignores(&self, text: &str) -> bool {
        self.options.rules.ignore.entry(text).is_some()
    }

    /// Takes what a manifest names.
    fn manifest(&mut self, source: &Source) -> Result<()> {
        self.found_in(source, kiln_manifests::scan(source, &self.options.rules), &Some, None)
    }

    /// Takes what a template of a chart became; `path` is the template's, and `line` tells its lines from the text's.
    pub(crate) fn rendered(&mut self, path: &str, text: &str, line: Lines<'_>) -> Result<()> {
        let source = Source { name: format!("{path} (rendered)"), text: text.to_owned() };
        self.found_in(&source, kiln_manifests::scan(&source, &self.options.rules), line, None)
    }

    /// Takes what the lines of a template that was not rendered name.
    pub(crate) fn template(&mut self, source: &Source) -> Result<()> {
        let mut scan = kiln_manifests::scan(source, &self.options.rules);
        // That it is a template is known, and names with actions in them are no mistakes of anybody.
        scan.diagnostics.clear();
        self.found_in(source, scan, &Some, Some(Certainty::Likely))
    }

    fn found_in(
        &mut self,
        source: &Source,
        scan: kiln_manifests::Scan,
        line: Lines<'_>,
        at_most: Option<Certainty>,
    ) -> Result<()> {
        let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) =
            scan.diagnostics.into_iter().partition(Diagnostic::is_error);
        for warning in warnings {
            let line = source.position(warning.span.start).0;
            self.warnings.push(format!("{}:{line}: {}", source.name, warning.message));
        }
        if !errors.is_empty() {
            let hint = "an image that is none, or not needed: list it in a file for --ignored-image-list";
            let found = errors.into_iter().map(|e| if e.hint.is_none() { e.hint(hint) } else { e }).collect();
            return Err(ClusterError::Mistakes { source_file: Box::new(source.clone()), found });
        }
        for image in scan.images {
            let certainty = match image.certainty {
                kiln_manifests::Certainty::Named => at_most.unwrap_or(Certainty::Certain),
                kiln_manifests::Certainty::Possible => Certainty::Possible,
            };
            let named = Named {
                file: source.name.trim_end_matches(" (rendered)").to_owned(),
                line: line(image.place.line),
                object: image.object.map(|object| object.to_string()),
                rule: image.rule.id.to_owned(),
                certainty,
                platforms: image.platforms,
            };
            self.name(&image.text, named)?;
        }
        Ok(())
    }

    /// Takes a name as it is written somewhere.
    pub(crate) fn name(&mut self, text: &str, named: Named) -> Result<()> {
        if self.ignores(text) {
            return Ok(());
        }
        let parsed = text.parse::<Reference>();
        let possible = named.certainty == Certainty::Possible;
        match parsed {
            Ok(name) if !possible => self.reference(name, named),
            Ok(name) => {
                let name = name.to_string();
                let entry = self.possible.entry(name.clone());
                let entry = entry.or_insert_with(|| report::Image { name, named: Vec::new() });
                push(&mut entry.named, named);
                Ok(())
            }
            Err(_) if possible => Ok(()),
            Err(e) if named.certainty == Certainty::Likely => {
                self.warnings.push(format!("{}: passed over: {e}", named.text()));
                Ok(())
            }
            Err(e) => Err(ClusterError::Unrendered { place: named.text(), message: e.to_string() }),
        }
    }

    fn reference(&mut self, name: Reference, named: Named) -> Result<()> {
        if self.found.len() >= MAX_IMAGES && !self.found.contains_key(&name.to_string()) {
            let message = format!("more than {MAX_IMAGES} images are named");
            return Err(ClusterError::Unrendered { place: named.file, message });
        }
        let entry = self.found.entry(name.to_string()).or_insert_with(|| Wanted::new(name));
        push(&mut entry.named, named);
        Ok(())
    }

    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// Each place once, and not more than help anybody.
fn push(all: &mut Vec<Named>, named: Named) {
    if all.len() < 100 && !all.contains(&named) {
        all.push(named);
    }
}

/// Looks a root file system through.
///
/// # Errors
/// When a list has mistakes, a file cannot be read, or, if that is asked for, a chart cannot be rendered.
pub fn scan(root: &Root, options: &Options) -> Result<Scan> {
    let mut collector = Collector { options, found: BTreeMap::new(), possible: BTreeMap::new(), warnings: Vec::new() };
    if let Some(bytes) = read(root, IMAGE_LIST, list::MAX_LENGTH)? {
        let source = source(IMAGE_LIST, bytes);
        lines(&mut collector, IMAGE_LIST, &list::parse(&source, &options.rules)?)?;
    }
    // sealos takes any file of this directory for a list.
    for entry in files::read(root, SHIM, &|_| true)? {
        let source = source(&entry.path, entry.bytes);
        lines(&mut collector, &entry.path, &list::parse(&source, &options.rules)?)?;
    }
    if Rootfs(root).exists(SKOPEO) {
        collector.warn(format!("{SKOPEO}: archives that it lists are not looked into: give each with --images"));
    }
    for (name, list) in &options.lists {
        lines(&mut collector, name, list)?;
    }
    let mut charts = BTreeSet::new();
    for dir in [CHARTS, APPS] {
        for chart in charts::find(root, dir)? {
            charts.extend(chart.search(root, options.kubernetes.as_deref(), &mut collector)?);
        }
    }
    let apps = charts::directories(root, APPS)?;
    let is_manifest = |path: &str| {
        let ends = [".yaml", ".yml", ".json", ".tmpl"].iter().any(|end| path.ends_with(end));
        ends && !charts::inside(path, &apps)
    };
    for dir in [MANIFESTS, APPS] {
        for entry in files::read(root, dir, &is_manifest)? {
            collector.manifest(&source(&entry.path, entry.bytes))?;
        }
    }
    let Collector { found, mut possible, warnings, .. } = collector;
    possible.retain(|name, _| !found.contains_key(name));
    let (images, possible) = (found.into_values().collect(), possible.into_values().collect());
    Ok(Scan { images, charts: charts.into_iter().collect(), possible, warnings })
}

fn lines(collector: &mut Collector<'_>, file: &str, lines: &[list::Line]) -> Result<()> {
    for line in lines {
        if collector.ignores(&line.text) {
            continue;
        }
        let named = Named {
            line: Some(line.line),
            platforms: line.platforms.clone(),
            ..Named::new(file.to_owned(), &rule::FILE, Certainty::Certain)
        };
        collector.reference(line.name.clone(), named)?;
    }
    Ok(())
}

/// A text of the image; what is not UTF-8 in it is replaced.
fn source(path: &str, bytes: Vec<u8>) -> Source {
    Source { name: path.to_owned(), text: text_of(&bytes) }
}

/// Bytes as text.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads lists of what is not to be contained: a name a line, as it is written or in full; `*` stands for anything but
/// a slash, `**` for slashes, too.
///
/// # Errors
/// [`ClusterError::Mistakes`] with every line that is no pattern.
pub fn rules(lists: &[Source]) -> Result<Rules> {
    for source in lists {
        let (_, found) = Ignore::parse(source);
        if found.iter().any(Diagnostic::is_error) {
            return Err(ClusterError::Mistakes { source_file: Box::new(source.clone()), found });
        }
    }
    let text = lists.iter().map(|source| source.text.clone() + "\n").collect();
    Ok(Rules { ignore: Ignore::parse(&Source { name: "ignored images".to_owned(), text }).0 })
}

fn read(root: &Root, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
    let failed = |message: String| ClusterError::File { path: path.to_owned(), message };
    let bytes = root.read_file(path.as_bytes(), max + 1).map_err(|e| failed(e.to_string()))?;
    match bytes {
        Some(bytes) if bytes.len() as u64 > max => Err(failed(format!("it is larger than {} MiB", max >> 20))),
        bytes => Ok(bytes),
    }
}
