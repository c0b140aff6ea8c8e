//! From a built root file system to a cluster image: what is contained is found, brought, and packed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kiln_engine::Session;
use kiln_engine::build::{Built, Image};
use kiln_engine::event::Event;
use kiln_engine::images::Pull;
use kiln_engine::rootfs::Root;
use kiln_engine::transfer::Mover;
use kiln_oci::cluster::{SPEC, Spec, Type};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Platform, Reference, media};
use kiln_spec::kubefile::Kubefile;

use crate::contain::{Contained, Finder, Place, Wanted, images_in};
use crate::error::Result;
use crate::inherit;
use crate::inventory::Inventory;
use crate::pack::{Pack, pack};
use crate::registry_dir::{self, Directory, InImage};
use crate::report::{Certainty, Named};
use crate::scan::{self, Rootfs, Scan};
use crate::spec::Compose;

/// The directory of a root file system in which sealer and sealos keep images.
const REGISTRY: &str = "registry";
/// The host that images are called by which a root file system's own registry has: it keeps none. It is the one that
/// sealer's configurations of kubeadm name.
const REGISTRY_HOST: &str = "sea.hub:5000";

/// What is wanted beyond the root file system.
pub struct Request<'a> {
    /// The Kubefile.
    pub kubefile: &'a Kubefile,
    /// `--build-arg`s.
    pub given: &'a BTreeMap<String, String>,
    /// `--type`.
    pub kind: Option<Type>,
    /// What is looked for in the root file system.
    pub scan: scan::Options,
    /// Directories of registries that may have images.
    pub registry_dirs: Vec<PathBuf>,
    /// Archives and layouts that may have images.
    pub archives: Vec<PathBuf>,
    /// `--annotation`s.
    pub annotations: Annotations,
    /// Whether no images are contained.
    pub without_images: bool,
    /// Whether registries are asked even if the store has an image.
    pub pull: Pull,
}

/// A cluster image that is in the store.
pub struct Assembled {
    /// Its index.
    pub root: Descriptor,
    /// What a launcher must know.
    pub spec: Spec,
    /// What was found.
    pub scan: Scan,
    /// What is contained.
    pub images: Vec<Contained>,
}

/// Makes a cluster image of root file systems, one for each platform.
///
/// # Errors
/// When a list has mistakes, an image cannot be had, or the store cannot be written.
pub fn assemble(session: &Session, built: Vec<Built>, mut request: Request<'_>) -> Result<Assembled> {
    let pull = request.pull == Pull::Always;
    let base = built.first().and_then(|built| inherit::base(&built.plan)).cloned();
    let base = base.map(|fact| inherit::contents(session, &fact, pull)).transpose()?.flatten();
    let images: Vec<Image> = built.into_iter().map(|built| built.image).collect();
    let platforms: Vec<Platform> = images.iter().map(|image| image.platform.clone()).collect();
    let roots =
        images.iter().map(|image| session.roots.tree(&image.layers)).collect::<kiln_engine::Result<Vec<_>>>()?;
    let first = images.first().zip(roots.first());
    let kubernetes = first.map(|(image, root)| compose(image, &request, root)).transpose()?.and_then(|s| s.kubernetes);
    request.scan.kubernetes = request.scan.kubernetes.take().or(kubernetes);
    let mut scan = look(&roots, &request.scan)?;
    scan.warnings.drain(..).for_each(|text| session.events.event(&Event::Warning(&text)));
    let (mut rootfs, mut spec) = (Vec::new(), None);
    for (mut image, root) in images.into_iter().zip(&roots) {
        let own = compose(&image, &request, root)?;
        label(&mut image, &own, session)?;
        for descriptor in kiln_engine::build::blobs([&image.manifest]) {
            session.images.fetch(&descriptor)?;
        }
        rootfs.push(image.descriptor.clone());
        spec.get_or_insert(own);
    }
    let spec = spec.unwrap_or_default();
    let mut places: Vec<Place<'_>> = Vec::new();
    for dir in &request.registry_dirs {
        places.push(Place::Registry(Box::new(Directory::open(dir)?)));
    }
    let mover = Mover::of(session);
    let inside: Vec<InImage<'_>> =
        roots.iter().map(|root| InImage { root, dir: REGISTRY }).filter(InImage::is_there).collect();
    for tree in inside {
        add_registry(&tree, &mut scan)?;
        places.push(Place::Registry(Box::new(tree)));
    }
    for path in &request.archives {
        places.push(Place::Images(images_in(&mover, path)?));
    }
    if let Some(base) = &base {
        add_base(base, &request.scan, &mut scan);
        let contained = base.images.iter().map(|image| image.contained.clone()).collect();
        if !pull {
            places.push(Place::Base(contained));
        }
    }
    if request.without_images {
        scan.images.clear();
    }
    let finder = Finder { mover, platforms, places, pull };
    let contained = finder.contain(&scan.images)?;
    let report = scan.report();
    let packed = Pack { rootfs, images: &contained, report: &report, spec: &spec, annotations: &request.annotations };
    let (root, _) = pack(&packed, &session.store)?;
    drop(finder);
    Ok(Assembled { root, spec, scan, images: contained })
}

/// What all root file systems name together: platforms may bring manifests of their own.
fn look(roots: &[Root], options: &scan::Options) -> Result<Scan> {
    let mut whole = Scan::default();
    let mut images: BTreeMap<String, Wanted> = BTreeMap::new();
    for root in roots {
        let own = scan::scan(root, options)?;
        for image in own.images {
            let entry = images.entry(image.name.to_string());
            let entry = entry.or_insert_with(|| Wanted { name: image.name.clone(), named: Vec::new() });
            let new: Vec<Named> = image.named.into_iter().filter(|named| !entry.named.contains(named)).collect();
            entry.named.extend(new);
        }
        let mut charts: BTreeSet<_> = std::mem::take(&mut whole.charts).into_iter().collect();
        charts.extend(own.charts);
        whole.charts = charts.into_iter().collect();
        whole.possible.extend(own.possible);
        whole.warnings.extend(own.warnings);
    }
    whole.warnings.dedup();
    whole.possible.sort_by(|a, b| a.name.cmp(&b.name));
    whole.possible.dedup_by(|a, b| a.name == b.name);
    whole.images = images.into_values().collect();
    Ok(whole)
}

fn compose(image: &Image, request: &Request<'_>, root: &Root) -> Result<Spec> {
    let config = &image.config.config;
    let command = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
    let composed = Compose {
        kubefile: request.kubefile,
        given: request.given,
        kind: request.kind,
        labels: &config.labels,
        command,
    };
    composed.spec(&Rootfs(root))
}

/// Writes the spec into the labels of a root file system, by which images built from it know.
fn label(image: &mut Image, spec: &Spec, session: &Session) -> Result<()> {
    image.config.config.labels.insert(SPEC.to_owned(), spec.text());
    let config = serde_json::to_vec(&image.config).unwrap_or_default();
    session.store.put(&config)?;
    image.manifest.config = Descriptor::of(media::OCI_CONFIG, &config);
    image.manifest_bytes = serde_json::to_vec(&image.manifest).unwrap_or_default();
    session.store.put(&image.manifest_bytes)?;
    let platform = image.descriptor.platform.take();
    image.descriptor = Descriptor { platform, ..Descriptor::of(media::OCI_MANIFEST, &image.manifest_bytes) };
    Ok(())
}

/// Images of the base that nothing in the root file system names, as those of a list on its command line.
fn add_base(base: &Inventory, options: &scan::Options, scan: &mut Scan) {
    for image in &base.images {
        let name = &image.contained.name;
        let text = name.to_string();
        if options.rules.ignore.entry(&text).is_some() || scan.images.iter().any(|w| w.name.to_string() == text) {
            continue;
        }
        let known = base.report.images.iter().find(|known| known.name == text).map(|known| known.named.clone());
        let named = known.filter(|named| !named.is_empty()).unwrap_or_else(|| {
            let (file, rule) = (base.title.clone(), "base".to_owned());
            vec![Named { file, line: None, object: None, rule, certainty: Certainty::Certain }]
        });
        scan.images.push(Wanted { name: name.clone(), named });
    }
    scan.possible.retain(|possible| !scan.images.iter().any(|wanted| wanted.name.to_string() == possible.name));
}

/// Images of a root file system's own registry that nothing else names: they were brought to be used.
fn add_registry(tree: &InImage<'_>, scan: &mut Scan) -> Result<()> {
    for (tag, found) in registry_dir::all(tree)? {
        let named = scan.images.iter().filter(|wanted| wanted.name.tag_or_latest() == Some(&tag));
        let whole = |name: &Reference| format!("{}/{}", name.registry, name.repository);
        let is_known = named.into_iter().any(|wanted| {
            wanted.name.repository == found.repository
                || whole(&wanted.name) == found.repository
                || wanted.name.repository.strip_prefix("library/") == Some(&found.repository)
        });
        if is_known {
            continue;
        }
        let host = found.repository.split('/').next().unwrap_or_default();
        let text = match host.contains('.') && found.repository.contains('/') {
            true => format!("{}:{tag}", found.repository),
            false => format!("{REGISTRY_HOST}/{}:{tag}", found.repository),
        };
        let Ok(name) = text.parse::<Reference>() else {
            scan.warnings.push(format!("/{REGISTRY}: `{}:{tag}` cannot name an image", found.repository));
            continue;
        };
        let file = format!("{REGISTRY}/docker/registry/v2/repositories/{}", found.repository);
        let named =
            Named { file, line: None, object: None, rule: "registry".to_owned(), certainty: Certainty::Certain };
        scan.images.push(Wanted { name, named: vec![named] });
    }
    Ok(())
}
