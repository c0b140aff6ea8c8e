//! All files of a template, read, with the values of variables and locals.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_hcl::ast::{Attribute, Block, Body, Expr};
use kiln_hcl::eval::Evaluator;
use kiln_hcl::scope::Scope;
use kiln_hcl::value::Value;
use kiln_spec::source::{Source, Span};

use super::files::{self, Files, TEMPLATE};
use super::variables::Declared;
use super::{Asking, SharedWorld, locals, variables, versions};
use crate::fault::{Fault, Place};
use crate::world::Given;

/// A block and the file it stands in.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub source: Arc<Source>,
    pub block: Arc<Block>,
}

impl Found {
    pub fn place(&self, span: Span) -> Place {
        Place::new(&self.source, span)
    }

    pub fn header(&self) -> Place {
        self.place(self.block.header())
    }

    /// The labels; how many there must be is said in the error.
    pub fn labels<const N: usize>(&self) -> Result<[&str; N], Fault> {
        let labels: Vec<&str> = self.block.labels.iter().map(|label| label.text.as_str()).collect();
        <[&str; N]>::try_from(labels).map_err(|labels| {
            let message = format!("`{}` has {N} labels, not {}", self.block.kind, labels.len());
            self.header().error("WrongLabels", message)
        })
    }

    /// Says which attributes and blocks nobody knows.
    pub fn only(&self, attributes: &[&str], blocks: &[&str], faults: &mut Vec<Fault>) {
        let kind = &self.block.kind;
        for attribute in &self.block.body.attributes {
            if !attributes.contains(&attribute.name.as_str()) {
                let fault = self
                    .place(attribute.name_span)
                    .error("UnknownKey", format!("`{kind}` has no attribute `{}`", attribute.name));
                faults.push(fault.suggest(&attribute.name, attributes.iter().chain(blocks).copied()));
            }
        }
        for block in &self.block.body.blocks {
            if !blocks.contains(&block.kind.as_str()) {
                let fault = self
                    .place(block.kind_span)
                    .error("UnknownBlock", format!("`{kind}` has no block `{}`", block.kind));
                faults.push(fault.suggest(&block.kind, blocks.iter().chain(attributes).copied()));
            }
        }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.block.body.attribute(name)
    }

    /// The blocks of one kind in it.
    pub fn inner(&self, kind: &str) -> Vec<Found> {
        let blocks = self.block.body.blocks.iter().filter(|block| block.kind == kind);
        blocks.map(|block| Found { source: Arc::clone(&self.source), block: Arc::new(block.clone()) }).collect()
    }
}

/// A template, read.
pub(super) struct Project {
    pub directory: String,
    pub packer_version: String,
    pub world: SharedWorld,
    pub variables: Vec<Declared>,
    /// The accessors `var`, `local`, `data`.
    pub var: Value,
    pub local: BTreeMap<String, Value>,
    pub data: Value,
    pub sources: Vec<Found>,
    pub builds: Vec<Found>,
    pub warnings: Vec<Fault>,
}

/// An evaluator over a world.
pub(super) fn evaluate(
    world: &SharedWorld,
    expr: &Expr,
    scope: &Scope<'_>,
    source: &Arc<Source>,
) -> Result<Value, Fault> {
    let asked = Asking(Arc::clone(world));
    let result = Evaluator::new(&asked).evaluate(expr, scope);
    result.map_err(|diagnostic| Fault { source: Arc::clone(source), diagnostic })
}

impl Project {
    /// Reads all files and evaluates variables, data and locals.
    pub fn read(from: &Files, given: &Given, world: &SharedWorld) -> Result<Project, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut found = Vec::new();
        for source in &from.templates {
            let body = files::parse(source, &TEMPLATE, &mut faults);
            collect(source, body, &mut found, &mut faults);
        }
        let of = |kinds: &[&str]| {
            found.iter().filter(|found| kinds.contains(&found.block.kind.as_str())).cloned().collect::<Vec<_>>()
        };
        for settings in of(&["packer"]) {
            versions::check(&settings, &given.packer_version, world, &mut faults);
        }
        let mut warnings = Vec::new();
        let variables =
            variables::read(&of(&["variable", "variables"]), from, given, world, (&mut faults, &mut warnings));
        let var =
            Value::object(variables.iter().filter_map(|one| Some((one.name.clone(), one.value.clone()?))).collect());
        let mut project = Project {
            directory: from.directory.clone(),
            packer_version: given.packer_version.clone(),
            world: Arc::clone(world),
            variables,
            var,
            local: BTreeMap::new(),
            data: Value::object(BTreeMap::new()),
            sources: of(&["source"]),
            builds: of(&["build"]),
            warnings,
        };
        if faults.is_empty() {
            locals::read(&mut project, &of(&["local", "locals"]), &of(&["data"]), &mut faults);
        }
        if faults.is_empty() { Ok(project) } else { Err(faults) }
    }

    /// What names mean everywhere in the template.
    pub fn scope(&self) -> BTreeMap<String, Value> {
        let texts = |pairs: &[(&str, &str)]| {
            Value::object(pairs.iter().map(|&(name, text)| (name.to_owned(), text.into())).collect())
        };
        BTreeMap::from([
            ("var".to_owned(), self.var.clone()),
            ("local".to_owned(), Value::object(self.local.clone())),
            ("data".to_owned(), self.data.clone()),
            ("path".to_owned(), texts(&[("cwd", &self.world.working_directory()), ("root", &self.directory)])),
            ("packer".to_owned(), texts(&[("version", &self.packer_version)])),
        ])
    }
}

fn collect(source: &Arc<Source>, body: Body, found: &mut Vec<Found>, faults: &mut Vec<Fault>) {
    let kinds: Vec<&str> = TEMPLATE.blocks.iter().map(|block| block.kind).collect();
    for attribute in &body.attributes {
        let message = format!("a template has no attribute `{}`", attribute.name);
        let fault = Place::new(source, attribute.name_span).error("UnknownKey", message);
        faults.push(fault.suggest(&attribute.name, kinds.iter().copied()));
    }
    for block in body.blocks {
        if kinds.contains(&block.kind.as_str()) {
            found.push(Found { source: Arc::clone(source), block: Arc::new(block) });
        } else {
            let fault = Place::new(source, block.kind_span)
                .error("UnknownBlock", format!("there is no block `{}`", block.kind));
            faults.push(match block.kind.as_str() {
                "dynamic" => {
                    fault.hint("`dynamic` makes blocks inside of a source, a provisioner or a post-processor only")
                }
                "provisioner" | "post-processor" => fault.hint(format!("`{}` stands inside of a `build`", block.kind)),
                kind => fault.suggest(kind, kinds.iter().copied()),
            });
        }
    }
}
