//! `kiln cluster hosts`: what Kiln reads of the hosts of a cluster.

use kiln_clusterfile::model::{Env, Jump, Ssh};
use kiln_clusterfile::{Cluster, Host, Said};
use serde_json::{Value, json};

use super::clusterfile::HostArgs;
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::named;
use crate::table;

/// Show the hosts that a Clusterfile or a list names, with what is read of each and where it is said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    hosts: HostArgs,
    /// Print JSON, with the place of each value
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster hosts -f Clusterfile                        who they are, and how Kiln logs in
  kiln cluster hosts -f Clusterfile --nodes 10.0.0.7       with one more
  kiln cluster hosts --masters 10.0.0.1-10.0.0.3 --nodes 10.0.1.1-10.0.1.20,10.0.2.9:2222
  kiln cluster hosts -f Clusterfile --json | jq -r '.hosts[].addresses[0].value'

Nothing is asked of the hosts. Passwords are never shown.";

/// Runs the verb.
pub fn run(args: &Args, _global: &Global) -> Result<(), CliError> {
    let cluster = args.hosts.cluster()?;
    if cluster.hosts.is_empty() {
        return Err(CliError::input("no hosts are named")
            .with_hint("a Clusterfile names them in spec.hosts, or --masters and --nodes do"));
    }
    if args.json {
        return named::print_json(&json_of(&cluster));
    }
    let rows: Vec<Vec<String>> = cluster.hosts.iter().map(row).collect();
    named::print(&table::table(&["HOST", "NAME", "ROLES", "LOGIN", "LABELS", "SAID BY"], &rows))
}

fn row(host: &Host) -> Vec<String> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { error::printable(&text) };
    let joined = |words: Vec<String>| words.join(",");
    let mut addresses: Vec<String> = host.addresses.iter().map(|address| address.value.to_string()).collect();
    if let Some(address) = &host.node_address {
        addresses.push(format!("(node: {})", address.value));
    }
    let taints = host.taints.iter().map(|taint| taint.value.to_string());
    vec![
        addresses.join(" "),
        dash(host.name.as_ref().map(|name| name.value.clone()).unwrap_or_default()),
        joined(host.roles.iter().map(|role| role.value.to_string()).collect()),
        dash(login(&host.ssh)),
        dash(joined(host.labels.iter().map(|label| label.value.to_string()).chain(taints).collect())),
        host.addresses.first().map(|address| error::printable(&address.origin.to_string())).unwrap_or_default(),
    ]
}

/// `ops@:2222 key ~/.ssh/id, password, via gate.example`
fn login(ssh: &Ssh) -> String {
    let mut parts = Vec::new();
    let user = ssh.user.as_ref().map(|user| user.value.clone()).unwrap_or_default();
    match &ssh.port {
        Some(port) => parts.push(format!("{user}@:{}", port.value)),
        None if !user.is_empty() => parts.push(format!("{user}@")),
        None => {}
    }
    parts.extend(ssh.key.as_ref().map(|key| format!("key {}", key.value)));
    parts.extend(ssh.password.as_ref().map(|_| "password".to_owned()));
    if !ssh.jump.is_empty() {
        let hosts: Vec<&str> = ssh.jump.iter().map(|jump| &*jump.value.host).collect();
        parts.push(format!("via {}", hosts.join(" and ")));
    }
    parts.join(", ")
}

/// A value with its place.
fn said<T>(said: &Said<T>, value: impl Into<Value>) -> Value {
    let value: Value = value.into();
    json!({ "value": value, "by": said.origin.to_string() })
}

fn text<T: ToString>(value: &Said<T>) -> Value {
    said(value, value.value.to_string())
}

fn all<T: ToString>(values: &[Said<T>]) -> Vec<Value> {
    values.iter().map(text).collect()
}

fn env_of(env: &Env) -> Value {
    let one = |said: &Said<String>| text(said);
    env.variables.iter().map(|v| (v.name.clone(), v.values.iter().map(one).collect::<Value>())).collect()
}

fn json_of(cluster: &Cluster) -> Value {
    let hosts = cluster.hosts.iter().map(|host| {
        json!({
            "name": host.name.as_ref().map(text),
            "addresses": all(&host.addresses),
            "nodeAddress": host.node_address.as_ref().map(text),
            "roles": all(&host.roles),
            "ssh": {
                "user": host.ssh.user.as_ref().map(text),
                "port": host.ssh.port.as_ref().map(|port| said(port, port.value)),
                "key": host.ssh.key.as_ref().map(text),
                "hasPassword": host.ssh.password.is_some(),
                "jump": host.ssh.jump.iter().map(|jump| said(jump, jump_of(&jump.value))).collect::<Vec<_>>(),
            },
            "env": env_of(&host.env),
            "labels": all(&host.labels),
            "taints": all(&host.taints),
        })
    });
    json!({
        "name": text(&cluster.name),
        "image": cluster.image.as_ref().map(text),
        "moreImages": all(&cluster.more_images),
        "env": env_of(&cluster.env),
        "hosts": hosts.collect::<Vec<_>>(),
    })
}

fn jump_of(jump: &Jump) -> String {
    let user = jump.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let host = if jump.host.contains(':') { format!("[{}]", jump.host) } else { jump.host.clone() };
    let port = jump.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}
