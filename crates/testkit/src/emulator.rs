//! Object stores as processes of their own on free loopback ports: what `scripts/emulators.sh` installs.

use std::env;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a store may take to come up: Python and Node on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Another process may take a port between its choice and its use.
const PORTS: u32 = 5;

/// The bucket that [`Store::S3rver`] comes up with.
pub const BUCKET: &str = "ready-made";

/// So many requests [`Store::MotoVerifying`] takes from anybody, for making a user and a bucket.
pub const UNVERIFIED: u32 = 4;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// S3 and Amazon's token service, by moto. Signatures are not verified.
    Moto,
    /// The same, but that all requests after the first [`UNVERIFIED`] need the signature and the rights of a user.
    MotoVerifying,
    /// S3, by s3rver, which verifies no signatures; its only key is `S3RVER`, and it has [`BUCKET`].
    S3rver,
    /// Azure Blob Storage, by azurite, with the account `devstoreaccount1`.
    Azurite,
    /// Google Cloud Storage, by gcp-storage-emulator.
    Gcs,
}

/// A running store; stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Emulator {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    pub fn start(store: Store) -> Emulator {
        for _ in 0..PORTS {
            if let Some(emulator) = Emulator::try_start(store) {
                return emulator;
            }
        }
        panic!("{store:?} did not come up on any of {PORTS} ports");
    }

    fn try_start(store: Store) -> Option<Emulator> {
        let dir = tempfile::Builder::new().prefix("kiln-emulator-").tempdir().expect("make a temporary directory");
        let port = free_port();
        let mut command = command(store, dir.path(), port);
        let log = File::create(dir.path().join("log")).expect("make a log file");
        let errors = log.try_clone().expect("share the log file");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|e| panic!("start {}: {e}", command.get_program().to_string_lossy()));
        let mut emulator = Emulator { child, address: format!("127.0.0.1:{port}"), dir };
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if emulator.child.try_wait().expect("ask for the store's state").is_some() {
                let log = emulator.log();
                assert!(log.contains("in use") || log.contains("EADDRINUSE"), "{store:?} ended:\n{log}");
                return None;
            }
            if TcpStream::connect(&emulator.address).is_ok() {
                return Some(emulator);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{store:?} does not listen after {} s:\n{}", PATIENCE.as_secs(), emulator.log());
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("find a free port").port()
}

fn command(store: Store, dir: &Path, port: u16) -> Command {
    let port = port.to_string();
    let data = dir.join("data");
    let data = data.to_str().expect("a temporary directory has a name");
    let arguments: Vec<&str> = match store {
        Store::Moto | Store::MotoVerifying => vec!["-H", "127.0.0.1", "-p", &port],
        Store::S3rver => vec!["-d", data, "-a", "127.0.0.1", "-p", &port, "--configure-bucket", BUCKET],
        // It would tell its maker of every start.
        Store::Azurite => {
            vec!["--blobHost", "127.0.0.1", "--blobPort", &port, "--location", data, "--silent", "--disableTelemetry"]
        }
        Store::Gcs => vec!["start", "--host", "127.0.0.1", "--port", &port, "--in-memory"],
    };
    let mut command = Command::new(program(store));
    // No proxy, and no one's credentials or settings, reach it.
    command.args(arguments).current_dir(dir).env_clear();
    // Listings of a few objects have several pages then.
    command.env("MOTO_S3_DEFAULT_MAX_KEYS", "5");
    if store == Store::MotoVerifying {
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", UNVERIFIED.to_string());
    }
    command.env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", dir);
    command
}

fn program(store: Store) -> PathBuf {
    let program = match store {
        Store::Moto | Store::MotoVerifying => "python/bin/moto_server",
        Store::S3rver => "node/node_modules/.bin/s3rver",
        Store::Azurite => "node/node_modules/.bin/azurite-blob",
        Store::Gcs => "python/bin/gcp-storage-emulator",
    };
    cached(program)
}

/// A program that `scripts/emulators.sh` installs, by its path in the cache.
///
/// # Panics
/// If it is not installed.
pub fn cached(program: &str) -> PathBuf {
    let path = cache().join(program);
    assert!(path.exists(), "{} is not there: run scripts/emulators.sh, which installs it", path.display());
    path
}

/// Where `scripts/emulators.sh` and its like put what they install.
pub(crate) fn cache() -> PathBuf {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable("KILN_EMULATORS") {
        return dir;
    }
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.expect("HOME is set").join("kiln-test")
}
