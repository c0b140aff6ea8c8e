//! From a Dockerfile to images in the store: one call for each platform, the arrows of the pipeline in a row.

use std::collections::BTreeMap;

use kiln_oci::config::History;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Mtime, Platform, media, time};
use kiln_plan::step::Op;
use kiln_plan::{Facts, Options, Plan};
use kiln_spec::ast::Dockerfile;

use crate::error::Result;
use crate::flatten;
use crate::remote;
use crate::rootfs::Layer;
use crate::schedule::{self, Reports};
use crate::session::Session;
use crate::world;

/// An image that was made: its documents are in the store, its layers there or with those who provide them.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is for.
    pub platform: Platform,
    /// Its manifest's descriptor, with the platform.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A finished build for one platform.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// What was planned.
    pub plan: Plan,
    /// How each step went.
    pub reports: Reports,
}

/// Builds for one platform.
///
/// # Errors
/// Mistakes in the Dockerfile, a failing step, or anything on the way.
pub fn build(file: &Dockerfile, options: &Options, annotations: &Annotations, session: &Session) -> Result<Built> {
    let (plan, facts) = world::plan(file, options, session)?;
    run(plan, &facts, annotations, session)
}

/// Runs what was planned and makes an image of it.
///
/// # Errors
/// A failing step, or a store that cannot be written.
pub fn run(plan: Plan, facts: &Facts, annotations: &Annotations, session: &Session) -> Result<Built> {
    let reports = schedule::run(&plan, facts, session)?;
    let made = reports.iter().filter_map(|(id, r)| r.layer.clone().map(|l| (*id, l))).collect();
    let mut layers = schedule::layers_of(&plan, plan.result, &made);
    if session.settings.single_layer {
        layers = flatten::flatten(session, &layers, base_layers(&plan))?;
    }
    let image = assemble(&plan, &reports, layers, annotations, session)?;
    Ok(Built { image, plan, reports })
}

fn assemble(
    plan: &Plan,
    reports: &Reports,
    layers: Vec<Layer>,
    annotations: &Annotations,
    session: &Session,
) -> Result<Image> {
    let mut config = plan.config.clone();
    config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.clone()).collect();
    let created: Vec<String> =
        plan.chain(plan.result).iter().filter_map(|id| reports.get(id).and_then(|r| r.created.clone())).collect();
    let dates = if session.settings.single_layer {
        flatten::in_history(&mut config, plan.base_history);
        created.last().map_or(&[][..], std::slice::from_ref)
    } else {
        &created
    };
    date(&mut config, plan.base_history, dates, session);
    let config_bytes = serde_json::to_vec(&config).unwrap_or_default();
    session.store.put(&config_bytes)?;
    // One layer is of no step.
    let says = session.settings.inline_cache && !session.settings.single_layer;
    let notes = if says { notes(plan, reports) } else { BTreeMap::new() };
    let layer_descriptor = |(position, l): (usize, &Layer)| {
        let media_type = media::to_oci(&l.blob.media_type).to_owned();
        let mut descriptor = Descriptor { media_type, platform: None, ..l.blob.clone() };
        descriptor.annotations.extend(notes.get(&position).cloned().unwrap_or_default());
        descriptor
    };
    let config_descriptor = Descriptor::of(media::OCI_CONFIG, &config_bytes);
    let manifest = Manifest {
        annotations: annotations.clone(),
        ..Manifest::new(config_descriptor, layers.iter().enumerate().map(layer_descriptor).collect())
    };
    let manifest_bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    session.store.put(&manifest_bytes)?;
    let platform = config.platform();
    let mut descriptor = Descriptor::of(media::OCI_MANIFEST, &manifest_bytes);
    descriptor.platform = Some(platform.clone());
    Ok(Image { platform, descriptor, manifest, manifest_bytes, config, layers })
}

/// How many of the result's layers are its base's.
fn base_layers(plan: &Plan) -> usize {
    let count = |id| if let Op::Image(image) = &plan.step(id).op { image.layers.len() } else { 0 };
    plan.chain(plan.result).into_iter().map(count).sum()
}

/// What layers of the result say of the steps they came of, by their position.
fn notes(plan: &Plan, reports: &Reports) -> BTreeMap<usize, Annotations> {
    let (mut found, mut position) = (BTreeMap::new(), 0);
    for id in plan.chain(plan.result) {
        let step = plan.step(id);
        if let Op::Image(image) = &step.op {
            position += image.layers.len();
        } else if let Some((layer, created)) = reports.get(&id).and_then(|r| r.layer.as_ref().zip(r.created.as_ref())) {
            found.insert(position, remote::notes(&step.key, layer, created));
            position += 1;
        }
    }
    found
}

/// Dates the history without a date. Of the base's, that is what the entry before has, or `SOURCE_DATE_EPOCH`. What this
/// build added is dated as BuildKit does it: a layer when it was made, a change of configuration at the time of the
/// layer before it, or of the first new layer if none came before; the image at its last entry's time.
fn date(config: &mut ImageConfig, base_history: usize, made: &[String], session: &Session) {
    let epoch = session.settings.source_date_epoch.map(|secs| time::rfc3339(Mtime::secs(secs)));
    let now = || epoch.clone().unwrap_or_else(|| time::rfc3339(Mtime::secs(session.settings.now)));
    let mut before = None;
    for entry in &mut config.history[..base_history] {
        entry.created = entry.created.take().or_else(|| epoch.clone().or_else(|| before.clone()));
        before.clone_from(&entry.created);
    }
    let base_time = config.history[..base_history].iter().rev().find_map(|h| h.created.clone());
    let mut times = made.iter();
    let mut current = made.first().cloned().or(base_time).unwrap_or_else(now);
    for entry in &mut config.history[base_history..] {
        if !entry.empty_layer
            && let Some(time) = times.next()
        {
            current.clone_from(time);
        }
        entry.created = Some(epoch.clone().unwrap_or_else(|| current.clone()));
    }
    let last = config.history.iter().rev().find_map(|h: &History| h.created.clone());
    config.created = Some(epoch.clone().or(last).unwrap_or_else(now));
}

/// The blobs of manifests that are not documents: configurations and layers, each once.
pub fn blobs<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Vec<Descriptor> {
    let mut seen: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    for manifest in manifests {
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            seen.entry(descriptor.digest.clone()).or_insert_with(|| descriptor.clone());
        }
    }
    seen.into_values().collect()
}
