//! `kiln node script`: Kiln's own provisioners of a template as a script for a Dockerfile.

use kiln_node::NodeError;
use kiln_node::provision::own::script;

use super::template::{Teller, TemplateOptions};
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What the template means.
    #[command(flatten)]
    template: TemplateOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln node script node.json >setup.sh
  kiln node script -only 'node' -var zone=Asia/Shanghai node.pkr.hcl >setup.sh

In the Dockerfile:
  RUN --mount=type=bind,source=setup.sh,target=/setup.sh sh /setup.sh";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let mut teller = Teller::default();
    let template = teller.load(&args.template)?;
    let [build] = &template.builds[..] else {
        let names: Vec<&str> = template.builds.iter().map(|build| &*build.name).collect();
        let told =
            CliError::input(format!("a script is of one build, and these are {}: {}", names.len(), names.join(", ")));
        return Err(told.with_hint("choose one: -only NAME"));
    };
    match script::of(build) {
        Ok(text) => crate::named::print(&text),
        Err(NodeError::Template(found)) => Err(teller.mistakes(&found)),
        Err(error) => Err(super::build::failed(&error)),
    }
}
