//! Expressions.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use super::{Lost, MAX_DEPTH, Parser, Read};
use crate::ast::{BinaryOp, Expr, ExprKind, For, UnaryOp};
use crate::lexer::Kind;
use crate::number::Number;
use crate::value::Value;

/// Operators that bind loosest first.
const LEVELS: &[&[(&str, BinaryOp)]] = &[
    &[("||", BinaryOp::Or)],
    &[("&&", BinaryOp::And)],
    &[("==", BinaryOp::Equal), ("!=", BinaryOp::NotEqual)],
    &[("<", BinaryOp::Less), ("<=", BinaryOp::LessOrEqual), (">", BinaryOp::Greater), (">=", BinaryOp::GreaterOrEqual)],
    &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)],
    &[("*", BinaryOp::Multiply), ("/", BinaryOp::Divide), ("%", BinaryOp::Remainder)],
];

fn operator(kind: Kind) -> Option<(usize, BinaryOp)> {
    let Kind::Op(text) = kind else { return None };
    LEVELS.iter().enumerate().find_map(|(level, operators)| {
        operators.iter().find(|(name, _)| *name == text).map(|&(_, operator)| (level, operator))
    })
}

impl Parser<'_> {
    /// An expression of `parts`, unless that makes it too deep.
    pub(super) fn node(&mut self, kind: ExprKind, span: Span, parts: &[u32]) -> Read<Expr> {
        let height = parts.iter().copied().max().unwrap_or(0) + 1;
        if height > MAX_DEPTH * 2 {
            return self
                .fail(Diagnostic::error("TooDeep", span, "the expression is too long").hint("split it in locals"));
        }
        Ok(Expr { kind, span, height })
    }

    pub(super) fn expression(&mut self) -> Read<Expr> {
        self.deeper(Parser::conditional)
    }

    fn conditional(&mut self) -> Read<Expr> {
        let condition = self.binary(0)?;
        if self.take("?").is_none() {
            return Ok(condition);
        }
        let then = self.expression()?;
        self.expect(":", "`:` and the value for false")?;
        let otherwise = self.expression()?;
        let span = Span::new(condition.span.start, otherwise.span.end);
        let heights = [condition.height, then.height, otherwise.height];
        self.node(ExprKind::Conditional(Box::new(condition), Box::new(then), Box::new(otherwise)), span, &heights)
    }

    /// Operands joined by operators that bind at least as tight as `level`.
    fn binary(&mut self, level: usize) -> Read<Expr> {
        let mut left = self.unary()?;
        while let Some((tightness, operator)) = operator(self.peek().kind) {
            if tightness < level {
                break;
            }
            self.next();
            let right = self.binary(tightness + 1)?;
            let span = Span::new(left.span.start, right.span.end);
            let heights = [left.height, right.height];
            left = self.node(ExprKind::Binary(operator, Box::new(left), Box::new(right)), span, &heights)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read<Expr> {
        let token = self.peek();
        let operator = match token.kind {
            Kind::Op("-") => UnaryOp::Negate,
            Kind::Op("!") => UnaryOp::Not,
            _ => return self.postfix(),
        };
        self.next();
        let operand = self.deeper(Parser::unary)?;
        let (span, height) = (Span::new(token.span.start, operand.span.end), operand.height);
        self.node(ExprKind::Unary(operator, Box::new(operand)), span, &[height])
    }

    fn postfix(&mut self) -> Read<Expr> {
        let mut expr = self.primary()?;
        loop {
            let before = expr.height;
            expr = if self.is(".") {
                self.next();
                if let Some(star) = self.take("*") {
                    self.splat(expr, star.span, false)?
                } else {
                    self.attribute(expr)?
                }
            } else if self.is("[") {
                self.bracket(expr)?
            } else {
                return Ok(expr);
            };
            if expr.height <= before {
                return Err(Lost);
            }
        }
    }

    /// What follows a dot.
    fn attribute(&mut self, of: Expr) -> Read<Expr> {
        let token = self.peek();
        let span = Span::new(of.span.start, token.span.end);
        let height = of.height;
        match token.kind {
            Kind::Ident => {
                self.next();
                let name = self.word(token).to_owned();
                self.node(ExprKind::Attribute(Box::new(of), name, token.span), span, &[height])
            }
            Kind::Number => {
                self.next();
                // `a.0.1` is two indexes, and one number of the lexer.
                let mut expr = of;
                for part in self.word(token).split('.') {
                    let Some(number) = Number::parse(part).filter(Number::is_whole) else {
                        let fault = Diagnostic::error("BadIndex", token.span, "an index is a whole number");
                        return self.fail(fault);
                    };
                    let height = expr.height;
                    let key = Expr::literal(number, token.span);
                    expr = self.node(ExprKind::Index(Box::new(expr), Box::new(key)), span, &[height])?;
                }
                Ok(expr)
            }
            _ => Err(self.unexpected("the name of an attribute")),
        }
    }

    /// What follows in brackets.
    fn bracket(&mut self, of: Expr) -> Read<Expr> {
        let open = self.next();
        self.skips_newlines.push(true);
        let star = self.take("*");
        // Whether a newline counts must be as before when the token behind the bracket is looked at.
        let result = match star {
            Some(_) => self.expect("]", "`]`").map(|_| None),
            None => Ok(Some(open.span)),
        };
        if let (Some(star), Ok(_)) = (star, &result) {
            self.skips_newlines.pop();
            return self.splat(of, star.span, true);
        }
        let result = result.and_then(|_| self.index(of, open.span));
        self.skips_newlines.pop();
        result
    }

    fn index(&mut self, of: Expr, open: Span) -> Read<Expr> {
        let key = self.expression()?;
        let Some(close) = self.take("]") else {
            let _lost = self.unexpected("`]`");
            if let Some(fault) = self.faults.last_mut() {
                fault.notes.push(format!("the `[` is at byte {}", open.start));
            }
            return Err(Lost);
        };
        let span = Span::new(of.span.start, close.span.end);
        let heights = [of.height, key.height];
        self.node(ExprKind::Index(Box::new(of), Box::new(key)), span, &heights)
    }

    /// What follows `.*` (attributes only) or `[*]` (indexes too) is done with each item.
    fn splat(&mut self, of: Expr, star: Span, full: bool) -> Read<Expr> {
        let mut each = Expr { kind: ExprKind::Item, span: star, height: 1 };
        loop {
            if self.is(".") {
                self.next();
                if self.is("*") {
                    let span = self.peek().span;
                    return self.fail(Diagnostic::error("NestedSplat", span, "a splat in a splat needs `[*]`"));
                }
                each = self.attribute(each)?;
            } else if full && self.is("[") {
                if matches!(self.tokens.get(self.at + 1).map(|token| token.kind), Some(Kind::Op("*"))) {
                    // A splat of each item's own items.
                    each = self.bracket(each)?;
                    break;
                }
                each = self.bracket(each)?;
            } else {
                break;
            }
        }
        let span = Span::new(of.span.start, each.span.end.max(star.end));
        let heights = [of.height, each.height];
        self.node(ExprKind::Splat(Box::new(of), Box::new(each)), span, &heights)
    }

    fn primary(&mut self) -> Read<Expr> {
        let token = self.peek();
        match token.kind {
            Kind::Number => {
                self.next();
                match Number::parse(self.word(token)) {
                    Some(number) => Ok(Expr::literal(number, token.span)),
                    None => self.fail(Diagnostic::error("BadNumber", token.span, "the number is too large")),
                }
            }
            Kind::Ident => {
                self.next();
                self.named(self.word(token).to_owned(), token.span)
            }
            Kind::OpenQuote => self.quoted(),
            Kind::OpenHeredoc => self.heredoc(),
            Kind::Op("(") => self.bracketed(")", |parser, open| {
                let inner = parser.expression()?;
                let close = parser.expect(")", "`)`")?;
                let (span, height) = (Span::new(open.start, close.span.end), inner.height);
                parser.node(ExprKind::Paren(Box::new(inner)), span, &[height])
            }),
            Kind::Op("[") => self.bracketed("]", Parser::tuple),
            Kind::Op("{") => self.bracketed("}", Parser::object),
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn bracketed(&mut self, close: &str, inner: impl FnOnce(&mut Self, Span) -> Read<Expr>) -> Read<Expr> {
        let open = self.next();
        self.skips_newlines.push(close != "}");
        let result = inner(self, open.span);
        self.skips_newlines.pop();
        result
    }

    fn named(&mut self, name: String, span: Span) -> Read<Expr> {
        if self.is("(") {
            self.next();
            self.skips_newlines.push(true);
            let call = self.call(name, span);
            self.skips_newlines.pop();
            return call;
        }
        Ok(match name.as_str() {
            "true" => Expr::literal(true, span),
            "false" => Expr::literal(false, span),
            "null" => Expr::literal(Value::null(), span),
            _ => Expr { kind: ExprKind::Variable(name), span, height: 1 },
        })
    }

    fn call(&mut self, name: String, name_span: Span) -> Read<Expr> {
        let mut arguments = Vec::new();
        let mut expand = false;
        let close = loop {
            if let Some(close) = self.take(")") {
                break close;
            }
            arguments.push(self.expression()?);
            if self.take("...").is_some() {
                expand = true;
                self.take(",");
                break self.expect(")", "`)` after `...`")?;
            }
            if self.take(",").is_none() && !self.is(")") {
                return Err(self.unexpected("`,` or `)`"));
            }
        };
        let heights: Vec<u32> = arguments.iter().map(|argument| argument.height).collect();
        let span = Span::new(name_span.start, close.span.end);
        self.node(ExprKind::Call { name, name_span, arguments, expand }, span, &heights)
    }

    fn tuple(&mut self, open: Span) -> Read<Expr> {
        if self.is_word("for") {
            return self.for_expression(open, "]");
        }
        let mut items = Vec::new();
        let close = loop {
            if let Some(close) = self.take("]") {
                break close;
            }
            items.push(self.expression()?);
            if self.take(",").is_none() && !self.is("]") {
                return Err(self.unexpected("`,` or `]`"));
            }
        };
        let heights: Vec<u32> = items.iter().map(|item| item.height).collect();
        self.node(ExprKind::Tuple(items), Span::new(open.start, close.span.end), &heights)
    }

    fn object(&mut self, open: Span) -> Read<Expr> {
        self.skip_newlines();
        if self.is_word("for") {
            // `for = 1` is an attribute.
            let after = self.tokens[self.at + 1..].iter().find(|token| token.kind != Kind::Comment);
            if !matches!(after.map(|token| token.kind), Some(Kind::Op("=" | ":"))) {
                *self.skips_newlines.last_mut().ok_or(Lost)? = true;
                return self.for_expression(open, "}");
            }
        }
        let mut items = Vec::new();
        let close = loop {
            self.skip_newlines();
            if let Some(close) = self.take("}") {
                break close;
            }
            let key = self.expression()?;
            if self.take("=").is_none() && self.take(":").is_none() {
                return Err(self.unexpected("`=` or `:` and a value"));
            }
            let value = self.expression()?;
            items.push((self.key(key)?, value));
            match self.peek().kind {
                Kind::Op(",") | Kind::Newline => {
                    self.next();
                }
                Kind::Op("}") => {}
                _ => return Err(self.unexpected("`,`, the end of the line or `}`")),
            }
        };
        let heights: Vec<u32> = items.iter().map(|(key, value)| key.height.max(value.height)).collect();
        self.node(ExprKind::Object(items), Span::new(open.start, close.span.end), &heights)
    }

    /// A bare name as a key is the name itself; a path is not clear.
    fn key(&mut self, key: Expr) -> Read<Expr> {
        if let Some(name) = key.keyword() {
            return Ok(Expr::literal(name, key.span));
        }
        if matches!(key.kind, ExprKind::Attribute(..)) {
            let fault = Diagnostic::error("AmbiguousKey", key.span, "whether this is a name or a value is not clear");
            return self.fail(fault.hint("put a value between parentheses, a name between quotes"));
        }
        Ok(key)
    }

    fn for_expression(&mut self, open: Span, close: &'static str) -> Read<Expr> {
        self.next();
        let (key, value) = self.for_names()?;
        let collection = self.expression()?;
        self.expect(":", "`:` and the result")?;
        let first = self.expression()?;
        let (result_key, result) = if close == "}" {
            self.expect("=>", "`=>` and the value")?;
            (Some(first), self.expression()?)
        } else {
            if self.is("=>") {
                let span = self.peek().span;
                let fault = Diagnostic::error("BadFor", span, "a list has no keys");
                return self.fail(fault.hint("an object is made with `{for … : key => value}`"));
            }
            (None, first)
        };
        let group = self.take("...");
        if let Some(token) = group.filter(|_| result_key.is_none()) {
            return self.fail(Diagnostic::error("BadFor", token.span, "only values of objects can be grouped"));
        }
        let condition = if self.is_word("if") {
            self.next();
            Some(self.expression()?)
        } else {
            None
        };
        let end = self.expect(close, if close == "}" { "`}`" } else { "`]`" })?;
        let heights = [Some(&collection), result_key.as_ref(), Some(&result), condition.as_ref()]
            .map(|expr| expr.map_or(0, |expr| expr.height));
        let group = group.is_some();
        let parts = For { key, value, collection, result_key, result, condition, group };
        self.node(ExprKind::For(Box::new(parts)), Span::new(open.start, end.span.end), &heights)
    }

    /// `value in` or `key, value in`.
    pub(super) fn for_names(&mut self) -> Read<(Option<String>, String)> {
        let first = self.name("the name of a variable")?;
        let names = match self.take(",") {
            Some(_) => (Some(first), self.name("the name of a variable")?),
            None => (None, first),
        };
        if !self.is_word("in") {
            return Err(self.unexpected("`in`"));
        }
        self.next();
        Ok(names)
    }

    fn name(&mut self, wanted: &str) -> Read<String> {
        let token = self.peek();
        if token.kind != Kind::Ident {
            return Err(self.unexpected(wanted));
        }
        self.next();
        Ok(self.word(token).to_owned())
    }
}
