//! `HEALTHCHECK NONE` and `HEALTHCHECK [options] CMD command`

use super::file::{Context, missing};
use super::header::{Flags, Header, Takes};
use super::plain;
use crate::ast::{Command, Healthcheck, Op};
use crate::diag::Diagnostic;
use crate::duration;

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

/// The shortest interval, in nanoseconds.
const MIN: i64 = 1_000_000;

/// Parses a `HEALTHCHECK`.
pub(super) fn parse(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    let flags = header.flags(&FLAGS, context.sink);
    let text = header.args_text();
    let kind_length = text.find(char::is_whitespace).unwrap_or(text.len());
    let rest = header.line.trim(header.args.start + kind_length..header.args.end);
    let kind = header.line.word(header.args.start..header.args.start + kind_length);
    match kind.text.to_ascii_uppercase().as_str() {
        "" => {
            missing(header, "`CMD` and a command, or `NONE`", context.sink);
            None
        }
        "NONE" if rest.is_empty() => {
            if let Some(span) = flags.first() {
                let message = "options mean nothing to `HEALTHCHECK NONE`";
                context.sink.push(Diagnostic::warning("UselessFlag", span, message));
            }
            Some(Op::Healthcheck(Healthcheck::None))
        }
        "NONE" => {
            let message = "`HEALTHCHECK NONE` takes no arguments";
            context.sink.push(Diagnostic::error("InvalidHealthcheck", header.line.span(rest), message));
            None
        }
        "CMD" => {
            let command = if rest.is_empty() { None } else { Some(plain::command(header, rest, context)?) };
            let Some(command) = command.filter(|command| *command != Command::Exec(Vec::new())) else {
                missing(header, "a command behind `CMD`", context.sink);
                return None;
            };
            Some(Op::Healthcheck(Healthcheck::Check {
                command,
                interval: interval(&flags, "interval", context),
                timeout: interval(&flags, "timeout", context),
                start_period: interval(&flags, "start-period", context),
                start_interval: interval(&flags, "start-interval", context),
                retries: retries(&flags, context),
            }))
        }
        _ => {
            let message = format!("`HEALTHCHECK` is followed by `CMD` or `NONE`, not `{}`", kind.text);
            let hint = format!("write `HEALTHCHECK CMD {}`", text.chars().take(60).collect::<String>());
            context.sink.push(Diagnostic::error("InvalidHealthcheck", kind.span, message).hint(hint));
            None
        }
    }
}

/// A duration of at least [`MIN`]; zero means that the flag is not given.
fn interval(flags: &Flags, name: &str, context: &mut Context<'_>) -> Option<i64> {
    let value = flags.value(name)?;
    let problem = match duration::parse(&value.text) {
        Ok(0) => return None,
        Ok(nanoseconds) if nanoseconds >= MIN => return Some(nanoseconds),
        Ok(_) => format!("`--{name}` must be at least 1ms"),
        Err(error) => error.to_string(),
    };
    context.sink.push(Diagnostic::error("InvalidFlagValue", value.span, problem));
    None
}

fn retries(flags: &Flags, context: &mut Context<'_>) -> Option<i64> {
    let value = flags.value("retries")?;
    match value.text.parse::<i32>() {
        Ok(retries) if retries >= 0 => Some(i64::from(retries)),
        _ => {
            let message = format!("`--retries` is a number from 0, not `{}`", value.text);
            context.sink.push(Diagnostic::error("InvalidFlagValue", value.span, message));
            None
        }
    }
}
