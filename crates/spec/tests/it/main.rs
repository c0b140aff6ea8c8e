//! The crate from outside: text in, tree, values and messages out.

mod diagnostics;
mod expand;
mod file;
mod glob;
mod heredoc;
mod ignore;
mod instructions;
mod large;
mod mount;
mod onbuild;
mod property;

use kiln_spec::ast::{Dockerfile, Instruction, Op};
use kiln_spec::diag::{Diagnostic, Severity};
use kiln_spec::dockerfile;
use kiln_spec::source::Source;

fn source(text: &str) -> Source {
    Source { name: "Dockerfile".to_owned(), text: text.to_owned() }
}

/// Parses a file without mistakes.
fn parse(text: &str) -> Dockerfile {
    let (file, diagnostics) = dockerfile::parse(&source(text));
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    assert!(errors.is_empty(), "{text}: {errors:#?}");
    file
}

/// Parses one instruction in a stage.
fn one(text: &str) -> Instruction {
    let mut file = parse(&format!("FROM scratch\n{text}"));
    let mut instructions = std::mem::take(&mut file.stages[0].instructions);
    assert_eq!((file.stages.len(), instructions.len()), (1, 1), "{text}: {instructions:#?}");
    instructions.remove(0)
}

fn op(text: &str) -> Op {
    one(text).op
}

/// What is wrong with a file: `line:column code: message`.
fn complaints(text: &str, severity: Severity) -> Vec<String> {
    let source = source(text);
    let (_, diagnostics) = dockerfile::parse(&source);
    let wanted = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == severity);
    wanted
        .map(|diagnostic| {
            let (line, column) = source.position(diagnostic.span.start);
            format!("{line}:{column} {}: {}", diagnostic.code, diagnostic.message)
        })
        .collect()
}

fn errors(text: &str) -> Vec<String> {
    complaints(text, Severity::Error)
}

fn warnings(text: &str) -> Vec<String> {
    complaints(text, Severity::Warning)
}

/// The errors of an instruction in a stage; lines count from the instruction.
fn errors_of(text: &str) -> Vec<String> {
    errors(&format!("FROM scratch\n{text}"))
        .into_iter()
        .map(|error| error.strip_prefix("2:").map_or(error.clone(), ToOwned::to_owned))
        .collect()
}
