//! The planner of container images: a Dockerfile, options and facts in, a plan or questions out.
//!
//! [`stage`] walks one stage's instructions; [`config`] those that change only the configuration; [`files`] `COPY`
//! and `ADD`; [`run`] `RUN`; [`path`] path arithmetic; [`outline`] what can be said about a build. Stages that the target does not need are not looked at: a
//! mistake that only its author would meet stays there.

mod config;
mod files;
mod outline;
mod path;
mod run;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{ImageConfig, Platform, Reference};
use kiln_spec::ast::{self, Dockerfile, Op as Ast};
use kiln_spec::diag::{Diagnostic, did_you_mean};
use kiln_spec::expand::{Expanded, Expander};
use kiln_spec::source::{Span, Word};

use crate::facts::{ExcludedQuery, Facts, Files, FilesFact, ImageName, ImageQuery, Question};
use crate::key::{self, Identity, Inputs, Key};
use crate::lint::config::Config;
use crate::lint::{self, Scene, Seen};
use crate::options::{NamedContext, NoCache, Options};
use crate::scope::{self, Scope};
use crate::step::{Op, Origin, Plan, Step, StepId};
use outline::Outlined;
pub use outline::{Argument, Cached, Needed, Outline};
use stage::Stage;

/// What looking at a file without building it came to.
#[derive(Debug, Clone)]
pub struct Survey {
    /// These must be answered first for all to be found; then look again.
    pub questions: Vec<Question>,
    /// What keeps it from being built.
    pub errors: Vec<Diagnostic>,
    /// What the rules find that apply.
    pub findings: Vec<Diagnostic>,
    /// What can be said about a build.
    pub outline: Outline,
}

/// Which stages a survey looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All, unless a target is named.
    All,
    /// Those that the target needs.
    Target,
}

/// Looks at `file` without building it. Of the world, only base images and ignore files are asked for: what would be
/// copied or fetched need not be there.
pub fn survey(file: &Dockerfile, options: &Options, facts: &Facts, extent: Extent) -> Survey {
    let mut planner = Planner::new(file, options, facts);
    planner.looking = true;
    planner.check_syntax();
    let config = planner.check_config();
    planner.global_args();
    let mut stages: BTreeSet<usize> = BTreeSet::new();
    let target = planner.target();
    match target {
        Some(_) if extent == Extent::All && options.target.is_none() => stages.extend(0..file.stages.len()),
        Some(target) => stages = planner.reachable(target),
        None => {}
    }
    for index in stages {
        planner.plan_stage(index);
    }
    let findings = planner.findings(&config);
    let outline = outline::of(&planner, target.unwrap_or(0));
    let Planner { questions, diagnostics, .. } = planner;
    Survey { questions: questions.into_iter().collect(), errors: diagnostics, findings, outline }
}

/// What planning came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Everything is known.
    Plan(Box<Plan>),
    /// These must be answered first; then plan again.
    Questions(Vec<Question>),
}

/// Plans the build of `file`.
///
/// # Errors
/// What is wrong with the Dockerfile, given the options and facts; as many mistakes as can be found at once.
pub fn build(file: &Dockerfile, options: &Options, facts: &Facts) -> Result<Outcome, Vec<Diagnostic>> {
    let mut planner = Planner::new(file, options, facts);
    planner.check_syntax();
    let config = planner.check_config();
    planner.global_args();
    let Some(target) = planner.target() else { return Err(planner.diagnostics) };
    for index in planner.reachable(target) {
        planner.plan_stage(index);
    }
    if !planner.diagnostics.is_empty() {
        return Err(planner.diagnostics);
    }
    if !planner.questions.is_empty() {
        return Ok(Outcome::Questions(planner.questions.into_iter().collect()));
    }
    let found = planner.findings(&config);
    if let Some(violation) = lint::violation(&config, &found) {
        return Err(found.into_iter().map(Diagnostic::named).chain([violation]).collect());
    }
    planner.warnings.extend(found);
    planner.finish(target)
}

/// Repositories of frontends whose language is the one built in.
const DOCKERFILE_FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// How far a stage is.
enum Progress {
    Untouched,
    Working,
    /// It waits for answers, or has mistakes.
    Blocked,
    Ready(Box<Stage>),
}

struct Planner<'a> {
    file: &'a Dockerfile,
    options: &'a Options,
    facts: &'a Facts,
    global: Scope,
    expander: Expander,
    stages: Vec<Progress>,
    steps: Vec<Step>,
    images: BTreeMap<ImageQuery, StepId>,
    scratch: Option<StepId>,
    questions: BTreeSet<Question>,
    diagnostics: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    declared: BTreeSet<String>,
    /// Whether nothing is to be built: files, URLs and secrets need not be there.
    looking: bool,
    /// What rules are told.
    seen: Vec<Seen>,
    /// What an outline is told.
    outlined: Vec<Outlined>,
}

/// Where a `FROM`, `COPY --from` or `RUN --mount=from=` leads.
enum Source {
    Stage(usize),
    Image(ImageName),
    Context(String),
    Scratch,
}

/// What `TARGETSTAGE` is: the target as it was asked for, or the name of the last stage.
fn target_stage(file: &Dockerfile, options: &Options) -> Option<String> {
    let last = || file.stages.last()?.name.as_ref().map(|name| name.text.to_ascii_lowercase());
    options.target.clone().or_else(last)
}

impl<'a> Planner<'a> {
    fn new(file: &'a Dockerfile, options: &'a Options, facts: &'a Facts) -> Planner<'a> {
        Planner {
            file,
            options,
            facts,
            global: scope::platform_args(
                &options.build_platform,
                &options.platform,
                target_stage(file, options).as_deref(),
            ),
            expander: Expander::new(file.directives.escape),
            stages: file.stages.iter().map(|_| Progress::Untouched).collect(),
            steps: Vec::new(),
            images: BTreeMap::new(),
            scratch: None,
            questions: BTreeSet::new(),
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            declared: BTreeSet::new(),
            looking: false,
            seen: Vec::new(),
            outlined: Vec::new(),
        }
    }

    /// Which rules apply.
    fn check_config(&mut self) -> Config {
        let (config, wrong) = Config::of(self.file, self.options);
        for diagnostic in wrong {
            let list = if diagnostic.is_error() { &mut self.diagnostics } else { &mut self.warnings };
            list.push(diagnostic);
        }
        config
    }

    /// What the rules find in what was planned.
    fn findings(&self, config: &Config) -> Vec<Diagnostic> {
        let defaults = self.default_scope();
        let (file, global, expander) = (self.file, &self.global, self.expander);
        lint::check(&Scene { file, global, defaults: &defaults, expander, seen: &self.seen }, config)
    }

    /// The global scope had no build arguments been given.
    fn default_scope(&self) -> Scope {
        let options = self.options;
        let target = target_stage(self.file, options);
        let mut scope = scope::platform_args(&options.build_platform, &options.platform, target.as_deref());
        for instruction in &self.file.global_args {
            let Ast::Arg(args) = &instruction.op else { continue };
            for (arg, default) in args.iter().filter_map(|arg| Some((arg, arg.default.as_ref()?))) {
                let value = self.expander.word(&default.text, &|n| scope.get(n).map(str::to_owned));
                if let Ok(value) = value {
                    scope.set(&arg.name.text, &value.value);
                }
            }
        }
        scope
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn ask(&mut self, question: Question) {
        self.questions.insert(question);
    }

    /// The frontend is built in: it serves the docker/dockerfile family whatever the version asked for, and no other.
    fn check_syntax(&mut self) {
        let Some(syntax) = &self.file.directives.syntax else { return };
        let image = syntax.text.split_whitespace().next().unwrap_or("");
        let ours = match image.parse::<Reference>() {
            Ok(r) => {
                r.registry == kiln_oci::reference::DEFAULT_REGISTRY && DOCKERFILE_FRONTENDS.contains(&&*r.repository)
            }
            Err(_) => false,
        };
        if !ours && image != "dockerfile.v0" {
            let text = format!("the syntax `{}` is not supported: Kiln reads Dockerfiles itself", syntax.text);
            let d = Diagnostic::error("syntax", syntax.span, text).label("another frontend");
            self.error(d.hint("use `# syntax=docker/dockerfile:1`, or no such line"));
        }
    }

    fn global_args(&mut self) {
        let file = self.file;
        for instruction in &file.global_args {
            let Ast::Arg(args) = &instruction.op else { continue };
            for arg in args {
                self.declared.insert(arg.name.text.clone());
                let value = match (self.options.build_args.get(&arg.name.text), &arg.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => self.expand_global(default),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.global.set(&arg.name.text, &value);
                }
            }
        }
    }

    fn target(&mut self) -> Option<usize> {
        let count = self.file.stages.len();
        let Some(name) = &self.options.target else { return count.checked_sub(1) };
        if let Some(index) = self.stage_named(name, count) {
            return Some(index);
        }
        if let Some(index) = name.parse::<usize>().ok().filter(|i| *i < count) {
            return Some(index);
        }
        let names: Vec<&str> = self.file.stages.iter().filter_map(|s| s.name.as_ref()).map(|n| &*n.text).collect();
        let span = self.file.stages.last().map_or(Span::default(), |s| s.span);
        let mut d = Diagnostic::error("target", span, format!("target stage `{name}` could not be found"))
            .label("the last stage of this file");
        if let Some(near) = did_you_mean(name, names.iter().copied()) {
            d = d.hint(format!("did you mean `--target {near}`?"));
        } else if !names.is_empty() {
            d = d.note(format!("stages of this file: {}", names.join(", ")));
        }
        self.error(d);
        None
    }

    /// The last stage before `before` that a `FROM` of this text names: stages are kept in lower case, and only `FROM`
    /// does not turn what it looks for into it (as BuildKit has it).
    fn base_named(&self, text: &str, before: usize) -> Option<usize> {
        self.stage_named(text, before).filter(|_| !text.contains(|c: char| c.is_ascii_uppercase()))
    }

    /// The last stage of this name before `before`.
    fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        let same = |s: &ast::Stage| s.name.as_ref().is_some_and(|n| n.text.eq_ignore_ascii_case(name));
        self.file.stages[..before].iter().rposition(same)
    }

    /// The stages `target` needs, as far as the file itself says; triggers of base images may add more.
    fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut work = vec![target];
        while let Some(index) = work.pop() {
            if !needed.insert(index) {
                continue;
            }
            let stage = &self.file.stages[index];
            let base = self.expander.word(&stage.base.text, &|n| self.global.get(n).map(str::to_owned));
            if let Ok(base) = base {
                work.extend(self.base_named(&base.value, index));
            }
            for from in stage.instructions.iter().flat_map(|i| sources_of(&i.op)) {
                let numbered = from.text.parse::<usize>().ok().filter(|i| *i < index);
                work.extend(self.stage_named(&from.text, index).or(numbered));
            }
        }
        needed
    }

    /// Expands variables of a word in a stage; a mistake in it becomes a diagnostic.
    fn expand(&mut self, scope: &Scope, word: &Word, at: Option<Span>) -> Option<String> {
        let expanded = self.expanded(scope, word, at)?;
        self.note_unset(scope, &expanded.unmatched, at.unwrap_or(word.span));
        Some(expanded.value)
    }

    /// Expands variables of a word of `FROM` or before it.
    fn expand_global(&mut self, word: &Word) -> Option<String> {
        let global = std::mem::take(&mut self.global);
        let expanded = self.expanded(&global, word, None);
        self.global = global;
        expanded.map(|expanded| expanded.value)
    }

    /// Remembers variables that had no value and no `ARG`.
    fn note_unset(&mut self, scope: &Scope, names: &[String], span: Span) {
        for name in names.iter().filter(|name| !scope.is_declared(name) && !scope::steers_builder(name)) {
            let near = did_you_mean(name, scope.names()).map(str::to_owned);
            self.seen.push(Seen::Unset { name: name.clone(), near, span });
        }
    }

    fn expanded(&mut self, scope: &Scope, word: &Word, at: Option<Span>) -> Option<Expanded> {
        match self.expander.word(&word.text, &|n| scope.get(n).map(str::to_owned)) {
            Ok(expanded) => Some(expanded),
            Err(e) => {
                let d =
                    Diagnostic::error("expand", at.unwrap_or(word.span), format!("cannot expand `{}`: {e}", word.text));
                self.error(d.label("in this word"));
                None
            }
        }
    }

    /// Finds what a name stands for, as seen from stage `current`. Mistakes become diagnostics.
    fn find(&mut self, name: &str, current: usize, is_base: bool, span: Span) -> Option<Source> {
        if let Some(context) = self.options.contexts.get(name).or_else(|| self.context_for_image(name)) {
            match context.clone() {
                NamedContext::Dir => return Some(Source::Context(name.to_owned())),
                NamedContext::Image(reference) => return Some(Source::Image(ImageName::Reference(reference))),
                NamedContext::OciLayout(layout) => return Some(Source::Image(ImageName::OciLayout(layout))),
                NamedContext::Target(target) => match self.stage_named(&target, self.file.stages.len()) {
                    Some(index) if index != current => return Some(Source::Stage(index)),
                    _ => {
                        let text =
                            format!("the build context `{name}` is `target:{target}`, but no such stage precedes");
                        self.error(Diagnostic::error("context", span, text).label("used here"));
                        return None;
                    }
                },
            }
        }
        let stage = if is_base { self.base_named(name, current) } else { self.stage_named(name, current) };
        if let Some(index) = stage {
            return Some(Source::Stage(index));
        }
        if name == "scratch" {
            return Some(Source::Scratch);
        }
        if !is_base {
            if let Ok(index) = name.parse::<usize>() {
                if index < current {
                    return Some(Source::Stage(index));
                }
                let text = match index == current {
                    true => format!("circular dependency: stage {index} copies from itself"),
                    false => format!("invalid stage index {index}: only stages before this one can be copied from"),
                };
                self.error(Diagnostic::error("from", span, text).label("no earlier stage"));
                return None;
            }
            if let Some(later) = self.stage_named(name, self.file.stages.len()) {
                let (text, label) = match later == current {
                    true => {
                        (format!("circular dependency: stage `{name}` copies from itself"), "this is the stage itself")
                    }
                    false => (
                        format!("cannot copy from stage `{name}`: it needs to be defined before this stage"),
                        "refers to a stage further down",
                    ),
                };
                self.error(Diagnostic::error("from", span, text).label(label));
                return None;
            }
        }
        Some(Source::Image(ImageName::Reference(name.to_owned())))
    }

    /// A named context may replace an image under its full or its familiar name.
    fn context_for_image(&self, name: &str) -> Option<&NamedContext> {
        let reference: Reference = name.parse().ok()?;
        [reference.to_string(), reference.familiar()].iter().find_map(|n| self.options.contexts.get(n))
    }

    /// Makes sure a stage is planned; `None` when it waits or has mistakes.
    fn plan_stage(&mut self, index: usize) -> Option<&Stage> {
        if matches!(self.stages[index], Progress::Untouched) {
            self.stages[index] = Progress::Working;
            let done = stage::plan(self, index);
            self.stages[index] = done.map_or(Progress::Blocked, |s| Progress::Ready(Box::new(s)));
        }
        match &self.stages[index] {
            Progress::Ready(stage) => Some(stage),
            _ => None,
        }
    }

    /// The step that starts from an image; asks for the image if it is not known.
    fn image_step(&mut self, name: &ImageName, platform: &Platform, span: Span) -> Option<StepId> {
        if let ImageName::Reference(text) = name
            && let Err(e) = text.parse::<Reference>()
        {
            let d = Diagnostic::error("reference", span, e.to_string()).label("not an image");
            let names: Vec<&str> = self.file.stages.iter().filter_map(|s| s.name.as_ref()).map(|n| &*n.text).collect();
            let d = match did_you_mean(text, names.iter().copied()) {
                Some(near) => d.hint(format!("did you mean the stage `{near}`?")),
                None => d,
            };
            self.error(d);
            return None;
        }
        let query = ImageQuery { name: name.clone(), platform: platform.clone() };
        if let Some(step) = self.images.get(&query) {
            return Some(*step);
        }
        let Some(fact) = self.facts.images.get(&query) else {
            self.ask(Question::Image(query));
            return None;
        };
        let title = format!("FROM {}", fact.name);
        let id = self.push(Op::Image(Box::new(fact.clone())), None, title, span, platform, false);
        self.images.insert(query, id);
        Some(id)
    }

    fn scratch_step(&mut self, span: Span, platform: &Platform) -> StepId {
        if let Some(id) = self.scratch {
            return id;
        }
        let id = self.push(Op::Scratch, None, "FROM scratch".to_owned(), span, platform, false);
        self.scratch = Some(id);
        id
    }

    fn push(
        &mut self,
        op: Op,
        parent: Option<StepId>,
        title: String,
        span: Span,
        platform: &Platform,
        no_cache: bool,
    ) -> StepId {
        let reads = read_steps(&op);
        let inputs = Definitions { steps: &self.steps, files: self.facts, parent };
        let key = key::of(&op, platform, &inputs);
        let id = StepId(self.steps.len());
        self.steps.push(Step { op, parent, reads, key, no_cache, title, span });
        id
    }

    fn ignores_cache(&self, stage_name: Option<&str>) -> bool {
        match &self.options.no_cache {
            NoCache::Never => false,
            NoCache::Always => true,
            NoCache::Stages(names) => stage_name.is_some_and(|n| names.contains(&n.to_ascii_lowercase())),
        }
    }

    /// The answer for files of a context; asks if it is not known. The placeholder only serves to find more questions.
    fn files(&mut self, query: Files) -> FilesFact {
        match self.facts.files.get(&query) {
            Some(fact) => fact.clone(),
            None => {
                if !self.looking {
                    self.ask(Question::Files(query));
                }
                FilesFact::default()
            }
        }
    }

    /// What excludes a path from a context; asks if it is not known.
    fn excluded(&mut self, query: ExcludedQuery) -> Option<(String, String)> {
        match self.facts.excluded.get(&query) {
            Some(fact) => fact.clone(),
            None => {
                self.ask(Question::Excluded(query));
                None
            }
        }
    }

    fn finish(mut self, target: usize) -> Result<Outcome, Vec<Diagnostic>> {
        self.warn_unused_build_args();
        let Progress::Ready(stage) = std::mem::replace(&mut self.stages[target], Progress::Blocked) else {
            // Neither ready nor questions nor mistakes: stages that wait for each other, which `find` rules out.
            let span = self.file.stages[target].span;
            return Err(vec![Diagnostic::error("cycle", span, "stages depend on each other in a circle".to_owned())]);
        };
        let mut config: ImageConfig = stage.config;
        for (name, value) in &self.options.labels {
            config.config.labels.insert(name.clone(), value.clone());
        }
        if self.options.platform_explicit {
            config.os.clone_from(&self.options.platform.os);
            config.architecture.clone_from(&self.options.platform.architecture);
            config.variant.clone_from(&self.options.platform.variant);
        }
        config.created = None;
        Ok(Outcome::Plan(Box::new(Plan {
            steps: self.steps,
            result: stage.tip,
            base_history: stage.base_history,
            config,
            platform: stage.platform,
            warnings: self.warnings,
        })))
    }

    fn warn_unused_build_args(&mut self) {
        let builtin = scope::platform_args(&self.options.build_platform, &self.options.platform, None);
        let unused: Vec<&str> = self
            .options
            .build_args
            .keys()
            .map(|k| &**k)
            .filter(|k| !self.declared.contains(*k) && !scope::PROXY_ARGS.contains(k) && builtin.get(k).is_none())
            .filter(|k| *k != "SOURCE_DATE_EPOCH" && !k.starts_with("BUILDKIT_"))
            .collect();
        if !unused.is_empty() {
            let span = self.file.stages.first().map_or(Span::default(), |s| s.span);
            let text = format!("build arguments not declared by any ARG: {}", unused.join(", "));
            self.warnings.push(
                Diagnostic::warning("UnusedBuildArg", span, text).hint("declare them with ARG where they are used"),
            );
        }
    }
}

/// The words after `from=` in an instruction.
fn sources_of(op: &Ast) -> Vec<&Word> {
    match op {
        Ast::Copy(copy) => copy.from.iter().collect(),
        Ast::Run(run) => run.mounts.iter().filter_map(|m| m.from.as_ref()).collect(),
        _ => Vec::new(),
    }
}

/// The steps, other than its parent, whose file systems an operation reads.
fn read_steps(op: &Op) -> Vec<StepId> {
    use crate::step::{CopyPart, RunMount};
    let step = |origin: &Origin| match origin {
        Origin::Step(id) => Some(*id),
        Origin::Context(_) => None,
    };
    let mut reads: Vec<StepId> = match op {
        Op::Scratch | Op::Image(_) | Op::Mkdir(_) => Vec::new(),
        Op::Copy(copy) => copy
            .parts
            .iter()
            .filter_map(|p| match p {
                CopyPart::Paths { origin, .. } => step(origin),
                _ => None,
            })
            .collect(),
        Op::Run(run) => run
            .mounts
            .iter()
            .filter_map(|m| match m {
                RunMount::Bind { origin, .. } | RunMount::Cache { origin, .. } => origin.as_ref().and_then(step),
                _ => None,
            })
            .collect(),
    };
    reads.sort_unstable();
    reads.dedup();
    reads
}

/// Inputs named by how they are made: what is known before anything runs.
struct Definitions<'a> {
    steps: &'a [Step],
    files: &'a Facts,
    parent: Option<StepId>,
}

impl Inputs for Definitions<'_> {
    fn parent(&self) -> Identity {
        self.parent.map_or(Identity::Nothing, |id| Identity::Definition(self.steps[id.0].key.0))
    }

    fn files(&self, origin: &Origin, select: &crate::facts::Select) -> Identity {
        match origin {
            Origin::Step(id) => {
                let Key(key) = self.steps[id.0].key;
                Identity::Definition(key)
            }
            Origin::Context(context) => {
                let query = Files { context: context.clone(), select: select.clone() };
                Identity::Content(self.files.files.get(&query).map_or([0; 32], |f| f.hash.0))
            }
        }
    }
}
