//! The head of an instruction: keyword, `--flags`, and where its arguments are.

use std::collections::HashSet;
use std::ops::Range;

use super::MAX_ARGUMENTS;
use super::file::Sink;
use super::traced::Traced;
use super::words::{self, BLANKS};
use crate::diag::{Diagnostic, did_you_mean};
use crate::source::{Span, Word};

/// Every instruction.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What may stand around flags: Unicode blanks are no blanks here.
const FLAG_BLANKS: [char; 6] = ['\t', '\n', '\u{b}', '\u{c}', '\r', ' '];

/// One instruction, its arguments not looked at yet.
pub(super) struct Header<'a> {
    pub(super) line: &'a Traced,
    /// The keyword as typed.
    pub(super) keyword: Word,
    /// The keyword in capitals; as typed when it is not one of [`KEYWORDS`].
    pub(super) name: String,
    /// The whole instruction in `line`, without blanks at its ends.
    pub(super) range: Range<usize>,
    pub(super) args: Range<usize>,
    pub(super) flags: Vec<RawFlag>,
}

/// `--name` or `--name=value`, quotes and escapes processed.
pub(super) struct RawFlag {
    text: Traced,
    span: Span,
}

/// Takes the head of the instruction in `range` apart.
pub(super) fn parse(line: &Traced, range: Range<usize>) -> Header<'_> {
    let range = line.trim(range);
    let text = &line.text[range.clone()];
    let keyword_end = text.find(BLANKS).map_or(range.end, |blank| range.start + blank);
    let keyword = line.word(range.start..keyword_end);
    let upper = keyword.text.to_ascii_uppercase();
    let name = if KEYWORDS.contains(&upper.as_str()) { upper } else { keyword.text.clone() };
    let (flags, args) = split_flags(line, keyword_end..range.end);
    Header { line, keyword, name, args: line.trim(args), range, flags }
}

/// Reads `--flags` off the front. Quotes and `\` (whatever the escape directive says) are processed here, once; a lone
/// `--` ends the flags.
fn split_flags(line: &Traced, range: Range<usize>) -> (Vec<RawFlag>, Range<usize>) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line.text[at..range.end];
        let start = at + (rest.len() - rest.trim_start_matches(FLAG_BLANKS).len());
        let rest = &line.text[start..range.end];
        if !rest.starts_with("--") {
            return (flags, start..range.end);
        }
        let (text, length) = flag_text(line, start..range.end);
        at = start + length;
        if text.text == "--" {
            return (flags, at..range.end);
        }
        flags.push(RawFlag { text, span: line.span(start..at) });
    }
}

/// One flag, and the bytes it took.
fn flag_text(line: &Traced, range: Range<usize>) -> (Traced, usize) {
    let text = &line.text[range.clone()];
    let mut flag = Traced::default();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if FLAG_BLANKS.contains(&c) => return (flag, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => {
                if let Some((at, escaped)) = chars.next() {
                    flag.push(&text[at..at + escaped.len_utf8()], line.origin(range.start + at));
                }
            }
            _ => flag.push(&text[at..at + c.len_utf8()], line.origin(range.start + at)),
        }
    }
    (flag, text.len())
}

impl<'a> Header<'a> {
    /// The same instruction with other arguments and no flags.
    pub(super) fn with_args(&self, args: Range<usize>) -> Header<'a> {
        let (keyword, name, range) = (self.keyword.clone(), self.name.clone(), self.range.clone());
        Header { line: self.line, keyword, name, range, args, flags: Vec::new() }
    }

    /// Takes a flag with a value off, so that nobody else sees it.
    pub(super) fn take_flag(&mut self, name: &str) -> Option<Word> {
        let is = |flag: &RawFlag| {
            flag.text
                .text
                .strip_prefix("--")
                .and_then(|text| text.split_once('='))
                .is_some_and(|(n, v)| n == name && !v.is_empty())
        };
        let flag = self.flags.remove(self.flags.iter().position(is)?);
        let value = flag.text.text.find('=').map_or(0, |equals| equals + 1);
        Some(flag.text.slice(value..flag.text.text.len()).whole())
    }
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A value, once.
    Value,
    /// Nothing, or `=true` or `=false`, once.
    Bool,
    /// A value, any number of times.
    Values,
}

/// Flags of an instruction, checked.
#[derive(Default)]
pub(super) struct Flags {
    found: Vec<(&'static str, Option<Traced>, Span)>,
    /// Those seen that may be given once.
    single: HashSet<&'static str>,
}

impl Header<'_> {
    /// Where all of it is.
    pub(super) fn span(&self) -> Span {
        self.line.span(self.range.clone())
    }

    /// The arguments as typed.
    pub(super) fn args_text(&self) -> &str {
        &self.line.text[self.args.clone()]
    }

    /// The arguments as one word.
    pub(super) fn args_word(&self) -> Word {
        self.line.word(self.args.clone())
    }

    /// Checks the flags against those the instruction knows. Wrong ones are reported and left out.
    pub(super) fn flags(&self, known: &[(&'static str, Takes)], sink: &mut Sink) -> Flags {
        let mut flags = Flags::default();
        if self.flags.len() > MAX_ARGUMENTS {
            sink.push(self.too_many("flags"));
            return flags;
        }
        for flag in &self.flags {
            self.flag(flag, known, &mut flags, sink);
        }
        flags
    }

    fn flag(&self, flag: &RawFlag, known: &[(&'static str, Takes)], flags: &mut Flags, sink: &mut Sink) {
        let text = &flag.text.text;
        let split = text.find('=');
        let name = &text[2.min(text.len())..split.unwrap_or(text.len())];
        let Some(&(name, takes)) = known.iter().find(|(known, _)| *known == name) else {
            sink.push(self.unknown_flag(name, known, flag.span));
            return;
        };
        if takes != Takes::Values && !flags.single.insert(name) {
            let message = format!("`--{name}` is given twice");
            sink.push(Diagnostic::error("DuplicateFlag", flag.span, message).hint("remove one of them"));
            return;
        }
        let value = split.map(|equals| flag.text.slice(equals + 1..text.len()));
        let problem = match (takes, value.as_ref().map(|value| value.text.as_str())) {
            (Takes::Value | Takes::Values, None) | (Takes::Bool, Some("")) => "MissingFlagValue",
            (Takes::Bool, Some(word)) if !["true", "false"].iter().any(|b| b.eq_ignore_ascii_case(word)) => {
                "InvalidFlagValue"
            }
            _ => {
                flags.found.push((name, value, flag.span));
                return;
            }
        };
        let diagnostic = if problem == "MissingFlagValue" {
            Diagnostic::error(problem, flag.span, format!("`--{name}` needs a value"))
                .hint(format!("write `--{name}=…`, without a space"))
        } else {
            Diagnostic::error(problem, flag.span, format!("`--{name}` is either true or false"))
        };
        sink.push(diagnostic);
    }

    /// Says that there are more than [`MAX_ARGUMENTS`] of something.
    pub(super) fn too_many(&self, what: &str) -> Diagnostic {
        let message = format!("`{}` has more than {MAX_ARGUMENTS} {what}", self.name);
        Diagnostic::error("TooManyArguments", self.keyword.span, message)
    }

    /// The words of the arguments, split at blanks; `None` when there are too many, which is reported.
    pub(super) fn words(&self, sink: &mut Sink) -> Option<Vec<Word>> {
        let ranges = self.limited(words::split(&self.line.text, self.args.clone()), sink)?;
        Some(ranges.into_iter().map(|range| self.line.word(range)).collect())
    }

    /// The same, split at blanks outside quotes.
    pub(super) fn quoted_words(&self, escape: char, sink: &mut Sink) -> Option<Vec<Range<usize>>> {
        self.limited(words::split_quoted(&self.line.text, self.args.clone(), escape), sink)
    }

    fn limited(&self, ranges: Vec<Range<usize>>, sink: &mut Sink) -> Option<Vec<Range<usize>>> {
        if ranges.len() > MAX_ARGUMENTS {
            sink.push(self.too_many("arguments"));
            return None;
        }
        Some(ranges)
    }

    fn unknown_flag(&self, name: &str, known: &[(&'static str, Takes)], span: Span) -> Diagnostic {
        let message = format!("`{}` has no flag `--{name}`", self.name);
        let diagnostic = Diagnostic::error("UnknownFlag", span, message);
        if self.name == "RUN" && name == "device" {
            return diagnostic.note("`RUN --device` belongs to the experimental syntax (docker/dockerfile:1-labs)");
        }
        if known.is_empty() {
            return diagnostic.note(format!("`{}` has no flags at all", self.name));
        }
        match did_you_mean(name, known.iter().map(|(known, _)| *known)) {
            Some(meant) => diagnostic.hint(format!("did you mean `--{meant}`?")),
            None => diagnostic,
        }
    }
}

impl Flags {
    /// The value of a flag. An empty value is none.
    pub(super) fn value(&self, name: &str) -> Option<Word> {
        self.values(name).next().map(Traced::whole).filter(|word| !word.text.is_empty())
    }

    /// The values of a flag that may be repeated.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Traced> {
        self.found.iter().filter(move |(found, ..)| *found == name).filter_map(|(_, value, _)| value.as_ref())
    }

    /// Whether a boolean flag is set, if given at all.
    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        let (_, value, _) = self.found.iter().find(|(found, ..)| *found == name)?;
        Some(value.as_ref().is_none_or(|value| value.text.eq_ignore_ascii_case("true")))
    }

    /// Where the first flag is.
    pub(super) fn first(&self) -> Option<Span> {
        self.found.first().map(|(.., span)| *span)
    }
}
