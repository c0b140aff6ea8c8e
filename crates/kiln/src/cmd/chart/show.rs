//! `kiln chart show`: what is in a chart.

use std::io::Write;
use std::path::PathBuf;

use kiln_helm::Chart;

use super::read;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to show: chart, values, readme, crds, all
    #[arg(value_name = "WHAT")]
    what: What,
    /// The chart: a directory, or an archive
    #[arg(value_name = "CHART")]
    chart: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Chart.yaml
    Chart,
    /// values.yaml
    Values,
    /// README.md
    Readme,
    /// The files below crds
    Crds,
    /// All of them
    All,
}

const EXAMPLES: &str = "\
Examples:
  kiln chart show values ./app             the values it has by default
  kiln chart show all app-1.2.3.tgz";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let chart = read::chart(&args.chart)?;
    let mut out: Vec<u8> = Vec::new();
    let file = |name: &str| chart.all_files().get(name).unwrap_or_default();
    match args.what {
        What::Chart => part(&mut out, file("Chart.yaml")),
        What::Values => part(&mut out, file("values.yaml")),
        What::Readme => part(&mut out, chart.readme().unwrap_or_default()),
        What::Crds => crds(&mut out, &chart),
        What::All => {
            part(&mut out, file("Chart.yaml"));
            if !file("values.yaml").is_empty() {
                out.extend(b"---\n");
                part(&mut out, file("values.yaml"));
            }
            if let Some(readme) = chart.readme() {
                out.extend(b"---\n");
                part(&mut out, readme);
            }
            crds(&mut out, &chart);
        }
    }
    let written = std::io::stdout().lock().write_all(&out);
    written.map_err(|error| CliError::environment(format!("cannot write: {error}")))
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        out.push(b'\n');
    }
}

fn crds(out: &mut Vec<u8>, chart: &Chart) {
    for (_, bytes) in chart.crds() {
        if !bytes.starts_with(b"---") {
            out.extend(b"---\n");
        }
        part(out, bytes);
    }
}
