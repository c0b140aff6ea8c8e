//! Which steps run, and when.
//!
//! First the plan is walked from its result: a step whose layer is in the cache is not run, and what only it would
//! have read is not looked at. Then what is left runs, each step as soon as all it needs is there, as many at once as
//! there are jobs. One thread waits for the others and decides; they only work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use kiln_oci::{Digest, Mtime, time};
use kiln_plan::facts::{Facts, Files, Select};
use kiln_plan::key::{self, Identity, Inputs};
use kiln_plan::step::{Op, Origin};
use kiln_plan::{Key, Plan, StepId};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::error::{EngineError, Result};
use crate::event::{Done, Event, Phase, Spending};
use crate::rootfs::{Layer, diff_ids};
use crate::session::Session;
use crate::step::{self, Work};

/// The kind of a step's record in the store's cache.
const KIND: &str = "step";

/// What the cache remembers of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    diff_id: Digest,
    blob: kiln_oci::Descriptor,
    created: String,
}

/// How a step went, for the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// Which.
    pub step: StepId,
    /// What it is.
    pub title: String,
    /// How it ended.
    pub done: Done,
    /// How long it took.
    pub took: Duration,
    /// Its layer.
    pub layer: Option<Layer>,
    /// When its layer was made, RFC 3339.
    pub created: Option<String>,
}

/// Runs a plan.
///
/// # Errors
/// The first step that failed; what was running is stopped or waited for.
pub fn run(plan: &Plan, facts: &Facts, session: &Session) -> Result<Reports> {
    loop {
        let mut schedule = Schedule::new(plan, facts, session);
        let looking = Spending::on(Phase::Lookup, &*session.events);
        schedule.look_up();
        drop(looking);
        match schedule.work() {
            Ok(()) => return Ok(schedule.reports),
            // The shared cache blames itself once.
            Err(_) if schedule.again => {}
            Err(e) => return Err(e),
        }
    }
}

/// What is known of each finished step.
pub type Reports = BTreeMap<StepId, StepReport>;

/// Layers of finished steps that make one.
type Made = Mutex<HashMap<StepId, Layer>>;

struct Schedule<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    session: &'a Session,
    layers: Arc<Made>,
    reports: Reports,
    /// Steps to run.
    todo: BTreeSet<StepId>,
    /// Steps whose layers are the result's.
    result: BTreeSet<StepId>,
    /// Steps above one that ignores the cache: only what their inputs hold says whether a record fits.
    unsettled: BTreeSet<StepId>,
    /// Whether what failed was a layer of the shared cache, without which another run may do better.
    again: bool,
}

struct Outcome {
    step: StepId,
    /// What came of it, or what it panicked with.
    result: std::thread::Result<Result<(Layer, String, Done)>>,
    took: Duration,
}

/// Steps that are not begun: those that wait, with what for, and those that can begin.
struct Queue {
    waiting: BTreeMap<StepId, BTreeSet<StepId>>,
    ready: BTreeSet<StepId>,
}

impl Queue {
    fn new(waiting: BTreeMap<StepId, BTreeSet<StepId>>) -> Queue {
        let ready = waiting.iter().filter(|(_, needs)| needs.is_empty()).map(|(id, _)| *id).collect();
        Queue { waiting, ready }
    }

    /// A step is done: what waited for it alone can begin.
    fn done(&mut self, id: StepId) {
        self.waiting.remove(&id);
        for (other, needs) in &mut self.waiting {
            if needs.remove(&id) && needs.is_empty() {
                self.ready.insert(*other);
            }
        }
    }
}

impl<'a> Schedule<'a> {
    fn new(plan: &'a Plan, facts: &'a Facts, session: &'a Session) -> Schedule<'a> {
        let (layers, reports, todo) = Default::default();
        let result = plan.chain(plan.result).into_iter().collect();
        Schedule { plan, facts, session, layers, reports, todo, result, unsettled: unsettled(plan), again: false }
    }

    /// Asks the shared cache for all that this store has not, many at once.
    fn look_afar(&self) {
        let Some(remote) = &self.session.remote else { return };
        let open = |index: &usize| {
            let step = &self.plan.steps[*index];
            let known = !step.no_cache && !self.unsettled.contains(&StepId(*index));
            known && remote.has(&step.op) && recorded(self.session, &step.key).is_none()
        };
        let keys: Vec<Key> = (0..self.plan.steps.len()).filter(open).map(|index| self.plan.steps[index].key).collect();
        remote.look(&self.plan.platform, &keys);
    }

    /// Finds, from the result downwards, what the cache has and what must run.
    fn look_up(&mut self) {
        self.look_afar();
        let mut wanted = vec![self.plan.result];
        let mut seen = BTreeSet::new();
        while let Some(id) = wanted.pop() {
            if !seen.insert(id) {
                continue;
            }
            let step = self.plan.step(id);
            // The layers below are part of what this step stands for, whether it runs or not.
            wanted.extend(step.parent);
            if !step.op.makes_layer() {
                self.finish_base(id);
                continue;
            }
            let started = Instant::now();
            let known = !step.no_cache && !self.unsettled.contains(&id);
            let found = if known { find(self.session, &step.key) } else { None };
            match found {
                Some((layer, created)) => self.finish(id, layer, created, Done::Cached, started.elapsed()),
                None => {
                    wanted.extend(&step.reads);
                    self.todo.insert(id);
                }
            }
        }
    }

    fn finish_base(&mut self, id: StepId) {
        let step = self.plan.step(id);
        let report = StepReport {
            step: id,
            title: step.title.clone(),
            done: Done::Cached,
            took: Duration::ZERO,
            layer: None,
            created: None,
        };
        if matches!(step.op, Op::Image(_)) {
            let (title, took) = (&*step.title, Duration::ZERO);
            self.session.events.event(&Event::StepDone { step: id, title, done: Done::Ran, took, size: None });
        }
        self.reports.insert(id, report);
    }

    fn finish(&mut self, id: StepId, layer: Layer, created: String, done: Done, took: Duration) {
        let title = self.plan.step(id).title.clone();
        let size = Some(layer.blob.size);
        self.session.events.event(&Event::StepDone { step: id, title: &title, done, took, size });
        if let Some(ahead) = &self.session.ahead
            && self.result.contains(&id)
        {
            ahead.push(&layer.blob);
        }
        if let Some(remote) = &self.session.remote {
            remote.offer(self.plan, self.plan.step(id), &layer, &created, self.result.contains(&id));
        }
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, layer.clone());
        let (layer, created) = (Some(layer), Some(created));
        self.reports.insert(id, StepReport { step: id, title, done, took, layer, created });
    }

    /// Runs what is to be done.
    fn work(&mut self) -> Result<()> {
        let mut queue = Queue::new(self.dependencies());
        let (sender, outcomes) = mpsc::channel::<Outcome>();
        let (plan, facts, session, jobs) = (self.plan, self.facts, self.session, self.session.settings.jobs.max(1));
        // Steps that are equal (the same key) run once: the others wait for the first.
        let mut running: BTreeMap<Key, StepId> = BTreeMap::new();
        let mut held: BTreeMap<Key, Vec<StepId>> = BTreeMap::new();
        let mut failure: Option<EngineError> = None;
        let mut panic = None;
        let unsettled = &self.unsettled.clone();
        let read_later = &self.read_later();
        std::thread::scope(|scope| {
            loop {
                while failure.is_none() && running.len() < jobs {
                    let Some(id) = queue.ready.pop_first() else { break };
                    let key = plan.step(id).key;
                    if running.contains_key(&key) {
                        held.entry(key).or_default().push(id);
                        continue;
                    }
                    running.insert(key, id);
                    let made = self.layers.clone();
                    let sender = sender.clone();
                    scope.spawn(move || {
                        let started = Instant::now();
                        let known = !unsettled.contains(&id);
                        let layers = |id| layers_of(plan, id, &made.lock().unwrap_or_else(PoisonError::into_inner));
                        let work = Work { session, plan, id, layers: &layers, read_later: read_later.contains(&id) };
                        // A worker that panics must be heard of, or all wait for it for ever.
                        let work = AssertUnwindSafe(|| one(&work, facts, known));
                        let result = std::panic::catch_unwind(work);
                        // The receiver lives until every worker has reported.
                        let _ = sender.send(Outcome { step: id, result, took: started.elapsed() });
                    });
                }
                if running.is_empty() {
                    break;
                }
                let Ok(outcome) = outcomes.recv() else { break };
                let key = plan.step(outcome.step).key;
                running.remove(&key);
                let result = outcome.result.unwrap_or_else(|payload| {
                    panic.get_or_insert(payload);
                    Err(EngineError::Cancelled)
                });
                match result {
                    Ok((layer, created, done)) => {
                        let mut finished = vec![(outcome.step, done, outcome.took)];
                        finished.extend(
                            held.remove(&key)
                                .unwrap_or_default()
                                .into_iter()
                                .map(|id| (id, Done::Shared, Duration::ZERO)),
                        );
                        for (id, done, took) in finished {
                            self.finish(id, layer.clone(), created.clone(), done, took);
                            queue.done(id);
                        }
                    }
                    Err(e) => {
                        let title = &*plan.step(outcome.step).title;
                        // One that was stopped has not failed; it is among those that never end.
                        if !matches!(e, EngineError::Cancelled) {
                            session.events.event(&Event::StepFailed { step: outcome.step, title, took: outcome.took });
                        }
                        // Others are stopped; that they were is no news. Where all can start over, they are waited for.
                        if failure.is_none() {
                            self.again = session.remote.as_ref().is_some_and(|remote| remote.is_to_blame(&e));
                            if !self.again {
                                session.stop();
                            }
                            failure = Some(e);
                        }
                    }
                }
            }
        });
        if let Some(payload) = panic {
            std::panic::resume_unwind(payload);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Steps whose files another one that is to run will look at.
    fn read_later(&self) -> BTreeSet<StepId> {
        let mut found = BTreeSet::new();
        for id in &self.todo {
            let step = self.plan.step(*id);
            let below = step.parent.filter(|_| matches!(step.op, Op::Run(_)));
            for mut at in step.reads.iter().copied().chain(below) {
                // What is below one that was found is found.
                while found.insert(at) {
                    let Some(parent) = self.plan.step(at).parent else { break };
                    at = parent;
                }
            }
        }
        found
    }

    /// For each step to run, the steps to run that must be done before it.
    fn dependencies(&self) -> BTreeMap<StepId, BTreeSet<StepId>> {
        let mut nearest: HashMap<StepId, Option<StepId>> = HashMap::new();
        let mut waiting = BTreeMap::new();
        // A plan lists every step after what it needs, so one pass finds the nearest running step at or below each.
        for index in 0..self.plan.steps.len() {
            let id = StepId(index);
            let step = self.plan.step(id);
            let below = step.parent.and_then(|p| nearest.get(&p).copied().flatten());
            if !self.todo.contains(&id) {
                nearest.insert(id, below);
                continue;
            }
            let reads = step.reads.iter().filter_map(|r| nearest.get(r).copied().flatten());
            waiting.insert(id, below.into_iter().chain(reads).collect());
            nearest.insert(id, Some(id));
        }
        waiting
    }
}

/// The steps that need, directly or not, what a step that ignores the cache makes. Their definition is what it was, but
/// what they start from may not be.
pub(crate) fn unsettled(plan: &Plan) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    // A plan lists every step after what it needs.
    for index in 0..plan.steps.len() {
        let step = &plan.steps[index];
        let mut needs = step.parent.iter().chain(&step.reads);
        if needs.any(|id| plan.step(*id).no_cache || found.contains(id)) {
            found.insert(StepId(index));
        }
    }
    found
}

/// The layers of a step's file system, lowest first.
pub fn layers_of(plan: &Plan, id: StepId, made: &HashMap<StepId, Layer>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for id in plan.chain(id) {
        match &plan.step(id).op {
            Op::Image(image) => {
                let ids = image.config.rootfs.diff_ids.iter();
                layers.extend(ids.zip(&image.layers).map(|(d, b)| Layer { diff_id: d.clone(), blob: b.clone() }));
            }
            _ => layers.extend(made.get(&id).cloned()),
        }
    }
    layers
}

/// Runs one step, unless its content key or another process makes that unnecessary. `known` says that a record under
/// its definition key fits.
fn one(work: &Work<'_>, facts: &Facts, known: bool) -> Result<(Layer, String, Done)> {
    let (session, step) = (work.session, work.step());
    session.events.event(&Event::StepStarted { step: work.id, title: &step.title });
    // Another process with the same step is waited for, and its layer taken.
    let cancelled = || session.cancel.is_cancelled();
    let lock = session.store.lock(&format!("step-{}", step.key), &cancelled);
    let _lock = lock.map_err(|e| if cancelled() { EngineError::Cancelled } else { e.into() })?;
    if known
        && !step.no_cache
        && let Some((layer, created)) = find(session, &step.key)
    {
        return Ok((layer, created, Done::Cached));
    }
    let content_key = content_key(work, facts)?;
    if !step.no_cache
        && let Some((layer, created)) = find(session, &content_key)
    {
        keep(session, &step.key, &layer, &created)?;
        return Ok((layer, created, Done::Cached));
    }
    let layer = step::execute(work)?;
    let created = match session.settings.source_date_epoch {
        Some(secs) => time::rfc3339(Mtime::secs(secs)),
        None => time::rfc3339(now()),
    };
    keep(session, &step.key, &layer, &created)?;
    keep(session, &content_key, &layer, &created)?;
    Ok((layer, created, Done::Ran))
}

/// The time by this machine's clock.
pub(crate) fn now() -> Mtime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Mtime { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

/// The record of a step, if its layer is really here.
pub(crate) fn recorded(session: &Session, key: &Key) -> Option<(Layer, String)> {
    let bytes = session.store.cache_get(KIND, &key.to_string())?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let here = session.store.blob_size(&record.blob.digest) == Some(record.blob.size);
    here.then_some((Layer { diff_id: record.diff_id, blob: record.blob }, record.created))
}

/// The layer a record names, compressed as is asked for now.
fn find(session: &Session, key: &Key) -> Option<(Layer, String)> {
    let afar = || session.remote.as_ref().and_then(|remote| remote.find(key));
    let (layer, created) = recorded(session, key).or_else(afar)?;
    // The bytes of the files are the same however they are compressed; what is asked for now decides how they go out.
    let layer = session.roots.compressed(layer, session.settings.compression, session.compress_threads()).ok()?;
    Some((layer, created))
}

fn keep(session: &Session, key: &Key, layer: &Layer, created: &str) -> Result<()> {
    let (diff_id, blob) = (layer.diff_id.clone(), layer.blob.clone());
    let record = Record { version: 1, diff_id, blob, created: created.to_owned() };
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    Ok(session.store.cache_put(KIND, &key.to_string(), &bytes)?)
}

/// The key of a step whose inputs exist: they are named by what they hold.
pub(crate) fn content_key(work: &Work<'_>, facts: &Facts) -> Result<Key> {
    let inputs = Contents { work, facts, failed: Mutex::default() };
    let key = key::of(&work.step().op, &work.plan.platform, &inputs);
    match inputs.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => Ok(key),
    }
}

struct Contents<'a> {
    work: &'a Work<'a>,
    facts: &'a Facts,
    failed: Mutex<Option<EngineError>>,
}

impl Inputs for Contents<'_> {
    fn parent(&self) -> Identity {
        let ids = diff_ids(&self.work.below());
        Identity::Content(key::chain(&ids).0)
    }

    fn files(&self, origin: &Origin, select: &Select) -> Identity {
        let hash = || -> Result<[u8; 32]> {
            let id = match origin {
                Origin::Step(id) => id,
                Origin::Context(context) => {
                    let query = Files { context: context.clone(), select: select.clone() };
                    return Ok(self.facts.files.get(&query).map_or([0; 32], |f| f.hash.0));
                }
            };
            if matches!(self.work.step().op, Op::Run(_)) {
                // A command may read anything of a mounted stage; its layers name all of it without reading it.
                let ids = diff_ids(&(self.work.layers)(*id));
                return Ok(key::chain(&ids).0);
            }
            let source = self.work.source(origin)?;
            let selection = context::select(&*source, select).map_err(|e| self.work.failed(e.to_string()))?;
            let hash = context::hash_selection(&*source, &selection).map_err(|e| self.work.failed(e.to_string()))?;
            Ok(hash.0)
        };
        match hash() {
            Ok(hash) => Identity::Content(hash),
            Err(e) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                Identity::Nothing
            }
        }
    }
}
