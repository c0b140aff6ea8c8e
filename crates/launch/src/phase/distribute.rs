//! The image and this binary on every host: what each lacks, from hosts that have it or from here, and the root file
//! system unpacked.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_host::Stdin;
use kiln_host::command::quote;
use kiln_oci::Digest;

use super::{Order, Phase, Work};
use crate::agent::receive::{Have, SPOILED, Stream, answer, question};
use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::{self, AGENT, HOME};
use crate::launch::{Launch, Member, key};
use crate::swarm::Swarm;

/// The phase.
pub const PHASE: Phase = Phase {
    name: "distribute",
    title: "bring the image to every host",
    order: Order::Crowd,
    plan,
    run,
    undo: Some(undo),
};

/// How long one stream may take: a slow link has hours.
const STREAM: Duration = Duration::from_secs(6 * 3600);
/// How long unpacking may take.
const UNPACK: Duration = Duration::from_secs(1800);
/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let digest = launch.bundle.root.digest.to_string();
    let mut lines = Vec::new();
    if member.facts.agent != launch.options.binary_digest {
        lines.push(format!("send this binary to {AGENT}"));
    }
    lines.push(format!(
        "send what it lacks of {} ({} blobs, {} bytes in all)",
        launch.bundle.name,
        launch.bundle.blobs.len(),
        launch.bundle.size()
    ));
    if let Some(peers) = launch.options.peers.filter(|_| launch.members.len() > 1) {
        let port = if peers.port == 0 { "any port".to_owned() } else { format!("port {}", peers.port) };
        lines.push(format!(
            "from other hosts what they have, from here what none has; serve others, {} at a time, at {port}, until all are done",
            peers.uploads
        ));
    }
    lines.push(format!("unpack the root file system into {}", launch.bundle.rootfs()));
    let holds = member.facts.agent == launch.options.binary_digest;
    Ok(Some(Work { key: key([digest.as_str(), launch.bundle.name.as_str()]), lines, holds }))
}

/// A line that starts this binary on a host.
pub fn agent(words: &str) -> String {
    format!("{} --store {HOME}/store cluster agent {words}", quote(AGENT))
}

/// Whether a host has the image already, and this binary to serve it with.
pub fn has_image(launch: &Launch, member: &Member) -> bool {
    let done = |work: &Work| {
        let marker = launch.marker(member);
        work.holds && marker.is_some_and(|marker| marker.done.get(PHASE.name) == Some(&work.key))
    };
    plan(launch, member).is_ok_and(|work| work.as_ref().is_some_and(done))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let swarm = launch.learned().swarm.clone();
    let brought = bring(launch, member, swarm.as_ref());
    if let (Err(_), Some(swarm)) = (&brought, &swarm) {
        swarm.give_up(member);
    }
    brought?;
    let unpack = format!("unpack {} --to {}", quote(&launch.bundle.name), quote(&launch.bundle.rootfs()));
    member.machine.succeed_with("unpack the root file system", &agent(&unpack), Stdin::Empty, UNPACK)?;
    Ok(())
}

/// Has everything come that the host lacks.
fn bring(launch: &Launch, member: &Member, swarm: Option<&Arc<Swarm>>) -> Result<()> {
    if member.facts.agent != launch.options.binary_digest {
        match swarm {
            Some(swarm) => swarm.binary(launch, member, &|| send_binary(launch, member))?,
            None => send_binary(launch, member)?,
        }
    }
    // Before anything appears there that others make.
    let line = format!("{} && {}", facts::stamp(), agent("remember"));
    member.machine.succeed("remember what was there before", &line)?;
    if let Some(swarm) = swarm {
        swarm.take_part(launch, member)?;
    }
    let _place = swarm.map(|swarm| swarm.stream(launch)).transpose()?;
    send_blobs(launch, member)
}

fn send_binary(launch: &Launch, member: &Member) -> Result<()> {
    let path = &launch.options.binary;
    let file = File::open(path).map_err(|error| LaunchError::File {
        what: "read",
        path: path.clone(),
        why: error.to_string(),
    })?;
    member.machine.stream(AGENT, 0o755, Stdin::Reader(Box::new(file)), STREAM)
}

/// Sends all that is lacking, and gives the image its name.
fn send_blobs(launch: &Launch, member: &Member) -> Result<()> {
    let total = std::sync::atomic::AtomicU64::new(0);
    let tell = |bytes: u64, all: u64| {
        total.store(all, Ordering::Relaxed);
        launch.events.event(Event::Moved { host: member.name().to_owned(), bytes, total: all });
    };
    let bytes = send(launch, member, &launch.bundle.blobs, None, true, &tell)?;
    tell(bytes, total.load(Ordering::Relaxed).max(bytes));
    Ok(())
}

/// Sends what is lacking of some blobs; says how many bytes that were. What is there is asked, if `have` does not say; once
/// more, if what another host had begun to send turns out to be something else.
/// With `whole`, they are all of the image, and it gets its name. `tell` hears how many bytes have moved, of how many.
///
/// # Errors
/// When the host does not take it.
pub fn send(
    launch: &Launch,
    member: &Member,
    blobs: &BTreeMap<Digest, u64>,
    have: Option<Have>,
    whole: bool,
    tell: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    let have = have.map_or_else(|| ask(member, blobs), Ok)?;
    match stream(launch, member, blobs, &have, whole, tell) {
        Err(LaunchError::Command { tail, .. }) if tail.iter().any(|line| line.contains(SPOILED)) => {
            stream(launch, member, blobs, &ask(member, blobs)?, whole, tell)
        }
        other => other,
    }
}

/// One stream of what is lacking.
fn stream(
    launch: &Launch,
    member: &Member,
    blobs: &BTreeMap<Digest, u64>,
    have: &Have,
    whole: bool,
    tell: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    let bundle = &launch.bundle;
    let name = whole.then_some((bundle.name.as_str(), &bundle.root));
    let (stream, total) = Stream::of(&bundle.store, blobs, have, name);
    let moved = stream.moved();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut told = Instant::now();
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
                if told.elapsed() > TELL {
                    told = Instant::now();
                    tell(moved.load(Ordering::Relaxed), total);
                }
            }
        });
        let sent = member.machine.succeed_with(
            "receive the image",
            &agent("receive"),
            Stdin::Reader(Box::new(stream)),
            STREAM,
        );
        done.store(true, Ordering::Release);
        sent.map(drop)
    })?;
    Ok(moved.load(Ordering::Relaxed))
}

/// How much of each blob is there.
fn ask(member: &Member, blobs: &BTreeMap<Digest, u64>) -> Result<Have> {
    let what = "ask what is there of the image";
    let said = member.machine.succeed_with(what, &agent("have"), Stdin::Bytes(question(blobs)), UNPACK)?;
    answer(&said.text(), blobs).ok_or_else(|| member.machine.nonsense(what, "it is no list of blobs"))
}

/// Removes Kiln's own directory. Everything else was put back before.
fn undo(_launch: &Launch, member: &Member) -> Result<Vec<String>> {
    // A disk may be mounted there, or in it: what is on it and not Kiln's is left.
    let line = format!("rm -rf --one-file-system {HOME} || {{ mountpoint -q {HOME} && [ -z \"$(ls -A {HOME})\" ]; }}");
    member.machine.succeed("remove Kiln's directory", &line)?;
    Ok(Vec::new())
}
