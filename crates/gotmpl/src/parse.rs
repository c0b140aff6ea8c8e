//! Tokens into trees.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Branch, Command, Kind, Node, Operand, Pipe, Span, Tree};
use crate::error::{Error, Reason};
use crate::lex::{Delimiters, Lexeme, Token, lex};
use crate::number;

/// How deep blocks and parentheses may be nested.
const MAX_DEPTH: usize = 100;

/// What a text holds: its top level, and what it defines, by name.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub main: Tree,
    pub defined: BTreeMap<String, Tree>,
}

/// Parses a text. `known` says whether a function exists.
pub(crate) fn parse(
    name: &str,
    text: &Arc<str>,
    marks: Delimiters<'_>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Parsed, Error> {
    let tokens = lex(text, marks).map_err(|(message, span)| Error::new(Reason::Syntax(message), name, text, span))?;
    let variables = vec!["$".to_owned()];
    let mut parser = Parser {
        name,
        text,
        tokens,
        at: 0,
        end: text.len(),
        variables,
        known,
        depth: 0,
        loops: 0,
        defined: BTreeMap::new(),
    };
    let mut nodes = Vec::new();
    match parser.list(&mut nodes, true)? {
        Ended::Text => {}
        Ended::End(span) | Ended::Else(span) => {
            return Err(parser.wrong("this closes nothing", span));
        }
    }
    let main = parser.tree(nodes);
    Ok(Parsed { main, defined: parser.defined })
}

/// What a list of nodes ended with.
enum Ended {
    Text,
    End(Span),
    /// The `else`, whose action may go on.
    Else(Span),
}

struct Parser<'a> {
    name: &'a str,
    text: &'a Arc<str>,
    tokens: Vec<Token>,
    /// The next of them.
    at: usize,
    /// One past the last token taken.
    end: usize,
    /// The variables in scope.
    variables: Vec<String>,
    known: &'a dyn Fn(&str) -> bool,
    depth: usize,
    /// How many `range` are open.
    loops: usize,
    defined: BTreeMap<String, Tree>,
}

/// Nouns of the branches, for messages.
#[derive(Clone, Copy, PartialEq)]
enum Kw {
    If,
    With,
    Range,
}

impl Kw {
    fn word(self) -> &'static str {
        match self {
            Kw::If => "if",
            Kw::With => "with",
            Kw::Range => "range",
        }
    }
}

impl Parser<'_> {
    fn wrong(&self, message: impl Into<String>, span: Span) -> Error {
        self.error(Reason::Syntax(message.into()), span)
    }

    fn error(&self, reason: Reason, span: Span) -> Error {
        Error::new(reason, self.name, self.text, span)
    }

    fn tree(&self, nodes: Vec<Node>) -> Tree {
        Tree { name: self.name.to_owned(), text: Arc::clone(self.text), nodes }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        self.end = token.span.1;
        Some(token)
    }

    fn peek(&self) -> Option<&Lexeme> {
        self.ahead(0).map(|token| &token.kind)
    }

    /// The token `count` behind the next.
    fn ahead(&self, count: usize) -> Option<&Token> {
        self.tokens.get(self.at + count)
    }

    fn deeper(&mut self, span: Span) -> Result<(), Error> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(self.error(Reason::Limit { what: "blocks or parentheses nested", limit: MAX_DEPTH }, span))
    }

    /// Nodes up to `end`, `else` or the end of the text.
    fn list(&mut self, nodes: &mut Vec<Node>, top: bool) -> Result<Ended, Error> {
        while let Some(token) = self.next() {
            match token.kind {
                Lexeme::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    if let Some(ended) = self.action(nodes, token.span, top)? {
                        return Ok(ended);
                    }
                }
            }
        }
        Ok(Ended::Text)
    }

    fn action(&mut self, nodes: &mut Vec<Node>, left: Span, top: bool) -> Result<Option<Ended>, Error> {
        let word = match self.peek() {
            Some(Lexeme::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let keyword = matches!(
            word.as_str(),
            "if" | "with" | "range" | "end" | "else" | "define" | "block" | "template" | "break" | "continue"
        );
        if !keyword || (matches!(word.as_str(), "break" | "continue") && (self.known)(&word)) {
            let pipe = self.pipe("an action", left)?;
            self.right()?;
            nodes.push(Node::Action(pipe));
            return Ok(None);
        }
        self.next();
        let span = (left.0, self.end);
        match word.as_str() {
            "if" => nodes.push(Node::If(self.branch(Kw::If, span)?)),
            "with" => nodes.push(Node::With(self.branch(Kw::With, span)?)),
            "range" => nodes.push(Node::Range(self.branch(Kw::Range, span)?)),
            "end" => {
                self.right()?;
                return Ok(Some(Ended::End(span)));
            }
            "else" => return Ok(Some(Ended::Else(span))),
            "define" if !top => return Err(self.wrong("`define` must not stand inside of another block", span)),
            "define" => self.define(span)?,
            "block" => nodes.push(self.block(span)?),
            "template" => nodes.push(self.template(span)?),
            jump => nodes.push(self.jump(jump == "break", span)?),
        }
        Ok(None)
    }

    fn jump(&mut self, breaks: bool, span: Span) -> Result<Node, Error> {
        if self.loops == 0 {
            let word = if breaks { "break" } else { "continue" };
            return Err(self.wrong(format!("`{word}` stands outside of a `range`"), span));
        }
        self.right()?;
        Ok(if breaks { Node::Break } else { Node::Continue })
    }

    /// The end of an action.
    fn right(&mut self) -> Result<(), Error> {
        match self.next() {
            Some(Token { kind: Lexeme::Right, .. }) => Ok(()),
            Some(token) => Err(self.wrong("this is more than the action takes", token.span)),
            None => Err(self.wrong("the action does not end", (self.end, self.end))),
        }
    }

    fn branch(&mut self, keyword: Kw, span: Span) -> Result<Branch, Error> {
        self.deeper(span)?;
        let scope = self.variables.len();
        let pipe = self.pipe(keyword.word(), span)?;
        let most = if keyword == Kw::Range { 2 } else { 1 };
        if pipe.variables.len() > most {
            return Err(self.wrong(format!("`{}` declares {most} variables at most", keyword.word()), pipe.span));
        }
        self.right()?;
        let inner = self.variables.len();
        let mut body = Vec::new();
        self.loops += usize::from(keyword == Kw::Range);
        let ended = self.list(&mut body, false)?;
        self.loops -= usize::from(keyword == Kw::Range);
        self.variables.truncate(inner);
        let mut otherwise = Vec::new();
        match ended {
            Ended::End(_) => {}
            Ended::Else(at) => self.otherwise(keyword, at, span, &mut otherwise)?,
            Ended::Text => return Err(self.unclosed(keyword.word(), span)),
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipe, body, otherwise })
    }

    fn unclosed(&self, word: &str, span: Span) -> Error {
        self.wrong(format!("`{word}` has no `end`"), span)
    }

    /// What follows an `else`, up to the `end` of its block.
    fn otherwise(&mut self, keyword: Kw, at: Span, open: Span, nodes: &mut Vec<Node>) -> Result<(), Error> {
        if let Some(Lexeme::Word(word)) = self.peek() {
            if keyword == Kw::Range || word != keyword.word() {
                let message = format!("`else` of `{}` is followed by `{word}`", keyword.word());
                return Err(self.wrong(message, at));
            }
            self.next();
            // `else if` ends with the `end` of the first `if`.
            let branch = self.branch(keyword, at)?;
            nodes.push(if keyword == Kw::If { Node::If(branch) } else { Node::With(branch) });
            return Ok(());
        }
        self.right()?;
        match self.list(nodes, false)? {
            Ended::End(_) => Ok(()),
            Ended::Else(again) => Err(self.wrong("a second `else`", again)),
            Ended::Text => Err(self.unclosed(keyword.word(), open)),
        }
    }

    fn text_of(&mut self, word: &str, span: Span) -> Result<String, Error> {
        match self.next() {
            Some(Token { kind: Lexeme::String(name), .. }) => Ok(name),
            _ => Err(self.wrong(format!("`{word}` wants a name in quotes"), span)),
        }
    }

    fn define(&mut self, span: Span) -> Result<(), Error> {
        let name = self.text_of("define", span)?;
        self.right()?;
        self.body("define", name, span)
    }

    /// The content of a `define` or `block`, in which only `$` is known.
    fn body(&mut self, word: &str, name: String, span: Span) -> Result<(), Error> {
        self.deeper(span)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let mut nodes = Vec::new();
        match self.list(&mut nodes, false)? {
            Ended::End(_) => {}
            Ended::Else(at) => return Err(self.wrong(format!("`{word}` has no `else`"), at)),
            Ended::Text => return Err(self.unclosed(word, span)),
        }
        self.variables = outer;
        self.loops = loops;
        self.depth -= 1;
        let tree = self.tree(nodes);
        match self.defined.get(&name) {
            Some(before) if !before.is_empty() && !tree.is_empty() => {
                Err(self.wrong(format!("the template `{name}` is defined twice"), span))
            }
            Some(before) if !before.is_empty() => Ok(()),
            _ => {
                self.defined.insert(name, tree);
                Ok(())
            }
        }
    }

    fn block(&mut self, span: Span) -> Result<Node, Error> {
        let name = self.text_of("block", span)?;
        let pipe = self.pipe("block", span)?;
        self.right()?;
        self.body("block", name.clone(), span)?;
        Ok(Node::Template { name, pipe: Some(pipe), span })
    }

    fn template(&mut self, span: Span) -> Result<Node, Error> {
        let name = self.text_of("template", span)?;
        let pipe = match self.peek() {
            Some(Lexeme::Right) => None,
            _ => Some(self.pipe("template", span)?),
        };
        self.right()?;
        Ok(Node::Template { name, pipe, span: (span.0, self.end) })
    }

    /// Variables that get the value, if any, and commands between `|`.
    fn pipe(&mut self, of: &str, span: Span) -> Result<Pipe, Error> {
        let (variables, assigns) = self.targets(of == "range")?;
        let start = self.ahead(0).map_or(self.end, |token| token.span.0);
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let command = self.command(of, span)?;
            let callable = command.operands.first().is_some_and(|first| {
                !matches!(
                    first.kind,
                    Kind::Bool(_) | Kind::Dot | Kind::Nil | Kind::Int(_) | Kind::Float(_) | Kind::String(_)
                )
            });
            if !commands.is_empty() && !callable {
                return Err(self.wrong("what stands behind `|` must be callable", command.span));
            }
            commands.push(command);
            match self.peek() {
                Some(Lexeme::Pipe) => self.next(),
                _ => break,
            };
        }
        // A variable is not known in its own value.
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, assigns, commands, span: (start, self.end) })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`.
    fn targets(&mut self, range: bool) -> Result<(Vec<String>, bool), Error> {
        let mut variables = Vec::new();
        let mut count = 0;
        let assigns = loop {
            let Some(Token { kind: Lexeme::Variable(name), .. }) = self.ahead(count) else {
                return Ok((Vec::new(), false));
            };
            variables.push(name.clone());
            count += 2;
            match self.ahead(count - 1).map(|token| &token.kind) {
                Some(Lexeme::Declare) => break false,
                Some(Lexeme::Assign) => break true,
                Some(Lexeme::Comma) if range && variables.len() < 2 => {}
                Some(Lexeme::Comma) => {
                    let span = self.ahead(0).map_or((self.end, self.end), |token| token.span);
                    return Err(self.wrong("too many variables", span));
                }
                _ => return Ok((Vec::new(), false)),
            }
        };
        for _ in 0..count {
            if let Some(Token { kind: Lexeme::Variable(name), span, .. }) = self.next()
                && assigns
            {
                self.declared(&name, span)?;
            }
        }
        Ok((variables, assigns))
    }

    fn declared(&self, name: &str, span: Span) -> Result<(), Error> {
        if self.variables.iter().any(|variable| variable == name) {
            return Ok(());
        }
        Err(self.error(Reason::UndeclaredVariable(name.to_owned()), span))
    }

    fn command(&mut self, of: &str, span: Span) -> Result<Command, Error> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
            match self.ahead(0) {
                Some(Token { kind: Lexeme::Right | Lexeme::Close | Lexeme::Pipe, .. }) | None => break,
                Some(token) if !token.spaced => {
                    let span = token.span;
                    return Err(self.wrong("white space is missing before this", span));
                }
                Some(_) => {}
            }
        }
        match (operands.first(), operands.last()) {
            (Some(first), Some(last)) => {
                let span = (first.span.0, last.span.1);
                Ok(Command { operands, span })
            }
            _ => {
                let at = self.ahead(0).map_or(span, |token| token.span);
                Err(self.wrong(format!("a value is missing: {of} is empty here"), at))
            }
        }
    }

    /// A term with the fields behind it.
    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        while let Some(Token { kind: Lexeme::Field(name), spaced: false, .. }) = self.ahead(0) {
            fields.push(name.clone());
            self.next();
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        let span = (operand.span.0, self.end);
        let kind = match operand.kind {
            Kind::Field(mut names) => {
                names.extend(fields);
                Kind::Field(names)
            }
            Kind::Variable(name, _) => Kind::Variable(name, fields),
            Kind::Pipe(_) | Kind::Function(_) => Kind::Chain(Box::new(operand), fields),
            _ => return Err(self.wrong("a constant has no fields", span)),
        };
        operand = Operand { kind, span };
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>, Error> {
        let ends = |kind: &Lexeme| matches!(kind, Lexeme::Right | Lexeme::Close | Lexeme::Pipe);
        if self.peek().is_none_or(ends) {
            return Ok(None);
        }
        let Some(token) = self.next() else { return Ok(None) };
        let span = token.span;
        let kind = match token.kind {
            Lexeme::Word(word) => match word.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "nil" => Kind::Nil,
                _ if (self.known)(&word) => Kind::Function(word),
                _ => return Err(self.error(Reason::UnknownFunction(word), span)),
            },
            Lexeme::Dot => Kind::Dot,
            Lexeme::Field(name) => Kind::Field(vec![name]),
            Lexeme::Variable(name) => {
                self.declared(&name, span)?;
                Kind::Variable(name, Vec::new())
            }
            Lexeme::Number(text) => number::parse(&text).map_err(|message| self.wrong(message, span))?,
            Lexeme::Char(code) => Kind::Int(code),
            Lexeme::String(text) => Kind::String(text.into()),
            Lexeme::Open => return self.parenthesised(span).map(Some),
            _ => return Err(self.wrong("this cannot stand here", span)),
        };
        Ok(Some(Operand { kind, span }))
    }

    fn parenthesised(&mut self, open: Span) -> Result<Operand, Error> {
        self.deeper(open)?;
        let pipe = self.pipe("a parenthesis", open)?;
        match self.next() {
            Some(Token { kind: Lexeme::Close, .. }) => {}
            _ => return Err(self.wrong("this `(` is not closed", open)),
        }
        self.depth -= 1;
        Ok(Operand { kind: Kind::Pipe(Box::new(pipe)), span: (open.0, self.end) })
    }
}
