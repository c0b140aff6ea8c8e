//! Locals and data, each evaluated after what it refers to.

use std::collections::{BTreeMap, BTreeSet};

use kiln_hcl::ast::Expr;
use kiln_hcl::scope::Scope;
use kiln_hcl::value::Value;

use super::project::{Found, Project, evaluate};
use super::{http, variables};
use crate::fault::{Fault, Place};

/// Something to evaluate.
struct Pending {
    /// `local.x` or `data.null.x`.
    path: Vec<String>,
    place: Place,
    /// What it is made of: one expression without a name, or the attributes of a data source that asks somebody.
    parts: Vec<(String, Expr)>,
    sensitive: bool,
    needs: BTreeSet<Vec<String>>,
}

/// Evaluates all of them into `project`.
pub(super) fn read(project: &mut Project, locals: &[Found], data: &[Found], faults: &mut Vec<Fault>) {
    variables::mark(&mut project.variables);
    let marked = project.variables.iter().filter_map(|one| Some((one.name.clone(), one.value.clone()?)));
    project.var = Value::object(marked.collect());
    let mut pending = Vec::new();
    for found in locals {
        if found.block.kind == "locals" {
            let names: Vec<&str> =
                found.block.body.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
            found.only(&names, &[], faults);
            for attribute in &found.block.body.attributes {
                let path = vec!["local".to_owned(), attribute.name.clone()];
                pending.push(Pending::new(path, found.place(attribute.name_span), &attribute.expr, false));
            }
        } else {
            pending.extend(one_local(found, project, faults));
        }
    }
    pending.extend(data.iter().filter_map(|found| one_data(found, faults)));
    let mut seen: BTreeMap<Vec<String>, Place> = BTreeMap::new();
    for one in &pending {
        if let Some(first) = seen.get(&one.path) {
            let fault = one.place.error("DuplicateName", format!("`{}` is defined twice", one.path.join(".")));
            faults.push(fault.note(format!("first at {first}")));
        }
        seen.entry(one.path.clone()).or_insert_with(|| one.place.clone());
    }
    if faults.is_empty() {
        resolve(project, pending, faults);
    }
}

impl Pending {
    fn new(path: Vec<String>, place: Place, expr: &Expr, sensitive: bool) -> Pending {
        Pending::of(path, place, vec![(String::new(), expr.clone())], sensitive)
    }

    fn of(path: Vec<String>, place: Place, parts: Vec<(String, Expr)>, sensitive: bool) -> Pending {
        let mut needs = BTreeSet::new();
        for (_, expr) in &parts {
            expr.walk(&mut |expr| match expr.traversal().as_deref() {
                Some(["local", name]) => drop(needs.insert(vec!["local".to_owned(), (*name).to_owned()])),
                Some(["data", kind, name]) => {
                    needs.insert(vec!["data".to_owned(), (*kind).to_owned(), (*name).to_owned()]);
                }
                _ => {}
            });
        }
        Pending { path, place, parts, sensitive, needs }
    }

    /// Its value, once all that it needs has one.
    fn value(&self, project: &Project, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut values = BTreeMap::new();
        for (name, expr) in &self.parts {
            values.insert(name.as_str(), evaluate(&project.world, expr, scope, &self.place.source)?);
        }
        match (&self.path[..], values.remove("")) {
            ([_, kind, _], Some(value)) if kind == "null" => {
                Ok(Value::object(BTreeMap::from([("output".to_owned(), value)])))
            }
            (_, Some(value)) => Ok(value.marked(self.sensitive)),
            (_, None) => http::fetch(&values, &self.place, project),
        }
    }
}

/// `local "name" { expression = … }`.
fn one_local(found: &Found, project: &Project, faults: &mut Vec<Fault>) -> Option<Pending> {
    let [name] = found.labels::<1>().map_err(|fault| faults.push(fault)).ok()?;
    found.only(&["expression", "sensitive"], &[], faults);
    let Some(expression) = found.attribute("expression") else {
        faults.push(found.header().error("MissingKey", format!("the local `{name}` has no `expression`")));
        return None;
    };
    let sensitive = found
        .attribute("sensitive")
        .map(|attribute| evaluate(&project.world, &attribute.expr, &Scope::default(), &found.source));
    let sensitive = match sensitive {
        None => false,
        Some(Ok(value)) if value.as_bool().is_some() => value.as_bool().unwrap_or(false),
        Some(Ok(_)) => {
            faults.push(found.header().error("WrongType", "`sensitive` must be true or false"));
            false
        }
        Some(Err(fault)) => {
            faults.push(fault);
            false
        }
    };
    Some(Pending::new(vec!["local".to_owned(), name.to_owned()], found.header(), &expression.expr, sensitive))
}

/// Data sources that ask a cloud: how their names begin, and who is asked.
const CLOUDS: [(&str, &str); 6] = [
    ("amazon-", "AWS"),
    ("azure-", "Azure"),
    ("googlecompute-", "Google's cloud"),
    ("hcp-", "HashiCorp's cloud"),
    ("sshkey", "nobody, and makes a key that is in no state"),
    ("alicloud-", "Alibaba Cloud"),
];

/// `data "null"` and `data "http"`: those that need no cloud.
fn one_data(found: &Found, faults: &mut Vec<Fault>) -> Option<Pending> {
    let [kind, name] = found.labels::<2>().map_err(|fault| faults.push(fault)).ok()?;
    let path = vec!["data".to_owned(), kind.to_owned(), name.to_owned()];
    let (keys, needed): (&[&str], &str) = match kind {
        "null" => (&["input"], "input"),
        "http" => (&http::KEYS, "url"),
        _ => {
            let cloud = CLOUDS.iter().find(|(prefix, _)| kind.starts_with(prefix));
            let message = match cloud {
                Some((_, who)) => format!("the data source `{kind}` is not supported: it asks {who}"),
                None => format!("the data source `{kind}` is not supported"),
            };
            let fault = found.header().error("UnknownData", message);
            let hint = "there are `null` and `http`; fetch the value before, and hand it in as a variable";
            faults.push(if cloud.is_some() { fault.hint(hint) } else { fault.suggest(kind, ["null", "http"]) });
            return None;
        }
    };
    found.only(keys, &[], faults);
    if found.attribute(needed).is_none() {
        let article = if needed == "input" { "an" } else { "a" };
        faults.push(found.header().error("MissingKey", format!("`data \"{kind}\"` needs {article} `{needed}`")));
        return None;
    }
    let part = |key: &&str| {
        let name = if kind == "null" { String::new() } else { (*key).to_owned() };
        found.attribute(key).map(|attribute| (name, attribute.expr.clone()))
    };
    Some(Pending::of(path, found.header(), keys.iter().filter_map(part).collect(), false))
}

fn resolve(project: &mut Project, mut pending: Vec<Pending>, faults: &mut Vec<Fault>) {
    let known: BTreeSet<Vec<String>> = pending.iter().map(|one| one.path.clone()).collect();
    let mut done: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut data: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    while !pending.is_empty() {
        // What is not defined at all is an error when it is evaluated.
        let ready = |one: &Pending| one.needs.iter().all(|need| done.contains(need) || !known.contains(need));
        let (now, later): (Vec<Pending>, Vec<Pending>) = pending.into_iter().partition(ready);
        if now.is_empty() {
            let first = &later[0];
            let names: Vec<String> = later.iter().map(|one| one.path.join(".")).take(10).collect();
            let fault = first.place.error("Cycle", format!("`{}` refers to itself in the end", first.path.join(".")));
            faults.push(fault.note(format!("in the circle or after it: {}", names.join(", "))));
            return;
        }
        let scope = Scope::new(project.scope());
        let mut values = Vec::new();
        for one in now {
            match one.value(project, &scope) {
                Ok(value) => values.push((one.path.clone(), value)),
                Err(fault) => faults.push(fault),
            }
            done.insert(one.path);
        }
        for (path, value) in values {
            match path.as_slice() {
                [_, name] => drop(project.local.insert(name.clone(), value)),
                [_, kind, name] => drop(data.entry(kind.clone()).or_default().insert(name.clone(), value)),
                _ => {}
            }
        }
        project.data =
            Value::object(data.iter().map(|(kind, all)| (kind.clone(), Value::object(all.clone()))).collect());
        if !faults.is_empty() {
            return;
        }
        pending = later;
    }
}

/// Every text in `value` that is sensitive.
pub(super) fn secrets(value: &Value, marked: bool, into: &mut BTreeSet<String>) {
    let marked = marked || value.sensitive;
    if marked {
        let text = value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string));
        into.extend(text.filter(|text| !text.is_empty()));
    }
    value.children().for_each(|child| secrets(child, marked, into));
}
