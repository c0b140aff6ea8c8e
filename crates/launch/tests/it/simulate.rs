//! The board on hosts that only move numbers: each has a line of the same speed, shared fairly by what is on it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use kiln_launch::swarm::board::{Board, Flight, Rules, Source};

/// Seconds between a piece of a blob at a host and at the next.
const HOP: f64 = 0.008;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Scene {
    pub hosts: usize,
    pub sizes: Vec<u64>,
    pub rules: Rules,
    /// Bytes a second of each host's line, in each direction.
    pub line: f64,
    /// Bytes a second of the launcher's.
    pub launcher: f64,
    /// Seconds that a transfer takes beside its bytes.
    pub latency: f64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Seconds until the last host had all.
    pub seconds: f64,
    /// Bytes that the launcher sent.
    pub launcher: u64,
    /// Transfers.
    pub flights: usize,
    /// The most that a host served at one time.
    pub most: usize,
}

struct Live {
    flight: Flight,
    left: f64,
    rate: f64,
    at: f64,
    version: u32,
}

struct World {
    scene: Scene,
    board: Board,
    now: f64,
    live: HashMap<u64, Live>,
    /// Ends of transfers, by their time in nanoseconds; a version that is not the transfer's own does not count.
    ends: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// Transfers by their source, the launcher behind all hosts; and by where they go.
    up: Vec<Vec<u64>>,
    down: Vec<Vec<u64>>,
    outcome: Outcome,
}

/// Simulates until all hosts have everything.
pub fn simulate(scene: &Scene) -> Outcome {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut board = Board::new(scene.hosts, scene.sizes.clone(), scene.rules);
    (0..scene.hosts).for_each(|host| board.arrive(host, Some(address), &[], true));
    let mut world = World {
        scene: scene.clone(),
        board,
        now: 0.0,
        live: HashMap::new(),
        ends: BinaryHeap::new(),
        up: vec![Vec::new(); scene.hosts + 1],
        down: vec![Vec::new(); scene.hosts],
        outcome: Outcome { seconds: 0.0, launcher: 0, flights: 0, most: 0 },
    };
    world.begin();
    while let Some(Reverse((_, order, version))) = world.ends.pop() {
        if world.live.get(&order).is_some_and(|live| live.version == version) && !world.waits(order) {
            world.end(order);
            world.begin();
        }
    }
    assert!((0..scene.hosts).all(|host| world.board.is_whole(host)), "a host waits for ever");
    world.outcome.seconds = world.now;
    world.outcome
}

impl World {
    fn source(&self, flight: &Flight) -> usize {
        match flight.from {
            Source::Launcher => self.scene.hosts,
            Source::Host(host) => host,
        }
    }

    fn begin(&mut self) {
        for flight in self.board.next(Duration::from_secs_f64(self.now)) {
            let (source, to, order) = (self.source(&flight), flight.to, flight.order);
            let bytes: u64 = flight.blobs.iter().map(|blob| self.scene.sizes[*blob]).sum();
            if source == self.scene.hosts {
                self.outcome.launcher += bytes;
            }
            self.outcome.flights += 1;
            let left = bytes as f64 + self.scene.latency * self.scene.line;
            self.live.insert(order, Live { flight, left, rate: 0.0, at: self.now, version: 0 });
            self.up[source].push(order);
            self.down[to].push(order);
            if source < self.scene.hosts {
                self.outcome.most = self.outcome.most.max(self.up[source].len());
            }
            self.share(source, to);
        }
    }

    /// Whether a transfer has to wait for what its source is getting itself; it then ends a little behind it.
    fn waits(&mut self, order: u64) -> bool {
        let live = &self.live[&order];
        let (Source::Host(source), true) = (live.flight.from, live.flight.passed_on) else { return false };
        let before =
            self.down[source].iter().find(|other| self.live[other].flight.blobs.contains(&live.flight.blobs[0]));
        let Some(before) = before else { return false };
        let end = self.live[before].at + self.live[before].left / self.live[before].rate + HOP;
        let version = live.version;
        self.ends.push(Reverse(((end * 1e9) as u64, order, version)));
        true
    }

    fn end(&mut self, order: u64) {
        let live = self.live.remove(&order).unwrap();
        self.now = self.now.max(live.at + live.left / live.rate);
        let (source, to) = (self.source(&live.flight), live.flight.to);
        self.up[source].retain(|other| *other != order);
        self.down[to].retain(|other| *other != order);
        if source < self.scene.hosts {
            for blob in &live.flight.blobs {
                assert!(self.board.got(to, order, *blob));
            }
        } else {
            let bytes = live.flight.blobs.iter().map(|blob| self.scene.sizes[*blob]).sum();
            self.board.moved(order, bytes);
        }
        self.board.ended(to, order, None, Duration::from_secs_f64(self.now));
        self.share(source, to);
    }

    /// New rates for all that shares a line with a transfer.
    fn share(&mut self, source: usize, to: usize) {
        let orders: Vec<u64> = self.up[source].iter().chain(&self.down[to]).copied().collect();
        for order in orders {
            let live = &self.live[&order];
            let (source, to) = (self.source(&live.flight), live.flight.to);
            let line = if source == self.scene.hosts { self.scene.launcher } else { self.scene.line };
            let rate = (line / self.up[source].len() as f64).min(self.scene.line / self.down[to].len() as f64);
            let live = self.live.get_mut(&order).unwrap();
            live.left -= live.rate * (self.now - live.at);
            (live.rate, live.at) = (rate, self.now);
            live.version += 1;
            let end = self.now + live.left / rate;
            self.ends.push(Reverse(((end * 1e9) as u64, order, live.version)));
        }
    }
}
