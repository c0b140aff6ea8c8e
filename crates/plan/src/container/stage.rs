//! One stage: from its `FROM` to its last instruction.

use kiln_oci::{ImageConfig, Platform};
use kiln_spec::ast::{ArgDecl, Command, Instruction, Op as Ast, Pair};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Span, Word};
use kiln_spec::{dockerfile, login};

use super::{Planner, Source, config, files, path, run};
use crate::history;
use crate::lint::{Keyword, Seen};
use crate::scope::{DEFAULT_PATH, Scope};
use crate::step::{MkdirOp, Op, StepId};

/// A stage as far as it is planned.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its last step.
    pub tip: StepId,
    /// The configuration an image made here would have.
    pub config: ImageConfig,
    /// What variables mean at this point.
    pub scope: Scope,
    /// What it is built for.
    pub platform: Platform,
    /// Triggers declared here, for stages built on this one.
    pub triggers: Vec<String>,
    /// How many entries of the history are the base's.
    pub base_history: usize,
    /// Whether this stage has had a `CMD`: an `ENTRYPOINT` resets only an inherited one.
    pub has_cmd: bool,
    /// Its name for titles.
    pub label: Option<String>,
    /// Position in the file.
    pub index: usize,
    /// Whether its steps ignore the cache.
    pub no_cache: bool,
    /// Whether a `WORKDIR` came before: here, or in the stage it starts from.
    pub has_workdir: bool,
    counter: usize,
    total: usize,
    /// Where to point for instructions that are not in the file (triggers of the base).
    pub at: Option<Span>,
}

impl Stage {
    /// The place to name for `span`: itself, or the `FROM` whose base brought the instruction.
    pub fn place(&self, span: Span) -> Span {
        self.at.unwrap_or(span)
    }

    /// The next title: `[build 2/5] COPY a b`.
    fn title(&mut self, text: &str, several_platforms: bool) -> String {
        self.counter += 1;
        let platform = if several_platforms { format!("{} ", self.platform) } else { String::new() };
        let label = self.label.as_ref().map(|l| format!("{l} ")).unwrap_or_default();
        let width = self.total.to_string().len();
        let onbuild = if self.at.is_some() { "ONBUILD " } else { "" };
        format!("[{platform}{label}{:>width$}/{}] {onbuild}{text}", self.counter, self.total)
    }

    /// Adds an entry to the history.
    pub fn remember(&mut self, created_by: String, makes_layer: bool) {
        self.config.history.push(history::entry(created_by, makes_layer));
    }

    /// The working directory, cleaned: the configuration has it as it was written.
    pub fn cwd(&self) -> String {
        path::normalise("/", &self.config.config.working_dir, false)
    }
}

/// Adds a step that makes a layer on top of the stage.
pub fn add_layer(planner: &mut Planner<'_>, stage: &mut Stage, op: Op, instruction: &Instruction) {
    let title = stage.title(&login::hidden(&instruction.text), planner.options.several_platforms);
    let span = stage.place(instruction.span);
    stage.tip = planner.push(op, Some(stage.tip), title, span, &stage.platform, stage.no_cache);
}

/// Plans stage `index`; `None` when it waits for answers or has mistakes.
pub fn plan(planner: &mut Planner<'_>, index: usize) -> Option<Stage> {
    let file = planner.file;
    let ast = &file.stages[index];
    let mut stage = from(planner, index)?;
    let triggers = parse_triggers(planner, &mut stage, ast.span);
    stage.total += triggers.iter().chain(&ast.instructions).filter(|i| counts(i)).count();
    stage.at = Some(ast.span);
    let mut blocked = false;
    for instruction in &triggers {
        blocked |= dispatch(planner, &mut stage, instruction).is_none();
    }
    stage.at = None;
    for instruction in &ast.instructions {
        blocked |= dispatch(planner, &mut stage, instruction).is_none();
    }
    (!blocked).then_some(stage)
}

/// Whether an instruction has a number in titles.
fn counts(instruction: &Instruction) -> bool {
    matches!(instruction.op, Ast::Run(_) | Ast::Copy(_) | Ast::Add(_) | Ast::Workdir(_))
}

fn from(planner: &mut Planner<'_>, index: usize) -> Option<Stage> {
    let file = planner.file;
    let ast = &file.stages[index];
    let base = planner.expand_global(&ast.base)?;
    if base.is_empty() {
        let text = format!("the base name `{}` is empty once its variables are expanded", ast.base.text);
        let d = Diagnostic::error("from", ast.base.span, text).label("expands to nothing");
        planner.error(d.hint("give the ARG a default before the first FROM, or pass it with --build-arg"));
        return None;
    }
    let platform = match &ast.platform {
        Some(word) => Some(platform(planner, word)?),
        None => None,
    };
    let wanted = platform.clone().unwrap_or_else(|| planner.options.platform.clone());
    let name = ast.name.as_ref().map(|n| n.text.clone());
    // A named context of the stage's own name stands in for the whole stage.
    let replaced = name.as_ref().filter(|n| planner.options.contexts.contains_key(*n)).cloned();
    let several = file.stages.len() > 1;
    let label = name.clone().or_else(|| several.then(|| format!("stage-{index}")));
    let no_cache = planner.ignores_cache(name.as_deref());
    let lookup = replaced.as_deref().unwrap_or(&base);
    let mut stage = match planner.find(lookup, index, true, ast.base.span)? {
        Source::Stage(parent) => {
            let parent = planner.plan_stage(parent)?;
            let mut stage = parent.clone();
            stage.config.config.on_build = std::mem::take(&mut stage.triggers);
            stage
        }
        Source::Scratch => {
            let tip = planner.scratch_step(ast.span, &wanted);
            let mut config = ImageConfig::scratch(&wanted);
            config.config.working_dir = "/".to_owned();
            fresh(tip, config, wanted)
        }
        Source::Image(image) => {
            let tip = planner.image_step(&image, &wanted, ast.base.span)?;
            let Op::Image(fact) = &planner.steps[tip.0].op else { return None };
            let mut config = fact.config.clone();
            let is = config.platform();
            if !is.architecture.is_empty() {
                planner.seen.push(Seen::Base { is, wanted: wanted.clone(), span: ast.base.span });
            }
            config.rest.clear();
            config.config.rest.clear();
            fresh(tip, config, wanted)
        }
        Source::Context(name) => {
            let text = format!("the build context `{name}` is a directory, which cannot be a base");
            let d = Diagnostic::error("context", ast.base.span, text).label("used as a base here");
            planner
                .error(d.hint("use `FROM scratch` and `COPY --from` with it, or name an image with docker-image://"));
            return None;
        }
    };
    let triggers = std::mem::take(&mut stage.config.config.on_build);
    stage.triggers.clear();
    stage.config.config.on_build = triggers;
    stage.has_cmd = false;
    (stage.label, stage.index, stage.no_cache) = (label, index, no_cache);
    (stage.counter, stage.total) = (0, 0);
    if matches!(planner.steps[stage.tip.0].op, Op::Image(_)) {
        (stage.counter, stage.total) = (1, 1);
    }
    Some(stage)
}

/// A stage that starts from an image or from nothing.
fn fresh(tip: StepId, mut config: ImageConfig, platform: Platform) -> Stage {
    if !config.config.env.iter().any(|e| e.starts_with("PATH=")) && platform.os != "windows" {
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !config.config.working_dir.is_empty() {
        config.config.working_dir = path::normalise("/", &config.config.working_dir, true);
    }
    Stage {
        tip,
        scope: Scope::of_image(&config.config.env),
        base_history: config.history.len(),
        config,
        platform,
        triggers: Vec::new(),
        has_cmd: false,
        label: None,
        index: 0,
        no_cache: false,
        has_workdir: false,
        counter: 0,
        total: 0,
        at: None,
    }
}

fn platform(planner: &mut Planner<'_>, word: &Word) -> Option<Platform> {
    let text = planner.expand_global(word)?;
    match text.parse() {
        Ok(platform) => Some(platform),
        Err(_) if text.is_empty() => {
            let d = Diagnostic::error("platform", word.span, format!("`--platform={}` expands to nothing", word.text));
            planner.error(
                d.label("empty")
                    .hint("use $BUILDPLATFORM or $TARGETPLATFORM, or give the ARG a default before the first FROM"),
            );
            None
        }
        Err(e) => {
            let e: kiln_oci::platform::PlatformError = e;
            planner.error(Diagnostic::error("platform", word.span, e.to_string()).label("here"));
            None
        }
    }
}

/// The instructions that the base wants run first, parsed; they are spent by that.
fn parse_triggers(planner: &mut Planner<'_>, stage: &mut Stage, span: Span) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    for text in std::mem::take(&mut stage.config.config.on_build) {
        let (_, parsed, found) = dockerfile::parse_onbuild(&text, "ONBUILD");
        instructions.extend(parsed);
        for d in found.into_iter().filter(|d| d.is_error()) {
            let text = format!("the base's trigger `ONBUILD {text}`: {}", d.message);
            planner.error(Diagnostic::error("onbuild", span, text).label("the base of this stage"));
        }
    }
    instructions
}

/// Plans one instruction; `None` when it waits for answers or has mistakes.
fn dispatch(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction) -> Option<()> {
    note(planner, stage, instruction);
    match &instruction.op {
        Ast::Run(ast) => run::plan(planner, stage, instruction, ast),
        Ast::Copy(ast) => files::plan_copy(planner, stage, instruction, ast),
        Ast::Add(ast) => files::plan_add(planner, stage, instruction, ast),
        Ast::Workdir(word) => workdir(planner, stage, instruction, word),
        _ => config::plan(planner, stage, instruction),
    }
}

/// Tells the rules of an instruction, as far as they ask for it.
fn note(planner: &mut Planner<'_>, stage: &Stage, instruction: &Instruction) {
    let place = |span| stage.place(span);
    let mut command = |keyword, command: Option<&Command>| {
        let chosen = stage.config.config.shell.as_ref().is_some_and(|shell| !shell.is_empty());
        let bare_shell = !chosen && matches!(command, Some(Command::Shell(_)));
        let span = place(instruction.keyword.span);
        planner.seen.push(Seen::Command { stage: stage.index, keyword, bare_shell, span });
    };
    let pairs = |keyword, pairs: &[Pair]| -> Vec<Seen> {
        let pair = |pair: &Pair| {
            let span = place(if pair.legacy { instruction.span } else { pair.key.span });
            Seen::Pair { keyword, key: pair.key.text.clone(), legacy: pair.legacy, span }
        };
        pairs.iter().map(pair).collect()
    };
    let seen = match &instruction.op {
        Ast::Cmd(what) => return command(Keyword::Cmd, Some(what)),
        Ast::Entrypoint(what) => return command(Keyword::Entrypoint, Some(what)),
        Ast::Healthcheck(_) => return command(Keyword::Healthcheck, None),
        Ast::Env(list) => pairs(Keyword::Env, list),
        Ast::Label(list) => pairs(Keyword::Label, list),
        Ast::Arg(args) => {
            let arg = |arg: &ArgDecl| {
                let span = place(arg.name.span);
                Seen::Pair { keyword: Keyword::Arg, key: arg.name.text.clone(), legacy: false, span }
            };
            args.iter().map(arg).collect()
        }
        _ => return,
    };
    planner.seen.extend(seen);
}

fn workdir(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction, word: &Word) -> Option<()> {
    let text = planner.expand(&stage.scope, word, stage.at)?;
    let first = !std::mem::replace(&mut stage.has_workdir, true);
    planner.seen.push(Seen::Workdir { path: text.clone(), first, span: stage.place(word.span) });
    // An absolute path is kept as it was written, a relative one is joined and cleaned.
    let real = path::normalise(&stage.cwd(), &text, false);
    let wd = match &*text {
        "" if !stage.config.config.working_dir.is_empty() => stage.config.config.working_dir.clone(),
        written if written.starts_with('/') => text,
        _ => real.clone(),
    };
    stage.config.config.working_dir.clone_from(&wd);
    let makes_layer = wd != "/";
    if makes_layer {
        let user = stage.config.config.user.clone();
        let op = MkdirOp { path: real, user, mtime: planner.options.source_date_epoch };
        add_layer(planner, stage, Op::Mkdir(op), instruction);
    }
    stage.remember(format!("WORKDIR {wd}"), makes_layer);
    Some(())
}
