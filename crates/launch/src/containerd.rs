//! containerd's configuration on a host: what was there, with what Kubernetes needs; and where images come from.
//!
//! What is there is read as TOML and written anew, so that settings of the host's owner stay and comments do not; the
//! original is kept for the reset. Version 2 of the format is read by containerd 1.x and 2.x, version 3 by 2.x.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};

/// What containerd is to be set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of pods' sandboxes: the one that the cluster image contains.
    pub sandbox: Option<String>,
    /// Whether systemd manages control groups.
    pub systemd_cgroup: bool,
    /// The directory with a directory for each registry.
    pub certs: String,
    /// Where CNI plugins are.
    pub cni_bin: Option<String>,
}

/// What the part of a mirror begins with in a `hosts.toml`.
const HOST: &str = "\n[host.";

/// What the header begins with that says who asks.
const AUTHORIZATION: &str = "\nAuthorization = ";

/// Where directories of registries are.
pub const CERTS: &str = "/etc/containerd/certs.d";

const CRI: &str = "io.containerd.grpc.v1.cri";
const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";
const CRI_IMAGES: &str = "io.containerd.cri.v1.images";

/// The configuration with these settings, over what is there. `None` for `text` is a host without one.
///
/// # Errors
/// What of the text cannot be used.
pub fn merge(text: Option<&str>, settings: &Settings) -> Result<String, String> {
    let mut root: Table = match text {
        Some(text) => toml::from_str(text).map_err(|error| error.message().to_owned())?,
        None => Table::new(),
    };
    let version = match root.get("version") {
        None if root.is_empty() => 2,
        None => 1,
        Some(value) => value.as_integer().unwrap_or(0),
    };
    root.insert("version".into(), Value::Integer(version));
    if let Some(Value::Array(off)) = root.get_mut("disabled_plugins") {
        off.retain(|plugin| !matches!(plugin.as_str(), Some("cri" | CRI)));
    }
    let text = |text: &str| Value::String(text.to_owned());
    let (runtime, images, sandbox): (&[&str], &[&str], &[&str]) = match version {
        2 => (&["plugins", CRI], &["plugins", CRI], &["plugins", CRI, "sandbox_image"]),
        3 => {
            (&["plugins", CRI_RUNTIME], &["plugins", CRI_IMAGES], &["plugins", CRI_IMAGES, "pinned_images", "sandbox"])
        }
        other => {
            return Err(format!("it is of version {other}; containerd config migrate makes one of version 2 of it"));
        }
    };
    let path =
        |start: &[&str], rest: &[&str]| start.iter().chain(rest).map(|part| (*part).to_owned()).collect::<Vec<_>>();
    set(&mut root, &path(images, &["registry", "config_path"]), text(&settings.certs))?;
    // Both at once are refused by containerd.
    if let Some(Value::Table(registry)) = get(&mut root, &path(images, &["registry"])) {
        registry.remove("mirrors");
        registry.remove("configs");
    }
    let runc = ["containerd", "runtimes", "runc"];
    let of_runc = |rest: &[&str]| path(runtime, &[&runc[..], rest].concat());
    if get(&mut root, &of_runc(&["runtime_type"])).is_none() {
        set(&mut root, &of_runc(&["runtime_type"]), text("io.containerd.runc.v2"))?;
    }
    set(&mut root, &of_runc(&["options", "SystemdCgroup"]), Value::Boolean(settings.systemd_cgroup))?;
    if let Some(image) = &settings.sandbox {
        set(&mut root, &path(sandbox, &[]), text(image))?;
    }
    if let Some(dir) = &settings.cni_bin {
        let key = if version == 3 { "bin_dirs" } else { "bin_dir" };
        let value = if version == 3 { Value::Array(vec![text(dir)]) } else { text(dir) };
        set(&mut root, &path(runtime, &["cni", key]), value)?;
    }
    let mut out = String::from("# Written by kiln. What was here is put back by `kiln cluster reset`.\n");
    write_table(&root, &mut Vec::new(), &mut out);
    Ok(out)
}

/// Whether the configuration has systemd manage control groups, if it says anything.
pub fn systemd_cgroup(text: &str) -> Option<bool> {
    let mut root: Table = toml::from_str(text).ok()?;
    [CRI, CRI_RUNTIME].into_iter().find_map(|plugin| {
        let path = ["plugins", plugin, "containerd", "runtimes", "runc", "options", "SystemdCgroup"].map(str::to_owned);
        get(&mut root, &path).and_then(|value| value.as_bool())
    })
}

fn get<'t>(root: &'t mut Table, path: &[String]) -> Option<&'t mut Value> {
    let (last, way) = path.split_last()?;
    let mut table = root;
    for part in way {
        table = table.get_mut(part)?.as_table_mut()?;
    }
    table.get_mut(last)
}

fn set(root: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, way)) = path.split_last() else { return Ok(()) };
    let mut table = root;
    for part in way {
        let next = table.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
        table = next.as_table_mut().ok_or_else(|| format!("`{part}` is no table"))?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

/// Writes values of a table first, then the tables in it.
fn write_table(table: &Table, path: &mut Vec<String>, out: &mut String) {
    let is_table = |value: &Value| matches!(value, Value::Table(_));
    let plain: Vec<_> = table.iter().filter(|(_, value)| !is_table(value)).collect();
    if !path.is_empty() && (!plain.is_empty() || table.is_empty()) {
        let name: Vec<String> = path.iter().map(|part| quoted(part)).collect();
        let _ = writeln!(out, "\n[{}]", name.join("."));
    }
    for (key, value) in plain {
        let _ = writeln!(out, "{} = {}", key_word(key), inline(value));
    }
    for (key, value) in table {
        if let Value::Table(inner) = value {
            path.push(key.clone());
            write_table(inner, path, out);
            path.pop();
        }
    }
}

fn key_word(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", key_word(key), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Float(number) => format!("{number:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(time) => time.to_string(),
    }
}

/// A registry of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The file with its authority; none without TLS.
    pub authority: Option<String>,
    /// What it is told of who asks ([`authorization`]); none where all may ask.
    pub login: Option<String>,
}

/// The value of the header `Authorization` for a user with a password (RFC 7617).
pub fn authorization(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The permission bits of a `hosts.toml`: what it tells of who asks is the runtime's alone.
pub fn mode(text: &str) -> u32 {
    if text.contains(AUTHORIZATION) { 0o600 } else { 0o644 }
}

/// The table of headers for a host, if there is something to tell it. containerd sends them to that host only.
fn header(host: &str, login: Option<&str>) -> String {
    match login {
        Some(login) => format!("{HOST}{}.header]{AUTHORIZATION}[{}]\n", quoted(host), quoted(login)),
        None => String::new(),
    }
}

/// The `hosts.toml` of a registry whose images the cluster's registries have. Only registries that the cluster image has
/// images of get one: all others stay as they are. The original registry is asked when the mirrors do not have an image.
pub fn hosts_toml(registry: &str, mirrors: &[Mirror]) -> String {
    let mut out = String::from("# Written by kiln.\n");
    let server = match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    };
    let _ = writeln!(out, "server = {}", quoted(&format!("https://{server}")));
    for mirror in mirrors {
        let host = match mirror.address {
            IpAddr::V4(address) => format!("{address}:{}", mirror.port),
            IpAddr::V6(address) => format!("[{address}]:{}", mirror.port),
        };
        let scheme = if mirror.authority.is_some() { "https" } else { "http" };
        let host = format!("{scheme}://{host}");
        let _ = writeln!(out, "{HOST}{}]", quoted(&host));
        let _ = writeln!(out, "capabilities = [\"pull\", \"resolve\"]");
        if let Some(path) = &mirror.authority {
            let _ = writeln!(out, "ca = {}", quoted(path));
        }
        out.push_str(&header(&host, mirror.login.as_deref()));
    }
    out
}

/// The `hosts.toml` of a registry that is not the cluster's own and asks who asks.
pub fn login_toml(registry: &str, tls: bool, login: &str) -> String {
    let host = format!("{}://{registry}", if tls { "https" } else { "http" });
    format!(
        "# Written by kiln.\nserver = {0}\n{HOST}{0}]\ncapabilities = [\"pull\", \"resolve\"]\n{1}",
        quoted(&host),
        header(&host, Some(login))
    )
}

/// A `hosts.toml` that [`hosts_toml`] made, without the mirrors at an address; none if it has none there, or no others.
pub fn without_mirror(text: &str, gone: IpAddr) -> Option<String> {
    let is_gone = |part: &&str| {
        let host = part.split_once("://").and_then(|(_, rest)| rest.split_once('"'));
        host.and_then(|(host, _)| host.parse::<SocketAddr>().ok()).is_some_and(|address| address.ip() == gone)
    };
    let mut parts = text.split(HOST);
    let head = parts.next().unwrap_or_default();
    let (out, left): (Vec<&str>, Vec<&str>) = parts.partition(is_gone);
    (!out.is_empty() && !left.is_empty()).then(|| std::iter::once(head).chain(left).collect::<Vec<_>>().join(HOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_taken_out_and_the_others_stay() {
        let mirror = |address: &str| Mirror {
            address: address.parse().unwrap(),
            port: 5000,
            authority: Some(format!("{CERTS}/kiln-{address}.crt")),
            login: Some(authorization("u", address)),
        };
        let (one, eleven, six) = (mirror("10.0.0.1"), mirror("10.0.0.11"), mirror("fd00::1"));
        let text = hosts_toml("k8s.gcr.io", &[one.clone(), eleven.clone(), six.clone()]);
        let left = without_mirror(&text, one.address).unwrap();
        assert_eq!(left, hosts_toml("k8s.gcr.io", &[eleven.clone(), six.clone()]));
        assert_eq!(
            without_mirror(&left, six.address).unwrap(),
            hosts_toml("k8s.gcr.io", std::slice::from_ref(&eleven))
        );
        assert_eq!(without_mirror(&text, "10.0.0.2".parse().unwrap()), None);
        let last = hosts_toml("k8s.gcr.io", &[one]);
        assert_eq!(without_mirror(&last, "10.0.0.1".parse().unwrap()), None, "the last one stays");
        for bad in ["", "\n[host.", "\n[host.\"https://10.0.0.1:5000\n[host."] {
            let _ = without_mirror(bad, "10.0.0.1".parse().unwrap());
        }
    }

    fn settings() -> Settings {
        Settings {
            sandbox: Some("k8s.gcr.io/pause:3.2".into()),
            systemd_cgroup: true,
            certs: CERTS.into(),
            cni_bin: Some("/opt/cni/bin".into()),
        }
    }

    #[test]
    fn settings_of_the_host_stay() {
        let debian = "version = 2\nroot = \"/data\"\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    restrict_oom_score_adj = true\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n      conf_dir = \"/etc/cni/net.d\"\n";
        let merged = merge(Some(debian), &settings()).unwrap();
        let table: Table = toml::from_str(&merged).unwrap();
        assert_eq!(table["root"].as_str(), Some("/data"));
        let cri = &table["plugins"][CRI];
        assert_eq!(cri["restrict_oom_score_adj"].as_bool(), Some(true));
        assert_eq!(cri["cni"]["bin_dir"].as_str(), Some("/opt/cni/bin"));
        assert_eq!(cri["cni"]["conf_dir"].as_str(), Some("/etc/cni/net.d"));
        assert_eq!(cri["sandbox_image"].as_str(), Some("k8s.gcr.io/pause:3.2"));
        assert_eq!(cri["registry"]["config_path"].as_str(), Some(CERTS));
        assert_eq!(systemd_cgroup(&merged), Some(true));
        assert_eq!(merge(Some(&merged), &settings()).unwrap(), merged, "twice is once");
    }

    #[test]
    fn version_three_has_other_places_and_one_is_refused() {
        let merged = merge(Some("version = 3\n"), &settings()).unwrap();
        let table: Table = toml::from_str(&merged).unwrap();
        assert_eq!(table["plugins"][CRI_IMAGES]["pinned_images"]["sandbox"].as_str(), Some("k8s.gcr.io/pause:3.2"));
        assert_eq!(systemd_cgroup(&merged), Some(true));
        assert!(merge(Some("[plugins.cri]\nx = 1\n"), &settings()).unwrap_err().contains("version 1"));
        assert!(merge(Some("version = \n"), &settings()).is_err());
        assert!(merge(Some("version = 2\nplugins = 1\n"), &settings()).unwrap_err().contains("`plugins` is no table"));
    }

    #[test]
    fn what_disables_cri_or_contradicts_is_taken_out() {
        let text = "version = 2\ndisabled_plugins = [\"cri\", \"x\"]\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.a]\nendpoint = [\"b\"]\n";
        let merged = merge(Some(text), &settings()).unwrap();
        assert!(merged.contains("disabled_plugins = [\"x\"]") && !merged.contains("mirrors"), "{merged}");
    }

    #[test]
    fn strange_strings_are_written_as_they_are() {
        let text = "version = 2\n\"a b\" = \"x\\\"\\n\\\\\"\nn = [1, 2.0, {k = \"v\"}]\n";
        let merged = merge(Some(text), &settings()).unwrap();
        let (before, after): (Table, Table) = (toml::from_str(text).unwrap(), toml::from_str(&merged).unwrap());
        assert_eq!((&before["a b"], &before["n"]), (&after["a b"], &after["n"]));
    }

    #[test]
    fn mirrors_are_asked_first() {
        let mirrors = [Mirror {
            address: "fd00::1".parse().unwrap(),
            port: 5000,
            authority: Some("/etc/a.crt".into()),
            login: None,
        }];
        let text = hosts_toml("docker.io", &mirrors);
        assert!(toml::from_str::<Table>(&text).is_ok());
        assert!(
            text.contains("[host.\"https://[fd00::1]:5000\"]")
                && text.contains("server = \"https://registry-1.docker.io\""),
            "{text}"
        );
    }

    #[test]
    fn who_asks_is_told_to_that_registry_only() {
        let login = authorization("ops", "pass:\"word");
        assert_eq!(login, "Basic b3BzOnBhc3M6IndvcmQ=");
        let mirrors = [(Some("/etc/a.crt"), Some(login.clone())), (None, None)].map(|(authority, login)| Mirror {
            address: "10.0.0.1".parse().unwrap(),
            port: if login.is_some() { 5000 } else { 5001 },
            authority: authority.map(str::to_owned),
            login,
        });
        let text = hosts_toml("k8s.gcr.io", &mirrors);
        assert_eq!((mode(&text), mode(&hosts_toml("k8s.gcr.io", &mirrors[1..]))), (0o600, 0o644));
        let table: Table = toml::from_str(&text).unwrap();
        let hosts = table["host"].as_table().unwrap();
        let told = hosts["https://10.0.0.1:5000"]["header"]["Authorization"].as_array().unwrap();
        assert_eq!(told[0].as_str(), Some(login.as_str()));
        assert_eq!(hosts["https://10.0.0.1:5000"]["ca"].as_str(), Some("/etc/a.crt"));
        assert!(hosts["http://10.0.0.1:5001"].get("header").is_none());
        for (tls, host) in [(true, "https://r.example:5443"), (false, "http://r.example:5443")] {
            let text = login_toml("r.example:5443", tls, &login);
            assert_eq!(mode(&text), 0o600);
            let table: Table = toml::from_str(&text).unwrap();
            assert_eq!(table["server"].as_str(), Some(host));
            assert_eq!(table["host"][host]["header"]["Authorization"][0].as_str(), Some(login.as_str()));
        }
    }
}
