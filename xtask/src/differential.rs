//! The same random Dockerfiles built by BuildKit and by Kiln: what comes out has to be the same.
//!
//! BuildKit runs in the chroot of [`crate::peers`]. A case is generated from a seed, built by both with the same context
//! and time, and what came out is compared: whether it builds at all, the stacked tree, the entries of each layer, the
//! configuration with its history. A case that differs is made smaller, one instruction at a time, as long as it differs
//! in the same way, and printed.
//!
//! [`generate`] a case from a seed     [`case`] what a case is     [`bases`] what Dockerfiles start from
//! [`build`] both builders             [`image`] results as text   [`compare`] two results
//! [`minimise`] the smallest case that still differs

mod bases;
mod build;
mod case;
mod compare;
mod generate;
mod image;
mod minimise;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::cargo;
use crate::error::Error;
use crate::peers::{Data, Docker, Peers};
use build::Builders;
use case::Case;
use compare::Difference;

/// `cargo xtask differential`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first seed; the following ones count up from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many Dockerfiles
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Builds at a time
    #[arg(long, default_value_t = 3)]
    jobs: u64,
    /// The kiln binary; built in release mode if not given
    #[arg(long)]
    kiln: Option<PathBuf>,
    /// How Kiln isolates RUN: one of its rungs
    #[arg(long, default_value = "auto")]
    isolation: String,
    /// Keep what differs in this directory: context, Dockerfile, both results as text
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Print the cases instead of building them
    #[arg(long)]
    print: bool,
    /// Do not make cases that differ smaller
    #[arg(long)]
    whole: bool,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Tally {
    built: u64,
    refused: u64,
    /// Why both refused, in the words of each, and the first case.
    reasons: BTreeMap<(String, String), (u64, u64)>,
    /// Cases that differ, by the way they differ.
    differ: BTreeMap<String, Vec<u64>>,
}

/// Runs the comparison. Differences are an error.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let seeds = args.seed..args.seed.saturating_add(args.count);
    if args.print {
        seeds.for_each(|seed| println!("{}", generate::case(seed).show()));
        return Ok(());
    }
    let kiln = args.kiln.clone().map_or_else(cargo::build_kiln, Ok)?;
    let temp = tempfile::Builder::new().prefix("kiln-differential-").tempdir();
    let temp = temp.map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
    let peers = Peers::start(temp.path())?;
    let docker = Docker::start(&peers, &Data::Memory, temp.path())?;
    let builders = Builders::new(&docker, kiln, &args.isolation, temp.path());
    let (next, tally, start) = (AtomicU64::new(seeds.start), Mutex::new(Tally::default()), Instant::now());
    let work = || -> Result<(), Error> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            one(seed, &builders, args, &tally)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker does not panic"))
    })?;
    let tally = tally.into_inner().expect("no worker panicked");
    println!(
        "{} built alike, {} refused by both, {} differ, in {} ways, {:.0} s",
        tally.built,
        tally.refused,
        tally.differ.values().map(Vec::len).sum::<usize>(),
        tally.differ.len(),
        start.elapsed().as_secs_f64()
    );
    let mut reasons: Vec<_> = tally.reasons.iter().collect();
    reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for ((theirs, ours), (count, seed)) in reasons {
        println!("  {count:4}  refused: {theirs}\n        by Kiln: {ours}  (seed {seed})");
    }
    for (class, seeds) in &tally.differ {
        println!("  {:4}  {class}  (seeds {:?})", seeds.len(), &seeds[..seeds.len().min(6)]);
    }
    if tally.differ.is_empty() { Ok(()) } else { Err(Error::Differ(tally.differ.len())) }
}

fn one(seed: u64, builders: &Builders<'_>, args: &Args, tally: &Mutex<Tally>) -> Result<(), Error> {
    let case = generate::case(seed);
    let pair = builders.build(&case)?;
    let found = compare::differences(&pair);
    let known = {
        let mut tally = tally.lock().expect("no worker panicked");
        match found.first() {
            None if pair.both_built() => tally.built += 1,
            None => {
                tally.refused += 1;
                tally.reasons.entry(compare::reasons(&pair)).or_insert((0, seed)).0 += 1;
            }
            Some(first) => tally.differ.entry(first.class.clone()).or_default().push(seed),
        }
        let done = tally.built + tally.refused + tally.differ.values().map(|s| s.len() as u64).sum::<u64>();
        if done.is_multiple_of(100) {
            eprintln!(
                "{done}: {} differ in {} ways",
                tally.differ.values().map(Vec::len).sum::<usize>(),
                tally.differ.len()
            );
        }
        found.first().is_none_or(|f| tally.differ[&f.class].len() > 1)
    };
    if !known {
        let class = &found[0].class;
        let (case, found) = if args.whole { (case, found) } else { minimise::smallest(case, class, builders)? };
        let text = show(&case, &found);
        println!("{text}");
        if let Some(keep) = &args.keep {
            save(&keep.join(seed.to_string()), &case, &text)?;
        }
    }
    Ok(())
}

fn show(case: &Case, found: &[Difference]) -> String {
    let lines: Vec<String> = found.iter().take(12).map(ToString::to_string).collect();
    format!("== {}\n{}-- \n{}\n", found.first().map_or("", |f| &f.class), case.show(), lines.join("\n"))
}

fn save(dir: &Path, case: &Case, text: &str) -> Result<(), Error> {
    case.write(dir, "n")?;
    let path = dir.join("difference.txt");
    fs::write(&path, text).map_err(|cause| Error::Write { path, cause })
}
