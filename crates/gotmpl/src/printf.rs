//! `printf`: Go's verbs, flags, widths and argument numbers. What does not fit shows up in the text, as `%!d(string=x)`.
//!
//! Numbers with a fraction have no `%b`, `%x` and `%X`; they show up as wrong verbs. Widths of `%#v` are those of the
//! whole value, where Go pads each element.

use crate::error::Failure;
use crate::print::{Bounded, each, float, go_syntax, plain, printable, quote};
use crate::value::Value;

/// Widths and precisions beyond are wrong, as they are in Go.
const MAX_WIDTH: i64 = 1_000_000;

#[derive(Default, Clone, Copy)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

struct Printer<'a> {
    out: Bounded,
    format: &'a str,
    at: usize,
    arguments: &'a [Value],
    next: usize,
    /// An argument was named by number: those left over are no mistake.
    reordered: bool,
    /// The number of the argument named last exists.
    good: bool,
}

/// `fmt.Sprintf`.
pub(crate) fn printf(format: &str, arguments: &[Value]) -> Result<String, Failure> {
    let out = Bounded::new();
    let mut printer = Printer { out, format, at: 0, arguments, next: 0, reordered: false, good: true };
    while printer.at < format.len() && !printer.out.is_full() {
        let rest = printer.rest();
        let length = rest.find('%').unwrap_or(rest.len());
        printer.out.push(&rest[..length]);
        printer.at += length;
        if printer.take("%") {
            printer.verb();
        }
    }
    if !printer.reordered && printer.next < arguments.len() {
        let extra = arguments.iter().skip(printer.next).map(typed).collect::<Vec<_>>();
        printer.out.push(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    printer.out.finish()
}

/// A value with its type, for what does not fit.
fn typed(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        value => {
            let mut out = Bounded::new();
            crate::print::value(&mut out, value);
            format!("{}={}", value.type_name(), out.finish().unwrap_or_default())
        }
    }
}

impl<'a> Printer<'a> {
    fn rest(&self) -> &'a str {
        &self.format[self.at..]
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn argument(&mut self) -> Option<&'a Value> {
        let value = self.arguments.get(self.next)?;
        self.next += 1;
        Some(value)
    }

    fn digits(&mut self) -> Option<i64> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        // What has no digits is no number; what is too large is found wrong by its size.
        if length == 0 { None } else { Some(rest[..length].parse().unwrap_or(i64::MAX)) }
    }

    /// `[3]`: the next argument is the third.
    fn number(&mut self) -> bool {
        if !self.rest().starts_with('[') {
            return false;
        }
        self.reordered = true;
        let Some(length) = self.rest().find(']') else {
            self.at += 1;
            self.good = false;
            return true;
        };
        let number = self.rest()[1..length].parse::<usize>().ok();
        self.at += length + 1;
        match number.filter(|&number| (1..=self.arguments.len()).contains(&number)) {
            Some(number) => self.next = number - 1,
            None => self.good = false,
        }
        true
    }

    /// A width or precision: digits, or `*` for an argument.
    fn size(&mut self, word: &str) -> Option<i64> {
        if !self.take("*") {
            return self.digits().filter(|&size| size <= MAX_WIDTH);
        }
        let size = match self.argument() {
            Some(Value::Int(size) | Value::Int64(size)) if size.unsigned_abs() <= MAX_WIDTH.unsigned_abs() => Some(*size),
            _ => None,
        };
        if size.is_none() {
            self.out.push(&format!("%!(BAD{word})"));
        }
        size
    }

    fn verb(&mut self) {
        let mut flags = Flags::default();
        self.good = true;
        loop {
            match self.rest().chars().next() {
                Some('+') => flags.plus = true,
                Some('-') => (flags.minus, flags.zero) = (true, false),
                Some('#') => flags.sharp = true,
                Some(' ') => flags.space = true,
                Some('0') => flags.zero = !flags.minus,
                _ => break,
            }
            self.at += 1;
        }
        let mut named = self.number();
        if let Some(width) = self.size("WIDTH") {
            if width < 0 {
                (flags.minus, flags.zero) = (true, false);
            }
            flags.width = usize::try_from(width.unsigned_abs()).ok();
            named = false;
        }
        if self.take(".") {
            if named {
                self.good = false;
            }
            named = self.number();
            let given = self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '*');
            match self.size("PREC") {
                Some(precision) if precision >= 0 => flags.precision = usize::try_from(precision).ok(),
                Some(_) => self.out.push("%!(BADPREC)"),
                None if !given => flags.precision = Some(0),
                None => {}
            }
        }
        if !named {
            self.number();
        }
        let Some(verb) = self.rest().chars().next() else {
            self.out.push("%!(NOVERB)");
            return;
        };
        self.at += verb.len_utf8();
        match verb {
            '%' => self.out.push("%"),
            _ if !self.good => self.out.push(&format!("%!{verb}(BADINDEX)")),
            _ => match self.argument() {
                Some(value) => write(&mut self.out, value, verb, flags),
                None => self.out.push(&format!("%!{verb}(MISSING)")),
            },
        }
    }
}

fn write(out: &mut Bounded, value: &Value, verb: char, flags: Flags) {
    // `%+v` asks for names of fields, not for signs.
    let flags = Flags { plus: flags.plus && verb != 'v', ..flags };
    match verb {
        'T' | 'v' if matches!(value, Value::Nil) => pad(out, "<nil>", flags),
        'T' => string(out, value.type_name(), 's', flags),
        'v' if flags.sharp => syntax(out, value, Flags { sharp: false, ..flags }),
        _ if matches!(value, Value::Nil) && verb != 'v' => out.push(&format!("%!{verb}(<nil>)")),
        _ => each(out, value, 0, &mut |out, value| leaf(out, value, verb, flags)),
    }
}

/// `%#v`.
fn syntax(out: &mut Bounded, value: &Value, flags: Flags) {
    match value {
        Value::Int(number) | Value::Int64(number) => integer(out, value, *number, 'd', flags),
        Value::Float(number) => fraction(out, *number, 'g', flags),
        Value::String(text) => string(out, text, 'q', flags),
        other => pad(out, &go_syntax(other), flags),
    }
}

fn leaf(out: &mut Bounded, value: &Value, verb: char, flags: Flags) {
    let text = match value {
        Value::Bool(yes) if matches!(verb, 't' | 'v') => yes.to_string(),
        Value::Int(number) | Value::Int64(number) => return integer(out, value, *number, verb, flags),
        Value::Float(number) => return fraction(out, *number, verb, flags),
        Value::String(text) => return string(out, text, verb, flags),
        Value::Object(object) if matches!(verb, 's' | 'q' | 'x' | 'X') => {
            return string(out, &object.print(), verb, flags);
        }
        // Only at the top is nothing a mistake.
        Value::Nil => return out.push("<nil>"),
        other if verb == 'v' => plain(other),
        other => return wrong(out, other, verb, flags),
    };
    pad(out, &text, flags);
}

/// A verb that does not fit: the value is shown as `%v` would, flags included.
fn wrong(out: &mut Bounded, value: &Value, verb: char, flags: Flags) {
    out.push(&format!("%!{verb}({}=", value.type_name()));
    leaf(out, value, 'v', flags);
    out.push(")");
}

/// `text`, and blanks or zeros up to the width.
fn pad(out: &mut Bounded, text: &str, flags: Flags) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.minus {
        out.push(text);
        out.fill(' ', missing);
    } else {
        out.fill(if flags.zero { '0' } else { ' ' }, missing);
        out.push(text);
    }
}

fn string(out: &mut Bounded, text: &str, verb: char, flags: Flags) {
    let cut = || match flags.precision {
        Some(precision) => text.char_indices().nth(precision).map_or(text, |(at, _)| &text[..at]),
        None => text,
    };
    match verb {
        's' | 'v' => pad(out, cut(), flags),
        'q' => {
            let text = cut();
            let raw =
                flags.sharp && text.chars().all(|c| c != '`' && (c == '\t' || !c.is_control()) && c != '\u{feff}');
            let quoted = if raw { format!("`{text}`") } else { quote(text, '"', flags.plus) };
            pad(out, &quoted, flags);
        }
        'x' | 'X' => {
            let bytes = &text.as_bytes()[..flags.precision.map_or(text.len(), |most| most.min(text.len()))];
            pad(out, &hex(bytes, verb == 'X', flags), flags);
        }
        _ => wrong(out, &Value::from(text), verb, flags),
    }
}

fn hex(bytes: &[u8], upper: bool, flags: Flags) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for (at, byte) in bytes.iter().enumerate() {
        if flags.space && at > 0 {
            out.push(' ');
        }
        if flags.sharp && (flags.space || at == 0) {
            out.push_str(if upper { "0X" } else { "0x" });
        }
        out.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
    }
    out
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn integer(out: &mut Bounded, value: &Value, number: i64, verb: char, flags: Flags) {
    let size = number.unsigned_abs();
    let (digits, prefix) = match verb {
        'd' | 'v' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), if flags.sharp { "0b" } else { "" }),
        'o' => (format!("{size:o}"), if flags.sharp { "0" } else { "" }),
        'O' => (format!("{size:o}"), "0o"),
        'x' => (format!("{size:x}"), if flags.sharp { "0x" } else { "" }),
        'X' => (format!("{size:X}"), if flags.sharp { "0X" } else { "" }),
        'c' => return pad(out, &character(number).to_string(), flags),
        'q' => return pad(out, &quote(&character(number).to_string(), '\'', flags.plus), flags),
        'U' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).filter(|&c| flags.sharp && printable(c));
            let shown = c.map_or_else(String::new, |c| format!(" '{c}'"));
            let width = flags.precision.unwrap_or(4).max(4);
            return pad(out, &format!("U+{:0>width$X}{shown}", number.cast_unsigned()), Flags { zero: false, ..flags });
        }
        _ => return wrong(out, value, verb, flags),
    };
    let sign = match (number < 0, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let precision = match (flags.precision, flags.width) {
        (Some(0), _) if number == 0 => {
            return pad(out, "", Flags { zero: false, ..flags });
        }
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let zeros = "0".repeat(precision.saturating_sub(digits.len()));
    let prefix = if prefix == "0" && (!zeros.is_empty() || digits == "0") { "" } else { prefix };
    pad(out, &format!("{sign}{prefix}{zeros}{digits}"), Flags { zero: false, ..flags });
}

fn fraction(out: &mut Bounded, number: f64, verb: char, flags: Flags) {
    let (format, precision) = match verb {
        'v' => ('g', flags.precision),
        'g' | 'G' => (verb, flags.precision),
        'e' | 'E' | 'f' => (verb, Some(flags.precision.unwrap_or(6))),
        'F' => ('f', Some(flags.precision.unwrap_or(6))),
        _ => return wrong(out, &Value::Float(number), verb, flags),
    };
    let mut text = float(number, format, precision);
    if flags.sharp && number.is_finite() {
        text = with_point(&text, format, precision);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '+');
    }
    if flags.space && !flags.plus && text.starts_with('+') {
        text.replace_range(..1, " ");
    }
    let flags = Flags { zero: flags.zero && number.is_finite(), ..flags };
    // Without `+` only infinity keeps its sign.
    if text.starts_with('+') && !flags.plus && number.is_finite() {
        return pad(out, &text[1..], flags);
    }
    match flags.width {
        Some(width) if flags.zero && width > text.len() => {
            out.push(&text[..1]);
            out.fill('0', width - text.len());
            out.push(&text[1..]);
        }
        _ => pad(out, &text, flags),
    }
}

/// `#`: the point is always written, and of `%g` all digits.
fn with_point(text: &str, format: char, precision: Option<usize>) -> String {
    let at = text.find(['e', 'E']).unwrap_or(text.len());
    let (mantissa, tail) = text.split_at(at);
    let mut mantissa = mantissa.to_owned();
    if !mantissa.contains('.') {
        mantissa.push('.');
    }
    if matches!(format, 'g' | 'G') {
        let count = mantissa.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
        mantissa.push_str(&"0".repeat(precision.unwrap_or(6).saturating_sub(count.max(1))));
    }
    mantissa + tail
}
