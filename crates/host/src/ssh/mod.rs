//! A machine over SSH.
//!
//! [`options`] how to reach it, and what Packer's keys are here     [`wait`] until it answers, and why it does not
//! [`tunnel`] ports of one side that lead to the other     [`target`] what a user writes for a machine
//!
//! Connections are made when they are needed, are kept, and are made anew after they broke: but never in the middle of a
//! command, which then fails.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) mod auth;
pub(crate) mod dial;
pub(crate) mod exec;
pub mod options;
pub(crate) mod session;
pub mod target;
pub mod tunnel;
pub(crate) mod verify;
pub mod wait;

pub use options::{Algorithms, Auth, Family, HostKeys, Proxy, ProxyKind, SshOptions};
pub use target::{Target, User};
pub use tunnel::Tunnel;
pub use wait::{HostKeyProblem, Unreachable, WaitOptions};

use session::{Connection, Within};
use tunnel::RemoteTunnels;

use crate::copy::{self, Put, RemotePath, Source, Transfer};
use crate::keys::PublicKey;
use crate::{Cancel, Command, Exit, Host, HostError, Network, Streams};

/// A machine over SSH. Clones share the connection.
#[derive(Clone)]
pub struct Ssh(Arc<Inner>);

struct Inner {
    network: Network,
    options: SshOptions,
    name: String,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting, so that many callers make one connection.
    connecting: tokio::sync::Mutex<()>,
    tunnels: RemoteTunnels,
}

impl std::fmt::Debug for Ssh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ssh").field(&self.0.name).finish()
    }
}

impl Ssh {
    /// A machine that is not connected to yet.
    pub fn new(network: &Network, options: SshOptions) -> Ssh {
        Ssh(Arc::new(Inner {
            network: network.clone(),
            name: options.name(),
            options,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            tunnels: RemoteTunnels::default(),
        }))
    }

    /// How it is reached.
    pub fn options(&self) -> &SshOptions {
        &self.0.options
    }

    /// Connects, if it is not connected.
    ///
    /// # Errors
    /// [`HostError::Connect`] with the reason.
    pub fn connect(&self, cancel: &Cancel) -> Result<(), HostError> {
        self.connect_within(None, cancel)
    }

    /// Ends the connection; running commands fail. The next call makes a new one.
    pub fn disconnect(&self) {
        let connection = self.slot().take();
        if let (Some(connection), Some(runtime)) = (connection, self.0.network.handle()) {
            runtime.spawn(async move {
                let _ = connection.handle.disconnect(russh::Disconnect::ByApplication, "done", "en").await;
            });
        }
    }

    /// The key that the machine proved to have, while it is connected.
    pub fn host_key(&self) -> Option<PublicKey> {
        self.current()?.found.key()
    }

    pub(crate) fn name_text(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn network(&self) -> &Network {
        &self.0.network
    }

    pub(crate) fn tunnels(&self) -> &RemoteTunnels {
        &self.0.tunnels
    }

    pub(crate) fn connect_within(&self, within: Within, cancel: &Cancel) -> Result<(), HostError> {
        self.0.network.run(cancel, self.connected(within)).map(|_| ())
    }

    /// The connection; a new one if there is none.
    pub(crate) fn connection(&self, cancel: &Cancel) -> Result<Arc<Connection>, HostError> {
        self.0.network.run(cancel, self.connected(None))
    }

    pub(crate) fn current(&self) -> Option<Arc<Connection>> {
        self.slot().clone().filter(|connection| !connection.closed())
    }

    pub(crate) fn pause(&self, time: std::time::Duration, cancel: &Cancel) -> Result<(), HostError> {
        self.0.network.run(cancel, async {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    async fn connected(&self, within: Within) -> Result<Arc<Connection>, HostError> {
        let _one = self.0.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let opened = Connection::open(&self.0.options, self.0.tunnels.clone(), within).await;
        let connection = opened.map_err(|why| HostError::Connect { host: self.0.name.clone(), why })?;
        let connection = Arc::new(connection);
        *self.slot() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connection>>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for Ssh {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn run(&self, command: &Command, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
        let connection = self.connection(cancel)?;
        self.0.network.block(exec::exec(&connection, command, streams, cancel))
    }

    fn put(&self, source: Source<'_>, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
        let connection = self.connection(cancel)?;
        self.0.network.run(cancel, async {
            match how.method.unwrap_or(self.0.options.transfer) {
                Transfer::Sftp => copy::sftp_copy::put(&connection, source, to, how).await,
                Transfer::Scp => copy::scp::put(&connection, source, to, how).await,
            }
        })
    }

    fn get(&self, from: &RemotePath, into: &mut (dyn Write + Send), cancel: &Cancel) -> Result<u32, HostError> {
        let connection = self.connection(cancel)?;
        self.0.network.run(cancel, async {
            match self.0.options.transfer {
                Transfer::Sftp => copy::sftp_copy::get(&connection, from, into).await,
                Transfer::Scp => copy::scp::get(&connection, from, into).await,
            }
        })
    }

    fn put_directory(
        &self,
        from: &std::path::Path,
        to: &RemotePath,
        how: &Put,
        cancel: &Cancel,
    ) -> Result<(), HostError> {
        let connection = self.connection(cancel)?;
        let method = how.method.unwrap_or(self.0.options.transfer);
        self.0.network.run(cancel, async {
            match method {
                Transfer::Sftp => copy::sftp_copy::put_directory(&connection, from, to, how).await,
                Transfer::Scp => copy::scp::put_directory(&connection, from, to, how).await,
            }
        })
    }

    fn get_directory(&self, from: &RemotePath, to: &std::path::Path, cancel: &Cancel) -> Result<(), HostError> {
        let connection = self.connection(cancel)?;
        self.0.network.run(cancel, async {
            match self.0.options.transfer {
                Transfer::Sftp => copy::sftp_copy::get_directory(&connection, from, to).await,
                Transfer::Scp => copy::scp::get_directory(&connection, from, to).await,
            }
        })
    }
}
