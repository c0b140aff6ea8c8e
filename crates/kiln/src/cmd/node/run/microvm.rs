//! A machine with one application, as `kiln build -o type=microvm` wrote it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use kiln_node::microvm::artefact::Artefact;
use kiln_node::microvm::{self, Options};

use super::{Args, failed};
use crate::cmd::node::template::random;
use crate::error::CliError;

/// Runs it, or shows how.
pub fn run(args: &Args, directory: &Path) -> Result<(), CliError> {
    let told = |e: kiln_node::NodeError| failed(&e);
    let artefact = Artefact::open(directory).map_err(told)?;
    let (qemu, accelerator) = super::qemu(args)?;
    let options = Options {
        forwards: args.publish.clone(),
        memory: args.memory,
        cpus: args.cpus,
        network: !args.no_network,
        append: args.append.clone(),
    };
    let token: String = random()?.iter().map(|b| format!("{b:02x}")).collect();
    let machine = microvm::machine(&artefact, &options, accelerator, &token).map_err(told)?;
    let Some(qemu) = qemu.filter(|_| !args.dry_run) else {
        return super::show(&microvm::command(&args.qemu, &machine, &[]).map_err(told)?);
    };
    let cancel = super::cancel();
    let streams = (&mut std::io::stdout() as &mut dyn Write, &mut std::io::stderr() as &mut dyn Write);
    let limit = args.timeout.map(Duration::from_secs);
    super::ended(microvm::run(&qemu, &machine, &token, limit, &cancel, streams).map_err(told)?)
}
