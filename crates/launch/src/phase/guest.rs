//! What the image's builder and the user want done on a cluster that runs: commands, applications, scripts of plugins.

use std::time::Duration;

use kiln_clusterfile::Cluster;
use kiln_clusterfile::model::Phase as When;
use kiln_clusterfile::template::Variables;
use kiln_host::Stdin;
use kiln_host::command::quote;
use kiln_oci::cluster::{App, AppKind, Launch as Step};

use super::network::choice::{Network, choose};
use super::{Order, Phase, Work};
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};
use crate::plugins::{self, Task};

/// The phase.
pub const PHASE: Phase = Phase {
    name: "guest",
    title: "commands and applications of the image",
    order: Order::Serial,
    plan,
    run,
    undo: None,
};

/// How long one command may take: it may wait for an application.
const LIMIT: Duration = Duration::from_secs(3600);

/// Steps that are done again together: of one image all, of several those of each.
struct Group {
    /// What tells them from others.
    id: String,
    /// Whose they are, where there are several images.
    of: Option<String>,
    /// In order.
    steps: Vec<Step>,
}

/// What is done, in order: what the image's bases want, then the image's commands, or the user's in their place; then, if
/// several images are launched, what each of the others wants.
fn groups(launch: &Launch) -> Vec<Group> {
    let (bundle, cluster) = (&launch.bundle, &launch.cluster);
    let network = match choose(launch) {
        Ok(Network::App(name)) => Some(name),
        _ => None,
    };
    let (steps, inherited) = match bundle.parts.first() {
        Some(part) => (&part.launch, part.inherited),
        None => (&bundle.spec.launch, bundle.spec.inherited),
    };
    let own: Vec<Step> = if !cluster.apps.is_empty() {
        cluster.apps.iter().map(|name| Step::App(name.value.clone())).collect()
    } else if !cluster.command.is_empty() {
        cluster.command.iter().map(|line| Step::Run(line.value.clone())).collect()
    } else {
        steps.iter().skip(inherited).cloned().collect()
    };
    // The network is launched already.
    let is_left = |step: &Step| !matches!((step, &network), (Step::App(name), Some(network)) if name == network);
    let steps: Vec<Step> = steps.iter().take(inherited).cloned().chain(own).filter(is_left).collect();
    let mut groups = vec![Group { id: String::new(), of: None, steps }];
    // Applications that are named are in place of all others.
    let others = bundle.parts.iter().skip(1).filter(|_| cluster.apps.is_empty());
    groups.extend(others.filter(|part| part.launch.iter().any(is_left)).map(|part| {
        let steps: Vec<Step> = part.launch.iter().filter(|step| is_left(step)).cloned().collect();
        let lines: Vec<String> = steps.iter().map(line).collect();
        let args = cluster.args.iter().map(|arg| arg.value.as_str());
        // Another image of that name is launched again, though its commands may read as before.
        let parts = [part.digest.as_str()].into_iter().chain(lines.iter().map(String::as_str)).chain(args);
        Group { id: short(parts), of: Some(part.name.clone()), steps }
    }));
    groups
}

/// A key of which many fit into one.
fn short<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut key = key(parts);
    key.truncate(16);
    key
}

/// A step in a line.
fn line(step: &Step) -> String {
    match step {
        Step::Run(line) => line.clone(),
        Step::App(name) => format!("the application {name}"),
    }
}

/// Behind which everything is up.
const AFTER: [When; 3] = [When::PostInitHost, When::PreGuest, When::PostInstall];

/// What plugins want of a host; labels of its node are another phase's until applications are launched.
fn tasks<'l>(launch: &'l Launch, member: &Member, times: &[When]) -> Vec<Task<'l>> {
    let mut tasks = plugins::tasks(launch, member, times);
    tasks.retain(|task| task.when == When::PostInstall || !task.is_of_node());
    tasks
}

/// What there is to do on a host.
struct Todo<'l> {
    /// What tells it from other work: of what comes first, then of each further image.
    key: String,
    /// Whether plugins, and what the image itself wants, are to be done.
    is_begun: bool,
    /// Plugins.
    tasks: Vec<Task<'l>>,
    /// Steps that are to be done.
    groups: Vec<Group>,
}

/// Between the keys of what comes first and those of further images.
const AND: char = '+';

/// What there is to do: what was done of an image that is the same now is not done again.
fn todo<'l>(launch: &'l Launch, member: &Member) -> Option<Todo<'l>> {
    let tasks = tasks(launch, member, &AFTER);
    let mut groups = if member.first { groups(launch) } else { Vec::new() };
    if tasks.is_empty() && groups.iter().all(|group| group.steps.is_empty()) {
        return None;
    }
    let own = groups.first().into_iter().flat_map(|group| &group.steps).map(line);
    let parts: Vec<String> = tasks.iter().map(Task::text).chain(own).collect();
    let args = launch.cluster.args.iter().map(|arg| arg.value.as_str()).filter(|_| member.first);
    // Not the image's digest: installing again what is there is not what another image means.
    let own = key(parts.iter().map(String::as_str).chain(args));
    let ids: Vec<String> =
        [own.clone()].into_iter().chain(groups.iter().skip(1).map(|group| group.id.clone())).collect();
    let marker = launch.marker(member);
    let before: Vec<&str> = match marker.as_ref().and_then(|marker| marker.done.get(PHASE.name)) {
        Some(key) if !super::is_forced(&PHASE, launch) => key.split(AND).collect(),
        _ => Vec::new(),
    };
    let is_begun = before.contains(&own.as_str());
    let is_done = |group: &Group| if group.of.is_none() { is_begun } else { before.contains(&group.id.as_str()) };
    groups.retain(|group| !is_done(group));
    Some(Todo { key: ids.join(&AND.to_string()), is_begun, tasks: if is_begun { Vec::new() } else { tasks }, groups })
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let Some(todo) = todo(launch, member) else { return Ok(None) };
    let mut lines: Vec<String> = todo.tasks.iter().map(Task::line).collect();
    for group in &todo.groups {
        let of = group.of.as_ref().map(|name| format!(" (of {name})")).unwrap_or_default();
        lines.extend(group.steps.iter().map(|step| format!("{}{of}", line(step))));
    }
    if lines.is_empty() {
        lines.push("what was launched of images that are no longer named stays".to_owned());
    }
    Ok(Some(Work { key: todo.key, lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let Some(todo) = todo(launch, member) else { return Ok(()) };
    let plugins = |times: &[When]| match todo.is_begun {
        true => Ok(()),
        false => tasks(launch, member, times).iter().try_for_each(|task| plugins::one(launch, member, task)),
    };
    let arguments = arguments(&launch.cluster)?;
    plugins(&[When::PostInitHost, When::PreGuest])?;
    for step in todo.groups.iter().flat_map(|group| &group.steps) {
        match step {
            Step::Run(line) => {
                let what = format!("run `{}`", crate::machine::printable(line));
                shell(launch, member, &what, &format!("{arguments}{line}"), Place::Rootfs)?;
            }
            Step::App(name) => app(launch, member, name)?,
        }
    }
    plugins(&[When::PostInstall])
}

/// The name and the value that the user gives an argument of the image; none where it is no `NAME=VALUE`.
fn argument(text: &str) -> Option<(&str, &str)> {
    let fits = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split_once('=').filter(|(name, _)| !name.is_empty() && fits(name))
}

/// What the user gives the image's arguments (`ARG`), as commands of a shell that export them: behind all other variables,
/// for nothing is meant more exactly.
///
/// # Errors
/// When one is no `NAME=VALUE`.
pub fn arguments(cluster: &Cluster) -> Result<String> {
    let mut text = String::new();
    // sealer skips those that are none in silence.
    for arg in &cluster.args {
        let (name, value) = argument(&arg.value).ok_or_else(|| LaunchError::Wanted {
            what: format!(
                "{}: `{}` gives no argument of the image a value",
                arg.origin,
                crate::machine::printable(&arg.value)
            ),
            hint: "write NAME=VALUE, where the image has ARG NAME; whole commands are said by --cmds, or `cmd`"
                .to_owned(),
        })?;
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    Ok(text)
}

/// Where a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the root file system.
    Rootfs,
    /// There, or in `/` on a host that has none.
    IfThere,
}

/// Runs a script on a host, with the image's arguments and the user's variables. It is read from the standard input: what
/// is in it is in nobody's `ps`.
///
/// # Errors
/// When it fails.
pub fn shell(launch: &Launch, member: &Member, what: &str, script: &str, place: Place) -> Result<()> {
    let rootfs = quote(&launch.bundle.rootfs());
    let enter = match place {
        Place::Rootfs => format!("cd {rootfs} || exit 127"),
        Place::IfThere => format!("cd {rootfs} 2>/dev/null || cd /"),
    };
    let mut text = format!("{enter}\nexport KUBECONFIG=/etc/kubernetes/admin.conf PATH=\"${{PWD%/}}/bin:$PATH\"\n");
    for (name, value) in &launch.bundle.spec.args {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    // The user's, and what every script is told of the cluster, win.
    text.push_str(&Variables::of(&launch.cluster, &member.host, member.address).exports());
    text.push('\n');
    text.push_str(script);
    text.push('\n');
    member
        .machine
        .succeed_with(what, "$(command -v bash || echo sh) -s", Stdin::Bytes(text.into_bytes()), LIMIT)
        .map(drop)
}

/// Launches an application of the image.
///
/// # Errors
/// When the image has none of that name, or it fails.
pub fn app(launch: &Launch, member: &Member, name: &str) -> Result<()> {
    let found = launch.bundle.spec.apps.iter().find(|app| app.name == name);
    let app = found.ok_or_else(|| LaunchError::Wanted {
        what: format!("the image has no application `{}`", crate::machine::printable(name)),
        hint: format!(
            "it has: {}",
            launch.bundle.spec.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    })?;
    let script = format!("{}{}", arguments(&launch.cluster)?, app_script(app)?);
    shell(launch, member, &format!("launch the application {name}"), &script, Place::Rootfs)
}

/// The script of an application, run in the root file system.
fn app_script(app: &App) -> Result<String> {
    let mut text = String::from("set -e\n");
    for (name, value) in &app.env {
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    text.push_str(&format!("cd {}\n", quote(&app.path)));
    if !app.commands.is_empty() {
        text.push_str(&app.commands.join("\n"));
        return Ok(text);
    }
    let files = || app.files.iter().map(|file| quote(file));
    match app.kind {
        Some(AppKind::Kube) if app.files.is_empty() => text.push_str("kubectl apply -R -f ."),
        Some(AppKind::Kube) => files().for_each(|file| text.push_str(&format!("kubectl apply -f {file}\n"))),
        Some(AppKind::Shell) => files().for_each(|file| text.push_str(&format!("bash {file}\n"))),
        Some(AppKind::Helm) => {
            text.push_str("command -v helm >/dev/null || { echo 'the image has no bin/helm' >&2; exit 127; }\n");
            text.push_str(&format!("helm upgrade --install {} .", quote(&app.name)));
        }
        None => {
            return Err(LaunchError::Wanted {
                what: format!("nothing tells how the application `{}` is launched", app.name),
                hint: "say it in the Kubefile: APPCMDS NAME [\"…\"]".to_owned(),
            });
        }
    }
    Ok(text)
}
