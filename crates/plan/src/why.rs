//! Why a step is not in the cache: what its key is made of, by name, and what of it is other than in the last run.
//!
//! The key itself is a hash and tells nothing. So a run leaves a [`Record`]: for each step the inputs of the table in
//! [`key`](crate::key), each under the name a user knows it by. Values of secrets are no input and never here; a variable
//! that is named like a secret is kept as a hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::{ContextId, Facts, Files};
use crate::lint::names_a_secret;
use crate::step::{CopyOp, CopyPart, Op, Origin, Plan, RunMount, RunOp, Step, StepId};

/// Bumped when the meaning of a record changes; others are not read.
const VERSION: u32 = 1;
/// A longer value is kept as a hash.
const LONGEST: usize = 400;
/// Files named of one change at most.
const NAMED: usize = 10;
/// Files of one selection that are listed at most: to say of more which changed would cost more than it helps.
pub const MAX_LISTED: usize = 1000;
/// Files in a record at most.
const MAX_FILES: usize = 10_000;
/// Steps in a record at most.
const MAX_STEPS: usize = 10_000;

/// What the steps of a run were made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Whether the run came to its end.
    pub finished: bool,
    steps: Vec<Made>,
}

/// What a step was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// The stage's name in titles.
    stage: String,
    /// The instruction.
    text: String,
    key: String,
    inputs: BTreeMap<String, Input>,
}

/// An input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Input {
    /// It may be shown.
    Text(String),
    /// It is too long, or not for all eyes.
    Hash(String),
    /// Files of a context: their hash, and if they are few, what each is.
    Files(String, Option<Listing>),
    /// What another step makes, by its key.
    Step(String),
}

/// Files by their path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing(pub BTreeMap<String, Listed>);

/// What a file is: hashes, shortened, of what the key holds of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Of its type, mode and all else but the bytes.
    pub meta: String,
    /// Of its bytes; empty for what has none.
    pub content: String,
}

/// Why a step's key is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Change {
    /// There was no such step.
    New,
    /// The step it starts from is another one.
    Below {
        /// Which.
        step: StepId,
    },
    /// A step it reads is another one.
    Reads {
        /// Which.
        step: StepId,
    },
    /// An input has another value; `None` where it was, or is, not there, or may not be shown.
    Value {
        /// What a user calls it.
        name: String,
        /// In the last run.
        before: Option<String>,
        /// Now.
        after: Option<String>,
    },
    /// Files are others.
    Files {
        /// Which.
        name: String,
        /// Some of them: the path, and what is new about it.
        files: Vec<(String, &'static str)>,
        /// How many more there are.
        more: usize,
    },
}

impl Record {
    /// What the steps of a plan are made of. `listing` tells what files there are of few; it is not asked about many.
    pub fn of(plan: &Plan, facts: &Facts, listing: &dyn Fn(&Files) -> Option<Listing>) -> Record {
        let mut room = MAX_FILES;
        let made = |step| made(World { plan, facts, listing }, step, &mut room);
        Record { version: VERSION, finished: false, steps: plan.steps.iter().take(MAX_STEPS).map(made).collect() }
    }

    /// Whether it is of the keys of a plan.
    pub fn is_of(&self, plan: &Plan) -> bool {
        let keys = plan.steps.iter().take(MAX_STEPS).map(|step| step.key.to_string());
        keys.eq(self.steps.iter().map(|step| step.key.clone()))
    }

    /// Reads what [`Record::bytes`] wrote; `None` when it is of another version, or damaged.
    pub fn parse(bytes: &[u8]) -> Option<Record> {
        serde_json::from_slice(bytes).ok().filter(|record: &Record| record.version == VERSION)
    }

    /// To keep it.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// For each step of a plan, what is new about it since `before`; nothing for a step whose key is the same.
pub fn changes(plan: &Plan, before: &Record, now: &Record) -> Vec<Vec<Change>> {
    let matched = matching(&before.steps, &now.steps);
    let by_key: BTreeMap<String, StepId> =
        plan.steps.iter().enumerate().rev().map(|(index, step)| (step.key.to_string(), StepId(index))).collect();
    let one = |(index, made): (usize, &Made)| match matched[index] {
        None => vec![Change::New],
        Some(old) => compare(&by_key, &before.steps[old], made),
    };
    now.steps.iter().enumerate().map(one).collect()
}

/// Finds for each step the one it was: of the same text first, then in order among those of the same instruction.
fn matching(old: &[Made], new: &[Made]) -> Vec<Option<usize>> {
    let mut taken = vec![false; old.len()];
    let mut matched = vec![None; new.len()];
    let word = |made: &Made| made.text.split(' ').next().unwrap_or("").to_ascii_uppercase();
    for exact in [true, false] {
        let mut by_name: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
        let name = |made: &Made| if exact { made.text.clone() } else { word(made) };
        for (index, made) in old.iter().enumerate().rev().filter(|(index, _)| !taken[*index]) {
            by_name.entry((&*made.stage, name(made))).or_default().push(index);
        }
        for (index, made) in new.iter().enumerate() {
            if matched[index].is_none()
                && let Some(found) = by_name.get_mut(&(&*made.stage, name(made))).and_then(Vec::pop)
            {
                matched[index] = Some(found);
                taken[found] = true;
            }
        }
    }
    matched
}

fn compare(by_key: &BTreeMap<String, StepId>, old: &Made, new: &Made) -> Vec<Change> {
    if old.key == new.key {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let names: std::collections::BTreeSet<&String> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for name in names {
        let (before, after) = (old.inputs.get(name), new.inputs.get(name));
        if before == after {
            continue;
        }
        if let Some(Input::Step(key)) = after
            && let Some(step) = by_key.get(key).copied()
        {
            changes.push(if name == BELOW { Change::Below { step } } else { Change::Reads { step } });
            continue;
        }
        changes.push(match (before, after) {
            (Some(Input::Files(_, Some(before))), Some(Input::Files(_, Some(after)))) => files(name, before, after),
            (before, after) => Change::Value { name: name.clone(), before: shown(before), after: shown(after) },
        });
    }
    changes
}

/// The value of an input, where it may be shown.
fn shown(input: Option<&Input>) -> Option<String> {
    match input {
        Some(Input::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn files(name: &str, before: &Listing, after: &Listing) -> Change {
    let mut all = Vec::new();
    for (path, is) in &after.0 {
        match before.0.get(path) {
            None => all.push((path.clone(), "added")),
            Some(was) if was.content != is.content => all.push((path.clone(), "content")),
            Some(was) if was.meta != is.meta => all.push((path.clone(), "mode or type")),
            Some(_) => {}
        }
    }
    all.extend(before.0.keys().filter(|path| !after.0.contains_key(*path)).map(|path| (path.clone(), "removed")));
    all.sort();
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    Change::Files { name: name.to_owned(), files: all, more }
}

/// The name of the step below.
const BELOW: &str = "below";

/// Where inputs come from.
#[derive(Clone, Copy)]
struct World<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    listing: &'a dyn Fn(&Files) -> Option<Listing>,
}

/// Names inputs.
struct Inputs<'a> {
    world: World<'a>,
    /// Files that may still be listed.
    room: &'a mut usize,
    list: BTreeMap<String, Input>,
}

fn made(world: World<'_>, step: &Step, room: &mut usize) -> Made {
    let mut inputs = Inputs { world, room, list: BTreeMap::new() };
    if let Some(parent) = step.parent
        && !matches!(&step.op, Op::Copy(copy) if copy.link)
    {
        inputs.step(BELOW, parent);
    }
    match &step.op {
        Op::Scratch => {}
        Op::Image(image) => inputs.text("image", &image.digest.to_string()),
        Op::Run(run) => inputs.run(run),
        Op::Copy(copy) => inputs.copy(copy),
        Op::Mkdir(mkdir) => {
            inputs.text("path", &mkdir.path);
            inputs.text("user", &mkdir.user);
            inputs.time(mkdir.mtime);
        }
    }
    let (stage, text) = parts(&step.title);
    Made { stage, text, key: step.key.to_string(), inputs: inputs.list }
}

/// The stage and the instruction of a title: `[build 2/5] RUN make`.
fn parts(title: &str) -> (String, String) {
    let Some((head, text)) = title.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return (String::new(), cut(title));
    };
    let stage = head.trim_end_matches(|c: char| c.is_ascii_digit() || c == '/').trim();
    (stage.to_owned(), cut(text))
}

/// Enough of an instruction to know it by.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST.min(text.len()))].to_owned()
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

impl Inputs<'_> {
    fn put(&mut self, name: &str, input: Input) {
        // Two inputs of one name, such as a source given twice, are told apart.
        let mut unique = name.to_owned();
        let mut count = 1;
        while self.list.contains_key(&unique) {
            count += 1;
            unique = format!("{name} ({count})");
        }
        self.list.insert(unique, input);
    }

    fn text(&mut self, name: &str, value: &str) {
        let input = match value.len() > LONGEST {
            true => Input::Hash(hash(value.as_bytes())),
            false => Input::Text(value.to_owned()),
        };
        self.put(name, input);
    }

    fn hidden(&mut self, name: &str, value: &str) {
        self.put(name, Input::Hash(hash(value.as_bytes())));
    }

    fn time(&mut self, time: Option<i64>) {
        if let Some(time) = time {
            self.text("SOURCE_DATE_EPOCH", &time.to_string());
        }
    }

    fn step(&mut self, name: &str, id: StepId) {
        let key = self.world.plan.step(id).key.to_string();
        self.put(name, Input::Step(key));
    }

    fn files(&mut self, name: &str, origin: &Origin, select: crate::facts::Select) {
        match origin {
            Origin::Step(id) => self.step(name, *id),
            Origin::Context(context) => {
                let name = match context {
                    ContextId::Main => name.to_owned(),
                    ContextId::Named(context) => format!("{name} of {context}"),
                };
                let files = Files { context: context.clone(), select };
                let Some(fact) = self.world.facts.files.get(&files) else { return };
                let few = fact.count <= MAX_LISTED.min(*self.room);
                let listing = if few { (self.world.listing)(&files) } else { None };
                *self.room = self.room.saturating_sub(listing.as_ref().map_or(0, |listing| listing.0.len()));
                self.put(&name, Input::Files(hash(&fact.hash.0), listing));
            }
        }
    }

    fn run(&mut self, run: &RunOp) {
        self.text("command", &run.argv.join(" "));
        for (name, value) in &run.env {
            match names_a_secret(name) {
                true => self.hidden(&format!("${name}"), value),
                false => self.text(&format!("${name}"), value),
            }
        }
        self.text("working directory", &run.cwd);
        self.text("user", &run.user);
        self.text("network", &format!("{:?}", run.network).to_lowercase());
        self.text("security", if run.insecure { "insecure" } else { "sandbox" });
        self.text("platform", &self.world.plan.platform.to_string());
        if let Some((name, body)) = &run.script {
            self.hidden(&format!("heredoc {name}"), body);
        }
        for (name, address) in &run.hosts {
            self.text(&format!("host {name}"), address);
        }
        if let Some(size) = run.shm_size {
            self.text("--shm-size", &size.to_string());
        }
        for limit in &run.ulimits {
            self.text(&format!("--ulimit {}", limit.name), &format!("{}:{}", limit.soft, limit.hard));
        }
        self.time(run.clamp_mtime);
        for mount in &run.mounts {
            self.mount(mount);
        }
    }

    fn mount(&mut self, mount: &RunMount) {
        // The fields of a mount, as far as they are in the key, are those that are printed of it.
        let details = serde_json::to_value(mount).unwrap_or_default();
        let (target, from) = match mount {
            RunMount::Bind { target, origin, source, .. } => (target.clone(), origin.as_ref().map(|o| (o, source))),
            RunMount::Cache { target, origin, source, .. } => (target.clone(), origin.as_ref().map(|o| (o, source))),
            RunMount::Tmpfs { target, .. } | RunMount::Ssh { target, .. } => (target.clone(), None),
            RunMount::Secret { id, .. } => (format!("of the secret {id}"), None),
        };
        let fields =
            details.as_object().into_iter().flatten().filter(|(name, _)| *name != "origin" && *name != "sharing");
        let text: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
        self.text(&format!("mount {target}"), &text.join(","));
        if let Some((origin, source)) = from {
            self.files(&format!("files of the mount {target}"), origin, crate::key::whole(source));
        }
    }

    fn copy(&mut self, copy: &CopyOp) {
        self.text("destination", &copy.dest);
        for (name, value) in [("--chown", &copy.chown), ("--chmod", &copy.chmod)] {
            if let Some(value) = value {
                self.text(name, value);
            }
        }
        for (name, set) in [("--link", copy.link), ("--parents", copy.parents)] {
            if set {
                self.text(name, "true");
            }
        }
        for pattern in &copy.exclude {
            self.text("--exclude", pattern);
        }
        self.time(copy.mtime);
        for part in &copy.parts {
            match part {
                CopyPart::Paths { origin, pattern, .. } => self.files(pattern, origin, copy.select(pattern)),
                CopyPart::Inline { name, body } => self.hidden(&format!("heredoc {name}"), body),
                CopyPart::Http { name, digest, .. } => self.text(name, &digest.to_string()),
                CopyPart::Git { commit, subdir, .. } => self.text(&format!("commit of Git {subdir}"), commit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn titles_come_apart() {
        let parts = |title| {
            let (stage, text) = super::parts(title);
            (stage, text)
        };
        assert_eq!(parts("[build  2/12] RUN a ] b"), ("build".into(), "RUN a ] b".into()));
        assert_eq!(parts("[2/2] COPY a b"), (String::new(), "COPY a b".into()));
        assert_eq!(parts("[linux/amd64 x 1/3] RUN a"), ("linux/amd64 x".into(), "RUN a".into()));
        assert_eq!(parts("FROM busybox"), (String::new(), "FROM busybox".into()));
    }
}
