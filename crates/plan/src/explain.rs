//! Plans for people: one line a step, and all details as JSON.

use std::fmt::Write as _;

use kiln_spec::login;
use serde_json::{Value, json};

use crate::step::{Op, Plan, Step};

/// The plan as text: number, key, what it needs, title.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let key = step.key.to_string();
        let mut needs: Vec<String> = step.parent.iter().chain(&step.reads).map(ToString::to_string).collect();
        needs.dedup();
        let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(",") };
        let _ = writeln!(out, "#{index:<3} {} {needs:<8} {}", &key[..12], one_line(&step.title));
    }
    let _ = writeln!(out, "result {} for {}", plan.result, plan.platform);
    out
}

fn one_line(title: &str) -> String {
    title.lines().next().unwrap_or("").to_owned()
}

/// The plan as JSON, with all that the keys are made of.
pub fn json(plan: &Plan) -> Value {
    json!({
        "platform": plan.platform.to_string(),
        "result": plan.result,
        "config": plan.config,
        "steps": plan.steps.iter().map(step_json).collect::<Vec<_>>(),
    })
}

/// The same with no password in any URL.
fn without_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(login::hidden(&text)),
        Value::Array(list) => list.into_iter().map(without_passwords).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, without_passwords(value))).collect(),
        other => other,
    }
}

fn step_json(step: &Step) -> Value {
    let (kind, details) = match &step.op {
        Op::Scratch => ("scratch", Value::Null),
        Op::Image(image) => ("image", json!({ "name": image.name, "digest": image.digest, "layers": image.layers })),
        Op::Run(run) => ("run", without_passwords(json!(run))),
        Op::Copy(copy) => ("copy", without_passwords(json!(copy))),
        Op::Mkdir(mkdir) => ("mkdir", json!(mkdir)),
    };
    json!({
        "title": step.title,
        "key": step.key.to_string(),
        "kind": kind,
        "details": details,
        "parent": step.parent,
        "reads": step.reads,
        "noCache": step.no_cache,
    })
}
