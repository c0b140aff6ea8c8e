//! Rules and chains of Kubernetes and its networks in what `iptables-save` prints: a script that takes them out, and one
//! that puts them back. Nothing here runs a program.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::leftover::left_chain;
use crate::netlink::legacy::appended;

/// What `iptables-restore --noflush` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    /// Deletes what is Kubernetes' own.
    pub delete: String,
    /// Makes it again.
    pub restore: String,
    /// How many chains.
    pub chains: usize,
}

#[derive(Default)]
struct Table {
    chains: Vec<String>,
    /// Rules of those chains.
    own: Vec<String>,
    /// Rules of other chains that lead to them: chain, number, words.
    jumps: Vec<(String, usize, String)>,
    counts: BTreeMap<String, usize>,
}

/// The scripts for a text; nothing when it has no such chains.
///
/// A rule in another chain goes only when it leads to such a chain: what an administrator wrote stays.
pub fn scripts(saved: &str) -> Option<Scripts> {
    let mut tables: Vec<(String, Table)> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push((name.to_owned(), Table::default()));
            continue;
        }
        let Some((_, table)) = tables.last_mut() else { continue };
        if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
            if left_chain(name) {
                table.chains.push(name.to_owned());
            }
        } else if let Some((chain, words)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            let number = table.counts.entry(chain.to_owned()).or_default();
            *number += 1;
            if left_chain(chain) {
                table.own.push(line.to_owned());
            } else if leads(words) {
                table.jumps.push((chain.to_owned(), *number, words.to_owned()));
            }
        }
    }
    let chains = tables.iter().map(|(_, table)| table.chains.len()).sum();
    (chains > 0).then(|| Scripts { delete: delete(&tables), restore: restore(&tables), chains })
}

/// Whether the target of a rule is a chain of Kubernetes: its last words, for a comment may say anything.
fn leads(words: &str) -> bool {
    let mut parts = words.rsplitn(3, ' ');
    let (target, option) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    matches!(option, "-j" | "-g") && left_chain(target)
}

fn touched(tables: &[(String, Table)]) -> impl Iterator<Item = &(String, Table)> {
    tables.iter().filter(|(_, table)| !table.chains.is_empty())
}

fn delete(tables: &[(String, Table)]) -> String {
    let mut out = String::new();
    for (name, table) in touched(tables) {
        out += &format!("*{name}\n");
        table.jumps.iter().for_each(|(chain, _, words)| out += &format!("-D {chain} {words}\n"));
        // A chain that another leads to cannot be deleted: first all are emptied.
        table.chains.iter().for_each(|chain| out += &format!("-F {chain}\n"));
        table.chains.iter().for_each(|chain| out += &format!("-X {chain}\n"));
        out += "COMMIT\n";
    }
    out
}

fn restore(tables: &[(String, Table)]) -> String {
    let mut out = String::new();
    for (name, table) in touched(tables) {
        out += &format!("*{name}\n");
        table.chains.iter().for_each(|chain| out += &format!(":{chain} - [0:0]\n"));
        table.own.iter().for_each(|rule| out += &format!("{rule}\n"));
        table.jumps.iter().for_each(|(chain, number, words)| out += &format!("-I {chain} {number} {words}\n"));
        out += "COMMIT\n";
    }
    out
}

/// A script that makes rules again, without the rules of other chains that are there: they would be twice. Chains of
/// Kubernetes are emptied by their line.
pub fn lacking(script: &str, saved: &str) -> String {
    let there: BTreeSet<(&str, &str)> = appended(saved).collect();
    let (mut out, mut table) = (String::new(), "");
    for line in script.lines() {
        table = line.strip_prefix('*').unwrap_or(table);
        let inserted = line.strip_prefix("-I ").and_then(|rest| {
            let (chain, rest) = rest.split_once(' ')?;
            let (_, words) = rest.split_once(' ')?;
            Some(format!("{chain} {words}"))
        });
        if inserted.is_none_or(|rule| !there.contains(&(table, rule.as_str()))) {
            out += &format!("{line}\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
:MINE - [0:0]
-A INPUT -m comment --comment "-j KUBE-FORWARD" -j MINE
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
COMMIT
"#;

    #[test]
    fn only_what_is_kubernetes_own() {
        let scripts = scripts(SAVED).unwrap();
        assert_eq!(
            scripts.delete,
            "*filter\n-D FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n-F KUBE-FORWARD\n-X KUBE-FORWARD\nCOMMIT\n"
        );
        assert_eq!(
            scripts.restore,
            "*filter\n:KUBE-FORWARD - [0:0]\n-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n-I FORWARD 2 -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\nCOMMIT\n"
        );
        assert_eq!(scripts.chains, 1);
    }

    #[test]
    fn what_was_not_deleted_is_not_made_twice() {
        let script = scripts(SAVED).unwrap().restore;
        let whole = lacking(&script, SAVED);
        assert!(!whole.contains("-I FORWARD") && whole.contains(":KUBE-FORWARD"), "{whole}");
        let elsewhere = SAVED.replace("*filter", "*mangle");
        assert_eq!(lacking(&script, &elsewhere), script, "another table's");
        assert_eq!(lacking("-I\n-I X\n", ""), "-I\n-I X\n");
    }

    #[test]
    fn nothing_to_do() {
        for text in ["", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ":KUBE-X - [0:0]\n", "*\n:\n-A\n-A \n"] {
            assert_eq!(scripts(text), None, "{text:?}");
        }
    }
}
