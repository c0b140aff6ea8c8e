//! Arguments and feature gates of a cluster that the next release does not take, looked for before it is upgraded: a
//! component that meets one exits, and the upgrade would stop in the middle.
//!
//! What counts is what kubeadm keeps in the cluster, and not what a Clusterfile says now. Kiln changes nothing of it: whoever
//! set an argument has to know that it goes.

use kiln_kubeadm::{Layer, resolve};
use serde_json::Value;

use crate::error::Result;
use crate::kubectl::KUBECTL;
use crate::launch::{Launch, Member};
use crate::machine::printable;
use crate::preflight::{Finding, is_ignored, minor};

/// What `--ignore-preflight-errors` knows it by.
pub const NAME: &str = "UpgradeArguments";
/// What kubeadm keeps, by the names of its parts.
const PARTS: [&str; 3] = ["ClusterConfiguration", "kubelet", "config.conf"];

/// What a cluster of a release has that the one of the image does not take.
///
/// # Errors
/// When the cluster does not answer.
pub fn check(launch: &Launch, from: &str) -> Result<Vec<Finding>> {
    let first = launch.first()?;
    let to = &launch.bundle.kubernetes;
    let line = format!(
        "{KUBECTL} -n kube-system get configmaps kubeadm-config kubelet-config kubelet-config-1.{} kube-proxy --ignore-not-found -o json",
        minor(from)
    );
    let said = first.machine.succeed("ask for kubeadm's configuration", &line)?;
    let kept = documents(&said.stdout).ok_or_else(|| "none are kept".to_owned());
    match kept.and_then(|text| gone(&text, to)) {
        Ok(gone) => Ok(gone.into_iter().map(|text| finding(launch, first, text)).collect()),
        // Not known is not wrong: that it was not looked at is told.
        Err(why) => {
            launch.note(first, format!("whether {to} takes all arguments of the cluster is not known: {why}"));
            Ok(Vec::new())
        }
    }
}

fn finding(launch: &Launch, first: &Member, text: String) -> Finding {
    let map = match text.starts_with("Kubelet") {
        true => "kubelet-config",
        false if text.starts_with("KubeProxy") => "kube-proxy",
        false => "kubeadm-config",
    };
    Finding {
        name: NAME.to_owned(),
        fatal: true,
        ignored: is_ignored(launch, NAME),
        host: first.name().to_owned(),
        text: printable(&text),
        hint: format!("take it out first: kubectl -n kube-system edit configmap {map}; in the Clusterfile, too"),
    }
}

/// The documents of maps, of `kubectl get configmaps -o json`, as one text; none if there are none.
fn documents(json: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(json).ok()?;
    // One that was found alone may stand for itself.
    let items = said.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![said.clone()]);
    let parts = items.iter().flat_map(|item| {
        PARTS.iter().filter_map(|part| item.get("data")?.get(*part)?.as_str().map(|text| text.trim().to_owned()))
    });
    let text = parts.collect::<Vec<_>>().join("\n---\n");
    (!text.is_empty()).then_some(text)
}

/// What a release does not take of documents.
fn gone(text: &str, to: &str) -> std::result::Result<Vec<String>, String> {
    const LAYER: &str = "the cluster";
    let resolved = resolve(&[Layer::file(LAYER, text)], Some(to)).map_err(|found| {
        let first = found.into_iter().map(|(_, diagnostic)| diagnostic.message).next();
        printable(&first.unwrap_or_default())
    })?;
    // How kubeadm writes arguments it changes itself; which there are it does not.
    let is_named =
        |path: &str| [".extraArgs.", ".kubeletExtraArgs.", ".featureGates."].iter().any(|part| path.contains(part));
    let changes = resolved.changes.iter().filter(|change| change.origin.layer == LAYER && is_named(&change.path));
    Ok(changes.map(|change| format!("{}: {}", change.path, change.what)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiServer:\n  extraArgs:\n    authorization-mode: Node,RBAC\n    insecure-port: \"0\"\n    feature-gates: TTLAfterFinished=true\n\
        apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: v1.23.1\n";

    fn json(maps: &[(&str, &str)]) -> Vec<u8> {
        let items: Vec<Value> = maps.iter().map(|(part, text)| serde_json::json!({"data": {*part: text}})).collect();
        serde_json::json!({ "items": items }).to_string().into_bytes()
    }

    #[test]
    fn what_the_next_release_does_not_take_is_named() {
        let text = documents(&json(&[("ClusterConfiguration", CLUSTER)])).unwrap();
        assert_eq!(gone(&text, "v1.23.9").unwrap(), Vec::<String>::new());
        let found = gone(&text, "v1.24.0").unwrap();
        assert_eq!(
            found,
            ["ClusterConfiguration.apiServer.extraArgs.insecure-port: dropped: 1.24 has no --insecure-port"]
        );
        // Arguments are a list since 1.31, which kubeadm changes itself.
        assert!(gone(&text, "v1.31.0").unwrap().iter().all(|text| text.contains("extraArgs.")));
    }

    #[test]
    fn gates_of_the_kubelet_are_looked_at_too() {
        let kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates: {DynamicKubeletConfig: true}\n";
        let text = documents(&json(&[("ClusterConfiguration", CLUSTER), ("kubelet", kubelet)])).unwrap();
        let found = gone(&text, "v1.26.0").unwrap();
        assert!(
            found.iter().any(|text| text.starts_with("KubeletConfiguration.featureGates.DynamicKubeletConfig")),
            "{found:?}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_not_known() {
        for bad in [&b""[..], b"{}", b"[]", b"{\"items\":[{\"data\":{\"other\":\"x\"}}]}", b"{\"items\":7}"] {
            assert_eq!(documents(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        for bad in ["a: [", "kind: Nonsense\napiVersion: kubeadm.k8s.io/v1beta2\n", "- a\n"] {
            assert!(gone(bad, "v1.24.0").is_err(), "{bad}");
        }
    }
}
