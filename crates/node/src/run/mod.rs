//! A run through all builds of a template: several at once, each through its builder, provisioners and post-processors.
//!
//! ```text
//! begin → provisioner… → finish → clean up → pipelines of post-processors
//! ```
//!
//! [`steps`] one provisioner with its pauses, tries and time limit     [`ask`] questions while it runs
//! [`trouble`] what is done when something failed
//!
//! What is said, and in which words, follows Packer, so that whoever reads logs by program need not change.

pub mod ask;
pub mod steps;
pub mod trouble;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_packer::model::{Build, Template};
use kiln_sandbox::Cancel;

use crate::artifact::Artifact;
use crate::builder::{self, Builder, Choice, Job, Site};
use crate::error::{NodeError, Result};
use crate::guard::{self, Watched};
use crate::images::Images;
use crate::offline::Workshop;
use crate::post;
use crate::provision;
use crate::ui::{BuildUi, Ui, words};
use crate::verify::Wish;
use ask::Asker;
use trouble::OnError;

/// As many builds run at once when `-parallel-builds` does not say: all.
const ALL: usize = usize::MAX;

/// What the command line says about a run.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `-parallel-builds`: as many at once; 0 is all.
    pub parallel: usize,
    /// `-on-error`.
    pub on_error: OnError,
    /// `-force`.
    pub force: bool,
    /// `-debug`: one build after the other, with a question before each step.
    pub debug: bool,
    /// Which builder, and what it starts from.
    pub choice: Choice,
    /// The identifier of the run.
    pub uuid: String,
    /// `-verify`: what the result must be.
    pub verify: Option<Wish>,
}

/// What a run works with.
pub struct Surroundings<'a> {
    /// Where all is said.
    pub ui: &'a Arc<Ui>,
    /// What the offline builder works with.
    pub workshop: &'a Workshop,
    /// What builders with a machine work with.
    pub site: &'a Site,
    /// Where container images come from.
    pub images: &'a (dyn Images + Sync),
    /// Who answers questions.
    pub asker: &'a dyn Asker,
    /// Set when the user stops it.
    pub cancel: &'a Cancel,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Artifacts of builds that succeeded, by their names, in the template's order.
    pub artifacts: Vec<(String, Vec<Artifact>)>,
    /// Builds that failed, and why.
    pub failed: Vec<(String, NodeError)>,
}

/// Checks what can be known before anything runs: builders, provisioners and post-processors of every build.
///
/// # Errors
/// Every mistake found.
pub fn check(template: &Template, choice: &Choice) -> Result<()> {
    let mut found = Vec::new();
    let mut note = |result: Result<()>| match result {
        Err(NodeError::Template(faults)) => {
            found.extend(faults);
            Ok(())
        }
        other => other,
    };
    for build in &template.builds {
        note(builder::choose(build, choice).map(drop))?;
        note(guard::of(build).map(drop))?;
        let facts = kiln_packer::model::BuildFacts::placeholders();
        for block in build.provisioners.iter().chain(&build.error_cleanup) {
            note(provision::parse(block, &facts).map(drop))?;
        }
        for block in build.post_processors.iter().flatten() {
            note(post::parse(block, &facts).map(drop))?;
        }
    }
    if found.is_empty() { Ok(()) } else { Err(NodeError::Template(found)) }
}

/// Runs all builds of a template.
pub fn run(template: &Template, settings: &Settings, around: &Surroundings<'_>) -> Outcome {
    let uis: Vec<BuildUi> = template.builds.iter().enumerate().map(|(i, b)| around.ui.build(&b.name, i)).collect();
    if settings.debug {
        around.ui.plain("Debug mode enabled. Builds will not be parallelized.");
    }
    // Programs are told no colours.
    if !around.ui.is_for_programs() {
        uis.iter().for_each(BuildUi::introduce);
        around.ui.plain("");
    }
    let started = Instant::now();
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..template.builds.len()).collect());
    let results: Mutex<Vec<Option<Result<Vec<Artifact>>>>> = Mutex::new(template.builds.iter().map(|_| None).collect());
    let workers = match (settings.debug, settings.parallel) {
        (true, _) => 1,
        (false, 0) => ALL,
        (false, n) => n,
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.min(template.builds.len()) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(next) = next else { return };
                    let (build, ui, alone) = (&template.builds[next], &uis[next], template.builds.len() == 1);
                    let result = whole(&Process { build, ui, settings, around, alone });
                    results.lock().unwrap_or_else(PoisonError::into_inner)[next] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = Outcome::default();
    for (build, result) in template.builds.iter().zip(results) {
        match result {
            Some(Ok(artifacts)) => outcome.artifacts.push((build.name.clone(), artifacts)),
            Some(Err(error)) => outcome.failed.push((build.name.clone(), error)),
            None => outcome.failed.push((build.name.clone(), NodeError::Cancelled)),
        }
    }
    summary(&outcome, started.elapsed(), around);
    outcome
}

/// One build from its beginning to the last post-processor, and the line that ends it.
fn whole(process: &Process<'_>) -> Result<Vec<Artifact>> {
    let Process { build, around, .. } = *process;
    let started = Instant::now();
    let result = match around.cancel.is_cancelled() {
        true => Err(NodeError::Cancelled),
        false => process.run(),
    };
    let took = words(started.elapsed());
    match &result {
        Ok(_) => process.ui.conclude(&format!("Build '{}' finished after {took}.", build.name), false),
        Err(error) => {
            process.ui.conclude(&format!("Build '{}' errored after {took}: {error}", build.name), true);
            if let Some(hint) = error.hint() {
                process.ui.conclude(&format!("hint: {hint}"), true);
            }
        }
    }
    result
}

/// The name that scripts and records know a build by: that of its source, without its type.
pub fn short_name(build: &Build) -> &str {
    match &*build.config.scope().setting().build_name {
        "" => &build.name,
        name => name,
    }
}

/// One build while it runs.
pub struct Process<'a> {
    /// The build.
    pub build: &'a Build,
    /// Its lines.
    pub ui: &'a BuildUi,
    /// What the command line says.
    pub settings: &'a Settings,
    /// What it works with.
    pub around: &'a Surroundings<'a>,
    /// Whether it is the only one.
    pub alone: bool,
}

impl<'a> Process<'a> {
    fn run(&self) -> Result<Vec<Artifact>> {
        let mut builder = builder::choose(self.build, &self.settings.choice)?;
        let job = Job {
            ui: self.ui,
            cancel: self.around.cancel,
            force: self.settings.force,
            workshop: self.around.workshop,
            site: self.around.site,
            uuid: &self.settings.uuid,
        };
        let made = self.make(&mut *builder, &job);
        match &made {
            Ok(_) => builder.clean_up(&job, false),
            Err(failed) if failed.leave => self.ui.say("Aborting: what was made so far is left as it is."),
            Err(_) => builder.clean_up(&job, true),
        }
        let facts = builder.facts();
        let facts = kiln_packer::model::BuildFacts { uuid: self.settings.uuid.clone(), ..facts };
        match made.map_err(|failed| failed.error)? {
            None => Ok(Vec::new()),
            Some(artifact) => {
                let run = post::Run {
                    build: self.build,
                    ui: self.ui,
                    facts: &facts,
                    force: self.settings.force,
                    cancel: self.around.cancel,
                };
                run.pipelines(artifact)
            }
        }
    }

    /// Up to the artifact.
    fn make(&self, builder: &mut dyn Builder, job: &Job<'_>) -> Result<Option<Artifact>, trouble::Failed> {
        self.attempt(builder, false, |builder| {
            self.debug_pause("the builder")?;
            builder.begin(job)
        })?;
        let guard = self.attempt(builder, true, |_| guard::of(self.build))?;
        let watched = Watched::begin(guard, builder.target(), self.ui);
        for (position, block) in self.build.provisioners.iter().enumerate() {
            self.attempt(builder, true, |builder| {
                self.debug_pause(&format!("the provisioner {}", block.kind))?;
                steps::provision(self, block, position, builder, self.around.cancel)
            })?;
        }
        self.attempt(builder, true, |builder| watched.end(builder.target()))?;
        let Some(wish) = &self.settings.verify else {
            return self.attempt(builder, true, |builder| builder.finish(job));
        };
        let wish = if self.alone { wish.clone() } else { wish.of_build(&self.build.name) };
        let report = self.attempt(builder, true, |builder| wish.of_files(builder.target(), self.ui))?;
        self.attempt(builder, true, |builder| {
            let ran = !builder.target().is_offline();
            let made = builder.finish(job)?;
            wish.of_result(made.as_ref(), report.clone(), ran, self.ui)?;
            Ok(made)
        })
    }

    /// `-debug`: a question before each step.
    fn debug_pause(&self, before: &str) -> Result<()> {
        if self.settings.debug {
            self.ui.say(&format!("Pausing before {before}. Press enter to continue."));
            self.around.asker.ask(self.around.cancel)?;
        }
        Ok(())
    }
}

/// The lines that end a run.
fn summary(outcome: &Outcome, took: Duration, around: &Surroundings<'_>) {
    let ui = around.ui;
    ui.plain(&format!("\n==> Wait completed after {}", words(took)));
    if around.cancel.is_cancelled() {
        ui.plain("\nCleanly cancelled builds after being interrupted.");
    }
    if !outcome.failed.is_empty() {
        ui.machine("", "error-count", &[&outcome.failed.len().to_string()]);
        ui.plain_error("\n==> Some builds didn't complete successfully and had errors:");
        for (name, error) in &outcome.failed {
            ui.machine(name, "error", &[&error.to_string()]);
            ui.plain_error(&format!("--> {name}: {error}"));
        }
    }
    let any = outcome.artifacts.iter().any(|(_, artifacts)| !artifacts.is_empty());
    match any {
        true => ui.plain("\n==> Builds finished. The artifacts of successful builds are:"),
        false => ui.plain("\n==> Builds finished but no artifacts were created."),
    }
    for (name, artifacts) in &outcome.artifacts {
        ui.machine(name, "artifact-count", &[&artifacts.len().to_string()]);
        for (i, artifact) in artifacts.iter().enumerate() {
            tell(ui, name, &i.to_string(), artifact);
        }
    }
}

fn tell(ui: &Ui, name: &str, number: &str, artifact: &Artifact) {
    ui.machine(name, "artifact", &[number, "builder-id", &artifact.builder_id]);
    ui.machine(name, "artifact", &[number, "id", &artifact.id]);
    ui.machine(name, "artifact", &[number, "string", &artifact.text]);
    ui.machine(name, "artifact", &[number, "files-count", &artifact.files.len().to_string()]);
    for (i, file) in artifact.files.iter().enumerate() {
        ui.machine(name, "artifact", &[number, "file", &i.to_string(), &file.display().to_string()]);
    }
    ui.machine(name, "artifact", &[number, "end"]);
    ui.plain(&format!("--> {name}: {}", artifact.text));
}
