//! Versions and their ranges, as Masterminds' `semver` has them: `>= 1.2, < 2 || ~3.1 || 4.x || 5.0 - 5.4`.

use std::cmp::Ordering;
use std::fmt;

/// A version: `1.2.3-rc.1+build`; parts may be missing, and a `v` before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
    /// What is behind the `-`.
    pub prerelease: String,
    /// What is behind the `+`; it has no rank.
    pub metadata: String,
    /// As it was written.
    pub original: String,
}

impl Version {
    /// Reads a version.
    pub fn parse(text: &str) -> Option<Version> {
        let (numbers, prerelease, metadata) = pieces(text.strip_prefix('v').unwrap_or(text))?;
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let number = |at: usize| parts.get(at).map_or(Some(0), |part| part.parse::<u64>().ok());
        Some(Version {
            major: number(0)?,
            minor: number(1)?,
            patch: number(2)?,
            prerelease: prerelease.to_owned(),
            metadata: metadata.to_owned(),
            original: text.to_owned(),
        })
    }

    /// Which of two is later.
    pub fn rank(&self, other: &Version) -> Ordering {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| prereleases(&self.prerelease, &other.prerelease))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(f, "-{}", self.prerelease)?;
        }
        if self.metadata.is_empty() { Ok(()) } else { write!(f, "+{}", self.metadata) }
    }
}

/// Numbers, what is behind `-`, what is behind `+`.
fn pieces(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, metadata) = text.split_once('+').map_or((text, None), |(rest, metadata)| (rest, Some(metadata)));
    let (numbers, prerelease) = rest.split_once('-').map_or((rest, None), |(numbers, pre)| (numbers, Some(pre)));
    let fits = |text: Option<&str>| {
        let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        text.is_none_or(|text| text.split('.').all(part))
    };
    (fits(prerelease) && fits(metadata)).then_some((numbers, prerelease.unwrap_or(""), metadata.unwrap_or("")))
}

/// None is later than any.
fn prereleases(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    AtLeast,
    AtMost,
    Tilde,
    Caret,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 12] = [
    (">=", Operator::AtLeast),
    ("=>", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=<", Operator::AtMost),
    ("!=", Operator::NotEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("", Operator::Equal),
];

/// Where the version of a condition has an `x`, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    No,
    Major,
    Minor,
    Patch,
}

#[derive(Debug, Clone)]
struct Condition {
    operator: Operator,
    version: Version,
    open: Open,
}

/// A range of versions.
#[derive(Debug, Clone)]
pub struct Range(Vec<Vec<Condition>>);

impl Range {
    /// Reads a range.
    pub fn parse(text: &str) -> Option<Range> {
        text.split("||").map(conditions).collect::<Option<Vec<_>>>().map(Range)
    }

    /// Whether a version is in it.
    pub fn has(&self, version: &Version) -> bool {
        self.0.iter().any(|all| all.iter().all(|condition| condition.holds(version)))
    }
}

fn conditions(text: &str) -> Option<Vec<Condition>> {
    let spaced = hyphens(text);
    let mut rest = spaced.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let &(mark, operator) = OPERATORS.iter().find(|(mark, _)| rest.starts_with(mark))?;
        rest = rest.get(mark.len()..)?.trim_start();
        let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
        found.push(Condition::new(operator, rest.get(..end)?)?);
        let after = rest.get(end..)?.trim_start();
        rest = match after.strip_prefix(',') {
            // A comma must have something behind it.
            Some(more) if more.trim().is_empty() => return None,
            Some(more) => more.trim_start(),
            None => after,
        };
    }
    (!found.is_empty()).then_some(found)
}

/// `1.2 - 1.4` as `>=1.2 <=1.4`.
fn hyphens(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match (words.get(at + 1), words.get(at + 2)) {
            (Some(&"-"), Some(end)) => {
                out.push(format!(">={word} <={end}"));
                at += 3;
            }
            _ => {
                out.push((*word).to_owned());
                at += 1;
            }
        }
    }
    out.join(" ")
}

impl Condition {
    fn new(operator: Operator, text: &str) -> Option<Condition> {
        let (numbers, prerelease, metadata) = pieces(text.strip_prefix('v').unwrap_or(text))?;
        let parts: Vec<&str> = numbers.split('.').collect();
        let any = |at: usize| parts.get(at).is_none_or(|part| matches!(*part, "x" | "X" | "*"));
        if parts.len() > 3 || parts.first().is_none_or(|part| part.is_empty()) {
            return None;
        }
        let (open, kept) = match () {
            () if any(0) => (Open::Major, 0),
            () if any(1) => (Open::Minor, 1),
            () if any(2) => (Open::Patch, 2),
            () => (Open::No, 3),
        };
        let fits = |part: &&str| ["x", "X", "*"].contains(part) || part.bytes().all(|b| b.is_ascii_digit());
        if !parts.iter().all(|part| fits(part) && !part.is_empty()) {
            return None;
        }
        let mut version = Version::parse(if kept == 0 { "0" } else { &numbers[..parts[..kept].join(".").len()] })?;
        (version.prerelease, version.metadata) = (prerelease.to_owned(), metadata.to_owned());
        Some(Condition { operator, version, open })
    }

    fn holds(&self, given: &Version) -> bool {
        let own = &self.version;
        // Those before a release count only for who asks for such.
        if !given.prerelease.is_empty() && own.prerelease.is_empty() {
            return false;
        }
        let rank = given.rank(own);
        match self.operator {
            Operator::Equal if self.open == Open::No => rank == Ordering::Equal,
            Operator::Equal | Operator::Tilde => self.tilde(given, rank),
            Operator::NotEqual => self.differs(given, rank),
            Operator::Greater => self.greater(given, rank),
            Operator::Less => rank == Ordering::Less,
            Operator::AtLeast => rank != Ordering::Less,
            Operator::AtMost if self.open == Open::No => rank != Ordering::Greater,
            Operator::AtMost => {
                given.major < own.major
                    || (given.major == own.major && (given.minor <= own.minor || self.open == Open::Minor))
            }
            Operator::Caret => self.caret(given, rank),
        }
    }

    fn tilde(&self, given: &Version, rank: Ordering) -> bool {
        let own = &self.version;
        if rank == Ordering::Less {
            return false;
        }
        // `~0.0.0` and `*` are any.
        if (own.major, own.minor, own.patch) == (0, 0, 0) && !matches!(self.open, Open::Minor | Open::Patch) {
            return true;
        }
        given.major == own.major && (given.minor == own.minor || self.open == Open::Minor)
    }

    fn caret(&self, given: &Version, rank: Ordering) -> bool {
        let own = &self.version;
        if rank == Ordering::Less {
            return false;
        }
        if own.major > 0 || self.open == Open::Minor {
            return given.major == own.major;
        }
        if given.major > 0 {
            return false;
        }
        if own.minor > 0 || self.open == Open::Patch {
            return given.minor == own.minor;
        }
        given.minor == 0 && given.patch == own.patch
    }

    fn greater(&self, given: &Version, rank: Ordering) -> bool {
        let own = &self.version;
        match self.open {
            Open::No => rank == Ordering::Greater,
            _ if given.major != own.major => given.major > own.major,
            Open::Minor => false,
            Open::Patch => given.minor > own.minor,
            Open::Major => rank == Ordering::Greater,
        }
    }

    fn differs(&self, given: &Version, rank: Ordering) -> bool {
        let own = &self.version;
        match self.open {
            Open::Minor => given.major != own.major,
            Open::Patch => (given.major, given.minor) != (own.major, own.minor),
            Open::No | Open::Major => rank != Ordering::Equal,
        }
    }
}
