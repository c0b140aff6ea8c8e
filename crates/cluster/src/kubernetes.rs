//! Which images Kubernetes itself needs: where a root file system has kubeadm, those that its configuration makes it pull.
//!
//! ```text
//! what kubeadm is told                          the images
//! a ClusterConfiguration of etc/kubeadm.yml     of its version, from its imageRepository, dns and etcd
//! a template, or none                           of the image's version of Kubernetes
//! ```
//!
//! An `imageRepository` is often one that only the cluster has (`sea.hub:5000/library`): an image that cannot be had there
//! is taken from Kubernetes' own registry, and contained under the name that kubeadm will ask for.

use kiln_engine::rootfs::Root;
use kiln_manifests::control_plane::{self, Request};
use kiln_manifests::rule::KUBEADM;
use kiln_oci::Reference;
use kiln_spec::source::Source;

use crate::contain::Wanted;
use crate::error::Result;
use crate::report::{Certainty, Named};
use crate::scan::{Options, Rootfs, Scan, text_of};
use crate::spec::Files;

/// The program that needs them.
const KUBEADM_PROGRAM: &str = "bin/kubeadm";
/// Its configuration, by what root file systems call it.
const CONFIGURATIONS: [&str; 4] =
    ["etc/kubeadm.yml", "etc/kubeadm.yaml", "etc/kubeadm.yml.tmpl", "etc/kubeadm.yaml.tmpl"];
/// Hosts that are registries of clusters, and answer nowhere else: sealer's and sealos'.
const OF_CLUSTERS: [&str; 3] = ["sea.hub", "sealos.hub", "apiserver.cluster.local"];

/// Whether a registry is one that only a running cluster has.
pub(crate) fn is_of_a_cluster(registry: &str) -> bool {
    OF_CLUSTERS.contains(&registry.split(':').next().unwrap_or_default())
}

/// What kubeadm of a root file system runs.
#[derive(Default)]
struct Needed {
    /// Where that is said: a file, and its line.
    place: (String, Option<usize>),
    names: Vec<String>,
    warnings: Vec<String>,
}

/// Adds the images that kubeadm of this root file system runs to what was found.
pub(crate) fn add(root: &Root, options: &Options, scan: &mut Scan) -> Result<()> {
    let files = Rootfs(root);
    if !files.exists(KUBEADM_PROGRAM) {
        return Ok(());
    }
    let there = |path: &&str| files.exists(path);
    let source = CONFIGURATIONS
        .iter()
        .copied()
        .find(there)
        .and_then(|path| files.read(path).map(|bytes| Source { name: path.to_owned(), text: text_of(&bytes) }));
    let needed = needed(source.as_ref(), options);
    scan.warnings.extend(needed.warnings);
    for text in needed.names {
        if options.rules.ignore.entry(&text).is_some() {
            continue;
        }
        let Ok(name) = text.parse::<Reference>() else {
            scan.warnings.push(format!("{}: `{text}` cannot name an image", needed.place.0));
            continue;
        };
        let (file, line) = needed.place.clone();
        let named = Named { line, ..Named::new(file, &KUBEADM, Certainty::Certain) };
        let instead = instead(&name).filter(|other| *other != name);
        match scan.images.iter_mut().find(|wanted| wanted.name.to_string() == name.to_string()) {
            Some(known) => {
                if !known.named.contains(&named) {
                    known.named.push(named);
                }
                known.instead = instead;
            }
            None => scan.images.push(Wanted { named: vec![named], instead, ..Wanted::new(name) }),
        }
    }
    scan.images.sort_by_cached_key(|wanted| wanted.name.to_string());
    scan.possible.retain(|possible| !scan.images.iter().any(|wanted| wanted.name.to_string() == possible.name));
    Ok(())
}

fn needed(source: Option<&Source>, options: &Options) -> Needed {
    let mut needed = Needed::default();
    if let Some(source) = source {
        let found = kiln_manifests::scan(source, &kiln_manifests::Rules::default());
        let own: Vec<_> = found.images.into_iter().filter(|image| image.rule.id == KUBEADM.id).collect();
        needed.place = (source.name.clone(), own.first().map(|image| image.place.line));
        needed.names = own.into_iter().map(|image| image.text).collect();
        let about = found.diagnostics.iter().filter(|d| !needed.names.is_empty() || d.code == "UnknownVersion");
        needed.warnings = about.map(|d| format!("{}: {}", source.name, d.message)).collect();
        if !needed.names.is_empty() {
            return needed;
        }
    }
    let repository = source.and_then(|source| repository(&source.text));
    let version = options.kubernetes.as_deref().unwrap_or_default();
    match control_plane::images(&Request { version, repository: repository.as_deref(), ..Request::default() }) {
        Some(images) => {
            let guessed = images.is_guess.then(|| {
                format!(
                    "{KUBEADM_PROGRAM}: {version} may run a later etcd than this image has: put it on an image list"
                )
            });
            Needed {
                place: (source.map_or(KUBEADM_PROGRAM, |source| source.name.as_str()).to_owned(), None),
                names: images.names,
                warnings: guessed.into_iter().collect(),
            }
        }
        None => {
            if needed.warnings.is_empty() {
                needed.warnings.push(format!(
                    "{KUBEADM_PROGRAM}: which images Kubernetes needs is not known: put what `kubeadm config images list` \
                     says on an image list"
                ));
            }
            needed
        }
    }
}

/// The `imageRepository` of a configuration that cannot be read as YAML, unless a template makes it.
fn repository(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("imageRepository:"))?;
    let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    (!value.is_empty() && !value.contains("{{")).then(|| value.to_owned())
}

/// The same image in Kubernetes' own registry.
fn instead(name: &Reference) -> Option<Reference> {
    let tag = name.tag.as_deref()?;
    let what = name.repository.rsplit('/').next().unwrap_or_default();
    // Every release has all of them, and their paths have changed twice: the tag says how old the image is.
    let path = match what {
        "coredns" if tag.starts_with('v') => "coredns/coredns",
        "kube-apiserver"
        | "kube-controller-manager"
        | "kube-scheduler"
        | "kube-proxy"
        | "pause"
        | "etcd"
        | "coredns" => what,
        _ => return None,
    };
    format!("{REGISTRY}/{path}:{tag}").parse().ok()
}

/// Where all releases are, also those that were at k8s.gcr.io.
const REGISTRY: &str = "registry.k8s.io";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: Option<&str>, kubernetes: Option<&str>) -> Needed {
        let source = text.map(|text| Source { name: "etc/kubeadm.yml".to_owned(), text: text.to_owned() });
        let options = Options { kubernetes: kubernetes.map(str::to_owned), ..Options::default() };
        needed(source.as_ref(), &options)
    }

    #[test]
    fn a_configuration_says_which_images_kubeadm_runs() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\n---\n\
                    apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: v1.19.8\n\
                    imageRepository: sea.hub:5000/library\n";
        let found = of(Some(text), Some("v1.30.0"));
        assert_eq!(found.place, ("etc/kubeadm.yml".to_owned(), Some(6)));
        assert_eq!((found.names.len(), &*found.names[0]), (7, "sea.hub:5000/library/kube-apiserver:v1.19.8"));
        assert!(found.warnings.is_empty());
    }

    #[test]
    fn without_a_version_in_it_that_of_the_image_counts() {
        let template =
            "kind: ClusterConfiguration\nkubernetesVersion: {{ .Version }}\nimageRepository: r.io/k8s # ours\n";
        let found = of(Some(template), Some("v1.30.2"));
        assert_eq!(found.names[0], "r.io/k8s/kube-apiserver:v1.30.2");
        let made =
            "kind: ClusterConfiguration\nkubernetesVersion: {{ .Version }}\nimageRepository: {{ .Registry }}/k8s\n";
        assert_eq!(of(Some(made), Some("v1.30.2")).names[0], "registry.k8s.io/kube-apiserver:v1.30.2");
        let alone = of(None, Some("v1.30.2"));
        assert_eq!((alone.names.len(), &*alone.place.0), (7, "bin/kubeadm"));
    }

    #[test]
    fn what_is_not_known_is_a_warning() {
        let found = of(None, None);
        assert!(
            found.names.is_empty() && found.warnings[0].contains("kubeadm config images list"),
            "{:?}",
            found.warnings
        );
        let new = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.99.0\n";
        let found = of(Some(new), None);
        assert!(found.names.is_empty() && found.warnings[0].contains("v1.99.0"), "{:?}", found.warnings);
        assert!(of(None, Some("v1.34.9")).warnings[0].contains("a later etcd"));
    }

    #[test]
    fn kubernetes_own_registry_has_what_a_clusters_has() {
        for (name, own) in [
            ("sea.hub:5000/library/kube-proxy:v1.19.8", Some("registry.k8s.io/kube-proxy:v1.19.8")),
            ("sea.hub:5000/library/coredns:1.7.0", Some("registry.k8s.io/coredns:1.7.0")),
            ("r.io/coredns:v1.11.1", Some("registry.k8s.io/coredns/coredns:v1.11.1")),
            ("r.io/other:1", None),
            ("r.io/etcd@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", None),
        ] {
            let found = instead(&name.parse().unwrap()).map(|found| found.to_string());
            assert_eq!(found.as_deref(), own, "{name}");
        }
        assert!(is_of_a_cluster("sea.hub:5000") && is_of_a_cluster("sealos.hub") && !is_of_a_cluster("my.sea.hub"));
    }
}
