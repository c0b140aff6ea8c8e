//! Who may use an image besides its project.

use serde_json::{Value, json};

use super::api::missing;
use super::state::State;
use super::wire::Reply;
use crate::http::Request;

/// Where it is kept, beside what the image was asked to be.
const FIELD: &str = "policy of the double";

fn now(body: &Value) -> Value {
    match &body[FIELD] {
        Value::Null => json!({ "etag": "0" }),
        policy => policy.clone(),
    }
}

/// The policy of an image.
pub fn of(state: &State, address: &str) -> Option<Value> {
    state.things.get(address).map(|thing| now(&thing.body))
}

/// Answers a question for it.
pub fn get(state: &State, address: &str) -> Reply {
    of(state, address).map_or_else(|| missing(address), Reply::ok)
}

/// Replaces it, if it is still the one that was read.
pub fn set(request: &Request, state: &mut State, address: &str) -> Reply {
    let stale = state.faults.stale > 0;
    let Some(thing) = state.things.get_mut(address) else { return missing(address) };
    let before = now(&thing.body);
    let revision: u32 = before["etag"].as_str().and_then(|etag| etag.parse().ok()).unwrap_or(0);
    if stale {
        state.faults.stale -= 1;
        thing.body[FIELD] = before;
        thing.body[FIELD]["etag"] = json!((revision + 1).to_string());
    }
    let mut wanted = request.json()["policy"].clone();
    if wanted["etag"] != now(&thing.body)["etag"] {
        return Reply::refused(412, "conditionNotMet", "The policy was changed meanwhile");
    }
    wanted["etag"] = json!((revision + 1).to_string());
    thing.body[FIELD] = wanted.clone();
    Reply::ok(wanted)
}
