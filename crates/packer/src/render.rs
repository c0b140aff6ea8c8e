//! Actions in texts: `{{user "region"}}`, `{{timestamp}}`, `{{.Path}}`.
//!
//! Packer renders an undeclared variable as empty text and a failing action as itself; here both are errors with their
//! places. Secrets stores (`consul_key`, `vault`, `aws_secretsmanager`) are errors that name them.

mod functions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kiln_gotmpl::{Error, Functions, Limits, Missing, Object, Options, Value as Data};
use kiln_spec::source::{Source, Span};

use crate::config::{Entry, Node, Value};
use crate::fault::{Fault, Place};
use crate::model::BuildFacts;

pub(crate) use functions::{library, undeclared, variables};

/// How much one text may grow to, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// What the functions of a text answer from.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The variables that `user` gives; none in HCL2, which has no such function.
    pub user: Option<BTreeMap<String, String>>,
    /// What `build_name` gives.
    pub build_name: String,
    /// What `build_type` gives.
    pub build_type: String,
    /// What `template_dir` gives: the directory of the template, absolute.
    pub template_dir: String,
    /// What `pwd` gives.
    pub working_directory: String,
    /// What `packer_version` gives.
    pub packer_version: String,
    /// Seconds since 1970, for `timestamp`, `isotime` and `strftime`.
    pub now: i64,
    /// What `uuid` is made from.
    pub seed: u128,
    /// What `build` gives; none where no machine exists.
    pub facts: Option<BuildFacts>,
}

/// The functions that texts of one build are rendered with.
pub struct Scope {
    setting: Arc<Setting>,
    /// How many identifiers `uuid` made.
    count: Arc<AtomicU64>,
    functions: Functions<'static>,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables may be secret.
        f.debug_struct("Scope").field("build_name", &self.setting.build_name).finish_non_exhaustive()
    }
}

/// Stands for whatever a builder or provisioner will supply: every field exists and is empty.
struct Anything;

impl Object for Anything {
    fn field(&self, _name: &str) -> Option<Data> {
        Some(Data::object(Anything))
    }

    fn print(&self) -> String {
        String::new()
    }
}

impl Scope {
    /// A scope that answers from `setting`.
    pub fn new(setting: Setting) -> Arc<Scope> {
        Scope::counting(Arc::new(setting), Arc::default())
    }

    fn counting(setting: Arc<Setting>, count: Arc<AtomicU64>) -> Arc<Scope> {
        let mut functions = library(&setting, &count);
        if setting.user.is_some() {
            variables(&mut functions, &setting);
        }
        Arc::new(Scope { setting, count, functions })
    }

    /// What it answers from.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The same with the facts of a running build.
    pub fn with_facts(&self, facts: &BuildFacts) -> Arc<Scope> {
        let setting = Setting { facts: Some(facts.clone()), ..self.setting.as_ref().clone() };
        Scope::counting(Arc::new(setting), Arc::clone(&self.count))
    }

    /// Executes the actions of `text`, which stands at `place`; `data` is what `.Name` gives.
    ///
    /// # Errors
    /// When an action is malformed or fails.
    pub fn render(&self, text: &str, data: &[(&str, &str)], place: &Place) -> Result<String, Fault> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let data = Data::dict(data.iter().map(|&(name, value)| (name.to_owned(), Data::from(value))));
        execute(text, &data, &self.functions).map_err(|error| failed(text, &error, place))
    }

    /// `node` with every text in it rendered.
    ///
    /// # Errors
    /// When one cannot be.
    pub fn node(&self, node: &Node, source: &Arc<Source>) -> Result<Node, Fault> {
        let value = match &node.value {
            Value::String(text) => Value::String(self.render(text, &[], &Place::new(source, node.span))?),
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.node(item, source)).collect::<Result<_, _>>()?)
            }
            Value::Object(entries) => {
                let entry = |entry: &Entry| Ok(Entry { node: self.node(&entry.node, source)?, ..entry.clone() });
                Value::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        };
        Ok(Node { value, span: node.span })
    }

    /// Adds to `faults` what is wrong with the texts in `node`, whatever is supplied to them later.
    pub(crate) fn check(&self, node: &Node, source: &Arc<Source>, faults: &mut Vec<Fault>) {
        match &node.value {
            Value::String(text) if text.contains("{{") => {
                let executed = execute(text, &Data::object(Anything), &self.functions);
                if let Err(error) = executed.map(drop).or_else(|error| if error.is_about_data() { Ok(()) } else { Err(error) }) {
                    faults.push(failed(text, &error, &Place::new(source, node.span)));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.check(item, source, faults)),
            Value::Object(entries) => entries.iter().for_each(|entry| self.check(&entry.node, source, faults)),
            _ => {}
        }
    }
}

/// A text whose actions are executed later, when more is known.
#[derive(Debug, Clone)]
pub struct Text {
    template: String,
    place: Place,
    scope: Arc<Scope>,
}

impl Text {
    /// The text `template`, which stands at `place`.
    pub fn new(template: impl Into<String>, place: Place, scope: &Arc<Scope>) -> Text {
        Text { template: template.into(), place, scope: Arc::clone(scope) }
    }

    /// As written.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Executes its actions; `data` is what `.Name` gives.
    ///
    /// # Errors
    /// When an action is malformed or fails, or a name is not in `data`.
    pub fn render(&self, data: &[(&str, &str)]) -> Result<String, Fault> {
        self.scope.render(&self.template, data, &self.place)
    }
}

/// Executes a text's actions.
pub(crate) fn execute(text: &str, data: &Data, functions: &Functions<'_>) -> Result<String, Error> {
    let limits = Limits { output: MAX_OUTPUT, ..Limits::default() };
    kiln_gotmpl::render(text, data, functions, &Options { missing: Missing::Error, limits, ..Options::default() })
}

/// What went wrong in a text that stands at `place`: where that can be told, the caret is below the action.
pub(crate) fn failed(text: &str, error: &Error, place: &Place) -> Fault {
    let span = within(place, text, error.start(), error.end()).unwrap_or(place.span);
    let fault = Place::new(&place.source, span).error("BadAction", error.reason().to_string());
    match error.hint() {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

/// The place of bytes `start..end` of a text that a quoted literal at `place` stands for. None when it is not written as
/// a plain JSON string.
fn within(place: &Place, text: &str, start: usize, end: usize) -> Option<Span> {
    let written = place.source.text.get(place.span.start..place.span.end)?.strip_prefix('"')?;
    let (mut at, mut done) = (0, 0);
    let (mut from, mut to) = (None, None);
    for c in text.chars() {
        if done >= start && from.is_none() {
            from = Some(at);
        }
        if done >= end && to.is_none() {
            to = Some(at);
        }
        let rest = written.get(at..)?;
        at += match rest.strip_prefix('\\') {
            Some(escaped) if escaped.starts_with('u') => 6 * c.len_utf16(),
            Some(_) => 2,
            None if rest.starts_with(c) => c.len_utf8(),
            None => return None,
        };
        done += c.len_utf8();
    }
    let base = place.span.start + 1;
    Some(Span::new(base + from.unwrap_or(at), base + to.unwrap_or(at)))
}
