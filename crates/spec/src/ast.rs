//! A parsed Dockerfile: what was typed, split into its parts, nothing expanded or resolved.
//!
//! Semantics follow the Dockerfile reference (frontend 1.20). Every [`Word`] may hold `$variables`; which of them are
//! expanded, and with what, is the planner's business.

use crate::source::{Span, Word};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=` at the top.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// One per `FROM`, in order.
    pub stages: Vec<Stage>,
    /// Empty lines inside instructions that are continued: the first one of each.
    pub empty_continuations: Vec<Span>,
}

impl Dockerfile {
    /// The instruction around a place: its whole span. The place itself where there is none.
    pub fn around(&self, place: Span) -> Span {
        let within = |span: &Span| span.start <= place.start && place.start <= span.end;
        let stage = self.stages.partition_point(|stage| stage.span.start <= place.start).checked_sub(1);
        let (from, instructions) = match stage {
            None => (None, &self.global_args),
            Some(at) => (Some(self.stages[at].span), &self.stages[at].instructions),
        };
        let after = instructions.partition_point(|instruction| instruction.span.start <= place.start);
        let found = after.checked_sub(1).map(|at| instructions[at].span).or(from);
        found.filter(within).unwrap_or(place)
    }
}

/// Parser directives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`, if given.
    pub syntax: Option<Word>,
    /// The escape character: `\` or `` ` ``.
    pub escape: char,
    /// `# check=`, if given, unparsed (`skip=…;error=true`).
    pub check: Option<Word>,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { syntax: None, escape: '\\', check: None }
    }
}

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The image or stage it starts from.
    pub base: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// `AS name`, as typed; stage names compare without case.
    pub name: Option<Word>,
    /// The `FROM` line.
    pub span: Span,
    /// `FROM`, as typed.
    pub keyword: Word,
    /// `AS`, as typed.
    pub as_keyword: Option<Word>,
    /// The comments right above it, a line each, without `#`.
    pub comments: Vec<Word>,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub op: Op,
    /// All of it, continuation lines and heredocs included.
    pub span: Span,
    /// The keyword, as typed.
    pub keyword: Word,
    /// The instruction on one line, as BuildKit shows it in progress and keeps it in history: continuations joined,
    /// without heredoc bodies.
    pub text: String,
    /// The comments right above it, a line each, without `#`.
    pub comments: Vec<Word>,
}

/// What the comments above something say of `name`: the rest of the line that begins with it.
pub fn description<'a>(comments: &'a [Word], name: &str) -> Option<&'a str> {
    comments.iter().find_map(|comment| comment.text.strip_prefix(name)?.strip_prefix(' '))
}

impl Stage {
    /// What the comment above the stage says of it; stage names in comments are lowercase.
    pub fn description(&self) -> Option<&str> {
        description(&self.comments, &self.name.as_ref()?.text.to_lowercase())
    }
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `ARG name[=default] …`
    Arg(Vec<ArgDecl>),
    /// `ENV key=value …` or `ENV key value`
    Env(Vec<Pair>),
    /// `LABEL key=value …`
    Label(Vec<Pair>),
    /// `RUN …`
    Run(Run),
    /// `COPY …`
    Copy(Copy),
    /// `ADD …`
    Add(Add),
    /// `CMD …`
    Cmd(Command),
    /// `ENTRYPOINT …`
    Entrypoint(Command),
    /// `EXPOSE port …`
    Expose(Vec<Word>),
    /// `HEALTHCHECK …`
    Healthcheck(Healthcheck),
    /// `MAINTAINER name`
    Maintainer(Word),
    /// `ONBUILD instruction`: kept as text for the image, parsed to find mistakes now.
    Onbuild {
        /// The instruction as it goes into the image.
        text: Word,
        /// The same, parsed.
        instruction: Box<Instruction>,
    },
    /// `SHELL ["…"]`
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`
    Stopsignal(Word),
    /// `USER user[:group]`
    User(Word),
    /// `VOLUME …`
    Volume(Vec<Word>),
    /// `WORKDIR path`
    Workdir(Word),
}

/// `name` or `name=default` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDecl {
    /// The name.
    pub name: Word,
    /// The default.
    pub default: Option<Word>,
}

/// `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key; expanded too.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Whether this is the old `ENV key value` form, without `=`.
    pub legacy: bool,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For the shell: the rest of the line, verbatim.
    Shell(Word),
    /// A JSON array.
    Exec(Vec<String>),
}

/// A heredoc body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, unquoted.
    pub name: String,
    /// Whether variables in the body are expanded (the delimiter was not quoted).
    pub expand: bool,
    /// Whether it was `<<-`; `body` has its leading tabs removed already.
    pub chomp: bool,
    /// File descriptor written before `<<`; 0 where none was.
    pub fd: u32,
    /// The body, ending in a newline unless empty.
    pub body: Word,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What runs. With heredocs, `Command::Shell` holds the line with its `<<EOF` in place.
    pub command: Command,
    /// Their bodies, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`s, in order.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
}

/// `RUN --mount=…`. Fields are unexpanded; the parser has checked that `kind` knows each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `type=`; bind where none was given.
    pub kind: MountKind,
    /// The whole value, for messages.
    pub span: Span,
    /// `id=`
    pub id: Option<Word>,
    /// `target=`, `dst=`, `destination=`
    pub target: Option<Word>,
    /// `source=`, `src=`
    pub source: Option<Word>,
    /// `from=`
    pub from: Option<Word>,
    /// `env=` (secret)
    pub env: Option<Word>,
    /// `sharing=`
    pub sharing: Option<Word>,
    /// `required`, `required=true`
    pub required: Option<Word>,
    /// `ro`, `readonly`, `rw`, `readwrite` and their `=bool`: `Some(true)` is read-only.
    pub readonly: Option<bool>,
    /// `mode=`
    pub mode: Option<Word>,
    /// `uid=`
    pub uid: Option<Word>,
    /// `gid=`
    pub gid: Option<Word>,
    /// `size=`
    pub size: Option<Word>,
}

/// The type of a `RUN --mount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage, an image.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// A secret as a file or variable.
    Secret,
    /// The SSH agent's socket.
    Ssh,
    /// Empty memory.
    Tmpfs,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sourced {
    /// A path, pattern or (for `ADD`) URL.
    Path(Word),
    /// An inline file.
    Heredoc(Heredoc),
}

/// What `COPY` and `ADD` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What to copy.
    pub sources: Vec<Sourced>,
    /// Where to.
    pub dest: Word,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, repeated
    pub exclude: Vec<Word>,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Sources, destination, owner, mode.
    pub files: Files,
    /// `--from`
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Sources, destination, owner, mode.
    pub files: Files,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`
    None,
    /// `CMD …` with its options; durations in nanoseconds.
    Check {
        /// What to run.
        command: Command,
        /// `--interval`
        interval: Option<i64>,
        /// `--timeout`
        timeout: Option<i64>,
        /// `--start-period`
        start_period: Option<i64>,
        /// `--start-interval`
        start_interval: Option<i64>,
        /// `--retries`
        retries: Option<i64>,
    },
}
