//! What the image's builder and the user want done on a cluster that runs: commands, applications, scripts of plugins.

use std::time::Duration;

use kiln_clusterfile::model::Phase as When;
use kiln_clusterfile::template::Variables;
use kiln_host::Stdin;
use kiln_host::command::quote;
use kiln_oci::cluster::{App, AppKind, Launch as Step};

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

/// What is done, in order: what the image's bases want, then the image's commands, or the user's in their place.
pub fn steps(launch: &Launch) -> Vec<Step> {
    let spec = &launch.bundle.spec;
    let network = match super::network::choose(launch) {
        Ok(super::network::Network::App(name)) => Some(name),
        _ => None,
    };
    let inherited = spec.launch.iter().take(spec.inherited).cloned();
    let own: Vec<Step> = if !launch.cluster.apps.is_empty() {
        launch.cluster.apps.iter().map(|name| Step::App(name.value.clone())).collect()
    } else if !launch.cluster.command.is_empty() {
        launch.cluster.command.iter().map(|line| Step::Run(line.value.clone())).collect()
    } else {
        spec.launch.iter().skip(spec.inherited).cloned().collect()
    };
    let all = inherited.chain(own);
    // The network is launched already.
    all.filter(|step| !matches!((step, &network), (Step::App(name), Some(network)) if name == network)).collect()
}

/// Behind which everything is up.
const AFTER: [When; 3] = [When::PostInitHost, When::PreGuest, When::PostInstall];

/// What plugins want of a host; labels of its node are another phase's until applications are launched.
fn tasks<'l>(launch: &'l Launch, member: &Member, times: &[When]) -> Vec<Task<'l>> {
    let mut tasks = plugins::tasks(launch, member, times);
    tasks.retain(|task| task.when == When::PostInstall || !task.is_of_node());
    tasks
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let tasks = tasks(launch, member, &AFTER);
    let mut lines: Vec<String> = tasks.iter().map(Task::line).collect();
    let mut parts: Vec<String> = tasks.iter().map(Task::text).collect();
    if member.first {
        for step in steps(launch) {
            let line = match step {
                Step::Run(line) => line,
                Step::App(name) => format!("the application {name}"),
            };
            lines.push(line.clone());
            parts.push(line);
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    // Not the image's digest: installing again what is there is not what another image means.
    Ok(Some(Work { key: key(parts.iter().map(String::as_str)), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let plugins =
        |times: &[When]| tasks(launch, member, times).iter().try_for_each(|task| plugins::one(launch, member, task));
    plugins(&[When::PostInitHost, When::PreGuest])?;
    if member.first {
        for step in steps(launch) {
            match step {
                Step::Run(line) => {
                    let what = format!("run `{}`", crate::machine::printable(&line));
                    shell(launch, member, &what, &line, Place::Rootfs)?;
                }
                Step::App(name) => app(launch, member, &name)?,
            }
        }
    }
    plugins(&[When::PostInstall])
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
    let script = app_script(app)?;
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
