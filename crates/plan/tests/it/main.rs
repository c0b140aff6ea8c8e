//! Dockerfile text and facts in, plan or diagnostics out.

#![expect(missing_docs, reason = "tests")]

mod config;
mod lint;
mod mistakes;
mod outline;
mod stages;
mod why;

use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_plan::facts::{FilesFact, GitFact, HttpFact, ImageFact, Key32, Missing};
use kiln_plan::{Extent, Facts, Op, Options, Outcome, Plan, Question, Survey};
use kiln_spec::diag::Diagnostic;
use kiln_spec::dockerfile;
use kiln_spec::source::Source;

/// A world in which every image exists, every file of a context too, except what a test says otherwise.
pub struct World {
    pub options: Options,
    pub base: ImageConfig,
    pub absent: Vec<&'static str>,
    /// Paths that an ignore file excludes, and its rule.
    pub ignored: Vec<(&'static str, &'static str)>,
    pub asked: Vec<Question>,
    /// What is said of the files of every selection.
    pub listing: Option<kiln_plan::why::Listing>,
    /// Makes the hashes of files others.
    pub salt: &'static str,
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl World {
    pub fn new() -> World {
        let platform = Platform::linux("amd64");
        let mut base = ImageConfig::scratch(&platform);
        base.config.env = vec!["PATH=/bin".into(), "LANG=C".into()];
        base.rootfs.diff_ids = vec![Digest::of(b"base")];
        base.history = vec![Default::default()];
        World {
            options: Options::new(platform),
            base,
            absent: Vec::new(),
            ignored: Vec::new(),
            asked: Vec::new(),
            listing: None,
            salt: "",
        }
    }

    fn answer(&mut self, question: Question, facts: &mut Facts) {
        self.asked.push(question.clone());
        match question {
            Question::Image(q) => {
                let layer = kiln_oci::Descriptor::of(kiln_oci::media::OCI_LAYER_GZIP, b"blob");
                let name = format!("{:?}", q.name);
                let digest = Digest::of(name.as_bytes());
                let fact = ImageFact { name, digest, config: self.base.clone(), layers: vec![layer] };
                facts.images.insert(q, fact);
            }
            Question::Files(q) => {
                let missing = q.select.sources.iter().enumerate().filter(|(_, s)| self.absent.iter().any(|a| a == s));
                let missing = missing.map(|(index, _)| Missing { index, ignored_by: None, similar: None }).collect();
                let hash = Key32(
                    *Digest::of(format!("{q:?}{}", self.salt).as_bytes()).hex().as_bytes().first_chunk().unwrap(),
                );
                facts.files.insert(q, FilesFact { hash, missing, count: 0 });
            }
            Question::Excluded(q) => {
                let found = self.ignored.iter().find(|(path, _)| *path == q.path);
                let rule = found.map(|(_, rule)| (".dockerignore:1".to_owned(), (*rule).to_owned()));
                drop(facts.excluded.insert(q, rule));
            }
            Question::Http(q) => {
                let fact = HttpFact { digest: Digest::of(q.url.as_bytes()), size: 3, last_modified: Some(7) };
                facts.http.insert(q, fact);
            }
            Question::Git(q) => drop(facts.git.insert(q, GitFact { commit: "0123456789".repeat(4) })),
        }
    }

    pub fn try_plan(&mut self, text: &str) -> Result<Plan, Vec<Diagnostic>> {
        self.try_plan_with(text).map(|(plan, _)| plan)
    }

    /// A plan and the facts it rests on.
    pub fn try_plan_with(&mut self, text: &str) -> Result<(Plan, Facts), Vec<Diagnostic>> {
        let source = Source { name: "Dockerfile".into(), text: text.into() };
        let (file, found) = dockerfile::parse(&source);
        let errors: Vec<Diagnostic> = found.into_iter().filter(Diagnostic::is_error).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut facts = Facts::default();
        loop {
            match kiln_plan::build(&file, &self.options, &facts)? {
                Outcome::Plan(plan) => return Ok((*plan, facts)),
                Outcome::Questions(questions) => questions.into_iter().for_each(|q| self.answer(q, &mut facts)),
            }
        }
    }

    /// Looks at a text without building it.
    pub fn survey(&mut self, text: &str, extent: Extent) -> Survey {
        let source = Source { name: "Dockerfile".into(), text: text.into() };
        let (file, found) = dockerfile::parse(&source);
        assert!(!found.iter().any(Diagnostic::is_error), "{text}: {found:#?}");
        let mut facts = Facts::default();
        loop {
            let survey = kiln_plan::survey(&file, &self.options, &facts, extent);
            if survey.questions.is_empty() {
                return survey;
            }
            survey.questions.into_iter().for_each(|q| self.answer(q, &mut facts));
        }
    }

    pub fn plan(&mut self, text: &str) -> Plan {
        self.try_plan(text).unwrap_or_else(|d| panic!("{d:#?}"))
    }

    pub fn mistakes(&mut self, text: &str) -> Vec<String> {
        self.try_plan(text).expect_err("it has mistakes").into_iter().map(|d| d.message).collect()
    }
}

/// Plans with nothing special.
pub fn plan(text: &str) -> Plan {
    World::new().plan(text)
}

/// The mistakes of a text with nothing special.
pub fn mistakes(text: &str) -> Vec<String> {
    World::new().mistakes(text)
}

/// The history a build adds.
pub fn history(plan: &Plan) -> Vec<String> {
    plan.config.history[plan.base_history..].iter().filter_map(|h| h.created_by.clone()).collect()
}

/// The operation of the last step.
pub fn last(plan: &Plan) -> &Op {
    &plan.step(plan.result).op
}
