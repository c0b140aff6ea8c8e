//! `kiln cluster agent`: what a launcher has this binary do on a host. Not for people.

use std::io::{BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use kiln_engine::event::Silent;
use kiln_launch::agent::ledger::{Files, Item};
use kiln_launch::agent::{adapt, balance, peer, reach, receive, sweep, watch};
use kiln_launch::facts::{HOME, MARKER};
use kiln_launch::journal::Marker;
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
    /// Change the files of the root file system that the standard input lists
    Adapt {
        /// Where the root file system is
        #[arg(long)]
        rootfs: PathBuf,
    },
    /// Put back what was in the place of the files that were written
    Restore,
    /// Take away what a cluster left
    Sweep {
        /// Only files that have appeared: devices, rules and mounts are left
        #[arg(long)]
        only_files: bool,
    },
    /// Listen at ports for a while, until the report is removed
    Listen {
        /// The address
        #[arg(long)]
        at: IpAddr,
        /// Ports of TCP
        #[arg(long)]
        tcp: Vec<u16>,
        /// Ports of UDP
        #[arg(long)]
        udp: Vec<u16>,
        /// Where to write what is heard
        #[arg(long)]
        report: PathBuf,
    },
    /// Connect to the ports that the standard input lists
    Reach,
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
        Order::Install { rootfs } => print(&files.install(&items()?, Some(rootfs))?),
        Order::Adapt { rootfs } => print(&adapt::adapt(rootfs, &items()?)?),
        Order::Restore => print(&files.restore()?),
        Order::Listen { at, tcp, udp, report } => Ok(reach::listen(*at, tcp, udp, report, reach::LISTEN)?),
        Order::Reach => Ok(reach::reach(BufReader::new(std::io::stdin()), std::io::stdout().lock())?),
        Order::Sweep { only_files } => {
            let marker = std::fs::read_to_string(MARKER).ok().and_then(|text| Marker::parse(&text));
            let pods = marker.map(|marker| marker.pods).unwrap_or_default();
            let mut swept =
                if *only_files { sweep::Swept::default() } else { sweep::sweep(&pods, &watch::routes(home)) };
            // Without it nothing is deleted: it would not be known what is mounted where.
            let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")
                .map_err(|e| CliError::environment(format!("cannot read /proc/self/mountinfo: {e}")))?;
            let cleared = watch::clear(Path::new("/"), home, &mountinfo);
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

/// The files of an order.
fn items() -> Result<Vec<Item>, CliError> {
    let failed = |why: String| CliError::input(format!("the order cannot be read: {why}"));
    let mut text = Vec::new();
    std::io::stdin().take(ORDER).read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))
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
