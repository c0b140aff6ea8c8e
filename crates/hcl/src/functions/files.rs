//! Files and paths.

use kiln_spec::glob::Pattern;

use super::encodings::base64;
use super::{FunctionError, Outcome, Row, argument_error, call_error, text};
use crate::types::Type;
use crate::value::Value;
use crate::world::World;

/// The largest file that is read, in bytes.
const MAX_FILE: usize = 16 << 20;
/// How many files `fileset` looks at.
const MAX_FILES: usize = 100_000;

pub(super) const TABLE: &[Row] = &[
    ("abspath", 1, 1, |args, world| Ok(absolute(&text(args, 0)?, world).into())),
    ("basename", 1, 1, |args, _| Ok(base(&text(args, 0)?).into())),
    ("dirname", 1, 1, |args, _| Ok(directory(&text(args, 0)?).into())),
    ("file", 1, 1, |args, world| Ok(read_text(world, &text(args, 0)?)?.into())),
    ("filebase64", 1, 1, |args, world| Ok(base64(&read(world, &text(args, 0)?)?).into())),
    ("fileexists", 1, 1, |args, world| {
        let path = expanded(&text(args, 0)?, world)?;
        world.is_file(&path).map(Value::from).or_else(call_error)
    }),
    ("fileset", 2, 2, |args, world| fileset(args, world)),
    ("pathexpand", 1, 1, |args, world| Ok(expanded(&text(args, 0)?, world)?.into())),
    ("templatefile", 2, 2, |_, _| call_error("it is evaluated elsewhere")),
];

fn read(world: &dyn World, path: &str) -> Result<Vec<u8>, FunctionError> {
    let path = expanded(path, world)?;
    world.read(&path, MAX_FILE).or_else(|reason| argument_error(0, reason))
}

pub(super) fn read_text(world: &dyn World, path: &str) -> Result<String, FunctionError> {
    let bytes = read(world, path)?;
    let not_utf8 = |_| argument_error(0, format!("`{path}` is not UTF-8; read it with `filebase64`"));
    String::from_utf8(bytes).or_else(not_utf8)
}

/// `~` at the beginning is the home directory.
fn expanded(path: &str, world: &dyn World) -> Result<String, FunctionError> {
    let rest = match path.strip_prefix('~') {
        None => return Ok(path.to_owned()),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        Some(_) => return argument_error(0, "the home directories of other users are not known"),
    };
    match world.home() {
        Some(home) => Ok(clean(&format!("{home}/{rest}"))),
        None => argument_error(0, "there is no home directory for `~`"),
    }
}

fn absolute(path: &str, world: &dyn World) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{}/{path}", world.working_directory())) }
}

/// Without `.`, `..` and double slashes, as far as the text alone tells.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|&last| last != "..") => drop(names.pop()),
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    match (rooted, names.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed) {
        (true, _) => ".",
        (false, "") => "/",
        (false, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn directory(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

fn fileset(args: &[Value], world: &dyn World) -> Outcome {
    let (root, pattern) = (expanded(&text(args, 0)?, world)?, text(args, 1)?);
    let patterns: Vec<Pattern> = alternatives(&pattern)
        .iter()
        .map(|pattern| Pattern::with_globstar(pattern).or_else(|error| argument_error(1, error.to_string())))
        .collect::<Result<_, _>>()?;
    let files = world.files(&root, MAX_FILES).or_else(|reason| argument_error(0, reason))?;
    let matching = files.into_iter().filter(|file| patterns.iter().any(|pattern| pattern.matches(file)));
    Ok(Value::set(Type::String, matching.map(Value::from).collect()))
}

/// `{a,b}` written out: at most a hundred patterns.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        let group = pattern.find('{').and_then(|from| Some((from, from + pattern[from..].find('}')?)));
        match group {
            Some((from, to)) if done.len() + open.len() < 100 => {
                let choices = pattern[from + 1..to].split(',');
                open.extend(choices.map(|choice| format!("{}{choice}{}", &pattern[..from], &pattern[to + 1..])));
            }
            _ => done.push(pattern),
        }
    }
    done
}
