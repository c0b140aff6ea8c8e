//! Profiles in files of one's own: YAML.
//!
//! ```yaml
//! name: our-nodes
//! line: what our nodes must be
//! include: [kubeadm, cis-basics]       # built-in profiles
//! skip: [os.history]                   # checks of these that are left out
//! checks:
//!   - id: os.swap                      # one that is included, or one of Kiln's without parameters
//!     severity: warning
//!   - id: our.motd
//!     title: the message of the day is ours
//!     file: {path: /etc/motd, contains: "^Welcome"}
//!     hint: cp motd /etc/motd
//! ```

use kiln_spec::diag::{self, Diagnostic, did_you_mean};
use kiln_spec::source::{Source, Span};
use regex::Regex;
use serde_saphyr::{Location, Spanned};

use super::form::{
    Check, File, FileTest, KernelTest, NamedTest, PackageTest, PortTest, RunTest, Scalar, ServiceTest, SysctlTest,
    SystemdTest,
};
use super::{BUILT_IN, Profile, Rule};
use crate::family::FAMILIES;
use crate::test::VersionReq;
use crate::{Family, Test};

/// The largest file.
pub const MAX: u64 = 1 << 20;
/// The most checks of a file.
const MAX_CHECKS: usize = 5000;
/// The largest program that a pattern may become.
const MAX_PATTERN: usize = 1 << 20;

/// What is wrong with a profile file.
#[derive(Debug)]
pub struct ProfileError {
    source: Source,
    found: Vec<Diagnostic>,
}

impl ProfileError {
    /// All of it, each with its place and a caret.
    pub fn render(&self, color: bool) -> String {
        self.found.iter().map(|d| diag::render(d, &self.source, color)).collect::<Vec<_>>().join("\n")
    }
}

impl std::fmt::Display for ProfileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ProfileError {}

/// Reads a profile.
///
/// # Errors
/// The file is not YAML of the form above; all mistakes are told that can be told at once.
pub fn parse(source: Source) -> Result<Profile, ProfileError> {
    let file: File = match serde_saphyr::from_str(&source.text) {
        Ok(file) => file,
        Err(e) => {
            let span = e.location().map_or(Span::default(), |location| span(&source, location, 1));
            let text = e.without_snippet().to_string();
            let first = text.lines().next().unwrap_or("it is not YAML");
            // The place is shown below.
            let message = first.rsplit_once(" at line ").map_or(first, |(message, _)| message).to_owned();
            let found = vec![Diagnostic::error("Profile", span, message).hint(HINT)];
            return Err(ProfileError { source, found });
        }
    };
    let mut reader = Reader { source, found: Vec::new() };
    let profile = reader.profile(file);
    match reader.found.is_empty() {
        true => Ok(profile),
        false => Err(ProfileError { source: reader.source, found: reader.found }),
    }
}

const HINT: &str = "the form of such files: kiln node verify --help";

/// A place of a number of characters.
fn span(source: &Source, location: Location, length: usize) -> Span {
    let line = usize::try_from(location.line()).unwrap_or(1).max(1);
    let column = usize::try_from(location.column()).unwrap_or(1).max(1);
    let start: usize = source.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = source.text.get(start..).unwrap_or("");
    let at = start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(at, _)| at);
    Span::new(at, (at + length).min(source.text.len()).max(at))
}

struct Reader {
    source: Source,
    found: Vec<Diagnostic>,
}

impl Reader {
    fn place<T>(&self, word: &Spanned<T>, length: usize) -> Span {
        span(&self.source, word.referenced, length)
    }

    fn wrong(&mut self, word: &Spanned<String>, message: String, hint: Option<String>) {
        let place = self.place(word, word.value.len());
        let found = Diagnostic::error("Profile", place, message);
        self.found.push(match hint {
            Some(hint) => found.hint(hint),
            None => found,
        });
    }

    fn profile(&mut self, file: File) -> Profile {
        let mut rules: Vec<Rule> = Vec::new();
        for name in &file.include {
            match Profile::built_in(&name.value) {
                Some(profile) => {
                    for rule in profile.rules {
                        if !rules.iter().any(|known| known.id == rule.id) {
                            rules.push(rule);
                        }
                    }
                }
                None => {
                    let names = || BUILT_IN.iter().map(|profile| profile.name);
                    let hint = did_you_mean(&name.value, names()).map(|near| format!("did you mean `{near}`?"));
                    let all = || format!("there are {}", names().collect::<Vec<_>>().join(", "));
                    let message = format!("there is no built-in profile `{}`", name.value);
                    self.wrong(name, message, Some(hint.unwrap_or_else(all)));
                }
            }
        }
        for id in &file.skip {
            let before = rules.len();
            rules.retain(|rule| rule.id != id.value && !below(&rule.id, &id.value));
            if rules.len() == before {
                let hint = did_you_mean(&id.value, rules.iter().map(|rule| rule.id.as_str()));
                let hint = hint.map(|near| format!("did you mean `{near}`?"));
                self.wrong(id, format!("no included profile has a check `{}`", id.value), hint);
            }
        }
        if file.checks.len() > MAX_CHECKS {
            let message = format!("{} checks are more than the {MAX_CHECKS} that are accepted", file.checks.len());
            self.found.push(Diagnostic::error("Profile", Span::default(), message));
        }
        let mut own: Vec<String> = Vec::new();
        for check in file.checks.into_iter().take(MAX_CHECKS) {
            if own.contains(&check.id.value) {
                self.wrong(&check.id, format!("there are two checks `{}`", check.id.value), None);
                continue;
            }
            own.push(check.id.value.clone());
            self.check(check, &mut rules);
        }
        let fallback = || {
            let file = self.source.name.rsplit('/').next().unwrap_or("");
            file.trim_end_matches(".yaml").trim_end_matches(".yml").to_owned()
        };
        let name = file.name.unwrap_or_else(fallback);
        Profile { line: file.line.unwrap_or_default(), name, rules }
    }

    fn check(&mut self, check: Check, rules: &mut Vec<Rule>) {
        let id = check.id.value.clone();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if id.is_empty() || id.len() > 200 || !id.chars().all(plain) {
            self.wrong(&check.id, format!("`{id}` is no id: letters, digits, dots and dashes"), None);
            return;
        }
        let tests = self.tests(&check);
        let Some(mut tests) = tests else { return };
        let known = rules.iter().position(|rule| rule.id == id);
        let rule = match (tests.pop(), known) {
            (Some(_), _) if !tests.is_empty() => {
                self.wrong(&check.id, format!("`{id}` asks several things"), Some("make a check of each".to_owned()));
                return;
            }
            (Some((title, test)), known) => {
                if let Some(at) = known {
                    rules.remove(at);
                }
                Rule::new(id, title, test)
            }
            (None, Some(at)) => rules.remove(at),
            (None, None) => match Family::of(&id).filter(|family| family.ask.is_some() && family.id == id) {
                Some(_) => Rule::of(&id),
                None => return self.no_test(&check.id),
            },
        };
        rules.push(Rule {
            severity: check.severity.unwrap_or(rule.severity),
            title: check.title.unwrap_or(rule.title),
            hint: check.hint.or(rule.hint),
            ..rule
        });
    }

    /// A check that asks nothing, and is none of Kiln's.
    fn no_test(&mut self, id: &Spanned<String>) {
        if Family::of(&id.value).is_some() {
            let message = format!("`{}` needs to say what it asks", id.value);
            return self.wrong(id, message, Some(KINDS.to_owned()));
        }
        let asks = FAMILIES.iter().filter(|family| family.ask.is_some()).map(|family| family.id);
        let near = did_you_mean(&id.value, asks).map(|near| format!("did you mean `{near}`?"));
        let message = format!("`{}` asks nothing, and is no check of Kiln's", id.value);
        self.wrong(id, message, Some(near.unwrap_or_else(|| KINDS.to_owned())));
    }

    /// The questions of a check with their titles; `None` when one of them is wrong.
    fn tests(&mut self, check: &Check) -> Option<Vec<(String, Test)>> {
        let before = self.found.len();
        let mut all = Vec::new();
        if let Some(file) = &check.file {
            all.extend(self.file(file));
        }
        if let Some(directory) = &check.directory
            && let Some(path) = self.path(&directory.path)
        {
            all.push(match directory.empty {
                true => (format!("{path} is empty"), Test::DirEmpty { path }),
                false => (format!("{path} is there"), Test::FileExists { path }),
            });
        }
        if let Some(package) = &check.package {
            all.extend(self.package(package));
        }
        let not = |absent: bool| if absent { "not " } else { "" };
        if let Some(NamedTest { name, absent }) = &check.command {
            let test = Test::Command { name: name.clone(), present: !absent };
            all.push((format!("the command {name} is {}installed", not(*absent)), test));
        }
        if let Some(NamedTest { name, absent }) = &check.user {
            let test = Test::User { name: name.clone(), present: !absent };
            all.push((format!("the user {name} is {}there", not(*absent)), test));
        }
        if let Some(NamedTest { name, absent }) = &check.group {
            let test = Test::Group { name: name.clone(), present: !absent };
            all.push((format!("the group {name} is {}there", not(*absent)), test));
        }
        if let Some(SysctlTest { key, equals, default }) = &check.sysctl {
            let key = crate::read::sysctl::canonical(key);
            let title = format!("{key} is {}", equals.text());
            all.push((
                title,
                Test::Sysctl { key, values: vec![equals.text()], default: default.as_ref().map(Scalar::text) },
            ));
        }
        all.extend(check.service.as_ref().and_then(|service| self.service(&check.id, service)));
        if let Some(run) = &check.run {
            all.extend(self.run(&check.id, run));
        }
        if let Some(PortTest { number, listening }) = check.port {
            let title = if listening { "something listens on port" } else { "nothing listens on port" };
            all.push((format!("{title} {number}"), Test::Port { port: number, listening }));
        }
        if let Some(name) = &check.module {
            all.push((format!("the module {name} is loaded at boot"), Test::Module { name: name.clone() }));
        }
        if let Some(kernel) = &check.kernel {
            all.extend(self.kernel(&check.id, kernel));
        }
        if let Some(SystemdTest { min }) = check.systemd {
            all.push((format!("systemd is {min} or newer"), Test::SystemdMin { version: min }));
        }
        if let Some(names) = &check.images {
            all.push((format!("{} are preloaded", names.join(", ")), Test::Images { names: names.clone() }));
        }
        (self.found.len() == before).then_some(all)
    }

    fn path(&mut self, path: &Spanned<String>) -> Option<String> {
        if path.value.starts_with('/') && !path.value.contains('\0') {
            return Some(path.value.clone());
        }
        self.wrong(path, format!("`{}` does not begin with a slash", path.value), None);
        None
    }

    fn pattern(&mut self, pattern: &Spanned<String>) -> Option<Regex> {
        match regex::RegexBuilder::new(&pattern.value).size_limit(MAX_PATTERN).build() {
            Ok(regex) => Some(regex),
            Err(e) => {
                let text = e.to_string();
                let why = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
                self.wrong(pattern, format!("`{}` is no pattern: {why}", pattern.value), None);
                None
            }
        }
    }

    fn file(&mut self, file: &FileTest) -> Option<(String, Test)> {
        let path = self.path(&file.path)?;
        let asked = [
            file.exists.is_some(),
            file.contains.is_some(),
            file.lacks.is_some(),
            file.mode.is_some() || file.owner.is_some(),
        ];
        if asked.iter().filter(|asked| **asked).count() != 1 {
            let message = "a check of a file asks one of exists, contains, lacks, or mode and owner".to_owned();
            self.wrong(&file.path, message, None);
            return None;
        }
        if let Some(exists) = file.exists {
            return Some(match exists {
                true => (format!("{path} is there"), Test::FileExists { path }),
                false => (format!("{path} is not there"), Test::FileAbsent { path }),
            });
        }
        if let Some((text, wanted)) =
            file.contains.as_ref().map(|t| (t, true)).or(file.lacks.as_ref().map(|t| (t, false)))
        {
            let pattern = self.pattern(text)?;
            let title = format!("{path} has {} line like `{pattern}`", if wanted { "a" } else { "no" });
            return Some((title, Test::FileContains { path, pattern, wanted }));
        }
        let mode = match &file.mode {
            Some(mode) => Some(self.mode(mode)?),
            None => None,
        };
        let owner = match &file.owner {
            Some(owner) => Some(self.owner(owner)?),
            None => None,
        };
        Some((format!("{path} has its mode and owner"), Test::FileMode { path, mode, owner }))
    }

    fn mode(&mut self, mode: &Spanned<Scalar>) -> Option<u32> {
        let text = mode.value.text();
        let digits = text.trim_start_matches("0o");
        let value = u32::from_str_radix(digits, 8).ok().filter(|value| *value <= 0o7777);
        if value.is_none() {
            let place = self.place(mode, text.len());
            let found = Diagnostic::error("Profile", place, format!("`{text}` is no mode"));
            self.found.push(found.hint("write it in octal: \"0644\""));
        }
        value
    }

    fn owner(&mut self, owner: &Spanned<String>) -> Option<(u32, u32)> {
        let parsed = owner.value.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        if parsed.is_none() {
            let hint = Some("write numbers, user and group: 0:0".to_owned());
            self.wrong(owner, format!("`{}` is no owner", owner.value), hint);
        }
        parsed
    }

    fn package(&mut self, package: &PackageTest) -> Option<(String, Test)> {
        let PackageTest { name, absent, version } = package;
        let wanted = match version {
            None => None,
            Some(version) => {
                let text = version.value.text();
                let parsed = VersionReq::parse(&text).filter(|_| !absent);
                if parsed.is_none() {
                    let place = self.place(version, text.len());
                    let message = format!("`{text}` is no version that an installed package can have");
                    self.found
                        .push(Diagnostic::error("Profile", place, message).hint("write it as `>= 1.2`, or `1.2`"));
                    return None;
                }
                parsed
            }
        };
        let title = match &wanted {
            Some(version) => format!("the package {name} is installed, {version}"),
            None if *absent => format!("the package {name} is not installed"),
            None => format!("the package {name} is installed"),
        };
        Some((title, Test::Package { name: name.clone(), present: !absent, version: wanted }))
    }

    fn service(&mut self, id: &Spanned<String>, service: &ServiceTest) -> Option<(String, Test)> {
        let ServiceTest { name, enabled, running } = service;
        let say = |wanted: bool, yes: &str, no: &str| if wanted { yes.to_owned() } else { no.to_owned() };
        let parts: Vec<String> = [
            enabled.map(|wanted| say(wanted, "starts at boot", "does not start at boot")),
            running.map(|wanted| say(wanted, "runs", "does not run")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            self.wrong(id, "a check of a service asks enabled, running, or both".to_owned(), None);
            return None;
        }
        let title = format!("{name} {}", parts.join(" and "));
        Some((title, Test::Service { name: name.clone(), enabled: *enabled, running: *running }))
    }

    fn run(&mut self, id: &Spanned<String>, run: &RunTest) -> Option<(String, Test)> {
        if run.command.is_empty() {
            self.wrong(id, "`command` is a list of a program and its arguments".to_owned(), None);
            return None;
        }
        let stdout = match &run.stdout {
            Some(pattern) => Some(self.pattern(pattern)?),
            None => None,
        };
        let title = format!("`{}` ends with {}", run.command.join(" "), run.exit);
        Some((title, Test::Run { command: run.command.clone(), exit: run.exit, stdout }))
    }

    fn kernel(&mut self, id: &Spanned<String>, kernel: &KernelTest) -> Option<(String, Test)> {
        match kernel {
            KernelTest { min: Some(min), config: None, matches: None } => {
                let version = min.text();
                Some((format!("the kernel is {version} or newer"), Test::KernelMin { version }))
            }
            KernelTest { min: None, config: Some(option), matches: None } => {
                let option = option.trim_start_matches("CONFIG_").to_owned();
                Some((format!("the kernel has CONFIG_{option}"), Test::KernelConfig { options: vec![option] }))
            }
            KernelTest { min: None, config: None, matches: Some(text) } => {
                let pattern = self.pattern(text)?;
                Some((format!("the kernel is like `{pattern}`"), Test::KernelMatches { patterns: vec![pattern] }))
            }
            _ => {
                self.wrong(id, "a check of the kernel asks one of min, config and matches".to_owned(), None);
                None
            }
        }
    }
}

/// What checks can ask.
const KINDS: &str = "say one of file, directory, package, command, sysctl, service, run, port, module, user, group, kernel, systemd, images";

/// Whether an id is of a family or group that another names.
fn below(id: &str, of: &str) -> bool {
    id.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;

    fn read(text: &str) -> Result<Profile, String> {
        parse(Source { name: "own.yaml".to_owned(), text: text.to_owned() }).map_err(|e| e.to_string())
    }

    #[test]
    fn included_checks_are_changed_and_own_ones_added() {
        let text = r#"
line: ours
include: [cis-basics]
skip: [os.files, os.cores]
checks:
  - id: os.history
    severity: error
  - id: os.kernel.btf
  - id: our.motd
    title: the motd is ours
    file: {path: /etc/motd, contains: "^Welcome"}
  - id: our.mode
    file: {path: /etc/shadow, mode: "0640", owner: "0:42"}
  - id: our.curl
    package: {name: curl, version: ">= 7.88"}
  - id: our.swappiness
    severity: warning
    sysctl: {key: vm.swappiness, equals: 1, default: 60}
  - id: our.run
    run: {command: [crictl, ps], stdout: x}
  - id: our.port
    port: {number: 22, listening: true}
  - id: our.kernel
    kernel: {min: 5.4}
"#;
        let profile = read(text).unwrap();
        assert_eq!((profile.name.as_str(), profile.line.as_str()), ("own", "ours"));
        let rule = |id: &str| profile.rules.iter().find(|rule| rule.id == id);
        assert_eq!(rule("os.history").unwrap().severity, Severity::Error);
        assert_eq!(rule("our.motd").unwrap().title, "the motd is ours");
        assert_eq!(rule("our.curl").unwrap().title, "the package curl is installed, >= 7.88");
        assert_eq!(rule("our.kernel").unwrap().title, "the kernel is 5.4 or newer");
        assert!(matches!(
            &rule("our.mode").unwrap().test,
            Test::FileMode { mode: Some(0o640), owner: Some((0, 42)), .. }
        ));
        assert!(rule("os.cores").is_none() && rule("os.files.passwd").is_none());
        assert_eq!(read("").unwrap_or_else(|e| panic!("{e}")).rules.len(), 0);
    }

    #[test]
    fn mistakes_have_places_and_hints() {
        insta::assert_snapshot!(read("include: [kubeadmin]\nskip: [x]\nchecks:\n  - id: os.swop\n  - id: os.modules-load.x\n  - id: a\n    file: {path: etc/motd, exists: true}\n  - id: b\n    file: {path: /etc/motd, contains: \"(\"}\n  - id: b\n    module: x\n  - id: c\n    file: {path: /x, mode: \"9\"}\n").unwrap_err(), @r#"
error: there is no built-in profile `kubeadmin`
 --> own.yaml:1:11
  |
1 | include: [kubeadmin]
  |           ^^^^^^^^^
hint: did you mean `kubeadm`?

error: no included profile has a check `x`
 --> own.yaml:2:8
  |
2 | skip: [x]
  |        ^

error: `os.swop` asks nothing, and is no check of Kiln's
 --> own.yaml:4:9
  |
4 |   - id: os.swop
  |         ^^^^^^^
hint: did you mean `os.swap`?

error: `os.modules-load.x` needs to say what it asks
 --> own.yaml:5:9
  |
5 |   - id: os.modules-load.x
  |         ^^^^^^^^^^^^^^^^^
hint: say one of file, directory, package, command, sysctl, service, run, port, module, user, group, kernel, systemd, images

error: `etc/motd` does not begin with a slash
 --> own.yaml:7:18
  |
7 |     file: {path: etc/motd, exists: true}
  |                  ^^^^^^^^

error: `(` is no pattern: unclosed group
 --> own.yaml:9:39
  |
9 |     file: {path: /etc/motd, contains: "("}
  |                                       ^

error: there are two checks `b`
  --> own.yaml:10:9
   |
10 |   - id: b
   |         ^

error: `9` is no mode
  --> own.yaml:13:28
   |
13 |     file: {path: /x, mode: "9"}
   |                            ^
hint: write it in octal: "0644"
"#);
        insta::assert_snapshot!(read("checks:\n  - id: a\n    modul: x\n").unwrap_err(), @r"
error: unknown field `modul`, expected one of id, title, severity, hint, file, directory, package, command, sysctl, service, run, port, module, user, group, kernel, systemd, images
 --> own.yaml:3:5
  |
3 |     modul: x
  |     ^
hint: the form of such files: kiln node verify --help
");
        insta::assert_snapshot!(read("checks: [\n").unwrap_err(), @r"
error: unclosed bracket '['
 --> own.yaml:1:9
  |
1 | checks: [
  |         ^
hint: the form of such files: kiln node verify --help
");
        insta::assert_snapshot!(read("checks:\n  - id: a\n    severity: fatal\n    module: x\n").unwrap_err(), @r"
error: unknown variant `fatal`, expected one of error, warning
 --> own.yaml:3:15
  |
3 |     severity: fatal
  |               ^
hint: the form of such files: kiln node verify --help
");
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = format!(
            "a: &a [x]\n{}checks: *z\n",
            ('b'..='z')
                .map(|c| {
                    let before = char::from(u8::try_from(u32::from(c) - 1).unwrap());
                    format!("{c}: &{c} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>()
        );
        assert!(read(&bomb).is_err());
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(
            read(&format!("checks:\n- id: a\n  file: {{path: /a, contains: \"{}\"}}\n", "(a{1000}){1000}"))
                .unwrap_err()
                .contains("no pattern")
        );
    }
}
