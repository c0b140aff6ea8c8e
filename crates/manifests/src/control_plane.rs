//! What kubeadm runs.
//!
//! The table is what `kubeadm config images list` of each release says (constants.go of kubeadm). Patch releases move
//! etcd: a row has the first patch release that it is true for, and the last one it was seen in.

use kiln_spec::diag::Diagnostic;
use kiln_yaml::{Map, Node};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::Certainty;
use crate::rule;

/// What a range of releases runs.
#[derive(Debug)]
struct Release {
    minor: u32,
    first: u32,
    /// Where the row was last seen to be true; later ones may have another etcd.
    last: u32,
    etcd: &'static str,
    coredns: &'static str,
    pause: &'static str,
}

/// The last patch release of a minor release that gets no more.
const FINAL: u32 = u32::MAX;

const fn row(
    (minor, first, last): (u32, u32, u32),
    etcd: &'static str,
    coredns: &'static str,
    pause: &'static str,
) -> Release {
    Release { minor, first, last, etcd, coredns, pause }
}

/// By release, the first patch release first.
const RELEASES: [Release; 39] = [
    row((18, 0, FINAL), "3.4.3-0", "1.6.7", "3.2"),
    row((19, 0, 0), "3.4.9-1", "1.7.0", "3.2"),
    row((19, 1, FINAL), "3.4.13-0", "1.7.0", "3.2"),
    row((20, 0, FINAL), "3.4.13-0", "1.7.0", "3.2"),
    row((21, 0, FINAL), "3.4.13-0", "v1.8.0", "3.4.1"),
    row((22, 0, 16), "3.5.0-0", "v1.8.4", "3.5"),
    row((22, 17, FINAL), "3.5.6-0", "v1.8.4", "3.5"),
    row((23, 0, 13), "3.5.1-0", "v1.8.6", "3.6"),
    row((23, 14, 14), "3.5.5-0", "v1.8.6", "3.6"),
    row((23, 15, FINAL), "3.5.6-0", "v1.8.6", "3.6"),
    row((24, 0, 7), "3.5.3-0", "v1.8.6", "3.7"),
    row((24, 8, 8), "3.5.5-0", "v1.8.6", "3.7"),
    row((24, 9, FINAL), "3.5.6-0", "v1.8.6", "3.7"),
    row((25, 0, 3), "3.5.4-0", "v1.9.3", "3.8"),
    row((25, 4, 4), "3.5.5-0", "v1.9.3", "3.8"),
    row((25, 5, 14), "3.5.6-0", "v1.9.3", "3.8"),
    row((25, 15, FINAL), "3.5.9-0", "v1.9.3", "3.8"),
    row((26, 0, 9), "3.5.6-0", "v1.9.3", "3.9"),
    row((26, 10, 12), "3.5.9-0", "v1.9.3", "3.9"),
    row((26, 13, FINAL), "3.5.10-0", "v1.9.3", "3.9"),
    row((27, 0, 6), "3.5.7-0", "v1.10.1", "3.9"),
    row((27, 7, 9), "3.5.9-0", "v1.10.1", "3.9"),
    row((27, 10, 11), "3.5.10-0", "v1.10.1", "3.9"),
    row((27, 12, FINAL), "3.5.12-0", "v1.10.1", "3.9"),
    row((28, 0, 5), "3.5.9-0", "v1.10.1", "3.9"),
    row((28, 6, 7), "3.5.10-0", "v1.10.1", "3.9"),
    row((28, 8, 13), "3.5.12-0", "v1.10.1", "3.9"),
    row((28, 14, FINAL), "3.5.15-0", "v1.10.1", "3.9"),
    row((29, 0, 2), "3.5.10-0", "v1.11.1", "3.9"),
    row((29, 3, 8), "3.5.12-0", "v1.11.1", "3.9"),
    row((29, 9, 10), "3.5.15-0", "v1.11.1", "3.9"),
    row((30, 0, 4), "3.5.12-0", "v1.11.1", "3.9"),
    row((30, 5, 6), "3.5.15-0", "v1.11.3", "3.9"),
    row((31, 0, 0), "3.5.15-0", "v1.11.1", "3.10"),
    row((31, 1, 2), "3.5.15-0", "v1.11.3", "3.10"),
    row((32, 0, 0), "3.5.16-0", "v1.11.3", "3.10"),
    row((33, 0, 0), "3.5.21-0", "v1.12.0", "3.10"),
    row((34, 0, 0), "3.6.4-0", "v1.12.1", "3.10.1"),
    row((35, 0, 0), "3.6.6-0", "v1.13.1", "3.10.1"),
];

/// The images of a version of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Their names, in the order in which kubeadm lists them: the control plane, kube-proxy, CoreDNS, pause, etcd.
    pub names: Vec<String>,
    /// Whether the versions of etcd, CoreDNS and pause are those of an earlier patch release.
    pub is_guess: bool,
}

/// What a ClusterConfiguration says of images.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `v1.19.8`; the `v` may be missing.
    pub version: &'a str,
    /// `imageRepository`
    pub repository: Option<&'a str>,
    /// `dns.imageRepository`, `dns.imageTag`
    pub dns: (Option<&'a str>, Option<&'a str>),
    /// `etcd.local.imageRepository`, `etcd.local.imageTag`
    pub etcd: (Option<&'a str>, Option<&'a str>),
    /// Whether etcd is somewhere else, and so no image.
    pub external_etcd: bool,
}

/// The images that kubeadm pulls; nothing, if the version is none that Kiln knows.
pub fn images(request: &Request<'_>) -> Option<Images> {
    let (minor, patch) = parse(request.version)?;
    let rows = || RELEASES.iter().filter(|row| row.minor == minor);
    let row = rows().rev().find(|row| row.first <= patch)?;
    let default = if minor >= 25 { "registry.k8s.io" } else { "k8s.gcr.io" };
    let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let repository = filled(request.repository).unwrap_or_else(|| default.to_owned());
    let tag = format!("v{}", request.version.trim_start_matches('v').replace('+', "_"));
    let mut names: Vec<String> = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"]
        .iter()
        .map(|name| format!("{repository}/{name}:{tag}"))
        .collect();
    let dns = filled(request.dns.0).unwrap_or_else(|| repository.clone());
    // Only the default repository has CoreDNS below a path of its own.
    let dns = if dns == default && minor >= 21 { format!("{dns}/coredns") } else { dns };
    names.push(format!("{dns}/coredns:{}", filled(request.dns.1).as_deref().unwrap_or(row.coredns)));
    names.push(format!("{repository}/pause:{}", row.pause));
    if !request.external_etcd {
        let etcd = filled(request.etcd.0).unwrap_or(repository);
        names.push(format!("{etcd}/etcd:{}", filled(request.etcd.1).as_deref().unwrap_or(row.etcd)));
    }
    Some(Images { names, is_guess: patch > row.last })
}

/// Minor and patch release of `v1.19.8` and `v1.19.8-rc.1+x`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let rest = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.")?;
    let (minor, rest) = rest.split_once('.')?;
    let patch = rest.split(['-', '+']).next()?;
    Some((minor.parse().ok()?, patch.parse().ok()?))
}

/// Takes the images of a ClusterConfiguration.
pub fn configuration(finder: &mut Finder<'_>, scene: &Scene, map: &Map) {
    let Some(version) = map.get("kubernetesVersion") else {
        return warn(
            finder,
            scene,
            map,
            "this ClusterConfiguration has no kubernetesVersion: which images it needs is not known",
        );
    };
    let inner = |path: &[&str]| {
        path[1..].iter().try_fold(map.get(path[0])?, |node, key| node.map()?.get(key)).and_then(Node::text)
    };
    let request = Request {
        version: version.text().unwrap_or_default(),
        repository: map.text("imageRepository"),
        dns: (inner(&["dns", "imageRepository"]), inner(&["dns", "imageTag"])),
        etcd: (inner(&["etcd", "local", "imageRepository"]), inner(&["etcd", "local", "imageTag"])),
        external_etcd: map.get("etcd").is_some_and(|etcd| etcd.at(&["external"]).is_some_and(|node| !node.is_null())),
    };
    let Some(images) = images(&request) else {
        let message = format!("Kiln does not know which images kubeadm {} runs", request.version);
        let hint = "put what `kubeadm config images list` says on the list of images";
        return finder.report(Diagnostic::warning("UnknownVersion", scene.outer(version.span), message).hint(hint));
    };
    if images.is_guess && !(request.external_etcd || request.etcd.1.is_some()) {
        let message = format!("kubeadm {} may run a later etcd than this image has", request.version);
        let hint = "set etcd.local.imageTag, or put what `kubeadm config images list` says on the list of images";
        finder.report(Diagnostic::warning("UnknownVersion", scene.outer(version.span), message).hint(hint));
    }
    for text in &images.names {
        let (path, certainty) = ("kubernetesVersion", Certainty::Named);
        finder.take(scene, &Candidate { text, span: version.span, path, rule: &rule::KUBEADM, certainty });
    }
}

fn warn(finder: &mut Finder<'_>, scene: &Scene, map: &Map, message: &str) {
    let span = map.entries.first().map(|entry| entry.span).unwrap_or_default();
    finder.report(Diagnostic::warning("UnknownVersion", scene.outer(span), message));
}
