//! Several cluster images as one: layers of the first, then what the others have above, and all contained images.

use std::collections::{BTreeMap, BTreeSet};

use kiln_engine::images::MAX_DOCUMENT;
use kiln_oci::cluster::{SPEC, Spec, Type};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, media};
use kiln_store::Store;

use crate::contain::Contained;
use crate::error::{ClusterError, Result};
use crate::inventory::Inventory;
use crate::pack::{Pack, pack};
use crate::report::Report;

/// Merges images and keeps the result in the store, without a name. Warnings say what of a later image replaced
/// something of an earlier one.
///
/// # Errors
/// When two of them bring Kubernetes, they have different platforms, or parts of them are missing.
pub fn merge(parts: &[Inventory], store: &Store, warnings: &mut Vec<String>) -> Result<Descriptor> {
    let rootfs: Vec<&str> = parts.iter().filter(|p| p.spec.kind == Type::Rootfs).map(|p| &*p.title).collect();
    if rootfs.len() > 1 {
        return Err(ClusterError::Merge(format!("{} both bring Kubernetes; one of them may", rootfs.join(" and "))));
    }
    let platforms = common_platforms(parts)?;
    let spec = merged_spec(parts);
    let mut roots = Vec::new();
    for platform in &platforms {
        roots.push(layers(parts, platform, &spec, store)?);
    }
    let mut images: BTreeMap<String, (Contained, &str)> = BTreeMap::new();
    for part in parts {
        for image in &part.images {
            let name = image.contained.name.to_string();
            let before = images.insert(name.clone(), (image.contained.clone(), &part.title));
            if let Some((_, other)) = before.filter(|(other, _)| other.root.digest != image.contained.root.digest) {
                warnings.push(format!("{name}: the image of {} replaces that of {other}", part.title));
            }
        }
    }
    let images: Vec<Contained> = images.into_values().map(|(image, _)| image).collect();
    let mut annotations = BTreeMap::new();
    parts.iter().for_each(|part| annotations.extend(part.annotations.clone()));
    let report = merged_report(parts);
    // A merged root file system is another than those that something was said of.
    let mut attached: Vec<Descriptor> = parts.iter().flat_map(|part| part.attached_to(&images)).cloned().collect();
    attached.sort_by(|a, b| a.digest.cmp(&b.digest));
    attached.dedup_by(|a, b| a.digest == b.digest);
    if parts.iter().any(|part| part.attached.len() > part.attached_to(&images).count()) {
        warnings
            .push("what was said of the root file systems (SBOM, provenance) is not true of the merged one".to_owned());
    }
    let packed = Pack {
        rootfs: roots,
        images: &images,
        attached: &attached,
        report: &report,
        spec: &spec,
        annotations: &annotations,
    };
    Ok(pack(&packed, store)?.0)
}

fn platform_of(descriptor: &Descriptor) -> Platform {
    descriptor.platform.clone().unwrap_or_else(Platform::host)
}

fn common_platforms(parts: &[Inventory]) -> Result<Vec<Platform>> {
    let of = |part: &Inventory| part.rootfs.iter().map(|(d, _)| platform_of(d)).collect::<Vec<_>>();
    let first = parts.first().map(of).unwrap_or_default();
    for part in parts {
        let own = of(part);
        if own.len() != first.len() || !own.iter().all(|p| first.contains(p)) {
            let text = |all: &[Platform]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("{} is for {}, and {} for {}", parts[0].title, text(&first), part.title, text(&own));
            return Err(ClusterError::Merge(message));
        }
    }
    Ok(first)
}

/// The launch of all in their order, each application once.
fn merged_spec(parts: &[Inventory]) -> Spec {
    let mut spec = Spec::default();
    for (number, part) in parts.iter().enumerate() {
        let own = &part.spec;
        if number == 0 || own.kind == Type::Rootfs {
            spec.kind = own.kind;
        }
        spec.dialect.clone_from(&own.dialect);
        spec.kubernetes = spec.kubernetes.or_else(|| own.kubernetes.clone());
        // What an image has from a base that is merged, too, is there already.
        let common = own.launch.iter().zip(&spec.launch).take_while(|(a, b)| a == b).count();
        spec.launch.extend(own.launch[common..].iter().cloned());
        spec.args.extend(own.args.clone());
        for app in &own.apps {
            spec.apps.retain(|other| other.name != app.name);
            spec.apps.push(app.clone());
        }
    }
    spec.inherited = spec.launch.len();
    spec
}

fn merged_report(parts: &[Inventory]) -> Report {
    let mut images: BTreeMap<String, crate::report::Image> = BTreeMap::new();
    let (mut charts, mut possible) = (BTreeSet::new(), BTreeMap::new());
    for report in parts.iter().map(|part| &part.report) {
        for image in &report.images {
            let entry = images.entry(image.name.clone());
            let entry = entry.or_insert_with(|| crate::report::Image { name: image.name.clone(), named: Vec::new() });
            entry.named.extend(image.named.iter().cloned());
            entry.named.sort();
            entry.named.dedup();
        }
        charts.extend(report.charts.iter().cloned());
        possible.extend(report.possible.iter().map(|image| (image.name.clone(), image.clone())));
    }
    possible.retain(|name, _| !images.contains_key(name));
    Report {
        images: images.into_values().collect(),
        charts: charts.into_iter().collect(),
        possible: possible.into_values().collect(),
    }
}

/// The root file systems of a platform as one: a layer that is in two of them is in it once.
fn layers(parts: &[Inventory], platform: &Platform, spec: &Spec, store: &Store) -> Result<Descriptor> {
    let mut layers: Vec<(Descriptor, Digest)> = Vec::new();
    let mut config = None;
    for part in parts {
        let Some((_, manifest)) = part.rootfs.iter().find(|(d, _)| platform_of(d) == *platform) else { continue };
        let bad = |message: String| ClusterError::NotACluster { name: part.title.clone(), message };
        let bytes = store.read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
        let own: ImageConfig = serde_json::from_slice(&bytes).map_err(|e| bad(format!("its configuration: {e}")))?;
        if own.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(bad("its manifest and configuration do not fit each other".to_owned()));
        }
        let pairs: Vec<_> = manifest.layers.iter().cloned().zip(own.rootfs.diff_ids.iter().cloned()).collect();
        let common = pairs.iter().zip(&layers).take_while(|(a, b)| a.1 == b.1).count();
        layers.extend(pairs[common..].iter().cloned());
        let whole: &mut ImageConfig = config.get_or_insert_with(|| ImageConfig { history: Vec::new(), ..own.clone() });
        whole.config.labels.extend(own.config.labels.clone());
        whole.created = whole.created.take().max(own.created.clone());
    }
    let mut config = config.unwrap_or_default();
    config.config.labels.insert(SPEC.to_owned(), spec.text());
    config.rootfs.diff_ids = layers.iter().map(|(_, id)| id.clone()).collect();
    let bytes = serde_json::to_vec(&config).unwrap_or_default();
    store.put(&bytes)?;
    let layers = layers.into_iter().map(|(layer, _)| layer).collect();
    let manifest = Manifest::new(Descriptor::of(media::OCI_CONFIG, &bytes), layers);
    let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    store.put(&bytes)?;
    let mut descriptor = Descriptor::of(media::OCI_MANIFEST, &bytes);
    descriptor.platform = Some(platform.clone());
    Ok(descriptor)
}
