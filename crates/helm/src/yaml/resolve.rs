//! What a plain scalar means in YAML 1.1, as Go's yaml.v2 has it.

use super::Yaml;

/// The value of a plain scalar.
pub(crate) fn plain(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Yaml::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Yaml::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Yaml::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Yaml::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Yaml::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    numeric.then(|| number(text)).flatten().unwrap_or_else(|| Yaml::String(text.to_owned()))
}

/// Whether a plain scalar with this text would be a text.
pub(crate) fn is_text(text: &str) -> bool {
    matches!(plain(text), Yaml::String(_)) && text != "<<" && !is_time(text)
}

fn number(text: &str) -> Option<Yaml> {
    let plain = text.replace('_', "");
    if let Some(whole) = integer(&plain) {
        return Some(whole);
    }
    if is_float(&plain) {
        return plain.parse().ok().filter(|number: &f64| number.is_finite()).map(Yaml::Float);
    }
    None
}

/// Go's `strconv.ParseInt(text, 0, 64)` and `ParseUint`, and YAML's own `0b` with a sign before.
fn integer(text: &str) -> Option<Yaml> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let size = u128::from_str_radix(body, radix).ok()?;
    let whole = i128::try_from(size).ok()?;
    let whole = if negative { -whole } else { whole };
    match i64::try_from(whole) {
        Ok(number) => Some(Yaml::Int(number)),
        #[expect(clippy::cast_precision_loss, reason = "JSON numbers of Go are floats")]
        Err(_) => u64::try_from(whole).ok().map(|number| Yaml::Float(number as f64)),
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if whole == 0 && count == 0 {
            return false;
        }
        rest = &fraction[count..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(power) => {
            let power = power.strip_prefix(['-', '+']).unwrap_or(power);
            !power.is_empty() && digits(power) == power.len()
        }
    }
}

/// Whether it looks like sexagesimal numbers of YAML 1.1, which Go writes in quotes.
pub(crate) fn is_base60(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = body.split(':');
    let Some(first) = parts.next() else { return false };
    let valid_first = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let sixty = |part: &str| match part.as_bytes() {
        [d] => d.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    };
    let (whole, fraction) = last.split_once('.').unwrap_or((last, ""));
    valid_first
        && middle.iter().all(|part| sixty(part))
        && sixty(whole)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

/// Whether Go's yaml takes it for a time: `2001-12-14`, and with hours behind `T`, `t` or a blank.
fn is_time(text: &str) -> bool {
    let b = text.as_bytes();
    let digits = |from: usize, least: usize, most: usize| {
        let count = b[from.min(b.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        (least..=most).contains(&count).then_some(from + count)
    };
    let date = || {
        let at = digits(0, 4, 4).filter(|&at| b.get(at) == Some(&b'-'))?;
        let at = digits(at + 1, 1, 2).filter(|&at| b.get(at) == Some(&b'-'))?;
        digits(at + 1, 1, 2)
    };
    let Some(at) = date() else { return false };
    if !in_calendar(&text[..at]) {
        return false;
    }
    let Some(time) = text.get(at..).filter(|rest| !rest.is_empty()) else { return b.len() >= 10 };
    let Some(clock) = time.strip_prefix(['T', 't', ' ']) else { return false };
    let clock = clock.trim_start_matches(' ');
    let (hours, zone) = clock.split_at(clock.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(clock.len()));
    let parts: Vec<&str> = hours.split(':').collect();
    let number = |part: &str, most: u32| part.parse::<u32>().is_ok_and(|number| number <= most);
    let [hour, minute, second] = parts.as_slice() else { return false };
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let clock_fits = number(hour, 23) && number(minute, 59) && number(second, 59) && fraction.bytes().all(|b| b.is_ascii_digit());
    let zone = zone.trim_start_matches(' ');
    clock_fits && (zone.is_empty() || zone == "Z" || zone_fits(zone))
}

fn zone_fits(zone: &str) -> bool {
    let Some(rest) = zone.strip_prefix(['+', '-']) else { return false };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    hours.len() == 2 && minutes.len() == 2 && (hours.to_owned() + minutes).bytes().all(|b| b.is_ascii_digit())
}

fn in_calendar(date: &str) -> bool {
    let mut parts = date.split('-').map(|part| part.parse::<u32>().unwrap_or(0));
    let (year, month, day) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}
