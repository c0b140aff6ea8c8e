//! The hosts that a Clusterfile names: sealer's (v1 `masters.ipList`, v2 `hosts[].ips`) and sealos's (`ip:port`).

use serde_json::Value;

/// A host to connect to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// The port, if it says one.
    pub port: Option<u16>,
    /// Who to log in as.
    pub user: Option<String>,
    /// A password that it has for the host.
    pub password: Option<String>,
    /// A file with a private key.
    pub key: Option<String>,
}

/// More hosts than clusters have.
const HOSTS: usize = 5000;

/// The hosts of all documents that describe a cluster.
///
/// # Errors
/// When it is no YAML, or names no hosts; the place is in the words.
pub fn hosts(text: &str) -> Result<Vec<Target>, String> {
    let mut out: Vec<Target> = Vec::new();
    for document in documents(text) {
        let value: Value = serde_saphyr::from_str(&document).map_err(|error| error.to_string())?;
        let Some(spec) = value.get("spec") else { continue };
        for target in of_spec(spec) {
            if !out.iter().any(|known| known.host == target.host && known.port == target.port) {
                out.push(target);
            }
        }
    }
    match out.len() {
        0 => Err("names no hosts: neither spec.hosts[].ips nor spec.masters.ipList".to_owned()),
        count if count > HOSTS => Err(format!("names {count} hosts; {HOSTS} are the most")),
        _ => Ok(out),
    }
}

/// Documents of YAML; empty lines keep the places in errors true.
fn documents(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        if line.trim_end() == "---" {
            out.push("\n".repeat(number + 1));
        } else if let Some(last) = out.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    out.retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    out
}

fn of_spec(spec: &Value) -> Vec<Target> {
    let common = spec.get("ssh");
    let mut out = Vec::new();
    for group in spec.get("hosts").and_then(Value::as_array).into_iter().flatten() {
        let own = group.get("ssh").or(common);
        out.extend(ips(group.get("ips")).map(|ip| target(ip, own.into_iter().chain(common))));
    }
    for role in ["masters", "nodes"] {
        out.extend(ips(spec.pointer(&format!("/{role}/ipList"))).map(|ip| target(ip, common.into_iter().chain(None))));
    }
    out
}

fn ips(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The first of the two settings counts.
fn target<'a>(ip: &str, ssh: impl Iterator<Item = &'a Value>) -> Target {
    let mut out = Target { host: ip.to_owned(), ..Target::default() };
    if let Some((host, port)) = ip.rsplit_once(':')
        && !host.contains(':')
        && let Ok(port) = port.parse()
    {
        (out.host, out.port) = (host.to_owned(), Some(port));
    }
    for ssh in ssh {
        let text = |key: &str| match ssh.get(key)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        out.user = out.user.or_else(|| text("user"));
        out.password = out.password.or_else(|| text("passwd"));
        out.key = out.key.or_else(|| text("pk"));
        out.port = out.port.or_else(|| text("port")?.parse().ok());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, Option<u16>, Option<String>)> {
        hosts(text).unwrap().into_iter().map(|t| (t.host, t.port, t.user)).collect()
    }

    #[test]
    fn dialects() {
        let v2 = "kind: Cluster\nspec:\n  ssh: {user: ops, port: 2222}\n  hosts:\n  - ips: [10.0.0.1, 10.0.0.2]\n    roles: [master]\n  - ips: [10.0.0.3]\n    ssh: {user: root}\n---\nkind: Config\nspec: {path: etc}\n";
        let ops = Some("ops".to_owned());
        assert_eq!(
            names(v2)[..2],
            [("10.0.0.1".to_owned(), Some(2222), ops.clone()), ("10.0.0.2".to_owned(), Some(2222), ops)]
        );
        assert_eq!(names(v2)[2], ("10.0.0.3".to_owned(), Some(2222), Some("root".to_owned())));
        let v1 = "spec:\n  masters: {ipList: [10.0.0.1]}\n  nodes: {ipList: [10.0.0.2]}\n";
        assert_eq!(names(v1).len(), 2);
        assert_eq!(names("spec: {hosts: [{ips: ['10.0.0.1:2022']}]}")[0].1, Some(2022));
    }

    #[test]
    fn what_is_none() {
        for bad in [
            "",
            "a: b",
            "spec: {hosts: 7}",
            "spec: {hosts: [{ips: [7]}]}",
            "\t",
            "spec: [",
            "spec:\n  masters: {ipList: []}",
        ] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
    }
}
