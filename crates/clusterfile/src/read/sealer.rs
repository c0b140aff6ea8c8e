//! A Cluster as sealer has it. Its releases differ in the group, and in how they name hosts: `masters` and `nodes` with
//! `ipList` (v1), or `hosts` with roles (v2). Both are read in all groups, but not both at once.

use kiln_spec::diag::Diagnostic;

use super::cursor::{At, Cursor, Fields, printable};
use super::host;
use crate::model::{Backend, Cluster, Cni, Env, Host, HostAlias, Network, Registry, Role, Runtime, Said, Ssh};
use crate::words;

const SPEC: Fields = Fields {
    names: &[
        "image",
        "env",
        "cmd_args",
        "cmd",
        "appNames",
        "hosts",
        "ssh",
        "containerRuntime",
        "hostAliases",
        "registry",
        "dataRoot",
        "provider",
        "network",
        "certSANS",
        "masters",
        "nodes",
    ],
    old: &[("cmdArgs", "cmd_args"), ("CMD", "cmd"), ("certSANs", "certSANS")],
    refused: &[],
};

const MACHINES: Fields = Fields {
    names: &["ipList"],
    old: &[("iplist", "ipList"), ("ips", "ipList")],
    refused: &[
        ("count", NO_MACHINES),
        ("cpu", NO_MACHINES),
        ("memory", NO_MACHINES),
        ("systemDisk", NO_MACHINES),
        ("dataDisks", NO_MACHINES),
    ],
};

const NO_MACHINES: &str = "Kiln makes no machines in clouds: write the addresses of those there are into `ipList`";

const NETWORK: Fields = Fields {
    names: &["interface", "cniName", "podCIDR", "svcCIDR", "withoutCNI", "backend"],
    old: &[("serviceCIDR", "svcCIDR"), ("cni", "cniName"), ("podCidr", "podCIDR"), ("svcCidr", "svcCIDR")],
    refused: &[],
};

const REGISTRY: Fields = Fields::new(&["localRegistry", "externalRegistry"]);
const LOCAL: Fields = Fields {
    names: &["domain", "port", "username", "password", "ha", "insecure", "cert"],
    old: &[("user", "username"), ("passwd", "password")],
    refused: &[],
};
const ALIAS: Fields = Fields::new(&["ip", "hostnames"]);

/// Reads `spec` into a cluster.
pub fn spec(cursor: &mut Cursor, root: &At<'_>, cluster: &mut Cluster) -> Ssh {
    let Some(at) = cursor.inner(root, "spec", &SPEC) else { return Ssh::default() };
    cluster.image = cursor.text(&at, "image").and_then(|image| cursor.image(image));
    cluster.env = host::env(cursor, &at);
    cluster.args = cursor.words(&at, "cmd_args");
    cluster.command = cursor.words(&at, "cmd");
    cluster.apps = cursor.words(&at, "appNames");
    cluster.cert_sans = cursor.words(&at, "certSANS");
    cluster.data_root = cursor.parsed(&at, "dataRoot", "BadPath", |path| {
        let wrong = !path.starts_with('/') || path.split('/').any(|part| part == "..");
        if wrong { Err(format!("`{}` is no absolute path without `..`", printable(path))) } else { Ok(path.to_owned()) }
    });
    provider(cursor, &at);
    cluster.runtime = runtime(cursor, &at);
    cluster.network = network(cursor, &at);
    cluster.registry = registry(cursor, &at);
    cluster.host_aliases = aliases(cursor, &at);
    cluster.hosts = hosts(cursor, &at);
    cursor.inner(&at, "ssh", &host::SSH).map(|at| host::ssh(cursor, &at)).unwrap_or_default()
}

fn provider(cursor: &mut Cursor, at: &At<'_>) {
    let Some(said) = cursor.text(at, "provider") else { return };
    if !said.value.eq_ignore_ascii_case("BAREMETAL") {
        let message = format!("the provider `{}` is not supported", printable(&said.value));
        let span = super::span_of(&said.origin);
        cursor.push(Diagnostic::error("Unsupported", span, message).hint(NO_MACHINES));
    }
}

fn hosts(cursor: &mut Cursor, at: &At<'_>) -> Vec<Host> {
    let mut all = host::hosts(cursor, at);
    let new = !all.is_empty();
    for (field, role) in [("masters", Role::Master), ("nodes", Role::Node)] {
        let Some(machines) = cursor.inner(at, field, &MACHINES) else { continue };
        let most = kiln_kubeadm::hosts::MAX_HOSTS.saturating_sub(all.len());
        let addresses = host::addresses(cursor, &machines, "ipList", most);
        if new && !addresses.is_empty() {
            let message = format!("`spec.{field}` beside `spec.hosts`: two ways to name hosts");
            cursor.push(Diagnostic::error("Conflict", machines.span, message).hint("keep `hosts`, with roles"));
            continue;
        }
        if !addresses.is_empty() {
            cursor.note(machines.span, format!("`spec.{field}.ipList` is read as hosts with the role {role}"));
        }
        all.extend(addresses.into_iter().map(|(address, port)| {
            let origin = address.origin.clone();
            Host {
                name: None,
                node_address: None,
                roles: vec![Said::new(role.clone(), origin.clone())],
                ssh: Ssh { port: port.map(|port| Said::new(port, origin)), ..Ssh::default() },
                addresses: vec![address],
                env: Env::default(),
                labels: Vec::new(),
                taints: Vec::new(),
            }
        }));
    }
    all
}

fn runtime(cursor: &mut Cursor, at: &At<'_>) -> Option<Said<Runtime>> {
    let at = cursor.inner(at, "containerRuntime", &Fields::new(&["type"]))?;
    cursor.parsed(&at, "type", "UnknownRuntime", |word| match word {
        "docker" => Ok(Runtime::Docker),
        "containerd" => Ok(Runtime::Containerd),
        other => {
            Err(format!("`{}` is no container runtime that Kiln knows: docker and containerd are", printable(other)))
        }
    })
}

fn network(cursor: &mut Cursor, at: &At<'_>) -> Network {
    let Some(at) = cursor.inner(at, "network", &NETWORK) else { return Network::default() };
    let mut cidrs = |name: &str| {
        let Some(said) = cursor.text(&at, name) else { return Vec::new() };
        let parts: Vec<Said<String>> =
            said.value.split(',').map(|part| Said::new(part.trim().to_owned(), said.origin.clone())).collect();
        parts.into_iter().filter_map(|part| cursor.read(part, "BadRange", words::cidr)).collect()
    };
    let (pod_cidrs, service_cidrs) = (cidrs("podCIDR"), cidrs("svcCIDR"));
    let mut cni = cursor.text(&at, "cniName").map(|name| {
        name.map(|name| match &*name.to_lowercase() {
            "flannel" => Cni::Flannel,
            "calico" => Cni::Calico,
            "weave" | "weave-net" => Cni::Weave,
            "none" => Cni::None,
            _ => Cni::Other(name),
        })
    });
    if let Some(without) = cursor.bool(&at, "withoutCNI")
        && without.value
    {
        if let Some(cni) = &cni
            && cni.value != Cni::None
        {
            let span = super::span_of(&without.origin);
            cursor.error("Conflict", span, format!("`{}` beside `{}`", at.of("withoutCNI"), at.of("cniName")));
        }
        cni = Some(without.map(|_| Cni::None));
    }
    let interface = cursor.parsed(&at, "interface", "BadInterface", |word| {
        let fits = word.len() < 16 && word.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if fits { Ok(word.to_owned()) } else { Err(format!("`{}` is no name of an interface", printable(word))) }
    });
    let backend = cursor.parsed(&at, "backend", "UnknownBackend", |word| {
        let all = [Backend::Vxlan, Backend::Udp, Backend::HostGw];
        all.into_iter().find(|backend| backend.name() == word).ok_or_else(|| {
            format!("`{}` is no backend of flannel that Kiln knows: vxlan, udp and host-gw are", printable(word))
        })
    });
    Network { pod_cidrs, service_cidrs, cni, interface, backend }
}

fn registry(cursor: &mut Cursor, at: &At<'_>) -> Registry {
    let mut registry = Registry::default();
    let Some(at) = cursor.inner(at, "registry", &REGISTRY) else { return registry };
    let local = cursor.inner(&at, "localRegistry", &LOCAL);
    let external = cursor.inner(&at, "externalRegistry", &LOCAL);
    if let (Some(_), Some(external)) = (&local, &external) {
        cursor.error(
            "Conflict",
            external.span,
            "`externalRegistry` beside `localRegistry`: a cluster has one registry",
        );
    }
    registry.external = external.is_some();
    let Some(at) = local.or(external) else { return registry };
    let domain = cursor.parsed(&at, "domain", "BadDomain", |word| {
        let address = word.parse::<std::net::IpAddr>().is_ok();
        let fits = address || words::is_domain(word);
        if fits { Ok(word.to_owned()) } else { Err(format!("`{}` is no domain", printable(word))) }
    });
    if registry.external && at.get("domain").is_none() {
        cursor.error("NoDomain", at.span, format!("`{}` has no `domain`", at.place));
    }
    registry.domain = domain.unwrap_or(registry.domain);
    registry.port = cursor.port(&at, "port").unwrap_or(registry.port);
    registry.user = cursor.text(&at, "username");
    registry.password = cursor.secret(&at, "password");
    match (&registry.user, &registry.password) {
        (Some(_), None) => cursor.error("NoPassword", at.span, format!("`{}` has a user and no password", at.place)),
        (None, Some(_)) => cursor.error("NoUser", at.span, format!("`{}` has a password and no username", at.place)),
        _ => {}
    }
    registry.ha = cursor.bool(&at, "ha").unwrap_or(registry.ha);
    registry.insecure = cursor.bool(&at, "insecure").unwrap_or(registry.insecure);
    if let Some(cert) = cursor.inner(&at, "cert", &Fields::new(&["subjectAltName"]))
        && let Some(names) = cursor.inner(&cert, "subjectAltName", &Fields::new(&["dnsNames", "ips"]))
    {
        registry.cert_sans = cursor.words(&names, "dnsNames");
        registry.cert_sans.extend(cursor.words(&names, "ips"));
    }
    registry
}

fn aliases(cursor: &mut Cursor, at: &At<'_>) -> Vec<HostAlias> {
    let mut aliases = Vec::new();
    for (index, node) in cursor.list(at, "hostAliases").iter().enumerate() {
        let Some(at) = cursor.map(node, format!("spec.hostAliases[{index}]"), &ALIAS) else { continue };
        let address = cursor.address(&at, "ip");
        let names = cursor.words(&at, "hostnames");
        let names: Vec<Said<String>> =
            names.into_iter().filter_map(|name| cursor.read(name, "BadName", host::host_name)).collect();
        match address {
            Some(address) if !names.is_empty() => aliases.push(HostAlias { address, names }),
            _ if at.get("ip").is_none() || at.get("hostnames").is_none() => {
                cursor.error("NoAlias", at.span, format!("`{}` needs `ip` and `hostnames`", at.place));
            }
            _ => {}
        }
    }
    aliases
}
