//! `RUN`: a command on the file system below, and what it changed as a layer.
//!
//! On the rung `root` the layers below are lower directories of an overlay and the changes are its upper directory;
//! on the rungs `chroot` and `emulated` they are unpacked into a private directory, and the changes are found by comparing a scan
//! from before with one from after. Both give the same layer.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_oci::{Entry, EntryKind};
use kiln_plan::step::{Network, RunOp};
use kiln_sandbox::{
    self as sandbox, Exit, ExtraHost, Injection, Job, KnownOwner, OsBytes, Resource, Root, Rung, Security, Ulimit,
    User, VirtualOwners,
};
use kiln_store::SnapshotDraft;
use kiln_store::changes::{self, ChangeOptions, Changes, Ignore};
use kiln_store::reader::entry_kind;
use kiln_store::scan::{self, Snapshot};
use kiln_store::unpack::{self, Links, Options};

use super::{Work, mounts};
use crate::copy::dest::{Dest, Style};
use crate::copy::{Owner, emit, place};
use crate::error::{EngineError, Result};
use crate::event::{Event, Phase, Spending, Stream};
use crate::rootfs::{self, Layer, diff_ids};
use crate::session::NetworkFiles;
use crate::users;

/// How many of a failing command's last lines are shown with the error.
const TAIL_LINES: usize = 20;
/// The host name a command sees.
const HOSTNAME: &str = "buildkitsandbox";

/// A root directory of the rungs without overlays, with its state when it was last looked at.
pub struct PrivateRoot {
    draft: SnapshotDraft,
    scanned: Option<Snapshot>,
}

/// Runs the command.
pub fn execute(work: &Work<'_>, op: &RunOp) -> Result<Layer> {
    match work.session.rung()? {
        rung if rung.has_overlay() => on_overlay(work, op),
        Rung::Chroot | Rung::Emulated => in_private_root(work, op),
        _ => Err(EngineError::Step {
            title: work.step().title.clone(),
            span: work.step().span,
            message: "RUN cannot be isolated here: no rung that runs commands works, or `none` was asked for"
                .to_owned(),
            hint: Some("see what is missing: kiln doctor build".to_owned()),
        }),
    }
}

fn on_overlay(work: &Work<'_>, op: &RunOp) -> Result<Layer> {
    let below = work.below();
    let root = work.session.roots.tree(&below)?;
    let mut lowers = work.session.roots.lowers(&below)?;
    let draft = work.session.store.begin_snapshot()?;
    if lowers.is_empty() {
        lowers.push(mounts::empty_dir(&draft)?);
    }
    let form = work.session.store.form();
    like_root(work, &root, draft.fs())?;
    let passing = make_cwd(work, op, &root, draft.fs(), &Options::overlay(Some(&root)).kept_as(form))?;
    let (upper, work_dir) = (draft.fs().to_path_buf(), draft.work().to_path_buf());
    let told = draft.path().join("owners");
    let virtually = form.has_virtual_owners().then(|| VirtualOwners { known: known_owners(&root), told: told.clone() });
    let keeps = virtually.is_some();
    run(work, op, &root, Root::Overlay { lowers, upper, work: work_dir }, virtually)?;
    let upper = File::open(draft.fs()).map_err(EngineError::file("open", draft.fs()))?;
    unpack::remove_empty(&upper, &passing).map_err(|e| work.failed_by(&e))?;
    let owners = if keeps { told_owners(&told)? } else { changes::Owners::new() };
    let options = ChangeOptions { ignore: &Ignore::none(), clamp_mtime: op.clamp_mtime, form, owners: &owners };
    let looking = Spending::on(Phase::Diff, &*work.session.events);
    let mut changes = changes::overlay_changes(&upper, &root, &options).map_err(|e| work.failed_by(&e))?;
    drop(looking);
    let layer = write(work, &mut changes)?;
    drop(changes);
    draft.commit(&rootfs::chain_of(below.iter().chain([&layer])))?;
    Ok(layer)
}

/// Who owns what no attribute of a file can say: links and pipes that are not root's.
fn known_owners(root: &crate::rootfs::Root) -> Vec<KnownOwner> {
    let kept_elsewhere = |kind: &EntryKind| matches!(kind, EntryKind::File { .. } | EntryKind::Dir);
    let nodes = root.tree.walk(b"").filter(|(_, node)| (node.meta.uid, node.meta.gid) != (0, 0));
    nodes
        .filter(|(_, node)| !kept_elsewhere(&entry_kind(node)))
        .map(|(path, node)| KnownOwner { path: OsBytes(path), uid: node.meta.uid, gid: node.meta.gid })
        .collect()
}

/// The same after the command, as the sandbox tells it.
fn told_owners(path: &Path) -> Result<changes::Owners> {
    let failed = |e| EngineError::file("read", path)(e);
    let bytes = std::fs::read(path).map_err(failed)?;
    let told: Vec<KnownOwner> = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
    std::fs::remove_file(path).map_err(failed)?;
    Ok(told.into_iter().map(|known| (known.path.0, (known.uid, known.gid))).collect())
}

/// The mode, owner and time of the image's root for the directory that stands for it.
fn like_root(work: &Work<'_>, root: &crate::rootfs::Root, dir: &Path) -> Result<()> {
    let handle = File::open(dir).map_err(EngineError::file("open", dir))?;
    unpack::dress(&handle, &root.tree.root().meta, work.session.store.form()).map_err(|e| work.failed_by(&e))
}

/// A working directory that is not there is made, and is the user's. Returned is what of it lies above a mount, deepest
/// first: like every mountpoint it goes again if the command leaves nothing in it.
fn make_cwd(
    work: &Work<'_>,
    op: &RunOp,
    root: &crate::rootfs::Root,
    dir: &Path,
    options: &Options<'_>,
) -> Result<Vec<Vec<u8>>> {
    let now = kiln_oci::Mtime::secs(work.session.settings.now);
    let account = users::account(root, user_of(op)).map_err(|e| work.failed(e))?;
    let owner = Some(Owner { uid: account.uid, gid: account.gid });
    let style = Style { owner, chmod: None, mtime: op.clamp_mtime.map(kiln_oci::Mtime::secs), now };
    let mut dest = Dest::new(root);
    place::directory(&mut dest, &op.cwd, &style).map_err(|e| work.copy_failed(&e))?;
    let entries = emit::entries(dest).map_err(|e| work.failed_by(&e))?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let made = entries.iter().map(|e| &e.entry.path).filter(|path| root.tree.at(path).is_none());
    let targets: Vec<&Path> = op.mounts.iter().filter_map(|m| m.target()).map(below_root).collect();
    let passing = made.filter(|path| targets.iter().any(|target| target.starts_with(OsStr::from_bytes(path))));
    let mut passing: Vec<Vec<u8>> = passing.cloned().collect();
    passing.reverse();
    let handle = File::open(dir).map_err(EngineError::file("open", dir))?;
    let entries = entries.into_iter().map(|e| e.entry);
    let nothing = |_: &Entry| -> std::io::Result<Box<dyn std::io::Read>> { Ok(Box::new(std::io::empty())) };
    unpack::unpack_entries(entries, nothing, &handle, options).map_err(|e| work.failed_by(&e))?;
    Ok(passing)
}

/// An absolute path as the store has it.
fn below_root(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

fn in_private_root(work: &Work<'_>, op: &RunOp) -> Result<Layer> {
    let below = work.below();
    let root = work.session.roots.tree(&below)?;
    let mut private = private_root(work, &below, &root)?;
    let dir = private.draft.fs().to_path_buf();
    let handle = File::open(&dir).map_err(EngineError::file("open", &dir))?;
    let before = match private.scanned.take() {
        Some(before) => before,
        None => scan::scan(&handle).map_err(|e| work.failed_by(&e))?,
    };
    let form = work.session.store.form();
    let passing = make_cwd(work, op, &root, &dir, &Options::merged().kept_as(form))?;
    let told = private.draft.path().join("owners");
    let virtually = form.has_virtual_owners().then(|| VirtualOwners { known: known_owners(&root), told: told.clone() });
    let keeps = virtually.is_some();
    run(work, op, &root, Root::Dir(dir), virtually)?;
    unpack::remove_empty(&handle, &passing).map_err(|e| work.failed_by(&e))?;
    let owners = if keeps { told_owners(&told)? } else { changes::Owners::new() };
    let options = ChangeOptions { ignore: &Ignore::none(), clamp_mtime: op.clamp_mtime, form, owners: &owners };
    let looking = Spending::on(Phase::Diff, &*work.session.events);
    let found = changes::scan_changes(&handle, &before, &root, &options);
    drop(looking);
    let (mut changes, after) = found.map_err(|e| work.failed_by(&e))?;
    let layer = write(work, &mut changes)?;
    drop(changes);
    // On an overlay the next command that writes one name of a file would not write the others.
    let parted = unpack::break_links(&handle, &after).map_err(|e| work.failed_by(&e))?;
    private.scanned = Some(after).filter(|_| parted == 0);
    let mut ids = diff_ids(&below);
    ids.push(layer.diff_id.clone());
    work.session.keep_private_root(ids, private);
    Ok(layer)
}

/// A directory with exactly these layers: the one the step before left, with what came since, or a new one.
fn private_root(work: &Work<'_>, below: &[Layer], root: &crate::rootfs::Root) -> Result<PrivateRoot> {
    let options = Options { links: Links::Break, ..Options::merged().kept_as(work.session.store.form()) };
    let ids = diff_ids(below);
    for have in (1..=ids.len()).rev() {
        if let Some(mut private) = work.session.take_private_root(&ids[..have]) {
            if have < ids.len() {
                private.scanned = None;
                work.session.roots.unpack_into(&below[have..], private.draft.fs(), &options)?;
            }
            return Ok(private);
        }
    }
    let draft = work.session.store.begin_snapshot()?;
    like_root(work, root, draft.fs())?;
    work.session.roots.unpack_into(below, draft.fs(), &options)?;
    Ok(PrivateRoot { draft, scanned: None })
}

fn write(work: &Work<'_>, changes: &mut Changes) -> Result<Layer> {
    let _spending = Spending::on(Phase::Layer, &*work.session.events);
    let written = changes::write_layer(changes, work.sink()?);
    let (sink, index) = written.map_err(|e| work.failed_by(&e))?;
    work.commit(sink, index)
}

/// Runs the command to its end; anything but success is an error.
fn run(
    work: &Work<'_>,
    op: &RunOp,
    root: &crate::rootfs::Root,
    place: Root,
    owners: Option<VirtualOwners>,
) -> Result<()> {
    let session = work.session;
    let prepared = mounts::prepare(work, op, root)?;
    let job = Job { owners, ..job(work, op, root, place, &prepared)? };
    let mut tail = Tail::default();
    let mut out = |stream: sandbox::Stream, bytes: &[u8]| {
        let stream = match stream {
            sandbox::Stream::Stdout => Stream::Stdout,
            sandbox::Stream::Stderr => Stream::Stderr,
        };
        tail.add(bytes);
        session.events.event(&Event::StepOutput { step: work.id, stream, bytes });
    };
    let rung = session.rung()?;
    let running = Spending::on(Phase::Run, &*session.events);
    let exit = sandbox::run(&job, rung, session.settings.isolation.init(), &mut out, &session.cancel);
    drop(running);
    let (code, why) = match exit {
        Ok(Exit::Code(0)) => return Ok(()),
        Ok(Exit::Code(code)) => (code, None),
        Ok(Exit::Signal(signal)) => (128 + signal, Some(format!("killed by signal {signal}"))),
        Ok(Exit::OomKilled) => (137, Some("killed because it reached its memory limit".to_owned())),
        Err(sandbox::SandboxError::Cancelled) => return Err(EngineError::Cancelled),
        Err(source) => {
            return Err(EngineError::Sandbox { title: work.step().title.clone(), source: Box::new(source) });
        }
    };
    session.check_cancelled()?;
    let step = work.step();
    Err(EngineError::RunFailed {
        step: work.id,
        title: step.title.clone(),
        span: step.span,
        code,
        why,
        tail: tail.lines(),
    })
}

fn job(
    work: &Work<'_>,
    op: &RunOp,
    root: &crate::rootfs::Root,
    place: Root,
    prepared: &mounts::Prepared,
) -> Result<Job> {
    let account = users::account(root, user_of(op)).map_err(|e| work.failed(e))?;
    let mut job = Job::new(place, op.argv.iter().map(|a| OsBytes::from(a.clone())).collect());
    job.mounts.clone_from(&prepared.mounts);
    job.env = environment(op, &account.home);
    for (name, value) in &prepared.env {
        let name = OsBytes::from(name.clone());
        // Of two values most programs see the first, which would be the one that was there before.
        job.env.retain(|(n, _)| *n != name);
        job.env.push((name, value.clone()));
    }
    job.cwd = PathBuf::from(&op.cwd);
    // Without its own group among the supplementary ones a process could leave it, and with it what is denied to it.
    let others = account.groups.into_iter().filter(|gid| *gid != account.gid);
    job.user = User { uid: account.uid, gid: account.gid, groups: iter::once(account.gid).chain(others).collect() };
    has_ids(work, &job.user)?;
    job.network = match op.network {
        Network::None => sandbox::Network::None,
        Network::Default | Network::Host => sandbox::Network::Host,
    };
    job.security = if op.insecure { Security::Insecure } else { Security::Sandbox };
    job.hostname = HOSTNAME.to_owned();
    job.injection = match work.session.settings.network_files {
        NetworkFiles::Host => Some(injection(work, op)?),
        NetworkFiles::Image => None,
    };
    job.limits = work.session.settings.limits;
    job.shm_size = op.shm_size;
    for limit in &op.ulimits {
        let resource = Resource::by_name(&limit.name);
        let resource = resource.ok_or_else(|| work.failed(format!("`{}` is not a resource limit", limit.name)))?;
        let bound = |n: i64| u64::try_from(n).ok();
        job.ulimits.push(Ulimit { resource, soft: bound(limit.soft), hard: bound(limit.hard) });
    }
    Ok(job)
}

/// A user that does not exist where commands run is a mistake with a remedy.
fn has_ids(work: &Work<'_>, user: &User) -> Result<()> {
    let standing = work.session.settings.isolation.standing();
    let groups = user.groups.iter().chain([&user.gid]);
    let missing = groups.copied().find(|gid| !standing.has_gid(*gid)).map(|gid| ("group", gid));
    let missing = (!standing.has_uid(user.uid)).then_some(("user", user.uid)).or(missing);
    let Some((kind, id)) = missing else { return Ok(()) };
    let hint = "give the user who runs kiln such ids, as root: usermod --add-subuids 100000-165535 --add-subgids \
                100000-165535 USER (more of them for higher ids); a pod has as many as its kubelet's idsPerPod";
    Err(EngineError::Step {
        title: work.step().title.clone(),
        span: work.step().span,
        message: format!("the {kind} id {id} does not exist on the rung `{}`", standing.rung()),
        hint: Some(hint.to_owned()),
    })
}

fn environment(op: &RunOp, home: &str) -> Vec<(OsBytes, OsBytes)> {
    let mut env: Vec<(String, String)> = op.env.clone();
    for (name, value) in &op.proxy_env {
        env.push((name.clone(), value.clone()));
    }
    if !env.iter().any(|(n, _)| n == "HOME") {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env.into_iter().map(|(n, v)| (OsBytes::from(n), OsBytes::from(v))).collect()
}

/// Who runs it; root where nobody is named.
fn user_of(op: &RunOp) -> &str {
    if op.user.is_empty() { "0" } else { &op.user }
}

fn injection(work: &Work<'_>, op: &RunOp) -> Result<Injection> {
    let mut hosts = Vec::new();
    for (name, address) in &op.hosts {
        let address =
            address.parse().map_err(|_| work.failed(format!("--add-host {name}: `{address}` is not an address")))?;
        hosts.push(ExtraHost { name: name.clone(), address });
    }
    Ok(Injection {
        resolv_conf: Some(sandbox::host_resolv_conf()),
        hosts: Some(sandbox::hosts_file(HOSTNAME, &hosts)),
        // BuildKit leaves it to the image.
        hostname: None,
    })
}

/// The last lines a command wrote.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            // One endless line is cut, not collected.
            if self.open.len() < 4096 {
                self.open.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.open).trim_end().to_owned();
        self.open.clear();
        self.lines.push_back(line);
        if self.lines.len() > TAIL_LINES {
            self.lines.pop_front();
        }
    }

    fn lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }
}
