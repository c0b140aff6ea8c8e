//! How long it takes to bring an image to many hosts: measured, simulated, and what the launcher needs for it.
//!
//! ```text
//! cargo run --release -p kiln-launch --example spread -- measure [--hosts 2,8,32] [--mib 16] [--mbit 20] [--only peers]
//! cargo run --release -p kiln-launch --example spread -- simulate [--hosts 2,8,32,5000] [--mib 826] [--mbit 1000]
//! cargo run --release -p kiln-launch --example spread -- coordinate [--hosts 50,200]
//! ```
//! `measure` needs root, iproute2 and OpenSSH's server: each host is a network namespace with a line of its own (tbf, both
//! directions), a directory of its own at `/var/lib/kiln`, and an SSH server; so is the launcher. This program is its own
//! agent there. `coordinate` has hosts that answer at once and hold nothing, and says what the launcher needs.
#![expect(clippy::exit, reason = "an agent's status is its answer")]
#![allow(dead_code, reason = "the tests use the rest of what is shared")]

mod coordinate;
mod measure;
#[path = "../../tests/it/simulate.rs"]
mod simulate;
mod stage;
#[path = "../../tests/it/world.rs"]
mod world;

use std::io::BufReader;
use std::path::Path;

use kiln_launch::agent::{peer, receive};
use kiln_launch::swarm::board::Rules;
use kiln_store::Store;

/// What is asked for.
#[expect(missing_docs, reason = "they are options")]
pub struct Asked {
    pub hosts: Vec<usize>,
    pub mib: u64,
    pub mbit: u64,
    pub uploads: usize,
    pub only: Option<String>,
    pub binary: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(place) = words.iter().position(|word| word == "agent") {
        let store = words.iter().position(|word| word == "--store").and_then(|place| words.get(place + 1)).unwrap();
        agent(Path::new(store), words.get(place + 1).unwrap());
        return;
    }
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|place| words.get(place + 1)).cloned();
    let number = |name: &str, usual: u64| value(name).map_or(usual, |text| text.parse().unwrap());
    let mode = words.first().map_or("", String::as_str);
    let usual = if mode == "simulate" { "1,2,8,32,200,1000,5000" } else { "2,8,32" };
    let hosts = value("--hosts").unwrap_or_else(|| usual.to_owned());
    let asked = Asked {
        hosts: hosts.split(',').map(|text| text.parse().unwrap()).collect(),
        mib: number("--mib", if mode == "simulate" { 826 } else { 16 }),
        mbit: number("--mbit", if mode == "simulate" { 1000 } else { 20 }),
        uploads: usize::try_from(number("--uploads", 1)).unwrap(),
        only: value("--only"),
        binary: words.iter().any(|word| word == "--binary"),
    };
    match mode {
        "measure" => measure::measure(&asked),
        "launch" => measure::launch(&asked, Path::new(&value("--dir").unwrap())),
        "simulate" => simulated(&asked),
        "coordinate" => coordinate::coordinate(&asked),
        "one" => coordinate::one(asked.hosts[0]),
        _ => {
            eprintln!("measure, simulate or coordinate: the head of this file says how");
            std::process::exit(2);
        }
    }
}

/// What this program does on a host.
fn agent(store: &Path, order: &str) {
    let open = || Store::open(store).unwrap();
    let done = match order {
        "have" => receive::have(&open(), BufReader::new(std::io::stdin()), std::io::stdout()),
        "receive" => receive::receive(&open(), BufReader::with_capacity(1 << 20, std::io::stdin())),
        "peer" => {
            let input = Box::new(BufReader::new(std::io::stdin()));
            peer::take_part(&open(), &std::env::current_exe().unwrap(), input, &mut std::io::stdout())
        }
        // Nothing is unpacked: that takes as long on one host as on all.
        _ => Ok(()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Sizes of the blobs of an image, like those of one of Kubernetes: a large one, some of middle size, many small ones.
pub fn sizes(mib: u64) -> Vec<u64> {
    let all = mib << 20;
    let parts = [300, 120, 90, 70, 60, 55, 50, 45, 40, 35, 30, 25, 20, 15, 10, 5];
    let mut sizes: Vec<u64> = parts.iter().map(|part| all / 1000 * part).collect();
    sizes.extend((0..40).map(|n| 400 + n * 150));
    sizes
}

fn simulated(asked: &Asked) {
    let line = asked.mbit as f64 * 1e6 / 8.0;
    let sizes = sizes(asked.mib);
    let copy = sizes.iter().sum::<u64>() as f64 / line;
    println!("one copy takes {copy:.1} s");
    println!(
        "| hosts | one by one, s | hosts bring each other, s | of one copy | launcher sends, copies |\n|---|---|---|---|---|"
    );
    for &hosts in &asked.hosts {
        let rules = Rules { uploads: asked.uploads, downloads: 1, seeds: 1 };
        let scene = simulate::Scene { hosts, sizes: sizes.clone(), rules, line, launcher: line, latency: 0.03 };
        let outcome = simulate::simulate(&scene);
        let sent = outcome.launcher as f64 / sizes.iter().sum::<u64>() as f64;
        let (one, times) = (copy * hosts as f64, outcome.seconds / copy);
        println!("| {hosts} | {one:.0} | {:.1} | {times:.2} × | {sent:.2} |", outcome.seconds);
    }
}
