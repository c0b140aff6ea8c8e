//! `null`: provisioners without an image, for trying them out and for what runs here.

use kiln_packer::config::Config;
use kiln_packer::model::BuildFacts;

use super::{Builder, Job, NoMachine};
use crate::artifact::Artifact;
use crate::error::Result;
use crate::target::Target;

/// The builder `null`, with the communicator `none`.
pub struct Null {
    target: NoMachine,
}

impl Null {
    /// Reads its configuration.
    ///
    /// # Errors
    /// When it has mistakes, or wants to connect to a machine.
    pub fn parse(config: &Config) -> Result<Null> {
        let f = config.fields();
        let communicator = f.string("communicator")?.unwrap_or_else(|| "ssh".to_owned());
        if communicator != "none" {
            let message =
                format!("the builder `null` connects to no machine yet, and the communicator is `{communicator}`");
            return Err(f
                .fault("communicator", "NoCommunicator", message)
                .hint("write \"communicator\": \"none\"")
                .into());
        }
        f.finish()?;
        Ok(Null { target: NoMachine { builder: "null" } })
    }
}

impl Builder for Null {
    fn begin(&mut self, _: &Job<'_>) -> Result<()> {
        Ok(())
    }

    fn facts(&self) -> BuildFacts {
        BuildFacts { id: "Null".to_owned(), conn_type: "none".to_owned(), ..BuildFacts::default() }
    }

    fn target(&mut self) -> &mut dyn Target {
        &mut self.target
    }

    fn finish(&mut self, _: &Job<'_>) -> Result<Option<Artifact>> {
        let text = "Did not export anything. This is the null builder";
        Ok(Some(Artifact::of_files("fnoble.null", "Null", Vec::new(), text)))
    }

    fn clean_up(&mut self, _: &Job<'_>, _: bool) {}
}
