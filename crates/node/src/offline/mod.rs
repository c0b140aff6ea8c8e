//! Node images without a machine: provisioners change the files of a root, each as a cached step of a build.
//!
//! What Packer does over SSH on a machine that runs is a Dockerfile here: `FROM` the base, one `RUN` for each script, one
//! `COPY` for each upload. After each provisioner the file is built as far as it goes; what was built before is found in
//! the cache, so that a change of the last script runs that script only.
//!
//! [`base`] what it starts from     [`step`] a provisioner's work as an instruction, and what is in its key
//! [`shims`] programs that stand in for those which need a running system     [`report`] what became of their wishes
//! [`output`] what comes out        [`rootfs`] a directory as a tar     [`disk`] a disk, opened and put together again
//! [`marks`] what `chattr` was asked for
//!
//! Adding a kind of output: a variant in [`output`].

pub mod base;
pub mod disk;
pub mod marks;
pub mod output;
pub mod report;
pub mod rootfs;
pub mod shims;
pub mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_checks::guard::Breach;
use kiln_checks::system::ImageTree;
use kiln_engine::build::{self, Built};
use kiln_engine::event::{Done, Events};
use kiln_engine::rootfs::{Layer, Root};
use kiln_engine::schedule::{self, Reports};
use kiln_engine::session::{NetworkFiles, Secret};
use kiln_engine::{EngineError, Session, world};
use kiln_oci::Platform;
use kiln_oci::tree::{Follow, Node, NodeKind};
use kiln_plan::facts::ContextId;
use kiln_plan::options::NamedContext;
use kiln_plan::{Options, Plan};
use kiln_sandbox::Cancel;
use kiln_spec::dockerfile;
use kiln_spec::source::Source as Text;
use kiln_vm::source::Kind;

use crate::error::{NodeError, Result};
use crate::guard::{self, Guard};
use crate::target::{Looking, MAX_READ, Script, Target, Upload, download_path, no_name};
use crate::ui::BuildUi;
use report::{Note, Reader};
use step::{Around, Step};

/// The kind of the record that keeps what a step's script asked for.
const NOTES: &str = "node-notes";
/// How often the user's wish to stop is looked at.
const GLANCE: Duration = Duration::from_millis(25);
/// A build of more steps than this is taken for a mistake.
const MAX_STEPS: usize = 10_000;

/// Where sessions of the engine come from: one for each build.
pub type Sessions = dyn Fn(Arc<dyn Events>) -> Session + Send + Sync;

/// What an offline build is made with.
#[derive(Clone)]
pub struct Workshop {
    /// Makes sessions.
    pub sessions: Arc<Sessions>,
    /// What the image is for.
    pub platform: Platform,
    /// This machine's name servers, for scripts that use the network.
    pub resolv_conf: Vec<u8>,
    /// A text that is in the key of every script: one that nobody else has finds nothing in the cache.
    pub salt: Option<String>,
}

/// What a build begins with.
#[derive(Debug, Clone)]
pub struct Given {
    /// The base.
    pub base: base::Base,
    /// The sum that its file must have, if that is still to be checked.
    pub sum: Option<(Kind, String)>,
}

/// A root that provisioners change.
pub struct Offline {
    session: Session,
    /// Set when the user stops it. The session has a token of its own for each step, which the engine sets when it fails.
    cancel: Cancel,
    options: Options,
    ui: BuildUi,
    reader: Arc<Reader>,
    steps: Vec<Step>,
    guard: Guard,
    /// What the base sets of that which the guard protects.
    inherited: Vec<Breach>,
    notes: Vec<Note>,
    /// The base, when it is a disk.
    disk: Option<disk::BaseDisk>,
    layers: Vec<Layer>,
    /// In every script's key, when none is to be found in the cache.
    salt: Option<String>,
    ran: usize,
    cached: usize,
    /// What later plans look into again.
    kept: Vec<tempfile::TempDir>,
}

/// A finished root.
pub struct Finished {
    /// The image that it is in the store.
    pub built: Built,
    /// All that scripts asked of a running system.
    pub notes: Vec<Note>,
}

impl Offline {
    /// Begins with a base.
    ///
    /// # Errors
    /// When the base cannot be had.
    pub fn open(workshop: &Workshop, base: &Given, guard: Guard, ui: BuildUi, cancel: Cancel) -> Result<Offline> {
        let disk = base.base.disk()?;
        let reader = Reader::new(ui.clone());
        let mut session = (workshop.sessions)(reader.clone());
        session.settings.network_files = NetworkFiles::Image;
        let resolv_conf = Secret::Value(workshop.resolv_conf.clone().into());
        session.settings.secrets.insert(step::RESOLV_CONF.to_owned(), resolv_conf);
        let mut options = Options::new(workshop.platform.clone());
        options.platform_explicit = true;
        options.secrets.insert(step::RESOLV_CONF.to_owned());
        if let Some(disk) = &disk {
            ui.message(&disk.describe());
            disk.warnings().iter().for_each(|text| ui.message(&format!("warning: {text}")));
        }
        if let (Some(path), Some((kind, digits))) = (base.base.file(), &base.sum) {
            let checked = disk::check(path, *kind, digits, &session)?;
            if let Some(disk) = disk.as_ref().filter(|disk| disk.key() != checked) {
                return Err(disk.changed());
            }
        }
        let context = base.base.prepare(disk.as_ref(), &session, &workshop.platform)?;
        options.contexts.insert(base::NAME.to_owned(), context);
        let (steps, notes, layers, inherited) = Default::default();
        let salt = workshop.salt.clone();
        let mut offline = Offline {
            session,
            cancel,
            options,
            ui,
            reader,
            steps,
            guard,
            inherited,
            notes,
            disk,
            layers,
            salt,
            ran: 0,
            cached: 0,
            kept: Vec::new(),
        };
        // A base that cannot be had is found now, not by the first script.
        let (plan, reports) = offline.build()?;
        offline.layers = layers_of(&plan, &reports);
        offline.inherited = offline.breaches()?;
        Ok(offline)
    }

    /// The lines of files that set what the guard protects.
    fn breaches(&self) -> Result<Vec<Breach>> {
        if self.guard.is_empty() {
            return Ok(Vec::new());
        }
        let root = self.root()?;
        self.guard.breaches(&ImageTree::new("the root", &root.tree, |file| root.open_file(file)))
    }

    /// Refuses a step that left such a line, which then is no step. What the base has is not the step's.
    fn guarded(&mut self) -> Result<()> {
        guard::refuse(&self.inherited, &self.breaches()?).inspect_err(|_| self.forget())
    }

    /// The Dockerfile that all of it is so far.
    fn text(&self) -> String {
        let mut text = format!("FROM {}\n", base::NAME);
        text.extend(self.steps.iter().map(|step| &*step.instruction));
        text
    }

    fn plan(&self) -> Result<(Plan, kiln_plan::Facts)> {
        let source = Text { name: "provisioners".to_owned(), text: self.text() };
        let (file, found) = dockerfile::parse(&source);
        if found.iter().any(kiln_spec::diag::Diagnostic::is_error) {
            return Err(EngineError::Dockerfile(found).into());
        }
        Ok(world::plan(&file, &self.options, &self.session)?)
    }

    fn build(&mut self) -> Result<(Plan, Reports)> {
        if self.cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
        self.session.cancel = Cancel::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (done, stop, session) = (&done, &self.cancel, &self.session);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if stop.is_cancelled() {
                        return session.cancel.cancel();
                    }
                    std::thread::sleep(GLANCE);
                }
            });
            let built = self.plan().and_then(|(plan, facts)| {
                let reports = schedule::run(&plan, &facts, &self.session)?;
                Ok((plan, reports))
            });
            done.store(true, Ordering::Relaxed);
            // Whatever failed first: it was stopped.
            if self.cancel.is_cancelled() { built.map_err(|_| NodeError::Cancelled) } else { built }
        })
    }

    /// Does one more step; one that fails is forgotten, so that it can be tried again.
    fn apply(&mut self, step: Step, valid: &[i32]) -> Result<()> {
        if self.steps.len() >= MAX_STEPS {
            let what = format!("a build has {MAX_STEPS} steps at the most");
            return Err(NodeError::Unsupported { what, hint: None });
        }
        let (name, source) = &step.context;
        self.session.contexts.insert(ContextId::Named(name.clone()), source.clone());
        self.options.contexts.insert(name.clone(), NamedContext::Dir);
        self.options.secrets.extend(step.secrets.keys().cloned());
        self.session.settings.secrets.extend(step.secrets.clone());
        self.steps.push(step);
        match self.build() {
            Ok((plan, reports)) => {
                self.done(&plan, &reports);
                Ok(())
            }
            Err(error) => {
                let (notes, code) = self.reader.take();
                report::tell(&notes, &self.ui);
                self.forget();
                Err(match error {
                    NodeError::Engine(e) => match *e {
                        EngineError::RunFailed { code: ended, why: None, .. } => {
                            NodeError::Script { code: code.unwrap_or(ended), allowed: valid.to_vec() }
                        }
                        e => NodeError::Engine(Box::new(e)),
                    },
                    error => error,
                })
            }
        }
    }

    fn done(&mut self, plan: &Plan, reports: &Reports) {
        self.layers = layers_of(plan, reports);
        let (mut notes, _) = self.reader.take();
        let key = plan.step(plan.result).key.to_string();
        let cached = reports.get(&plan.result).is_some_and(|r| r.done == Done::Cached);
        if cached {
            self.cached += 1;
            self.ui.message("(cached)");
            notes = self.session.store.cache_get(NOTES, &key).map(|bytes| report::decode(&bytes)).unwrap_or_default();
        } else {
            self.ran += 1;
            if let Err(e) = self.session.store.cache_put(NOTES, &key, &report::encode(&notes)) {
                self.ui.message(&format!("warning: what was left out is not remembered: {e}"));
            }
        }
        report::tell(&notes, &self.ui);
        self.notes.extend(notes);
    }

    fn forget(&mut self) {
        let Some(step) = self.steps.pop() else { return };
        let name = step.context.0;
        self.session.contexts.remove(&ContextId::Named(name.clone()));
        self.options.contexts.remove(&name);
        for id in step.secrets.keys() {
            self.options.secrets.remove(id);
            self.session.settings.secrets.remove(id);
        }
    }

    /// The files as they are now.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn root(&self) -> Result<Root> {
        Ok(self.session.roots.tree(&self.layers)?)
    }

    /// The engine's session, for what is made of the root.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The disk that it began with.
    pub fn disk(&self) -> Option<&disk::BaseDisk> {
        self.disk.as_ref()
    }

    /// How many steps ran, and how many were in the cache.
    pub fn counts(&self) -> (usize, usize) {
        (self.ran, self.cached)
    }

    /// Makes an image of the root.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn finish(&self) -> Result<Finished> {
        let (plan, facts) = self.plan()?;
        let built = build::run(plan, &facts, &BTreeMap::new(), &self.session)?;
        Ok(Finished { built, notes: self.notes.clone() })
    }
}

/// The layers that the result is made of.
fn layers_of(plan: &Plan, reports: &Reports) -> Vec<Layer> {
    let made = reports.iter().filter_map(|(id, r)| r.layer.clone().map(|l| (*id, l))).collect();
    schedule::layers_of(plan, plan.result, &made)
}

impl Target for Offline {
    fn run(&mut self, script: &Script) -> Result<()> {
        let root = self.root()?;
        let has = |path: &[u8]| root.tree.lookup(path, Follow::All).ok().flatten().is_some();
        if !has(b"bin/sh") {
            return Err(NodeError::Unsupported {
                what: "the root has no /bin/sh, so no script can run in it".to_owned(),
                hint: Some("take a base with a shell, or only `file` provisioners".to_owned()),
            });
        }
        let policy = has(b"usr/sbin/invoke-rc.d");
        let around = Around { masks: self.ui.whole().masks(), guard: &self.guard, policy, salt: self.salt.as_deref() };
        let step = step::script(self.steps.len(), script, &around);
        self.apply(step, &script.valid)?;
        self.guarded()
    }

    fn upload(&mut self, what: &Upload, destination: &str) -> Result<()> {
        if let Upload::Content(bytes) = what
            && self.ui.whole().masks().is_in(bytes)
        {
            // A layer has it either way; this way no plan and no key has.
            return self.upload_secret(bytes, destination);
        }
        let step = step::upload(self.steps.len(), what, &self.destination_of(what, destination)?)?;
        self.apply(step, &[0])?;
        self.guarded()
    }

    fn download(&mut self, source: &str, destination: &str) -> Result<()> {
        let root = self.root()?;
        let missing = || NodeError::Unsupported { what: format!("there is no `{source}` to download"), hint: None };
        let found = root.tree.lookup(source.as_bytes(), Follow::All).map_err(|_| missing())?.ok_or_else(missing)?;
        if found.node.is_dir() {
            let path = found.path.clone();
            let node = found.node.clone();
            let to = match (source.ends_with('/'), path.rsplit(|b| *b == b'/').next()) {
                (false, Some(name)) if !name.is_empty() => {
                    Path::new(destination).join(std::ffi::OsStr::from_bytes(name))
                }
                _ => Path::new(destination).to_owned(),
            };
            return write_tree(&root, &node, &to);
        }
        let to = download_path(source, destination);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(NodeError::file("make", parent))?;
        }
        write_file(&root, found.node, &to)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        let failed = NodeError::file("read", format!("{path} of the image"));
        self.root()?.read_file(path.as_bytes(), MAX_READ as u64).map_err(failed)
    }

    fn system(&mut self, look: &mut Looking<'_>) -> Result<()> {
        let root = self.root()?;
        look(&ImageTree::new("the root", &root.tree, |file| root.open_file(file)))
    }

    fn keep(&mut self, directory: tempfile::TempDir) {
        self.kept.push(directory);
    }

    fn is_offline(&self) -> bool {
        true
    }

    fn obey(&mut self, cancel: Cancel) {
        self.cancel = cancel;
    }
}

impl Offline {
    /// A file goes into a directory that is there under its own name, also where no slash says so.
    fn destination_of(&self, what: &Upload, destination: &str) -> Result<String> {
        let is_file = match what {
            Upload::Path(path) => !Path::new(path).is_dir(),
            Upload::Content(_) => true,
        };
        let there = || -> Result<bool> {
            let found =
                self.root()?.tree.lookup(destination.as_bytes(), Follow::All).ok().flatten().map(|f| f.node.is_dir());
            Ok(found.unwrap_or(false))
        };
        if !is_file || destination.ends_with('/') || !there()? {
            return Ok(destination.to_owned());
        }
        match what {
            Upload::Path(_) => Ok(format!("{destination}/")),
            Upload::Content(_) => Err(no_name(destination)),
        }
    }

    /// Writes bytes that no key may hold, by a script that has them as a secret.
    fn upload_secret(&mut self, bytes: &[u8], destination: &str) -> Result<()> {
        let script = Script {
            title: format!("upload to {destination}"),
            content: bytes.to_vec(),
            path: destination.to_owned(),
            command: format!("chmod 0644 {}", kiln_host::command::quote(destination)),
            variables: None,
            remove: false,
            valid: vec![0],
            may_disconnect: false,
            start_timeout: Duration::ZERO,
        };
        self.run(&script)
    }
}

fn write_file(root: &Root, node: &Node, to: &Path) -> Result<()> {
    let Some(file) = node.file() else {
        let what = format!("what would be downloaded to {} is no file", to.display());
        return Err(NodeError::Unsupported { what, hint: None });
    };
    let copy = || -> io::Result<()> {
        let mut from = root.open_file(file)?;
        let mut out = File::create(to)?;
        io::copy(&mut from, &mut out)?;
        use std::os::unix::fs::PermissionsExt;
        out.set_permissions(std::fs::Permissions::from_mode(node.meta.mode & 0o777))
    };
    copy().map_err(NodeError::file("write", to))
}

/// Files and directories; links are left out, for where they point to is not here.
fn write_tree(root: &Root, dir: &Node, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(NodeError::file("make", to))?;
    let mut seen = BTreeSet::new();
    for (name, node) in dir.children().into_iter().flatten() {
        let path = to.join(std::ffi::OsStr::from_bytes(name));
        if !seen.insert(name.clone()) {
            continue;
        }
        match &node.kind {
            NodeKind::Dir(_) => write_tree(root, node, &path)?,
            NodeKind::File(_) => write_file(root, node, &path)?,
            _ => {}
        }
    }
    Ok(())
}
