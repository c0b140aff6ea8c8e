//! `RUN [--mount=…] [--network=…] [--security=…] command`

use super::file::{Context, missing};
use super::header::{Header, Takes};
use super::{mount, plain};
use crate::ast::{Command, Heredoc, Op, Run};
use crate::diag::Diagnostic;
use crate::source::Word;

const FLAGS: [(&str, Takes); 3] = [("mount", Takes::Values), ("network", Takes::Value), ("security", Takes::Value)];
const NETWORKS: [&str; 3] = ["default", "none", "host"];
const SECURITY: [&str; 2] = ["sandbox", "insecure"];

/// Parses a `RUN`.
pub(super) fn parse(header: &Header<'_>, heredocs: Vec<Heredoc>, context: &mut Context<'_>) -> Option<Op> {
    let flags = header.flags(&FLAGS, context.sink);
    let mounts = flags.values("mount").filter_map(|value| mount::parse(value, context)).collect();
    let network = flags.value("network");
    one_of(network.as_ref(), "network mode", &NETWORKS, context);
    let security = flags.value("security");
    one_of(security.as_ref(), "security mode", &SECURITY, context);
    if header.args.is_empty() {
        missing(header, "a command", context.sink);
        return None;
    }
    let command = plain::command(header, header.args.clone(), context)?;
    if command == Command::Exec(Vec::new()) {
        missing(header, "a command: the array is empty", context.sink);
        return None;
    }
    Some(Op::Run(Run { command, heredocs, mounts, network, security }))
}

/// Reports a value that is none of those there are.
fn one_of(value: Option<&Word>, what: &str, known: &[&str], context: &mut Context<'_>) {
    let Some(value) = value.filter(|value| !known.contains(&value.text.as_str())) else { return };
    let message = format!("unknown {what} `{}`", value.text);
    let choices = known.join(", ");
    context.sink.push(
        Diagnostic::error("InvalidFlagValue", value.span, message)
            .note(format!("there are: {choices}"))
            .suggest(&value.text, known.iter().copied()),
    );
}
