//! All that a build works with, made once and shared by its threads.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::compress::Compression;
use kiln_oci::digest::Digest;
use kiln_plan::facts::ContextId;
use kiln_plan::policy::Policy;
use kiln_sandbox::{Cancel, Init, Limits, Rung, Standing};
use kiln_store::Store;

use crate::context::Source;
use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::images::Images;
use crate::isolation::Isolation;
use crate::lock::Lock;
use crate::output::ahead::Ahead;
use crate::remote::Remote;
use crate::rootfs::Roots;
use crate::step::PrivateRoot;

/// A secret, where `--secret` says it is. It is read when a command needs it, and kept nowhere.
#[derive(Clone)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// A value taken from Kiln's own environment.
    Value(Arc<[u8]>),
}

/// Largest secret, as BuildKit has it.
const MAX_SECRET: u64 = 500 << 10;

impl Secret {
    /// Its bytes.
    ///
    /// # Errors
    /// When its file cannot be read or is too large.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Secret::Value(bytes) => Ok(bytes.to_vec()),
            Secret::File(path) => {
                let failed = |e| EngineError::file("read the secret", path.clone())(e);
                let mut bytes = Vec::new();
                let file = std::fs::File::open(path).map_err(failed)?;
                file.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(failed)?;
                match bytes.len() as u64 > MAX_SECRET {
                    true => Err(failed(std::io::Error::other("a secret may have 500 KiB at the most"))),
                    false => Ok(bytes),
                }
            }
        }
    }
}

/// Where a command has `/etc/resolv.conf` and `/etc/hosts` from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkFiles {
    /// They are this machine's, and cannot be written: no image keeps them.
    #[default]
    Host,
    /// They are the image's own, and what is written to them is kept: for the root of a machine, whose files they are.
    Image,
}

/// How a build is to be done, as far as its result does not depend on it.
pub struct Settings {
    /// How commands are isolated and started.
    pub isolation: Isolation,
    /// How many steps run at once.
    pub jobs: usize,
    /// How layers are compressed.
    pub compression: Compression,
    /// `--secret`.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: sockets of agents.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Bounds for commands.
    pub limits: Limits,
    /// Seconds since the epoch now: the time of directories made on the way, and of history.
    pub now: i64,
    /// `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: Option<i64>,
    /// Whether layers of the image say which steps they came of.
    pub inline_cache: bool,
    /// Whether all that is made over the base is one layer.
    pub single_layer: bool,
    /// Whose files about names and addresses commands see. It is in no key: who wants the image's own says so for the
    /// whole session, and has steps that no other build has.
    pub network_files: NetworkFiles,
}

/// A build's surroundings.
pub struct Session {
    /// Where layers and records are.
    pub store: Store,
    /// Where images come from.
    pub images: Arc<Images>,
    /// Layers as files.
    pub roots: Arc<Roots>,
    /// Build contexts.
    pub contexts: BTreeMap<ContextId, Arc<dyn Source>>,
    /// How to do it.
    pub settings: Settings,
    /// Who is told.
    pub events: Arc<dyn Events>,
    /// Set when the user stops it.
    pub cancel: Cancel,
    /// Takes layers to registries before the image is whole.
    pub ahead: Option<Ahead>,
    /// Layers of steps that are shared with other machines.
    pub remote: Option<Remote>,
    /// What the build is held to.
    pub lock: Option<Lock>,
    /// Which sources it may use.
    pub policy: Policy,
    /// Root directories of the rungs without overlays that the next command of a stage goes on with, by the layers in them.
    pub private_roots: Mutex<HashMap<Vec<Digest>, PrivateRoot>>,
}

impl Session {
    /// A build context.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn context(&self, id: &ContextId) -> Result<&Arc<dyn Source>> {
        self.contexts.get(id).ok_or_else(|| {
            EngineError::Context(match id {
                ContextId::Main => "this build has no context: give a directory, `.` for the current one".to_owned(),
                ContextId::Named(name) => format!("there is no build context `{name}`"),
            })
        })
    }

    /// Threads a compressor may use beside others at work.
    pub fn compress_threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Fails if the user has stopped the build.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// The rung that commands run on.
    ///
    /// # Errors
    /// When the one the user asked for does not work here.
    pub fn rung(&self) -> Result<Rung> {
        self.settings.isolation.rung(&self.store.dir().join("kiln/tmp"), &*self.events)
    }

    /// Stops what runs: commands and transfers.
    pub fn stop(&self) {
        self.cancel.cancel();
        self.images.client().config().cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Tells the user something, together with what the store has noticed.
    pub fn warn(&self, text: &str) {
        self.events.event(&Event::Warning(text));
    }

    /// Takes a private root that holds exactly these layers, if one is kept.
    pub fn take_private_root(&self, layers: &[Digest]) -> Option<PrivateRoot> {
        self.private_roots.lock().unwrap_or_else(PoisonError::into_inner).remove(layers)
    }

    /// Keeps a private root for the next command.
    pub fn keep_private_root(&self, layers: Vec<Digest>, root: PrivateRoot) {
        self.private_roots.lock().unwrap_or_else(PoisonError::into_inner).insert(layers, root);
    }
}

impl Session {
    /// A session that only fetches what a build will be made from; it runs no steps.
    pub fn for_fetching(
        store: Store,
        images: Arc<Images>,
        roots: Arc<Roots>,
        events: Arc<dyn Events>,
        cancel: Cancel,
    ) -> Session {
        let settings = Settings {
            isolation: Isolation::new(Some(Rung::None), Standing::Outside, Init::default()),
            jobs: 1,
            compression: Compression::default(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            limits: Limits::default(),
            now: 0,
            source_date_epoch: None,
            inline_cache: false,
            single_layer: false,
            network_files: NetworkFiles::Host,
        };
        Session {
            store,
            images,
            roots,
            contexts: BTreeMap::new(),
            settings,
            events,
            cancel,
            ahead: None,
            remote: None,
            lock: None,
            policy: Policy::default(),
            private_roots: Mutex::default(),
        }
    }
}
