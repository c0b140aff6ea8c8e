//! Hosts: what all dialects say of them in nearly the same words.

use std::net::IpAddr;

use kiln_kubeadm::hosts;
use kiln_spec::diag::{Diagnostic, did_you_mean};
use kiln_yaml::{Node, Value};

use super::cursor::{At, Cursor, Fields, printable};
use crate::model::{Env, Host, Label, Role, Said, Ssh, Taint, Variable};
use crate::words;

/// Fields of `ssh`.
pub const SSH: Fields = Fields {
    names: &["user", "passwd", "pk", "pkPasswd", "port", "jump", "sudoPasswd"],
    old: &[("password", "passwd"), ("privateKey", "pk"), ("pkPassword", "pkPasswd")],
    refused: &[
        ("encrypted", "the key of sealer's encryption is in its source: write the password, or use a key"),
        ("pkName", "write the file of the key into `pk`"),
        ("pkData", "write the key into a file that only you can read, and its name into `pk`"),
    ],
};

/// Fields of an item of `hosts`.
pub const HOST: Fields = Fields {
    names: &["ips", "roles", "ssh", "env", "labels", "taints", "name", "addresses", "nodeAddress"],
    old: &[("ip", "ips"), ("ipList", "ips"), ("role", "roles"), ("hostname", "name"), ("nodeIP", "nodeAddress")],
    refused: &[],
};

/// Labels, taints and variables of all hosts together: a group repeats them for each.
const MAX_COPIES: usize = 200_000;

/// Roles that sealos takes for architectures.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// What a group of hosts has in common.
struct Group {
    name: Option<Said<String>>,
    more: Vec<Said<IpAddr>>,
    node_address: Option<Said<IpAddr>>,
    roles: Vec<Said<Role>>,
    ssh: Ssh,
    env: Env,
    labels: Vec<Said<Label>>,
    taints: Vec<Said<Taint>>,
}

/// The items of `hosts`.
pub fn hosts(cursor: &mut Cursor, spec: &At<'_>) -> Vec<Host> {
    let mut all: Vec<Host> = Vec::new();
    let mut copies = 0;
    for (index, node) in cursor.list(spec, "hosts").iter().enumerate() {
        let place = format!("spec.hosts[{index}]");
        let Some(at) = cursor.map(node, &place, &HOST) else { continue };
        let addresses = addresses(cursor, &at, "ips", hosts::MAX_HOSTS - all.len());
        let group = group(cursor, &at);
        if addresses.is_empty() && at.get("ips").is_none_or(|ips| ips.list().is_some_and(<[Node]>::is_empty)) {
            cursor.error("NoAddress", at.span, format!("`{place}` has no addresses in `ips`"));
        }
        for (field, there) in [
            ("name", group.name.is_some()),
            ("addresses", !group.more.is_empty()),
            ("nodeAddress", group.node_address.is_some()),
        ] {
            if there && addresses.len() > 1 {
                let message = format!("`{}` is of one host, and there are {} in `ips`", at.of(field), addresses.len());
                let span = at.get(field).map_or(at.span, |node| node.span);
                cursor.push(Diagnostic::error("ManyHosts", span, message).hint("give each host an item of its own"));
            }
        }
        copies += addresses.len() * (group.labels.len() + group.taints.len() + group.env.variables.len());
        if copies > MAX_COPIES {
            let message = format!("more than {MAX_COPIES} labels, taints and variables on all hosts");
            cursor.error("TooLarge", at.span, message);
            return all;
        }
        all.extend(addresses.into_iter().map(|(address, port)| group.host(address, port)));
    }
    all
}

impl Group {
    fn host(&self, address: Said<IpAddr>, port: Option<u16>) -> Host {
        let mut ssh = self.ssh.clone();
        if let Some(port) = port {
            ssh.port = Some(Said::new(port, address.origin.clone()));
        }
        let more = self.more.iter().filter(|more| more.value != address.value).cloned().collect::<Vec<_>>();
        Host {
            name: self.name.clone(),
            addresses: std::iter::once(address).chain(more).collect(),
            node_address: self.node_address.clone(),
            roles: self.roles.clone(),
            ssh,
            env: self.env.clone(),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
        }
    }
}

fn group(cursor: &mut Cursor, at: &At<'_>) -> Group {
    let name = cursor.text(at, "name").and_then(|name| cursor.read(name, "BadName", host_name));
    let mut more = Vec::new();
    for (address, port) in addresses(cursor, at, "addresses", 64) {
        if let Some(port) = port {
            let message =
                format!("{}, port {port}: Kiln logs in at `ips`, and nothing is at a port here", address.value);
            let diagnostic = Diagnostic::error("BadAddress", super::span_of(&address.origin), message);
            cursor.push(diagnostic.hint("leave the port out, or write it behind the address in `ips`"));
        }
        more.push(address);
    }
    let node_address = cursor.address(at, "nodeAddress");
    let roles = roles(cursor, at);
    let ssh = cursor.inner(at, "ssh", &SSH).map(|at| ssh(cursor, &at)).unwrap_or_default();
    Group {
        name,
        more,
        node_address,
        roles,
        ssh,
        env: env(cursor, at),
        labels: labels(cursor, at),
        taints: taints(cursor, at),
    }
}

/// The name of a node.
pub fn host_name(word: &str) -> Result<String, String> {
    if words::is_domain(word) && word.parse::<IpAddr>().is_err() {
        return Ok(word.to_owned());
    }
    Err(format!("`{}` is no name of a host: small letters, digits, `-` and `.`", printable(word)))
}

/// The addresses of a field, which is a list, or one text with commas; ranges are expanded.
pub fn addresses(cursor: &mut Cursor, at: &At<'_>, name: &str, most: usize) -> Vec<(Said<IpAddr>, Option<u16>)> {
    let Some(node) = at.get(name) else { return Vec::new() };
    let items = match &node.value {
        Value::Text(_) => std::slice::from_ref(node),
        _ => cursor.items(node, &at.of(name)),
    };
    let mut all = Vec::new();
    for item in items {
        let Some(said) = cursor.word(item, &format!("{}[]", at.of(name))) else { continue };
        match hosts::parse(&said.value) {
            Ok(found) if all.len() + found.len() > most => {
                cursor.error("TooLarge", item.span, format!("more than {} hosts", hosts::MAX_HOSTS));
                return all;
            }
            Ok(found) => {
                all.extend(found.into_iter().map(|host| (cursor.said(host.address, item.span), host.port)));
            }
            Err(error) => {
                let span = cursor.part(item, error.at, error.part.len());
                cursor.error("BadAddress", span, format!("`{}`: {}", printable(&error.part), printable(&error.why)));
            }
        }
    }
    all
}

fn roles(cursor: &mut Cursor, at: &At<'_>) -> Vec<Said<Role>> {
    let mut roles: Vec<Said<Role>> = Vec::new();
    let single = at.get("roles").filter(|node| node.text().is_some());
    let words = match single {
        Some(node) => cursor.word(node, &at.of("roles")).into_iter().collect(),
        None => cursor.words(at, "roles"),
    };
    for word in words {
        let span = super::span_of(&word.origin);
        if ARCHITECTURES.contains(&&*word.value) {
            cursor.note(span, format!("the role `{}` is not read: Kiln asks hosts what they are", word.value));
            continue;
        }
        if let Err(why) = words::label_key(&word.value) {
            cursor.error("BadRole", span, why);
            continue;
        }
        let role = Role::of(&word.value);
        let known = ["master", "control-plane", "node", "worker", "etcd", "registry"];
        if let (Role::Custom(custom), Some(meant)) = (&role, did_you_mean(&word.value, known)) {
            let message = format!("`{custom}` is no role that does something");
            cursor.push(Diagnostic::warning("UnknownRole", span, message).hint(format!("did you mean `{meant}`?")));
        }
        if !roles.iter().any(|known| known.value == role) {
            roles.push(Said::new(role, word.origin));
        }
    }
    if roles.iter().all(|role| matches!(role.value, Role::Custom(_))) {
        let message = format!("`{}` has neither the role master nor node", at.place);
        let hint = "write `roles: [master]` or `roles: [node]`";
        cursor.push(Diagnostic::error("NoRole", at.span, message).hint(hint));
    }
    roles
}

/// How to log in.
pub fn ssh(cursor: &mut Cursor, at: &At<'_>) -> Ssh {
    let user = cursor.text(at, "user").and_then(|user| {
        cursor.read(user, "BadUser", |user| {
            let fits = !user.starts_with('-') && user.bytes().all(|b| b.is_ascii_graphic());
            if fits { Ok(user.to_owned()) } else { Err(format!("`{}` is no name of a user", printable(user))) }
        })
    });
    let mut jump = Vec::new();
    if let Some(node) = at.get("jump") {
        let words = match node.text() {
            Some(_) => cursor.word(node, &at.of("jump")).into_iter().collect(),
            None => cursor.words(at, "jump"),
        };
        for word in words {
            let parts: Vec<Said<String>> =
                word.value.split(',').map(|part| Said::new(part.trim().to_owned(), word.origin.clone())).collect();
            jump.extend(parts.into_iter().filter_map(|part| cursor.read(part, "BadHost", words::jump)));
        }
        if jump.len() > 8 {
            cursor.error("TooLarge", node.span, "more than 8 hosts to go through");
        }
    }
    Ssh {
        user,
        port: cursor.port(at, "port"),
        password: cursor.secret(at, "passwd"),
        key: cursor.text(at, "pk"),
        passphrase: cursor.secret(at, "pkPasswd"),
        jump,
        sudo_password: cursor.secret(at, "sudoPasswd"),
    }
}

/// `env`, a list of `K=V`.
pub fn env(cursor: &mut Cursor, at: &At<'_>) -> Env {
    if let Some(node) = at.get("env")
        && node.map().is_some()
    {
        let message = format!("`{}` is a list; this is a map", at.of("env"));
        cursor.push(Diagnostic::error("WrongType", node.span, message).hint("write `- NAME=VALUE` for each"));
        return Env::default();
    }
    let mut env = Env::default();
    for word in cursor.words(at, "env") {
        let span = super::span_of(&word.origin);
        if let Err(why) = env.add(&word) {
            cursor.error("BadVariable", span, why);
        }
    }
    env
}

impl Env {
    /// Adds `NAME=VALUE`; a value with `;` in it is several.
    pub(crate) fn add(&mut self, word: &Said<String>) -> Result<(), String> {
        let Some((name, value)) = word.value.split_once('=') else {
            return Err(format!("`{}` is not NAME=VALUE", printable(&word.value)));
        };
        if !words::is_variable(name) {
            let shown = printable(name);
            return Err(format!("`{shown}` is no name of a variable: letters, digits and `_`, no digit first"));
        }
        if value.contains('\0') {
            return Err(format!("the value of `{name}` has a NUL byte"));
        }
        let values = value.split(';').map(|value| Said::new(value.to_owned(), word.origin.clone()));
        match self.variables.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => variable.values.extend(values),
            None => self.variables.push(Variable { name: name.to_owned(), values: values.collect() }),
        }
        Ok(())
    }
}

fn labels(cursor: &mut Cursor, at: &At<'_>) -> Vec<Said<Label>> {
    let Some(node) = at.get("labels") else { return Vec::new() };
    let Some(map) = node.map() else {
        cursor.mistyped(node, &at.of("labels"), "a map");
        return Vec::new();
    };
    let mut labels = Vec::new();
    for entry in &map.entries {
        let value = match &entry.value.value {
            Value::Text(text) => text.clone(),
            Value::Null => String::new(),
            _ => {
                cursor.mistyped(&entry.value, &format!("{}.{}", at.of("labels"), printable(&entry.key)), "a string");
                continue;
            }
        };
        let checked = words::label_key(&entry.key).map_err(|why| (entry.span, why));
        match checked.and_then(|()| words::label_value(&value).map_err(|why| (entry.value.span, why))) {
            Ok(()) => labels.push(cursor.said(Label { key: entry.key.clone(), value: Some(value) }, entry.span)),
            Err((span, why)) => cursor.error("BadLabel", span, printable(&why)),
        }
    }
    labels
}

fn taints(cursor: &mut Cursor, at: &At<'_>) -> Vec<Said<Taint>> {
    let words = cursor.words(at, "taints");
    words.into_iter().filter_map(|word| cursor.read(word, "BadTaint", words::taint)).collect()
}
