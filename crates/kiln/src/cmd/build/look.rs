//! Looking at a Dockerfile without building it: `--check`, `--call=outline`, `--call=targets`. Text for people; JSON in the
//! shape that buildx gives it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kiln_engine::{EngineError, Session, world};
use kiln_oci::Platform;
use kiln_plan::container::Outline;
use kiln_plan::{Extent, Options, lint};
use kiln_spec::ast::Dockerfile;
use kiln_spec::diag::{self, Diagnostic, did_you_mean};
use kiln_spec::source::{Source, Span};
use serde_json::{Map, Value, json};

use super::Args;
use crate::error::{CliError, printable};
use crate::named;
use crate::table::table;

/// What can be asked instead of building.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
}

const METHODS: [&str; 4] = ["build", "check", "outline", "targets"];

/// A question about a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    method: Method,
    json: bool,
    /// Whether findings leave the exit code alone.
    ignore_status: bool,
}

impl Call {
    /// What the command line asks, if it is not to build.
    pub fn of(args: &Args) -> Result<Option<Call>, CliError> {
        match (&args.check, &args.call) {
            (Some(format), _) => match &**format {
                "false" => Ok(None),
                "text" | "true" => Ok(Some(Call { method: Method::Check, json: false, ignore_status: false })),
                "json" => Ok(Some(Call { method: Method::Check, json: true, ignore_status: false })),
                other => Err(wrong_format("--check", other)),
            },
            (None, Some(spec)) => Call::parse(spec),
            (None, None) => Ok(None),
        }
    }

    fn parse(spec: &str) -> Result<Option<Call>, CliError> {
        let mut fields = spec.split(',');
        let name = fields.next().unwrap_or("");
        let name = name.strip_prefix("method=").unwrap_or(name);
        let method = match name {
            "build" => None,
            "check" | "lint" => Some(Method::Check),
            "outline" => Some(Method::Outline),
            "targets" => Some(Method::Targets),
            other => {
                let error = CliError::usage(format!("--call {spec}: there is no `{other}`"));
                return Err(match did_you_mean(other, METHODS) {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None => error.with_hint(format!("there are: {}", METHODS.join(", "))),
                });
            }
        };
        let (mut json, mut ignore_status) = (false, false);
        for field in fields {
            match field.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "text")) => json = false,
                Some(("format", other)) => return Err(wrong_format(&format!("--call {spec}"), other)),
                Some(("ignorestatus", "true")) => ignore_status = true,
                Some(("ignorestatus", "false")) => ignore_status = false,
                _ => {
                    let error = CliError::usage(format!("--call {spec}: `{field}` is not understood"));
                    return Err(error.with_hint("there are format=json and ignorestatus=true"));
                }
            }
        }
        Ok(method.map(|method| Call { method, json, ignore_status }))
    }
}

fn wrong_format(option: &str, given: &str) -> CliError {
    CliError::usage(format!("{option}: there is no format `{given}`")).with_hint("there are text and json")
}

/// What is looked at.
pub struct Subject<'a> {
    /// The text.
    pub source: &'a Source,
    /// The same, parsed.
    pub file: &'a Dockerfile,
    /// What the parser says of it.
    pub parsed: &'a [Diagnostic],
}

/// What a look came to: what to print, and what to fail with.
pub struct Looked {
    text: String,
    result: Result<(), CliError>,
}

impl Looked {
    /// Prints the answer and gives the result of the verb.
    pub fn tell(self) -> Result<(), CliError> {
        named::print(&self.text)?;
        self.result
    }
}

/// Answers a question about a Dockerfile.
pub fn answer(call: Call, subject: &Subject<'_>, platforms: &[Options], session: &Session) -> Looked {
    match call.method {
        Method::Check => check(call, subject, platforms, session),
        Method::Outline => outline(call, subject, platforms, session),
        Method::Targets => {
            let text = if call.json { targets_json(subject) } else { targets_text(subject.file) };
            let result = match errors(subject.parsed) {
                Some(errors) => Err(in_file(subject, errors)),
                None => Ok(()),
            };
            Looked { text, result }
        }
    }
}

fn errors(found: &[Diagnostic]) -> Option<EngineError> {
    let errors: Vec<Diagnostic> = found.iter().filter(|d| d.is_error()).cloned().collect();
    (!errors.is_empty()).then_some(EngineError::Dockerfile(errors))
}

fn in_file(subject: &Subject<'_>, error: EngineError) -> CliError {
    CliError::InFile { source: Box::new(subject.source.clone()), error: Box::new(error) }
}

/// What was found for all platforms, and why there may be more.
struct Found {
    findings: Vec<Diagnostic>,
    error: Option<EngineError>,
}

fn find(subject: &Subject<'_>, platforms: &[Options], session: &Session) -> Found {
    let mut found = Found { findings: Vec::new(), error: errors(subject.parsed) };
    if found.error.is_some() {
        return found;
    }
    let mut said = BTreeSet::new();
    for options in platforms {
        let (survey, failure) = world::survey(subject.file, options, Extent::All, session);
        let new = survey.findings.into_iter().filter(|d| said.insert((d.code, d.span, d.message.clone())));
        found.findings.extend(new);
        found.error = found.error.or_else(|| errors(&survey.errors)).or(failure);
    }
    found.findings.sort_by_key(|d| d.span.start);
    found
}

fn check(call: Call, subject: &Subject<'_>, platforms: &[Options], session: &Session) -> Looked {
    let Found { findings, error } = find(subject, platforms, session);
    let text = if call.json {
        pretty(&check_json(subject, &findings, error.as_ref()))
    } else {
        check_text(subject.source, &findings, error.is_some())
    };
    let result = match error {
        Some(error) => Err(in_file(subject, error)),
        None if findings.is_empty() || call.ignore_status => Ok(()),
        None => Err(CliError::Found),
    };
    Looked { text, result }
}

fn check_text(source: &Source, findings: &[Diagnostic], incomplete: bool) -> String {
    let head = match findings.len() {
        0 if incomplete => return String::new(),
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "1 warning has been found!".to_owned(),
        n => format!("{n} warnings have been found!"),
    };
    let state = if incomplete { "Check incomplete" } else { "Check complete" };
    let mut out = format!("{state}, {head}\n");
    for finding in findings {
        out += &format!("\n{}", diag::render(&finding.clone().named(), source, false));
    }
    let rule = findings.iter().map(|d| d.code).find(|code| lint::rule(code).is_some());
    out + &rule.map(|rule| format!("\nMore about a rule: kiln explain {rule}\n")).unwrap_or_default()
}

fn check_json(subject: &Subject<'_>, findings: &[Diagnostic], error: Option<&EngineError>) -> Value {
    let warning = |d: &Diagnostic| {
        let mut object = Map::new();
        object.insert("ruleName".to_owned(), json!(d.code));
        if let Some(rule) = lint::rule(d.code) {
            object.insert("description".to_owned(), json!(rule.line));
        }
        object.insert("detail".to_owned(), json!(d.message));
        object.insert("location".to_owned(), location(subject, d.span));
        Value::Object(object)
    };
    let mut out = json!({
        "warnings": findings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{
            "filename": subject.source.name,
            "language": "Dockerfile",
            "data": BASE64.encode(&subject.source.text),
        }],
    });
    if let Some(error) = error {
        let (message, span) = match error {
            EngineError::Dockerfile(list) => {
                let texts: Vec<&str> = list.iter().map(|d| &*d.message).collect();
                (texts.join("; "), list.first().map(|d| d.span))
            }
            EngineError::Base { span, .. } | EngineError::Step { span, .. } => {
                (kiln_engine::rootfs::chain_text(error), Some(*span))
            }
            other => (kiln_engine::rootfs::chain_text(other), None),
        };
        let ranges = span.map_or(json!({}), |span| location(subject, span));
        out["buildError"] = json!({ "message": message, "location": ranges });
    }
    out
}

/// The lines of the instruction around a place, as BuildKit writes places.
fn location(subject: &Subject<'_>, span: Span) -> Value {
    let around = subject.file.around(span);
    let line = |at: usize| subject.source.position(at).0;
    // A finding outside any instruction, such as a comment, has its own line.
    let (start, end) = (line(around.start), line(around.end.max(around.start + 1) - 1));
    json!({ "ranges": [{ "start": { "line": start }, "end": { "line": end } }] })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn outline(call: Call, subject: &Subject<'_>, platforms: &[Options], session: &Session) -> Looked {
    if let Some(error) = errors(subject.parsed) {
        return Looked { text: String::new(), result: Err(in_file(subject, error)) };
    }
    // What a build takes does not depend on the platform.
    let Some(options) = platforms.first() else { return Looked { text: String::new(), result: Ok(()) } };
    let (survey, failure) = world::survey(subject.file, options, Extent::Target, session);
    if let Some(error) = errors(&survey.errors).or(failure) {
        return Looked { text: String::new(), result: Err(in_file(subject, error)) };
    }
    let text = match call.json {
        true => pretty(&outline_json(subject, &survey.outline)),
        false => outline_text(&survey.outline),
    };
    Looked { text, result: Ok(()) }
}

fn outline_text(outline: &Outline) -> String {
    let cell = |text: &Option<String>| line_of(text.as_deref().unwrap_or(""));
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        match &outline.description {
            Some(text) => out += &format!("TARGET:      {}\nDESCRIPTION: {}\n\n", line_of(name), line_of(text)),
            None => out += &format!("TARGET: {}\n\n", line_of(name)),
        }
    }
    let mut section = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            out += &(table(head, &rows) + "\n");
        }
    };
    let args = outline.args.iter().map(|arg| vec![line_of(&arg.name), cell(&arg.value), cell(&arg.description)]);
    section(&["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect());
    let needed = |list: &[kiln_plan::container::Needed]| {
        let required = |yes: bool| if yes { "true".to_owned() } else { String::new() };
        list.iter().map(|one| vec![line_of(&one.id), required(one.required)]).collect()
    };
    section(&["SECRET", "REQUIRED"], needed(&outline.secrets));
    section(&["SSH", "REQUIRED"], needed(&outline.ssh));
    section(&["CACHE"], outline.caches.iter().map(|cache| vec![line_of(&cache.id)]).collect());
    out
}

/// One line, with nothing in it that a terminal would obey.
fn line_of(text: &str) -> String {
    printable(&text.replace('\n', " "))
}

/// An object without what is empty.
fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let kept = fields.into_iter().filter(|(_, value)| !empty(value));
    Value::Object(kept.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn outline_json(subject: &Subject<'_>, outline: &Outline) -> Value {
    let needed = |list: &[kiln_plan::container::Needed]| -> Vec<Value> {
        let one = |one: &kiln_plan::container::Needed| {
            object([
                ("name", json!(one.id)),
                ("required", json!(one.required)),
                ("location", location(subject, one.span)),
            ])
        };
        list.iter().map(one).collect()
    };
    let args = outline.args.iter().map(|arg| {
        object([
            ("name", json!(arg.name)),
            ("description", json!(arg.description)),
            ("value", json!(arg.value)),
            ("location", location(subject, arg.span)),
        ])
    });
    let caches =
        outline.caches.iter().map(|cache| json!({ "ID": cache.id, "location": location(subject, cache.span) }));
    object([
        ("name", json!(outline.name)),
        ("description", json!(outline.description)),
        ("args", args.collect()),
        ("secrets", json!(needed(&outline.secrets))),
        ("ssh", json!(needed(&outline.ssh))),
        ("cache", caches.collect()),
        ("sources", json!([BASE64.encode(&subject.source.text)])),
    ])
}

/// The stages of a file. One without a name is chosen by its number.
fn targets_text(file: &Dockerfile) -> String {
    let last = file.stages.len().saturating_sub(1);
    let row = |(index, stage): (usize, &kiln_spec::ast::Stage)| {
        let name = match (&stage.name, index == last) {
            (Some(name), true) => format!("{} (default)", name.text),
            (Some(name), false) => name.text.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => index.to_string(),
        };
        vec![line_of(&name), line_of(stage.description().unwrap_or(""))]
    };
    table(&["TARGET", "DESCRIPTION"], &file.stages.iter().enumerate().map(row).collect::<Vec<_>>())
}

fn targets_json(subject: &Subject<'_>) -> String {
    let last = subject.file.stages.len().saturating_sub(1);
    let stages = subject.file.stages.iter().enumerate().map(|(index, stage)| {
        object([
            ("name", json!(stage.name.as_ref().map(|name| &name.text))),
            ("default", json!(index == last)),
            ("description", json!(stage.description())),
            ("base", json!(stage.base.text)),
            ("platform", json!(stage.platform.as_ref().map(|platform| &platform.text))),
            ("location", location(subject, stage.span)),
        ])
    });
    pretty(&json!({ "targets": stages.collect::<Vec<_>>(), "sources": [BASE64.encode(&subject.source.text)] }))
}

/// The options of each platform.
pub fn for_platforms(options: &Options, platforms: &[Platform]) -> Vec<Options> {
    let several_platforms = platforms.len() > 1;
    let one = |platform: &Platform| Options { platform: platform.clone(), several_platforms, ..options.clone() };
    platforms.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let call = |method, json, ignore_status| Call { method, json, ignore_status };
        assert_eq!(Call::parse("check").unwrap(), Some(call(Method::Check, false, false)));
        assert_eq!(Call::parse("method=lint,format=json").unwrap(), Some(call(Method::Check, true, false)));
        assert_eq!(Call::parse("check,ignorestatus=true").unwrap(), Some(call(Method::Check, false, true)));
        assert_eq!(Call::parse("targets,format=text").unwrap(), Some(call(Method::Targets, false, false)));
        assert_eq!(Call::parse("build").unwrap(), None);
        for (bad, said) in [
            ("outlin", "did you mean `outline`?"),
            ("", "there are: build"),
            ("check,format=yaml", "there is no format `yaml`"),
            ("check,json", "`json` is not understood"),
        ] {
            let error = Call::parse(bad).unwrap_err().render(false);
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
