//! `kiln registry serve` as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::context::TestContext;

/// A registry of Kiln's on a free port; it is killed with the value.
#[derive(Debug)]
pub struct Serving {
    /// Its process.
    pub child: Child,
    /// Where it serves: `127.0.0.1:40123`.
    pub address: String,
}

impl Serving {
    /// Starts it with these further arguments, and waits until it serves. What it logs then is read and dropped.
    ///
    /// # Panics
    /// If it does not serve within a minute.
    pub fn start(t: &TestContext, args: &[&str]) -> Serving {
        let line = [&["registry", "serve", "--addr", "127.0.0.1:0"], args].concat();
        let mut command = t.command(&line);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start kiln");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("serving at ") {
                    let address = url.split("://").nth(1).unwrap_or_default().trim_end_matches(['"', '}']);
                    let _ = send.send(address.to_owned());
                }
            }
        });
        let address = receive.recv_timeout(Duration::from_secs(60)).expect("it serves");
        Serving { child, address }
    }

    /// The name of an image there.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
