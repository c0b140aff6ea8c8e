//! Tokens → bodies and expressions. A mistake is reported and what follows it is still read.

mod expression;
mod template;

use std::collections::HashSet;

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use crate::ast::{Attribute, Block, Body, Expr, Label};
use crate::lexer::{self, Kind, Token};

/// The longest text, in bytes.
pub const MAX_LENGTH: usize = 16 << 20;
/// How deep expressions and blocks may nest.
pub const MAX_DEPTH: u32 = 128;
/// After this many mistakes reading ends.
const MAX_FAULTS: usize = 50;

/// Reads a file: what could be read of it, and what is wrong.
pub fn parse(text: &str) -> (Body, Vec<Diagnostic>) {
    if let Some(fault) = too_long(text) {
        return (Body::default(), vec![fault]);
    }
    let (tokens, faults) = lexer::tokens(text);
    let mut parser = Parser::new(text, tokens, faults);
    let body = parser.body(Kind::End);
    (body, parser.into_faults())
}

/// Reads one expression, with nothing behind it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_expression(text: &str) -> Result<Expr, Vec<Diagnostic>> {
    if let Some(fault) = too_long(text) {
        return Err(vec![fault]);
    }
    let (tokens, faults) = lexer::tokens(text);
    let mut parser = Parser::new(text, tokens, faults);
    parser.whole_expression()
}

/// Reads a template that has no quotes around it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_template(text: &str) -> Result<Expr, Vec<Diagnostic>> {
    if let Some(fault) = too_long(text) {
        return Err(vec![fault]);
    }
    let (tokens, faults) = lexer::template_tokens(text);
    let mut parser = Parser::new(text, tokens, faults);
    let expr = parser.bare_template();
    let faults = parser.into_faults();
    if faults.is_empty() { Ok(expr) } else { Err(faults) }
}

fn too_long(text: &str) -> Option<Diagnostic> {
    let fault = || Diagnostic::error("TooLong", Span::default(), format!("the text is longer than {MAX_LENGTH} bytes"));
    (text.len() > MAX_LENGTH).then(fault)
}

/// A mistake was reported; the rest of what was being read means nothing.
#[derive(Debug)]
pub(crate) struct Lost;

type Read<T> = Result<T, Lost>;

pub(crate) struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    /// Whether newlines between brackets are skipped: one entry for each bracket that is open.
    skips_newlines: Vec<bool>,
    depth: u32,
    faults: Vec<Diagnostic>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, tokens: Vec<Token>, faults: Vec<Diagnostic>) -> Parser<'t> {
        Parser { text, tokens, at: 0, skips_newlines: vec![false], depth: 0, faults }
    }

    /// In the order of the text; of those at one place only the first.
    fn into_faults(mut self) -> Vec<Diagnostic> {
        self.faults.sort_by_key(|fault| fault.span.start);
        self.faults.dedup_by_key(|fault| fault.span.start);
        self.faults.truncate(MAX_FAULTS);
        self.faults
    }

    fn whole_expression(&mut self) -> Result<Expr, Vec<Diagnostic>> {
        self.skips_newlines = vec![true];
        let expr = self.expression();
        if expr.is_ok() && self.peek().kind != Kind::End {
            self.unexpected("the end of the expression");
        }
        match expr {
            Ok(expr) if self.faults.is_empty() => Ok(expr),
            _ => {
                let parser = Parser {
                    text: self.text,
                    tokens: Vec::new(),
                    at: 0,
                    skips_newlines: Vec::new(),
                    depth: 0,
                    faults: std::mem::take(&mut self.faults),
                };
                Err(parser.into_faults())
            }
        }
    }

    /// The next token which is no comment, and no newline where these do not count.
    fn peek(&mut self) -> Token {
        let skips = self.skips_newlines.last().copied().unwrap_or(false);
        while let Some(token) = self.tokens.get(self.at) {
            match token.kind {
                Kind::Comment => self.at += 1,
                Kind::Newline if skips => self.at += 1,
                _ => return *token,
            }
        }
        Token { kind: Kind::End, span: Span::new(self.text.len(), self.text.len()) }
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    fn is(&mut self, operator: &'static str) -> bool {
        self.peek().kind == Kind::Op(operator)
    }

    fn take(&mut self, operator: &'static str) -> Option<Token> {
        self.is(operator).then(|| self.next())
    }

    fn word(&self, token: Token) -> &'t str {
        &self.text[token.span.start..token.span.end]
    }

    fn is_word(&mut self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Ident && self.word(token) == word
    }

    fn skip_newlines(&mut self) {
        while self.peek().kind == Kind::Newline {
            self.at += 1;
        }
    }

    fn fail<T>(&mut self, fault: Diagnostic) -> Read<T> {
        self.faults.push(fault);
        Err(Lost)
    }

    fn unexpected(&mut self, wanted: &str) -> Lost {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            _ => format!("`{}`", self.word(token).lines().next().unwrap_or_default()),
        };
        self.faults.push(Diagnostic::error("Unexpected", token.span, format!("expected {wanted}, found {found}")));
        Lost
    }

    fn expect(&mut self, operator: &'static str, wanted: &str) -> Read<Token> {
        match self.take(operator) {
            Some(token) => Ok(token),
            None => Err(self.unexpected(wanted)),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= MAX_DEPTH {
            let span = self.peek().span;
            return self.fail(Diagnostic::error("TooDeep", span, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn body(&mut self, end: Kind) -> Body {
        let start = self.peek().span.start;
        let mut body = Body::default();
        let mut names = HashSet::new();
        loop {
            self.skip_newlines();
            let token = self.peek();
            if token.kind == end || token.kind == Kind::End || self.faults.len() >= MAX_FAULTS {
                body.span = Span::new(start.min(token.span.start), token.span.start);
                return body;
            }
            if self.item(&mut body, &mut names).is_err() {
                self.recover();
            }
        }
    }

    /// Skips the rest of a line, and whatever brackets it opened.
    fn recover(&mut self) {
        self.skips_newlines.truncate(1);
        let mut open = 0_usize;
        loop {
            match self.peek().kind {
                Kind::End => return,
                Kind::Newline if open == 0 => return,
                Kind::Op("}") if open == 0 => return,
                Kind::Op("{" | "[" | "(") | Kind::Interpolation | Kind::Control => open += 1,
                Kind::Op("}" | "]" | ")") | Kind::SequenceEnd => open = open.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn item(&mut self, body: &mut Body, names: &mut HashSet<String>) -> Read<()> {
        let name = self.next();
        if name.kind != Kind::Ident {
            self.at -= usize::from(name.kind != Kind::End);
            let lost = self.unexpected("an attribute or a block");
            // A bracket too many would stop recovery at itself.
            self.at += usize::from(matches!(name.kind, Kind::Op("}")));
            return Err(lost);
        }
        let word = self.word(name).to_owned();
        if self.take("=").is_some() {
            let expr = self.expression()?;
            if !names.insert(word.clone()) {
                let message = format!("`{word}` is set twice in one block");
                self.faults.push(Diagnostic::error("DuplicateAttribute", name.span, message));
            } else {
                body.attributes.push(Attribute { name: word, name_span: name.span, expr });
            }
            return self.end_of_line();
        }
        let block = self.deeper(|parser| parser.block(word, name.span))?;
        body.blocks.push(block);
        self.end_of_line()
    }

    fn end_of_line(&mut self) -> Read<()> {
        match self.peek().kind {
            Kind::Newline | Kind::End | Kind::Op("}") => Ok(()),
            _ => Err(self.unexpected("the end of the line")),
        }
    }

    fn block(&mut self, kind: String, kind_span: Span) -> Read<Block> {
        let mut labels = Vec::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Ident => {
                    self.next();
                    labels.push(Label { text: self.word(token).to_owned(), span: token.span });
                }
                Kind::OpenQuote => labels.push(self.label()?),
                Kind::Op("{") => break,
                Kind::Op(":") => {
                    let fault =
                        Diagnostic::error("Unexpected", token.span, format!("`{kind}` is not followed by `=` or `{{`"));
                    return self.fail(fault.hint(format!("write `{kind} = …`")));
                }
                _ if labels.is_empty() => return Err(self.unexpected("`=`, a label or `{`")),
                _ => return Err(self.unexpected("a label or `{`")),
            }
        }
        let open = self.next();
        self.skips_newlines.push(false);
        let body = self.body(Kind::Op("}"));
        self.skips_newlines.pop();
        if self.take("}").is_none() {
            if self.faults.len() < MAX_FAULTS {
                self.faults.push(Diagnostic::error(
                    "UnclosedBlock",
                    open.span,
                    format!("the block `{kind}` is not closed"),
                ));
            }
            return Err(Lost);
        }
        Ok(Block { kind, kind_span, labels, body })
    }

    fn label(&mut self) -> Read<Label> {
        let open = self.next();
        let mut text = String::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::QuotedText => text = self.unescape(token, true),
                Kind::CloseQuote => return Ok(Label { text, span: Span::new(open.span.start, token.span.end) }),
                Kind::Interpolation | Kind::Control => {
                    let fault = Diagnostic::error("BadLabel", token.span, "a label must be a plain text");
                    return self.fail(fault.hint("interpolation is possible in values only"));
                }
                _ => {
                    self.at -= usize::from(token.kind != Kind::End);
                    return Err(self.unexpected("the end of the label"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_several_mistakes_of_one_text() {
        let (body, faults) = parse("a = \nb = 1\nc = [1, 2\nd \"x\" {\n  e = 'no'\n  f = 2\n}\n");
        assert!(body.attribute("b").is_some());
        assert!(faults.len() >= 2, "{faults:?}");
        let (body, faults) = parse("a = foo(\nx \"y\" {}\n");
        assert!(!faults.is_empty(), "{body:?}");
    }

    #[test]
    fn reads_labels_and_one_line_blocks() {
        let (body, faults) = parse("source \"null\" x { communicator = \"none\" }\n");
        assert_eq!(faults, []);
        assert_eq!(body.blocks[0].labels.iter().map(|label| label.text.as_str()).collect::<Vec<_>>(), ["null", "x"]);
        assert!(body.blocks[0].body.attribute("communicator").is_some());
    }

    #[test]
    fn limits_depth_and_faults() {
        for text in [
            "(".repeat(100_000),
            "[".repeat(100_000),
            "-".repeat(100_000),
            "a.".repeat(100_000),
            "x{\n".repeat(100_000),
        ] {
            let (_, faults) = parse(&format!("a = {text}"));
            assert!(!faults.is_empty());
            let (_, faults) = parse(&text);
            assert!(!faults.is_empty());
        }
        let chain = format!("a = 1{}", "+1".repeat(100_000));
        assert_eq!(parse(&chain).1[0].code, "TooDeep");
        let many = "= 1\n".repeat(10_000);
        assert!(parse(&many).1.len() <= MAX_FAULTS);
    }
}
