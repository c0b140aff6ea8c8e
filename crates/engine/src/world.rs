//! Answers the planner's questions: all that a plan rests on is gathered here, before anything is made.

use std::sync::mpsc;

use kiln_plan::facts::{Facts, Question};
use kiln_plan::{Options, Outcome, Plan};
use kiln_spec::ast::Dockerfile;

use crate::context;
use crate::error::{EngineError, Result};
use crate::event::Event;
use crate::fetch::{git, http};
use crate::session::Session;

/// Rounds of questions after which something must be wrong: triggers of bases that bring bases with triggers.
const MAX_ROUNDS: usize = 1000;

/// An answer, by what was asked.
enum Answer {
    Image(Box<kiln_plan::facts::ImageFact>),
    Files(kiln_plan::facts::FilesFact),
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
        match kiln_plan::build(file, options, &facts).map_err(EngineError::Dockerfile)? {
            Outcome::Plan(plan) => return Ok((*plan, facts)),
            Outcome::Questions(questions) => answer_all(&questions, session, &mut facts)?,
        }
    }
    Err(EngineError::Unsupported("the base images' ONBUILD triggers never come to an end".to_owned()))
}

/// Answers questions, several at once: most of the time goes into waiting for registries.
fn answer_all(questions: &[Question], session: &Session, facts: &mut Facts) -> Result<()> {
    let (sender, answers) = mpsc::channel();
    let mut failure = None;
    std::thread::scope(|scope| {
        for (id, question) in questions.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || {
                let answered = told(question, id as u64, session);
                let _ = sender.send((question, answered));
            });
        }
        drop(sender);
        for (question, answered) in answers {
            match (question, answered) {
                (Question::Image(q), Ok(Answer::Image(a))) => drop(facts.images.insert(q.clone(), *a)),
                (Question::Files(q), Ok(Answer::Files(a))) => drop(facts.files.insert(q.clone(), a)),
                (Question::Http(q), Ok(Answer::Http(a))) => drop(facts.http.insert(q.clone(), a)),
                (Question::Git(q), Ok(Answer::Git(a))) => drop(facts.git.insert(q.clone(), a)),
                (_, Ok(_)) => {}
                (_, Err(e)) => failure = failure.take().or(Some(e)),
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Answers one question, telling the user what takes time.
fn told(question: &Question, id: u64, session: &Session) -> Result<Answer> {
    let title = match question {
        Question::Image(q) => match &q.name {
            kiln_plan::facts::ImageName::Reference(name) => format!("[internal] load metadata for {name}"),
            kiln_plan::facts::ImageName::OciLayout(name) => format!("[internal] load metadata for oci-layout://{name}"),
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
    match question {
        Question::Image(query) => session.images.answer(query).map(|a| Answer::Image(Box::new(a))),
        Question::Files(query) => {
            let source = session.context(&query.context)?;
            let answered = context::answer(&**source, &query.select);
            answered.map(Answer::Files).map_err(|e| EngineError::Context(crate::rootfs::chain_text(&e)))
        }
        Question::Http(query) => http::answer(session, query).map(Answer::Http),
        Question::Git(query) => git::answer(session, query).map(Answer::Git),
    }
}
