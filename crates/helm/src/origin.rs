//! From a line that a template gave to the line of the template that gave it.

use std::collections::BTreeMap;

use crate::render::RenderedFile;

/// For each line of a text, the line of the template that it comes from.
#[derive(Debug)]
pub struct Origins(Vec<Option<usize>>);

impl Origins {
    /// The line of the template that a line of the text comes from, both from 1, where that can be told.
    pub fn of(&self, line: usize) -> Option<usize> {
        self.0.get(line.checked_sub(1)?).copied().flatten()
    }
}

impl RenderedFile {
    /// Where its lines come from, as far as that can be told by the keys that lines have: as many times as in the text
    /// there is the same key, or once in what is repeated.
    pub fn origins(&self) -> Origins {
        let (given, written) = (by_key(&self.text), by_key(&self.template));
        let mut origins = vec![None; self.text.lines().count()];
        for (key, lines) in &given {
            let Some(from) = written.get(key) else { continue };
            if let [only] = from[..] {
                lines.iter().for_each(|line| origins[*line] = Some(only + 1));
            } else if from.len() == lines.len() {
                lines.iter().zip(from).for_each(|(line, from)| origins[*line] = Some(from + 1));
            }
        }
        Origins(origins)
    }
}

/// The lines that begin with each key, from 0.
fn by_key(text: &str) -> BTreeMap<&str, Vec<usize>> {
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(key) = key(line) {
            lines.entry(key).or_default().push(number);
        }
    }
    lines
}

/// The key that a line of YAML begins with.
fn key(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start();
    }
    let (key, _) = rest.split_once(':')?;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '"' | '\'' | '{' | ' ');
    (!key.is_empty() && !key.contains("{{") && key.chars().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(template: &str, text: &str) -> Vec<Option<usize>> {
        let file = RenderedFile {
            path: "t".to_owned(),
            file: "t".to_owned(),
            text: text.to_owned(),
            template: template.to_owned(),
        };
        let found = file.origins();
        (0..=text.lines().count() + 1).map(|line| found.of(line)).collect()
    }

    #[test]
    fn lines_are_told_by_their_keys() {
        let template = "{{- if .a }}\nkind: Pod\n{{- end }}\ncs:\n- image: {{ .x }}\n- image: {{ .y }}\n  # image: z\n";
        let text = "\nkind: Pod\ncs:\n- image: a\n- image: b\n";
        assert_eq!(origins(template, text), [None, None, Some(2), Some(4), Some(5), Some(6), None]);
    }

    #[test]
    fn what_is_repeated_has_one_line_and_what_is_unclear_none() {
        let template = "{{ range .l }}\n- image: {{ . }}\n{{ end }}\n{{ toYaml .v }}";
        assert_eq!(origins(template, "- image: a\n- image: b\nx: 1\n"), [None, Some(2), Some(2), None, None]);
        let template = "{{ if .a }}\nimage: a\n{{ else }}\nimage: b\n{{ end }}";
        assert_eq!(origins(template, "image: a\n"), [None, None, None]);
    }
}
