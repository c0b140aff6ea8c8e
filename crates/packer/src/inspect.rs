//! What `inspect` prints, for people and for programs.

use crate::machine::{self, Record};
use crate::model::{Outline, Variable};

/// What a template consists of.
#[derive(Debug, Clone, Default)]
pub struct Inspected {
    /// Its own description.
    pub description: Option<String>,
    /// Its variables.
    pub variables: Vec<Variable>,
    /// Its builders, provisioners and post-processors.
    pub outline: Outline,
}

/// A line for people, or a record for programs.
enum Output {
    Say(String),
    Record(Record),
}

const NOTE: &str = "\nNote: names of builds are shown as written. Variables and functions in them,\nsuch as 'timestamp', are only rendered by a build.";

impl Inspected {
    /// For people, as lines.
    pub fn text(&self) -> String {
        let lines = self.output().into_iter().filter_map(|output| match output {
            Output::Say(line) => Some(line + "\n"),
            Output::Record(_) => None,
        });
        lines.collect()
    }

    /// For programs (`-machine-readable`); `now` in seconds since 1970.
    pub fn machine_readable(&self, now: i64) -> String {
        let lines = self.output().into_iter().map(|output| match output {
            Output::Say(line) => machine::line(now, &Record::new("ui", ["say", &line])),
            Output::Record(record) => machine::line(now, &record),
        });
        lines.collect()
    }

    fn output(&self) -> Vec<Output> {
        let mut out = vec![Output::Say("Packer Inspect: JSON mode".to_owned())];
        let mut say = |line: &str| out.push(Output::Say(line.to_owned()));
        if let Some(description) = self.description.as_deref().filter(|text| !text.is_empty()) {
            say("Description:\n");
            say(&format!("{description}\n"));
        }
        self.variables(&mut out);
        self.blocks(&mut out);
        out.push(Output::Say(NOTE.to_owned()));
        out
    }

    fn variables(&self, out: &mut Vec<Output>) {
        let mut sorted: Vec<&Variable> = self.variables.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let (required, optional): (Vec<&Variable>, Vec<&Variable>) =
            sorted.into_iter().partition(|variable| variable.default.is_none());
        let say = |out: &mut Vec<Output>, line: &str| out.push(Output::Say(line.to_owned()));
        if self.variables.is_empty() {
            say(out, "Variables:\n");
            say(out, "  <No variables>");
        }
        if !required.is_empty() {
            say(out, "Required variables:\n");
            for variable in &required {
                out.push(Output::Record(Record::new("template-variable", [variable.name.as_str(), "", "1"])));
                say(out, &format!("  {}", variable.name));
            }
            say(out, "");
        }
        if !optional.is_empty() {
            say(out, "Optional variables and their defaults:\n");
            let width = self.variables.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
            for variable in &optional {
                let default = match &variable.default {
                    _ if variable.sensitive => "<sensitive>",
                    default => default.as_deref().unwrap_or_default(),
                };
                out.push(Output::Record(Record::new("template-variable", [variable.name.as_str(), default, "0"])));
                say(out, &format!("  {:width$} = {default}", variable.name));
            }
        }
        say(out, "");
    }

    fn blocks(&self, out: &mut Vec<Output>) {
        out.push(Output::Say("Builders:\n".to_owned()));
        let mut builders: Vec<&(String, String)> = self.outline.builders.iter().collect();
        builders.sort();
        let width = builders.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, kind) in builders {
            out.push(Output::Record(Record::new("template-builder", [name.as_str(), kind])));
            let shown = if name == kind { String::new() } else { format!("{:1$}", "", width - name.len()) + &format!(" ({kind})") };
            out.push(Output::Say(format!("  {name}{shown}")));
        }
        out.push(Output::Say(String::new()));
        out.push(Output::Say("Provisioners:\n".to_owned()));
        if self.outline.provisioners.is_empty() {
            out.push(Output::Say("  <No provisioners>".to_owned()));
        }
        for kind in &self.outline.provisioners {
            out.push(Output::Record(Record::new("template-provisioner", [kind.as_str()])));
            out.push(Output::Say(format!("  {kind}")));
        }
    }
}
