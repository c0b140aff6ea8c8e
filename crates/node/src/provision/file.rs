//! `file`: files to the target, or from it.

use std::path::Path;

use kiln_packer::config::Config;

use super::{Stage, finish};
use crate::error::Result;
use crate::target::Upload;

/// A `file` block.
pub struct File {
    sources: Vec<String>,
    content: Option<String>,
    destination: String,
    download: bool,
}

impl File {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes, or a file to upload is not there.
    pub fn parse(config: &Config) -> Result<File> {
        let f = config.fields();
        let source = f.string("source")?;
        let sources = f.strings("sources")?.unwrap_or_default();
        let content = f.string("content")?;
        let destination = f.string("destination")?.unwrap_or_default();
        let direction = f.string("direction")?.unwrap_or_else(|| "upload".to_owned());
        let generated = f.bool("generated")?.unwrap_or(false);
        finish(f)?;
        let wrong = |message: String| Err(config.place().error("BadFile", message).into());
        let download = match &*direction {
            "upload" => false,
            "download" => true,
            other => return wrong(format!("direction is `{other}`: expected upload or download")),
        };
        let sources: Vec<String> = source.into_iter().chain(sources).collect();
        match (&content, sources.is_empty()) {
            (Some(_), false) => return wrong("source(s) or content must be specified, not both".to_owned()),
            (None, true) => return wrong("source or content must be specified.".to_owned()),
            (Some(_), true) if download => return wrong("content can only be uploaded".to_owned()),
            _ => {}
        }
        if destination.is_empty() {
            return wrong("Destination must be specified.".to_owned());
        }
        if content.is_some() && destination.ends_with('/') {
            return wrong(format!("content needs the name of a file, and `{destination}` is a directory"));
        }
        if !download && !generated {
            for source in &sources {
                if !Path::new(source).exists() {
                    return wrong(format!("Bad source '{source}': there is no such file"));
                }
            }
        }
        Ok(File { sources, content, destination, download })
    }

    /// Moves its files.
    ///
    /// # Errors
    /// The first that cannot be moved.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        if let Some(content) = &self.content {
            stage.ui.say(&format!("Uploading content => {}", self.destination));
            return stage.target.upload(&Upload::Content(content.clone().into_bytes()), &self.destination);
        }
        for source in &self.sources {
            let verb = if self.download { "Downloading" } else { "Uploading" };
            stage.ui.say(&format!("{verb} {source} => {}", self.destination));
            if self.download {
                stage.target.download(source, &self.destination)?;
            } else {
                stage.target.upload(&Upload::Path(source.clone()), &self.destination)?;
            }
        }
        Ok(())
    }
}
