//! Images into the store, by reference: nothing of them is changed.
//!
//! ```text
//! where an image is looked for                            when
//! `--registry-dir`, `registry/` of the root file system   first: what came along is meant
//! archives and layouts (`--images`)                       then
//! what the base contains                                  unless `--pull`
//! the store                                               unless `--pull`
//! its registry, or a mirror                               at last
//! ```

use std::sync::{Mutex, PoisonError};

use kiln_engine::EngineError;
use kiln_engine::event::Event;
use kiln_engine::images::Provider;
use kiln_engine::transfer::{Mover, Origin, Platforms, Selection};
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Platform, Reference, media};

use crate::error::{ClusterError, Result};
use crate::kubernetes::is_of_a_cluster;
use crate::registry_dir::{self, Tree};
use crate::report::Named;

/// As many images are looked up at once; most of the time goes into waiting for registries.
const AT_ONCE: usize = 12;

/// An image that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: Reference,
    /// Who names it.
    pub named: Vec<Named>,
    /// The same image elsewhere, for names of registries that only a cluster has.
    pub instead: Option<Reference>,
    /// The platforms it is wanted for, where these are not those of the cluster image.
    pub platforms: Vec<Platform>,
}

impl Wanted {
    /// An image that nobody has named yet.
    pub fn new(name: Reference) -> Wanted {
        Wanted { name, named: Vec::new(), instead: None, platforms: Vec::new() }
    }
}

/// A place that may have images.
pub enum Place<'a> {
    /// The directory of a registry.
    Registry(Box<dyn Tree + 'a>),
    /// What a base contains, which is in the store, each with the platforms it is there for.
    Base(Vec<(Contained, Vec<Platform>)>),
    /// Images of an archive or layout, with their names.
    Images(Vec<(Selection, Vec<Reference>)>),
}

/// A contained image: its documents and blobs are in the store.
#[derive(Debug, Clone)]
pub struct Contained {
    /// Its name.
    pub name: Reference,
    /// Its manifest, or an index of manifests, one for each platform.
    pub root: Descriptor,
    /// The index that the name means elsewhere, if that is more than what is contained.
    pub from_index: Option<Digest>,
    /// That index's bytes, where the name has its digest: who pulls by that digest must get it.
    pub index: Option<Vec<u8>>,
}

/// How images are looked for.
pub struct Finder<'a> {
    /// Moves blobs.
    pub mover: Mover<'a>,
    /// Platforms that are wanted.
    pub platforms: Vec<Platform>,
    /// Where to look before the store and registries.
    pub places: Vec<Place<'a>>,
    /// Whether registries are asked even if the store has an image.
    pub pull: bool,
}

/// Where an image is: its blobs are known to the store's provider, or already in it.
struct Located {
    origin: Origin,
    root: Descriptor,
    /// Who has what the store lacks.
    provider: Option<Provider>,
}

impl Finder<'_> {
    /// Brings all into the store, in the order given.
    ///
    /// # Errors
    /// The first image that cannot be had, with who names it.
    pub fn contain(&self, wanted: &[Wanted]) -> Result<Vec<Contained>> {
        let found: Vec<(Contained, Vec<Selection>)> = self.each(wanted, |wanted| self.find(wanted))?;
        let mut all = Selection {
            name: "contained images".to_owned(),
            origin: Origin::Store,
            root: Descriptor::empty(),
            documents: Vec::new(),
            manifests: Vec::new(),
        };
        for selection in found.iter().flat_map(|(_, selections)| selections) {
            all.documents.extend(selection.documents.iter().cloned());
            all.manifests.extend(selection.manifests.iter().cloned());
        }
        // The blobs of all together: the slowest registry does not hold the others up.
        self.mover.keep(&all, &[])?;
        let contained: Vec<Contained> = found.into_iter().map(|(contained, _)| contained).collect();
        for (image, wanted) in contained.iter().zip(wanted) {
            self.check_platform(image, self.platforms(wanted))?;
        }
        Ok(contained)
    }

    /// Does something for each, several at once, and keeps the order.
    fn each<T: Send>(&self, all: &[Wanted], work: impl Fn(&Wanted) -> Result<T> + Sync) -> Result<Vec<T>> {
        let queue = Mutex::new(all.iter().enumerate());
        let (done, failure) = (Mutex::new(Vec::with_capacity(all.len())), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(all.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((at, wanted)) = next else { return };
                        if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                            return;
                        }
                        match self.mover.check().map_err(ClusterError::from).and_then(|()| work(wanted)) {
                            Ok(made) => done.lock().unwrap_or_else(PoisonError::into_inner).push((at, made)),
                            Err(e) => drop(failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e)),
                        }
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, made)| made).collect())
    }

    /// The platforms that an image is wanted for.
    fn platforms<'w>(&'w self, wanted: &'w Wanted) -> &'w [Platform] {
        if wanted.platforms.is_empty() { &self.platforms } else { &wanted.platforms }
    }

    fn find(&self, wanted: &Wanted) -> Result<(Contained, Vec<Selection>)> {
        if let Some(found) = self.find_here(wanted, &wanted.name)? {
            return Ok(found);
        }
        let Some(own) = &wanted.instead else { return self.find_there(wanted, &wanted.name) };
        let first = match is_of_a_cluster(&wanted.name.registry) {
            true => None,
            false => match self.find_there(wanted, &wanted.name) {
                Err(error @ ClusterError::Image { .. }) => Some(error),
                other => return other,
            },
        };
        let found = match self.find_here(wanted, own)? {
            Some(found) => Ok(found),
            None => self.find_there(wanted, own),
        };
        match (found, first) {
            (Ok((contained, selections)), first) => {
                if first.is_some() {
                    let (name, own) = (wanted.name.familiar(), own.familiar());
                    self.mover.events.event(&Event::Warning(&format!("{name} cannot be had; {own} stands for it")));
                }
                Ok((Contained { name: wanted.name.clone(), ..contained }, selections))
            }
            (Err(ClusterError::Image { .. }), Some(first)) => Err(first),
            (Err(error), _) => Err(error),
        }
    }

    /// An image that is in one of the places, or in the store.
    fn find_here(&self, wanted: &Wanted, name: &Reference) -> Result<Option<(Contained, Vec<Selection>)>> {
        let platforms = self.platforms(wanted);
        for place in &self.places {
            if let Place::Base(images) = place {
                let is = |(image, there): &&(Contained, Vec<Platform>)| {
                    image.name.to_string() == name.to_string() && platforms.iter().all(|p| there.contains(p))
                };
                match images.iter().find(is) {
                    Some((image, _)) => return Ok(Some((image.clone(), Vec::new()))),
                    None => continue,
                }
            }
            if let Some(located) = self.in_place(place, name)? {
                return self.select(name, &located, platforms).map(Some).map_err(cannot_be_had(wanted));
            }
        }
        if !self.pull
            && let Some(root) = self.mover.images.local(name)?
        {
            let provider = Some(Provider::Registry(name.clone()));
            // It may be there for another platform only.
            return Ok(self.select(name, &Located { origin: Origin::Store, root, provider }, platforms).ok());
        }
        Ok(None)
    }

    /// An image of a registry.
    fn find_there(&self, wanted: &Wanted, name: &Reference) -> Result<(Contained, Vec<Selection>)> {
        let named = cannot_be_had(wanted);
        let root = self.mover.images.client().resolve(name).map_err(|e| named(e.into()))?;
        let (origin, provider) = (Origin::Registry(name.clone()), Some(Provider::Registry(name.clone())));
        self.select(name, &Located { origin, root, provider }, self.platforms(wanted)).map_err(named)
    }

    fn in_place(&self, place: &Place<'_>, name: &Reference) -> Result<Option<Located>> {
        match place {
            Place::Base(_) => Ok(None),
            Place::Registry(tree) => {
                let Some(found) = registry_dir::find(&**tree, name)? else { return Ok(None) };
                let root = registry_dir::import(&**tree, &found, &self.mover)?;
                Ok(Some(Located { origin: Origin::Store, root, provider: None }))
            }
            Place::Images(images) => {
                let is = |(selection, names): &&(Selection, Vec<Reference>)| match &name.digest {
                    Some(digest) => selection.root.digest == *digest,
                    None => names.iter().any(|other| same(other, name)),
                };
                Ok(images.iter().find(is).map(|(selection, _)| {
                    let provider = match &selection.origin {
                        Origin::Layout(dir) => Some(Provider::Layout(dir.clone())),
                        Origin::Registry(reference) => Some(Provider::Registry(reference.clone())),
                        Origin::Store => None,
                    };
                    Located { origin: selection.origin.clone(), root: selection.root.clone(), provider }
                }))
            }
        }
    }

    /// What is wanted of an image: one manifest, or an index of one for each platform.
    fn select(
        &self,
        name: &Reference,
        located: &Located,
        platforms: &[Platform],
    ) -> kiln_engine::Result<(Contained, Vec<Selection>)> {
        let (title, Located { origin, root, provider }) = (name.familiar(), located);
        let mut selections = Vec::new();
        if media::is_index(&root.media_type) {
            for platform in platforms {
                selections.push(self.mover.select(origin, &title, root.clone(), &Platforms::One(platform.clone()))?);
            }
        } else {
            selections.push(self.mover.select(origin, &title, root.clone(), &Platforms::All)?);
        }
        for (_, manifest) in selections.iter().flat_map(|s| &s.manifests) {
            if let Some(provider) = provider {
                self.mover.images.provide(manifest, provider);
            }
        }
        let whole = media::is_index(&root.media_type).then(|| self.mover.document(origin, root, &title)).transpose()?;
        let contained = match (&selections[..], whole) {
            (_, None) => {
                let root = plain(&selections[0].root);
                Contained { name: name.clone(), root, from_index: None, index: None }
            }
            ([only], Some(bytes)) => {
                let from_index = Some(root.digest.clone());
                let index = name.digest.is_some().then_some(bytes);
                Contained { name: name.clone(), root: plain(&only.root), from_index, index }
            }
            (_, Some(bytes)) => self.index(name, root, &bytes, &mut selections)?,
        };
        Ok((contained, selections))
    }

    /// An index of the platforms that are wanted: the image's own, where it has no others.
    fn index(
        &self,
        name: &Reference,
        root: &Descriptor,
        bytes: &[u8],
        selections: &mut Vec<Selection>,
    ) -> kiln_engine::Result<Contained> {
        let bad = |e: serde_json::Error| EngineError::Image { name: name.familiar(), message: e.to_string() };
        let whole: Index = serde_json::from_slice(bytes).map_err(bad)?;
        let chosen: Vec<&Descriptor> =
            whole.manifests.iter().filter(|d| selections.iter().any(|s| s.root.digest == d.digest)).collect();
        let (own, document) = match chosen.len() == whole.manifests.len() {
            true => (plain(root), bytes.to_vec()),
            false => {
                let index = Index::new(chosen.into_iter().cloned().collect());
                let document = serde_json::to_vec(&index).unwrap_or_default();
                (Descriptor::of(media::OCI_INDEX, &document), document)
            }
        };
        let same = own.digest == root.digest;
        let last = Selection {
            name: name.familiar(),
            origin: Origin::Store,
            root: own.clone(),
            documents: vec![(own.clone(), document)],
            manifests: Vec::new(),
        };
        selections.push(last);
        Ok(Contained {
            name: name.clone(),
            root: own,
            from_index: (!same).then(|| root.digest.clone()),
            index: (!same && name.digest.is_some()).then(|| bytes.to_vec()),
        })
    }

    /// Images without an index do not say for whom they are until their configuration is read.
    fn check_platform(&self, image: &Contained, platforms: &[Platform]) -> Result<()> {
        if !media::is_manifest(&image.root.media_type) || image.from_index.is_some() {
            return Ok(());
        }
        let store = self.mover.store;
        let max = kiln_engine::images::MAX_DOCUMENT;
        let manifest: Option<kiln_oci::Manifest> =
            serde_json::from_slice(&store.read_blob(&image.root.digest, max)?).ok();
        let Some(config) =
            manifest.map(|m| m.config).filter(|c| matches!(&*c.media_type, media::OCI_CONFIG | media::DOCKER_CONFIG))
        else {
            return Ok(());
        };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&store.read_blob(&config.digest, max)?) else {
            return Ok(());
        };
        let is = config.platform();
        for wanted in platforms.iter().filter(|wanted| !is.serves(wanted)) {
            let text = format!("{}: it is for {is}, and wanted for {wanted}", image.name.familiar());
            self.mover.events.event(&Event::Warning(&text));
        }
        Ok(())
    }
}

/// Says who names an image that cannot be had.
fn cannot_be_had(wanted: &Wanted) -> impl Fn(EngineError) -> ClusterError {
    move |error| match error {
        EngineError::Cancelled => ClusterError::from(EngineError::Cancelled),
        error => ClusterError::Image {
            name: wanted.name.familiar(),
            named: wanted.named.iter().take(3).map(Named::text).collect(),
            source: Box::new(error),
        },
    }
}

/// Whether two names mean the same: `nginx` is `nginx:latest`.
fn same(a: &Reference, b: &Reference) -> bool {
    a.registry == b.registry && a.repository == b.repository && a.tag_or_latest() == b.tag_or_latest()
}

/// A descriptor as an entry of the index: without the platform, by which only root file systems are chosen.
fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(&descriptor.media_type, descriptor.digest.clone(), descriptor.size)
}

/// The images of archives and layouts, unless they cannot be read.
///
/// # Errors
/// When there is no such file, or it holds no images.
pub fn images_in(mover: &Mover<'_>, path: &std::path::Path) -> Result<Vec<(Selection, Vec<Reference>)>> {
    let input = kiln_engine::archive::Input::Path(path.to_path_buf());
    Ok(kiln_engine::archive::select(mover, &input)?)
}
