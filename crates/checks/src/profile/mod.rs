//! Tables of checks.
//!
//! [`ack`] [`kubeadm`] [`cluster_api`] [`sysdig`] [`cis`] [`disk`] the built-in ones, a row a check     [`own`] files of one's own
//! [`find`] a profile by its name or file
//!
//! Adding a profile: its table, and its row in [`BUILT_IN`].

mod ack;
mod cis;
mod cluster_api;
mod disk;
pub mod find;
mod form;
mod kubeadm;
pub mod own;
mod sysdig;

pub use own::ProfileError;

use crate::{Family, Severity, Test};

/// A check of a profile.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id, which begins with that of its family; own profiles may have others.
    pub id: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// What must be true, in the profile's words.
    pub title: String,
    /// What the program that the profile comes from calls it: `Port-10250`.
    pub name: Option<String>,
    /// The question.
    pub test: Test,
    /// What to do when it fails; where it is `None`, what the family says.
    pub hint: Option<String>,
}

impl Rule {
    /// A check with parameters.
    fn new(id: impl Into<String>, title: impl Into<String>, test: Test) -> Rule {
        let id = id.into();
        let severity = Family::of(&id).map_or(Severity::Error, |family| family.severity);
        Rule { id, severity, title: title.into(), name: None, test, hint: None }
    }

    /// A check without parameters, in its family's words.
    fn of(id: &str) -> Rule {
        let family = Family::of(id);
        let nothing = |_: &crate::Look<'_>| Ok(crate::Finding::unknown("this family of checks needs parameters"));
        let ask = family.and_then(|family| family.ask).unwrap_or(nothing);
        Rule::new(id, family.map_or(id, |family| family.line), Test::Special(ask))
    }

    fn titled(mut self, title: impl Into<String>) -> Rule {
        self.title = title.into();
        self
    }

    fn named(mut self, name: impl Into<String>) -> Rule {
        self.name = Some(name.into());
        self
    }

    fn warning(mut self) -> Rule {
        self.severity = Severity::Warning;
        self
    }

    fn error(mut self) -> Rule {
        self.severity = Severity::Error;
        self
    }

    /// The family it belongs to.
    pub fn family(&self) -> Option<&'static Family> {
        Family::of(&self.id)
    }

    fn tool(name: &str) -> Rule {
        let test = Test::Command { name: name.to_owned(), present: true };
        Rule::new(format!("os.tools.required.{name}"), format!("the command {name} is installed"), test)
    }

    fn no_tool(name: &str) -> Rule {
        let test = Test::Command { name: name.to_owned(), present: false };
        Rule::new(format!("os.tools.forbidden.{name}"), format!("the command {name} is not installed"), test)
    }

    fn package(name: &str) -> Rule {
        let test = Test::Package { name: name.to_owned(), present: true, version: None };
        Rule::new(format!("os.packages.required.{name}"), format!("the package {name} is installed"), test)
    }

    fn no_package(name: &str) -> Rule {
        let test = Test::Package { name: name.to_owned(), present: false, version: None };
        Rule::new(format!("os.packages.forbidden.{name}"), format!("the package {name} is not installed"), test)
    }

    fn sysctl(key: &str, value: &str) -> Rule {
        let test = Test::Sysctl { key: key.to_owned(), values: vec![value.to_owned()], default: None };
        Rule::new(format!("os.sysctl.required.{key}"), format!("{key} is {value}"), test)
    }

    fn service(name: &str, enabled: bool, running: bool) -> Rule {
        let test = Test::Service { name: name.to_owned(), enabled: Some(enabled), running: Some(running) };
        let title = match (enabled, running) {
            (true, true) => format!("{name} starts at boot and runs"),
            (true, false) => format!("{name} starts at boot, and does not run yet"),
            _ => format!("{name} does not start at boot"),
        };
        Rule::new(format!("os.services.{name}"), title, test)
    }

    fn module(name: &str) -> Rule {
        let test = Test::Module { name: name.to_owned() };
        Rule::new(format!("os.modules-load.{name}"), format!("the module {name} is loaded at boot"), test)
    }

    fn port_free(port: u16) -> Rule {
        let test = Test::Port { port, listening: false };
        Rule::new(format!("ports.{port}"), format!("port {port} is free"), test).named(format!("Port-{port}"))
    }

    fn config(options: &[&str]) -> Rule {
        let names = options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
        let title = format!("the kernel has CONFIG_{}", options.join(" or CONFIG_"));
        Rule::new(format!("os.kernel.config.{}", options[0]), title, Test::KernelConfig { options: names })
    }
}

/// A table of checks.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for, in one line.
    pub line: String,
    /// Its checks, in order.
    pub rules: Vec<Rule>,
}

/// A table that Kiln brings.
#[derive(Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub line: &'static str,
    table: fn() -> Vec<Rule>,
}

impl BuiltIn {
    /// Its checks.
    pub fn rules(&self) -> Vec<Rule> {
        (self.table)()
    }
}

/// The tables that Kiln brings.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "ack",
        line: "a custom image for nodes of Alibaba Cloud's Container Service, as ack-image-builder verifies it",
        table: ack::rules,
    },
    BuiltIn {
        name: "kubeadm",
        line: "what kubeadm's preflight asks before init and join, under its names",
        table: kubeadm::rules,
    },
    BuiltIn {
        name: "cluster-api",
        line: "what image-builder verifies of images for Cluster API",
        table: cluster_api::rules,
    },
    BuiltIn {
        name: "sysdig",
        line: "what probes of sysdig and Falco need of the kernel: headers, types, tracepoints",
        table: sysdig::rules,
    },
    BuiltIn {
        name: "cis-basics",
        line: "nothing of whoever made the image is in it: keys, ids, traces, secrets",
        table: cis::rules,
    },
    BuiltIn { name: "disk", line: "a disk that boots; asked of every disk, whatever else is", table: disk::rules },
];

impl Profile {
    /// A profile that Kiln brings.
    pub fn built_in(name: &str) -> Option<Profile> {
        let found = BUILT_IN.iter().find(|profile| profile.name == name)?;
        Some(Profile { name: found.name.to_owned(), line: found.line.to_owned(), rules: found.rules() })
    }
}

/// A pattern of a table.
fn pattern(text: &str) -> regex::Regex {
    match regex::Regex::new(text) {
        Ok(regex) => regex,
        Err(e) => unreachable!("a pattern of a table that Kiln brings: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_have_families_and_ids_of_their_own() {
        for profile in BUILT_IN {
            let rules = profile.rules();
            let ids: std::collections::BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
            assert_eq!(ids.len(), rules.len(), "{}", profile.name);
            for rule in &rules {
                let family = rule.family().unwrap_or_else(|| panic!("{} has no family", rule.id));
                if let Test::Special(_) = rule.test {
                    assert!(family.ask.is_some(), "{} needs parameters", rule.id);
                }
            }
        }
    }
}
