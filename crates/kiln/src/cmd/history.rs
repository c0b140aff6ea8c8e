//! `kiln history`: how an image was made, newest first.

use serde_json::json;

use crate::cli::Global;
use crate::error::{CliError, printable};
use crate::named::{self, Chosen, PlatformOption};
use crate::table::{age, cut, size, table};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
    /// Do not cut long instructions
    #[arg(long)]
    no_trunc: bool,
    /// Print only the layers' digests, `<none>` where an instruction made none
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln history app
  kiln history --no-trunc app                 whole instructions
  kiln history --json app | jq '.[].layer'    the layer each instruction made";

struct Row<'a> {
    created: Option<&'a str>,
    by: &'a str,
    comment: &'a str,
    layer: Option<&'a kiln_oci::Descriptor>,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, true, "Reading")?;
    let image = named::choose(&around, &args.image, &args.platform)?;
    progress.finish();
    let rows = rows(&image);
    if args.json {
        let all = rows.iter().map(|r| {
            json!({
                "created": r.created,
                "createdBy": r.by,
                "comment": r.comment,
                "layer": r.layer.map(|l| l.digest.to_string()),
                "size": r.layer.map_or(0, |l| l.size),
            })
        });
        return named::print_json(&all.collect());
    }
    let id = |r: &Row<'_>| match (r.layer, args.no_trunc) {
        (None, _) => "<none>".to_owned(),
        (Some(layer), true) => layer.digest.to_string(),
        (Some(layer), false) => layer.digest.hex().chars().take(12).collect(),
    };
    if args.quiet {
        return named::print(&rows.iter().map(|r| id(r) + "\n").collect::<String>());
    }
    let line = |text: &str| printable(&text.replace(['\n', '\t'], " "));
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            let by = if args.no_trunc { line(r.by) } else { cut(&line(r.by), 60) };
            vec![id(r), age(r.created), by, size(r.layer.map_or(0, |l| l.size)), line(r.comment)]
        })
        .collect();
    named::print(&table(&["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows))
}

/// One row an entry, newest first, with the layers given to the entries that made some. A history that does not fit
/// its layers leaves them out.
fn rows(image: &Chosen) -> Vec<Row<'_>> {
    let history = &image.config.history;
    let made = history.iter().filter(|h| !h.empty_layer).count();
    let mut layers = image.manifest.layers.iter();
    let mut rows: Vec<Row<'_>> = history
        .iter()
        .map(|h| Row {
            created: h.created.as_deref(),
            by: h.created_by.as_deref().unwrap_or_default(),
            comment: h.comment.as_deref().unwrap_or_default(),
            layer: if h.empty_layer || made != image.manifest.layers.len() { None } else { layers.next() },
        })
        .collect();
    if history.is_empty() {
        rows.extend(image.manifest.layers.iter().map(|l| Row { created: None, by: "", comment: "", layer: Some(l) }));
    }
    rows.reverse();
    rows
}
