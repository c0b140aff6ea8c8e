//! Texts: case, blanks, parts, quotes, lines.

use kiln_gotmpl::{Failure, Value, fmt};

use super::arguments::{exact, int, shown, strings, text};
use super::{MAX_TEXT, Table, too_long};

pub(crate) const TABLE: Table = &[
    ("abbrev", |a| {
        let [width, s] = exact(a)?;
        Ok(abbreviated(text(s)?, 0, int(width)?).into())
    }),
    ("abbrevboth", |a| {
        let [left, right, s] = exact(a)?;
        Ok(abbreviated(text(s)?, int(left)?, int(right)?).into())
    }),
    ("trunc", trunc),
    ("trim", |a| map(a, |s| s.trim().to_owned())),
    ("upper", |a| map(a, str::to_uppercase)),
    ("lower", |a| map(a, str::to_lowercase)),
    ("title", |a| map(a, title)),
    ("untitle", |a| map(a, untitle)),
    ("substr", substr),
    ("repeat", repeat),
    ("trimall", trim_all),
    ("trimAll", trim_all),
    ("trimSuffix", |a| two(a, |suffix, s| s.strip_suffix(suffix).unwrap_or(s).into())),
    ("trimPrefix", |a| two(a, |prefix, s| s.strip_prefix(prefix).unwrap_or(s).into())),
    ("nospace", |a| map(a, |s| s.split_whitespace().collect())),
    ("initials", |a| map(a, |s| s.split_whitespace().filter_map(|word| word.chars().next()).collect())),
    ("swapcase", |a| map(a, swapped)),
    ("snakecase", |a| map(a, |s| delimited(s, '_'))),
    ("kebabcase", |a| map(a, |s| delimited(s, '-'))),
    ("camelcase", |a| map(a, camel)),
    ("wrap", |a| {
        let [width, s] = exact(a)?;
        wrapped(text(s)?, int(width)?, "\n", false)
    }),
    ("wrapWith", |a| {
        let [width, by, s] = exact(a)?;
        wrapped(text(s)?, int(width)?, text(by)?, true)
    }),
    ("contains", |a| two(a, |part, s| s.contains(part).into())),
    ("hasPrefix", |a| two(a, |part, s| s.starts_with(part).into())),
    ("hasSuffix", |a| two(a, |part, s| s.ends_with(part).into())),
    ("quote", |a| quoted(a, |s| fmt::quote(s))),
    ("squote", |a| quoted(a, |s| format!("'{s}'"))),
    ("cat", |a| {
        let words = a.iter().filter(|value| **value != Value::Nil).map(shown).collect::<Result<Vec<_>, _>>()?;
        joined(&words, " ")
    }),
    ("indent", |a| {
        let [spaces, s] = exact(a)?;
        indent(int(spaces)?, text(s)?, "")
    }),
    ("nindent", |a| {
        let [spaces, s] = exact(a)?;
        indent(int(spaces)?, text(s)?, "\n")
    }),
    ("replace", replace),
    ("plural", |a| {
        let [one, many, count] = exact(a)?;
        let (one, many) = (text(one)?, text(many)?);
        Ok(if int(count)? == 1 { one } else { many }.into())
    }),
    ("toString", |a| {
        let [value] = exact(a)?;
        Ok(shown(value)?.into())
    }),
    ("split", |a| two(a, |separator, s| numbered(go_split(s, separator)))),
    ("splitList", |a| two(a, |separator, s| Value::list(go_split(s, separator).into_iter().map(Value::from)))),
    ("splitn", |a| {
        let [separator, count, s] = exact(a)?;
        let (separator, s, count) = (text(separator)?, text(s)?, int(count)?);
        Ok(numbered(split_n(s, separator, count)))
    }),
    ("toStrings", |a| {
        let [list] = exact(a)?;
        Ok(Value::list(strings(list)?.into_iter().map(Value::from)))
    }),
    ("join", |a| {
        let [separator, list] = exact(a)?;
        joined(&strings(list)?, text(separator)?)
    }),
    ("sortAlpha", |a| {
        let [list] = exact(a)?;
        let mut all = strings(list)?;
        all.sort();
        Ok(Value::list(all.into_iter().map(Value::from)))
    }),
];

fn map(arguments: &[Value], change: impl Fn(&str) -> String) -> Result<Value, Failure> {
    let [value] = exact(arguments)?;
    Ok(change(text(value)?).into())
}

fn two(arguments: &[Value], make: impl Fn(&str, &str) -> Value) -> Result<Value, Failure> {
    let [first, second] = exact(arguments)?;
    Ok(make(text(first)?, text(second)?))
}

/// The texts one behind the other.
pub(crate) fn joined(words: &[String], separator: &str) -> Result<Value, Failure> {
    let total = words.iter().fold(0_usize, |total, word| total.saturating_add(word.len() + separator.len()));
    if total > MAX_TEXT {
        return Err(too_long());
    }
    Ok(words.join(separator).into())
}

fn go_split(text: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(separator).map(str::to_owned).collect()
}

fn split_n(text: &str, separator: &str, count: i64) -> Vec<String> {
    let Ok(count) = usize::try_from(count) else { return go_split(text, separator) };
    if count == 0 {
        return Vec::new();
    }
    if separator.is_empty() {
        let mut parts: Vec<String> = text.chars().take(count - 1).map(String::from).collect();
        let rest: String = text.chars().skip(count - 1).collect();
        if !rest.is_empty() {
            parts.push(rest);
        }
        return parts;
    }
    text.splitn(count, separator).map(str::to_owned).collect()
}

/// Parts by the names `_0`, `_1` and so on.
fn numbered(parts: Vec<String>) -> Value {
    Value::dict(parts.into_iter().enumerate().map(|(at, part)| (format!("_{at}"), part.into())))
}

fn slice(text: &str, from: usize, to: usize) -> Result<Value, Failure> {
    let part = text.get(from..to).ok_or_else(|| Failure::new("a character would be cut in two"))?;
    Ok(part.into())
}

/// By bytes, from the start, or from the end if negative.
fn trunc(arguments: &[Value]) -> Result<Value, Failure> {
    let [count, s] = exact(arguments)?;
    let (count, s) = (int(count)?, text(s)?);
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match count {
        _ if size >= s.len() => Ok(s.into()),
        ..0 => slice(s, s.len() - size, s.len()),
        _ => slice(s, 0, size),
    }
}

fn substr(arguments: &[Value]) -> Result<Value, Failure> {
    let [start, end, s] = exact(arguments)?;
    let (start, end, s) = (int(start)?, int(end)?, text(s)?);
    let place = |number: i64| usize::try_from(number).ok();
    match (place(start), place(end)) {
        (None, None) => Err(Failure::new("slice bounds out of range")),
        (None, Some(end)) if end <= s.len() => slice(s, 0, end),
        (None, Some(_)) => Err(Failure::new("slice bounds out of range")),
        (Some(start), end) => {
            let end = end.filter(|&end| end <= s.len()).unwrap_or(s.len());
            if start > end {
                return Err(Failure::new("slice bounds out of range"));
            }
            slice(s, start, end)
        }
    }
}

fn repeat(arguments: &[Value]) -> Result<Value, Failure> {
    let [count, s] = exact(arguments)?;
    let (count, s) = (int(count)?, text(s)?);
    let count = usize::try_from(count).map_err(|_| Failure::new("strings: negative Repeat count"))?;
    if count.saturating_mul(s.len()) > MAX_TEXT {
        return Err(too_long());
    }
    Ok(s.repeat(count).into())
}

fn trim_all(arguments: &[Value]) -> Result<Value, Failure> {
    two(arguments, |set, s| s.trim_matches(|c| set.contains(c)).into())
}

/// `strings.Title`: the first letter of words, where apostrophes and digits do not end one.
fn title(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .map(|c| {
            let starts = separates(previous);
            previous = c;
            if starts { upper(c) } else { c }
        })
        .collect()
}

/// Go's `isSeparator`.
fn separates(c: char) -> bool {
    if c.is_ascii() {
        return !(c.is_ascii_alphanumeric() || c == '_');
    }
    !c.is_alphanumeric() && c.is_whitespace()
}

fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The first letters of words become small.
fn untitle(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .map(|c| {
            let starts = previous.is_whitespace();
            previous = c;
            if starts { lower(c) } else { c }
        })
        .collect()
}

/// Small letters become large at the start of words only... and large ones small: goutils' `SwapCase`.
fn swapped(text: &str) -> String {
    let mut blank = true;
    text.chars()
        .map(|c| {
            let swapped = match c {
                c if c.is_uppercase() => lower(c),
                c if c.is_lowercase() && blank => upper(c),
                c if c.is_lowercase() => upper(c),
                c => c,
            };
            blank = c.is_whitespace();
            swapped
        })
        .collect()
}

/// goutils' `Abbreviate`: dots where something is left out.
fn abbreviated(text: &str, offset: i64, width: i64) -> String {
    let chars: Vec<char> = text.chars().collect();
    let size = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    if width < 4 || (offset > 0 && width < 7) || size <= width {
        return text.to_owned();
    }
    let part = |from: i64, to: i64| -> String {
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0));
        chars.get(from..to.min(chars.len())).unwrap_or_default().iter().collect()
    };
    let mut offset = offset.min(size);
    if size - offset < width - 3 {
        offset = size - (width - 3);
    }
    if offset <= 4 {
        return part(0, width - 3) + "...";
    }
    if width < 7 {
        return text.to_owned();
    }
    if offset + width - 3 < size {
        let inner: Vec<char> = part(offset, size).chars().collect();
        let kept: String = inner.iter().take(usize::try_from(width - 6).unwrap_or(0)).collect();
        return format!("...{kept}...");
    }
    format!("...{}", part(size - (width - 3), size))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Letter {
    Upper,
    Lower,
    Digit,
    Other,
}

fn letter(c: char) -> Letter {
    match c {
        c if c.is_uppercase() => Letter::Upper,
        c if c.is_numeric() => Letter::Digit,
        c if c.is_alphabetic() => Letter::Lower,
        _ => Letter::Other,
    }
}

/// Words in small letters with `mark` between them: `HTTPServer2Go` is `http_server2_go`.
fn delimited(text: &str, mark: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for (at, &c) in chars.iter().enumerate() {
        if matches!(c, '_' | ' ' | '-') {
            if !out.is_empty() && !out.ends_with(mark) && at + 1 < chars.len() {
                out.push(mark);
            }
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        let next = chars.get(at + 1).copied();
        if let Some(before) = before {
            let (before, own, next) = (letter(before), letter(c), next.map(letter));
            let starts = own == Letter::Upper
                && (matches!(before, Letter::Lower | Letter::Digit)
                    || (before == Letter::Upper && next == Some(Letter::Lower)));
            if starts && !out.is_empty() && !out.ends_with(mark) {
                out.push(mark);
            }
        }
        out.push(lower(c));
    }
    out
}

/// xstrings' `ToCamelCase`: words behind `_`, `-` and blanks begin with a large letter.
fn camel(text: &str) -> String {
    let connects = |c: char| matches!(c, '_' | '-') || c.is_whitespace();
    let start = text.find(|c| !connects(c)).unwrap_or(text.len());
    let (lead, rest) = text.split_at(start);
    let mut out = lead.to_owned();
    let mut chars = rest.chars().peekable();
    let mut fresh = true;
    let mut pending = String::new();
    while let Some(c) = chars.next() {
        if connects(c) {
            pending.push(c);
            fresh = true;
            continue;
        }
        pending.clear();
        if fresh {
            out.push(upper(c));
            fresh = false;
        } else {
            out.push(c);
        }
    }
    out + &pending
}

/// goutils' `WrapCustom`: lines of `width` characters, broken at blanks; `hard` breaks long words, too.
fn wrapped(text: &str, width: i64, by: &str, hard: bool) -> Result<Value, Failure> {
    let width = usize::try_from(width.max(1)).unwrap_or(1);
    let by = if by.is_empty() { "\n" } else { by };
    let chars: Vec<char> = text.chars().collect();
    if chars.len().saturating_mul(by.len() + 1).saturating_add(text.len()) > MAX_TEXT.saturating_mul(4) {
        return Err(too_long());
    }
    let mut out = String::with_capacity(text.len() + 32);
    let mut at = 0;
    let add = |out: &mut String, from: usize, to: usize| out.extend(chars.get(from..to).unwrap_or_default());
    while chars.len() - at > width {
        if chars[at] == ' ' {
            at += 1;
            continue;
        }
        let end = at + width;
        let space = (at..=end).rev().find(|&place| chars.get(place) == Some(&' '));
        match space {
            Some(space) if space > at => {
                add(&mut out, at, space);
                out.push_str(by);
                at = space + 1;
            }
            _ if hard => {
                add(&mut out, at, end);
                out.push_str(by);
                at = end;
            }
            _ => match (end..chars.len()).find(|&place| chars.get(place) == Some(&' ')) {
                Some(space) => {
                    add(&mut out, at, space);
                    out.push_str(by);
                    at = space + 1;
                }
                None => {
                    add(&mut out, at, chars.len());
                    at = chars.len();
                }
            },
        }
    }
    add(&mut out, at, chars.len());
    Ok(out.into())
}

fn quoted(arguments: &[Value], quote: impl Fn(&str) -> String) -> Result<Value, Failure> {
    let words = arguments.iter().filter(|value| **value != Value::Nil);
    let words = words.map(|value| shown(value).map(|text| quote(&text))).collect::<Result<Vec<_>, _>>()?;
    joined(&words, " ")
}

fn indent(spaces: i64, text: &str, before: &str) -> Result<Value, Failure> {
    let spaces = usize::try_from(spaces).map_err(|_| Failure::new("strings: negative Repeat count"))?;
    let lines = text.matches('\n').count() + 1;
    if spaces.saturating_mul(lines).saturating_add(text.len()) > MAX_TEXT {
        return Err(too_long());
    }
    let pad = " ".repeat(spaces);
    let mut out = String::with_capacity(text.len() + spaces * lines + before.len());
    out.push_str(before);
    out.push_str(&pad);
    out.push_str(&text.replace('\n', &format!("\n{pad}")));
    Ok(out.into())
}

fn replace(arguments: &[Value]) -> Result<Value, Failure> {
    let [old, new, s] = exact(arguments)?;
    let (old, new, s) = (text(old)?, text(new)?, text(s)?);
    let count = if old.is_empty() { s.chars().count() + 1 } else { s.matches(old).count() };
    if count.saturating_mul(new.len()).saturating_add(s.len()) > MAX_TEXT.saturating_mul(2) {
        return Err(too_long());
    }
    Ok(s.replace(old, new).into())
}
