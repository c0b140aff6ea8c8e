//! Answers the planner's questions: all that a plan rests on is gathered here, before anything is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use kiln_plan::facts::{Facts, ImageFact, ImageName, ImageQuery, Question};
use kiln_plan::{Extent, Options, Outcome, Plan, Survey};
use kiln_spec::ast::{Dockerfile, Op};
use kiln_spec::diag::did_you_mean;

use crate::context;
use crate::error::{EngineError, Result};
use crate::event::{Event, Phase, Spending};
use crate::fetch::{git, http};
use crate::session::Session;

/// Rounds of questions after which something must be wrong: triggers of bases that bring bases with triggers.
const MAX_ROUNDS: usize = 1000;

/// Questions that are answered at once.
const AT_ONCE: usize = 16;

/// An answer, by what was asked.
enum Answer {
    Image(Box<kiln_plan::facts::ImageFact>),
    Files(kiln_plan::facts::FilesFact),
    Excluded(Option<(String, String)>),
    Http(kiln_plan::facts::HttpFact),
    Git(kiln_plan::facts::GitFact),
}

/// Plans a build, answering the planner until it has no more questions.
///
/// # Errors
/// Mistakes in the Dockerfile, or a question that cannot be answered.
pub fn plan(file: &Dockerfile, options: &Options, session: &Session) -> Result<(Plan, Facts)> {
    let mut facts = Facts::default();
    for _ in 0..MAX_ROUNDS {
        session.check_cancelled()?;
        let planning = Spending::on(Phase::Plan, &*session.events);
        let planned = kiln_plan::build(file, options, &facts).map_err(EngineError::Dockerfile);
        drop(planning);
        match planned? {
            Outcome::Plan(plan) => return Ok((*plan, facts)),
            Outcome::Questions(questions) => answer_all(&questions, file, session, &mut facts)?,
        }
    }
    Err(endless())
}

/// Looks at a file without building it, answering what is asked on the way. What cannot be answered leaves the survey
/// incomplete, and is returned beside it.
pub fn survey(
    file: &Dockerfile,
    options: &Options,
    extent: Extent,
    session: &Session,
) -> (Survey, Option<EngineError>) {
    let mut facts = Facts::default();
    for _ in 0..MAX_ROUNDS {
        let survey = kiln_plan::survey(file, options, &facts, extent);
        if survey.questions.is_empty() {
            return (survey, None);
        }
        let answered =
            session.check_cancelled().and_then(|()| answer_all(&survey.questions, file, session, &mut facts));
        if let Err(e) = answered {
            // What was answered before the failure counts.
            return (kiln_plan::survey(file, options, &facts, extent), Some(e));
        }
    }
    (kiln_plan::survey(file, options, &facts, extent), Some(endless()))
}

/// Bases whose triggers bring bases with triggers, for ever.
fn endless() -> EngineError {
    EngineError::Unsupported("the base images' ONBUILD triggers never come to an end".to_owned())
}

/// Answers questions, several at once: most of the time goes into waiting for registries.
fn answer_all(questions: &[Question], file: &Dockerfile, session: &Session, facts: &mut Facts) -> Result<()> {
    let (sender, answers) = mpsc::channel();
    let (queue, failed) = (Mutex::new(questions.iter().enumerate()), AtomicBool::new(false));
    let mut failure = None;
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(questions.len()) {
            let (sender, queue, failed) = (sender.clone(), &queue, &failed);
            scope.spawn(move || {
                while !failed.load(Ordering::Relaxed) {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((id, question)) = next else { return };
                    let answered = told(question, id as u64, session);
                    failed.fetch_or(answered.is_err(), Ordering::Relaxed);
                    let _ = sender.send((question, answered));
                }
            });
        }
        drop(sender);
        for (question, answered) in answers {
            match (question, answered) {
                (Question::Image(q), Ok(Answer::Image(a))) => drop(facts.images.insert(q.clone(), *a)),
                (Question::Files(q), Ok(Answer::Files(a))) => drop(facts.files.insert(q.clone(), a)),
                (Question::Excluded(q), Ok(Answer::Excluded(a))) => drop(facts.excluded.insert(q.clone(), a)),
                (Question::Http(q), Ok(Answer::Http(a))) => drop(facts.http.insert(q.clone(), a)),
                (Question::Git(q), Ok(Answer::Git(a))) => drop(facts.git.insert(q.clone(), a)),
                (_, Ok(_)) => {}
                (question, Err(e)) => failure = failure.take().or_else(|| Some(placed(e, question, file))),
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

/// The error about an image with the place that names it, and the stage that may have been meant.
fn placed(error: EngineError, question: &Question, file: &Dockerfile) -> EngineError {
    let Question::Image(ImageQuery { name: ImageName::Reference(name), .. }) = question else { return error };
    if matches!(error, EngineError::Cancelled) {
        return error;
    }
    let sources = file.stages.iter().flat_map(|s| &s.instructions).flat_map(|i| match &i.op {
        Op::Copy(copy) => copy.from.iter().collect::<Vec<_>>(),
        Op::Run(run) => run.mounts.iter().filter_map(|m| m.from.as_ref()).collect(),
        _ => Vec::new(),
    });
    let mut words = file.stages.iter().map(|s| &s.base).chain(sources);
    // A name with variables in it is pointed to by the first stage that has some.
    let word = words.clone().find(|w| w.text == *name).or_else(|| words.find(|w| w.text.contains('$')));
    let Some(word) = word else { return error };
    let stages = file.stages.iter().filter_map(|s| s.name.as_ref()).map(|n| &*n.text);
    let hint = did_you_mean(name, stages).map(|near| format!("did you mean the stage `{near}`?"));
    EngineError::Base { name: name.clone(), span: word.span, hint, source: Box::new(error) }
}

/// Answers one question, telling the user what takes time.
fn told(question: &Question, id: u64, session: &Session) -> Result<Answer> {
    let title = match question {
        // Takes no time.
        Question::Excluded(_) => return answer(question, session),
        Question::Image(q) => match &q.name {
            ImageName::Reference(name) => format!("[internal] load metadata for {name}"),
            ImageName::OciLayout(name) => format!("[internal] load metadata for oci-layout://{name}"),
        },
        Question::Files(_) => "[internal] load build context".to_owned(),
        Question::Http(q) => format!("[internal] fetch {}", http::shown(&q.url)),
        Question::Git(q) => format!("[internal] resolve {}", http::shown(&q.remote)),
    };
    let started = std::time::Instant::now();
    session.events.event(&Event::TaskStarted { id, title: &title });
    let answered = answer(question, session);
    let (took, failed) = (started.elapsed(), answered.is_err());
    session.events.event(&Event::TaskDone { id, took, failed });
    answered
}

fn answer(question: &Question, session: &Session) -> Result<Answer> {
    let phase = if matches!(question, Question::Files(_)) { Phase::Context } else { Phase::Resolve };
    let _spending = Spending::on(phase, &*session.events);
    match question {
        Question::Image(query) => image(query, session).map(|a| Answer::Image(Box::new(a))),
        Question::Files(query) => {
            session.policy.context(&query.context)?;
            let source = session.context(&query.context)?;
            let answered = context::answer(&**source, &query.select);
            answered.map(Answer::Files).map_err(|e| EngineError::Context(crate::rootfs::chain_text(&e)))
        }
        Question::Excluded(query) => {
            let source = session.contexts.get(&query.context);
            Ok(Answer::Excluded(source.and_then(|source| source.excludes(query.path.as_bytes()))))
        }
        Question::Http(query) => {
            let fact = http::answer(session, &session.policy.url(query)?)?;
            session.lock.as_ref().map_or(Ok(()), |lock| lock.check_url(query, &fact))?;
            Ok(Answer::Http(fact))
        }
        Question::Git(query) => {
            session.policy.git(query)?;
            match &session.lock {
                Some(lock) => lock.git(query).map(Answer::Git),
                None => git::answer(session, query).map(Answer::Git),
            }
        }
    }
}

/// The image that is meant, that the policy puts in its place, or that the lock file says is.
fn image(query: &ImageQuery, session: &Session) -> Result<ImageFact> {
    let asked = session.policy.image(query)?;
    let Some(lock) = &session.lock else { return session.images.answer(&asked) };
    let held = lock.image(query)?;
    let fact = session.images.answer(if asked == *query { &held } else { &asked })?;
    lock.check_image(query, &fact.digest)?;
    Ok(fact)
}
