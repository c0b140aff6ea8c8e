//! `RUN --mount=type=cache,target=/x`

use super::file::Context;
use super::traced::Traced;
use crate::ast::{Mount, MountKind};
use crate::diag::Diagnostic;
use crate::size;
use crate::source::{Span, Word};

/// The types, by name.
const TYPES: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
    ("tmpfs", MountKind::Tmpfs),
];

/// An option, its other names, and the types that have it.
struct Known {
    name: &'static str,
    aliases: &'static [&'static str],
    types: &'static [MountKind],
}

/// Which type has which option.
const OPTIONS: [Known; 13] = {
    use MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
    const ALL: &[MountKind] = &[Bind, Cache, Secret, Ssh, Tmpfs];
    const OWNED: &[MountKind] = &[Cache, Secret, Ssh];
    [
        Known { name: "type", aliases: &[], types: ALL },
        Known { name: "target", aliases: &["dst", "destination"], types: ALL },
        Known { name: "readonly", aliases: &["ro"], types: ALL },
        Known { name: "readwrite", aliases: &["rw"], types: ALL },
        Known { name: "source", aliases: &["src"], types: &[Bind, Cache, Secret] },
        Known { name: "from", aliases: &[], types: &[Bind, Cache] },
        Known { name: "id", aliases: &[], types: OWNED },
        Known { name: "sharing", aliases: &[], types: &[Cache] },
        Known { name: "required", aliases: &[], types: &[Secret, Ssh] },
        Known { name: "env", aliases: &[], types: &[Secret] },
        Known { name: "mode", aliases: &[], types: OWNED },
        Known { name: "uid", aliases: &[], types: OWNED },
        Known { name: "gid", aliases: &[], types: OWNED },
    ]
};
const SIZE: Known = Known { name: "size", aliases: &[], types: &[MountKind::Tmpfs] };

/// One `key` or `key=value`.
struct Field {
    known: &'static Known,
    /// The key as typed.
    key: Word,
    value: Option<Word>,
}

/// Parses the value of a `--mount`; `None` when it makes no sense, which has been reported.
pub(super) fn parse(value: &Traced, context: &mut Context<'_>) -> Option<Mount> {
    let whole = value.whole().span;
    let fields = match csv(value) {
        Ok(fields) => fields,
        Err((problem, at)) => {
            let span = value.span(at..value.text.len().min(at + 1));
            context.sink.push(Diagnostic::error("InvalidMount", span, problem));
            return None;
        }
    };
    let fields: Option<Vec<Field>> = fields.iter().map(|text| field(text, context)).collect();
    let fields = fields?;
    let kind = kind(&fields, context)?;
    let mut mount = empty(kind, whole);
    let mut good = true;
    for field in fields {
        if !field.known.types.contains(&kind) {
            context.sink.push(not_for(&field, kind));
            good = false;
        } else if let Err(diagnostic) = set(&mut mount, field) {
            context.sink.push(*diagnostic);
            good = false;
        }
    }
    if good && kind == MountKind::Secret {
        good = check_secret(&mount, context);
    }
    good.then_some(mount)
}

fn empty(kind: MountKind, span: Span) -> Mount {
    Mount {
        kind,
        span,
        id: None,
        target: None,
        source: None,
        from: None,
        env: None,
        sharing: None,
        required: None,
        readonly: None,
        mode: None,
        uid: None,
        gid: None,
        size: None,
    }
}

fn type_name(kind: MountKind) -> &'static str {
    TYPES.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// Splits a field at its `=` and looks its key up.
fn field(text: &Traced, context: &mut Context<'_>) -> Option<Field> {
    let split = text.text.find('=');
    let key = text.word(0..split.unwrap_or(text.text.len()));
    let lower = key.text.to_lowercase();
    let all = || OPTIONS.iter().chain([&SIZE]);
    let Some(known) = all().find(|known| known.name == lower || known.aliases.contains(&lower.as_str())) else {
        let message = format!("`--mount` has no option `{}`", key.text);
        let names = all().flat_map(|known| [known.name].into_iter().chain(known.aliases.iter().copied()));
        context.sink.push(Diagnostic::error("InvalidMount", key.span, message).suggest(&lower, names));
        return None;
    };
    let value = split.map(|equals| text.word(equals + 1..text.text.len()));
    if value.is_none() && !["readonly", "readwrite", "required"].contains(&known.name) {
        let message = format!("`{}` of `--mount` needs a value", key.text);
        context.sink.push(Diagnostic::error("InvalidMount", key.span, message).hint(format!("write `{lower}=…`")));
        return None;
    }
    Some(Field { known, key, value })
}

/// The type, wherever it stands.
fn kind(fields: &[Field], context: &mut Context<'_>) -> Option<MountKind> {
    let mut kind = MountKind::Bind;
    for field in fields.iter().filter(|field| field.known.name == "type") {
        let Some(value) = &field.value else { continue };
        match TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&value.text)) {
            Some(&(_, known)) => kind = known,
            None => {
                let message = format!("unknown mount type `{}`", value.text);
                let diagnostic = Diagnostic::error("InvalidMount", value.span, message);
                let diagnostic = if value.text.contains('$') {
                    diagnostic.note("the type cannot be a variable")
                } else {
                    diagnostic.note("there are: bind, cache, secret, ssh, tmpfs")
                };
                context.sink.push(diagnostic.suggest(&value.text, TYPES.iter().map(|(name, _)| *name)));
                return None;
            }
        }
    }
    Some(kind)
}

fn not_for(field: &Field, kind: MountKind) -> Diagnostic {
    let having: Vec<&str> = field.known.types.iter().map(|kind| type_name(*kind)).collect();
    let message = format!("a mount of type {} has no option `{}`", type_name(kind), field.key.text);
    Diagnostic::error("InvalidMount", field.key.span, message).note(format!("it belongs to: {}", having.join(", ")))
}

/// Puts a value into its place, checked as far as it holds no variables.
fn set(mount: &mut Mount, field: Field) -> Result<(), Box<Diagnostic>> {
    let name = field.known.name;
    let key_span = field.key.span;
    if name == "readonly" || name == "readwrite" {
        let on = field.value.as_ref().map_or(Ok(true), |value| boolean(&field.key, value))?;
        mount.readonly = Some(on == (name == "readonly"));
        return Ok(());
    }
    let value = field.value.unwrap_or(Word { text: "true".to_owned(), span: key_span });
    let variable = value.text.contains('$');
    if !variable {
        check(name, &field.key, &value)?;
    } else if name == "from" {
        let message = "`from` of `--mount` cannot hold a variable";
        let hint = "name a stage with it, `FROM $image AS name`, and mount from that";
        return Err(Box::new(Diagnostic::error("InvalidMount", value.span, message).hint(hint)));
    }
    let place = match name {
        "target" => &mut mount.target,
        "source" => &mut mount.source,
        "from" => &mut mount.from,
        "id" => &mut mount.id,
        "sharing" => &mut mount.sharing,
        "required" => &mut mount.required,
        "env" => &mut mount.env,
        "mode" => &mut mount.mode,
        "uid" => &mut mount.uid,
        "gid" => &mut mount.gid,
        "size" => &mut mount.size,
        _ => return Ok(()),
    };
    *place = Some(value).filter(|value| !value.text.is_empty());
    Ok(())
}

/// Checks a value without variables.
fn check(name: &str, key: &Word, value: &Word) -> Result<(), Box<Diagnostic>> {
    let text = value.text.as_str();
    let good = match name {
        "required" => return boolean(key, value).map(|_| ()),
        "sharing" => ["shared", "private", "locked"].iter().any(|mode| mode.eq_ignore_ascii_case(text)),
        "mode" => !text.starts_with('+') && u32::from_str_radix(text, 8).is_ok(),
        "uid" | "gid" => !text.starts_with('+') && text.parse::<u32>().is_ok(),
        "size" => size::parse(text).is_ok(),
        _ => true,
    };
    if good {
        return Ok(());
    }
    let expected = match name {
        "sharing" => "shared, private or locked",
        "mode" => "an octal number",
        "size" => "a size such as 64m",
        _ => "a number",
    };
    let message = format!("`{}` of `--mount` is {expected}, not `{text}`", key.text);
    let diagnostic = Diagnostic::error("InvalidMount", value.span, message);
    Err(Box::new(if name == "sharing" {
        diagnostic.suggest(text, ["shared", "private", "locked"])
    } else {
        diagnostic
    }))
}

/// A boolean as Go reads it.
fn boolean(key: &Word, value: &Word) -> Result<bool, Box<Diagnostic>> {
    match value.text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => {
            let message = format!("`{}` of `--mount` is true or false, not `{text}`", key.text);
            Err(Box::new(Diagnostic::error("InvalidMount", value.span, message)))
        }
    }
}

fn check_secret(mount: &Mount, context: &mut Context<'_>) -> bool {
    let problem = if mount.id.is_some() && mount.source.is_some() {
        "a secret has an `id` or a `source`, not both"
    } else if mount.id.is_none() && mount.source.is_none() && mount.target.is_none() {
        "a secret needs an `id` or a `target`"
    } else {
        return true;
    };
    context.sink.push(Diagnostic::error("InvalidMount", mount.span, problem));
    false
}

/// Splits a value at commas, as a line of CSV: `a,"b,""c"""`.
fn csv(value: &Traced) -> Result<Vec<Traced>, (&'static str, usize)> {
    let text = &value.text;
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if text[at..].starts_with('"') {
            let (field, end) = quoted(value, at)?;
            fields.push(field);
            at = end;
        } else {
            let end = text[at..].find(',').map_or(text.len(), |comma| at + comma);
            if let Some(quote) = text[at..end].find('"') {
                return Err(("a quote inside an option that does not start with one", at + quote));
            }
            fields.push(value.slice(at..end));
            at = end;
        }
        if at == text.len() {
            return Ok(fields);
        }
        if !text[at..].starts_with(',') {
            return Err(("a comma is missing behind a quoted option", at));
        }
        at += 1;
    }
}

/// A quoted field, and where it ends.
fn quoted(value: &Traced, start: usize) -> Result<(Traced, usize), (&'static str, usize)> {
    let text = &value.text;
    let mut field = Traced::default();
    let mut at = start + 1;
    loop {
        let Some(length) = text[at..].find('"') else { return Err(("a quote is not closed", start)) };
        field.push(&text[at..at + length], value.origin(at));
        at += length + 1;
        if !text[at..].starts_with('"') {
            return Ok((field, at));
        }
        field.push("\"", value.origin(at));
        at += 1;
    }
}
