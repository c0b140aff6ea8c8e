//! Texts that are templates, but no charts: Go's language with Sprig's functions.
//!
//! What depends on a clock or on chance is not there (dates, random texts, keys, certificates), nor is what only charts
//! have (`include`, `tpl`, `lookup`): the same text and values always give the same.

use kiln_gotmpl::{Error, Functions, Options, Value};

use crate::functions;
use crate::yaml::Map;

/// Other names of functions: sealer's documents have them.
const ALIASES: [(&str, &str); 2] = [("base64encode", "b64enc"), ("base64decode", "b64dec")];

/// Renders a text. A value that is not there gives `<no value>`, as Go does.
///
/// # Errors
/// When it is no template, a function fails, or a limit is reached.
pub fn render(text: &str, values: &Map) -> Result<String, Error> {
    let mut functions = Functions::new();
    functions::plain(&mut functions);
    for (alias, name) in ALIASES {
        functions::alias(&mut functions, alias, name);
    }
    let data = Value::dict(values.iter().map(|(key, value)| (key.clone(), value.value())));
    kiln_gotmpl::render(text, &data, &functions, &Options::default())
}
