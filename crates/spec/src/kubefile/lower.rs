//! A file in its dialect → what makes files, and the rest.

use super::copy;
use super::dialect::{Dialect, Reason};
use super::read::{Instruction as Extra, Placed, Read};
use super::{APPS, App, Content, Kubefile, Role, whole_commands};
use crate::ast::{self, Add, ArgDecl, Command, Copy, Files, Instruction, Op, Pair, Sourced, Stage};
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

/// As many commands and applications a launch may have.
const MAX_LAUNCH: usize = 10_000;

pub(super) fn file(read: Read, dialect: Dialect, reason: Reason, found: &mut Vec<Diagnostic>) -> Kubefile {
    let Read { mut dockerfile, extras, .. } = read;
    let mut content = Content::default();
    let stages = dockerfile.stages.len();
    for (number, stage) in dockerfile.stages.iter_mut().enumerate() {
        let own: Vec<&Placed> = extras.iter().filter(|extra| extra.stage == number).collect();
        let mut lowering = Lowering { dialect, content: Content::default(), found, last: None };
        lowering.stage(stage, &own);
        if number + 1 == stages {
            content = lowering.content;
        } else if let Some(extra) = own.first() {
            let message = format!("`{}` of a stage that is not the last one has no effect", extra.keyword.text);
            found.push(Diagnostic::warning("StageWithoutEffect", extra.keyword.span, message));
        }
    }
    let globals = dockerfile.global_args.iter();
    let globals = globals.filter_map(|i| if let Op::Arg(args) = &i.op { Some(args.clone()) } else { None }).flatten();
    content.args.splice(0..0, globals);
    check(&content, &dockerfile, found);
    Kubefile { dialect, reason, dockerfile, content }
}

/// A stage under way.
struct Lowering<'a> {
    dialect: Dialect,
    content: Content,
    found: &'a mut Vec<Diagnostic>,
    /// The `LAUNCH` or `CMDS` so far.
    last: Option<(&'static str, Span)>,
}

impl Lowering<'_> {
    fn stage(&mut self, stage: &mut Stage, extras: &[&Placed]) {
        let mut extras = extras.iter().peekable();
        let mut made = Vec::new();
        for (at, instruction) in std::mem::take(&mut stage.instructions).into_iter().enumerate() {
            while let Some(extra) = extras.next_if(|extra| extra.at <= at && !is_values(extra)) {
                made.extend(self.extra(extra));
            }
            let mut values = Vec::new();
            while let Some(extra) = extras.next_if(|extra| extra.at <= at && is_values(extra)) {
                values.push(*extra);
            }
            if !values.is_empty() {
                made.extend(self.values(&instruction, &values));
            }
            made.extend(self.instruction(instruction));
        }
        for extra in extras {
            made.extend(self.extra(extra));
        }
        stage.instructions = made;
    }

    /// An instruction of Dockerfiles, as its dialect means it.
    fn instruction(&mut self, instruction: Instruction) -> Vec<Instruction> {
        let with = |op: Op| Instruction { op, ..instruction.clone() };
        match (self.dialect, &instruction.op) {
            (Dialect::Sealos, Op::Arg(args)) => {
                self.content.args.extend(args.iter().cloned());
                vec![instruction]
            }
            (Dialect::Sealos, _) => vec![instruction],
            (_, Op::Cmd(command)) => {
                let texts = command_texts(command);
                if texts.iter().all(|text| text.trim().is_empty()) {
                    let span = instruction.span;
                    let message = "`CMD` without a command does nothing here: there is no list to clear";
                    self.found.push(Diagnostic::error("EmptyCommand", span, message).hint("remove the line"));
                    return Vec::new();
                }
                self.launched("CMD", instruction.keyword.span);
                let span = command_span(&instruction);
                self.content.commands.extend(texts.into_iter().map(|text| Word { text, span }));
                Vec::new()
            }
            (Dialect::SealerV1, Op::Arg(args)) => {
                let split: Vec<ArgDecl> = args.iter().flat_map(split_arg).collect();
                self.content.args.extend(split.iter().cloned());
                vec![with(Op::Arg(split))]
            }
            (_, Op::Arg(args)) => {
                self.content.args.extend(args.iter().cloned());
                vec![instruction]
            }
            (Dialect::SealerV1, Op::Copy(copy)) => copy::lower(copy.clone()).into_iter().map(with).collect(),
            (Dialect::SealerV1, Op::Run(_)) => vec![instruction],
            (Dialect::SealerV2, op) if !matches!(op, Op::Entrypoint(_) | Op::Onbuild { .. } | Op::Healthcheck(_)) => {
                vec![instruction]
            }
            _ => {
                self.foreign(&instruction.keyword);
                Vec::new()
            }
        }
    }

    fn foreign(&mut self, keyword: &Word) {
        let name = keyword.text.to_ascii_uppercase();
        let (dialect, others) = match self.dialect {
            Dialect::SealerV1 => ("sealer-v1", "sealer-v2 or sealos"),
            Dialect::SealerV2 => ("sealer-v2", "sealos"),
            Dialect::Sealos => ("sealos", "sealer-v2"),
        };
        self.found.push(
            Diagnostic::error("ForeignInstruction", keyword.span, format!("`{name}` is no instruction of {dialect}"))
                .hint(format!("read the file in another dialect: `# kiln:dialect=` with {others}")),
        );
    }

    /// That `CMD`s, `CMDS` and `LAUNCH` do not come together.
    fn launched(&mut self, what: &'static str, span: Span) {
        match self.last {
            Some((other, _)) if other != what && self.dialect == Dialect::SealerV2 => {
                let message = format!("`{what}` and `{other}` both say what a launch does");
                self.found.push(Diagnostic::error("TwoLaunches", span, message).hint("keep one of them"));
            }
            _ => self.last = Some((what, span)),
        }
    }

    fn extra(&mut self, extra: &Placed) -> Vec<Instruction> {
        if self.dialect != Dialect::SealerV2 {
            self.foreign(&extra.keyword);
            return Vec::new();
        }
        let content = &mut self.content;
        match extra.instruction.clone() {
            Extra::App(app) => {
                if let Some(other) = content.apps.iter().find(|other| other.name.text == app.name.text) {
                    let message = format!("there are two applications `{}`", other.name.text);
                    let hint = "give one of them another name";
                    self.found.push(Diagnostic::error("DuplicateApp", app.name.span, message).hint(hint));
                    return Vec::new();
                }
                content.apps.push(app.clone());
                files_of(&app, extra)
            }
            Extra::AppCommands(name, commands) => {
                content.app_commands.insert(name.text, commands);
                Vec::new()
            }
            Extra::AppEnv(name, pairs) => {
                content.app_env.entry(name.text).or_default().extend(pairs);
                Vec::new()
            }
            Extra::Commands(commands) => {
                // As sealer has it, the last line counts.
                content.commands = commands;
                self.launched("CMDS", extra.keyword.span);
                Vec::new()
            }
            Extra::Launch(names) => {
                content.launch = names;
                self.launched("LAUNCH", extra.keyword.span);
                Vec::new()
            }
            Extra::Kubernetes(version) => {
                content.kubernetes = Some(version.clone());
                let key = Word { text: "cluster.alpha.sealer.io/cluster-runtime-version".into(), span: version.span };
                vec![made(extra, Op::Label(vec![Pair { key, value: version, legacy: false }]))]
            }
            Extra::Values(_) => Vec::new(),
        }
    }

    /// `COPY --values=FILE chart charts`: the file goes beside the chart, where renderings find it.
    fn values(&mut self, instruction: &Instruction, values: &[&Placed]) -> Vec<Instruction> {
        let (Op::Copy(chart), [only]) = (&instruction.op, values) else {
            let span = values[0].span;
            let message = "`--values` belongs to one chart";
            let hint = "copy each chart with its values: `COPY --values=prod.yaml charts/app charts/`";
            self.found.push(Diagnostic::error("InvalidValues", span, message).hint(hint));
            return Vec::new();
        };
        let Extra::Values(file) = &only.instruction else { return Vec::new() };
        let [Sourced::Path(source)] = &chart.files.sources[..] else {
            let message = "`--values` needs one chart to belong to";
            let hint = "copy each chart with its values, in an instruction of its own";
            self.found.push(Diagnostic::error("InvalidValues", only.span, message).hint(hint));
            return Vec::new();
        };
        let name = copy::name(&source.text);
        let base = copy::directory(&chart.files.dest.text);
        let inside = base == name || base.ends_with(&format!("/{name}"));
        let dest = match (self.dialect, inside) {
            (Dialect::SealerV1, false) => format!("{}/{name}", copy::absolute(&base)),
            _ => copy::absolute(&base),
        };
        let dest = Word { text: format!("{dest}.values.yaml"), span: only.span };
        let files = Files { sources: vec![Sourced::Path(file.clone())], dest, ..plain() };
        vec![made(only, Op::Copy(Copy { files, from: chart.from.clone(), parents: false }))]
    }
}

fn is_values(extra: &Placed) -> bool {
    matches!(extra.instruction, Extra::Values(_))
}

/// Neither owner nor mode.
fn plain() -> Files {
    let dest = Word { text: String::new(), span: Span::default() };
    Files { sources: Vec::new(), dest, chown: None, chmod: None, link: false, exclude: Vec::new() }
}

/// An instruction of a Dockerfile that stands for one that is not.
fn made(extra: &Placed, op: Op) -> Instruction {
    let text = match &op {
        Op::Copy(Copy { files, .. }) => format!("COPY {} {}", first(files), files.dest.text),
        Op::Add(Add { files, .. }) => format!("ADD {} {}", first(files), files.dest.text),
        Op::Label(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|p| format!("{}={}", p.key.text, p.value.text)).collect();
            format!("LABEL {}", pairs.join(" "))
        }
        _ => extra.keyword.text.clone(),
    };
    Instruction { op, span: extra.span, keyword: extra.keyword.clone(), text, comments: Vec::new() }
}

fn first(files: &Files) -> &str {
    match files.sources.first() {
        Some(Sourced::Path(word)) => &word.text,
        _ => "",
    }
}

/// What puts the files of an application in its place.
fn files_of(app: &App, extra: &Placed) -> Vec<Instruction> {
    let dir = format!("/{APPS}/{}/", app.name.text);
    let mut all: Vec<Instruction> = app
        .files
        .iter()
        .map(|file| {
            let dest = Word { text: dir.clone(), span: file.span };
            match file.text.strip_prefix("local://") {
                Some(path) => {
                    // A word that goes on in the next line is longer than its text.
                    let whole = file.span.end - file.span.start == file.text.len();
                    let start = file.span.start + if whole { "local://".len() } else { 0 };
                    let source = Word { text: path.to_owned(), span: Span::new(start, file.span.end) };
                    let files = Files { sources: vec![Sourced::Path(source)], dest, ..plain() };
                    made(extra, Op::Copy(Copy { files, from: None, parents: false }))
                }
                None => {
                    let files = Files { sources: vec![Sourced::Path(file.clone())], dest, ..plain() };
                    made(extra, Op::Add(Add { files, checksum: None, keep_git_dir: None, unpack: None }))
                }
            }
        })
        .collect();
    if app.role != Role::App {
        let key = format!("cluster.alpha.sealer.io/kube-{}-{}", app.role.name(), app.name.text);
        let word = |text: &str| Word { text: text.to_owned(), span: app.name.span };
        all.push(made(extra, Op::Label(vec![Pair { key: word(&key), value: word("true"), legacy: false }])));
    }
    all
}

/// `ARG a=1,b=2` declares two; a comma that no `name=` follows belongs to the value.
fn split_arg(arg: &ArgDecl) -> Vec<ArgDecl> {
    let Some(default) = &arg.default else { return vec![arg.clone()] };
    let mut all: Vec<(String, String)> = vec![(arg.name.text.clone(), String::new())];
    for (number, part) in default.text.split(',').enumerate() {
        let name = part.split_once('=').filter(|(name, _)| is_variable(name));
        match (number, name, all.last_mut()) {
            (1.., Some((name, value)), _) => all.push((name.to_owned(), value.to_owned())),
            (0, _, Some((_, last))) => part.clone_into(last),
            (_, _, Some((_, last))) => {
                last.push(',');
                last.push_str(part);
            }
            _ => {}
        }
    }
    let span = default.span;
    let word = |text: String, span: Span| Word { text, span };
    all.into_iter()
        .enumerate()
        .map(|(number, (name, value))| ArgDecl {
            name: word(name, if number == 0 { arg.name.span } else { span }),
            default: Some(word(value, span)),
        })
        .collect()
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Commands as the shell takes them.
pub(super) fn command_texts(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(word) => vec![word.text.clone()],
        Command::Exec(words) => whole_commands(words)
            .unwrap_or_else(|| vec![words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")]),
    }
}

fn command_span(instruction: &Instruction) -> Span {
    match &instruction.op {
        Op::Cmd(Command::Shell(word)) => word.span,
        _ => instruction.span,
    }
}

/// A word that a shell reads as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What must fit together at the end. Applications of base images are not known here: a launch may name them.
fn check(content: &Content, dockerfile: &ast::Dockerfile, found: &mut Vec<Diagnostic>) {
    let scratch = dockerfile.stages.last().is_some_and(|stage| stage.base.text == "scratch");
    let known = |name: &str| content.apps.iter().any(|app| app.name.text == name);
    let span = |name: &str| content.app_commands.get(name).and_then(|words| words.first()).map(|word| word.span);
    let env = |name: &str| content.app_env.get(name).and_then(|pairs| pairs.first()).map(|pair| pair.key.span);
    let mut named: Vec<(String, Span)> = content.launch.iter().map(|word| (word.text.clone(), word.span)).collect();
    named.extend(content.app_commands.keys().filter_map(|name| Some((name.clone(), span(name)?))));
    named.extend(content.app_env.keys().filter_map(|name| Some((name.clone(), env(name)?))));
    for (name, span) in named.into_iter().filter(|(name, _)| scratch && !known(name)) {
        let message = format!("there is no application `{name}`");
        let names = content.apps.iter().map(|app| &*app.name.text);
        let diagnostic = Diagnostic::error("UnknownApp", span, message).suggest(&name, names);
        let lonely = diagnostic.hint.is_none();
        found.push(if lonely { diagnostic.hint(format!("add `APP {name} local://…`")) } else { diagnostic });
    }
    if content.commands.len() + content.launch.len() > MAX_LAUNCH {
        let span = content.commands.last().or(content.launch.last()).map_or(Span::default(), |word| word.span);
        let message = format!("a launch has more than {MAX_LAUNCH} commands");
        found.push(Diagnostic::error("TooLong", span, message));
    }
}
