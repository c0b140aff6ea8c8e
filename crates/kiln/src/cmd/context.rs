//! `kiln context`: a build context goes to where a build elsewhere finds it.

use std::path::{Path, PathBuf};

use kiln_engine::context::{DirSource, pack};
use kiln_engine::fetch::object;
use kiln_engine::isolation;
use kiln_oci::compress::Compression;
use kiln_sandbox::{Confinement, Standing};

use crate::cli::Global;
use crate::cmd::build::inputs::{ignore_of, name_in_archive, session_for_fetch};
use crate::error::CliError;
use crate::named;
use crate::options::RegistryOptions;
use crate::progress::Progress;
use crate::surroundings;
use crate::table::size;

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
    /// Pack a build context and upload it to an object store
    Push(Push),
}

/// `kiln context push`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Push {
    /// The build context
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where to: s3://BUCKET/KEY, gs://BUCKET/NAME or https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME
    #[arg(value_name = "URL")]
    url: String,
    /// The Dockerfile, which goes with the context though it may be excluded
    #[arg(short = 'f', long, value_name = "NAME", default_value = "Dockerfile")]
    file: String,
}

const EXAMPLES: &str = "\
Examples:
  kiln context push . s3://builds/app/1.tar.gz
  kiln context push --file deploy/Dockerfile . gs://builds/app/1.tar.zst
  kiln executor --context=s3://builds/app/1.tar.gz --destination=registry.example/app:1

What .dockerignore excludes stays here. The name decides how the archive is compressed: .tar, .tar.zst, else gzip.
Credentials are those the clouds' own tools find; S3_ENDPOINT and S3_FORCE_PATH_STYLE are for stores that speak S3.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Push(push) => push.run(global),
    }
}

impl Push {
    fn run(&self, global: &Global) -> Result<(), CliError> {
        let Some(location) = object::location(&self.url)? else {
            return Err(CliError::usage(format!("`{}` is not an address in an object store", self.url)).with_hint(
                "s3://BUCKET/KEY, gs://BUCKET/NAME or https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME",
            ));
        };
        let file = self.dockerfile()?;
        let progress = Progress::start(global.progress, "Uploading");
        let (registry, pull) = (RegistryOptions::default(), kiln_engine::images::Pull::Never);
        let around = surroundings::open(
            global,
            &registry,
            pull,
            progress.events(),
            isolation::form(None, &Standing::Outside, &Confinement::here()),
        )?;
        let session = session_for_fetch(&around);
        let source = DirSource::open(&self.dir, ignore_of(&self.dir, &file)?)?;
        let whole = DirSource::open(&self.dir, None)?;
        let always = [file.clone(), format!("{file}.dockerignore"), ".dockerignore".to_owned()];
        let draft = around.store.begin_snapshot()?;
        let file = tempfile_in(draft.fs())?;
        let threads = session.compress_threads();
        let count = pack(&source, &whole, &always, compression(&self.url), threads, &file)?;
        let bytes = file.metadata().map_err(kiln_engine::EngineError::file("look at", draft.fs()))?.len();
        object::upload(&session, &self.url, &location, &file, bytes)?;
        progress.finish();
        named::print(&format!("{}: {count} files, {}\n", kiln_engine::fetch::http::shown(&self.url), size(bytes)))
    }
}

impl Push {
    /// The Dockerfile's name in the context, as the archive has it.
    fn dockerfile(&self) -> Result<String, CliError> {
        match name_in_archive(Path::new(&self.file)) {
            Some(name) if self.dir.join(&name).is_file() => Ok(name),
            _ => Err(CliError::input(format!("there is no {} in {}", self.file, self.dir.display()))
                .with_hint("name the Dockerfile with -f, as a path in the context")),
        }
    }
}

fn tempfile_in(dir: &Path) -> Result<std::fs::File, CliError> {
    let path = dir.join("context");
    let made = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
    Ok(made.map_err(kiln_engine::EngineError::file("write", &path))?)
}

/// What the end of an address asks for.
fn compression(url: &str) -> Compression {
    let name = url.split(['?', '#']).next().unwrap_or(url);
    if name.ends_with(".tar.zst") || name.ends_with(".tzst") {
        Compression::Zstd { level: 3 }
    } else if name.ends_with(".tar") {
        Compression::None
    } else {
        Compression::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_how_it_is_compressed() {
        assert_eq!(compression("s3://b/c.tar"), Compression::None);
        assert_eq!(compression("https://a/b/c.tar.zst?sig=x.tar"), Compression::Zstd { level: 3 });
        assert_eq!(compression("gs://b/c.tar.gz"), Compression::default());
    }
}
