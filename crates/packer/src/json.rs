//! The legacy dialect: a template in JSON, with Go-template actions in its texts.
//!
//! Where Packer is silent Kiln is not: undeclared variables, unknown keys, keys written twice and builders that do not
//! exist are errors with their places. The steps are [`load`]'s: text → `parse` → `raw` (which keys, of what form) →
//! `variables` → `builds` (names, selection, `only`, `except`, `override`).

mod builds;
mod parse;
mod raw;
mod variables;

use std::sync::Arc;

use kiln_spec::source::{Source, Span};

use crate::fault::{Fault, Place};
use crate::hidden;
use crate::inspect::Inspected;
use crate::model::{Dialect, Template};
use crate::render::{Scope, Setting};
use crate::select::Selection;
use crate::world::{Given, World};

/// Reads a template, with the command line applied, and checks every text in it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(source: &Arc<Source>, given: &Given, world: &dyn World) -> Result<Template, Vec<Fault>> {
    let raw = raw::read(source)?;
    let mut faults = Vec::new();
    version(&raw, source, given, &mut faults);
    let setting = Arc::new(setting(source, given, world));
    let variables = variables::resolve(&raw, source, given, &setting, world).map_err(|mut more| {
        faults.append(&mut more);
        std::mem::take(&mut faults)
    })?;
    let selection = Selection::new(&given.only, &given.except).map_err(|message| vec![command_line(&message)])?;
    let outline = raw.outline();
    let setting = Setting { user: Some(variables.values.clone()), ..setting.as_ref().clone() };
    let mut warnings = variables.warnings;
    warnings.extend(raw.warnings.iter().cloned());
    let builds = builds::builds(&raw, source, &setting, &selection, &mut warnings, &mut faults);
    if !faults.is_empty() {
        hidden::mask(&mut faults, &variables.sensitive);
        return Err(faults);
    }
    Ok(Template {
        dialect: Dialect::Json,
        description: raw.description,
        builds,
        variables: variables.listed,
        sensitive: variables.sensitive,
        warnings,
        outline,
    })
}

/// Reads only what a template consists of: variables need no values.
///
/// # Errors
/// Everything that is wrong with its form.
pub fn inspect(source: &Arc<Source>) -> Result<Inspected, Vec<Fault>> {
    let raw = raw::read(source)?;
    let secret = |name: &str| raw.sensitive.iter().any(|(sensitive, _)| sensitive == name);
    let variable = |variable: &raw::RawVariable| crate::model::Variable {
        name: variable.name.clone(),
        description: None,
        value: None,
        default: variable.default.clone(),
        sensitive: secret(&variable.name),
    };
    let variables = raw.variables.iter().map(variable).collect();
    Ok(Inspected { description: raw.description.clone(), variables, outline: raw.outline() })
}

/// What a text gives with the variables of a template, or with none: what `console` answers.
///
/// # Errors
/// What is wrong with the template, its variables or the text.
pub fn console(
    text: &str,
    source: Option<&Arc<Source>>,
    given: &Given,
    world: &dyn World,
) -> Result<String, Vec<Fault>> {
    let nothing = Arc::new(Source { name: "template".to_owned(), text: String::new() });
    let setting = setting(source.unwrap_or(&nothing), given, world);
    let user = declared(source, given, world)?.into_iter().map(|one| (one.name, one.value.unwrap_or_default()));
    let setting = Setting { user: Some(user.collect()), ..setting };
    let line = Arc::new(Source { name: "<console-input>".to_owned(), text: text.to_owned() });
    let place = Place { span: Span::new(0, text.len()), source: line };
    Scope::new(setting).render(text, &[], &place).map_err(|fault| vec![fault])
}

/// The variables of a template and their values, a line each.
///
/// # Errors
/// What is wrong with the template or its variables.
pub fn variables(source: Option<&Arc<Source>>, given: &Given, world: &dyn World) -> Result<String, Vec<Fault>> {
    let line = |one: crate::model::Variable| match one.sensitive {
        true => format!("{}: <sensitive>\n", one.name),
        false => format!("{}: {}\n", one.name, one.value.unwrap_or_default()),
    };
    Ok(declared(source, given, world)?.into_iter().map(line).collect())
}

fn declared(
    source: Option<&Arc<Source>>,
    given: &Given,
    world: &dyn World,
) -> Result<Vec<crate::model::Variable>, Vec<Fault>> {
    let Some(source) = source else { return Ok(Vec::new()) };
    let raw = raw::read(source)?;
    let setting = Arc::new(setting(source, given, world));
    Ok(variables::resolve(&raw, source, given, &setting, world)?.listed)
}

/// An error in what the command line says.
fn command_line(message: &str) -> Fault {
    let source = Arc::new(Source { name: "command line".to_owned(), text: String::new() });
    Place { source, span: Span::default() }.error("BadPattern", message)
}

fn setting(source: &Source, given: &Given, world: &dyn World) -> Setting {
    let working_directory = world.working_directory();
    Setting {
        user: None,
        build_name: String::new(),
        build_type: String::new(),
        template_dir: directory(&source.name, &working_directory),
        working_directory,
        packer_version: given.packer_version.clone(),
        now: world.now(),
        seed: world.random(),
        facts: None,
    }
}

/// The directory of the file `name`, absolute and without `.` and `..`, as text only.
fn directory(name: &str, working: &str) -> String {
    let path = if name.starts_with('/') { name.to_owned() } else { format!("{working}/{name}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.pop();
    format!("/{}", parts.join("/"))
}

/// Whether the template wants a Packer newer than the one Kiln stands for.
fn version(raw: &raw::Raw, source: &Arc<Source>, given: &Given, faults: &mut Vec<Fault>) {
    let Some((wanted, span)) = &raw.min_version else { return };
    let place = Place::new(source, *span);
    match (numbers(wanted), numbers(&given.packer_version)) {
        (None, _) => faults.push(place.error("BadVersion", format!("`{wanted}` is no version: write `1.6.6`"))),
        (Some(wanted_numbers), Some(have)) if wanted_numbers > have => {
            let message =
                format!("the template wants Packer {wanted}, and Kiln does what {} does", given.packer_version);
            faults.push(place.error("VersionTooOld", message));
        }
        _ => {}
    }
}

/// The three numbers of a version; what follows a `-` or `+` does not count.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let version = version.trim().trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = [0; 3];
    let mut parts = version.split('.');
    for number in &mut numbers {
        match parts.next() {
            Some(part) => *number = part.parse().ok()?,
            None => break,
        }
    }
    parts.next().is_none().then_some(numbers).filter(|_| !version.is_empty())
}
