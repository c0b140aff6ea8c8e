//! Git repositories, through the `git` command: it knows every transport, credential helper and SSH configuration of
//! its user, and no library does.
//!
//! The command never sees a terminal, reads no configuration of the repository it fetches before it is asked to, and
//! gets remotes and references only where they cannot be taken for options.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_plan::facts::{GitFact, GitQuery};
use kiln_store::SnapshotDraft;

use super::child;
use super::http::shown;
use crate::context;
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

/// A remote as git is given it: without the password, which every user of the machine could read in the arguments of
/// its processes, and which a kept `.git` would hold.
struct Remote {
    url: String,
    /// For HTTP: `scheme://host:port`, user and password.
    login: Option<(String, String, String)>,
}

impl Remote {
    fn of(text: &str) -> Result<Remote> {
        let plain = Remote { url: text.to_owned(), login: None };
        let Ok(mut url) = url::Url::parse(text) else { return Ok(plain) };
        let is_http = matches!(url.scheme(), "http" | "https");
        if !is_http || (url.username().is_empty() && url.password().is_none()) {
            return Ok(plain);
        }
        let part = |encoded: &str| {
            let bad = || failed(text, "its user or password cannot be passed to git");
            decoded(encoded).filter(|t| !t.contains(['\n', '\r', '\0'])).ok_or_else(bad)
        };
        let (user, password) = (part(url.username())?, part(url.password().unwrap_or(""))?);
        // A URL with a host takes both.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let origin = url.origin().ascii_serialization();
        Ok(Remote { url: url.to_string(), login: Some((origin, user, password)) })
    }

    /// A command that knows what to say when this remote asks who it is. The helper is that of the URL alone: what the
    /// user's own helpers know of the host, or would store of it, has no part in it.
    fn command(&self, dir: Option<&Path>) -> Command {
        let mut git = command();
        if let Some((origin, user, password)) = &self.login {
            git.env("KILN_GIT_USERNAME", user).env("KILN_GIT_PASSWORD", password);
            let helper = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$KILN_GIT_USERNAME" "$KILN_GIT_PASSWORD"; }; f"#;
            for value in ["", helper] {
                git.arg("-c").arg(format!("credential.{origin}.helper={value}"));
            }
        }
        if let Some(dir) = dir {
            git.arg("-C").arg(dir);
        }
        git
    }
}

/// A part of a URL without its percent encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        let byte = match b {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            other => other,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

fn command() -> Command {
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
    git
}

fn output(git: Command, remote: &str, session: &Session) -> Result<String> {
    let out = child::run(git, &session.cancel).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => failed(remote, "the `git` command is not installed"),
        _ => failed(remote, format!("cannot run git: {e}")),
    })?;
    let out = out.ok_or(EngineError::Cancelled)?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(failed(remote, reason(&said).replace(remote, &shown(remote))));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// What git says went wrong. Its last lines often are advice.
fn reason(said: &str) -> &str {
    let last = |wanted: &dyn Fn(&&str) -> bool| said.lines().rev().find(wanted);
    let found = last(&|line| line.starts_with("fatal: ")).or_else(|| last(&|line| line.starts_with("error: ")));
    found.or_else(|| last(&|line| !line.trim().is_empty())).unwrap_or("no message")
}

/// Whether a text is a commit, whole.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Finds the commit of a reference.
///
/// # Errors
/// When the repository cannot be reached or has no such reference.
pub fn answer(session: &Session, query: &GitQuery) -> Result<GitFact> {
    let wanted = query.reference.as_deref().unwrap_or("HEAD");
    if is_commit(wanted) {
        return Ok(GitFact { commit: wanted.to_ascii_lowercase() });
    }
    let remote = Remote::of(&query.remote)?;
    let mut git = remote.command(None);
    git.args(["ls-remote", "--", &remote.url, wanted, &format!("{wanted}^{{}}")]);
    let listing = output(git, &query.remote, session)?;
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
    if !is_commit(wanted.commit) {
        // Git would take it for whatever it looks like.
        return Err(failed(wanted.remote, format!("`{}` is no commit", wanted.commit)));
    }
    let draft = session.store.begin_snapshot()?;
    let dir = draft.fs().to_path_buf();
    let remote = Remote::of(wanted.remote)?;
    let run = |args: &[&str]| {
        session.check_cancelled()?;
        let mut git = remote.command(Some(&dir));
        git.args(args);
        output(git, wanted.remote, session)
    };
    run(&["init", "--quiet", "."])?;
    run(&["remote", "add", "--", "origin", &remote.url])?;
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
    let missing = || failed(wanted.remote, format!("the commit has no directory `{}`", wanted.subdir));
    let sub = context::subdirectory(&dir, wanted.subdir).ok_or_else(missing)?;
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_password_is_told_to_git_and_to_no_one_else() {
        let remote = Remote::of("https://us%40er:hunter%202@example.test:8443/x.git").unwrap();
        assert_eq!(remote.url, "https://example.test:8443/x.git");
        let mut git = remote.command(None);
        assert!(!git.get_args().any(|a| a.to_string_lossy().contains("hunter")));
        git.args(["credential", "fill"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = git.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"protocol=https\nhost=example.test:8443\n\n").unwrap();
        let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(told.contains("username=us@er\npassword=hunter 2\n"), "{told}");
    }

    #[test]
    fn the_reason_goes_before_the_advice() {
        let said =
            "Cloning\nfatal: Could not read from remote repository.\n\nPlease make sure\nand the repository exists.\n";
        assert_eq!(reason(said), "fatal: Could not read from remote repository.");
        assert_eq!((reason("a\nb\n\n"), reason(" \n")), ("b", "no message"));
        assert_eq!(reason("error: one\nhint: two"), "error: one");
    }

    #[test]
    fn other_remotes_are_left_as_they_are() {
        for text in ["https://example.test/x.git", "git@example.test:x", "ssh://git@example.test/x"] {
            let remote = Remote::of(text).unwrap();
            assert_eq!((&*remote.url, remote.login), (text, None));
        }
        assert!(Remote::of("https://u:a%0Ab@example.test/x.git").is_err());
    }
}
