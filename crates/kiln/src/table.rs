//! Columns, sizes and ages, as lists show them.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::time::parse_rfc3339;

/// Rows under a head, in columns of equal width with two or more blanks between.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let count = head.len();
    let width = |at: usize| {
        rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).chain([head[at].chars().count()]).max()
    };
    let widths: Vec<usize> = (0..count).map(|at| width(at).unwrap_or(0)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (at, cell) in cells.enumerate() {
            text += cell;
            if at + 1 < count {
                text += &" ".repeat(widths[at].saturating_sub(cell.chars().count()) + 3);
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut head.iter().copied());
    for row in rows {
        out += &line(&mut row.iter().map(|c| &**c));
    }
    out
}

/// A number of bytes for people, in powers of 1000 with three digits, as docker shows them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut divisor: u64 = 1;
    while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes}B");
    }
    let whole = bytes / divisor;
    let digits = if whole >= 100 {
        0
    } else if whole >= 10 {
        1
    } else {
        2
    };
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = bytes as f64 / divisor as f64;
    format!("{value:.digits$}{}", UNITS[unit])
}

/// How long ago a time was, for people; `N/A` where there is none.
pub fn age(created: Option<&str>) -> String {
    let Some(time) = created.and_then(|c| parse_rfc3339(c).ok()) else { return "N/A".to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    ago(now.saturating_sub(time.secs))
}

/// A number of seconds ago, in its largest sensible unit.
pub fn ago(seconds: i64) -> String {
    const UNITS: [(i64, i64, &str); 6] = [
        (2 * 365 * 86400, 365 * 86400, "years"),
        (60 * 86400, 30 * 86400, "months"),
        (14 * 86400, 7 * 86400, "weeks"),
        (48 * 3600, 86400, "days"),
        (90 * 60, 3600, "hours"),
        (60, 60, "minutes"),
    ];
    match UNITS.iter().find(|(from, _, _)| seconds >= *from) {
        Some((_, unit, name)) => match seconds / unit {
            1 => format!("1 {} ago", name.trim_end_matches('s')),
            n => format!("{n} {name} ago"),
        },
        None if seconds < 1 => "just now".to_owned(),
        None => format!("{seconds} seconds ago"),
    }
}

/// A text cut to `max` characters, its cut shown.
pub fn cut(text: &str, max: usize) -> String {
    match text.chars().count() > max {
        true => text.chars().take(max - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (12_345_678, "12.3MB"), (999_999, "1000kB")] {
            assert_eq!(size(bytes), text);
        }
        for (secs, text) in [
            (-5, "just now"),
            (1, "1 seconds ago"),
            (60, "1 minute ago"),
            (7200, "2 hours ago"),
            (50 * 3600, "2 days ago"),
            (800 * 86400, "2 years ago"),
        ] {
            assert_eq!(ago(secs), text);
        }
        assert_eq!(age(None), "N/A");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["cccc".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X      Y\na      bb\ncccc\n");
    }
}
