//! How BuildKit words what was done: the `created_by` of history entries.
//!
//! The texts are those of Go's `fmt` with the verbs BuildKit uses (`%q`, `%v`, `%+v`), so that an image's history
//! reads the same whoever built it.

use std::fmt::Write as _;

use kiln_oci::config::{Healthcheck, History};

/// The remark BuildKit's Dockerfile frontend leaves.
pub const COMMENT: &str = "buildkit.dockerfile.v0";

/// An entry; times are filled in when the build is done.
pub fn entry(created_by: String, makes_layer: bool) -> History {
    History {
        created: None,
        created_by: Some(created_by),
        author: None,
        comment: Some(COMMENT.to_owned()),
        empty_layer: !makes_layer,
    }
}

/// A text as Go's `%q` writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list as Go's `%q` writes it: `["a" "b"]`.
pub fn quoted_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|i| quoted(i)).collect();
    format!("[{}]", items.join(" "))
}

/// A list as Go's `%v` writes it: `[a b]`.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `100ms`, `0s`.
pub fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (sign, n) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let fraction = |value: u64, unit: u64, name: &str| {
        let mut digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        digits.truncate(digits.trim_end_matches('0').len());
        let dot = if digits.is_empty() { "" } else { "." };
        format!("{}{dot}{digits}{name}", value / unit)
    };
    let text = match n {
        0..1_000 => format!("{n}ns"),
        1_000..1_000_000 => fraction(n, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(n, 1_000_000, "ms"),
        _ => {
            let minutes = n / 60_000_000_000;
            let seconds = fraction(n % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, m) => format!("{m}m{seconds}"),
                (h, m) => format!("{h}h{m}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A number as Go's `%q` writes it: the character of that code, quoted.
fn quoted_char(code: i64) -> String {
    let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("'{}'", quoted(&c.to_string()).trim_matches('"')),
    }
}

/// `HEALTHCHECK` as Go's `%q` writes a pointer to the structure.
pub fn healthcheck(h: &Healthcheck) -> String {
    let time = |nanos: Option<i64>| quoted(&duration(nanos.unwrap_or(0)));
    format!(
        "&{{{} {} {} {} {} {}}}",
        quoted_list(&h.test),
        time(h.interval),
        time(h.timeout),
        time(h.start_period),
        time(h.start_interval),
        quoted_char(h.retries.unwrap_or(0))
    )
}

/// `RUN` with the arguments it could see: `RUN |1 V=2 /bin/sh -c make # buildkit`.
pub fn run(argv: &[String], args: &[(String, String)]) -> String {
    let mut words = vec!["RUN".to_owned()];
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.iter().map(|(n, v)| format!("{n}={v}")));
    }
    words.extend(argv.iter().cloned());
    words.push("# buildkit".to_owned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn health_checks_read_like_go() {
        let mut check = Healthcheck { test: vec!["CMD".into(), "a\t".into()], ..Healthcheck::default() };
        (check.interval, check.retries) = (Some(5_000_000_000), Some(13));
        assert_eq!(healthcheck(&check), r#"&{["CMD" "a\t"] "5s" "0s" "0s" "0s" '\r'}"#);
        for (code, text) in [(0, r"'\x00'"), (3, r"'\x03'"), (39, r"'\''"), (65, "'A'"), (92, r"'\\'")] {
            assert_eq!(quoted_char(code), text);
        }
    }

    #[test]
    fn texts_read_like_go() {
        assert_eq!(quoted_list(&["a b".into(), "\"\n\u{1}é".into()]), r#"["a b" "\"\n\x01é"]"#);
        assert_eq!(
            run(&["/bin/sh".into(), "-c".into(), "x".into()], &[("A".into(), "1".into())]),
            "RUN |1 A=1 /bin/sh -c x # buildkit"
        );
    }
}
