//! `kiln cache`: what a cache repository holds, and removing what is too old or too much.

use kiln_engine::remote::upkeep::{self, Contents, Entry, Limits};
use kiln_oci::Reference;
use kiln_oci::time::rfc3339;
use serde_json::json;

use crate::cli::Global;
use crate::error::{CliError, printable};
use crate::named;
use crate::options::{self, RegistryOptions};
use crate::table::{age, cut, size, table};

/// Columns of a step that are shown.
const TITLE: usize = 60;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the layers of steps in a repository, newest first
    #[command(visible_alias = "list")]
    Ls {
        /// The repository, as --cache-from has it
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How registries are reached.
        #[command(flatten)]
        registry: RegistryOptions,
    },
    /// Remove what is too old or too much
    Prune(Prune),
}

/// `kiln cache prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Prune {
    /// The repository, as --cache-to has it
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Keep what was pushed within this time, such as 168h
    #[arg(long, value_name = "TIME", required_unless_present_any = ["keep_count", "max_used_space"])]
    keep_duration: Option<String>,
    /// Keep as many of the newest
    #[arg(long, value_name = "N")]
    keep_count: Option<usize>,
    /// Keep as much of the newest, such as 20GB
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<String>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln cache ls registry.example/app/cache
  kiln cache prune --keep-duration 336h registry.example/app/cache
  kiln cache prune --keep-count 5000 --max-used-space 50GB registry.example/app/cache
  kiln cache prune --keep-count 0 --dry-run registry.example/app/cache

Only layers of steps that Kiln pushed are listed and removed. The registry must let manifests be deleted; it frees the
space when it collects its garbage.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Ls { repository, json, registry } => list(&parse(repository)?, *json, registry, global),
        Verb::Prune(prune) => prune.run(global),
    }
}

fn parse(text: &str) -> Result<Reference, CliError> {
    let name = named::reference(text)?;
    match (&name.tag, &name.digest) {
        (None, None) => Ok(name),
        _ => Err(CliError::usage(format!("`{text}` names an image: a cache is a repository, without tag or digest"))),
    }
}

fn list(repository: &Reference, json: bool, registry: &RegistryOptions, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::online(global, registry, true, "Looking")?;
    let found = upkeep::contents(&named::mover(&around), repository)?;
    progress.finish();
    match json {
        true => named::print_json(&found.entries.iter().map(as_json).collect()),
        false => named::print(&text(&found)),
    }
}

fn as_json(entry: &Entry) -> serde_json::Value {
    let (pushed, digest) = (rfc3339(entry.pushed), entry.digest.to_string());
    json!({ "key": entry.tag, "digest": digest, "step": entry.title, "pushed": pushed, "bytes": entry.size })
}

fn text(found: &Contents) -> String {
    let row = |e: &Entry| {
        let title = printable(e.title.lines().next().unwrap_or(""));
        vec![e.tag[..e.tag.len().min(12)].to_owned(), age(Some(&rfc3339(e.pushed))), size(e.size), cut(&title, TITLE)]
    };
    let rows: Vec<_> = found.entries.iter().map(row).collect();
    let all = found.entries.iter().map(|e| e.size).fold(0, u64::saturating_add);
    let mut text = table(&["KEY", "PUSHED", "SIZE", "STEP"], &rows);
    text += &format!("{} layers, {}\n", rows.len(), size(all));
    if found.others > 0 {
        text += &format!("{} tags of something else\n", found.others);
    }
    text
}

impl Prune {
    fn limits(&self) -> Result<Limits, CliError> {
        Ok(Limits {
            age: options::time("--keep-duration", self.keep_duration.as_deref())?,
            count: self.keep_count,
            size: options::size("--max-used-space", self.max_used_space.as_deref())?,
        })
    }

    fn run(&self, global: &Global) -> Result<(), CliError> {
        let (repository, limits) = (parse(&self.repository)?, self.limits()?);
        let (around, progress) = named::online(global, &self.registry, true, "Looking")?;
        let mover = named::mover(&around);
        let found = upkeep::contents(&mover, &repository)?;
        let gone = upkeep::superfluous(&found.entries, &limits);
        if !self.dry_run {
            upkeep::remove(&mover, &repository, &gone)?;
        }
        progress.finish();
        if self.json {
            let removed: Vec<_> = gone.iter().map(as_json).collect();
            return named::print_json(&json!({ "removed": removed, "kept": found.entries.len() - gone.len() }));
        }
        let bytes = gone.iter().map(|e| e.size).fold(0, u64::saturating_add);
        let word = if self.dry_run { "Would remove" } else { "Removed" };
        let kept = found.entries.len() - gone.len();
        named::print(&format!("{word} {} layers, {}; {kept} stay\n", gone.len(), size(bytes)))
    }
}
