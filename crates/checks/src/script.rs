//! What a script that changes an image does that such images had better not: known by its lines, before it runs.
//!
//! A script is a program, and may do anything in ways that nobody can see from outside. What is found here is what people
//! write; a script without findings may still do it, and then the checks of the result tell.

use crate::guard::{self, Protected};
use crate::read::sysctl::canonical;

/// The largest script that is looked at.
pub const MAX: usize = 4 << 20;

/// A line of a script that does what it should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The id of the family of checks that it is about.
    pub id: &'static str,
}

/// What a script does that it should not: set parameters of `table` that are not allowed by name, update every package.
pub fn doubts(text: &str, table: &[Protected], allowed: &[String]) -> Vec<Doubt> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.trim();
        if code.starts_with('#') || code.len() > MAX {
            continue;
        }
        found.extend(updates(code).map(|command| Doubt {
            line: at + 1,
            message: format!("`{command}` updates every package: the kernel and runtime that were tested are gone"),
            hint: "name the packages that are needed".to_owned(),
            id: "os.timers.autoupdate",
        }));
        for protected in table.iter().filter(|protected| !allowed.iter().any(|name| name == protected.key)) {
            if sets(code, protected.key) {
                found.push(Doubt {
                    line: at + 1,
                    message: format!(
                        "sets {}, which {} owns and sets to {}",
                        protected.key, protected.owner, protected.value
                    ),
                    hint: format!("leave it out, or allow it by name: {}", protected.key),
                    id: "os.sysctl.protected",
                });
            }
        }
    }
    found
}

/// The same for parameters of ACK.
pub fn doubts_for_ack(text: &str) -> Vec<Doubt> {
    doubts(text, &guard::ACK, &[])
}

/// A command of a line that updates all packages.
fn updates(line: &str) -> Option<String> {
    for command in line.split([';', '|', '&']) {
        let words: Vec<&str> =
            command.split_whitespace().filter(|word| *word != "sudo" && !word.contains('=')).collect();
        let Some((program, rest)) = words.split_first() else { continue };
        let mut plain = rest.iter().filter(|word| !word.starts_with('-'));
        let Some(verb) = plain.next() else { continue };
        let names_packages = plain.next().is_some();
        let all = match program.rsplit('/').next().unwrap_or(program) {
            "yum" | "dnf" | "microdnf" | "tdnf" => {
                matches!(*verb, "update" | "upgrade" | "distro-sync") && !names_packages
            }
            "apt" | "apt-get" | "aptitude" => {
                matches!(*verb, "upgrade" | "dist-upgrade" | "full-upgrade" | "safe-upgrade")
            }
            "zypper" => matches!(*verb, "update" | "up" | "dup" | "dist-upgrade") && !names_packages,
            "apk" => *verb == "upgrade" && !names_packages,
            _ => false,
        };
        if all {
            return Some(words.join(" "));
        }
    }
    None
}

/// Whether a line sets a parameter: `sysctl -w key=value`, or `key = value` as part of a file that it writes.
fn sets(line: &str, key: &str) -> bool {
    let path = key.replace('.', "/");
    let part = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    for (at, _) in line.match_indices('=') {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let start =
            before.rfind(|c: char| !part(c)).map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        if canonical(before[start..].trim_start_matches('-')) == key {
            return true;
        }
    }
    // A value that is written where the kernel takes it.
    line.contains('>') && line.contains(&format!("/proc/sys/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_known() {
        let script = "#!/bin/sh\n# yum update -y\nyum update -y\nyum -y update kernel\nsudo apt-get update && sudo DEBIAN_FRONTEND=x apt-get -y dist-upgrade\n\
            sysctl -w vm.max_map_count=1\necho 'net.core.somaxconn = 1' >> /etc/sysctl.conf\ncat > /etc/sysctl.d/x.conf <<EOF\nnet/ipv4/ip_forward=0\nEOF\n\
            echo 1 > /proc/sys/fs/file-max\nx_vm.max_map_count=1\nsysctl vm.max_map_count\nzypper up curl\ndnf upgrade\n";
        let found: Vec<(usize, &str)> = doubts_for_ack(script).iter().map(|d| (d.line, d.id)).collect();
        let (update, sysctl) = ("os.timers.autoupdate", "os.sysctl.protected");
        assert_eq!(
            found,
            [(3, update), (5, update), (6, sysctl), (7, sysctl), (9, sysctl), (11, sysctl), (15, update)]
        );
        assert_eq!(doubts("sysctl -w vm.max_map_count=1", &guard::ACK, &["vm.max_map_count".to_owned()]), []);
        assert_eq!(
            doubts_for_ack("sysctl -w fs.file-max=1")[0].message,
            "sets fs.file-max, which ACK owns and sets to 2097152"
        );
    }

    #[test]
    fn binaries_and_long_lines_end_soon() {
        let long = format!("ä={}", "=ö".repeat(100_000));
        assert_eq!(doubts_for_ack(&long), []);
        assert_eq!(doubts_for_ack("\u{0}=\u{fffd}\r\n=\n"), []);
    }
}
