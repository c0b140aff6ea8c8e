//! Post-processors: what is done with an artifact.
//!
//! [`manifest`] a record of what was built    [`checksum`] sums of its files    [`compress`] archives of them
//! [`artifice`] other files in its place      `shell-local` commands on this machine
//!
//! A pipeline hands each one's artifact to the next; an artifact that nobody keeps is removed.
//!
//! Adding a post-processor: its module, its variant of [`PostProcessor`], its row in [`KINDS`].

pub mod artifice;
pub mod checksum;
pub mod compress;
pub mod manifest;

use std::path::PathBuf;

use kiln_packer::config::Config;
use kiln_packer::model::{Block, Build, BuildFacts};
use kiln_sandbox::Cancel;

use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::provision::local::{Local, Place};
use crate::ui::BuildUi;

/// A post-processor, parsed.
pub enum PostProcessor {
    /// `manifest`.
    Manifest(manifest::Manifest),
    /// `checksum`.
    Checksum(checksum::Checksum),
    /// `compress`.
    Compress(compress::Compress),
    /// `artifice`.
    Artifice(artifice::Artifice),
    /// `shell-local`.
    Local(Local),
}

type Parse = fn(&Config) -> Result<PostProcessor>;

/// Types of post-processors.
pub const KINDS: [(&str, Parse); 5] = [
    ("manifest", |c| manifest::Manifest::parse(c).map(PostProcessor::Manifest)),
    ("checksum", |c| checksum::Checksum::parse(c).map(PostProcessor::Checksum)),
    ("compress", |c| compress::Compress::parse(c).map(PostProcessor::Compress)),
    ("artifice", |c| artifice::Artifice::parse(c).map(PostProcessor::Artifice)),
    ("shell-local", |c| Local::parse(c).map(PostProcessor::Local)),
];

/// Parses a block.
///
/// # Errors
/// When its type is not known, or its configuration has mistakes.
pub fn parse(block: &Block, facts: &BuildFacts) -> Result<PostProcessor> {
    match KINDS.iter().find(|(kind, _)| *kind == block.kind) {
        Some((_, parse)) => parse(&block.config(facts)?),
        None => {
            let message = format!("there is no post-processor `{}`", block.kind);
            let fault = block.place.error("UnknownPostProcessor", message);
            Err(fault.suggest(&block.kind, KINDS.iter().map(|(kind, _)| *kind)).into())
        }
    }
}

/// Post-processing of one build.
pub struct Run<'a> {
    /// The build.
    pub build: &'a Build,
    /// Its lines.
    pub ui: &'a BuildUi,
    /// What is known of it.
    pub facts: &'a BuildFacts,
    /// `-force`.
    pub force: bool,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// What a post-processor works with.
pub struct Job<'a> {
    /// Where it says what it does.
    pub ui: &'a BuildUi,
    /// The name of the build.
    pub build: &'a str,
    /// The type of its builder.
    pub kind: &'a str,
    /// What is known of the build.
    pub facts: &'a BuildFacts,
    /// `-force`.
    pub force: bool,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// An artifact, and whether the one before it stays when the block does not say.
pub struct Made {
    /// The artifact.
    pub artifact: Artifact,
    /// Whether the one it was made from is kept.
    pub keep: bool,
    /// Whether that cannot be changed: the new one needs the old one's files.
    pub forced: bool,
}

impl Run<'_> {
    /// Runs all pipelines on what the builder made, and returns every artifact that is left.
    ///
    /// # Errors
    /// When a post-processor failed; the builder's artifact is then kept.
    pub fn pipelines(&self, original: Artifact) -> Result<Vec<Artifact>> {
        let (mut artifacts, mut errors) = (Vec::new(), Vec::new());
        let mut keep_original = self.build.post_processors.is_empty();
        for pipeline in &self.build.post_processors {
            match self.pipeline(pipeline, &original, &mut artifacts) {
                Ok(keep) => keep_original |= keep,
                Err(NodeError::Cancelled) => return Err(NodeError::Cancelled),
                Err(error) => {
                    keep_original = true;
                    errors.push(error);
                }
            }
        }
        match keep_original {
            true => artifacts.insert(0, original),
            false => {
                self.ui.say(&format!("Deleting original artifact for build '{}'", self.build.name));
                original.destroy()?;
            }
        }
        // The first says enough where there is one only; a template's mistake keeps its place.
        match (errors.len(), errors.pop()) {
            (0, _) | (_, None) => Ok(artifacts),
            (1, Some(error)) => Err(error),
            (count, Some(last)) => {
                let mut texts: Vec<String> = errors.iter().map(|e| format!("* {e}")).collect();
                texts.push(format!("* {last}"));
                Err(NodeError::Artifact(format!("{count} post-processors failed:\n{}", texts.join("\n"))))
            }
        }
    }

    /// Runs one pipeline; says whether the builder's artifact is kept.
    fn pipeline(&self, blocks: &[Block], original: &Artifact, artifacts: &mut Vec<Artifact>) -> Result<bool> {
        let mut prior = original.clone();
        let mut keep_original = false;
        for (position, block) in blocks.iter().enumerate() {
            if self.cancel.is_cancelled() {
                return Err(NodeError::Cancelled);
            }
            let called = match block.name.as_ref().filter(|name| **name != block.kind) {
                Some(name) => format!("{name} (type {})", block.kind),
                None => block.kind.clone(),
            };
            self.ui.say(&format!("Running post-processor: {called}"));
            let ui = self.ui.called(&format!("{} ({})", self.build.name, block.kind));
            let job = Job {
                ui: &ui,
                build: crate::run::short_name(self.build),
                kind: &self.build.kind,
                facts: self.facts,
                force: self.force,
                cancel: self.cancel,
            };
            let made = parse(block, self.facts)?.run(&prior, &job)?;
            let keep = if made.forced { made.keep } else { block.common.keep_input_artifact.unwrap_or(made.keep) };
            let before = std::mem::replace(&mut prior, made.artifact);
            match (position, keep) {
                (0, keep) => keep_original = keep,
                (_, true) => artifacts.push(before),
                (_, false) => {
                    // What the next one took over must not go with it.
                    let files: Vec<PathBuf> =
                        before.files.iter().filter(|f| !prior.files.contains(f)).cloned().collect();
                    Artifact { files, ..before }.destroy()?;
                }
            }
        }
        keep_original |= prior == *original;
        // Packer lists what a pipeline ends with also where that is what it began with.
        artifacts.push(prior);
        Ok(keep_original)
    }
}

impl PostProcessor {
    fn run(&self, artifact: &Artifact, job: &Job<'_>) -> Result<Made> {
        match self {
            PostProcessor::Manifest(manifest) => manifest.run(artifact, job),
            PostProcessor::Checksum(checksum) => checksum.run(artifact, job),
            PostProcessor::Compress(compress) => compress.run(artifact, job),
            PostProcessor::Artifice(artifice) => artifice.run(artifact),
            PostProcessor::Local(local) => {
                let place = Place { ui: job.ui, build: job.build, kind: job.kind, facts: job.facts };
                local.run(&place, job.cancel)?;
                Ok(Made { artifact: artifact.clone(), keep: true, forced: true })
            }
        }
    }
}
