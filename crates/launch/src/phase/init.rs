//! `kubeadm init` on the first master, with the configuration that Clusterfile, image and hosts give.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use super::{Order, Phase, Work, runtime};
use crate::config::{Configuration, SOCKET, configuration, init_yaml, mounted_files};
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};
use crate::{diagnose, docker, preflight};

/// The phase.
pub const PHASE: Phase =
    Phase { name: "init", title: "the first control plane", order: Order::Serial, plan, run, undo: None };

/// What kubeadm reads on the first master.
pub const CONFIG: &str = "/etc/kubernetes/kubeadm.yaml";
/// kubeadm itself waits four minutes for the control plane, and pulls images before.
const LIMIT: Duration = Duration::from_secs(1200);

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if !member.first {
        return Ok(None);
    }
    let configuration = configuration(launch)?;
    let lines = vec![
        format!("kubeadm init: Kubernetes {}, at {}", launch.bundle.kubernetes, configuration.address()),
        format!(
            "advertise {}, node {}, control groups by {}",
            member.address, member.node, configuration.cgroup_driver
        ),
    ];
    // A control plane that runs is not made anew because its configuration is another: that is an upgrade.
    Ok(Some(Work { key: key(["init"]), lines, holds: true }))
}

/// The option for checks of kubeadm that are passed over.
pub fn ignored(launch: &Launch) -> String {
    let names: Vec<&str> = launch.options.ignore.iter().map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" --ignore-preflight-errors={}", quote(&names.join(","))) }
}

/// Ends a kubeadm whose launcher was killed: it goes on when nobody hears it, and would work against the next one. By
/// `KILN_RUN`, which is in the environment of all that Kiln runs on hosts, it is told from somebody else's.
const END_EARLIER: &str = "for d in /proc/[0-9]*; do \
[ \"$(cat \"$d/comm\" 2>/dev/null)\" != kubeadm ] || ! grep -qs KILN_RUN= \"$d/environ\" || kill -KILL \"${d#/proc/}\" 2>/dev/null; done; :";

/// Undoes half of an earlier attempt on a host.
///
/// # Errors
/// When there was something before Kiln came, or it cannot be undone.
pub fn clear_earlier(launch: &Launch, member: &Member) -> Result<()> {
    // Facts are from before this run: what they say of Kubernetes is an earlier run's.
    let Some(marker) = &member.facts.marker else { return Ok(()) };
    // What was begun may have gone on behind the facts.
    let begun = marker.begun.as_deref().is_some_and(|phase| phase == "init" || phase.starts_with("join-"));
    if !member.facts.is_occupied() && !begun {
        return Ok(());
    }
    if marker.occupied {
        return Err(LaunchError::Wanted {
            what: format!(
                "{}: half of a control plane or node is there, and something was there before Kiln came",
                member.name()
            ),
            hint: "look what it is, and remove it: kubeadm reset -f".to_owned(),
        });
    }
    if crate::preflight::joined(launch, member) {
        return Err(LaunchError::Wanted {
            what: format!("{}: it is a node of this cluster, which starting over would end", member.name()),
            hint: "--from network and later phases leave it running; kiln cluster reset gives it back".to_owned(),
        });
    }
    launch.note(member, "an earlier attempt is undone first: kubeadm reset");
    kubeadm_reset(launch, member)?;
    // What is in the kubelet's directory has gone with it.
    runtime::log_in(launch, member)
}

/// The socket of the runtime, as kubeadm of a host wants it said: with a scheme since 1.24. `kubernetes` is the release of
/// the cluster.
pub fn cri_socket(member: &Member, docker: bool, kubernetes: &str) -> String {
    if docker {
        return docker::SOCKET.to_owned();
    }
    // That of the host counts: kubeadm and kubelet come together.
    let known = [&member.facts.kubelet, kubernetes].into_iter().map(preflight::minor);
    match known.into_iter().find(|minor| *minor > 0) {
        Some(minor) if minor < 24 => SOCKET.to_owned(),
        _ => format!("unix://{SOCKET}"),
    }
}

/// `kubeadm reset` on a host: by its own kubeadm, which knows best what it made, or else by the image's.
pub fn reset_line(launch: &Launch, member: &Member) -> String {
    let socket = cri_socket(member, launch.is_docker(), &launch.bundle.kubernetes);
    let image = quote(&format!("{}/bin", launch.bundle.rootfs()));
    format!("PATH=$PATH:{image} kubeadm reset --force --cri-socket {socket}")
}

/// Resets what Kiln's kubeadm made on a host.
///
/// # Errors
/// When it fails.
pub fn kubeadm_reset(launch: &Launch, member: &Member) -> Result<()> {
    member.machine.succeed("end the kubeadm of an earlier launch", END_EARLIER)?;
    let line = reset_line(launch, member);
    member.machine.succeed_with("reset what kubeadm made", &line, Stdin::Empty, LIMIT)?;
    // It may have been there before: files in it are kept in the ledger.
    member
        .machine
        .succeed("remove what kubeadm read", "rm -f /etc/kubernetes/kubeadm.yaml /etc/kubernetes/kiln-join.yaml")
        .map(drop)
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let machine = &member.machine;
    clear_earlier(launch, member)?;
    let configuration = configuration(launch)?;
    files_are_there(member, &configuration)?;
    machine.write(CONFIG, 0o600, init_yaml(&configuration))?;
    let line =
        format!("kubeadm init --config {CONFIG} --skip-token-print --skip-certificate-key-print{}", ignored(launch));
    let work = || machine.succeed_with("initialize the control plane", &line, Stdin::Empty, LIMIT);
    let done = launch.clock.wait(work);
    if let Err(error) = done {
        return Err(error.because(diagnose::ask(launch, machine)));
    }
    kubeconfig(member)
}

/// Lets root of a master use kubectl.
///
/// # Errors
/// When it cannot be written.
pub fn kubeconfig(member: &Member) -> Result<()> {
    let line = "umask 077; mkdir -p /root/.kube && { [ -e /root/.kube/config ] || cp /etc/kubernetes/admin.conf /root/.kube/config; }";
    member.machine.succeed("let root use kubectl", line).map(drop)
}

/// Files that pods of the control plane mount: without them they are never started, and kubeadm waits in vain.
pub fn files_are_there(member: &Member, configuration: &Configuration) -> Result<()> {
    let files = mounted_files(configuration);
    let test: Vec<String> = files.iter().map(|path| format!("[ -f {0} ] || echo {0}", quote(path))).collect();
    if test.is_empty() {
        return Ok(());
    }
    let said = member.machine.succeed("look for files that the control plane mounts", &test.join("; "))?.text();
    let missing: Vec<&str> = said.lines().filter(|line| files.iter().any(|path| path == line)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = match missing.contains(&"/etc/localtime") {
        true => "ln -s /usr/share/zoneinfo/UTC /etc/localtime; or another volume `localtime` in the Clusterfile",
        false => "make them, or take the volumes out of the configuration",
    };
    Err(LaunchError::Preflight(vec![preflight::Finding {
        name: "FileExisting".to_owned(),
        fatal: true,
        ignored: false,
        host: member.name().to_owned(),
        text: format!("pods of the control plane mount {}, which is not there", missing.join(", ")),
        hint: hint.to_owned(),
    }]))
}
