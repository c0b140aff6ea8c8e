//! What a machine is: asked once, in one command.

use std::collections::BTreeMap;

use crate::{Cancel, Command, Host, HostError};

/// What is told about a machine. Texts are as the machine gives them; a machine may lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Who commands run as.
    pub uid: u32,
    /// `uname -s`: `Linux`.
    pub system: String,
    /// `uname -r`: `6.1.0-18-amd64`.
    pub kernel: String,
    /// `uname -m`: `x86_64`.
    pub machine: String,
    /// `uname -n`.
    pub hostname: String,
    /// The fields of `/etc/os-release`, unquoted.
    pub os: BTreeMap<String, String>,
    /// A name that the kernel makes up at each boot; empty where it does not.
    pub boot: String,
}

const QUESTIONS: &str = "printf 'uid=%s\\n' \"$(id -u)\"; printf 'system=%s\\n' \"$(uname -s)\"; \
    printf 'kernel=%s\\n' \"$(uname -r)\"; printf 'machine=%s\\n' \"$(uname -m)\"; printf 'hostname=%s\\n' \"$(uname -n)\"; \
    printf 'boot=%s\\n' \"$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\"; echo os-release; \
    cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null; :";

impl Facts {
    /// Asks a machine.
    ///
    /// # Errors
    /// When the command cannot be run, or does not answer as a Unix does.
    pub fn of(host: &dyn Host, cancel: &Cancel) -> Result<Facts, HostError> {
        let answer = host.succeed("asking what the machine is", &Command::shell(QUESTIONS), cancel)?;
        Facts::parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| HostError::Protocol {
            host: host.name().to_owned(),
            protocol: "a Unix shell",
            what: crate::error::printable(&answer),
        })
    }

    /// The Debian or OCI name of the processor: `amd64`, `arm64`; others as `uname` says.
    pub fn arch(&self) -> &str {
        match self.machine.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }

    fn parse(answer: &str) -> Option<Facts> {
        let (first, os) = answer.split_once("os-release\n")?;
        let mut facts = Facts::default();
        let mut uid = None;
        for line in first.lines() {
            let (name, value) = line.split_once('=')?;
            match name {
                "uid" => uid = value.trim().parse().ok(),
                "system" => facts.system = value.to_owned(),
                "kernel" => facts.kernel = value.to_owned(),
                "machine" => facts.machine = value.to_owned(),
                "hostname" => facts.hostname = value.to_owned(),
                "boot" => facts.boot = value.to_owned(),
                _ => return None,
            }
        }
        facts.uid = uid?;
        for line in os.lines() {
            if let Some((name, value)) = line.split_once('=')
                && !name.starts_with('#')
            {
                facts.os.insert(name.trim().to_owned(), unquoted(value.trim()));
            }
        }
        Some(facts)
    }
}

fn unquoted(value: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|&q| value.strip_prefix(q)?.strip_suffix(q));
    let mut text = String::new();
    let mut rest = inner.unwrap_or(value).chars();
    while let Some(c) = rest.next() {
        text.push(if c == '\\' { rest.next().unwrap_or('\\') } else { c });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn an_answer_becomes_facts() {
        let answer = "uid=0\nsystem=Linux\nkernel=6.1.0\nmachine=x86_64\nhostname=n1\nboot=5ab3\nos-release\n\
                      # c=d\nID=debian\nPRETTY_NAME=\"Debian \\\"12\\\"\"\n";
        let facts = Facts::parse(answer).unwrap();
        assert_eq!((facts.uid, facts.arch(), facts.boot.as_str()), (0, "amd64", "5ab3"));
        assert_eq!(facts.os["PRETTY_NAME"], "Debian \"12\"");
        assert_eq!(facts.os.len(), 2);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(Facts::parse("Welcome to SwitchOS\n"), None);
        assert_eq!(Facts::parse("uid=x\nos-release\n"), None);
    }
}
