//! `--explain`: what a build would take from the cache, what it would run, and which input changed since the last run.

use kiln_engine::why::{Explained, Explanation, Standing};
use kiln_plan::Plan;
use kiln_plan::why::Change;
use serde_json::{Value, json};

use crate::error::printable;

/// Columns of a value that are shown.
const WIDTH: usize = 60;

/// For people: a line a step, and below it what changed.
pub fn text(plan: &Plan, explanation: &Explanation) -> String {
    let mut out = String::new();
    for (index, (step, explained)) in plan.steps.iter().zip(&explanation.steps).enumerate() {
        let state = match explained.standing {
            Standing::Cached => "cached",
            Standing::Runs | Standing::NotAsked => "runs",
            Standing::Open(_) => "open",
        };
        let title = printable(step.title.lines().next().unwrap_or(""));
        out += &format!("#{index:<3} {state:<7} {title}\n");
        for line in reasons(explained, explanation, step.op.makes_layer()) {
            out += &format!("{:13}{}\n", "", printable(&line.replace('\n', " ")));
        }
    }
    out += match explanation.last {
        None => "no earlier run of this is known to compare with\n",
        Some(true) => "compared with the last run\n",
        Some(false) => "compared with the last run, which did not come to its end\n",
    };
    out
}

fn reasons(explained: &Explained, explanation: &Explanation, makes_layer: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if explained.standing == Standing::Cached {
        // A base is always there; that it is another one is why others run.
        lines.extend(explained.changes.iter().filter(|_| !makes_layer).flat_map(change));
        return lines;
    }
    match explained.standing {
        Standing::NotAsked => lines.push("the cache is not asked: --no-cache".to_owned()),
        Standing::Open(step) => lines.push(format!("runs unless {step} makes what it made before")),
        _ => {}
    }
    lines.extend(explained.changes.iter().flat_map(change));
    if lines.is_empty() {
        lines.push(
            match explanation.last {
                None => "not in the cache: never built, or pruned",
                Some(true) => "not in the cache: nothing changed, so it was pruned",
                Some(false) => "not in the cache: the last run stopped before it, or failed in it",
            }
            .to_owned(),
        );
    }
    lines
}

fn change(change: &Change) -> Vec<String> {
    match change {
        Change::New => vec!["new: the last run had no such step".to_owned()],
        Change::Below { step } => vec![format!("changed: {step} below it")],
        Change::Reads { step } => vec![format!("changed: {step}, which it reads")],
        Change::Value { name, before, after } => vec![value(name, before.as_deref(), after.as_deref())],
        Change::Files { files, more, .. } => {
            let mut lines: Vec<String> = files.iter().map(|(path, how)| format!("changed: {path} ({how})")).collect();
            if *more > 0 {
                lines.push(format!("and {more} more"));
            }
            lines
        }
    }
}

fn value(name: &str, before: Option<&str>, after: Option<&str>) -> String {
    let short = |text: &str| match text {
        "" => "(empty)".to_owned(),
        text => crate::table::cut(text, WIDTH),
    };
    match (before, after) {
        (Some(before), Some(after)) => format!("changed: {name}: {} → {}", short(before), short(after)),
        (None, Some(after)) => format!("changed: {name}: now {}", short(after)),
        (Some(before), None) => format!("changed: {name}: was {}", short(before)),
        (None, None) => format!("changed: {name}"),
    }
}

/// For programs.
pub fn json(plan: &Plan, explanation: &Explanation) -> Value {
    let step = |(index, (step, explained)): (usize, (&kiln_plan::Step, &Explained))| {
        let (state, waits) = match explained.standing {
            Standing::Cached => ("cached", None),
            Standing::Runs => ("runs", None),
            Standing::NotAsked => ("not-asked", None),
            Standing::Open(step) => ("open", Some(step)),
        };
        json!({
            "step": index,
            "title": step.title,
            "key": step.key.to_string(),
            "state": state,
            "waitsFor": waits,
            "changes": explained.changes,
        })
    };
    json!({
        "platform": plan.platform.to_string(),
        "comparedWith": match explanation.last {
            None => "nothing",
            Some(true) => "finished run",
            Some(false) => "unfinished run",
        },
        "steps": plan.steps.iter().zip(&explanation.steps).enumerate().map(step).collect::<Vec<_>>(),
    })
}
