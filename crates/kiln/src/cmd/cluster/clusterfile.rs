//! Clusterfiles, and options that stand for them or beside them.

use std::path::{Path, PathBuf};

use kiln_clusterfile::{Cluster, Flags, Found, read};
use kiln_spec::diag;
use kiln_spec::source::Source;

use crate::error::{self, CliError};

/// Bytes of a file.
const MAX_BYTES: u64 = 16 << 20;

/// Options that say which hosts there are.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct HostArgs {
    /// The Clusterfile (sealer's or sealos's), `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Hosts with the control plane: addresses with commas, A-B for all between, each with a port behind `:` if need be
    #[arg(short, long, value_name = "LIST")]
    pub masters: Option<String>,
    /// Other hosts, likewise
    #[arg(short, long, value_name = "LIST")]
    pub nodes: Option<String>,
    /// Who to log in as
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// The port of their SSH servers
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The private key to log in with
    #[arg(long, value_name = "FILE")]
    pub pk: Option<String>,
    /// The address by which peers reach a host that has several; may be given for many
    #[arg(long, value_name = "HOST=ADDRESS")]
    pub node_address: Vec<String>,
}

impl HostArgs {
    /// As the reader takes them.
    pub fn flags(&self) -> Flags {
        Flags {
            masters: self.masters.clone(),
            nodes: self.nodes.clone(),
            user: self.user.clone(),
            port: self.port,
            key: self.pk.clone(),
            node_addresses: self.node_address.clone(),
            ..Flags::default()
        }
    }

    /// The cluster that they describe; warnings, and notes on what was read differently, are shown.
    pub fn cluster(&self) -> Result<Cluster, CliError> {
        let source = self.file.as_deref().map(text).transpose()?;
        cluster(source.as_ref(), &self.flags())
    }
}

/// The cluster of a Clusterfile and options; mistakes are shown.
pub fn cluster(file: Option<&Source>, flags: &Flags) -> Result<Cluster, CliError> {
    let read = read(file, flags);
    show(&read.found);
    let cluster = read.cluster.ok_or(CliError::Found)?;
    for note in &cluster.notes {
        eprintln!("note: {}", error::printable(&format!("{}: {}", note.origin, note.value)));
    }
    Ok(cluster)
}

fn show(found: &[Found]) {
    for Found { source, diagnostic } in found {
        eprint!("{}", diag::render(diagnostic, source, error::in_color()));
    }
}

/// A file of the user's, or standard input.
pub fn text(path: &Path) -> Result<Source, CliError> {
    use std::io::Read as _;
    let name = path.display().to_string();
    let wrong = |why: String| CliError::input(format!("cannot read {name}: {why}"));
    let mut bytes = Vec::new();
    let input: Box<dyn std::io::Read> = match name.as_str() {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?),
    };
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("more than {} MiB", MAX_BYTES >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("this is not UTF-8".to_owned()))?;
    Ok(Source { name, text })
}
