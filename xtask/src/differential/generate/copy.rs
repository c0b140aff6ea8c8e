//! COPY and ADD: sources and destinations in all forms, and every flag.

use super::super::case::Kind;
use super::Generator;

const OWNERS: [&str; 12] = [
    "0",
    "1000",
    "app",
    "app:staff",
    "1:2",
    "0:50",
    "nobody",
    "root:root",
    "1234:app",
    "${UNDEF:-app}",
    "app:1",
    "65534",
];
const MODES: [&str; 16] = [
    "755",
    "0644",
    "600",
    "4755",
    "1777",
    "700",
    "0",
    "u=rwX,go=rX",
    "a+x",
    "g-w",
    "u+s",
    "go=",
    "u=rw,g=r,o=",
    "+x",
    "a=rX,u+w",
    "${M:-750}",
];
const PATTERNS: [&str; 16] = [
    "*", "d*", "*.txt", "?", "[a-c]*", "d/*", "*/a.txt", "d/*/*", "[^a]*.md", "**", "**/*.txt", "*.md", "l*", "arr/*",
    ".h*", "[[]x]",
];
const EXCLUDED: [&str; 8] = ["*.md", "**/*.txt", "e", "d/e", "a.txt", "*/deep.txt", "!k.md", "e/*"];

impl Generator {
    /// `COPY` from the context.
    pub(super) fn copy(&mut self) -> String {
        let mut flags = self.flags();
        if self.random.chance(8) {
            flags += &format!("--exclude={} ", self.random.pick(&EXCLUDED));
        }
        let count = *self.random.weighted(&[(70, 1), (20, 2), (10, 3)]);
        let mut sources: Vec<String> = (0..count).map(|_| self.source()).collect();
        if flags.contains("--exclude") {
            // Kiln leaves out sources that are excluded themselves, and BuildKit stumbles over links in the root.
            sources = vec!["d".to_owned()];
        }
        self.transfer("COPY", &flags, sources)
    }

    /// `ADD`: archives mostly.
    pub(super) fn add(&mut self) -> String {
        let flags = self.flags();
        let archives = self.context.iter().filter(|i| matches!(i.kind, Kind::Archive(..)));
        let archives: Vec<String> = archives.map(|i| i.path.clone()).collect();
        let source = if archives.is_empty() || self.random.chance(20) {
            self.source()
        } else {
            self.random.pick(&archives).clone()
        };
        self.transfer("ADD", &flags, vec![source])
    }

    /// `COPY --from` a stage, an image, or what is neither.
    pub(super) fn copy_from(&mut self) -> String {
        let flags = self.flags();
        let (from, shell, odd, paths) = if !self.stages.is_empty() && self.random.chance(75) {
            let number = self.random.below(self.stages.len());
            let stage = self.stages[number].clone();
            let name = stage.name.map(|n| self.cased(&n)).filter(|_| self.random.chance(80));
            (name.unwrap_or(number.to_string()), stage.shell, stage.odd, stage.paths)
        } else {
            let odd = self.random.chance(70);
            ((if odd { "odd" } else { "busybox" }).to_owned(), true, odd, Vec::new())
        };
        // What is known of the other stage, for a moment.
        let here = std::mem::take(&mut self.stage.paths);
        let (was_shell, was_odd) = (self.stage.shell, self.stage.odd);
        (self.stage.paths, self.stage.shell, self.stage.odd) = (paths, shell, odd);
        let mut source = self.sure();
        (self.stage.paths, self.stage.shell, self.stage.odd) = (here, was_shell, was_odd);
        source = match self.random.below(12) {
            0 => format!("{source}/"),
            1 => source.trim_start_matches('/').to_owned(),
            2 => format!("{source}*"),
            3 => format!("{source}/."),
            4 => format!("../{source}"),
            _ => source,
        };
        if !self.stage.shell && from == "busybox" && self.random.chance(60) {
            self.stage.shell = true;
            // With /dev, /proc and /sys, which BuildKit else leaves in the layer of the first RUN.
            return "COPY --from=busybox / /".to_owned();
        }
        self.transfer("COPY", &format!("--from={from} {flags}"), vec![source])
    }

    /// `COPY` of texts in the Dockerfile.
    pub(super) fn copy_heredoc(&mut self) -> String {
        let flags = self.flags();
        let word = *self.random.pick(&["COPY", "COPY", "ADD"]);
        let body = format!("line {}\n\ttab $A '{}'", self.expansion(0), self.literal());
        let destination = self.destination();
        match self.random.below(5) {
            0 => format!("{word} {flags}<<\"EOF\" {destination}\n{body}\nEOF"),
            1 => format!("{word} {flags}<<-EOF {destination}\n\t{body}\n\tEOF"),
            2 => {
                format!("{word} {flags}<<one <<'two' {}/\n{body}\none\n{body}\ntwo", destination.trim_end_matches('/'))
            }
            3 => format!("{word} {flags}<<EOF {destination}\nEOF"),
            _ => format!("{word} {flags}<<EOF {destination}\n{body}\\$A\nEOF"),
        }
    }

    fn transfer(&mut self, word: &str, flags: &str, mut sources: Vec<String>) -> String {
        let mut destination = self.destination();
        // Several sources want a slash; now and then they get none.
        if (sources.len() > 1 || sources.iter().any(|s| s.contains('*'))) && self.random.chance(85) {
            destination = format!("{}/", destination.trim_end_matches('/'));
        }
        let spaces = sources.iter().any(|s| s.contains(' '));
        if spaces || self.random.chance(8) {
            sources.push(destination);
            let words: Vec<String> = sources.iter().map(|s| format!("\"{s}\"")).collect();
            return format!("{word} {flags}[{}]", words.join(", "));
        }
        format!("{word} {flags}{} {destination}", sources.join(" "))
    }

    /// A source in the context.
    pub(super) fn source(&mut self) -> String {
        if self.random.chance(18) {
            let pattern = (*self.random.pick(&PATTERNS)).to_owned();
            // See docs/deviations.md on patterns behind an empty directory.
            let before = pattern.split_once('/').map(|(before, _)| format!("{before}/"));
            let before = before.filter(|b| !b.contains('*'));
            if before.is_none_or(|dir| self.context.iter().any(|item| item.path.starts_with(&dir))) {
                return pattern;
            }
        }
        if self.context.is_empty() || self.random.chance(6) {
            let odd =
                *self.random.weighted(&[(10, "."), (8, "./"), (8, "/"), (4, "nothing*"), (1, "nothing"), (6, "./.")]);
            return odd.to_owned();
        }
        let at = self.random.below(self.context.len());
        let path = self.context[at].path.replace('[', "[[]");
        // What is ignored is not found: few sources are.
        let ignored = self.has(".dockerignore");
        match self.random.below(24) {
            _ if ignored && self.random.chance(60) => ".".to_owned(),
            0 => format!("./{path}"),
            1 => format!("/{path}"),
            2 => format!("../{path}"),
            3 => format!("d/../../{path}"),
            3..=6 if !matches!(self.context[at].kind, Kind::Dir) && self.random.chance(90) => path,
            4..=6 => format!("{path}/"),
            7 => format!("{path}/."),
            8 => format!("${{UNDEF}}{path}"),
            _ => path,
        }
    }

    /// Flags of COPY and ADD, each with a space behind.
    fn flags(&mut self) -> String {
        let mut flags = String::new();
        if self.random.chance(22) && (self.stage.shell || self.random.chance(10)) {
            flags += &format!("--chown={} ", self.random.pick(&OWNERS));
        } else if self.random.chance(8) {
            flags += &format!("--chown={} ", self.random.pick(&["5", "5:6"]));
        }
        if self.random.chance(22) {
            flags += &format!("--chmod={} ", self.random.pick(&MODES));
        }
        if self.random.chance(12) {
            flags += *self.random.pick(&["--link ", "--link=true ", "--link=false "]);
        }
        flags
    }
}
