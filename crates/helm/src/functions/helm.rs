//! Helm's own functions that work with templates: `include`, `tpl`; and `lookup`, which finds nothing without a cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_gotmpl::{Dict, Failure, Functions, Value};

use super::arguments::{exact, text};

/// How often a template may be included by itself.
const MAX_INCLUDED: usize = 1000;

pub(crate) fn add(functions: &mut Functions<'_>, current: &Arc<Mutex<String>>) {
    let included: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    functions.add_with_engine("include", move |engine, arguments| {
        let [name, data] = exact(arguments)?;
        let name = text(name)?;
        let enter = |step: fn(usize) -> usize| {
            let mut counts = included.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(name.to_owned()).or_insert(0);
            *count = step(*count);
            *count
        };
        if enter(|count| count + 1) > MAX_INCLUDED + 1 {
            enter(|count| count - 1);
            return Err(Failure::new(format!("unable to execute template: rendering template has a nested reference name: {name}")));
        }
        let done = engine.include(name, data);
        enter(|count| count - 1);
        done.map(Value::from)
    });
    let current = Arc::clone(current);
    functions.add_with_engine("tpl", move |engine, arguments| {
        let [source, data] = exact(arguments)?;
        let name = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let done = engine.evaluate(&name, text(source)?, data)?;
        Ok(done.replace("<no value>", "").into())
    });
    functions.add("lookup", |arguments| {
        let [version, kind, namespace, name] = exact(arguments)?;
        for argument in [version, kind, namespace, name] {
            text(argument)?;
        }
        Ok(Value::Map(Dict::new()))
    });
}
