//! `COPY` and `ADD`.

use kiln_spec::ast::{Add, Copy, Files as Ast, Instruction, Sourced};
use kiln_spec::chmod;
use kiln_spec::diag::Diagnostic;
use kiln_spec::expand::Expander;
use kiln_spec::login;
use kiln_spec::source::Word;

use super::path::{base_name, has_wildcard, normalise};
use super::stage::{Stage, add_layer};
use super::{Planner, Source};
use crate::facts::{ContextId, ExcludedQuery, Files, GitQuery, HttpQuery, Missing, Question};
use crate::git;
use crate::lint::{Keyword, Seen};
use crate::step::{CopyOp, CopyPart, Op, Origin};

/// What `COPY` and `ADD` have in common once their own flags are read.
struct Request<'a> {
    keyword: &'static str,
    files: &'a Ast,
    parents: bool,
    origin: Origin,
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
    /// `--unpack` of `ADD`; its default depends on where a source comes from.
    unpack: Option<bool>,
}

/// Plans a `COPY`.
pub fn plan_copy(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction, ast: &Copy) -> Option<()> {
    let origin = match &ast.from {
        None => Origin::Context(ContextId::Main),
        Some(from) => origin(planner, stage, from)?,
    };
    let request = Request {
        keyword: "COPY",
        files: &ast.files,
        parents: ast.parents,
        origin,
        checksum: None,
        keep_git_dir: None,
        unpack: Some(false),
    };
    plan(planner, stage, instruction, &request)
}

/// Plans an `ADD`.
pub fn plan_add(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction, ast: &Add) -> Option<()> {
    let checksum = match &ast.checksum {
        Some(word) => Some(planner.expand(&stage.scope, word, stage.at)?),
        None => None,
    };
    let request = Request {
        keyword: "ADD",
        files: &ast.files,
        parents: false,
        origin: Origin::Context(ContextId::Main),
        checksum,
        keep_git_dir: ast.keep_git_dir,
        unpack: ast.unpack,
    };
    plan(planner, stage, instruction, &request)
}

/// The tree that `--from=` (or `from=` of a mount) names.
pub fn origin(planner: &mut Planner<'_>, stage: &Stage, from: &Word) -> Option<Origin> {
    let span = stage.place(from.span);
    if from.text.contains('$') {
        let d = Diagnostic::error("from", span, "variable expansion is not supported for --from".to_owned());
        planner.error(d.label("not expanded").hint(
            "define a stage with `FROM $NAME AS stage`, using an ARG from before the first FROM, and copy from that",
        ));
        return None;
    }
    match planner.find(&from.text, stage.index, false, span)? {
        Source::Stage(index) => planner.plan_stage(index).map(|s| Origin::Step(s.tip)),
        Source::Scratch => Some(Origin::Step(planner.scratch_step(span, &stage.platform))),
        Source::Image(image) => planner.image_step(&image, &stage.platform, span).map(Origin::Step),
        Source::Context(name) => Some(Origin::Context(ContextId::Named(name))),
    }
}

fn plan(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction, request: &Request<'_>) -> Option<()> {
    let files = request.files;
    let dest_text = planner.expand(&stage.scope, &files.dest, stage.at)?;
    let dest = normalise(&stage.cwd(), if dest_text.is_empty() { "." } else { &dest_text }, true);
    let chown = optional(planner, stage, files.chown.as_ref())?;
    let chmod = optional(planner, stage, files.chmod.as_ref())?;
    if let (Some(text), Some(word)) = (&chmod, &files.chmod)
        && let Err(e) = chmod::Chmod::parse(text)
    {
        let d = Diagnostic::error("chmod", stage.place(word.span), format!("invalid --chmod `{text}`: {e}"));
        planner.error(
            d.label("here").hint("write an octal mode between 0 and 7777, or a symbolic one such as u=rwX,go=rX"),
        );
        return None;
    }
    let mut exclude = Vec::new();
    for word in &files.exclude {
        exclude.push(planner.expand(&stage.scope, word, stage.at)?);
    }
    let mut op = CopyOp {
        parts: Vec::new(),
        dest,
        chown,
        // As with BuildKit, a mode makes it an ordinary copy.
        link: files.link && chmod.is_none(),
        chmod,
        exclude,
        parents: request.parents,
        mtime: planner.options.source_date_epoch,
    };
    let mut message = request.keyword.to_owned();
    if op.parents {
        message += " --parents";
    }
    message += &op.chown.as_ref().map(|c| format!(" --chown={c}")).unwrap_or_default();
    message += &op.chmod.as_ref().map(|c| format!(" --chmod={c}")).unwrap_or_default();
    let mut blocked = false;
    for source in ordered(&files.sources) {
        match part(planner, stage, request, source, &op) {
            Some((part, shown)) => {
                op.parts.push(part);
                message = format!("{message} {shown}");
            }
            None => blocked = true,
        }
    }
    if blocked {
        return None;
    }
    message = format!("{message} {dest_text} # buildkit");
    add_layer(planner, stage, Op::Copy(Box::new(op)), instruction);
    stage.remember(message, true);
    Some(())
}

/// Paths come before heredocs, whatever their order in the file.
fn ordered(sources: &[Sourced]) -> impl Iterator<Item = &Sourced> {
    let heredoc = |s: &&Sourced| matches!(s, Sourced::Heredoc(_));
    sources.iter().filter(move |s| !heredoc(s)).chain(sources.iter().filter(heredoc))
}

fn optional(planner: &mut Planner<'_>, stage: &Stage, word: Option<&Word>) -> Option<Option<String>> {
    match word {
        None => Some(None),
        Some(word) => planner.expand(&stage.scope, word, stage.at).map(|v| Some(v).filter(|v| !v.is_empty())),
    }
}

/// One source, and how the history shows it.
fn part(
    planner: &mut Planner<'_>,
    stage: &Stage,
    request: &Request<'_>,
    source: &Sourced,
    op: &CopyOp,
) -> Option<(CopyPart, String)> {
    let word = match source {
        Sourced::Path(word) => word,
        Sourced::Heredoc(heredoc) => {
            let mut body = heredoc.body.text.clone();
            if heredoc.expand {
                let scope = &stage.scope;
                match Expander::heredoc().word(&body, &|n| scope.get(n).map(str::to_owned)) {
                    Ok(expanded) => {
                        let span = stage.place(heredoc.body.span);
                        planner.note_unset(scope, &expanded.unmatched, span);
                        body = expanded.value;
                    }
                    Err(e) => {
                        let text = format!("cannot expand the heredoc `{}`: {e}", heredoc.name);
                        planner.error(
                            Diagnostic::error("expand", stage.place(heredoc.body.span), text).label("in this text"),
                        );
                        return None;
                    }
                }
            }
            return Some((CopyPart::Inline { name: heredoc.name.clone(), body }, format!("<<{}", heredoc.name)));
        }
    };
    let text = planner.expand(&stage.scope, word, stage.at)?;
    let part = match remote(planner, stage, request, word, &text)? {
        Some(part) => part,
        None => local(planner, stage, request, word, &text, op)?,
    };
    Some((part, login::hidden(&text)))
}

fn refuse(planner: &mut Planner<'_>, stage: &Stage, word: &Word, message: String, hint: &str) {
    planner.error(Diagnostic::error("source", stage.place(word.span), message).label("here").hint(hint));
}

/// A URL or Git reference; `Some(None)` if the source is a path.
fn remote(
    planner: &mut Planner<'_>,
    stage: &Stage,
    request: &Request<'_>,
    word: &Word,
    text: &str,
) -> Option<Option<CopyPart>> {
    if let Some(parsed) = git::parse(text) {
        return match parsed {
            _ if request.keyword == "COPY" => {
                refuse(planner, stage, word, "the source of COPY can't be a Git reference".to_owned(), "use ADD");
                None
            }
            Err(e) => {
                refuse(planner, stage, word, e.to_string(), "see the forms in `kiln build --help`");
                None
            }
            Ok(url) => git_part(planner, stage, request, word, url).map(Some),
        };
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        if request.checksum.is_some() {
            refuse(planner, stage, word, "--checksum needs an HTTP(S) or Git source".to_owned(), "remove --checksum");
            return None;
        }
        return Some(None);
    }
    if request.keyword == "COPY" {
        refuse(planner, stage, word, "the source of COPY can't be a URL".to_owned(), "use ADD");
        return None;
    }
    if request.checksum.is_some() && request.files.sources.len() > 1 {
        refuse(
            planner,
            stage,
            word,
            "--checksum can't be given for several sources".to_owned(),
            "use one ADD for each",
        );
        return None;
    }
    if let Some(sum) = &request.checksum
        && let Err(e) = sum.parse::<kiln_oci::Digest>()
    {
        refuse(planner, stage, word, format!("--checksum: {e}"), "write sha256: and 64 hexadecimal digits");
        return None;
    }
    let path = text.split_once("://").map_or("", |(_, rest)| rest).split(['?', '#']).next().unwrap_or("");
    let name = path.split_once('/').map_or("", |(_, p)| base_name(p));
    let name = if name.is_empty() { "__unnamed__" } else { name };
    let query = HttpQuery { url: text.to_owned(), checksum: request.checksum.clone() };
    if planner.looking {
        return Some(Some(CopyPart::Inline { name: name.to_owned(), body: String::new() }));
    }
    let Some(fact) = planner.facts.http.get(&query).cloned() else {
        planner.ask(Question::Http(query));
        return None;
    };
    Some(Some(CopyPart::Http {
        url: text.to_owned(),
        name: name.to_owned(),
        digest: fact.digest,
        size: fact.size,
        last_modified: fact.last_modified,
        unpack: request.unpack.unwrap_or(false),
    }))
}

fn git_part(
    planner: &mut Planner<'_>,
    stage: &Stage,
    request: &Request<'_>,
    word: &Word,
    url: git::GitUrl,
) -> Option<CopyPart> {
    if planner.looking {
        return Some(CopyPart::Inline { name: base_name(&url.remote).to_owned(), body: String::new() });
    }
    let query = GitQuery { remote: url.remote.clone(), reference: url.reference.clone() };
    let Some(fact) = planner.facts.git.get(&query).cloned() else {
        planner.ask(Question::Git(query));
        return None;
    };
    for wanted in [&request.checksum, &url.checksum].into_iter().flatten() {
        if !fact.commit.starts_with(&wanted.to_ascii_lowercase()) {
            let text = format!("the reference is commit {}, but {wanted} was expected", fact.commit);
            refuse(planner, stage, word, text, "the repository has moved on, or is not the one you think");
            return None;
        }
    }
    Some(CopyPart::Git {
        remote: url.remote,
        reference: url.reference,
        commit: fact.commit,
        subdir: url.subdir,
        keep_git_dir: url.keep_git_dir.or(request.keep_git_dir).unwrap_or(false),
        submodules: url.submodules.unwrap_or(true),
    })
}

fn local(
    planner: &mut Planner<'_>,
    stage: &Stage,
    request: &Request<'_>,
    word: &Word,
    text: &str,
    op: &CopyOp,
) -> Option<CopyPart> {
    // With --parents the `/./` in a source says where the kept part begins, so the text stays as it is.
    let pattern = if request.parents { text.to_owned() } else { normalise("/", text, false) };
    if let Origin::Context(context) = &request.origin {
        note_excluded(planner, stage, request, word, text);
        let fact = planner.files(Files { context: context.clone(), select: op.select(&pattern) });
        if let Some(missing) = fact.missing.first()
            && !has_wildcard(text)
        {
            nothing_there(planner, stage, request.keyword, word, context, missing);
            return None;
        }
    }
    let unpack = request.unpack.unwrap_or(request.keyword == "ADD");
    Some(CopyPart::Paths { origin: request.origin.clone(), pattern, unpack })
}

/// Tells the rules of a source that `.dockerignore` excludes. The root is excluded where everything in it is.
fn note_excluded(planner: &mut Planner<'_>, stage: &Stage, request: &Request<'_>, word: &Word, text: &str) {
    if request.origin != Origin::Context(ContextId::Main) {
        return;
    }
    let path = normalise("/", text, false).trim_start_matches('/').to_owned();
    let keyword = if request.keyword == "COPY" { Keyword::Copy } else { Keyword::Add };
    if let Some(rule) = planner.excluded(ExcludedQuery { context: ContextId::Main, path }) {
        let span = stage.place(word.span);
        planner.seen.push(Seen::Excluded { keyword, path: text.to_owned(), rule, span });
    }
}

/// The error for a source that names nothing.
pub fn nothing_there(
    planner: &mut Planner<'_>,
    stage: &Stage,
    keyword: &str,
    word: &Word,
    context: &ContextId,
    missing: &Missing,
) {
    let place = match context {
        ContextId::Main => "the build context".to_owned(),
        ContextId::Named(name) => format!("the build context `{name}`"),
    };
    let text = format!("`{keyword} {}` matches nothing", word.text);
    let mut d = Diagnostic::error("not-found", stage.place(word.span), text).label(format!("not in {place}"));
    if let Some((at, pattern)) = &missing.ignored_by {
        d = d.note(format!("`{at}` excludes it with `{pattern}`"));
        d = d.hint(format!("add `!{}` after that line", word.text.trim_start_matches('/')));
    } else if let Some(similar) = &missing.similar {
        d = d.hint(format!("did you mean `{similar}`?"));
    }
    planner.error(d);
}
