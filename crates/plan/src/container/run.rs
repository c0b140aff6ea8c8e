//! `RUN`.

use kiln_spec::ast::{Command, Heredoc, Instruction, Mount, MountKind, Run};
use kiln_spec::diag::Diagnostic;
use kiln_spec::size;
use kiln_spec::source::{Span, Word};

use super::config::with_shell;
use super::outline::{Kind, Outlined};
use super::path::{base_name, normalise};
use super::stage::{Stage, add_layer};
use super::{Planner, files};
use crate::facts::{ContextId, Files, Select};
use crate::history;
use crate::scope;
use crate::step::{Network, Op, Origin, RunMount, RunOp, Sharing};

/// Plans a `RUN`.
pub fn plan(planner: &mut Planner<'_>, stage: &mut Stage, instruction: &Instruction, ast: &Run) -> Option<()> {
    let (argv, script) = command(stage, ast);
    let mut mounts = Vec::new();
    let mut blocked = false;
    for mount in &ast.mounts {
        match plan_mount(planner, stage, mount, &mounts) {
            Some(mount) => mounts.push(mount),
            None => blocked = true,
        }
    }
    let network = network(planner, stage, ast.network.as_ref())?;
    let insecure = security(planner, stage, ast.security.as_ref())?;
    if blocked {
        return None;
    }
    let mut env = stage.scope.all().to_vec();
    let agent = mounts.iter().find_map(|m| match m {
        RunMount::Ssh { target, .. } => Some(target.clone()),
        _ => None,
    });
    if let Some(socket) = agent {
        env.push(("SSH_AUTH_SOCK".to_owned(), socket));
    }
    let proxy_env = scope::proxy_env(&planner.options.build_args);
    let proxy_env = proxy_env.into_iter().filter(|(n, _)| stage.scope.get(n).is_none()).collect();
    stage.remember(history::run(&argv, &stage.scope.declared_args()), true);
    let options = planner.options;
    let op = RunOp {
        argv,
        env,
        proxy_env,
        cwd: stage.cwd(),
        user: stage.config.config.user.clone(),
        mounts,
        network,
        insecure,
        script,
        hosts: options.add_hosts.clone(),
        shm_size: options.shm_size,
        ulimits: options.ulimits.clone(),
        clamp_mtime: options.source_date_epoch.filter(|_| options.rewrite_timestamp),
    };
    add_layer(planner, stage, Op::Run(Box::new(op)), instruction);
    Some(())
}

/// The command line, and the script it names if a heredoc is one.
fn command(stage: &Stage, ast: &Run) -> (Vec<String>, Option<(String, String)>) {
    let word = match &ast.command {
        Command::Exec(argv) => return (argv.clone(), None),
        Command::Shell(word) => word,
    };
    match &ast.heredocs[..] {
        [] => (with_shell(stage, &word.text), None),
        [only] if is_just(&word.text) => {
            let body = only.body.text.clone();
            if !body.starts_with("#!") {
                return (with_shell(stage, &body), None);
            }
            let path = format!("/dev/pipes/{}", only.name);
            (with_shell(stage, &path), Some((only.name.clone(), body)))
        }
        several => (with_shell(stage, &rejoined(&word.text, several)), None),
    }
}

/// Whether a line is one heredoc and nothing else: its body then *is* the command.
fn is_just(line: &str) -> bool {
    let rest = line.trim().trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else { return false };
    let name = rest.strip_prefix('-').unwrap_or(rest).trim();
    let quoted = name.len() > 1
        && [b'"', b'\''].iter().any(|q| name.as_bytes()[0] == *q && name.as_bytes()[name.len() - 1] == *q);
    !name.is_empty() && !name.contains('<') && (quoted || !name.contains(char::is_whitespace))
}

/// The line with its heredocs below it, for the shell to read as it would in a script.
fn rejoined(line: &str, heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(line.to_owned(), |text, h| format!("{text}\n{}{}", h.body.text, h.name))
}

fn network(planner: &mut Planner<'_>, stage: &Stage, word: Option<&Word>) -> Option<Network> {
    let Some(word) = word else { return Some(planner.options.network) };
    match &*word.text {
        "default" => Some(planner.options.network),
        "host" => Some(Network::Host),
        "none" => Some(Network::None),
        other => {
            let text = format!("`{other}` is not a network: expected default, none or host");
            planner.error(Diagnostic::error("network", stage.place(word.span), text).label("here"));
            None
        }
    }
}

fn security(planner: &mut Planner<'_>, stage: &Stage, word: Option<&Word>) -> Option<bool> {
    let Some(word) = word else { return Some(false) };
    match &*word.text {
        "sandbox" => Some(false),
        "insecure" if planner.options.allow_insecure || planner.looking => Some(true),
        "insecure" => {
            let d = Diagnostic::error(
                "security",
                stage.place(word.span),
                "`--security=insecure` is not allowed in this build".to_owned(),
            );
            planner.error(
                d.label("asks for all privileges")
                    .hint("if you trust this Dockerfile with the machine: --allow security.insecure"),
            );
            None
        }
        other => {
            let text = format!("`{other}` is not a security mode: expected sandbox or insecure");
            planner.error(Diagnostic::error("security", stage.place(word.span), text).label("here"));
            None
        }
    }
}

/// The fields of a mount with their variables expanded.
struct Fields<'p, 'a> {
    planner: &'p mut Planner<'a>,
    stage: &'p Stage,
    span: Span,
}

impl Fields<'_, '_> {
    fn text(&mut self, word: Option<&Word>) -> Option<Option<String>> {
        match word {
            None => Some(None),
            Some(word) => self.planner.expand(&self.stage.scope, word, self.stage.at).map(Some),
        }
    }

    /// Tells an outline that the mount is asked for.
    fn outline(&mut self, kind: Kind, id: &str, required: bool) {
        let span = self.stage.place(self.span);
        self.planner.outlined.push(Outlined::Mount { kind, id: id.to_owned(), required, span });
    }

    fn refuse<T>(&mut self, message: String) -> Option<T> {
        self.planner.error(Diagnostic::error("mount", self.stage.place(self.span), message).label("in this mount"));
        None
    }

    fn number(&mut self, key: &str, word: Option<&Word>, radix: u32, default: u32) -> Option<u32> {
        let Some(text) = self.text(word)? else { return Some(default) };
        match u32::from_str_radix(&text, radix) {
            Ok(n) => Some(n),
            Err(_) => self.refuse(format!("invalid value `{text}` for `{key}`")),
        }
    }

    fn flag(&mut self, key: &str, word: Option<&Word>) -> Option<bool> {
        match self.text(word)?.as_deref() {
            None => Some(false),
            Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
            Some(other) => {
                let other = other.to_owned();
                self.refuse(format!("invalid value `{other}` for `{key}`: expected true or false"))
            }
        }
    }

    fn target(&mut self, word: Option<&Word>) -> Option<String> {
        let text = self.text(word)?.unwrap_or_default();
        let target = normalise(&self.stage.cwd(), if text.is_empty() { "." } else { &text }, false);
        if target == "/" { self.refuse("the target of a mount can't be `/`".to_owned()) } else { Some(target) }
    }
}

fn plan_mount(planner: &mut Planner<'_>, stage: &Stage, mount: &Mount, before: &[RunMount]) -> Option<RunMount> {
    let origin = match &mount.from {
        Some(from) => Some(files::origin(planner, stage, from)?),
        None => None,
    };
    let mut fields = Fields { planner, stage, span: mount.span };
    match mount.kind {
        MountKind::Bind => {
            let origin = origin.unwrap_or(Origin::Context(ContextId::Main));
            let source = normalise("/", &fields.text(mount.source.as_ref())?.unwrap_or_default(), false);
            let target = fields.target(mount.target.as_ref())?;
            check_source(planner, stage, mount, &origin, &source)?;
            Some(RunMount::Bind { origin: Some(origin), source, target, readonly: mount.readonly.unwrap_or(true) })
        }
        MountKind::Cache => {
            let target = fields.target(mount.target.as_ref())?;
            let source = normalise("/", &fields.text(mount.source.as_ref())?.unwrap_or_default(), false);
            let id = fields.text(mount.id.as_ref())?.filter(|i| !i.is_empty()).unwrap_or_else(|| target.clone());
            let sharing = match fields.text(mount.sharing.as_ref())?.map(|s| s.to_ascii_lowercase()).as_deref() {
                None | Some("" | "shared") => Sharing::Shared,
                Some("private") => Sharing::Private,
                Some("locked") => Sharing::Locked,
                Some(other) => {
                    let other = other.to_owned();
                    return fields
                        .refuse(format!("`{other}` is not a way of sharing: expected shared, private or locked"));
                }
            };
            let mode = fields.number("mode", mount.mode.as_ref(), 8, 0o755)?;
            let uid = fields.number("uid", mount.uid.as_ref(), 10, 0)?;
            let gid = fields.number("gid", mount.gid.as_ref(), 10, 0)?;
            let readonly = mount.readonly.unwrap_or(false);
            fields.outline(Kind::Cache, &id, false);
            Some(RunMount::Cache { id, target, origin, source, sharing, mode, uid, gid, readonly })
        }
        MountKind::Tmpfs => {
            let target = fields.target(mount.target.as_ref())?;
            let size = match fields.text(mount.size.as_ref())? {
                None => None,
                Some(text) => match size::parse(&text) {
                    Ok(n) => Some(n),
                    Err(_) => {
                        return fields
                            .refuse(format!("invalid value `{text}` for `size`: expected a size such as 64m"));
                    }
                },
            };
            Some(RunMount::Tmpfs { target, size })
        }
        MountKind::Secret => secret(&mut fields, mount),
        MountKind::Ssh => {
            let id = fields.text(mount.id.as_ref())?.filter(|i| !i.is_empty()).unwrap_or_else(|| "default".to_owned());
            let count = before.iter().filter(|m| matches!(m, RunMount::Ssh { .. })).count();
            let target = match fields.text(mount.target.as_ref())?.filter(|t| !t.is_empty()) {
                Some(t) => normalise(&stage.cwd(), &t, false),
                None => format!("/run/buildkit/ssh_agent.{count}"),
            };
            let mode = fields.number("mode", mount.mode.as_ref(), 8, 0o600)?;
            let uid = fields.number("uid", mount.uid.as_ref(), 10, 0)?;
            let gid = fields.number("gid", mount.gid.as_ref(), 10, 0)?;
            let required = fields.flag("required", mount.required.as_ref())?;
            fields.outline(Kind::Ssh, &id, required);
            if required && !fields.planner.looking && !fields.planner.options.ssh.contains(&id) {
                return fields.refuse(format!("the SSH agent `{id}` is required, but --ssh {id} was not given"));
            }
            Some(RunMount::Ssh { id, target, mode, uid, gid, required })
        }
    }
}

fn secret(fields: &mut Fields<'_, '_>, mount: &Mount) -> Option<RunMount> {
    let named = fields.text(mount.id.as_ref())?.or(fields.text(mount.source.as_ref())?).filter(|i| !i.is_empty());
    let target = fields.text(mount.target.as_ref())?.filter(|t| !t.is_empty());
    let env = fields.text(mount.env.as_ref())?.filter(|e| !e.is_empty());
    let id = match (named, &target) {
        (Some(id), _) => id,
        (None, Some(target)) => base_name(target).to_owned(),
        (None, None) => return fields.refuse("a secret mount needs an id, source or target".to_owned()),
    };
    let cwd = fields.stage.cwd();
    let target = match (target, &env) {
        (Some(t), _) => Some(normalise(&cwd, &t, false)),
        (None, Some(_)) => None,
        (None, None) => Some(format!("/run/secrets/{}", base_name(&id))),
    };
    let mode = fields.number("mode", mount.mode.as_ref(), 8, 0o400)?;
    let uid = fields.number("uid", mount.uid.as_ref(), 10, 0)?;
    let gid = fields.number("gid", mount.gid.as_ref(), 10, 0)?;
    let required = fields.flag("required", mount.required.as_ref())?;
    fields.outline(Kind::Secret, &id, required);
    if required && !fields.planner.looking && !fields.planner.options.secrets.contains(&id) {
        return fields.refuse(format!("the secret `{id}` is required, but --secret id={id} was not given"));
    }
    Some(RunMount::Secret { id, target, env, mode, uid, gid, required })
}

/// Asks for the files a bind mount shows; a source that is not there is a mistake.
fn check_source(planner: &mut Planner<'_>, stage: &Stage, mount: &Mount, origin: &Origin, source: &str) -> Option<()> {
    let Origin::Context(context) = origin else { return Some(()) };
    let select = Select { sources: vec![source.to_owned()], exclude: Vec::new(), parents: false };
    let fact = planner.files(Files { context: context.clone(), select });
    let Some(missing) = fact.missing.first() else { return Some(()) };
    let shown = Word { text: source.to_owned(), span: mount.source.as_ref().map_or(mount.span, |w| w.span) };
    files::nothing_there(planner, stage, "RUN --mount source=", &shown, context, missing);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heredoc_alone_is_the_command() {
        for yes in ["<<EOF", " <<-EOF ", "<<\"E F\"", "3<<EOF"] {
            assert!(is_just(yes), "{yes}");
        }
        for no in ["<<EOF bash -ex", "cat <<EOF", "<<A <<B", "", "<<"] {
            assert!(!is_just(no), "{no}");
        }
    }
}
