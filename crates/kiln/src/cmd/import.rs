//! `kiln import`: a tar of files becomes an image.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_engine::archive::{Input, import};
use kiln_oci::compress::Compression;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::options::RegistryOptions;
use crate::surroundings::{Surroundings, said_time};

/// Tars fetched from a URL may have this many bytes.
const MAX_DOWNLOAD: u64 = 1 << 40;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The tar: a file, a URL, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    /// The name of the image
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// A Dockerfile instruction to apply (repeat), such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A remark for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the files are for.
    #[command(flatten)]
    platform: PlatformOption,
    /// How registries, and the URL, are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  mmdebstrap trixie - | kiln import - debian:mine      a system made by other means
  kiln import -c 'CMD [\"sh\"]' -c 'ENV A=b' fs.tar.xz app
  kiln import https://example.com/rootfs.tar.gz base

With SOURCE_DATE_EPOCH set, the same files give the same image.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let name = args.image.as_deref().map(named::reference).transpose()?;
    if name.as_ref().is_some_and(|n| n.digest.is_some()) {
        return Err(CliError::usage("an image to be made is named by a tag, not a digest"));
    }
    let platform = args.platform.or_host()?;
    let created = created()?;
    let (around, progress) = named::online(global, &args.registry, false, "Importing")?;
    let input = open(&args.source, &around)?;
    let wanted = import::Wanted {
        changes: &args.change,
        message: args.message.as_deref(),
        platform: &platform,
        created,
        compression: Compression::default(),
    };
    let root = import::import(&named::mover(&around), input, &args.source, &wanted, name.as_ref())?;
    progress.finish();
    named::print(&format!("{}\n", root.digest))
}

fn open(source: &str, around: &Surroundings) -> Result<Box<dyn Read + Send>, CliError> {
    if source.starts_with("http://") || source.starts_with("https://") {
        let failed = |e: std::io::Error| CliError::environment(format!("cannot keep what is fetched: {e}"));
        let mut file: File = tempfile::tempfile().map_err(failed)?;
        around.images.client().fetch_url(source, None, MAX_DOWNLOAD, &mut file, &|_| {})?;
        file.rewind().map_err(failed)?;
        return Ok(Box::new(file));
    }
    let input = if source == "-" { Input::Stdin } else { Input::Path(PathBuf::from(source)) };
    Ok(import::open(&input)?)
}

fn created() -> Result<i64, CliError> {
    match said_time()? {
        Some(time) => Ok(time),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            Ok(i64::try_from(now).unwrap_or(i64::MAX))
        }
    }
}
