//! What is said of books and resources: lines as it happens, or one JSON document at the end.

use std::path::Path;

use kiln_ledger::sweep::SweepError;
use kiln_ledger::{About, Resource};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::named::print;

/// Text from books and clouds, without what could drive a terminal or turn what is read around.
pub fn harmless(text: &str) -> String {
    let bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if bad(c) { ' ' } else { c }).collect()
}

/// What became of a resource.
pub enum Outcome {
    /// It is there, and nothing was done.
    Open,
    /// It is gone.
    Deleted,
    /// It was never made, or somebody else deleted it.
    WasNotThere,
    /// It carries a mark and may be what the build was for.
    Kept,
    /// It is still there.
    Failed(SweepError),
}

/// What is known of a build.
#[derive(Clone, Copy)]
pub enum State {
    /// Its process lives.
    AtWork,
    /// Its process is dead.
    Ended,
    /// So it is, and not all of its book can be read.
    Damaged,
    /// It has no book here.
    Unknown,
}

/// All that is said.
pub struct Report {
    dry_run: bool,
    speaks: bool,
    builds: Vec<Value>,
    troubles: Vec<String>,
    left: usize,
}

impl Report {
    /// One that speaks at once, or only in the end.
    pub fn new(dry_run: bool, speaks: bool) -> Report {
        Report { dry_run, speaks, builds: Vec::new(), troubles: Vec::new(), left: 0 }
    }

    /// A build; what follows is of it.
    pub fn build(&mut self, about: &About, book: Option<&Path>, state: State) -> Result<(), CliError> {
        let (word, sentence) = match state {
            State::AtWork => ("at-work", "is at work: left alone"),
            State::Ended => ("ended", "has ended"),
            State::Damaged => ("damaged", "has ended, and its book is damaged"),
            State::Unknown => ("unknown", "has no book here"),
        };
        self.builds.push(json!({
            "build": about.build,
            "cloud": about.cloud,
            "name": about.name,
            "account": about.account,
            "began": about.began,
            "book": book.map(|path| path.display().to_string()),
            "state": word,
            "resources": [],
        }));
        let place: Vec<String> = about.account.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let words = [&*about.name, &*about.cloud, &*place.join(" "), &*about.began];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let build = if about.build.is_empty() { "of an unknown identifier" } else { &*about.build };
        let of = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        self.say(&format!("build {build}{of} {sentence}"))
    }

    /// A resource of a book.
    pub fn line(&mut self, resource: &Resource, outcome: Outcome) -> Result<(), CliError> {
        self.tell(resource, &outcome, "book")
    }

    /// One that was found by its mark.
    pub fn marked(&mut self, resource: &Resource, outcome: Outcome) -> Result<(), CliError> {
        self.tell(resource, &outcome, "mark")
    }

    /// What could not be done, besides the failures of single resources.
    pub fn trouble(&mut self, what: &str) {
        eprintln!("error: {}", harmless(what));
        self.troubles.push(what.to_owned());
    }

    /// The last line.
    pub fn end(&mut self) -> Result<(), CliError> {
        match self.builds.is_empty() {
            true => self.say("no build left anything"),
            false => Ok(()),
        }
    }

    /// The document.
    pub fn json(&self) -> Value {
        json!({ "builds": self.builds, "errors": self.troubles })
    }

    /// One sentence, if anything is still there or could not be seen.
    pub fn failures(&self) -> Option<String> {
        match (self.left, self.troubles.len()) {
            (0, 0) => None,
            (0, _) => Some("not all could be looked after".to_owned()),
            (1, _) => Some("1 resource is still there".to_owned()),
            (n, _) => Some(format!("{n} resources are still there")),
        }
    }

    fn tell(&mut self, resource: &Resource, outcome: &Outcome, by: &str) -> Result<(), CliError> {
        let (word, sentence) = match outcome {
            Outcome::Open if self.dry_run => ("open", format!("would be deleted: {}", resource.delete)),
            Outcome::Open => ("open", format!("left alone: {}", resource.delete)),
            Outcome::Deleted => ("deleted", "deleted".to_owned()),
            Outcome::WasNotThere => ("was-not-there", "was not there".to_owned()),
            Outcome::Kept => ("kept", format!("kept, as it may be the result: {}", resource.delete)),
            Outcome::Failed(_) => ("failed", "is still there".to_owned()),
        };
        let mut value = serde_json::to_value(resource).unwrap_or_default();
        value["by"] = by.into();
        value["outcome"] = word.into();
        let shown = match &resource.id {
            Some(id) if *id != resource.name => format!("{} {} (id {id})", resource.kind, resource.name),
            _ => format!("{} {}", resource.kind, resource.name),
        };
        if let Outcome::Failed(error) = outcome {
            self.left += 1;
            value["error"] = error.message.clone().into();
            value["hint"] = error.hint.clone().into();
            let hint = error.hint.as_ref().map(|hint| format!("\n  = {}", harmless(hint))).unwrap_or_default();
            let (what, why, call) = (harmless(&shown), harmless(&error.message), harmless(&resource.delete));
            eprintln!("error: {what} is still there: {why}{hint}\n  = delete it by hand: {call}");
        }
        if let Some(resources) = self.builds.last_mut().and_then(|build| build["resources"].as_array_mut()) {
            resources.push(value);
        }
        let mark = if by == "mark" { ", found by its mark" } else { "" };
        self.say(&format!("  {shown}{mark}: {sentence}"))
    }

    fn say(&self, line: &str) -> Result<(), CliError> {
        match self.speaks {
            true => print(&format!("{}\n", harmless(line))),
            false => Ok(()),
        }
    }
}
