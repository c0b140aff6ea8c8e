//! From a line that a template gave to the line of the template that gave it.

use crate::render::RenderedFile;

impl RenderedFile {
    /// The line of the template that a line of the text comes from, both from 1, where that can be told by the keys that
    /// lines have: as many times as in the text there is the same key, or once in what is repeated.
    pub fn origin(&self, line: usize) -> Option<usize> {
        let wanted = key(self.text.lines().nth(line.checked_sub(1)?)?)?;
        let with_key = |text: &str| -> Vec<usize> {
            (1..).zip(text.lines()).filter(|(_, other)| key(other) == Some(wanted)).map(|(number, _)| number).collect()
        };
        let (given, written) = (with_key(&self.text), with_key(&self.template));
        match written[..] {
            [only] => Some(only),
            _ if given.len() == written.len() => written.get(given.iter().position(|number| *number == line)?).copied(),
            _ => None,
        }
    }
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
        (0..=text.lines().count() + 1).map(|line| file.origin(line)).collect()
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
