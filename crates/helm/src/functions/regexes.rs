//! Regular expressions in Go's syntax: `\d`, `\w`, `\s` and `\b` are ASCII there, and brackets in brackets are plain.

use kiln_gotmpl::{Failure, Value};
use regex::{NoExpand, Regex, RegexBuilder};

use super::arguments::{exact, int, text};
use super::{MAX_TEXT, Table, too_long};

pub(crate) const TABLE: Table = &[
    ("regexMatch", |a| Ok(matches(a).unwrap_or(false).into())),
    ("mustRegexMatch", |a| matches(a).map(Value::Bool)),
    ("regexFind", find),
    ("mustRegexFind", find),
    ("regexFindAll", find_all),
    ("mustRegexFindAll", find_all),
    ("regexReplaceAll", |a| replace(a, false)),
    ("mustRegexReplaceAll", |a| replace(a, false)),
    ("regexReplaceAllLiteral", |a| replace(a, true)),
    ("mustRegexReplaceAllLiteral", |a| replace(a, true)),
    ("regexSplit", split),
    ("mustRegexSplit", split),
    ("regexQuoteMeta", |a| {
        let [value] = exact(a)?;
        let escape = |c: char| if r"\.+*?()|[]{}^$".contains(c) { vec!['\\', c] } else { vec![c] };
        Ok(text(value)?.chars().flat_map(escape).collect::<String>().into())
    }),
];

fn compile(pattern: &str) -> Result<Regex, Failure> {
    let wrong = |message: &str| Failure::new(format!("error parsing regexp: {message}: `{pattern}`"));
    let translated = translate(pattern).ok_or_else(|| wrong("invalid escape sequence or class"))?;
    RegexBuilder::new(&translated).size_limit(8 << 20).nest_limit(200).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong("expression too large"),
        _ => wrong("invalid syntax"),
    })
}

/// What Go's syntax is in the other one.
fn translate(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                if let Some(literal) = rest.strip_prefix('Q') {
                    let end = literal.find("\\E");
                    out.push_str(&regex::escape(&literal[..end.unwrap_or(literal.len())]));
                    rest = end.map_or("", |end| &literal[end + 2..]);
                } else {
                    rest = escape(rest, &mut out, false)?;
                }
            }
            '[' => rest = class(rest, &mut out)?,
            '{' if !repeats(rest) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    Some(out)
}

/// Whether `{` begins a repetition.
fn repeats(rest: &str) -> bool {
    let Some((body, _)) = rest.split_once('}') else { return false };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match body.split_once(',') {
        None => !body.is_empty() && digits(body),
        Some((least, most)) => !least.is_empty() && digits(least) && digits(most),
    }
}

/// What is behind a `\`.
fn escape<'p>(rest: &'p str, out: &mut String, class: bool) -> Option<&'p str> {
    let c = rest.chars().next()?;
    let after = &rest[c.len_utf8()..];
    match c {
        'd' => out.push_str(if class { "0-9" } else { "[0-9]" }),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str(if class { r"\t\n\x0C\r " } else { r"[\t\n\x0C\r ]" }),
        'S' => out.push_str(r"[^\t\n\x0C\r ]"),
        'b' if !class => out.push_str(r"(?-u:\b)"),
        'B' if !class => out.push_str(r"\B"),
        'A' | 'z' if !class => out.extend(['\\', c]),
        'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P' => out.extend(['\\', c]),
        '0'..='7' => {
            let digits: String = rest.chars().take_while(|c| c.is_digit(8)).take(3).collect();
            // Without a zero before, one digit is a reference to a group, which Go has not.
            if c != '0' && digits.len() < 2 {
                return None;
            }
            out.push_str(&format!("\\x{{{:x}}}", u32::from_str_radix(&digits, 8).ok()?));
            return rest.get(digits.len()..);
        }
        c if c.is_ascii_punctuation() => out.push_str(&format!("\\x{{{:x}}}", u32::from(c))),
        _ => return None,
    }
    Some(after)
}

/// What is behind a `[`, up to its end.
fn class<'p>(rest: &'p str, out: &mut String) -> Option<&'p str> {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let c = rest.chars().next()?;
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return Some(after);
            }
            '\\' => {
                rest = escape(after, out, true)?;
                first = false;
                continue;
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]")? + 2;
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
                first = false;
                continue;
            }
            '-' => out.push('-'),
            c if c.is_ascii_punctuation() => out.push_str(&format!("\\x{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
        first = false;
        rest = after;
    }
}

fn matches(arguments: &[Value]) -> Result<bool, Failure> {
    let [pattern, s] = exact(arguments)?;
    Ok(compile(text(pattern)?)?.is_match(text(s)?))
}

fn find(arguments: &[Value]) -> Result<Value, Failure> {
    let [pattern, s] = exact(arguments)?;
    let regex = compile(text(pattern)?)?;
    Ok(regex.find(text(s)?).map_or("", |found| found.as_str()).into())
}

fn find_all(arguments: &[Value]) -> Result<Value, Failure> {
    let [pattern, s, count] = exact(arguments)?;
    let regex = compile(text(pattern)?)?;
    let most = usize::try_from(int(count)?).unwrap_or(usize::MAX);
    Ok(Value::list(regex.find_iter(text(s)?).take(most).map(|found| found.as_str().into())))
}

fn replace(arguments: &[Value], literal: bool) -> Result<Value, Failure> {
    let [pattern, s, new] = exact(arguments)?;
    let (regex, s, new) = (compile(text(pattern)?)?, text(s)?, text(new)?);
    let count = regex.find_iter(s).count();
    // A group that is named many times may be as long as the whole text.
    let groups = if literal { 0 } else { new.matches('$').count().saturating_mul(s.len()) };
    if count.saturating_mul(new.len()).saturating_add(s.len()).saturating_add(groups) > 8 * MAX_TEXT {
        return Err(too_long());
    }
    Ok(if literal { regex.replace_all(s, NoExpand(new)) } else { regex.replace_all(s, new) }.into_owned().into())
}

/// `regexp.Split`.
fn split(arguments: &[Value]) -> Result<Value, Failure> {
    let [pattern, s, count] = exact(arguments)?;
    let (pattern, s, count) = (text(pattern)?, text(s)?, int(count)?);
    let regex = compile(pattern)?;
    if count == 0 {
        return Ok(Value::list([]));
    }
    if s.is_empty() && !pattern.is_empty() {
        return Ok(Value::list(["".into()]));
    }
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(s).take(most) {
        if parts.len() + 1 == most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(Value::from(&s[start..end]));
        }
        start = found.end();
    }
    if end != s.len() {
        parts.push(Value::from(&s[start..]));
    }
    Ok(Value::list(parts))
}
