//! What the command line says: over the Clusterfile, if there is one.
//!
//! | option | beside a Clusterfile |
//! |---|---|
//! | `--masters`, `--nodes` | hosts that are not in it are added; one that is must have the role there |
//! | `-u`, `-p`, `--port`, `--pk`, `--pk-passwd` | win over `spec.ssh`; what a host says for itself wins over them |
//! | `-e NAME=VALUE` | the variable of the cluster has these values only |
//! | `--cmds`, `--cmd-args`, the images, the name | take the place of what it says |
//! | `--node-address HOST=ADDRESS` | the address by which peers reach the host |

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

use kiln_kubeadm::hosts;
use kiln_oci::Reference;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};

use crate::model::{Cluster, Env, Host, Origin, Role, Said, Ssh};
use crate::read::{Found, address, host_name};
use crate::secret::Secret;

/// Values of options, as they are given. What is None or empty was not.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The cluster image.
    pub image: Option<String>,
    /// Further images behind it: with [`image`](Flags::image) only, for together they take the place of the file's.
    pub more_images: Vec<String>,
    /// The name of the cluster.
    pub name: Option<String>,
    /// `--masters`: addresses with commas, and ranges.
    pub masters: Option<String>,
    /// `--nodes`: likewise.
    pub nodes: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--passwd`
    pub password: Option<Secret>,
    /// `--port`
    pub port: Option<u16>,
    /// `--pk`: the file of a private key.
    pub key: Option<String>,
    /// `--pk-passwd`
    pub passphrase: Option<Secret>,
    /// `--env`, each `NAME=VALUE`.
    pub env: Vec<String>,
    /// `--cmds`: commands in place of the image's.
    pub commands: Vec<String>,
    /// `--cmd-args`
    pub args: Vec<String>,
    /// `--node-address`, each `HOST=ADDRESS`.
    pub node_addresses: Vec<String>,
}

/// Puts them into the cluster; `common` is how its file logs in to all hosts. The result is what is wrong with them.
pub(crate) fn apply(flags: &Flags, cluster: &mut Cluster, common: Ssh) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some(image) = &flags.image {
        let mut images = Vec::new();
        for image in [image].into_iter().chain(&flags.more_images) {
            match Reference::from_str(image) {
                Ok(reference) => images.push(Said::new(reference, Origin::Flag("the command line"))),
                Err(error) => found.push(wrong("the image", image, None, error.to_string())),
            }
        }
        let mut images = images.into_iter();
        cluster.image = images.next();
        cluster.more_images = images.collect();
    }
    if let Some(name) = &flags.name {
        match host_name(name) {
            Ok(name) => cluster.name = Said::new(name, Origin::Flag("--name")),
            Err(why) => found.push(wrong("--name", name, None, why)),
        }
    }
    for (list, flag, role) in [(&flags.masters, "--masters", Role::Master), (&flags.nodes, "--nodes", Role::Node)] {
        if let Some(list) = list {
            found.extend(add(list, flag, &role, cluster));
        }
    }
    found.extend(env(&flags.env, cluster));
    for (words, flag, into) in
        [(&flags.commands, "--cmds", &mut cluster.command), (&flags.args, "--cmd-args", &mut cluster.args)]
    {
        if !words.is_empty() {
            *into = words.iter().map(|word| Said::new(word.clone(), Origin::Flag(flag))).collect();
        }
    }
    let common = over(ssh(flags, &mut found), &common);
    for host in &mut cluster.hosts {
        host.ssh = over(std::mem::take(&mut host.ssh), &common);
    }
    found.extend(node_addresses(&flags.node_addresses, cluster));
    found
}

/// A mistake in what an option was given.
fn wrong(flag: &str, text: &str, part: Option<(usize, usize)>, why: String) -> Found {
    let (start, length) = part.unwrap_or((0, text.len()));
    let span = Span::new(start.min(text.len()), (start + length).min(text.len()));
    Found {
        source: Source { name: flag.to_owned(), text: text.to_owned() },
        diagnostic: Diagnostic::error("BadOption", span, why),
    }
}

/// Hosts of a list get a role.
fn add(list: &str, flag: &'static str, role: &Role, cluster: &mut Cluster) -> Vec<Found> {
    let named = match hosts::parse(list) {
        Ok(named) => named,
        Err(error) => return vec![wrong(flag, list, Some((error.at, error.part.len())), error.to_string())],
    };
    if cluster.hosts.len() + named.len() > hosts::MAX_HOSTS {
        return vec![wrong(flag, list, None, format!("more than {} hosts with those of the file", hosts::MAX_HOSTS))];
    }
    let known: HashMap<IpAddr, usize> = cluster
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(i, host)| host.addresses.iter().map(move |address| (address.value, i)))
        .collect();
    let mut found = Vec::new();
    for hosts::Host { address, port } in named {
        let origin = Origin::Flag(flag);
        let port = port.map(|port| Said::new(port, origin.clone()));
        if let Some(there) = known.get(&address).and_then(|i| cluster.hosts.get_mut(*i)) {
            if !there.is(role) {
                let (roles, place) = (words(there), there.addresses[0].origin.clone());
                let why = format!("{address} has the role {roles} already, by {place}");
                let at = list.find(&address.to_string()).map(|at| (at, address.to_string().len()));
                found.push(wrong(flag, list, at, why));
            }
            there.ssh.port = port.or(there.ssh.port.take());
            continue;
        }
        cluster.hosts.push(Host {
            name: None,
            addresses: vec![Said::new(address, origin.clone())],
            node_address: None,
            roles: vec![Said::new(role.clone(), origin)],
            ssh: Ssh { port, ..Ssh::default() },
            env: Env::default(),
            labels: Vec::new(),
            taints: Vec::new(),
        });
    }
    found
}

fn words(host: &Host) -> String {
    host.roles.iter().map(|role| role.value.to_string()).collect::<Vec<_>>().join(" and ")
}

fn env(words: &[String], cluster: &mut Cluster) -> Vec<Found> {
    let (mut env, mut found) = (Env::default(), Vec::new());
    for word in words {
        if let Err(why) = env.add(&Said::new(word.clone(), Origin::Flag("--env"))) {
            found.push(wrong("--env", word, None, why));
        }
    }
    for variable in env.variables {
        match cluster.env.variables.iter_mut().find(|there| there.name == variable.name) {
            Some(there) => *there = variable,
            None => cluster.env.variables.push(variable),
        }
    }
    found
}

fn ssh(flags: &Flags, found: &mut Vec<Found>) -> Ssh {
    let said = |value: &Option<String>, flag| value.clone().map(|value| Said::new(value, Origin::Flag(flag)));
    let secret = |value: &Option<Secret>, flag| value.clone().map(|value| Said::new(value, Origin::Flag(flag)));
    if let Some(user) = &flags.user
        && (user.is_empty() || user.starts_with('-') || !user.bytes().all(|b| b.is_ascii_graphic()))
    {
        found.push(wrong("--user", user, None, "this is no name of a user".to_owned()));
    }
    Ssh {
        user: said(&flags.user, "--user"),
        port: flags.port.map(|port| Said::new(port, Origin::Flag("--port"))),
        password: secret(&flags.password, "--passwd"),
        key: said(&flags.key, "--pk"),
        passphrase: secret(&flags.passphrase, "--pk-passwd"),
        jump: Vec::new(),
        sudo_password: None,
    }
}

/// What is said for one host, over what is said for all.
fn over(own: Ssh, common: &Ssh) -> Ssh {
    Ssh {
        user: own.user.or_else(|| common.user.clone()),
        port: own.port.or_else(|| common.port.clone()),
        password: own.password.or_else(|| common.password.clone()),
        key: own.key.or_else(|| common.key.clone()),
        passphrase: own.passphrase.or_else(|| common.passphrase.clone()),
        jump: if own.jump.is_empty() { common.jump.clone() } else { own.jump },
        sudo_password: own.sudo_password.or_else(|| common.sudo_password.clone()),
    }
}

fn node_addresses(words: &[String], cluster: &mut Cluster) -> Vec<Found> {
    const FLAG: &str = "--node-address";
    let mut found = Vec::new();
    for word in words {
        let Some((host, wanted)) = word.split_once('=') else {
            found.push(wrong(FLAG, word, None, "this is not HOST=ADDRESS".to_owned()));
            continue;
        };
        let wanted = match address(wanted) {
            Ok(wanted) => wanted,
            Err(why) => {
                found.push(wrong(FLAG, word, Some((host.len() + 1, wanted.len())), why));
                continue;
            }
        };
        let ip = host.parse::<IpAddr>().ok();
        let named = cluster.hosts.iter_mut().find(|known| {
            known.name.as_ref().is_some_and(|name| name.value == host)
                || known.addresses.iter().any(|address| Some(address.value) == ip)
        });
        match named {
            Some(named) => named.node_address = Some(Said::new(wanted, Origin::Flag(FLAG))),
            None => {
                let why = format!("no host has the name or address `{host}`");
                found.push(wrong(FLAG, word, Some((0, host.len())), why));
            }
        }
    }
    found
}
