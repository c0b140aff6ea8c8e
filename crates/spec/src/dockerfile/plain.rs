//! Instructions with nothing to them but their arguments.

use super::file::{Context, Exec, exec_form, missing, single};
use super::header::Header;
use crate::ast::{Command, Op};
use crate::diag::Diagnostic;

/// A shell or exec form; `None` when it is neither, which has been reported.
pub(super) fn command(header: &Header<'_>, args: std::ops::Range<usize>, context: &mut Context<'_>) -> Option<Command> {
    match exec_form(header, args.clone(), context.sink) {
        Exec::Strings(words) => Some(Command::Exec(words.into_iter().map(|word| word.text).collect())),
        Exec::No => Some(Command::Shell(header.line.word(args))),
        Exec::Wrong => None,
    }
}

/// The command of `CMD` or `ENTRYPOINT`.
fn default_command(header: &Header<'_>, context: &mut Context<'_>) -> Option<Command> {
    header.flags(&[], context.sink);
    if header.args.is_empty() {
        let message = format!("`{}` needs a command", header.name);
        let hint = format!("to clear it, write `{} []`", header.name);
        context.sink.push(Diagnostic::error("MissingArgument", header.span(), message).hint(hint));
        return None;
    }
    command(header, header.args.clone(), context)
}

/// `CMD`
pub(super) fn cmd(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    default_command(header, context).map(Op::Cmd)
}

/// `ENTRYPOINT`
pub(super) fn entrypoint(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    default_command(header, context).map(Op::Entrypoint)
}

/// `EXPOSE port …`
pub(super) fn expose(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    header.flags(&[], context.sink);
    let ports = header.words(context.sink)?;
    if ports.is_empty() {
        missing(header, "a port", context.sink);
        return None;
    }
    Some(Op::Expose(ports))
}

/// `MAINTAINER name`
pub(super) fn maintainer(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    single(header, context).map(Op::Maintainer)
}

/// `SHELL ["…"]`
pub(super) fn shell(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    header.flags(&[], context.sink);
    if header.args.is_empty() {
        missing(header, "a JSON array", context.sink);
        return None;
    }
    match exec_form(header, header.args.clone(), context.sink) {
        Exec::Strings(words) if words.is_empty() => {
            missing(header, "a program", context.sink);
            None
        }
        Exec::Strings(words) => Some(Op::Shell(words.into_iter().map(|word| word.text).collect())),
        Exec::No => {
            let span = header.line.span(header.args.clone());
            let message = "`SHELL` takes a JSON array of strings";
            let hint = "write `SHELL [\"/bin/sh\", \"-c\"]`";
            context.sink.push(Diagnostic::error("NotJson", span, message).hint(hint));
            None
        }
        Exec::Wrong => None,
    }
}

/// `STOPSIGNAL signal`
pub(super) fn stopsignal(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    single(header, context).map(Op::Stopsignal)
}

/// `USER user[:group]`
pub(super) fn user(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    single(header, context).map(Op::User)
}

/// `WORKDIR path`
pub(super) fn workdir(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    single(header, context).map(Op::Workdir)
}

/// `VOLUME path …` or `VOLUME ["path"]`
pub(super) fn volume(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    header.flags(&[], context.sink);
    let mut volumes = match exec_form(header, header.args.clone(), context.sink) {
        Exec::Strings(words) => words,
        Exec::No => header.words(context.sink)?,
        Exec::Wrong => return None,
    };
    if volumes.is_empty() {
        missing(header, "a path", context.sink);
        return None;
    }
    for volume in &mut volumes {
        volume.text = volume.text.trim().to_owned();
        if volume.text.is_empty() {
            let message = "the path of a volume is empty";
            context.sink.push(Diagnostic::error("EmptyName", volume.span, message));
            return None;
        }
    }
    Some(Op::Volume(volumes))
}
