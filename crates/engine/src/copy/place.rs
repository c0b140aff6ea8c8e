//! Placing one source: where it goes, and what is made on the way.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_oci::name;
use kiln_oci::{EntryKind, Meta};

use super::dest::{CopyError, Dest, Style};
use super::{Body, unpack};
use crate::context::{self, Pick, Source, Stat};

/// The destination as typed: absolute, cleaned, a trailing slash if it names a directory.
pub struct Target<'t> {
    text: &'t str,
}

impl<'t> Target<'t> {
    /// A destination of a [`CopyOp`](kiln_plan::step::CopyOp).
    pub fn new(text: &'t str) -> Target<'t> {
        Target { text }
    }

    fn names_dir(&self) -> bool {
        self.text.ends_with('/')
    }

    /// The directory that is made before anything is looked at: the destination itself if it names a directory, else
    /// the one above it.
    fn ensured(&self) -> &'t str {
        if self.names_dir() { self.text } else { self.text.rsplit_once('/').map_or("/", |(dir, _)| dir) }
    }

    /// Makes what must be there, and says where a source called `base` goes.
    fn locate(&self, dest: &mut Dest<'_>, style: &Style, base: &[u8], is_dir: bool) -> Result<Vec<u8>, CopyError> {
        let ensured = dest.resolve(self.ensured().as_bytes())?;
        dest.make_dirs(&ensured, style)?;
        let mut at = dest.resolve(self.text.as_bytes())?;
        let there = dest.get(&at).map(|(kind, _)| kind);
        if !is_dir && there == Some(EntryKind::Dir) {
            at = name::join(&at, base);
        }
        let made = if is_dir && there.is_none() { &at[..] } else { name::split(&at).0 };
        let made = made.to_vec();
        dest.make_dirs(&made, style)?;
        Ok(at)
    }

    /// The directory an archive is unpacked into. `--chmod` is not for archives, and so not for it.
    fn unpacked(&self, dest: &mut Dest<'_>, style: &Style) -> Result<Vec<u8>, CopyError> {
        let at = dest.resolve(self.text.as_bytes())?;
        dest.make_dirs(&at, &Style { chmod: None, ..style.clone() })?;
        Ok(at)
    }
}

/// How archives among the sources are treated.
pub struct Unpack<'a> {
    /// Where archives are made seekable.
    pub store: &'a kiln_store::Store,
}

/// Places what one pattern selected.
///
/// # Errors
/// When something is in the way or cannot be read.
pub fn picks(
    dest: &mut Dest<'_>,
    target: &Target<'_>,
    style: &Style,
    source: &Arc<dyn Source>,
    picks: &[Pick],
    archives: Option<&Unpack<'_>>,
) -> Result<(), CopyError> {
    for pick in picks {
        if let (Some(archives), context::Kind::File { .. }) = (archives, &pick.stat.kind) {
            let shown = name::escape(&pick.name);
            let body =
                Body::Source { source: source.clone(), path: pick.root.clone(), stat: Box::new(pick.stat.clone()) };
            if unpack::is_archive(&body, &shown)? {
                let at = target.unpacked(dest, style)?;
                unpack::unpack(dest, &at, style, &body, &shown, archives.store)?;
                continue;
            }
        }
        pick_one(dest, target, style, source, pick)?;
    }
    Ok(())
}

fn pick_one(
    dest: &mut Dest<'_>,
    target: &Target<'_>,
    style: &Style,
    source: &Arc<dyn Source>,
    pick: &Pick,
) -> Result<(), CopyError> {
    let is_dir = matches!(pick.stat.kind, context::Kind::Dir);
    let at = target.locate(dest, style, &pick.name, is_dir)?;
    let mut links: HashMap<u64, u64> = HashMap::new();
    if !is_dir {
        return put(dest, style, source, &pick.root, &pick.stat, &at, &mut links);
    }
    if !matches!(dest.get(&at), None | Some((EntryKind::Dir, _))) {
        return Err(CopyError::NotDirectory(name::escape(&at)));
    }
    for parent in &pick.parents {
        let path = name::join(&at, &parent.rel);
        let fresh = dest.get(&path).is_none();
        let meta = style.apply(&parent.stat.meta, &EntryKind::Dir);
        dest.put_dir(&path, meta, fresh)?;
    }
    for picked in &pick.entries {
        let from = name::join(&pick.root, &picked.rel);
        put(dest, style, source, &from, &picked.stat, &name::join(&at, &picked.rel), &mut links)?;
    }
    Ok(())
}

/// Writes one thing at `at`, whose parent is there.
fn put(
    dest: &mut Dest<'_>,
    style: &Style,
    source: &Arc<dyn Source>,
    from: &[u8],
    stat: &Stat,
    at: &[u8],
    links: &mut HashMap<u64, u64>,
) -> Result<(), CopyError> {
    let kind = match &stat.kind {
        context::Kind::Dir => return dest.put_dir(at, style.apply(&stat.meta, &EntryKind::Dir), true),
        context::Kind::File { size } => EntryKind::File { size: *size },
        context::Kind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        context::Kind::Char { major, minor } => EntryKind::Char { major: *major, minor: *minor },
        context::Kind::Block { major, minor } => EntryKind::Block { major: *major, minor: *minor },
        context::Kind::Fifo => EntryKind::Fifo,
        context::Kind::Socket => return Ok(()),
    };
    let meta = style.apply(&stat.meta, &kind);
    let body = match kind {
        EntryKind::File { .. } => {
            Body::Source { source: source.clone(), path: from.to_vec(), stat: Box::new(stat.clone()) }
        }
        _ => Body::None,
    };
    let several_names = stat.link.filter(|_| matches!(kind, EntryKind::File { .. }));
    dest.put_file(at, kind, meta, body)?;
    if let Some(link) = several_names {
        let group = *links.entry(link).or_insert_with(|| dest.new_group());
        dest.join_group(at, group);
    }
    Ok(())
}

/// Places one file that no tree holds: a heredoc, or the content of a URL.
///
/// # Errors
/// When something is in the way.
pub fn file(
    dest: &mut Dest<'_>,
    target: &Target<'_>,
    style: &Style,
    base: &str,
    meta: &Meta,
    size: u64,
    body: Body,
) -> Result<(), CopyError> {
    let at = target.locate(dest, style, base.as_bytes(), false)?;
    let kind = EntryKind::File { size };
    dest.put_file(&at, kind.clone(), style.apply(meta, &kind), body)
}

/// Unpacks one archive that no tree holds: the content of a URL with `--unpack`. `false` if it is no archive.
///
/// # Errors
/// When it cannot be unpacked.
pub fn archive(
    dest: &mut Dest<'_>,
    target: &Target<'_>,
    style: &Style,
    shown: &str,
    body: &Body,
    to: &Unpack<'_>,
) -> Result<bool, CopyError> {
    if !unpack::is_archive(body, shown)? {
        return Ok(false);
    }
    let at = target.unpacked(dest, style)?;
    unpack::unpack(dest, &at, style, body, shown, to.store)?;
    Ok(true)
}

/// Makes a working directory and what is missing above it, all owned by `style`'s owner.
///
/// # Errors
/// When something else is in the way.
pub fn directory(dest: &mut Dest<'_>, path: &str, style: &Style) -> Result<(), CopyError> {
    let at = dest.resolve(path.as_bytes())?;
    dest.make_dirs(&at, style)
}
