//! Documents of kind Plugin: what else to do, when, and on which hosts.

use std::net::IpAddr;

use kiln_kubeadm::hosts;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;
use kiln_yaml::inner::Places;

use super::cursor::{At, Cursor, Fields, printable};
use super::{host, span_of};
use crate::model::{Action, Phase, Plugin, Role, Said, Selector};
use crate::words;

const SPEC: Fields = Fields::new(&["type", "action", "on", "scope", "data"]);

/// Types, and the phase that each has where it says none.
const TYPES: [(&str, Option<Phase>); 6] = [
    ("SHELL", None),
    ("HOSTNAME", Some(Phase::PreInitHost)),
    ("LABEL", Some(Phase::PreGuest)),
    ("TAINT", Some(Phase::PreGuest)),
    ("ETCD", Some(Phase::PostInstall)),
    ("CLUSTERCHECK", Some(Phase::PreGuest)),
];

/// Names of phases. Those of sealer's plugins before v0.9 are about all hosts of an operation: `true`.
const PHASES: [(&str, Phase, bool); 22] = [
    ("Originally", Phase::PreInstall, true),
    ("PreInit", Phase::PreInitHost, true),
    ("PreJoin", Phase::PreScaleUp, true),
    ("PostJoin", Phase::PostScaleUp, true),
    ("PreGuest", Phase::PreGuest, true),
    ("PostInstall", Phase::PostInstall, true),
    ("PreClean", Phase::PreUninstall, true),
    ("PostClean", Phase::PostUninstall, true),
    ("pre-install", Phase::PreInstall, false),
    ("post-install", Phase::PostInstall, false),
    ("pre-uninstall", Phase::PreUninstall, false),
    ("post-uninstall", Phase::PostUninstall, false),
    ("pre-scaleup", Phase::PreScaleUp, false),
    ("post-scaleup", Phase::PostScaleUp, false),
    ("upgrade", Phase::Upgrade, false),
    ("upgrade-cluster", Phase::Upgrade, false),
    ("rollback", Phase::Rollback, false),
    ("pre-init-host", Phase::PreInitHost, false),
    ("post-init-host", Phase::PostInitHost, false),
    ("pre-clean-host", Phase::PreCleanHost, false),
    ("post-clean-host", Phase::PostCleanHost, false),
    ("upgrade-host", Phase::UpgradeHost, false),
];

/// Hosts with labels or taints in the data of one plugin, each time they are named.
const MAX_PAIRS: usize = 200_000;
/// Where snapshots of etcd go.
const BACKUPS: &str = "/var/backups/etcd";

/// Reads one, whose name is known. `text` is the whole file.
pub fn plugin(cursor: &mut Cursor, root: &At<'_>, name: Said<String>, text: &str) -> Option<Plugin> {
    let Some(at) = cursor.inner(root, "spec", &SPEC) else {
        cursor.error("NoSpec", root.span, format!("the Plugin `{}` has no `spec`", printable(&name.value)));
        return None;
    };
    let (kind, default) = kind(cursor, &at, &name)?;
    let (phases, old) = phases(cursor, &at);
    let phases = match (phases.is_empty(), default) {
        (false, _) => phases,
        (true, Some(phase)) if at.get("action").is_none() => vec![Said::default_of(phase)],
        (true, _) => {
            if at.get("action").is_none() {
                let message = format!("the Plugin `{}` has no `action`, which says when", printable(&name.value));
                cursor.error("NoField", at.span, message);
            }
            return None;
        }
    };
    let on = on(cursor, &at, old);
    let action = action(cursor, &at, kind, text)?;
    Some(Plugin { name, phases, on, action, origin: cursor.origin(root.span) })
}

/// The type, which older releases had as the name.
fn kind(cursor: &mut Cursor, at: &At<'_>, name: &Said<String>) -> Option<(&'static str, Option<Phase>)> {
    let (word, span) = match cursor.text(at, "type") {
        Some(said) => {
            let span = span_of(&said.origin);
            (said.value, span)
        }
        None => (name.value.clone(), span_of(&name.origin)),
    };
    let upper = word.to_uppercase();
    let known = TYPES.into_iter().find(|(known, _)| *known == upper);
    match known {
        Some((known, _)) if at.get("type").is_none() => {
            cursor.note(span, format!("the name `{}` is read as the type {known}", word));
        }
        Some((known, _)) if known != word => cursor.note(span, format!("the type `{word}` is read as {known}")),
        Some(_) => {}
        None if at.get("type").is_none() => {
            cursor.error("NoField", at.span, format!("the Plugin `{}` has no `type`", printable(&word)));
        }
        None => {
            let message = format!("`{}` is no type of plugin that Kiln has", printable(&word));
            let diagnostic = Diagnostic::error("UnknownType", span, message);
            let near = kiln_spec::diag::did_you_mean(&upper, TYPES.map(|(known, _)| known)).is_some();
            cursor.push(if near {
                diagnostic.suggest(&upper, TYPES.map(|(known, _)| known))
            } else {
                diagnostic.hint("plugins of Go (.so files) cannot be loaded: write it as one of type SHELL")
            });
        }
    }
    known
}

/// The phases, and whether they are named as sealer's older releases did.
fn phases(cursor: &mut Cursor, at: &At<'_>) -> (Vec<Said<Phase>>, bool) {
    let Some(said) = cursor.text(at, "action") else { return (Vec::new(), true) };
    let (mut phases, mut old): (Vec<Said<Phase>>, bool) = (Vec::new(), false);
    for word in said.value.split('|').map(str::trim) {
        let Some((_, phase, is_old)) = PHASES.iter().find(|(name, ..)| *name == word) else {
            let message = format!("`{}` is no phase", printable(word));
            let diagnostic = Diagnostic::error("UnknownPhase", span_of(&said.origin), message);
            cursor.push(diagnostic.suggest(word, PHASES.iter().map(|(name, ..)| *name)));
            continue;
        };
        old |= is_old;
        if !phases.iter().any(|known| known.value == *phase) {
            phases.push(Said::new(*phase, said.origin.clone()));
        }
    }
    (phases, old)
}

/// Which hosts: `on` of older releases, `scope` of newer ones.
fn on(cursor: &mut Cursor, at: &At<'_>, old: bool) -> Said<Selector> {
    let (on, scope) = (cursor.text(at, "on"), cursor.text(at, "scope"));
    if let (Some(_), Some(scope)) = (&on, &scope) {
        let message = format!("`{}` beside `{}`", at.of("scope"), at.of("on"));
        cursor.error("Conflict", span_of(&scope.origin), message);
    }
    let default = Said::default_of(if old { Selector::All } else { Selector::Phase });
    let Some(said) = on.or(scope) else { return default };
    cursor.read(said, "BadSelector", selector).unwrap_or(default)
}

/// `master`, `master|node`, `10.0.0.1,10.0.0.3-10.0.0.5`, `key=value,key`.
fn selector(text: &str) -> Result<Selector, String> {
    let text = text.trim();
    let words: Vec<&str> = text.split(['|', ',']).map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err("no hosts are named".to_owned());
    }
    if words.len() > 1000 {
        return Err("more than 1000 words".to_owned());
    }
    if words == ["all"] {
        return Ok(Selector::All);
    }
    let role = |word: &&str| !matches!(Role::of(word), Role::Custom(_));
    if words.iter().all(role) {
        return Ok(Selector::Roles(words.into_iter().map(Role::of).collect()));
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '[') || text.parse::<IpAddr>().is_ok() {
        let found = hosts::parse(text).map_err(|error| error.to_string())?;
        no_ports(&found)?;
        return Ok(Selector::Addresses(found.into_iter().map(|host| host.address).collect()));
    }
    if text.contains('=') || text.contains('/') {
        let mut labels = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
            words::label_key(key)?;
            value.map_or(Ok(()), words::label_value)?;
            labels.push((key.to_owned(), value.map(str::to_owned)));
        }
        return Ok(Selector::Labels(labels));
    }
    if let [word] = &*words {
        words::label_key(word)?;
        return Ok(Selector::Roles(vec![Role::of(word)]));
    }
    Err(format!("`{}` selects no hosts: write a role, addresses, or labels as KEY=VALUE", printable(text)))
}

fn no_ports(hosts: &[hosts::Host]) -> Result<(), String> {
    match hosts.iter().find(|host| host.port.is_some()) {
        Some(host) => Err(format!("`{host}`: a port has no meaning here")),
        None => Ok(()),
    }
}

fn action(cursor: &mut Cursor, at: &At<'_>, kind: &str, text: &str) -> Option<Action> {
    let data = cursor.text(at, "data");
    if data.is_none() && !matches!(kind, "ETCD" | "CLUSTERCHECK") {
        cursor.error("NoField", at.span, format!("`{}` has no `data`", at.place));
        return None;
    }
    Some(match kind {
        "SHELL" => Action::Shell(data?),
        "HOSTNAME" => {
            Action::Hostname(pairs(cursor, at, text, "ADDRESS NAME", |word| Ok(vec![host::host_name(word)?])))
        }
        "LABEL" => Action::Label(pairs(cursor, at, text, "ADDRESSES KEY=VALUE,…", |word| {
            word.split(',').filter(|word| !word.is_empty()).map(words::label).collect()
        })),
        "TAINT" => Action::Taint(pairs(cursor, at, text, "ADDRESSES KEY=VALUE:EFFECT", |word| {
            word.split(',').filter(|word| !word.is_empty()).map(words::taint).collect()
        })),
        "ETCD" => Action::EtcdBackup(match data {
            None => Said::default_of(BACKUPS.to_owned()),
            Some(data) => cursor.read(data, "BadPath", |path| {
                let path = path.trim();
                let wrong = !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\n');
                if wrong { Err("the data of ETCD is a directory, from `/`".to_owned()) } else { Ok(path.to_owned()) }
            })?,
        }),
        _ => {
            if let Some(data) = data {
                cursor.error("Unsupported", span_of(&data.origin), "CLUSTERCHECK takes no data");
            }
            Action::ClusterCheck
        }
    })
}

/// Lines of `ADDRESSES WORDS`, each with its place in the file.
fn pairs<T: Clone>(
    cursor: &mut Cursor,
    at: &At<'_>,
    text: &str,
    form: &str,
    read: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Vec<Said<(IpAddr, T)>> {
    let Some(node) = at.get("data") else { return Vec::new() };
    let places = Places::of(node, text);
    let (mut all, mut offset): (Vec<Said<(IpAddr, T)>>, usize) = (Vec::new(), 0);
    for line in node.text().unwrap_or_default().split_inclusive('\n') {
        let start = offset + (line.len() - line.trim_start().len());
        let word = line.trim();
        offset += line.len();
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        let span = places.outer(Span::new(start, start + word.len()));
        match pair(word, form, &read) {
            Ok((addresses, values)) if all.len() + addresses.len() * values.len() > MAX_PAIRS => {
                cursor.error("TooLarge", span, format!("more than {MAX_PAIRS} pairs of hosts and words"));
                return all;
            }
            Ok((addresses, values)) => {
                for address in addresses {
                    all.extend(values.iter().map(|value| cursor.said((address, value.clone()), span)));
                }
            }
            Err(why) => cursor.error("BadData", span, printable(&why)),
        }
    }
    all
}

fn pair<T>(
    line: &str,
    form: &str,
    read: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Result<(Vec<IpAddr>, Vec<T>), String> {
    let mut words = line.split_whitespace();
    let (Some(addresses), Some(word), None) = (words.next(), words.next(), words.next()) else {
        return Err(format!("this line is not `{form}`"));
    };
    let found = hosts::parse(addresses).map_err(|error| error.to_string())?;
    no_ports(&found)?;
    Ok((found.into_iter().map(|host| host.address).collect(), read(word)?))
}
