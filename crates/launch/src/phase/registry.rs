//! The registry of the cluster's images, on the hosts that are to have it: this binary as a service, with a certificate of
//! its own.

use std::time::{Duration, Instant};

use kiln_host::command::quote;

use super::{Order, Phase, Work};
use crate::error::{LaunchError, Result};
use crate::facts::HOME;
use crate::launch::{Launch, Member, key};
use crate::units;

/// The phase.
pub const PHASE: Phase =
    Phase { name: "registry", title: "serve the image's images", order: Order::Together, plan, run, undo: None };

const UNIT: &str = "/etc/systemd/system/kiln-registry.service";
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
        &names,
    )
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if launch.cluster.registry.external
        || !launch.registry_members().iter().any(|other| other.host.address() == member.host.address())
    {
        return Ok(None);
    }
    if launch.cluster.registry.user.is_some() {
        return Err(LaunchError::Wanted {
            what: "a registry of the cluster that asks for a password is not supported".to_owned(),
            hint: "leave its user and password out: it can be read only, and from the hosts' network".to_owned(),
        });
    }
    let unit = unit(launch, member);
    let lines = vec![format!(
        "start the registry at port {} with {} images",
        launch.cluster.registry.port.value,
        launch.bundle.images.len()
    )];
    let digest = launch.bundle.root.digest.to_string();
    Ok(Some(Work { key: key([unit.as_str(), digest.as_str()]), lines, holds: member.facts.is_active("kiln-registry") }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let item = crate::agent::ledger::Item {
        to: UNIT.to_owned(),
        mode: 0o644,
        content: crate::agent::ledger::Content::Text(unit(launch, member)),
    };
    super::runtime::install(launch, member, vec![item])?;
    member.machine.succeed("reload units", &launch.service("daemon-reload"))?;
    let line = format!("{} && {}", launch.service("enable kiln-registry"), launch.service("restart kiln-registry"));
    member.machine.succeed("start the registry", &line)?;
    if launch.cluster.registry.insecure.value {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        match authority(member) {
            Ok(_) => return Ok(()),
            Err(LaunchError::Cancelled) => return Err(LaunchError::Cancelled),
            Err(error) if began.elapsed() >= START.min(launch.options.patience) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
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
