//! What the launcher itself needs: hosts that answer at once, and keep nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_host::copy::{Put, RemotePath, Source};
use kiln_host::{Cancel, Command, Exit, Host, HostError, Stdin, Streams};
use kiln_launch::agent::peer::words::{Order, Said, line};
use kiln_launch::phase::distribute;
use kiln_launch::{Peers, run};
use kiln_oci::Digest;

use crate::{Asked, sizes, stage};

/// A host that has what it was told to get.
#[derive(Default)]
struct Fake {
    has: Mutex<BTreeSet<Digest>>,
    asked: Mutex<Vec<(Digest, u64)>>,
}

impl Fake {
    fn peer(&self, mut input: kiln_host::Fed, output: &mut (dyn Write + Send)) {
        let mut blobs = Vec::new();
        while let Some(piece) = input.wait() {
            match serde_json::from_slice(&piece).unwrap() {
                Order::Hello(hello) => {
                    blobs = hello.blobs;
                    output
                        .write_all(&line(&Said::Ready {
                            port: Some(4000),
                            why: String::new(),
                            have: Vec::new(),
                            begun: true,
                        }))
                        .unwrap();
                }
                Order::Fetch(fetch) => {
                    for blob in &fetch.blobs {
                        self.has.lock().unwrap().insert(blobs[*blob].0.clone());
                        output.write_all(&line(&Said::Got { order: fetch.order, blob: *blob })).unwrap();
                    }
                    output.write_all(&line(&Said::Ended { order: fetch.order, fault: None })).unwrap();
                }
                Order::Halt | Order::Alive => {}
            }
        }
    }
}

impl Host for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn run(&self, command: &Command, streams: Streams<'_>, _cancel: &Cancel) -> Result<Exit, HostError> {
        let line = command.line();
        match streams.stdin {
            Stdin::Fed(fed) => self.peer(fed, streams.stdout),
            Stdin::Bytes(bytes) if line.ends_with("agent have") => {
                let text = String::from_utf8(bytes).unwrap();
                let list = text.lines().map(|line| line.split_once(' ').unwrap());
                let list: Vec<(Digest, u64)> =
                    list.map(|(digest, size)| (digest.parse().unwrap(), size.parse().unwrap())).collect();
                for (digest, size) in &list {
                    let there = if self.has.lock().unwrap().contains(digest) { *size } else { 0 };
                    writeln!(streams.stdout, "{digest} {there}").unwrap();
                }
                *self.asked.lock().unwrap() = list;
            }
            Stdin::Reader(mut reader) => {
                let mut buffer = vec![0; 64 << 10];
                while reader.read(&mut buffer).unwrap() > 0 {}
                let asked = std::mem::take(&mut *self.asked.lock().unwrap());
                self.has.lock().unwrap().extend(asked.into_iter().map(|(digest, _)| digest));
            }
            _ => {}
        }
        Ok(Exit::Code(0))
    }

    fn put(&self, _: Source<'_>, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch writes by commands")
    }

    fn get(&self, _: &RemotePath, _: &mut (dyn Write + Send), _: &Cancel) -> Result<u32, HostError> {
        unreachable!("a launch reads by commands")
    }

    fn put_directory(&self, _: &Path, _: &RemotePath, _: &Put, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch writes by commands")
    }

    fn get_directory(&self, _: &RemotePath, _: &Path, _: &Cancel) -> Result<(), HostError> {
        unreachable!("a launch reads by commands")
    }
}

/// A number of this process's status, such as `VmRSS:`.
pub fn status(name: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Measures, with a process for each number of hosts.
pub fn coordinate(asked: &Asked) {
    println!("| hosts | transfers told of, s | memory for it, MiB | threads |\n|---|---|---|---|");
    for hosts in &asked.hosts {
        let mut one = Process::new(std::env::current_exe().unwrap());
        assert!(one.args(["one", "--hosts", &hosts.to_string()]).status().unwrap().success());
    }
}

/// Measures with so many hosts.
pub fn one(hosts: usize) {
    let dir = tempfile::tempdir().unwrap();
    let machines: Vec<(IpAddr, Arc<dyn Host>)> = (0..hosts)
        .map(|host| {
            let fake: Arc<dyn Host> = Arc::new(Fake::default());
            (format!("10.9.{}.{}", host / 250, host % 250 + 1).parse().unwrap(), fake)
        })
        .collect();
    let (_world, launch) = stage::launch(dir.path(), &machines, &sizes(8), Some(Peers::default()), 64, None);
    let (before, threads, done) = (status("VmRSS:"), AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                threads.fetch_max(status("Threads:") as usize, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        run::one(&launch, &distribute::PHASE).unwrap();
        took = began.elapsed();
        done.store(true, Ordering::Release);
    });
    let memory = (status("VmHWM:") - before) / 1024.0;
    println!("| {hosts} | {:.1} | {memory:.1} | {} |", took.as_secs_f64(), threads.load(Ordering::Acquire));
}
