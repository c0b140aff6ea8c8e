//! Instructions that a file has beyond those of a Dockerfile, for formats that are Dockerfiles and more.

use super::file::{Context, Exec, exec_form};
use super::header::Header;
use super::pairs;
use crate::ast::{Op, Pair};
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

/// An instruction that is not one of a Dockerfile, its arguments not looked at yet.
pub(crate) struct Extra<'a, 'h, 'c> {
    pub(super) header: &'a Header<'h>,
    /// All of it.
    pub(crate) span: Span,
    /// Which stage it belongs to; `None` before the first.
    pub(crate) stage: Option<usize>,
    /// How many instructions of the stage come before it.
    pub(crate) at: usize,
    pub(super) context: &'a mut Context<'c>,
}

/// Takes instructions that a Dockerfile does not have.
pub(crate) trait Extras {
    /// The keywords, in capitals.
    fn keywords(&self) -> &'static [&'static str];

    /// Flags that `COPY` has here and in no Dockerfile; each takes a value.
    fn copy_flags(&self) -> &'static [&'static str];

    /// Reads an instruction with one of the keywords.
    fn read(&mut self, name: &'static str, extra: &mut Extra<'_, '_, '_>);

    /// Takes a flag of the `COPY` that is the `at`th instruction of a stage.
    fn copy_flag(&mut self, name: &'static str, value: Word, stage: usize, at: usize);
}

/// A Dockerfile and nothing more.
pub(super) struct NoExtras;

impl Extras for NoExtras {
    fn keywords(&self) -> &'static [&'static str] {
        &[]
    }

    fn copy_flags(&self) -> &'static [&'static str] {
        &[]
    }

    fn read(&mut self, _: &'static str, _: &mut Extra<'_, '_, '_>) {}

    fn copy_flag(&mut self, _: &'static str, _: Word, _: usize, _: usize) {}
}

impl Extra<'_, '_, '_> {
    /// The keyword, as typed.
    pub(crate) fn keyword(&self) -> Word {
        self.header.keyword.clone()
    }

    /// Says what is wrong.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.context.sink.push(diagnostic);
    }

    /// Says that something is missing.
    pub(crate) fn missing(&mut self, what: &str, hint: &str) {
        let message = format!("`{}` needs {what}", self.header.keyword.text.to_ascii_uppercase());
        self.report(Diagnostic::error("MissingArgument", self.header.span(), message).hint(hint));
    }

    /// The arguments, split at blanks; no flags are allowed.
    pub(crate) fn words(&mut self) -> Option<Vec<Word>> {
        self.header.flags(&[], self.context.sink);
        self.header.words(self.context.sink)
    }

    /// `name` and a JSON array behind it, or only the array; `None` where there is no array, which has been reported.
    pub(crate) fn strings(&mut self, named: bool, hint: &str) -> Option<(Option<Word>, Vec<Word>)> {
        self.header.flags(&[], self.context.sink);
        let (mut args, mut name) = (self.header.args.clone(), None);
        if named {
            let text = &self.header.line.text[args.clone()];
            let end = text.find(super::words::BLANKS).map_or(args.end, |blank| args.start + blank);
            name = Some(self.header.line.word(args.start..end)).filter(|word| !word.text.is_empty());
            args = self.header.line.trim(end..args.end);
        }
        match exec_form(self.header, args, self.context.sink) {
            Exec::Strings(words) if words.iter().all(|word| !word.text.trim().is_empty()) && !words.is_empty() => {
                Some((name, words))
            }
            Exec::Wrong => None,
            Exec::Strings(_) | Exec::No => {
                self.missing("a JSON array of strings that are not empty", hint);
                None
            }
        }
    }

    /// `name` and `key=value` pairs behind it.
    pub(crate) fn named_pairs(&mut self, hint: &str) -> Option<(Word, Vec<Pair>)> {
        let args = self.header.args.clone();
        let text = &self.header.line.text[args.clone()];
        let end = text.find(super::words::BLANKS).map_or(args.end, |blank| args.start + blank);
        let name = self.header.line.word(args.start..end);
        let rest = self.header.line.trim(end..args.end);
        if name.text.is_empty() || rest.is_empty() {
            self.missing("a name and `KEY=VALUE`", hint);
            return None;
        }
        let inner = self.header.with_args(rest);
        match pairs::env(&inner, self.context)? {
            Op::Env(pairs) => Some((name, pairs)),
            _ => None,
        }
    }
}

/// Takes the flags off a `COPY` that only a format beyond Dockerfiles has. `COPY` is at a place of a stage.
pub(super) fn copy_flags(header: &mut Header<'_>, extras: &mut dyn Extras, stage: usize, at: usize) {
    for name in extras.copy_flags() {
        while let Some(value) = header.take_flag(name) {
            extras.copy_flag(name, value, stage, at);
        }
    }
}
