//! The workloads, generated: the same bytes on every machine.

use std::fs;
use std::path::Path;

use super::Mode;
use super::content;
use crate::error::Error;

/// A build context and what it shows.
#[derive(Debug)]
pub(super) struct Workload {
    /// As given on the command line.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) about: &'static str,
    /// The Dockerfile, for a base.
    dockerfile: fn(&str) -> String,
    /// Fills the context.
    fill: fn(&Path) -> Result<(), Error>,
    /// What changes in the mode of that name.
    change: Option<Change>,
    /// Stages that are worth running at once, for builders that must be told.
    pub(super) stages: u32,
    /// Whether it installs packages, and so needs an archive.
    pub(super) packages: bool,
}

/// A file of the context, and what it holds in run `n`; in run 0 it is as it was.
#[derive(Debug)]
struct Change {
    file: &'static str,
    holds: fn(u32) -> Vec<u8>,
}

const PLAIN: Workload = Workload {
    name: "",
    about: "",
    dockerfile: |_| String::new(),
    fill: |_| Ok(()),
    change: None,
    stages: 1,
    packages: false,
};

const WORKLOADS: [Workload; 9] = [
    Workload {
        name: "w1",
        about: "the cost of a step",
        dockerfile: steps,
        fill: one_file,
        change: Some(Change { file: "app.conf", holds: |n| format!("listen = {}\n", 9000 + n).into_bytes() }),
        ..PLAIN
    },
    Workload {
        name: "w2",
        about: "many files: 50,000 in 1,000 packages",
        dockerfile: |base| format!("FROM {base}\n{MANY}"),
        fill: content::many_files,
        change: Some(Change { file: FIRST, holds: |n| format!("changed {n}\n").into_bytes() }),
        ..PLAIN
    },
    Workload {
        name: "w3",
        about: "many bytes: 1 GiB",
        dockerfile: |base| format!("FROM {base}\nCOPY data /srv/data\n"),
        fill: content::many_bytes,
        change: Some(Change { file: "data/note", holds: |n| format!("changed {n}\n").into_bytes() }),
        ..PLAIN
    },
    Workload { name: "w4", about: "what a RUN changed: 20,000 files", dockerfile: changes, ..PLAIN },
    Workload { name: "w5", about: "six stages that do not need each other", dockerfile: stages, stages: 6, ..PLAIN },
    Workload { name: "w7", about: "nothing but configuration: is the base moved?", dockerfile: labels, ..PLAIN },
    Workload {
        name: "w8",
        about: "a real application: packages from a caching proxy, and a page",
        dockerfile: application,
        fill: |context| content::write(&context.join("index.html"), PAGE),
        change: Some(Change { file: "index.html", holds: |n| format!("<h1>Changed {n}</h1>\n").into_bytes() }),
        packages: true,
        ..PLAIN
    },
    Workload { name: "w9", about: "a long file: 60 steps", dockerfile: long, ..PLAIN },
    Workload {
        name: "w10",
        about: "ten steps on a tree of 50,000 files: does a step cost more on a large tree?",
        dockerfile: grown,
        fill: content::many_files,
        change: Some(Change { file: FIRST, holds: |n| format!("changed {n}\n").into_bytes() }),
        ..PLAIN
    },
];

const FIRST: &str = "packages/p0000/f00";
const MANY: &str = "COPY packages /srv/packages\nRUN touch /srv/packages/p0000/f00\n";
const PAGE: &[u8] = b"<h1>A page</h1>\n";

/// The workloads of these names, or all.
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Workload>, Error> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let find = |name: &String| {
        // w6 is what w2 costs when it is built again.
        let name = name.to_ascii_lowercase().replace("w6", "w2");
        WORKLOADS.iter().find(|w| w.name == name).ok_or(Error::NoWorkload(name))
    };
    let mut found = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    found.dedup_by_key(|w| w.name);
    Ok(found)
}

impl Workload {
    /// Writes the context, with a Dockerfile that starts from `base`.
    pub(super) fn write(&self, context: &Path, base: &str) -> Result<(), Error> {
        content::make(context)?;
        content::write(&context.join("Dockerfile"), (self.dockerfile)(base).as_bytes())?;
        (self.fill)(context)?;
        match &self.change {
            // The file that changes is not written by every filler, and is changed often.
            Some(Change { file, holds }) => content::write(&context.join(file), &holds(0)),
            None => Ok(()),
        }
    }

    /// Puts the file that changes back to what it was, or to what it is in run `n`.
    pub(super) fn change(&self, context: &Path, n: u32) -> Result<(), Error> {
        let Some(Change { file, holds }) = &self.change else { return Ok(()) };
        let (path, bytes) = (context.join(file), holds(n));
        match fs::read(&path) {
            Ok(there) if there == bytes => Ok(()),
            _ => content::write(&path, &bytes),
        }
    }

    /// Whether a mode says anything about it: without a file in the context, none can change.
    pub(super) fn has(&self, mode: Mode) -> bool {
        mode != Mode::Changed || self.change.is_some()
    }

    /// What the row of a mode is called: building w2 again is a workload of its own.
    pub(super) fn label(&self, mode: Mode) -> &'static str {
        match (self.name, mode) {
            ("w2", Mode::Warm | Mode::Changed) => "w6",
            (name, _) => name,
        }
    }
}

fn steps(base: &str) -> String {
    format!(
        "FROM {base}\nCOPY app.conf /etc/app.conf\nRUN true\nRUN true\nRUN true\nENV A=1\nLABEL b=2\nWORKDIR /srv\n\
         CMD [\"sh\"]\n"
    )
}

fn one_file(context: &Path) -> Result<(), Error> {
    content::write(&context.join("app.conf"), b"listen = 8080\n")
}

fn changes(base: &str) -> String {
    let make =
        "for d in $(seq 200); do mkdir -p /srv/d$d; for f in $(seq 100); do echo $d $f > /srv/d$d/f$f; done; done";
    format!("FROM {base}\nRUN {make}\nRUN chmod -R g+w /srv\n")
}

fn stages(base: &str) -> String {
    let stage = |n| format!("FROM {base} AS s{n}\nRUN sleep 2 && echo {n} > /out{n}\n");
    let copies: String = (1..=6).map(|n| format!("COPY --from=s{n} /out{n} /out{n}\n")).collect();
    (1..=6).map(stage).collect::<String>() + &format!("FROM {base}\n{copies}")
}

fn labels(base: &str) -> String {
    format!("FROM {base}\nLABEL a=1 b=2\nENV C=3\n")
}

fn application(base: &str) -> String {
    format!(
        "FROM {base}\nENV DEBIAN_FRONTEND=noninteractive\n\
         RUN apt-get update && apt-get install -y --no-install-recommends python3 nginx-light curl\n\
         COPY index.html /var/www/html/index.html\n"
    )
}

fn long(base: &str) -> String {
    format!("FROM {base}\n") + &(0..20).map(|i| format!("ENV E{i}={i}\nLABEL l{i}={i}\nRUN true\n")).collect::<String>()
}

fn grown(base: &str) -> String {
    format!("FROM {base}\n{MANY}") + &(0..10).map(|i| format!("RUN echo {i} > /srv/step{i}\n")).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_workload_is_named() {
        assert_eq!(named(&["w77".into()]).unwrap_err().to_string(), "`w77` is not a workload: w1 to w10, n1, n2");
        assert_eq!(named(&[]).unwrap().len(), 9);
    }

    #[test]
    fn building_w2_again_is_w6() {
        let found = named(&["W2".into(), "w6".into()]).unwrap();
        assert_eq!(found.iter().map(|w| w.name).collect::<Vec<_>>(), ["w2"]);
        let label = |mode| found[0].label(mode);
        assert_eq!((label(Mode::Cold), label(Mode::Warm), label(Mode::Changed)), ("w2", "w6", "w6"));
    }

    #[test]
    fn the_file_that_changes_is_in_the_context_and_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let w1 = named(&["w1".into()]).unwrap()[0];
        w1.write(dir.path(), "base:1").unwrap();
        let read = || fs::read_to_string(dir.path().join("app.conf")).unwrap();
        let first = read();
        w1.change(dir.path(), 2).unwrap();
        assert_eq!(read(), "listen = 9002\n");
        w1.change(dir.path(), 0).unwrap();
        assert_eq!(read(), first);
        assert!(fs::read_to_string(dir.path().join("Dockerfile")).unwrap().starts_with("FROM base:1\nCOPY app.conf "));
        assert!(WORKLOADS.iter().all(|w| w.has(Mode::Changed) == w.change.is_some() && w.has(Mode::Warm)));
    }

    #[test]
    fn dockerfiles_are_what_the_table_says() {
        let text = |name: &str| (named(&[name.into()]).unwrap()[0].dockerfile)("b");
        assert_eq!(text("w9").lines().count(), 61);
        assert_eq!(text("w10").matches("RUN ").count(), 11);
        assert_eq!((text("w5").matches("sleep 2").count(), text("w5").matches("COPY --from=").count()), (6, 6));
        assert!(!text("w7").contains("RUN") && !text("w7").contains("COPY"));
    }
}
