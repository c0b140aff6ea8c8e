//! `file`: an artifact that is one file, for trying post-processors out.

use std::path::PathBuf;

use kiln_packer::config::Config;
use kiln_packer::model::BuildFacts;

use super::{Builder, Job, NoMachine, make_parents};
use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::target::Target;

/// The builder `file`.
pub struct File {
    to: PathBuf,
    from: From,
    target: NoMachine,
    made: bool,
}

enum From {
    Source(PathBuf),
    Content(String),
}

impl File {
    /// Reads its configuration.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<File> {
        let f = config.fields();
        let to = f.required("target")?.into();
        let (source, content) = (f.string("source")?.filter(|s| !s.is_empty()), f.string("content")?);
        let from = match (source, content) {
            (Some(source), None) => From::Source(source.into()),
            (None, content) => From::Content(content.unwrap_or_default()),
            (Some(_), Some(_)) => {
                return Err(f.fault("content", "BadFile", "source and content cannot both be given").into());
            }
        };
        f.finish()?;
        Ok(File { to, from, target: NoMachine { builder: "file" }, made: false })
    }
}

impl Builder for File {
    fn begin(&mut self, _: &Job<'_>) -> Result<()> {
        Ok(())
    }

    fn facts(&self) -> BuildFacts {
        BuildFacts { id: "File".to_owned(), conn_type: "none".to_owned(), ..BuildFacts::default() }
    }

    fn target(&mut self) -> &mut dyn Target {
        &mut self.target
    }

    fn finish(&mut self, _: &Job<'_>) -> Result<Option<Artifact>> {
        make_parents(&self.to)?;
        self.made = true;
        match &self.from {
            From::Source(source) => {
                std::fs::copy(source, &self.to).map_err(NodeError::file("copy", source))?;
            }
            From::Content(content) => std::fs::write(&self.to, content).map_err(NodeError::file("write", &self.to))?,
        }
        let text = format!("Stored file: {}", self.to.display());
        Ok(Some(Artifact::of_files("packer.file", "File", vec![self.to.clone()], text)))
    }

    fn clean_up(&mut self, _: &Job<'_>, failed: bool) {
        if failed && self.made {
            let _ = std::fs::remove_file(&self.to);
        }
    }
}
