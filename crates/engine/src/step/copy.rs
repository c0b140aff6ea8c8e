//! `COPY` and `ADD`.

use std::sync::Arc;

use kiln_oci::{Meta, Mtime};
use kiln_plan::step::{CopyOp, CopyPart};
use kiln_spec::chmod::Chmod;
use kiln_store::lower::{Lower, Scratch};

use super::Work;
use crate::context::{self, DirSource, Source};
use crate::copy::dest::{Dest, Style};
use crate::copy::place::{self, Target, Unpack};
use crate::copy::{Body, emit};
use crate::error::Result;
use crate::event::{Phase, Spending};
use crate::fetch::{git, http};
use crate::rootfs::Layer;
use crate::users;

/// Writes the files.
pub fn execute(work: &Work<'_>, op: &CopyOp) -> Result<Layer> {
    let session = work.session;
    let root;
    // A linked layer is made as if there were nothing below.
    let lower: &dyn Lower = match op.link {
        true => &Scratch,
        false => {
            root = session.roots.tree(&work.below())?;
            &root
        }
    };
    let style = style(work, op)?;
    let mut dest = Dest::new(lower);
    let target = Target::new(&op.dest);
    // Checkouts live until their files are read into the layer.
    let mut checkouts = Vec::new();
    for part in &op.parts {
        session.check_cancelled()?;
        match part {
            CopyPart::Paths { origin, pattern, unpack } => {
                let source = work.source(origin)?;
                let unpack = unpack.then_some(Unpack { store: &session.store });
                paths(work, &mut dest, &target, &style, &source, op, pattern, unpack.as_ref())?;
            }
            CopyPart::Inline { name, body } => {
                let meta = Meta { mtime: style.now, ..Meta::mode(0o644) };
                let bytes: Arc<[u8]> = body.as_bytes().into();
                let size = bytes.len() as u64;
                let placed = place::file(&mut dest, &target, &style, name, &meta, size, Body::Memory(bytes));
                placed.map_err(|e| work.copy_failed(&e))?;
            }
            CopyPart::Http { url, name, digest, size, last_modified, unpack } => {
                let file = Arc::new(session.store.open_blob(digest)?);
                let body = Body::Slice { file, offset: 0, len: *size };
                let to = Unpack { store: &session.store };
                let unpacked = *unpack
                    && place::archive(&mut dest, &target, &style, &http::shown(url), &body, &to)
                        .map_err(|e| work.copy_failed(&e))?;
                if !unpacked {
                    let meta = Meta { mtime: Mtime::secs(last_modified.unwrap_or(0)), ..Meta::mode(0o600) };
                    let placed = place::file(&mut dest, &target, &style, name, &meta, *size, body);
                    placed.map_err(|e| work.copy_failed(&e))?;
                }
            }
            CopyPart::Git { remote, reference, commit, subdir, keep_git_dir, submodules } => {
                let wanted = git::Checkout {
                    remote,
                    reference: reference.as_deref(),
                    commit,
                    subdir,
                    keep_git_dir: *keep_git_dir,
                    submodules: *submodules,
                };
                let (draft, dir, time) = git::checkout(session, &wanted)?;
                let source = DirSource::open(&dir, None).map_err(|e| work.failed_by(&e))?;
                let source: Arc<dyn Source> = Arc::new(source);
                let style = Style { mtime: style.mtime.or(Some(Mtime::secs(time))), ..style.clone() };
                paths(work, &mut dest, &target, &style, &source, op, "/", None)?;
                checkouts.push(draft);
            }
        }
    }
    let entries = emit::entries(dest).map_err(|e| work.failed_by(&e))?;
    work.write(entries)
}

#[expect(clippy::too_many_arguments, reason = "one source, and all that says how it is placed")]
fn paths(
    work: &Work<'_>,
    dest: &mut Dest<'_>,
    target: &Target<'_>,
    style: &Style,
    source: &Arc<dyn Source>,
    op: &CopyOp,
    pattern: &str,
    unpack: Option<&Unpack<'_>>,
) -> Result<()> {
    let _spending = Spending::on(Phase::Context, &*work.session.events);
    let selection = context::select(&**source, &op.select(pattern)).map_err(|e| work.failed_by(&e))?;
    if !selection.missing.is_empty() {
        return Err(work.failed(format!("`{pattern}` not found")));
    }
    place::picks(dest, target, style, source, &selection.picks, unpack).map_err(|e| work.copy_failed(&e))
}

fn style(work: &Work<'_>, op: &CopyOp) -> Result<Style> {
    let owner = match &op.chown {
        None => None,
        Some(text) => Some(match op.link {
            // Nothing is below a linked layer, so no passwd file either.
            true => users::numeric(text).ok_or_else(|| {
                work.failed(format!("invalid user index: with --link, --chown needs numbers, but it is `{text}`"))
            })?,
            false => {
                let root = work.session.roots.tree(&work.below())?;
                users::owner(&root, text).map_err(|e| work.failed(e))?
            }
        }),
    };
    let chmod = match &op.chmod {
        None => None,
        Some(text) => Some(Chmod::parse(text).map_err(|e| work.failed(e.to_string()))?),
    };
    Ok(Style { owner, chmod, mtime: op.mtime.map(Mtime::secs), now: Mtime::secs(work.session.settings.now) })
}
