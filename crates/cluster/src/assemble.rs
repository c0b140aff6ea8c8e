//! From a built root file system to a cluster image: what is contained is found, brought, and packed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kiln_engine::Session;
use kiln_engine::attest::{self, Attached, Format, Pictured};
use kiln_engine::build::{Built, Image};
use kiln_engine::event::Event;
use kiln_engine::images::{MAX_DOCUMENT, Pull};
use kiln_engine::rootfs::{Layer, Root};
use kiln_engine::transfer::{Mover, Origin, Platforms};
use kiln_manifests::rule;
use kiln_oci::cluster::{KUBERNETES_IMAGES, SPEC, Spec, Type};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, ImageConfig, Platform, Reference, media};
use kiln_spec::kubefile::Kubefile;

use crate::contain::{Contained, Finder, Place, Wanted, images_in};
use crate::error::Result;
use crate::inherit;
use crate::inventory::{Inventory, attached_about};
use crate::kubernetes;
use crate::pack::{Pack, pack};
use crate::platforms;
use crate::registry_dir::{self, Directory, InImage, Tree};
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
    /// What is to be said of it.
    pub attest: Attest<'a>,
    /// What kubeadm of the root file system runs is not contained.
    pub without_kubernetes: bool,
}

/// What is to be said of a cluster image.
pub struct Attest<'a> {
    /// Says what was asked for of the root file system of a platform; the number is its place among those built.
    pub rootfs: Rooted<'a>,
    /// Lists what is in each contained image, in these formats.
    pub sboms: Vec<Format>,
    /// The version of Kiln.
    pub kiln: &'a str,
}

/// Says something of a root file system.
pub type Rooted<'a> = &'a dyn Fn(usize, &Built) -> kiln_engine::Result<Option<Attached>>;

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
    /// Manifests of the root file systems.
    pub rootfs: Vec<Descriptor>,
    /// What is said of them, and of contained images, by this build.
    pub attached: Vec<Attached>,
}

/// Makes a cluster image of root file systems, one for each platform.
///
/// # Errors
/// When a list has mistakes, an image cannot be had, or the store cannot be written.
pub fn assemble(session: &Session, mut built: Vec<Built>, mut request: Request<'_>) -> Result<Assembled> {
    let pull = request.pull == Pull::Always;
    let base = built.first().and_then(|built| inherit::base(&built.plan)).cloned();
    let base = base.map(|fact| inherit::contents(session, &fact, pull)).transpose()?.flatten();
    let roots =
        built.iter().map(|built| session.roots.tree(&built.image.layers)).collect::<kiln_engine::Result<Vec<_>>>()?;
    let first = built.first().zip(roots.first());
    let kubernetes = first.map(|(b, root)| compose(&b.image, &request, root)).transpose()?.and_then(|s| s.kubernetes);
    request.scan.kubernetes = request.scan.kubernetes.take().or(kubernetes);
    let mut scan = look(&roots, &request.scan)?;
    let (mut rootfs, mut attached, mut spec) = (Vec::new(), Vec::new(), None);
    for (number, (built, root)) in built.iter_mut().zip(&roots).enumerate() {
        let own = compose(&built.image, &request, root)?;
        label(&mut built.image, &own, session)?;
        for descriptor in kiln_engine::build::blobs([&built.image.manifest]) {
            session.images.fetch(&descriptor)?;
        }
        rootfs.push(built.image.descriptor.clone());
        attached.extend((request.attest.rootfs)(number, built)?);
        spec.get_or_insert(own);
    }
    let spec = spec.unwrap_or_default();
    let mover = Mover::of(session);
    let inside: Vec<InImage<'_>> =
        roots.iter().map(|root| InImage { root, dir: REGISTRY }).filter(InImage::is_there).collect();
    inside.iter().try_for_each(|tree| add_registry(tree, &mut scan))?;
    if let Some(base) = &base {
        add_base(base, &request.scan, &mut scan);
    }
    if !request.without_kubernetes && !request.without_images {
        for (built, root) in built.iter().zip(&roots) {
            // Who says that the images are given means that no others are.
            if !built.image.config.config.labels.contains_key(KUBERNETES_IMAGES) {
                kubernetes::add(root, &request.scan, &mut scan)?;
            }
        }
    }
    let own: Vec<Platform> = built.iter().map(|built| built.image.platform.clone()).collect();
    platforms::decide(&mut scan, &own);
    scan.warnings.drain(..).for_each(|text| session.events.event(&Event::Warning(&text)));
    if request.without_images {
        scan.images.clear();
    }
    let places = places(&request, inside, base.as_ref().filter(|_| !pull), &mover)?;
    let finder = Finder { mover, platforms: own, places, pull };
    let contained = finder.contain(&scan.images)?;
    for image in &contained {
        attached.extend(listed(image, &request.attest, session)?);
    }
    let report = scan.report();
    let entries = entries(&attached, base.as_ref(), &contained);
    let packed = Pack {
        rootfs: rootfs.clone(),
        images: &contained,
        attached: &entries,
        report: &report,
        spec: &spec,
        annotations: &request.annotations,
    };
    let (root, _) = pack(&packed, &session.store)?;
    drop(finder);
    Ok(Assembled { root, spec, scan, images: contained, rootfs, attached })
}

/// Where images are looked for before the store and registries.
fn places<'a>(
    request: &Request<'_>,
    inside: Vec<InImage<'a>>,
    base: Option<&Inventory>,
    mover: &Mover<'_>,
) -> Result<Vec<Place<'a>>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    for dir in &request.registry_dirs {
        places.push(Place::Registry(Box::new(Directory::open(dir)?)));
    }
    places.extend(inside.into_iter().map(|tree| Place::Registry(Box::new(tree) as Box<dyn Tree + 'a>)));
    for path in &request.archives {
        places.push(Place::Images(images_in(mover, path)?));
    }
    if let Some(base) = base {
        places.push(Place::Base(in_base(base)));
    }
    Ok(places)
}

/// What a base contains, and for which platforms.
fn in_base(base: &Inventory) -> Vec<(Contained, Vec<Platform>)> {
    let of = |rootfs: &Descriptor| rootfs.platform.clone().unwrap_or_else(Platform::host);
    let own: Vec<Platform> = base.rootfs.iter().map(|(rootfs, _)| of(rootfs)).collect();
    let images = base.images.iter().map(|image| {
        let name = image.contained.name.to_string();
        let known = base.report.images.iter().find(|known| known.name == name);
        let platforms = known.map_or_else(|| own.clone(), |known| platforms::wanted(&known.named, &own));
        (image.contained.clone(), platforms)
    });
    images.collect()
}

/// Lists what is in a contained image, for each of its platforms.
fn listed(image: &Contained, wanted: &Attest<'_>, session: &Session) -> Result<Vec<Attached>> {
    if wanted.sboms.is_empty() {
        return Ok(Vec::new());
    }
    let (mover, title) = (Mover::of(session), image.name.familiar());
    let selection = mover.select(&Origin::Store, &title, image.root.clone(), &Platforms::All)?;
    let mut all = Vec::new();
    for (descriptor, manifest) in &selection.manifests {
        // What is no image of files, a chart say, has nothing installed in it.
        if !matches!(&*manifest.config.media_type, media::OCI_CONFIG | media::DOCKER_CONFIG)
            || manifest.subject.is_some()
        {
            continue;
        }
        let bytes = session.store.read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { continue };
        let ids = config.rootfs.diff_ids.iter().zip(&manifest.layers);
        let layers: Vec<Layer> = ids.map(|(id, blob)| Layer { diff_id: id.clone(), blob: blob.clone() }).collect();
        let platform = config.platform();
        let pictured = Pictured { descriptor, platform: &platform, config: &config, layers: &layers };
        let names = std::slice::from_ref(&image.name);
        all.extend(attest::list(&wanted.sboms, &pictured, names, wanted.kiln, session)?);
    }
    Ok(all)
}

/// Entries for what is said now, and for what the base says of images that its child contains, too.
fn entries(attached: &[Attached], base: Option<&Inventory>, contained: &[Contained]) -> Vec<Descriptor> {
    let is_new = |entry: &&Descriptor| {
        let about = attached_about(entry);
        !attached.iter().any(|attached| about.is_some_and(|about| about == attached.image.to_string()))
    };
    let inherited = base.into_iter().flat_map(|base| base.attached_to(contained)).filter(is_new);
    let mut all: Vec<Descriptor> = attached.iter().map(|attached| &attached.entry).chain(inherited).cloned().collect();
    let mut seen = BTreeSet::new();
    all.retain(|entry| seen.insert(entry.digest.clone()));
    all
}

/// What all root file systems name together: platforms may bring manifests of their own.
fn look(roots: &[Root], options: &scan::Options) -> Result<Scan> {
    let mut whole = Scan::default();
    let mut images: BTreeMap<String, Wanted> = BTreeMap::new();
    for root in roots {
        let own = scan::scan(root, options)?;
        for image in own.images {
            let entry = images.entry(image.name.to_string());
            let entry = entry.or_insert_with(|| Wanted::new(image.name.clone()));
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
        let known = base.report.images.iter().find(|known| known.name == text);
        // The places are the base's: its child may have other files there.
        let named = known.map(|known| known.named.iter().map(|named| named.within(&base.title)).collect::<Vec<_>>());
        let named = named
            .filter(|named| !named.is_empty())
            .unwrap_or_else(|| vec![Named::new(base.title.clone(), &rule::BASE, Certainty::Certain)]);
        scan.images.push(Wanted { named, ..Wanted::new(name.clone()) });
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
        let named = Named::new(file, &rule::REGISTRY, Certainty::Certain);
        scan.images.push(Wanted { named: vec![named], ..Wanted::new(name) });
    }
    Ok(())
}
