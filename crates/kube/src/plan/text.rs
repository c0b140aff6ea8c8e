//! Objects as text, for people to read and for `kubectl create -f`; what is in a Secret stays secret.

use serde_json::{Value, json};

use super::Manifests;

/// In place of what a Secret holds.
const REDACTED: &str = "(not shown)";

/// How objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Documents with `---` between them.
    Yaml,
    /// One `List`.
    Json,
}

/// All objects of some orders.
pub fn render(all: &[Manifests], format: Format) -> String {
    let objects: Vec<Value> =
        all.iter().flat_map(|one| one.secret.iter().map(redacted).chain([one.job.clone()])).collect();
    match format {
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            serde_json::to_string_pretty(&list).unwrap_or_default() + "\n"
        }
        Format::Yaml => {
            let texts: Vec<String> = objects.iter().map(yaml).collect();
            texts.join("---\n")
        }
    }
}

fn yaml(object: &Value) -> String {
    let mut text = serde_saphyr::to_string(object).unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A Secret with the names of what it holds.
fn redacted(secret: &Value) -> Value {
    let mut secret = secret.clone();
    let names: Vec<String> = secret["data"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    if let Some(map) = secret.as_object_mut() {
        map.shift_remove("data");
        map.insert("stringData".to_owned(), names.into_iter().map(|name| (name, json!(REDACTED))).collect());
    }
    secret
}
