//! Layers in, documents out.

mod converting;
mod hosts;
mod merging;
mod mistakes;

use kiln_kubeadm::{Layer, Resolved, render, resolve};

/// A layer of a file.
pub fn layer(name: &str, text: &str) -> Layer {
    if name == "Clusterfile" { Layer::clusterfile(name, text) } else { Layer::file(name, text) }
}

/// What a Clusterfile over an image's kubeadm.yml gives.
#[track_caller]
pub fn resolved(clusterfile: &str, image: &str, version: Option<&str>) -> Resolved {
    let layers = [layer("Clusterfile", clusterfile), layer("etc/kubeadm.yml", image)];
    resolve(&layers, version).unwrap_or_else(|e| panic!("{e:#?}"))
}

/// The lines of the explained YAML that have `part` in them, without indent.
pub fn lines(resolved: &Resolved, part: &str) -> Vec<String> {
    let text = render::yaml(resolved, true);
    text.lines().filter(|line| line.contains(part)).map(|line| line.trim().to_owned()).collect()
}

/// Codes and messages of what is wrong.
pub fn wrong(clusterfile: &str, version: Option<&str>) -> Vec<String> {
    match resolve(&[Layer::file("Clusterfile", clusterfile)], version) {
        Ok(resolved) => resolved.warnings.iter().map(|(_, d)| format!("W {} {}", d.code, d.message)).collect(),
        Err(found) => found
            .iter()
            .map(|(_, d)| {
                format!("E {} {}{}", d.code, d.message, d.hint.as_ref().map(|h| format!(" | {h}")).unwrap_or_default())
            })
            .collect(),
    }
}
