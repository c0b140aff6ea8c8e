//! Text into tokens. White space between tokens of an action matters: `.A.B` is one operand, `.A .B` are two.

use crate::ast::Span;

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: Lexeme,
    pub span: Span,
    /// White space stands before it.
    pub spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lexeme {
    /// Text outside of actions, with what trim markers take away already gone.
    Text(String),
    /// `{{`
    Left,
    /// `}}`
    Right,
    /// A name: keyword, constant or function.
    Word(String),
    /// `.Name`
    Field(String),
    /// `$`, `$name`
    Variable(String),
    Dot,
    Number(String),
    /// A character constant, as its code.
    Char(i64),
    String(String),
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Comma,
    Open,
    Close,
}

/// What is wrong, and where.
pub(crate) type Fault = (String, Span);

/// What opens and closes actions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delimiters<'a> {
    pub left: &'a str,
    pub right: &'a str,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    marks: Delimiters<'a>,
    tokens: Vec<Token>,
}

/// White space as trim markers see it.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of a text.
pub(crate) fn lex(text: &str, marks: Delimiters<'_>) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { text, at: 0, marks, tokens: Vec::new() };
    let mut trim = false;
    while lexer.at < text.len() {
        trim = lexer.text_and_action(trim)?;
    }
    Ok(lexer.tokens)
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Lexeme, start: usize, spaced: bool) {
        self.tokens.push(Token { kind, span: (start, self.at), spaced });
    }

    /// Text up to the next action, and that action. `trim`: the action before ended in `-}}`. Returns whether this one did.
    fn text_and_action(&mut self, trim: bool) -> Result<bool, Fault> {
        let rest = self.rest();
        let start = self.at;
        let Some(length) = rest.find(self.marks.left) else {
            self.at = self.text.len();
            self.outside(rest, start, trim, false);
            return Ok(false);
        };
        let after = &rest[length + self.marks.left.len()..];
        let trims_left = after.strip_prefix('-').is_some_and(|after| after.starts_with(SPACES));
        self.at += length;
        self.outside(&rest[..length], start, trim, trims_left);
        let open = self.at;
        self.at += self.marks.left.len() + if trims_left { 2 } else { 0 };
        let inner = self.rest();
        let comment = if trims_left { inner.trim_start_matches(SPACES) } else { inner };
        if comment.starts_with("/*") {
            self.at += inner.len() - comment.len();
            return self.comment(open);
        }
        self.tokens.push(Token { kind: Lexeme::Left, span: (open, self.at), spaced: false });
        self.action(open)
    }

    fn outside(&mut self, text: &str, start: usize, trim_start: bool, trim_end: bool) {
        let text = if trim_start { text.trim_start_matches(SPACES) } else { text };
        let text = if trim_end { text.trim_end_matches(SPACES) } else { text };
        if !text.is_empty() {
            self.push(Lexeme::Text(text.to_owned()), start, false);
        }
    }

    fn comment(&mut self, open: usize) -> Result<bool, Fault> {
        let Some(length) = self.rest()[2..].find("*/") else {
            return Err(("a comment is not closed with `*/`".to_owned(), (open, self.at + 2)));
        };
        self.at += length + 4;
        match self.closing() {
            Some(trim) => Ok(trim),
            None => Err((format!("a comment must end in `*/{}`", self.marks.right), (open, self.at))),
        }
    }

    /// Steps over a closing delimiter at this place; whether it trims.
    fn closing(&mut self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(self.marks.right) {
            self.at += self.marks.right.len();
            return Some(false);
        }
        let marker = rest.strip_prefix(SPACES)?.trim_start_matches(SPACES).strip_prefix('-')?;
        if !marker.starts_with(self.marks.right) {
            return None;
        }
        self.at += rest.len() - marker.len() + self.marks.right.len();
        Some(true)
    }

    fn action(&mut self, open: usize) -> Result<bool, Fault> {
        let mut depth = 0_usize;
        loop {
            let start = self.at;
            if let Some(trim) = self.closing() {
                if depth > 0 {
                    return Err(("a `(` is not closed".to_owned(), (open, self.at)));
                }
                self.push(Lexeme::Right, start, false);
                return Ok(trim);
            }
            let spaces = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
            self.at += spaces;
            let Some(c) = self.rest().chars().next() else {
                return Err((format!("an action is not closed with `{}`", self.marks.right), (open, self.at)));
            };
            if spaces > 0 && self.rest().starts_with(self.marks.right) {
                continue;
            }
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return Err(("a `)` closes nothing".to_owned(), (self.at, self.at + 1))),
                ')' => depth -= 1,
                _ => {}
            }
            self.token(c, spaces > 0)?;
        }
    }

    fn token(&mut self, c: char, spaced: bool) -> Result<(), Fault> {
        let start = self.at;
        let rest = self.rest();
        let single = match c {
            '(' => Some(Lexeme::Open),
            ')' => Some(Lexeme::Close),
            '|' => Some(Lexeme::Pipe),
            ',' => Some(Lexeme::Comma),
            '=' => Some(Lexeme::Assign),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            self.push(kind, start, spaced);
            return Ok(());
        }
        let second = rest[c.len_utf8()..].chars().next();
        let kind = match c {
            ':' if second == Some('=') => {
                self.at += 2;
                Lexeme::Declare
            }
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.name();
                if name.is_empty() { Lexeme::Dot } else { Lexeme::Field(name) }
            }
            '$' => {
                self.at += 1;
                Lexeme::Variable(format!("${}", self.name()))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if is_name(c) => Lexeme::Word(self.name()),
            c => return Err((format!("{c:?} has no meaning here"), (start, start + c.len_utf8()))),
        };
        self.push(kind, start, spaced);
        self.terminated(start)
    }

    /// What may follow an operand: white space, or a sign that ends it.
    fn terminated(&self, start: usize) -> Result<(), Fault> {
        let rest = self.rest();
        let ends = match rest.chars().next() {
            None => true,
            Some(c) => SPACES.contains(&c) || ".,|:()=".contains(c) || rest.starts_with(self.marks.right),
        };
        if ends || matches!(self.tokens.last(), Some(Token { kind: Lexeme::Declare, .. })) {
            return Ok(());
        }
        let c = rest.chars().next().unwrap_or(' ');
        Err((format!("{c:?} may not follow `{}`", &self.text[start..self.at]), (self.at, self.at + c.len_utf8())))
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_owned()
    }

    fn number(&mut self) -> Lexeme {
        let rest = self.rest();
        let hex = rest.trim_start_matches(['+', '-']).get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        let mut before = ' ';
        let length = rest
            .find(|c: char| {
                let exponent = if hex { matches!(before, 'p' | 'P') } else { matches!(before, 'e' | 'E') };
                let sign = matches!(c, '+' | '-') && (before == ' ' || exponent);
                before = c;
                !(sign || c == '.' || is_name(c))
            })
            .unwrap_or(rest.len());
        self.at += length;
        Lexeme::Number(rest[..length].to_owned())
    }

    fn raw(&mut self) -> Result<Lexeme, Fault> {
        let start = self.at;
        let Some(length) = self.rest()[1..].find('`') else {
            return Err(("a text is not closed with `` ` ``".to_owned(), (start, self.text.len())));
        };
        self.at += length + 2;
        // Carriage returns are not part of Go's raw strings.
        Ok(Lexeme::String(self.text[start + 1..self.at - 1].replace('\r', "")))
    }

    fn quoted(&mut self) -> Result<Lexeme, Fault> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.rest().chars().next() {
                None | Some('\n') => return Err(("a text is not closed with `\"`".to_owned(), (start, self.at))),
                Some('"') => break,
                Some(_) => self.element('"', &mut bytes)?,
            }
        }
        self.at += 1;
        let unreadable = |_| ("the escapes of a text do not make UTF-8".to_owned(), (start, self.at));
        String::from_utf8(bytes).map(Lexeme::String).map_err(unreadable)
    }

    fn character(&mut self) -> Result<Lexeme, Fault> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        if !self.rest().starts_with(['\'', '\n']) && !self.rest().is_empty() {
            self.element('\'', &mut bytes)?;
        }
        let wrong = || ("a character must stand between two `'`".to_owned(), (start, self.at));
        if bytes.is_empty() || !self.rest().starts_with('\'') {
            return Err(wrong());
        }
        let code = match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().next().map(|c| i64::from(u32::from(c))),
            Err(_) => bytes.first().map(|&byte| i64::from(byte)),
        };
        let code = code.ok_or_else(wrong)?;
        self.at += 1;
        Ok(Lexeme::Char(code))
    }

    /// One character of a quoted text, or what an escape stands for.
    fn element(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let start = self.at;
        let mut chars = self.rest().chars();
        let c = chars.next().unwrap_or(' ');
        self.at += c.len_utf8();
        let mut buffer = [0; 4];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            return Ok(());
        }
        let escape = chars.next().unwrap_or(' ');
        self.at = (self.at + escape.len_utf8()).min(self.text.len());
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' => b'\\',
            c if c == quote => c as u8,
            'x' => return self.coded(start, 2, 16, false, bytes),
            'u' => return self.coded(start, 4, 16, true, bytes),
            'U' => return self.coded(start, 8, 16, true, bytes),
            '0'..='7' => {
                self.at -= 1;
                return self.coded(start, 3, 8, false, bytes);
            }
            other => return Err((format!("`\\{other}` is no escape"), (start, self.at))),
        };
        bytes.push(simple);
        Ok(())
    }

    fn coded(&mut self, start: usize, length: usize, radix: u32, rune: bool, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let wrong = |end| ("an escape stands for no character".to_owned(), (start, end));
        let digits = self.rest().get(..length).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()).ok_or_else(|| wrong(self.at))?;
        self.at += length;
        if rune {
            let c = char::from_u32(code).ok_or_else(|| wrong(self.at))?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).map_err(|_| wrong(self.at))?);
        }
        Ok(())
    }
}
