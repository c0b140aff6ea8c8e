//! `kiln images`: what is kept, as a table.

use kiln_engine::stored::{self, Summary};
use kiln_spec::glob::Pattern;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table::{age, size, table};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only images of this name, such as `app` or `registry.example/team/*`
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only images that pass: reference=PATTERN (repeat: one must pass)
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print only the images' ids
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Show whole digests
    #[arg(long)]
    digests: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How to print: table or json
    #[arg(long, value_name = "HOW", value_parser = ["table", "json"], conflicts_with = "json")]
    format: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  kiln images                                   everything with a name
  kiln images app                               one repository
  kiln images --filter 'reference=*/team/*:1.*' by pattern
  kiln images -q --no-trunc                     ids for scripts
  kiln images --json | jq '.[].name'            all that is known

IMAGE ID is the digest of the manifest or index: what a registry calls the image, too. SIZE
is what its blobs take, compressed; images may share them.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let patterns = patterns(args)?;
    let mut images = stored::list(&named::store(global)?)?;
    images.retain(|i| patterns.is_empty() || patterns.iter().any(|p| matches(p, i)));
    if args.quiet {
        let mut seen = std::collections::HashSet::new();
        let ids: Vec<String> = images.iter().map(|i| id(i, args.no_trunc)).filter(|i| seen.insert(i.clone())).collect();
        return named::print(&ids.iter().map(|i| format!("{i}\n")).collect::<String>());
    }
    if args.json || args.format.as_deref() == Some("json") {
        return named::print_json(&images.iter().map(json).collect());
    }
    let mut head = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        head.insert(2, "DIGEST");
    }
    let rows: Vec<Vec<String>> = images.iter().map(|i| row(i, args)).collect();
    named::print(&table(&head, &rows))
}

fn row(image: &Summary, args: &Args) -> Vec<String> {
    let (repository, tag) = split(image);
    let mut row = vec![repository, tag];
    if args.digests {
        row.push(image.descriptor.digest.to_string());
    }
    row.extend([id(image, args.no_trunc), age(image.created.as_deref()), size(image.size)]);
    row
}

fn split(image: &Summary) -> (String, String) {
    let tag = image.name.tag_or_latest().unwrap_or("<none>").to_owned();
    let bare = kiln_oci::Reference { tag: Some("x".to_owned()), digest: None, ..image.name.clone() };
    (bare.familiar().trim_end_matches(":x").to_owned(), tag)
}

fn id(image: &Summary, whole: bool) -> String {
    let digest = &image.descriptor.digest;
    if whole { digest.to_string() } else { digest.hex().chars().take(12).collect() }
}

fn json(image: &Summary) -> serde_json::Value {
    serde_json::json!({
        "name": image.name.to_string(),
        "repository": split(image).0,
        "tag": image.name.tag_or_latest(),
        "digest": image.descriptor.digest.to_string(),
        "mediaType": image.descriptor.media_type,
        "platforms": image.platforms,
        "created": image.created,
        "size": image.size,
    })
}

fn patterns(args: &Args) -> Result<Vec<String>, CliError> {
    let mut all: Vec<String> = args.name.iter().cloned().collect();
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("reference", pattern)) if !pattern.is_empty() => all.push(pattern.to_owned()),
            _ => return Err(CliError::usage(format!("--filter {filter}: expected reference=PATTERN"))),
        }
    }
    for pattern in &all {
        Pattern::new(pattern).map_err(|e| CliError::usage(format!("`{pattern}` is no pattern: {e}")))?;
    }
    Ok(all)
}

/// Whether a pattern means an image: its familiar or its whole name, with or without the tag.
fn matches(pattern: &str, image: &Summary) -> bool {
    let Ok(glob) = Pattern::new(pattern) else { return false };
    let (repository, tag) = split(image);
    let whole = image.name.name();
    [format!("{repository}:{tag}"), repository, format!("{whole}:{tag}"), whole].iter().any(|name| glob.matches(name))
}
