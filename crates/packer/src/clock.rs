//! Time as templates format it: Go's layouts and strftime, in UTC.

use kiln_oci::time::date_of;

/// Go's layout of a full timestamp.
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

const MONTHS: [&str; 12] = [
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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment in UTC.
struct Moment {
    year: i64,
    /// From 1.
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// From 0, Sunday.
    weekday: usize,
    /// From 1.
    yearday: i64,
}

impl Moment {
    fn of(seconds: i64) -> Moment {
        let days = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        let (year, month, day) = date_of(days);
        Moment {
            year,
            month: usize::try_from(month).unwrap_or(1),
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            yearday: days - days_before(year) + 1,
        }
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(self.month - 1).copied().unwrap_or("")
    }

    fn hour12(&self) -> i64 {
        if self.hour % 12 == 0 { 12 } else { self.hour % 12 }
    }

    fn half(&self) -> &'static str {
        if self.hour < 12 { "AM" } else { "PM" }
    }

    /// The week of the year when weeks start on `first` (0 is Sunday); 0 before the first such day.
    fn week(&self, first: usize) -> i64 {
        let since = (self.weekday + 7 - first) % 7;
        (self.yearday - 1 + 7 - i64::try_from(since).unwrap_or(0)) / 7
    }

    /// The week of ISO 8601.
    fn iso_week(&self) -> i64 {
        let monday_based = i64::try_from((self.weekday + 6) % 7).unwrap_or(0);
        let week = (self.yearday - 1 - monday_based + 10) / 7;
        match week {
            0 => weeks(self.year - 1),
            week if week > weeks(self.year) => 1,
            week => week,
        }
    }
}

/// How many ISO weeks a year has.
fn weeks(year: i64) -> i64 {
    let first = (days_before(year) + 4).rem_euclid(7);
    let leap = days_before(year + 1) - days_before(year) == 366;
    if first == 4 || (leap && first == 3) { 53 } else { 52 }
}

/// Days from 1970 to the start of a year.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

/// The elements of Go's layouts, longer ones before their prefixes.
const LAYOUT: [&str; 38] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "__2",
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
    ".000",
    ",000",
    ".999",
    ",999",
];

/// `seconds` since 1970 in a layout of Go's `time.Format`.
pub fn go(seconds: i64, layout: &str) -> String {
    let moment = Moment::of(seconds);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some((written, length)) = fraction(rest) {
            out.push_str(&written);
            rest = &rest[length..];
            continue;
        }
        let element = LAYOUT.iter().find(|element| {
            // "Jan" and "Mon" are not elements at the start of a longer word.
            let ends = |length: usize| !rest[length..].starts_with(|c: char| c.is_ascii_lowercase());
            rest.starts_with(**element) && (!matches!(**element, "Jan" | "Mon") || ends(3))
        });
        match element {
            Some(element) => {
                out.push_str(&written(&moment, element));
                rest = &rest[element.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// A fraction of a second at the start of a layout: zeros are written, nines are dropped since there is none.
fn fraction(layout: &str) -> Option<(String, usize)> {
    let mark = layout.chars().next().filter(|&c| c == '.' || c == ',')?;
    let digit = layout[1..].chars().next().filter(|&c| c == '0' || c == '9')?;
    let count = layout[1..].chars().take_while(|&c| c == digit).count();
    if layout[1 + count..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let written = if digit == '0' { format!("{mark}{}", "0".repeat(count)) } else { String::new() };
    Some((written, 1 + count))
}

fn written(moment: &Moment, element: &str) -> String {
    match element {
        "January" => moment.month_name().to_owned(),
        "Jan" => moment.month_name().chars().take(3).collect(),
        "Monday" => DAYS[moment.weekday].to_owned(),
        "Mon" => DAYS[moment.weekday][..3].to_owned(),
        "MST" => "UTC".to_owned(),
        "2006" => format!("{:04}", moment.year),
        "_2006" => format!("_{:04}", moment.year),
        "06" => format!("{:02}", moment.year.rem_euclid(100)),
        "01" => format!("{:02}", moment.month),
        "1" => moment.month.to_string(),
        "02" => format!("{:02}", moment.day),
        "_2" => format!("{:2}", moment.day),
        "2" => moment.day.to_string(),
        "002" => format!("{:03}", moment.yearday),
        "__2" => format!("{:3}", moment.yearday),
        "15" => format!("{:02}", moment.hour),
        "03" => format!("{:02}", moment.hour12()),
        "3" => moment.hour12().to_string(),
        "04" => format!("{:02}", moment.minute),
        "4" => moment.minute.to_string(),
        "05" => format!("{:02}", moment.second),
        "5" => moment.second.to_string(),
        "PM" => moment.half().to_owned(),
        "pm" => moment.half().to_lowercase(),
        "-07:00:00" => "+00:00:00".to_owned(),
        "-070000" => "+000000".to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07" => "+00".to_owned(),
        zone if zone.starts_with('Z') => "Z".to_owned(),
        other => other.to_owned(),
    }
}

/// `seconds` since 1970 in a format of strftime.
///
/// # Errors
/// A sentence naming the directive that does not exist.
pub fn strftime(seconds: i64, format: &str) -> Result<String, String> {
    let moment = Moment::of(seconds);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next().ok_or("a `%` at the end of the format stands for nothing")?;
        let text = directive_text(&moment, directive)
            .ok_or_else(|| format!("`%{directive}` is no directive of strftime: write `%%` for a percent sign"))?;
        out.push_str(&text);
    }
    Ok(out)
}

fn directive_text(m: &Moment, directive: char) -> Option<String> {
    let day = DAYS[m.weekday];
    let month = m.month_name();
    Some(match directive {
        'A' => day.to_owned(),
        'a' => day[..3].to_owned(),
        'B' => month.to_owned(),
        'b' | 'h' => month.chars().take(3).collect(),
        'C' => format!("{:02}", m.year / 100),
        'c' => format!(
            "{} {} {:2} {:02}:{:02}:{:02} {:04}",
            &day[..3],
            &month[..3],
            m.day,
            m.hour,
            m.minute,
            m.second,
            m.year
        ),
        'D' | 'x' => format!("{:02}/{:02}/{:02}", m.month, m.day, m.year.rem_euclid(100)),
        'd' => format!("{:02}", m.day),
        'e' => format!("{:2}", m.day),
        'F' => format!("{:04}-{:02}-{:02}", m.year, m.month, m.day),
        'H' => format!("{:02}", m.hour),
        'I' => format!("{:02}", m.hour12()),
        'j' => format!("{:03}", m.yearday),
        'k' => format!("{:2}", m.hour),
        'l' => format!("{:2}", m.hour12()),
        'M' => format!("{:02}", m.minute),
        'm' => format!("{:02}", m.month),
        'n' => "\n".to_owned(),
        'p' => m.half().to_owned(),
        'R' => format!("{:02}:{:02}", m.hour, m.minute),
        'r' => format!("{:02}:{:02}:{:02} {}", m.hour12(), m.minute, m.second, m.half()),
        'S' => format!("{:02}", m.second),
        'T' | 'X' => format!("{:02}:{:02}:{:02}", m.hour, m.minute, m.second),
        't' => "\t".to_owned(),
        'U' => format!("{:02}", m.week(0)),
        'u' => if m.weekday == 0 { 7 } else { m.weekday }.to_string(),
        'V' => format!("{:02}", m.iso_week()),
        'v' => format!("{:2}-{}-{:04}", m.day, &month[..3], m.year),
        'W' => format!("{:02}", m.week(1)),
        'w' => m.weekday.to_string(),
        'Y' => format!("{:04}", m.year),
        'y' => format!("{:02}", m.year.rem_euclid(100)),
        'Z' => "UTC".to_owned(),
        'z' => "+0000".to_owned(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 26 November 2026, 07:08:09.
    const NOW: i64 = 1_795_676_889;

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
            ("002", "330"),
            ("Month Janet", "Month Janet"),
            ("é06", "é26"),
        ] {
            assert_eq!(go(NOW, layout), want, "{layout}");
        }
    }

    #[test]
    fn strftime_is_the_c_librarys() {
        for (format, want) in [
            ("%Y%m%d%H%M%S", "20261126070809"),
            ("%A %a %B %b %e %I %p", "Thursday Thu November Nov 26 07 AM"),
            ("%F %T %j %U %W %V %u %w", "2026-11-26 07:08:09 330 47 47 48 4 4"),
            ("100%%", "100%"),
        ] {
            assert_eq!(strftime(NOW, format).as_deref(), Ok(want), "{format}");
        }
        assert!(strftime(NOW, "%Q").is_err());
        assert!(strftime(NOW, "%").is_err());
    }

    #[test]
    fn dates_far_away_are_right() {
        assert_eq!(go(0, "2006-01-02"), "1970-01-01");
        assert_eq!(go(951_782_400, "2006-01-02"), "2000-02-29");
        assert_eq!(go(-1, "2006-01-02 15:04:05"), "1969-12-31 23:59:59");
        assert_eq!(go(i64::MAX / 1_000_000, "2006").len(), 6);
        assert!(!go(i64::MIN, "2006-01-02").is_empty());
    }
}
