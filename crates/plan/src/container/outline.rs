//! What can be said about a build: its arguments with their values, the secrets, agents and caches it asks for.

use std::collections::{BTreeMap, BTreeSet};

use kiln_spec::ast::{ArgDecl, Instruction, Op, description};
use kiln_spec::source::Span;

use super::Planner;

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Arguments, in the order of the text.
    pub args: Vec<Argument>,
    /// Secrets of `RUN --mount=type=secret`, in the order of the text.
    pub secrets: Vec<Needed>,
    /// Agents of `RUN --mount=type=ssh`, in the order of the text.
    pub ssh: Vec<Needed>,
    /// Caches of `RUN --mount=type=cache`, in the order of the text.
    pub caches: Vec<Cached>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Its value: what was given, else its default.
    pub value: Option<String>,
    /// The `ARG`.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Its id.
    pub id: String,
    /// Whether the build fails without.
    pub required: bool,
    /// The mount.
    pub span: Span,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its id.
    pub id: String,
    /// The mount.
    pub span: Span,
}

/// Something the planner met that an outline shows.
#[derive(Debug, Clone)]
pub(crate) enum Outlined {
    /// An `ARG` in a stage; `own` when its value does not come from before the first `FROM`.
    Arg { stage: usize, own: bool, argument: Argument },
    /// A mount.
    Mount { kind: Kind, id: String, required: bool, span: Span },
}

/// What kind of mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    Ssh,
    Cache,
}

/// The outline of what was planned, for `target`.
pub(super) fn of(planner: &Planner<'_>, target: usize) -> Outline {
    let stage = planner.file.stages.get(target);
    let mut outline = Outline {
        name: stage.and_then(|stage| Some(stage.name.as_ref()?.text.clone())),
        description: stage.and_then(|stage| stage.description()).map(str::to_owned),
        args: args(planner, target),
        ..Outline::default()
    };
    let mut named = BTreeSet::new();
    for outlined in &planner.outlined {
        let Outlined::Mount { kind, id, required, span } = outlined else { continue };
        // The first one of a name counts.
        if !named.insert((*kind as u8, id.clone())) {
            continue;
        }
        let needed = || Needed { id: id.clone(), required: *required, span: *span };
        match kind {
            Kind::Secret => outline.secrets.push(needed()),
            Kind::Ssh => outline.ssh.push(needed()),
            Kind::Cache => outline.caches.push(Cached { id: id.clone(), span: *span }),
        }
    }
    outline.secrets.sort_by_key(|secret| secret.span.start);
    outline.ssh.sort_by_key(|agent| agent.span.start);
    outline.caches.sort_by_key(|cache| cache.span.start);
    outline
}

/// Arguments of the stages that were planned; where several stages declare one, the target's counts, else the last.
fn args(planner: &Planner<'_>, target: usize) -> Vec<Argument> {
    let (mut own, mut global): (BTreeMap<&str, (bool, usize, &Argument)>, _) = (BTreeMap::new(), BTreeSet::new());
    for outlined in &planner.outlined {
        let Outlined::Arg { stage, own: is_own, argument } = outlined else { continue };
        if !is_own {
            global.insert(argument.name.clone());
            continue;
        }
        let rank = (*stage == target, *stage, argument);
        let best = own.entry(&argument.name).or_insert(rank);
        if (rank.0, rank.1) >= (best.0, best.1) {
            *best = rank;
        }
    }
    let planned = planner.stages.iter().enumerate().filter(|(_, state)| !matches!(state, super::Progress::Untouched));
    for (index, _) in planned {
        let stage = &planner.file.stages[index];
        for word in std::iter::once(&stage.base).chain(&stage.platform) {
            global.extend(matched(planner, &word.text));
        }
    }
    let mut list: Vec<Argument> = own.values().map(|(_, _, argument)| (*argument).clone()).collect();
    // From the last to the first: what a default refers to stands before it.
    for (instruction, arg) in declarations(planner).into_iter().rev() {
        let name = &arg.name.text;
        if !global.contains(name) {
            continue;
        }
        if let Some(default) = &arg.default
            && !planner.options.build_args.contains_key(name)
        {
            global.extend(matched(planner, &default.text));
        }
        if !list.iter().any(|known| known.name == *name) {
            list.push(Argument {
                name: name.clone(),
                description: description(&instruction.comments, name).map(str::to_owned),
                value: planner.global.get(name).map(str::to_owned),
                span: instruction.span,
            });
        }
    }
    list.sort_by_key(|argument| argument.span.start);
    list
}

/// The `ARG`s before the first `FROM`.
fn declarations<'a>(planner: &Planner<'a>) -> Vec<(&'a Instruction, &'a ArgDecl)> {
    let args = |instruction: &'a Instruction| match &instruction.op {
        Op::Arg(args) => args.iter().map(|arg| (instruction, arg)).collect(),
        _ => Vec::new(),
    };
    planner.file.global_args.iter().flat_map(args).collect()
}

/// The variables before the first `FROM` that a word refers to.
fn matched(planner: &Planner<'_>, text: &str) -> Vec<String> {
    let global = &planner.global;
    let expanded = planner.expander.word(text, &|name| global.get(name).map(str::to_owned));
    expanded.map(|expanded| expanded.matched).unwrap_or_default()
}
