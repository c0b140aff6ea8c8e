//! What a build would take from the cache, what it would run, and what changed since the last run. Nothing is run, and
//! nothing is written: what a run leaves for the next one to compare with is written by [`remember`].

use std::collections::{BTreeMap, HashMap};

use kiln_plan::facts::Files;
use kiln_plan::why::{self, Change, Listing, Record};
use kiln_plan::{Facts, Plan, StepId};

use crate::context;
use crate::error::Result;
use crate::rootfs::Layer;
use crate::schedule;
use crate::session::Session;
use crate::step::Work;

/// The kind of the records of runs in the store's cache.
const KIND: &str = "run";

/// What would happen to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there: a base, or a layer in the cache.
    Cached,
    /// It would run.
    Runs,
    /// It would run, for the cache is not asked (`--no-cache`).
    NotAsked,
    /// What a step before it makes decides.
    Open(StepId),
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub struct Explained {
    /// What would happen.
    pub standing: Standing,
    /// What changed since the last run; empty when its key is the same.
    pub changes: Vec<Change>,
}

/// All that is known.
#[derive(Debug)]
pub struct Explanation {
    /// By step.
    pub steps: Vec<Explained>,
    /// The last run: whether it came to its end, if there was one.
    pub last: Option<bool>,
}

/// Explains a plan. `identity` names what is built: runs of the same are compared.
///
/// # Errors
/// When what a step reads cannot be looked at.
pub fn explain(plan: &Plan, facts: &Facts, identity: &str, session: &Session) -> Result<Explanation> {
    let before = last(identity, session);
    let now = Record::of(plan, facts, &|files| listing(files, session));
    let mut changes = match &before {
        Some(before) => why::changes(plan, before, &now),
        None => Vec::new(),
    };
    changes.resize(plan.steps.len(), Vec::new());
    let standing = standing(plan, facts, session)?;
    let steps = standing.into_iter().zip(changes).map(|(standing, changes)| Explained { standing, changes });
    Ok(Explanation { steps: steps.collect(), last: before.map(|record| record.finished) })
}

/// What the files of a selection are; they were hashed when the plan was made.
fn listing(files: &Files, session: &Session) -> Option<Listing> {
    let source = session.contexts.get(&files.context)?;
    context::listing(&**source, &files.select).ok()
}

/// The record of the last run.
fn last(identity: &str, session: &Session) -> Option<Record> {
    session.store.cache_get(KIND, identity).and_then(|bytes| Record::parse(&bytes))
}

/// Keeps what a run was made of, unless it is what the last one was made of.
///
/// # Errors
/// When the store cannot be written.
pub fn remember(plan: &Plan, facts: &Facts, identity: &str, finished: bool, session: &Session) -> Result<()> {
    if session.store.is_read_only() {
        return Ok(());
    }
    if last(identity, session).is_some_and(|last| last.finished == finished && last.is_of(plan)) {
        return Ok(());
    }
    let mut record = Record::of(plan, facts, &|files| listing(files, session));
    record.finished = finished;
    Ok(session.store.cache_put(KIND, identity, &record.bytes())?)
}

/// What would happen to each step, in the way the scheduler decides it.
fn standing(plan: &Plan, facts: &Facts, session: &Session) -> Result<Vec<Standing>> {
    let unsettled = schedule::unsettled(plan);
    let mut layers: HashMap<StepId, Layer> = HashMap::new();
    let mut found: BTreeMap<StepId, Standing> = BTreeMap::new();
    // A plan lists every step after what it needs.
    for index in 0..plan.steps.len() {
        let (id, step) = (StepId(index), &plan.steps[index]);
        let missing = |id: &&StepId| !matches!(found.get(*id), Some(Standing::Cached));
        let open = step.parent.iter().chain(&step.reads).find(missing).copied();
        let by_definition =
            if unsettled.contains(&id) { None } else { schedule::recorded(session, &step.key).map(|(layer, _)| layer) };
        let standing = match (&step.op, by_definition, open) {
            (op, ..) if !op.makes_layer() => Standing::Cached,
            _ if step.no_cache => Standing::NotAsked,
            (_, Some(layer), _) => {
                layers.insert(id, layer);
                Standing::Cached
            }
            (_, None, Some(open)) => Standing::Open(open),
            (_, None, None) => {
                let below = |id: StepId| schedule::layers_of(plan, id, &layers);
                let work = Work { session, plan, id, layers: &below, read_later: false };
                let key = schedule::content_key(&work, facts)?;
                match schedule::recorded(session, &key) {
                    Some((layer, _)) => {
                        layers.insert(id, layer);
                        Standing::Cached
                    }
                    None => Standing::Runs,
                }
            }
        };
        found.insert(id, standing);
    }
    Ok(found.into_values().collect())
}
