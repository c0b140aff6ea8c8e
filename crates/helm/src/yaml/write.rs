//! Values to text, byte by byte as Go's yaml writes them: which quotes, which folds, how lists are indented.

use super::order;
use super::resolve::{is_base60, is_text};
use super::{Map, Yaml};

/// Which of Go's two writers is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// yaml.v2, behind JSON: `toYaml`. Lists in maps are not indented, and long texts are folded.
    Kubernetes,
    /// yaml.v3 with two blanks: `toYamlPretty`.
    Pretty,
}

/// Beyond this column v2 folds texts at the next blank.
const WIDTH: usize = 80;
/// Keys that are longer are written behind a `?`.
const SIMPLE_KEY: usize = 128;
/// Blanks of a level.
const STEP: usize = 2;

/// The text of `value`, with a line feed at its end.
pub fn text(value: &Yaml, style: Style) -> String {
    let mut writer = Writer { out: String::new(), column: 0, style };
    writer.node(value, None, false);
    writer.fresh_line();
    writer.out
}

struct Writer {
    out: String,
    column: usize,
    style: Style,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn fresh_line(&mut self) {
        if self.column > 0 {
            self.out.push('\n');
            self.column = 0;
        }
    }

    fn line_at(&mut self, indent: usize) {
        self.fresh_line();
        self.put(&" ".repeat(indent));
    }

    /// A value inside of a block that is indented by `indent`; `inline` puts the first entry onto the line begun.
    fn node(&mut self, value: &Yaml, indent: Option<usize>, inline: bool) {
        let inner = indent.map_or(0, |indent| indent + STEP);
        match value {
            Yaml::Map(map) if !map.is_empty() => self.map(map, inner, inline),
            Yaml::List(items) if !items.is_empty() => self.list(items, inner, inline),
            Yaml::Map(_) => self.put("{}"),
            Yaml::List(_) => self.put("[]"),
            Yaml::Null => self.put("null"),
            Yaml::Bool(yes) => self.put(if *yes { "true" } else { "false" }),
            Yaml::Int(number) => self.put(&number.to_string()),
            Yaml::Float(number) => {
                let number = float(*number, self.style);
                self.put(&number);
            }
            Yaml::String(text) => self.string(text, indent.map_or(STEP, |indent| indent + STEP), false),
        }
    }

    fn map(&mut self, map: &Map, indent: usize, inline: bool) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| order::compare(a, b));
        for (at, key) in keys.into_iter().enumerate() {
            let Some(value) = map.get(key) else { continue };
            if at > 0 || !inline {
                self.line_at(indent);
            }
            if key.len() > SIMPLE_KEY || key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
                self.put("? ");
                self.string(key, indent + STEP, false);
                self.line_at(indent);
                self.put(": ");
                self.node(value, Some(indent), true);
                continue;
            }
            self.string(key, indent + STEP, true);
            self.put(":");
            match value {
                Yaml::Map(map) if !map.is_empty() => self.map(map, indent + STEP, false),
                Yaml::List(items) if !items.is_empty() => {
                    let indent = if self.style == Style::Pretty { indent + STEP } else { indent };
                    self.list(items, indent, false);
                }
                other => {
                    self.put(" ");
                    self.node(other, Some(indent), false);
                }
            }
        }
    }

    fn list(&mut self, items: &[Yaml], indent: usize, inline: bool) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 || !inline {
                self.line_at(indent);
            }
            self.put("- ");
            self.node(item, Some(indent), true);
        }
    }

    /// A text, whose further lines are indented by `indent`.
    fn string(&mut self, text: &str, indent: usize, key: bool) {
        let pretty = self.style == Style::Pretty;
        let looks = Looks::of(text, pretty);
        let old = pretty && matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
        let plain = is_text(text) && !is_base60(text) && !old;
        let fold = !key && !pretty;
        if text.contains('\n') && !key && looks.block {
            self.literal(text, indent);
        } else if text.contains('\n') || !plain {
            self.double(text, indent, fold);
        } else if looks.plain && !(text.is_empty() && key) {
            self.folded(text, indent, fold, false);
        } else if looks.single {
            self.put("'");
            self.folded(text, indent, fold, true);
            self.put("'");
        } else {
            self.double(text, indent, fold);
        }
    }

    /// A text without line feeds, in one or several lines.
    fn folded(&mut self, text: &str, indent: usize, fold: bool, quoted: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, &c) in chars.iter().enumerate() {
            let inside = !quoted || (at > 0 && at + 1 < chars.len());
            let breaks = fold && !spaces && self.column > WIDTH && inside && chars.get(at + 1) != Some(&' ');
            if c == ' ' && breaks {
                self.line_at(indent);
            } else {
                self.out.push(c);
                self.column += 1;
                if c == '\'' && quoted {
                    self.put("'");
                }
            }
            spaces = c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize, fold: bool) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, &c) in chars.iter().enumerate() {
            if c == ' ' {
                if fold && !spaces && self.column > WIDTH && at > 0 && at + 1 < chars.len() {
                    self.line_at(indent);
                    if chars.get(at + 1) == Some(&' ') {
                        self.put("\\");
                    }
                } else {
                    self.put(" ");
                }
                spaces = true;
                continue;
            }
            spaces = false;
            match escape(c) {
                Some(escaped) => self.put(&escaped),
                None => {
                    self.out.push(c);
                    self.column += 1;
                }
            }
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        match text.strip_suffix('\n') {
            None => self.put("-"),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        self.out.push('\n');
        self.column = 0;
        for line in text.split_inclusive('\n') {
            let body = line.strip_suffix('\n').unwrap_or(line);
            if !body.is_empty() {
                self.put(&" ".repeat(indent));
                self.put(body);
            }
            if line.ends_with('\n') {
                self.out.push('\n');
                self.column = 0;
            }
        }
    }
}

/// In which ways a text can be written.
struct Looks {
    plain: bool,
    single: bool,
    block: bool,
}

impl Looks {
    fn of(text: &str, tabs: bool) -> Looks {
        let Some(first) = text.chars().next() else { return Looks { plain: true, single: true, block: false } };
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut tab, mut break_space, mut space_break, mut breaks) = (false, false, false, false, false);
        let (mut previous_space, mut previous_break, mut preceded) = (false, false, true);
        let mut chars = text.chars().peekable();
        let mut start = true;
        while let Some(c) = chars.next() {
            let followed = chars.peek().is_none_or(|&next| blank(next) || is_break(next));
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if start => true,
                '?' | ':' | '-' if start => followed,
                ':' => followed,
                '#' => preceded,
                _ => false,
            };
            tab |= c == '\t' && tabs;
            special |= !printable(c) && !(c == '\t' && tabs);
            if c == ' ' {
                break_space |= previous_break;
                (previous_space, previous_break) = (true, false);
            } else if is_break(c) {
                breaks = true;
                space_break |= previous_space;
                (previous_space, previous_break) = (false, true);
            } else {
                (previous_space, previous_break) = (false, false);
            }
            preceded = blank(c) || is_break(c);
            start = false;
        }
        let edges = first == ' ' || is_break(first) || text.ends_with(|c: char| c == ' ' || is_break(c));
        let never = space_break || special;
        Looks {
            plain: !(edges || break_space || never || tab || breaks || indicators),
            single: !(break_space || never || tab),
            block: !(text.ends_with(' ') || never),
        }
    }
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What Go's yaml calls printable: nothing beyond the first plane.
fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn escape(c: char) -> Option<String> {
    Some(match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\0' => "\\0".to_owned(),
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\x0b' => "\\v".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\x1b' => "\\e".to_owned(),
        '\u{85}' => "\\N".to_owned(),
        '\u{2028}' => "\\L".to_owned(),
        '\u{2029}' => "\\P".to_owned(),
        c if printable(c) => return None,
        c if u32::from(c) <= 0xff => format!("\\x{:02X}", u32::from(c)),
        c if u32::from(c) <= 0xffff => format!("\\u{:04X}", u32::from(c)),
        c => format!("\\U{:08X}", u32::from(c)),
    })
}

/// A number: through JSON for v2, straight for v3.
fn float(number: f64, style: Style) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let json = crate::json::float(number);
    let whole = json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok();
    if style == Style::Kubernetes && whole { json } else { kiln_gotmpl::fmt::float(number, 'g') }
}
