//! The HCL2 dialect: `*.pkr.hcl` and `*.pkr.json`, one file or a directory of them.
//!
//! [`files`] which files there are      [`variables`] `variable`, and where values come from
//! [`locals`] `local`, `data`; [`http`] one of them   [`builds`] `source`, `build`: what is to be done
//! [`body`] bodies → configurations     [`inspect`] what `inspect` prints
//!
//! Adding a block: its row in the schema in [`files`], its reader in the module of what it describes.

mod body;
mod builds;
mod files;
mod http;
mod inspect;
mod locals;
mod project;
mod variables;
mod versions;

use std::sync::Arc;

use kiln_hcl::console;
use kiln_hcl::eval::Evaluator;
use kiln_hcl::parser;
use kiln_hcl::scope::Scope;
use kiln_hcl::world::World as Asked;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Source;

pub use files::Files;

use crate::fault::Fault;
use crate::model::Template;
use crate::world::{Given, World};
use project::Project;

/// A world that templates may ask later too, when the machine runs.
pub type SharedWorld = Arc<dyn World + Send + Sync>;

/// Reads a template and decides what is to be done.
///
/// # Errors
/// Everything that is wrong with it, as far as it can be told before anything runs.
pub fn load(files: &Files, given: &Given, world: &SharedWorld) -> Result<Template, Vec<Fault>> {
    let project = Project::read(files, given, world)?;
    builds::template(&project, given)
}

/// What `inspect` prints.
///
/// # Errors
/// Everything that is wrong with the template.
pub fn inspect(files: &Files, given: &Given, world: &SharedWorld) -> Result<String, Vec<Fault>> {
    let project = Project::read(files, given, world)?;
    builds::template(&project, given)?;
    Ok(inspect::print(&project))
}

/// The variables and locals of a template, as `inspect` shows them.
///
/// # Errors
/// What is wrong with the template.
pub fn variables(files: &Files, given: &Given, world: &SharedWorld) -> Result<String, Vec<Fault>> {
    Ok(inspect::variables(&Project::read(files, given, world)?))
}

/// The value of one expression, as the console prints it; without files in an empty template.
///
/// # Errors
/// What is wrong with the expression or the template.
pub fn console(expression: &str, files: &Files, given: &Given, world: &SharedWorld) -> Result<String, Vec<Fault>> {
    let project = Project::read(files, given, world)?;
    let source = Arc::new(Source { name: "<console-input>".to_owned(), text: expression.to_owned() });
    let fault = |diagnostic: Diagnostic| Fault { source: Arc::clone(&source), diagnostic: Box::new(diagnostic) };
    let parsed = parser::parse_expression(expression);
    let expr = parsed.map_err(|faults| faults.into_iter().map(fault).collect::<Vec<_>>())?;
    let asked = Asking(Arc::clone(world));
    let scope = Scope::new(project.scope());
    match Evaluator::new(&asked).evaluate(&expr, &scope) {
        Ok(value) => Ok(console::show(&value)),
        Err(diagnostic) => Err(vec![fault(*diagnostic)]),
    }
}

/// What functions of HCL ask, answered by the world of templates.
pub(crate) struct Asking(pub SharedWorld);

impl Asked for Asking {
    fn now(&self) -> i64 {
        self.0.now()
    }

    fn random(&self) -> u128 {
        self.0.random()
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        let bytes = self.0.read(path)?;
        if bytes.len() > limit { Err(format!("`{path}` is larger than {limit} bytes")) } else { Ok(bytes) }
    }

    fn is_file(&self, path: &str) -> Result<bool, String> {
        self.0.is_file(path)
    }

    fn files(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        self.0.files(path, limit)
    }

    fn working_directory(&self) -> String {
        self.0.working_directory()
    }

    fn home(&self) -> Option<String> {
        self.0.env("HOME")
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.env(name)
    }
}
