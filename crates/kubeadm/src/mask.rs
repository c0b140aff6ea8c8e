//! The text of a file without its passwords and tokens: messages quote lines, and what they quote must not be secret.

use kiln_spec::diag::did_you_mean;
use kiln_spec::source::{Source, Span};
use kiln_yaml::{Document, Node, Value};

/// Keys of what is never shown, in all dialects.
const SECRETS: [&str; 10] = [
    "passwd",
    "password",
    "pkPasswd",
    "pkPassword",
    "sudoPasswd",
    "pkData",
    "token",
    "tlsBootstrapToken",
    "certificateKey",
    "Passwd",
];

/// The text with an `x` for each byte of a secret: places in it stay where they are.
pub fn masked(source: &Source, documents: &[Document]) -> Source {
    let mut bytes = source.text.clone().into_bytes();
    for document in documents {
        match &document.root {
            Ok(root) => secrets(root, &mut |span| hide(&mut bytes, span)),
            Err(_) => lines(&source.text, document.span, &mut |span| hide(&mut bytes, span)),
        }
    }
    // Only whole characters were replaced, by ASCII.
    let text = String::from_utf8(bytes).unwrap_or_default();
    Source { name: source.name.clone(), text }
}

fn hide(bytes: &mut [u8], span: Span) {
    let end = span.end.min(bytes.len());
    for byte in &mut bytes[span.start.min(end)..end] {
        if !byte.is_ascii_whitespace() {
            *byte = b'x';
        }
    }
}

/// Whether a key is one of these, or one that is misspelt: the message about it quotes its line.
fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key) || did_you_mean(key, SECRETS).is_some()
}

/// Where secrets are in a document.
fn secrets(root: &Node, found: &mut impl FnMut(Span)) {
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        match &node.value {
            Value::List(items) => open.extend(items),
            Value::Map(map) => {
                for entry in &map.entries {
                    if is_secret(&entry.key) && !entry.value.is_null() {
                        found(entry.value.span);
                    }
                    open.push(&entry.value);
                }
            }
            _ => {}
        }
    }
}

/// Where secrets may be in a text that is no YAML: from such a key to the end of its line, and of all lines behind it where
/// that line ends as a text of several lines begins.
fn lines(text: &str, within: Span, found: &mut impl FnMut(Span)) {
    let Some(part) = text.get(within.start..within.end) else { return found(within) };
    let mut start = within.start;
    for line in part.split_inclusive('\n') {
        let first = SECRETS.iter().filter_map(|key| line.find(key).map(|at| at + key.len())).min();
        if let Some(at) = first {
            let goes_on = line[at..].contains(['|', '>']) || line[at..].trim_end().ends_with(':');
            let end = if goes_on { within.end } else { start + line.len() };
            found(Span::new(start + at, end));
        }
        start += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let source = Source { name: "f".into(), text: text.into() };
        let masked = masked(&source, &kiln_yaml::parse(text)).text;
        assert_eq!(masked.len(), text.len());
        masked
    }

    #[test]
    fn passwords_are_gone_and_places_stay() {
        assert_eq!(shown("ssh: {passwd: hunter2, user: ops}"), "ssh: {passwd: xxxxxxx, user: ops}");
        assert_eq!(shown("passwd: 'é'\nuser: é\n"), "passwd: xxxx\nuser: é\n");
        assert!(!shown("a: [{password: |\n  hunter2\n  hunter3\n}]").contains("hunter"));
        assert!(!shown("a:\n  passwd: |\n    hunter2\n    hunter3\n").contains("hunter"));
        assert!(!shown("ssh: {passwd: \"hunter2, user: [").contains("hunter2"), "what is no YAML");
        assert_eq!(shown("passwd: &a hunter2\nuser: *a\n").matches("hunter2").count(), 0);
    }
}
