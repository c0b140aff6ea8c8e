//! The configuration of the SSH server, as it holds for root.
//!
//! Of lines about one keyword the first counts; what a `Match` says counts before. Of conditions, `all`, `User` and
//! `Group` of root are known; a block with others may hold or not, and is what [`Setting::unsure`] tells.

use kiln_spec::glob::fnmatch;

use super::lines;
use crate::system::{Result, System};

const PATH: &str = "/etc/ssh/sshd_config";
/// How deep files include each other.
const MAX_DEPTH: usize = 16;
/// The most files.
const MAX_FILES: usize = 1000;

/// What is set, in the order in which it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    lines: Vec<Line>,
    files: usize,
    /// Whether the main file is there.
    pub present: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    key: String,
    value: String,
    place: String,
    holds: Holds,
}

/// Whether a block of a `Match` is for root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Always,
    ForRoot,
    Perhaps,
    Never,
}

/// A keyword's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, in small letters.
    pub value: String,
    /// The line that sets it; `None` when it is the default.
    pub place: Option<String>,
    /// A line that may change it, under a condition that cannot be decided here.
    pub unsure: Option<String>,
}

impl Config {
    /// The configuration of a system.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(system: &dyn System) -> Result<Config> {
        let mut config = Config { present: system.stat(PATH, true)?.is_some(), ..Config::default() };
        let mut holds = Holds::Always;
        config.file(system, PATH, 0, &mut holds)?;
        Ok(config)
    }

    fn file(&mut self, system: &dyn System, path: &str, depth: usize, holds: &mut Holds) -> Result<()> {
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            return Err(crate::LookError::form(path, "more files include each other than sshd allows"));
        }
        self.files += 1;
        let Some(text) = lines::text(system, path)? else { return Ok(()) };
        for (number, content) in lines::meaningful(&text, &['#']) {
            let (key, value) = content.split_once([' ', '\t', '=']).unwrap_or((content, ""));
            let (key, value) = (key.to_lowercase(), value.trim_matches([' ', '\t', '=', '"']).to_owned());
            match &*key {
                "match" => *holds = condition(&value),
                "include" => {
                    for pattern in value.split_whitespace() {
                        for path in files(system, pattern.trim_matches('"'))? {
                            // A `Match` in an included file ends with the file.
                            let mut inside = *holds;
                            self.file(system, &path, depth + 1, &mut inside)?;
                        }
                    }
                }
                _ => self.lines.push(Line { key, value, place: lines::place(path, number), holds: *holds }),
            }
        }
        Ok(())
    }

    /// What holds for root.
    pub fn get(&self, key: &str, default: &str) -> Setting {
        let of = |holds: &[Holds]| self.lines.iter().find(|l| l.key == key && holds.contains(&l.holds));
        let sure = of(&[Holds::ForRoot]).or_else(|| of(&[Holds::Always]));
        let unsure = of(&[Holds::Perhaps]).map(|line| line.place.clone());
        Setting {
            value: sure.map_or(default.to_owned(), |line| line.value.to_lowercase()),
            place: sure.map(|line| line.place.clone()),
            unsure,
        }
    }

    /// The ports, with the places they are set at; 22 when none is.
    pub fn ports(&self) -> Vec<(String, Option<String>)> {
        let lines = self.lines.iter().filter(|line| line.key == "port");
        let ports: Vec<_> = lines.map(|line| (line.value.clone(), Some(line.place.clone()))).collect();
        if ports.is_empty() { vec![("22".to_owned(), None)] } else { ports }
    }
}

fn condition(value: &str) -> Holds {
    let words: Vec<&str> = value.split_whitespace().collect();
    match &words[..] {
        [all] if all.eq_ignore_ascii_case("all") => Holds::Always,
        [key, names] if key.eq_ignore_ascii_case("user") || key.eq_ignore_ascii_case("group") => root_in(names),
        _ => Holds::Perhaps,
    }
}

/// Whether a list of patterns has root; `!` excludes.
fn root_in(names: &str) -> Holds {
    let mut holds = Holds::Never;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if fnmatch(not, "root") => return Holds::Never,
            None if fnmatch(pattern, "root") => holds = Holds::ForRoot,
            _ => {}
        }
    }
    holds
}

/// The files of a pattern, sorted; only the last name may have `*` in it.
fn files(system: &dyn System, pattern: &str) -> Result<Vec<String>> {
    let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") };
    let (dir, last) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    if !last.contains(['*', '?']) {
        return Ok(vec![pattern]);
    }
    let names = system.list(dir)?.unwrap_or_default();
    Ok(names.iter().filter(|name| fnmatch(last, name)).map(|name| format!("{dir}/{name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn the_first_line_counts_and_blocks_count_before() {
        let system = Memory::new()
            .file("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nPort 22\nPort 2222\n#X y\nMatch User deploy,!root\n PermitRootLogin no\nMatch Address 10.0.0.0/8\n PubkeyAuthentication no\n")
            .file("/etc/ssh/sshd_config.d/50-cloud.conf", "permitrootlogin=Prohibit-Password\nMatch User root\nMaxSessions 1\n")
            .file("/etc/ssh/sshd_config.d/x.txt", "PermitRootLogin no\n");
        let config = Config::of(&system).unwrap();
        let root = config.get("permitrootlogin", "x");
        assert_eq!(
            (root.value.as_str(), root.place.as_deref()),
            ("prohibit-password", Some("/etc/ssh/sshd_config.d/50-cloud.conf:1"))
        );
        let key = config.get("pubkeyauthentication", "yes");
        assert_eq!((key.value.as_str(), key.unsure.as_deref()), ("yes", Some("/etc/ssh/sshd_config:9")));
        assert_eq!(config.ports().into_iter().map(|(port, _)| port).collect::<Vec<_>>(), ["22", "2222"]);
        let looped = Memory::new().file("/etc/ssh/sshd_config", "Include sshd_config\n");
        assert!(Config::of(&looped).unwrap_err().to_string().contains("include each other"));
        assert!(!Config::of(&Memory::new()).unwrap().present);
    }
}
