//! `kiln cache`: what a cache in a repository or bucket holds, and removing what is too old or too much.

use kiln_engine::bucket::Opened;
use kiln_engine::remote::Place;
use kiln_engine::remote::upkeep::{self, Contents, Entry, Limits};
use kiln_engine::transfer::Mover;
use kiln_oci::Reference;
use kiln_oci::time::rfc3339;
use serde_json::json;

use crate::cli::Global;
use crate::error::{CliError, printable};
use crate::named;
use crate::options::{self, RegistryOptions};
use crate::place::{self, Around, Use};
use crate::surroundings::Surroundings;
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
    /// List the layers of steps in a repository or bucket, newest first
    #[command(visible_alias = "list")]
    Ls {
        /// A repository or bucket, as --cache-from has it
        #[arg(value_name = "CACHE")]
        cache: String,
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
    /// A repository or bucket, as --cache-to has it
    #[arg(value_name = "CACHE")]
    cache: String,
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
  kiln cache prune --max-used-space 200GB s3://team-cache/app
  kiln cache ls type=azblob,account_url=https://team.blob.core.windows.net,container=cache,name=main

Only layers of steps that Kiln pushed are listed and removed. A registry must let manifests be deleted; it frees the
space when it collects its garbage. Of a bucket, what no entry names any more goes at once.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Ls { cache, json, registry } => list(cache, *json, registry, global),
        Verb::Prune(prune) => prune.run(global),
    }
}

/// A cache that can be listed.
enum Cache {
    Repository(Reference),
    Bucket(Opened),
}

impl Cache {
    fn open(text: &str, around: &Surroundings) -> Result<Cache, CliError> {
        match place::parse("kiln cache", text, Use::Upkeep, &Around::here())?.place {
            Some(Place::Repository(name)) => Ok(Cache::Repository(name)),
            Some(Place::Bucket(bucket)) => {
                Ok(Cache::Bucket(bucket.open(around.images.client().config().cancel.clone())?))
            }
            Some(Place::Layout(dir)) => Err(CliError::usage(format!(
                "{} is a directory, whose steps cannot be removed one by one",
                dir.display()
            ))
            .with_hint("remove the directory: the next build makes it again")),
            Some(Place::Image(_)) | None => Err(CliError::usage("an image is no cache that can be listed")),
        }
    }

    fn contents(&self, mover: &Mover<'_>) -> Result<Contents, CliError> {
        Ok(match self {
            Cache::Repository(name) => upkeep::contents(mover, name)?,
            Cache::Bucket(bucket) => upkeep::bucket_contents(mover, bucket)?,
        })
    }

    fn remove(&self, mover: &Mover<'_>, entries: &[Entry]) -> Result<(), CliError> {
        match self {
            Cache::Repository(name) => upkeep::remove(mover, name, entries)?,
            Cache::Bucket(bucket) => upkeep::remove_from_bucket(mover, bucket, entries)?,
        }
        Ok(())
    }

    /// What something else is, of which there is `count`.
    fn others(&self, count: usize) -> String {
        let thing = match self {
            Cache::Repository(_) => "tags",
            Cache::Bucket(_) => "documents",
        };
        format!("{count} {thing} of something else\n")
    }
}

fn list(cache: &str, json: bool, registry: &RegistryOptions, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::online(global, registry, true, "Looking")?;
    let cache = Cache::open(cache, &around)?;
    let found = cache.contents(&named::mover(&around))?;
    progress.finish();
    match json {
        true => named::print_json(&found.entries.iter().map(as_json).collect()),
        false => named::print(&text(&cache, &found)),
    }
}

fn as_json(entry: &Entry) -> serde_json::Value {
    let (pushed, digest) = (rfc3339(entry.pushed), entry.digest.to_string());
    json!({ "key": entry.tag, "digest": digest, "step": entry.title, "pushed": pushed, "bytes": entry.size })
}

fn text(cache: &Cache, found: &Contents) -> String {
    let row = |e: &Entry| {
        let title = printable(e.title.lines().next().unwrap_or(""));
        vec![e.tag[..e.tag.len().min(12)].to_owned(), age(Some(&rfc3339(e.pushed))), size(e.size), cut(&title, TITLE)]
    };
    let rows: Vec<_> = found.entries.iter().map(row).collect();
    let all = found.entries.iter().map(|e| e.size).fold(0, u64::saturating_add);
    let mut text = table(&["KEY", "PUSHED", "SIZE", "STEP"], &rows);
    text += &format!("{} layers, {}\n", rows.len(), size(all));
    if found.others > 0 {
        text += &cache.others(found.others);
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
        let limits = self.limits()?;
        let (around, progress) = named::online(global, &self.registry, true, "Looking")?;
        let (cache, mover) = (Cache::open(&self.cache, &around)?, named::mover(&around));
        let found = cache.contents(&mover)?;
        let gone = upkeep::superfluous(&found.entries, &limits);
        if !self.dry_run {
            cache.remove(&mover, &gone)?;
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
