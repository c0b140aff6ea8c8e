//! A Dockerfile and a context from a seed: a grammar of the instructions, with weights.
//!
//! The generator remembers what it made, so that most of what it refers to exists: only few builds should fail. What
//! `docs/deviations.md` lists is not generated: names without an entry in /etc/passwd for `--chown`, files named
//! `.wh.`, `--exclude` of what the source itself is, numbers of stages in mounts and `--target`, `..` in WORKDIR, names of
//! labels that are empty.
//!
//! [`context`] files to copy     [`words`] values and expansions     [`copy`] COPY and ADD
//! [`commands`] RUN              [`metadata`] the rest               [`paths`] where things are in images
//!
//! Adding an instruction: a function, and its row in [`INSTRUCTIONS`].

mod commands;
mod context;
mod copy;
mod metadata;
mod paths;
mod words;

use crate::random::Random;

use super::bases::{BASES, Base};
use super::case::{Case, Item};

/// What is being written.
#[derive(Debug)]
pub(super) struct Generator {
    random: Random,
    context: Vec<Item>,
    /// Stages before this one.
    stages: Vec<Stage>,
    /// The stage being written.
    stage: Stage,
    /// Variables declared before the first FROM.
    globals: Vec<&'static str>,
    lines: Vec<String>,
    options: Vec<String>,
}

/// What is known of a stage.
#[derive(Debug, Clone)]
struct Stage {
    name: Option<String>,
    shell: bool,
    odd: bool,
    /// Paths that something was put at.
    paths: Vec<String>,
}

type Write = fn(&mut Generator) -> String;

/// Instructions and their weights.
const INSTRUCTIONS: [(usize, Write); 20] = [
    (20, Generator::run),
    (6, Generator::run_heredoc),
    (6, Generator::run_mount),
    (22, Generator::copy),
    (10, Generator::copy_from),
    (4, Generator::copy_heredoc),
    (8, Generator::add),
    (8, Generator::env),
    (6, Generator::arg),
    (8, Generator::workdir),
    (5, Generator::user),
    (2, Generator::shell),
    (3, Generator::label),
    (2, Generator::expose),
    (2, Generator::volume),
    (2, Generator::cmd),
    (2, Generator::entrypoint),
    (1, Generator::healthcheck),
    (1, Generator::stopsignal),
    (1, Generator::onbuild),
];

/// The case of a seed.
pub(super) fn case(seed: u64) -> Case {
    let first = Stage { name: None, shell: false, odd: false, paths: Vec::new() };
    let mut g = Generator {
        // Seeds that follow each other are to be unlike from the first number on.
        random: Random::new(Random::new(seed).next()),
        context: Vec::new(),
        stages: Vec::new(),
        stage: first,
        globals: Vec::new(),
        lines: Vec::new(),
        options: Vec::new(),
    };
    g.fill_context();
    g.head();
    let stages = *g.random.weighted(&[(55, 1), (30, 2), (15, 3)]);
    for number in 0..stages {
        g.from(number);
        for _ in 0..2 + g.random.below(if stages == 1 { 8 } else { 5 }) {
            g.instruction();
        }
        g.stages.push(g.stage.clone());
    }
    if stages > 1 && g.random.chance(10) {
        let target = g.stages[g.random.below(stages)].name.clone();
        g.options.extend(target.map(|name| format!("--target={name}")));
    }
    let windows = g.random.chance(1);
    let lines = if windows { g.lines.iter().map(|l| l.replace('\n', "\r\n") + "\r").collect() } else { g.lines };
    Case { seed, context: g.context, lines, options: g.options }
}

impl Generator {
    /// Global arguments, and options for arguments.
    fn head(&mut self) {
        for name in ["G", "BASE"] {
            if self.random.chance(25) {
                let value = if name == "BASE" { self.base_name().to_owned() } else { self.value() };
                self.lines.push(format!("ARG {name}={value}"));
                self.globals.push(name);
            }
        }
        if self.random.chance(15) {
            let option = format!("--build-arg={}={}", self.random.pick(&["A", "B", "G"]), self.literal());
            self.options.push(option);
        }
        if self.random.chance(4) {
            let option = format!("--label=opt={}", self.literal());
            self.options.push(option);
        }
    }

    fn base_name(&mut self) -> &'static str {
        self.base().name
    }

    fn base(&mut self) -> Base {
        *self.random.weighted(&[
            (40, BASES[0]),
            (25, BASES[1]),
            (12, BASES[2]),
            (8, BASES[3]),
            (6, BASES[4]),
            (9, BASES[5]),
        ])
    }

    fn from(&mut self, number: usize) {
        let earlier = (number > 0 && self.random.chance(35)).then(|| self.random.below(number));
        let (source, mut stage) = match earlier.map(|i| self.stages[i].clone()) {
            Some(Stage { name: Some(name), shell, odd, paths }) => (name, Stage { name: None, shell, odd, paths }),
            _ if self.globals.contains(&"BASE") && self.random.chance(60) => {
                let form = *self.random.pick(&["$BASE", "${BASE}", "${BASE:-odd}", "\"${BASE}\""]);
                (form.to_owned(), Stage { name: None, shell: true, odd: false, paths: Vec::new() })
            }
            _ => {
                let base = self.base();
                let form =
                    if self.random.chance(5) { format!("${{NONE:-{}}}", base.name) } else { base.name.to_owned() };
                (form, Stage { name: None, shell: base.shell, odd: base.odd, paths: Vec::new() })
            }
        };
        let mut line = format!("FROM {source}");
        if self.random.chance(60) {
            let name = format!("{}{number}", self.random.pick(&["s", "build-", "x_", "y."]));
            line += &format!(" {} {}", self.random.pick(&["AS", "as", "As"]), self.cased(&name));
            stage.name = Some(name);
        }
        self.stage = stage;
        self.push(line);
    }

    /// One instruction that makes sense here.
    fn instruction(&mut self) {
        let line = loop {
            let write = *self.random.weighted(&INSTRUCTIONS);
            let line = write(self);
            if self.stage.shell || !line.starts_with("RUN") {
                break line;
            }
        };
        self.push(line);
    }

    /// Adds an instruction, now and then in another dress.
    fn push(&mut self, line: String) {
        if self.random.chance(4) {
            self.lines.push(self.random.pick(&["# a comment", "", "  # indented", "#"]).to_string());
        }
        let dressed = match self.random.below(40) {
            0 => format!("  {line}"),
            1 => line.split_once(' ').map_or(line.clone(), |(word, rest)| format!("{} {rest}", word.to_lowercase())),
            2 if !line.contains("<<") => format!("{line}  "),
            3 if !line.contains(['\n', '\\', '\'', '"', '[']) => line.replacen(' ', " \\\n  ", 1),
            4 if !line.contains(['\n', '\\', '\'', '"', '[']) => line.replacen(' ', " \\\n# between\n\n  ", 1),
            _ => line,
        };
        self.lines.push(dressed);
    }

    /// Now and then in capitals.
    fn cased(&mut self, name: &str) -> String {
        if self.random.chance(8) { name.to_uppercase() } else { name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_case() {
        assert_eq!(case(5).show(), case(5).show());
        assert_ne!(case(5).show(), case(6).show());
    }

    #[test]
    fn everything_is_generated() {
        let all: String = (0..400).map(|seed| case(seed).show()).collect();
        for wanted in [
            "ADD",
            "ARG",
            "CMD",
            "COPY",
            "ENTRYPOINT",
            "ENV",
            "EXPOSE",
            "FROM",
            "HEALTHCHECK",
            "LABEL",
            "ONBUILD",
            "RUN",
            "SHELL",
            "STOPSIGNAL",
            "USER",
            "VOLUME",
            "WORKDIR",
            "--chown=",
            "--chmod=",
            "--link",
            "--exclude=",
            "--from=",
            "--target=",
            "--mount=type=bind",
            "--mount=type=cache",
            "--mount=type=tmpfs",
            "--mount=type=secret",
            "<<EOF",
            "<<-",
            ".dockerignore",
            "--network=",
            "${",
            "tar",
            "pipe",
            "-> ",
        ] {
            assert!(all.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn most_of_it_parses() {
        let parses = |seed: &u64| {
            let text = case(*seed).dockerfile("n");
            let source = kiln_spec::source::Source { name: "Dockerfile".to_owned(), text };
            kiln_spec::dockerfile::parse(&source).1.iter().all(|d| !d.is_error())
        };
        let parsed = (0..300).filter(parses).count();
        assert!(parsed > 270, "{parsed} of 300");
    }
}
