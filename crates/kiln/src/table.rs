//! Columns and ages, as lists show them.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::time::parse_rfc3339;

use crate::error::in_a_line;
use crate::progress::human;
pub use crate::progress::human::{age as ago, size};

/// Rows under a head, in columns of equal width with two or more blanks between. What would end a line is escaped: cells
/// are often a stranger's.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let count = head.len();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| in_a_line(cell)).collect()).collect();
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
    for row in &rows {
        out += &line(&mut row.iter().map(|c| &**c));
    }
    out
}

/// How long ago a time was, for people; `N/A` where there is none.
pub fn age(created: Option<&str>) -> String {
    let Some(time) = created.and_then(|c| parse_rfc3339(c).ok()) else { return "N/A".to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    human::age(now.saturating_sub(time.secs))
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
    fn a_cell_forges_no_row() {
        let rows = [vec!["a\nNAME   1\u{1b}[2J".to_owned(), "ü".to_owned()]];
        assert_eq!(table(&["NAME", "SIZE"], &rows), "NAME                   SIZE\na\\nNAME   1\\u{1b}[2J   ü\n");
    }

    #[test]
    fn what_is_unknown_or_long_is_short() {
        assert_eq!(age(None), "N/A");
        assert_eq!(age(Some("yesterday")), "N/A");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["cccc".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X      Y\na      bb\ncccc\n");
    }
}
