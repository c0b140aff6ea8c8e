//! Which files make up a template, and their syntax.

use std::sync::Arc;

use kiln_hcl::ast::Body;
use kiln_hcl::json_syntax::{self, ATTRIBUTES, BlockSchema, Schema};
use kiln_hcl::parser;
use kiln_spec::source::Source;

use crate::fault::Fault;
use crate::world::World;

/// How many files a directory of templates may hold.
const MAX_FILES: usize = 10_000;

/// The files of a template.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// `*.pkr.hcl` and `*.pkr.json`, in the order of their names.
    pub templates: Vec<Arc<Source>>,
    /// `*.auto.pkrvars.hcl` and `*.auto.pkrvars.json`, in the order of their names.
    pub variables: Vec<Arc<Source>>,
    /// The directory they are in, absolute: `path.root`.
    pub directory: String,
}

/// Whether a file of this name is a template of this dialect.
pub fn is_template(name: &str) -> bool {
    name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json")
}

fn is_automatic(name: &str) -> bool {
    name.ends_with(".auto.pkrvars.hcl") || name.ends_with(".auto.pkrvars.json")
}

impl Files {
    /// The template `path`: one file, or every file directly in a directory.
    ///
    /// # Errors
    /// A sentence that says what cannot be read.
    pub fn gather(path: &str, world: &dyn World) -> Result<Files, String> {
        let absolute = |path: &str| {
            let whole =
                if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", world.working_directory()) };
            let names: Vec<&str> = whole.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
            format!("/{}", names.join("/"))
        };
        let source = |path: String| {
            let bytes = world.read(&path)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("`{path}` is not UTF-8"))?;
            Ok::<_, String>(Arc::new(Source { name: path, text }))
        };
        if is_template(path) && world.is_file(path)? {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let directory = if path.starts_with('/') && directory.is_empty() { "/" } else { directory };
            return Ok(Files {
                templates: vec![source(path.to_owned())?],
                variables: Vec::new(),
                directory: absolute(directory),
            });
        }
        let mut names: Vec<String> = world.files(path, MAX_FILES)?;
        names.retain(|name| !name.contains('/'));
        names.sort();
        let within = |wanted: fn(&str) -> bool| {
            let names = names.iter().filter(|name| wanted(name));
            names.map(|name| source(format!("{}/{name}", path.trim_end_matches('/')))).collect::<Result<Vec<_>, _>>()
        };
        let files =
            Files { templates: within(is_template)?, variables: within(is_automatic)?, directory: absolute(path) };
        if files.templates.is_empty() {
            return Err(format!("`{path}` holds no file `*.pkr.hcl` or `*.pkr.json`"));
        }
        Ok(files)
    }
}

macro_rules! block {
    ($kind:literal, $labels:literal, $body:expr) => {
        BlockSchema { kind: $kind, labels: $labels, body: $body }
    };
}

const PLUGINS: Schema = Schema { blocks: &[block!("required_plugins", 0, &ATTRIBUTES)] };
const VARIABLE: Schema = Schema { blocks: &[block!("validation", 0, &ATTRIBUTES)] };
const CHAIN: Schema = Schema { blocks: &[block!("post-processor", 1, &ATTRIBUTES)] };
const BUILD: Schema = Schema {
    blocks: &[
        block!("source", 1, &ATTRIBUTES),
        block!("provisioner", 1, &ATTRIBUTES),
        block!("error-cleanup-provisioner", 1, &ATTRIBUTES),
        block!("post-processor", 1, &ATTRIBUTES),
        block!("post-processors", 0, &CHAIN),
        block!("hcp_packer_registry", 0, &ATTRIBUTES),
    ],
};

/// What may stand in a template.
pub(super) const TEMPLATE: Schema = Schema {
    blocks: &[
        block!("packer", 0, &PLUGINS),
        block!("source", 2, &ATTRIBUTES),
        block!("variable", 1, &VARIABLE),
        block!("variables", 0, &ATTRIBUTES),
        block!("locals", 0, &ATTRIBUTES),
        block!("local", 1, &ATTRIBUTES),
        block!("data", 2, &ATTRIBUTES),
        block!("build", 0, &BUILD),
    ],
};

/// Parses a file by its name: JSON or HCL.
pub(super) fn parse(source: &Arc<Source>, schema: &Schema, faults: &mut Vec<Fault>) -> Body {
    let (body, wrong) = if source.name.ends_with(".json") {
        json_syntax::parse(&source.text, schema)
    } else {
        parser::parse(&source.text)
    };
    faults.extend(
        wrong.into_iter().map(|diagnostic| Fault { source: Arc::clone(source), diagnostic: Box::new(diagnostic) }),
    );
    body
}
