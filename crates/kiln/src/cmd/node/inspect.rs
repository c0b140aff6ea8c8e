//! `kiln node inspect`: what a template consists of, whatever variables are set to; or which unikernel a file or image has.

use std::path::PathBuf;

use kiln_packer::world::Given;

use super::{template, unikernel};
use crate::cli::Global;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Lines for programs: comma-separated values
    #[arg(long)]
    machine_readable: bool,
    /// A variable's value (repeat); of a template in JSON the defaults are shown, whatever is given
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// A file of variables (repeat)
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// The template, or the file of a kernel, or an image of the store with one
    #[arg(value_name = "TEMPLATE|KERNEL|IMAGE")]
    template: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  kiln node inspect node.pkr.hcl     variables, builds and what they consist of
  kiln node inspect -var region=eu node.pkr.hcl
  kiln node inspect hello.spt        which unikernel it is, which monitor it is for, which devices it wants
  kiln node inspect hello:1          what an image says of the kernel in it";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    if let Some(text) = unikernel::described(&args.template, global)? {
        if args.machine_readable {
            return Err(CliError::usage("-machine-readable: of unikernels there is only text"));
        }
        return crate::named::print(&text);
    }
    if template::is_hcl(&args.template) {
        if args.machine_readable {
            return Err(CliError::usage("-machine-readable: of templates in HCL2 there is only text"));
        }
        let (files, world) = template::hcl(&args.template)?;
        // What must be given need not be given to whoever only looks.
        let given = Given { unknown: true, ..template::given(&args.var, &args.var_file)? };
        let text = kiln_packer::hcl2::inspect(&files, &given, &world).map_err(template::mistakes)?;
        return crate::named::print(&text);
    }
    let found = kiln_packer::json::inspect(&template::source(&args.template)?).map_err(template::mistakes)?;
    crate::named::print(&match args.machine_readable {
        true => found.machine_readable(template::now()),
        false => found.text(),
    })
}
