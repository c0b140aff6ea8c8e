//! `data "http"`: what an address answers.

use std::collections::BTreeMap;

use kiln_hcl::types::Type;
use kiln_hcl::value::Value;

use super::project::Project;
use crate::fault::{Fault, Place};
use crate::world::Request;

/// Its attributes.
pub(super) const KEYS: [&str; 4] = ["url", "method", "request_headers", "request_body"];
/// What may be done; others would change something, and a template is read more than once.
const METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "POST"];

/// Asks, and makes a value of the answer: `url`, `body`, `response_headers`.
pub(super) fn fetch(values: &BTreeMap<&str, Value>, place: &Place, project: &Project) -> Result<Value, Fault> {
    if !values.values().all(Value::is_wholly_known) {
        return Ok(Value::unknown(Type::Any));
    }
    let wrong = |key: &str, what: &str| place.error("WrongType", format!("`{key}` must be {what}"));
    let text = |key: &str| match values.get(key) {
        None => Ok(None),
        Some(value) if value.is_null() => Ok(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| wrong(key, "a text")),
    };
    let url = text("url")?.ok_or_else(|| wrong("url", "a text"))?;
    let method = text("method")?.unwrap_or_else(|| "GET".to_owned()).to_ascii_uppercase();
    if !METHODS.contains(&&*method) {
        let fault = place.error("BadMethod", format!("`{method}` is not done: a template is read more than once"));
        return Err(fault.suggest(&method, METHODS));
    }
    let mut headers = Vec::new();
    for (name, value) in values.get("request_headers").and_then(Value::fields).into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| wrong("request_headers", "a map of texts"))?;
        headers.push((name.clone(), value.to_owned()));
    }
    let body = text("request_body")?.unwrap_or_default();
    let answer = project
        .world
        .fetch(&Request { url: url.clone(), method, headers, body })
        .map_err(|why| place.error("Fetch", format!("`data \"http\"`: {why}")))?;
    let headers = answer.headers.into_iter().map(|(name, value)| (name, value.as_str().into())).collect();
    Ok(Value::object(BTreeMap::from([
        ("url".to_owned(), url.as_str().into()),
        ("body".to_owned(), answer.body.as_str().into()),
        ("response_headers".to_owned(), Value::map(Type::String, headers)),
    ])))
}
