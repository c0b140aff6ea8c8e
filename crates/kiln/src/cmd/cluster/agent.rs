//! `kiln cluster agent`: what a launcher has this binary do on a host. Not for people.

use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use kiln_engine::event::Silent;
use kiln_launch::agent::ledger::{Files, Item};
use kiln_launch::agent::{balance, peer, receive, sweep, watch};
use kiln_launch::facts::HOME;
use kiln_store::unpack::Options;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::surroundings;

/// Bytes of an order.
const ORDER: u64 = 64 << 20;

/// Do something on a host for `kiln cluster run`; it is started by it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    order: Order,
}

/// What can be ordered.
#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Remember what is in directories that others fill
    Remember,
    /// Say how much of each blob is in the store
    Have,
    /// Take blobs from the standard input into the store
    Receive,
    /// Bring blobs from other hosts and serve them, as the launcher says
    Peer,
    /// Unpack the root file system of an image of the store
    Unpack {
        /// Its name
        image: String,
        /// Where to
        #[arg(long)]
        to: PathBuf,
    },
    /// Write the files that the standard input lists
    Install {
        /// Where the root file system is
        #[arg(long)]
        rootfs: PathBuf,
    },
    /// Put back what was in the place of the files that were written
    Restore,
    /// Take away what a cluster left
    Sweep,
    /// Pass connections on
    Balance {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Who to pass them on to
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
    },
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let home = Path::new(HOME);
    let files = Files::new("/", home);
    match &args.order {
        Order::Remember => Ok(watch::remember(Path::new("/"), home)?),
        Order::Have => {
            let store = surroundings::open_store(global)?;
            Ok(receive::have(&store, BufReader::new(std::io::stdin()), std::io::stdout().lock())?)
        }
        Order::Receive => {
            let store = surroundings::open_store(global)?;
            Ok(receive::receive(&store, BufReader::with_capacity(1 << 20, std::io::stdin()))?)
        }
        Order::Peer => {
            let store = surroundings::open_store(global)?;
            let binary = std::env::current_exe();
            let binary = binary.map_err(|e| CliError::environment(format!("cannot find this program: {e}")))?;
            let input = Box::new(BufReader::new(std::io::stdin()));
            Ok(peer::take_part(&store, &binary, input, &mut std::io::stdout())?)
        }
        Order::Unpack { image, to } => unpack(global, image, to),
        Order::Install { rootfs } => {
            let failed = |why: String| CliError::input(format!("the order cannot be read: {why}"));
            let mut text = Vec::new();
            std::io::stdin().take(ORDER).read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
            let items: Vec<Item> = serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?;
            print(&files.install(&items, Some(rootfs))?)
        }
        Order::Restore => print(&files.restore()?),
        Order::Sweep => {
            let mut swept = sweep::sweep();
            let cleared = watch::clear(Path::new("/"), home);
            swept.removed.extend(cleared.removed);
            swept.remains.extend(cleared.remains);
            print(&swept)
        }
        Order::Balance { listen, to } => {
            let failed = |e: std::io::Error| CliError::environment(format!("cannot listen at {listen}: {e}"));
            balance::balance(&TcpListener::bind(listen).map_err(failed)?, to).map_err(failed)
        }
    }
}

fn print(value: &impl serde::Serialize) -> Result<(), CliError> {
    named::print(&(serde_json::to_string(value).unwrap_or_default() + "\n"))
}

/// The root file system appears whole or not at all.
fn unpack(global: &Global, image: &str, to: &Path) -> Result<(), CliError> {
    if to.exists() {
        return Ok(());
    }
    let (around, progress) = named::offline(global, true, "Unpacking")?;
    let chosen = named::choose(&around, image, &PlatformOption::default())?;
    let failed =
        |path: &Path, e: std::io::Error| CliError::environment(format!("cannot write {}: {e}", path.display()));
    let draft = to.with_extension("new");
    if draft.exists() {
        std::fs::remove_dir_all(&draft).map_err(|e| failed(&draft, e))?;
    }
    std::fs::create_dir_all(&draft).map_err(|e| failed(&draft, e))?;
    let events = std::sync::Arc::new(Silent);
    let roots =
        kiln_engine::rootfs::Roots::new(around.store.clone(), around.images.clone(), around.lease.clone(), events);
    roots.unpack_into(&chosen.layers(), &draft, &Options::merged())?;
    std::fs::rename(&draft, to).map_err(|e| failed(to, e))?;
    progress.finish();
    Ok(())
}
