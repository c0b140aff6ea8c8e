//! The table as pages: docs/pod-network.md, and `kiln explain ID`.

use super::{Row, Severity, rows};

/// One row's page.
pub fn page(row: &Row) -> String {
    let mut out = format!("# {}\n\n{}", row.id, body(row));
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// All rows, with headings of the second level.
pub fn all() -> String {
    let mut out = String::new();
    for row in rows() {
        out += &format!("### {}\n\n{}", row.id, body(row));
    }
    out
}

fn body(row: &Row) -> String {
    let how_bad = match row.severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    };
    let mut out = wrapped(&format!("{how_bad}: {}.", row.line));
    out += "\nSymptoms:\n\n```text\n";
    row.symptoms.iter().for_each(|symptom| out += &format!("{symptom}\n"));
    out += "```\n\n";
    out += &wrapped(&format!("Cause: {}", row.cause));
    out += "\n";
    out += &wrapped(&format!("Remedy: {}", row.remedy));
    if !row.after.is_empty() {
        let names: Vec<String> = row.after.iter().map(|id| format!("`{id}`")).collect();
        out += "\n";
        out += &wrapped(&format!("Not reported beside what explains it: {}.", names.join(", ")));
    }
    out + "\n"
}

/// Lines of at most 118 letters. What a page of Markdown would take for tags or emphasis is escaped.
fn wrapped(text: &str) -> String {
    let text = text.replace('<', "\\<").replace('*', "\\*");
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.chars().count() > 118 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.chars().count();
    }
    out + "\n"
}
