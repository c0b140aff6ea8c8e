//! `values.schema.json`: do the values fit?

use boon::{Compiler, Schemas, SchemeUrlLoader};

use crate::chart::Chart;
use crate::error::RenderError;
use crate::yaml::{Map, Yaml};

/// A name for the schema of a chart; nothing is loaded from it.
const PLACE: &str = "mem:///values.schema.json";

/// Checks the values of a chart, and those of all charts it brings.
pub(crate) fn check(chart: &Chart, values: &Map) -> Result<(), RenderError> {
    let mut wrong = Vec::new();
    walk(chart, values, &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(RenderError::Schema(wrong)) }
}

fn walk(chart: &Chart, values: &Map, wrong: &mut Vec<String>) {
    if let Some(schema) = &chart.schema {
        if let Err(message) = one(schema, values) {
            wrong.push(format!("{}:\n{message}", chart.metadata.name));
        }
    }
    for below in &chart.charts {
        if let Some(Yaml::Map(values)) = values.get(&below.metadata.name) {
            walk(below, values, wrong);
        }
    }
}

fn one(schema: &[u8], values: &Map) -> Result<(), String> {
    let schema: serde_json::Value = serde_json::from_slice(schema).map_err(|error| format!("values.schema.json: {error}"))?;
    let text = crate::json::text(&Yaml::Map(values.clone()), crate::json::COMPACT);
    let values: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    // References to files and servers are errors: nothing is loaded here.
    compiler.use_loader(Box::new(SchemeUrlLoader::new()));
    compiler.set_default_draft(boon::Draft::V7);
    compiler.add_resource(PLACE, schema).map_err(|error| format!("values.schema.json: {error}"))?;
    let compiled = compiler.compile(PLACE, &mut schemas).map_err(|error| format!("values.schema.json: {error:#}"))?;
    schemas.validate(&values, compiled).map_err(|error| leaves(&error).join("\n"))
}

/// The innermost reasons, each with its place.
fn leaves(error: &boon::ValidationError<'_, '_>) -> Vec<String> {
    if error.causes.is_empty() {
        return vec![format!("- at '{}': {}", error.instance_location, error.kind)];
    }
    error.causes.iter().flat_map(leaves).collect()
}
