//! Variables: what `$NAME` means at a place of a Dockerfile.
//!
//! `ARG` and `ENV` share one scope in which the later declaration wins, as in BuildKit. What differs is what outlives
//! the stage: `ENV` goes into the image, `ARG` only into the history of the `RUN`s that can see it.

use std::collections::BTreeMap;

use kiln_oci::Platform;

/// The PATH of images that set none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Build arguments that need no `ARG`: they tell a `RUN` how to reach the world, and are in no key and no history.
pub const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that steer the builder; declaring one does not put it into the environment.
const BUILDER_ARGS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Whether an argument steers the builder and is no variable.
pub fn steers_builder(name: &str) -> bool {
    BUILDER_ARGS.contains(&name)
}

/// The variables of one stage, in the order they were set.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    values: Vec<(String, String)>,
    args: Vec<(String, Option<String>)>,
}

impl Scope {
    /// A scope that starts with the environment of an image.
    pub fn of_image(env: &[String]) -> Scope {
        let mut scope = Scope::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set(name, value);
        }
        scope
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    /// Sets a variable; it moves to the end of the order.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.retain(|(n, _)| n != name);
        self.values.push((name.to_owned(), value.to_owned()));
    }

    /// Declares an `ARG`. Without a value it only becomes part of the history of later `RUN`s.
    pub fn declare(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value
            && !BUILDER_ARGS.contains(&name)
        {
            self.set(name, value);
        }
        self.args.push((name.to_owned(), value.map(str::to_owned)));
    }

    /// All variables.
    pub fn all(&self) -> &[(String, String)] {
        &self.values
    }

    /// The names of all variables, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(n, _)| &**n)
    }

    /// The declared `ARG`s with their present values, each once, in the order of their first declaration.
    pub fn declared_args(&self) -> Vec<(String, String)> {
        let mut seen: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.args {
            let value = self.get(name).map_or_else(|| value.clone().unwrap_or_default(), str::to_owned);
            match seen.iter_mut().find(|(n, _)| n == name) {
                Some(entry) => entry.1 = value,
                None => seen.push((name.clone(), value)),
            }
        }
        seen
    }

    /// Whether an `ARG` of this name was declared.
    pub fn is_declared(&self, name: &str) -> bool {
        self.args.iter().any(|(n, _)| n == name)
    }
}

/// The arguments every Dockerfile may use before its first `FROM`, and after an `ARG` without value in a stage.
pub fn platform_args(build: &Platform, target: &Platform, stage: Option<&str>) -> Scope {
    let mut scope = Scope::default();
    for (prefix, p) in [("BUILD", build), ("TARGET", target)] {
        scope.set(&format!("{prefix}PLATFORM"), &p.to_string());
        scope.set(&format!("{prefix}OS"), &p.os);
        scope.set(&format!("{prefix}OSVERSION"), p.os_version.as_deref().unwrap_or(""));
        scope.set(&format!("{prefix}ARCH"), &p.architecture);
        scope.set(&format!("{prefix}VARIANT"), p.variant.as_deref().unwrap_or(""));
    }
    scope.set("TARGETSTAGE", stage.unwrap_or("default"));
    scope
}

/// The proxy variables among `build_args`, each in upper and in lower case, as commands look for either.
pub fn proxy_env(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for name in PROXY_ARGS {
        if let Some(value) = build_args.get(name) {
            env.insert(name.to_owned(), value.clone());
            for other in [name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                env.entry(other).or_insert_with(|| value.clone());
            }
        }
    }
    env.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_declaration_wins() {
        let mut s = Scope::of_image(&["A=image".into(), "B".into()]);
        s.declare("A", Some("arg"));
        assert_eq!(s.get("A"), Some("arg"));
        s.set("A", "env");
        assert_eq!(s.get("A"), Some("env"));
        s.declare("A", None);
        assert_eq!(s.get("A"), Some("env"), "an ARG without value hides nothing");
        assert_eq!(s.declared_args(), [("A".to_owned(), "env".to_owned())]);
        assert_eq!(s.get("B"), Some(""));
    }

    #[test]
    fn proxies_come_in_both_cases() {
        let args = BTreeMap::from([("HTTP_PROXY".to_owned(), "http://p".to_owned())]);
        assert_eq!(
            proxy_env(&args),
            [("HTTP_PROXY".to_owned(), "http://p".to_owned()), ("http_proxy".to_owned(), "http://p".to_owned())]
        );
    }
}
