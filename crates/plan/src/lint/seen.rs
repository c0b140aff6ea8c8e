//! What the planner meets on its way through the stages, as far as rules ask for it.

use kiln_oci::Platform;
use kiln_spec::port::Oddity;
use kiln_spec::source::Span;

/// An instruction by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Healthcheck,
    Label,
}

impl Keyword {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Keyword::Add => "ADD",
            Keyword::Arg => "ARG",
            Keyword::Cmd => "CMD",
            Keyword::Copy => "COPY",
            Keyword::Entrypoint => "ENTRYPOINT",
            Keyword::Env => "ENV",
            Keyword::Healthcheck => "HEALTHCHECK",
            Keyword::Label => "LABEL",
        }
    }
}

/// Something that was met. Spans are places to point to: those of triggers are the `FROM` that brought them.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// `CMD`, `ENTRYPOINT`, `HEALTHCHECK`.
    Command {
        /// In which stage.
        stage: usize,
        keyword: Keyword,
        /// Whether it is for a shell that nobody chose.
        bare_shell: bool,
        span: Span,
    },
    /// A name of `ENV`, `LABEL` or `ARG`.
    Pair { keyword: Keyword, key: String, legacy: bool, span: Span },
    /// A variable that has no value and no `ARG`.
    Unset { name: String, near: Option<String>, span: Span },
    /// A `WORKDIR`, expanded; whether none came before it.
    Workdir { path: String, first: bool, span: Span },
    /// A port of `EXPOSE`, expanded.
    Port { text: String, odd: Vec<Oddity>, span: Span },
    /// An image that a stage starts from.
    Base { is: Platform, wanted: Platform, span: Span },
    /// A source of `COPY` or `ADD` that `.dockerignore` excludes: where, and with which pattern.
    Excluded { keyword: Keyword, path: String, rule: (String, String), span: Span },
}
