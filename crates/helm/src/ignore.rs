//! `.helmignore`: which files of a directory are no part of the chart.

use kiln_gotmpl::Failure;

/// The rules of a `.helmignore`. Unlike those of Git, the first that matches decides, and `**` is not known.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    /// A `!` before it: what does not match is left out.
    negated: bool,
    /// A `/` behind it.
    directory: bool,
    /// A `/` in it: the whole path must match, not only the last part.
    whole: bool,
}

impl Ignore {
    pub fn parse(text: &str) -> Result<Ignore, String> {
        let mut rules = Vec::new();
        for line in text.lines().chain(["templates/.?*"]) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.contains("**") {
                return Err(format!("`{line}`: `**` is not known here"));
            }
            let (line, negated) = line.strip_prefix('!').map_or((line, false), |rest| (rest, true));
            let (line, directory) = line.strip_suffix('/').map_or((line, false), |rest| (rest, true));
            let whole = line.contains('/');
            let pattern = line.strip_prefix('/').unwrap_or(line).to_owned();
            glob(&pattern, "a").map_err(|_| format!("`{line}` is no pattern"))?;
            rules.push(Rule { pattern, negated, directory, whole });
        }
        Ok(Ignore { rules })
    }

    /// Whether a file is left out: it, or a directory it is in.
    pub fn leaves_out(&self, name: &str) -> bool {
        let ends = name.match_indices('/').map(|(at, _)| at);
        ends.into_iter().any(|end| self.matches(&name[..end], true)) || self.matches(name, false)
    }

    fn matches(&self, path: &str, directory: bool) -> bool {
        self.rules.iter().any(|rule| {
            let subject = if rule.whole { path } else { path.rsplit('/').next().unwrap_or(path) };
            let hit = glob(&rule.pattern, subject).unwrap_or(false);
            if rule.negated {
                return (!rule.directory || directory) && !hit;
            }
            (!rule.directory || directory) && hit
        })
    }
}

/// Go's `path.Match`: `*` and `?` stop at `/`.
pub(crate) fn glob(pattern: &str, name: &str) -> Result<bool, Failure> {
    let parts = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    Ok(matches(&parts, &name))
}

enum Part {
    Star,
    Any,
    One(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn parse(pattern: &str) -> Result<Vec<Part>, Failure> {
    let bad = || Failure::new(format!("syntax error in pattern `{pattern}`"));
    let mut chars = pattern.chars().peekable();
    let mut parts = Vec::new();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Star,
            '?' => Part::Any,
            '\\' => Part::One(chars.next().ok_or_else(bad)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut bound = |first: bool| match chars.next() {
                        Some(']') if first && !ranges.is_empty() => Ok(None),
                        Some('\\') => chars.next().map(Some).ok_or_else(bad),
                        Some('-' | ']') | None => Err(bad()),
                        Some(c) => Ok(Some(c)),
                    };
                    let Some(low) = bound(true)? else { break };
                    let high = if chars.next_if_eq(&'-').is_some() {
                        match chars.next() {
                            Some('\\') => chars.next().ok_or_else(bad)?,
                            Some('-' | ']') | None => return Err(bad()),
                            Some(c) => c,
                        }
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
                Part::Class { negated, ranges }
            }
            c => Part::One(c),
        });
    }
    Ok(parts)
}

/// With one place to come back to: the last star.
fn matches(parts: &[Part], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() || p < parts.len() {
        let c = name.get(n);
        let fits = match (parts.get(p), c) {
            (Some(Part::Star), _) => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            (Some(Part::Any), Some(&c)) => c != '/',
            (Some(Part::One(one)), Some(c)) => one == c,
            (Some(Part::Class { negated, ranges }), Some(&c)) => {
                c != '/' && ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *negated
            }
            _ => false,
        };
        if fits {
            (p, n) = (p + 1, n + 1);
            continue;
        }
        match star {
            // The star takes one more, unless that is a slash.
            Some((at, taken)) if name.get(taken).is_some_and(|&c| c != '/') => {
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
            _ => return false,
        }
    }
    true
}
