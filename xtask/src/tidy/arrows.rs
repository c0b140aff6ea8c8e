//! Crates depend downwards only.

use crate::cargo::Package;

/// Who may need whom; the table of ARCHITECTURE.md. A crate that is not here breaks the rules until it has a row.
const ARROWS: [(&str, &[&str]); 39] = [
    ("kiln-oci", &[]),
    ("kiln-spec", &["kiln-oci"]),
    ("kiln-plan", &["kiln-spec", "kiln-oci"]),
    ("kiln-attest", &["kiln-oci"]),
    ("kiln-sbom", &["kiln-oci"]),
    ("kiln-sandbox", &[]),
    ("kiln-store", &["kiln-oci"]),
    ("kiln-http", &[]),
    ("kiln-clouds", &["kiln-http", "kiln-oci"]),
    ("kiln-alicloud", &["kiln-ledger", "kiln-clouds", "kiln-http"]),
    ("kiln-registry", &["kiln-store", "kiln-clouds", "kiln-http", "kiln-oci"]),
    ("kiln-kube", &["kiln-http"]),
    ("kiln-objects", &["kiln-clouds", "kiln-http", "kiln-oci"]),
    ("kiln-ledger", &[]),
    ("kiln-gce", &["kiln-ledger", "kiln-clouds", "kiln-objects", "kiln-disk", "kiln-http", "kiln-oci"]),
    ("kiln-gotmpl", &[]),
    ("kiln-hcl", &["kiln-spec", "kiln-oci"]),
    ("kiln-packer", &["kiln-gotmpl", "kiln-hcl", "kiln-spec", "kiln-oci"]),
    ("kiln-init", &[]),
    ("kiln-disk", &["kiln-init", "kiln-oci"]),
    ("kiln-host", &[]),
    ("kiln-unikernel", &["kiln-init", "kiln-oci"]),
    ("kiln-vm", &[]),
    ("kiln-checks", &["kiln-sbom", "kiln-spec", "kiln-oci"]),
    (
        "kiln-engine",
        &[
            "kiln-init",
            "kiln-disk",
            "kiln-plan",
            "kiln-spec",
            "kiln-store",
            "kiln-registry",
            "kiln-objects",
            "kiln-sandbox",
            "kiln-attest",
            "kiln-sbom",
            "kiln-oci",
        ],
    ),
    (
        "kiln-node",
        &[
            "kiln-init",
            "kiln-engine",
            "kiln-plan",
            "kiln-spec",
            "kiln-store",
            "kiln-sandbox",
            "kiln-gotmpl",
            "kiln-hcl",
            "kiln-packer",
            "kiln-disk",
            "kiln-host",
            "kiln-vm",
            "kiln-checks",
            "kiln-unikernel",
            "kiln-alicloud",
            "kiln-gce",
            "kiln-ledger",
            "kiln-clouds",
            "kiln-http",
            "kiln-oci",
        ],
    ),
    ("kiln-helm", &["kiln-gotmpl", "kiln-spec", "kiln-oci"]),
    ("kiln-yaml", &["kiln-spec", "kiln-oci"]),
    ("kiln-manifests", &["kiln-yaml", "kiln-spec", "kiln-oci"]),
    ("kiln-kubeadm", &["kiln-yaml", "kiln-spec", "kiln-oci"]),
    ("kiln-clusterfile", &["kiln-helm", "kiln-kubeadm", "kiln-yaml", "kiln-spec", "kiln-oci"]),
    (
        "kiln-launch",
        &[
            "kiln-cluster",
            "kiln-clusterfile",
            "kiln-doctor",
            "kiln-serve",
            "kiln-kubeadm",
            "kiln-checks",
            "kiln-host",
            "kiln-store",
            "kiln-registry",
            "kiln-http",
            "kiln-yaml",
            "kiln-spec",
            "kiln-oci",
        ],
    ),
    (
        "kiln-cluster",
        &[
            "kiln-engine",
            "kiln-plan",
            "kiln-spec",
            "kiln-store",
            "kiln-registry",
            "kiln-sandbox",
            "kiln-helm",
            "kiln-manifests",
            "kiln-sbom",
            "kiln-attest",
            "kiln-yaml",
            "kiln-oci",
        ],
    ),
    ("kiln-serve", &["kiln-store", "kiln-registry", "kiln-http", "kiln-spec", "kiln-oci"]),
    ("kiln-doctor", &["kiln-host", "kiln-kube", "kiln-http", "kiln-yaml", "kiln-spec", "kiln-oci"]),
    (
        "kiln",
        &[
            "kiln-clusterfile",
            "kiln-launch",
            "kiln-yaml",
            "kiln-cluster",
            "kiln-doctor",
            "kiln-helm",
            "kiln-kubeadm",
            "kiln-manifests",
            "kiln-serve",
            "kiln-node",
            "kiln-ledger",
            "kiln-alicloud",
            "kiln-clouds",
            "kiln-gce",
            "kiln-packer",
            "kiln-hcl",
            "kiln-disk",
            "kiln-host",
            "kiln-vm",
            "kiln-checks",
            "kiln-unikernel",
            "kiln-engine",
            "kiln-kube",
            "kiln-http",
            "kiln-plan",
            "kiln-spec",
            "kiln-store",
            "kiln-registry",
            "kiln-objects",
            "kiln-sandbox",
            "kiln-attest",
            "kiln-sbom",
            "kiln-oci",
        ],
    ),
    ("kiln-testkit", &["kiln-oci"]),
    (
        "kiln-fuzz",
        &[
            "kiln-plan",
            "kiln-spec",
            "kiln-registry",
            "kiln-sbom",
            "kiln-gotmpl",
            "kiln-hcl",
            "kiln-packer",
            "kiln-disk",
            "kiln-checks",
            "kiln-helm",
            "kiln-manifests",
            "kiln-kubeadm",
            "kiln-clusterfile",
            "kiln-serve",
            "kiln-doctor",
            "kiln-cluster",
            "kiln-unikernel",
            "kiln-oci",
        ],
    ),
    ("xtask", &["kiln-testkit", "kiln-oci"]),
];

/// Crates that must be able to run nowhere: no async runtime, no network, no processes.
const PURE: [&str; 14] = [
    "kiln-clusterfile",
    "kiln-yaml",
    "kiln-helm",
    "kiln-manifests",
    "kiln-kubeadm",
    "kiln-oci",
    "kiln-spec",
    "kiln-plan",
    "kiln-attest",
    "kiln-sbom",
    "kiln-gotmpl",
    "kiln-hcl",
    "kiln-packer",
    "kiln-unikernel",
];
const IMPURE_CRATES: [&str; 5] = ["tokio", "reqwest", "rustls", "libc", "tempfile"];

/// Dependencies that point the wrong way.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(check_one).collect()
}

fn check_one(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        return vec![format!("{}: has no row in xtask/src/tidy/arrows.rs", package.name)];
    };
    let ours = |name: &str| ARROWS.iter().any(|(n, _)| *n == name);
    let wrong = package.dependencies.iter().filter(|d| d.kind.is_none()).filter(|d| {
        let upwards = ours(&d.name) && !allowed.contains(&d.name.as_str());
        upwards || (PURE.contains(&package.name.as_str()) && IMPURE_CRATES.contains(&d.name.as_str()))
    });
    wrong.map(|d| format!("{}: must not depend on {}", package.name, d.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::Dependency;

    #[test]
    fn an_arrow_upwards_is_found_and_a_dev_dependency_is_not_one() {
        let needs = |name: &str, kind: Option<&str>| Dependency { name: name.into(), kind: kind.map(str::to_owned) };
        let plan = |dependencies| vec![Package { name: "kiln-plan".into(), dependencies }];
        assert_eq!(
            check(&plan(vec![needs("kiln-oci", None), needs("kiln-testkit", Some("dev"))])),
            Vec::<String>::new()
        );
        assert_eq!(check(&plan(vec![needs("kiln-store", None)])), ["kiln-plan: must not depend on kiln-store"]);
        assert_eq!(check(&plan(vec![needs("tokio", None)])), ["kiln-plan: must not depend on tokio"]);
        let unknown = Package { name: "kiln-new".into(), dependencies: Vec::new() };
        assert_eq!(check(&[unknown]), ["kiln-new: has no row in xtask/src/tidy/arrows.rs"]);
    }
}
