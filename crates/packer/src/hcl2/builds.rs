//! `source` and `build`: what is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kiln_hcl::ast::{Body as Written, Expr, ExprKind};
use kiln_hcl::scope::Scope;
use kiln_hcl::types::Type;
use kiln_hcl::value::Value as Given;
use kiln_spec::source::{Source, Span};

use super::SharedWorld;
use super::body::Reader;
use super::locals::secrets;
use super::project::{Found, Project, evaluate};
use crate::config::{Config, Entry, Value};
use crate::fault::{Fault, Place};
use crate::hidden;
use crate::model::{Block, Body, Build, BuildFacts, Common, Dialect, Outline, Template, Variable};
use crate::render::{Scope as Texts, Setting};
use crate::select::Selection;
use crate::world::Given as Asked;

/// Keys that every provisioner or post-processor may have, and which are not in its configuration.
const COMMON: [&str; 8] =
    ["name", "only", "except", "override", "pause_before", "max_retries", "timeout", "keep_input_artifact"];

/// A source as one build uses it.
struct Used {
    kind: String,
    /// The name of the source block.
    source_name: String,
    /// The name in this build.
    name: String,
    base: Found,
    extra: Option<Found>,
}

/// What is to be done, with `-only` and `-except` applied.
pub(super) fn template(project: &Project, asked: &Asked) -> Result<Template, Vec<Fault>> {
    let mut faults = Vec::new();
    let sources = sources(project, &mut faults);
    let mut template = Template {
        dialect: Dialect::Hcl2,
        description: None,
        builds: Vec::new(),
        variables: project.variables.iter().map(variable).collect(),
        sensitive: sensitive(project),
        warnings: project.warnings.clone(),
        outline: Outline::default(),
    };
    let globs = selection(asked, &mut faults);
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    let mut called = Vec::new();
    for found in &project.builds {
        let builds = one_build(project, found, &sources, &globs, &mut template, &mut faults);
        let prefix =
            constant(project, found, "name", &mut Vec::new()).map_or_else(String::new, |name| format!("{name}."));
        for build in builds {
            if let Some(first) = names.get(&build.name) {
                let fault = build.place.error("DuplicateBuild", format!("two builds are called `{}`", build.name));
                faults
                    .push(fault.note(format!("the first at {first}")).hint("give one of the `build` blocks a `name`"));
            }
            names.insert(build.name.clone(), build.place.clone());
            template.outline.builders.push((build.name.clone(), build.kind.clone()));
            let short = build.name.strip_prefix(&prefix).unwrap_or(&build.name);
            called.extend([build.name.clone(), short.to_owned()]);
            if globs.takes(&[&build.name, short]) {
                template.builds.push(build);
            }
        }
    }
    unmatched(&globs, project, called, &mut template.warnings);
    if !faults.iter().any(Fault::is_error) {
        return Ok(template);
    }
    hidden::mask(&mut faults, &template.sensitive);
    Err(faults)
}

fn variable(one: &super::variables::Declared) -> Variable {
    let shown = |value: &Given| match value.as_str() {
        Some(text) => text.to_owned(),
        None => kiln_hcl::console::show(&Given { sensitive: false, ..value.clone() }),
    };
    Variable {
        name: one.name.clone(),
        description: one.description.clone(),
        value: one.value.as_ref().map(shown),
        default: one.default.as_ref().map(shown),
        sensitive: one.sensitive,
    }
}

fn sensitive(project: &Project) -> Vec<String> {
    let mut found = BTreeSet::new();
    secrets(&project.var, false, &mut found);
    project.local.values().for_each(|value| secrets(value, false, &mut found));
    secrets(&project.data, false, &mut found);
    found.into_iter().collect()
}

/// What `-only` and `-except` say; a malformed pattern is a fault of the command line.
fn selection(asked: &Asked, faults: &mut Vec<Fault>) -> Selection {
    Selection::new(&asked.only, &asked.except).unwrap_or_else(|message| {
        let source = Arc::new(Source { name: "-only or -except".to_owned(), text: String::new() });
        faults.push(Place::new(&source, Span::default()).error("BadPattern", message));
        Selection::default()
    })
}

/// Warns about patterns of the command line that name no build, of those that are `called` so, and no post-processor.
fn unmatched(globs: &Selection, project: &Project, mut called: Vec<String>, warnings: &mut Vec<Fault>) {
    for block in project.builds.iter().flat_map(pipelines).flatten() {
        called.push(label(&block));
        called.extend(constant(project, &block, "name", &mut Vec::new()));
    }
    let mut names: Vec<&str> = called.iter().map(String::as_str).collect();
    names.dedup();
    warnings.extend(globs.warnings(&names));
}

fn sources(project: &Project, faults: &mut Vec<Fault>) -> BTreeMap<(String, String), Found> {
    let mut all: BTreeMap<(String, String), Found> = BTreeMap::new();
    for found in &project.sources {
        match found.labels::<2>() {
            Err(fault) => faults.push(fault.hint("`source \"type\" \"name\" { … }`")),
            Ok([kind, name]) => {
                let key = (kind.to_owned(), name.to_owned());
                if let Some(first) = all.get(&key) {
                    let fault =
                        found.header().error("DuplicateSource", format!("the source `{kind}.{name}` is there twice"));
                    faults.push(fault.note(format!("first at {}", first.header())));
                } else {
                    all.insert(key, found.clone());
                }
            }
        }
    }
    all
}

type Sources = BTreeMap<(String, String), Found>;

fn constant(project: &Project, found: &Found, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let attribute = found.attribute(name)?;
    let scope = Scope::new(project.scope());
    match evaluate(&project.world, &attribute.expr, &scope, &found.source) {
        Ok(value) if value.as_str().is_some() => value.as_str().map(str::to_owned),
        Ok(_) => {
            faults.push(found.place(attribute.expr.span).error("WrongType", format!("`{name}` must be a text")));
            None
        }
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

fn one_build(
    project: &Project,
    found: &Found,
    sources: &Sources,
    globs: &Selection,
    template: &mut Template,
    faults: &mut Vec<Fault>,
) -> Vec<Build> {
    let blocks = [
        "source",
        "provisioner",
        "error-cleanup-provisioner",
        "post-processor",
        "post-processors",
        "hcp_packer_registry",
    ];
    found.only(&["name", "description", "sources"], &blocks, faults);
    if let Err(fault) = found.labels::<0>() {
        faults.push(fault.hint("a build has a `name = \"…\"` inside of its braces"));
    }
    for registry in found.inner("hcp_packer_registry") {
        template.warnings.push(registry.header().warning("NoRegistry", "nothing is published to HCP Packer"));
    }
    let name = constant(project, found, "name", faults);
    if let Some(description) = constant(project, found, "description", faults) {
        template.description.get_or_insert(description);
    }
    let used = used(project, found, sources, faults);
    if used.is_empty() && faults.is_empty() {
        faults.push(
            found.header().error("NoSource", "this build has no source").hint("`sources = [\"source.type.name\"]`"),
        );
    }
    template.outline.provisioners.extend(found.inner("provisioner").iter().map(label));
    for pipeline in pipelines(found) {
        template.outline.post_processors.push(pipeline.iter().map(label).collect());
    }
    let cleanups = found.inner("error-cleanup-provisioner");
    if let Some(second) = cleanups.get(1) {
        faults.push(second.header().error("DuplicateBlock", "a build has one `error-cleanup-provisioner` at most"));
    }
    let mut builds = Vec::new();
    for one in used {
        let whole = match &name {
            Some(name) => format!("{name}.{}.{}", one.kind, one.name),
            None => format!("{}.{}", one.kind, one.name),
        };
        let maker = Maker::new(project, &one, name.as_deref().unwrap_or_default());
        let config = match maker.source(&one) {
            Ok(config) => config,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        faults.extend(config.check());
        let mut block = |found: &Found| maker.block(found, &one, faults);
        let provisioners = found.inner("provisioner").iter().filter_map(&mut block).collect();
        let error_cleanup = cleanups.first().and_then(&mut block);
        let chosen = |block: &Block| {
            !block.name.as_deref().is_some_and(|name| globs.excepts(name)) && !globs.excepts(&block.kind)
        };
        let post_processors: Vec<Vec<Block>> = pipelines(found)
            .iter()
            // A pipeline ends where something in it is left out: what follows would have nothing to start from.
            .map(|pipeline| pipeline.iter().filter_map(&mut block).take_while(chosen).collect())
            .filter(|pipeline: &Vec<Block>| !pipeline.is_empty())
            .collect();
        builds.push(Build {
            name: whole,
            kind: one.kind.clone(),
            place: one.extra.as_ref().unwrap_or(&one.base).header(),
            config,
            provisioners,
            error_cleanup,
            post_processors,
        });
    }
    faults.dedup_by(|a, b| a.diagnostic == b.diagnostic && a.source.name == b.source.name);
    builds
}

fn label(found: &Found) -> String {
    found.block.labels.first().map_or_else(String::new, |label| label.text.clone())
}

/// Post-processors in the order written: one alone is a pipeline of one.
pub(super) fn pipelines(found: &Found) -> Vec<Vec<Found>> {
    let blocks = found.block.body.blocks.iter().filter(|block| block.kind.starts_with("post-processor"));
    blocks
        .map(|block| {
            let one = Found { source: Arc::clone(&found.source), block: Arc::new(block.clone()) };
            if block.kind == "post-processors" { one.inner("post-processor") } else { vec![one] }
        })
        .collect()
}

/// The sources of a build: those it names, then those it adds to.
fn used(project: &Project, found: &Found, sources: &Sources, faults: &mut Vec<Fault>) -> Vec<Used> {
    let mut all = Vec::new();
    let mut add =
        |written: &str, place: &Place, extra: Option<Found>, name: Option<String>, faults: &mut Vec<Fault>| {
            let plain = written.strip_prefix("source.").unwrap_or(written);
            let Some((kind, source_name)) = plain.split_once('.') else {
                faults.push(place.error("BadSource", format!("`{written}` is no source such as `source.qemu.debian`")));
                return;
            };
            match sources.get(&(kind.to_owned(), source_name.to_owned())) {
                Some(base) => all.push(Used {
                    kind: kind.to_owned(),
                    source_name: source_name.to_owned(),
                    name: name.unwrap_or_else(|| source_name.to_owned()),
                    base: base.clone(),
                    extra,
                }),
                None => {
                    let known: Vec<String> = sources.keys().map(|(kind, name)| format!("{kind}.{name}")).collect();
                    let fault = place.error("UnknownSource", format!("there is no source `{plain}`"));
                    faults.push(fault.suggest(plain, known.iter().map(String::as_str)));
                }
            }
        };
    if let Some(attribute) = found.attribute("sources") {
        let items: Vec<&Expr> = match &attribute.expr.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            _ => vec![&attribute.expr],
        };
        for item in items {
            let place = found.place(item.span);
            if let Some(["source" | "sources", kind, name]) = item.traversal().as_deref() {
                add(&format!("{kind}.{name}"), &place, None, None, faults);
                continue;
            }
            match evaluate(&project.world, item, &Scope::new(project.scope()), &found.source) {
                Ok(value) => {
                    let texts: Vec<&str> =
                        value.as_str().into_iter().chain(value.children().filter_map(Given::as_str)).collect();
                    if texts.is_empty() && !value.items().is_some_and(<[Given]>::is_empty) {
                        faults
                            .push(place.error("BadSource", "a source is named by a text such as `source.qemu.debian`"));
                    }
                    texts.into_iter().for_each(|text| add(text, &place, None, None, faults));
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    for extra in found.inner("source") {
        match extra.labels::<1>() {
            Ok([written]) => {
                let name = constant(project, &extra, "name", faults);
                add(written, &extra.header(), Some(extra.clone()), name, faults);
            }
            Err(fault) => faults.push(fault.hint("`source \"source.type.name\" { … }` inside of a build")),
        }
    }
    all
}

/// Makes the configurations of one build.
struct Maker<'p> {
    project: &'p Project,
    values: BTreeMap<String, Given>,
    setting: Setting,
    build_name: String,
}

impl<'p> Maker<'p> {
    fn new(project: &'p Project, used: &Used, build_name: &str) -> Maker<'p> {
        let mut values = project.scope();
        let source = [("type", used.kind.as_str()), ("name", used.name.as_str())];
        let source = source.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        values.insert("source".to_owned(), Given::object(source));
        let setting = Setting {
            user: None,
            build_name: used.name.clone(),
            build_type: used.kind.clone(),
            template_dir: project.directory.clone(),
            working_directory: project.world.working_directory(),
            packer_version: project.packer_version.clone(),
            now: project.world.now(),
            seed: project.world.random(),
            facts: None,
        };
        Maker { project, values, setting, build_name: build_name.to_owned() }
    }

    /// The builder's configuration: the source's, and what the build adds to it.
    fn source(&self, used: &Used) -> Result<Config, Fault> {
        let scope = Scope::new(self.values.clone());
        let read = |found: &Found, skip: &[&str]| {
            Reader { world: &self.project.world, source: &found.source }.entries(&found.block.body, &scope, skip)
        };
        let mut entries = read(&used.base, &[])?;
        if let Some(extra) = &used.extra {
            for entry in read(extra, &["name"])? {
                match (entries.iter_mut().find(|other| other.key == entry.key), &entry.node.value) {
                    (None, _) => entries.push(entry),
                    (Some(other), Value::List(more)) if is_blocks(&used.base, &entry.key) => {
                        if let Value::List(items) = &mut other.node.value {
                            items.extend(more.iter().cloned());
                        }
                    }
                    (Some(other), _) => {
                        let message = format!(
                            "`{}` is already set by the source `{}.{}`",
                            entry.key, used.kind, used.source_name
                        );
                        let first = used.base.place(other.span);
                        return Err(extra
                            .place(entry.span)
                            .error("DuplicateAttribute", message)
                            .note(format!("there at {first}")));
                    }
                }
            }
        }
        let span = used.base.block.header();
        Ok(Config::new(entries, &used.base.source, span, &Texts::new(self.setting.clone())))
    }

    /// A provisioner or post-processor; none when it is not for this build, or is wrong.
    fn block(&self, found: &Found, used: &Used, faults: &mut Vec<Fault>) -> Option<Block> {
        let made = self.try_block(found, used);
        made.unwrap_or_else(|fault| {
            if !faults
                .iter()
                .any(|other| other.diagnostic == fault.diagnostic && other.source.name == fault.source.name)
            {
                faults.push(fault);
            }
            None
        })
    }

    fn try_block(&self, found: &Found, used: &Used) -> Result<Option<Block>, Fault> {
        let [kind] = found.labels::<1>()?;
        let mut scope = Scope::new(self.values.clone());
        // What is known only when the machine runs must not be needed yet.
        let texts = BuildFacts::NAMES.iter().map(|name| ((*name).to_owned(), Given::unknown(Type::String)));
        let build: BTreeMap<String, Given> =
            texts.chain([("name".to_owned(), self.build_name.as_str().into())]).collect();
        scope.set("build", Given::object(build));
        let reader = Reader { world: &self.project.world, source: &found.source };
        let all = reader.entries(&found.block.body, &scope, &[]);
        let all = Config::new(all?, &found.source, found.block.header(), &Texts::new(self.setting.clone()));
        if !applies(&all, used)? {
            return Ok(None);
        }
        let fields = all.fields();
        let common = Common {
            pause_before: fields.duration("pause_before")?,
            max_retries: count(&all)?,
            timeout: fields.duration("timeout")?,
            keep_input_artifact: fields.bool("keep_input_artifact")?,
        };
        let name = fields.string("name")?;
        let body = Deferred {
            world: Arc::clone(&self.project.world),
            source: Arc::clone(&found.source),
            body: found.block.body.clone(),
            span: found.block.header(),
            values: self.values.clone(),
            setting: self.setting.clone(),
            build_name: self.build_name.clone(),
            names: [used.name.clone(), format!("{}.{}", used.kind, used.name)],
        };
        let place = found.header();
        let timeout = common.timeout.filter(|timeout| *timeout > Duration::ZERO);
        let common = Common { timeout, ..common };
        Ok(Some(Block { kind: kind.to_owned(), name, place, common, body: Arc::new(body) }))
    }
}

/// Whether the body has blocks of this type.
fn is_blocks(found: &Found, kind: &str) -> bool {
    found.attribute(kind).is_none()
}

fn count(config: &Config) -> Result<u64, Fault> {
    let fields = config.fields();
    let retries = fields.int("max_retries")?.unwrap_or(0);
    u64::try_from(retries)
        .map_err(|_| fields.place("max_retries").error("OutOfRange", "`max_retries` must not be negative"))
}

/// Whether `only` and `except` let a block be part of a build.
fn applies(config: &Config, used: &Used) -> Result<bool, Fault> {
    let fields = config.fields();
    let name = format!("{}.{}", used.kind, used.name);
    let (only, except) = (fields.strings("only")?, fields.strings("except")?);
    if only.is_some() && except.is_some() {
        return Err(fields.place("except").error("Conflict", "`only` and `except` exclude each other"));
    }
    let listed = |list: &Vec<String>| list.contains(&name);
    Ok(only.as_ref().is_none_or(listed) && !except.as_ref().is_some_and(listed))
}

/// A body that is evaluated when the machine runs.
struct Deferred {
    world: SharedWorld,
    source: Arc<Source>,
    body: Written,
    span: Span,
    values: BTreeMap<String, Given>,
    setting: Setting,
    build_name: String,
    /// How `override` may call this build.
    names: [String; 2],
}

impl Body for Deferred {
    fn evaluate(&self, facts: &BuildFacts) -> Result<Config, Fault> {
        let mut scope = Scope::new(self.values.clone());
        let known = BuildFacts::NAMES.iter().map(|&name| (name.to_owned(), facts.get(name).unwrap_or_default().into()));
        let other = facts.other.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let build: BTreeMap<String, Given> =
            other.chain(known).chain([("name".to_owned(), self.build_name.as_str().into())]).collect();
        scope.set("build", Given::object(build));
        let mut entries = Reader { world: &self.world, source: &self.source }.entries(&self.body, &scope, &[])?;
        let overrides = entries.iter().find(|entry| entry.key == "override").cloned();
        entries.retain(|entry| !COMMON.contains(&entry.key.as_str()));
        if let Some(overrides) = overrides {
            self.override_with(&overrides, &mut entries)?;
        }
        let setting = Setting { facts: Some(facts.clone()), ..self.setting.clone() };
        Ok(Config::new(entries, &self.source, self.span, &Texts::new(setting)))
    }
}

impl Deferred {
    fn override_with(&self, overrides: &Entry, entries: &mut Vec<Entry>) -> Result<(), Fault> {
        let wrong = |span| {
            Place::new(&self.source, span).error("WrongType", "`override` holds an object for each build it names")
        };
        let items = match &overrides.node.value {
            Value::Object(items) => vec![items],
            Value::List(list) => list
                .iter()
                .filter_map(|node| if let Value::Object(items) = &node.value { Some(items) } else { None })
                .collect(),
            _ => return Err(wrong(overrides.node.span)),
        };
        for entry in items.into_iter().flatten().filter(|entry| self.names.contains(&entry.key)) {
            let Value::Object(more) = &entry.node.value else { return Err(wrong(entry.span)) };
            for new in more {
                entries.retain(|old| old.key != new.key);
                entries.push(new.clone());
            }
        }
        Ok(())
    }
}
