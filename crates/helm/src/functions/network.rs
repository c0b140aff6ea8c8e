//! URLs. Names of hosts are not asked for: `getHostByName` gives nothing, as Helm does unless told otherwise.

use kiln_gotmpl::{Dict, Failure, Value};

use super::Table;
use super::arguments::{dict, exact, text};

pub(crate) const TABLE: Table = &[
    ("getHostByName", |a| exact(a).and_then(|[name]| text(name).map(|_| "".into()))),
    ("urlParse", |a| exact(a).and_then(|[url]| parse(text(url)?))),
    ("urlJoin", |a| exact(a).and_then(|[parts]| join(&dict(parts)?))),
];

/// Go's `url.Parse`.
fn parse(url: &str) -> Result<Value, Failure> {
    let wrong = |what: &str| Failure::new(format!("unable to parse url: parse `{url}`: {what}"));
    if url.chars().any(|c| c.is_ascii_control()) {
        return Err(wrong("invalid control character in URL"));
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = scheme(rest).ok_or_else(|| wrong("missing protocol scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut opaque = "";
    let (mut user, mut host, mut path) = ("", "", rest);
    if !scheme.is_empty() && !rest.starts_with('/') {
        (opaque, path) = (rest, "");
    } else if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
        let end = after.find('/').unwrap_or(after.len());
        let authority = &after[..end];
        path = &after[end..];
        (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.contains(' ') {
            return Err(wrong("invalid character in host name"));
        }
    }
    let port = if host.starts_with('[') { host.rsplit_once("]:") } else { host.rsplit_once(':') };
    if port.is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(wrong("invalid port after host"));
    }
    let hostname = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or(inner),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let decoded = |text: &str| unescape(text).ok_or_else(|| wrong("invalid URL escape"));
    Ok(Value::dict(
        [
            ("scheme", scheme.to_ascii_lowercase()),
            ("host", host.to_owned()),
            ("hostname", hostname.to_owned()),
            ("path", decoded(path)?),
            ("query", query.to_owned()),
            ("opaque", opaque.to_owned()),
            ("fragment", decoded(fragment)?),
            ("userinfo", user.to_owned()),
        ]
        .map(|(key, text)| (key.to_owned(), text.into())),
    ))
}

/// The scheme and what is behind its colon; none when there is only a colon.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(url.len());
    let named = url.starts_with(|c: char| c.is_ascii_alphabetic());
    match url.get(end..)?.strip_prefix(':') {
        Some(_) if end == 0 => None,
        Some(rest) if named => Some((&url[..end], rest)),
        _ => Some(("", url)),
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn escaped(text: &str, plain: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || plain.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Go's `URL.String`.
fn join(parts: &Dict) -> Result<Value, Failure> {
    let of = |key: &str| match parts.get(key) {
        None | Some(Value::Nil) => Ok(String::new()),
        Some(value) => text(&value).map(str::to_owned),
    };
    let (scheme, host, path, user) = (of("scheme")?, of("host")?, of("path")?, of("userinfo")?);
    let (opaque, query, fragment) = (of("opaque")?, of("query")?, of("fragment")?);
    let mut out = String::new();
    if !scheme.is_empty() {
        out = format!("{scheme}:");
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !user.is_empty() {
            if !host.is_empty() || !path.is_empty() || !user.is_empty() {
                out += "//";
            }
            if !user.is_empty() {
                out += &format!("{user}@");
            }
            out += &host;
        }
        let path = escaped(&path, "-_.~$&+,/:;=@");
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            out.push('/');
        }
        out += &path;
    } else {
        out += &opaque;
    }
    if !query.is_empty() {
        out += &format!("?{query}");
    }
    if !fragment.is_empty() {
        out += &format!("#{}", escaped(&fragment, "-_.~$&+,/:;=?@!()*"));
    }
    Ok(out.into())
}
