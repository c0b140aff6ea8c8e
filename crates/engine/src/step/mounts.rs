//! What a `RUN` sees besides its root: `--mount`s as the sandbox understands them, with everything that must live
//! while the command runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::tree::Follow;
use kiln_oci::{Digest, Entry, EntryKind, Meta, name};
use kiln_plan::facts::Select;
use kiln_plan::step::{Origin, RunMount, RunOp, Sharing};
use kiln_sandbox::{Mount, OsBytes};
use kiln_store::mount::MountRequest;
use kiln_store::unpack::{self, Links, Options};
use kiln_store::{CacheMount, SnapshotDraft};

use super::Work;
use crate::context::{self, Kind, Source};
use crate::error::{EngineError, Result};
use crate::rootfs::Root;

/// Mounts, and what keeps them alive.
#[derive(Default)]
pub struct Prepared {
    /// For the sandbox, in order.
    pub mounts: Vec<Mount>,
    /// Variables that hold secrets.
    pub env: Vec<(String, OsBytes)>,
    drafts: Vec<SnapshotDraft>,
    caches: BTreeMap<String, CacheMount>,
}

/// Prepares all mounts of a command.
pub fn prepare(work: &Work<'_>, op: &RunOp, root: &Root) -> Result<Prepared> {
    let mut prepared = Prepared { caches: caches(work, op)?, ..Prepared::default() };
    for mount in &op.mounts {
        one(work, mount, root, &mut prepared)?;
    }
    if let Some((name, body)) = &op.script {
        prepared.mounts.push(Mount::File {
            target: Path::new("/dev/pipes").join(name),
            content: OsBytes::from(body.clone()),
            mode: 0o755,
            uid: 0,
            gid: 0,
        });
    }
    Ok(prepared)
}

/// Locks the caches a command mounts, in the order of their ids whatever order they are mounted in: two commands that
/// lock the same two never wait for each other. A cache that is mounted twice is locked once.
fn caches(work: &Work<'_>, op: &RunOp) -> Result<BTreeMap<String, CacheMount>> {
    let mut wanted: BTreeMap<String, (u8, &RunMount)> = BTreeMap::new();
    for mount in &op.mounts {
        let RunMount::Cache { id, sharing, origin, .. } = mount else { continue };
        let strength = match sharing {
            Sharing::Shared => 0,
            Sharing::Private => 1,
            Sharing::Locked => 2,
        };
        let name = name_of_cache(work, id, origin.as_ref());
        match wanted.get(&name) {
            Some((known, _)) if *known >= strength => {}
            _ => drop(wanted.insert(name, (strength, mount))),
        }
    }
    let mut caches = BTreeMap::new();
    for (name, (_, mount)) in wanted {
        let RunMount::Cache { origin, source, sharing, mode, uid, gid, .. } = mount else { continue };
        let fill = |dir: &Path| fill_cache(work, dir, origin.as_ref(), source, (*mode, *uid, *gid));
        let sharing = match sharing {
            Sharing::Shared => kiln_store::Sharing::Shared,
            Sharing::Private => kiln_store::Sharing::Private,
            Sharing::Locked => kiln_store::Sharing::Locked,
        };
        let cancelled = || work.session.cancel.is_cancelled();
        let request = MountRequest { id: &name, sharing, init: &fill, cancelled: &cancelled };
        let cache = work.session.store.cache_mount(&request)?;
        caches.insert(name, cache);
    }
    Ok(caches)
}

/// What the store knows a cache by. One that starts with what a stage or an image has is another when that changes.
fn name_of_cache(work: &Work<'_>, id: &str, origin: Option<&Origin>) -> String {
    let Some(Origin::Step(step)) = origin else { return id.to_owned() };
    let layers: Vec<String> = (work.layers)(*step).iter().map(|layer| layer.diff_id.to_string()).collect();
    let digest = Digest::of(layers.join("\n").as_bytes());
    format!("{id} from {}", &digest.hex()[..12])
}

fn one(work: &Work<'_>, mount: &RunMount, root: &Root, prepared: &mut Prepared) -> Result<()> {
    match mount {
        RunMount::Bind { origin, source, target, readonly } => {
            let mount = match origin {
                Some(Origin::Step(id)) if work.session.rung()?.has_overlay() => {
                    layers(work, *id, source, target, *readonly, prepared)?
                }
                _ => files(work, origin.as_ref(), source, target, *readonly, prepared)?,
            };
            prepared.mounts.push(mount);
        }
        RunMount::Cache { id, target, readonly, origin, .. } => {
            let name = name_of_cache(work, id, origin.as_ref());
            let Some(cache) = prepared.caches.get(&name) else { return Ok(()) };
            let source = cache.path().to_path_buf();
            let (subpath, target) = (PathBuf::new(), PathBuf::from(target));
            prepared.mounts.push(Mount::Bind { source, subpath, target, readonly: *readonly });
        }
        RunMount::Tmpfs { target, size } => {
            let mode = memory_mode(root, target);
            prepared.mounts.push(Mount::Tmpfs { target: PathBuf::from(target), size: *size, mode });
        }
        RunMount::Secret { id, target, env, mode, uid, gid, required: _ } => {
            // A required secret that is not there was an error of planning.
            let Some(secret) = work.session.settings.secrets.get(id) else { return Ok(()) };
            let content = OsBytes::from(secret.read()?);
            if let Some(variable) = env {
                prepared.env.push((variable.clone(), content.clone()));
            }
            if let Some(target) = target {
                let target = PathBuf::from(target);
                prepared.mounts.push(Mount::File { target, content, mode: *mode, uid: *uid, gid: *gid });
            }
        }
        RunMount::Ssh { id, target, mode, uid, gid, required: _ } => {
            let Some(agent) = work.session.settings.ssh.get(id) else { return Ok(()) };
            let (source, target) = (agent.clone(), PathBuf::from(target));
            prepared.mounts.push(Mount::Socket { source, target, mode: *mode, uid: *uid, gid: *gid });
        }
    }
    Ok(())
}

/// The mode of memory at `target`: that of the directory it lies on, or what a temporary directory has.
fn memory_mode(root: &Root, target: &str) -> u32 {
    let below = root.tree.lookup(target.as_bytes(), Follow::All).ok().flatten();
    below.filter(|found| found.node.is_dir()).map_or(0o1777, |found| found.node.meta.mode)
}

/// Another stage's file system, joined by overlayfs; what is written to it is thrown away.
fn layers(
    work: &Work<'_>,
    id: kiln_plan::StepId,
    source: &str,
    target: &str,
    readonly: bool,
    prepared: &mut Prepared,
) -> Result<Mount> {
    let root = work.root(id)?;
    let found = root.tree.lookup(source.as_bytes(), Follow::All).map_err(|e| work.failed(e.to_string()))?;
    if found.is_none() {
        return Err(work.failed(format!("the mount's source `{source}` is not there")));
    }
    let mut lowers = work.session.roots.lowers(&(work.layers)(id))?;
    let draft = work.session.store.begin_snapshot()?;
    if lowers.is_empty() {
        lowers.push(empty_dir(&draft)?);
    }
    let mount = Mount::Overlay {
        lowers,
        subpath: PathBuf::from(source.trim_start_matches('/')),
        upper: draft.fs().to_path_buf(),
        work: draft.work().to_path_buf(),
        target: PathBuf::from(target),
        readonly,
    };
    prepared.drafts.push(draft);
    Ok(mount)
}

/// An empty directory beside a draft's own: a lower layer for a root that has none.
pub fn empty_dir(draft: &SnapshotDraft) -> Result<PathBuf> {
    let empty = draft.path().join("empty");
    std::fs::create_dir(&empty).map_err(EngineError::file("make", &empty))?;
    Ok(empty)
}

/// Files of a context, copied so that ignored ones are not seen and writes go nowhere.
fn files(
    work: &Work<'_>,
    origin: Option<&Origin>,
    source: &str,
    target: &str,
    readonly: bool,
    prepared: &mut Prepared,
) -> Result<Mount> {
    let draft = work.session.store.begin_snapshot()?;
    dress(work, draft.fs(), Meta::mode(0o755))?;
    let mut subpath = PathBuf::new();
    if let Some(origin) = origin {
        let tree = work.source(origin)?;
        if !copy_tree(work, &*tree, source, draft.fs())? {
            subpath = PathBuf::from(FILE);
        }
    }
    let mount = Mount::Bind { source: draft.fs().to_path_buf(), subpath, target: PathBuf::from(target), readonly };
    prepared.drafts.push(draft);
    Ok(mount)
}

/// What a single file is called in its directory.
const FILE: &str = "file";

/// Copies what is at `source` into `dir`; `false` if it is one file, which is then called [`FILE`].
fn copy_tree(work: &Work<'_>, tree: &dyn Source, source: &str, dir: &Path) -> Result<bool> {
    let select = Select { sources: vec![source.to_owned()], exclude: Vec::new(), parents: false };
    let selection = context::select(tree, &select).map_err(|e| work.failed_by(&e))?;
    let Some(pick) = selection.picks.first().filter(|_| selection.missing.is_empty()) else {
        return Err(work.failed(format!("the mount's source `{source}` is not there")));
    };
    let is_dir = pick.stat.kind == Kind::Dir;
    let mut entries = Vec::new();
    let mut add = |path: &[u8], from: Vec<u8>, stat: &context::Stat| {
        if let Some(kind) = kind_of(&stat.kind) {
            entries.push((Entry { path: path.to_vec(), kind, meta: stat.meta.clone() }, from, stat.clone()));
        }
    };
    if is_dir {
        for picked in &pick.entries {
            add(&picked.rel, name::join(&pick.root, &picked.rel), &picked.stat);
        }
    } else {
        add(FILE.as_bytes(), pick.root.clone(), &pick.stat);
    }
    let bodies: std::collections::HashMap<Vec<u8>, (Vec<u8>, context::Stat)> =
        entries.iter().map(|(e, from, stat)| (e.path.clone(), (from.clone(), stat.clone()))).collect();
    let open = |entry: &Entry| -> io::Result<Box<dyn io::Read>> {
        let (from, stat) = bodies.get(&entry.path).ok_or(io::ErrorKind::NotFound)?;
        Ok(tree.open(from, stat).map_err(io::Error::other)?)
    };
    let handle = File::open(dir).map_err(EngineError::file("open", dir))?;
    let options = Options { links: Links::Keep, ..Options::merged().kept_as(work.session.store.form()) };
    let list: Vec<Entry> = entries.iter().map(|(e, _, _)| e.clone()).collect();
    unpack::unpack_entries(list, open, &handle, &options).map_err(|e| work.failed_by(&e))?;
    if is_dir {
        let meta = &pick.stat.meta;
        dress(work, dir, Meta { uid: meta.uid, gid: meta.gid, ..Meta::mode(meta.mode) })?;
    }
    Ok(is_dir)
}

/// Owner and mode of a directory that commands see.
fn dress(work: &Work<'_>, dir: &Path, meta: Meta) -> Result<()> {
    let handle = File::open(dir).map_err(EngineError::file("open", dir))?;
    unpack::dress(handle, &meta, work.session.store.form()).map_err(|e| work.failed_by(&e))
}

fn kind_of(kind: &Kind) -> Option<EntryKind> {
    Some(match kind {
        Kind::File { size } => EntryKind::File { size: *size },
        Kind::Dir => EntryKind::Dir,
        Kind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        Kind::Char { major, minor } => EntryKind::Char { major: *major, minor: *minor },
        Kind::Block { major, minor } => EntryKind::Block { major: *major, minor: *minor },
        Kind::Fifo => EntryKind::Fifo,
        Kind::Socket => return None,
    })
}

fn fill_cache(
    work: &Work<'_>,
    dir: &Path,
    origin: Option<&Origin>,
    source: &str,
    owner: (u32, u32, u32),
) -> io::Result<()> {
    if let Some(origin) = origin {
        let tree: Arc<dyn Source> = work.source(origin).map_err(io::Error::other)?;
        // The directory is that of the source, whatever the mount says of modes and owners.
        return copy_tree(work, &*tree, source, dir).map(drop).map_err(io::Error::other);
    }
    let (mode, uid, gid) = owner;
    let meta = Meta { uid, gid, ..Meta::mode(mode) };
    dress(work, dir, meta).map_err(io::Error::other)
}
