//! `cargo xtask fuzz`: the targets of `fuzz/` under libFuzzer, with the stable compiler.
//!
//! Coverage comes from LLVM's own pass, which stable flags of rustc switch on; a sanitizer, which would need a nightly
//! compiler, finds nothing in code without `unsafe`. What a campaign learns is kept in `target/fuzz/corpus`, inputs that
//! break something in `target/fuzz/artifacts`; `--keep` chooses the few that go into the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::error::Error;

/// Coverage counters, and comparisons told to the fuzzer; as cargo-fuzz sets them.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// An input that takes longer than this, in seconds, is a hang.
const HANG: u32 = 10;
/// More memory than this, in MiB, is a bomb.
const MEMORY: u32 = 2048;
/// The longest inputs that are tried, in bytes.
const LENGTH: u32 = 8192;
/// What the tree keeps of one target's corpus, in bytes.
const KEPT: u64 = 14 << 10;

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Targets; all of them by default
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run one input instead, as a campaign left it in target/fuzz/artifacts
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    input: Option<PathBuf>,
    /// Instead of fuzzing, choose inputs for fuzz/corpus that cover what the campaigns so far have covered
    #[arg(long)]
    keep: bool,
}

/// Fuzzes each target in turn; all run, even if one breaks.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let known = targets()?;
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        return Err(Error::NoFuzzTarget { name: unknown.clone(), known: known.join(", ") });
    }
    let program = build()?;
    let chosen = if args.targets.is_empty() { &known } else { &args.targets };
    let mut broken = Vec::new();
    for target in chosen {
        let place = Place::of(target)?;
        let mut fuzzer = Command::new(&program);
        fuzzer.env("KILN_FUZZ_TARGET", target).current_dir(cargo::root());
        fuzzer.args([format!("-timeout={HANG}"), format!("-rss_limit_mb={MEMORY}")]);
        fuzzer.arg(format!("-artifact_prefix={}/", place.artifacts.display()));
        if let Some(input) = &args.input {
            // Cargo runs in the workspace, the user stands somewhere in it.
            fuzzer.arg(fs::canonicalize(input).map_err(|cause| Error::Read { path: input.clone(), cause })?);
        } else if args.keep {
            keep(fuzzer, &place)?;
            continue;
        } else {
            eprintln!("fuzz: {} for {} s", target, args.seconds);
            fuzzer.args([format!("-max_total_time={}", args.seconds), format!("-max_len={LENGTH}")]);
            fuzzer.args(["-print_final_stats=1", "-verbosity=0", "-use_value_profile=1"]);
            if place.dict.exists() {
                fuzzer.arg(format!("-dict={}", place.dict.display()));
            }
            fuzzer.args([&place.found, &place.seeds]);
        }
        let status = fuzzer.status().map_err(|cause| start(&program, cause))?;
        if !status.success() {
            broken.push(target.as_str());
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(Error::Fuzz(broken.join(", "))),
    }
}

/// The names of all targets: each has a directory in the corpus, which a test of `fuzz/` sees to.
fn targets() -> Result<Vec<String>, Error> {
    let dirs = files(&cargo::root().join("fuzz/corpus"))?;
    let mut names: Vec<String> =
        dirs.iter().filter_map(|(dir, _)| Some(dir.file_name()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The directories of one target.
struct Place {
    /// In the tree.
    seeds: PathBuf,
    /// What campaigns found.
    found: PathBuf,
    artifacts: PathBuf,
    dict: PathBuf,
}

impl Place {
    fn of(name: &str) -> Result<Place, Error> {
        let (tree, target) = (cargo::root().join("fuzz"), cargo::root().join("target/fuzz"));
        let place = Place {
            seeds: tree.join("corpus").join(name),
            found: target.join("corpus").join(name),
            artifacts: target.join("artifacts").join(name),
            dict: tree.join("dict").join(name),
        };
        for dir in [&place.seeds, &place.found, &place.artifacts] {
            fs::create_dir_all(dir).map_err(|cause| Error::Write { path: dir.clone(), cause })?;
        }
        Ok(place)
    }
}

/// Builds the fuzzer into a directory of its own, because its flags are its own.
fn build() -> Result<PathBuf, Error> {
    let mut build = cargo::command();
    build.args(["build", "--profile", "fuzz", "--package", "kiln-fuzz", "--features", "libfuzzer"]);
    build.arg("--target-dir").arg(cargo::root().join("target/fuzz")).env("RUSTFLAGS", FLAGS);
    cargo::executable(&mut build, "kiln-fuzz")
}

/// Replaces the seeds that have no name of their own by the smallest inputs that cover as much.
fn keep(mut fuzzer: Command, place: &Place) -> Result<(), Error> {
    let chosen = tempfile::tempdir().map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
    fuzzer.args(["-set_cover_merge=1", "-verbosity=0"]).arg(chosen.path()).args([&place.seeds, &place.found]);
    let status = fuzzer.status().map_err(|cause| start(Path::new("kiln-fuzz"), cause))?;
    if !status.success() {
        return Err(Error::Fuzz(place.seeds.display().to_string()));
    }
    let mut inputs = files(chosen.path())?;
    inputs.sort_by_key(|(path, size)| (*size, path.clone()));
    let mut left = KEPT;
    for (old, size) in files(&place.seeds)? {
        match is_hash(&old) {
            true => fs::remove_file(&old).map_err(|cause| Error::Write { path: old, cause })?,
            false => left = left.saturating_sub(size),
        }
    }
    for (input, size) in inputs {
        let to = place.seeds.join(input.file_name().unwrap_or_default());
        if let (true, Some(rest)) = (is_hash(&input), left.checked_sub(size)) {
            left = rest;
            fs::copy(&input, &to).map_err(|cause| Error::Write { path: to, cause })?;
        }
    }
    Ok(())
}

/// libFuzzer names inputs after their SHA-1; people give them names.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.len() == 40 && name.iter().all(u8::is_ascii_hexdigit)
}

fn files(dir: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let fail = |cause| Error::Read { path: dir.to_owned(), cause };
    let entries = fs::read_dir(dir).map_err(fail)?;
    entries.map(|entry| entry.and_then(|e| Ok((e.path(), e.metadata()?.len()))).map_err(fail)).collect()
}

fn start(program: &Path, cause: std::io::Error) -> Error {
    Error::Start { program: program.display().to_string(), cause }
}
