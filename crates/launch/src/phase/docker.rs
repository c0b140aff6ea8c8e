//! The part of Docker in [`super::runtime`]: the daemon's settings, who it trusts, and the images that it is given.

use std::time::Duration;

use kiln_host::Stdin;

use super::registry;
use super::runtime::{INSTALL, install};
use crate::agent::ledger::{Content, Item};
use crate::config::configuration;
use crate::diagnose::{self, PODS};
use crate::docker::{self, CERTS, CONFIG, LOGINS, Settings};
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member};

/// How long all images may take to come.
const PULL: Duration = Duration::from_secs(3600);
/// Programs of an image that are not installed: they would take the place of those that Docker runs with.
const OTHERS: [&str; 6] =
    ["containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "ctr", "runc"];

/// Whether a program of the image is for hosts with containerd only.
pub fn is_other(name: &str) -> bool {
    OTHERS.contains(&name)
}

/// The cluster's registries as Docker is to ask them, the first that is asked first: by the name that hosts know, and by
/// their addresses, as far as Docker can write them.
fn registries(launch: &Launch) -> Vec<String> {
    let registry = &launch.cluster.registry;
    let port = registry.port.value;
    let members = launch.registry_members();
    if members.is_empty() && !registry.external {
        return Vec::new();
    }
    let addresses = members.iter().filter(|member| member.address.is_ipv4()).map(|member| member.address.to_string());
    std::iter::once(registry.domain.value.clone()).chain(addresses).map(|host| format!("{host}:{port}")).collect()
}

/// Files that say whom Docker trusts. All registries are one after the other behind the first name, so their authorities
/// are in one file.
pub fn items(launch: &Launch, authorities: &[(std::net::IpAddr, String)]) -> Vec<Item> {
    if authorities.is_empty() {
        return Vec::new();
    }
    let all: String = authorities.iter().map(|(_, pem)| format!("{}\n", pem.trim_end())).collect();
    let item =
        |name: String| Item { to: format!("{CERTS}/{name}/ca.crt"), mode: 0o644, content: Content::Text(all.clone()) };
    registries(launch).into_iter().map(item).collect()
}

/// What the daemon of a host is to be set to.
fn settings(launch: &Launch, member: &Member) -> Result<Settings> {
    let wanted = configuration(launch)?.cgroup_driver.clone();
    let insecure = if launch.cluster.registry.insecure.value { registries(launch) } else { Vec::new() };
    Ok(Settings { driver: Some(wanted).filter(|wanted| *wanted != member.facts.docker_cgroups), insecure })
}

/// Whether it is as it is to be, as far as facts tell.
///
/// # Errors
/// When the configuration has mistakes.
pub fn holds(launch: &Launch, member: &Member) -> Result<bool> {
    Ok(member.facts.is_active("docker") && settings(launch, member)?.driver.is_none())
}

/// What [`start`] does, in words.
///
/// # Errors
/// When the configuration has mistakes.
pub fn lines(launch: &Launch, member: &Member) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if let Some(driver) = settings(launch, member)?.driver {
        lines.push(format!("set control groups of Docker to {driver}, and restart it: containers that run end"));
    }
    lines.push(format!("enable Docker and kubelet; give Docker {} images", images(launch, member).len()));
    Ok(lines)
}

/// Images that a host gets: those of the control plane only where it runs.
fn images(launch: &Launch, member: &Member) -> Vec<(String, String)> {
    let own = launch.bundle.repository();
    let is_for_masters = |name: &str, last: &str| {
        PODS.contains(&last) && own.as_ref().is_some_and(|own| *name == format!("{own}/{last}"))
    };
    let wanted = |image: &kiln_oci::Reference| {
        let last = image.repository.rsplit('/').next().unwrap_or_default();
        member.is_master() || !is_for_masters(&image.name(), last)
    };
    // One that is elsewhere has what its owner gave it.
    let external = launch.cluster.registry.external;
    docker::images(if external { &[] } else { &launch.bundle.images }, wanted).0
}

/// Sets the daemon and gives it the images.
///
/// # Errors
/// When its file cannot be used, it does not start with it, or an image does not come.
pub fn start(launch: &Launch, member: &Member) -> Result<()> {
    let machine = &member.machine;
    configure(launch, member)?;
    machine.succeed("enable Docker", &launch.service("enable docker"))?;
    log_in(launch, member)?;
    pull(launch, member)
}

fn configure(launch: &Launch, member: &Member) -> Result<()> {
    let machine = &member.machine;
    let settings = settings(launch, member)?;
    let before = member.facts.docker_config.as_deref();
    let unusable = |why: String| LaunchError::Wanted {
        what: format!("{}: {CONFIG} cannot be used: {why}", member.name()),
        hint: "put it right".to_owned(),
    };
    let Some(text) = docker::merge(before, &settings).map_err(unusable)? else { return Ok(()) };
    let write = |text: String| {
        install(launch, member, vec![Item { to: CONFIG.to_owned(), mode: 0o644, content: Content::Text(text) }])
    };
    write(text)?;
    // Registries are read again while it runs.
    let verb = if settings.driver.is_some() { "restart" } else { "reload" };
    let changed = machine.succeed_with(
        &format!("{verb} Docker"),
        &launch.service(&format!("{verb} docker")),
        Stdin::Empty,
        INSTALL,
    );
    let changed = changed.map(drop).and_then(|()| match &settings.driver {
        Some(wanted) => is_set(member, wanted),
        None => Ok(()),
    });
    let Err(error) = changed else { return Ok(()) };
    let error = error.because(diagnose::ask(launch, machine));
    // Its owner's containers are not kept down by what Kiln wanted.
    write(before.unwrap_or("{}\n").to_owned())?;
    if let Err(error) =
        machine.succeed_with("start Docker as it was", &launch.service("restart docker"), Stdin::Empty, INSTALL)
    {
        launch.note(member, format!("Docker does not start with its old settings either: {error}"));
    }
    Err(error)
}

/// Whether the daemon is set to a manager of control groups.
fn is_set(member: &Member, wanted: &str) -> Result<()> {
    let said = member.machine.succeed("ask what Docker is set to", docker::QUESTION)?.text();
    let is = said.split_whitespace().next().unwrap_or_default();
    if is == wanted {
        return Ok(());
    }
    Err(LaunchError::Wanted {
        what: format!(
            "{}: control groups of Docker are managed by `{}` still, not by {wanted}",
            member.name(),
            crate::machine::printable(is)
        ),
        hint: format!("its service may say so: systemctl cat docker; or `cgroupDriver: {is}` for the kubelet"),
    })
}

/// Tells the kubelet and Docker's command who they are for the cluster's registry, where that asks who asks.
///
/// # Errors
/// When it cannot be written.
pub fn log_in(launch: &Launch, member: &Member) -> Result<()> {
    let Some(login) = registry::login(launch) else { return Ok(()) };
    let text = docker::logins(&registries(launch), &login);
    let item = Item { to: LOGINS.to_owned(), mode: 0o600, content: Content::Text(text.clone()) };
    install(launch, member, vec![item])?;
    let what = "tell Docker's command who it is for the registry";
    member.machine.succeed_with(what, &docker::log_in(), Stdin::Bytes(text.into_bytes()), INSTALL).map(drop)
}

/// Gives a host's Docker its images.
///
/// # Errors
/// When one does not come.
pub fn pull(launch: &Launch, member: &Member) -> Result<()> {
    let images = images(launch, member);
    if images.is_empty() {
        return Ok(());
    }
    let list: String = images.iter().map(|(path, name)| format!("{path} {name}\n")).collect();
    let line = docker::pull(&registries(launch));
    member.machine.succeed_with("give Docker the images", &line, Stdin::Bytes(list.into_bytes()), PULL).map(drop)
}

/// Takes images away that came with the cluster; says what is left.
///
/// # Errors
/// When the host does not answer.
pub fn forget(launch: &Launch, member: &Member) -> Result<Vec<String>> {
    // What somebody else's registry has is not only the cluster's.
    let registries = if launch.cluster.registry.external { Vec::new() } else { registries(launch) };
    let line = docker::forget(&registries);
    let said = member.machine.succeed_with("take the cluster's images from Docker", &line, Stdin::Empty, INSTALL)?;
    Ok(said.text().lines().take(100).map(crate::machine::printable).collect())
}
