//! Listening, and the life of connections.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use kiln_registry::Client;
use kiln_store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::auth::Auth;
use crate::body::{Mark, Outbox, Payload};
use crate::crowd::Crowd;
use crate::error::ServeError;
use crate::library::Library;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::proxy::{Proxy, Upstreams};
use crate::service::{App, Connection, Policy, answer, json};
use crate::tls::Certificate;
use crate::upload::{EXPIRY, Uploads};
use crate::wire::{Busy, Plain, Timed};

/// A TLS handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The headers of a request take no longer.
const HEADERS: Duration = Duration::from_secs(30);
/// What is read of a connection at a time, and the most that headers may take.
const BUFFER: usize = 128 << 10;
/// The most requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 64;
/// Threads that wait for the disk, at the most.
const DISK_THREADS: usize = 64;

/// What is served, where and how.
pub struct Settings {
    /// The store.
    pub store: Store,
    /// Only these names of it, and what they contain; all, if there are none.
    pub images: Vec<String>,
    /// Where.
    pub address: SocketAddr,
    /// Over TLS with this certificate.
    pub certificate: Option<Certificate>,
    /// Where numbers and health are told, in plain HTTP.
    pub debug_address: Option<SocketAddr>,
    /// Who may do what.
    pub auth: Auth,
    /// What can be done.
    pub policy: Policy,
    /// The longest blob that is taken, in bytes.
    pub max_upload: u64,
    /// The most connections at a time.
    pub connections: usize,
    /// The most of them from one address: an IPv4 address, or 64 bits of an IPv6 address.
    pub connections_per_address: usize,
    /// A connection on which nothing moves for this long is closed.
    pub patience: Duration,
    /// Other registries whose images are fetched and kept, and the client for that.
    pub proxy: Option<(Client, Upstreams)>,
    /// Where lines go.
    pub log: Arc<Log>,
}

/// A registry that is served. Dropped, it ends at once; [`Running::stop`] lets transfers end first.
pub struct Running {
    address: SocketAddr,
    debug_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
    runtime: Option<Runtime>,
}

impl Running {
    /// Begins to serve: when this returns, connections are taken.
    ///
    /// # Errors
    /// When addresses cannot be listened on, or the certificate is not usable.
    pub fn start(settings: Settings) -> Result<Running, ServeError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("serve").max_blocking_threads(DISK_THREADS);
        let runtime = builder.build().map_err(ServeError::Start)?;
        let tls = settings.certificate.as_ref().map(|own| own.server(&settings.log)).transpose()?;
        let listen = |address: SocketAddr| {
            let listener = runtime.block_on(TcpListener::bind(address));
            listener
                .and_then(|l| l.local_addr().map(|a| (l, a)))
                .map_err(|source| ServeError::Listen { address, source })
        };
        let (listener, address) = listen(settings.address)?;
        let debug = settings.debug_address.map(listen).transpose()?;
        let app = Arc::new(app(
            settings.store,
            settings.images,
            &settings.log,
            settings.max_upload,
            Parts { auth: settings.auth, policy: settings.policy, proxy: settings.proxy },
        ));
        let (stop, stopping) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let (connections, patience) = (settings.connections, settings.patience);
        let limits = Limits { connections, per_address: settings.connections_per_address, patience };
        let main = Acceptor { app: app.clone(), tls: tls.map(TlsAcceptor::from), limits, stopping: stopping.clone() };
        let debug_address = debug.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = debug {
            let limits = Limits { connections: 64, per_address: 64, patience };
            let acceptor = Acceptor { app: app.clone(), tls: None, limits, stopping };
            runtime.spawn(acceptor.run(listener, Mark::default(), debug_answer));
        }
        runtime.spawn(expire(app));
        runtime.spawn(async move {
            main.run(listener, Mark::default(), answer).await;
            finished.send_replace(true);
        });
        Ok(Running { address, debug_address, stop, done, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where numbers are told.
    pub fn debug_address(&self) -> Option<SocketAddr> {
        self.debug_address
    }

    /// Takes no more connections, and waits until those there are have ended what they do. `hurry` ends the waiting.
    pub fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async move {
                tokio::select! {
                    _ = done.wait_for(|done| *done) => {}
                    () = hurry => {}
                }
            });
            runtime.shutdown_background();
        }
    }

    /// Waits for something beside serving: a signal.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.as_ref().map(|runtime| runtime.block_on(work))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Parts {
    auth: Auth,
    policy: Policy,
    proxy: Option<(Client, Upstreams)>,
}

fn app(store: Store, images: Vec<String>, log: &Arc<Log>, max_upload: u64, parts: Parts) -> App {
    let metrics = Arc::new(Metrics::default());
    // What is only a part of the store is not to be written.
    let read_only = parts.policy.read_only || store.is_read_only() || !images.is_empty();
    let library = Arc::new(Library::new(store, images, log.clone()));
    let proxy = parts.proxy.map(|(client, upstreams)| {
        Arc::new(Proxy::new(client, upstreams, library.clone(), metrics.clone(), log.clone()))
    });
    App {
        library,
        uploads: Arc::new(Uploads::new(max_upload)),
        auth: parts.auth,
        policy: Policy { read_only, ..parts.policy },
        proxy,
        metrics,
        log: log.clone(),
    }
}

/// Gives up uploads that nobody goes on with.
async fn expire(app: Arc<App>) {
    loop {
        tokio::time::sleep(Duration::from_secs(600)).await;
        let app = app.clone();
        let _ = tokio::task::spawn_blocking(move || app.uploads.expire(&app.library, EXPIRY)).await;
    }
}

#[derive(Clone, Copy)]
struct Limits {
    connections: usize,
    per_address: usize,
    patience: Duration,
}

struct Acceptor {
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    /// Takes connections until it is to stop, and then waits for those there are.
    async fn run<F, R>(self, listener: TcpListener, mark: Mark, answer: F)
    where
        F: Fn(Arc<App>, Connection, Request<Incoming>) -> R + Clone + Send + 'static,
        R: Future<Output = Result<Response<Payload>, std::convert::Infallible>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut stopping = self.stopping.clone();
        let mut running = JoinSet::new();
        let crowd = Arc::new(Crowd::new(self.limits.per_address));
        loop {
            let accepted = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accepted => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            while running.try_join_next().is_some() {}
            match accepted {
                Ok((tcp, peer)) => {
                    let Some(seat) = crowd.seat(peer.ip()) else {
                        self.app.metrics.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let connection = Connection {
                        peer,
                        tls: self.tls.is_some(),
                        outbox: Outbox::default(),
                        mark: mark.clone(),
                        busy: Busy::default(),
                    };
                    let (app, tls, stopping) = (self.app.clone(), self.tls.clone(), self.stopping.clone());
                    let (answer, patience) = (answer.clone(), self.limits.patience);
                    running.spawn(async move {
                        let (_place, _seat) = (place, seat);
                        app.metrics.connections.fetch_add(1, Ordering::Relaxed);
                        serve(app.clone(), tcp, tls, connection, stopping, answer, patience).await;
                        app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                // No descriptors, say: others have to end first.
                Err(error) => {
                    self.app.log.say(&format!("cannot take a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        while running.join_next().await.is_some() {}
    }
}

async fn serve<F, R>(
    app: Arc<App>,
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: Connection,
    stopping: watch::Receiver<bool>,
    answer: F,
    patience: Duration,
) where
    F: Fn(Arc<App>, Connection, Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<Payload>, std::convert::Infallible>> + Send + 'static,
{
    let _ = tcp.set_nodelay(true);
    let (busy, metrics) = (connection.busy.clone(), app.metrics.clone());
    match tls {
        None => {
            let plain = Plain::new(tcp, connection.mark.clone(), connection.outbox.clone());
            speak(app, Timed::new(plain, patience, busy, metrics), connection, stopping, answer).await;
        }
        Some(tls) => {
            // Who does not get through a handshake is not worth a line.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
                speak(app, Timed::new(stream, patience, busy, metrics), connection, stopping, answer).await;
            }
        }
    }
}

async fn speak<S, F, R>(
    app: Arc<App>,
    stream: S,
    connection: Connection,
    mut stopping: watch::Receiver<bool>,
    answer: F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Arc<App>, Connection, Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<Payload>, std::convert::Infallible>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(BUFFER)
        .half_close(false)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(32 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let service = service_fn(move |request| answer(app.clone(), connection.clone(), request));
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let stop = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        // A peer that breaks the connection, or the protocol, has nobody who would read about it.
        _ = serving.as_mut() => return,
        () = stop => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

/// Numbers and health, at an address of their own.
async fn debug_answer(
    app: Arc<App>,
    _: Connection,
    request: Request<Incoming>,
) -> Result<Response<Payload>, std::convert::Infallible> {
    Ok(match request.uri().path() {
        "/healthz" | "/debug/health" => {
            let library = app.library.clone();
            let healthy = tokio::task::spawn_blocking(move || library.catalog().is_ok()).await.unwrap_or(false);
            let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(status, serde_json::json!({"healthy": healthy}).to_string())
        }
        "/metrics" => {
            let mut response = json(StatusCode::OK, app.metrics.render(app.uploads.count()));
            let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        _ => json(StatusCode::NOT_FOUND, "{}".to_owned()),
    })
}
