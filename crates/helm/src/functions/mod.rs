//! What templates of charts may call: Sprig's functions, and Helm's own.
//!
//! One file a family, each with a table of names. Functions take Go's types: where Go wants an `int`, a float is a
//! mistake. Missing on purpose: `env` and `expandenv`, as in Helm.

mod arguments;
mod certificates;
mod convert;
mod crypto;
mod dates;
mod dicts;
pub(crate) mod encoding;
mod flow;
mod helm;
mod lists;
mod math;
mod network;
mod paths;
mod random;
mod regexes;
mod semver;
mod strings;
mod toml;

use std::sync::{Arc, Mutex};

use kiln_gotmpl::{Failure, Functions, Value};

use crate::release::Release;

/// Bytes of a text that a function makes.
pub(crate) const MAX_TEXT: usize = 16 << 20;
/// Entries of a list that a function makes.
pub(crate) const MAX_LIST: usize = 1_000_000;

/// A function.
pub(crate) type Plain = fn(&[Value]) -> Result<Value, Failure>;

/// A family: names and functions.
pub(crate) type Table = &'static [(&'static str, Plain)];

const TABLES: [Table; 12] = [
    convert::TABLE,
    crypto::TABLE,
    dicts::TABLE,
    encoding::TABLE,
    flow::TABLE,
    lists::TABLE,
    math::TABLE,
    network::TABLE,
    paths::TABLE,
    regexes::TABLE,
    semver::TABLE,
    strings::TABLE,
];

/// All of them; `current` is the name of the template at work.
pub(crate) fn all<'f>(release: &Release, current: &Arc<Mutex<String>>) -> Functions<'f> {
    let mut functions = Functions::new();
    plain(&mut functions);
    dates::add(&mut functions, release.now);
    random::add(&mut functions, release.seed);
    certificates::add(&mut functions, release.now);
    helm::add(&mut functions, current);
    functions
}

/// Adds those that neither a clock, nor chance, nor a chart has a part in.
pub(crate) fn plain(functions: &mut Functions<'_>) {
    for (name, function) in TABLES.iter().copied().flatten() {
        functions.add(*name, bounded(*function));
    }
}

/// Adds one of [`plain`] by another name.
pub(crate) fn alias(functions: &mut Functions<'_>, alias: &'static str, name: &str) {
    let known = TABLES.iter().copied().flatten().find(|(known, _)| *known == name);
    if let Some((_, function)) = known {
        functions.add(alias, bounded(*function));
    }
}

/// The function, with limits on what it makes.
fn bounded(function: Plain) -> impl Fn(&[Value]) -> Result<Value, Failure> + Send + Sync {
    move |arguments| {
        let value = function(arguments)?;
        match &value {
            Value::String(text) if text.len() > MAX_TEXT => Err(too_long()),
            Value::List(items) if items.len() > MAX_LIST => Err(too_many()),
            _ => Ok(value),
        }
    }
}

pub(crate) fn too_long() -> Failure {
    Failure::new(format!("the text grows beyond {MAX_TEXT} bytes"))
}

pub(crate) fn too_many() -> Failure {
    Failure::new(format!("the list grows beyond {MAX_LIST} entries"))
}
