//! Who sends what to whom: decided here, and nowhere else; nothing is done here.
//!
//! The rules, in the order in which they count:
//!
//! | what | why |
//! |---|---|
//! | the launcher sends a blob once: when no host that serves has it, or has it coming | its line may be the slowest of all |
//! | rare blobs before others, large ones before small | what one host has holds up all others |
//! | a host serves few at a time, and gets one thing at a time | what uses a line alone is whole early, and a source |
//! | a large blob is passed on while it comes, along few hosts | the last host is done soon after the first |
//! | who has it whole is asked first, then who is near to one who has | what is far is late, and breaks more often |
//! | where a transfer failed, the same two do not meet again | a wall in between stays |
//! | but three times, if the source had not got it all itself | it may not be its fault |
//! | a host that failed two others, and nobody could use, serves no more | it is behind a wall, or lies |
//! | a host to which nobody can send, or that failed three times and got nothing, is left to the launcher | it is behind a wall |
//! | a transfer of the launcher that is slow beside others does not count, and its host is asked last | one bad line must not hold up all |
//! | small blobs first, until it is known how fast the launcher is | the first host may have that line |
//!
//! One round costs the order of hosts × blobs / 64, and a launch has the order of hosts × blobs rounds. [`super::pick`]
//! has the choice itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::bits::Bits;
use super::pick::LARGE;
use crate::agent::peer::words::Kind;

/// How often a source that was getting a blob itself may fail.
const TRIES: u32 = 3;
/// Rates that are remembered.
const RATES: usize = 64;
/// The least that is asked of a source, in bytes a second.
const FLOOR: u64 = 4 << 10;

/// How much at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Hosts that a host serves.
    pub uploads: usize,
    /// Transfers to one host.
    pub downloads: usize,
    /// Transfers of the launcher.
    pub seeds: usize,
}

/// Where blobs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The launcher, through SSH.
    Launcher,
    /// A host.
    Host(usize),
}

/// Blobs on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// By which it is known.
    pub order: u64,
    /// The host they go to.
    pub to: usize,
    /// Where they come from.
    pub from: Source,
    /// Which, in the order in which they are sent.
    pub blobs: Vec<usize>,
    /// When it began.
    pub began: Duration,
    /// Bytes that have moved.
    pub moved: u64,
    /// The source is getting it itself.
    pub passed_on: bool,
}

/// How a host takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its agent is not there yet.
    Awaited,
    /// Its agent answers.
    Present,
    /// Not any more.
    Gone,
}

/// A host.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) state: State,
    /// It is to get all blobs.
    pub(super) wants: bool,
    /// Where it serves; none if it does not, or not any more.
    pub(super) serves: Option<SocketAddr>,
    pub(super) has: Bits,
    pub(super) coming: Bits,
    /// Transfers to it.
    pub(super) flights: Vec<u64>,
    pub(super) uploads: usize,
    /// Hosts that it got nothing from.
    pub(super) barred: BTreeSet<usize>,
    /// Hosts that it did not get all from, though it may have been the fault of others, and how often.
    tries: BTreeMap<usize, u32>,
    /// Hosts that got nothing from it.
    failed: BTreeSet<usize>,
    /// What the launcher sends to it comes slowly.
    pub(super) slow: bool,
    /// It gives somebody something that is not on the board.
    lent: bool,
    /// It has got something from a host.
    got: bool,
    /// A host has got something from it.
    served: bool,
}

/// What became of a transfer that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another source is looked for.
    Again,
    /// The source serves no more.
    Retired(usize),
    /// The host is left to the launcher.
    Alone(usize),
}

/// All hosts, and what is on its way.
#[derive(Debug)]
pub struct Board {
    pub(super) rules: Rules,
    pub(super) sizes: Vec<u64>,
    /// Blobs that are passed on while they come.
    pub(super) large: Bits,
    pub(super) seats: Vec<Seat>,
    pub(super) flights: BTreeMap<u64, Flight>,
    /// For each blob, how many hosts that serve have it, or have it coming.
    pub(super) copies: Vec<usize>,
    pub(super) orders: u64,
    /// Rates of transfers between hosts that ended well, in bytes a second.
    rates: Vec<u64>,
    /// The best rate of the launcher to a host.
    pub(super) best: u64,
}

impl Board {
    /// Hosts of which nothing is known yet; blobs by their sizes.
    pub fn new(hosts: usize, sizes: Vec<u64>, rules: Rules) -> Board {
        let none = Bits::new(sizes.len());
        let seat = || Seat {
            state: State::Awaited,
            wants: false,
            serves: None,
            has: none.clone(),
            coming: none.clone(),
            flights: Vec::new(),
            uploads: 0,
            barred: BTreeSet::new(),
            tries: BTreeMap::new(),
            failed: BTreeSet::new(),
            slow: false,
            lent: false,
            got: false,
            served: false,
        };
        let (seats, copies): (Vec<Seat>, _) = ((0..hosts).map(|_| seat()).collect(), vec![0; sizes.len()]);
        let mut large = none;
        sizes.iter().enumerate().filter(|(_, size)| **size >= LARGE).for_each(|(blob, _)| large.add(blob));
        Board { rules, sizes, large, seats, flights: BTreeMap::new(), copies, orders: 0, rates: Vec::new(), best: 0 }
    }

    /// A host takes part. What it has is what it says: it can only cheat itself, and those who find out.
    pub fn arrive(&mut self, host: usize, serves: Option<SocketAddr>, have: &[usize], wants: bool) {
        let Some(seat) = self.seats.get_mut(host).filter(|seat| seat.state == State::Awaited) else { return };
        (seat.state, seat.wants) = (State::Present, wants);
        have.iter().filter(|blob| **blob < self.sizes.len()).for_each(|blob| seat.has.add(*blob));
        self.serve(host, serves);
    }

    /// A host begins to serve, or ends: what it has counts, or counts no more.
    fn serve(&mut self, host: usize, serves: Option<SocketAddr>) {
        let Some(seat) = self.seats.get_mut(host) else { return };
        let before = seat.serves.is_some();
        seat.serves = serves;
        if before == serves.is_some() {
            return;
        }
        for (blob, copies) in self.copies.iter_mut().enumerate() {
            if seat.has.has(blob) || seat.coming.has(blob) {
                *copies = if before { copies.saturating_sub(1) } else { *copies + 1 };
            }
        }
    }

    /// A host takes part no more. What is on its way to it is forgotten.
    pub fn leave(&mut self, host: usize) {
        let gone: Vec<u64> =
            self.flights.values().filter(|flight| flight.to == host).map(|flight| flight.order).collect();
        gone.into_iter().for_each(|order| drop(self.land(order)));
        self.serve(host, None);
        if let Some(seat) = self.seats.get_mut(host) {
            (seat.state, seat.wants) = (State::Gone, false);
        }
    }

    /// The launcher sends nothing more to a host for the others' sake.
    pub fn forget_seeds(&mut self, host: usize) {
        let own = self.flights.values().filter(|flight| flight.to == host && flight.from == Source::Launcher);
        let own: Vec<u64> = own.map(|flight| flight.order).collect();
        own.into_iter().for_each(|order| drop(self.land(order)));
    }

    /// A host takes nothing more; it may serve.
    pub fn stop_wanting(&mut self, host: usize) {
        if let Some(seat) = self.seats.get_mut(host) {
            seat.wants = false;
        }
    }

    /// A blob of a transfer is there. Whether the transfer is known, and has that blob.
    pub fn got(&mut self, host: usize, order: u64, blob: usize) -> bool {
        let Some(flight) = self.flights.get_mut(&order).filter(|flight| flight.to == host) else { return false };
        if !flight.blobs.contains(&blob) {
            return false;
        }
        let size = self.sizes.get(blob).copied().unwrap_or(0);
        let from = flight.from;
        if let Source::Host(source) = from {
            flight.moved += size;
            if let Some(source) = self.seats.get_mut(source) {
                source.served = true;
            }
        }
        // It was counted as coming, and is now as being there.
        if let Some(seat) = self.seats.get_mut(host) {
            seat.has.add(blob);
            seat.coming.remove(blob);
            seat.got |= from != Source::Launcher;
        }
        true
    }

    /// Bytes of a transfer of the launcher so far.
    pub fn moved(&mut self, order: u64, bytes: u64) {
        if let Some(flight) = self.flights.get_mut(&order) {
            flight.moved = bytes;
        }
    }

    /// A transfer has ended; of which kind its fault was, if it had one.
    pub fn ended(&mut self, host: usize, order: u64, fault: Option<Kind>, now: Duration) -> Verdict {
        let flight = self.flights.get(&order).filter(|flight| flight.to == host);
        let Some(flight) = flight else { return Verdict::Again };
        if flight.from == Source::Launcher && fault.is_none() {
            for blob in flight.blobs.clone() {
                self.got(host, order, blob);
            }
        }
        let Some(flight) = self.land(order) else { return Verdict::Again };
        match (flight.from, fault) {
            (Source::Launcher, None) => {
                self.best = self.best.max(rate(&flight, now));
                Verdict::Again
            }
            // Who says that it is done, and has not got all, would ask for ever.
            (Source::Host(_), None) if !self.has_all(host, &flight.blobs) => {
                self.stop_wanting(host);
                Verdict::Alone(host)
            }
            (Source::Host(_), None) => {
                if flight.moved >= 1 << 20 && !flight.passed_on {
                    self.rates.push(rate(&flight, now));
                    let old = self.rates.len().saturating_sub(RATES);
                    self.rates.drain(..old);
                }
                Verdict::Again
            }
            (_, Some(Kind::Own)) | (Source::Launcher, Some(_)) => {
                self.stop_wanting(host);
                Verdict::Alone(host)
            }
            (Source::Host(source), Some(kind)) => {
                let is_own = matches!(kind, Kind::Unreachable | Kind::Refused) || !flight.passed_on;
                let Some(seat) = self.seats.get_mut(host) else { return Verdict::Again };
                if kind == Kind::Slow && !is_own {
                    seat.barred.insert(source);
                    return self.left(host).unwrap_or(Verdict::Again);
                }
                let tries = seat.tries.entry(source).or_default();
                *tries += 1;
                match is_own || *tries >= TRIES {
                    true => self.judge(host, source, kind),
                    false => Verdict::Again,
                }
            }
        }
    }

    fn has_all(&self, host: usize, blobs: &[usize]) -> bool {
        self.seats.get(host).is_some_and(|seat| blobs.iter().all(|blob| seat.has.has(*blob)))
    }

    /// What to make of two that could not.
    fn judge(&mut self, host: usize, source: usize, kind: Kind) -> Verdict {
        if let Some(seat) = self.seats.get_mut(source) {
            seat.failed.insert(host);
        }
        if let Some(seat) = self.seats.get_mut(host) {
            seat.barred.insert(source);
        }
        if let Some(verdict) = self.left(host) {
            return verdict;
        }
        match self.seats.get_mut(source) {
            Some(seat) if seat.failed.len() >= 2 && (!seat.served || kind == Kind::Lied) && seat.serves.is_some() => {
                self.serve(source, None);
                Verdict::Retired(source)
            }
            _ => Verdict::Again,
        }
    }

    /// A host to which nobody can send is left to the launcher.
    fn left(&mut self, host: usize) -> Option<Verdict> {
        if !self.is_alone(host) {
            return None;
        }
        self.stop_wanting(host);
        Some(Verdict::Alone(host))
    }

    /// Whether no host can send to a host.
    fn is_alone(&self, host: usize) -> bool {
        let Some(seat) = self.seats.get(host) else { return false };
        let may = |other: &Seat| other.serves.is_some() || other.state == State::Awaited;
        let mut sources = self.seats.iter().enumerate().filter(|(place, other)| *place != host && may(other));
        (seat.barred.len() >= 3 && !seat.got) || sources.all(|(place, _)| seat.barred.contains(&place))
    }

    /// Takes a transfer out.
    fn land(&mut self, order: u64) -> Option<Flight> {
        let flight = self.flights.remove(&order)?;
        if let Some(seat) = self.seats.get_mut(flight.to) {
            seat.flights.retain(|other| *other != order);
            for blob in flight.blobs.iter().filter(|blob| !seat.has.has(**blob)) {
                seat.coming.remove(*blob);
                if let Some(copies) = self.copies.get_mut(*blob).filter(|_| seat.serves.is_some()) {
                    *copies = copies.saturating_sub(1);
                }
            }
        }
        if let Source::Host(source) = flight.from
            && let Some(seat) = self.seats.get_mut(source)
        {
            seat.uploads = seat.uploads.saturating_sub(1);
        }
        Some(flight)
    }

    /// A host that serves, for something that is not on the board. It gives one such thing at a time.
    pub fn lend(&mut self, barred: &BTreeSet<usize>) -> Option<(usize, SocketAddr)> {
        let mut free = self.seats.iter_mut().enumerate();
        let (place, seat) =
            free.find(|(place, seat)| seat.serves.is_some() && !seat.lent && !barred.contains(place))?;
        seat.lent = true;
        Some((place, seat.serves?))
    }

    /// A host that was lent is free again.
    pub fn give_back(&mut self, host: usize) {
        if let Some(seat) = self.seats.get_mut(host) {
            seat.lent = false;
        }
    }

    /// Whether some host serves.
    pub fn may_serve(&self, barred: &BTreeSet<usize>) -> bool {
        self.seats.iter().enumerate().any(|(place, seat)| seat.serves.is_some() && !barred.contains(&place))
    }

    /// Hosts that want something while nobody serves, and nobody may soon.
    pub fn forlorn(&self) -> Vec<usize> {
        if self.seats.iter().any(|seat| seat.serves.is_some() || seat.state == State::Awaited) {
            return Vec::new();
        }
        self.seats.iter().enumerate().filter(|(_, seat)| seat.wants).map(|(place, _)| place).collect()
    }

    /// Where a host serves.
    pub fn serves(&self, host: usize) -> Option<SocketAddr> {
        self.seats.get(host)?.serves
    }

    /// Whether a host has taken part, or has ended to.
    pub fn has_come(&self, host: usize) -> bool {
        self.seats.get(host).is_some_and(|seat| seat.state != State::Awaited)
    }

    /// Transfers to a host.
    pub fn flights_to(&self, host: usize) -> usize {
        self.flights.values().filter(|flight| flight.to == host).count()
    }

    /// Whether a host has all.
    pub fn is_whole(&self, host: usize) -> bool {
        self.seats.get(host).is_some_and(|seat| seat.has.count() == self.sizes.len())
    }

    /// Bytes that a host lacks.
    pub fn lacks(&self, host: usize) -> u64 {
        let Some(seat) = self.seats.get(host) else { return 0 };
        self.sizes.iter().enumerate().filter(|(blob, _)| !seat.has.has(*blob)).map(|(_, size)| size).sum()
    }

    /// The slowest that the source of a transfer may be, in bytes a second. Who passes on what comes may be as slow as the
    /// launcher.
    pub fn floor(&self, flight: &Flight) -> u64 {
        if flight.passed_on {
            return (self.best / 8).max(FLOOR);
        }
        let mut rates = self.rates.clone();
        rates.sort_unstable();
        rates.get(rates.len() / 2).map_or(FLOOR, |median| (median / 8).max(FLOOR))
    }
}

/// Bytes a second.
pub(super) fn rate(flight: &Flight, now: Duration) -> u64 {
    let took = now.saturating_sub(flight.began).as_millis().max(1);
    u64::try_from(u128::from(flight.moved) * 1000 / took).unwrap_or(u64::MAX)
}
