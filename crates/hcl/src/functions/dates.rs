//! Dates and times: RFC 3339, and the ways to format them.

use kiln_oci::time::days_of;
use kiln_spec::duration;
use kiln_spec::moment::{Moment, Parts};

use super::{FunctionError, Outcome, Row, argument_error, call_error, number, text};
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("formatdate", 2, 2, |args, _| formatdate(&text(args, 0)?, &Time::parse(&text(args, 1)?, 1)?)),
    ("legacy_isotime", 0, 1, |args, world| {
        let now = Time::at(world.now());
        if args.is_empty() { Ok(now.rfc3339().into()) } else { Ok(now.moment().go(&text(args, 0)?).into()) }
    }),
    ("legacy_strftime", 0, 1, |args, world| {
        let now = Time::at(world.now());
        if args.is_empty() {
            return Ok(now.rfc3339().into());
        }
        now.moment().strftime(&text(args, 0)?).map(Value::from).or_else(|why| argument_error(0, why))
    }),
    ("rfc3339_parse", 1, 1, |args, _| Ok(parts(&Time::parse(&text(args, 0)?, 0)?))),
    ("timeadd", 2, 2, |args, _| {
        let time = Time::parse(&text(args, 0)?, 0)?;
        let more = duration::parse(&text(args, 1)?).or_else(|error| argument_error(1, error.to_string()))?;
        let nanos = i128::from(time.unix) * 1_000_000_000 + i128::from(time.nanos) + i128::from(more);
        let unix = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let sum = Time { unix, nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0), ..time };
        if (FIRST..=LAST).contains(&unix) {
            Ok(sum.rfc3339().into())
        } else {
            call_error("the year is beyond 0 to 9999")
        }
    }),
    ("timestamp", 0, 0, |_, world| Ok(Time::at(world.now()).rfc3339().into())),
    ("unix_timestamp_parse", 1, 1, |args, _| match number(args, 0)?.to_i64() {
        Some(unix) if (FIRST..=LAST).contains(&unix) => Ok(parts(&Time::at(unix))),
        _ => argument_error(0, "a whole number of seconds since 1970 is required"),
    }),
];

/// The first second of the year 0, and the last of 9999.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

/// An instant, as seen at an offset from UTC.
#[derive(Clone, Copy)]
struct Time {
    unix: i64,
    nanos: u32,
    /// Seconds east of Greenwich.
    offset: i64,
}

fn leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Time {
    fn at(unix: i64) -> Time {
        Time { unix: unix.clamp(FIRST, LAST), nanos: 0, offset: 0 }
    }

    /// Reads `2020-01-02T03:04:05.6+07:00`; argument `index` holds it.
    fn parse(written: &str, index: usize) -> Result<Time, FunctionError> {
        match Time::read(written) {
            Some(time) => Ok(time),
            None => argument_error(index, format!("`{written}` is no time such as `2020-01-31T23:59:59Z`")),
        }
    }

    fn read(written: &str) -> Option<Time> {
        let bytes = written.as_bytes();
        let digits = |from: usize, count: usize| -> Option<i64> {
            let part = written.get(from..from + count)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
        let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let valid = separators.iter().all(|&(at, byte)| bytes.get(at) == Some(&byte))
            && (1..=12).contains(&month)
            && (1..=month_length(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let mut rest = written.get(19..).filter(|_| valid)?;
        let mut nanos = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
            nanos = format!("{:0<9}", &fraction[..length.min(9)]).parse().ok().filter(|_| length > 0)?;
            rest = &fraction[length..];
        }
        let offset = match rest.as_bytes() {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let at = written.len() - 5;
                let (hours, minutes) = (digits(at, 2)?, digits(at + 3, 2)?);
                let offset = (hours * 60 + minutes) * 60;
                if hours > 23 || minutes > 59 {
                    return None;
                } else if *sign == b'-' {
                    -offset
                } else {
                    offset
                }
            }
            _ => return None,
        };
        let unix = days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        Some(Time { unix, nanos, offset })
    }

    fn moment(&self) -> Moment {
        Moment { seconds: self.unix, nanos: self.nanos, offset: self.offset }
    }

    fn parts(&self) -> Parts {
        self.moment().parts()
    }

    /// `+07:00`, `Z`, with or without a colon.
    fn zone(&self, zulu: bool, colon: &str) -> String {
        if self.offset == 0 && zulu {
            return "Z".to_owned();
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    }

    fn rfc3339(&self) -> String {
        let c = self.parts();
        let zone = self.zone(true, ":");
        format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{zone}", c.year, c.month, c.day, c.hour, c.minute, c.second)
    }
}

/// The letters of `formatdate`.
fn formatdate(format: &str, time: &Time) -> Outcome {
    let c = time.parts();
    let mut result = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = quoted(rest, &mut result)?;
            continue;
        }
        let length = rest.chars().take_while(|&other| other == first).count() * first.len_utf8();
        let (verb, after) = rest.split_at(length);
        rest = after;
        let piece = match verb {
            "YYYY" => format!("{:04}", c.year),
            "YY" => format!("{:02}", c.year % 100),
            "MMMM" => c.month_name().to_owned(),
            "MMM" => c.month_name().chars().take(3).collect(),
            "MM" => format!("{:02}", c.month),
            "M" => c.month.to_string(),
            "DD" => format!("{:02}", c.day),
            "D" => c.day.to_string(),
            "EEEE" => c.day_name().to_owned(),
            "EEE" => c.day_name().chars().take(3).collect(),
            "hh" => format!("{:02}", c.hour),
            "h" => c.hour.to_string(),
            "HH" => format!("{:02}", c.twelve()),
            "H" => c.twelve().to_string(),
            "AA" => c.half().to_owned(),
            "aa" => c.half().to_ascii_lowercase(),
            "mm" => format!("{:02}", c.minute),
            "m" => c.minute.to_string(),
            "ss" => format!("{:02}", c.second),
            "s" => c.second.to_string(),
            "ZZZZZ" => time.zone(false, ":"),
            "ZZZZ" => time.zone(false, ""),
            "ZZZ" if time.offset == 0 => "UTC".to_owned(),
            "ZZZ" => time.zone(false, ""),
            "Z" => time.zone(true, ":"),
            verb if first.is_ascii_alphabetic() => {
                return argument_error(0, format!("`{verb}` means nothing in a format; put text between '…'"));
            }
            verb => verb.to_owned(),
        };
        result.push_str(&piece);
    }
    Ok(result.into())
}

/// Text between single quotes; two of them are one.
fn quoted<'t>(rest: &'t str, to: &mut String) -> Result<&'t str, FunctionError> {
    let mut rest = &rest[1..];
    loop {
        let Some(at) = rest.find('\'') else { return argument_error(0, "a quote is not closed") };
        to.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                to.push('\'');
                rest = after;
            }
            None => return Ok(rest),
        }
    }
}

/// A time as an object of its parts.
fn parts(time: &Time) -> Value {
    let c = time.parts();
    let (iso_year, iso_week) = c.iso_week();
    let fields = [
        ("iso_year", iso_year),
        ("iso_week", iso_week),
        ("day", c.day),
        ("hour", c.hour),
        ("minute", c.minute),
        ("month", c.month),
        ("second", c.second),
        ("unix", time.unix),
        ("weekday", c.weekday),
        ("year", c.year),
        ("year_day", c.year_day),
    ];
    let mut fields: std::collections::BTreeMap<String, Value> =
        fields.into_iter().map(|(name, number)| (name.to_owned(), number.into())).collect();
    fields.insert("month_name".to_owned(), c.month_name().into());
    fields.insert("weekday_name".to_owned(), c.day_name().into());
    fields.insert("rfc3339".to_owned(), time.rfc3339().into());
    Value::object(fields)
}
