//! Programs, services and settings of a node: containerd that knows the registry, a kubelet that waits for kubeadm.

use std::path::Path;
use std::time::Duration;

use kiln_clusterfile::model::Runtime;
use kiln_host::Stdin;
use kiln_host::command::quote;

use super::distribute::agent;
use super::{Order, Phase, Work, docker};
use crate::agent::ledger::{Changed, Content, Item, order};
use crate::balancer::UNIT;
use crate::config::{ENDPOINT, configuration};
use crate::containerd::{self, CERTS, Mirror, Settings};
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};
use crate::units;

/// The phase.
pub const PHASE: Phase = Phase {
    name: "runtime",
    title: "containerd or Docker, kubelet and settings",
    order: Order::Together,
    plan,
    run,
    undo: Some(undo),
};

const CONFIG: &str = "/etc/containerd/config.toml";
/// How long files may take to be written, and services to start.
pub const INSTALL: Duration = Duration::from_secs(600);
/// Services of hosts that a launch may change.
pub const SERVICES: [&str; 3] = ["containerd", "kubelet", "docker"];
/// How long containerd may take to answer.
const START: u32 = 60;

/// Programs of the image's `bin/` that are not for hosts' paths.
const NOT_PROGRAMS: [&str; 1] = ["seautil"];

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let items = items(launch, member, &[], true)?;
    let text = serde_json::to_string(&items).unwrap_or_default();
    let digest = launch.bundle.root.digest.to_string();
    // What registries are, is told by their addresses; their authorities are asked when it is done.
    let registries: Vec<String> = launch.registry_members().iter().map(|m| m.address.to_string()).collect();
    // containerd is told it by one of the files.
    let login = super::registry::login(launch).filter(|_| launch.is_docker());
    let parts = [text.as_str(), digest.as_str()].into_iter().chain(registries.iter().map(String::as_str));
    let parts = parts.chain(login.as_deref());
    let runtime = launch.runtime();
    let written = format!("write {} files: programs, units, settings of the kernel and of {runtime}", items.len());
    let (started, holds) = match runtime {
        Runtime::Containerd => {
            (vec!["start containerd, enable kubelet".to_owned()], member.facts.is_active("containerd"))
        }
        Runtime::Docker => (docker::lines(launch, member)?, docker::holds(launch, member)?),
    };
    Ok(Some(Work { key: key(parts), lines: std::iter::once(written).chain(started).collect(), holds }))
}

/// Files of a host, but for what comes from its own configuration of containerd, which changes with the first run.
fn items(
    launch: &Launch,
    member: &Member,
    authorities: &[(std::net::IpAddr, String)],
    joined: bool,
) -> Result<Vec<Item>> {
    let bundle = &launch.bundle;
    let is_docker = launch.is_docker();
    let mut items = Vec::new();
    let mut add = |to: &str, mode: u32, content: Content| items.push(Item { to: to.to_owned(), mode, content });
    for (path, _) in bundle.below("bin") {
        let name = path.trim_start_matches("bin/");
        let is_left = NOT_PROGRAMS.contains(&name) || is_docker && docker::is_other(name);
        if !name.contains('/') && !is_left {
            add(&format!("/usr/bin/{name}"), 0o755, Content::Rootfs(path.to_owned()));
        }
    }
    for (path, _) in bundle.below("opt/cni/bin") {
        add(&format!("/{path}"), 0o755, Content::Rootfs(path.to_owned()));
    }
    let text = |text: &str| Content::Text(text.to_owned());
    add("/etc/systemd/system/kubelet.service", 0o644, text(units::KUBELET));
    add("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", 0o644, text(units::KUBELET_KUBEADM));
    if bundle.has("bin/containerd") && !is_docker {
        add("/etc/systemd/system/containerd.service", 0o644, text(units::CONTAINERD));
    }
    add(units::SYSCTL, 0o644, Content::Text(units::sysctl(member.has_v6(), &member.facts.advertised())));
    add("/etc/modules-load.d/kiln-kubernetes.conf", 0o644, Content::Text(units::modules()));
    if member.is_master() {
        let policy = "statics/audit-policy.yml";
        let content = if bundle.has(policy) { Content::Rootfs(policy.to_owned()) } else { text(units::AUDIT_POLICY) };
        add("/etc/kubernetes/audit-policy.yml", 0o600, content);
        // Pods of the control plane mount it; small systems do without, and mean UTC.
        add("/etc/localtime", 0o644, Content::Missing(units::UTC.to_owned()));
    }
    if let Some(unit) = balancer(launch, member)? {
        add(UNIT, 0o644, Content::Text(unit));
    }
    add("/etc/hosts", 0o644, Content::Lines(hosts_lines(launch, member, joined)?));
    items.extend(match is_docker {
        true => docker::items(launch, authorities),
        false => of_containerd(launch, authorities),
    });
    Ok(order(items))
}

/// Where containerd finds images, whom it trusts, and what it tells them of who asks.
fn of_containerd(launch: &Launch, authorities: &[(std::net::IpAddr, String)]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut add = |to: &str, mode: u32, content: Content| items.push(Item { to: to.to_owned(), mode, content });
    let registry = &launch.cluster.registry;
    let login = super::registry::login(launch);
    let mirrors = mirrors(launch, authorities, login.as_deref());
    let mut toml = |name: &str, text: String| {
        add(&format!("{CERTS}/{name}/hosts.toml"), containerd::mode(&text), Content::Text(text));
    };
    for name in registries(launch).into_iter().filter(|_| !mirrors.is_empty()) {
        toml(&name, containerd::hosts_toml(&name, &mirrors));
    }
    if let (Some(login), true) = (&login, registry.external) {
        let name = format!("{}:{}", registry.domain.value, registry.port.value);
        toml(&name, containerd::login_toml(&name, !registry.insecure.value, login));
    }
    for (address, pem) in authorities {
        add(&authority_path(*address), 0o644, Content::Text(pem.clone()));
    }
    items
}

fn authority_path(address: std::net::IpAddr) -> String {
    format!("{CERTS}/kiln-{}.crt", address.to_string().replace(':', "_"))
}

fn registries(launch: &Launch) -> Vec<String> {
    let registry = &launch.cluster.registry;
    let own = format!("{}:{}", registry.domain.value, registry.port.value);
    let mut all: Vec<String> = launch.bundle.registries().iter().map(|name| (*name).to_owned()).collect();
    if !all.contains(&own) {
        all.push(own);
    }
    all
}

fn mirrors(launch: &Launch, authorities: &[(std::net::IpAddr, String)], login: Option<&str>) -> Vec<Mirror> {
    let tls = !launch.cluster.registry.insecure.value;
    let port = launch.cluster.registry.port.value;
    let mirror = |member: &&Member| Mirror {
        login: login.map(str::to_owned),
        address: member.address,
        port,
        authority: (tls && (authorities.is_empty() || authorities.iter().any(|(a, _)| *a == member.address)))
            .then(|| authority_path(member.address)),
    };
    launch.registry_members().iter().map(mirror).collect()
}

/// The unit of a node's way to several masters, unless the user has one.
fn balancer(launch: &Launch, member: &Member) -> Result<Option<String>> {
    if member.is_master() || launch.masters().count() < 2 {
        return Ok(None);
    }
    let configuration = configuration(launch)?;
    let masters = launch.masters().map(|m| std::net::SocketAddr::new(m.address, configuration.bind_port).to_string());
    let masters: Vec<String> = masters.collect();
    Ok(configuration.is_own().then(|| units::balancer(configuration.port, &masters)))
}

/// Names that a host has to know: the API server, the registry, itself, and what the user says. `joined` is whether a master
/// has an API server of its own.
fn hosts_lines(launch: &Launch, member: &Member, joined: bool) -> Result<Vec<String>> {
    let first = launch.first()?;
    let mut lines = Vec::new();
    if configuration(launch)?.is_own() {
        let api = match member.is_master() {
            true if member.first || joined => member.address.to_string(),
            false if launch.masters().count() > 1 => "127.0.0.1".to_owned(),
            _ => first.address.to_string(),
        };
        lines.push(format!("{api} {ENDPOINT}"));
    }
    if let Some(registry) = launch.registry_members().first() {
        lines.push(format!("{} {}", registry.address, launch.cluster.registry.domain.value));
    }
    lines.push(format!("{} {}", member.address, member.node));
    for alias in &launch.cluster.host_aliases {
        let names: Vec<&str> = alias.names.iter().map(|name| name.value.as_str()).collect();
        lines.push(format!("{} {}", alias.address.value, names.join(" ")));
    }
    Ok(lines)
}

/// Writes the names that a master knows once it has an API server of its own.
///
/// # Errors
/// When they cannot be written.
pub fn own_endpoint(launch: &Launch, member: &Member) -> Result<()> {
    let content = Content::Lines(hosts_lines(launch, member, true)?);
    install(launch, member, vec![Item { to: "/etc/hosts".to_owned(), mode: 0o644, content }]).map(drop)
}

/// Gives files to the agent of a host; says which of them changed.
///
/// # Errors
/// When one cannot be written.
pub fn install(launch: &Launch, member: &Member, items: Vec<Item>) -> Result<Changed> {
    install_from(&launch.bundle.rootfs(), member, items)
}

/// The same, with programs of another directory of the host than the image's.
///
/// # Errors
/// The same.
pub fn install_from(rootfs: &str, member: &Member, items: Vec<Item>) -> Result<Changed> {
    let order = serde_json::to_vec(&items).unwrap_or_default();
    let line = agent(&format!("install --rootfs {}", quote(rootfs)));
    let said = member.machine.succeed_with("write files", &line, Stdin::Bytes(order), INSTALL)?;
    serde_json::from_slice(&said.stdout).map_err(|error| member.machine.nonsense("write files", error.to_string()))
}

/// Installs what kubeadm needs of an image before it upgrades a node: itself, and where images of that release come from,
/// whose registry may be another one; or, with Docker, those images.
///
/// # Errors
/// When it cannot be written.
pub fn install_kubeadm(launch: &Launch, member: &Member) -> Result<()> {
    let all = items(launch, member, &super::registry::authorities(launch)?, true)?;
    let certs = if launch.is_docker() { crate::docker::CERTS } else { CERTS };
    let is_needed = |item: &Item| item.to == "/usr/bin/kubeadm" || item.to.starts_with(certs);
    install(launch, member, all.into_iter().filter(is_needed).collect())?;
    if launch.is_docker() { docker::pull(launch, member) } else { Ok(()) }
}

/// Tells the kubelet of a host again who it is for the cluster's registry, where its directory was emptied.
///
/// # Errors
/// When it cannot be written.
pub fn log_in(launch: &Launch, member: &Member) -> Result<()> {
    if launch.is_docker() { docker::log_in(launch, member) } else { Ok(()) }
}

fn settings(launch: &Launch) -> Result<Settings> {
    Ok(Settings {
        sandbox: launch.bundle.image("pause").map(ToString::to_string),
        systemd_cgroup: configuration(launch)?.cgroup_driver == "systemd",
        certs: CERTS.to_owned(),
        cni_bin: launch.bundle.below("opt/cni/bin").next().map(|_| "/opt/cni/bin".to_owned()),
    })
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let machine = &member.machine;
    if let Some(name) = &member.host.name
        && member.facts.hostname != name.value
    {
        set_hostname(launch, member, &name.value)?;
    }
    let joined = launch.has_done(member, "join-masters");
    let mut all = items(launch, member, &super::registry::authorities(launch)?, joined)?;
    if !launch.is_docker() {
        all.push(containerd_config(launch, member)?);
    }
    let changed = install(launch, member, all)?.changed;
    let modules = units::MODULES.iter().chain(&units::IPVS_MODULES).copied().collect::<Vec<_>>().join(" ");
    // Modules may be built in, and those of IPVS are not always needed; what is missing shows in the settings.
    machine.run(
        "load modules",
        &format!("for m in {modules}; do modprobe $m 2>/dev/null; done; :"),
        Stdin::Empty,
        INSTALL,
    )?;
    kernel_settings(member)?;
    machine.succeed("reload units", &launch.service("daemon-reload"))?;
    match launch.runtime() {
        Runtime::Containerd => start_containerd(launch, member, &changed)?,
        Runtime::Docker => docker::start(launch, member)?,
    }
    machine.succeed("enable kubelet", &launch.service("enable kubelet"))?;
    if balancer(launch, member)?.is_some() {
        let line = format!("{} && {}", launch.service("enable kiln-balancer"), launch.service("restart kiln-balancer"));
        machine.succeed("start the way to the API servers", &line)?;
    }
    Ok(())
}

/// containerd's own file, with what Kubernetes needs.
fn containerd_config(launch: &Launch, member: &Member) -> Result<Item> {
    let config = containerd::merge(member.facts.containerd_config.as_deref(), &settings(launch)?);
    let config = config.map_err(|why| LaunchError::Wanted {
        what: format!("{}: {CONFIG} cannot be used: {why}", member.name()),
        hint: format!("put it right, or move it away: mv {CONFIG} {CONFIG}.old"),
    })?;
    Ok(Item { to: CONFIG.to_owned(), mode: 0o644, content: Content::Text(config) })
}

fn start_containerd(launch: &Launch, member: &Member, changed: &[String]) -> Result<()> {
    let machine = &member.machine;
    let restarts = |path: &String| {
        path == CONFIG || Path::new(path).ends_with("containerd.service") || path == "/usr/bin/containerd"
    };
    let verb = if changed.iter().any(restarts) || !member.facts.is_active("containerd") { "restart" } else { "start" };
    let line = format!("{} && {}", launch.service("enable containerd"), launch.service(&format!("{verb} containerd")));
    let started = machine.succeed_with("start containerd", &line, Stdin::Empty, INSTALL).and_then(|_| {
        let wait = format!("n=0; until [ -S /run/containerd/containerd.sock ]; do n=$((n+1)); [ $n -lt {} ] || {{ echo 'its socket does not appear' >&2; exit 1; }}; sleep 0.2; done", START * 5);
        machine.succeed_with("wait for containerd", &wait, Stdin::Empty, Duration::from_secs(u64::from(START) * 2))
    });
    started.map(drop).map_err(|error| error.because(crate::diagnose::ask(launch, machine)))
}

/// Sets what differs from what is wanted, and looks whether it is so now.
fn kernel_settings(member: &Member) -> Result<()> {
    let line = format!(
        "grep -v '^#' {0} | while read -r name is value; do case $name in */*) f=/proc/sys/$name;; *) f=/proc/sys/$(echo $name | tr . /);; esac; \
         [ -e \"$f\" ] || {{ case $name in *ip6*|*ipv6*) continue;; esac; echo \"the kernel has no $name: is br_netfilter loaded?\" >&2; exit 1; }}; \
         [ \"$(cat \"$f\")\" = \"$value\" ] || echo \"$value\" > \"$f\" || exit 1; done",
        units::SYSCTL
    );
    member.machine.succeed("set settings of the kernel", &line).map(drop)
}

fn set_hostname(launch: &Launch, member: &Member, name: &str) -> Result<()> {
    let item = Item { to: "/etc/hostname".to_owned(), mode: 0o644, content: Content::Text(format!("{name}\n")) };
    install(launch, member, vec![item])?;
    let line = format!("printf %s {} > /proc/sys/kernel/hostname", quote(name));
    member.machine.succeed("set the hostname", &line).map(drop)
}

/// Puts files back and takes away what others made since; services are as they were.
fn undo(launch: &Launch, member: &Member) -> Result<Vec<String>> {
    let machine = &member.machine;
    let present = machine.run(
        "look for Kiln's binary",
        &format!("[ -x {} ]", quote(crate::facts::AGENT)),
        Stdin::Empty,
        INSTALL,
    )?;
    if !present.exit.success() {
        return Ok(Vec::new());
    }
    let units = ["kubelet", "kiln-balancer", "kiln-registry"];
    for unit in units {
        let line = format!(
            "[ ! -e /etc/systemd/system/{unit}.service ] || {}",
            launch.service(&format!("disable --now {unit}"))
        );
        machine.run(&format!("stop {unit}"), &line, Stdin::Empty, INSTALL)?;
    }
    let ours = machine.run(
        "ask whose containerd is",
        "grep -qs 'Written by kiln' /etc/systemd/system/containerd.service",
        Stdin::Empty,
        INSTALL,
    )?;
    if ours.exit.success() {
        machine.run("stop containerd", &launch.service("disable --now containerd"), Stdin::Empty, INSTALL)?;
    }
    let occupied = was_occupied(member);
    let images = if launch.is_docker() { docker::forget(launch, member)? } else { Vec::new() };
    let said = machine.succeed_with("put files back", &agent("restore"), Stdin::Empty, INSTALL)?;
    let restored: Changed =
        serde_json::from_slice(&said.stdout).map_err(|error| machine.nonsense("put files back", error.to_string()))?;
    machine.run("reload units", &launch.service("daemon-reload"), Stdin::Empty, INSTALL)?;
    let mut remains = images;
    remains.extend(services_back(launch, member, ours.exit.success(), &restored.changed)?);
    // What was there before may have chains and devices of its own.
    let sweep = agent(if occupied { "sweep --only-files" } else { "sweep" });
    let said = machine.succeed_with("look for what remains", &sweep, Stdin::Empty, INSTALL)?;
    let swept: crate::agent::sweep::Swept = serde_json::from_slice(&said.stdout)
        .map_err(|error| machine.nonsense("look for what remains", error.to_string()))?;
    if !restored.failed.is_empty() {
        return Err(LaunchError::Wanted {
            what: format!("{}: files cannot be put back: {}", member.name(), restored.failed.join("; ")),
            hint: "what was in their place is kept on the host; mend that, and kiln cluster reset again".to_owned(),
        });
    }
    remains.extend(restored.left.into_iter().chain(swept.remains));
    Ok(remains)
}

/// Whether there was something of Kubernetes on a host before Kiln came.
pub fn was_occupied(member: &Member) -> bool {
    member.facts.marker.as_ref().is_some_and(|marker| marker.occupied)
}

/// Services run again, or not, as they did before; says what does not.
fn services_back(launch: &Launch, member: &Member, ours: bool, restored: &[String]) -> Result<Vec<String>> {
    let machine = &member.machine;
    let before = member.facts.marker.as_ref().map(|marker| marker.services.clone()).unwrap_or_default();
    let mut remains = Vec::new();
    let mut set = |verb: &str, service: &str| -> Result<()> {
        let line = launch.service(&format!("{verb} {service}"));
        let said = machine.run(&format!("{verb} {service} as it was before"), &line, Stdin::Empty, INSTALL)?;
        if !said.exit.success() {
            remains.push(format!("{service} was to be as before, and `{verb}` fails: {}", said.tail.join(" ")));
        }
        Ok(())
    };
    let other = if launch.is_docker() { "containerd" } else { "docker" };
    for service in SERVICES.into_iter().filter(|service| *service != other) {
        let Some(how) = before.get(service) else {
            // Markers of earlier versions do not say it.
            if service == "containerd" && !ours && before.is_empty() {
                set("restart", service)?;
            }
            continue;
        };
        let (active, enabled) = how.split_once(' ').unwrap_or((how, ""));
        if matches!(enabled, "enabled" | "disabled") {
            set(enabled.trim_end_matches('d'), service)?;
        }
        // Of a Docker whose file is as it was, the containers of its owner go on.
        let is_same = service == "docker" && !restored.iter().any(|path| path == crate::docker::CONFIG);
        match active {
            "active" if is_same => {}
            "active" => set("restart", service)?,
            _ => set("stop", service)?,
        }
    }
    Ok(remains)
}
