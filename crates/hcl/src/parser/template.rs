//! Templates: quoted, in heredocs, and bare.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use super::{Lost, Parser, Read};
use crate::ast::{Expr, ExprKind, Part};
use crate::lexer::{Kind, Token};

/// A piece of a template, before `if` and `for` are matched with their ends.
enum Piece {
    Text(String),
    Value(Expr),
    Control(Control, Span),
}

enum Control {
    If(Expr),
    Else,
    EndIf,
    For(Option<String>, String, Expr),
    EndFor,
}

/// What ends a list of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Template,
    Else,
    If,
    For,
}

impl Parser<'_> {
    pub(super) fn quoted(&mut self) -> Read<Expr> {
        let open = self.next();
        let (pieces, end) = self.pieces(Kind::CloseQuote)?;
        self.template(pieces, Span::new(open.span.start, end.end))
    }

    pub(super) fn heredoc(&mut self) -> Read<Expr> {
        let open = self.next();
        let flush = self.word(open).starts_with("<<-");
        let (mut pieces, end) = self.pieces(Kind::CloseHeredoc)?;
        if flush {
            dedent(&mut pieces);
        }
        self.template(pieces, Span::new(open.span.start, end.end))
    }

    pub(super) fn bare_template(&mut self) -> Expr {
        let span = Span::new(0, self.text.len());
        let template = self.pieces(Kind::End).and_then(|(pieces, _)| self.template(pieces, span));
        template.unwrap_or_else(|_| Expr::literal("", span))
    }

    /// The pieces up to a token of kind `end`, and where that is.
    fn pieces(&mut self, end: Kind) -> Read<(Vec<Piece>, Span)> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut trim = false;
        self.skips_newlines.push(false);
        let result = loop {
            let token = self.next();
            match token.kind {
                Kind::QuotedText | Kind::HeredocText => {
                    let mut text = self.unescape(token, token.kind == Kind::QuotedText);
                    if trim {
                        text = text.trim_start().to_owned();
                    }
                    trim = false;
                    pieces.push(Piece::Text(text));
                }
                Kind::Interpolation | Kind::Control => {
                    if let Some(Piece::Text(text)) = pieces.last_mut().filter(|_| self.word(token).ends_with('~')) {
                        text.truncate(text.trim_end().len());
                    }
                    self.skips_newlines.push(true);
                    let piece = self.sequence(token);
                    self.skips_newlines.pop();
                    let (piece, close) = match piece {
                        Ok(piece) => piece,
                        Err(lost) => break Err(lost),
                    };
                    trim = self.word(close).starts_with('~');
                    pieces.push(piece);
                }
                kind if kind == end => break Ok((pieces, token.span)),
                _ => {
                    // The lexer has said what is wrong.
                    self.at -= usize::from(token.kind != Kind::End);
                    if self.faults.is_empty() {
                        self.unexpected("the end of the template");
                    }
                    break Err(Lost);
                }
            }
        };
        self.skips_newlines.pop();
        result
    }

    fn sequence(&mut self, open: Token) -> Read<(Piece, Token)> {
        let piece = if open.kind == Kind::Interpolation {
            Piece::Value(self.expression()?)
        } else {
            let word = self.peek();
            let control = match self.word(word) {
                _ if word.kind != Kind::Ident => {
                    return Err(self.unexpected("`if`, `else`, `endif`, `for` or `endfor`"));
                }
                "if" => {
                    self.next();
                    Control::If(self.expression()?)
                }
                "for" => {
                    self.next();
                    let (key, value) = self.for_names()?;
                    Control::For(key, value, self.expression()?)
                }
                word @ ("else" | "endif" | "endfor") => {
                    self.next();
                    match word {
                        "else" => Control::Else,
                        "endif" => Control::EndIf,
                        _ => Control::EndFor,
                    }
                }
                _ => return Err(self.unexpected("`if`, `else`, `endif`, `for` or `endfor`")),
            };
            Piece::Control(control, open.span)
        };
        let close = self.peek();
        if close.kind != Kind::SequenceEnd {
            let lost = self.unexpected("`}`");
            if let Some(fault) = self.faults.last_mut().filter(|_| open.kind == Kind::Interpolation) {
                fault.hint = Some("a literal `${` is written `$${`".to_owned());
            }
            return Err(lost);
        }
        self.next();
        Ok((piece, close))
    }

    fn template(&mut self, pieces: Vec<Piece>, span: Span) -> Read<Expr> {
        if let [Piece::Value(_)] = pieces.as_slice() {
            let Some(Piece::Value(inner)) = pieces.into_iter().next() else { return Err(Lost) };
            let height = inner.height;
            return self.node(ExprKind::Wrapped(Box::new(inner)), span, &[height]);
        }
        let mut pieces = pieces.into_iter();
        let (parts, end, at) = self.parts(&mut pieces, span)?;
        if end != End::Template {
            return self.fail(Diagnostic::error("BadTemplate", at, "this ends nothing that was begun"));
        }
        let literal = parts.iter().all(|part| matches!(part, Part::Text(_)));
        if literal {
            let text: String =
                parts.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "" }).collect();
            return Ok(Expr::literal(text, span));
        }
        let height = heights(&parts);
        self.node(ExprKind::Template(parts), span, &[height])
    }

    /// Parts up to what ends them.
    fn parts(&mut self, pieces: &mut std::vec::IntoIter<Piece>, open: Span) -> Read<(Vec<Part>, End, Span)> {
        self.deeper(|parser| {
            let mut parts = Vec::new();
            while let Some(piece) = pieces.next() {
                match piece {
                    Piece::Text(text) => match parts.last_mut() {
                        Some(Part::Text(before)) => before.push_str(&text),
                        _ => parts.push(Part::Text(text)),
                    },
                    Piece::Value(expr) => parts.push(Part::Value(expr)),
                    Piece::Control(Control::If(condition), span) => {
                        parts.push(parser.if_part(condition, pieces, span)?)
                    }
                    Piece::Control(Control::For(key, value, collection), span) => {
                        let (body, end, _) = parser.parts(pieces, span)?;
                        if end != End::For {
                            return parser.fail(Diagnostic::error(
                                "BadTemplate",
                                span,
                                "this `for` has no `%{ endfor }`",
                            ));
                        }
                        parts.push(Part::For { key, value, collection, body });
                    }
                    Piece::Control(Control::Else, span) => return Ok((parts, End::Else, span)),
                    Piece::Control(Control::EndIf, span) => return Ok((parts, End::If, span)),
                    Piece::Control(Control::EndFor, span) => return Ok((parts, End::For, span)),
                }
            }
            Ok((parts, End::Template, open))
        })
    }

    fn if_part(&mut self, condition: Expr, pieces: &mut std::vec::IntoIter<Piece>, span: Span) -> Read<Part> {
        let (then, end, _) = self.parts(pieces, span)?;
        let (otherwise, end) = match end {
            End::Else => {
                let (otherwise, end, _) = self.parts(pieces, span)?;
                (otherwise, end)
            }
            end => (Vec::new(), end),
        };
        if end != End::If {
            return self.fail(Diagnostic::error("BadTemplate", span, "this `if` has no `%{ endif }`"));
        }
        Ok(Part::If(condition, then, otherwise))
    }

    /// The text a token stands for.
    pub(super) fn unescape(&mut self, token: Token, quoted: bool) -> String {
        let written = self.word(token);
        let mut text = String::with_capacity(written.len());
        let mut at = 0;
        while at < written.len() {
            let rest = &written[at..];
            if let Some(sequence) = rest.get(..3).filter(|&start| start == "$${" || start == "%%{") {
                text.push_str(&sequence[1..]);
                at += 3;
            } else if quoted && rest.starts_with('\\') {
                at += self.escape(rest, token.span.start + at, &mut text);
            } else {
                let c = rest.chars().next().unwrap_or_default();
                text.push(c);
                at += c.len_utf8();
            }
        }
        text
    }

    /// One escape; gives how long it is.
    fn escape(&mut self, rest: &str, at: usize, text: &mut String) -> usize {
        let letter = rest[1..].chars().next();
        let digits = match letter {
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let meant = match letter {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('"') => Some('"'),
            Some('\\') => Some('\\'),
            Some('u' | 'U') => {
                let hex = rest.get(2..2 + digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32)
            }
            _ => None,
        };
        if let Some(meant) = meant {
            text.push(meant);
            return 2 + digits;
        }
        let length = 1 + letter.map_or(0, char::len_utf8);
        let span = Span::new(at, at + length);
        let fault = Diagnostic::error("BadEscape", span, format!("`{}` is no escape", &rest[..length]));
        self.faults.push(fault.hint(r#"known are \n \r \t \" \\ \uNNNN \UNNNNNNNN; a backslash is written `\\`"#));
        length
    }
}

fn heights(parts: &[Part]) -> u32 {
    let height = |part: &Part| match part {
        Part::Text(_) => 0,
        Part::Value(expr) => expr.height,
        Part::If(condition, then, otherwise) => condition.height.max(heights(then)).max(heights(otherwise)) + 1,
        Part::For { collection, body, .. } => collection.height.max(heights(body)) + 1,
    };
    parts.iter().map(height).max().unwrap_or(0)
}

/// Removes from every line the spaces which all lines begin with. Lines of nothing but spaces do not count.
fn dedent(pieces: &mut [Piece]) {
    let mut starts = Vec::new();
    let mut least = usize::MAX;
    let mut line_start = true;
    for (index, piece) in pieces.iter().enumerate() {
        if std::mem::take(&mut line_start) {
            if let Piece::Text(text) = piece {
                let spaces = text.chars().take_while(|c| c.is_whitespace()).count();
                if spaces < text.chars().count() || !text.ends_with('\n') {
                    least = least.min(spaces);
                    starts.push(index);
                }
            } else {
                least = 0;
            }
        }
        if let Piece::Text(text) = piece {
            line_start = text.ends_with('\n');
        }
    }
    for index in starts {
        if let Some(Piece::Text(text)) = pieces.get_mut(index) {
            let from = text.char_indices().nth(least).map_or(text.len(), |(at, _)| at);
            text.replace_range(..from, "");
        }
    }
}
