//! Text → tokens: every byte but spaces belongs to one, comments and newlines included, so that a formatter can use them
//! too.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

/// How deep quotes and interpolations may nest.
const MAX_NESTING: usize = 64;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name; dashes may be in it.
    Ident,
    /// A number.
    Number,
    /// The quote a template begins with.
    OpenQuote,
    /// The quote it ends with.
    CloseQuote,
    /// `<<EOT` or `<<-EOT`, with the newline.
    OpenHeredoc,
    /// The marker at the end, with the spaces before it.
    CloseHeredoc,
    /// Text of a quoted template.
    QuotedText,
    /// Text of a heredoc, at most one line.
    HeredocText,
    /// `${` or `${~`.
    Interpolation,
    /// `%{` or `%{~`.
    Control,
    /// The `}` or `~}` of one of these.
    SequenceEnd,
    /// `# …`, `// …` without the newline, `/* … */`.
    Comment,
    /// The end of a line.
    Newline,
    /// An operator or bracket.
    Op(&'static str),
    /// Something else.
    Invalid,
    /// The end of the text.
    End,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where.
    pub span: Span,
}

/// Longer ones first.
const OPERATORS: &[&str] = &[
    "...", "==", "!=", "<=", ">=", "=>", "&&", "||", "{", "}", "[", "]", "(", ")", "=", "<", ">", "!", "?", ":", ",",
    ".", "+", "-", "*", "/", "%",
];

/// What the text around the next byte is.
enum Mode {
    /// Code; the number of braces open in it.
    Code(usize),
    /// A quoted template.
    Quoted,
    /// A heredoc with its marker.
    Heredoc(Span),
    /// A template without delimiters.
    Bare,
}

/// The tokens of a configuration or expression, the last of which is [`Kind::End`], and what is wrong with them.
pub fn tokens(text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    Lexer::run(text, Mode::Code(0))
}

/// The tokens of a template that has no quotes around it.
pub fn template_tokens(text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    Lexer::run(text, Mode::Bare)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    modes: Vec<Mode>,
    tokens: Vec<Token>,
    faults: Vec<Diagnostic>,
}

impl<'t> Lexer<'t> {
    fn run(text: &'t str, mode: Mode) -> (Vec<Token>, Vec<Diagnostic>) {
        let mut lexer = Lexer { text, at: 0, modes: vec![mode], tokens: Vec::new(), faults: Vec::new() };
        if lexer.rest().starts_with('\u{feff}') {
            lexer.at = 3;
        }
        while lexer.at < text.len() {
            match lexer.modes.last() {
                Some(Mode::Quoted) => lexer.quoted(),
                Some(&Mode::Heredoc(marker)) => lexer.heredoc(marker),
                Some(Mode::Bare) => lexer.bare(),
                _ => lexer.code(),
            }
        }
        lexer.finish();
        (lexer.tokens, lexer.faults)
    }

    fn finish(&mut self) {
        let end = Span::new(self.text.len(), self.text.len());
        let opened =
            |tokens: &[Token], kind| tokens.iter().rev().find(|token| token.kind == kind).map(|token| token.span);
        let found = match self.modes.last() {
            Some(Mode::Quoted) => {
                opened(&self.tokens, Kind::OpenQuote).map(|span| ("UnclosedString", span, "a string is not closed"))
            }
            Some(Mode::Heredoc(_)) => opened(&self.tokens, Kind::OpenHeredoc).map(|span| {
                ("UnclosedHeredoc", span, "a heredoc is not closed: its marker must stand alone on a line")
            }),
            _ => None,
        };
        if let Some((code, span, message)) = found {
            self.faults.push(Diagnostic::error(code, span, message));
        }
        self.tokens.push(Token { kind: Kind::End, span: end });
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize) {
        if length > 0 {
            self.tokens.push(Token { kind, span: Span::new(self.at, self.at + length) });
            self.at += length;
        }
    }

    fn enter(&mut self, mode: Mode) {
        if self.modes.len() >= MAX_NESTING {
            let span = Span::new(self.at, self.at);
            self.faults.push(Diagnostic::error("TooDeep", span, "strings and interpolations are nested too deeply"));
            self.at = self.text.len();
            self.modes.truncate(1);
            return;
        }
        self.modes.push(mode);
    }

    fn code(&mut self) {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        match bytes[0] {
            b' ' | b'\t' => self.at += 1,
            b'\r' if bytes.get(1) == Some(&b'\n') => self.push(Kind::Newline, 2),
            b'\n' => self.push(Kind::Newline, 1),
            b'#' => self.line_comment(),
            b'/' if bytes.get(1) == Some(&b'/') => self.line_comment(),
            b'/' if bytes.get(1) == Some(&b'*') => self.block_comment(),
            b'"' => {
                self.push(Kind::OpenQuote, 1);
                self.enter(Mode::Quoted);
            }
            b'<' if rest.starts_with("<<") => self.open_heredoc(),
            b'0'..=b'9' => self.number(),
            b'~' if rest.starts_with("~}") && self.closes() => {
                self.push(Kind::SequenceEnd, 2);
                self.modes.pop();
            }
            b'}' if self.closes() => {
                self.push(Kind::SequenceEnd, 1);
                self.modes.pop();
            }
            _ => self.word_or_operator(),
        }
    }

    /// Whether a `}` here ends an interpolation.
    fn closes(&self) -> bool {
        self.modes.len() > 1 && matches!(self.modes.last(), Some(Mode::Code(0)))
    }

    fn word_or_operator(&mut self) {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
            return self.push(Kind::Ident, length);
        }
        let Some(&operator) = OPERATORS.iter().find(|&&operator| rest.starts_with(operator)) else {
            let span = Span::new(self.at, self.at + first.len_utf8());
            let fault =
                Diagnostic::error("BadCharacter", span, format!("`{}` means nothing here", first.escape_debug()));
            self.faults.push(match first {
                '\'' | '\u{201c}' | '\u{201d}' | '`' => fault.hint("strings stand between double quotes: `\"`"),
                '&' => fault.hint("`&&` is the logical and"),
                '|' => fault.hint("`||` is the logical or"),
                ';' => fault.hint("end a line, or separate with a comma"),
                _ => fault,
            });
            return self.push(Kind::Invalid, first.len_utf8());
        };
        if let Some(Mode::Code(braces)) = self.modes.last_mut() {
            match operator {
                "{" => *braces += 1,
                "}" => *braces = braces.saturating_sub(1),
                _ => {}
            }
        }
        self.push(Kind::Op(operator), operator.len());
    }

    fn line_comment(&mut self) {
        let rest = self.rest();
        let length = rest.find('\n').unwrap_or(rest.len());
        let length = if rest[..length].ends_with('\r') { length - 1 } else { length };
        self.push(Kind::Comment, length);
    }

    fn block_comment(&mut self) {
        let rest = self.rest();
        let length = rest[2..].find("*/").map(|at| at + 4);
        if length.is_none() {
            let span = Span::new(self.at, self.at + 2);
            self.faults
                .push(Diagnostic::error("UnclosedComment", span, "a comment is not closed").hint("close it with `*/`"));
        }
        self.push(Kind::Comment, length.unwrap_or(rest.len()));
    }

    fn number(&mut self) {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut length = digits(0);
        if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
            length += 1 + digits(length + 1);
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            let power = if length + 1 + sign < bytes.len() { digits(length + 1 + sign) } else { 0 };
            if power > 0 {
                length += 1 + sign + power;
            }
        }
        self.push(Kind::Number, length);
    }

    fn open_heredoc(&mut self) {
        let rest = self.rest();
        let dash = usize::from(rest[2..].starts_with('-'));
        let name = &rest[2 + dash..];
        let length = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(name.len());
        let after = &name[length..];
        let newline = if after.starts_with("\r\n") { 2 } else { usize::from(after.starts_with('\n')) };
        if length == 0 || newline == 0 {
            let span = Span::new(self.at, self.at + 2 + dash + length);
            let fault =
                Diagnostic::error("BadHeredoc", span, "`<<` must be followed by a marker and the end of the line");
            self.faults.push(fault.hint("for example `<<EOT`, the lines, and `EOT` alone on a line"));
            return self.push(Kind::Invalid, 2 + dash + length);
        }
        let start = self.at + 2 + dash;
        self.push(Kind::OpenHeredoc, 2 + dash + length + newline);
        self.enter(Mode::Heredoc(Span::new(start, start + length)));
    }

    /// How long the text up to the next interpolation, or whatever `stop` finds, is; what a backslash `escapes` is text.
    fn literal(&self, escapes: bool, stop: impl Fn(&[u8], usize) -> Option<usize>) -> usize {
        let bytes = self.rest().as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if let Some(end) = stop(bytes, at) {
                return end;
            }
            let byte = bytes[at];
            if escapes && byte == b'\\' && matches!(bytes.get(at + 1), Some(b'"' | b'\\')) {
                at += 2;
                continue;
            }
            if byte == b'$' || byte == b'%' {
                if bytes[at..].starts_with(&[byte, byte, b'{']) {
                    at += 3;
                    continue;
                }
                if bytes.get(at + 1) == Some(&b'{') {
                    return at;
                }
            }
            at += 1;
        }
        at
    }

    /// Begins an interpolation or control sequence, if there is one here.
    fn sequence(&mut self) -> bool {
        let rest = self.rest();
        let kind = match rest {
            _ if rest.starts_with("${") => Kind::Interpolation,
            _ if rest.starts_with("%{") => Kind::Control,
            _ => return false,
        };
        self.push(kind, 2 + usize::from(rest[2..].starts_with('~')));
        self.enter(Mode::Code(0));
        true
    }

    fn quoted(&mut self) {
        let rest = self.rest();
        if rest.starts_with('"') {
            self.push(Kind::CloseQuote, 1);
            self.modes.pop();
        } else if rest.starts_with('\n') || rest.starts_with("\r\n") {
            let opened = self.tokens.iter().rposition(|token| token.kind == Kind::OpenQuote);
            let start = opened.map_or(self.at, |index| self.tokens[index].span.start);
            let fault = Diagnostic::error("UnclosedString", Span::new(start, self.at), "a string ends with its line");
            self.faults.push(fault.hint("close it with `\"`; for several lines use a heredoc `<<EOT` or `\\n`"));
            // Nothing is inserted: the parser takes the end of the line for the quote.
            self.modes.pop();
        } else if !self.sequence() {
            let length = self.literal(true, |bytes, at| match bytes[at] {
                b'"' | b'\n' => Some(at),
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => Some(at),
                _ => None,
            });
            self.push(Kind::QuotedText, length);
        }
    }

    fn heredoc(&mut self, marker: Span) {
        let rest = self.rest();
        let at_line_start = self.text[..self.at].ends_with('\n');
        if at_line_start {
            let line = rest.split('\n').next().unwrap_or(rest);
            if line.trim() == &self.text[marker.start..marker.end] {
                self.push(Kind::CloseHeredoc, line.trim_end().len());
                self.modes.pop();
                return;
            }
        }
        if !self.sequence() {
            let length = self.literal(false, |bytes, at| (bytes[at] == b'\n').then_some(at + 1));
            self.push(Kind::HeredocText, length);
        }
    }

    fn bare(&mut self) {
        if !self.sequence() {
            let length = self.literal(false, |bytes, at| (bytes[at] == b'\n').then_some(at + 1));
            self.push(Kind::HeredocText, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).0.iter().map(|token| token.kind).collect()
    }

    #[test]
    fn knows_templates_in_templates() {
        use Kind::{CloseQuote, End, Ident, Interpolation, OpenQuote, QuotedText, SequenceEnd};
        assert_eq!(
            kinds(r#""a\"${"b$${${c}"}%%{""#),
            [
                OpenQuote,
                QuotedText,
                Interpolation,
                OpenQuote,
                QuotedText,
                Interpolation,
                Ident,
                SequenceEnd,
                CloseQuote,
                SequenceEnd,
                QuotedText,
                CloseQuote,
                End
            ]
        );
        assert!(tokens(r#""\\""#).1.is_empty());
    }

    #[test]
    fn covers_every_byte_and_always_ends() {
        for text in
            ["\"", "\"\\", "\"\\\"", "${", "<<", "<<-", "<<E", "<<E\n${", "/*", "}", "~}", "\u{feff}a", "\"${", "é'"]
        {
            let (tokens, _) = tokens(text);
            assert_eq!(tokens.last().map(|token| token.kind), Some(Kind::End), "{text:?}");
        }
        let deep = "\"${".repeat(100_000);
        assert!(tokens(&deep).1.iter().any(|fault| fault.code == "TooDeep"));
    }
}
