//! Rights: who may do what with which repositories. Without such a file, who has a password may do everything.
//!
//! ```text
//! # who                repositories         what
//! ci                   team/**              pull,push
//! *                    docker.io/**         pull         everyone with a password
//! anonymous            public/*             pull         everyone, where --anonymous-pull is given
//! admin                **                   all
//! ```
//!
//! A line gives, and what no line gives is refused. Repositories are meant as they are kept: `docker.io/library/nginx`
//! also where a request calls it `library/nginx`, and `team/app` for what was pushed without a registry's name. `*` is
//! anything but a slash, `**` slashes, too. Who may push may pull.

use std::path::{Path, PathBuf};

use kiln_spec::glob::Pattern;

use crate::error::ServeError;
use crate::fresh::Fresh;
use crate::names::Full;

/// The longest file, in bytes.
const LONGEST: u64 = 4 << 20;
/// The most lines that give something.
const MAX_RULES: usize = 100_000;

/// What may be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To read it.
    Pull,
    /// To write to it.
    Push,
    /// To delete from it.
    Delete,
}

/// Who a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// A user.
    User(String),
    /// Everyone with a name.
    Known,
    /// Everyone without one; and with one, too.
    Anonymous,
}

/// A line.
#[derive(Debug)]
struct Rule {
    who: Who,
    repositories: Pattern,
    actions: Vec<Action>,
}

/// A file of rights. It is read again when it changes.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    rules: Fresh<Vec<Rule>>,
}

impl Access {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no rule.
    pub fn open(path: &Path) -> Result<Access, ServeError> {
        Ok(Access { path: path.to_path_buf(), rules: Fresh::open(&[path], || read(path))? })
    }

    /// Whether a user, or nobody, may do this with a repository. A file that has become unreadable changes nothing.
    pub fn allows(&self, user: Option<&str>, repository: &Full, action: Action) -> bool {
        self.allows_path(user, &repository.path(), action)
    }

    /// [`Access::allows`] for a repository as [`Full::path`] names it.
    pub fn allows_path(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        let rules = self.rules.now(|_| read(&self.path)).value();
        let mut of_user = rules.iter().filter(|rule| match &rule.who {
            Who::User(name) => user == Some(name.as_str()),
            Who::Known => user.is_some(),
            Who::Anonymous => true,
        });
        of_user.any(|rule| rule.actions.contains(&action) && rule.repositories.matches(repository))
    }
}

fn read(path: &Path) -> Result<Vec<Rule>, ServeError> {
    let failed = |source| ServeError::ReadFile { path: path.to_path_buf(), source };
    let wrong = |line, why: String| ServeError::Rights { path: path.to_path_buf(), line, why };
    if std::fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(wrong(0, "the file is too long".to_owned()));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?).map_err(|(line, why)| wrong(line, why))
}

/// Reads lines; the number of the line that is wrong, and why.
fn parse(text: &str) -> Result<Vec<Rule>, (usize, String)> {
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| (number + 1, why);
        let words: Vec<&str> = line.split_whitespace().collect();
        let [who, repositories, actions] = words[..] else {
            return Err(wrong("it is not WHO REPOSITORIES ACTIONS".to_owned()));
        };
        let who = match who {
            "*" => Who::Known,
            "anonymous" => Who::Anonymous,
            name if name.contains('*') => {
                return Err(wrong(format!("`{name}` is not a user: only `*` alone is everyone")));
            }
            name => Who::User(name.to_owned()),
        };
        let repositories =
            Pattern::with_globstar(repositories).map_err(|e| wrong(format!("`{repositories}` is no pattern: {e}")))?;
        let actions = actions.split(',').map(action).collect::<Result<Vec<_>, _>>().map_err(wrong)?.concat();
        if who == Who::Anonymous && actions.iter().any(|action| *action != Action::Pull) {
            return Err(wrong("who has no name can only be let pull".to_owned()));
        }
        if rules.len() >= MAX_RULES {
            return Err(wrong(format!("there are more than {MAX_RULES} rules")));
        }
        rules.push(Rule { who, repositories, actions });
    }
    Ok(rules)
}

fn action(text: &str) -> Result<Vec<Action>, String> {
    match text {
        "pull" => Ok(vec![Action::Pull]),
        "push" => Ok(vec![Action::Pull, Action::Push]),
        "delete" => Ok(vec![Action::Delete]),
        "all" => Ok(vec![Action::Pull, Action::Push, Action::Delete]),
        other => Err(format!("`{other}` is nothing that can be done: there are pull, push, delete and all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(registry: &str, repository: &str) -> Full {
        Full { registry: registry.to_owned(), repository: repository.to_owned() }
    }

    #[test]
    fn what_no_line_gives_is_refused() {
        let text = "# ours\nci team/** pull,push\n* docker.io/** pull\nanonymous public/* pull\nadmin ** all\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let access = Access::open(file.path()).unwrap();
        let (own, hub) = (full("localhost", "team/a/b"), full("docker.io", "library/nginx"));
        for (user, repository, action, may) in [
            (Some("ci"), &own, Action::Push, true),
            (Some("ci"), &own, Action::Delete, false),
            (Some("ci"), &full("localhost", "teams/a"), Action::Pull, false),
            // The repositories of another registry are others, also where their path is the same.
            (Some("ci"), &full("quay.io", "team/a"), Action::Pull, false),
            (Some("other"), &hub, Action::Pull, true),
            (Some("other"), &hub, Action::Push, false),
            (Some("other"), &own, Action::Pull, false),
            (None, &hub, Action::Pull, false),
            (None, &full("localhost", "public/x"), Action::Pull, true),
            (Some("other"), &full("localhost", "public/x"), Action::Pull, true),
            (None, &full("localhost", "public/x/y"), Action::Pull, false),
            (Some("admin"), &own, Action::Delete, true),
        ] {
            assert_eq!(access.allows(user, repository, action), may, "{user:?} {repository} {action:?}");
        }
        // A change counts at once, and one that is a mistake not at all.
        std::fs::write(file.path(), "ci other/** pull\n").unwrap();
        assert!(!access.allows(Some("ci"), &own, Action::Pull));
        std::fs::write(file.path(), "nonsense\n").unwrap();
        assert!(access.allows(Some("ci"), &full("localhost", "other/x"), Action::Pull));
    }

    #[test]
    fn lines_that_are_no_rules_are_told() {
        for (text, line, says) in [
            ("ci team/**", 1, "WHO REPOSITORIES ACTIONS"),
            ("\nci team/** read", 2, "pull, push, delete and all"),
            ("ci [ pull", 1, "no pattern"),
            ("c* ** pull", 1, "not a user"),
            ("anonymous ** push", 1, "only be let pull"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert!(at == line && why.contains(says), "{text}: {at} {why}");
        }
        assert!(parse("# only this\n\n").unwrap().is_empty());
    }
}
