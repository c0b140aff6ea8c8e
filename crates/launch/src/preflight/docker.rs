//! Docker as the runtime: what Kubernetes, hosts and images must be for it.

use kiln_clusterfile::model::Runtime;
use kiln_kubeadm::{Kind, Value};

use super::{Found, minor};
use crate::config::{Configuration, DEFAULT};
use crate::docker::{self, CONFIG, LAST};
use crate::launch::Member;
use crate::machine::printable;
use crate::phase::rootfs::KUBEADM;

/// What is wrong with the runtime of the whole cluster.
pub(super) fn cluster(configuration: &Configuration, found: &mut Found<'_>) {
    let launch = found.launch;
    let (runtime, said) = (launch.runtime(), launch.cluster.runtime.as_ref());
    if let (Some(marked), Some(said)) = (launch.marked_runtime(), said)
        && marked != said.value
    {
        let text = format!("{}: the cluster runs with {marked}, and {} is wanted", said.origin, said.value);
        found.error("ContainerRuntime", text, "the runtime of a cluster stays: kiln cluster reset, and launch it anew");
    }
    let kubernetes = &launch.bundle.kubernetes;
    if runtime == Runtime::Docker && minor(kubernetes) > LAST {
        return found.error(
            "ContainerRuntime",
            format!("the kubelet of {kubernetes} does not run pods with Docker: that ended with 1.{LAST}"),
            "leave `containerRuntime` out: containerd of the image, or of the host, is used; cri-dockerd is not supported",
        );
    }
    for kind in [Kind::InitConfiguration, Kind::JoinConfiguration] {
        let socket = configuration.resolved.at(kind, &["nodeRegistration", "criSocket"]);
        let Some((socket, origin)) = socket.and_then(|value| Some((Value::as_text(value)?, &value.origin))) else {
            continue;
        };
        // Both are less than what follows from the runtime, which is said of each host.
        if [DEFAULT, KUBEADM].contains(&origin.layer.as_str()) {
            continue;
        }
        let of = match socket {
            _ if socket.contains("dockershim") => Runtime::Docker,
            _ if socket.contains("containerd") => Runtime::Containerd,
            _ => continue,
        };
        if of != runtime {
            let text = format!("`criSocket` is {of}'s ({}), and the runtime is {runtime}", origin.layer);
            found.error("ContainerRuntime", text, format!("take it out; or `containerRuntime: {{type: {of}}}`"));
        }
    }
    if runtime != Runtime::Docker {
        return;
    }
    let (_, not) = docker::images(&launch.bundle.images, |_| true);
    if !not.is_empty() {
        let not: Vec<String> = not.into_iter().collect();
        found.warn(
            "DockerImage",
            format!("images that are named by a digest cannot be given to Docker: {}", not.join(", ")),
            "pods that name them so have them pulled from their own registry",
        );
    }
}

/// What is wrong with one host's Docker.
pub(super) fn host(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    if !facts.programs.contains("docker") {
        found.error("FileExisting-docker", "docker not found in system path", "install Docker on it");
        return;
    }
    if !facts.is_active("docker") {
        let text = "docker service is not active, please run 'systemctl start docker.service'";
        found.error("Service-Docker", text, "pods run with it, as the Clusterfile says");
        return;
    }
    if facts.docker.is_empty() {
        found.error("Service-Docker", "docker does not answer: docker info", "journalctl -u docker shows why");
    }
    if let Err(why) = docker::merge(facts.docker_config.as_deref(), &docker::Settings::default()) {
        let name = format!("FileContent-{}", CONFIG.replace('/', "-"));
        found.error(name, format!("{CONFIG} cannot be used: {}", printable(&why)), "put it right");
    }
}
