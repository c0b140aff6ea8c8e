//! The registry of the cluster's images, on the hosts that are to have it: this binary as a service, with a certificate of
//! its own.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use super::{Order, Phase, Work};
use crate::containerd::authorization;
use crate::error::{LaunchError, Result};
use crate::facts::{AGENT, HOME};
use crate::launch::{Launch, Member, key};
use crate::{units, wait};

/// The phase.
pub const PHASE: Phase =
    Phase { name: "registry", title: "serve the image's images", order: Order::Together, plan, run, undo: None };

const UNIT: &str = "/etc/systemd/system/kiln-registry.service";
/// Who may ask the registry, where not all may: users with their passwords' hashes.
const USERS: &str = "/var/lib/kiln/registry/users";
/// How long the registry may take to answer.
const START: Duration = Duration::from_secs(60);

/// The unit of a host.
fn unit(launch: &Launch, member: &Member) -> String {
    let registry = &launch.cluster.registry;
    let mut names =
        vec![registry.domain.value.clone(), member.address.to_string(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    if member.address.is_ipv6() {
        names.push("::1".to_owned());
    }
    names.extend(registry.cert_sans.iter().map(|san| san.value.clone()));
    if member.host.address() != member.address {
        names.push(member.host.address().to_string());
    }
    units::registry(
        &launch.bundle.name,
        member.address.is_ipv6(),
        registry.port.value,
        !registry.insecure.value,
        registry.user.as_ref().map(|_| USERS),
        &names,
    )
}

/// What a registry is told by who asks it for images, if it wants to know that.
pub fn login(launch: &Launch) -> Option<String> {
    let registry = &launch.cluster.registry;
    let (user, password) = (registry.user.as_ref()?, registry.password.as_ref()?);
    Some(authorization(&user.value, password.value.expose()))
}

/// Writes who may ask the registry; nobody is named where all may.
fn users(launch: &Launch, member: &Member) -> Result<()> {
    let registry = &launch.cluster.registry;
    let users = quote(USERS);
    let (Some(user), Some(password)) = (&registry.user, &registry.password) else {
        return member.machine.succeed("let all ask the registry", &format!("rm -f {users}")).map(drop);
    };
    // Whoever was in it is so no more. The password is on no command line.
    let line = format!(
        "mkdir -p -m 700 {} && rm -f {users} && {} registry passwd --password-stdin {users} {}",
        quote(&format!("{HOME}/registry")),
        quote(AGENT),
        quote(&user.value)
    );
    let password = Stdin::Bytes(password.value.expose().as_bytes().to_vec());
    member.machine.succeed_with("write who may ask the registry", &line, password, START).map(drop)
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if launch.cluster.registry.external
        || !launch.registry_members().iter().any(|other| other.host.address() == member.host.address())
    {
        return Ok(None);
    }
    let unit = unit(launch, member);
    let registry = &launch.cluster.registry;
    let who = registry.user.as_ref().map(|user| format!(", for {}", user.value)).unwrap_or_default();
    let images = launch.bundle.images.len();
    let lines = vec![format!("start the registry at port {} with {images} images{who}", registry.port.value)];
    let digest = launch.bundle.root.digest.to_string();
    // Another password is other work.
    let login = login(launch);
    let parts = [unit.as_str(), digest.as_str()].into_iter().chain(login.as_deref());
    Ok(Some(Work { key: key(parts), lines, holds: member.facts.is_active("kiln-registry") }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let item = crate::agent::ledger::Item {
        to: UNIT.to_owned(),
        mode: 0o644,
        content: crate::agent::ledger::Content::Text(unit(launch, member)),
    };
    super::runtime::install(launch, member, vec![item])?;
    users(launch, member)?;
    member.machine.succeed("reload units", &launch.service("daemon-reload"))?;
    let line = format!("{} && {}", launch.service("enable kiln-registry"), launch.service("restart kiln-registry"));
    member.machine.succeed("start the registry", &line)?;
    if launch.cluster.registry.insecure.value {
        return Ok(());
    }
    let patience = START.min(launch.options.patience);
    let lacking = wait::until(launch, patience, Duration::from_millis(200), || match authority(member) {
        Ok(_) => Ok(None),
        Err(LaunchError::Cancelled) => Err(LaunchError::Cancelled),
        Err(error) => Ok(Some(error)),
    })?;
    lacking.map_or(Ok(()), Err)
}

/// The authority of the registry on a host.
fn authority(member: &Member) -> Result<String> {
    let path = format!("{HOME}/registry/ca.crt");
    let said = member.machine.succeed("read the registry's authority", &format!("cat {}", quote(&path)))?;
    let text = said.text();
    match text.starts_with("-----BEGIN CERTIFICATE-----") && text.len() < 64 << 10 {
        true => Ok(text),
        false => Err(member.machine.nonsense("what is the registry's authority", "it is no certificate")),
    }
}

/// The authorities of all registries, asked once.
///
/// # Errors
/// When a host of a registry does not say its.
pub fn authorities(launch: &Launch) -> Result<Vec<(std::net::IpAddr, String)>> {
    if launch.cluster.registry.insecure.value {
        return Ok(Vec::new());
    }
    let mut learned = launch.learned();
    if learned.authorities.is_empty() {
        for member in launch.registry_members() {
            let text = authority(member)?;
            learned.authorities.push((member.address, text));
        }
    }
    Ok(learned.authorities.clone())
}
