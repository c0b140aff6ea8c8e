//! Times and durations. All is in UTC: names of other zones are not known here.

use std::any::Any;

use kiln_gotmpl::{Failure, Functions, Object, Value};
use kiln_oci::time::{days_of, seconds_of};
use kiln_spec::moment::{DAYS, MONTHS, Moment, Parts, element};

use super::arguments::{exact, int, shown, text, to_int64};

const SECOND: i128 = 1_000_000_000;

/// A moment: nanoseconds since 1970, and the offset of its zone in seconds.
#[derive(Clone, Copy, PartialEq)]
struct Time {
    nanos: i128,
    offset: i64,
}

impl Time {
    fn at(seconds: i64) -> Time {
        Time { nanos: i128::from(seconds) * SECOND, offset: 0 }
    }

    fn seconds(self) -> i64 {
        i64::try_from(self.nanos.div_euclid(SECOND)).unwrap_or(0)
    }

    fn moment(self) -> Moment {
        let nanos = u32::try_from(self.nanos.rem_euclid(SECOND)).unwrap_or(0);
        Moment { seconds: self.seconds(), nanos, offset: self.offset }
    }

    fn parts(self) -> Parts {
        self.moment().parts()
    }
}

/// Go's `time.Format`.
fn format(time: Time, layout: &str) -> String {
    time.moment().go(layout)
}

impl Object for Time {
    fn field(&self, _: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let parts = self.parts();
        let none = arguments.is_empty();
        Some(match (name, arguments) {
            ("Format", [layout]) => text(layout).map(|layout| format(*self, layout).into()),
            ("Unix", []) => Ok(Value::Int64(self.seconds())),
            ("UnixNano", []) => Ok(Value::Int64(i64::try_from(self.nanos).unwrap_or(0))),
            ("UnixMilli", []) => Ok(Value::Int64(i64::try_from(self.nanos.div_euclid(1_000_000)).unwrap_or(0))),
            ("Year", []) => Ok(Value::Int(parts.year)),
            ("Day", []) => Ok(Value::Int(parts.day)),
            ("YearDay", []) => Ok(Value::Int(parts.year_day)),
            ("Hour", []) => Ok(Value::Int(parts.hour)),
            ("Minute", []) => Ok(Value::Int(parts.minute)),
            ("Second", []) => Ok(Value::Int(parts.second)),
            ("Nanosecond", []) => Ok(Value::Int(i64::from(self.moment().nanos))),
            ("Month", []) => Ok(parts.month_name().into()),
            ("Weekday", []) => Ok(parts.day_name().into()),
            ("UTC" | "Local", []) => Ok(Value::object(Time { offset: 0, ..*self })),
            ("String", []) => Ok(self.print().into()),
            ("IsZero", []) => Ok((*self == zero()).into()),
            ("AddDate", [years, months, days]) => {
                int(years).and_then(|years| Ok(Value::object(moved(*self, years, int(months)?, int(days)?))))
            }
            ("Add", [Value::Object(object)]) => match object.any().and_then(|any| any.downcast_ref::<Duration>()) {
                Some(duration) => Ok(Value::object(Time { nanos: self.nanos + i128::from(duration.0), ..*self })),
                None => Err("`Add` wants a duration".into()),
            },
            ("Before" | "After" | "Equal" | "Sub", [Value::Object(object)]) => {
                match object.any().and_then(|any| any.downcast_ref::<Time>()) {
                    Some(other) => Ok(match name {
                        "Before" => (self.nanos < other.nanos).into(),
                        "After" => (self.nanos > other.nanos).into(),
                        "Equal" => (self.nanos == other.nanos).into(),
                        _ => duration(self.nanos - other.nanos),
                    }),
                    None => Err(Failure::new(format!("`{name}` wants a time"))),
                }
            }
            _ if none => return None,
            _ => return None,
        })
    }

    fn print(&self) -> String {
        format(*self, "2006-01-02 15:04:05.999999999 -0700 MST")
    }

    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn content(&self) -> Option<Value> {
        Some(format(*self, "2006-01-02T15:04:05.999999999Z07:00").into())
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// The first moment of Go's calendar.
fn zero() -> Time {
    Time::at(seconds_of([1, 1, 1], [0, 0, 0]))
}

fn moved(time: Time, years: i64, months: i64, days: i64) -> Time {
    let parts = time.parts();
    let month = parts.month - 1 + months;
    let (year, month) = (parts.year + years + month.div_euclid(12), month.rem_euclid(12) + 1);
    let local = seconds_of([year, month, 1], [parts.hour, parts.minute, parts.second]);
    let seconds = local + (parts.day - 1 + days).saturating_mul(86_400) - time.offset;
    Time { nanos: i128::from(seconds) * SECOND + i128::from(time.moment().nanos), ..time }
}

/// A span of time in nanoseconds.
struct Duration(i64);

fn duration(nanos: i128) -> Value {
    let most = i128::from(i64::MAX);
    Value::object(Duration(i64::try_from(nanos.clamp(-most - 1, most)).unwrap_or(0)))
}

impl Object for Duration {
    fn field(&self, _: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let nanos = self.0 as f64;
        Some(Ok(match (name, arguments) {
            ("Seconds", []) => Value::Float(nanos / 1e9),
            ("Minutes", []) => Value::Float(nanos / 6e10),
            ("Hours", []) => Value::Float(nanos / 3.6e12),
            ("Milliseconds", []) => Value::Int64(self.0 / 1_000_000),
            ("Microseconds", []) => Value::Int64(self.0 / 1_000),
            ("Nanoseconds", []) => Value::Int64(self.0),
            ("String", []) => self.print().into(),
            _ => return None,
        }))
    }

    /// Go's `Duration.String`.
    fn print(&self) -> String {
        let size = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let decimals = |number: u64, unit: u64| {
            let digits = unit.to_string().len() - 1;
            let fraction = format!("{:0>digits$}", number % unit);
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { (number / unit).to_string() } else { format!("{}.{fraction}", number / unit) }
        };
        if size < 1_000_000_000 {
            let text = match size {
                0 => "0s".to_owned(),
                1..1_000 => format!("{size}ns"),
                1_000..1_000_000 => format!("{}µs", decimals(size, 1_000)),
                _ => format!("{}ms", decimals(size, 1_000_000)),
            };
            return format!("{sign}{text}");
        }
        let (whole, nanos) = (size / 1_000_000_000, size % 1_000_000_000);
        let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
        let seconds = decimals(seconds * 1_000_000_000 + nanos, 1_000_000_000);
        match (hours, minutes) {
            (0, 0) => format!("{sign}{seconds}s"),
            (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
            (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
        }
    }

    fn truth(&self) -> bool {
        self.0 != 0
    }

    fn type_name(&self) -> &'static str {
        "time.Duration"
    }

    fn content(&self) -> Option<Value> {
        Some(Value::Int64(self.0))
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Go's `time.ParseDuration`: `1h30m`, `-1.5s`.
fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (whole, fraction) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 || whole.len() > 18
        {
            return None;
        }
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        rest = &rest[unit_end..];
        let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total += number(whole)?.checked_mul(unit)? + number(fraction)?.checked_mul(unit)? / power;
    }
    i64::try_from(total * sign).ok()
}

/// The time that Sprig makes of a value: numbers are seconds, and anything else is now.
fn moment(value: &Value, now: i64) -> Time {
    match value {
        Value::Int(seconds) | Value::Int64(seconds) => Time::at(*seconds),
        Value::Object(object) => {
            object.any().and_then(|any| any.downcast_ref::<Time>()).copied().unwrap_or(Time::at(now))
        }
        _ => Time::at(now),
    }
}

fn in_zone(time: Time, zone: &str) -> Result<Time, Failure> {
    match zone {
        "" | "UTC" | "Local" | "GMT" | "Etc/UTC" => Ok(Time { offset: 0, ..time }),
        other => Err(Failure::new(format!("the time zone `{other}` is not known: times are in UTC here"))),
    }
}

pub(crate) fn add(functions: &mut Functions<'_>, now: i64) {
    functions.add("now", move |a| exact(a).map(|[]| Value::object(Time::at(now))));
    functions.add("date", move |a| {
        let [layout, time] = exact(a)?;
        Ok(format(Time { offset: 0, ..moment(time, now) }, text(layout)?).into())
    });
    for name in ["dateInZone", "date_in_zone"] {
        functions.add(name, move |a| {
            let [layout, time, zone] = exact(a)?;
            Ok(format(in_zone(moment(time, now), text(zone)?)?, text(layout)?).into())
        });
    }
    functions.add("htmlDate", move |a| {
        exact(a).map(|[time]| format(Time { offset: 0, ..moment(time, now) }, "2006-01-02").into())
    });
    functions.add("htmlDateInZone", move |a| {
        let [time, zone] = exact(a)?;
        Ok(format(in_zone(moment(time, now), text(zone)?)?, "2006-01-02").into())
    });
    functions.add("unixEpoch", move |a| exact(a).map(|[time]| moment(time, now).seconds().to_string().into()));
    for (name, must) in
        [("dateModify", false), ("date_modify", false), ("mustDateModify", true), ("must_date_modify", true)]
    {
        functions.add(name, move |a| {
            let [by, time] = exact(a)?;
            let by = text(by)?;
            let time = moment(time, now);
            match parse_duration(by) {
                Some(nanos) => Ok(Value::object(Time { nanos: time.nanos + i128::from(nanos), ..time })),
                None if must => Err(invalid(by)),
                None => Ok(Value::object(time)),
            }
        });
    }
    functions.add("ago", move |a| {
        let [time] = exact(a)?;
        // Whole seconds, as Go rounds: half away from zero.
        let nanos = Time::at(now).nanos - moment(time, now).nanos;
        Ok(Duration(round(i64::try_from(nanos).unwrap_or(i64::MAX), 1_000_000_000)).print().into())
    });
    functions.add("duration", |a| {
        let [value] = exact(a)?;
        let seconds = match value {
            Value::String(text) => text.parse().unwrap_or(0),
            Value::Int64(number) => *number,
            _ => 0,
        };
        let Value::Object(object) = duration(i128::from(seconds) * SECOND) else { return Ok(Value::Nil) };
        Ok(object.print().into())
    });
    functions.add("durationRound", move |a| exact(a).map(|[value]| rounded(value, now).into()));
    for (name, must) in [("toDate", false), ("mustToDate", true)] {
        functions.add(name, move |a| {
            let [layout, source] = exact(a)?;
            let (layout, source) = (text(layout)?, text(source)?);
            match parse(layout, source) {
                Some(time) => Ok(Value::object(time)),
                None if must => Err(Failure::new(format!("parsing time `{source}` as `{layout}`: cannot parse"))),
                None => Ok(Value::object(zero())),
            }
        });
    }
    durations(functions);
}

fn invalid(text: &str) -> Failure {
    Failure::new(format!("time: invalid duration `{text}`"))
}

/// The largest unit only: `2h`, `3d`.
fn rounded(value: &Value, now: i64) -> String {
    let seconds = match value {
        Value::String(text) => parse_duration(text).unwrap_or(0) / 1_000_000_000,
        Value::Int64(nanos) => nanos / 1_000_000_000,
        Value::Object(object) => match object.any().and_then(|any| any.downcast_ref::<Time>()) {
            Some(time) => now - time.seconds(),
            None => 0,
        },
        _ => 0,
    };
    let (sign, size) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    const DAY: u64 = 86_400;
    let units = [(DAY * 365, "y"), (DAY * 30, "mo"), (DAY, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let found = units.iter().find(|(unit, _)| size > *unit).or(units.iter().find(|(unit, _)| size == *unit));
    found.map_or("0s".to_owned(), |(unit, name)| format!("{sign}{}{name}", size / unit))
}

/// Go's `Duration.Round`.
fn round(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let rest = nanos % unit;
    let away = if rest.unsigned_abs() * 2 >= unit.unsigned_abs() { unit * nanos.signum() } else { 0 };
    (nanos - rest).saturating_add(away)
}

/// What Helm 4 takes for a duration: texts such as `1h`, and seconds.
fn to_duration(value: &Value) -> Result<i64, Failure> {
    let seconds = |number: f64| (number * 1e9) as i64;
    match value {
        Value::String(text) => match parse_duration(text.trim()) {
            Some(nanos) => Ok(nanos),
            None => text.trim().parse().map(seconds).map_err(|_| invalid(text)),
        },
        Value::Int(_) | Value::Int64(_) => Ok(to_int64(value).saturating_mul(1_000_000_000)),
        Value::Float(number) => Ok(seconds(*number)),
        Value::Object(object) => match object.any().and_then(|any| any.downcast_ref::<Duration>()) {
            Some(duration) => Ok(duration.0),
            None => Err(invalid(&shown(value)?)),
        },
        other => Err(invalid(&shown(other)?)),
    }
}

fn durations(functions: &mut Functions<'_>) {
    functions.add("mustToDuration", |a| exact(a).and_then(|[value]| Ok(Value::object(Duration(to_duration(value)?)))));
    let fractions = [
        ("durationSeconds", 1e9),
        ("durationMinutes", 6e10),
        ("durationHours", 3.6e12),
        ("durationDays", 8.64e13),
        ("durationWeeks", 6.048e14),
    ];
    for (name, unit) in fractions {
        functions.add(name, move |a| {
            let [value] = exact(a)?;
            let nanos = to_duration(value).unwrap_or(0) as f64;
            Ok(Value::Float(nanos / unit))
        });
    }
    for (name, unit) in
        [("durationMilliseconds", 1_000_000), ("durationMicroseconds", 1_000), ("durationNanoseconds", 1)]
    {
        functions.add(name, move |a| exact(a).map(|[value]| Value::Int64(to_duration(value).unwrap_or(0) / unit)));
    }
    for (name, truncates) in [("durationRoundTo", false), ("durationTruncateTo", true)] {
        functions.add(name, move |a| {
            let [value, unit] = exact(a)?;
            let (nanos, unit) = (to_duration(value).unwrap_or(0), to_duration(unit).unwrap_or(0));
            let kept = match unit {
                ..=0 => nanos,
                unit if truncates => nanos - nanos % unit,
                unit => round(nanos, unit),
            };
            Ok(Value::object(Duration(kept)))
        });
    }
}

/// Go's `time.Parse`, for zones given by their offset or as UTC.
fn parse(layout: &str, source: &str) -> Option<Time> {
    let mut read = Reading {
        rest: source,
        year: 0,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        offset: 0,
        pm: None,
        year_day: None,
    };
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        match element(rest) {
            Some((element, length)) => {
                read.element(element, rest.get(length..)?)?;
                rest = &rest[length..];
            }
            None => {
                read.rest = read.rest.strip_prefix(c)?;
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    read.finish()
}

struct Reading<'s> {
    rest: &'s str,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    offset: i64,
    pm: Option<bool>,
    year_day: Option<i64>,
}

impl Reading<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().ok()
    }

    fn one_of(&mut self, names: &[&str], short: bool) -> Option<i64> {
        for (at, name) in names.iter().enumerate() {
            let name = if short { &name[..3] } else { name };
            let head = self.rest.get(..name.len());
            if head.is_some_and(|head| head.eq_ignore_ascii_case(name)) {
                self.rest = &self.rest[name.len()..];
                return i64::try_from(at).ok();
            }
        }
        None
    }

    fn fraction(&mut self) -> Option<()> {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return Some(()) };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Some(());
        }
        let digits = format!("{:0<9}", &after[..count]);
        self.nanos = digits.get(..9)?.parse().ok()?;
        self.rest = &after[count..];
        Some(())
    }

    fn element(&mut self, element: &str, behind: &str) -> Option<()> {
        match element {
            "January" => self.month = self.one_of(&MONTHS, false)? + 1,
            "Jan" => self.month = self.one_of(&MONTHS, true)? + 1,
            "Monday" => drop(self.one_of(&DAYS, false)?),
            "Mon" => drop(self.one_of(&DAYS, true)?),
            "2006" => self.year = self.digits(4, 4)?,
            "06" => {
                let year = self.digits(2, 2)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            "01" => self.month = self.digits(2, 2)?,
            "1" => self.month = self.digits(1, 2)?,
            "02" => self.day = self.digits(2, 2)?,
            "2" => self.day = self.digits(1, 2)?,
            "_2" => {
                self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                self.day = self.digits(1, 2)?;
            }
            "002" => self.year_day = Some(self.digits(3, 3)?),
            "15" => self.hour = self.digits(1, 2)?,
            "03" => self.hour = self.digits(2, 2)?,
            "3" => self.hour = self.digits(1, 2)?,
            "04" => self.minute = self.digits(2, 2)?,
            "4" => self.minute = self.digits(1, 2)?,
            "05" | "5" => {
                self.second = self.digits(if element == "05" { 2 } else { 1 }, 2)?;
                // A fraction may follow, even if the layout has none.
                if !behind.starts_with(['.', ',']) {
                    self.fraction()?;
                }
            }
            ".000" | ".999" => self.fraction()?,
            "PM" | "pm" => self.pm = Some(self.one_of(&["AMx", "PMx"].map(|name| &name[..2]), false)? == 1),
            "MST" => {
                self.rest = self.rest.strip_prefix("UTC").or_else(|| self.rest.strip_prefix("GMT"))?;
            }
            zone => self.zone(zone)?,
        }
        Some(())
    }

    fn zone(&mut self, element: &str) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix('Z').filter(|_| element.starts_with('Z')) {
            self.rest = rest;
            return Some(());
        }
        let sign = if self.rest.starts_with('-') { -1 } else { 1 };
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let hours = self.digits(2, 2)?;
        let mut minutes = 0;
        if element.bytes().filter(u8::is_ascii_digit).count() >= 4 {
            if element.contains(':') {
                self.rest = self.rest.strip_prefix(':')?;
            }
            minutes = self.digits(2, 2)?;
        }
        self.offset = sign * (hours * 3600 + minutes * 60);
        Some(())
    }

    fn finish(mut self) -> Option<Time> {
        if !self.rest.is_empty() {
            return None;
        }
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if let Some(day) = self.year_day {
            (self.month, self.day) = (1, day);
        } else {
            let next = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
            let length = days_of(next.0, next.1, 1) - days_of(self.year, self.month, 1);
            if !(1..=12).contains(&self.month) || !(1..=length).contains(&self.day) {
                return None;
            }
        }
        if self.hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        let first = seconds_of([self.year, self.month, 1], [self.hour, self.minute, self.second]);
        let seconds = first + (self.day - 1) * 86_400 - self.offset;
        Some(Time { nanos: i128::from(seconds) * SECOND + i128::from(self.nanos), offset: self.offset })
    }
}
