//! From a name to a stream of bytes: addresses, proxies, and what the other side said first.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::options::{Family, Proxy, ProxyKind, SshOptions};
use super::wait::Unreachable;
use crate::error::printable;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;
/// Between two connections to a machine that does not greet, and how many are kept open beside each other: fewer than
/// servers take from somebody who has not logged in yet.
const AGAIN: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 6;
/// The header of an HTTP proxy's answer.
const HEADER_LIMIT: usize = 16 << 10;
/// How much of the other side's first bytes is kept.
const START_LIMIT: usize = 255;

/// A stream of bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the machine itself, or to its proxy and through that.
pub(crate) async fn dial(options: &SshOptions, within: Duration) -> Result<Box<dyn Stream>, Unreachable> {
    let Some(proxy) = &options.proxy else {
        return Ok(Box::new(tcp(&options.host, options.port, options.family, within).await?));
    };
    let name = format!("{}:{}", proxy.host, proxy.port);
    let fail = |why: String| Unreachable::Proxy { proxy: name.clone(), why };
    let stream = tcp(&proxy.host, proxy.port, Family::Any, within).await.map_err(|why| fail(why.to_string()))?;
    let through = async {
        match proxy.kind {
            ProxyKind::Socks5 => socks5(stream, proxy, options).await,
            ProxyKind::Http => http_connect(stream, proxy, options).await,
        }
    };
    match timeout(within, through).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(why)) => Err(fail(why)),
        Err(_) => Err(fail(format!("no answer within {:.1} s", within.as_secs_f64()))),
    }
}

/// Connects to a machine that may be booting, and returns the first connection on which it says something.
///
/// Whoever forwards the port of a virtual machine accepts connections before the machine has a network, and tells it of
/// them again only after seconds. So a new connection is made beside those that are silent.
pub(crate) async fn first_to_greet(options: &SshOptions, within: Duration) -> Result<Box<dyn Stream>, Unreachable> {
    let mut tries = JoinSet::new();
    let mut last = Unreachable::NoBanner(within);
    let mut next = tokio::time::Instant::now();
    let end = next + within;
    loop {
        tokio::select! {
            biased;
            Some(tried) = tries.join_next(), if !tries.is_empty() => match tried {
                Ok(Ok(stream)) => return Ok(Box::new(stream)),
                Ok(Err(why)) => last = why,
                Err(_) => {}
            },
            () = tokio::time::sleep_until(next), if tries.len() < AT_ONCE => {
                let (host, port, family) = (options.host.clone(), options.port, options.family);
                tries.spawn(async move { greeting(&host, port, family, within).await });
                next += AGAIN;
            }
            () = tokio::time::sleep_until(end) => return Err(last),
        }
        // None is left that could still greet: the caller decides when to try again.
        if tries.is_empty() {
            return Err(last);
        }
    }
}

/// A connection on which the other side has said something, which is still to be read.
async fn greeting(host: &str, port: u16, family: Family, within: Duration) -> Result<TcpStream, Unreachable> {
    let stream = tcp(host, port, family, within).await?;
    match timeout(within, stream.peek(&mut [0; 1])).await {
        Ok(Ok(1..)) => Ok(stream),
        Ok(_) => Err(Unreachable::Closed(String::new())),
        Err(_) => Err(Unreachable::NoBanner(within)),
    }
}

async fn tcp(host: &str, port: u16, family: Family, within: Duration) -> Result<TcpStream, Unreachable> {
    let end = Instant::now() + within;
    let fail = |why: String| Unreachable::Name { name: printable(host.as_bytes()), why };
    let host_only = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = match timeout(within, lookup_host((host_only, port))).await {
        Ok(found) => found.map_err(|error| fail(lookup_text(&error)))?,
        Err(_) => return Err(fail("the resolver does not answer".to_owned())),
    };
    let wanted = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let addresses: Vec<SocketAddr> = found.filter(wanted).take(ADDRESSES).collect();
    let mut last = fail("it has none of the family asked for".to_owned());
    for (index, &address) in addresses.iter().enumerate() {
        // A silent address must not use up the time of those behind it.
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match connect(address, share).await {
            Ok(stream) => return Ok(stream),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr, within: Duration) -> Result<TcpStream, Unreachable> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| Unreachable::Tcp(address, error.to_string()))?;
    let stream = match timeout(within, socket.connect(address)).await {
        Err(_) => return Err(Unreachable::NoAnswer(address, within)),
        Ok(Err(error)) => {
            return Err(match error.kind() {
                io::ErrorKind::ConnectionRefused => Unreachable::Refused(address),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Unreachable::NoRoute(address),
                io::ErrorKind::TimedOut => Unreachable::NoAnswer(address, within),
                _ => Unreachable::Tcp(address, error.to_string()),
            });
        }
        Ok(Ok(stream)) => stream,
    };
    stream.set_nodelay(true).map_err(|error| Unreachable::Tcp(address, error.to_string()))?;
    Ok(stream)
}

fn lookup_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

async fn socks5(mut stream: TcpStream, proxy: &Proxy, options: &SshOptions) -> Result<TcpStream, String> {
    let io = |error: io::Error| format!("it closed the connection ({error})");
    let methods: &[u8] = if proxy.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    stream.write_all(methods).await.map_err(io)?;
    let mut answer = [0_u8; 2];
    stream.read_exact(&mut answer).await.map_err(io)?;
    match (answer, &proxy.login) {
        ([5, 0], _) => {}
        ([5, 2], Some((user, password))) => {
            let mut login = vec![1];
            for text in [user.as_str(), password.expose()] {
                login.push(u8::try_from(text.len()).map_err(|_| "name and password have up to 255 bytes".to_owned())?);
                login.extend_from_slice(text.as_bytes());
            }
            stream.write_all(&login).await.map_err(io)?;
            stream.read_exact(&mut answer).await.map_err(io)?;
            if answer[1] != 0 {
                return Err("it does not accept the name and password".to_owned());
            }
        }
        ([5, _], _) => return Err("it wants a name and password".to_owned()),
        _ => return Err("it does not speak SOCKS5".to_owned()),
    }
    let length = u8::try_from(options.host.len()).map_err(|_| "a name of a host has up to 255 bytes".to_owned())?;
    let mut request = vec![5, 1, 0, 3, length];
    request.extend_from_slice(options.host.as_bytes());
    request.extend_from_slice(&options.port.to_be_bytes());
    stream.write_all(&request).await.map_err(io)?;
    let mut head = [0_u8; 4];
    stream.read_exact(&mut head).await.map_err(io)?;
    if head[1] != 0 {
        return Err(socks_refusal(head[1]).to_owned());
    }
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(io)?),
        _ => return Err("it answers with an address of no kind".to_owned()),
    };
    let mut address = vec![0_u8; rest + 2];
    stream.read_exact(&mut address).await.map_err(io)?;
    Ok(stream)
}

fn socks_refusal(code: u8) -> &'static str {
    match code {
        2 => "its rules do not allow it",
        3 => "the network cannot be reached from there",
        4 => "the machine cannot be reached from there",
        5 => "the machine refuses the connection",
        6 => "the machine does not answer",
        _ => "it failed",
    }
}

async fn http_connect(mut stream: TcpStream, proxy: &Proxy, options: &SshOptions) -> Result<TcpStream, String> {
    let io = |error: io::Error| format!("it closed the connection ({error})");
    if options.host.contains(|c: char| c.is_control() || c == ' ') {
        return Err("that is no name of a host".to_owned());
    }
    let target = match options.host.contains(':') {
        true => format!("[{}]:{}", options.host, options.port),
        false => format!("{}:{}", options.host, options.port),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = &proxy.login {
        let login = STANDARD.encode(format!("{user}:{}", password.expose()));
        request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    let mut header = Vec::new();
    // Byte by byte: what follows the header is the machine's.
    while !header.ends_with(b"\r\n\r\n") {
        if header.len() > HEADER_LIMIT {
            return Err("its answer has no end".to_owned());
        }
        header.push(stream.read_u8().await.map_err(io)?);
    }
    let first = header.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(first);
    match status.split(' ').nth(1) {
        Some(code) if status.starts_with("HTTP/1.") && code.starts_with('2') => Ok(stream),
        _ => Err(printable(first)),
    }
}

/// A stream that keeps the first bytes the other side sent, and that ends when its connection is given up before it is
/// made: the task that reads it would otherwise stay until the other side closes.
pub(crate) struct Watched {
    stream: Box<dyn Stream>,
    start: Arc<Mutex<Vec<u8>>>,
    guard: Option<oneshot::Receiver<()>>,
}

/// Ends the stream when it is dropped.
pub(crate) struct Guard(oneshot::Sender<()>);

impl Guard {
    /// The connection is made: the stream ends by itself.
    pub(crate) fn keep(self) {
        // If the stream has ended already there is nothing to keep.
        let _ = self.0.send(());
    }
}

/// The first bytes that came.
#[derive(Clone, Default)]
pub(crate) struct Start(Arc<Mutex<Vec<u8>>>);

impl Start {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watched {
    pub(crate) fn new(stream: Box<dyn Stream>) -> (Watched, Start, Guard) {
        let start = Start::default();
        let (send, receive) = oneshot::channel();
        (Watched { stream, start: Arc::clone(&start.0), guard: Some(receive) }, start, Guard(send))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(guard) = &mut self.guard
            && let Poll::Ready(kept) = Pin::new(guard).poll(cx)
        {
            match kept {
                Ok(()) => self.guard = None,
                Err(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        if start.len() < START_LIMIT {
            let new = buf.filled().get(before..).unwrap_or_default();
            let room = START_LIMIT - start.len();
            start.extend_from_slice(new.get(..room).unwrap_or(new));
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
