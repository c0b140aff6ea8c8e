//! Handing connections to a socket inside the root on to one outside, for SSH agents.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use crate::sys;
use crate::wire::{Fault, Step};

/// Listens at a path.
pub fn listen(path: &Path) -> Result<UnixListener, Fault> {
    UnixListener::bind(path).step(|| "listen for connections to a forwarded socket".to_owned())
}

/// Starts a process that keeps the mounts as they are now, so that it still reaches `source` after the root has changed.
pub fn start_in_own_mounts(listener: UnixListener, source: &Path) -> Result<Pid, Fault> {
    start(listener, source, || sys::unshare(UnshareFlags::NEWNS).is_ok())
}

/// Starts a process that forwards until it is killed or its parent ends; returns once it is `ready`.
pub fn start(listener: UnixListener, source: &Path, ready: impl FnOnce() -> bool) -> Result<Pid, Fault> {
    let step = || "start the socket's forwarder".to_owned();
    UnixStream::connect(source).step(|| format!("connect to the socket {}", source.display()))?;
    let (is_ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(step)?;
    match sys::fork().step(step)? {
        sys::Fork::Parent(pid) => {
            drop(tell);
            match rustix::io::read(&is_ready, &mut [0; 1]) {
                Ok(1) => Ok(pid),
                _ => Err(Fault::new(step(), "it ended at once")),
            }
        }
        sys::Fork::Child => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if ready() && rustix::io::write(&tell, b"!").is_ok() {
                drop(tell);
                forward_all(&listener, source);
            }
            sys::exit(0)
        }
    }
}

fn forward_all(listener: &UnixListener, source: &Path) {
    for connection in listener.incoming() {
        let Ok(inside) = connection else { continue };
        if let Ok(outside) = UnixStream::connect(source) {
            // A connection that no thread can be had for is closed, which its client sees.
            let _ = thread::Builder::new().spawn(move || both_ways(&inside, &outside));
        }
    }
}

fn both_ways(inside: &UnixStream, outside: &UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| one_way(inside, outside));
        one_way(outside, inside);
    });
}

fn one_way(mut from: &UnixStream, mut to: &UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
