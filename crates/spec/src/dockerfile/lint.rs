//! Rules about the file as a whole, named as BuildKit names them.
//!
//! Only those that need no value of a variable and no base image are here.

use std::collections::HashMap;

use super::file::Sink;
use crate::ast::{Command, Dockerfile, Instruction, Op, Stage};
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

/// What is remembered from instruction to instruction.
#[derive(Default)]
pub(super) struct Lint {
    /// Whether an instruction before the first stage has been reported.
    pub(super) reported_before_from: bool,
    /// Keywords since the first `FROM`, as typed.
    keywords: Vec<Word>,
    /// Stage names in lowercase: whether each has a shell of its own.
    stages: HashMap<String, bool>,
    /// Whether the current stage, or one it starts from, has a `SHELL`.
    shell: bool,
    /// Instructions of which the last one in a stage counts: CMD, ENTRYPOINT, HEALTHCHECK.
    last: [Option<Span>; 3],
}

impl Lint {
    /// Notes a keyword.
    pub(super) fn keyword(&mut self, keyword: &Word) {
        self.keywords.push(keyword.clone());
    }

    /// Notes a new stage.
    pub(super) fn stage(&mut self, stage: &Stage, sink: &mut Sink) {
        self.last = [None; 3];
        self.shell = self.stages.get(&stage.base.text.to_lowercase()).copied().unwrap_or(false);
        let Some(name) = &stage.name else { return };
        if self.stages.insert(name.text.to_lowercase(), self.shell).is_some() {
            let message = format!("more than one stage is named `{}`", name.text);
            sink.push(Diagnostic::warning("DuplicateStageName", name.span, message).hint("give it a name of its own"));
        }
    }

    /// Looks at an instruction of `stage`.
    pub(super) fn instruction(&mut self, instruction: &Instruction, stage: &Stage, sink: &mut Sink) {
        self.keyword(&instruction.keyword);
        let slot = match &instruction.op {
            Op::Shell(_) => {
                self.shell = true;
                if let Some(name) = &stage.name {
                    self.stages.insert(name.text.to_lowercase(), true);
                }
                return;
            }
            Op::Cmd(command) => {
                self.shell_form(instruction, command, sink);
                0
            }
            Op::Entrypoint(command) => {
                self.shell_form(instruction, command, sink);
                1
            }
            Op::Healthcheck(_) => 2,
            _ => return,
        };
        if let Some(earlier) = self.last[slot].replace(instruction.keyword.span) {
            let keyword = instruction.keyword.text.to_uppercase();
            let message = format!("more than one `{keyword}` in a stage: only the last one counts");
            let diagnostic = Diagnostic::warning("MultipleInstructionsDisallowed", earlier, message);
            sink.push(diagnostic.hint("remove this one"));
        }
    }

    /// A shell between a container and its process swallows signals, unless the author chose that shell.
    fn shell_form(&self, instruction: &Instruction, command: &Command, sink: &mut Sink) {
        if self.shell || matches!(command, Command::Exec(_)) {
            return;
        }
        let keyword = instruction.keyword.text.to_uppercase();
        let message = format!("the shell form of `{keyword}` keeps signals from the process");
        let hint = format!("write a JSON array: `{keyword} [\"program\", \"argument\"]`");
        let span = instruction.keyword.span;
        sink.push(Diagnostic::warning("JSONArgsRecommended", span, message).hint(hint));
    }

    /// Looks at the file once it is read.
    pub(super) fn finish(&self, _file: &Dockerfile, sink: &mut Sink) {
        let lower = |word: &Word| word.text == word.text.to_lowercase();
        let upper = |word: &Word| word.text == word.text.to_uppercase();
        let lowers = self.keywords.iter().filter(|word| lower(word)).count();
        let uppers = self.keywords.iter().filter(|word| upper(word)).count();
        let (consistent, case): (&dyn Fn(&Word) -> bool, _) =
            if lowers > uppers { (&lower, "lowercase") } else { (&upper, "uppercase") };
        for keyword in self.keywords.iter().filter(|word| !consistent(word)) {
            let message = format!("`{}` should be {case} like most instructions here", keyword.text);
            sink.push(Diagnostic::warning("ConsistentInstructionCasing", keyword.span, message));
        }
    }
}
