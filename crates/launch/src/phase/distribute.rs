//! The image and this binary on every host: one stream of what each lacks, and the root file system unpacked.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_host::Stdin;
use kiln_host::command::quote;

use super::{Order, Phase, Work};
use crate::agent::receive::{Have, Stream, answer, question};
use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::{AGENT, HOME};
use crate::launch::{Launch, Member, key};

/// The phase.
pub const PHASE: Phase = Phase {
    name: "distribute",
    title: "bring the image to every host",
    order: Order::Together,
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
    lines.push(format!("unpack the root file system into {}", launch.bundle.rootfs()));
    let holds = member.facts.agent == launch.options.binary_digest;
    Ok(Some(Work { key: key([digest.as_str(), launch.bundle.name.as_str()]), lines, holds }))
}

/// A line that starts this binary on a host.
pub fn agent(words: &str) -> String {
    format!("{} --store {HOME}/store cluster agent {words}", quote(AGENT))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    if member.facts.agent != launch.options.binary_digest {
        send_binary(launch, member)?;
    }
    // Before anything appears there that others make.
    member.machine.succeed("remember what was there before", &agent("remember"))?;
    send_blobs(launch, member)?;
    let unpack = format!("unpack {} --to {}", quote(&launch.bundle.name), quote(&launch.bundle.rootfs()));
    member.machine.succeed_with("unpack the root file system", &agent(&unpack), Stdin::Empty, UNPACK)?;
    Ok(())
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

fn send_blobs(launch: &Launch, member: &Member) -> Result<()> {
    let bundle = &launch.bundle;
    let what = "ask what is there of the image";
    let said = member.machine.succeed_with(what, &agent("have"), Stdin::Bytes(question(&bundle.blobs)), UNPACK)?;
    let have: Have =
        answer(&said.text(), &bundle.blobs).ok_or_else(|| member.machine.nonsense(what, "it is no list of blobs"))?;
    let (stream, total) = Stream::of(&bundle.store, &bundle.blobs, &have, &bundle.name, &bundle.root);
    let moved = stream.moved();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut told = Instant::now();
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
                if told.elapsed() > TELL {
                    told = Instant::now();
                    let (host, bytes) = (member.name().to_owned(), moved.load(Ordering::Relaxed));
                    launch.events.event(Event::Moved { host, bytes, total });
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
    let bytes = moved.load(Ordering::Relaxed);
    launch.events.event(Event::Moved { host: member.name().to_owned(), bytes, total });
    Ok(())
}

/// Removes Kiln's own directory. Everything else was put back before.
fn undo(_launch: &Launch, member: &Member) -> Result<Vec<String>> {
    member.machine.succeed("remove Kiln's directory", &format!("rm -rf {HOME}"))?;
    Ok(Vec::new())
}
