//! Reports in files, whose form their ending says.

use std::io;
use std::path::Path;

use super::{Report, document, html, text};

/// How a report is written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// JSON.
    Json,
    /// JUnit's XML.
    Junit,
    /// A page.
    Html,
}

impl Form {
    /// What endings there are, for people.
    pub const ENDINGS: &'static str = ".json, .xml (JUnit), .html or .txt";

    /// The form that the ending of a file says.
    pub fn of(path: &Path) -> Option<Form> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Some(Form::Json),
            Some("xml") => Some(Form::Junit),
            Some("html" | "htm") => Some(Form::Html),
            Some("txt" | "log") => Some(Form::Text),
            _ => None,
        }
    }
}

impl Report {
    /// The report in a form.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Json => serde_json::to_string_pretty(&document::json(self)).unwrap_or_default() + "\n",
            Form::Junit => document::junit(self),
            Form::Html => html::render(self),
            Form::Text => text::render(self, text::Options { color: false, all: true }),
        }
    }

    /// Writes it to a file, in the form its ending says; as text where it says none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.render(Form::of(path).unwrap_or(Form::Text)))
    }
}
