//! Splitting arguments at blanks.

use std::ops::Range;

use super::MAX_ARGUMENTS;

/// Blanks between arguments. Newlines cannot occur, and other Unicode blanks do not count.
pub(super) const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// Splits at blanks, whatever quotes there are: paths, ports, volumes. Stops at one word too many.
pub(super) fn split(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let base = range.start;
    let text = &text[range];
    text.split(BLANKS)
        .filter(|part| !part.is_empty())
        .take(MAX_ARGUMENTS + 1)
        .map(|part| {
            let start = base + (part.as_ptr() as usize - text.as_ptr() as usize);
            start..start + part.len()
        })
        .collect()
}

/// Splits at blanks outside quotes that are not escaped: `ARG`, `ENV`, `LABEL`. Quotes and escapes stay in the words,
/// to be processed when variables are. Stops at one word too many.
pub(super) fn split_quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let (mut words, mut start, mut quote) = (Vec::new(), None, None);
    let mut chars = text[range.clone()].char_indices().map(|(i, c)| (range.start + i, c)).peekable();
    while let Some((at, c)) = chars.next() {
        let word_start = match start {
            None if c.is_whitespace() => continue,
            None => *start.insert(at),
            Some(word_start) => word_start,
        };
        match quote {
            None if c.is_whitespace() => {
                words.push(word_start..at);
                start = None;
                if words.len() > MAX_ARGUMENTS {
                    return words;
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        // In single quotes nothing is escaped.
        if c == escape && quote != Some('\'') && chars.next().is_none() {
            // An escape character at the very end is dropped.
            if word_start < at {
                words.push(word_start..at);
            }
            return words;
        }
    }
    words.extend(start.map(|start| start..range.end));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Vec<&str> {
        split_quoted(text, 0..text.len(), '\\').into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn quotes_and_escapes_keep_words_together() {
        assert_eq!(quoted(r#"a="x y" b=c\ d"#), [r#"a="x y""#, r"b=c\ d"]);
        assert_eq!(quoted(r#"a='x\' b="q\" r" "#), [r"a='x\'", r#"b="q\" r""#]);
        assert_eq!(quoted(r#"a=\"x y"#), [r#"a=\"x"#, "y"]);
        assert_eq!(quoted(r"a=b\"), ["a=b"]);
        assert_eq!(quoted(r"\"), Vec::<&str>::new());
        assert_eq!(quoted(r#""" b"#), [r#""""#, "b"]);
        assert_eq!(quoted(r#"a="never closed  "#), [r#"a="never closed  "#]);
        assert_eq!(quoted("a\u{a0}b"), ["a", "b"]);
    }

    #[test]
    fn plain_words() {
        let text = " a  \"b c\"\t";
        let words: Vec<&str> = split(text, 0..text.len()).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["a", "\"b", "c\""]);
    }
}
