//! Hosts that bring each other the image, so that the time for it hardly grows with their number.
//!
//! ```text
//!            orders, answers (SSH)                     blobs (TLS between hosts)
//! launcher ═══════════════════════▶ agent of each host ◀════════════════════════▶ agents of others
//!      └── each blob once, through SSH, to one of them
//! ```
//! Each host's agent says what it has. The [`board`] decides who sends what to whom; a thread for each host speaks with its
//! agent, and the thread that does the phase on it waits, and sends what the launcher itself has to send. Nothing depends on
//! it that all goes well: what a host lacks in the end comes from the launcher, as it does where hosts bring each other
//! nothing.
//!
//! Agents end when the phase ends, with their connection, and when the launcher says nothing for a minute.
//!
//! [`board`] the rules, without effects     [`pick`] their choice     [`talk`] with one agent     [`binary`] before there is one
//! [`bits`] sets of blobs

pub(crate) mod binary;
mod bits;
pub mod board;
mod pick;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_host::{Cancel, Feed};
use kiln_oci::Digest;

use self::board::{Board, Flight, Rules, Source, Verdict};
use crate::agent::peer::identity::Authority;
use crate::agent::peer::words::{Fault, Fetch, Kind, Order, Said, line};
use crate::agent::receive::Have;
use crate::error::{LaunchError, Result};
use crate::event::{Event, Events};
use crate::launch::{Launch, Member, Peers, random_hex};
use crate::phase::distribute;

/// Hosts that take part at one time.
pub const MOST: usize = 1000;
/// Hosts that have the image from before, and serve.
const HELPERS: usize = 32;
/// Transfers of the launcher at one time.
const SEEDS: usize = 1;
/// Transfers to a host at one time.
const DOWNLOADS: usize = 1;
/// How long transfers to a host may take to end that were stopped.
const HALT: Duration = Duration::from_secs(20);
/// After how long without a word an agent ends, and how often one is said.
const SILENCE: Duration = Duration::from_secs(60);
const ALIVE: Duration = Duration::from_secs(10);
/// How long an agent may take to answer.
const START: Duration = Duration::from_secs(60);
/// How often a thread that waits looks whether it was stopped.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);
/// What agents get to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// What the thread of a host is told.
enum Mail {
    /// The launcher is to send these.
    Send(Flight),
    /// The host has all.
    Whole,
    /// Others bring it nothing more: why.
    Alone(String),
}

/// What the launcher knows of a host beside the board.
struct Desk {
    name: String,
    /// Its name among its peers.
    peer: String,
    address: std::net::IpAddr,
    worker: bool,
    feed: Option<Feed>,
    mail: Option<Sender<Mail>>,
    /// There are parts of blobs on it.
    begun: bool,
    /// Bytes from hosts, bytes from the launcher, and what it lacked.
    fetched: u64,
    sent: u64,
    lacked: u64,
}

struct State {
    board: Board,
    desks: Vec<Desk>,
    /// Hosts that the launcher sends its binary to.
    binaries: usize,
    /// The quickest that the binary came from one host to another, in bytes a second.
    quickest: u64,
    /// Direct streams of the launcher.
    streams: usize,
}

impl State {
    /// Tells the thread of a host. Whoever does not wait any more does not need to know.
    fn tell(&self, place: usize, mail: Mail) {
        if let Some(send) = self.desks.get(place).and_then(|desk| desk.mail.as_ref()) {
            let _ = send.send(mail);
        }
    }
}

/// Hosts that bring each other an image.
pub struct Swarm {
    blobs: Vec<(Digest, u64)>,
    peers: Peers,
    authority: Authority,
    binary: String,
    binary_size: u64,
    parallel: usize,
    began: Instant,
    events: Arc<dyn Events>,
    /// Ends all agents.
    stop: Cancel,
    over: AtomicBool,
    state: Mutex<State>,
    /// Something is free again.
    free: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Ends a swarm when it is dropped: agents are gone afterwards.
pub struct Gathered<'a> {
    launch: &'a Launch,
    swarm: Arc<Swarm>,
}

/// Brings hosts together that have work, and hosts that have the image already; none where there are not two, or the
/// user does not want it.
///
/// # Errors
/// When no certificates can be made.
pub fn gather<'a>(launch: &'a Launch, working: &[&Member]) -> Result<Option<Gathered<'a>>> {
    let Some(peers) = launch.options.peers else { return Ok(None) };
    let is_working = |member: &Member| working.iter().any(|other| other.host.address() == member.host.address());
    let helpers: Vec<&Member> = launch
        .members
        .iter()
        .filter(|member| !is_working(member) && distribute::has_image(launch, member))
        .take(HELPERS)
        .collect();
    if working.is_empty() || working.len() + helpers.len() < 2 {
        return Ok(None);
    }
    let swarm = Arc::new(Swarm::new(launch, peers, working, &helpers)?);
    // Before anything is started: what fails then ends what was.
    let gathered = Gathered { launch, swarm: swarm.clone() };
    for helper in &helpers {
        swarm.clone().start(helper)?;
    }
    let ticking = swarm.clone();
    swarm.keep(std::thread::spawn(move || ticking.tick()));
    launch.learned().swarm = Some(swarm);
    Ok(Some(gathered))
}

/// The size of a file.
fn size_of(path: &Path) -> Result<u64> {
    let failed = |why: String| LaunchError::File { what: "read", path: path.to_owned(), why };
    std::fs::metadata(path).map(|meta| meta.len()).map_err(|error| failed(error.to_string()))
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        self.launch.learned().swarm = None;
        self.swarm.end(self.launch.cancel.is_set());
    }
}

impl Swarm {
    fn new(launch: &Launch, peers: Peers, working: &[&Member], helpers: &[&Member]) -> Result<Swarm> {
        let failed = |error: rcgen::Error| LaunchError::Wanted {
            what: format!("no certificates can be made for hosts: {error}"),
            hint: "--no-peer-distribution does without".to_owned(),
        };
        let blobs: Vec<(Digest, u64)> =
            launch.bundle.blobs.iter().map(|(digest, size)| (digest.clone(), *size)).collect();
        let rules = Rules { uploads: peers.uploads.max(1), downloads: DOWNLOADS, seeds: SEEDS };
        let id = random_hex(8)?;
        let members = working.iter().map(|member| (member, true)).chain(helpers.iter().map(|member| (member, false)));
        let desks: Vec<Desk> = members
            .enumerate()
            .map(|(place, (member, worker))| Desk {
                name: member.name().to_owned(),
                peer: format!("h{place}.{id}.kiln"),
                address: member.address,
                worker,
                feed: None,
                mail: None,
                begun: false,
                fetched: 0,
                sent: 0,
                lacked: 0,
            })
            .collect();
        let board = Board::new(desks.len(), blobs.iter().map(|(_, size)| *size).collect(), rules);
        Ok(Swarm {
            blobs,
            peers,
            authority: Authority::new().map_err(failed)?,
            binary: launch.options.binary_digest.clone(),
            binary_size: size_of(&launch.options.binary)?,
            parallel: launch.options.parallel.max(1),
            began: Instant::now(),
            events: launch.events.clone(),
            stop: Cancel::new(),
            over: AtomicBool::new(false),
            state: Mutex::new(State { board, desks, binaries: 0, quickest: 0, streams: 0 }),
            free: Condvar::new(),
            threads: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, member: &Member) -> Option<usize> {
        self.lock().desks.iter().position(|desk| desk.name == member.name())
    }

    fn note(&self, host: &str, text: String) {
        self.events.event(Event::Note { host: Some(host.to_owned()), text });
    }

    fn keep(&self, thread: JoinHandle<()>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// Has a host take part until it has all, or others bring it nothing more: the launcher then sends what it lacks.
    ///
    /// # Errors
    /// When the user stops it, or the launcher cannot send what it has to.
    pub fn take_part(self: &Arc<Swarm>, launch: &Launch, member: &Member) -> Result<()> {
        let Some(place) = self.place(member) else { return Ok(()) };
        let (send, mail) = channel();
        if let Some(desk) = self.lock().desks.get_mut(place) {
            desk.mail = Some(send);
        }
        self.clone().start(member)?;
        let outcome = self.wait(launch, member, place, &mail);
        let mut state = self.lock();
        if let Some(desk) = state.desks.get_mut(place) {
            desk.mail = None;
        }
        if outcome.is_err() {
            state.board.leave(place);
        }
        self.pump(state);
        outcome
    }

    /// A host does not take part: something failed on it before.
    pub fn give_up(&self, member: &Member) {
        let Some(place) = self.place(member) else { return };
        let mut state = self.lock();
        state.board.leave(place);
        self.pump(state);
    }

    /// Does what the mail says, until there is nothing more to expect.
    fn wait(&self, launch: &Launch, member: &Member, place: usize, mail: &Receiver<Mail>) -> Result<()> {
        let (began, mut told) = (Instant::now(), Instant::now());
        // Many hosts speak in turn.
        let tell = TELL + TELL / 5 * u32::try_from(self.lock().desks.len()).unwrap_or(u32::MAX);
        loop {
            match mail.recv_timeout(LOOK) {
                Ok(Mail::Send(flight)) => self.send(launch, member, &flight)?,
                Ok(Mail::Whole) => break,
                Ok(Mail::Alone(why)) => {
                    self.note(
                        member.name(),
                        format!("gets nothing from other hosts ({why}): what it lacks comes from here"),
                    );
                    self.halt(launch, place);
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if launch.cancel.is_set() {
                return Err(LaunchError::Cancelled);
            }
            if began.elapsed() > START && !self.lock().board.has_come(place) {
                self.lock().board.leave(place);
                self.note(member.name(), "its agent does not answer: what it lacks comes from here".to_owned());
                break;
            }
            if told.elapsed() > tell {
                told = Instant::now();
                self.tell(place);
            }
        }
        self.tell(place);
        Ok(())
    }

    /// Ends what is on its way to a host, before the launcher sends to it.
    fn halt(&self, launch: &Launch, place: usize) {
        let began = Instant::now();
        self.lock().board.forget_seeds(place);
        if let Some(feed) = self.lock().desks.get(place).and_then(|desk| desk.feed.as_ref()) {
            feed.send(line(&Order::Halt));
        }
        while self.lock().board.flights_to(place) > 0 && began.elapsed() < HALT && !launch.cancel.is_set() {
            std::thread::sleep(LOOK / 4);
        }
    }

    fn tell(&self, place: usize) {
        let state = self.lock();
        let Some(desk) = state.desks.get(place) else { return };
        let event = Event::Moved { host: desk.name.clone(), bytes: desk.fetched + desk.sent, total: desk.lacked };
        drop(state);
        self.events.event(event);
    }

    /// Sends blobs from here.
    fn send(&self, launch: &Launch, member: &Member, flight: &Flight) -> Result<()> {
        let blobs = flight.blobs.iter().filter_map(|blob| self.blobs.get(*blob).cloned());
        let blobs: BTreeMap<Digest, u64> = blobs.collect();
        let told = |bytes: u64, _: u64| self.lock().board.moved(flight.order, bytes);
        let begun = self.lock().desks.get(flight.to).is_none_or(|desk| desk.begun);
        let known = (!begun).then(|| nothing(&blobs));
        let sent = distribute::send(launch, member, &blobs, known, false, &told);
        let now = self.began.elapsed();
        let mut state = self.lock();
        if let (Ok(bytes), Some(desk)) = (&sent, state.desks.get_mut(flight.to)) {
            desk.sent += bytes;
            state.board.moved(flight.order, *bytes);
        }
        state.board.ended(flight.to, flight.order, sent.as_ref().err().map(|_| Kind::Broken), now);
        self.whole(&state, flight.to);
        self.pump(state);
        sent.map(drop)
    }

    fn whole(&self, state: &State, place: usize) {
        if state.board.is_whole(place) {
            state.tell(place, Mail::Whole);
        }
    }

    /// What an agent says.
    fn heard(&self, place: usize, said: Said) {
        let now = self.began.elapsed();
        let mut state = self.lock();
        let mut note = None;
        match said {
            Said::Ready { port, why, have, begun } => {
                let Some(desk) = state.desks.get(place) else { return };
                let (worker, serves) = (desk.worker, port.map(|port| SocketAddr::new(desk.address, port)));
                if serves.is_none() {
                    let why = crate::machine::printable(&why);
                    note = Some((desk.name.clone(), format!("cannot serve other hosts at {}: {why}", desk.address)));
                }
                state.board.arrive(place, serves, &have, worker);
                let lacks = state.board.lacks(place);
                if let Some(desk) = state.desks.get_mut(place) {
                    (desk.lacked, desk.begun) = (lacks, begun);
                }
                self.whole(&state, place);
            }
            Said::Got { order, blob } => {
                if state.board.got(place, order, blob) {
                    self.whole(&state, place);
                }
                // The end of the order, which frees both sides, is soon told.
                return;
            }
            Said::Ended { order, fault } => note = self.ended(&mut state, place, order, fault, now),
            Said::Moved { fetched } => {
                if let Some(desk) = state.desks.get_mut(place) {
                    desk.fetched = fetched;
                }
                return;
            }
        }
        self.pump(state);
        if let Some((host, text)) = note {
            self.note(&host, text);
        }
    }

    /// An order has ended; what there is to say of it.
    fn ended(
        &self,
        state: &mut State,
        place: usize,
        order: u64,
        fault: Option<Fault>,
        now: Duration,
    ) -> Option<(String, String)> {
        let kind = fault.as_ref().map(|fault| fault.kind);
        if let Some(desk) = state.desks.get_mut(place) {
            desk.begun |= kind.is_some();
        }
        let why = fault.map_or_else(
            || "it says that it is done, and is not".to_owned(),
            |fault| crate::machine::printable(&fault.why),
        );
        match state.board.ended(place, order, kind, now) {
            Verdict::Again => None,
            Verdict::Retired(source) => {
                let desk = state.desks.get(source)?;
                Some((desk.name.clone(), format!("serves other hosts no more: they get nothing from it ({why})")))
            }
            Verdict::Alone(host) => {
                state.tell(host, Mail::Alone(why));
                None
            }
        }
    }

    /// An agent has ended.
    fn gone(&self, place: usize, why: &str) {
        let mut state = self.lock();
        state.board.leave(place);
        if let Some(desk) = state.desks.get_mut(place) {
            desk.feed = None;
        }
        state.tell(place, Mail::Alone(why.to_owned()));
        self.pump(state);
    }

    /// Has begin what can.
    fn pump(&self, mut state: MutexGuard<'_, State>) {
        for flight in state.board.next(self.began.elapsed()) {
            let Flight { order, to, from, blobs, .. } = &flight;
            let (order, to, floor) = (*order, *to, state.board.floor(&flight));
            let source = match from {
                Source::Launcher => {
                    state.tell(to, Mail::Send(flight));
                    continue;
                }
                Source::Host(source) => state.board.serves(*source).zip(state.desks.get(*source)),
            };
            let Some((address, source)) = source else { continue };
            let (name, blobs) = (source.peer.clone(), blobs.clone());
            let patience = u64::try_from(self.peers.patience.as_millis()).unwrap_or(u64::MAX);
            let fetch = Fetch { order, from: address, name, blobs, floor, patience };
            if let Some(feed) = state.desks.get(to).and_then(|desk| desk.feed.as_ref()) {
                feed.send(line(&Order::Fetch(fetch)));
            }
        }
        for place in state.board.forlorn() {
            state.board.stop_wanting(place);
            state.tell(place, Mail::Alone("no host serves".to_owned()));
        }
        drop(state);
        self.free.notify_all();
    }

    /// Says now and then that the launcher is there, and looks for what is slow.
    fn tick(&self) {
        let mut said = Instant::now();
        while !self.over.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
            let state = self.lock();
            if said.elapsed() > ALIVE {
                said = Instant::now();
                for feed in state.desks.iter().filter_map(|desk| desk.feed.as_ref()) {
                    feed.send(line(&Order::Alive));
                }
            }
            self.pump(state);
        }
    }

    /// One of few places for streams of the launcher to single hosts.
    ///
    /// # Errors
    /// When the user stops it.
    pub fn stream(&self, launch: &Launch) -> Result<Stream<'_>> {
        let mut state = self.lock();
        while state.streams >= self.parallel {
            if launch.cancel.is_set() {
                return Err(LaunchError::Cancelled);
            }
            state = self.free.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.streams += 1;
        Ok(Stream { swarm: self })
    }

    /// What came from where, in bytes: between hosts, and from the launcher.
    pub fn moved(&self) -> (u64, u64) {
        let state = self.lock();
        state.desks.iter().fold((0, 0), |(fetched, sent), desk| (fetched + desk.fetched, sent + desk.sent))
    }

    /// Ends all agents, and waits for them.
    fn end(&self, at_once: bool) {
        self.over.store(true, Ordering::Release);
        // Their input ends, and so do they.
        self.lock().desks.iter_mut().for_each(|desk| desk.feed = None);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let began = Instant::now();
        while !at_once && began.elapsed() < GRACE && !threads.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(LOOK / 20);
        }
        self.stop.cancel();
        for thread in threads {
            let _ = thread.join();
        }
        let (fetched, sent) = self.moved();
        if fetched > 0 {
            let text =
                format!("of what hosts got of the image, {fetched} bytes came from other hosts and {sent} from here");
            self.events.event(Event::Note { host: None, text });
        }
    }
}

/// That nothing is there of some blobs.
fn nothing(blobs: &BTreeMap<Digest, u64>) -> Have {
    blobs.keys().map(|digest| (digest.clone(), 0)).collect()
}

/// A place for a stream; dropping it frees it.
pub struct Stream<'a> {
    swarm: &'a Swarm,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut state = self.swarm.lock();
        state.streams = state.streams.saturating_sub(1);
        drop(state);
        self.swarm.free.notify_all();
    }
}

/// Hosts that could not be reached.
pub(crate) type Barred = BTreeSet<usize>;
