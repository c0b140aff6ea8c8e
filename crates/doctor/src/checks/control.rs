//! The control plane: static pods that do not come up, and why.

use super::Severity::{Error, Warning};
use super::logs::printable;
use super::{Found, Row};
use crate::Fleet;
use crate::facts::HostFacts;
use crate::facts::cri::State;
use crate::facts::kube::{Log, StaticPod};

/// Starts of a container after which it is a loop.
const STARTS: u32 = 3;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "control.bad-manifest",
        severity: Error,
        line: "the kubelet cannot read a static pod",
        symptoms: &["Could not process manifest file", "couldn't parse as pod", "Unable to read config path"],
        cause: "The file in /etc/kubernetes/manifests is cut off, or was edited by hand.",
        remedy: "Mend it; kubeadm init phase control-plane all (or etcd local) writes it again.",
        after: &[],
        check: bad_manifest,
    },
    Row {
        id: "control.disk-full",
        severity: Error,
        line: "a disk is full",
        symptoms: &[
            "no space left on device",
            "etcdserver: mvcc: database space exceeded",
            "DiskPressure",
            "The node was low on resource: ephemeral-storage",
        ],
        cause: "Logs, images or data of etcd filled it. The kubelet then deletes images and pods, etcd stops.",
        remedy: "Make room; for etcd also compact, defragment and disarm its alarm.",
        after: &[],
        check: disk_full,
    },
    Row {
        id: "control.disk-pressure",
        severity: Warning,
        line: "a disk has less space than the kubelet wants",
        symptoms: &[
            "DiskPressure",
            "node.kubernetes.io/disk-pressure",
            "attempting to reclaim ephemeral-storage",
            "ImageGCFailed",
            "failed to pull image that was preloaded",
        ],
        cause: "The kubelet evicts pods below evictionHard (10 % of its disk, 15 % of the images' where nothing is set), and deletes unused images above imageGCHighThresholdPercent (85 %): also those that were preloaded and cannot be pulled.",
        remedy: "Make room; or set evictionHard and imageGCHighThresholdPercent in /var/lib/kubelet/config.yaml, and pin preloaded images (label io.cri-containerd.pinned=pinned).",
        after: &["control.disk-full"],
        check: disk_pressure,
    },
    Row {
        id: "control.no-image",
        severity: Error,
        line: "the runtime does not have the image of a static pod",
        symptoms: &[
            "ErrImagePull",
            "ImagePullBackOff",
            "failed to pull image \"registry.k8s.io/…\"",
            "ErrImageNeverPull",
        ],
        cause: "It cannot be pulled (a blocked registry, no trust in its certificate, a wrong imageRepository), or was deleted to make room.",
        remedy: "kubeadm config images pull --image-repository … says why; containerd's hosts.toml names mirrors.",
        after: &["control.bad-manifest", "control.disk-full", "control.disk-pressure"],
        check: no_image,
    },
    Row {
        id: "control.port-in-use",
        severity: Error,
        line: "another program has a port of the control plane",
        symptoms: &[
            "[ERROR Port-10250]: Port 10250 is in use",
            "[ERROR Port-6443]: Port 6443 is in use",
            "bind: address already in use",
        ],
        cause: "A second Kubernetes (k3s, microk8s, an earlier try), or a web server took it.",
        remedy: "Stop that program, or move it to another port.",
        after: &[],
        check: port_in_use,
    },
    Row {
        id: "control.bad-flag",
        severity: Error,
        line: "a part of the control plane does not know one of its flags",
        symptoms: &[
            "Error: unknown flag: --experimental-cluster-signing-duration",
            "flag provided but not defined",
            "unrecognized feature gate",
            "invalid argument",
        ],
        cause: "The flag was removed in this version, or is misspelt in kubeadm's extraArgs.",
        remedy: "Take it out of kubeadm's configuration and of the file in /etc/kubernetes/manifests.",
        after: &[],
        check: |fleet| {
            last_words(
                fleet,
                &["unknown flag", "flag provided but not defined", "unrecognized feature gate", "invalid argument \""],
            )
        },
    },
    Row {
        id: "control.crash-loop",
        severity: Error,
        line: "a part of the control plane ends again and again",
        symptoms: &[
            "CrashLoopBackOff",
            "[kubelet-check] Initial timeout of 40s passed",
            "[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods",
            "could not bootstrap the admin user in file admin.conf",
        ],
        cause: "Its last lines say why; kubeadm only says that it waited.",
        remedy: "Mend what its last lines name; the kubelet starts it again by itself.",
        after: &[
            "control.disk-full",
            "control.port-in-use",
            "control.bad-flag",
            "control.bad-manifest",
            "logs.certificate-time",
            "addresses.two-advertised",
            "addresses.advertise-absent",
        ],
        check: crash_loop,
    },
    Row {
        id: "control.no-container",
        severity: Error,
        line: "static pods have no containers",
        symptoms: &[
            "[apiclient] Created API client, waiting for the control plane to become ready",
            "[wait-control-plane] timed out waiting for the condition",
            "ErrImagePull",
            "ImagePullBackOff",
            "failed to pull image \"registry.k8s.io/…\"",
        ],
        cause: "The kubelet runs, and no container of the static pods was ever started: mostly their images cannot be pulled (a blocked registry, no trust in its certificate).",
        remedy: "kubeadm config images pull; set imageRepository to a registry that the host reaches, and containerd's hosts.toml for it.",
        after: &["control.bad-manifest", "control.disk-full", "control.no-image", "machine.cri-disabled"],
        check: no_container,
    },
    Row {
        id: "control.interrupted-init",
        severity: Warning,
        line: "an earlier kubeadm init or join was interrupted",
        symptoms: &[
            "[ERROR DirAvailable--etc-kubernetes-manifests]: /etc/kubernetes/manifests is not empty",
            "[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists",
            "/etc/kubernetes/admin.conf already exists",
        ],
        cause: "kubeadm writes its files before it waits, and refuses to start over them.",
        remedy: "kubeadm reset, then again; what reset leaves is found by leftover.devices and leftover.chains.",
        after: &[],
        check: interrupted,
    },
];

/// Logs of a static pod: the kubelet puts the node's name after the pod's, and kubeadm calls the container as the pod. A
/// pod of another's with a name that begins the same is no part of the control plane.
fn logs<'a>(host: &'a HostFacts, pod: &'a StaticPod) -> impl Iterator<Item = &'a Log> {
    let of = |log: &&Log| log.pod.strip_prefix(&pod.name).is_some_and(|rest| rest.starts_with('-'));
    host.kube.logs.iter().filter(of).filter(|log| log.container == pod.container || pod.container.is_empty())
}

fn pods(fleet: &Fleet) -> impl Iterator<Item = (&HostFacts, &StaticPod)> {
    fleet.hosts.iter().flat_map(|host| host.kube.manifests.iter().map(move |pod| (host, pod)))
}

fn bad_manifest(fleet: &Fleet) -> Vec<Found> {
    let bad = pods(fleet).filter_map(|(host, pod)| Some((host, pod, pod.error.as_ref()?)));
    bad.map(|(host, pod, error)| {
        Found::on(&host.name, format!("/etc/kubernetes/manifests/{}: {}", printable(&pod.file), printable(error)))
    })
    .collect()
}

fn disk_full(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in fleet.hosts.iter().filter(|host| host.is_node()) {
        let low = |disk: &&crate::facts::system::Disk| {
            disk.size > 0 && (disk.free / (disk.size / 100).max(1) < 3 || disk.inodes_free < 3)
        };
        let mut seen: Vec<String> = host
            .system
            .disks
            .iter()
            .filter(low)
            .map(|disk| {
                format!("{}: {} MiB and {} % of the inodes are free", disk.path, disk.free >> 20, disk.inodes_free)
            })
            .collect();
        let said = host.kube.manifests.iter().flat_map(|pod| logs(host, pod));
        let said = said.filter_map(|log| {
            Some((log, log.lines.iter().rev().take(10).find(|l| l.contains("no space left on device"))?))
        });
        seen.extend(said.map(|(log, line)| format!("{}: {}", printable(&log.pod), printable(line))));
        if !seen.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}

/// The part of a disk that has to be free, in a hundred: `10%`. Sizes in bytes are not compared.
fn threshold(host: &HostFacts, signal: &str, usual: u64) -> u64 {
    let set = host.kube.kubelet.get(&format!("evictionHard.{signal}"));
    set.map_or(usual, |text| text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).unwrap_or(0))
}

fn disk_pressure(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, _) in fleet.nodes() {
        let collects = host.kube.kubelet.get("imageGCHighThresholdPercent").and_then(|text| text.parse().ok());
        let collects = collects.unwrap_or(85u64).min(100);
        let mut seen = Vec::new();
        for disk in host.system.disks.iter().filter(|disk| disk.size > 0) {
            let free = disk.free / (disk.size / 100).max(1);
            let evicts = match disk.path.as_str() {
                "/var/lib/kubelet" => threshold(host, "nodefs.available", 10),
                "/var/lib/containerd" => threshold(host, "imagefs.available", 15),
                _ => continue,
            };
            if free < evicts {
                seen.push(format!("{}: {free} % are free, pods are evicted below {evicts} %", disk.path));
            } else if disk.path == "/var/lib/containerd" && 100 - free.min(100) >= collects {
                seen.push(format!(
                    "{}: {free} % are free, unused images are deleted above {collects} % use",
                    disk.path
                ));
            }
        }
        if !seen.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}

fn no_image(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in &fleet.hosts {
        let Some(cri) = host.kube.cri.as_ref().filter(|cri| !cri.disabled) else { continue };
        let pods = host.kube.manifests.iter().filter(|pod| pod.error.is_none());
        let bare = pods.filter(|pod| !cri.has(&pod.image) && cri.newest(&pod.name).is_none());
        let names: Vec<String> = bare.map(|pod| format!("{}: {}", pod.name, printable(&pod.image))).collect();
        if !names.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: names, edge: None });
        }
    }
    out
}

/// Who is to listen where.
const OWNERS: [(u16, &str, &str); 6] = [
    (6443, "kube-apiserver", "kube-apiserver"),
    (10250, "kubelet", ""),
    (10257, "kube-controller", "kube-controller-manager"),
    (10259, "kube-scheduler", "kube-scheduler"),
    (2379, "etcd", "etcd"),
    (2380, "etcd", "etcd"),
];

fn port_in_use(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        for (port, owner, pod) in OWNERS {
            // A load balancer on the same host has the usual port where the API server was given another.
            let moved = pod == "kube-apiserver"
                && host.kube.flag(pod, "--secure-port").is_some_and(|told| told != port.to_string());
            let wanted = !moved && (pod.is_empty() || host.kube.manifests.iter().any(|manifest| manifest.name == pod));
            let listener = kernel.listeners.iter().find(|listener| listener.port == port && wanted);
            let Some(process) = listener.and_then(|listener| listener.process.as_ref()) else { continue };
            if process.name != owner {
                let seen = format!("port {port} belongs to {} (process {})", printable(&process.name), process.pid);
                out.push(Found::on(&host.name, seen));
            }
        }
    }
    out
}

/// Static pods whose last line but a few says one of these.
fn last_words(fleet: &Fleet, words: &[&str]) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, pod) in pods(fleet) {
        for log in logs(host, pod).filter(|log| log.restarts > 0) {
            let line = log.lines.iter().rev().take(30).find(|line| words.iter().any(|word| line.contains(word)));
            out.extend(line.map(|line| Found::on(&host.name, format!("{}: {}", pod.name, printable(line)))));
        }
    }
    out
}

fn crash_loop(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, pod) in pods(fleet) {
        // A container that runs has been started again some time: it is no loop while its process is there.
        let process: String = pod.name.chars().take(15).collect();
        let process = process.trim_end_matches('-');
        let runs =
            host.kernel.as_ref().is_some_and(|kernel| kernel.processes.iter().any(|p| p.name.starts_with(process)));
        for log in logs(host, pod).filter(|log| log.restarts >= STARTS && !runs) {
            let mut found =
                Found::on(&host.name, format!("{} was started {} times, and does not run", pod.name, log.restarts + 1));
            found.evidence.extend(ended(host, &pod.name));
            let from = log.lines.len().saturating_sub(3);
            found.evidence.extend(log.lines.iter().skip(from).map(|line| printable(line)));
            out.push(found);
        }
    }
    out
}

/// How a pod's last container ended, if the runtime says so.
fn ended(host: &HostFacts, pod: &str) -> Option<String> {
    let container = host.kube.cri.as_ref()?.newest(pod)?;
    let code = container.exit.filter(|_| container.state == State::Exited)?;
    Some(format!("it ended with status {code} ({})", printable(&container.reason)))
}

fn no_container(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(_, kernel)| kernel.process("kubelet").is_some()) {
        let known = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
        let pods = host.kube.manifests.iter().filter(|pod| pod.error.is_none() && known.contains(&pod.name.as_str()));
        let runs = |pod: &StaticPod| {
            let name: String = pod.name.chars().take(15).collect();
            kernel.processes.iter().any(|process| name.starts_with(&process.name))
        };
        let bare: Vec<String> = pods
            .filter(|pod| !runs(pod) && logs(host, pod).next().is_none())
            .map(|pod| format!("{} ({})", pod.name, printable(&pod.image)))
            .collect();
        if !bare.is_empty() {
            out.push(Found::on(&host.name, format!("no container was ever started of {}", bare.join(", "))));
        }
    }
    out
}

fn interrupted(fleet: &Fleet) -> Vec<Found> {
    let hosts = fleet.nodes().filter(|(host, kernel)| {
        !host.kube.manifests.is_empty()
            && (!host.kube.kubelet_conf || kernel.process("kubelet").is_none())
            && !host.kube.running("kube-apiserver", host.kernel.as_ref())
            && host.kube.logs.is_empty()
    });
    let seen = |host: &HostFacts| {
        let names: Vec<&str> = host.kube.manifests.iter().map(|pod| pod.file.as_str()).collect();
        let kubelet = if host.kube.kubelet_conf { "no process kubelet" } else { "no /etc/kubernetes/kubelet.conf" };
        format!("/etc/kubernetes/manifests has {}, and there is {kubelet}", printable(&names.join(", ")))
    };
    hosts.map(|(host, _)| Found::on(&host.name, seen(host))).collect()
}
