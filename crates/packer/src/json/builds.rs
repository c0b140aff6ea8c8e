//! Builders with the blocks that apply to each.

use std::sync::Arc;

use kiln_spec::source::{Source, Span};

use super::raw::{Raw, RawBlock};
use crate::config::{Config, Entry, Value};
use crate::fault::{Fault, Place};
use crate::model::{Block, Body, Build, BuildFacts};
use crate::render::{Scope, Setting};
use crate::select::Selection;

/// A configuration in JSON: complete but for what `build` gives.
struct Written {
    entries: Vec<Entry>,
    source: Arc<Source>,
    span: Span,
    scope: Arc<Scope>,
}

impl Body for Written {
    fn evaluate(&self, facts: &BuildFacts) -> Result<Config, Fault> {
        Ok(Config::new(self.entries.clone(), &self.source, self.span, &self.scope.with_facts(facts)))
    }
}

/// The builds that are selected. All of them are checked, selected or not.
pub(super) fn builds(
    raw: &Raw,
    source: &Arc<Source>,
    setting: &Setting,
    selection: &Selection,
    warnings: &mut Vec<Fault>,
    faults: &mut Vec<Fault>,
) -> Vec<Build> {
    let mut builds: Vec<Build> = Vec::new();
    let plain = Scope::new(setting.clone());
    for builder in &raw.builders {
        let place = Place::new(source, builder.name_span);
        let name = match plain.render(&builder.name, &[], &place) {
            Ok(name) => name,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        if builds.iter().any(|build| build.name == name) {
            faults.push(place.error("DuplicateBuilder", format!("there are two builders named `{name}`")));
            continue;
        }
        let own = Setting { build_name: name.clone(), build_type: builder.kind.clone(), ..setting.clone() };
        let scope = Scope::new(own);
        let maker = Maker { source, scope: &scope, raw_name: &builder.name, selection };
        let config = Config::new(builder.entries.clone(), source, builder.span, &scope);
        let build = Build {
            name,
            kind: builder.kind.clone(),
            place: Place::new(source, builder.span),
            provisioners: raw.provisioners.iter().filter_map(|block| maker.block(block)).collect(),
            error_cleanup: raw.error_cleanup.as_ref().and_then(|block| maker.block(block)),
            post_processors: raw.post_processors.iter().map(|pipeline| maker.pipeline(pipeline)).collect(),
            config,
        };
        check(&build, faults);
        builds.push(build);
    }
    unmatched(raw, &builds, selection, warnings);
    builds.retain(|build| selection.takes(&[&build.name]));
    for build in &mut builds {
        build.post_processors.retain(|pipeline| !pipeline.is_empty());
    }
    builds
}

/// Adds what is wrong with the texts of a build. A block that several builds share is told about once.
fn check(build: &Build, faults: &mut Vec<Fault>) {
    let mut found = build.config.check();
    let facts = BuildFacts::placeholders();
    let blocks = build.provisioners.iter().chain(&build.error_cleanup).chain(build.post_processors.iter().flatten());
    for block in blocks {
        match block.config(&facts) {
            Ok(config) => found.extend(config.check()),
            Err(fault) => found.push(fault),
        }
    }
    for fault in found {
        if !faults.iter().any(|known| known.diagnostic == fault.diagnostic) {
            faults.push(fault);
        }
    }
}

/// Warns about patterns of the command line that name nothing.
fn unmatched(raw: &Raw, builds: &[Build], selection: &Selection, warnings: &mut Vec<Fault>) {
    let mut names: Vec<&str> = builds.iter().map(|build| build.name.as_str()).collect();
    names.extend(raw.post_processors.iter().flatten().map(name_of));
    warnings.extend(selection.warnings(&names));
}

/// What `-except` calls a post-processor.
fn name_of(block: &RawBlock) -> &str {
    block.name.as_deref().unwrap_or(&block.kind)
}

/// Makes the blocks of one build.
struct Maker<'a> {
    source: &'a Arc<Source>,
    scope: &'a Arc<Scope>,
    /// The builder's name as written, which `only`, `except` and `override` use.
    raw_name: &'a str,
    selection: &'a Selection,
}

impl Maker<'_> {
    fn block(&self, raw: &RawBlock) -> Option<Block> {
        let named = |names: &[(String, Span)]| names.iter().any(|(name, _)| name == self.raw_name);
        if (!raw.only.is_empty() && !named(&raw.only)) || named(&raw.except) {
            return None;
        }
        let mut entries = raw.entries.clone();
        for over in raw.overrides.iter().filter(|over| over.key == self.raw_name) {
            let Value::Object(replacing) = &over.node.value else { continue };
            entries.retain(|entry| !replacing.iter().any(|new| new.key == entry.key));
            entries.extend(replacing.iter().cloned());
        }
        let (source, scope) = (Arc::clone(self.source), Arc::clone(self.scope));
        Some(Block {
            kind: raw.kind.clone(),
            name: raw.name.clone(),
            place: Place::new(self.source, raw.span),
            common: raw.common.clone(),
            body: Arc::new(Written { entries, source, span: raw.span, scope }),
        })
    }

    /// A pipeline up to the first post-processor that `-except` names: what follows would lack its input.
    fn pipeline(&self, raw: &[RawBlock]) -> Vec<Block> {
        let blocks = raw.iter().take_while(|block| !self.selection.excepts(name_of(block)));
        blocks.filter_map(|block| self.block(block)).collect()
    }
}
