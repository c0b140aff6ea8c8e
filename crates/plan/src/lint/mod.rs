//! Rules about Dockerfiles that can be built and probably are not what was meant, named as BuildKit names them.
//!
//! A rule is a row of [`RULES`]: a pure function over a [`Scene`], which holds the file and what the planner met while
//! it walked the stages. The planner records ([`Seen`]) and judges nothing; the rules judge and ask nothing.
//!
//! [`text`] rules that need the text only   [`from`] rules about `FROM` and its arguments
//! [`walk`] rules about what was met        [`config`] which rules apply: `# check=`
//!
//! Adding a rule: its row here, its function in the module of what it looks at, its page in `pages/`; a test builds the
//! examples of every page.

pub mod config;
mod from;
mod seen;
mod text;
mod walk;

use std::collections::BTreeSet;

use kiln_spec::ast::Dockerfile;
use kiln_spec::diag::Diagnostic;
use kiln_spec::expand::Expander;
use kiln_spec::source::Span;

use crate::scope::Scope;
use config::Config;
pub(crate) use seen::{Keyword, Seen};
pub use walk::names_a_secret;

/// As many findings are reported; more help nobody.
pub const MAX_FINDINGS: usize = 1000;

/// The hint of a rule and its page say what to do; a finding may know better.
pub(crate) struct Finding {
    span: Span,
    message: String,
    note: Option<String>,
    hint: Option<String>,
}

impl Finding {
    fn new(span: Span, message: impl Into<String>) -> Finding {
        Finding { span, message: message.into(), note: None, hint: None }
    }

    fn note(self, note: Option<String>) -> Finding {
        Finding { note, ..self }
    }

    fn hint(self, hint: Option<String>) -> Finding {
        Finding { hint, ..self }
    }
}

/// All that rules look at.
pub(crate) struct Scene<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// Variables before the first `FROM`.
    pub global: &'a Scope,
    /// The same, had no build arguments been given.
    pub defaults: &'a Scope,
    /// How words are expanded.
    pub expander: Expander,
    /// What the planner met, in order.
    pub seen: &'a [Seen],
}

/// A rule.
pub struct Rule {
    /// Its name, as BuildKit has it.
    pub id: &'static str,
    /// Whether it applies only where `# check=experimental=` asks for it.
    pub experimental: bool,
    /// What it asks for, in one line.
    pub line: &'static str,
    /// What to do about a finding.
    pub hint: &'static str,
    /// Its page: what, why, a bad and a good example.
    pub page: &'static str,
    check: fn(&Scene<'_>) -> Vec<Finding>,
}

macro_rules! rule {
    ($id:literal, $line:literal, hint: $hint:literal, $check:expr $(, experimental: $experimental:literal)?) => {
        Rule {
            id: $id,
            experimental: false $(|| $experimental)?,
            line: $line,
            hint: $hint,
            page: include_str!(concat!("pages/", $id, ".md")),
            check: $check,
        }
    };
}

/// The rules, in BuildKit's order.
pub static RULES: [Rule; 22] = [
    rule!("StageNameCasing", "names of stages are lowercase", hint: "write the name in lowercase", text::stage_name_casing),
    rule!("FromAsCasing", "`FROM` and `AS` are both in capitals or both not",
        hint: "write both the same way", text::from_as_casing),
    rule!("NoEmptyContinuation", "an instruction that is continued has no empty lines in it",
        hint: "remove the line, or comment it", text::no_empty_continuation),
    rule!("ConsistentInstructionCasing", "all instructions are written in the same case",
        hint: "write it like the others", text::consistent_instruction_casing),
    rule!("DuplicateStageName", "no two stages have the same name",
        hint: "give it a name of its own", text::duplicate_stage_name),
    rule!("ReservedStageName", "no stage is named like something else: `scratch`, `context`",
        hint: "choose another name", text::reserved_stage_name),
    rule!("JSONArgsRecommended", "CMD and ENTRYPOINT are JSON arrays, so that signals reach the process",
        hint: "write a JSON array", walk::json_args_recommended),
    rule!("MaintainerDeprecated", "the author of an image is a label",
        hint: "write `LABEL org.opencontainers.image.authors=\"…\"`", text::maintainer_deprecated),
    rule!("UndefinedArgInFrom", "variables in FROM are declared before the first FROM",
        hint: "declare it with ARG before the first FROM", from::undefined_arg_in_from),
    rule!("WorkdirRelativePath", "the first WORKDIR of a stage is an absolute path",
        hint: "begin the path with `/`", walk::workdir_relative_path),
    rule!("UndefinedVar", "variables are defined where they are used",
        hint: "declare it in this stage with ARG or ENV", walk::undefined_var),
    rule!("MultipleInstructionsDisallowed", "a stage has one CMD, one ENTRYPOINT and one HEALTHCHECK at most",
        hint: "remove this one", walk::multiple_instructions),
    rule!("LegacyKeyValueFormat", "ENV and LABEL are written with `=`",
        hint: "write `key=value`", walk::legacy_key_value_format),
    rule!("InvalidBaseImagePlatform", "base images are for the platform that is built for",
        hint: "choose a base for this platform, or `FROM --platform=$BUILDPLATFORM` for a stage that only builds",
        walk::invalid_base_image_platform),
    rule!("RedundantTargetPlatform", "`--platform=$TARGETPLATFORM` is left out, for it is what FROM does",
        hint: "remove the flag", from::redundant_target_platform),
    rule!("SecretsUsedInArgOrEnv", "secrets are not in ARG or ENV, which stay in the image",
        hint: "use `RUN --mount=type=secret,id=…`", walk::secrets_used_in_arg_or_env),
    rule!("InvalidDefaultArgInFrom", "FROM names an image without any build argument given",
        hint: "give the ARG a default with which this is the name of an image", from::invalid_default_arg_in_from),
    rule!("FromPlatformFlagConstDisallowed", "`FROM --platform` follows what is asked for",
        hint: "use $BUILDPLATFORM, an ARG, or a stage name that tells the platform", from::from_platform_flag_const),
    rule!("CopyIgnoredFile", "sources of COPY and ADD are not excluded by .dockerignore",
        hint: "change .dockerignore, or do not copy it", walk::copy_ignored_file),
    rule!("InvalidDefinitionDescription", "a comment above a stage or ARG begins with its name and describes it",
        hint: "begin the comment with the name, or part it by an empty line",
        text::invalid_definition_description, experimental: true),
    rule!("ExposeProtoCasing", "protocols of EXPOSE are lowercase", hint: "write `tcp`, `udp` or `sctp`", walk::expose_proto_casing),
    rule!("ExposeInvalidFormat", "EXPOSE names ports of the container only",
        hint: "leave out the address and the port of the host: they are chosen when a container is run",
        walk::expose_invalid_format),
];

/// The rule of this name.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// What the rules that apply find, in the order of the text; nothing is said twice of an instruction.
pub(crate) fn check(scene: &Scene<'_>, config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for rule in &RULES {
        for finding in (rule.check)(scene) {
            let around = scene.file.around(finding.span);
            if config.applies(rule, comments_of(scene.file, around)) {
                found.push((around, rule, finding));
            }
        }
    }
    found.sort_by_key(|(_, _, finding)| finding.span.start);
    let mut said = BTreeSet::new();
    found.retain(|(around, rule, finding)| said.insert((*around, rule.id, finding.message.clone())));
    let more = found.len().saturating_sub(MAX_FINDINGS);
    found.truncate(MAX_FINDINGS);
    let mut list: Vec<Diagnostic> = found
        .into_iter()
        .map(|(_, rule, finding)| {
            let hint = finding.hint.unwrap_or_else(|| rule.hint.to_owned());
            let diagnostic = Diagnostic::warning(rule.id, finding.span, finding.message).hint(hint);
            finding.note.into_iter().fold(diagnostic, Diagnostic::note)
        })
        .collect();
    if more > 0 {
        let span = list.last().map_or(Span::default(), |last| last.span);
        list.push(Diagnostic::warning("TooMany", span, format!("{more} more findings are not shown")));
    }
    list
}

/// The comments above the instruction at `around`.
fn comments_of(file: &Dockerfile, around: Span) -> &[kiln_spec::source::Word] {
    if let Ok(at) = file.stages.binary_search_by_key(&around.start, |stage| stage.span.start) {
        return &file.stages[at].comments;
    }
    let stage = file.stages.partition_point(|stage| stage.span.start < around.start).checked_sub(1);
    let list = stage.map_or(&file.global_args, |at| &file.stages[at].instructions);
    match list.binary_search_by_key(&around.start, |instruction| instruction.span.start) {
        Ok(at) => &list[at].comments,
        Err(_) => &[],
    }
}

/// What `error=true` makes of findings: the build stops with them.
pub(crate) fn violation(config: &Config, found: &[Diagnostic]) -> Option<Diagnostic> {
    if !config.error || found.is_empty() {
        return None;
    }
    let mut rules: Vec<&str> = found.iter().map(|d| d.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    let error = Diagnostic::error("LintViolation", config.span, message).label("makes findings errors");
    Some(error.hint(format!("see `kiln explain {}`", rules.first().unwrap_or(&""))))
}
