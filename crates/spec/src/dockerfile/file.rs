//! The file as a whole: instructions, in stages.

use std::ops::Range;

use super::extra::{self, Extra, Extras};
use super::header::{self, Header};
use super::heredoc::{self, Body};
use super::lines::{Lines, Logical};
use super::{MAX_ARGUMENTS, MAX_INSTRUCTIONS, MAX_LENGTH, directive, files, health, json, pairs, plain, run, stage};
use crate::ast::{Dockerfile, Instruction, Op, Stage};
use crate::diag::{Diagnostic, Severity};
use crate::source::{Source, Span, Word};

/// As many errors, and as many warnings, are reported; more help nobody.
const MAX_REPORTED: usize = 100;

/// Messages are cut to as many bytes.
const MAX_MESSAGE: usize = 500;

/// Collects diagnostics.
#[derive(Default)]
pub(super) struct Sink {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Sink {
    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= MAX_REPORTED {
            // Messages quote the text, and a word can be as long as the file.
            let end = diagnostic.message.floor_char_boundary(MAX_MESSAGE.min(diagnostic.message.len()));
            diagnostic.message.truncate(end);
            self.list.push(diagnostic);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The diagnostics in the order of the text.
    fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| diagnostic.span.start);
        for (count, what) in [(self.errors, "errors"), (self.warnings, "warnings")] {
            if let Some(more) = count.checked_sub(MAX_REPORTED).filter(|&more| more > 0) {
                let span = self.list.last().map_or(Span::default(), |last| last.span);
                self.list.push(Diagnostic::warning("TooMany", span, format!("{more} more {what} are not shown")));
            }
        }
        self.list
    }
}

/// What is needed while instructions are parsed.
pub(super) struct Context<'a> {
    /// The escape character.
    pub(super) escape: char,
    /// Keywords beyond those of a Dockerfile.
    pub(super) more: &'static [&'static str],
    pub(super) sink: &'a mut Sink,
}

/// A file under way.
struct Reading<'a> {
    file: Dockerfile,
    extras: &'a mut dyn Extras,
    /// Whether an instruction before the first stage was reported.
    reported: bool,
}

pub(super) fn parse(source: &Source, what: &str, extras: &mut dyn Extras) -> (Dockerfile, Vec<Diagnostic>) {
    let mut sink = Sink::default();
    let mut reading = Reading { file: Dockerfile::default(), extras, reported: false };
    if source.text.len() > MAX_LENGTH {
        let message = format!("the {what} is larger than {} MiB", MAX_LENGTH >> 20);
        sink.push(Diagnostic::error("TooLong", Span::default(), message));
        return (reading.file, sink.finish());
    }
    let (directives, end) = directive::parse(&source.text, &mut sink);
    reading.file.directives = directives;
    let mut lines = Lines::new(&source.text, reading.file.directives.escape, end);
    let mut count = 0;
    while let Some(logical) = lines.logical() {
        count += 1;
        if count > MAX_INSTRUCTIONS {
            let message = format!("the {what} has more than {MAX_INSTRUCTIONS} instructions");
            sink.push(Diagnostic::error("TooLong", logical.span, message));
            break;
        }
        one(logical, &mut lines, source, &mut reading, &mut sink);
    }
    let (empty, file) = (count == 0, reading.file);
    if file.stages.is_empty() && (empty || !sink.has_errors()) {
        let end = Span::new(source.text.len(), source.text.len());
        let lacks = if empty { "instructions" } else { "build stage" };
        let message = format!("the {what} has no {lacks}");
        sink.push(
            Diagnostic::error("NoBuildStage", end, message).hint("start one with `FROM image` or `FROM scratch`"),
        );
    }
    (file, sink.finish())
}

/// Parses one instruction and puts it where it belongs.
fn one(logical: Logical, lines: &mut Lines<'_>, source: &Source, reading: &mut Reading<'_>, sink: &mut Sink) {
    let Reading { file, extras, reported } = reading;
    file.empty_continuations.extend(logical.empty);
    let mut header = header::parse(&logical.line, 0..logical.line.text.len());
    let bodies = bodies(&header, lines, source, sink);
    let Some(bodies) = bodies else { return };
    let end = bodies.as_ref().map_or(logical.span.end, |bodies| bodies.end.max(logical.span.end));
    let bodies = bodies.map(|bodies| bodies.list).unwrap_or_default();
    let span = Span::new(logical.span.start, end);
    let mut context = Context { escape: file.directives.escape, more: extras.keywords(), sink };
    let place = file.stages.last().map(|stage| (file.stages.len() - 1, stage.instructions.len()));
    let upper = header.keyword.text.to_ascii_uppercase();
    if let Some(name) = extras.keywords().iter().find(|name| **name == upper) {
        let (stage, at) = place.unzip();
        let at = at.unwrap_or(0);
        extras.read(name, &mut Extra { header: &header, span, stage, at, context: &mut context });
        return;
    }
    if let ("COPY", Some((stage, at))) = (&*header.name, place) {
        extra::copy_flags(&mut header, *extras, stage, at);
    }
    if header.name == "FROM" {
        let stage = stage::parse(&header, span, &mut context);
        file.stages.push(Stage { comments: logical.comments, ..stage });
        return;
    }
    let Some(instruction) = instruction(&header, span, bodies, &mut context) else {
        return;
    };
    let instruction = Instruction { comments: logical.comments, ..instruction };
    match (file.stages.last_mut(), &instruction.op) {
        (Some(stage), _) => stage.instructions.push(instruction),
        (None, Op::Arg(_)) => file.global_args.push(instruction),
        (None, _) => before_from(&header, reported, context.sink),
    }
}

/// Reports the first instruction that stands before any stage.
fn before_from(header: &Header<'_>, reported: &mut bool, sink: &mut Sink) {
    if std::mem::replace(reported, true) {
        return;
    }
    let message = format!("`{}` before the first `FROM`", header.name);
    sink.push(
        Diagnostic::error("NoBuildStage", header.keyword.span, message)
            .label("no build stage to belong to")
            .hint("only `ARG` may come before `FROM`"),
    );
}

/// The heredoc bodies of an instruction.
struct Bodies {
    list: Vec<Body>,
    /// Where the last terminator ends.
    end: usize,
}

/// Reads the bodies of the heredocs an instruction announces. `None`, with a diagnostic, when one does not end: the
/// rest of the file is its body then.
fn bodies(header: &Header<'_>, lines: &mut Lines<'_>, source: &Source, sink: &mut Sink) -> Option<Option<Bodies>> {
    if !may_hold_heredocs(header) {
        return Some(None);
    }
    let markers = heredoc::markers(&header.line.text);
    let mut list = Vec::with_capacity(markers.len());
    for marker in &markers {
        match heredoc::body(marker, lines, &source.text) {
            Some(body) => list.push(body),
            None => {
                let text = &header.line.text;
                let span = text
                    .find(&marker.word)
                    .map_or_else(|| header.span(), |start| header.line.span(start..start + marker.word.len()));
                let message = format!("the heredoc `{}` is not terminated", marker.word);
                let hint = format!("end it with a line that is exactly `{}`", marker.name);
                sink.push(Diagnostic::error("UnterminatedHeredoc", span, message).hint(hint));
                return None;
            }
        }
    }
    let end = source.text[..lines.position()].trim_end_matches(['\r', '\n']).len();
    Some((!list.is_empty()).then_some(Bodies { list, end }))
}

/// Whether `<<EOF` means something here: in `RUN`, `COPY`, `ADD` and `ONBUILD` of these, not in exec forms.
fn may_hold_heredocs(header: &Header<'_>) -> bool {
    match header.name.as_str() {
        "RUN" | "COPY" | "ADD" => json::strings(header.args_text()).is_err(),
        "ONBUILD" => {
            let inner = header::parse(header.line, header.args.clone());
            inner.name != "ONBUILD" && may_hold_heredocs(&inner)
        }
        _ => false,
    }
}

/// Parses an instruction other than `FROM`; `None` when nothing is left of it, which has been reported.
fn instruction(header: &Header<'_>, span: Span, bodies: Vec<Body>, context: &mut Context<'_>) -> Option<Instruction> {
    let text = header.line.text[header.range.clone()].to_owned();
    let op = match header.name.as_str() {
        "ONBUILD" => onbuild(header, span, bodies, context)?,
        _ => {
            let heredocs = bodies.into_iter().map(|body| body.heredoc).collect();
            op(header, heredocs, context)?
        }
    };
    Some(Instruction { op, span, keyword: header.keyword.clone(), text, comments: Vec::new() })
}

fn op(header: &Header<'_>, heredocs: Vec<crate::ast::Heredoc>, context: &mut Context<'_>) -> Option<Op> {
    match header.name.as_str() {
        "ADD" => files::add(header, heredocs, context),
        "ARG" => pairs::arg(header, context),
        "CMD" => plain::cmd(header, context),
        "COPY" => files::copy(header, heredocs, context),
        "ENTRYPOINT" => plain::entrypoint(header, context),
        "ENV" => pairs::env(header, context),
        "EXPOSE" => plain::expose(header, context),
        "HEALTHCHECK" => health::parse(header, context),
        "LABEL" => pairs::label(header, context),
        "MAINTAINER" => plain::maintainer(header, context),
        "RUN" => run::parse(header, heredocs, context),
        "SHELL" => plain::shell(header, context),
        "STOPSIGNAL" => plain::stopsignal(header, context),
        "USER" => plain::user(header, context),
        "VOLUME" => plain::volume(header, context),
        "WORKDIR" => plain::workdir(header, context),
        _ => {
            unknown(header, context);
            None
        }
    }
}

fn unknown(header: &Header<'_>, context: &mut Context<'_>) {
    let sink = &mut *context.sink;
    let word = &header.keyword.text;
    if word.is_empty() {
        let message = "a line continuation without an instruction";
        sink.push(Diagnostic::error("UnknownInstruction", header.span(), message));
        return;
    }
    let shown: String = word.chars().take(40).collect();
    let shown = if shown.len() < word.len() { shown + "…" } else { shown };
    let diagnostic =
        Diagnostic::error("UnknownInstruction", header.keyword.span, format!("unknown instruction `{shown}`"));
    let diagnostic = diagnostic.suggest(word, header::KEYWORDS.iter().chain(context.more).copied());
    let lonely = diagnostic.hint.is_none();
    sink.push(if lonely {
        diagnostic.hint("if the line belongs to the one before, that one must end in the escape character")
    } else {
        diagnostic
    });
}

/// `ONBUILD instruction`: the text goes into the image, and is parsed again for each build from it.
fn onbuild(header: &Header<'_>, span: Span, bodies: Vec<Body>, context: &mut Context<'_>) -> Option<Op> {
    header.flags(&[], context.sink);
    if header.args.is_empty() {
        let message = "`ONBUILD` needs an instruction";
        context.sink.push(Diagnostic::error("MissingArgument", header.span(), message));
        return None;
    }
    let inner = header::parse(header.line, header.args.clone());
    if let Some(message) = not_a_trigger(&inner.name) {
        context.sink.push(Diagnostic::error("InvalidOnbuild", inner.keyword.span, message));
        return None;
    }
    let whole = &header.line.text;
    let start = header.args.start;
    let mut text = header.line.word(start..whole.len());
    for body in &bodies {
        text.text.push('\n');
        text.text.push_str(&body.raw);
        text.text.push_str(&body.heredoc.name);
        text.span.end = span.end;
    }
    let span = Span::new(inner.span().start, span.end);
    let instruction = Box::new(instruction(&inner, span, bodies, context)?);
    Some(Op::Onbuild { text, instruction })
}

fn not_a_trigger(name: &str) -> Option<String> {
    match name {
        "ONBUILD" => Some("`ONBUILD ONBUILD` is not allowed".to_owned()),
        "FROM" | "MAINTAINER" => Some(format!("`{name}` is not allowed in `ONBUILD`")),
        _ => None,
    }
}

/// Parses what `ONBUILD` left in an image: exactly one instruction.
pub(super) fn parse_trigger(source: &Source) -> (Option<Instruction>, Vec<Diagnostic>) {
    let mut sink = Sink::default();
    if source.text.len() > MAX_LENGTH {
        let message = format!("the trigger is larger than {} MiB", MAX_LENGTH >> 20);
        sink.push(Diagnostic::error("TooLong", Span::default(), message));
        return (None, sink.finish());
    }
    let mut lines = Lines::new(&source.text, '\\', 0);
    let Some(logical) = lines.logical() else {
        sink.push(Diagnostic::error("InvalidOnbuild", Span::default(), "the trigger is empty"));
        return (None, sink.finish());
    };
    let parsed = trigger(&logical, &mut lines, source, &mut sink);
    if let Some(more) = lines.logical().filter(|_| !sink.has_errors()) {
        sink.push(Diagnostic::error("InvalidOnbuild", more.span, "the trigger is more than one instruction"));
    }
    (parsed.filter(|_| !sink.has_errors()), sink.finish())
}

fn trigger(logical: &Logical, lines: &mut Lines<'_>, source: &Source, sink: &mut Sink) -> Option<Instruction> {
    let header = header::parse(&logical.line, 0..logical.line.text.len());
    if let Some(message) = not_a_trigger(&header.name) {
        sink.push(Diagnostic::error("InvalidOnbuild", header.keyword.span, message));
        return None;
    }
    let bodies = bodies(&header, lines, source, sink)?;
    let end = bodies.as_ref().map_or(logical.span.end, |bodies| bodies.end.max(logical.span.end));
    let bodies = bodies.map(|bodies| bodies.list).unwrap_or_default();
    instruction(&header, Span::new(logical.span.start, end), bodies, &mut Context { escape: '\\', more: &[], sink })
}

/// The arguments of an instruction that takes exactly one, blanks in it included.
pub(super) fn single(header: &Header<'_>, context: &mut Context<'_>) -> Option<Word> {
    header.flags(&[], context.sink);
    if header.args.is_empty() {
        missing(header, "an argument", context.sink);
        return None;
    }
    Some(header.args_word())
}

/// Reports an instruction that lacks something.
pub(super) fn missing(header: &Header<'_>, what: &str, sink: &mut Sink) {
    let message = format!("`{}` needs {what}", header.name);
    sink.push(Diagnostic::error("MissingArgument", header.span(), message));
}

/// Reads arguments as a JSON array of strings.
pub(super) fn exec_form(header: &Header<'_>, args: Range<usize>, sink: &mut Sink) -> Exec {
    let line = header.line;
    match json::strings(&line.text[args.clone()]) {
        Ok(elements) if elements.len() > MAX_ARGUMENTS => {
            sink.push(header.too_many("arguments"));
            Exec::Wrong
        }
        Ok(elements) => Exec::Strings(
            elements
                .into_iter()
                .map(|(text, range)| Word { text, span: line.span(args.start + range.start..args.start + range.end) })
                .collect(),
        ),
        Err(json::NotStrings::NotJson) => Exec::No,
        Err(json::NotStrings::Element(range)) => {
            let span = line.span(args.start + range.start..args.start + range.end);
            let message = "a JSON array must hold strings only";
            sink.push(Diagnostic::error("NotStrings", span, message).hint("put it in double quotes"));
            Exec::Wrong
        }
    }
}

/// Whether arguments are an exec form.
pub(super) enum Exec {
    /// Yes: its strings.
    Strings(Vec<Word>),
    /// No.
    No,
    /// A mistake, reported.
    Wrong,
}
