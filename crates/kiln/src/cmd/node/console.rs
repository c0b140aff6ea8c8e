//! `kiln node console`: what expressions of a template give.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_packer::fault::Fault;
use kiln_packer::hcl2::{Files, SharedWorld};
use kiln_packer::world::Given;
use kiln_spec::source::Source;

use super::template;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A variable's value (repeat); the last one counts
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// A file of variables (repeat)
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// What is typed without a template: json (actions in braces) or hcl2 (expressions)
    #[arg(long, value_name = "TYPE", value_parser = ["json", "hcl2"])]
    config_type: Option<String>,
    /// The template; without one, only functions can be tried
    #[arg(value_name = "TEMPLATE")]
    template: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  kiln node console node.pkr.hcl
  echo 'upper(var.region)' | kiln node console -var region=eu node.pkr.hcl
  echo '{{user `region`}}' | kiln node console node.json
  echo 'cidrsubnet(\"10.0.0.0/8\", 8, 2)' | kiln node console -config-type=hcl2

A line is an expression, or `variables`, `help` or `exit`. What is piped in is answered line by line, and a line with a
mistake makes the exit code 1.";

/// The longest line.
const MAX_LINE: u64 = 1 << 20;

/// What answers.
enum Console {
    Hcl2(Files, SharedWorld),
    Json(Option<Arc<Source>>, SharedWorld),
}

impl Console {
    fn answer(&self, line: &str, given: &Given) -> Result<String, Vec<Fault>> {
        match (self, line) {
            (_, "help") => Ok(self.help().to_owned()),
            (Console::Hcl2(files, world), "variables") => kiln_packer::hcl2::variables(files, given, world),
            (Console::Hcl2(files, world), line) => kiln_packer::hcl2::console(line, files, given, world),
            (Console::Json(source, world), "variables") => {
                kiln_packer::json::variables(source.as_ref(), given, &**world)
            }
            (Console::Json(source, world), line) => kiln_packer::json::console(line, source.as_ref(), given, &**world),
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Console::Hcl2(..) => {
                "An expression of HCL2 gives its value: var.NAME, local.NAME, upper(\"a\"), [1, 2].\n\
                 `variables` shows all variables and locals, `exit` ends."
            }
            Console::Json(..) => {
                "A text gives what its actions make of it: {{user `NAME`}}, {{timestamp}}, {{upper `a`}}.\n\
                 `variables` shows all variables, `exit` ends."
            }
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let given = template::given(&args.var, &args.var_file)?;
    let world = template::world()?;
    let console = match (&args.template, args.config_type.as_deref()) {
        (Some(path), Some("json")) if template::is_hcl(path) => {
            return Err(CliError::usage(format!("{} is HCL2, not json", path.display())));
        }
        (Some(path), kind) if kind == Some("hcl2") || template::is_hcl(path) => {
            let (files, world) = template::hcl(path)?;
            Console::Hcl2(files, world)
        }
        (Some(path), _) => Console::Json(Some(template::source(path)?), world),
        (None, Some("hcl2")) => Console::Hcl2(Files::default(), world),
        (None, _) => Console::Json(None, world),
    };
    // A template with mistakes is told at once, not at each line.
    console.answer("variables", &given).map_err(template::mistakes)?;
    match talk(&console, &given)? {
        true => Ok(()),
        false => Err(CliError::Told { code: 1 }),
    }
}

/// Answers line by line; whether all had answers.
fn talk(console: &Console, given: &Given) -> Result<bool, CliError> {
    let mut input = std::io::stdin().lock();
    let typed = input.is_terminal();
    let mut all = true;
    loop {
        if typed {
            crate::named::print("> ")?;
            // A terminal that is gone ends the loop by its end of input.
            let _ = std::io::stdout().flush();
        }
        let mut line = String::new();
        let read = std::io::Read::take(&mut input, MAX_LINE).read_line(&mut line);
        match read.map_err(|e| CliError::input(format!("cannot read standard input: {e}")))? {
            0 => return Ok(all || typed),
            n if n as u64 == MAX_LINE => return Err(CliError::input("a line is longer than 1 MiB")),
            _ => {}
        }
        match line.trim() {
            "" => {}
            "exit" => return Ok(all || typed),
            line => match console.answer(line, given) {
                Ok(answer) => crate::named::print(&format!("{}\n", answer.trim_end_matches('\n')))?,
                Err(found) => {
                    template::tell(&found);
                    all = false;
                }
            },
        }
    }
}
