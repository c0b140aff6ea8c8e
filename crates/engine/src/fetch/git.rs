//! Git repositories, through the `git` command: it knows every transport, credential helper and SSH configuration of
//! its user, and no library does.
//!
//! The command never sees a terminal, reads no configuration of the repository it fetches before it is asked to, and
//! gets remotes and references only where they cannot be taken for options.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_plan::facts::{GitFact, GitQuery};
use kiln_store::SnapshotDraft;

use super::http::shown;
use crate::error::{EngineError, Result};
use crate::session::Session;

/// What to check out.
pub struct Checkout<'a> {
    /// The repository.
    pub remote: &'a str,
    /// The branch or tag it was found under.
    pub reference: Option<&'a str>,
    /// The commit.
    pub commit: &'a str,
    /// The directory wanted.
    pub subdir: &'a str,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
}

fn failed(remote: &str, message: impl Into<String>) -> EngineError {
    EngineError::Git { remote: shown(remote), message: message.into() }
}

fn command(dir: Option<&Path>) -> Command {
    let mut git = Command::new("git");
    git.stdin(Stdio::null());
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    // `ext::` and local paths run or read whatever they name.
    git.env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh");
    git.args([
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "protocol.version=2",
        "-c",
        "advice.detachedHead=false",
    ]);
    if let Some(dir) = dir {
        git.arg("-C").arg(dir);
    }
    git
}

fn output(mut git: Command, remote: &str) -> Result<String> {
    let out = git.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => failed(remote, "the `git` command is not installed"),
        _ => failed(remote, format!("cannot run git: {e}")),
    })?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no message");
        return Err(failed(remote, last.replace(remote, &shown(remote))));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Finds the commit of a reference.
///
/// # Errors
/// When the repository cannot be reached or has no such reference.
pub fn answer(_session: &Session, query: &GitQuery) -> Result<GitFact> {
    let wanted = query.reference.as_deref().unwrap_or("HEAD");
    if is_commit(wanted) {
        return Ok(GitFact { commit: wanted.to_ascii_lowercase() });
    }
    let mut git = command(None);
    git.args(["ls-remote", "--", &query.remote, wanted, &format!("{wanted}^{{}}")]);
    let listing = output(git, &query.remote)?;
    let lines: Vec<(&str, &str)> = listing.lines().filter_map(|l| l.split_once('\t')).collect();
    // An annotated tag stands for the commit it is peeled to; a branch goes before a tag of the same name.
    let ranked = [
        wanted.to_owned(),
        format!("refs/heads/{wanted}"),
        format!("refs/tags/{wanted}^{{}}"),
        format!("{wanted}^{{}}"),
        format!("refs/tags/{wanted}"),
    ];
    let peeled = lines.iter().find(|(_, name)| *name == format!("{wanted}^{{}}"));
    let found = peeled.or_else(|| ranked.iter().find_map(|r| lines.iter().find(|(_, name)| name == r)));
    match found {
        Some((commit, _)) if is_commit(commit) => Ok(GitFact { commit: (*commit).to_owned() }),
        _ => Err(failed(&query.remote, format!("there is no branch or tag `{wanted}`"))),
    }
}

/// Checks a commit out. Returns what keeps the files, the directory wanted, and the commit's time.
///
/// # Errors
/// When the repository cannot be fetched, or lacks the commit or directory.
pub fn checkout(session: &Session, wanted: &Checkout<'_>) -> Result<(SnapshotDraft, PathBuf, i64)> {
    let draft = session.store.begin_snapshot()?;
    let dir = draft.fs().to_path_buf();
    let run = |args: &[&str]| {
        session.check_cancelled()?;
        let mut git = command(Some(&dir));
        git.args(args);
        output(git, wanted.remote)
    };
    run(&["init", "--quiet", "."])?;
    run(&["remote", "add", "origin", "--", wanted.remote])
        .or_else(|_| run(&["remote", "add", "origin", wanted.remote]))?;
    // A server may refuse single commits; then the reference, and at last everything, brings it.
    let direct = run(&["fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted.commit]);
    if let Err(first) = direct {
        let by_name =
            wanted.reference.filter(|r| !is_commit(r)).map(|r| run(&["fetch", "--quiet", "--no-tags", "origin", r]));
        let has = || run(&["cat-file", "-e", &format!("{}^{{commit}}", wanted.commit)]).is_ok();
        if !(by_name.is_some_and(|r| r.is_ok()) && has()) {
            run(&["fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])?;
        }
        if !has() {
            return Err(first);
        }
    }
    run(&["checkout", "--quiet", "--force", wanted.commit])?;
    if wanted.submodules && dir.join(".gitmodules").exists() {
        run(&["submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"])?;
    }
    let time = run(&["log", "-1", "--format=%ct"])?.trim().parse().unwrap_or(0);
    if !wanted.keep_git_dir {
        remove_git_dirs(&dir)?;
    }
    let sub = beneath(&dir, wanted)?;
    Ok((draft, sub, time))
}

/// Removes `.git` here and, as files or directories, in submodules.
fn remove_git_dirs(dir: &Path) -> Result<()> {
    let failed = |path: &Path| EngineError::file("clean the checkout", path.to_path_buf());
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).map_err(failed(&dir))? {
            let entry = entry.map_err(failed(&dir))?;
            let kind = entry.file_type().map_err(failed(&dir))?;
            if entry.file_name() == ".git" {
                match kind.is_dir() {
                    true => kiln_store::remove_tree(&entry.path())?,
                    false => std::fs::remove_file(entry.path()).map_err(failed(&dir))?,
                }
            } else if kind.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The subdirectory wanted; a symbolic link on the way must not lead out of the checkout.
fn beneath(dir: &Path, wanted: &Checkout<'_>) -> Result<PathBuf> {
    let full = dir.join(wanted.subdir.trim_start_matches('/'));
    let missing = || failed(wanted.remote, format!("the commit has no directory `{}`", wanted.subdir));
    let real = full.canonicalize().map_err(|_| missing())?;
    let root = dir.canonicalize().map_err(|_| missing())?;
    match real.starts_with(&root) && real.is_dir() {
        true => Ok(real),
        false => Err(missing()),
    }
}
