//! The text, read as a Dockerfile with more instructions.

use super::{App, Role};
use crate::ast::{Dockerfile, Pair};
use crate::diag::Diagnostic;
use crate::dockerfile;
use crate::dockerfile::extra::{Extra, Extras};
use crate::source::{Source, Span, Word};

/// As many applications an image may have.
const MAX_APPS: usize = 1000;

/// What sealer's newer dialect has beyond Dockerfiles.
const KEYWORDS: [&str; 8] = ["APP", "APPCMDS", "APPENV", "CMDS", "CNI", "CSI", "KUBEVERSION", "LAUNCH"];

/// An instruction that no Dockerfile has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instruction {
    App(App),
    AppCommands(Word, Vec<Word>),
    AppEnv(Word, Vec<Pair>),
    Commands(Vec<Word>),
    Launch(Vec<Word>),
    Kubernetes(Word),
    /// `COPY --values=FILE` of the instruction at that place.
    Values(Word),
}

/// An instruction and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) instruction: Instruction,
    pub(super) keyword: Word,
    pub(super) span: Span,
    pub(super) stage: usize,
    /// How many instructions of the stage come before it.
    pub(super) at: usize,
}

/// A file before its dialect is known.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) dockerfile: Dockerfile,
    pub(super) extras: Vec<Placed>,
    apps: usize,
}

pub(super) fn file(source: &Source) -> (Read, Vec<Diagnostic>) {
    let mut read = Read::default();
    let (dockerfile, found) = dockerfile::parse_with(source, "Kubefile", &mut read);
    read.dockerfile = dockerfile;
    (read, found)
}

impl Extras for Read {
    fn keywords(&self) -> &'static [&'static str] {
        &KEYWORDS
    }

    fn copy_flags(&self) -> &'static [&'static str] {
        &["values"]
    }

    fn read(&mut self, name: &'static str, extra: &mut Extra<'_, '_, '_>) {
        let Some(stage) = extra.stage else {
            let message = format!("`{name}` before the first `FROM`");
            let span = extra.keyword().span;
            extra.report(Diagnostic::error("NoBuildStage", span, message).hint("only `ARG` may come before `FROM`"));
            return;
        };
        let Some(instruction) = self.instruction(name, extra) else { return };
        let (keyword, span, at) = (extra.keyword(), extra.span, extra.at);
        self.extras.push(Placed { instruction, keyword, span, stage, at });
    }

    fn copy_flag(&mut self, _: &'static str, value: Word, stage: usize, at: usize) {
        let (keyword, span) = (Word { text: "COPY".to_owned(), span: value.span }, value.span);
        self.extras.push(Placed { instruction: Instruction::Values(value), keyword, span, stage, at });
    }
}

impl Read {
    fn instruction(&mut self, name: &'static str, extra: &mut Extra<'_, '_, '_>) -> Option<Instruction> {
        match name {
            "APP" => self.app(Role::App, extra),
            "CNI" => self.app(Role::Cni, extra),
            "CSI" => self.app(Role::Csi, extra),
            "APPCMDS" => {
                let hint = "write `APPCMDS app [\"kubectl apply -f app.yaml\"]`";
                let (name, commands) = extra.strings(true, hint)?;
                let name = name.or_else(|| {
                    extra.missing("the name of an application", hint);
                    None
                })?;
                Some(Instruction::AppCommands(name, commands))
            }
            "APPENV" => {
                let (name, pairs) = extra.named_pairs("write `APPENV app KEY=VALUE`")?;
                Some(Instruction::AppEnv(name, pairs))
            }
            "CMDS" => {
                let (_, commands) = extra.strings(false, "write `CMDS [\"kubectl apply -f app.yaml\"]`")?;
                Some(Instruction::Commands(commands))
            }
            "LAUNCH" => {
                let (_, names) = extra.strings(false, "write `LAUNCH [\"app1\", \"app2\"]`")?;
                Some(Instruction::Launch(names))
            }
            _ => version(extra).map(Instruction::Kubernetes),
        }
    }

    fn app(&mut self, role: Role, extra: &mut Extra<'_, '_, '_>) -> Option<Instruction> {
        let hint = format!("write `{} name local://path/in/the/context`", role.name().to_uppercase());
        let mut words = extra.words()?.into_iter();
        let (name, files) = (words.next(), words.collect::<Vec<_>>());
        let Some(name) = name.filter(|_| !files.is_empty()) else {
            extra.missing("a name and files", &hint);
            return None;
        };
        if !is_name(&name.text) {
            let message = format!("`{}` cannot name an application", name.text);
            let hint = "a name has lower-case letters, digits, `-`, `_` and `.`, and starts with a letter or digit";
            extra.report(Diagnostic::error("InvalidAppName", name.span, message).hint(hint));
            return None;
        }
        for file in &files {
            if !["local://", "http://", "https://"].iter().any(|scheme| file.text.starts_with(scheme)) {
                let message = format!("`{}` does not say where it is", file.text);
                let hint = format!("write `local://{}` for a path in the context, or a URL", file.text);
                extra.report(Diagnostic::error("InvalidAppFile", file.span, message).hint(hint));
                return None;
            }
        }
        self.apps += 1;
        if self.apps > MAX_APPS {
            let message = format!("there are more than {MAX_APPS} applications");
            extra.report(Diagnostic::error("TooLong", name.span, message));
            return None;
        }
        Some(Instruction::App(App { role, name, files }))
    }
}

/// The names that directories below `application/apps` may have.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 128 && name.starts_with(plain) && name.chars().all(|c| plain(c) || "-_.".contains(c))
}

/// `KUBEVERSION v1.30.2`
fn version(extra: &mut Extra<'_, '_, '_>) -> Option<Word> {
    let words = extra.words()?;
    let [version] = &words[..] else {
        extra.missing("one version", "write `KUBEVERSION v1.30.2`");
        return None;
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    let digits = version.text.strip_prefix('v').unwrap_or(&version.text);
    let is_version = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(valid);
    if !is_version && !version.text.contains('$') {
        let message = format!("`{}` is not a version of Kubernetes", version.text);
        extra.report(Diagnostic::error("InvalidVersion", version.span, message).hint("write `KUBEVERSION v1.30.2`"));
        return None;
    }
    Some(version.clone())
}
