//! Documents of kind Config: what to change in files of the rootfs.

use super::cursor::{At, Cursor, Fields, printable};
use super::span_of;
use crate::model::{Config, Process, Said, Strategy};

const SPEC: Fields =
    Fields { names: &["path", "data", "strategy", "process", "appName", "match"], old: &[], refused: &[] };

/// Steps that data may go through.
const MAX_STEPS: usize = 16;

/// Reads one, whose name is known.
pub fn config(cursor: &mut Cursor, root: &At<'_>, name: Said<String>) -> Option<Config> {
    let Some(at) = cursor.inner(root, "spec", &SPEC) else {
        cursor.error("NoSpec", root.span, format!("the Config `{}` has no `spec`", printable(&name.value)));
        return None;
    };
    let path = cursor.parsed(&at, "path", "BadPath", relative);
    let data = cursor.text(&at, "data");
    for (field, there) in [("path", at.get("path").is_some()), ("data", at.get("data").is_some())] {
        if !there {
            cursor.error("NoField", at.span, format!("the Config `{}` has no `{field}`", printable(&name.value)));
        }
    }
    let strategy = cursor.parsed(&at, "strategy", "UnknownStrategy", strategy);
    let process = steps(cursor, &at);
    let app = cursor.text(&at, "appName");
    let image = cursor.text(&at, "match").and_then(|image| cursor.image(image));
    let strategy = strategy.unwrap_or_else(|| Said::default_of(Strategy::Overwrite));
    Some(Config { name, path: path?, strategy, process, data: data?, app, image })
}

/// A path inside of the rootfs.
fn relative(path: &str) -> Result<String, String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let wrong = path.is_empty()
        || path.starts_with('/')
        || path.ends_with('/')
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if wrong {
        return Err(format!(
            "`{}` is no path of a file inside of the rootfs, such as etc/kubeadm.yml",
            printable(path)
        ));
    }
    Ok(path.to_owned())
}

fn strategy(word: &str) -> Result<Strategy, String> {
    match word {
        "merge" => Ok(Strategy::Merge),
        "overwrite" | "override" => Ok(Strategy::Overwrite),
        "insert" => Ok(Strategy::Insert),
        "append" => Ok(Strategy::Append),
        other => Err(format!("`{}` is no strategy: merge, overwrite, insert and append are", printable(other))),
    }
}

/// `value|toJson|toBase64`
fn steps(cursor: &mut Cursor, at: &At<'_>) -> Vec<Said<Process>> {
    let Some(said) = cursor.text(at, "process") else { return Vec::new() };
    let mut steps = Vec::new();
    for word in said.value.split('|').take(MAX_STEPS + 1) {
        let step = match word.trim() {
            "value" => Process::Value,
            "toJson" => Process::ToJson,
            "toBase64" => Process::ToBase64,
            "toSecret" => Process::ToSecret,
            other => {
                let span = span_of(&said.origin);
                let message = format!("`{}` is no step of `process`", printable(other));
                let names = ["value", "toJson", "toBase64", "toSecret"];
                let diagnostic = kiln_spec::diag::Diagnostic::error("UnknownStep", span, message);
                cursor.push(diagnostic.suggest(other, names));
                continue;
            }
        };
        steps.push(Said::new(step, said.origin.clone()));
    }
    if steps.len() > MAX_STEPS {
        cursor.error("TooLarge", span_of(&said.origin), format!("more than {MAX_STEPS} steps"));
    }
    let misplaced = steps.iter().rev().skip(1).any(|step| step.value == Process::ToSecret)
        || steps.last().is_some_and(|step| step.value == Process::Value);
    if misplaced {
        let message = "`toSecret` is the last step, and `value` is not: it is about the steps behind it";
        cursor.error("BadProcess", span_of(&said.origin), message);
    }
    steps
}
