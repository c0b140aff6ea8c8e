//! Moments in words, as templates write them: Go's layouts, and strftime as the Go library of Packer has it. All is in UTC
//! or at an offset from it; names of other zones are not known.

use kiln_oci::time::{date_of, days_of};

/// Go's layout of a whole time.
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
/// The months' names.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The days' names, from Sunday.
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An instant, as seen at an offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after them.
    pub nanos: u32,
    /// Seconds east of Greenwich.
    pub offset: i64,
}

/// The fields of a date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The year.
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
    /// From 0, which is Sunday.
    pub weekday: i64,
    /// From 1.
    pub year_day: i64,
    /// Up to 23.
    pub hour: i64,
    /// Up to 59.
    pub minute: i64,
    /// Up to 59.
    pub second: i64,
}

fn named<'n>(names: &[&'n str], at: i64) -> &'n str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or("")
}

/// The first three letters of a name.
fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

impl Parts {
    /// The month's name.
    pub fn month_name(&self) -> &'static str {
        named(&MONTHS, self.month - 1)
    }

    /// The day's name.
    pub fn day_name(&self) -> &'static str {
        named(&DAYS, self.weekday)
    }

    /// The hour from 1 to 12.
    pub fn twelve(&self) -> i64 {
        (self.hour + 11) % 12 + 1
    }

    /// `AM` or `PM`.
    pub fn half(&self) -> &'static str {
        if self.hour < 12 { "AM" } else { "PM" }
    }

    /// Year and week of ISO 8601: a week belongs to the year that its Thursday is in.
    pub fn iso_week(&self) -> (i64, i64) {
        let today = days_of(self.year, self.month, self.day);
        let thursday = today - (today + 3).rem_euclid(7) + 3;
        let year = date_of(thursday).0;
        (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
    }

    /// The week of the year when weeks start on `first`, from 0 for Sunday; 0 before the first such day.
    fn week(&self, first: i64) -> i64 {
        (self.year_day + 6 - (self.weekday + 7 - first) % 7) / 7
    }
}

/// The elements of layouts, longer ones before their prefixes.
const ELEMENTS: [&str; 34] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-07:00",
    "-070000",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z07:00",
    "Z070000",
    "Z0700",
    "Z07",
    "__2",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "_2006",
    "_2",
    "15",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// The element at the start of a layout, and how long it is. A fraction of a second is `.000` or `.999`, whatever its
/// length and its mark.
pub fn element(layout: &str) -> Option<(&'static str, usize)> {
    if let Some(rest) = layout.strip_prefix(['.', ',']) {
        let digit = rest.chars().next().filter(|c| matches!(c, '0' | '9'))?;
        let count = rest.chars().take_while(|&c| c == digit).count();
        let ends = !rest[count..].starts_with(|c: char| c.is_ascii_digit());
        return ends.then_some((if digit == '0' { ".000" } else { ".999" }, count + 1));
    }
    let found = ELEMENTS.iter().find(|element| layout.starts_with(**element))?;
    match *found {
        // `Janet` is no month and `Month` no day; `Jan` is one.
        "Jan" | "Mon" if layout[3..].starts_with(|c: char| c.is_ascii_lowercase()) => None,
        // It is a blank for `_`, and a year.
        "_2006" => None,
        found => Some((found, found.len())),
    }
}

fn zone(offset: i64, element: &str) -> String {
    if element.starts_with('Z') && offset == 0 {
        return "Z".to_owned();
    }
    let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    let (hours, minutes, seconds) = (size / 3600, size / 60 % 60, size % 60);
    let colon = if element.contains(':') { ":" } else { "" };
    let mut out = format!("{sign}{hours:02}");
    let digits = element.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 4 {
        out += &format!("{colon}{minutes:02}");
    }
    if digits >= 6 {
        out += &format!("{colon}{seconds:02}");
    }
    out
}

impl Moment {
    /// A second, seen in UTC.
    pub fn utc(seconds: i64) -> Moment {
        Moment { seconds, nanos: 0, offset: 0 }
    }

    /// Its fields.
    pub fn parts(self) -> Parts {
        let local = self.seconds.saturating_add(self.offset);
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = date_of(days);
        Parts {
            year,
            month,
            day,
            weekday: (days + 4).rem_euclid(7),
            year_day: days - days_of(year, 1, 1) + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    /// Go's `Time.Format`.
    pub fn go(self, layout: &str) -> String {
        let parts = self.parts();
        let mut out = String::new();
        let mut rest = layout;
        while let Some(c) = rest.chars().next() {
            match element(rest) {
                Some((element, length)) => {
                    out += &self.written(&parts, element, &rest[..length]);
                    rest = &rest[length..];
                }
                None => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    /// An element, as `typed`.
    fn written(self, parts: &Parts, element: &str, typed: &str) -> String {
        match element {
            "January" => parts.month_name().to_owned(),
            "Jan" => short(parts.month_name()).to_owned(),
            "Monday" => parts.day_name().to_owned(),
            "Mon" => short(parts.day_name()).to_owned(),
            "MST" if self.offset == 0 => "UTC".to_owned(),
            "MST" => zone(self.offset, "-0700"),
            "2006" => format!("{:04}", parts.year),
            "06" => format!("{:02}", parts.year.rem_euclid(100)),
            "01" => format!("{:02}", parts.month),
            "1" => parts.month.to_string(),
            "02" => format!("{:02}", parts.day),
            "_2" => format!("{:2}", parts.day),
            "2" => parts.day.to_string(),
            "002" => format!("{:03}", parts.year_day),
            "__2" => format!("{:3}", parts.year_day),
            "15" => format!("{:02}", parts.hour),
            "03" => format!("{:02}", parts.twelve()),
            "3" => parts.twelve().to_string(),
            "04" => format!("{:02}", parts.minute),
            "4" => parts.minute.to_string(),
            "05" => format!("{:02}", parts.second),
            "5" => parts.second.to_string(),
            "PM" => parts.half().to_owned(),
            "pm" => parts.half().to_ascii_lowercase(),
            ".000" | ".999" => {
                let digits = format!("{:09}", self.nanos);
                let kept = digits.get(..(typed.len() - 1).min(9)).unwrap_or(&digits);
                let kept = if element == ".999" { kept.trim_end_matches('0') } else { kept };
                if kept.is_empty() { String::new() } else { format!("{}{kept}", &typed[..1]) }
            }
            element => zone(self.offset, element),
        }
    }

    /// The `%` letters of C, as far as the library of Packer has them.
    ///
    /// # Errors
    /// A sentence that names what is no such letter.
    pub fn strftime(self, format: &str) -> Result<String, String> {
        let parts = self.parts();
        let mut out = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            let letter = letters.next().ok_or("a `%` at the end of the format stands for nothing")?;
            out += &self.directive(&parts, letter).ok_or_else(|| {
                let letter = letter.escape_debug();
                format!("`%{letter}` is no directive of strftime: write `%%` for a percent sign")
            })?;
        }
        Ok(out)
    }

    fn directive(self, m: &Parts, letter: char) -> Option<String> {
        let (day, month) = (m.day_name(), m.month_name());
        let clock = format!("{:02}:{:02}:{:02}", m.hour, m.minute, m.second);
        Some(match letter {
            'A' => day.to_owned(),
            'a' => short(day).to_owned(),
            'B' => month.to_owned(),
            'b' | 'h' => short(month).to_owned(),
            'C' => format!("{:02}", m.year / 100),
            'c' => format!("{} {} {:2} {clock} {:04}", short(day), short(month), m.day, m.year),
            'D' | 'x' => format!("{:02}/{:02}/{:02}", m.month, m.day, m.year.rem_euclid(100)),
            'd' => format!("{:02}", m.day),
            'e' => format!("{:2}", m.day),
            'F' => format!("{:04}-{:02}-{:02}", m.year, m.month, m.day),
            'H' => format!("{:02}", m.hour),
            'I' => format!("{:02}", m.twelve()),
            'j' => format!("{:03}", m.year_day),
            'k' => format!("{:2}", m.hour),
            'l' => format!("{:2}", m.twelve()),
            'M' => format!("{:02}", m.minute),
            'm' => format!("{:02}", m.month),
            'n' => "\n".to_owned(),
            'p' => m.half().to_owned(),
            'R' => format!("{:02}:{:02}", m.hour, m.minute),
            'r' => format!("{:02}:{:02}:{:02} {}", m.twelve(), m.minute, m.second, m.half()),
            'S' => format!("{:02}", m.second),
            'T' | 'X' => clock,
            't' => "\t".to_owned(),
            'U' => format!("{:02}", m.week(0)),
            'u' => if m.weekday == 0 { 7 } else { m.weekday }.to_string(),
            'V' => format!("{:02}", m.iso_week().1),
            'v' => format!("{:2}-{}-{:04}", m.day, short(month), m.year),
            'W' => format!("{:02}", m.week(1)),
            'w' => m.weekday.to_string(),
            'Y' => format!("{:04}", m.year),
            'y' => format!("{:02}", m.year.rem_euclid(100)),
            'Z' => "UTC".to_owned(),
            'z' => zone(self.offset, "-0700"),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 26 November 2026, 07:08:09.
    const NOW: Moment = Moment { seconds: 1_795_676_889, nanos: 0, offset: 0 };

    #[test]
    fn layouts_are_gos() {
        for (layout, want) in [
            (RFC3339, "2026-11-26T07:08:09Z"),
            ("2006-01-02 03_04_05", "2026-11-26 07_08_09"),
            ("20060102150405", "20261126070809"),
            ("Mon Jan _2 15:04:05 2006", "Thu Nov 26 07:08:09 2026"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Thursday, 26-Nov-26 07:08:09 UTC"),
            ("Mon, 02 Jan 2006 15:04:05 -0700", "Thu, 26 Nov 2026 07:08:09 +0000"),
            ("3:04PM", "7:08AM"),
            ("15:04:05.000", "07:08:09.000"),
            ("15:04:05.999", "07:08:09"),
            (".0000000000000x.05", ".000000000x.09"),
            ("002 __2 _2006", "330 330 _2026"),
            ("Month Janet", "Month Janet"),
            ("Z07:00:00 -07 -070000", "Z +00 +000000"),
            ("é06", "é26"),
        ] {
            assert_eq!(NOW.go(layout), want, "{layout}");
        }
        let there = Moment { nanos: 120_000_000, offset: -12_600, ..NOW };
        assert_eq!(there.go("15:04:05,000 05.999 MST Z07:00"), "03:38:09,120 09.12 -0330 -03:30");
    }

    #[test]
    fn strftime_is_the_c_librarys() {
        for (format, want) in [
            ("%Y%m%d%H%M%S", "20261126070809"),
            ("%A %a %B %b %e %I %p", "Thursday Thu November Nov 26 07 AM"),
            ("%F %T %j %U %W %V %u %w", "2026-11-26 07:08:09 330 47 47 48 4 4"),
            ("%c|%v|%r|%D", "Thu Nov 26 07:08:09 2026|26-Nov-2026|07:08:09 AM|11/26/26"),
            ("100%%", "100%"),
        ] {
            assert_eq!(NOW.strftime(format).as_deref(), Ok(want), "{format}");
        }
        for format in ["%Q", "%", "%\u{1b}", "%s"] {
            assert!(NOW.strftime(format).is_err(), "{format:?}");
        }
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        for (seconds, want) in [
            (1_609_459_200, "2021-01-01 53 00 00"),
            (1_735_603_200, "2024-12-31 01 52 53"),
            (1_230_768_000, "2009-01-01 01 00 00"),
            (1_262_304_000, "2010-01-01 53 00 00"),
        ] {
            assert_eq!(Moment::utc(seconds).strftime("%F %V %U %W").as_deref(), Ok(want));
        }
        assert_eq!(Moment::utc(1_609_459_200).parts().iso_week(), (2020, 53));
    }

    #[test]
    fn dates_far_away_are_right() {
        assert_eq!(Moment::utc(0).go("2006-01-02"), "1970-01-01");
        assert_eq!(Moment::utc(951_782_400).go("2006-01-02"), "2000-02-29");
        assert_eq!(Moment::utc(-1).go("2006-01-02 15:04:05"), "1969-12-31 23:59:59");
        assert_eq!(Moment::utc(i64::MAX / 1_000_000).go("2006").len(), 6);
        for seconds in [i64::MIN, i64::MAX] {
            let moment = Moment { seconds, nanos: u32::MAX, offset: seconds };
            assert!(!moment.go("2006-01-02 Mon .000 Z07:00:00").is_empty());
        }
    }
}
