//! Ports of one side that lead to the other.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Ssh;
use crate::{Cancel, HostError};

/// Connections through the tunnels of one machine at a time.
const CONNECTIONS: usize = 256;

/// Where the other side's ports lead.
#[derive(Clone)]
pub(crate) struct RemoteTunnels(Arc<Shared>);

struct Shared {
    targets: Mutex<HashMap<u32, String>>,
    connections: Arc<Semaphore>,
}

impl Default for RemoteTunnels {
    fn default() -> RemoteTunnels {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        RemoteTunnels(Arc::new(Shared { targets: Mutex::default(), connections }))
    }
}

impl fmt::Debug for RemoteTunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteTunnels")
    }
}

impl RemoteTunnels {
    fn set(&self, port: u32, target: Option<String>) {
        let mut targets = self.0.targets.lock().unwrap_or_else(PoisonError::into_inner);
        match target {
            Some(target) => targets.insert(port, target),
            None => targets.remove(&port),
        };
    }

    /// A connection that somebody made to a port there. Only ports that were asked for lead anywhere.
    pub(crate) fn accept(&self, channel: Channel<Msg>, port: u32, reply: ChannelOpenHandle) {
        let target = self.0.targets.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned();
        let permit = Arc::clone(&self.0.connections).try_acquire_owned();
        tokio::spawn(async move {
            let (Some(target), Ok(_permit)) = (target, permit) else {
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            };
            match TcpStream::connect(target).await {
                Ok(mut stream) => {
                    reply.accept().await;
                    // However it ends, both ends are closed by dropping them.
                    let _ = copy_bidirectional(&mut channel.into_stream(), &mut stream).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
    }
}

/// A tunnel. It ends when this is dropped, or with the connection it was made on.
#[derive(Debug)]
pub struct Tunnel {
    end: End,
    port: u16,
}

#[derive(Debug)]
enum End {
    Local(JoinHandle<()>),
    Remote { ssh: Ssh, address: String, port: u32 },
}

impl Tunnel {
    /// The port that leads to the other side, which was chosen by the system if 0 was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        match &self.end {
            End::Local(task) => task.abort(),
            End::Remote { ssh, address, port } => {
                ssh.tunnels().set(*port, None);
                let (ssh, address, port) = (ssh.clone(), address.clone(), *port);
                if let (Some(connection), Some(runtime)) = (ssh.current(), ssh.network().handle()) {
                    runtime.spawn(async move { connection.handle.cancel_tcpip_forward(address, port).await });
                }
            }
        }
    }
}

impl Ssh {
    /// Listens here, on `listen`, and connects from there to `host:port`.
    ///
    /// # Errors
    /// When it cannot listen, or not connect to the machine. That nothing answers at `host:port` only closes the single
    /// connection.
    pub fn forward_local(
        &self,
        listen: SocketAddr,
        host: &str,
        port: u16,
        cancel: &Cancel,
    ) -> Result<Tunnel, HostError> {
        let connection = self.connection(cancel)?;
        let host = host.to_owned();
        let fail = |why: String| HostError::Forward { what: format!("{listen} to {host}:{port}"), why };
        self.network().run(cancel, async {
            let listener = TcpListener::bind(listen).await.map_err(|error| fail(error.to_string()))?;
            let at = listener.local_addr().map_err(|error| fail(error.to_string()))?;
            let (target, permits) = (host.clone(), Arc::new(Semaphore::new(CONNECTIONS)));
            let task = tokio::spawn(async move {
                while let Ok((mut stream, from)) = listener.accept().await {
                    let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                    let (connection, target) = (Arc::clone(&connection), target.clone());
                    tokio::spawn(async move {
                        let (ip, from) = (from.ip().to_string(), u32::from(from.port()));
                        let opened = connection.handle.channel_open_direct_tcpip(target, u32::from(port), ip, from);
                        if let Ok(channel) = opened.await {
                            let _ = copy_bidirectional(&mut stream, &mut channel.into_stream()).await;
                        }
                        drop(permit);
                    });
                }
            });
            Ok(Tunnel { end: End::Local(task), port: at.port() })
        })
    }

    /// Lets the machine listen, on `address` and `port` there, and connects from here to `target` (`host:port`).
    ///
    /// # Errors
    /// When the server does not allow it, or the port is in use there.
    pub fn forward_remote(&self, address: &str, port: u16, target: &str, cancel: &Cancel) -> Result<Tunnel, HostError> {
        let connection = self.connection(cancel)?;
        let what = format!("{address}:{port} of {} to {target}", self.name_text());
        let asked = self.network().run(cancel, async {
            let asked = connection.handle.tcpip_forward(address, u32::from(port)).await;
            asked.map_err(|error| match error {
                russh::Error::RequestDenied => HostError::Forward {
                    what: what.clone(),
                    why: "the server refuses: the port is in use there, or it allows no forwarding".to_owned(),
                },
                other => connection.failure(&other),
            })
        })?;
        let port = if port == 0 { asked } else { u32::from(port) };
        let Ok(small) = u16::try_from(port) else {
            return Err(HostError::Forward { what, why: format!("the server answers with port {port}") });
        };
        self.tunnels().set(port, Some(target.to_owned()));
        let end = End::Remote { ssh: self.clone(), address: address.to_owned(), port };
        Ok(Tunnel { end, port: small })
    }
}
