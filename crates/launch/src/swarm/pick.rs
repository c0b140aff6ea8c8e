//! The choice of transfers that begin: the rules of [`super::board`].

use std::cmp::Reverse;
use std::time::Duration;

use super::bits::Bits;
use super::board::{Board, Flight, Seat, Source, State, rate};

/// Small blobs are sent together, up to so many bytes.
const BATCH: u64 = 4 << 20;
/// Blobs that are sent together.
const TOGETHER: usize = 256;
/// Blobs from this size on are passed on while they come.
pub(super) const LARGE: u64 = 1 << 20;
/// Hosts along which a blob is passed on.
const DEEPEST: usize = 16;
/// A transfer of the launcher is judged after so long.
const JUDGED: Duration = Duration::from_secs(8);

impl Board {
    /// What begins now.
    pub fn next(&mut self, now: Duration) -> Vec<Flight> {
        let mut out = Vec::new();
        self.note_slow(now);
        while self.seeding(now) < self.rules.seeds {
            let copies = self.held(now);
            let mut order = self.rarest(&copies);
            if self.best == 0 {
                order.sort_by_key(|blob| (copies.get(*blob).copied().unwrap_or(0), self.size(*blob)));
            }
            let found = self.unseen(&order, &copies).or_else(|| self.stranded(&order));
            let Some((to, blobs)) = found else { break };
            out.push(self.begin(to, Source::Launcher, blobs, now));
        }
        self.between(now, &mut out);
        out
    }

    /// Copies of each blob that hosts have or will soon have.
    fn held(&self, now: Duration) -> Vec<usize> {
        let mut copies = self.copies.clone();
        let lagging = self.flights.values().filter(|flight| self.is_lagging(flight, now));
        let lagging = lagging.filter(|flight| self.seats.get(flight.to).is_some_and(|seat| seat.serves.is_some()));
        for blob in lagging.flat_map(|flight| &flight.blobs) {
            if let Some(copies) = copies.get_mut(*blob) {
                *copies = copies.saturating_sub(1);
            }
        }
        copies
    }

    fn size(&self, blob: usize) -> u64 {
        self.sizes.get(blob).copied().unwrap_or(0)
    }

    /// Blobs, the rarest first, of those the largest first.
    fn rarest(&self, copies: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sizes.len()).collect();
        order.sort_by_key(|blob| (copies.get(*blob).copied().unwrap_or(0), Reverse(self.size(*blob))));
        order
    }

    /// Transfers of the launcher that count.
    fn seeding(&self, now: Duration) -> usize {
        let own = self.flights.values().filter(|flight| flight.from == Source::Launcher);
        own.filter(|flight| !self.is_lagging(flight, now)).count()
    }

    /// Whether a transfer of the launcher is slow beside others.
    fn is_lagging(&self, flight: &Flight, now: Duration) -> bool {
        flight.from == Source::Launcher
            && now.saturating_sub(flight.began) > JUDGED
            && rate(flight, now) < self.best / (4 * self.rules.seeds as u64).max(1)
    }

    fn note_slow(&mut self, now: Duration) {
        let slow = self.flights.values().filter(|flight| self.is_lagging(flight, now)).map(|flight| flight.to);
        for host in slow.collect::<Vec<_>>() {
            if let Some(seat) = self.seats.get_mut(host) {
                seat.slow = true;
            }
        }
    }

    fn has_time(&self, seat: &Seat) -> bool {
        seat.state == State::Present && seat.wants && seat.flights.len() < self.rules.downloads
    }

    /// Blobs that no host has that serves, and who gets them.
    fn unseen(&self, order: &[usize], copies: &[usize]) -> Option<(usize, Vec<usize>)> {
        let is_unseen = |blob: usize| copies.get(blob) == Some(&0);
        for blob in order.iter().copied().take_while(|blob| is_unseen(*blob)) {
            let wanting = self
                .seats
                .iter()
                .enumerate()
                .filter(|(_, seat)| self.has_time(seat) && !seat.has.has(blob) && !seat.coming.has(blob));
            // Whoever serves is more use than who does not; then whoever has least on its way.
            let key = |(place, seat): &(usize, &Seat)| {
                (seat.serves.is_none(), seat.slow, seat.flights.len(), seat.has.count(), *place)
            };
            if let Some((to, seat)) = wanting.min_by_key(key) {
                return Some((to, self.together(blob, order, seat, is_unseen)));
            }
        }
        None
    }

    /// Blobs that a host cannot get because it could not get anything from any of those that have them.
    fn stranded(&self, order: &[usize]) -> Option<(usize, Vec<usize>)> {
        let seats = self.seats.iter().enumerate();
        for (to, seat) in seats.filter(|(_, seat)| !seat.barred.is_empty() && self.has_time(seat)) {
            let is_stranded = |blob: usize| {
                let mut others = self.seats.iter().enumerate().filter(|(place, _)| *place != to);
                others.all(|(place, other)| {
                    other.serves.is_none() || seat.barred.contains(&place) || self.depth(place, blob).is_none()
                })
            };
            let lacking = order.iter().copied().filter(|blob| !seat.has.has(*blob) && !seat.coming.has(*blob));
            if let Some(blob) = lacking.into_iter().find(|blob| is_stranded(*blob)) {
                return Some((to, self.together(blob, order, seat, is_stranded)));
            }
        }
        None
    }

    /// Transfers between hosts that begin now.
    fn between(&mut self, now: Duration, out: &mut Vec<Flight>) {
        loop {
            let order = self.rarest(&self.copies);
            let uploads = self.rules.uploads;
            let is_free = |seat: &Seat| seat.serves.is_some() && seat.uploads < uploads;
            let places = self.seats.iter().enumerate().filter(|(_, seat)| is_free(seat)).map(|(place, _)| place);
            let mut free: Vec<usize> = places.collect();
            let mut offered = Bits::new(self.sizes.len());
            for seat in free.iter().filter_map(|place| self.seats.get(*place)) {
                offered.join(&seat.has);
                offered.join_common(&seat.coming, &self.large);
            }
            let before = out.len();
            for to in 0..self.seats.len() {
                let Some((from, blobs)) = self.source(to, &order, &free, &offered) else { continue };
                out.push(self.begin(to, Source::Host(from), blobs, now));
                if self.seats.get(from).is_none_or(|seat| !is_free(seat)) {
                    free.retain(|place| *place != from);
                }
                if free.is_empty() {
                    break;
                }
            }
            if out.len() == before {
                return;
            }
        }
    }

    /// Where a host gets the rarest blob that it lacks, with small ones of the same source.
    fn source(&self, to: usize, order: &[usize], free: &[usize], offered: &Bits) -> Option<(usize, Vec<usize>)> {
        let seat = self.seats.get(to).filter(|seat| self.has_time(seat))?;
        if !offered.offers(&seat.has, &seat.coming) {
            return None;
        }
        let lacking = order.iter().copied().filter(|blob| !seat.has.has(*blob) && !seat.coming.has(*blob));
        for blob in lacking.filter(|blob| offered.has(*blob)) {
            let able = free.iter().filter_map(|place| Some((*place, self.seats.get(*place)?)));
            let able = able.filter(|(place, other)| {
                let is_there = other.has.has(blob) || (other.coming.has(blob) && self.size(blob) >= LARGE);
                *place != to && is_there && !seat.barred.contains(place)
            });
            let able =
                able.filter_map(|(place, other)| Some((other.slow, self.depth(place, blob)?, other.uploads, place)));
            if let Some((_, depth, _, from)) = able.min() {
                let source = self.seats.get(from)?;
                let goes = |other: usize| depth == 0 && source.has.has(other);
                return Some((from, self.together(blob, order, seat, goes)));
            }
        }
        None
    }

    /// Over how many hosts a blob comes to a host: none if it has it, and nothing if it does not come, or over too many.
    fn depth(&self, host: usize, blob: usize) -> Option<usize> {
        let mut at = host;
        for depth in 0..DEEPEST {
            let seat = self.seats.get(at)?;
            if seat.has.has(blob) {
                return Some(depth);
            }
            let flights = seat.flights.iter().filter_map(|order| self.flights.get(order));
            match flights.into_iter().find(|flight| flight.blobs.contains(&blob))?.from {
                Source::Launcher => return Some(depth + 1),
                Source::Host(source) => at = source,
            }
        }
        None
    }

    /// A blob with other small ones that go the same way.
    fn together(&self, blob: usize, order: &[usize], seat: &Seat, goes: impl Fn(usize) -> bool) -> Vec<usize> {
        let (mut out, mut bytes) = (vec![blob], self.size(blob));
        for &other in order {
            let fits = bytes + self.size(other) <= BATCH && out.len() < TOGETHER;
            if fits && other != blob && !seat.has.has(other) && !seat.coming.has(other) && goes(other) {
                out.push(other);
                bytes += self.size(other);
            }
        }
        out
    }

    fn begin(&mut self, to: usize, from: Source, blobs: Vec<usize>, now: Duration) -> Flight {
        self.orders += 1;
        if let Some(seat) = self.seats.get_mut(to) {
            seat.flights.push(self.orders);
            for blob in &blobs {
                seat.coming.add(*blob);
                if let Some(copies) = self.copies.get_mut(*blob).filter(|_| seat.serves.is_some()) {
                    *copies += 1;
                }
            }
        }
        if let Source::Host(source) = from
            && let Some(seat) = self.seats.get_mut(source)
        {
            seat.uploads += 1;
        }
        let passed_on = match from {
            Source::Launcher => false,
            Source::Host(source) => {
                self.seats.get(source).is_some_and(|seat| !blobs.iter().all(|blob| seat.has.has(*blob)))
            }
        };
        let flight = Flight { order: self.orders, to, from, blobs, began: now, moved: 0, passed_on };
        self.flights.insert(self.orders, flight.clone());
        flight
    }
}
