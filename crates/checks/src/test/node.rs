//! The container runtime and Kubernetes.

use std::collections::BTreeMap;

use crate::read::containerd;
use crate::system::Result;
use crate::{Finding, Look};

const CONFIG: &str = containerd::CONFIG;

/// containerd leaves control groups to systemd, as the kubelet expects.
pub fn cgroup_driver(look: &Look<'_>) -> Result<Finding> {
    if look.command("containerd")?.is_none() {
        return Ok(Finding::fail("there is no containerd"));
    }
    let Some(config) = containerd::Config::of(look.system)? else {
        return Ok(Finding::fail(format!("{CONFIG} is not there, and containerd's default is SystemdCgroup = false")));
    };
    Ok(match config.systemd_cgroup {
        Some(true) => Finding::pass("SystemdCgroup is true").at(CONFIG, "SystemdCgroup = true"),
        Some(false) => Finding::fail("SystemdCgroup is false").at(CONFIG, "SystemdCgroup = false"),
        None if !config.imports.is_empty() => {
            Finding::unknown("SystemdCgroup is not set, and may be in a file that is imported")
                .at(CONFIG, config.imports.join(" "))
        }
        None => Finding::fail("SystemdCgroup is not set, and containerd's default is false").at(CONFIG, "not set"),
    })
}

/// The plugin that the kubelet talks to is on, and has a socket where it runs.
pub fn socket(look: &Look<'_>) -> Result<Finding> {
    const SOCKETS: [&str; 3] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock"];
    if look.live().is_some() {
        for path in SOCKETS {
            if look.system.stat(path, true)?.is_some() {
                return Ok(Finding::pass(format!("{path} is there")));
            }
        }
        return Ok(Finding::fail("no container runtime has a socket").hint("systemctl enable --now containerd"));
    }
    let mut runtime = None;
    for name in ["containerd", "crio", "cri-dockerd"] {
        if let Some(path) = look.command(name)? {
            runtime = Some(path);
            break;
        }
    }
    let Some(path) = runtime else { return Ok(Finding::fail("there is no container runtime")) };
    Ok(match containerd::Config::of(look.system)? {
        Some(config) if config.cri_disabled && path.ends_with("/containerd") => {
            Finding::fail("the plugin that the kubelet talks to is turned off")
                .at(CONFIG, "disabled_plugins = [\"cri\"]")
        }
        _ => Finding::pass(format!("{path} is there, and answers the kubelet")),
    })
}

/// The image of the pause container is set, and, where images are preloaded, is among them.
pub fn sandbox(look: &Look<'_>) -> Result<Finding> {
    let Some(config) = containerd::Config::of(look.system)? else {
        return Ok(Finding::fail(format!("{CONFIG} is not there")));
    };
    let Some(image) = config.sandbox_image else {
        return Ok(Finding::fail("the image of the pause container is containerd's default").at(CONFIG, "not set"));
    };
    Ok(match containerd::images(look.system)? {
        Some(images) if !images.is_empty() && !images.iter().any(|known| known.name == image) => {
            Finding::fail(format!("images are preloaded, and {image} is not among them")).at(CONFIG, image)
        }
        _ => Finding::pass(format!("the pause container is {image}")).at(CONFIG, image),
    })
}

/// Images are in containerd before the machine starts, and stay there.
pub fn preloaded(look: &Look<'_>) -> Result<Finding> {
    let images = containerd::images(look.system)?.unwrap_or_default();
    if !images.is_empty() {
        let loose: Vec<_> = images.iter().filter(|image| !image.pinned).collect();
        let finding = match loose.len() {
            0 => Finding::pass(format!("{} images are preloaded, all pinned", images.len())),
            n => Finding::pass(format!(
                "{} images are preloaded; {n} of them may be removed by the kubelet",
                images.len()
            )),
        };
        return Ok(images.into_iter().fold(finding, |finding, image| finding.at(image.name, image.digest)));
    }
    let archives = containerd::archives(look.system)?;
    Ok(match archives.is_empty() {
        true => Finding::fail("no images are preloaded"),
        false => archives
            .into_iter()
            .fold(Finding::pass("archives of images are there for the first boot to load"), |finding, (dir, names)| {
                finding.at(dir, names.join(" "))
            }),
    })
}

/// Images are in containerd.
pub(super) fn images(look: &Look<'_>, names: &[String]) -> Result<Finding> {
    let Some(images) = containerd::images(look.system)? else {
        return Ok(Finding::fail("containerd has no database: no images are preloaded"));
    };
    let missing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !images.iter().any(|i| has_name(&i.name, name))).collect();
    Ok(match missing.is_empty() {
        true => Finding::pass(format!("{} images are there", names.len())),
        false => {
            images.iter().fold(Finding::fail(format!("not preloaded: {}", missing.join(", "))), |finding, image| {
                finding.at(image.name.clone(), image.digest.clone())
            })
        }
    })
}

/// Whether an image goes by a name: the whole, or the last part without tag, as `pause` of `registry.k8s.io/pause:3.9`.
fn has_name(full: &str, name: &str) -> bool {
    let last = full.rsplit('/').next().unwrap_or(full);
    full == name || last == name || last.split([':', '@']).next() == Some(name)
}

/// The programs of Kubernetes are of one version.
pub fn versions_equal(look: &Look<'_>) -> Result<Finding> {
    const NAMES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for name in NAMES {
        if let Some(live) = look.live() {
            let argument = if name == "kubelet" { vec!["--version"] } else { vec!["version", "--client"] };
            let ran = live.run(&[&[name], &argument[..]].concat())?;
            if let Some(version) = version_in(&ran.text()) {
                found.insert(name, version);
                continue;
            }
        }
        if let Ok(packages) = look.packages()
            && let Some(package) = packages.named(name).next()
        {
            found.insert(name, package.version.split('-').next().unwrap_or("").to_owned());
        }
    }
    let missing: Vec<&str> = NAMES.into_iter().filter(|name| !found.contains_key(name)).collect();
    if !missing.is_empty() {
        let mut there = false;
        for name in &missing {
            there |= look.command(name)?.is_some();
        }
        return Ok(match there {
            // Many images leave them to whoever makes the cluster; that they must be there is a rule of its own.
            false if found.is_empty() => Finding::skip("none of them is installed"),
            true => Finding::unknown(format!("no package says which version {} is of", missing.join(", "))),
            false => Finding::fail(format!("not installed: {}", missing.join(", "))),
        });
    }
    let mut versions = found.values().collect::<Vec<_>>();
    versions.dedup();
    let finding = match &versions[..] {
        [one] => Finding::pass(format!("all are of version {one}")),
        _ => Finding::fail("they are of different versions"),
    };
    Ok(found.into_iter().fold(finding, |finding, (name, version)| finding.at(name, version)))
}

/// The first `v1.2.3` of a text, without the `v`.
fn version_in(text: &str) -> Option<String> {
    let word = text.split(|c: char| c.is_whitespace() || "\",:".contains(c)).find(|word| {
        word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains('.'))
    })?;
    Some(word[1..].to_owned())
}

/// The plugins that connect pods are there.
pub fn cni_plugins(look: &Look<'_>) -> Result<Finding> {
    const WANTED: [&str; 6] = ["bridge", "host-local", "loopback", "portmap", "host-device", "bandwidth"];
    const DIRS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
    for dir in DIRS {
        let names = look.system.list(dir)?.unwrap_or_default();
        if names.is_empty() {
            continue;
        }
        let missing: Vec<&str> = WANTED.into_iter().filter(|name| !names.iter().any(|n| n == name)).collect();
        return Ok(match missing.is_empty() {
            true => Finding::pass(format!("{} plugins are in {dir}", names.len())),
            false => Finding::fail(format!("{dir} lacks {}", missing.join(", "))),
        });
    }
    Ok(Finding::fail("/opt/cni/bin is empty or not there"))
}
