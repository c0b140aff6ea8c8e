//! From one version of kubeadm's API to the next.

use crate::layer::Change;
use crate::schema::{Api, Kind};
use crate::value::{Content, Origin, Value};

/// The places of flags.
const ARGUMENTS: [(Kind, &[&str]); 6] = [
    (Kind::ClusterConfiguration, &["apiServer", "extraArgs"]),
    (Kind::ClusterConfiguration, &["controllerManager", "extraArgs"]),
    (Kind::ClusterConfiguration, &["scheduler", "extraArgs"]),
    (Kind::ClusterConfiguration, &["etcd", "local", "extraArgs"]),
    (Kind::InitConfiguration, &["nodeRegistration", "kubeletExtraArgs"]),
    (Kind::JoinConfiguration, &["nodeRegistration", "kubeletExtraArgs"]),
];

/// Turns the documents of one layer from version `from` into version `to`, which is not older.
pub fn convert(documents: &mut Vec<(Kind, Value)>, from: Api, to: Api, changes: &mut Vec<Change>) {
    if from < Api::V1beta3 && to >= Api::V1beta3 {
        to_v1beta3(documents, changes);
    }
    if from < Api::V1beta4 && to >= Api::V1beta4 {
        to_v1beta4(documents, changes);
    }
}

fn to_v1beta3(documents: &mut [(Kind, Value)], changes: &mut Vec<Change>) {
    for (kind, value) in documents.iter_mut().filter(|(kind, _)| *kind == Kind::ClusterConfiguration) {
        for (path, why) in [
            (&["useHyperKubeImage"][..], "v1beta3 has no hyperkube image"),
            (&["dns", "type"], "v1beta3 has CoreDNS only"),
        ] {
            if let Some(old) = value.take(path) {
                changes.push(Change::new(*kind, path, &old.origin, format!("dropped: {why}")));
            }
        }
    }
}

fn to_v1beta4(documents: &mut Vec<(Kind, Value)>, changes: &mut Vec<Change>) {
    let mut timeout: Option<Value> = None;
    for (kind, value) in documents.iter_mut() {
        for (_, path) in ARGUMENTS.iter().filter(|(of, _)| of == kind) {
            if let Some(arguments) = value.at_mut(path)
                && let Content::Map(entries) = &arguments.content
            {
                arguments.content = Content::List(entries.iter().map(argument).collect());
                changes.push(Change::new(
                    *kind,
                    path,
                    &arguments.origin,
                    "a list of name and value, as v1beta4 has it",
                ));
            }
        }
        if *kind == Kind::ClusterConfiguration
            && let Some(old) = value.take(&["apiServer", "timeoutForControlPlane"])
        {
            let (path, to) = (
                &["apiServer", "timeoutForControlPlane"],
                "moved to timeouts.controlPlaneComponentHealthCheck of InitConfiguration and JoinConfiguration",
            );
            changes.push(Change::new(*kind, path, &old.origin, to));
            timeout = Some(old);
        }
        if *kind == Kind::JoinConfiguration
            && let Some(old) = value.take(&["discovery", "timeout"])
        {
            changes.push(Change::new(*kind, &["discovery", "timeout"], &old.origin, "moved to timeouts.discovery"));
            value.put(&["timeouts", "discovery"], old);
        }
    }
    let Some(timeout) = timeout else { return };
    for wanted in [Kind::InitConfiguration, Kind::JoinConfiguration] {
        if !documents.iter().any(|(kind, _)| *kind == wanted) {
            let origin = Origin { changed: true, ..timeout.origin.clone() };
            documents.push((wanted, Value { content: Content::Map(Vec::new()), origin }));
        }
        for (_, value) in documents.iter_mut().filter(|(kind, _)| *kind == wanted) {
            value.put(&["timeouts", "controlPlaneComponentHealthCheck"], timeout.clone());
        }
    }
}

/// `a: b` as `{name: a, value: b}`. A null stays one, to delete what is below: see [`crate::merge`].
fn argument((name, value): &(String, Value)) -> Value {
    let entries = vec![
        ("name".to_owned(), Value { content: Content::Text(name.clone()), origin: value.origin.clone() }),
        ("value".to_owned(), value.clone()),
    ];
    Value { content: Content::Map(entries), origin: value.origin.clone() }
}
