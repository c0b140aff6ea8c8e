//! Kiln beside buildah, on one machine, in one run: the ratio is the result, the seconds are not.
//!
//! | mode | before | measured |
//! |---|---|---|
//! | cold | nothing local | build with the base pulled from a loopback registry, and push of the result |
//! | no-cache | base present | build with `--no-cache` |
//! | warm | just built | the same build again |
//!
//! Tools take turns within each repetition, so that a slow minute of the machine hits all of them.

mod builder;
mod measure;
mod report;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::{Auth, Layout, Registry};

use crate::cargo;
use crate::error::Error;
use builder::Builder;
use measure::Cost;
use report::Row;
use workload::Workload;

/// `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workloads: w1, w2, w9; all of them if none is named
    workloads: Vec<String>,
    /// Repetitions; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The kiln binary; built in release mode if not given
    #[arg(long)]
    kiln: Option<PathBuf>,
    /// Root filesystem tar of the base image; scripts/debian-base.sh makes one if not given
    #[arg(long)]
    base: Option<PathBuf>,
    /// Directory for contexts and stores; a temporary one if not given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measure kiln alone
    #[arg(long)]
    alone: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// How a build is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Nothing local, result pushed.
    Cold,
    /// Base present, `--no-cache`.
    NoCache,
    /// Nothing changed.
    Warm,
}

/// Runs the benchmark and prints its table.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let workloads = workload::named(&args.workloads)?;
    let temp = tempfile::Builder::new().prefix("kiln-bench-").tempdir();
    let temp = temp.map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
    let dir = args.dir.as_deref().unwrap_or(temp.path());
    let kiln = args.kiln.clone().map_or_else(cargo::build_kiln, Ok)?;
    let mut builders = vec![Builder::kiln(kiln)];
    if !args.alone {
        builders.push(Builder::buildah(dir)?);
    }
    let registry = Registry::start(Auth::None);
    push_base(args.base.as_deref(), dir, &registry)?;
    let mut rows = Vec::new();
    for workload in workloads {
        let context = dir.join(workload.name);
        eprintln!("{}: {}", workload.name, workload.about);
        workload.write(&context, &registry.reference("base:1"))?;
        rows.extend(measure_one(workload, &context, &builders, &registry, args.runs, dir)?);
    }
    if args.json {
        report::json(&rows)
    } else {
        report::table(&rows)
    }
    Ok(())
}

fn measure_one(
    workload: &Workload,
    context: &Path,
    builders: &[Builder],
    registry: &Registry,
    runs: u32,
    dir: &Path,
) -> Result<Vec<Row>, Error> {
    let mut rows: Vec<Row> = Vec::new();
    for run in 1..=runs {
        for builder in builders {
            let store = dir.join(format!("store-{}", builder.name()));
            builder.clean(&store)?;
            let target = registry.reference(&format!("{}/{}:{run}", builder.name(), workload.name));
            for mode in [Mode::Cold, Mode::NoCache, Mode::Warm] {
                let cost = builder.build(mode, &store, context, &target)?;
                eprintln!("  {run}/{runs} {:8} {mode:8?} {cost}", builder.name());
                record(&mut rows, workload, builder, mode, cost);
            }
            builder.clean(&store)?;
        }
    }
    Ok(rows)
}

fn record(rows: &mut Vec<Row>, workload: &Workload, builder: &Builder, mode: Mode, cost: Cost) {
    let same = |r: &&mut Row| r.workload == workload.name && r.tool == builder.name() && r.mode == mode;
    match rows.iter_mut().find(same) {
        Some(row) => row.costs.push(cost),
        None => rows.push(Row { workload: workload.name, tool: builder.name(), mode, costs: vec![cost] }),
    }
}

fn push_base(tar: Option<&Path>, dir: &Path, registry: &Registry) -> Result<(), Error> {
    let tar = match tar {
        Some(tar) => tar.to_owned(),
        None => measure::line(&mut std::process::Command::new(cargo::root().join("scripts/debian-base.sh")))?.into(),
    };
    let bytes = fs::read(&tar).map_err(|cause| Error::Read { path: tar.clone(), cause })?;
    let mut layout = Layout::new(dir.join("base"));
    layout.image("base:1", kiln_testkit::layout::busybox_config(), &[bytes]);
    registry.push(&layout, "base:1", "base:1");
    Ok(())
}
