//! Templates in, builds out; Debian's packer is asked for its opinion.
#![expect(clippy::disallowed_methods, reason = "tests ask other programs")]

mod config;
mod errors;
mod hcl2;
mod json;
mod peer;

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_packer::fault::Fault;
use kiln_packer::json::load;
use kiln_packer::model::{BuildFacts, Template};
use kiln_packer::world::{Given, World};
use kiln_spec::source::Source;

/// A world whose answers never change.
#[derive(Debug, Default, Clone)]
pub struct Fixed {
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl World for Fixed {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn now(&self) -> i64 {
        1_564_110_199
    }

    fn random(&self) -> u128 {
        7
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path}: there are no files here"))
    }

    fn working_directory(&self) -> String {
        "/work".to_owned()
    }
}

/// A text with a name.
pub fn source(name: &str, text: &str) -> Arc<Source> {
    Arc::new(Source { name: name.to_owned(), text: text.to_owned() })
}

/// A command line without flags.
pub fn plain() -> Given {
    Given { packer_version: "1.6.6".to_owned(), ..Given::default() }
}

/// `-var` for each pair.
pub fn with_vars(vars: &[(&str, &str)]) -> Given {
    Given { vars: vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(), ..plain() }
}

/// What becomes of a template.
pub fn loaded(text: &str, given: &Given) -> Result<Template, Vec<Fault>> {
    load(&source("dir/t.json", text), given, &Fixed::default())
}

/// A template that must be right.
pub fn good(text: &str, given: &Given) -> Template {
    loaded(text, given).unwrap_or_else(|faults| panic!("{}", rendered(&faults)))
}

/// Faults as they are shown.
pub fn rendered(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.render(false)).collect()
}

/// What is wrong with a template, as it is shown.
pub fn wrong(text: &str, given: &Given) -> String {
    match loaded(text, given) {
        Ok(_) => panic!("nothing is wrong with\n{text}"),
        Err(faults) => rendered(&faults),
    }
}

/// The value of `key` in the only builder.
pub fn in_builder(template: &Template, key: &str) -> String {
    let fields = template.builds[0].config.fields();
    fields.string(key).unwrap_or_else(|fault| panic!("{}", fault.render(false))).unwrap_or_default()
}

/// Facts of a machine.
pub fn facts() -> BuildFacts {
    BuildFacts { host: "10.0.2.15".to_owned(), port: "22".to_owned(), ..BuildFacts::placeholders() }
}
