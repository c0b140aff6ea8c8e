//! Text → [`ast::Dockerfile`].
//!
//! Parsing follows BuildKit to the letter where a Dockerfile in the wild could tell the difference: where lines are
//! joined, what a comment is, which braces make an exec form, how `ENV` splits its words, what counts as a heredoc.
//! A mistake costs its instruction, never the rest of the file.
//!
//! [`traced`] text that knows where it came from   [`lines`] physical → logical lines, comments, heredoc bodies
//! [`directive`] `# escape=`                       [`header`] keyword, flags and arguments of one instruction
//! [`words`] and [`json`] arguments                [`heredoc`] `<<EOF`
//! [`stage`] FROM   [`pairs`] ARG ENV LABEL   [`run`] [`mount`] RUN   [`files`] COPY ADD   [`health`]   [`plain`] others
//! [`extra`] what formats have that are Dockerfiles and more
//!
//! Adding an instruction: its keyword in [`header::KEYWORDS`], its arm in `instruction`, its flags beside its parser.

mod directive;
pub(crate) mod extra;
mod file;
mod files;
mod header;
mod health;
mod heredoc;
mod json;
mod lines;
mod mount;
mod pairs;
mod plain;
mod run;
mod stage;
mod traced;
mod words;

use crate::ast;
use crate::diag::Diagnostic;
use crate::source::Source;

/// The longest Dockerfile that is read, in bytes.
pub const MAX_LENGTH: usize = 64 << 20;

/// As many instructions are read.
pub const MAX_INSTRUCTIONS: usize = 200_000;

/// As many arguments, and as many flags, an instruction may have.
pub const MAX_ARGUMENTS: usize = 100_000;

/// Parses a Dockerfile. Never fails: what could not be understood is in the diagnostics and missing from the tree.
///
/// When no diagnostic is an error, every instruction is in the tree and there is at least one stage.
pub fn parse(source: &Source) -> (ast::Dockerfile, Vec<Diagnostic>) {
    file::parse(source, "Dockerfile", &mut extra::NoExtras)
}

/// Parses a file of a format that has more instructions than a Dockerfile; `what` is its name in messages.
pub(crate) fn parse_with(
    source: &Source,
    what: &str,
    extras: &mut dyn extra::Extras,
) -> (ast::Dockerfile, Vec<Diagnostic>) {
    file::parse(source, what, extras)
}

/// Parses an instruction that a base image holds for the images built from it (`OnBuild` in its configuration).
///
/// `name` says where the instruction is from, such as `ONBUILD of node:20`; the source returned is what spans and
/// diagnostics refer to. The escape character is `\`, as it is for BuildKit.
pub fn parse_onbuild(text: &str, name: &str) -> (Source, Option<ast::Instruction>, Vec<Diagnostic>) {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    let (instruction, diagnostics) = file::parse_trigger(&source);
    (source, instruction, diagnostics)
}
