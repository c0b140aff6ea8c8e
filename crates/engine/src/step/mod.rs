//! Effects: one file per kind of step. What a step starts from and what comes out are layers; nothing here decides
//! whether a step runs.

mod copy;
mod mkdir;
mod mounts;
mod run;

use std::io::Write;
use std::sync::Arc;

use kiln_oci::blob::{LayerDigests, LayerSink};
use kiln_oci::index::LayerIndex;
use kiln_oci::layer::LayerWriter;
use kiln_plan::step::{Op, Origin, Step};
use kiln_plan::{Plan, StepId};
use kiln_store::{BlobWriter, LayerRecord, TarWriter};

use crate::context::{LayerSource, Source};
use crate::copy::dest::{CopyError, Emitted};
use crate::error::{EngineError, Result};
use crate::event::{Phase, Spending};
use crate::rootfs::{Layer, Root, chain_text};
use crate::session::Session;
pub use run::PrivateRoot;

/// What a step may look at while it runs.
pub struct Work<'a> {
    /// The build.
    pub session: &'a Session,
    /// The plan.
    pub plan: &'a Plan,
    /// Which step.
    pub id: StepId,
    /// The layers of every step it needs.
    pub layers: &'a (dyn Fn(StepId) -> Vec<Layer> + Sync),
    /// Whether a step that is still to run will look at the files this one makes.
    pub read_later: bool,
}

impl Work<'_> {
    /// The step.
    pub fn step(&self) -> &Step {
        self.plan.step(self.id)
    }

    /// The layers the step starts from.
    pub fn below(&self) -> Vec<Layer> {
        self.step().parent.map(|p| (self.layers)(p)).unwrap_or_default()
    }

    /// The tree of a step this one needs.
    pub fn root(&self, id: StepId) -> Result<Root> {
        self.session.roots.tree(&(self.layers)(id))
    }

    /// The tree files are copied from.
    pub fn source(&self, origin: &Origin) -> Result<Arc<dyn Source>> {
        match origin {
            Origin::Context(id) => self.session.context(id).cloned(),
            Origin::Step(id) => Ok(Arc::new(LayerSource::new(self.root(*id)?))),
        }
    }

    /// An error of this step.
    pub fn failed(&self, message: impl Into<String>) -> EngineError {
        let step = self.step();
        EngineError::Step { title: step.title.clone(), span: step.span, message: message.into(), hint: None }
    }

    /// The same for an error from below, with its causes; a full disk stays what it is.
    pub fn failed_by(&self, e: &(dyn std::error::Error + 'static)) -> EngineError {
        EngineError::of_disk(e, self.session.store.dir()).unwrap_or_else(|| self.failed(chain_text(e)))
    }

    fn copy_failed(&self, e: &CopyError) -> EngineError {
        self.failed(chain_text(e))
    }

    /// A writer of this step's layer.
    fn sink(&self) -> Result<LayerSink<BlobWriter>> {
        let blob = self.session.store.raw_blob_writer()?;
        Ok(LayerSink::new(blob, self.session.settings.compression, self.session.compress_threads()))
    }

    /// Ends a layer: its blob and listing are in the store.
    fn commit(&self, sink: LayerSink<BlobWriter>, index: LayerIndex) -> Result<Layer> {
        let (blob, digests) = sink.finish().map_err(|e| self.failed_by(&e))?;
        blob.commit_hashed(digests.digest.clone())?;
        self.session.roots.keep_index(&digests.diff_id, index)?;
        self.session.store.record_layer(&record(&digests))?;
        Ok(Layer { diff_id: digests.diff_id.clone(), blob: digests.descriptor(false) })
    }

    /// Writes entries as this step's layer.
    fn write(&self, entries: Vec<Emitted>) -> Result<Layer> {
        let cannot = |what: &[u8], e: &(dyn std::error::Error + 'static)| {
            let unreadable = || self.failed(format!("cannot read `/{}`: {e}", kiln_oci::name::escape(what)));
            EngineError::of_disk(e, self.session.store.dir()).unwrap_or_else(unreadable)
        };
        let _spending = Spending::on(Phase::Layer, &*self.session.events);
        // Whoever looks at the files takes them from the tar: it is kept now rather than made of the blob again.
        let tar = if self.read_later { Some(self.session.store.raw_tar_writer()?) } else { None };
        let mut writer = LayerWriter::indexed(Both { sink: self.sink()?, tar });
        for Emitted { entry, body } in entries {
            self.session.check_cancelled()?;
            let mut bytes = body.open().map_err(|e| cannot(&entry.path, &e))?;
            writer.append(&entry, &mut bytes).map_err(|e| cannot(&entry.path, &e))?;
        }
        let (Both { sink, tar }, index) = writer.finish_indexed().map_err(|e| self.failed_by(&e))?;
        let layer = self.commit(sink, index)?;
        if let Some(tar) = tar {
            tar.commit_hashed(layer.diff_id.clone())?;
        }
        Ok(layer)
    }
}

/// A layer on its way to its blob and, where that will be read, to a kept tar.
struct Both {
    sink: LayerSink<BlobWriter>,
    tar: Option<TarWriter>,
}

impl Write for Both {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.sink.write(buf)?;
        if let Some(tar) = &mut self.tar {
            tar.write_all(&buf[..n])?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

pub(crate) fn record(digests: &LayerDigests) -> LayerRecord {
    LayerRecord {
        diff_id: digests.diff_id.clone(),
        digest: digests.digest.clone(),
        size: digests.size,
        media_type: digests.media_type(false).to_owned(),
    }
}

/// Does a step, and returns its layer.
///
/// # Errors
/// What the step ran into.
pub fn execute(work: &Work<'_>) -> Result<Layer> {
    work.session.check_cancelled()?;
    match &work.step().op {
        Op::Run(op) => run::execute(work, op),
        Op::Copy(op) => copy::execute(work, op),
        Op::Mkdir(op) => mkdir::execute(work, op),
        // These start a stage and have layers from the beginning.
        Op::Scratch | Op::Image(_) => Err(work.failed("this step has nothing to do")),
    }
}
