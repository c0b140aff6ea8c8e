//! A stretch of network that can be bad: it forwards to a port of loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How bad.
#[derive(Clone, Default)]
pub struct Weather {
    /// Bytes to the server after which the connection is cut; 0 for never.
    pub cut_after: Arc<AtomicU64>,
    /// Nothing passes while it is set, but no connection is closed.
    pub frozen: Arc<AtomicBool>,
    /// A pause before each piece.
    pub delay: Duration,
}

/// Starts it; returns its port. It runs until the test ends.
pub fn start(to: u16, weather: Weather) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            let Ok(there) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (here_too, there_too) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            let (up, down) = (weather.clone(), weather.clone());
            std::thread::spawn(move || carry(here, there, &up, true));
            std::thread::spawn(move || carry(there_too, here_too, &down, false));
        }
    });
    port
}

fn carry(mut from: TcpStream, mut to: TcpStream, weather: &Weather, counted: bool) {
    let mut buffer = vec![0; 16 << 10];
    let mut total = 0;
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        while weather.frozen.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(weather.delay);
        total += n as u64;
        let limit = weather.cut_after.load(Ordering::Relaxed);
        if counted && limit > 0 && total > limit {
            break;
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
