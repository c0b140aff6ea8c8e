//! The values of variables: defaults, `-var-file`, `-var`, and what they say about each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_gotmpl::{Failure, Functions, Value as Data};
use kiln_spec::diag::did_you_mean;
use kiln_spec::source::{Source, Span};

use super::parse::parse;
use super::raw::Raw;
use crate::config::Value;
use crate::fault::{Fault, Place};
use crate::hidden;
use crate::model::Variable;
use crate::render::{Setting, execute, failed, library, undeclared};
use crate::world::{Given, World};

/// What values of the command line are from.
const COMMAND_LINE: &str = "-var";

/// How many variables may be followed from one to the next.
const MAX_CHAIN: usize = 64;

/// What is to become a variable's value, and where it stands.
struct Written {
    text: String,
    place: Place,
}

/// The values, or every mistake in them.
pub(super) struct Variables {
    pub values: BTreeMap<String, String>,
    pub listed: Vec<Variable>,
    pub sensitive: Vec<String>,
    pub warnings: Vec<Fault>,
}

struct Resolver<'a> {
    written: BTreeMap<String, Written>,
    setting: Arc<Setting>,
    world: &'a dyn World,
    template: &'a Arc<Source>,
    sensitive: &'a [(String, Span)],
    done: Mutex<BTreeMap<String, String>>,
    /// The variables being worked out, the outermost first.
    active: Mutex<Vec<String>>,
}

/// Works out the variables of a template. Where some are sensitive, no fault shows what files of variables hold.
pub(super) fn resolve(
    raw: &Raw,
    source: &Arc<Source>,
    given: &Given,
    setting: &Arc<Setting>,
    world: &dyn World,
) -> Result<Variables, Vec<Fault>> {
    let resolved = resolved(raw, source, given, setting, world);
    if raw.sensitive.is_empty() {
        return resolved;
    }
    let names: Vec<&str> = raw.variables.iter().map(|variable| variable.name.as_str()).collect();
    match resolved {
        Ok(mut variables) => {
            hidden::hide(&mut variables.warnings, &given.var_files, &names);
            Ok(variables)
        }
        Err(mut faults) => {
            hidden::hide(&mut faults, &given.var_files, &names);
            Err(faults)
        }
    }
}

fn resolved(
    raw: &Raw,
    source: &Arc<Source>,
    given: &Given,
    setting: &Arc<Setting>,
    world: &dyn World,
) -> Result<Variables, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let mut written = BTreeMap::new();
    for variable in &raw.variables {
        if let Some(text) = &variable.default {
            let place = Place::new(source, variable.value_span);
            written.insert(variable.name.clone(), Written { text: text.clone(), place });
        }
    }
    for (name, one) in given_values(given, &mut faults) {
        if !raw.variables.iter().any(|variable| variable.name == name) {
            warnings.push(nobody_declares(&name, &one, raw));
            continue;
        }
        written.insert(name, one);
    }
    for variable in &raw.variables {
        if !written.contains_key(&variable.name) {
            let fault = Place::new(source, variable.span)
                .error("MissingVariable", format!("the variable `{}` must be given", variable.name));
            faults.push(fault.hint(format!("with -var '{}=…' or in a -var-file", variable.name)));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let setting = Arc::clone(setting);
    let sensitive = raw.sensitive.as_slice();
    let resolver = Resolver {
        written,
        setting,
        world,
        template: source,
        sensitive,
        done: Mutex::default(),
        active: Mutex::default(),
    };
    for variable in &raw.variables {
        if let Err(fault) = resolver.value(&variable.name) {
            faults.push(fault);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let values = resolver.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let secret = |name: &str| raw.sensitive.iter().any(|(sensitive, _)| sensitive == name);
    let listed = raw.variables.iter().map(|variable| Variable {
        name: variable.name.clone(),
        description: None,
        value: values.get(&variable.name).cloned(),
        default: variable.default.clone(),
        sensitive: secret(&variable.name),
    });
    let listed = listed.collect();
    let hidden = values.iter().filter(|(name, value)| secret(name) && !value.is_empty());
    let sensitive = hidden.map(|(_, value)| value.clone()).collect();
    Ok(Variables { values, listed, sensitive, warnings })
}

/// That a value is of no variable. One of the command line is not shown: it may be a password under a misspelt name.
fn nobody_declares(name: &str, one: &Written, raw: &Raw) -> Fault {
    let place = match one.place.source.name == COMMAND_LINE {
        true => {
            let text = format!("{name}=…");
            Place { span: Span::new(0, name.len()), source: Arc::new(Source { name: COMMAND_LINE.to_owned(), text }) }
        }
        false => one.place.clone(),
    };
    let warning = place.warning("UndeclaredVariable", format!("the variable `{name}` is not declared by the template"));
    match did_you_mean(name, raw.variables.iter().map(|variable| variable.name.as_str())) {
        Some(meant) => warning.hint(format!("did you mean `{meant}`?")),
        None => warning.hint("it has no effect"),
    }
}

/// What `-var-file` and then `-var` give; later ones replace earlier ones.
fn given_values(given: &Given, faults: &mut Vec<Fault>) -> BTreeMap<String, Written> {
    let mut values = BTreeMap::new();
    for file in &given.var_files {
        let entries = match parse(file) {
            Ok(node) => match node.value {
                Value::Object(entries) => entries,
                other => {
                    let fault =
                        Place::new(file, node.span).error("WrongType", "a file of variables must hold an object");
                    faults.push(fault.label(format!("this is {}", other.noun())));
                    continue;
                }
            },
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        for entry in entries {
            let place = Place::new(file, entry.node.span);
            match entry.node.value {
                Value::String(text) => {
                    values.insert(entry.key, Written { text, place });
                }
                other => {
                    let fault = place.error("WrongType", format!("the variable `{}` must be a text", entry.key));
                    faults.push(fault.label(format!("this is {}", other.noun())));
                }
            }
        }
    }
    for (name, text) in &given.vars {
        // The command line is its own source, so that a caret can point into it.
        let line = format!("{name}={text}");
        let span = Span::new(name.len() + 1, line.len());
        let source = Arc::new(Source { name: COMMAND_LINE.to_owned(), text: line });
        values.insert(name.clone(), Written { text: text.clone(), place: Place { source, span } });
    }
    values
}

impl Resolver<'_> {
    fn value(&self, name: &str) -> Result<String, Fault> {
        let known = self.done.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let (None, Some(written)) = (&known, self.written.get(name)) else { return Ok(known.unwrap_or_default()) };
        self.active.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let value = self.rendered(written).map_err(|fault| self.hidden(name, fault));
        self.active.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let value = value?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn rendered(&self, written: &Written) -> Result<String, Fault> {
        if !written.text.contains("{{") {
            return Ok(written.text.clone());
        }
        let mut functions: Functions<'_> = library(&self.setting, &Arc::default());
        self.add(&mut functions);
        execute(&written.text, &Data::Nil, &functions).map_err(|error| failed(&written.text, &error, &written.place))
    }

    /// A fault that does not show the value of a sensitive variable.
    fn hidden(&self, name: &str, fault: Fault) -> Fault {
        if !self.sensitive.iter().any(|(sensitive, _)| sensitive == name) || Arc::ptr_eq(&fault.source, self.template) {
            return fault;
        }
        let source = Arc::new(Source { name: fault.source.name.clone(), text: String::new() });
        Place { source, span: Span::default() }
            .error("BadAction", format!("the value of the sensitive variable `{name}` cannot be rendered"))
            .hint("`{{` starts an action: write {{`{{`}} for itself")
    }

    /// Adds what only variables may use: `env`, and other variables.
    fn add<'f>(&'f self, functions: &mut Functions<'f>) {
        functions.add("env", |arguments| match arguments {
            // An unset variable is empty, as it is in a shell.
            [Data::String(name)] => Ok(Data::from(self.world.env(name).unwrap_or_default())),
            _ => Err(Failure::new("`env` wants the name of one variable of the environment")),
        });
        functions.add("user", |arguments| {
            let [Data::String(name)] = arguments else {
                return Err(Failure::new("`user` wants the name of one variable"));
            };
            self.mentioned(name)
        });
    }

    fn mentioned(&self, name: &str) -> Result<Data, Failure> {
        if !self.written.contains_key(name) {
            return Err(undeclared(name, self.written.keys().map(String::as_str)));
        }
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(at) = active.iter().position(|active| active == name) {
            let circle: Vec<&str> = active.iter().skip(at).map(String::as_str).chain([name]).collect();
            return Err(Failure::new(format!("variables mention each other in a circle: {}", circle.join(" → "))));
        }
        if active.len() >= MAX_CHAIN {
            return Err(Failure::new(format!("more than {MAX_CHAIN} variables are followed from one to the next")));
        }
        let failed =
            |fault: Fault| Failure::new(format!("the variable `{name}` has no value: {}", fault.diagnostic.message));
        self.value(name).map(Data::from).map_err(failed)
    }
}
