//! The root file system of each host as the Clusterfile wants it: Configs applied, templates rendered.
//!
//! ```text
//! Configs of *.tmpl files ─▶ templates, with the variables of the host ─▶ Configs of all other files
//! ```
//! So a Config may change a template, and what a template makes. It is worked out here, from what the image has, and sent
//! to each host whole; `etc/kubeadm.yml` is taken from here, too, when kubeadm is told something.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_clusterfile::model::Config;
use kiln_clusterfile::template::{Variables, render, target};
use kiln_clusterfile::{config, template};
use kiln_host::Stdin;
use kiln_host::command::quote;

use super::distribute::agent;
use super::{Order, Phase, Work};
use crate::agent::ledger::{Changed, Content, Item};
use crate::config::configuration;
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};

/// The phase.
pub const PHASE: Phase = Phase {
    name: "rootfs",
    title: "templates and Configs of the root file system",
    order: Order::Together,
    plan,
    run,
    undo: None,
};

/// What kubeadm is told by the image.
pub const KUBEADM: &str = "etc/kubeadm.yml";
const LIMIT: Duration = Duration::from_secs(600);

/// A file as it is to be, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Made {
    bytes: Vec<u8>,
    by: Vec<String>,
}

/// The path of a Config in the root file system: that of an application is below its directory.
///
/// # Errors
/// When it is about an application that the image does not have, or about another image.
pub fn path_of(launch: &Launch, config: &Config) -> Result<String> {
    let wrong = |what: String, hint: String| Err(LaunchError::Wanted { what, hint });
    let (name, origin) = (&config.name.value, &config.name.origin);
    if let Some(image) = config.image.as_ref().filter(|image| !launch.bundle.is_called(&image.value)) {
        let what = format!("{origin}: the Config `{name}` is about the image {}, which is not launched", image.value);
        return wrong(what, format!("take it out, or write `match: {}`", launch.bundle.name));
    }
    let Some(app) = &config.app else { return Ok(config.path.value.clone()) };
    match launch.bundle.spec.apps.iter().find(|known| known.name == app.value) {
        Some(known) => Ok(format!("{}/{}", known.path.trim_matches('/'), config.path.value)),
        None => {
            let known: Vec<&str> = launch.bundle.spec.apps.iter().map(|app| app.name.as_str()).collect();
            let has = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            wrong(
                format!("{origin}: the image has no application `{}`, which the Config `{name}` is about", app.value),
                has,
            )
        }
    }
}

/// Files of a host that differ from the image's; only the one at a path, if that is what is asked for.
fn made(launch: &Launch, member: &Member, only: Option<&str>) -> Result<BTreeMap<String, Made>> {
    let bundle = &launch.bundle;
    let mut configs = Vec::new();
    for config in &launch.cluster.configs {
        configs.push((path_of(launch, config)?, config));
    }
    let wanted = |path: &str| only.is_none_or(|only| path == only);
    let mut made: BTreeMap<String, Made> = BTreeMap::new();
    let source = |path: &str| bundle.sources.get(path).cloned();
    let apply = |made: &mut BTreeMap<String, Made>, path: &str, config: &Config| -> Result<()> {
        let mut file = match made.remove(path) {
            Some(file) => Some(file),
            None => source(path).map(|bytes| Made { bytes, by: Vec::new() }),
        };
        let bytes = config::apply(config, file.as_ref().map(|file| file.bytes.as_slice()));
        let bytes = bytes.map_err(|error| LaunchError::Wanted {
            what: error.to_string(),
            hint: "kiln cluster inspect shows what the image has".to_owned(),
        })?;
        let mut file = file.take().unwrap_or_default();
        file.bytes = bytes;
        file.by.push(format!("{} ({})", config.strategy.value, config.path.origin));
        made.insert(path.to_owned(), file);
        Ok(())
    };
    for (path, config) in configs.iter().filter(|(path, _)| target(path).is_some_and(wanted)) {
        apply(&mut made, path, config)?;
    }
    let mut templates = made.clone();
    made.clear();
    for (path, bytes) in &bundle.sources {
        if target(path).is_some_and(wanted) && !templates.contains_key(path) {
            templates.insert(path.clone(), Made { bytes: bytes.clone(), by: Vec::new() });
        }
    }
    if !templates.is_empty() {
        let variables = variables(launch, member, only)?;
        for (path, template) in templates {
            let Some(to) = target(&path) else { continue };
            let text = text(&path, template.bytes)?;
            let rendered = render(&path, &text, &variables)
                .map_err(|found| LaunchError::Template { host: member.name().to_owned(), found })?;
            let by = template.by.into_iter().chain([path.clone()]).collect();
            made.insert(to.to_owned(), Made { bytes: rendered.into_bytes(), by });
        }
    }
    for (path, config) in configs.iter().filter(|(path, _)| target(path).is_none() && wanted(path)) {
        apply(&mut made, path, config)?;
    }
    Ok(made)
}

fn text(path: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| LaunchError::Wanted {
        what: format!("{path} of the image is not UTF-8: it cannot be a template or be changed by a Config"),
        hint: "put the file into the image as it is to be".to_owned(),
    })
}

/// Variables of a host. The networks are those that kubeadm gets, but for the file that says which those are.
fn variables(launch: &Launch, member: &Member, only: Option<&str>) -> Result<Variables> {
    let mut variables = Variables::of(&launch.cluster, &member.host, member.address);
    if only.is_some() {
        return Ok(variables);
    }
    let configuration = configuration(launch)?;
    for (name, what) in [("PodCIDR", "pods"), ("SvcCIDR", "services")] {
        let networks = configuration.networks.iter();
        let of: Vec<&str> = networks.filter(|(of, _)| of == what).map(|(_, network)| network.as_str()).collect();
        if variables.get(name).is_none() && !of.is_empty() {
            variables.set(name, [of.join(",")]);
        }
    }
    Ok(variables)
}

/// `etc/kubeadm.yml` as it is for a host: the image's, rendered and changed.
///
/// # Errors
/// When its template or a Config has mistakes.
pub fn kubeadm(launch: &Launch, member: &Member) -> Result<Option<String>> {
    match made(launch, member, Some(KUBEADM))?.remove(KUBEADM) {
        Some(file) => text(KUBEADM, file.bytes).map(Some),
        None => Ok(launch.bundle.kubeadm.clone()),
    }
}

fn items(launch: &Launch, made: BTreeMap<String, Made>) -> Result<Vec<Item>> {
    let item = |(path, made): (String, Made)| {
        let template = format!("{path}.tmpl");
        let mode = launch.bundle.files.get(&template).or_else(|| launch.bundle.files.get(&path)).copied();
        let content = Content::Text(text(&path, made.bytes)?);
        Ok(Item { to: format!("/{path}"), mode: mode.unwrap_or(0o644) & 0o777, content })
    };
    made.into_iter().map(item).collect()
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let made = made(launch, member, None)?;
    let mut lines: Vec<String> =
        made.iter().map(|(path, file)| format!("write {path}: {}", file.by.join(", "))).collect();
    let items = items(launch, made)?;
    // What was changed before and is not any more, is put back.
    if items.is_empty() && !launch.has_done(member, PHASE.name) {
        return Ok(None);
    }
    let (text, digest) = (serde_json::to_string(&items).unwrap_or_default(), launch.bundle.root.digest.to_string());
    if lines.is_empty() {
        lines.push("put back what was changed".to_owned());
    }
    Ok(Some(Work { key: key([text.as_str(), digest.as_str()]), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let order = serde_json::to_vec(&items(launch, made(launch, member, None)?)?).unwrap_or_default();
    let line = agent(&format!("adapt --rootfs {}", quote(&launch.bundle.rootfs())));
    let what = "change files of the root file system";
    let said = member.machine.succeed_with(what, &line, Stdin::Bytes(order), LIMIT)?;
    let changed: Changed =
        serde_json::from_slice(&said.stdout).map_err(|error| member.machine.nonsense(what, error.to_string()))?;
    for left in changed.left {
        launch.note(member, format!("in the root file system, {}", crate::machine::printable(&left)));
    }
    Ok(())
}

/// Whether a launch needs to know what a file of the root file system has: it is a template, or a Config changes it.
pub fn is_source(path: &str, configs: &[Config], apps: &[(String, String)]) -> bool {
    let changed = |config: &Config| match &config.app {
        None => config.path.value == path,
        Some(app) => apps.iter().filter(|(name, _)| *name == app.value).any(|(_, dir)| {
            let rest = path.strip_prefix(dir.trim_matches('/')).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| rest == config.path.value)
        }),
    };
    template::target(path).is_some() || configs.iter().any(changed)
}
