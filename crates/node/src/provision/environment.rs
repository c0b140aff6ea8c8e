//! Variables for scripts: `env`, `environment_vars`, and those that Packer adds.

use std::collections::BTreeMap;

use kiln_packer::config::Config;
use kiln_packer::fields::Fields;
use kiln_packer::model::BuildFacts;

use crate::error::Result;

/// Variables in the order of their names.
pub type Variables = BTreeMap<String, String>;

/// The variables that a block gives.
///
/// # Errors
/// When one is not `NAME=VALUE`, or has a name that no shell takes.
pub fn given(config: &Config, fields: &Fields<'_>) -> Result<Variables> {
    let mut variables = Variables::new();
    for text in fields.strings("environment_vars")?.unwrap_or_default() {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| is_name(name)) else {
            let shown = text.split('=').next().unwrap_or_default();
            let message = format!("environment variable not in format `key=value`: {shown}");
            return Err(config.place().error("BadVariable", message).into());
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in fields.map("env")?.unwrap_or_default() {
        if !is_name(&name) {
            return Err(config.place().error("BadVariable", format!("`{name}` is no name of a variable")).into());
        }
        variables.insert(name, value);
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// With what Packer tells every script about its build.
pub fn with_build(given: &Variables, build: &str, kind: &str, facts: &BuildFacts) -> Variables {
    let mut all = Variables::new();
    all.insert("PACKER_BUILD_NAME".to_owned(), build.to_owned());
    all.insert("PACKER_BUILDER_TYPE".to_owned(), kind.to_owned());
    let http = [
        ("PACKER_HTTP_ADDR", &facts.http_addr),
        ("PACKER_HTTP_IP", &facts.http_ip),
        ("PACKER_HTTP_PORT", &facts.http_port),
    ];
    for (name, value) in http {
        if !value.is_empty() {
            all.insert(name.to_owned(), value.clone());
        }
    }
    all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The variables as a command line has them: each through `format`, in which the first `%s` is the name and the second
/// the value. Quotes in values are written so that they survive being quoted.
pub fn formatted(variables: &Variables, format: &str) -> String {
    let one = |(name, value): (&String, &String)| {
        let value = value.replace('\'', "'\"'\"'");
        let (mut out, mut rest, mut given) = (String::new(), format, [&**name, &*value].into_iter());
        while let Some(at) = rest.find("%s") {
            out += &rest[..at];
            out += given.next().unwrap_or("%s");
            rest = &rest[at + 2..];
        }
        out + rest
    };
    variables.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_sorted_and_quoted() {
        let given = Variables::from([("B".to_owned(), "it's %s".to_owned()), ("A".to_owned(), String::new())]);
        assert_eq!(formatted(&given, "%s='%s' "), "A='' B='it'\"'\"'s %s' ");
        assert_eq!(formatted(&given, "export %s='%s'\n"), "export A=''\nexport B='it'\"'\"'s %s'\n");
    }

    #[test]
    fn scripts_know_their_build() {
        let given = Variables::from([("PACKER_BUILD_NAME".to_owned(), "mine".to_owned())]);
        let all = with_build(&given, "node", "qemu", &BuildFacts::default());
        assert_eq!(formatted(&all, "%s=%s "), "PACKER_BUILDER_TYPE=qemu PACKER_BUILD_NAME=mine ");
        assert!(is_name("_a1") && !is_name("1a") && !is_name("") && !is_name("a-b"));
    }
}
