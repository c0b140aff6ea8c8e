//! Instructions that change only the configuration.

use kiln_oci::config::Healthcheck as Check;
use kiln_spec::ast::{ArgDecl, Command, Healthcheck, Instruction, Op as Ast, Pair, description};
use kiln_spec::diag::Diagnostic;
use kiln_spec::port;
use kiln_spec::source::Word;

use super::Planner;
use super::outline::{Argument, Outlined};
use super::stage::Stage;
use crate::history;
use crate::lint::Seen;

/// Plans one of them; `None` when it has mistakes.
pub fn plan(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction) -> Option<()> {
    match &instruction.op {
        Ast::Arg(args) => arg(planner, stage, args, instruction),
        Ast::Env(pairs) => env(planner, stage, pairs),
        Ast::Label(pairs) => label(planner, stage, pairs),
        Ast::Cmd(command) => {
            let argv = argv(stage, command);
            stage.remember(format!("CMD {}", history::quoted_list(&argv)), false);
            stage.config.config.cmd = Some(argv);
            stage.config.config.args_escaped = Some(true);
            stage.has_cmd = true;
            Some(())
        }
        Ast::Entrypoint(command) => {
            let argv = argv(stage, command);
            stage.remember(format!("ENTRYPOINT {}", history::quoted_list(&argv)), false);
            stage.config.config.entrypoint = Some(argv);
            if !stage.has_cmd {
                stage.config.config.cmd = None;
            }
            Some(())
        }
        Ast::Expose(words) => expose(planner, stage, words),
        Ast::Healthcheck(check) => {
            healthcheck(stage, check);
            Some(())
        }
        Ast::Maintainer(name) => {
            stage.remember(format!("MAINTAINER {}", name.text), false);
            stage.config.author = Some(name.text.clone());
            Some(())
        }
        Ast::Onbuild { text, .. } => {
            stage.config.config.on_build.push(text.text.clone());
            stage.triggers.push(text.text.clone());
            Some(())
        }
        Ast::Shell(shell) => {
            stage.remember(format!("SHELL {}", history::list(shell)), false);
            stage.config.config.shell = Some(shell.clone());
            Some(())
        }
        Ast::Stopsignal(word) => stopsignal(planner, stage, word),
        Ast::User(word) => {
            let user = planner.expand(&stage.scope, word, stage.at)?;
            if user.is_empty() {
                let d = Diagnostic::error(
                    "user",
                    stage.place(word.span),
                    "USER needs a name or number, but this one is empty".to_owned(),
                );
                planner.error(d.label("expands to nothing"));
                return None;
            }
            stage.remember(format!("USER {user}"), false);
            stage.config.config.user = user;
            Some(())
        }
        Ast::Volume(words) => volume(planner, stage, words),
        // These make layers and are planned elsewhere.
        Ast::Run(_) | Ast::Copy(_) | Ast::Add(_) | Ast::Workdir(_) => Some(()),
    }
}

/// The command with the shell in force before a shell form.
pub fn argv(stage: &Stage, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(word) => with_shell(stage, &word.text),
    }
}

/// `line` for the shell in force.
pub fn with_shell(stage: &Stage, line: &str) -> Vec<String> {
    let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let mut argv = stage.config.config.shell.clone().filter(|s| !s.is_empty()).unwrap_or_else(default);
    argv.push(line.to_owned());
    argv
}

fn arg(planner: &mut Planner<'_>, stage: &mut Stage, args: &[ArgDecl], instruction: &Instruction) -> Option<()> {
    let mut words = Vec::new();
    for arg in args {
        let name = &arg.name.text;
        planner.declared.insert(name.clone());
        let value = match (planner.options.build_args.get(name), &arg.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(planner.expand(&stage.scope, default, stage.at)?),
            (None, None) => planner.global.get(name).map(str::to_owned),
        };
        let own = planner.options.build_args.contains_key(name) || arg.default.is_some();
        planner.outlined.push(Outlined::Arg {
            stage: stage.index,
            own: own || value.is_none(),
            argument: Argument {
                name: name.clone(),
                description: description(&instruction.comments, name).map(str::to_owned),
                value: value.clone(),
                span: stage.place(instruction.span),
            },
        });
        words.push(value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}={v}")));
        stage.scope.declare(name, value.as_deref());
    }
    stage.remember(format!("ARG {}", words.join(" ")), false);
    Some(())
}

/// Pairs expanded with the values from before the instruction, as the reference says.
fn expand_pairs(planner: &mut Planner<'_>, stage: &Stage, pairs: &[Pair], what: &str) -> Option<Vec<(String, String)>> {
    let mut out = Vec::new();
    for pair in pairs {
        let key = planner.expand(&stage.scope, &pair.key, stage.at)?;
        let value = planner.expand(&stage.scope, &pair.value, stage.at)?;
        if key.is_empty() {
            let text = format!("{what} names can not be blank");
            planner
                .error(Diagnostic::error("blank-name", stage.place(pair.key.span), text).label("expands to nothing"));
            return None;
        }
        out.push((key, value));
    }
    Some(out)
}

fn env(planner: &mut Planner<'_>, stage: &mut Stage, pairs: &[Pair]) -> Option<()> {
    let pairs = expand_pairs(planner, stage, pairs, "ENV")?;
    let mut message = "ENV".to_owned();
    for (name, value) in &pairs {
        stage.scope.set(name, value);
        let entry = format!("{name}={value}");
        message = format!("{message} {entry}");
        let env = &mut stage.config.config.env;
        match env.iter_mut().find(|e| e.split_once('=').map_or(&***e, |(n, _)| n) == name) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }
    stage.remember(message, false);
    Some(())
}

fn label(planner: &mut Planner<'_>, stage: &mut Stage, pairs: &[Pair]) -> Option<()> {
    let pairs = expand_pairs(planner, stage, pairs, "LABEL")?;
    let mut message = "LABEL".to_owned();
    for (name, value) in pairs {
        message = format!("{message} {name}={value}");
        stage.config.config.labels.insert(name, value);
    }
    stage.remember(message, false);
    Some(())
}

fn expose(planner: &mut Planner<'_>, stage: &mut Stage, words: &[Word]) -> Option<()> {
    let mut exposed = Vec::new();
    for word in words {
        let scope = &stage.scope;
        let texts = match planner.expander.words(&word.text, &|n| scope.get(n).map(str::to_owned)) {
            Ok(texts) => texts,
            Err(e) => {
                let text = format!("cannot expand `{}`: {e}", word.text);
                planner.error(Diagnostic::error("expand", stage.place(word.span), text).label("in this word"));
                return None;
            }
        };
        for text in texts {
            match port::parse(&text) {
                Ok((ports, odd)) => {
                    exposed.extend(ports.each());
                    planner.seen.push(Seen::Port { text, odd, span: stage.place(word.span) });
                }
                Err(e) => {
                    let d = Diagnostic::error("expose", stage.place(word.span), e.to_string());
                    planner.error(
                        d.label("here")
                            .hint("write a port or range with an optional protocol: 80, 53/udp, 8000-8002/tcp"),
                    );
                    return None;
                }
            }
        }
    }
    stage.remember(format!("EXPOSE {}", history::list(&exposed)), false);
    stage.config.config.exposed_ports.extend(exposed.into_iter().map(|p| (p, Default::default())));
    Some(())
}

fn healthcheck(stage: &mut Stage, check: &Healthcheck) {
    let check = match check {
        Healthcheck::None => Check { test: vec!["NONE".to_owned()], ..Check::default() },
        Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } => {
            let (kind, words) = match command {
                Command::Exec(argv) => ("CMD", argv.clone()),
                Command::Shell(word) => ("CMD-SHELL", vec![word.text.clone()]),
            };
            Check {
                test: std::iter::once(kind.to_owned()).chain(words).collect(),
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                // None means what the runtime does by default, which is 3.
                retries: retries.filter(|n| *n != 0),
            }
        }
    };
    stage.remember(format!("HEALTHCHECK {}", history::healthcheck(&check)), false);
    stage.config.config.healthcheck = Some(check);
}

fn stopsignal(planner: &mut Planner<'_>, stage: &mut Stage, word: &Word) -> Option<()> {
    let signal = planner.expand(&stage.scope, word, stage.at)?;
    if !is_signal(&signal) {
        let text = format!("`{signal}` is not a signal");
        let d = Diagnostic::error("stopsignal", stage.place(word.span), text).label("here");
        planner.error(d.hint("write a name or a number: SIGTERM, SIGRTMIN+3, 9"));
        return None;
    }
    stage.remember(format!("STOPSIGNAL {signal}"), false);
    stage.config.config.stop_signal = Some(signal);
    Some(())
}

/// Signal names of Linux.
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Whether `text` is a signal's number (1 to 64) or name, with or without `SIG`.
fn is_signal(text: &str) -> bool {
    // BuildKit takes any number but zero; the runtime will know it or not.
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char, max: u32| {
        rest.is_empty()
            || rest.strip_prefix(sign).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= 1 && n <= max)
    };
    SIGNALS.contains(&name)
        || name.strip_prefix("RTMIN").is_some_and(|r| offset(r, '+', 15))
        || name.strip_prefix("RTMAX").is_some_and(|r| offset(r, '-', 14))
}

fn volume(planner: &mut Planner<'_>, stage: &mut Stage, words: &[Word]) -> Option<()> {
    let mut volumes = Vec::new();
    for word in words {
        let path = planner.expand(&stage.scope, word, stage.at)?;
        if path.is_empty() {
            let d = Diagnostic::error(
                "volume",
                stage.place(word.span),
                "VOLUME specified can not be an empty string".to_owned(),
            );
            planner.error(d.label("expands to nothing"));
            return None;
        }
        volumes.push(path);
    }
    stage.remember(format!("VOLUME {}", history::list(&volumes)), false);
    stage.config.config.volumes.extend(volumes.into_iter().map(|v| (v, Default::default())));
    Some(())
}
