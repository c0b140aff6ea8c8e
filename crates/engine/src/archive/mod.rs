//! Reading images from files: archives of docker and OCI, in any compression, also from a pipe; OCI layouts.
//!
//! [`load`] one of these into the store     [`import`] a tar of files becomes an image
//!
//! An archive is read once from its beginning to its end: what might be a blob goes into the store as it comes
//! (`spool`), what the members mean is decided at the end (`docker`, or the layout's index). Names are given when
//! all images of the archive are whole and verified; whatever turns out to be nobody's goes with the next prune.

mod docker;
pub mod import;
mod spool;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use kiln_oci::archive::{IMAGE_NAME, LayoutFile, Part, REF_NAME, part};
use kiln_oci::compress::{self, Bounds, Format};
use kiln_oci::layer::{LayerReader, ReadOptions};
use kiln_oci::{Descriptor, Index, Platform, Reference, media};

use crate::error::{EngineError, Result};
use crate::event::Event;
use crate::transfer::{Mover, Origin, Platforms, Selection, image_error};
use spool::Spool;

/// The most bytes an archive may hold uncompressed.
const MAX_SIZE: u64 = 1 << 42;
/// As many members of a tar may have names that say nothing of what it is.
const MAX_UNTOLD: u64 = 1000;
/// As many images an archive may hold.
const MAX_IMAGES: usize = 10_000;

/// Where an archive is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or the directory of an OCI layout.
    Path(PathBuf),
    /// A file that was cut into pieces, in their order; who names them has verified them.
    Pieces(Vec<PathBuf>),
}

impl Input {
    /// What people call it.
    pub fn title(&self) -> String {
        match self {
            Input::Stdin => "standard input".to_owned(),
            Input::Path(path) => path.display().to_string(),
            Input::Pieces(paths) => paths.first().map_or_else(String::new, |path| path.display().to_string()),
        }
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Input::Stdin => Ok(Box::new(io::stdin())),
            Input::Path(path) => Ok(Box::new(File::open(path).map_err(EngineError::file("read the archive", path))?)),
            Input::Pieces(paths) => {
                let mut all: Box<dyn Read + Send> = Box::new(io::empty());
                for path in paths {
                    all = Box::new(all.chain(File::open(path).map_err(EngineError::file("read the archive", path))?));
                }
                Ok(all)
            }
        }
    }
}

/// An image that was in an archive and is now in the store.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The names it was given; none is fine.
    pub names: Vec<Reference>,
    /// Its manifest or index.
    pub root: Descriptor,
}

/// Reads all images of an archive or layout into the store. With `extra`, which needs an archive of one image, that is
/// a further name.
///
/// # Errors
/// When it is no archive of images, parts of one are missing or not what their digests say, or the store fails.
pub fn load(mover: &Mover<'_>, input: &Input, extra: Option<&Reference>) -> Result<Vec<Loaded>> {
    let selected = select(mover, input)?;
    name_all(mover, &input.title(), selected, extra)
}

/// Reads the images of an archive or layout; those of an archive are in the store then, without names.
///
/// # Errors
/// As [`load`].
pub fn select(mover: &Mover<'_>, input: &Input) -> Result<Vec<(Selection, Vec<Reference>)>> {
    if let Input::Path(path) = input
        && path.is_dir()
    {
        let index = crate::layout::index(path)?;
        return from_index(mover, &input.title(), &Origin::Layout(path.clone()), &index);
    }
    let spool = Spool::read(mover, &input.title(), decompressed(input)?)?;
    if spool.has(kiln_oci::archive::INDEX) && spool.has(kiln_oci::archive::LAYOUT) {
        let bad = |e: &dyn std::fmt::Display| archive_error(&input.title(), e);
        LayoutFile::parse(spool.document(kiln_oci::archive::LAYOUT)?).map_err(|e| bad(&e))?;
        let index: Index = serde_json::from_slice(spool.document(kiln_oci::archive::INDEX)?)
            .map_err(|e| archive_error(&input.title(), format!("`index.json` cannot be read: {e}")))?;
        return from_index(mover, &input.title(), &Origin::Store, &index);
    }
    docker::read(mover, &spool)
}

/// The images a layout's index lists, each once with all its names.
fn from_index(
    mover: &Mover<'_>,
    title: &str,
    origin: &Origin,
    index: &Index,
) -> Result<Vec<(Selection, Vec<Reference>)>> {
    if index.manifests.len() > MAX_IMAGES {
        return Err(archive_error(title, format!("it has more than {MAX_IMAGES} images")));
    }
    let mut all: Vec<(Selection, Vec<Reference>)> = Vec::new();
    for entry in &index.manifests {
        let name = name_of(entry);
        let known = all.iter_mut().find(|(s, _)| s.root.digest == entry.digest);
        if let Some((_, names)) = known {
            names.extend(name);
            continue;
        }
        let called = name.as_ref().map_or_else(|| entry.digest.to_string(), Reference::familiar);
        let mut root = entry.clone();
        for key in [IMAGE_NAME, REF_NAME] {
            root.annotations.remove(key);
        }
        let selection = match mover.select(origin, &called, root.clone(), &Platforms::All) {
            Ok(selection) => selection,
            Err(e) if media::is_index(&root.media_type) => partial(mover, title, origin, &called, &root).ok_or(e)?,
            Err(e) => return Err(named(title, e)),
        };
        all.push((selection, name.into_iter().collect()));
    }
    match all.is_empty() {
        true => Err(archive_error(title, "there is no image in it")),
        false => Ok(all),
    }
}

/// The one image of an index whose other platforms are not in the archive, as docker saves them.
fn partial(mover: &Mover<'_>, title: &str, origin: &Origin, name: &str, root: &Descriptor) -> Option<Selection> {
    let host = Platforms::One(Platform::host());
    let whole = mover.index_platforms(origin, name, root).ok()?.into_iter().map(Platforms::One);
    let found = [host].into_iter().chain(whole).find_map(|p| mover.select(origin, name, root.clone(), &p).ok())?;
    let platform = found.root.platform.as_ref().map_or_else(|| "one platform".to_owned(), ToString::to_string);
    mover.events.event(&Event::Warning(&format!("{title}: `{name}` is there for {platform} only")));
    Some(found)
}

/// The name an index entry has. A tag alone is no name: it does not say of what.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let whole = entry.annotations.get(IMAGE_NAME).and_then(|n| n.parse().ok());
    let other = || entry.annotations.get(REF_NAME).filter(|n| n.contains([':', '/'])).and_then(|n| n.parse().ok());
    whole.or_else(other)
}

/// Makes sure that every image is whole, then gives names.
fn name_all(
    mover: &Mover<'_>,
    title: &str,
    selected: Vec<(Selection, Vec<Reference>)>,
    extra: Option<&Reference>,
) -> Result<Vec<Loaded>> {
    if let (Some(extra), true) = (extra, selected.len() != 1) {
        let many = selected.len();
        return Err(archive_error(title, format!("it has {many} images, so `{extra}` cannot be the name of one")));
    }
    for (selection, names) in &selected {
        // A name with a digest is a promise about bytes, which an archive must not break.
        if let Some(name) = names.iter().find(|n| n.digest.as_ref().is_some_and(|d| *d != selection.root.digest)) {
            return Err(archive_error(title, format!("an image in it is called `{name}`, but has another digest")));
        }
        mover.keep(selection, &[]).map_err(|e| named(title, e))?;
    }
    let mut loaded = Vec::new();
    for (selection, mut names) in selected {
        names.extend(extra.cloned());
        names.dedup();
        for name in &names {
            mover.store.set_ref(&name.to_string(), &selection.root)?;
        }
        loaded.push(Loaded { names, root: selection.root });
    }
    Ok(loaded)
}

/// Says which file an image was in whose parts are missing.
fn named(title: &str, error: EngineError) -> EngineError {
    match error {
        EngineError::Image { name, message } if message.contains("nothing says where it can be had") => {
            archive_error(title, format!("blob {name} is missing"))
        }
        EngineError::Image { name, message } => archive_error(title, format!("image `{name}`: {message}")),
        other => other,
    }
}

pub(crate) fn archive_error(title: &str, message: impl ToString) -> EngineError {
    EngineError::Archive { name: title.to_owned(), message: message.to_string() }
}

/// The tar inside an input, whatever compresses it.
///
/// # Errors
/// When it cannot be read or is no tar.
/// What stands at the top of a root file system, and never of an archive of images.
const ROOT: [&str; 19] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin",
    "srv", "sys", "usr", "var",
];

/// Whether a file is a tar of a root file system, and not of images. It is read until its names say so.
pub fn is_root(input: &Input) -> bool {
    let Ok(tar) = decompressed(input) else { return false };
    let options = ReadOptions { max_entries: MAX_UNTOLD, ..ReadOptions::archive() };
    let mut reader = LayerReader::with_options(tar, options);
    while let Ok(Some(entry)) = reader.next_entry() {
        let path = String::from_utf8_lossy(&entry.entry.path).into_owned();
        let top = path.split('/').next().unwrap_or_default();
        if ROOT.contains(&top) {
            return true;
        }
        if !matches!(part(path.as_bytes()), Part::Other) {
            return false;
        }
    }
    false
}

pub(crate) fn decompressed(input: &Input) -> Result<Box<dyn Read + Send>> {
    tar_of(&input.title(), input.open()?)
}

/// The tar inside a stream, whatever compresses it.
///
/// # Errors
/// When it cannot be read or is no tar.
pub(crate) fn tar_of(title: &str, stream: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>> {
    let mut stream = BufReader::with_capacity(256 << 10, stream);
    let read = |e: io::Error| EngineError::file("read", PathBuf::from(title))(e);
    // A pipe may give less at first than it takes to tell a tar.
    let mut head = Vec::new();
    (&mut stream).take(512).read_to_end(&mut head).map_err(read)?;
    if head.is_empty() {
        return Err(archive_error(title, "it is empty"));
    }
    let format = compress::detect(&head);
    let whole = io::Cursor::new(head).chain(stream);
    let Some(format) = format else {
        return Err(archive_error(title, "it is not a tar, nor one compressed with gzip, bzip2, xz or zstd"));
    };
    if format == Format::Tar {
        return Ok(Box::new(whole));
    }
    let mut inner =
        BufReader::with_capacity(256 << 10, compress::decompress_within(format, whole, Bounds::archive(MAX_SIZE)));
    let first = inner.fill_buf().map_err(|e| archive_error(title, format!("it cannot be decompressed: {e}")))?;
    match first.is_empty() {
        true => Err(archive_error(title, "what is compressed in it is empty")),
        false => Ok(Box::new(inner)),
    }
}

/// An OCI layout's or archive's image of a name or the only one, for a copy.
///
/// # Errors
/// When there is no such image, or more than one.
pub fn only(
    title: &str,
    mut all: Vec<(Selection, Vec<Reference>)>,
    wanted: Option<&str>,
) -> Result<(Selection, Vec<Reference>)> {
    if let Some(wanted) = wanted {
        let reference = wanted.parse::<Reference>().map_err(|e| image_error(wanted, e))?;
        let tagged = |n: &Reference| *n == reference || n.tag_or_latest() == Some(wanted);
        let found = all.iter().position(|(_, names)| names.iter().any(tagged));
        return match found {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(archive_error(title, format!("there is no image `{wanted}` in it"))),
        };
    }
    match all.len() {
        1 => Ok(all.remove(0)),
        n => Err(archive_error(title, format!("it has {n} images: name one of them after the path, with `:NAME`"))),
    }
}

/// Whether a path is an OCI layout.
pub fn is_layout(path: &Path) -> bool {
    path.join(kiln_oci::archive::LAYOUT).is_file()
}
