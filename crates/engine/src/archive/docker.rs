//! What the members of a docker archive mean: `manifest.json`, or `repositories` and a chain of layers before that.
//!
//! Layers stay as they are in the archive, compressed or not; a manifest that names them is made here.

use std::collections::BTreeMap;
use std::io::Read;

use kiln_oci::archive::{self, LegacyLayer, SavedImage, legacy_chain, parse_repositories, parse_saved};
use kiln_oci::compress::{self, Format};
use kiln_oci::config::{ContainerConfig, History};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Hasher, ImageConfig, Platform, Reference, media};
use kiln_store::LayerRecord;

use super::spool::{File, Spool};
use super::{MAX_IMAGES, archive_error};
use crate::error::{EngineError, Result};
use crate::packed;
use crate::transfer::{Mover, Origin, Platforms, Selection};

/// Layers larger than this, uncompressed, are refused.
const MAX_LAYER: u64 = 1 << 40;
/// As many layers an image may have.
const MAX_LAYERS: usize = 1000;

/// The images of a docker archive.
///
/// # Errors
/// When it is none, or a part of an image is missing or not what it should be.
pub fn read(mover: &Mover<'_>, spool: &Spool) -> Result<Vec<(Selection, Vec<Reference>)>> {
    let title = spool.title();
    let bad = |e: archive::ArchiveError| archive_error(title, e);
    if spool.has(archive::MANIFEST) {
        let saved = parse_saved(spool.document(archive::MANIFEST)?).map_err(bad)?;
        if saved.is_empty() || saved.len() > MAX_IMAGES {
            return Err(archive_error(title, format!("`manifest.json` lists {} images", saved.len())));
        }
        return saved.iter().map(|image| image_of(mover, spool, image)).collect();
    }
    if spool.has(archive::REPOSITORIES) {
        let repositories = parse_repositories(spool.document(archive::REPOSITORIES)?).map_err(bad)?;
        let mut all = Vec::new();
        for (repository, tags) in &repositories {
            for (tag, top) in tags {
                let name = reference(title, &format!("{repository}:{tag}"))?;
                all.push((legacy(mover, spool, top)?, vec![name]));
            }
        }
        return Ok(all);
    }
    Err(archive_error(
        title,
        "it is not an archive of images: it has neither manifest.json (docker) nor index.json (OCI)",
    ))
}

fn reference(title: &str, text: &str) -> Result<Reference> {
    text.parse().map_err(|e: kiln_oci::reference::ReferenceError| archive_error(title, e))
}

fn image_of(mover: &Mover<'_>, spool: &Spool, image: &SavedImage) -> Result<(Selection, Vec<Reference>)> {
    let title = spool.title();
    let names = image.repo_tags.iter().flatten().map(|t| reference(title, t)).collect::<Result<Vec<_>>>()?;
    let bytes = spool.read_member(mover, &image.config)?;
    let config: ImageConfig = serde_json::from_slice(&bytes)
        .map_err(|e| archive_error(title, format!("`{}` cannot be read: {e}", image.config)))?;
    let paths = image.layers.as_deref().unwrap_or_default();
    let ids = &config.rootfs.diff_ids;
    if paths.len() != ids.len() || paths.len() > MAX_LAYERS {
        let (layers, ids) = (paths.len(), ids.len());
        return Err(archive_error(title, format!("`manifest.json` lists {layers} layers, `{}` {ids}", image.config)));
    }
    let mut layers = Vec::new();
    for (path, expected) in paths.iter().zip(ids) {
        mover.check()?;
        let file = spool.get(path)?;
        let (found, descriptor) = layer(mover, spool, path, file)?;
        if found != *expected {
            return Err(archive_error(title, format!("`{path}` is {found}, but the image says {expected}")));
        }
        layers.push(descriptor);
    }
    Ok((assemble(mover, &names_or(&names, &image.config), &bytes, layers)?, names))
}

fn names_or(names: &[Reference], other: &str) -> String {
    names.first().map_or_else(|| other.to_owned(), Reference::familiar)
}

/// A layer's diff id and descriptor; what is compressed is uncompressed to learn the first.
fn layer(mover: &Mover<'_>, spool: &Spool, path: &str, file: &File) -> Result<(Digest, Descriptor)> {
    let format = spool.format(mover, file)?;
    let media_type = match format {
        Some(Format::Tar) | None => media::OCI_LAYER,
        Some(Format::Gzip) => media::OCI_LAYER_GZIP,
        Some(Format::Zstd) => media::OCI_LAYER_ZSTD,
        Some(Format::Bzip2 | Format::Xz) => {
            return Err(archive_error(
                spool.title(),
                format!("`{path}` is compressed in a way that layers cannot be: gzip, zstd or none"),
            ));
        }
    };
    let descriptor = Descriptor::new(media_type, file.digest.clone(), file.size);
    let diff_id = match (format, mover.store.diff_id_of(&file.digest)) {
        (Some(Format::Gzip | Format::Zstd), Some(known)) => known,
        (Some(format @ (Format::Gzip | Format::Zstd)), None) => uncompressed(mover, spool, path, file, format)?,
        _ => file.digest.clone(),
    };
    mover.store.record_layer(&LayerRecord {
        diff_id: diff_id.clone(),
        digest: file.digest.clone(),
        size: file.size,
        media_type: media_type.to_owned(),
    })?;
    Ok((diff_id, descriptor))
}

fn uncompressed(mover: &Mover<'_>, spool: &Spool, path: &str, file: &File, format: Format) -> Result<Digest> {
    let mut stream = compress::decompress(format, mover.store.open_blob(&file.digest)?, Some(MAX_LAYER));
    let mut hasher = Hasher::new();
    let mut buf = vec![0; 256 << 10];
    loop {
        mover.check()?;
        match stream.read(&mut buf) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buf[..n]),
            Err(e) => return Err(archive_error(spool.title(), format!("`{path}` cannot be decompressed: {e}"))),
        }
    }
}

/// The manifest of an image whose parts are in the store.
pub(super) fn assemble(mover: &Mover<'_>, name: &str, config: &[u8], layers: Vec<Descriptor>) -> Result<Selection> {
    let root = packed::manifest_of(mover, config, layers, Annotations::new())?;
    mover.select(&Origin::Store, name, root, &Platforms::All)
}

/// An image from before `manifest.json`: layers that name their parents.
fn legacy(mover: &Mover<'_>, spool: &Spool, top: &str) -> Result<Selection> {
    let title = spool.title();
    let bad = |e: archive::ArchiveError| archive_error(title, e);
    let mut known: BTreeMap<String, LegacyLayer> = BTreeMap::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next.take() {
        if known.contains_key(&id) || known.len() > MAX_LAYERS {
            break;
        }
        let bytes = spool.read_member(mover, &format!("{id}/json"))?;
        let layer = LegacyLayer::parse(&id, &bytes).map_err(bad)?;
        next = layer.parent.clone().filter(|p| !p.is_empty());
        known.insert(id, layer);
    }
    let chain = legacy_chain(top, &known).map_err(bad)?;
    let (mut layers, mut ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for id in &chain {
        let path = format!("{id}/layer.tar");
        let (diff_id, descriptor) = layer(mover, spool, &path, spool.get(&path)?)?;
        layers.push(descriptor);
        ids.push(diff_id);
        history.push(History { created: known[id].created.clone(), ..History::default() });
    }
    let last = &known[top];
    let config = config_of(title, last, ids, history)?;
    let bytes = serde_json::to_vec(&config).unwrap_or_default();
    assemble(mover, top, &bytes, layers)
}

fn config_of(
    title: &str,
    last: &LegacyLayer,
    ids: Vec<Digest>,
    history: Vec<History>,
) -> Result<ImageConfig, EngineError> {
    let host = Platform::host();
    let platform = Platform {
        os: last.os.clone().unwrap_or_else(|| host.os.clone()),
        ..Platform::linux(last.architecture.as_deref().unwrap_or(&host.architecture))
    };
    let mut config = ImageConfig::scratch(&platform);
    config.created.clone_from(&last.created);
    if let Some(raw) = &last.config {
        config.config = serde_json::from_str::<Option<ContainerConfig>>(raw.get())
            .map_err(|e| archive_error(title, format!("`{}/json` cannot be read: {e}", last.id)))?
            .unwrap_or_default();
    }
    config.rootfs.diff_ids = ids;
    config.history = history;
    Ok(config)
}
