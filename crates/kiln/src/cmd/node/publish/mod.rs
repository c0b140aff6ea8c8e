//! `kiln node publish`: a disk of this machine as an image in an account of a cloud.
//!
//! [`google`] and [`alibaba`] make what the command line says into the order of their cloud; [`source`] finds the disk.
//! What is made on the way is in a book, as that of a build: `kiln node gc` finishes what a killed one left.

mod alibaba;
mod google;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use kiln_clouds::date;
use kiln_disk::image::Format;
use kiln_ledger::{About, Book, Ledger};
use kiln_sandbox::Cancel;
use serde_json::Value;

use super::{build, gc, ledger};
use crate::cli::Global;
use crate::error::CliError;
use crate::surroundings::stop_on_signals;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cloud
    #[arg(long, value_name = "CLOUD")]
    to: To,
    /// The image's name there
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The bucket that the disk goes through
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// The object in it; without one, a name of Kiln's own
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    /// Leave the object in the bucket
    #[arg(long)]
    keep_object: bool,
    /// What people read of the image
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The family the image is in
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// A label (googlecompute) or tag (alicloud) of the image (repeat)
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Delete what is there under these names
    #[arg(long)]
    force: bool,
    /// The processor it is for: x86_64, arm64
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// The format of the disk, where its content must not decide: raw, qcow2, vhd, vmdk, gce
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<Format>,
    /// Which build of the record is meant; without one, the only one of its last run
    #[arg(long, value_name = "NAME")]
    build: Option<String>,
    /// How long the import, and each copy, may take
    #[arg(long, value_name = "SECONDS", default_value_t = 14400, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    timeout: u64,
    /// Encrypt with this key of the cloud's key service: the image (googlecompute), its copies (alicloud)
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,
    /// Let this one use the image: user:, group:, serviceAccount: or domain: and who (googlecompute); an account's
    /// number (alicloud) (repeat)
    #[arg(long, value_name = "WHO")]
    share_with: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Of Google Cloud only.
    #[command(flatten)]
    google: google::Options,
    /// Of Alibaba Cloud only.
    #[command(flatten)]
    alibaba: alibaba::Options,
    /// The disk, or the record of a build: what the post-processor `manifest` wrote, or a directory with it or with a disk
    #[arg(value_name = "DISK|RECORD")]
    disk: PathBuf,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Google Compute Engine
    Googlecompute,
    /// Elastic Compute Service of Alibaba Cloud
    Alicloud,
}

const EXAMPLES: &str = "\
Examples:
  kiln node publish --to googlecompute --project web --bucket images --name node-v7 node.qcow2
  kiln node publish --to googlecompute --project web --bucket images --name node-v7 --location eu \\
    --guest-os-feature UEFI_COMPATIBLE --share-with group:ops@example.org --label team=web output-node
  kiln node publish --to alicloud --region cn-hangzhou --bucket images --name node-v7 packer-manifest.json
  kiln node publish --to alicloud --region cn-hangzhou --bucket images --name node-v7 \\
    --copy-to cn-beijing --copy-to eu-central-1 --share-with 1234567890123456 node.raw

Credentials are looked for where the cloud's own tools do: never on the command line. What an interrupted one leaves is
deleted by it, what a killed one leaves by `kiln node gc`.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let disk = source::disk(&args.disk, args.build.as_deref())?;
    let stopped = Arc::new(AtomicBool::new(false));
    let work = match args.to {
        To::Googlecompute => google::work(args, disk)?,
        To::Alicloud => alibaba::work(args, &disk)?,
    };
    let books = Ledger::open(&ledger::dir(global)?).map_err(|error| gc::failed(&error))?;
    let build = build::uuid()?;
    let about = About {
        build: build.clone(),
        cloud: work.cloud.to_owned(),
        name: format!("publish {}", args.name),
        account: work.account.clone(),
        began: date::rfc3339(SystemTime::now()),
    };
    let book = books.begin(about).map_err(|error| gc::failed(&error))?;
    stop_on_signals(Cancel::new(), stopped.clone());
    let cancelled = || stopped.load(Ordering::Relaxed);
    let outcome = (work.publish)(&book, &cancelled);
    let left = end(book);
    let published = outcome?;
    left?;
    match args.json {
        true => crate::named::print_json(&published.json),
        false => crate::named::print(&format!("{}\n", published.lines.join("\n"))),
    }
}

/// Ends with the book. What is still open in it is told, with the call that deletes it.
fn end(book: Book) -> Result<(), CliError> {
    let (build, open) = (book.build().to_owned(), book.open());
    for (_, resource) in &open {
        let id = resource.id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
        let (kind, name, call) = (&resource.kind, &resource.name, &resource.delete);
        eprintln!("error: {}", gc::harmless(&format!("the {kind} {name}{id} is still there")));
        eprintln!("  = delete it by hand: {}", gc::harmless(call));
    }
    book.close().map_err(|error| gc::failed(&error))?;
    match open.len() {
        0 => Ok(()),
        n => {
            let what = if n == 1 { "1 resource is".to_owned() } else { format!("{n} resources are") };
            let hint = format!("`kiln node gc --build {build}` tries again");
            Err(CliError::environment(format!("{what} still there")).with_hint(hint))
        }
    }
}

/// Publishes with a book, until it is cancelled.
type Publishing = dyn FnOnce(&Book, &dyn Fn() -> bool) -> Result<Published, CliError>;

/// An order of one cloud.
struct Work {
    /// As books name it.
    cloud: &'static str,
    /// For the book.
    account: BTreeMap<String, String>,
    /// Does it.
    publish: Box<Publishing>,
}

/// What came of it.
struct Published {
    /// For people: what to write where an image is asked for.
    lines: Vec<String>,
    /// For programs.
    json: Value,
}

/// What is said on the way.
fn tell(line: &str) {
    eprintln!("==> {}", gc::harmless(line));
}

/// It ended because the user wanted it to.
fn interrupted(text: &str) -> CliError {
    eprintln!("error: {text}");
    CliError::Told { code: 130 }
}

fn limit(args: &Args) -> Duration {
    Duration::from_secs(args.timeout)
}

fn format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(|(name, _)| name).join(", ");
    Format::parse(name).ok_or_else(|| format!("expected one of {}", names()))
}

/// That no option of the other cloud was given.
fn foreign(to: To, given: &[(&'static str, bool)]) -> Result<(), CliError> {
    let cloud = match to {
        To::Googlecompute => "googlecompute",
        To::Alicloud => "alicloud",
    };
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(CliError::usage(format!("{option} means nothing with --to {cloud}"))),
        None => Ok(()),
    }
}

/// An option that this cloud cannot do without.
fn needed<'a>(option: &str, to: &str, value: &'a Option<String>) -> Result<&'a str, CliError> {
    value.as_deref().ok_or_else(|| CliError::usage(format!("--to {to} needs {option}")))
}
