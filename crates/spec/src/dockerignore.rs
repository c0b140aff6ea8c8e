//! `.dockerignore`, and `COPY --exclude`: which paths does a build not see?
//!
//! The rules are moby's. Each line is a pattern; `!` takes back what lines before it excluded; the last line that
//! matches decides; a pattern that matches a directory matches all below it. There is one subtlety in the last rule,
//! kept on purpose: a line is not asked about a directory when its answer could not change the verdict there, and then
//! it does not speak for what is below. A walk therefore carries a [`Below`] from directory to directory, which also
//! saves asking about the same directory for each of its files.
//!
//! ```
//! # use kiln_spec::dockerignore::Ignore;
//! let (ignore, errors) = Ignore::parse("*.log\n!keep.log");
//! assert!(errors.is_empty());
//! assert!(ignore.matches("a.log") && !ignore.matches("keep.log"));
//! ```

use crate::glob::{Pattern, PatternError};

/// More rules than this are not read.
pub const MAX_RULES: usize = 10_000;

/// A set of rules, in order.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    has_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// `!`
    exception: bool,
    /// From 1.
    line: usize,
    /// As typed, trimmed.
    text: String,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}`: {problem}")]
pub struct IgnoreError {
    /// The line, from 1; of a list of patterns, which of them.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// What is wrong with it.
    pub problem: IgnoreProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreProblem {
    /// A `!` alone.
    #[error("a `!` takes back nothing")]
    EmptyException,
    /// A malformed pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// More than [`MAX_RULES`].
    #[error("there are more than {MAX_RULES} rules")]
    TooMany,
}

/// Which rules matched a directory: what a walk hands down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    matched: Vec<u64>,
}

impl Ignore {
    /// Reads a `.dockerignore`. Lines that cannot be read are reported and left out.
    pub fn parse(text: impl AsRef<[u8]>) -> (Ignore, Vec<IgnoreError>) {
        let text = text.as_ref();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|&byte| byte == b'\n').enumerate();
        // Only a `#` in the first column makes a comment.
        let lines = lines.filter(|(_, line)| !line.starts_with(b"#"));
        Ignore::build(
            lines
                .map(|(i, line)| (i + 1, trim(line)))
                .filter_map(|(line, text)| if text.is_empty() { None } else { Some((line, text, from_file(text))) }),
        )
    }

    /// Takes a list of patterns, as `COPY --exclude` gives them.
    pub fn from_patterns<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> (Ignore, Vec<IgnoreError>) {
        let patterns: Vec<P> = patterns.into_iter().collect();
        let numbered = patterns.iter().enumerate().map(|(i, pattern)| (i + 1, trim(pattern.as_ref())));
        Ignore::build(numbered.filter(|(_, text)| !text.is_empty()).map(|(i, text)| (i, text, text.to_vec())))
    }

    fn build<'a>(lines: impl Iterator<Item = (usize, &'a [u8], Vec<u8>)>) -> (Ignore, Vec<IgnoreError>) {
        let (mut ignore, mut errors) = (Ignore::default(), Vec::new());
        for (line, text, pattern) in lines {
            let text = String::from_utf8_lossy(text).into_owned();
            if ignore.rules.len() == MAX_RULES {
                errors.push(IgnoreError { line, text, problem: IgnoreProblem::TooMany });
                break;
            }
            match rule(&pattern) {
                Ok((exception, pattern)) => {
                    ignore.has_exceptions |= exception;
                    ignore.rules.push(Rule { pattern, exception, line, text });
                }
                Err(problem) => errors.push(IgnoreError { line, text, problem }),
            }
        }
        (ignore, errors)
    }

    /// Whether there are no rules, so that nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule takes back what others exclude (`!`).
    pub fn has_exceptions(&self) -> bool {
        self.has_exceptions
    }

    /// Whether `path`, relative and with `/` between its parts, is excluded. In a walk, [`Ignore::enter`] and
    /// [`Ignore::matches_in`] are faster.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> bool {
        self.decide(path.as_ref()).is_some_and(|rule| !rule.exception)
    }

    /// The line of the rule that excludes `path`, from 1; `None` when it is not excluded.
    pub fn matched_by(&self, path: impl AsRef<[u8]>) -> Option<usize> {
        self.decide(path.as_ref()).filter(|rule| !rule.exception).map(|rule| rule.line)
    }

    /// The line of a rule that excludes everything, whatever it is called: `*`, `**`, `**/*`.
    pub fn matches_all(&self) -> Option<usize> {
        let all = |rule: &&Rule| !rule.exception && matches!(&*rule.text, "*" | "**" | "**/*");
        self.rules.iter().find(all).map(|rule| rule.line)
    }

    /// What a line says, for messages; `None` when no rule stands there.
    pub fn rule_at(&self, line: usize) -> Option<&str> {
        let found = self.rules.binary_search_by_key(&line, |rule| rule.line).ok()?;
        Some(&self.rules[found].text)
    }

    /// Where a walk starts: in the root.
    pub fn root(&self) -> Below {
        Below { matched: vec![0; self.rules.len().div_ceil(64)] }
    }

    /// Whether the directory `path`, whose parent gave `parent`, is excluded, and what holds for its entries.
    pub fn enter(&self, path: impl AsRef<[u8]>, parent: &Below) -> (bool, Below) {
        let mut own = self.root();
        let decided = self.evaluate(path.as_ref(), parent, Some(&mut own));
        (decided.is_some_and(|rule| !rule.exception), own)
    }

    /// Whether `path`, in the directory that gave `parent`, is excluded.
    pub fn matches_in(&self, path: impl AsRef<[u8]>, parent: &Below) -> bool {
        self.evaluate(path.as_ref(), parent, None).is_some_and(|rule| !rule.exception)
    }

    /// Whether anything below the excluded directory `dir` can be taken back: if not, a walk need not enter it.
    pub fn may_reinclude_below(&self, dir: impl AsRef<[u8]>) -> bool {
        let dir = dir.as_ref();
        self.has_exceptions && self.rules.iter().any(|rule| rule.exception && rule.pattern.may_match_below(dir))
    }

    /// The rule that decides about a path, none if no rule matches.
    fn decide(&self, path: &[u8]) -> Option<&Rule> {
        let mut parent = self.root();
        for slash in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(i, _)| i) {
            parent = self.enter(&path[..slash], &parent).1;
        }
        self.evaluate(path, &parent, None)
    }

    fn evaluate(&self, path: &[u8], parent: &Below, mut own: Option<&mut Below>) -> Option<&Rule> {
        let (mut excluded, mut decided) = (false, None);
        for (i, rule) in self.rules.iter().enumerate() {
            let inherited = parent.matched.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1);
            if !inherited && (rule.exception != excluded || !rule.pattern.matches(path)) {
                continue;
            }
            if let Some(own) = own.as_deref_mut() {
                own.matched[i / 64] |= 1 << (i % 64);
            }
            excluded = !rule.exception;
            decided = Some(rule);
        }
        decided
    }
}

/// What a line of a file means as a pattern: relative to the root however it is written.
fn from_file(text: &[u8]) -> Vec<u8> {
    let (exception, rest) = match text.strip_prefix(b"!") {
        Some(rest) => (true, trim(rest)),
        None => (false, text),
    };
    let mut pattern = if exception { b"!".to_vec() } else { Vec::new() };
    if !rest.is_empty() {
        let clean = clean(rest);
        pattern.extend_from_slice(if clean.len() > 1 { clean.strip_prefix(b"/").unwrap_or(&clean) } else { &clean });
    }
    pattern
}

/// Compiles a pattern that may start with `!`.
fn rule(pattern: &[u8]) -> Result<(bool, Pattern), IgnoreProblem> {
    let pattern = clean(trim(pattern));
    match pattern.strip_prefix(b"!") {
        Some(b"") => Err(IgnoreProblem::EmptyException),
        Some(rest) => Ok((true, Pattern::with_globstar(rest)?)),
        None => Ok((false, Pattern::with_globstar(&pattern)?)),
    }
}

/// Without blanks at both ends.
fn trim(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

/// A path without `.`, doubled slashes and what `..` takes back, as Go's `filepath.Clean` gives it.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let mut clean = if rooted { b"/".to_vec() } else { Vec::new() };
    clean.extend_from_slice(&parts.join(&b'/'));
    if clean.is_empty() { b".".to_vec() } else { clean }
}
